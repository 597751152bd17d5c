"""Secrets as files beside the manifests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.words import Reason
from slackwater.errors import SecretError
from slackwater.ports import SecretsChanged
from slackwater.stores import secret_files
from slackwater.stores.secret_files import SecretFiles
from tests.stores.directory_bench import Bench, Stream, window


async def here(call: Callable[[], str]) -> str:
    return call()


def put(directory: Path, ref: str, content: bytes) -> Path:
    path = directory / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" hunter2 \n", " hunter2 "),
        (b"a\nb\n", "a\nb"),
        (b"hunter2\r", "hunter2\r"),
        (b"", ""),
    ],
)
async def test_one_newline_at_the_end_is_taken_off(
    tmp_path: Path, content: bytes, value: str
) -> None:
    put(tmp_path, "research/google/key.json", content)

    assert await SecretFiles(tmp_path, here).read("research", "google", "key.json") == value


async def test_a_secret_is_read_anew_at_every_call(tmp_path: Path) -> None:
    secrets = SecretFiles(tmp_path, here)
    path = put(tmp_path, "research/google/key", b"old")
    assert await secrets.read("research", "google", "key") == "old"
    path.write_bytes(b"new")
    assert await secrets.read("research", "google", "key") == "new"


async def test_links_as_in_mounted_secrets_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "research/google/..2026/key", b"value")
    (tmp_path / "research/google/..data").symlink_to("..2026")
    (tmp_path / "research/google/key").symlink_to("..data/key")

    assert await SecretFiles(tmp_path, here).read("research", "google", "key") == "value"


@pytest.mark.parametrize(
    ("namespace", "name", "key", "reason"),
    [
        ("other", "google", "key", Reason.SECRET_NOT_FOUND),
        ("research", "other", "key", Reason.SECRET_NOT_FOUND),
        ("research", "google", "other", Reason.SECRET_KEY_NOT_FOUND),
        ("research", "google", "directory", Reason.SECRET_KEY_NOT_FOUND),
        ("research", "google", "binary", Reason.MALFORMED),
    ],
)
async def test_what_cannot_be_read_says_which_part_is_missing(
    tmp_path: Path, namespace: str, name: str, key: str, reason: Reason
) -> None:
    put(tmp_path, "research/google/key", b"value")
    put(tmp_path, "research/google/binary", b"\xff\xfe secret")
    (tmp_path / "research/google/directory").mkdir()

    with pytest.raises(SecretError) as raised:
        await SecretFiles(tmp_path, here).read(namespace, name, key)

    assert raised.value.reason is reason
    assert f"{namespace}/{name}" in raised.value.sentence
    assert raised.value.__cause__ is None or "secret" not in repr(raised.value.__cause__)


async def test_without_a_directory_there_are_no_secrets() -> None:
    with pytest.raises(SecretError) as raised:
        await SecretFiles(None, here).read("research", "google", "key")
    assert raised.value.reason is Reason.SECRET_NOT_FOUND


async def test_a_file_beyond_all_measure_is_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_files, "SIZE_LIMIT", 4)
    put(tmp_path, "research/google/key", b"12345")
    with pytest.raises(SecretError) as raised:
        await SecretFiles(tmp_path, here).read("research", "google", "key")
    assert raised.value.reason is Reason.TOO_LARGE


PARTS = st.text(alphabet="a.-_/\\\n\0A~", max_size=8)


@given(PARTS, PARTS, PARTS)
async def test_no_name_leads_out_of_the_directory(
    tmp_path_factory: pytest.TempPathFactory, namespace: str, name: str, key: str
) -> None:
    outside = tmp_path_factory.getbasetemp() / "outside"
    opened: list[Path] = []
    secrets = SecretFiles(outside / "a/secrets", here)

    def opening(self: Path, *arguments: object) -> None:
        opened.append(self)
        raise FileNotFoundError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opening)
        with pytest.raises(SecretError):
            await secrets.read(namespace, name, key)

    for path in opened:
        assert path.parent.parent.parent == outside / "a/secrets"
        assert ".." not in path.parts
        assert "\0" not in str(path)


@pytest.mark.parametrize("key", [".", "..", "..data", "a/b", "", "a\n", "k" * 254])
async def test_keys_that_kubernetes_would_not_take_are_not_there(tmp_path: Path, key: str) -> None:
    put(tmp_path, "research/google/key", b"value")
    put(tmp_path, "research/google/..data/b", b"value")
    with pytest.raises(SecretError) as raised:
        await SecretFiles(tmp_path, here).read("research", "google", key)
    assert raised.value.reason is Reason.SECRET_KEY_NOT_FOUND


async def test_a_secret_that_changes_comes_or_goes_is_told_once(tmp_path: Path) -> None:
    path = put(tmp_path, "research/google/key", b"old")
    put(tmp_path, "research/unused/key", b"old")
    secrets = SecretFiles(tmp_path, here)
    told = frozenset({SecretsChanged("research", "google")})
    await secrets.read("research", "google", "key")
    assert secrets.changed() == frozenset()

    put(tmp_path, "research/unused/key", b"newer")
    assert secrets.changed() == frozenset()

    path.write_bytes(b"newer")
    assert secrets.changed() == told
    assert secrets.changed() == frozenset()

    path.unlink()
    assert secrets.changed() == told
    path.write_bytes(b"back")
    assert secrets.changed() == told


async def test_a_secret_that_was_missing_is_told_when_it_comes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write("a.yaml", window())
    async with bench.opened() as store:
        stream = Stream(store)
        await stream.until_listed()
        with pytest.raises(SecretError):
            await store.secrets.read("research", "google", "key")

        put(bench.secrets, "research/google/key", b"value\n")

        assert await stream.next() == SecretsChanged("research", "google")
        assert await store.secrets.read("research", "google", "key") == "value"
        await stream.aclose()
