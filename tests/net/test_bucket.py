"""Token buckets: how long a request waits for its turn."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.net.bucket import Rate, TokenBucket

MINUTE = timedelta(minutes=1)
FOR_EVER = float("inf")


def bucket(requests: int, per: timedelta = MINUTE) -> TokenBucket:
    return TokenBucket(Rate(requests=requests, per=per), 0.0)


def test_a_burst_goes_at_once_and_the_rest_at_a_steady_pace() -> None:
    google = bucket(300)
    waits = [google.take(0.0, FOR_EVER) for _ in range(34)]
    assert waits[:30] == [0.0] * 30
    assert waits[30:] == pytest.approx([n * 60 / 270 for n in range(1, 5)])


def test_who_cannot_wait_takes_nothing() -> None:
    feed = bucket(1, timedelta(minutes=5))
    assert feed.take(0.0, 10) == 0
    assert [feed.take(100.0, 10) for _ in range(3)] == pytest.approx([200] * 3)
    assert feed.take(299.0, 10) == pytest.approx(1)
    assert feed.take(301.0, 10) > 10, "the token was taken from the future"


def test_what_was_not_sent_is_given_back() -> None:
    feed = bucket(1)
    assert feed.take(0.0, 0) == 0
    feed.give_back()
    assert feed.take(0.0, 0) == 0
    assert not feed.is_full(1.0)
    assert feed.is_full(61.0)


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    feed = bucket(1)
    feed.take(100.0, 0)
    assert feed.take(40.0, 0) > 0
    assert feed.take(100.0, 0) > 0


@given(
    requests=st.integers(1, 40),
    steps=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 30)), min_size=1, max_size=150),
)
def test_no_stretch_of_time_has_more_requests_than_allowed(requests, steps) -> None:
    limited = bucket(requests)
    now, sent = 0.0, []
    for passed, patience in steps:
        now += passed
        wait = limited.take(now, patience)
        if wait <= patience:
            sent.append(now + wait)
    assert sent == sorted(sent), "turns come in the order of asking"
    for index, first in enumerate(sent):
        in_window = [at for at in sent[index:] if at < first + 60 - 1e-6]
        assert len(in_window) <= max(requests, 1)


@given(requests=st.integers(10, 1_000))
def test_the_pace_is_at_least_nine_tenths_of_what_is_allowed(requests) -> None:
    limited = bucket(requests)
    waits = [limited.take(0.0, FOR_EVER) for _ in range(10 * requests)]
    assert waits[-1] <= 10 * 60 / 0.9
