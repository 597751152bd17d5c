from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from demo.calendars import CALENDARS, OverCalDAV
from demo.manifests import (
    AIRFLOW_URL,
    CALENDAR_URL,
    NAMESPACE,
    PROMETHEUS_URL,
    QUICKSTART,
    fill,
    write_secrets,
)
from demo.stage import SECRETS
from slackwater.api.read import (
    read_airflow_instance,
    read_calendar,
    read_gpu_pool,
    read_training_window,
)
from slackwater.core.spec import Ref
from slackwater.ports import Kind
from slackwater.runtime.clock import SystemClock
from slackwater.stores.directory import DirectoryStore

HERE = {
    AIRFLOW_URL: "http://127.0.0.1:1/",
    PROMETHEUS_URL: "http://127.0.0.1:2",
    CALENDAR_URL: "http://127.0.0.1:3/research/team/",
}


async def test_slackwater_accepts_every_manifest_of_the_quickstart(tmp_path: Path) -> None:
    store = DirectoryStore([QUICKSTART], tmp_path / "db", None, SystemClock())
    try:
        await store.open()
        found = await store.objects()
        assert store.problems() == ()
    finally:
        await store.aclose()
    kinds = [one.key.kind for one in found]
    assert {kind: kinds.count(kind) for kind in Kind} == {
        Kind.TRAINING_WINDOW: 3,
        Kind.CALENDAR: 1,
        Kind.GPU_POOL: 1,
        Kind.AIRFLOW_INSTANCE: 1,
    }
    for one in found:
        assert one.key.ref.namespace == NAMESPACE
        match one.key.kind:
            case Kind.TRAINING_WINDOW:
                read_training_window(NAMESPACE, one.spec)
            case Kind.CALENDAR:
                read_calendar(one.spec, files=False)
            case Kind.GPU_POOL:
                read_gpu_pool(Ref(NAMESPACE, one.key.ref.name), one.spec)
            case Kind.AIRFLOW_INSTANCE:
                read_airflow_instance(one.spec)


def test_only_addresses_are_filled_in(tmp_path: Path) -> None:
    filled = fill(tmp_path / "manifests", HERE)
    for path in QUICKSTART.glob("*.yaml"):
        text = (filled / path.name).read_text()
        assert "example" not in str(yaml.safe_load(text))
        for address, real in HERE.items():
            text = text.replace(real, address)
        assert text == path.read_text()


async def test_each_simulated_calendar_is_named_by_a_manifest_that_slackwater_accepts(
    tmp_path: Path,
) -> None:
    for name in sorted(CALENDARS.keys() - {"caldav"}):
        calendar = CALENDARS[name](tmp_path / name)
        said = calendar.open()
        try:
            manifests = fill(tmp_path / "manifests", {})
            calendar.adapt(manifests)
            spec = yaml.safe_load((manifests / "calendar.yaml").read_text())["spec"]
            assert read_calendar(spec, files=name == "ical").privacy == "Details"
            assert ("simulated" in said) == (name != "ical")
        finally:
            calendar.close()


def test_an_address_that_the_examples_do_not_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no manifest"):
        fill(tmp_path / "manifests", {"https://elsewhere.example/": "http://127.0.0.1:1/"})


def test_an_address_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(f"url: {AIRFLOW_URL}\n")
    with pytest.raises(ValueError, match="not in one place"):
        fill(tmp_path / "manifests", {AIRFLOW_URL: "http://127.0.0.1:1/"}, tmp_path)


async def test_the_examples_secrets_are_the_ones_that_the_demo_gives(tmp_path: Path) -> None:
    """Every reference to a secret in the manifests finds its key."""
    secrets = {**SECRETS, "team-calendar": OverCalDAV(tmp_path / "calendar").secret}
    store = DirectoryStore(
        [QUICKSTART], tmp_path / "db", write_secrets(tmp_path / "s", secrets), SystemClock()
    )
    named = [
        ref
        for path in QUICKSTART.glob("*.yaml")
        for ref in _secret_refs(yaml.safe_load(path.read_text()))
    ]
    assert len(named) == 4
    for name, key in named:
        assert await store.secrets.read(NAMESPACE, name, key) == secrets[name][key]
    await store.aclose()


def _secret_refs(value: object) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return []
    return [
        ref
        for name, item in value.items()
        for ref in (
            [(item["name"], item["key"])] if name.endswith("SecretRef") else _secret_refs(item)
        )
    ]
