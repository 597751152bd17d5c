"""What the status of Calendars, GPUPools and AirflowInstances says (R12, R16)."""

import asyncio

from slackwater.core.event import Warned
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, SecretError
from slackwater.ports import Key, Kind
from slackwater.runtime.supporting import Publisher
from tests.core.builders import event, sample
from tests.runtime.rig import NS, Calendar, Village, no_data, on_virtual_time

TEAM = Key(Kind.CALENDAR, Ref(NS, "team"))
ONE, TWO = event("e1", 10, 12), event("e2", 20, 22)


class Told:
    def __init__(self):
        self.notes = []

    def record(self, key, reason, note):
        self.notes.append(reason)


class Controller:
    """One life of a controller: objects, a calendar and what is published of it."""

    def __init__(self, clock, store=None):
        self.village = Village(clock)
        if store is not None:
            self.village.store = store
        self.source = Calendar(clock, (ONE,))
        self.village.calendars[TEAM.ref] = self.source
        self.told = Told()
        if store is None:
            self.village.apply_calendar()
        else:
            self.village.objects.admit(store.objects[TEAM])
        self.publisher = Publisher(self.village.objects, self.village.store, self.told)

    async def look(self, answer, *warnings):
        self.source.answer, self.source.warnings = answer, warnings
        await self.village.objects.calendar(TEAM.ref).look()
        await self.publisher.publish(TEAM)
        return self.ready()

    def ready(self):
        (condition,) = self.village.store.objects[TEAM].status["conditions"]
        return condition["status"], condition["reason"], condition["message"]


@on_virtual_time
async def test_unstable_identities_are_still_known_after_a_restart(clock):
    before = Controller(clock)
    await before.look((ONE,))
    unstable = await before.look((TWO,), Warned(Reason.UNSTABLE_UIDS, 3))
    assert unstable[1] == "UnstableUIDs"
    again = Controller(clock, before.village.store)
    assert await again.look((TWO,)) == unstable
    assert await again.look(None) == unstable
    assert again.told.notes == []
    assert (await again.look((ONE,)))[1] == "Synced"  # a second reading, and its identities held


@on_virtual_time
async def test_a_calendar_of_stable_identities_says_nothing_after_a_restart(clock):
    before = Controller(clock)
    await before.look((ONE,))
    assert (await Controller(clock, before.village.store).look((ONE,)))[1] == "Synced"


@on_virtual_time
async def test_the_calendars_own_condition_names_the_secret(clock):
    controller = Controller(clock)
    missing = SecretError(Reason.SECRET_KEY_NOT_FOUND, ref="research/team", key="password")
    assert await controller.look(missing) == (
        "False",
        "SecretKeyNotFound",
        "Secret research/team has no key password.",
    )


# --- pools and servers

H100 = Key(Kind.GPU_POOL, Ref(NS, "h100"))
SERVER = Key(Kind.AIRFLOW_INSTANCE, Ref(NS, "default"))


class Dock:
    """A pool and a server whose status is published."""

    def __init__(self, clock):
        self.clock = clock
        self.village = Village(clock)
        self.told = Told()
        self.village.apply_pool()
        self.village.apply_airflow()
        self.source = self.village.pools[H100.ref]
        self.server = self.village.servers[SERVER.ref]
        self.publisher = Publisher(self.village.objects, self.village.store, self.told)

    async def sampled(self, *free):
        """One look at so many free GPUs of nodes of 8."""
        self.source.answer = free[0] if free and not isinstance(free[0], int) else None
        if self.source.answer is None:
            self.source.answer = sample(self.clock.now(), *free, utilization=0.5, coverage=1.0)
        await self.village.objects.pool(H100.ref).look()
        return await self.publisher.publish(H100)

    def status(self, key=H100):
        return dict(self.village.store.objects[key].status)

    def conditions(self, key=H100):
        return {c["type"]: (c["status"], c["reason"]) for c in self.status(key)["conditions"]}

    @property
    def writes(self):
        return self.village.store.statuses_written


@on_virtual_time
async def test_a_pools_condition_names_the_secret_it_misses(clock):
    dock = Dock(clock)
    await dock.sampled(SecretError(Reason.SECRET_KEY_NOT_FOUND, ref="research/prom", key="token"))
    message = {c["type"]: c["message"] for c in dock.status()["conditions"]}["DataFresh"]
    assert message == "Secret research/prom has no key token."
    assert dock.conditions()["DataFresh"] == ("False", "SecretKeyNotFound")
    assert dock.told.notes == [Reason.SECRET_KEY_NOT_FOUND]


@on_virtual_time
async def test_live_numbers_of_a_pool_are_written_once_a_minute_and_not_for_their_age(clock):
    dock = Dock(clock)
    assert await dock.sampled(8, 8) is None
    assert (dock.status()["free"], dock.writes) == (16, 1)
    await asyncio.sleep(20)
    due = await dock.sampled(8, 4)
    assert (dock.status()["free"], dock.writes) == (16, 1)
    assert 39 < (due - clock.now()).total_seconds() <= 40
    await asyncio.sleep(40)
    await dock.sampled(8, 4)
    assert (dock.status()["free"], dock.writes) == (12, 2)
    await asyncio.sleep(600)
    await dock.sampled(8, 4)
    assert dock.writes == 2


@on_virtual_time
async def test_a_fault_is_written_at_once_and_told_once_and_its_end_too(clock):
    dock = Dock(clock)
    await dock.sampled(8)
    for _ in range(3):
        await dock.sampled(no_data())
    assert dock.conditions()["DataFresh"] == ("False", "NoData")
    assert (dock.writes, dock.told.notes) == (2, [Reason.NO_DATA])
    await dock.sampled(8)
    assert dock.conditions()["DataFresh"] == ("True", "Fresh")
    assert dock.told.notes == [Reason.NO_DATA, Reason.FRESH]


@on_virtual_time
async def test_what_was_said_stands_after_a_restart_until_the_first_look_is_over(clock):
    dock = Dock(clock)
    await dock.sampled(8)
    before = dock.status()
    restarted = Village(clock)
    restarted.store = dock.village.store
    restarted.objects.admit(dock.village.store.objects[H100])
    publisher = Publisher(restarted.objects, restarted.store, dock.told)
    assert await publisher.publish(H100) is None
    assert dock.status() == before


@on_virtual_time
async def test_a_server_says_its_version_or_why_it_cannot_be_asked(clock):
    dock = Dock(clock)
    follower = dock.village.objects.airflow(SERVER.ref)
    await dock.publisher.publish(SERVER)
    assert dock.conditions(SERVER)["Ready"] == ("Unknown", "NotReadYet")
    await follower.look()
    await dock.publisher.publish(SERVER)
    assert dock.conditions(SERVER)["Ready"] == ("True", "Accepted")
    assert dock.status(SERVER)["version"] == "3.3.2"
    dock.server.error = AirflowError(Reason.UNAUTHORIZED, what="AirflowInstance research/default")
    follower.track("r1", "d")
    await asyncio.sleep(follower.interval.total_seconds())
    await follower.look()
    await dock.publisher.publish(SERVER)
    assert dock.conditions(SERVER)["Ready"] == ("False", "Unauthorized")
    assert dock.told.notes[-1:] == [Reason.UNAUTHORIZED]
