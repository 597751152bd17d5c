"""What the commands that only look share: their flags, tables, and times as people read them."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import zip_longest
from typing import IO, Final
from zoneinfo import ZoneInfo

from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.core.zone import instant
from slackwater.errors import ConfigError

Moment = datetime | date
"""An instant in UTC, or a date: the day as it is in each TrainingWindow's time zone."""

_NOT_A_TERMINAL: Final = 10_000
_NARROWEST: Final = 12
# Within it, a day of the week says which day is meant.
_WEEK: Final = timedelta(days=6)
_GAP: Final = "  "
_PAINT: Final = re.compile(r"\033\[[0-9;]*m")
_WIDE: Final = frozenset("WF")


# --- flags -------------------------------------------------------------------------------------


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say where the objects are: in directories of manifests, else in a cluster."""
    directory = parser.add_argument_group("manifests")
    directory.add_argument(
        "--manifests",
        metavar="DIR",
        nargs="+",
        action="extend",
        help="directories, read recursively, or files with manifests",
    )
    directory.add_argument(
        "--data", metavar="DIR", help="where `slackwater run` keeps its state (./.slackwater)"
    )
    directory.add_argument(
        "--secrets", metavar="DIR", help="where secrets are: DIR/<namespace>/<name>/<key>"
    )
    cluster = parser.add_argument_group("cluster, where no manifests are named")
    cluster.add_argument("--kubeconfig", metavar="FILE", help="instead of $KUBECONFIG")
    cluster.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig; its current one"
    )
    cluster.add_argument(
        "-n",
        "--namespace",
        metavar="NS",
        action="append",
        help="look at this namespace only; may be repeated",
    )
    parser.add_argument(
        "--allow-network",
        "--allow-networks",
        metavar="CIDR",
        action="append",
        help="as for `slackwater run` and `slackwater operator`; may be repeated",
    )
    parser.add_argument(
        "--calendar-host",
        metavar="HOST",
        action="append",
        help="as for `slackwater run` and `slackwater operator`; may be repeated",
    )
    parser.add_argument(
        "--identities",
        metavar="FILE",
        help="as for `slackwater run` and `slackwater operator`",
    )
    parser.add_argument(
        "--google-endpoint",
        metavar="URL",
        help="a server in place of Google's, such as an emulator: its origin",
    )


def add_output_flag(parser: argparse.ArgumentParser, first: str) -> None:
    """`-o`: how to print, `first` where nothing is said, or `json`."""
    parser.add_argument(
        "-o", "--output", choices=(first, "json"), default=first, help=f"how to print ({first})"
    )


def window_ref(text: str) -> Ref:
    """`NS/NAME` as a reference."""
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise argparse.ArgumentTypeError(
            f"{text} names no TrainingWindow; write NAMESPACE/NAME, such as research/nightly-llm"
        )
    return Ref(namespace, name)


def named(
    args: argparse.Namespace, field: str, parse: Callable[[str], Ref], otherwise: str
) -> argparse.Namespace:
    """The flags with a name, also where it stood behind `--manifests DIR`.

    argparse takes it for another directory there.

    Args:
        args: the flags.
        field: of them that is to hold the name.
        parse: reads it.
        otherwise: what to do where there is none.

    Raises:
        ConfigError: there is none.
    """
    if getattr(args, field) is not None:
        return args
    *manifests, last = args.manifests or [""]
    try:
        ref = parse(last)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(Reason.INVALID_SPEC, detail=otherwise) from error
    return argparse.Namespace(**{**vars(args), field: ref, "manifests": manifests})


def named_window(args: argparse.Namespace, command: str) -> argparse.Namespace:
    """`named` for a command that is about one TrainingWindow. Raises ConfigError."""
    otherwise = f"Name a TrainingWindow: slackwater {command} NAMESPACE/NAME."
    return named(args, "window", window_ref, otherwise)


def moment(text: str) -> Moment:
    """A flag's time: RFC 3339 with its offset, or a date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"{text} is neither a date, such as 2026-12-20, nor a time with its offset, "
            "such as 2026-12-20T22:00:00Z"
        )
    return at.astimezone(UTC)


def instant_of(at: Moment, where: ZoneInfo) -> datetime:
    """The instant; of a date, the first of that day in the zone."""
    return at if isinstance(at, datetime) else instant(datetime.combine(at, time()), where)


# --- times -------------------------------------------------------------------------------------


