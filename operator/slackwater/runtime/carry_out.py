"""Doing what a decision asks for, in Airflow (rule R9)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from slackwater.core.action import Cancel, Lookup, Post, Withdraw
from slackwater.core.run import Absent, Denied, Seen
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import Ambiguous, Refused, RunExists
from slackwater.ports import Clock, Lease
from slackwater.runtime.airflow_follower import AirflowFollower

Write = Lookup | Post | Withdraw | Cancel


async def carry_out(
    action: Write,
    dag_id: str,
    owner: Ref,
    follower: AirflowFollower,
    *,
    lease: Lease,
    clock: Clock,
) -> None:
    """Carry out one action; what came of it stands in the follower's record of the run.

    Raises:
        AirflowError: nothing came of it, and it is worth another try later.
    """
    if follower.airflow is None:
        return
    follower.track(action.run_id, dag_id, owner)
    match action:
        case Lookup():
            await follower.look_up(action.run_id, dag_id)
        case Post():
            await _post(action, dag_id, follower, lease, clock)
        case Withdraw():
            await _withdraw(action, dag_id, follower, lease)
        case Cancel():
            await _cancel(action, dag_id, follower, lease)


async def _post(
    action: Post, dag_id: str, follower: AirflowFollower, lease: Lease, clock: Clock
) -> None:
    assert follower.airflow is not None
    # The last look before the write: a lease or an intent may have run out while this waited.
    if not lease.held or clock.now() >= action.until:
        return
    run_id = action.run_id
    follower.started()
    left = (action.until - clock.now()).total_seconds()
    try:
        # It may have to wait for its turn or for a login; after `until` it must not be sent.
        async with asyncio.timeout(left):
            run = await follower.airflow.trigger(dag_id, run_id, action.conf, action.note)
    except RunExists:
        await follower.look_up(run_id, dag_id)
        return
    except (Ambiguous, TimeoutError) as lost:
        follower.doubt(run_id)
        known = await follower.look_up(run_id, dag_id)
        if isinstance(known, Absent):
            met = lost.reason if isinstance(lost, Ambiguous) else Reason.TIMEOUT
            follower.learn(run_id, Absent(known.at, met))
        return
    except Refused as refused:
        detail = str(refused.gaps.get("detail", ""))
        follower.deny(run_id, Denied(clock.now(), refused.reason, detail))
        return
    follower.learn(run_id, Seen(run, clock.now()))


async def _withdraw(action: Withdraw, dag_id: str, follower: AirflowFollower, lease: Lease) -> None:
    assert follower.airflow is not None
    if not lease.held:
        return
    run_id = action.run_id
    with suppress(Ambiguous, Refused):  # the look-up says what became of it
        await follower.airflow.delete_queued(dag_id, run_id)
    await follower.look_up(run_id, dag_id)


async def _cancel(action: Cancel, dag_id: str, follower: AirflowFollower, lease: Lease) -> None:
    assert follower.airflow is not None
    if not lease.held:
        return
    run_id = action.run_id
    known = follower.runs.get(run_id)
    if isinstance(known, Absent):
        return
    with suppress(Ambiguous, Refused):  # the look-up says what became of it
        await follower.airflow.cancel(dag_id, run_id)
    await follower.look_up(run_id, dag_id)
