"""The manifests of this folder: good ones, and bad ones with what must be said about them.

A bad manifest begins with comments: `says` for a part of the message that both Python and the API
server give, or `python` and `server` apart. `server: accepts…` marks what no CRD can judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slackwater.api.manifest import RawObject
from slackwater.api.read import (
    read_airflow_instance,
    read_calendar,
    read_gpu_pool,
    read_training_window,
)
from slackwater.core.spec import Ref
from slackwater.ports import Kind

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Bad:
    name: str
    text: str
    python: str
    server: str | None  # None where the API server takes it


def _bad(path: Path) -> Bad:
    text = path.read_text(encoding="utf-8")
    notes = dict(
        line.removeprefix("# ").split(": ", 1)
        for line in text.splitlines()
        if line.startswith("# ")
    )
    assert notes.keys() in ({"says"}, {"python", "server"}), path.name
    both = notes.get("says", "")
    server = notes.get("server", both)
    return Bad(
        path.stem,
        text,
        notes.get("python", both),
        None if server.startswith("accepts") else server,
    )


BAD = [_bad(path) for path in sorted((HERE / "bad").glob("*.yaml"))]
GOOD = {path.stem: path.read_text(encoding="utf-8") for path in (HERE / "good").glob("*.yaml")}


def read(item: RawObject) -> Any:
    """Read an object as the engine in a cluster does."""
    match item.kind:
        case Kind.TRAINING_WINDOW:
            return read_training_window(item.namespace, item.spec)
        case Kind.CALENDAR:
            return read_calendar(item.spec)
        case Kind.GPU_POOL:
            return read_gpu_pool(Ref(item.namespace, item.name), item.spec)
        case Kind.AIRFLOW_INSTANCE:
            return read_airflow_instance(item.spec)
