"""Trace files are read as they are documented, and what is wrong with one is said with its line."""

import gzip

import numpy as np
import pytest

from slackwater.backtest.formats import read, span_of, write_jobs
from slackwater.backtest.known import load
from slackwater.backtest.trace import DAY, HOUR, WEEK, jobs_of
from slackwater.errors import ConfigError

JOBS = "submit_s,start_s,duration_s,gpus,user,state\n0,,90,8,a,Pass\n120,,0,1,b,Killed\n130,,5,0,c,Pass\n"
SWF = """; Version: 2.2
; UnixStartTime: 1704153600
1 0 5 3600 16 -1 -1 16 -1 -1 1 1 1 1 1 -1 -1 -1
2 60 5 -1 16 -1 -1 16 -1 -1 0 1 1 1 1 -1 -1 -1
3 90 5 61 -1 -1 -1 4 -1 -1 1 1 1 1 1 -1 -1 -1
"""


def told(path):
    with pytest.raises(ConfigError) as caught:
        read(path)
    return caught.value.sentence


def test_jobs_are_read_in_minutes_whatever_else_the_file_holds(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text("# a comment\n" + JOBS)
    jobs = read(path).jobs
    assert jobs.submit.tolist() == [0, 2]
    assert jobs.duration.tolist() == [2, 1]
    assert jobs.gpus.tolist() == [8, 1]


def test_a_gzipped_file_says_the_same(tmp_path):
    path = tmp_path / "jobs.csv.gz"
    path.write_bytes(gzip.compress(JOBS.encode()))
    assert read(path).jobs.gpus.tolist() == [8, 1]


def test_what_is_written_is_read_again_and_has_the_same_bytes(tmp_path):
    jobs = jobs_of(np.array([5, 1]), np.array([10, 20]), np.array([4, 2]))
    first, second = tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"
    write_jobs(first, jobs)
    write_jobs(second, read(first).jobs)
    assert first.read_bytes() == second.read_bytes()
    assert read(second).jobs.submit.tolist() == [1, 5]


def test_a_load_holds_until_the_next_row(tmp_path):
    path = tmp_path / "load.csv"
    path.write_text("time_s,gpus\n0,4\n3600,6.5\n90000,1\n")
    demand = read(path).demand
    assert demand is not None
    assert (demand[0], demand[59], demand[60], demand[1499], demand[1500]) == (4, 4, 6.5, 6.5, 1)


def test_swf_counts_from_the_monday_before_its_start(tmp_path):
    path = tmp_path / "log.swf"
    path.write_text(SWF)
    jobs = read(path).jobs
    # 1704153600 is Tuesday 00:00 UTC. The second job never ran; the third has what it asked for.
    assert jobs.submit.tolist() == [DAY, DAY + 1]
    assert jobs.duration.tolist() == [60, 2]
    assert jobs.gpus.tolist() == [16, 4]


@pytest.mark.parametrize(
    ("rows", "line", "word"),
    [
        ("0,,90,8,a,Pass\n120,,-5,1,b,Pass\n", 3, "duration_s is -5"),
        ("500,,90,8,a,Pass\n120,,5,1,b,Pass\n", 3, "not in order"),
        ("0,,90,8,a,Pass\n120,,5\n", 3, "cut off"),
        ("0,,90,8,a,Pass\n120,,5,1,b,Pa", 3, "cut off"),
        ("0,,x,8,a,Pass\n", 2, "duration_s is no number"),
        ("0,,nan,8,a,Pass\n", 2, "no usable number"),
        ("0,,5,1.5,a,Pass\n", 2, "whole number"),
        ("0,,5,-1,a,Pass\n", 2, "gpus is -1"),
        ("0,,1e99,1,a,Pass\n", 2, "no usable number"),
        ("", 1, "no job"),
    ],
    ids=["negative", "unsorted", "short", "cut", "text", "nan", "half", "minus", "huge", "empty"],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, rows, line, word):
    path = tmp_path / "jobs.csv"
    path.write_text("submit_s,start_s,duration_s,gpus,user,state\n" + rows)
    sentence = told(path)
    assert f"jobs.csv, line {line}" in sentence
    assert word in sentence


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("a.csv", b"when,what\n1,2\n", "names no columns"),
        ("c.csv.gz", b"no gzip", "cut off"),
        ("d.csv", b"submit_s,duration_s,gpus\n\xff\xfe\n", "no text"),
        ("e.csv", b"time_s,gpus\n0,1\n60,2\n", "a day at least"),
        ("f.csv", b"time_s,gpus\n0,1\n600,2\n60,2\n", "not in order"),
        ("g.csv", b"time_s,gpus\n0,1\n600,-2\n", "never negative"),
        ("h.swf", b"1 0 5 60 1\n", "18"),
        ("i.swf", b"; UnixStartTime: soon\n", "no time"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_in_a_sentence(tmp_path, name, data, word):
    path = tmp_path / name
    path.write_bytes(data)
    assert word in told(path)


def test_a_gzipped_file_that_ends_too_early_is_cut_off(tmp_path):
    path = tmp_path / "jobs.csv.gz"
    rows = "".join(f"{n * 60},,{n % 977},1,u{n * 7919 % 1009},Pass\n" for n in range(4000))
    data = gzip.compress(("submit_s,start_s,duration_s,gpus,user,state\n" + rows).encode())
    path.write_bytes(data[: len(data) // 2])
    assert "cut off" in told(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "nothing.csv" in told(tmp_path / "nothing.csv")


def test_an_unknown_trace_gets_a_pool_that_its_load_fills_as_asked(tmp_path):
    dice = np.random.default_rng(1)
    count = 3000
    submit = np.sort(dice.integers(0, 9 * WEEK, count))
    jobs = jobs_of(submit, dice.integers(30, 600, count), dice.integers(1, 5, count))
    path = tmp_path / "mine.csv"
    write_jobs(path, jobs)
    trace = load(path, utilization=0.5)
    judged = trace.jobs.where(trace.jobs.submit >= trace.begins)
    used = float((judged.duration * judged.gpus).sum()) / (trace.length - trace.begins)
    assert used / trace.capacity == pytest.approx(0.5, rel=0.05)
    assert trace.begins >= WEEK
    assert span_of(jobs) == (0, 9 * WEEK)


def test_a_short_trace_meets_a_pool_that_its_own_first_week_has_filled(tmp_path):
    submit = np.arange(0, 20 * DAY, HOUR)
    jobs = jobs_of(submit, np.full(len(submit), 90), np.full(len(submit), 2))
    path = tmp_path / "short.csv"
    write_jobs(path, jobs)
    trace = load(path, capacity=8)
    assert len(trace.jobs) == len(jobs) + 7 * 24
    assert trace.length == 27 * DAY
    assert trace.begins >= 14 * DAY - WEEK
