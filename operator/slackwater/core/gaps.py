"""What the sentences about pools need: their gaps, filled with a pool's names and numbers."""

from __future__ import annotations

from slackwater.core.allot import Verdict
from slackwater.core.seen import PoolView
from slackwater.core.spec import GpuAsk
from slackwater.core.words import Reason


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
    return gaps | {"free": verdict.free, "promised": promised, "ahead": verdict.ahead}
