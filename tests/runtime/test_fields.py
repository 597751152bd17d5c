"""Entries and reservations that look at what their calendar does not give (R13)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from slackwater.calendars.registry import PROVIDERS
from slackwater.core.spec import PoolRules, Privacy, Ref
from slackwater.core.words import Reason, say
from slackwater.ports import Key, Kind
from slackwater.runtime.calendar_follower import CalendarSettings
from slackwater.runtime.observe import observe
from slackwater.runtime.reserving import Reserving
from slackwater.runtime.supporting import Publisher
from tests.runtime.rig import HOUR, NS, Village, on_virtual_time

TEAM = Ref(NS, "team")
EVERYWHERE = [(name, privacy) for name in sorted(PROVIDERS) for privacy in Privacy]
CRITERIA = {"summary": "a", "categories": ["a"], "organizers": ["a@b.example"]}
NEEDS = {"summary": "summary", "categories": "categories", "organizers": "organizer"}


class Quiet:
    def record(self, key, reason, note):
        return


def village(clock, name: str, privacy: Privacy) -> Village:
    """With a calendar of that provider, as far as its users can tell."""
    made = Village(clock)
    made.apply_airflow()
    made.apply_calendar()
    follower = made.objects.calendar(TEAM)
    fields = PROVIDERS[name].fields[privacy]
    settings = CalendarSettings(timedelta(minutes=1), HOUR, privacy, fields)
    follower.configure(follower.source, settings)
    return made


def config(made: Village, **entry):
    calendars = [{"name": "it", "calendarRef": {"name": "team"}, **entry}]
    nights = {"name": "n", "effect": "Trigger", "schedule": "0 22 * * *", "durationSeconds": 60}
    key = made.apply_window(calendars=calendars, windows=[nights], gpu=None)
    record = made.objects.windows[key.ref]
    assert record.spec is not None, record.config
    seen = observe(made.objects, record, record.spec, labels={}, up_since=made.clock.now())
    return seen.config


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
@pytest.mark.parametrize(("name", "privacy"), EVERYWHERE)
def test_a_criterion_is_refused_where_the_provider_does_not_give_its_field(
    name, privacy, criterion
) -> None:
    @on_virtual_time
    async def story(clock) -> None:
        made = village(clock, name, privacy)
        found = config(made, effect="Deny", match={criterion: CRITERIA[criterion]})
        if NEEDS[criterion] in PROVIDERS[name].fields[privacy]:
            assert found is None
            return
        assert found.reason is Reason.FIELD_UNAVAILABLE
        text = say(found.reason, **found.gaps)
        assert f"spec.calendars[0].match.{criterion} needs {NEEDS[criterion]}" in text
        assert f"{TEAM} does not give at privacy {privacy}" in text

    story()


@on_virtual_time
async def test_categories_of_a_google_calendar_are_refused_whatever_its_privacy(clock) -> None:
    for privacy in Privacy:
        made = village(clock, "google", privacy)
        found = config(made, effect="Deny", match={"categories": ["training"]})
        assert found.reason is Reason.FIELD_UNAVAILABLE
        looked = config(made, effect="Deny", match={"expression": "'a' in event.categories"})
        assert looked.gaps["field"] == "spec.calendars[0].match.expression"


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_times_alone_cannot_trigger(name) -> None:
    @on_virtual_time
    async def story(clock) -> None:
        found = config(village(clock, name, Privacy.FREE_BUSY), effect="Trigger")
        assert found.reason is Reason.FREE_BUSY_CANNOT_TRIGGER
        assert config(village(clock, name, Privacy.BASIC), effect="Trigger") is None

    story()


@pytest.mark.parametrize(
    ("rule", "field", "needs"),
    [
        ({"match": {"categories": ["a"]}}, "match.categories", "categories"),
        ({"gpus": {"$cel": "event.parameters.gpus"}}, "gpus", "description"),
    ],
)
def test_a_reservation_that_its_calendar_cannot_serve_blocks_the_pool_and_says_so(
    rule, field, needs
) -> None:
    @on_virtual_time
    async def story(clock) -> None:
        made = village(clock, "google", Privacy.BASIC)
        reservation = {"name": "demos", "calendarRef": {"name": "team"}, "gpus": 8, **rule}
        key = made.apply_pool(reservations=[reservation])
        await made.objects.calendar(TEAM).look()
        follower = made.objects.pool(key.ref)
        assert isinstance(follower.rules, PoolRules)
        found = Reserving(made.objects).of(follower.rules, {})
        assert found.unread == TEAM
        follower.reserve(found)
        await Publisher(made.objects, made.store, Quiet()).publish(Key(Kind.GPU_POOL, key.ref))
        ready = made.store.objects[key].status["conditions"][0]
        assert (ready["status"], ready["reason"]) == ("False", "FieldUnavailable")
        assert f"spec.reservations[0].{field} needs {needs}" in ready["message"]

    story()
