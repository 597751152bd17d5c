"""What the tests against a real API server share: rights, objects and a real clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.stores.objects import PLURALS, list_path, object_path
from testbed.kubernetes import ControlPlane

CRDS = Path(__file__).parents[2] / "crds"
HOME = "slackwater"  # the operator's own namespace

# What the operator needs of the whole cluster, and of its own namespace.
CLUSTER_RULES = [
    {"apiGroups": ["slackwater.dev"], "resources": [*PLURALS.values()], "verbs": ["list", "watch"]},
    {
        "apiGroups": ["slackwater.dev"],
        "resources": [f"{plural}/status" for plural in PLURALS.values()],
        "verbs": ["patch"],
    },
    {"apiGroups": ["slackwater.dev"], "resources": ["trainingwindows"], "verbs": ["get", "patch"]},
    {
        "apiGroups": ["slackwater.dev"],
        "resources": ["calendars", "gpupools", "airflowinstances"],
        "verbs": ["get"],
    },
    {"apiGroups": [""], "resources": ["secrets", "namespaces"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
]
HOME_RULES = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
]


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def grant(plane: ControlPlane, kind: str, namespace: str, rules: list[dict[str, Any]]) -> None:
    """Give the service account `slackwater` of a namespace these rights."""
    metadata = {"name": "slackwater", "namespace": namespace}
    api = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    account = {"kind": "ServiceAccount", "name": "slackwater", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "slackwater"}
    binding = {"kind": f"{kind}Binding", "subjects": [account], "roleRef": role}
    plane.apply(
        [
            {**api, "kind": kind, "metadata": metadata, "rules": rules},
            {**api, "metadata": metadata, **binding},
        ]
    )


def window(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": "TrainingWindow",
        "metadata": {"name": name},
        "spec": {
            "windows": [
                {
                    "name": "nights",
                    "effect": "Trigger",
                    "schedule": "0 22 * * *",
                    "durationSeconds": 3600,
                }
            ],
            "dag": {"airflowRef": {"name": "default"}, "dagId": "train"},
            **spec,
        },
    }


def make(plane: ControlPlane, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    path = list_path(Kind.TRAINING_WINDOW, namespace)
    made: dict[str, Any] = plane.request("POST", path, window(name, **spec))
    return made


def patch(plane: ControlPlane, key: Key, change: Any, *subresource: str) -> dict[str, Any]:
    path = object_path(key, *subresource)
    changed: dict[str, Any] = plane.request(
        "PATCH", path, change, content_type="application/merge-patch+json"
    )
    return changed


def key(namespace: str, name: str) -> Key:
    return Key(Kind.TRAINING_WINDOW, Ref(namespace, name))


def delete(plane: ControlPlane, namespace: str, name: str) -> None:
    plane.request("DELETE", object_path(key(namespace, name)))
