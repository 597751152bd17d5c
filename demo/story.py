"""The story: what the team, the GPUs and fate do, and what Slackwater makes of it.

Each act waits for real state (the status of the TrainingWindows, Airflow's record) and never for
time to pass. What an act set in motion goes on while the next ones play.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from demo.console import Console, now
from demo.ledger import Expected, Row, compare, of_occurrence
from demo.stage import NODES, Stage
from demo.team import Entry
from demo.watch import Line, Watch

LLM: Final = "nightly-llm"
TUNE: Final = "finetune"
EVAL: Final = "evaluation"

_MINUTE: Final = timedelta(minutes=1)
_RUN_NODES: Final = 2  # 16 GPUs in pods of 8
_SETTINGS: Final = {
    "first": {"epochs": 3, "model": "llama-8b", "lr": 0.0003, "seconds_per_epoch": 1},
    "second": {"epochs": 2, "model": "llama-70b", "lr": 0.0001, "seconds_per_epoch": 1},
    "tune": {"epochs": 2, "model": "llama-8b-support", "lr": 5e-05, "seconds_per_epoch": 1},
}


class Story:
    """Plays on a stage whose servers are up, Slackwater's not yet.

    Args:
        stage: the servers.
        console: where it is told.
        patience: what all limits are multiplied by.
    """

    def __init__(self, stage: Stage, console: Console, patience: float) -> None:
        self._stage, self._console = stage, console
        self._watch = Watch(stage, patience)
        self._entries: dict[str, Entry] = {}
        self._ids: dict[str, str] = {}

    # --- before

    def prepare(self) -> None:
        """The calendar and the pool as the story finds them."""
        start = now()
        plans = {
            "first": ("train: llm v7", start - 2 * _MINUTE, 30),
            "second": ("train: llm v8", start - _MINUTE, 30),
            "tune": ("tune: support bot", start + 120 * _MINUTE, 60),
            "eval": ("eval: llm v6", start - 2 * _MINUTE, 30),
            "reserved": ("GPU reserved: board demo", start - 5 * _MINUTE, 60),
        }
        for uid, (title, begins, minutes) in plans.items():
            settings = _SETTINGS.get(uid, {})
            description = "\n".join(f"{key}={value}" for key, value in settings.items())
            entry = Entry(uid, title, begins, begins + minutes * _MINUTE, description)
            self._entries[uid] = self._stage.team.plan(entry)
        self._stage.load.others_take(NODES - 1)

    def play(self) -> list[Row]:
        """All acts.

        Returns:
            What happened, each line checked against Airflow's record.

        Raises:
            StoryFailed: an act did not go as it should.
        """
        self._the_pool_is_busy()
        self._drag_an_event()
        self._the_load_falls()
        self._stage.prometheus.stop()
        self._the_event_is_followed()
        self._an_event_is_denied()
        self._the_run_succeeds()
        self._nothing_starts_blindly()
        winner, loser = self._only_one_gets_the_gpus()
        self._kill_and_return(winner)
        self._the_other_follows(loser)
        return self._compare()

    # --- the acts

    def _the_pool_is_busy(self) -> None:
        def waits() -> str | None:
            for line in self._watch.lines(LLM):
                if _begins(line) == self._entries["first"].start:
                    self._ids["first"] = line["id"]
                    if _is(line, "Waiting", "WaitingForGPUs"):
                        return str(self._watch.status(LLM)["message"])
            return None

        message = self._watch.until(f"{LLM} waits for GPUs", waits, 60)
        self._watch.insist(not self._watch.runs(), "nothing was triggered while the GPUs are busy")
        self._console.act(
            f'"{self._entries["first"].title}" has begun, the GPUs are busy. {LLM}: {message}'
        )

    def _drag_an_event(self) -> None:
        """The team wants the evening's event now; what comes of it shows later."""

        def planned() -> str | None:
            lines = [line for line in self._watch.lines(TUNE) if line["state"] == "Planned"]
            return lines[0]["id"] if lines else None

        self._ids["tune"] = self._watch.until(f"{TUNE} has its event planned", planned, 30)
        self._old_start = self._entries["tune"].start
        start = now() + timedelta(seconds=4)
        self._entries["tune"] = self._stage.team.drag(self._entries["tune"], start)

    def _the_load_falls(self) -> None:
        self._stage.load.others_leave(1)
        run = self._watch.until(
            f"a run of {LLM} in Airflow", lambda: self._one_run(LLM, "first"), 30
        )
        self._stage.load.run_takes("llm-v7", _RUN_NODES)
        self._console.act(f"the load falls to 16 of 32 GPUs. {LLM} triggers: {run['dag_run_id']}")

    def _the_event_is_followed(self) -> None:
        entry = self._entries["tune"]

        def followed() -> Line | None:
            (line,) = self._watch.lines(TUNE)
            return line if _begins(line) == entry.start else None

        line = self._watch.until(f"{TUNE} follows its event", followed, 30)
        self._watch.insist(
            line["id"] == self._ids["tune"], "a dragged event stays the same occurrence"
        )
        self._console.act(
            f'"{entry.title}" is dragged from {self._old_start:%H:%M:%S} to {entry.start:%H:%M:%S}. '
            f"{TUNE} follows: its window opens at {entry.start:%H:%M:%S}"
        )

    def _an_event_is_denied(self) -> None:
        def denied() -> Line | None:
            lines = [line for line in self._watch.lines(EVAL) if line["reason"] == "EmptyWindow"]
            return lines[0] if lines else None

        line = self._watch.until(f"{EVAL} is denied", denied, 30)
        self._ids["eval"] = line["id"]
        self._console.act(
            f'"{self._entries["eval"].title}" lies under "{self._entries["reserved"].title}". '
            f"{EVAL} does not run: {line['reason']}"
        )

    def _the_run_succeeds(self) -> None:
        def succeeded() -> Mapping[str, Any] | None:
            run = self._one_run(LLM, "first")
            line = self._line(LLM, "first")
            over = run is not None and run["state"] == "success"
            return run if over and _is(line, "Succeeded", "Succeeded") else None

        run = self._watch.until(f"the first run of {LLM} succeeds", succeeded, 60)
        conf = {key: run["conf"].get(key) for key in ("epochs", "hyperparameters")}
        self._watch.insist(
            conf == self._conf("first"), f"the event's parameters are in the conf: {conf}"
        )
        self._console.act(
            "the run succeeded in Airflow; its conf has the event's parameters: "
            f"{json.dumps(conf, sort_keys=True)}"
        )

    def _nothing_starts_blindly(self) -> None:
        """The first run is over and its GPUs are free, but nobody can know: Prometheus is down."""
        self._stage.load.run_leaves("llm-v7")

        def blocked() -> str | None:
            lines = (self._line(LLM, "second"), self._line(TUNE, "tune"))
            if all(_is(line, "Waiting", "Unreachable") for line in lines):
                return str(self._watch.status(TUNE)["message"])
            return None

        self._ids["second"] = self._watch.until(
            f"{LLM} has its second event", lambda: self._begun_at(LLM, "second"), 30
        )
        message = self._watch.until("both windows are blocked", blocked, 60)
        self._watch.insist(len(self._watch.runs()) == 1, "nothing starts without numbers")
        self._console.act(
            f"Prometheus is stopped with two windows open and {self._stage.load.free} GPUs free. "
            f"Neither starts: {message}"
        )

    def _only_one_gets_the_gpus(self) -> tuple[str, str]:
        self._stage.prometheus.start()
        rivals = {"second": LLM, "tune": TUNE}

        def decided() -> tuple[str, str] | None:
            started = [uid for uid, window in rivals.items() if self._one_run(window, uid)]
            self._watch.insist(len(started) < 2, "16 free GPUs are given once")
            if not started:
                return None
            (other,) = [uid for uid in rivals if uid != started[0]]
            line = self._line(rivals[other], other)
            waits = line is not None and line["reason"] in {"WaitingForGPUs", "WaitingForTurn"}
            return (started[0], other) if waits else None

        winner, loser = self._watch.until("one of the two windows starts", decided, 60)
        message = self._watch.status(rivals[loser])["message"]
        self._stage.load.run_takes("winner", _RUN_NODES)
        self._console.act(
            f"Prometheus is back, two windows want the same 16 GPUs. {rivals[winner]} starts, "
            f"{rivals[loser]} waits: {message}"
        )
        return winner, loser

    def _kill_and_return(self, winner: str) -> None:
        window = _window_of(winner)
        controller = self._stage.controller
        pid = controller.pid
        controller.kill()
        controller.start()

        def succeeded() -> Mapping[str, Any] | None:
            line = self._line(window, winner)
            return self._one_run(window, winner) if _is(line, "Succeeded", "Succeeded") else None

        run = self._watch.until(f"{window} finds its run again", succeeded, 90)
        self._watch.insist(len(self._watch.runs()) == 2, "the restart made no second run")
        self._console.act(
            f"Slackwater (pid {pid}) was killed with -9 in mid-window and is back as pid "
            f"{controller.pid}. {window} found its run, which went on: {run['state']}, and only one"
        )

    def _the_other_follows(self, loser: str) -> None:
        self._stage.load.run_leaves("winner")
        window = _window_of(loser)

        def succeeded() -> Mapping[str, Any] | None:
            line = self._line(window, loser)
            return self._one_run(window, loser) if _is(line, "Succeeded", "Succeeded") else None

        self._watch.until(f"the run of {window} succeeds", succeeded, 90)
        self._console.act(f"the GPUs are free again: {window} had its turn and succeeded")

    # --- the end

    def _compare(self) -> list[Row]:
        tune = self._entries["tune"]
        expected = [
            self._expected("first", "waited for GPUs, ran once", LLM),
            self._expected("second", "waited, blocked, ran once", LLM),
            self._expected("tune", f"dragged to {tune.start:%H:%M:%S}, ran once", TUNE),
            Expected(
                event=self._entries["eval"].title,
                story="denied, did not run",
                window=EVAL,
                occurrence=self._ids["eval"],
                starts=False,
            ),
        ]
        return compare(expected, self._watch.statuses(), self._stage.airflow.runs())

    def _expected(self, uid: str, story: str, window: str) -> Expected:
        entry = self._entries[uid]
        return Expected(
            event=entry.title,
            story=story,
            window=window,
            occurrence=self._ids[uid],
            starts=True,
            not_before=entry.start,
            not_after=entry.end,
            conf=self._conf(uid),
        )

    # --- looking

    def _conf(self, uid: str) -> dict[str, Any]:
        return {"epochs": _SETTINGS[uid]["epochs"], "hyperparameters": _SETTINGS[uid]}

    def _begun_at(self, window: str, uid: str) -> str | None:
        start = self._entries[uid].start
        ids = (line["id"] for line in self._watch.lines(window) if _begins(line) == start)
        return next(ids, None)

    def _line(self, window: str, uid: str) -> Line | None:
        known = self._ids.get(uid)
        return next((line for line in self._watch.lines(window) if line["id"] == known), None)

    def _one_run(self, window: str, uid: str) -> Mapping[str, Any] | None:
        """The run of an event; None while there is none. More than one ends the story."""
        found: Sequence[Mapping[str, Any]] = of_occurrence(
            self._watch.runs(), window, self._ids[uid]
        )
        self._watch.insist(len(found) < 2, f"one run of {window}, not {len(found)}")
        return found[0] if found else None


def _window_of(uid: str) -> str:
    return LLM if uid == "second" else TUNE


def _begins(line: Line) -> datetime | None:
    start = line.get("windowStart")
    return None if start is None else datetime.fromisoformat(start)


def _is(line: Line | None, state: str, reason: str) -> bool:
    return line is not None and (line["state"], line["reason"]) == (state, reason)
