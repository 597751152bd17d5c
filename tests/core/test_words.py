"""Every outcome has one sentence and, where something is wrong, one remedy (R12)."""

import re
from string import Formatter

import pytest

from slackwater.core.words import WORDS, Reason, say
from slackwater.errors import SlackwaterError


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_one_sentence(reason):
    word = WORDS[reason]
    assert word.sentence
    if not word.sentence.endswith("}"):
        assert word.sentence.endswith(".")


@pytest.mark.parametrize("reason", [r for r in Reason if WORDS[r].warning])
def test_every_warning_has_a_remedy(reason):
    assert WORDS[reason].remedy.endswith(".")


def test_reasons_are_written_as_kubernetes_wants_them():
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]{0,63}", reason.value) for reason in Reason)
    assert len({reason.value.lower() for reason in Reason}) == len(Reason)
    assert set(WORDS) == set(Reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_sentence_with_all_its_gaps_filled_has_no_dash_left(reason):
    names = {name for _, name, _, _ in Formatter().parse(WORDS[reason].sentence) if name}
    text = say(reason, **dict.fromkeys(names, "x"))
    assert "{" not in text
    assert not re.search(r"(^|\s)-([\s.,:]|$)", text)


def test_a_missing_gap_is_a_dash_and_never_an_error():
    assert say(Reason.DAG_PAUSED) == "DAG - is paused."
    assert say(Reason.DAG_PAUSED, other=1, dag="d") == "DAG d is paused."


def test_an_error_speaks_in_the_words_of_its_reason():
    error = SlackwaterError(Reason.DAG_PAUSED, dag="d")
    assert error.sentence == "DAG d is paused."
    assert str(error) == "DagPaused: DAG d is paused."
