"""The benchmark: a slice of it runs, goes on where it was, and prints what it measured."""

import sys

import pytest

from bench import gains


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    def run(*words):
        argv = ["gains", "--out", str(tmp_path), "--seeds", "1", "--hours", "24", *words]
        monkeypatch.setattr(sys, "argv", argv)
        assert gains.main() == 0
        return capsys.readouterr().out, "".join(
            path.read_text() for path in sorted(tmp_path.glob("*.jsonl"))
        )

    return run


def test_a_slice_is_measured_once_and_reported(run):
    words = ("--policies", "cron", "bound")
    _, first = run(*words)
    _, again = run(*words)
    assert first
    assert again == first, "what was measured is not measured again"
    table, _ = run(*words, "--report")
    assert "| cron, best-effort FIFO | 0." in table
    assert "+0.0 %" in table
    assert "| malleable upper bound | 0." in table


def test_shards_share_the_cells_and_a_report_leaves_out_what_is_missing(run):
    words = ("--policies", "cron", "hashed")
    run(*words, "--shard", "1/2")
    table, _ = run(*words, "--report")
    assert "cron, best-effort FIFO" in table
    assert "hashed cron" not in table
    run(*words, "--shard", "2/2")
    table, _ = run(*words, "--report")
    assert "hashed cron" in table


def test_a_line_that_was_cut_off_is_measured_again(run, tmp_path):
    words = ("--policies", "bound")
    _, first = run(*words)
    file = tmp_path / "1-of-1.jsonl"
    file.write_text(first[: len(first) - 40] + "\n")
    _, again = run(*words)
    assert again.splitlines()[-1] == first.splitlines()[-1]
