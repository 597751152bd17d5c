"""Who may use a calendar, a pool or an Airflow (rule R14): what the owners wrote, resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from slackwater.api.access import grants_namespace
from slackwater.api.airflow_instance import AirflowInstanceSpec
from slackwater.api.calendar import CalendarSpec
from slackwater.api.gpu_pool import GPUPoolSpec, PoolGrantRule
from slackwater.core.spec import PoolGrant


@dataclass(frozen=True, slots=True)
class AirflowGrant:
    """What an AirflowInstance lets one namespace do.

    Attributes:
        dags: ids or patterns of DAGs that it may run.
        override_dags: those of them that it may also run outside their windows (R15).
    """

    dags: tuple[str, ...]
    override_dags: tuple[str, ...] = ()

    def allows(self, dag_id: str) -> bool:
        """Whether this DAG may be run."""
        return _fits(dag_id, self.dags)

    def allows_override(self, dag_id: str) -> bool:
        """Whether this DAG may be run outside its windows."""
        return _fits(dag_id, self.override_dags)


def _fits(dag_id: str, patterns: tuple[str, ...]) -> bool:
    # `*` and `?` only: brackets mean themselves.
    return any(fnmatchcase(dag_id, pattern.replace("[", "[[]")) for pattern in patterns)


def calendar_allows(
    calendar: CalendarSpec, owner_ns: str, user_ns: str, labels: Mapping[str, str]
) -> bool:
    """Whether a TrainingWindow in `user_ns` may use a calendar of `owner_ns`.

    `labels` are those of the namespace `user_ns`, here and below.
    """
    return grants_namespace(calendar.allowed_namespaces, owner_ns, user_ns, labels)


def pool_grant(
    pool: GPUPoolSpec, owner_ns: str, user_ns: str, labels: Mapping[str, str]
) -> PoolGrant | None:
    """The best grant of a pool of `owner_ns` for `user_ns`; None where it grants nothing.

    One grant holds, not a mixture: the most GPUs, then the highest priority, then the override.
    """
    fitting = [
        grant
        for grant in pool.grants
        if grants_namespace(grant.namespaces, owner_ns, user_ns, labels)
    ]
    if not fitting:
        return None
    best = max(fitting, key=_worth)
    return PoolGrant(
        max_gpus=best.max_gpus,
        max_priority=best.max_priority,
        allow_override=best.allow_override,
    )


def _worth(grant: PoolGrantRule) -> tuple[float, int, bool]:
    gpus = float("inf") if grant.max_gpus is None else grant.max_gpus
    return (gpus, grant.max_priority, grant.allow_override)


def airflow_grant(
    airflow: AirflowInstanceSpec, owner_ns: str, user_ns: str, labels: Mapping[str, str]
) -> AirflowGrant | None:
    """All grants of an Airflow of `owner_ns` for `user_ns`; None where it grants nothing."""
    fitting = [
        grant
        for grant in airflow.grants
        if grants_namespace(grant.namespaces, owner_ns, user_ns, labels)
    ]
    if not fitting:
        return None
    return AirflowGrant(
        dags=tuple(dag for grant in fitting for dag in grant.dags),
        override_dags=tuple(dag for grant in fitting if grant.allow_override for dag in grant.dags),
    )
