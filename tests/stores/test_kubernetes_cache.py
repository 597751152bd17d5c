from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.spec import Ref
from slackwater.ports import Change, Changed, Deleted, Key, Kind, Stored
from slackwater.stores.object_cache import ObjectCache


def stored(name: str, version: int, uid: str | None = None, **parts: Any) -> Stored:
    return Stored(
        key=Key(Kind.CALENDAR, Ref("research", name)),
        uid=uid or f"uid of {name}",
        generation=1,
        resource_version=str(version),
        created=datetime(2026, 11, 23, tzinfo=UTC),
        **parts,
    )


@pytest.fixture
def told() -> list[Change]:
    return []


@pytest.fixture
def cache(told: list[Change]) -> ObjectCache:
    return ObjectCache(told.append)


def settle(cache: ObjectCache, version: int, *listed: Stored) -> None:
    mark = cache.mark(Kind.CALENDAR, None)
    cache.settle(mark, {item.key: item for item in listed}, str(version))
    cache.close_round()


def test_the_same_version_is_told_once(cache: ObjectCache, told: list[Change]) -> None:
    a = stored("a", 5)
    settle(cache, 9, a)
    cache.watched(a)
    settle(cache, 10, a)
    assert told == [Changed(a)]


def test_versions_are_numbers_not_text(cache: ObjectCache, told: list[Change]) -> None:
    cache.watched(stored("a", 99))
    cache.watched(stored("a", 100))
    cache.watched(stored("a", 9))
    assert [c.object.resource_version for c in told if isinstance(c, Changed)] == ["99", "100"]


def test_what_is_gone_does_not_come_back_with_a_late_list(
    cache: ObjectCache, told: list[Change]
) -> None:
    a = stored("a", 5)
    cache.watched(a)
    mark = cache.mark(Kind.CALENDAR, None)
    cache.unwatched(a.key, a.uid)
    cache.settle(mark, {a.key: a}, "6")
    assert told == [Changed(a), Deleted(a.key)]


def test_what_is_gone_is_remembered_for_two_lists_and_then_forgotten(
    cache: ObjectCache, told: list[Change]
) -> None:
    a = stored("a", 5)
    settle(cache, 6, a)
    settle(cache, 7)
    cache.watched(a)  # the watch is late
    settle(cache, 8)
    cache.watched(a)
    assert told == [Changed(a), Deleted(a.key)]
    settle(cache, 9)
    assert not cache._buried


def test_an_object_made_while_a_list_was_under_way_is_kept(
    cache: ObjectCache, told: list[Change]
) -> None:
    mark = cache.mark(Kind.CALENDAR, None)
    a = stored("a", 12)
    cache.watched(a)
    cache.settle(mark, {}, "10")
    assert told == [Changed(a)]


def test_an_object_changed_while_a_list_without_it_was_under_way_is_kept(
    cache: ObjectCache, told: list[Change]
) -> None:
    # Deleted before the list, made again under the same name after it.
    old, new = stored("a", 5, "old"), stored("a", 12, "new")
    cache.watched(old)
    mark = cache.mark(Kind.CALENDAR, None)
    cache.watched(new)
    cache.settle(mark, {}, "10")
    assert told == [Changed(old), Deleted(old.key), Changed(new)]


def test_a_deletion_the_watch_lost_is_found_by_the_list(
    cache: ObjectCache, told: list[Change]
) -> None:
    a, b = stored("a", 5), stored("b", 6)
    settle(cache, 7, a, b)
    settle(cache, 9, b)
    assert told == [Changed(a), Changed(b), Deleted(a.key)]


def test_a_namesake_is_another_object(cache: ObjectCache, told: list[Change]) -> None:
    old, new = stored("a", 5, "old"), stored("a", 9, "new")
    cache.watched(old)
    cache.watched(new)
    cache.watched(replace(old, resource_version="7"))
    cache.unwatched(old.key, "old")
    assert told == [Changed(old), Deleted(old.key), Changed(new)]
    assert cache.get(old.key) == new


def test_an_echo_before_the_reply_is_not_told(cache: ObjectCache, told: list[Change]) -> None:
    a = stored("a", 5)
    cache.watched(a)
    after = replace(a, resource_version="6", status={"message": "ours"})
    with cache.writing(a.key):
        cache.watched(after)
        cache.wrote(after)
    cache.watched(after)
    assert told == [Changed(a)]
    assert cache.get(a.key) == after


def test_a_write_whose_reply_was_lost_is_told_like_any_other(
    cache: ObjectCache, told: list[Change]
) -> None:
    a = stored("a", 5)
    cache.watched(a)
    after = replace(a, resource_version="6", status={"message": "ours"})
    with cache.writing(a.key):
        cache.watched(after)
    assert told == [Changed(a), Changed(after)]


def test_what_others_change_during_a_write_is_told_after_it(
    cache: ObjectCache, told: list[Change]
) -> None:
    a = stored("a", 5)
    cache.watched(a)
    ours = replace(a, resource_version="6", status={"message": "ours"})
    wiped = replace(a, resource_version="7", status={})
    with cache.writing(a.key):
        cache.watched(ours)
        cache.watched(wiped)
        cache.wrote(ours)
        cache.unwatched(a.key, a.uid)
    assert told == [Changed(a), Changed(wiped), Deleted(a.key)]


