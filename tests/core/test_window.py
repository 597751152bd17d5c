"""Cutting an interval: inside Allow, outside Deny, every minute accounted for (R3)."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.span import Span, union
from slackwater.core.window import OUTSIDE_ALLOW, Cut, cut

ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)


def minutes(start: int, end: int) -> Span:
    return Span(ORIGIN + timedelta(minutes=start), ORIGIN + timedelta(minutes=end))


span = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda p: minutes(p[0], p[0] + p[1]))
spans = st.lists(span, max_size=6)
denies = st.lists(st.tuples(span, st.sampled_from(["a", "b", "c"])), max_size=6)


@given(span, st.none() | spans, denies)
def test_every_minute_is_in_one_piece_or_one_cut_and_for_the_right_reason(interval, allows, denied):
    pieces, cuts = cut(interval, allows, denied)
    for minute in range(100):
        at = ORIGIN + timedelta(minutes=minute)
        held = [piece for piece in pieces if at in piece]
        taken = [c for c in cuts if at in c.span]
        if at not in interval:
            assert not held
            assert not taken
            continue
        by = sorted(entry for deny, entry in denied if at in deny)
        allowed = allows is None or any(at in allow for allow in allows)
        assert len(held) + len(taken) == 1
        if by:
            assert taken[0].entry == by[0]
        elif not allowed:
            assert taken[0].entry == OUTSIDE_ALLOW
        else:
            assert held


@given(span, st.none() | spans, denies, st.randoms(use_true_random=False))
def test_the_order_of_allows_and_denies_means_nothing(interval, allows, denied, random):
    before = cut(interval, allows, denied)
    if allows is not None:
        random.shuffle(allows)
    random.shuffle(denied)
    assert cut(interval, allows, denied) == before


@given(span, st.none() | spans, denies)
def test_pieces_and_cuts_are_sorted_and_make_up_the_interval(interval, allows, denied):
    pieces, cuts = cut(interval, allows, denied)
    assert list(pieces) == sorted(pieces)
    assert list(cuts) == sorted(cuts)
    assert union([*pieces, *(c.span for c in cuts)]) == (interval,)


def test_without_allow_entries_everything_is_allowed():
    assert cut(minutes(0, 60), None, []) == ((minutes(0, 60),), ())


def test_allow_entries_without_any_time_allow_nothing():
    assert cut(minutes(0, 60), [], []) == ((), (Cut(minutes(0, 60), OUTSIDE_ALLOW),))


def test_a_deny_inside_leaves_two_pieces():
    pieces, cuts = cut(minutes(0, 60), None, [(minutes(20, 30), "freeze")])
    assert pieces == (minutes(0, 20), minutes(30, 60))
    assert cuts == (Cut(minutes(20, 30), "freeze"),)


def test_deny_wins_over_allow_over_midnight_as_one_interval():
    night = minutes(-120, 360)
    pieces, _ = cut(minutes(-300, 600), [night], [(minutes(0, 60), "backup")])
    assert pieces == (minutes(-120, 0), minutes(60, 360))
