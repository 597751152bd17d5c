"""The log: lines for people, or one JSON object per line.

Only our own loggers follow the level that is asked for. Client libraries quote addresses of feeds,
bodies and titles in what they log, which no log of ours may hold (R13); their failures reach the
log as sentences of ours.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Final

from slackwater.errors import SlackwaterError
from slackwater.ports import Key, Kind, Recorder
from slackwater.runtime.settings import LogSettings

_EVENTS: Final = logging.getLogger("slackwater.events")
_OURS: Final = "slackwater"
_SILENCED: Final = (
    "caldav",
    "icalendar",
    "msal",
    "niquests",
    "requests",
    "urllib3",
    "urllib3_future",
)
_QUIET: Final = ("aiohttp", "kopf")


def configure(settings: LogSettings, stream: IO[str] | None = None) -> None:
    """Send the log to `stream`, standard error where none is given; replaces what was set up."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    if settings.format == "json":
        handler.setFormatter(_JsonLines())
    else:
        handler.setFormatter(_Lines(short=stream.isatty(), debug=settings.level == "debug"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    logging.getLogger(_OURS).setLevel(level)
    for name in _QUIET:
        quiet = logging.DEBUG if level == logging.DEBUG else logging.WARNING
        logging.getLogger(name).setLevel(quiet)
    # Its warnings are about kubeconfigs, of which our own errors tell.
    logging.getLogger("kubernetes").setLevel(logging.ERROR)
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class TransitionLog:
    """Implements `ports.Recorder` for `slackwater run`: one line of the log for each transition."""

    dropped: Final = 0

    def record(self, key: Key, *, warning: bool, reason: str, action: str, note: str) -> None:  # noqa: ARG002 - the port names it
        """Say it in the log."""
        name = str(key.ref) if key.kind is Kind.TRAINING_WINDOW else str(key)
        level = logging.WARNING if warning else logging.INFO
        _EVENTS.log(level, "%s %s: %s", name, reason, note, extra={"object": key, "reason": reason})


class LoggedFaults:
    """A `ports.Recorder` that says faults in the log before another recorder takes everything.

    Events are gone after an hour, and not everybody who runs an operator may read them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._log = TransitionLog()

    def record(self, key: Key, *, warning: bool, reason: str, action: str, note: str) -> None:
        """Say it in the log where it is a fault, and pass it on."""
        if warning:
            self._log.record(key, warning=warning, reason=reason, action=action, note=note)
        self._recorder.record(key, warning=warning, reason=reason, action=action, note=note)


class _Lines(logging.Formatter):
    """`21:58:03 research/nightly-llm Triggered: …`; the date too where it is no terminal."""

    def __init__(self, *, short: bool, debug: bool) -> None:
        super().__init__()
        self._short, self._debug = short, debug

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        words = [f"{at:%H:%M:%S}" if self._short else at.isoformat(timespec="seconds")]
        if record.levelno != logging.INFO:
            words.append(record.levelname)
        if self._debug:
            words.append(record.name)
        # What Airflow answers may stand in a message: it stays one line.
        words.append("".join(c if c.isprintable() else " " for c in record.getMessage()))
        if record.exc_info:
            words.append(f"\n{self.formatException(record.exc_info)}")
        return " ".join(words)


class _JsonLines(logging.Formatter):
    """Time, level, logger and message; the object and the reason where the line is about one."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        key, reason = _about(record)
        if key is not None:
            line |= {"kind": key.kind, "namespace": key.ref.namespace, "name": key.ref.name}
        if reason is not None:
            line["reason"] = reason
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _about(record: logging.LogRecord) -> tuple[Key | None, str | None]:
    """The object and the reason that a record tells of, from what it was made with."""
    given = record.args.values() if isinstance(record.args, Mapping) else record.args or ()
    key: Key | None = getattr(record, "object", None)
    reason: str | None = getattr(record, "reason", None)
    for value in given:
        if key is None and isinstance(value, Key):
            key = value
        if reason is None and isinstance(value, SlackwaterError):
            reason = value.reason.value
    return key, reason
