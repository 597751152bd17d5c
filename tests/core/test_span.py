"""The algebra of half-open spans, against sets of minutes counted one by one."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.span import Span, intersect, subtract, union

ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 30


def minutes(start: int, end: int) -> Span:
    return Span(ORIGIN + timedelta(minutes=start), ORIGIN + timedelta(minutes=end))


spans = st.lists(
    st.tuples(st.integers(0, LIMIT - 1), st.integers(1, 15)).map(
        lambda pair: minutes(pair[0], pair[0] + pair[1])
    ),
    max_size=5,
)


def counted(given_spans) -> set[int]:
    return {
        minute
        for minute in range(LIMIT + 15)
        if any(ORIGIN + timedelta(minutes=minute) in span for span in given_spans)
    }


def is_tidy(result) -> bool:
    """Sorted, disjoint and not even touching: one way only to write a set of instants."""
    return all(a.end < b.start for a, b in itertools.pairwise(result))


@given(spans)
def test_union_keeps_every_minute_and_is_tidy(some):
    assert counted(union(some)) == counted(some)
    assert is_tidy(union(some))


@given(spans, spans)
def test_intersect_keeps_the_common_minutes_and_is_tidy(left, right):
    assert counted(intersect(left, right)) == counted(left) & counted(right)
    assert is_tidy(intersect(left, right))


@given(spans, spans)
def test_subtract_keeps_the_other_minutes_and_is_tidy(left, right):
    assert counted(subtract(left, right)) == counted(left) - counted(right)
    assert is_tidy(subtract(left, right))


@given(spans, spans)
def test_the_order_of_spans_means_nothing(left, right):
    backwards = list(reversed(left))
    assert union(left) == union(backwards)
    assert intersect(left, right) == intersect(right, backwards)
    assert subtract(left, right) == subtract(backwards, list(reversed(right)))


@given(spans, spans)
def test_overlap_means_a_common_minute(left, right):
    for a in left:
        for b in right:
            assert a.overlaps(b) is bool(counted([a]) & counted([b])) is b.overlaps(a)


def test_a_span_holds_its_start_and_not_its_end():
    span = minutes(0, 10)
    assert span.start in span
    assert span.end not in span
    assert not span.overlaps(minutes(10, 20))
    assert span.length == timedelta(minutes=10)


@given(st.integers(-30, 30), st.integers(-30, 30))
def test_a_shifted_span_is_none_when_nothing_is_left(start, end):
    moved = minutes(0, 10).shifted(timedelta(minutes=start), timedelta(minutes=end))
    if start < 10 + end:
        assert moved == minutes(start, 10 + end)
    else:
        assert moved is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (ORIGIN, ORIGIN),
        (ORIGIN + timedelta(minutes=1), ORIGIN),
        (ORIGIN.replace(tzinfo=None), ORIGIN),
        (ORIGIN, (ORIGIN + timedelta(hours=1)).astimezone(timezone(timedelta(hours=1)))),
    ],
)
def test_a_span_is_never_empty_and_always_utc(start, end):
    with pytest.raises(ValueError, match="a span"):
        Span(start, end)
