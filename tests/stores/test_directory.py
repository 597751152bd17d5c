"""The directory store as the engine sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slackwater.core.words import Reason
from slackwater.errors import ConfigError, Conflict, Gone, StoreError
from slackwater.ports import Changed, Deleted, Listed
from slackwater.stores.files import ManifestFiles, Tree
from slackwater.stores.records import Records
from tests.stores.directory_bench import START, Bench, Stream, settle, window, window_key

NIGHTLY = window_key()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- the stream


async def test_all_objects_come_first_and_then_the_word_that_these_are_all(bench: Bench) -> None:
    bench.write("a.yaml", window("a"), window("b"))
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()

        assert [type(change) for change in stream.seen] == [Changed, Changed, Listed]
        stored = stream.known[window_key("a")]
        assert stored.generation == 1
        assert stored.created == START
        assert stored.status == {}
        assert stored.spec["dag"]["dagId"] == "train"
        await stream.aclose()


async def test_an_edited_spec_is_a_new_generation_of_the_same_object(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        before = stream.known[NIGHTLY]

        bench.write("a.yaml", window(priority=5))
        change = await stream.next()

        assert isinstance(change, Changed)
        after = change.object
        assert after.spec["priority"] == 5
        assert (after.uid, after.created) == (before.uid, before.created)
        assert after.generation == before.generation + 1
        assert int(after.resource_version) > int(before.resource_version)
        await stream.aclose()


async def test_the_same_spec_written_differently_is_no_change(bench: Bench) -> None:
    document = window(priority=5)
    path = bench.write("a.yaml", document)
    async with bench.opened() as store:
        (before,) = await store.objects()
        document["spec"] = dict(reversed(document["spec"].items()))
        bench.write("a.yaml", document)
        path.write_text("# a comment\n" + path.read_text())
        await settle(store)

        assert await store.objects() == (before,)


async def test_an_edited_annotation_is_a_new_version_of_the_same_generation(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        (before,) = await store.objects()
        bench.write("a.yaml", window(annotations={"slackwater.dev/skip": "abc"}))
        await settle(store)
        (after,) = await store.objects()

        assert after.annotations == {"slackwater.dev/skip": "abc"}
        assert after.generation == before.generation
        assert int(after.resource_version) > int(before.resource_version)


async def test_a_deleted_object_is_told_and_a_new_one_of_its_name_is_another(bench: Bench) -> None:
    bench.write("keep.yaml", window("keep"))
    path = bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        old = stream.known[NIGHTLY]
        await store.write_status(NIGHTLY, {"message": "old"}, old.resource_version)

        path.unlink()
        assert await stream.next() == Deleted(NIGHTLY)
        with pytest.raises(Gone):
            await store.write_status(NIGHTLY, {}, old.resource_version)

        bench.clock.time = START.replace(hour=18)
        bench.write("a.yaml", window())
        change = await stream.next()
        assert isinstance(change, Changed)
        assert change.object.uid != old.uid
        assert change.object.created == START.replace(hour=18)
        assert change.object.generation == 1
        assert change.object.status == {}
        await stream.aclose()


async def test_a_renamed_file_keeps_its_objects_as_they_are(bench: Bench) -> None:
    path = bench.write("a.yaml", window())
    async with bench.opened() as store:
        (before,) = await store.objects()
        (bench.manifests / "sub").mkdir()
        path.rename(bench.manifests / "sub/z.yml")
        await settle(store)

        assert await store.objects() == (before,)
        assert store.directory_of(NIGHTLY) == bench.manifests / "sub"


async def test_another_dag_is_another_object(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        old = stream.known[NIGHTLY]
        await store.write_status(NIGHTLY, {"message": "old"}, old.resource_version)
        await store.set_annotation(NIGHTLY, "slackwater.dev/suspend", "true")
        await stream.next()

        bench.write("a.yaml", window(dag={"airflowRef": {"name": "default"}, "dagId": "other"}))

        assert await stream.next() == Deleted(NIGHTLY)
        change = await stream.next()
        assert isinstance(change, Changed)
        assert change.object.uid != old.uid
        assert change.object.status == {}
        assert change.object.spec["suspend"] is True, "the user's word still holds"
        await stream.aclose()


async def test_a_dag_that_was_left_out_by_mistake_does_not_lose_the_history(bench: Bench) -> None:
    whole = window()
    broken = window()
    del broken["spec"]["dag"]
    bench.write("a.yaml", whole)
    async with bench.opened() as store:
        (before,) = await store.objects()
        bench.write("a.yaml", broken)
        await settle(store)
        bench.write("a.yaml", whole)
        await settle(store)
        (after,) = await store.objects()

        assert after.uid == before.uid
        assert after.generation == before.generation + 2


async def test_an_object_that_gets_its_dag_later_stays_the_same(bench: Bench) -> None:
    unfinished = window()
    del unfinished["spec"]["dag"]
    bench.write("a.yaml", unfinished)
    async with bench.opened() as store:
        (before,) = await store.objects()
        bench.write("a.yaml", window())
        await settle(store)
        (after,) = await store.objects()

        assert after.uid == before.uid


async def test_the_stream_can_be_begun_again(bench: Bench) -> None:
    bench.write("a.yaml", window("a"))
    async with bench.opened() as store:
        first = Stream(store)
        await first.until_listed()
        await first.aclose()
        bench.write("b.yaml", window("b"))
        await settle(store)

        second = Stream(store)
        await second.until_listed()

        assert set(second.known) == {window_key("a"), window_key("b")}
        await second.aclose()


# --- a restart


async def test_identity_and_status_outlive_the_process(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        (before,) = await store.objects()
        version = await store.write_status(NIGHTLY, {"message": "x"}, before.resource_version)
        installation = await store.installation()
    bench.clock.time = START.replace(hour=20)

    async with bench.opened() as store:
        (after,) = await store.objects()
        assert after.uid == before.uid
        assert after.created == before.created
        assert after.generation == before.generation
        assert after.resource_version == version
        assert after.status == {"message": "x"}
        assert await store.installation() == installation


async def test_what_changed_while_nobody_looked_is_found_at_the_start(bench: Bench) -> None:
    bench.write("a.yaml", window("edited"))
    gone = bench.write("b.yaml", window("gone"))
    async with bench.opened() as store:
        before = {stored.key: stored for stored in await store.objects()}
    bench.write("a.yaml", window("edited", priority=9))
    gone.unlink()

    async with bench.opened() as store:
        (after,) = await store.objects()
        assert after.key == window_key("edited")
        assert after.uid == before[after.key].uid
        assert after.generation == 2
    bench.write("b.yaml", window("gone"))
    async with bench.opened() as store:
        again = {stored.key: stored for stored in await store.objects()}[window_key("gone")]
        assert again.uid != before[window_key("gone")].uid


async def test_an_object_whose_file_is_broken_at_the_start_still_exists(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.write("a.yaml", window("a"))
    path = bench.write("b.yaml", window("b"))
    async with bench.opened() as store:
        before = {stored.key: stored for stored in await store.objects()}[window_key("b")]
        await store.write_status(before.key, {"message": "kept"}, before.resource_version)
    path.write_text("spec: [")

    with caplog.at_level(logging.WARNING, "slackwater.stores.directory"):
        async with bench.opened() as store:
            stream = Stream(store)
            await stream.until_listed()
            unreadable = stream.known[window_key("b")]
            assert unreadable.uid == before.uid
            assert unreadable.spec == {}
            assert unreadable.generation == before.generation + 1
            assert unreadable.status == {"message": "kept"}
            assert [where for where, _ in store.problems()] == [path]
            assert str(path) in caplog.text
            assert "document 1" in caplog.text

            bench.write("b.yaml", window("b"))
            change = await stream.next()
            assert isinstance(change, Changed)
            assert change.object.uid == before.uid
            assert change.object.spec == before.spec
            assert change.object.status == {"message": "kept"}
            assert change.object.generation == before.generation + 2
            assert store.problems() == ()
            await stream.aclose()


async def test_a_file_half_written_at_the_start_is_looked_at_again(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.write("a.yaml", window())
    whole = path.read_text()
    path.write_text("spec: [")
    look = ManifestFiles.look

    def look_and_finish(files: ManifestFiles, *, trust: bool = False) -> Tree:
        tree = look(files, trust=trust)
        path.write_text(whole)
        return tree

    monkeypatch.setattr(ManifestFiles, "look", look_and_finish)
    async with bench.opened() as store:
        (stored,) = await store.objects()
        assert stored.key == NIGHTLY
        assert store.problems() == ()
        assert str(path) not in caplog.text


async def test_problems_are_logged_once_and_their_end_too(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        with caplog.at_level(logging.INFO, "slackwater.stores.directory"):
            (bench.manifests / "b.yaml").write_text("spec: [")
            for _ in range(4):
                await store.look()
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            bench.write("b.yaml", window("b"))
            await settle(store)
            assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_manifests_that_do_not_exist_are_refused(bench: Bench) -> None:
    bench.manifests.rmdir()
    with pytest.raises(ConfigError, match="does not exist"):
        async with bench.opened():
            pass


# --- status


async def test_a_status_is_replaced_wholly_and_not_told_to_its_writer(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        first = stream.known[NIGHTLY].resource_version
        second = await store.write_status(NIGHTLY, {"a": 1, "b": [2]}, first)
        third = await store.write_status(NIGHTLY, {"c": "Ünïcode"}, second)
        bench.write("b.yaml", window("b"))

        change = await stream.next()
        assert isinstance(change, Changed)
        assert change.object.key == window_key("b")
        assert {stored.key: stored for stored in await store.objects()}[NIGHTLY] == replace(
            stream.known[NIGHTLY], status={"c": "Ünïcode"}, resource_version=third
        )
        await stream.aclose()


async def test_a_writer_that_was_cancelled_is_told_what_became_of_it(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        version = stream.known[NIGHTLY].resource_version
        writing = asyncio.create_task(store.write_status(NIGHTLY, {"n": 1}, version))
        await asyncio.sleep(0)
        writing.cancel()

        change = await stream.next()
        assert isinstance(change, Changed)
        assert change.object.status == {"n": 1}
        await store.write_status(NIGHTLY, {"n": 2}, change.object.resource_version)
        assert writing.cancelled()
        await stream.aclose()


async def test_a_status_for_another_version_is_a_conflict(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        (stored,) = await store.objects()
        version = await store.write_status(NIGHTLY, {"n": 1}, stored.resource_version)

        with pytest.raises(Conflict):
            await store.write_status(NIGHTLY, {"n": 2}, stored.resource_version)
        (now,) = await store.objects()
        assert now.status == {"n": 1}
        assert now.resource_version == version


async def test_a_status_of_an_edited_object_is_a_conflict(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        (stored,) = await store.objects()
        bench.write("a.yaml", window(priority=1))
        await settle(store)

        with pytest.raises(Conflict):
            await store.write_status(NIGHTLY, {}, stored.resource_version)


async def test_the_same_status_again_writes_nothing(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        version = stream.known[NIGHTLY].resource_version
        version = await store.write_status(NIGHTLY, {"n": 1}, version)
        log = bench.database.with_name("slackwater.db-wal")
        size = log.stat().st_size

        assert await store.write_status(NIGHTLY, {"n": 1}, version) == version
        assert log.stat().st_size == size
        await stream.aclose()


async def test_a_status_of_nothing_is_gone(bench: Bench) -> None:
    async with bench.opened() as store:
        with pytest.raises(Gone):
            await store.write_status(NIGHTLY, {}, "1")


async def test_a_writer_that_is_cancelled_leaves_store_and_database_in_agreement(
    bench: Bench,
) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        (stored,) = await store.objects()
        for steps in range(6):
            version = (await store.objects())[0].resource_version
            writing = asyncio.create_task(store.write_status(NIGHTLY, {"n": steps}, version))
            for _ in range(steps):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await asyncio.gather(*store._unfinished, return_exceptions=True)
            (held,) = await store.objects()
            async with bench.opened(beside=True) as other:
                assert await other.objects() == (held,)
        assert held.uid == stored.uid


async def test_a_closed_store_refuses_politely(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        pass
    with pytest.raises(StoreError):
        await store.write_status(NIGHTLY, {}, "1")
    await store.aclose()


def failing(monkeypatch: pytest.MonkeyPatch, times: int) -> Iterator[StoreError]:
    """Let the next reconciliations fail."""
    failures = iter([StoreError(Reason.UNAVAILABLE, what="The database")] * times)
    reconcile = Records.reconcile

    def reconciled(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return reconcile(*arguments)

    monkeypatch.setattr(Records, "reconcile", reconciled)
    return failures


async def test_the_stream_outlives_a_database_that_does_not_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        failures = failing(monkeypatch, 3)
        bench.write("a.yaml", window(priority=3))

        change = await stream.next()
        assert isinstance(change, Changed)
        assert change.object.spec["priority"] == 3
        assert next(failures, None) is None
        await stream.aclose()


# --- overrides


async def test_an_annotation_set_by_a_command_stands_in_front_of_the_manifests(
    bench: Bench,
) -> None:
    bench.write("a.yaml", window(annotations={"slackwater.dev/skip": "a", "kept": "yes"}))
    async with bench.opened() as store:
        await store.set_annotation(NIGHTLY, "slackwater.dev/skip", "a,b")
        (stored,) = await store.objects()
        assert stored.annotations == {"slackwater.dev/skip": "a,b", "kept": "yes"}
        assert stored.generation == 1

        await store.set_annotation(NIGHTLY, "slackwater.dev/skip", None)
        (stored,) = await store.objects()
        assert stored.annotations == {"slackwater.dev/skip": "a", "kept": "yes"}


async def test_an_override_is_told_even_if_the_database_fails_right_after_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        await store.look()
        failing(monkeypatch, 1)
        with pytest.raises(StoreError):
            await store.set_annotation(NIGHTLY, "slackwater.dev/skip", "abc")
        assert (await store.objects())[0].annotations == {"slackwater.dev/skip": "abc"}


async def test_a_removed_annotation_is_gone_after_a_restart_too(bench: Bench) -> None:
    name = "slackwater.dev/trigger"
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        await store.set_annotation(NIGHTLY, name, "2026-11-23T12:00:00Z")
        (stored,) = await store.objects()
        await store.remove_annotation(NIGHTLY, name, stored.resource_version)
        (after,) = await store.objects()
        assert after.annotations == {}
        with pytest.raises(Conflict):
            await store.remove_annotation(NIGHTLY, name, stored.resource_version)
    async with bench.opened() as store:
        assert await store.objects() == (after,)


async def test_a_manifests_own_annotation_stays_removed_until_it_says_something_new(
    bench: Bench,
) -> None:
    name = "slackwater.dev/trigger"
    bench.write("a.yaml", window(annotations={name: "2026-11-23T12:00:00Z"}))
    async with bench.opened() as store:
        (stored,) = await store.objects()
        await store.remove_annotation(NIGHTLY, name, stored.resource_version)
        assert (await store.objects())[0].annotations == {}

        bench.write("a.yaml", window(annotations={name: "2026-11-23T12:00:00Z"}, priority=1))
        await settle(store)
        assert (await store.objects())[0].annotations == {}

        bench.write("a.yaml", window(annotations={name: "2026-11-23T15:00:00Z"}))
        await settle(store)
        assert (await store.objects())[0].annotations == {name: "2026-11-23T15:00:00Z"}

        bench.write("a.yaml", window(annotations={name: "2026-11-23T12:00:00Z"}))
        await settle(store)
        assert (await store.objects())[0].annotations == {name: "2026-11-23T12:00:00Z"}


async def test_suspend_rewrites_the_spec_and_resume_undoes_it(bench: Bench) -> None:
    bench.write("a.yaml", window(suspend=False))
    async with bench.opened() as store:
        await store.set_annotation(NIGHTLY, "slackwater.dev/suspend", "true")
        (stored,) = await store.objects()
        assert stored.spec["suspend"] is True
        assert stored.generation == 2
        assert stored.annotations == {}

        await store.set_annotation(NIGHTLY, "slackwater.dev/suspend", "false")
        (stored,) = await store.objects()
        assert stored.spec["suspend"] is False
        assert stored.generation == 3


async def test_suspend_holds_while_other_fields_are_edited_and_across_restarts(
    bench: Bench,
) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        await store.set_annotation(NIGHTLY, "slackwater.dev/suspend", "true")
        bench.write("a.yaml", window(priority=1))
        await settle(store)
        assert (await store.objects())[0].spec["suspend"] is True
    bench.write("a.yaml", window(priority=2))
    async with bench.opened() as store:
        assert (await store.objects())[0].spec["suspend"] is True


async def test_the_manifests_suspend_edited_later_has_the_last_word(bench: Bench) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        await store.set_annotation(NIGHTLY, "slackwater.dev/suspend", "false")
        bench.write("a.yaml", window(suspend=True))
        await settle(store)
        assert (await store.objects())[0].spec["suspend"] is True


@pytest.mark.parametrize("value", ["yes", "True", ""])
async def test_a_suspend_that_is_neither_true_nor_false_is_refused(
    bench: Bench, value: str
) -> None:
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        with pytest.raises(ConfigError):
            await store.set_annotation(NIGHTLY, "slackwater.dev/suspend", value)


async def test_overrides_go_with_their_object(bench: Bench) -> None:
    path = bench.write("a.yaml", window())
    async with bench.opened() as store:
        await store.set_annotation(NIGHTLY, "slackwater.dev/suspend", "true")
        path.unlink()
        await settle(store)
        bench.write("a.yaml", window())
        await settle(store)
        assert "suspend" not in (await store.objects())[0].spec
        with pytest.raises(Gone):
            await store.set_annotation(window_key("nobody"), "a", "b")


# --- what else a store says


async def test_an_installation_given_from_outside_wins(bench: Bench) -> None:
    async with bench.opened(installation="lab-7") as store:
        assert await store.installation() == "lab-7"


async def test_two_databases_are_two_installations(tmp_path: Path) -> None:
    seen = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        async with Bench(tmp_path / name).opened() as store:
            seen.add(await store.installation())
    assert len(seen) == 2


async def test_namespaces_have_the_labels_of_their_manifest_and_their_name(bench: Bench) -> None:
    bench.write(
        "ns.yaml",
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "research", "labels": {"team": "vision"}},
        },
    )
    async with bench.opened() as store:
        name = "kubernetes.io/metadata.name"
        assert await store.namespace_labels("research") == {"team": "vision", name: "research"}
        assert await store.namespace_labels("other") == {name: "other"}
        assert await store.node_names({"matchLabels": {"a": "b"}}) is None


async def test_idle_objects_cause_no_writes(bench: Bench) -> None:
    bench.write("a.yaml", *(window(f"w{number}") for number in range(100)))
    async with bench.opened() as store:
        before = await store.objects()
        log = bench.database.with_name("slackwater.db-wal")
        size = log.stat().st_size
        for _ in range(5):
            await store.look()
        assert log.stat().st_size == size
        assert await store.objects() == before
