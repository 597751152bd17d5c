"""Calendars in a task: expanded, bounded, and silent about what they hold."""

from __future__ import annotations

import http.server
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slackwater_airflow import BadParameters, CalendarUnreadable, parse_event, read_calendar
from slackwater_airflow import calendar as module

START = datetime(2026, 3, 27, tzinfo=UTC)
CANARY = "kanarienvogel"


def ics(*entries: str) -> str:
    body = "".join(
        f"BEGIN:VEVENT\r\nUID:u{n}\r\nDTSTAMP:20260101T000000Z\r\n{entry}\r\nEND:VEVENT\r\n"
        for n, entry in enumerate(entries)
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{body}END:VCALENDAR\r\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "team.ics"


def test_a_series_is_expanded_at_wall_clock_time_across_a_change_of_clocks(file: Path) -> None:
    file.write_text(
        ics(
            "SUMMARY:train: llm\r\nDTSTART;TZID=Europe/Berlin:20260327T220000\r\n"
            "DTEND;TZID=Europe/Berlin:20260328T060000\r\nRRULE:FREQ=DAILY;COUNT=3\r\n"
            "CATEGORIES:training,gpu\r\nDESCRIPTION:lr=0.1\\nresume=true"
        )
    )
    events = read_calendar(file, start=START, end=START + timedelta(days=7))

    assert [e.start.hour for e in events] == [21, 21, 20]
    assert [e.end - e.start for e in events][1] == timedelta(hours=7)
    assert events[0].summary == "train: llm"
    assert events[0].categories == ("training", "gpu")
    assert events[0].parameters == {"lr": 0.1, "resume": True}
    assert events[0].is_open(events[0].start)
    assert not events[0].is_open(events[0].end)
    assert "llm" not in repr(events)


def test_days_and_floating_times_are_of_the_zone_that_is_given(file: Path) -> None:
    file.write_text(
        ics("DTSTART;VALUE=DATE:20260401", "DTSTART:20260402T090000\r\nDTEND:20260402T100000")
    )
    day, hour = read_calendar(
        str(file), start=START, end=START + timedelta(days=9), time_zone="Europe/Berlin"
    )
    assert day.all_day
    assert day.start == datetime(2026, 3, 31, 22, tzinfo=UTC)
    assert day.end - day.start == timedelta(days=1)
    assert hour.start == datetime(2026, 4, 2, 7, tzinfo=UTC)


def test_cancelled_events_and_those_outside_are_left_out(file: Path) -> None:
    file.write_text(
        ics(
            "DTSTART:20260328T090000Z\r\nDTEND:20260328T100000Z\r\nSTATUS:CANCELLED",
            "DTSTART:20260326T090000Z\r\nDTEND:20260327T000000Z",
            "DTSTART:20260326T090000Z\r\nDTEND:20260327T000001Z",
        )
    )
    assert len(read_calendar(file, start=START)) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no iCalendar"),
        (f"<html>{CANARY}", "no iCalendar"),
        (ics(f"DTSTART:{CANARY}"), "no iCalendar"),
        (ics("DTSTART:20260327T000000Z\r\nRRULE:FREQ=SECONDLY"), "by the second"),
    ],
)
def test_what_cannot_be_read_is_said_without_a_word_of_it(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(CalendarUnreadable, match=said) as refused:
        read_calendar(file, start=START)
    assert CANARY not in str(refused.value)


def test_a_calendar_that_is_too_large_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(ics(*["DTSTART:20260328T090000Z\r\nDTEND:20260328T100000Z"] * 5))
    monkeypatch.setattr(module, "MAX_EVENTS", 4)
    with pytest.raises(CalendarUnreadable, match="fewer days"):
        read_calendar(file, start=START)
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(CalendarUnreadable, match="MiB"):
        read_calendar(file, start=START)


def test_arguments_that_cannot_work_are_named(file: Path) -> None:
    with pytest.raises(ValueError, match="either a source or a connection"):
        read_calendar()
    with pytest.raises(ValueError, match="need a time zone"):
        read_calendar(file, start=datetime(2026, 1, 1))
    with pytest.raises(CalendarUnreadable, match="FileNotFoundError"):
        read_calendar(file)
    for address in ("http://team.example/secret.ics", "file:///etc/passwd", "ftp://x/y"):
        with pytest.raises(CalendarUnreadable, match="https") as refused:
            read_calendar(address)
        assert "secret" not in str(refused.value)


def test_an_address_that_does_not_answer_stands_in_no_message() -> None:
    with pytest.raises(CalendarUnreadable) as refused:
        read_calendar(f"https://127.0.0.1:9/{CANARY}.ics", headers={"Authorization": CANARY})
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_redirect_away_from_https_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # The check of the first address is passed by hand: a certificate is not what is tested.
        address = f"http://127.0.0.1:{server.server_port}/"

        class Https(str):
            __slots__ = ()

            def startswith(self, *_: object) -> bool:
                return True

        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(CalendarUnreadable, match="without HTTPS"):
            module._fetched(Https(address), {})
        server.shutdown()


def test_a_description_is_read_as_the_operator_reads_it() -> None:
    from slackwater.core import conf

    assert conf.parameters is not None
    assert parse_event("<p>lr=0.1</p>") == {"lr": 0.1}
    assert parse_event(None) == {}
    with pytest.raises(BadParameters):
        parse_event("```json\n{")
    assert parse_event.__globals__["parameters"] is conf.parameters
