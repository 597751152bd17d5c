"""Parameters in the descriptions of events."""

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater_windows.parameters import BadParameters, parameters
from slackwater_windows.prose import plain


def fenced(kind: str, *lines: str) -> str:
    return "\n".join((f"```{kind}", *lines, "```"))


# --- lines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x=1", 1),
        ("x = -12", -12),
        ("x=0", 0),
        ("x=0.1", 0.1),
        ("x=1e-4", 1e-4),
        ("x=-2.5E3", -2500.0),
        ("x=true", True),
        ("x=False", False),
        ("x=NULL", None),
        ("x=llama 8b", "llama 8b"),
        ("x=  llama  ", "llama"),
        ("x=", ""),
        ('x="1"', "1"),
        ('x="a\\nb \\"c\\""', 'a\nb "c"'),
        ("x='it''s'", "it's"),
        ("x=“llama 8b”", "llama 8b"),
        ("x=007", "007"),
        ("x=1.", "1."),
        ("x=.5", ".5"),
        ("x=nan", "nan"),
        ("x=inf", "inf"),
        ("x=1_000", "1_000"),
        ("x=9223372036854775807", 2**63 - 1),
        ("x=a=b", "a=b"),
        ("x=[1, 2]", "[1, 2]"),
        ("  x=1", 1),
        ("- x=1", 1),
        ("• x=1", 1),
    ],
)
def test_a_line_has_a_typed_value(line, value):
    found = parameters(f"Nightly run.\n{line}\nBest, Anna")
    assert found == {"x": value}
    assert type(found["x"]) is type(value)


@pytest.mark.parametrize(
    "text",
    ["", "Just words.", "see https://example.com/?a=b", "1x=2", "two words=3", "=4", "a==", "x: 1"],
)
def test_prose_is_no_parameter(text):
    assert "x" not in parameters(text)
    assert all(name == "a" for name in parameters(text))


def test_a_name_given_twice_has_the_later_value():
    assert parameters("x=1\nx=2\n" + fenced("json", '{"x": 3}')) == {"x": 3}
    assert parameters(fenced("json", '{"x": 3}') + "\nx=1") == {"x": 1}


# --- blocks ------------------------------------------------------------------------------------


def test_a_json_block_is_taken_as_it_is():
    value = {"lr": 0.1, "layers": [1, 2], "data": {"name": "c4", "shards": None}, "resume": True}
    assert parameters("Hi\n" + fenced("json", *json.dumps(value, indent=2).split("\n"))) == value
    assert parameters(fenced(" JSON ", '{"a": 1}')) == {"a": 1}


def test_a_yaml_block_of_the_subset_is_read():
    block = fenced(
        "yaml",
        "---",
        "# what to train",
        "model: llama 8b  # the small one",
        "lr: 1e-4",
        "resume: true",
        "note: don't touch # really",
        'quoted: "a # b"',
        "'single': 'it''s'",
        "empty:",
        "tilde: ~",
        "url: http://example.com/#top",
        "flow: [1, two, [3, 'four, five'], \"six\", ]",
        "none: []",
        "layers:",
        "  - 128",
        "  - sixty-four",
        "  - [1, 2]",
        "after: 1",
    )
    assert parameters(block) == {
        "model": "llama 8b",
        "lr": 1e-4,
        "resume": True,
        "note": "don't touch",
        "quoted": "a # b",
        "single": "it's",
        "empty": None,
        "tilde": None,
        "url": "http://example.com/#top",
        "flow": [1, "two", [3, "four, five"], "six"],
        "none": [],
        "layers": [128, "sixty-four", [1, 2]],
        "after": 1,
    }


