"""The windows file that the operator keeps: read when it is asked for, once per change.

Only this local file is ever read, never the network, so that the scheduler, the dag processor and the
triggerer cannot hang on it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from slackwater_windows.document import Document
from slackwater_windows.wire import MAX_READ, BadDocument, decode

VARIABLE: Final = "SLACKWATER_WINDOWS_FILE"
DEFAULT: Final = Path("/etc/slackwater/windows.json")
_Stamp = tuple[int, int, int]
_read: dict[Path, tuple[_Stamp, Document]] = {}


def place(file: str | os.PathLike[str] | None = None) -> Path:
    """Where the windows file is: as told, else as $SLACKWATER_WINDOWS_FILE, else the default."""
    return Path(file or os.environ.get(VARIABLE) or DEFAULT)


def load(file: str | os.PathLike[str] | None = None) -> Document | None:
    """The document; None where there is no file.

    Raises:
        BadDocument: it cannot be read; the message says what to do.
    """
    path = place(file)
    try:
        # A ConfigMap's file is a link that is moved to another file, so the file it leads to counts.
        found = path.stat()
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = _read.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        if found.st_size > MAX_READ:
            raise BadDocument(f"{path} is too large for a windows file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadDocument(f"{path} cannot be read ({type(error).__name__})") from None
    document = decode(text)
    _read[path] = (stamp, document)
    return document
