"""What every provider keeps to, also those that are yet to come: parametrized by the registry."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from pydantic import ValidationError

from slackwater.calendars.expand import Expander
from slackwater.calendars.registry import PROVIDERS
from slackwater.calendars.turns import Turns
from slackwater.core.event import Event
from slackwater.core.spec import Privacy, Ref
from slackwater.errors import CalendarError
from slackwater.net import CALENDAR_POLICY, NetPolicy
from slackwater.ports import CalendarSource, Fetched, FetchState
from slackwater.runtime.calendar_follower import CalendarFollower, CalendarSettings
from slackwater.wire import WireModel
from tests.calendars.conformance.service import SECRET, Planned, Service, at
from tests.calendars.conformance.services import SERVICES
from tests.calendars.conftest import Serve
from tests.calendars.support import (
    CANARY,
    HORIZON,
    LOOPBACK,
    NOW,
    HastyClock,
    Secrets,
    opened,
)

ROOT = Path(__file__).parents[3]
NAMES = sorted(PROVIDERS)
SERVED = [name for name in NAMES if name in SERVICES and SERVICES[name]().faults()]
FAULTS = [(name, fault) for name in SERVED for fault in SERVICES[name]().faults()]
TEAM = Ref("research", "team")

ONE = Planned("one", at(1, 10), at(1, 12))
TWO = Planned("two", at(2, 10), at(2, 12))

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Read:
    """A service, and sources that read it."""

    name: str
    service: Service
    expander: Expander
    origin: str

    def __post_init__(self) -> None:
        self.counted = 0
        self.turns = Turns(HastyClock(), self._count)

    def _count(self, ref: Ref) -> None:
        self.counted += 1

    def open(
        self, privacy: Privacy = Privacy.DETAILS, policy: NetPolicy = LOOPBACK
    ) -> CalendarSource:
        keys = self.service.secrets(self.origin)
        return opened(
            self.name,
            self.service.config(self.origin),
            self.expander,
            privacy=privacy,
            policy=policy,
            turns=self.turns,
            secrets=Secrets({("research", SECRET, key): text for key, text in keys.items()}),
            endpoints={self.name: self.origin},
        )

    @asynccontextmanager
    async def source(self, privacy: Privacy = Privacy.DETAILS, policy: NetPolicy = LOOPBACK):
        made = self.open(privacy, policy)
        try:
            yield made
        finally:
            await made.aclose()

    async def look(
        self, state: FetchState | None = None, privacy: Privacy = Privacy.DETAILS
    ) -> Fetched:
        """By a source of its own, as a process that was just started would."""
        async with self.source(privacy) as source:
            return await source.fetch(HORIZON, state, NOW)


@pytest.fixture
def read(expander: Expander, serve: Serve, serve_tls: Serve):
    async def make(name: str, *events: Planned) -> Read:
        assert name in SERVICES, "a new provider needs a line in conformance/services.py"
        service = SERVICES[name]()
        for event in events:
            service.put(event)
        start = serve_tls if getattr(service, "tls", False) else serve
        return Read(name, service, expander, await start(service.answer))

    return make


def models(model: type[WireModel]) -> Iterator[type[WireModel]]:
    yield model
    for info in model.model_fields.values():
        for kind in (info.annotation, *_arguments(info.annotation)):
            if inspect.isclass(kind) and issubclass(kind, WireModel):
                yield from models(kind)


def _arguments(kind: object) -> Iterator[object]:
    for argument in getattr(kind, "__args__", ()):
        yield argument
        yield from _arguments(argument)


# --- what it declares ---


@pytest.mark.parametrize("name", NAMES)
async def test_it_is_filed_under_its_name_described_and_documented(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.name == name
    assert provider.default_refresh >= timedelta(seconds=5)
    for model in models(provider.config):
        assert inspect.getdoc(model)
        for field in model.model_fields.values():
            assert field.description, f"{model.__name__} has a field without a description"
    wire_names = {field.alias or key for key, field in provider.config.model_fields.items()}
    assert set(provider.file_only_fields) <= wire_names
    page = re.sub(r"([A-Z])", r"-\1", name).lower()
    assert (ROOT / "docs" / "calendars" / f"{page}.md").is_file(), "it needs a page in the docs"


@pytest.mark.parametrize("name", NAMES)
async def test_every_field_of_an_event_is_accounted_for_by_privacy(name: str) -> None:
    given = PROVIDERS[name].fields
    assert set(given) == set(Privacy)
    assert given[Privacy.FREE_BUSY] <= given[Privacy.BASIC] <= given[Privacy.DETAILS]
    assert given[Privacy.DETAILS] <= {field.name for field in fields(Event)}
    readable = {"summary", "description", "categories", "organizer"}
    assert not given[Privacy.FREE_BUSY] & (readable | {"key"})
    assert "description" not in given[Privacy.BASIC]


@pytest.mark.parametrize("name", NAMES)
async def test_a_field_that_does_not_exist_is_refused(name: str, read) -> None:
    config = (await read(name, ONE)).service.config("https://a.example")
    PROVIDERS[name].config.model_validate(config)
    with pytest.raises(ValidationError):
        PROVIDERS[name].config.model_validate({**config, "colour": "red"})


# --- what it gives ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("privacy", Privacy)
async def test_a_level_of_privacy_gives_its_fields_and_no_others(name, privacy, read) -> None:
    calendar = await read(name, ONE)
    (event,) = (await calendar.look(privacy=privacy)).snapshot.events
    assert (event.span.start, event.span.end) == (ONE.start, ONE.end)
    given = PROVIDERS[name].fields[privacy]
    texts = {"summary", "description", "categories", "organizer"}
    assert {text for text in texts - given if getattr(event, text) is not None} == set()
    if "summary" in given:
        assert event.summary == ONE.title
    if "description" in given:
        assert CANARY in event.description


@pytest.mark.parametrize("name", NAMES)
async def test_unchanged_is_said_and_not_read_again_also_by_another_process(name, read) -> None:
    calendar = await read(name, ONE, TWO)
    first = await calendar.look()
    assert len(first.snapshot.events) == 2
    second = await calendar.look(first.state)
    assert second.snapshot is None
    assert (await calendar.look(second.state)).snapshot is None


@pytest.mark.parametrize("name", NAMES)
async def test_a_poll_of_an_unchanged_calendar_is_one_request(name, read) -> None:
    calendar = await read(name, ONE, TWO)
    async with calendar.source() as source:
        state = (await source.fetch(HORIZON, None, NOW)).state
        before = calendar.service.asked
        for _ in range(3):
            fetched = await source.fetch(HORIZON, state, NOW)
            assert fetched.snapshot is None
            state = fetched.state
    assert calendar.service.asked - before == (3 if name in SERVED else 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("privacy", [Privacy.BASIC, Privacy.DETAILS])
async def test_additions_moves_and_deletions_are_seen_and_keys_survive(name, privacy, read) -> None:
    calendar = await read(name, ONE)
    first = await calendar.look(privacy=privacy)
    (before,) = first.snapshot.events
    calendar.service.put(TWO)
    calendar.service.put(Planned(ONE.uid, at(3, 10), at(3, 11)))
    second = await calendar.look(first.state, privacy)
    assert [event.span.start for event in second.snapshot.events] == [TWO.start, at(3, 10)]
    assert second.snapshot.events[1].key == before.key
    assert second.snapshot.events[0].key != before.key
    calendar.service.remove(ONE.uid)
    third = await calendar.look(second.state, privacy)
    assert [event.span.start for event in third.snapshot.events] == [TWO.start]
    calendar.service.put(ONE)
    again = await calendar.look(third.state, privacy)
    assert again.snapshot.events[0].key == before.key, "undeleted, it is the same event"


@pytest.mark.parametrize("name", NAMES)
async def test_a_state_of_another_configuration_or_form_is_not_used(name, read) -> None:
    calendar = await read(name, ONE)
    state = (await calendar.look(privacy=Privacy.BASIC)).state
    assert (await calendar.look(state, Privacy.DETAILS)).snapshot is not None
    old = FetchState(state.config_hash, state.cursor, state.schema_version + 1)
    assert (await calendar.look(old, Privacy.BASIC)).snapshot is not None


# --- what it keeps to itself ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("privacy", Privacy)
async def test_nothing_readable_is_in_any_repr(name, privacy, read) -> None:
    calendar = await read(name, ONE)
    async with calendar.source(privacy) as source:
        fetched = await source.fetch(HORIZON, None, NOW)
        shown = repr((source, source.__dict__.get("_opening"), fetched, fetched.state))
    assert CANARY not in shown


@pytest.mark.parametrize(("name", "fault"), FAULTS)
async def test_a_failure_is_told_without_what_the_calendar_holds(name, fault, read, caplog) -> None:
    calendar = await read(name, ONE)
    calendar.service.faults()[fault].cause()
    with caplog.at_level(logging.DEBUG), pytest.raises(CalendarError) as caught:
        await calendar.look()
    error = caught.value
    told = f"{error!r} {error} {error.gaps} {error.__cause__!r} {error.__context__!r}"
    assert CANARY not in told
    assert "127.0.0.1" not in told
    assert error.reason is calendar.service.faults()[fault].reason


# --- how it fails ---


@pytest.mark.parametrize(("name", "fault"), FAULTS)
async def test_a_failure_keeps_the_last_snapshot_and_its_end_is_noticed(name, fault, read) -> None:
    calendar = await read(name, ONE)
    clock = HastyClock()
    follower = CalendarFollower(TEAM, clock, Random(1), lambda: None)
    hour = timedelta(hours=1)
    async with calendar.source() as source:
        follower.configure(source, CalendarSettings(hour, hour, Privacy.DETAILS))
        await follower.look()
        snapshot, blocks_at = follower.snapshot, follower.blocks_at
        assert len(snapshot.events) == 1
        trouble = calendar.service.faults()[fault]
        calendar.service.put(TWO)
        trouble.cause()
        await follower.look()
        assert follower.fault is trouble.reason
        assert follower.snapshot is snapshot
        assert follower.blocks_at == blocks_at
        if fault == "throttled":
            assert follower.next_at - clock.now() >= timedelta(seconds=120)
        calendar.service.heal()
        follower.configure(source, follower.settings)  # which ends its patience
        await follower.look()
        assert follower.fault is None
        assert len(follower.snapshot.events) == 2


@pytest.mark.parametrize("name", SERVED)
async def test_the_errors_of_every_service_are_all_there(name) -> None:
    known = SERVICES[name]().faults()
    wanted = {"throttled", "transient", "credentials", "forbidden", "gone", "bad request"}
    assert wanted <= known.keys()


@pytest.mark.parametrize("name", SERVED)
async def test_a_source_that_is_closed_while_it_reads_leaves_nothing_open(name, read) -> None:
    calendar = await read(name, ONE)
    source = calendar.open()
    await source.aclose()
    with pytest.raises(CalendarError):
        await source.fetch(HORIZON, None, NOW)
    assert calendar.service.asked == 0


# --- where it goes ---


@pytest.mark.parametrize("name", SERVED)
async def test_every_request_waits_for_its_turn(name, read) -> None:
    calendar = await read(name, ONE, TWO)
    state = (await calendar.look()).state
    await calendar.look(state)
    assert 0 < calendar.counted == calendar.service.asked


@pytest.mark.parametrize("name", SERVED)
async def test_nothing_inside_is_reached_from_a_cluster(name, read) -> None:
    calendar = await read(name, ONE)
    calendar.origin = calendar.origin.replace("http:", "https:").replace("127.0.0.1", "localhost")
    async with calendar.source(policy=CALENDAR_POLICY) as source:
        with pytest.raises(CalendarError) as caught:
            await source.fetch(HORIZON, None, NOW)
    assert caught.value.reason == "BlockedTarget"
    assert calendar.service.asked == 0
