"""The Dockerfile as instructions, read as Docker's reference describes them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """(name, the rest) of each, in order; continued lines are joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def stages() -> list[tuple[str, list[tuple[str, str]]]]:
    """(what follows FROM, the stage's instructions) of each stage, in order."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append((rest, []))
        else:
            found[-1][1].append((name, rest))
    return found