def test_a_reply_that_shows_another_spec_is_told(cache: ObjectCache, told: list[Change]) -> None:
    a = stored("a", 5, annotations={"x": "1"})
    cache.watched(a)
    after = replace(a, resource_version="6", annotations={})
    cache.wrote(after)
    assert told == [Changed(a), Changed(after)]


def test_a_label_only_change_is_told_because_the_next_write_needs_its_version(
    cache: ObjectCache, told: list[Change]
) -> None:
    a = stored("a", 5)
    later = replace(a, resource_version="6")
    cache.watched(a)
    cache.watched(later)
    assert told == [Changed(a), Changed(later)]


def test_after_a_restored_backup_the_list_is_right(cache: ObjectCache, told: list[Change]) -> None:
    a, b, c = stored("a", 500), stored("b", 510), stored("c", 520)
    settle(cache, 530, a, b, c)
    cache.unwatched(a.key, a.uid)
    told.clear()
    old_a, old_b = replace(a, resource_version="90"), replace(b, resource_version="95")
    settle(cache, 100, old_a, old_b)
    assert told == [Changed(old_a), Changed(old_b), Deleted(c.key)]


def test_the_watch_is_mistrusted_when_two_lists_show_what_it_never_told(
    cache: ObjectCache,
) -> None:
    a = stored("a", 5)
    settle(cache, 7, a)
    assert cache.drifting_rounds == 0
    settle(cache, 8, a)
    assert cache.drifting_rounds == 1
    settle(cache, 9, a)
    assert cache.drifting_rounds == 2
    cache.watched(a)  # connected again: everything is told
    settle(cache, 10, a)
    assert cache.drifting_rounds == 0


def test_one_deletion_in_a_watch_gap_is_no_reason_to_mistrust(cache: ObjectCache) -> None:
    a = stored("a", 5)
    cache.watched(a)
    settle(cache, 7)
    settle(cache, 8)
    settle(cache, 9)
    assert cache.drifting_rounds == 0


def test_only_what_was_listed_is_compared(cache: ObjectCache, told: list[Change]) -> None:
    a = stored("a", 5)
    other = replace(a, key=Key(Kind.GPU_POOL, a.key.ref), uid="pool")
    elsewhere = replace(a, key=Key(Kind.CALENDAR, Ref("demo", "a")), uid="elsewhere")
    for item in (a, other, elsewhere):
        cache.watched(item)
    told.clear()
    cache.settle(cache.mark(Kind.CALENDAR, "research"), {}, "9")
    assert told == [Deleted(a.key)]


# --- any order ends the same ---------------------------------------------------------------------

# The history of one name: versions 1, 2, …; each either an object (with its uid) or its deletion.
steps = st.lists(st.sampled_from(["edit", "delete"]), min_size=1, max_size=6)


@given(steps, st.data())
def test_in_whatever_order_the_sources_speak_the_end_is_the_truth(
    history: list[str], data: st.DataObject
) -> None:
    """The watch is in order for each uid; lists of any age come at any time."""
    told: list[Change] = []
    cache = ObjectCache(told.append)
    truth: list[Stored | None] = []
    uid = 0
    watch: dict[str, list[tuple[int, Stored, bool]]] = {}
    for number, step in enumerate(history, start=1):
        before = truth[-1] if truth else None
        there = step == "edit" or before is None
        if before is None:
            uid += 1
        now = stored("a", number, f"uid {uid}", status={"n": number})
        truth.append(now if there else None)
        watch.setdefault(now.uid, []).append((number, now, there))
    streams = {name: list(items) for name, items in watch.items()}
    mark, asked_at = cache.mark(Kind.CALENDAR, None), 0
    latest = 0  # a list answers with the truth of when it was asked, at least what was shown
    while streams:
        move = data.draw(st.sampled_from([*sorted(streams), "ask", "list"]))
        if move == "ask":
            mark = cache.mark(Kind.CALENDAR, None)
            asked_at = data.draw(st.integers(latest, len(truth)))
            latest = asked_at
        elif move == "list":
            at = truth[asked_at - 1] if asked_at else None
            cache.settle(mark, {at.key: at} if at else {}, str(asked_at))
            mark, asked_at = cache.mark(Kind.CALENDAR, None), max(latest, asked_at)
            latest = asked_at
        else:
            number, item, there = streams[move].pop(0)
            latest = max(latest, number)
            if there:
                cache.watched(item)
            else:
                cache.unwatched(item.key, item.uid)
            if not streams[move]:
                del streams[move]
    key = Key(Kind.CALENDAR, Ref("research", "a"))
    assert cache.get(key) == truth[-1]
    last = told[-1] if told else None
    assert not told or last == (Deleted(key) if truth[-1] is None else Changed(truth[-1]))
    for one in {c.object.uid for c in told if isinstance(c, Changed)}:
        shown = [c.object for c in told if isinstance(c, Changed) and c.object.uid == one]
        versions = [int(item.resource_version) for item in shown]
        assert versions == sorted(set(versions))