def write_span(span: Span, where: ZoneInfo, *, dated: bool = True) -> str:
    """A span in a zone; the zone's letters stand at both ends where clocks change inside it.

    Args:
        span: what to write.
        where: the zone.
        dated: with the date; else only days of the week, for what stands beside its date.

    >>> from slackwater.core.zone import zone
    >>> night = Span(datetime(2026, 11, 23, 21, tzinfo=UTC), datetime(2026, 11, 24, 5, tzinfo=UTC))
    >>> write_span(night, zone("Europe/Berlin"))
    'Mon 2026-11-23 22:00 - Tue 06:00'
    """
    first, last = span.start.astimezone(where), span.end.astimezone(where)
    letters = "" if first.utcoffset() == last.utcoffset() else " %Z"
    dated = dated or last - first >= _WEEK
    begin = f"{first:%a %Y-%m-%d %H:%M{letters}}" if dated else f"{first:%a %H:%M{letters}}"
    if first.date() == last.date():
        return f"{begin} - {last:%H:%M{letters}}"
    if last - first < _WEEK:
        return f"{begin} - {last:%a %H:%M{letters}}"
    return f"{begin} - {last:%a %Y-%m-%d %H:%M{letters}}"


def write_instant(at: datetime, where: ZoneInfo) -> str:
    """An instant in a zone, with its day."""
    return f"{at.astimezone(where):%a %Y-%m-%d %H:%M}"


def write_length(length: timedelta) -> str:
    """A length of time, to the minute; to the second where it is shorter.

    >>> write_length(timedelta(hours=7, minutes=12, seconds=20))
    '7 h 12 m'
    """
    seconds = round(length.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} m"
    return f"{hours} h {minutes} m" if minutes else f"{hours} h"


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "event"), counted(2, "event")
    ('1 event', '2 events')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- tables ------------------------------------------------------------------------------------


def columns(rows: Iterable[Sequence[str]], width: int, indent: str = "") -> Iterator[str]:
    """Rows as lines in aligned columns, no wider than `width` where words allow it.

    The widest column is narrowed first, and what does not fit into a cell goes on below it; a cell
    may also hold several lines.

    >>> list(columns([("NAME", "SIZE"), ("a", "1"), ("long", "20")], 80))
    ['NAME  SIZE', 'a     1', 'long  20']
    """
    table = [[cell.split("\n") for cell in row] for row in rows]
    widths = [
        max((_width(line) for cell in column for line in cell), default=0)
        for column in zip_longest(*table, fillvalue=[""])
    ]
    room = max(_NARROWEST, width - len(indent) - len(_GAP) * (len(widths) - 1))
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    for row in table:
        cells = [
            [part for line in cell for part in _wrapped(line, size)]
            for cell, size in zip(row, widths, strict=False)
        ]
        for lines in zip_longest(*cells, fillvalue=""):
            padded = [
                line + " " * (size - _width(line))
                for line, size in zip(lines, widths, strict=False)
            ]
            yield (indent + _GAP.join(padded)).rstrip()


def paragraph(text: str, width: int, indent: str = "") -> Iterator[str]:
    """A text in lines no wider than `width`; the second and later ones two spaces in."""
    yield from textwrap.wrap(
        text,
        max(_NARROWEST, width),
        initial_indent=indent,
        subsequent_indent=indent + ("  " if indent else ""),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def _wrapped(line: str, size: int) -> list[str]:
    if _width(line) <= size:
        return [line]
    return textwrap.wrap(line, size, break_long_words=True, break_on_hyphens=False) or [""]


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: letters of East Asia take two."""
    plain = _PAINT.sub("", text)
    if plain.isascii():
        return len(plain)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in _WIDE)
        for letter in plain
    )


# --- the terminal ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Screen:
    """What the output can show.

    Attributes:
        width: of a line, in characters; very wide where the output is no terminal.
        colours: whether to paint.
        terminal: it is the user's own terminal.
        unicode: it takes more than ASCII.
    """

    width: int
    colours: bool = False
    terminal: bool = False
    unicode: bool = True

    @classmethod
    def of(cls, stream: IO[str] | None = None) -> Screen:
        """The screen behind a stream, standard output where none is given."""
        stream = stream or sys.stdout
        terminal = stream.isatty()
        width = shutil.get_terminal_size((_NOT_A_TERMINAL, 24)).columns
        if not terminal and "COLUMNS" not in os.environ:
            width = _NOT_A_TERMINAL
        # https://no-color.org: any value that is not empty.
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        return cls(width, terminal and not plain, terminal, encoding.startswith("utf"))

    def bold(self, text: str) -> str:
        """For headings."""
        return self._painted(text, "1")

    def good(self, text: str) -> str:
        """For what is well."""
        return self._painted(text, "32")

    def bad(self, text: str) -> str:
        """For what is not."""
        return self._painted(text, "31")

    def odd(self, text: str) -> str:
        """For what deserves a look."""
        return self._painted(text, "33")

    def _painted(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colours and text else text
