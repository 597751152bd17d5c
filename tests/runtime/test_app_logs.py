"""The log, as people and as machines read it."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime

import pytest

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import StoreError
from slackwater.ports import Key, Kind
from slackwater.runtime.logs import LoggedFaults, TransitionLog, configure
from slackwater.runtime.settings import LogSettings

NIGHTLY = Key(Kind.TRAINING_WINDOW, Ref("research", "nightly"))
POOL = Key(Kind.GPU_POOL, Ref("research", "box"))
LOG = logging.getLogger("slackwater.engine")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, format_: str = "text", level: str = "info") -> io.StringIO:
    configure(LogSettings(format_, level), stream)
    return stream


def test_a_transition_on_a_terminal_is_time_object_reason_and_sentence() -> None:
    stream = told(Terminal())
    TransitionLog().record(
        NIGHTLY, warning=False, reason="Running", action="Reconcile", note="It runs."
    )
    at, _, text = stream.getvalue().partition(" ")

    assert datetime.strptime(at, "%H:%M:%S").replace(tzinfo=UTC)
    assert text == "research/nightly Running: It runs.\n"


def test_elsewhere_the_date_and_what_is_no_information_stand_with_it() -> None:
    stream = told(io.StringIO())
    TransitionLog().record(
        POOL, warning=True, reason="NoData", action="Reconcile", note="No numbers."
    )
    at, level, text = stream.getvalue().split(" ", 2)

    assert datetime.fromisoformat(at).tzinfo is not None
    assert level == "WARNING"
    assert text == "GPUPool research/box NoData: No numbers.\n"


def test_a_line_of_json_has_the_object_and_the_reason() -> None:
    stream = told(io.StringIO(), "json")
    TransitionLog().record(NIGHTLY, warning=False, reason="Running", action="x", note="Läuft.")
    LOG.warning("%s: %s", POOL, StoreError(Reason.TIMEOUT, what="The API"))
    first, second = map(json.loads, stream.getvalue().splitlines())

    assert first["message"] == "research/nightly Running: Läuft."
    assert first["level"] == "info"
    assert first["time"].endswith("Z")
    about = {name: first[name] for name in ("kind", "namespace", "name", "reason")}
    assert about == {
        "kind": "TrainingWindow",
        "namespace": "research",
        "name": "nightly",
        "reason": "Running",
    }
    assert (second["kind"], second["name"], second["reason"]) == ("GPUPool", "box", "Timeout")
    assert second["logger"] == "slackwater.engine"


def test_a_line_of_json_keeps_a_traceback_within_it() -> None:
    stream = told(io.StringIO(), "json")
    LOG.error("it broke", exc_info=LookupError("gone"))
    (line,) = stream.getvalue().splitlines()

    assert "LookupError: gone" in json.loads(line)["exception"]


def test_what_others_answer_cannot_begin_a_line_of_its_own() -> None:
    stream = told(io.StringIO())
    LOG.info("Airflow refuses: %s", "no\n2026-11-23T21:00:00+00:00 research/x Started\x1b[2J")

    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_a_traceback_stands_below_its_line() -> None:
    stream = told(io.StringIO())
    LOG.error("it broke", exc_info=LookupError("gone"))

    assert stream.getvalue().splitlines()[0].endswith("ERROR it broke ")
    assert stream.getvalue().endswith("LookupError: gone\n")


def test_only_our_own_loggers_follow_the_level() -> None:
    stream = told(io.StringIO(), level="info")
    logging.getLogger("kopf.objects").info("handled")
    logging.getLogger("aiohttp.server").info("asked")
    logging.getLogger("somebody").info("chatter")
    LOG.debug("detail")
    LOG.info("ours")
    assert stream.getvalue().splitlines()[0].endswith("ours")
    assert len(stream.getvalue().splitlines()) == 1

    stream = told(io.StringIO(), level="debug")
    logging.getLogger("kopf.objects").debug("handled")
    LOG.debug("detail")
    logging.getLogger("somebody").info("chatter")
    lines = stream.getvalue().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "DEBUG kopf.objects handled",
        "DEBUG slackwater.engine detail",
    ]


@pytest.mark.parametrize("level", ["debug", "error"])
@pytest.mark.parametrize("name", ["caldav", "urllib3.connectionpool", "niquests", "icalendar"])
def test_libraries_that_quote_addresses_and_titles_are_never_heard(level: str, name: str) -> None:
    stream = told(io.StringIO(), level=level)
    logging.getLogger(name).critical("https://calendar.example/secret-feed: SUMMARY:layoffs")

    assert stream.getvalue() == ""


def test_faults_are_in_the_log_beside_the_events_and_good_news_is_not() -> None:
    stream, passed_on = told(io.StringIO(), "json"), []

    class Events:
        def record(self, key: Key, **said: object) -> None:
            passed_on.append((key, said["reason"]))

    recorder = LoggedFaults(Events())
    recorder.record(POOL, warning=True, reason="NoData", action="Reconcile", note="No numbers.")
    recorder.record(NIGHTLY, warning=False, reason="Running", action="Reconcile", note="It runs.")

    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["level"], line["kind"], line["name"]) == ("warning", "GPUPool", "box")
    assert (line["reason"], line["message"]) == (
        "NoData",
        "GPUPool research/box NoData: No numbers.",
    )
    assert passed_on == [(POOL, "NoData"), (NIGHTLY, "Running")]
