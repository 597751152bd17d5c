"""What the status of a Calendar says, before and after a restart (R12)."""

from slackwater.core.event import Warned
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import SecretError
from slackwater.ports import Key, Kind
from slackwater.runtime.supporting import Publisher
from tests.core.builders import event
from tests.runtime.rig import NS, Calendar, Village, on_virtual_time

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
