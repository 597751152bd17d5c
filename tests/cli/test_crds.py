"""`slackwater crds`."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.cli.conftest import Slackwater

CRDS = Path(__file__).parents[2] / "crds"


def test_it_prints_all_of_them_as_one_stream(slackwater: Slackwater) -> None:
    said = slackwater("crds")

    assert said.code == 0
    kinds = [crd["spec"]["names"]["kind"] for crd in yaml.safe_load_all(said.out)]
    assert sorted(kinds) == ["AirflowInstance", "Calendar", "GPUPool", "TrainingWindow"]


def test_it_writes_the_files_that_are_in_the_repository(
    slackwater: Slackwater, tmp_path: Path
) -> None:
    said = slackwater("crds", "-o", tmp_path / "crds")

    assert said.code == 0
    written = {path.name: path.read_text() for path in (tmp_path / "crds").iterdir()}
    assert written == {path.name: path.read_text() for path in CRDS.iterdir()}


def test_a_directory_that_cannot_be_made_is_named(slackwater: Slackwater, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = slackwater("crds", "-o", tmp_path / "file")

    assert said.code == 2
    assert "file cannot be written" in said.err
