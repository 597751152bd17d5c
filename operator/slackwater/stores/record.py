"""What is kept of one object between runs, and how a manifest and its overrides change it; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from slackwater.ports import Kind, Stored
from slackwater.stores.files import Manifest

# Not an annotation that objects carry: it stands in front of `spec.suspend`.
SUSPEND: Final = "slackwater.dev/suspend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of the table `objects`, but for its key and status.

    Of spec and annotations only digests are kept, which tell whether they changed: a spec may
    hold titles and addresses of feeds (R13).

    Attributes:
        uid: new for each object, also for one re-created under an old name.
        created: when it was first seen, ISO 8601.
        generation: counts changes of the spec.
        resource_version: from one sequence over all objects; moves with every change.
        path: the file it was last read from.
        spec_digest: of the spec with `suspend` overridden.
        fixed_digest: of the fields that may not change.
        annotations_digest: of the annotations with overrides.
        suspend: `spec.suspend` as the manifest has it, to notice that it was edited.
    """

    uid: str = ""
    created: str
    generation: int = 0
    resource_version: int = 0
    path: str = ""
    spec_digest: str = ""
    fixed_digest: str = ""
    annotations_digest: str = ""
    suspend: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """A value in front of the manifest's, or (None) the manifest's value `hides` hidden."""

    value: str | None
    hides: str | None = None


Overrides = Mapping[str, Override]


def overridden(manifest: Manifest, overrides: Overrides) -> Manifest:
    """The manifest with the overrides in front of it."""
    spec, annotations = dict(manifest.spec), dict(manifest.annotations)
    for name, override in overrides.items():
        if name == SUSPEND:
            # An empty spec stands for one that cannot be read, and stays empty.
            if spec:
                spec["suspend"] = override.value == "true"
        elif override.value is not None:
            annotations[name] = override.value
        elif annotations.get(name) == override.hides:
            del annotations[name]
    return Manifest(manifest.key, manifest.path, spec, annotations)


def outdated(manifest: Manifest, overrides: Overrides, before: Record | None) -> frozenset[str]:
    """Names of overrides that the manifest was edited after: the last word counts."""
    names = set()
    for name, override in overrides.items():
        if name == SUSPEND:
            if before is not None and before.suspend != _written_suspend(manifest):
                names.add(name)
        elif override.value is None and manifest.annotations.get(name) != override.hides:
            names.add(name)
    return frozenset(names)


def follow(before: Record, manifest: Manifest, overrides: Overrides) -> Record:
    """The record once it follows the manifest; its resource version is still the old one."""
    now = overridden(manifest, overrides)
    spec_digest = _digest(now.spec)
    fixed = fixed_digest(manifest)
    return replace(
        before,
        generation=before.generation + (spec_digest != before.spec_digest),
        path=str(manifest.path),
        spec_digest=spec_digest,
        fixed_digest=before.fixed_digest if fixed is None else fixed,
        annotations_digest=_digest(now.annotations),
        suspend=_written_suspend(manifest),
    )


def without_manifest(before: Record) -> Record:
    """The record of an object that exists but cannot be read: its spec counts as changed."""
    unreadable = _digest({})
    return replace(
        before,
        generation=before.generation + (unreadable != before.spec_digest),
        spec_digest=unreadable,
        annotations_digest=unreadable,
    )


def differs(before: Record, after: Record) -> bool:
    """Whether readers of the object see a difference, so that its resource version moves."""
    return (before.generation, before.annotations_digest) != (
        after.generation,
        after.annotations_digest,
    )


def stored(
    manifest: Manifest, overrides: Overrides, record: Record, status: Mapping[str, Any]
) -> Stored:
    """The object as the engine sees it."""
    now = overridden(manifest, overrides)
    return Stored(
        key=manifest.key,
        uid=record.uid,
        generation=record.generation,
        resource_version=str(record.resource_version),
        created=datetime.fromisoformat(record.created).astimezone(UTC),
        annotations=now.annotations,
        spec=now.spec,
        status=status,
    )


def replaces(manifest: Manifest, before: Record) -> bool:
    """Whether a field differs that the API server would not let change: it is another object."""
    fixed = fixed_digest(manifest)
    return fixed is not None and before.fixed_digest not in {"", fixed}


def fixed_digest(manifest: Manifest) -> str | None:
    """Digest of spec.dag's dagId and airflowRef; None where they cannot be told."""
    dag = manifest.spec.get("dag")
    if manifest.key.kind is not Kind.TRAINING_WINDOW or not isinstance(dag, Mapping):
        return None
    dag_id, airflow = dag.get("dagId"), dag.get("airflowRef")
    if not isinstance(dag_id, str) or not isinstance(airflow, Mapping):
        return None
    return _digest([dag_id, {"namespace": manifest.key.ref.namespace, **airflow}])


def canonical(value: object) -> str:
    """JSON that is the same text for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _written_suspend(manifest: Manifest) -> str:
    return canonical(manifest.spec.get("suspend"))


def _digest(value: object) -> str:
    return hashlib.blake2b(canonical(value).encode(), digest_size=16).hexdigest()
