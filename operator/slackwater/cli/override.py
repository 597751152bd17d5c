"""`slackwater trigger | skip | suspend | resume`: a person's word about a TrainingWindow (R15)."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from slackwater.api.status import from_wire
from slackwater.cli.places import Place, add_place_flags, parse_ref, place_of
from slackwater.core.ledger import Line, State
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.ports import Stored
from slackwater.runtime.clock import SystemClock
from slackwater.runtime.records import SKIP_ANNOTATION, TRIGGER_ANNOTATION

_ID: Final = re.compile(r"[0-9a-f]{20}")
_SHORTEST: Final = 4  # letters of an id that may stand for all of it
_OPEN: Final = frozenset({State.PLANNED, State.WAITING})
_HELP: Final = {
    "trigger": (
        "ask for a run now",
        """Asks for one run now. It starts as soon as DAG, GPUs and everything else allow; after ten
        minutes the wish is forgotten. It goes past the calendar only where the grant of the
        AirflowInstance has allowOverride, and past the GPUs only where that of the GPUPool has.""",
    ),
    "skip": (
        "leave an occurrence out",
        """Has an occurrence start no run: the next one, or those whose ids are given. The ids stand
        in status.occurrences; their first letters are enough.""",
    ),
    "suspend": (
        "let a TrainingWindow start nothing more",
        """Stops starts and takes back runs that are still queued in Airflow. Runs that have begun
        go on.""",
    ),
    "resume": ("undo suspend", "Lets a suspended TrainingWindow start runs again."),
}


def add_parser(subparsers: Any) -> None:
    """Add the four commands and their flags."""
    for name, (summary, description) in _HELP.items():
        parser: argparse.ArgumentParser = subparsers.add_parser(
            name, help=summary, description=description
        )
        parser.add_argument("window", metavar="NAMESPACE/NAME", help="the TrainingWindow")
        if name == "skip":
            parser.add_argument("ids", metavar="ID", nargs="*", help="ids of occurrences")
        add_place_flags(parser)


def execute(args: argparse.Namespace) -> int:
    """Do what the command says. Raises SlackwaterError."""
    return asyncio.run(_execute(args))


async def _execute(args: argparse.Namespace) -> int:
    ref = parse_ref(args.window)
    async with place_of(args) as place:
        stored = await place.find(ref)
        return await _COMMANDS[args.command](place, stored, args)


# --- the four


async def _trigger(place: Place, stored: Stored, _: argparse.Namespace) -> int:
    ref = stored.key.ref
    if stored.spec.get("suspend") is True:
        return _no(f"{ref} is suspended and starts nothing; first `slackwater resume {ref}`.")
    wish = SystemClock().now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    await place.annotate(stored, TRIGGER_ANNOTATION, lambda _: wish)
    return _yes(
        f"{ref}: a run of DAG {_dag(stored)} was asked for; {place.taken_up()}, and gives the wish "
        f"up after 10 minutes. See `{place.see(ref)}`."
    )


async def _skip(place: Place, stored: Stored, args: argparse.Namespace) -> int:
    ref, lines = stored.key.ref, from_wire(stored.status).lines
    if args.ids:
        chosen = [_chosen(text, lines, stored) for text in args.ids]
    else:
        ahead = sorted(_ahead(lines), key=lambda line: (_start(line), line.id))
        if not ahead:
            return _no(
                f"{ref} has no occurrence that is open or planned within 12 hours, so there is "
                "nothing to skip; give an id to skip a later one."
            )
        chosen = [ahead[0].id]
    known = {line.id: line for line in lines}
    late = [id_ for id_ in chosen if id_ in known and known[id_].state not in _OPEN]
    if late:
        return _no(
            f"{ref}: {late[0]} is {known[late[0]].state} already, and skip does not undo that."
        )
    now = SystemClock().now()

    def added(current: Stored) -> str:
        before = [part.strip() for part in current.annotations.get(SKIP_ANNOTATION, "").split(",")]
        over = {line.id for line in from_wire(current.status).lines if _is_over(line, now)}
        kept = [part for part in before if part and part not in over]
        return ",".join(dict.fromkeys([*kept, *chosen]))

    await place.annotate(stored, SKIP_ANNOTATION, added)
    named = ", ".join(_named(id_, known.get(id_)) for id_ in chosen)
    return _yes(f"{ref}: {named} will start no run; {place.taken_up()}. See `{place.see(ref)}`.")


async def _suspend(place: Place, stored: Stored, _: argparse.Namespace) -> int:
    ref = stored.key.ref
    if stored.spec.get("suspend") is True:
        return _yes(f"{ref} is suspended already.")
    await place.suspend(stored, suspended=True)
    return _yes(
        f"{ref} is suspended: nothing starts, queued runs are taken back, running ones go on; "
        f"{place.taken_up()}. See `{place.see(ref)}`."
    )


async def _resume(place: Place, stored: Stored, _: argparse.Namespace) -> int:
    ref = stored.key.ref
    if stored.spec.get("suspend") is not True:
        return _yes(f"{ref} is not suspended.")
    await place.suspend(stored, suspended=False)
    return _yes(
        f"{ref} is resumed: what is open starts as soon as it may; {place.taken_up()}. See "
        f"`{place.see(ref)}`."
    )


_Command = Callable[[Place, Stored, argparse.Namespace], Awaitable[int]]
_COMMANDS: Final[dict[str, _Command]] = {
    "trigger": _trigger,
    "skip": _skip,
    "suspend": _suspend,
    "resume": _resume,
}


# --- pieces


def _yes(text: str) -> int:
    print(text)
    return 0


def _no(text: str) -> int:
    print(f"slackwater: {text}", file=sys.stderr)
    return 1


def _dag(stored: Stored) -> str:
    dag = stored.spec.get("dag")
    return str(dag.get("dagId", "-")) if isinstance(dag, dict) else "-"


def _chosen(text: str, lines: tuple[Line, ...], stored: Stored) -> str:
    """The id that a text stands for: of a line by its first letters, or written in full."""
    found = [line.id for line in lines if len(text) >= _SHORTEST and line.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail=f"{text} begins several ids ({', '.join(found[:3])}); write more of it.",
        )
    if _ID.fullmatch(text):
        return text  # an occurrence that is still further ahead than the ledger
    ahead = sorted(_ahead(lines), key=lambda line: (_start(line), line.id))
    hint = "see status.occurrences."
    if ahead:
        hint = f"open or planned are {', '.join(_named(x.id, x) for x in ahead[:5])}."
    raise ConfigError(
        Reason.INVALID_SPEC, detail=f"{stored.key.ref} has no occurrence {text}; {hint}"
    )


def _ahead(lines: tuple[Line, ...]) -> Iterator[Line]:
    return (line for line in lines if line.state in _OPEN)


def _start(line: Line) -> datetime:
    return line.window.start if line.window else datetime.max.replace(tzinfo=UTC)


def _is_over(line: Line, now: datetime) -> bool:
    return line.state.is_final and line.window is not None and line.window.end <= now


def _named(id_: str, line: Line | None) -> str:
    if line is None or line.window is None:
        return id_
    return f"{id_} ({line.entry}, {line.window.start.astimezone():%a %H:%M})"
