"""Which events an entry means (R3), which may trigger (R14), which nearly would."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.event import Busy, Event
from slackwater.core.match import Answer, counts, for_effect, glob, matches, missing, near, trusted
from slackwater.core.span import Span
from slackwater.core.spec import Effect, Match

START = datetime(2026, 6, 1, 20, tzinfo=UTC)
YES, NO, UNREADABLE = Answer.YES, Answer.NO, Answer.UNREADABLE


def event(**changes) -> Event:
    fields = {
        "key": "k",
        "series": "s",
        "original_start": "",
        "span": Span(START, START + timedelta(hours=1)),
        "summary": "train: llama 8b",
        "categories": ("GPU", "night shift"),
        "organizer": "anna@example.com",
    }
    return Event(**{**fields, **changes})


PRIVATE = event(summary=None, categories=None, organizer=None)


def answer(match: Match, given_event: Event = event()) -> Answer:  # noqa: B008
    return matches(match, given_event, "Europe/Berlin")


# --- criteria ----------------------------------------------------------------------------------


def test_no_criteria_mean_every_event_even_a_private_one():
    assert answer(Match()) is YES
    assert answer(Match(), PRIVATE) is YES


@pytest.mark.parametrize(
    ("pattern", "title", "fits"),
    [
        ("train:*", "train: llama", True),
        ("train:*", "TRAIN: Llama", True),
        ("train:*", "train:", True),
        ("train:*", "retrain: llama", False),
        ("train", "train: llama", False),
        ("*llama*", "train: Llama 8b", True),
        ("train: ?", "train: x", True),
        ("train: ?", "train: xy", False),
        ("[GPU]*", "[gpu] night", True),
        ("[GPU]*", "g night", False),
        ("[!a]*", "b", False),
        ("a]b", "a]b", True),
        ("größe*", "GRÖSSE 8", True),
        ("cafe\u0301*", "CAF\u00c9 run", True),  # written in two code points and in one
        ("a*c", "a\nb\nc", True),
        ("a.c", "abc", False),
        ("a+", "aa", False),
        ("(x|y)", "x", False),
        ("\\d", "1", False),
        ("", "", True),
        ("", "x", False),
    ],
)
def test_a_summary_is_a_glob_over_the_whole_title_whatever_its_case(pattern, title, fits):
    assert answer(Match(summary=pattern), event(summary=title)) is (YES if fits else NO)


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_title_fits_itself_and_its_beginning(title, rest):
    literal = title.replace("*", "?")
    assert glob(literal, title)
    assert glob(literal + "*", title + "-" + rest)


def test_a_pattern_of_many_stars_stays_fast():
    pattern = "*a" * 40 + "b"
    assert not glob(pattern, "a" * 5000)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("gpu",), YES),
        (("cpu", "Night Shift"), YES),
        (("cpu",), NO),
        (("night",), NO),
        ((" gpu ",), YES),
    ],
)
def test_one_of_the_categories_is_enough(labels, expected):
    assert answer(Match(categories=labels)) is expected


def test_an_event_without_categories_has_none_and_is_readable():
    assert answer(Match(categories=("gpu",)), event(categories=())) is NO


def test_one_of_the_busy_words_is_enough():
    match = Match(busy=(Busy.BUSY, Busy.OUT_OF_OFFICE))
    assert answer(match, event(busy=Busy.OUT_OF_OFFICE)) is YES
    assert answer(match, event(busy=Busy.FREE)) is NO


def test_an_expression_sees_local_time():
    assert answer(Match(expression="event.hour == 22 && event.weekday == 1")) is YES
    assert matches(Match(expression="event.hour == 22"), event(), "UTC") is NO


def test_organizers_are_trust_and_no_criterion():
    assert answer(Match(organizers=("nobody@example.com",))) is YES


def test_all_given_criteria_must_hold():
    assert answer(Match(summary="train:*", categories=("gpu",))) is YES
    assert answer(Match(summary="train:*", categories=("cpu",))) is NO
    assert answer(Match(summary="test:*", categories=("gpu",))) is NO


# --- what cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "match",
    [
        Match(summary="*"),
        Match(categories=("gpu",)),
        Match(expression='event.summary == "x"'),
        Match(expression="event.hour"),  # no yes or no
        Match(expression="event.hour >"),
        Match(expression="window.end > event.end"),  # a match sees the event alone
        Match(expression="1 / 0 == 1"),
        Match(summary="*", busy=(Busy.BUSY,), expression="true"),
    ],
)
def test_a_criterion_over_what_is_not_known_is_unreadable(match):
    assert answer(match, PRIVATE) is UNREADABLE


def test_a_criterion_that_says_no_is_enough_whatever_else_is_unreadable():
    assert answer(Match(summary="x", busy=(Busy.FREE,)), PRIVATE) is NO
    assert answer(Match(summary="x", expression="event.hour == 3"), PRIVATE) is NO


@pytest.mark.parametrize("effect", list(Effect))
def test_the_unreadable_denies_and_does_nothing_else(effect):
    assert counts(effect, YES) is True
    assert counts(effect, NO) is False
    assert counts(effect, UNREADABLE) is (effect is Effect.DENY)


# --- defaults and trust ------------------------------------------------------------------------


def test_a_deny_means_busy_and_out_of_office_unless_it_says_otherwise():
    deny = for_effect(Match(summary="GPU reserved*"), Effect.DENY)
    assert deny == Match(summary="GPU reserved*", busy=(Busy.BUSY, Busy.OUT_OF_OFFICE))
    told = Match(busy=(Busy.FREE,))
    assert for_effect(told, Effect.DENY) == told
    for effect in (Effect.TRIGGER, Effect.ALLOW, Effect.DEADLINE):
        assert for_effect(Match(), effect) == Match()


@pytest.mark.parametrize(
    ("changes", "organizers", "expected"),
    [
        ({"own": True}, (), True),
        ({"own": False}, (), False),
        ({"own": False}, ("*@example.com",), True),
        ({"own": False}, ("ANNA@Example.com",), True),
        ({"own": False}, ("*@example.org", "bob@*"), False),
        ({"own": False, "organizer": "eve@example.com.evil.org"}, ("*@example.com",), False),
        ({"own": False, "organizer": None}, ("*",), False),
    ],
)
def test_only_own_events_and_those_of_listed_organisers_are_trusted(changes, organizers, expected):
    assert trusted(event(**changes), Match(organizers=organizers)) is expected


# --- near misses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "title", "expected"),
    [
        ("train:*", "train llama", True),
        ("train:*", "Training llama", True),
        ("train:*", "Trian: llama", True),
        ("train:*", "tain: llama", True),
        ("train:*", "trrain: llama", True),
        ("train:*", "brain: llama", True),
        ("train:*", " train : llama", True),
        ("train:*", "t r a i n", True),
        ("train:*", "trai", True),
        ("train:*", "lunch", False),
        ("train:*", "tarin drivers", True),
        ("train:*", "bran muffins", False),
        ("train:*", "the train: llama", False),
        ("*train*", "some trian run", True),
        ("*train*", "some lunch", False),
        ("GPU reserved*", "gpu-reserved", True),
        ("GPU reserved*", "GPU resreved", True),
        ("GPU reserved*", "GPU", False),
        ("gpu*", "gp", False),
        ("*", "anything", False),
        ("a*", "b", False),
        ("train:*", "", False),
        ("train:*", "train: llama", False),  # matches, so it is no near miss
    ],
)
def test_a_slip_of_the_pen_is_a_near_miss(pattern, title, expected):
    assert near(Match(summary=pattern), event(summary=title)) is expected


def test_an_event_that_is_ruled_out_otherwise_is_no_near_miss():
    slip = event(summary="trian: x")
    assert near(Match(summary="train:*", categories=("gpu",)), slip)
    assert not near(Match(summary="train:*", categories=("cpu",)), slip)
    assert not near(Match(summary="train:*", busy=(Busy.FREE,)), slip)
    assert not near(Match(summary="train:*"), PRIVATE)
    assert not near(Match(), slip)


@given(st.text(alphabet="abcdefgh", min_size=4, max_size=12), st.data())
def test_any_one_slip_in_a_word_is_found(word, data):
    at = data.draw(st.integers(0, len(word) - 1))
    slips = [
        word[:at] + word[at + 1 :],
        word[:at] + "z" + word[at:],
        word[:at] + "z" + word[at + 1 :],
        word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
    ]
    for slip in set(slips) - {word}:
        assert near(Match(summary=f"{word}:*"), event(summary=f"{slip}: x"))


@given(st.text(max_size=40), st.text(max_size=40))
def test_near_never_fails_and_never_names_a_match(pattern, title):
    found = near(Match(summary=pattern), event(summary=title))
    assert not (found and glob(pattern, title))


# --- what a calendar cannot serve


TIMES_ONLY = frozenset({"span", "busy"})


@pytest.mark.parametrize(
    ("match", "fields", "expected"),
    [
        (Match(summary="a"), {"summary"}, None),
        (Match(summary="a"), set(), ("summary", "summary")),
        (Match(categories=("a",)), {"summary", "organizer"}, ("categories", "categories")),
        (Match(organizers=("a",)), set(), ("organizers", "organizer")),
        (Match(busy=(Busy.BUSY,)), set(), None),
        (Match(expression="event.hour > 20"), set(), None),
        (Match(expression="event.summary == 'a'"), set(), ("expression", "summary")),
        (Match(expression="'a' in event.categories"), {"summary"}, ("expression", "categories")),
        (Match(expression="event.description != ''"), {"summary"}, ("expression", "description")),
        (Match(expression="("), set(), None),
    ],
)
def test_a_criterion_needs_what_it_looks_at(match, fields, expected):
    assert missing(match, TIMES_ONLY | fields) == expected
