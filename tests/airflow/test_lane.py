from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.airflow.lane import Lane, Server, Turn, Urgency, same_server
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.ports import Airflow
from tests.airflow.conftest import Open, calls, eventually
from tests.fakes.airflow import FakeAirflow


async def test_writes_go_one_at_a_time(airflow: Airflow, fake: FakeAirflow) -> None:
    await asyncio.gather(*(airflow.trigger("train", f"r{n}", {}, "") for n in range(12)))
    assert len(fake.runs) == 12
    assert fake.most_writes_at_once == 1


async def test_two_connections_to_one_server_share_its_queue_of_writes(
    opened: Open, fake: FakeAirflow
) -> None:
    first, second = await opened(), await opened(fake.url + "/")
    hold = fake.faults.hold("POST", "/dagRuns")
    started = asyncio.create_task(first.trigger("train", "r1", {}, ""))
    await hold.arrived.wait()
    waiting = asyncio.create_task(second.trigger("train", "r2", {}, ""))
    assert await second.run("train", "r2") is None
    assert calls(fake, "POST", "/dagRuns") == []
    hold.release()
    await asyncio.gather(started, waiting)
    assert [run.run_id for run in fake.runs] == ["r1", "r2"]
    assert fake.most_writes_at_once == 1


async def test_ends_of_runs_go_before_starts_that_wait_longer(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.add_run("train", "old", state="running")
    fake.add_run("train", "queued")
    hold = fake.faults.hold("POST", "/dagRuns")
    tasks = [asyncio.create_task(airflow.trigger("train", "r1", {}, ""))]
    await hold.arrived.wait()
    waiting = [
        airflow.trigger("train", "r2", {}, ""),
        airflow.trigger("train", "r3", {}, ""),
        airflow.cancel("train", "old"),
        airflow.delete_queued("train", "queued"),
    ]
    for call in waiting:
        tasks.append(asyncio.create_task(call))
        await asyncio.sleep(0)
    hold.release()
    await asyncio.gather(*tasks)
    writes = [(verb, path) for verb, path, _ in fake.requests if verb != "GET"]
    assert [verb for verb, path in writes if "auth" not in path] == [
        "POST",
        "PATCH",
        "DELETE",
        "POST",
        "POST",
    ]
    assert [run.run_id for run in fake.runs] == ["old", "r1", "r2", "r3"]


async def test_a_start_cancelled_while_it_waits_is_never_sent(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    hold = fake.faults.hold("POST", "/dagRuns")
    first = asyncio.create_task(airflow.trigger("train", "r1", {}, ""))
    await hold.arrived.wait()
    second = asyncio.create_task(airflow.trigger("train", "r2", {}, ""))
    await asyncio.sleep(0)
    second.cancel()
    hold.release()
    await first
    await airflow.trigger("train", "r3", {}, "")
    assert [run.run_id for run in fake.runs] == ["r1", "r3"]


async def test_a_caller_that_is_cancelled_keeps_the_lane_until_its_request_is_done(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    hold = fake.faults.hold("POST", "/dagRuns")
    first = asyncio.create_task(airflow.trigger("train", "r1", {}, ""))
    await hold.arrived.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(airflow.trigger("train", "r2", {}, ""))
    await airflow.run("train", "r1")
    assert fake.runs == []
    hold.release()
    await second
    assert [run.run_id for run in fake.runs] == ["r1", "r2"]
    assert fake.most_writes_at_once == 1


async def test_nothing_is_repeated_for_a_caller_that_was_cancelled(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    await airflow.run("train", "r1")
    fake.tokens.rotate_secret()
    hold = fake.faults.hold("POST", "/dagRuns", done=True)
    task = asyncio.create_task(airflow.trigger("train", "r1", {}, ""))
    await hold.arrived.wait()
    task.cancel()
    hold.release()
    await airflow.delete_queued("train", "r0")
    assert calls(fake, "POST", "/dagRuns") == [403]
    assert fake.runs == []


async def test_reads_run_side_by_side_but_not_all(airflow: Airflow, fake: FakeAirflow) -> None:
    await airflow.run("train", "r1")
    hold = fake.faults.hold("GET", times=20)
    reads = [asyncio.create_task(airflow.run("train", f"r{n}")) for n in range(20)]
    await eventually(lambda: fake._busy[False] == 4)
    hold.release()
    await asyncio.gather(*reads)
    assert fake.most_reads_at_once == 4


async def test_slow_reads_do_not_keep_a_write_waiting(airflow: Airflow, fake: FakeAirflow) -> None:
    await airflow.run("train", "r1")
    hold = fake.faults.hold("GET", times=20)
    reads = [asyncio.create_task(airflow.run("train", f"r{n}")) for n in range(20)]
    await eventually(lambda: fake._busy[False] == 4)
    await airflow.trigger("train", "r1", {}, "")
    hold.release()
    await asyncio.gather(*reads)


async def test_readers_that_all_need_a_login_do_not_block_it(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    await airflow.run("train", "r1")
    fake.tokens.rotate_secret()
    hold = fake.faults.hold("GET", times=4)
    reads = [asyncio.create_task(airflow.run("train", f"r{n}")) for n in range(8)]
    await eventually(lambda: fake._busy[False] == 4)
    hold.release()
    assert await asyncio.gather(*reads) == [None] * 8


async def test_a_closed_server_answers_nothing_and_its_threads_end(
    opened: Open, fake: FakeAirflow
) -> None:
    airflow = await opened()
    await airflow.run("train", "r1")
    await airflow.aclose()
    await airflow.aclose()
    with pytest.raises(AirflowError) as error:
        await airflow.trigger("train", "r1", {}, "")
    assert type(error.value) is AirflowError
    assert error.value.reason is Reason.UNREACHABLE
    assert fake.runs == []
    await eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("airflow")])


@pytest.mark.parametrize("shared", [True, False])
async def test_what_still_waits_when_a_server_is_closed_is_not_sent(
    opened: Open, fake: FakeAirflow, shared: bool
) -> None:
    airflow = await opened()
    other = await opened() if shared else None
    await airflow.run("train", "r1")
    hold = fake.faults.hold("POST", "/dagRuns")
    first = asyncio.create_task(airflow.trigger("train", "r1", {}, ""))
    await hold.arrived.wait()
    second = asyncio.create_task(airflow.trigger("train", "r2", {}, ""))
    await asyncio.sleep(0)
    await airflow.aclose()
    hold.release()
    assert (await first).run_id == "r1"
    with pytest.raises(AirflowError) as error:
        await second
    assert type(error.value) is AirflowError
    assert [run.run_id for run in fake.runs] == ["r1"]
    if other is not None:
        await other.trigger("train", "r3", {}, "")


async def test_closing_one_connection_leaves_the_other(opened: Open, fake: FakeAirflow) -> None:
    first, second = await opened(), await opened()
    await first.aclose()
    await second.trigger("train", "r1", {}, "")
    assert len(fake.runs) == 1


async def test_a_place_given_to_a_caller_that_is_just_cancelled_goes_on_to_the_next() -> None:
    lane = Lane(1)
    await lane.enter(Urgency.START)
    first = asyncio.create_task(lane.enter(Urgency.START))
    second = asyncio.create_task(lane.enter(Urgency.START))
    await asyncio.sleep(0)
    lane.leave()
    first.cancel()
    async with asyncio.timeout(1):
        await second
    assert first.cancelled()


@settings(max_examples=50)
@given(st.lists(st.sampled_from(list(Urgency)), min_size=1, max_size=20))
def test_who_waits_enters_by_urgency_and_then_in_order(urgencies: list[Urgency]) -> None:
    async def play() -> list[int]:
        lane, entered = Lane(1), []
        await lane.enter(Urgency.START)

        async def visit(number: int, urgency: Urgency) -> None:
            await lane.enter(urgency)
            entered.append(number)
            lane.leave()

        tasks = [asyncio.create_task(visit(n, u)) for n, u in enumerate(urgencies)]
        await asyncio.sleep(0)
        lane.leave()
        await asyncio.gather(*tasks)
        return entered

    expected = sorted(range(len(urgencies)), key=lambda n: (urgencies[n], n))
    assert asyncio.run(play()) == expected


async def test_a_failure_in_a_thread_reaches_its_caller_and_frees_the_lane() -> None:
    lane = Lane(1)
    with ThreadPoolExecutor(1) as threads:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                async with Turn(lane, threads, Urgency.START) as turn:
                    await turn.do(lambda: 1 // 0)


def test_servers_are_told_apart_by_origin_and_path() -> None:
    one = Server.join("https://airflow.example")
    assert Server.join("https://AIRFLOW.example:443/") is one
    other = Server.join("https://airflow.example/team")
    assert other is not one
    for server in (one, one, other):
        server.part()
    again = Server.join("https://airflow.example")
    assert again is not one
    again.part()
    assert same_server("http://[::1]:8080/a/") == "http://::1:8080/a"
