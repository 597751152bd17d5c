"""Copy the CustomResourceDefinitions into the Helm chart: `python hack/sync_chart.py [--check]`.

They are templates and not in Helm's `crds/`, since Helm never upgrades what stands there. The
annotation `helm.sh/resource-policy: keep` lets them, and every object of theirs, outlive the chart.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRDS = ROOT / "crds"
TEMPLATES = ROOT / "helm" / "slackwater" / "templates" / "crds"

_HEAD = "{{- /* Made by hack/sync_chart.py from crds/; change the models instead. */}}\n"
_KEEP = """\
    {{- if .Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
"""


def template(manifest: str) -> str:
    """The template of one CustomResourceDefinition, from its YAML text.

    Raises:
        ValueError: the text is not one document with `metadata` in block style.
    """
    lines = manifest.splitlines(keepends=True)
    if lines.count("metadata:\n") != 1 or "---\n" in lines[1:]:
        raise ValueError("a CustomResourceDefinition must be one document in block style")
    # Descriptions may speak of templates themselves.
    body = [line.replace("{{", '{{ "{{" }}') for line in lines]
    at = lines.index("metadata:\n") + 1
    rest = iter(lines[at:])
    inside = 0
    for line in rest:
        if not line.startswith(" "):
            break
        inside += 1
    if "  annotations:\n" in lines[at : at + inside]:
        at = lines.index("  annotations:\n", at) + 1
        body.insert(at, _KEEP)
    else:
        body.insert(at, "  {{- if .Values.crds.keep }}\n  annotations:\n" + _KEEP_ALONE)
    return _HEAD + "{{- if .Values.crds.enabled }}\n" + "".join(body) + "{{- end }}\n"


_KEEP_ALONE = """\
    helm.sh/resource-policy: keep
  {{- end }}
"""
