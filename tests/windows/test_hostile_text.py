"""Descriptions that mean harm, or that people really write: a value or a sentence, and quickly."""

import time

import pytest

from slackwater_windows.parameters import BadParameters, parameters

LARGE = "the description has more than 64 Ki characters"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("x" * 200_000, LARGE, id="200 KB"),
        pytest.param("<div>" * 40_000, LARGE, id="200 KB of tags"),
        pytest.param("```yaml\na: &a [x]\nb: *a\n```", "more than", id="aliases"),
        pytest.param("```yaml\nb: [*a]\n```", "more than", id="an alias in a list"),
        pytest.param("```yaml\na: !!python/object:os.system x\n```", "more than", id="a tag"),
        pytest.param("```yaml\na: {<<: *b}\n```", "more than", id="a merge"),
        pytest.param("```json\n" + "[" * 30_000 + "\n```", "not JSON", id="deep JSON"),
        pytest.param('```json\n{"a": 1e999}\n```', "too large", id="a number like infinity"),
        pytest.param("epochs=" + "9" * 5000, "too large", id="a number of 5,000 digits"),
        pytest.param("```json\n{}", "does not end", id="a fence left open"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_a_sentence_that_quotes_nothing(text, told):
    with pytest.raises(BadParameters) as refused:
        parameters(text)
    assert told in refused.value.detail
    assert len(refused.value.detail) < 100


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("epochs=3\x00", {"epochs": 3}, id="NUL"),
        pytest.param("model=🌊 llama", {"model": "🌊 llama"}, id="emoji"),
        pytest.param("model=\u200fנמל", {"model": "\u200fנמל"}, id="right to left"),
        pytest.param("\ud83dlr=1", {"lr": 1}, id="half a character"),
        pytest.param(
            "<p>lr=0.1</p><p>epochs&nbsp;=&nbsp;3</p>", {"lr": 0.1, "epochs": 3}, id="HTML"
        ),
        pytest.param(
            "<html><head><style>a=1</style></head><body>lr=1</body>", {"lr": 1}, id="styles"
        ),
    ],
)
def test_what_people_write_is_read(text, found):
    assert parameters(text) == found


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<" * 65_000, id="angles"),
        pytest.param("<a " * 21_000, id="open tags"),
        pytest.param("<!--" * 16_000, id="open comments"),
        pytest.param("<style>" * 9_000, id="open styles"),
        pytest.param("&#38;" * 13_000, id="entities"),
        pytest.param("a=1\n" * 16_000, id="pairs"),
    ],
)
def test_no_markup_takes_long(text):
    began = time.process_time()
    assert isinstance(parameters(text), dict)
    assert time.process_time() - began < 2
