"""The form of an outcome in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One outcome in words.

    Attributes:
        sentence: what happened, with gaps in braces that `say` fills.
        remedy: what the reader can do; empty where nothing is wrong.
        warning: True where a Kubernetes Event about it is of type Warning.
    """

    sentence: str
    remedy: str = ""
    warning: bool = False
