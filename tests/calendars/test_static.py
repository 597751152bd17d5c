"""Events written into the Calendar itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from slackwater.calendars.static import StaticConfig, _document
from slackwater.core.event import Busy, Warned
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from tests.calendars.support import HORIZON, NOW, at, dark, opened, readable, spans, starts


def event(**changes: object) -> dict[str, object]:
    given = {
        "uid": "a",
        "summary": "train: llm",
        "start": "2026-04-01T22:00:00",
        "end": "2026-04-02T06:00:00",
    }
    return {key: value for key, value in {**given, **changes}.items() if value is not None}


async def read(expander, *events, **options):
    source = opened("static", {"events": list(events)}, expander, **options)
    return (await source.fetch(HORIZON, None, NOW)).snapshot


@pytest.mark.asyncio(loop_scope="session")
class TestReading:
    async def test_events_are_given_with_their_fields(self, expander) -> None:
        snapshot = await read(
            expander,
            event(
                start="2026-04-01T22:00:00+02:00",
                end="2026-04-02T06:00:00+02:00",
                description="gpus=8\nlr=0.1; a, b \\ c",
                categories=["training", "a,b"],
                busy="OutOfOffice",
            ),
            privacy=Privacy.DETAILS,
        )
        (found,) = snapshot.events
        assert spans(snapshot.events) == ["04-01T20:00/04-02T04:00"]
        assert found.summary == "train: llm"
        assert found.description == "gpus=8\nlr=0.1; a, b \\ c"
        assert found.categories == ("training", "a,b")
        assert found.busy is Busy.OUT_OF_OFFICE
        assert found.own

    async def test_local_times_are_of_the_calendars_zone_or_of_the_training_window(
        self, expander
    ) -> None:
        known = await read(expander, event(), zone="Europe/Berlin")
        assert spans(known.events) == ["04-01T20:00/04-02T04:00"]
        assert known.events[0].wall is None
        unknown = await read(expander, event())
        assert unknown.events[0].wall is not None

    async def test_a_day_ends_where_the_next_begins(self, expander) -> None:
        day = event(start="2026-04-01", end="2026-04-02", allDay=True)
        snapshot = await read(expander, day, zone="Europe/Berlin")
        assert spans(snapshot.events) == ["03-31T22:00/04-01T22:00"]
        assert snapshot.events[0].all_day

    async def test_an_event_repeats(self, expander) -> None:
        weekly = event(rrule="FREQ=WEEKLY;COUNT=2")
        snapshot = await read(expander, weekly, zone="Europe/Berlin")
        assert starts(snapshot.events) == ["04-01T20:00", "04-08T20:00"]
        assert len({e.key for e in snapshot.events}) == 2

    async def test_a_rule_that_cannot_be_expanded_is_reported(self, expander) -> None:
        snapshot = await read(expander, event(rrule="FREQ=SECONDLY"), event(uid="b"))
        assert len(readable(snapshot.events)) == len(dark(snapshot.events)) == 1
        assert snapshot.warnings == (Warned(Reason.SERIES_SKIPPED, 1),)

    async def test_nothing_changes_until_the_horizon_moves(self, expander) -> None:
        source = opened("static", {"events": [event()]}, expander)
        first = await source.fetch(HORIZON, None, NOW)
        assert (await source.fetch(HORIZON, first.state, NOW)).snapshot is None
        later = Span(at("2026-04-02"), at("2026-05-01"))
        assert (await source.fetch(later, first.state, NOW)).snapshot is not None
        other = opened("static", {"events": [event(uid="b")]}, expander)
        assert (await other.fetch(HORIZON, first.state, NOW)).snapshot is not None

    async def test_a_moved_event_keeps_its_key_and_calendars_do_not_share_keys(
        self, expander
    ) -> None:
        one = await read(expander, event())
        moved = await read(expander, event(start="2026-04-01T23:00:00"))
        other = await read(expander, event(), name="other")
        assert one.events[0].key == moved.events[0].key != other.events[0].key


@pytest.mark.parametrize(
    "changes",
    [
        {"start": "2026-02-30T10:00:00"},
        {"start": "2026-04-03T10:00:00"},
        {"start": "2026-04-01"},
        {"allDay": True},
        {"start": "2026-04-01", "end": "2026-04-01", "allDay": True},
        {"start": "2026-04-01T10:00:00Z"},
        {"start": "tomorrow"},
        {"rrule": "RRULE:FREQ=DAILY"},
        {"rrule": "FREQ=DAILY\r\nATTENDEE:x"},
        {"uid": "a\nb"},
        {"uid": ""},
        {"busy": "busy"},
        {"colour": "red"},
    ],
)
def test_an_event_that_cannot_work_is_refused(changes) -> None:
    with pytest.raises(ValidationError):
        StaticConfig.model_validate({"events": [event(**changes)]})


def test_uids_are_unique() -> None:
    with pytest.raises(ValidationError, match="uid"):
        StaticConfig.model_validate({"events": [event(), event()]})


@given(
    st.text(max_size=200),
    st.text(max_size=200),
    st.lists(st.text(min_size=1, max_size=64), max_size=3),
)
def test_no_text_can_become_a_property(summary, description, categories) -> None:
    config = StaticConfig.model_validate(
        {"events": [event(summary=summary, description=description, categories=categories)]}
    )
    plain = StaticConfig.model_validate(
        {"events": [event(description="x", categories=["x"] if categories else None)]}
    )
    names = [line.split(b":", 1)[0] for line in _document(config).splitlines() if line]
    assert names == [line.split(b":", 1)[0] for line in _document(plain).splitlines() if line]
