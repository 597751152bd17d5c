"""Events written into the Calendar itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from slackwater.calendars.expand import Source
from slackwater.calendars.provider import ICALENDAR_FIELDS, Opening, Provider, fetched, usable
from slackwater.calendars.turns import Limits
from slackwater.core.event import Busy
from slackwater.core.span import Span
from slackwater.ports import Fetched, FetchState
from slackwater.wire import WireModel

_TIME: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?$"
)
_RULE: Final = r"^FREQ=[A-Z]+(;[A-Z]+=[A-Z0-9,+-]+)*$"

_DAYS_OR_TIMES_MESSAGE: Final = (
    "start and end are dates, such as 2026-12-24, if allDay is true, and times, such as "
    "2026-12-24T22:00:00Z, if it is not: correct the one that differs"
)
_DAYS_OR_TIMES: Final = (
    "[self.start, self.end].all(t, t.contains('T') != (has(self.allDay) && self.allDay))"
)
_SAME_FORM_MESSAGE: Final = (
    "start and end must both name an offset or both be local times: add or remove one"
)
_OFFSET: Final = "'T.*(Z|[+-][0-9]{2}:[0-9]{2})$'"
_SAME_FORM: Final = f"self.start.matches({_OFFSET}) == self.end.matches({_OFFSET})"

Moment = Annotated[str, Field(min_length=10, max_length=25, pattern=_TIME)]


class StaticEvent(WireModel):
    """One event, or one series of events."""

    rules = ((_DAYS_OR_TIMES, _DAYS_OR_TIMES_MESSAGE), (_SAME_FORM, _SAME_FORM_MESSAGE))

    uid: Annotated[
        str,
        Field(
            min_length=1,
            max_length=255,
            pattern=r"^[!-~]+$",
            description="Identity of the event, unique in this calendar: keep it when you move "
            "the event.",
        ),
    ]
    summary: Annotated[
        str,
        Field(
            max_length=256, repr=False, description="Title, which entries match by `match.summary`."
        ),
    ]
    description: Annotated[
        str | None,
        Field(
            max_length=8192,
            repr=False,
            description="Free text; its key=value lines are parameters at privacy Details.",
        ),
    ] = None
    categories: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=64)], ...],
        Field(
            max_length=16,
            repr=False,
            description="Labels, which entries match by `match.categories`.",
        ),
    ] = ()
    start: Annotated[
        Moment,
        Field(
            description="When it begins: with an offset, or a local time in the calendar's time "
            "zone, or a date if allDay is true."
        ),
    ]
    end: Annotated[
        Moment,
        Field(description="When it ends, in the form of start; of days, the first one after it."),
    ]
    all_day: Annotated[
        bool, Field(description="Whether it lasts whole days; start and end are dates then.")
    ] = False
    rrule: Annotated[
        str | None,
        Field(
            min_length=10,
            max_length=512,
            pattern=_RULE,
            description="How it repeats, by RFC 5545, such as FREQ=WEEKLY;BYDAY=SA.",
        ),
    ] = None
    busy: Annotated[Busy, Field(description="How it blocks time.")] = Busy.BUSY

    @field_validator("start", "end")
    @classmethod
    def _exists(cls, text: str) -> str:
        _moment(text)
        return text

    @model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        if any(("T" in text) == self.all_day for text in (self.start, self.end)):
            raise ValueError(_DAYS_OR_TIMES_MESSAGE)
        start, end = _moment(self.start), _moment(self.end)
        if (start.tzinfo is None) != (end.tzinfo is None):
            raise ValueError(_SAME_FORM_MESSAGE)
        if start >= end:
            raise ValueError("end must be after start: correct one of them")
        return self


class StaticConfig(WireModel):
    """Events written here, for dates that no calendar program needs to know."""

    events: Annotated[
        tuple[StaticEvent, ...],
        Field(
            max_length=128,
            description="The events.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
            },
        ),
    ]

    @model_validator(mode="after")
    def _has_distinct_uids(self) -> Self:
        uids = [event.uid for event in self.events]
        for uid in uids:
            if uids.count(uid) > 1:
                raise ValueError(f"two events have the uid {uid}: give each one of its own")
        return self


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a time that exists: correct it") from None


class StaticSource:
    """Gives the events of the manifest, expanded like those of any feed."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        assert isinstance(opening.config, StaticConfig)
        self._document = _document(opening.config)
        self._config_hash = opening.digest()

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        """See `CalendarSource.fetch`; only another horizon is a change."""
        if state is not None and usable(state, self._config_hash, horizon):
            return Fetched(None, state)
        opening = self._opening
        name = f"static:{opening.ref}"
        source = Source(calendar_id=name, uids=name, privacy=opening.privacy, zone=opening.zone)
        expansion = await opening.expand([self._document], horizon, source)
        return fetched(self._config_hash, horizon, {}, expansion, now)

    async def aclose(self) -> None:
        """Nothing is open."""


def _document(config: StaticConfig) -> bytes:
    """The events as iCalendar (RFC 5545), so that they mean what they mean in a feed."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0"]
    for event in config.events:
        lines += ["BEGIN:VEVENT", *_lines(event), "END:VEVENT"]
    lines += ["END:VCALENDAR", ""]
    return "\r\n".join(lines).encode()


_STATUS: Final = {
    Busy.FREE: "FREE",
    Busy.TENTATIVE: "TENTATIVE",
    Busy.BUSY: "BUSY",
    Busy.OUT_OF_OFFICE: "OOF",
    Busy.WORKING_ELSEWHERE: "WORKINGELSEWHERE",
}


def _lines(event: StaticEvent) -> Iterator[str]:
    yield f"UID:{event.uid}"
    yield f"DTSTART{_time(event.start)}"
    yield f"DTEND{_time(event.end)}"
    yield f"SUMMARY:{_escaped(event.summary)}"
    yield f"X-MICROSOFT-CDO-BUSYSTATUS:{_STATUS[event.busy]}"
    if event.description is not None:
        yield f"DESCRIPTION:{_escaped(event.description)}"
    if event.categories:
        yield f"CATEGORIES:{','.join(_escaped(category) for category in event.categories)}"
    if event.rrule is not None:
        yield f"RRULE:{event.rrule}"


def _time(text: str) -> str:
    if "T" not in text:
        return f";VALUE=DATE:{date.fromisoformat(text):%Y%m%d}"
    moment = _moment(text)
    if moment.tzinfo is None:
        return f":{moment:%Y%m%dT%H%M%S}"
    return f":{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    """TEXT of RFC 5545 §3.3.11; no line end of a value may begin a property."""
    for character, written in (("\\", "\\\\"), (";", "\\;"), (",", "\\,")):
        text = text.replace(character, written)
    return "\\n".join(text.splitlines())


PROVIDER: Final = Provider(
    name="static",
    config=StaticConfig,
    fields=ICALENDAR_FIELDS,
    default_refresh=timedelta(minutes=1),
    limits=Limits(),
    open=StaticSource,
)
