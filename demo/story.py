"""The story: what the team, the GPUs and fate do, and what Slackwater makes of it.

Each act waits for real state (the status of the objects, Airflow's record) and never for time to
pass. What an act set in motion goes on while the next ones play.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from demo.console import Console, now
from demo.ledger import Expected, Row, compare, line_of, of_occurrence
from demo.stage import NODES, Stage
from demo.team import Entry, dragged
from demo.watch import Line, Watch

LLM: Final = "nightly-llm"
TUNE: Final = "finetune"
EVAL: Final = "evaluation"
POOL: Final = "h100"

Json = Mapping[str, Any]

_MINUTE: Final = timedelta(minutes=1)
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
# Whose the events are, and the parameters that their descriptions give.
_WINDOW: Final = {"first": LLM, "second": LLM, "tune": TUNE, "eval": EVAL}
_PARAMETERS: Final = {
    "first": {"epochs": 2, "model": "llama-8b", "lr": 0.0003, "seconds_per_epoch": 1},
    "second": {"epochs": 4, "model": "llama-70b", "lr": 0.0001, "seconds_per_epoch": 1},
    "tune": {"epochs": 2, "model": "support-bot", "lr": 5e-05, "seconds_per_epoch": 1},
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
        self._rivals: list[str] = []

    def prepare(self) -> None:
        """The calendar and the pool as the story finds them."""
        start = now()
        self._plan("first", "train: llm v7", start - 2 * _MINUTE, 30)
        self._plan("tune", "tune: support bot", start + 120 * _MINUTE, 60)
        self._plan("eval", "eval: llm v6", start - 2 * _MINUTE, 30)
        self._plan("reserved", "GPU reserved: board demo", start - 5 * _MINUTE, 60)
        self._stage.load.rise(NODES - 1)

    def play(self) -> list[Row]:
        """All acts.

        Returns:
            What happened, each line checked against Airflow's record.

        Raises:
            StoryFailed: an act did not go as it should.
        """
        self._the_pool_is_busy()
        self._the_load_falls()
        self._prometheus_stops()
        old_start = self._drag_an_event()
        self._an_event_is_denied()
        self._the_run_succeeds()
        self._the_event_is_followed(old_start)
        self._nothing_starts_blindly()
        self._only_one_gets_the_gpus()
        self._kill_and_return()
        self._the_other_has_its_turn()
        return self._compare()

    # --- the acts

    def _the_pool_is_busy(self) -> None:
        self._learn("first")
        self._learn("tune")

        def waits() -> bool:
            return _is(self._line("first"), "Waiting", "WaitingForGPUs")

        self._watch.until(f"{LLM} waits for GPUs", waits, 60)
        self._watch.insist(not self._watch.runs(), "nothing is triggered while the GPUs are busy")
        self._tell(f"{self._title('first')} has begun, the GPUs are busy. {self._says(LLM)}")

    def _the_load_falls(self) -> None:
        self._stage.load.fall(1)
        run = self._watch.until(f"a run of {LLM} in Airflow", lambda: self._run("first"), 30)
        self._tell(
            f"the load falls, {self._stage.load.free} GPUs are free. {LLM} triggers, once: "
            f"{run['dag_run_id']}"
        )

    def _prometheus_stops(self) -> None:
        """Before anything else could start; what comes of it shows later."""
        self._stage.prometheus.stop()

        def noticed() -> bool:
            return self._watch.pool_condition(POOL, "DataFresh").get("reason") == "Unreachable"

        # A pool that nobody waits for is looked at once a minute.
        self._watch.until(f"{POOL} is unreachable", noticed, 90)

    def _drag_an_event(self) -> datetime:
        """The team wants this evening's event now, and one more; gives the old start."""
        old = self._entries["tune"]
        start = now() + timedelta(seconds=3)
        self._entries["tune"] = dragged(old, start)
        self._stage.calendar.put(self._entries["tune"])
        self._plan("second", "train: llm v8", start, 30)
        return old.start

    def _an_event_is_denied(self) -> None:
        self._learn("eval")
        line = self._watch.until(f"{EVAL} is denied", lambda: self._line("eval"), 30)
        self._watch.insist(_is(line, "Planned", "EmptyWindow"), f"{EVAL} is denied")
        self._tell(
            f"{self._title('eval')} lies under {self._title('reserved')}, which denies it. "
            f"{EVAL} does not run: {line['reason']}"
        )

    def _the_run_succeeds(self) -> None:
        run = self._watch.until(f"the run of {LLM} succeeds", lambda: self._over("first"), 60)
        conf = {key: run["conf"].get(key) for key in self._conf("first")}
        self._watch.insist(conf == self._conf("first"), f"the event's parameters, not {conf}")
        self._tell(
            f"the run succeeds in Airflow with the event's parameters in its conf: "
            f"{json.dumps(conf, sort_keys=True)}"
        )

    def _the_event_is_followed(self, old_start: datetime) -> None:
        entry = self._entries["tune"]
        known = self._ids["tune"]
        self._learn("tune")
        self._watch.insist(self._ids["tune"] == known, "a dragged event stays the same occurrence")
        count = len(self._watch.lines(TUNE))
        self._watch.insist(count == 1, f"one occurrence, not {count}")
        self._tell(
            f"{self._title('tune')} was dragged from {old_start:%H:%M:%S} to "
            f"{entry.start:%H:%M:%S}. {TUNE} follows: its window is open"
        )

    def _nothing_starts_blindly(self) -> None:
        self._learn("second")

        def blocked() -> bool:
            lines = (self._line("second"), self._line("tune"))
            return all(_is(line, "Waiting", "Unreachable") for line in lines)

        self._watch.until("both windows are blocked", blocked, 60)
        self._watch.insist(len(self._watch.runs()) == 1, "nothing starts without numbers")
        self._tell(
            f"Prometheus is stopped, two windows are open and {self._stage.load.free} GPUs free. "
            f"Neither starts. {self._says(LLM)}"
        )

    def _only_one_gets_the_gpus(self) -> None:
        self._stage.prometheus.start()
        rivals = ["second", "tune"]

        def decided() -> bool:
            rivals.sort(key=lambda uid: self._run(uid) is None)
            first, other = (self._run(uid) for uid in rivals)
            self._watch.insist(other is None, "the same GPUs are not given twice")
            line = self._line(rivals[1])
            looked = line is not None and line["reason"] != "Unreachable"
            return first is not None and looked

        self._watch.until("one of two windows starts, the other waits", decided, 60)
        self._rivals = rivals
        starts, waits = (_WINDOW[uid] for uid in rivals)
        self._tell(
            f"Prometheus is back, two windows want the same 16 GPUs. {starts} starts, the other "
            f"waits. {self._says(waits)}"
        )

    def _kill_and_return(self) -> None:
        winner = self._rivals[0]
        controller = self._stage.controller
        before = controller.pid
        controller.kill()
        controller.start()
        self._watch.until(f"{_WINDOW[winner]} finds its run again", lambda: self._over(winner), 90)
        self._tell(
            f"Slackwater (pid {before}) is killed with -9 in mid-window and comes back (pid "
            f"{controller.pid}). {_WINDOW[winner]} finds its run, which succeeds; there is no second"
        )

    def _the_other_has_its_turn(self) -> None:
        winner, loser = self._rivals
        run = self._watch.until(
            f"the run of {_WINDOW[loser]} succeeds", lambda: self._over(loser), 90
        )
        began, ended = run["queued_at"], (self._run(winner) or {})["end_date"]
        self._watch.insist(_instant(ended) <= _instant(began), "the GPUs were never given twice")
        self._tell(f"the GPUs are free again: {_WINDOW[loser]} has its turn and succeeds")

    # --- the end

    def _compare(self) -> list[Row]:
        tune = self._entries["tune"]
        winner, loser = self._rivals
        over = _instant((self._run(winner) or {})["end_date"])
        expected = [
            self._expected("first", "waits for GPUs, then one run"),
            self._expected("second", "waits, blocked, then one run"),
            self._expected("tune", f"dragged to {tune.start:%H:%M:%S}, then one run"),
            self._expected("eval", "denied: no run", starts=False),
        ]
        for one in expected:
            if one.occurrence == self._ids[loser]:
                expected[expected.index(one)] = one.later_than(over)
        return compare(expected, self._watch.statuses(), self._stage.airflow.runs())

    def _expected(self, uid: str, story: str, *, starts: bool = True) -> Expected:
        entry = self._entries[uid]
        return Expected(
            event=entry.title,
            story=story,
            window=_WINDOW[uid],
            occurrence=self._ids[uid],
            starts=starts,
            not_before=entry.start,
            not_after=entry.end,
            conf=self._conf(uid) if starts else {},
        )

    # --- doing and telling

    def _plan(self, uid: str, title: str, start: datetime, minutes: int) -> None:
        description = "\n".join(
            f"{name}={value}" for name, value in _PARAMETERS.get(uid, {}).items()
        )
        entry = Entry(uid, title, start, start + minutes * _MINUTE, description)
        self._entries[uid] = entry
        self._stage.calendar.put(entry)

    def _tell(self, text: str) -> None:
        self._console.act(text)

    def _title(self, uid: str) -> str:
        return f'"{self._entries[uid].title}"'

    def _says(self, window: str) -> str:
        return f"{window}: {self._watch.status(window)['message']}"

    # --- looking

    @staticmethod
    def _conf(uid: str) -> dict[str, Any]:
        given = _PARAMETERS[uid]
        return {"epochs": given["epochs"], "hyperparameters": given}

    def _learn(self, uid: str) -> None:
        """Wait until an event stands in the ledger at its time, and remember its id there."""
        window, start = _WINDOW[uid], self._entries[uid].start

        def found() -> str | None:
            ids = [line["id"] for line in self._watch.lines(window) if _begins(line) == start]
            return ids[0] if ids else None

        self._ids[uid] = self._watch.until(f"{window} knows its event at {start}", found, 60)

    def _line(self, uid: str) -> Line | None:
        return line_of(self._watch.statuses(), _WINDOW[uid], self._ids[uid])

    def _run(self, uid: str) -> Json | None:
        """The run of an event, None while there is none. A second one ends the story."""
        found = of_occurrence(self._watch.runs(), _WINDOW[uid], self._ids[uid])
        self._watch.insist(len(found) < 2, f"{len(found)} runs of one event")
        return found[0] if found else None

    def _over(self, uid: str) -> Json | None:
        """The run of an event once both sides say that it succeeded."""
        run = self._run(uid)
        agreed = _is(self._line(uid), "Succeeded", "Succeeded")
        return run if agreed and run is not None and run["state"] == "success" else None


def _instant(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else _LONG_AGO


def _begins(line: Line) -> datetime | None:
    start = line.get("windowStart")
    return None if start is None else datetime.fromisoformat(start)


def _is(line: Line | None, state: str, reason: str) -> bool:
    return line is not None and (line["state"], line["reason"]) == (state, reason)
