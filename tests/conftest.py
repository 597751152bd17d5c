"""For all tests: hypothesis without deadlines, since a busy machine is no bug.

Where `CI` is set, as in the gate, examples come from a fixed seed, so that the same tree always gives the same answer;
elsewhere each run looks at new ones.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "slackwater",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("slackwater")
