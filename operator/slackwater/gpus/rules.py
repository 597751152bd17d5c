"""The default queries as recording rules: one source for both, so that they cannot disagree.

`hack/sync_chart.py` writes them into the chart. What is recorded is about nodes, not pools: the
operator knows which nodes are a pool's, and picks them when it reads. Times are recorded as times,
never as ages: an age that is recorded stands still when the rules are no longer evaluated, and an
old number must look old.
"""

from __future__ import annotations

from typing import Final

from slackwater.gpus import queries, questions
from slackwater.gpus.queries import Scope

GROUP: Final = "slackwater-gpu"
_ALL: Final = Scope(nodes=None)


def recording_rules() -> dict[str, str]:
    """Expression by the name of the series that it makes, in the order of evaluation."""
    return {
        queries.CAPACITY_SERIES: queries.capacity(_ALL),
        queries.ALLOCATABLE_SERIES: queries.allocatable(_ALL),
        queries.REQUESTED_SERIES: queries.requested(_ALL),
        queries.NODES_SAMPLED_SERIES: questions.nodes_sampled(_ALL),
        queries.LOAD_SERIES: queries.gpu_load(_ALL),
        queries.LOAD_SAMPLED_SERIES: questions.load_sampled(_ALL),
    }
