"""Write the reference pages: `python hack/reference.py [--check]`.

`docs/reference/` lists every field, reason, metric and flag. Nothing in it is written by hand: it
is made from the CRDs, from the closed list of reasons, from the metrics as a scrape finds them and
from the commands' own help, so that none of the pages can speak of what does not exist.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import yaml

from slackwater.cli import main as command_line
from slackwater.core import reasons
from slackwater.core.reasons import Reason
from slackwater.core.words import WORDS
from slackwater.runtime.metrics import Metrics

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = ROOT / "docs" / "reference"
_MADE: Final = "<!-- Made by hack/reference.py: `make generate`. -->\n\n"
_KINDS: Final = ("TrainingWindow", "Calendar", "GPUPool", "AirflowInstance")
_LOG_FLAGS: Final = ("log_format", "log_level")


# --- fields


def fields() -> str:
    """Every field of the four resources, from the CRDs."""
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    by_kind = {crd["spec"]["names"]["kind"]: crd for crd in crds}
    said = [
        (
            "# Fields\n\nThe four resources of group `slackwater.dev`, version `v1alpha1`. `kubectl explain` "
            "says the same at the prompt. A star marks what must be given.\n"
        )
    ]
    for kind in _KINDS:
        crd = by_kind[kind]
        names = crd["spec"]["names"]
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        short = ", ".join(f"`{name}`" for name in names.get("shortNames", ()))
        said.append(f"\n## {kind}\n\n{schema['description']} Short: {short}.\n")
        for part in ("spec", "status"):
            said.append(
                f"\n### {kind} {part}\n\n| field | type | default | meaning |\n|---|---|---|---|\n"
            )
            said.extend(_rows(schema["properties"][part], ""))
    return "".join(said)


def _rows(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        here = f"{path}{name}"
        star = "\\*" if name in required else ""
        cells = (
            f"`{here}`{star}",
            _type(field),
            _default(field),
            _line(field.get("description", "")),
        )
        yield f"| {' | '.join(cells)} |\n"
        inner = field.get("items", field)
        if isinstance(inner.get("additionalProperties"), dict):
            inner = inner["additionalProperties"]
        yield from _rows(inner, f"{here}{'[]' if 'items' in field else ''}.")


def _type(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"] if value is not None)
    if field.get("type") == "array":
        inner = field["items"]
        return f"list of {_type(inner)}" if inner.get("type") != "object" else "list"
    if isinstance(field.get("additionalProperties"), dict):
        return f"map of {_type(field['additionalProperties'])}"
    if field.get("format") == "date-time":
        return "time"
    said = str(field.get("type", "any"))
    low, high = field.get("minimum"), field.get("maximum")
    return said if low is None or high is None else f"{said}, {low} to {high}"


def _default(field: Mapping[str, Any]) -> str:
    if "default" not in field or isinstance(field["default"], dict | list):
        return ""
    return f"`{yaml.safe_dump(field['default'], default_flow_style=True).splitlines()[0]}`"


# --- reasons


def outcomes() -> str:
    """Every reason with its sentence and its remedy, in the groups of the list itself."""
    said = [
        (
            "# Reasons\n\nEvery condition, Event, metric and line of the ledger carries one of these. "
            "What stands in italics is filled in. ⚠ marks what is sent as an Event of type "
            "Warning.\n"
        )
    ]
    for title, members in _groups():
        said.append(
            f"\n## {title[0].upper()}{title[1:]}\n\n| reason | what it says | what to do |\n|---|---|---|\n"
        )
        for reason in members:
            word = WORDS[reason]
            mark = " ⚠" if word.warning else ""
            said.append(f"| `{reason}`{mark} | {_gaps(word.sentence)} | {_line(word.remedy)} |\n")
    return "".join(said)


def _groups() -> list[tuple[str, list[Reason]]]:
    found: list[tuple[str, list[Reason]]] = []
    for line in Path(reasons.__file__).read_text().splitlines():
        if heading := re.fullmatch(r"    # --- (.+)", line):
            found.append((heading[1], []))
        elif member := re.fullmatch(r'    [A-Z_]+ = "(\w+)"', line):
            found[-1][1].append(Reason(member[1]))
    if sorted(reason for _, group in found for reason in group) != sorted(Reason):
        raise ValueError("core/reasons.py is not read whole: a reason a line, groups by `# ---`")
    return found


def _gaps(sentence: str) -> str:
    return _line(re.sub(r"\{(\w+)[^}]*\}", r"*\1*", sentence))


# --- metrics


def metrics() -> str:
    """Every metric, as a scrape of a process without objects finds it."""
    nothing: Any = SimpleNamespace(windows={}, calendars={}, pools={}, airflows={})
    kept = Metrics()
    kept.expose(nothing, leading=lambda: True, dropped=lambda: 0)
    said = (
        "# Metrics\n\nServed at `/metrics`. A series goes with its object. No label holds a title, a "
        "run id, a URL or the text of an error; `reason` is one of the [reasons](reasons.md).\n\n"
        "| metric | type | labels | meaning |\n|---|---|---|---|\n"
    )
    rows = []
    # Without samples only the collectors themselves know their labels, and nothing public asks.
    for collector in kept.registry._collector_to_names:  # noqa: SLF001
        for family in collector.collect():
            holder = collector if hasattr(collector, "_labelnames") else family
            labels = ", ".join(f"`{label}`" for label in getattr(holder, "_labelnames", ()) or ())
            name = family.name + ("_total" if family.type == "counter" else "")
            rows.append(
                f"| `{name}` | {family.type} | {labels} | {_line(family.documentation)} |\n"
            )
    return said + "".join(sorted(rows))


# --- commands


def commands() -> str:
    """Every command with its flags.

    Not the help as argparse lays it out, which differs between versions of Python.
    """
    said = [
        (
            "# Commands\n\nEvery command also takes `--log-format text|json` and `--log-level`. Exit "
            "codes: 0 well; 1 failed, or what was looked at is not well; 2 not usable as given.\n"
        )
    ]
    for name in command_line.command_names():
        parser = command_line.parser_of([name])
        said.append(f"\n## slackwater {name}\n\n{_line(parser.description or '')}\n")
        # argparse has no public list of its arguments.
        actions = [action for action in parser._actions if "--help" not in action.option_strings]  # noqa: SLF001
        rows = [_argument(action) for action in actions if action.dest not in _LOG_FLAGS]
        if rows:
            said.append("\n| argument | meaning |\n|---|---|\n" + "".join(rows))
    return "".join(said)


def _argument(action: argparse.Action) -> str:
    if action.choices is not None:
        value = "|".join(str(choice) for choice in action.choices)
    elif isinstance(action.metavar, tuple):
        value = " ".join(action.metavar)
    else:
        value = action.metavar or action.dest.upper()
    repeated = " ..." if action.nargs == "+" else ""
    names = ", ".join(action.option_strings)
    shown = names if action.nargs == 0 else f"{names} {value}{repeated}".strip()
    return f"| `{shown}` | {_line((action.help or '') % {'default': action.default})} |\n".replace(
        value, value.replace("|", "\\|")
    )


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def pages() -> dict[Path, str]:
    """What the folder must hold, by file."""
    made = {"fields": fields, "reasons": outcomes, "metrics": metrics, "commands": commands}
    return {PAGES / f"{name}.md": _MADE + page() for name, page in made.items()}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with --check say which ones differ."""
    wanted = pages()
    found = {path: path.read_text() for path in PAGES.glob("*.md")}
    differing = sorted(path for path in wanted | found if wanted.get(path) != found.get(path))
    if "--check" in arguments:
        for path in differing:
            sys.stderr.write(f"{path.relative_to(ROOT)} differs: run make generate\n")
        return 1 if differing else 0
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in differing:
        if path in wanted:
            path.write_text(wanted[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
