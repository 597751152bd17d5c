"""CustomResourceDefinitions from the models: `python -m slackwater.api.crd DIRECTORY`.

The models are the source of truth; the files are made, never edited.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from slackwater.api import observed
from slackwater.api.airflow_instance import AirflowInstance
from slackwater.api.calendar import Calendar
from slackwater.api.gpu_pool import GPUPool
from slackwater.api.kinds import GROUP, NAMES, VERSION
from slackwater.api.schema import structural
from slackwater.api.training_window import TrainingWindow
from slackwater.calendars.registry import PROVIDERS
from slackwater.ports import Kind
from slackwater.wire import WireModel

_HEADER: Final = (
    "# Made by `python -m slackwater.api.crd`; change the models in slackwater/api instead.\n"
)
_WIDTH: Final = 100


def _column(name: str, kind: str, path: str, *, wide: bool = False) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    return column | {"priority": 1} if wide else column


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


_READY: Final = _column("Ready", "string", _condition("Ready", "status"))
_WHY_READY: Final = _column("Why", "string", _condition("Ready", "message"))
_AGE: Final = _column("Age", "date", ".metadata.creationTimestamp")


@dataclass(frozen=True, slots=True)
class _Resource:
    model: type[WireModel]
    status: type[WireModel]
    columns: tuple[dict[str, Any], ...]


_RESOURCES: Final = {
    Kind.TRAINING_WINDOW: _Resource(
        TrainingWindow,
        observed.TrainingWindowStatus,
        (
            _READY,
            _column("Window", "string", _condition("WindowOpen", "reason")),
            _column("Running", "integer", ".status.active"),
            _column("Why", "string", ".status.message"),
            _column("Last", "date", ".status.lastScheduleTime"),
            # A column of type date shows an age, and `<invalid>` for a time to come.
            _column("Next", "string", ".status.nextWindowStart"),
            _column("DAG", "string", ".spec.dag.dagId", wide=True),
            _column("GPUs", "integer", ".spec.gpu.count", wide=True),
            _column("Until", "string", ".status.nextWindowEnd", wide=True),
            _AGE,
        ),
    ),
    Kind.CALENDAR: _Resource(
        Calendar,
        observed.CalendarStatus,
        (
            _READY,
            _column("Events", "integer", ".status.eventCount"),
            _column("Changed", "date", ".status.lastChangeTime"),
            _column("Blocks", "string", ".status.blocksAt"),
            _WHY_READY,
            _column("Privacy", "string", ".spec.privacy", wide=True),
            _AGE,
        ),
    ),
    Kind.GPU_POOL: _Resource(
        GPUPool,
        observed.GPUPoolStatus,
        (
            _READY,
            _column("Fresh", "string", _condition("DataFresh", "status")),
            _column("Capacity", "integer", ".status.capacity"),
            _column("Free", "integer", ".status.free"),
            _column("Promised", "integer", ".status.promised"),
            _column("Used%", "number", ".status.utilizationPercent"),
            _WHY_READY,
            _column("Stop", "string", ".spec.stopPolicy", wide=True),
            _AGE,
        ),
    ),
    Kind.AIRFLOW_INSTANCE: _Resource(
        AirflowInstance,
        observed.AirflowInstanceStatus,
        (
            _READY,
            _column("Version", "string", ".status.version"),
            _column("Stop", "string", ".spec.stopPolicy"),
            _WHY_READY,
            _column("URL", "string", ".spec.url", wide=True),
            _AGE,
        ),
    ),
}

_ENVELOPE: Final = {
    "apiVersion": {
        "description": "The version of this object's schema, slackwater.dev/v1alpha1.",
        "type": "string",
    },
    "kind": {"description": "The resource that this object is.", "type": "string"},
    "metadata": {"type": "object"},
}


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one resource, as `apiextensions.k8s.io/v1` has it."""
    names, resource = NAMES[kind], _RESOURCES[kind]
    schema = structural(resource.model)
    if kind is Kind.CALENDAR:
        _without_files(schema)
    status = structural(resource.status)
    properties = {**_ENVELOPE, **schema["properties"], "status": status}
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": list(resource.columns),
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {**schema, "properties": properties}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": str(kind),
                "listKind": f"{kind}List",
                "plural": names.plural,
                "singular": str(kind).lower(),
                "shortNames": [names.short],
                "categories": ["slackwater"],
            },
            "scope": "Namespaced",
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    }


def _without_files(schema: dict[str, Any]) -> None:
    """Take the fields away that name files: no resource in a cluster may (design §2)."""
    union = schema["properties"]["spec"]["properties"]["provider"]["properties"]
    for name, provider in PROVIDERS.items():
        for field in provider.file_only_fields:
            del union[name]["properties"][field]


class _Dumper(yaml.SafeDumper):
    """Long texts folded, lists indented, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class names it
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - as above
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = ">" if len(text) > 60 and " " in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def render(kind: Kind) -> str:
    """The file of one resource."""
    return _HEADER + yaml.dump(
        definition(kind), Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True
    )


def file_name(kind: Kind) -> str:
    """How the file of one resource is called."""
    return f"{GROUP}_{NAMES[kind].plural}.yaml"


def main(arguments: list[str]) -> int:
    """Write every file into the directory that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m slackwater.api.crd DIRECTORY\n")
        return 2
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for kind in Kind:
        (directory / file_name(kind)).write_text(render(kind), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
