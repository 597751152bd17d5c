"""What a `slackwater run` leaves in its data directory for the commands beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

_LAST_RUN: Final = "run.json"


def remember(manifests: tuple[Path, ...], data: Path) -> None:
    """Leave word of the manifests in the data directory, for commands beside this process."""
    word = {"manifests": [str(path.absolute()) for path in manifests]}
    fresh = data / f"{_LAST_RUN}.new"
    fresh.write_text(json.dumps(word), encoding="utf-8")
    fresh.replace(data / _LAST_RUN)


def last_manifests(data: Path) -> tuple[Path, ...]:
    """The manifests of the last `slackwater run` on a data directory; none where that is not known."""
    try:
        word = json.loads((data / _LAST_RUN).read_text(encoding="utf-8"))
        return tuple(Path(path) for path in word["manifests"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
