"""What the calendars of a pool reserve, as far as they can be read now (R5, R14)."""

from __future__ import annotations

from collections.abc import Mapping

from slackwater.api.grants import calendar_allows
from slackwater.core.event import Event, Snapshot
from slackwater.core.reserve import Reservations, misuse, reservations
from slackwater.core.seen import CalendarView
from slackwater.core.spec import PoolRules, Ref
from slackwater.runtime.world import World


class Reserving:
    """Keeps each pool's reservations until one of its calendars or its rules change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made: dict[Ref, tuple[PoolRules, tuple[Snapshot, ...], Reservations]] = {}

    def of(self, rules: PoolRules, labels: Mapping[str, str]) -> Reservations:
        """What stands reserved in a pool.

        Args:
            rules: of the pool.
            labels: of the pool's namespace, for calendars that allow by label.
        """
        snapshots: dict[Ref, Snapshot] = {}
        for index, rule in enumerate(rules.reservations):
            view = self._view(rule.calendar, rules.ref, labels)
            if view is None:
                return Reservations(unread=rule.calendar)
            found = None if view.fields is None else misuse(rule, view.fields)
            if found is not None:
                return Reservations(unread=rule.calendar, misuse=(index, *found))
            if view.snapshot is None or not view.usable(self._world.clock.now()):
                return Reservations(unread=rule.calendar)
            snapshots[rule.calendar] = view.snapshot
        seen = tuple(snapshots.values())
        made = self._made.get(rules.ref)
        if (
            made is None
            or made[0] is not rules
            or len(made[1]) != len(seen)
            or any(new is not old for new, old in zip(seen, made[1], strict=True))
        ):
            events: dict[Ref, tuple[Event, ...]] = {
                ref: snapshot.events for ref, snapshot in snapshots.items()
            }
            made = (rules, seen, reservations(rules.reservations, events))
            self._made[rules.ref] = made
        return made[2]

    def _view(self, ref: Ref, pool: Ref, labels: Mapping[str, str]) -> CalendarView | None:
        """The calendar as the pool sees it; None where it does not."""
        follower, supporting = self._world.calendar(ref), self._world.calendars.get(ref)
        if follower is None or supporting is None or supporting.spec is None:
            return None
        if not calendar_allows(supporting.spec, ref.namespace, pool.namespace, labels):
            return None
        return follower.view(None)