def test_other_code_is_not_read():
    assert parameters(fenced("python", "x=1") + "\ny=2\n" + fenced("", "z=3")) == {"y": 2}


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (fenced("json", "{"), "not JSON"),
        (fenced("json", "[1]"), "not an object"),
        (fenced("json", '{"a": 1e999}'), "too large"),
        (fenced("json", '{"a": NaN}'), "too large"),
        (fenced("json", '{"a": 9223372036854775808}'), "too large"),
        (fenced("json", '{"a": ' + "9" * 5000 + "}"), "not JSON"),
        (fenced("json", "[" * 20_000), "not JSON"),
        ("```json\n{}", "does not end"),
        (fenced("yaml", "a:", "  b: 1"), "more than `name: value`"),
        (fenced("yaml", "a: {b: 1}"), "more than `name: value`"),
        (fenced("yaml", "a: [{b: 1}]"), "more than `name: value`"),
        (fenced("yaml", "a: &x 1"), "more than `name: value`"),
        (fenced("yaml", "a: *x"), "more than `name: value`"),
        (fenced("yaml", "a: !!python/object:os.system x"), "more than `name: value`"),
        (fenced("yaml", "a: |", "  text"), "more than `name: value`"),
        (fenced("yaml", "a:", "- b: 1"), "more than `name: value`"),
        (fenced("yaml", "a: [1,, 2]"), "more than `name: value`"),
        (fenced("yaml", "just words"), "more than `name: value`"),
        (fenced("yaml", "- 1"), "below no name"),
        (fenced("yaml", "a: 1", "- 1"), "below no name"),
        (fenced("yaml", "a: [1"), "not closed"),
        (fenced("yaml", "a: [1] 2"), "after it"),
        (fenced("yaml", "a: " + "[" * 3000), "levels"),
        (fenced("json", '{"a": [[[[[1]]]]]}'), "5 levels"),
        ("x=99999999999999999999", "too large"),
        ("x=9223372036854775808", "too large"),
        ("x=1e999", "too large"),
        ('x="a" b"', "escape"),
        ("\n".join(f"x{n}=1" for n in range(201)), "200 names"),
        (fenced("json", json.dumps({"a": {f"x{n}": 1 for n in range(200)}})), "200 names"),
        (fenced("json", json.dumps({"a": [1] * 1000})), "1000 values"),
        ("x" * 65537, "64 Ki"),
    ],
)
def test_what_is_broken_or_over_a_limit_is_refused_whole(text, detail):
    with pytest.raises(BadParameters) as caught:
        parameters(text)
    assert detail in caught.value.detail


def test_the_limits_themselves_are_accepted():
    assert len(parameters("\n".join(f"x{n}=1" for n in range(200)))) == 200
    assert parameters(fenced("json", '{"a": [[[[1]]]]}')) == {"a": [[[[1]]]]}
    assert parameters("x=1" + " " * (65536 - 3)) == {"x": 1}


def test_a_refusal_quotes_nothing():
    with pytest.raises(BadParameters) as caught:
        parameters(fenced("json", '{"project": "Initech" merger}'))
    assert "Initech" not in repr(caught.value)
    assert caught.value.__suppress_context__


# --- text that calendars change ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "lr=0.1<br>note=a &lt; b &amp; c",
        "<p>lr=0.1</p>\r\n<p>note=a &lt; b &amp; c</p>",
        (
            '<html><head><style>x=1</style></head><body><div class="x">lr=0.1</div>'
            "<div>note=a&nbsp;&lt; b &amp;&nbsp;c</div></body></html>"
        ),
        "<ul><li>lr=0.1</li><li>note=a &#60; b &#38; c</li></ul>",
        "<!-- x=1 --><b>lr</b>=<i>0.1</i><br/>note=a < b &amp; c",
        "lr=0.1\r\nnote=a < b & c\r\n",
        "lr\u200b=\u00a00.1\u2028note=a < b & c\x00",
        "l\x07r=0.1\nnote=a < b & c",
    ],
)
def test_html_and_invisible_characters_are_reduced_to_text(text):
    assert parameters(text) == {"lr": 0.1, "note": "a < b & c"}


def test_a_block_inside_html_is_found():
    text = "Hi,<pre>```json\n{&quot;a&quot;: [1]}\n```</pre><p>x=1</p>"
    assert parameters(text) == {"a": [1], "x": 1}
    assert parameters("<p>```yaml</p><p>a: 1</p><p>```</p>") == {"a": 1}


def test_what_json_can_spell_and_a_database_cannot_hold_is_dropped():
    block = fenced("json", r'{"a\u0000": ["b\u0000\ud800\tc\n"], "d": {"e\u0007": 1}}')
    assert parameters(block) == {"a": ["b\tc\n"], "d": {"e": 1}}


@given(st.text(max_size=300) | st.text(alphabet="<>/!-abr=&;#\"' \n`{}[],:", max_size=200))
def test_any_text_gives_parameters_or_a_refusal(text):
    try:
        found = parameters(text)
    except BadParameters as refused:
        assert refused.detail  # noqa: PT017
        return
    assert json.loads(json.dumps(found)) == found
    assert "\\u0000" not in json.dumps(found)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True),
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20),
        max_size=5,
    )
)
def test_json_gives_back_what_was_written(value):
    kept = json.loads(plain(json.dumps(value, ensure_ascii=True)))
    assert parameters(fenced("json", json.dumps(value))) == kept == value


@pytest.mark.parametrize(
    "piece",
    [
        "<!",
        "</",
        "<a ",
        "<!--",
        "<!DOCTYPE ",
        "&#",
        "<![",
        "<style>",
        "<",
        "```\n",
        "a: [",
        '"',
        "'",
    ],
)
def test_no_text_takes_long(piece):
    text = "<br>" + piece * (65000 // len(piece))
    begun = time.process_time()
    with contextlib.suppress(BadParameters):
        parameters(text)
    assert time.process_time() - begun < 1
