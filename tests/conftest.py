"""For all tests: hypothesis without deadlines, since a busy machine is no bug.

Where `CI` is set, as in the gate, a property takes 100 examples from a fixed seed, so that the same tree always gives
the same answer; elsewhere each run looks at fewer and new ones.
"""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings

IN_GATE = bool(os.environ.get("CI"))

settings.register_profile(
    "slackwater",
    deadline=None,
    max_examples=100 if IN_GATE else 30,
    derandomize=IN_GATE,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("slackwater")


def pytest_collection_finish() -> None:
    """Thousands of collected tests live to the end: the garbage collector need not walk over them at every turn."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
