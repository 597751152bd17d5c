"""How `slackwater queue` shows a pool's queue: to people, and to programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from slackwater.api.status import write_instant as wire_instant
from slackwater.cli.account import phrase
from slackwater.cli.queued import Queue, Waiter
from slackwater.cli.reading import Screen, columns, counted, paragraph, write_instant
from slackwater.core.ask import Promise
from slackwater.core.gaps import standing_phrase
from slackwater.core.spec import StopPolicy
from slackwater.core.words import WORDS, Reason, say
from slackwater.core.zone import zone

_UTC: Final = zone("UTC")
_WAITING: Final = ("#", "TRAININGWINDOW", "GPUS", "PRIORITY", "SINCE", "LATEST START", "MAY START")
_ASIDE: Final = ("TRAININGWINDOW", "GPUS", "PRIORITY", "SINCE", "LATEST START", "WHY")
_RUNS: Final = ("TRAININGWINDOW", "GPUS", "TO COME", "SINCE", "EXPECTED END", "RUN")


def as_table(queue: Queue, screen: Screen) -> Iterator[str]:
    """For people."""
    yield screen.bold(str(queue.ref)) + "   times in UTC"
    for text in _numbers(queue):
        yield from paragraph(text, screen.width)
    for title, heading, rows in (
        ("Waiting", _WAITING, [_waiting(one, n) for n, one in enumerate(queue.waiting, 1)]),
        ("Not in the queue", _ASIDE, [_aside(one) for one in queue.aside]),
        ("Runs", _RUNS, [_run(run) for run in queue.runs]),
    ):
        if rows:
            yield ""
            yield screen.bold(title)
            yield from columns([heading, *rows], screen.width, "  ")
    if not queue.waiting and not queue.aside:
        yield ""
        yield "Nobody waits for it."


def _numbers(queue: Queue) -> Iterator[str]:
    sample = queue.sample
    if queue.rules.stop_policy is not StopPolicy.NONE:
        yield say(Reason.HELD, what=f"GPUPool {queue.ref}")
    if queue.trouble is not None:
        trouble = queue.trouble
        yield f"{say(trouble.reason, **trouble.gaps)} {WORDS[trouble.reason].remedy}".strip()
    if sample is None:
        yield "How many GPUs are free is not known."
        return
    promised = sum(run.unseen for run in queue.runs)
    text = f"{counted(sample.capacity, 'GPU')}, {sample.fit(1)} free"
    text += f", {promised} of them promised to runs" if promised else ""
    text += f"; {sample.waiting} asked for by pods that wait" if sample.waiting else ""
    told = "" if queue.trouble is None else ", by the status"
    yield f"{text}; as of {write_instant(sample.time, _UTC)}{told}."


def _waiting(waiter: Waiter, number: int) -> tuple[str, ...]:
    ask = waiter.ask
    return (
        str(number),
        str(ask.owner),
        _gpus(waiter),
        str(ask.priority),
        _instant(waiter.line.since),
        _instant(ask.latest_start),
        _start(waiter),
    )


def _start(waiter: Waiter) -> str:
    verdict = waiter.verdict
    assert verdict is not None
    if verdict.admitted:
        return "now"
    if verdict.standing is None:
        return phrase(verdict.reason)
    told = standing_phrase(verdict).told(UTC)
    _, _, what = told.removeprefix("; ").partition("; ")
    return what


def _aside(waiter: Waiter) -> tuple[str, ...]:
    ask, line = waiter.ask, waiter.line
    why = phrase(line.reason)
    if line.planned_start is not None and line.reason is Reason.OFF_PEAK:
        why = f"planned for {_instant(line.planned_start)}"
    return (
        str(ask.owner),
        _gpus(waiter),
        str(ask.priority),
        _instant(line.since),
        _instant(ask.latest_start),
        why,
    )


def _gpus(waiter: Waiter) -> str:
    ask = waiter.ask
    return str(ask.count) if ask.per_pod == 1 else f"{ask.count} in pods of {ask.per_pod}"


def _run(run: Promise) -> tuple[str, ...]:
    return (
        str(run.owner),
        str(run.count),
        str(run.unseen),
        _instant(run.since),
        _instant(run.ends),
        run.run_id,
    )


def _instant(at: datetime | None) -> str:
    return "-" if at is None else write_instant(at, _UTC)


# --- JSON


def as_json(queue: Queue) -> dict[str, Any]:
    """For programs; times in UTC."""
    sample, trouble = queue.sample, queue.trouble
    wire: dict[str, Any] = {
        "pool": str(queue.ref),
        "stopPolicy": queue.rules.stop_policy.value,
        "live": trouble is None,
    }
    if trouble is not None:
        wire["problem"] = {
            "reason": trouble.reason.value,
            "message": say(trouble.reason, **trouble.gaps),
        }
    if sample is not None:
        wire |= {
            "capacity": sample.capacity,
            "free": sample.fit(1),
            "promised": sum(run.unseen for run in queue.runs),
            "waitingPods": sample.waiting,
            "sampleTime": wire_instant(sample.time),
        }
    wire["waiting"] = [_waiting_json(one, n) for n, one in enumerate(queue.waiting, 1)]
    wire["notQueued"] = [_waiter_json(one) for one in queue.aside]
    wire["runs"] = [
        {
            "trainingWindow": str(run.owner),
            "dagRunId": run.run_id,
            "gpus": run.count,
            "toCome": run.unseen,
            "since": wire_instant(run.since),
        }
        | ({} if run.ends is None else {"expectedEnd": wire_instant(run.ends)})
        for run in queue.runs
    ]
    return wire


def _waiter_json(waiter: Waiter) -> dict[str, Any]:
    ask, line = waiter.ask, waiter.line
    wire: dict[str, Any] = {
        "trainingWindow": str(ask.owner),
        "occurrence": ask.occurrence,
        "gpus": ask.count,
        "perPod": ask.per_pod,
        "priority": ask.priority,
        "latestStart": wire_instant(ask.latest_start),
        "reason": line.reason.value,
    }
    if line.since is not None:
        wire["since"] = wire_instant(line.since)
    if ask.duration is not None:
        wire["expectedDurationSeconds"] = round(ask.duration.total_seconds())
    if line.planned_start is not None:
        wire["plannedStart"] = wire_instant(line.planned_start)
    return wire


def _waiting_json(waiter: Waiter, number: int) -> dict[str, Any]:
    verdict = waiter.verdict
    assert verdict is not None
    wire = _waiter_json(waiter) | {"place": number, "mayStartNow": verdict.admitted}
    wire["reason"] = verdict.reason.value
    standing = verdict.standing
    if standing is not None:
        if standing.start is not None:
            wire["projectedStart"] = wire_instant(standing.start)
        if standing.smaller:
            wire["gpusThatCouldStartNow"] = standing.smaller
        if standing.ending_by is not None:
            wire["couldStartNowIfEndedBy"] = wire_instant(standing.ending_by)
    return wire
