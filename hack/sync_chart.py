"""Bring the Helm chart in step with the code: `python hack/sync_chart.py [--check]`.

Two things are copied: the CustomResourceDefinitions, and the default queries as recording rules.

The definitions are templates and do not lie in Helm's own `crds/`, which Helm never upgrades. The annotation
`helm.sh/resource-policy: keep` lets them, and every object of theirs, outlive the chart.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from slackwater.gpus.rules import recording_rules

ROOT = Path(__file__).resolve().parent.parent
CRDS = ROOT / "crds"
TEMPLATES = ROOT / "helm" / "slackwater" / "templates" / "crds"
RULES = ROOT / "helm" / "slackwater" / "files" / "recording-rules.yaml"

_BEFORE = """\
{{- /* Made by hack/sync_chart.py from crds/; change the models instead. */}}
{{- if .Values.crds.enabled }}
"""
_KEEP = """\
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""
_AFTER = "{{- end }}\n"


def template(manifest: str) -> str:
    """The template of one CustomResourceDefinition, from its YAML text.

    Raises:
        ValueError: not one document with a plain `metadata`, as `slackwater.api.crd` writes it.
    """
    head, metadata, rest = manifest.partition("\nmetadata:\n")
    inside = rest.partition("\nspec:")[0]
    if not metadata or "\nmetadata:\n" in rest or "  annotations:\n" in inside:
        raise ValueError("metadata must stand once, in block style and without annotations")
    if "\n---\n" in manifest:
        raise ValueError("there must be one document")
    return _BEFORE + _literal(head) + metadata + _KEEP + _literal(rest) + _AFTER


def _literal(text: str) -> str:
    """Text that Helm gives out as it is: descriptions may speak of templates themselves."""
    return text.replace("{{", '{{ "{{" }}')


def templates() -> dict[Path, str]:
    """What the chart must hold, by file."""
    return {TEMPLATES / path.name: template(path.read_text()) for path in CRDS.glob("*.yaml")}


def rules() -> str:
    """The recording rules as YAML: a list, which a template puts into its group."""
    found = [{"record": name, "expr": text} for name, text in recording_rules().items()]
    head = "# Made by hack/sync_chart.py from operator/slackwater/gpus/rules.py; change that instead.\n"
    return head + yaml.safe_dump(found, sort_keys=False, width=100)


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with --check say which ones differ."""
    wanted = {**templates(), RULES: rules()}
    found = {path: path.read_text() for path in [*TEMPLATES.glob("*"), RULES] if path.exists()}
    differing = sorted(path for path in wanted | found if wanted.get(path) != found.get(path))
    if "--check" in arguments:
        for path in differing:
            sys.stderr.write(f"{path.relative_to(ROOT)} differs: run python hack/sync_chart.py\n")
        return 1 if differing else 0
    for path in differing:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
