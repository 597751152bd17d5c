"""Where the windows file is put: ConfigMaps of a cluster, a file of the data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import StoreError
from slackwater.ports import WindowsFile
from slackwater.stores.cluster import Cluster
from slackwater.stores.windows_files import ConfigMaps, LocalWindowsFile
from tests.stores.fake_cluster import FakeCluster

MAPS = "/api/v1/configmaps"
HERE, THERE = Ref("slackwater", "windows"), Ref("airflow", "windows")


def data(fake: FakeCluster, ref: Ref) -> Any:
    return fake.objects[MAPS, ref.namespace, ref.name]["data"]


async def test_a_config_map_is_made_once_and_patched_afterwards(
    fake: FakeCluster, cluster: Cluster
) -> None:
    maps: WindowsFile = ConfigMaps(cluster, [HERE, THERE])
    await maps.write("1")
    await maps.write("2")

    assert data(fake, HERE) == data(fake, THERE) == {"windows.json": "2"}
    assert fake.count("POST", "configmaps") == 2
    assert fake.count("PATCH", "configmaps") == 4


async def test_what_others_keep_in_the_config_map_stays(
    fake: FakeCluster, cluster: Cluster
) -> None:
    fake.create(MAPS, HERE.name, HERE.namespace, data={"theirs": "x"})
    await ConfigMaps(cluster, [HERE]).write("1")

    assert data(fake, HERE) == {"theirs": "x", "windows.json": "1"}


async def test_one_that_fails_is_named_and_the_others_are_written(
    fake: FakeCluster, cluster: Cluster
) -> None:
    fake.fault("PATCH", "namespaces/slackwater/", status=403)
    with pytest.raises(StoreError) as failed:
        await ConfigMaps(cluster, [HERE, THERE]).write("1")

    assert failed.value.reason is Reason.FORBIDDEN
    assert "ConfigMap slackwater/windows" in str(failed.value)
    assert data(fake, THERE) == {"windows.json": "1"}


async def test_a_namespace_that_does_not_exist_is_an_error(
    fake: FakeCluster, cluster: Cluster
) -> None:
    fake.fault("POST", "configmaps", status=404)
    with pytest.raises(StoreError) as failed:
        await ConfigMaps(cluster, [HERE]).write("1")
    assert failed.value.reason is Reason.NOT_FOUND


async def test_a_file_is_replaced_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "windows.json"
    file: WindowsFile = LocalWindowsFile(path)
    await file.write("1")
    kept = path.open()
    await file.write("22")

    assert path.read_text() == "22"
    assert kept.read() == "1", "who reads meanwhile reads the old one"
    kept.close()
    assert [p.name for p in tmp_path.iterdir()] == ["windows.json"]


async def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as failed:
        await LocalWindowsFile(tmp_path / "gone" / "windows.json").write("1")
    assert failed.value.reason is Reason.UNAVAILABLE
