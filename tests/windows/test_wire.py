"""The windows file as text: what is written is read again, within its limit, by old and new readers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater_windows.document import Document
from slackwater_windows.wire import BadDocument, decode, encode
from tests.windows.make import NOW, document, documents, occurrence, window


@given(documents)
def test_what_is_written_is_what_is_read(told: Document) -> None:
    assert decode(encode(told)) == told


@given(documents, st.integers(600, 3000))
def test_a_text_keeps_its_limit_and_loses_only_whole_occurrences(
    told: Document, limit: int
) -> None:
    bare = replace(told, windows=(), omitted=10**9)
    limit += len(encode(bare))
    text = encode(told, limit)
    read = decode(text)

    assert len(text.encode()) <= limit
    kept = [o for w in read.windows for o in w.occurrences]
    had = [o for w in told.windows for o in w.occurrences]
    assert all(found in had for found in kept)
    assert read.omitted == told.omitted + len(had) - len(kept)


def test_what_is_open_and_what_is_near_stays_longest() -> None:
    far = [occurrence(f"far{n}", begins=24 * n) for n in range(1, 30)]
    running = occurrence("running", begins=-40, lasts=60, state="Running")
    told = document(window(running, *far), window(occurrence("other", begins=2), name="other"))
    small = decode(encode(told, 1200))

    kept = [o.id for w in small.windows for o in w.occurrences]
    assert kept[0] == "running"
    assert "other" in kept
    assert "far29" not in kept
    assert small.omitted == 31 - len(kept)


def test_ten_thousand_windows_fit_into_a_config_map() -> None:
    windows = [window(occurrence(f"o{n}", begins=n % 99), name=f"w{n}") for n in range(10_000)]
    text = encode(document(*windows))
    read = decode(text)

    assert 800_000 < len(text) <= 900_000
    assert read.omitted + len(read.windows) == 10_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no version"),
        ('{"version": "1"}', "no version"),
        ('{"version": 2, "secret": "x"}', "upgrade slackwater-airflow"),
        ('{"version": 1}', "no time of writing"),
        ('{"version": 1, "writtenAt": "2026-01-01T00:00:00"}', "no time of writing"),
    ],
)
def test_what_is_no_windows_file_is_refused_with_a_remedy(text: str, said: str) -> None:
    with pytest.raises(BadDocument, match=said) as refused:
        decode(text)
    assert "secret" not in str(refused.value)


def test_what_cannot_be_read_inside_is_left_out_and_the_rest_stays() -> None:
    wire = json.loads(encode(document(window(occurrence("good"), occurrence("bad", begins=2)))))
    wire["windows"][0]["occurrences"][1]["start"] = "tomorrow"
    wire["windows"].append({"namespace": "x"})
    wire["windows"].append(7)
    wire["pools"] = {"not": "a list"}
    wire["somethingNew"] = {"of": "a later version"}
    read = decode(json.dumps(wire))

    assert [o.id for w in read.windows for o in w.occurrences] == ["good"]
    assert read.written_at == NOW
    assert read.pools == ()


@given(st.recursive(st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(
    st.sampled_from(["version", "windows", "pools", "occurrences", "writtenAt", "name", "load"]), i
)))  # fmt: skip
def test_no_json_breaks_the_reader(anything: object) -> None:
    try:
        decode(json.dumps({"version": 1, "writtenAt": "2026-01-01T00:00:00Z", "windows": [anything],
                           "pools": [anything], "omitted": 0}))  # fmt: skip
        decode(json.dumps(anything))
    except BadDocument:
        pass
