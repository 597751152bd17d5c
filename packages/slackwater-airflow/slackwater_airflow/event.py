"""Event descriptions in any task, read by the same parser as the operator's."""

from __future__ import annotations

from typing import Any

from slackwater_windows.parameters import BadParameters, parameters

__all__ = ["BadParameters", "parse_event"]


def parse_event(description: str | None) -> dict[str, Any]:
    r"""The parameters in an event's description: `name=value` lines, fenced JSON or YAML.

    HTML, as Outlook and Google write it, is reduced to text first.

    Raises:
        BadParameters: a block cannot be read, or there is too much of it; quotes nothing.

    >>> parse_event("Nightly run\nlr=0.1\nresume=true")
    {'lr': 0.1, 'resume': True}
    """
    return parameters(description or "")
