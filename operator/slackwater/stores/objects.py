"""Our four resources as the Kubernetes API names and shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind, Stored

GROUP: Final = "slackwater.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
MERGE_PATCH: Final = "application/merge-patch+json"

# In the order in which they are listed: what is referred to comes before what refers to it.
PLURALS: Final[Mapping[Kind, str]] = {
    Kind.AIRFLOW_INSTANCE: "airflowinstances",
    Kind.GPU_POOL: "gpupools",
    Kind.CALENDAR: "calendars",
    Kind.TRAINING_WINDOW: "trainingwindows",
}

# kubectl's copy of the manifest: as large as the spec and of no use to us.
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def core_path(*parts: str) -> str:
    """A path of the core API, each part escaped."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def group_path(group: str, version: str, *parts: str) -> str:
    """A path of an API group, each part escaped."""
    return f"/apis/{group}/{version}/" + "/".join(quote(part, safe="") for part in parts)


def list_path(kind: Kind, namespace: str | None) -> str:
    """Where the objects of a kind are listed, of one namespace or of all (None)."""
    if namespace is None:
        return group_path(GROUP, VERSION, PLURALS[kind])
    return group_path(GROUP, VERSION, "namespaces", namespace, PLURALS[kind])


def object_path(key: Key, *subresource: str) -> str:
    """Where one object stands."""
    ref = key.ref
    return group_path(
        GROUP, VERSION, "namespaces", ref.namespace, PLURALS[key.kind], ref.name, *subresource
    )


def parse(kind: Kind, body: Mapping[str, Any]) -> Stored:
    """An object as the API gives it, as we keep it: without managed fields and labels."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    return Stored(
        key=Key(kind, Ref(metadata["namespace"], metadata["name"])),
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        annotations={name: text for name, text in annotations.items() if name != _LAST_APPLIED},
        spec=body.get("spec") or {},
        status=body.get("status") or {},
    )


def is_leaving(body: Mapping[str, Any]) -> bool:
    """Whether somebody has deleted the object and only a finalizer still keeps it.

    For us it is gone from then on: its owner wants nothing more of it.
    """
    return "deletionTimestamp" in body["metadata"]


def is_newer(version: str, than: str) -> bool:
    """Whether a resource version is later than another one of the same resource.

    Conformant servers give growing integers (KEP-5504, Kubernetes 1.35; etcd's revision has been
    one ever since); of others only sameness can be told, and then what comes last counts.
    """
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
