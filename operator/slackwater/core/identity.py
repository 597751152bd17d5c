"""Names that survive moves, restarts and new leaders (rule R2)."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

from slackwater.core.spec import Identity

RUN_ID_PREFIX: Final = "slackwater."
RUN_ID_LIMIT: Final = 200
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_~:+-]")


def _digest(*parts: str, size: int) -> str:
    # The length before each part keeps ("a", "bc") and ("ab", "c") apart.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:size]


def event_key(calendar_id: str, instance: str, original_start: str) -> str:
    """Identity of one event of one provider-side calendar, the same after a move.

    Args:
        calendar_id: the provider's id of the calendar, whatever Calendar object reads it.
        instance: the provider's key of the event (for a series, of the series).
        original_start: the start as first written (RFC 5545 RECURRENCE-ID; Google's
            originalStartTime); of a single event, empty: its start may change.
    """
    return _digest("event", calendar_id, instance, original_start, size=20)


def series_key(scope: str, instance: str) -> str:
    """What all instances of one series share, in whichever calendar they are.

    Args:
        scope: where the provider's keys of events are unique: often in many calendars.
        instance: the provider's key of the series or the single event.
    """
    return _digest("series", scope, instance, size=12)


def inline_key(entry: str, nominal_start: str) -> str:
    """Identity of one instance of an inline schedule: entry name and nominal start."""
    return _digest("inline", entry, nominal_start, size=20)


def run_prefix(installation: str) -> str:
    """What the ids of all runs of this installation begin with."""
    return f"{RUN_ID_PREFIX}{_UNSAFE.sub('-', installation)}."


def run_id(identity: Identity, key: str) -> str:
    """`slackwater.<installation>.<namespace>.<name>.<hash>`, ≤ 200 characters, Airflow-safe.

    The hash covers all parts unshortened, so that a name which had to be cut stays unique.
    """
    return _run_id(identity.installation, identity.ref.namespace, identity.ref.name, key)


@lru_cache(maxsize=65_536)
def _run_id(installation: str, namespace: str, name: str, key: str) -> str:
    tail = _digest(installation, namespace, name, key, size=24)
    head = f"{run_prefix(installation)}{_UNSAFE.sub('-', namespace)}.{_UNSAFE.sub('-', name)}"
    # Airflow takes no ".." in an id: a cut may end in a dot.
    return f"{head[: RUN_ID_LIMIT - len(tail) - 1].rstrip('.')}.{tail}"


LABEL_LIMIT: Final = 63
_NO_LABEL: Final = re.compile(r"^[^a-z0-9A-Z]*|[^a-zA-Z0-9_\-.]|[^a-z0-9A-Z]*$")


@lru_cache(maxsize=65_536)
def pod_labels(run_id: str) -> tuple[str, str]:
    """How pods say that they belong to a run.

    The first is the value of Airflow's own label `run_id`, which KubernetesExecutor and
    KubernetesPodOperator put on their pods: a longer or stranger id is cut and ends in a hash
    (`make_safe_label_value` of apache-airflow-providers-cncf-kubernetes 10.25.0). The second is
    that of `slackwater.dev/run`, for pods that others create: the run id's last part.

    >>> pod_labels("slackwater.test.research.nightly.0123456789abcdef01234567")[1]
    '0123456789abcdef01234567'
    """
    safe = _NO_LABEL.sub("", run_id)
    if len(safe) > LABEL_LIMIT or safe != run_id:
        mark = hashlib.md5(run_id.encode(), usedforsecurity=False).hexdigest()[:9]
        safe = f"{safe[: LABEL_LIMIT - len(mark) - 1]}-{mark}"
    return safe, run_id.rpartition(".")[2]
