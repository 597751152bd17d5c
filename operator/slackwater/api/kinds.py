"""The names of the four resources in the Kubernetes API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slackwater.ports import Kind

GROUP: Final = "slackwater.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class Names:
    """What one resource is called.

    Attributes:
        plural: in URLs and RBAC rules.
        short: what people type after `kubectl get`.
    """

    plural: str
    short: str


NAMES: Final[dict[Kind, Names]] = {
    Kind.TRAINING_WINDOW: Names("trainingwindows", "tw"),
    Kind.CALENDAR: Names("calendars", "tcal"),
    Kind.GPU_POOL: Names("gpupools", "gpool"),
    Kind.AIRFLOW_INSTANCE: Names("airflowinstances", "afi"),
}
