"""The database file: two processes, crashes, damage, versions."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slackwater.core.words import Reason
from slackwater.errors import ConfigError, Conflict, StoreError
from slackwater.ports import Changed
from slackwater.stores import sqlite
from tests.stores.directory_bench import START, Bench, Stream, window, window_key

NIGHTLY = window_key()
ROOT = Path(__file__).parents[2]

# The other process: argv is a directory for Bench and what to do.
OTHER = """
import asyncio, sys
from pathlib import Path
from tests.stores.directory_bench import Bench, window_key

class Here(Bench):
    def __init__(self, root):
        from tests.stores.directory_bench import StillClock
        self.manifests, self.database = root / "manifests", root / "state/slackwater.db"
        self.secrets, self.clock = root / "secrets", StillClock()

async def hold(bench):
    async with bench.opened():
        print("ready", flush=True)
        await asyncio.sleep(3600)

async def write(bench):
    async with bench.opened() as store:
        version = (await store.objects())[0].resource_version
        number = (await store.objects())[0].status.get("n", 0)
        while True:
            number += 1
            status = {"n": number, "pad": "x" * (number * 37 % 9000), "again": number}
            version = await store.write_status(window_key(), status, version)
            print(number, version, flush=True)

async def annotate(bench):
    async with bench.opened(beside=True) as store:
        for word in sys.argv[3:]:
            name, _, value = word.partition("=")
            await store.set_annotation(window_key(), name, value)
    print("done", flush=True)

