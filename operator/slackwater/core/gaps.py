"""What the sentences about pools need: their gaps, filled with a pool's names and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from slackwater.core.allot import Verdict
from slackwater.core.seen import PoolView
from slackwater.core.spec import GpuAsk
from slackwater.core.words import Reason

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Part of a sentence with instants in it, to be told in the reader's zone.

    Attributes:
        text: with a brace pair for each instant.
        instants: in their order.
        form: of them, as strftime has it.
    """

    text: str
    instants: tuple[datetime, ...] = ()
    form: str = "%H:%M"

    def told(self, where: tzinfo) -> str:
        """The text with its instants in a zone."""
        return self.text.format(*(at.astimezone(where).strftime(self.form) for at in self.instants))


def fault_gaps(what: str) -> dict[str, object]:
    """What sentences about a dependency's fault need; its own condition names the secret."""
    return {
        "what": what,
        "ref": f"of {what}",
        "key": "of that name",
        "detail": f"{what} cannot work.",
        "field": what,
        "zone": "its time zone",
        "account": "the account that reads it",
        "content": "events",
        "credentials": "readable credentials",
        "identity": "of that name",
    }


def pool_gaps(gpu: GpuAsk, pool: PoolView) -> dict[str, object]:
    """What every sentence about an ask of a pool needs."""
    return {
        "pool": pool.ref,
        **fault_gaps(f"GPUPool {pool.ref}"),
        "count": gpu.count,
        "per_pod": gpu.per_pod,
        "limit": None
        if gpu.max_utilization_percent is None
        else f"{gpu.max_utilization_percent:g}",
    }


def sample_gaps(pool: PoolView) -> dict[str, object]:
    """The live numbers of a pool for sentences."""
    sample = pool.sample
    if sample is None:
        return {}
    gaps: dict[str, object] = {"capacity": sample.capacity}
    if sample.coverage is not None:
        gaps["coverage"] = round(sample.coverage * 100)
    if sample.utilization is not None:
        gaps["now"] = round(sample.utilization * 100)
    return gaps


def verdict_gaps(verdict: Verdict, gpu: GpuAsk, pool: PoolView) -> dict[str, object]:
    """What the sentences about waiting for a pool need."""
    promised = ""
    if verdict.promised:
        runs = "run" if verdict.holders == 1 else "runs"
        promised = f", {verdict.promised} of them promised to {verdict.holders} other {runs}"
    gaps = pool_gaps(gpu, pool) | dict(verdict.gaps)
    if verdict.reason is Reason.OFF_PEAK and verdict.planned is not None:
        gaps |= {
            "planned_start": verdict.planned.start,
            "latest_start": verdict.planned.latest_start,
            "expected": verdict.planned.expected_percent,
            "present": verdict.planned.present_percent,
        }
    return gaps | {
        "free": verdict.free,
        "promised": promised,
        "standing": standing_phrase(verdict),
    }


def standing_phrase(verdict: Verdict) -> Phrase:
    """Place in the queue, projected start, and the smallest change that would start it sooner."""
    found, ask = verdict.standing, verdict.ask
    if found is None:
        return Phrase("")
    place, start = f"; place {found.place} of {found.of}", found.start
    far = start is not None and start - ask.window_start >= _DAY
    form = "%a %H:%M" if far else "%H:%M"
    instants: tuple[datetime, ...] = ()
    then = ""
    if start is not None and start > ask.latest_start:
        # No later start makes sense, so what matters is that it needs a change.
        then, instants = "no room is expected before {}", (ask.latest_start,)
        start = None
    if found.smaller:
        later = f", with {ask.count} about {{}}" if start is not None else ""
        noun = "GPU" if found.smaller == 1 else "GPUs"
        change = f"; with {found.smaller} {noun} now{later}"
        change += f"; {then}" if then else ""
    elif found.ending_by is not None:
        change = "; a run that ends by {} could start now"
        change += ", this one about {}" if start is not None else f"; {then}" if then else ""
        instants = (found.ending_by, *instants)
    elif start is not None:
        change = "; expected about {}"
    else:
        whom = "" if found.place == 1 else " for those ahead"
        change = f"; {then or f'no end is known that makes room{whom}'}"
    return Phrase(place + change, instants if start is None else (*instants, start), form)
