"""A team's week as the operator would tell it: what the browser tests and the screenshots show."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import pi, sin
from pathlib import Path
from zoneinfo import ZoneInfo

from slackwater_windows.document import Cut, Document, Occurrence, Pool, Waited, Window

ZONE = "Europe/Berlin"
DAGS = Path(__file__).parent / "scene_dags"
DAG_IDS = ("train_llm", "finetune", "distill", "sweep")
_HOUR = timedelta(hours=1)


def scene(now: datetime) -> Document:
    """Four windows of two teams around `now`: one runs, one waits for GPUs, one for its moment."""
    return Document(
        installation="scene",
        written_at=now,
        windows=(_finetune(now), _nightly(now), _distill(now), _sweep(now)),
        pools=(
            _pool("research/h100", now, 32, 10, 4, 68.0, 0.0),
            _pool("vision/a100", now, 64, 41, 0, 36.0, 3.5),
        ),
    )


def _at(now: datetime, days: int, hour: int, minute: int = 0) -> datetime:
    """A wall-clock time in Berlin, some days from today."""
    wall = now.astimezone(ZoneInfo(ZONE)) + timedelta(days=days)
    return wall.replace(hour=hour, minute=minute, second=0, microsecond=0).astimezone(now.tzinfo)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(ZoneInfo(ZONE)):%H:%M}"


def _window(name: str, dag_id: str, message: str, gpus: int, *lines: Occurrence) -> Window:
    namespace = "vision" if dag_id in {"distill", "sweep"} else "research"
    pool = "vision/a100" if namespace == "vision" else "research/h100"
    return Window(
        namespace=namespace,
        name=name,
        dag_id=dag_id,
        airflow=f"{namespace}/default",
        time_zone=ZONE,
        message=message,
        pool=pool,
        gpus=gpus,
        per_pod=8,
        occurrences=tuple(sorted(lines, key=lambda line: (line.start, line.id))),
    )


def _planned(key: str, start: datetime, hours: float, *cuts: tuple[float, float]) -> Occurrence:
    """One ahead; `cuts` are hours from its start, inside of it or to one of its ends."""
    pieces, cursor = [], start
    end = start + hours * _HOUR
    taken = tuple(Cut(start + a * _HOUR, start + b * _HOUR, "reserved") for a, b in cuts)
    for cut in taken:
        if cursor < cut.start:
            pieces.append((cursor, cut.start))
        cursor = max(cursor, cut.end)
    if cursor < end:
        pieces.append((cursor, end))
    return Occurrence(
        id=key,
        entry="team",
        state="Planned",
        reason="Ahead" if pieces else "EmptyWindow",
        start=pieces[0][0] if pieces else start,
        end=pieces[-1][1] if pieces else start,
        pieces=tuple(pieces) if len(pieces) > 1 else (),
        cuts=taken,
    )


def _ended(key: str, start: datetime, state: str, ran: timedelta) -> Occurrence:
    began = start + timedelta(minutes=4)
    return Occurrence(
        id=key,
        entry="team",
        state=state,
        reason=state,
        start=start,
        end=start + 6 * _HOUR,
        dag_run_id=f"slackwater.lab.research.{key}",
        trigger_time=began,
        start_time=began,
        end_time=began + ran,
    )


def _nightly(now: datetime) -> Window:
    start = now - timedelta(minutes=62)
    began = start + timedelta(minutes=2)
    running = Occurrence(
        id="tonight",
        entry="team",
        state="Running",
        reason="Running",
        start=start,
        end=start + 8 * _HOUR,
        dag_run_id="slackwater.lab.research.nightly-llm.0f3a5c",
        trigger_time=began,
        start_time=began,
        waited=(Waited("WaitingForGPUs", 120),),
    )
    ahead = [
        _planned("n1", _at(now, 2, 0), 8),
        _planned("n2", _at(now, 3, 0), 8, (3, 5)),
        _planned("n3", _at(now, 4, 0), 8),
        _planned("n5", _at(now, 5, 0), 8, (0, 8)),
    ]
    past = _ended("nightly-llm.91b2", _at(now, -1, 0), "Succeeded", timedelta(hours=5, minutes=48))
    message = f"Running since {_clock(began)}; its window ends at {_clock(running.end)}."
    return _window("nightly-llm", "train_llm", message, 16, past, running, *ahead)


def _finetune(now: datetime) -> Window:
    start = now - timedelta(minutes=34)
    waiting = Occurrence(
        id="eval",
        entry="team",
        state="Waiting",
        reason="WaitingForGPUs",
        start=start,
        end=start + 5 * _HOUR,
        waited=(Waited("WaitingForGPUs", 2040),),
    )
    past = _ended("finetune-eval.77aa", _at(now, -1, 3), "Failed", timedelta(minutes=40))
    ahead = [_planned(f"f{day}", start + day * 24 * _HOUR, 5) for day in range(1, 7)]
    message = (
        f"Waiting for 8 GPUs in research/h100 since {_clock(start)}: 10 free, 4 of them promised to "
        "1 other run."
    )
    return _window("finetune-eval", "finetune", message, 8, past, waiting, *ahead)


def _distill(now: datetime) -> Window:
    start = now - timedelta(hours=2)
    planned = now + timedelta(hours=4, minutes=25)
    waiting = Occurrence(
        id="quiet",
        entry="team",
        state="Waiting",
        reason="OffPeak",
        start=start,
        end=start + 10 * _HOUR,
        planned_start=planned,
        waited=(Waited("OffPeak", 7200),),
    )
    past = _ended("distill.4b1d", _at(now, -1, 12), "Succeeded", timedelta(hours=1, minutes=55))
    ahead = [_planned(f"d{day}", _at(now, day, 20), 4) for day in range(1, 7)]
    local = planned.astimezone(ZoneInfo(ZONE))
    latest = (now + timedelta(hours=6)).astimezone(ZoneInfo(ZONE))
    message = (
        f"Planned for {local:%a %H:%M}: load expected 21 %, now 36 %; latest start "
        f"{latest:%a %H:%M}."
    )
    return _window("distill", "distill", message, 16, past, waiting, *ahead)


def _sweep(now: datetime) -> Window:
    saturday = _at(now, (5 - now.weekday()) % 7 or 7, 3)
    days = (saturday - now) // timedelta(days=1)
    ahead = _planned("s1", saturday, 40, (30, 34)) if days < 6 else _planned("s1", saturday, 20)
    local = saturday.astimezone(ZoneInfo(ZONE))
    message = f"The next window opens at {local:%Y-%m-%d %H:%M}."
    return _window("weekend-sweep", "sweep", message, 32, ahead)


def _pool(
    name: str, now: datetime, capacity: int, free: int, promised: int, busy: float, phase: float
) -> Pool:
    def load(step: int) -> float:
        tide = 22 * sin(2 * pi * (96 - step) / 96 + phase) - 22 * sin(phase)
        ripple = 3 * sin(step * 1.7) + 2 * sin(step * 0.6)
        return min(97.0, max(3.0, busy + tide + ripple))

    return Pool(
        name=name,
        capacity=capacity,
        free=free,
        promised=promised,
        utilization_percent=busy,
        sample_time=now - timedelta(seconds=12),
        load=tuple((now - timedelta(minutes=15 * n), load(n)) for n in range(95, -1, -1)),
    )