asyncio.run({"hold": hold, "write": write, "annotate": annotate}[sys.argv[2]](Here(Path(sys.argv[1]))))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@contextmanager
def other(bench: Bench, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Another process over the same files, killed at the end."""
    paths = os.pathsep.join([str(ROOT / "operator"), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(bench.manifests.parent), *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def damage(database: Path) -> None:
    """Overwrite everything behind the header, as a failing disk might."""
    content = database.read_bytes()
    noise = random.Random(7).randbytes(len(content) - 100)
    database.write_bytes(content[:100] + noise)


# --- one at a time


async def test_a_second_process_on_one_database_is_refused(bench: Bench) -> None:
    bench.write("a.yaml", window())
    with other(bench, "hold") as process:
        assert line(process) == "ready"

        with pytest.raises(ConfigError) as raised:
            async with bench.opened():
                pass
        assert raised.value.reason is Reason.INVALID_SPEC
        assert "`slackwater run` is using it already" in raised.value.sentence
        assert f"process {process.pid}" in raised.value.sentence

        process.send_signal(signal.SIGKILL)
        process.wait()
        async with bench.opened() as store:
            assert len(await store.objects()) == 1


async def test_a_second_store_of_one_process_is_refused_and_the_first_keeps_its_claim(
    bench: Bench,
) -> None:
    async with bench.opened():
        for _ in range(2):
            with pytest.raises(ConfigError, match="is using it already"):
                async with bench.opened():
                    pass
    async with bench.opened():
        pass


async def test_a_child_of_a_fork_does_not_keep_the_claim(bench: Bench) -> None:
    reading, writing = os.pipe()
    async with bench.opened():
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    try:
        with other(bench, "hold") as process:
            assert line(process) == "ready"
    finally:
        os.close(reading)
        os.close(writing)
        await asyncio.to_thread(os.waitpid, child, 0)


# --- commands of other processes


async def test_annotations_of_another_process_are_noticed(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        before = stream.known[NIGHTLY]

        with other(
            bench, "annotate", "slackwater.dev/skip=abc", "slackwater.dev/suspend=true"
        ) as process:
            while stream.known[NIGHTLY].generation == before.generation:
                await stream.next()
            assert await asyncio.to_thread(line, process) == "done"

        after = stream.known[NIGHTLY]
        assert after.annotations == {"slackwater.dev/skip": "abc"}
        assert after.spec["suspend"] is True
        await stream.aclose()


async def test_a_decision_made_before_an_override_is_not_written(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened(poll=3600) as store, bench.opened(beside=True) as command:
        stream = Stream(store)
        await stream.until_listed()
        before = stream.known[NIGHTLY]
        await command.set_annotation(NIGHTLY, "slackwater.dev/suspend", "true")

        with pytest.raises(Conflict):
            await store.write_status(NIGHTLY, {"state": "Intended"}, before.resource_version)

        change = await stream.next()
        assert isinstance(change, Changed)
        assert change.object.spec["suspend"] is True
        await store.write_status(NIGHTLY, {"n": 1}, change.object.resource_version)
        await stream.aclose()


async def test_a_command_sees_what_the_running_process_wrote(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        (stored,) = await store.objects()
        await store.write_status(NIGHTLY, {"message": "Running"}, stored.resource_version)
        async with bench.opened(beside=True) as command:
            assert await command.objects() == await store.objects()
            assert await command.installation() == await store.installation()


async def test_a_command_before_the_first_start_is_kept(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened(beside=True) as command:
        (stored,) = await command.objects()
        assert (stored.uid, stored.generation, stored.created) == ("", 1, START)
        await command.set_annotation(NIGHTLY, "slackwater.dev/suspend", "true")
    async with bench.opened() as store:
        assert (await store.objects())[0].spec["suspend"] is True


# --- crashes


async def test_kill_at_any_moment_loses_no_status_that_was_acknowledged(bench: Bench) -> None:
    bench.write("a.yaml", window())
    dice = random.Random(11)
    for _ in range(3):
        with other(bench, "write") as process:
            acknowledged = [line(process) for _ in range(dice.randint(5, 120))]
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            rest = process.stdout.read()
        # A line cut off by the kill was not heard whole.
        heard = [*acknowledged, *rest.splitlines()[: rest.count("\n")]]
        number, version = map(int, heard[-1].split())

        async with bench.opened() as store:
            (stored,) = await store.objects()
            assert stored.status["n"] == stored.status["again"]
            assert stored.status["n"] in {number, number + 1}
            assert int(stored.resource_version) in {version, version + 1}
            assert len(stored.status["pad"]) == stored.status["n"] * 37 % 9000
    assert not list(bench.database.parent.glob("*damaged*"))


async def test_writes_are_on_the_disk_before_they_are_acknowledged(bench: Bench) -> None:
    bench.database.parent.mkdir()
    connection, claim = sqlite.open_database(bench.database, START)
    try:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        connection.close()
        claim.release()


# --- damage


async def test_a_damaged_database_is_moved_aside_and_the_same_installation_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        (before,) = await store.objects()
        await store.write_status(NIGHTLY, {"n": 1}, before.resource_version)
        installation = await store.installation()
    damage(bench.database)
    broken = bench.database.read_bytes()

    async with bench.opened() as store:
        (after,) = await store.objects()
        assert after.uid != before.uid
        assert after.status == {}
        assert await store.installation() == installation
        await store.write_status(NIGHTLY, {"n": 2}, after.resource_version)
    aside = bench.database.with_name("slackwater.db.damaged-20261123T120000Z")
    assert aside.read_bytes() == broken
    assert str(aside) in caplog.text

    damage(bench.database)
    async with bench.opened():
        pass
    assert bench.database.with_name(f"{aside.name}-1").exists()


@pytest.mark.parametrize("content", [b"not a database at all, but some text\n" * 40, b"SQLite"])
async def test_a_file_that_is_no_database_is_moved_aside(bench: Bench, content: bytes) -> None:
    bench.write("a.yaml", window())
    bench.database.parent.mkdir()
    bench.database.write_bytes(content)
    async with bench.opened() as store:
        assert len(await store.objects()) == 1


async def test_a_lost_database_is_followed_by_one_of_the_same_installation(bench: Bench) -> None:
    async with bench.opened() as store:
        installation = await store.installation()
    for path in bench.database.parent.glob("slackwater.db*"):
        if not path.name.endswith(".installation"):
            path.unlink()
    async with bench.opened() as store:
        assert await store.installation() == installation


async def test_a_garbled_installation_file_is_made_anew(bench: Bench) -> None:
    async with bench.opened() as store:
        installation = await store.installation()
    copy = bench.database.with_name("slackwater.db.installation")
    assert copy.read_text().strip() == installation

    copy.write_text("two words\n")
    async with bench.opened() as store:
        assert await store.installation() == installation
    assert copy.read_text().strip() == installation

    copy.write_text("two words\n")
    bench.database.unlink()
    async with bench.opened() as store:
        assert await store.installation() not in {installation, "two words"}


async def test_commands_do_not_repair_a_damaged_database(bench: Bench) -> None:
    bench.database.parent.mkdir()
    bench.database.write_bytes(b"not a database at all, but some text\n" * 40)
    with pytest.raises(ConfigError, match=r"cannot be used: file is not a database\."):
        async with bench.opened(beside=True):
            pass
    assert bench.database.read_bytes().startswith(b"not a database")


async def test_damage_during_the_run_is_a_store_error(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        (stored,) = await store.objects()
        with sqlite3.connect(bench.database) as vandal:
            vandal.execute("DROP TABLE objects")
        vandal.close()
        with pytest.raises(StoreError) as raised:
            await store.write_status(NIGHTLY, {"n": 1}, stored.resource_version)
        assert raised.value.reason is Reason.UNAVAILABLE


# --- versions and modes


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(bench: Bench) -> None:
    async with bench.opened():
        pass
    with sqlite3.connect(bench.database) as newer:
        newer.execute("UPDATE schema_version SET version = 99")
    newer.close()
    for beside in (False, True):
        with pytest.raises(ConfigError, match="a newer version of Slackwater made it"):
            async with bench.opened(beside=beside):
                pass


async def test_an_older_schema_is_migrated_step_by_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        before = await store.objects()
    further = (*sqlite.MIGRATIONS, ("ALTER TABLE objects ADD COLUMN colour TEXT",))
    monkeypatch.setattr(sqlite, "MIGRATIONS", further)

    async with bench.opened() as store:
        assert await store.objects() == before
    with sqlite3.connect(bench.database) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchone() == (2,)
        connection.execute("SELECT colour FROM objects")
    connection.close()


async def test_a_migration_that_fails_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.opened():
        pass
    bad = (*sqlite.MIGRATIONS, ("ALTER TABLE objects ADD COLUMN colour TEXT", "NONSENSE"))
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", bad)
        with pytest.raises(StoreError):
            async with bench.opened():
                pass
    async with bench.opened():
        pass


async def test_the_files_are_for_their_owner_only(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened():
        bench.database.chmod(0o644)
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in bench.database.parent.glob("slackwater.db*")
            if path != bench.database and not path.name.endswith(".installation")
        }
    assert set(modes) == {"slackwater.db-wal", "slackwater.db-shm", "slackwater.db.lock"}
    assert set(modes.values()) == {0o600}
    async with bench.opened():
        assert stat.S_IMODE(bench.database.stat().st_mode) == 0o600
    assert stat.S_IMODE(bench.database.parent.stat().st_mode) == 0o700


async def test_a_place_that_cannot_be_written_is_named(bench: Bench) -> None:
    bench.database.parent.write_text("a file where the directory should be")
    with pytest.raises(ConfigError, match=str(bench.database)):
        async with bench.opened():
            pass


async def test_no_title_and_no_address_reaches_the_database(bench: Bench) -> None:
    calendar = {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": "Calendar",
        "metadata": {"name": "team", "namespace": "research"},
        "spec": {
            "provider": {"ical": {"url": "https://feeds.example/Zugang4711.ics"}},
            "title": "Operation Nightfall",
        },
    }
    bench.write("a.yaml", calendar, window())
    async with bench.opened() as store:
        await store.objects()
    content = bench.database.read_bytes()
    assert b"research" in content
    assert b"Nightfall" not in content
    assert b"Zugang4711" not in content
    assert json.dumps(calendar["spec"]).encode() not in content
