"""Manifests on a file system that others write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.stores import files
from slackwater.stores.files import ManifestFiles, Tree
from tests.stores.directory_bench import text, window, window_key


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def names(tree: Tree) -> set[str]:
    return {key.ref.name for key in tree.manifests}


def started(*roots: Path) -> ManifestFiles:
    manifests = ManifestFiles(roots)
    manifests.look(trust=True)
    return manifests


def test_manifests_are_read_recursively_and_hidden_names_are_left_out(root: Path) -> None:
    (root / "team/deep").mkdir(parents=True)
    (root / "..data").mkdir()
    (root / "a.yaml").write_text(text(window("a"), window("b")))
    (root / "team/deep/c.yml").write_text(text(window("c")))
    (root / "..data/a.yaml").write_text(text(window("hidden")))
    (root / ".d.yaml").write_text(text(window("hidden")))
    (root / "e.yaml~").write_text("not: [read")
    (root / "readme.md").write_text("not: [read")

    tree = ManifestFiles([root]).look(trust=True)

    assert names(tree) == {"a", "b", "c"}
    assert tree.problems == ()
    assert tree.manifests[window_key("c")].path == root / "team/deep/c.yml"


def test_a_link_that_leads_back_up_is_entered_once(root: Path) -> None:
    (root / "a.yaml").write_text(text(window("a")))
    (root / "loop").symlink_to(root)

    tree = ManifestFiles([root, root]).look(trust=True)

    assert names(tree) == {"a"}
    assert tree.problems == ()


def test_a_single_file_can_be_named(root: Path) -> None:
    (root / "a.yaml").write_text(text(window("a")))
    (root / "b.yaml").write_text(text(window("b")))

    assert names(ManifestFiles([root / "a.yaml"]).look(trust=True)) == {"a"}


def test_an_unchanged_tree_stays_the_same_object(root: Path) -> None:
    (root / "a.yaml").write_text(text(window("a")))
    manifests = started(root)

    assert manifests.look() is manifests.look()


def test_a_file_that_was_only_touched_changes_nothing(root: Path) -> None:
    path = root / "a.yaml"
    path.write_text(text(window("a")))
    manifests = started(root)
    before = manifests.look()

    os.utime(path, ns=(1, 1))

    assert manifests.look() is before
    assert manifests.look() is before


def test_a_change_counts_once_two_looks_found_the_same(root: Path) -> None:
    path = root / "a.yaml"
    path.write_text(text(window("a")))
    manifests = started(root)

    path.write_text(text(window("a"), window("b")))

    assert names(manifests.look()) == {"a"}
    assert names(manifests.look()) == {"a", "b"}


def test_a_file_that_is_rewritten_within_one_tick_is_read_again(root: Path) -> None:
    path = root / "a.yaml"
    path.write_text(text(window("a", priority=1)))
    manifests = started(root)
    path.write_text(text(window("a", priority=2)))
    stamp = path.stat()
    manifests.look()

    path.write_text(text(window("a", priority=3)))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    manifests.look()

    assert manifests.look().manifests[window_key("a")].spec["priority"] == 3


def test_a_half_written_file_keeps_its_objects_and_is_not_reported(root: Path) -> None:
    path = root / "a.yaml"
    whole = text(window("a"))
    path.write_text(whole)
    manifests = started(root)

    path.write_text(whole[: len(whole) // 2] + "\n  [")
    tree = manifests.look()
    assert names(tree) == {"a"}
    assert tree.problems == ()

    path.write_text(text(window("a", priority=7)))
    manifests.look()
    tree = manifests.look()
    assert tree.problems == ()
    assert tree.manifests[window_key("a")].spec["priority"] == 7


def test_a_file_emptied_for_a_moment_keeps_its_objects(root: Path) -> None:
    path = root / "a.yaml"
    path.write_text(text(window("a")))
    manifests = started(root)

    path.write_text("")
    assert names(manifests.look()) == {"a"}
    path.write_text(text(window("a")))
    assert names(manifests.look()) == {"a"}
    assert names(manifests.look()) == {"a"}


def test_a_broken_file_keeps_its_last_good_objects_and_is_reported(root: Path) -> None:
    path = root / "a.yaml"
    path.write_text(text(window("a")))
    manifests = started(root)

    path.write_text(text(window("b"), {**window("c"), "kind": "TrainingWidow"}))
    manifests.look()
    tree = manifests.look()

    assert names(tree) == {"a"}
    assert tree.unread == frozenset()
    ((where, sentence),) = tree.problems
    assert where == path
    assert "document 2" in sentence
    assert "kind" in sentence


def test_a_file_that_was_never_good_is_unread(root: Path) -> None:
    (root / "a.yaml").write_text("spec: [")
    tree = ManifestFiles([root]).look(trust=True)

    assert names(tree) == set()
    assert tree.may_hold(root / "a.yaml")
    assert not tree.may_hold(root / "b.yaml")


def test_problems_never_quote_the_manifest(root: Path) -> None:
    (root / "a.yaml").write_text('spec:\n  summary: "Operation Nightfall\n  x: [')
    (root / "b.yaml").write_bytes(b"spec: Nightfall \xff")
    tree = ManifestFiles([root]).look(trust=True)

    assert len(tree.problems) == 2
    assert "Nightfall" not in str(tree.problems)
    assert "Nightfall" not in repr(started(root)._believed)


def test_a_deleted_file_takes_its_objects_with_it_after_two_looks(root: Path) -> None:
    (root / "a.yaml").write_text(text(window("a")))
    (root / "b.yaml").write_text(text(window("b")))
    manifests = started(root)

    (root / "b.yaml").unlink()

    assert names(manifests.look()) == {"a", "b"}
    assert names(manifests.look()) == {"a"}


def test_a_file_replaced_by_an_editor_never_loses_its_objects(root: Path) -> None:
    path = root / "a.yaml"
    path.write_text(text(window("a")))
    manifests = started(root)

    path.rename(root / "a.yaml~")
    assert names(manifests.look()) == {"a"}
    path.write_text(text(window("a", priority=2)))
    assert names(manifests.look()) == {"a"}
    assert manifests.look().manifests[window_key("a")].spec["priority"] == 2


def test_an_object_that_moves_between_files_in_steps_is_never_gone(root: Path) -> None:
    (root / "a.yaml").write_text(text(window("x"), window("stays")))
    manifests = started(root)

    (root / "a.yaml").write_text(text(window("stays")))
    assert "x" in names(manifests.look())
    (root / "b.yaml").write_text(text(window("x")))
    for _ in range(4):
        assert "x" in names(manifests.look())
    assert manifests.look().manifests[window_key("x")].path == root / "b.yaml"


def test_a_file_that_never_rests_does_not_hold_up_the_others(root: Path) -> None:
    busy = root / "busy.yaml"
    busy.write_text(text(window("busy")))
    manifests = started(root)
    (root / "a.yaml").write_text(text(window("a")))

    for count in range(files.RESTLESS_LIMIT + 1):
        busy.write_text(text(window("busy", priority=count + 1)))
        tree = manifests.look()

    assert names(tree) == {"a", "busy"}
    assert "priority" not in tree.manifests[window_key("busy")].spec


def test_of_two_documents_with_one_key_the_first_counts_and_the_other_is_reported(
    root: Path,
) -> None:
    (root / "a.yaml").write_text(text(window("x", priority=1)))
    (root / "b.yaml").write_text(text(window("x", priority=2)))
    manifests = started(root)
    tree = manifests.look()

    assert tree.manifests[window_key("x")].spec["priority"] == 1
    ((where, sentence),) = tree.problems
    assert where == root / "b.yaml"
    assert "TrainingWindow research/x" in sentence
    assert str(root / "a.yaml") in sentence

    (root / "a.yaml").unlink()
    manifests.look()
    tree = manifests.look()
    assert tree.manifests[window_key("x")].spec["priority"] == 2
    assert tree.problems == ()


def test_the_order_of_the_roots_decides_which_document_counts(root: Path) -> None:
    for name in ("second", "first"):
        (root / name).mkdir()
        (root / name / "x.yaml").write_text(text(window("x", timeZone=name)))

    tree = ManifestFiles([root / "second", root / "first"]).look(trust=True)

    assert tree.manifests[window_key("x")].spec["timeZone"] == "second"


def test_a_directory_that_vanishes_keeps_its_objects_and_is_reported(root: Path) -> None:
    inner = root / "mounted"
    inner.mkdir()
    (inner / "a.yaml").write_text(text(window("a")))
    manifests = started(inner)

    inner.rename(root / "away")
    for _ in range(3):
        tree = manifests.look()
    assert names(tree) == {"a"}
    assert [where for where, _ in tree.problems] == [inner]

    (root / "away").rename(inner)
    manifests.look()
    tree = manifests.look()
    assert names(tree) == {"a"}
    assert tree.problems == ()


def test_a_file_that_may_not_be_read_keeps_its_objects(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "a.yaml"
    path.write_text(text(window("a")))
    manifests = started(root)

    def refused(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    os.utime(path, ns=(1, 1))
    manifests.look()
    tree = manifests.look()

    assert names(tree) == {"a"}
    assert tree.problems == ((path, "it cannot be read: Permission denied"),)


def test_a_file_beyond_all_measure_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SIZE_LIMIT", 10)
    (root / "a.yaml").write_text(text(window("a")))

    tree = ManifestFiles([root]).look(trust=True)

    assert names(tree) == set()
    assert "larger" in tree.problems[0][1]


def test_namespaces_give_their_labels_and_do_not_shift_document_numbers(root: Path) -> None:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "research", "labels": {"team": "vision"}},
    }
    (root / "a.yaml").write_text(text(namespace, window("a")))
    (root / "b.yaml").write_text(text(namespace, {**window("b"), "kind": "X"}))

    tree = ManifestFiles([root]).look(trust=True)

    assert names(tree) == {"a"}
    assert tree.namespaces == {"research": {"team": "vision"}}
    assert "document 2: kind" in tree.problems[0][1]


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({}, "metadata.name"),
        ({"name": "x", "labels": {"a": 1}}, "metadata.labels.a"),
        ({"name": "x", "labels": ["a"]}, "metadata.labels"),
    ],
)
def test_a_namespace_that_is_wrong_is_reported_with_its_field(
    root: Path, metadata: dict[str, object], field: str
) -> None:
    bad = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    (root / "a.yaml").write_text(text(window("a"), bad))

    tree = ManifestFiles([root]).look(trust=True)

    assert f"document 2: {field}" in tree.problems[0][1]


# --- whatever others do to the files, two quiet looks later the tree is what the files say

PATHS = ["a.yaml", "b.yml", "sub/c.yaml"]
GOOD = st.lists(st.sampled_from("uvwxyz"), unique=True, max_size=3).map(tuple)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS), GOOD),
    st.tuples(st.just("break"), st.sampled_from(PATHS), st.just(())),
    st.tuples(st.just("delete"), st.sampled_from(PATHS), st.just(())),
    st.tuples(st.just("move"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
    st.tuples(st.just("look"), st.just(""), st.just(())),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_after_two_quiet_looks_the_tree_is_what_the_files_say(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    (root / "sub").mkdir()
    manifests = ManifestFiles([root])
    believed: dict[str, tuple[str, ...]] = {}  # last good content that was believed, by path

    def settle() -> Tree:
        manifests.look()
        tree = manifests.look()
        for path in PATHS:
            file = root / path
            if not file.exists():
                believed.pop(path, None)
            elif not file.read_text().startswith("!broken"):
                believed[path] = tuple(file.read_text().partition("\n")[0].removeprefix("#"))
        return tree

    for action, path, argument in steps:
        file = root / path
        match action:
            case "write":
                content = "#" + "".join(argument) + "\n" + text(*map(window, argument))
                file.write_text(content)
            case "break":
                file.write_text("!broken [")
            case "delete":
                file.unlink(missing_ok=True)
            case "move":
                if file.exists() and path != argument:
                    file.rename(root / str(argument))
            case _:
                settle()
    tree = settle()

    expected: dict[Key, Path] = {}
    for path in sorted(believed, key=lambda path: root / path):
        for name in believed[path]:
            expected.setdefault(Key(Kind.TRAINING_WINDOW, Ref("research", name)), root / path)
    assert {key: manifest.path for key, manifest in tree.manifests.items()} == expected
    present = [root / path for path in PATHS if (root / path).exists()]
    broken = {path for path in present if path.read_text().startswith("!broken")}
    assert broken <= {path for path, _ in tree.problems}
