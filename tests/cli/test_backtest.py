"""`slackwater backtest`: the same table for the same input, and one sentence for a bad file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from slackwater.backtest.formats import write_jobs
from slackwater.backtest.trace import DAY, jobs_of
from tests.cli.conftest import Slackwater


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    dice = np.random.default_rng(5)
    count = 1500
    jobs = jobs_of(
        dice.integers(0, 14 * DAY, count),
        np.clip(dice.lognormal(4, 1, count), 1, DAY).astype(np.int64),
        dice.choice((1, 2, 4), count),
    )
    path = tmp_path / "mine.csv.gz"
    write_jobs(path, jobs)
    return path


def test_json_is_the_same_to_the_byte_and_holds_every_policy(
    slackwater: Slackwater, trace: Path
) -> None:
    words = ("backtest", "--trace", str(trace), "--capacity", "40", "-o", "json", "--policies")
    words += ("cron", "hashed", "bound")
    first, second = slackwater(*words), slackwater(*words)

    assert (first.code, first.err) == (0, "")
    assert first.out == second.out
    found = json.loads(first.out)
    assert [row["name"] for row in found["rows"]] == ["cron", "hashed", "bound"]
    cron, hashed, bound = found["rows"]
    assert cron["over_cron"] == 0
    assert found["alone"] <= cron["best"] <= bound["best"] + 0.02
    assert sum(hashed["hours"]) == pytest.approx(1, abs=1e-4)
    assert found["capacity"] == 40


def test_the_table_says_what_was_compared_and_what_the_columns_mean(
    slackwater: Slackwater, trace: Path
) -> None:
    words = ("--capacity", "40", "--no-search", "--training", "8", "--policies", "cron", "off-peak")
    said = slackwater("backtest", "--trace", str(trace), *words)

    assert said.code == 0
    assert "mine: 40 GPUs" in said.out
    assert "training of 8.0% released at midnight, 24 h to the deadline" in said.out
    assert re.search(r"^Slackwater OffPeak +- +- +0\.\d{3}", said.out, re.MULTILINE)
    assert "U*: utilisation at the most training" in said.out


def test_the_page_needs_nothing_else_and_has_its_plots(slackwater: Slackwater, trace: Path) -> None:
    words = ("--capacity", "40", "-o", "html", "--policies", "cron", "hashed", "bound")
    said = slackwater("backtest", "--trace", str(trace), *words)

    assert said.code == 0
    assert said.out.count("<svg ") == 3
    assert "prefers-color-scheme:dark" in said.out
    assert not re.search(r"(src|href)=|https?:|<script|@import|url\(", said.out)


def test_a_broken_file_is_one_sentence_with_its_line(
    slackwater: Slackwater, tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("submit_s,duration_s,gpus\n10,5,1\n20,-5,1\n")
    said = slackwater("backtest", "--trace", str(path))

    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "bad.csv, line 3" in said.err


@pytest.mark.parametrize(
    "words", [("--training", "0"), ("--hours", "x"), ("--seeds", "0"), ("--policies", "magic")]
)
def test_flags_that_mean_nothing_are_refused(slackwater: Slackwater, words: tuple[str]) -> None:
    said = slackwater("backtest", *words)

    assert said.code == 2
    assert words[0] in said.err


def test_a_pool_that_does_not_exist_is_named(slackwater: Slackwater, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    words = ("--pool", "research/h100", "--manifests", str(tmp_path / "manifests"))
    said = slackwater("backtest", *words)

    assert said.code == 2
    assert "research/h100" in said.err
