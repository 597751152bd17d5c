"""The chart and the image as files; what needs Helm or a server is tested beside this."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from tests.helm.dockerfile import instructions, stages

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "slackwater"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.fixture(scope="module")
def sync() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sync_chart", ROOT / "hack" / "sync_chart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- custom resource definitions


def test_the_charts_definitions_are_those_of_the_models(
    sync: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync.main(["--check"]) == 0, capsys.readouterr().err
    assert len(sync.templates()) == 4


def test_drift_is_said_by_file_and_mended(
    sync: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sync, "ROOT", tmp_path)
    monkeypatch.setattr(sync, "TEMPLATES", tmp_path / "templates")
    monkeypatch.setattr(sync, "RULES", tmp_path / "files" / "recording-rules.yaml")
    assert sync.main([]) == 0
    assert sync.main(["--check"]) == 0

    calendars = tmp_path / "templates" / "slackwater.dev_calendars.yaml"
    calendars.write_text(calendars.read_text() + "# edited\n")
    (tmp_path / "templates" / "slackwater.dev_tides.yaml").write_text("kind: old\n")
    (tmp_path / "files" / "recording-rules.yaml").unlink()
    assert sync.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "slackwater.dev_calendars.yaml" in said
    assert "slackwater.dev_tides.yaml" in said
    assert "recording-rules.yaml" in said

    assert sync.main([]) == 0
    assert sync.main(["--check"]) == 0


def test_descriptions_that_speak_of_templates_are_given_out_as_they_are(sync: ModuleType) -> None:
    manifest = "kind: X\nmetadata:\n  name: x\nspec:\n  description: 'use {{ ds }}'\n"

    made = sync.template(manifest)

    assert """description: 'use {{ "{{" }} ds }}'""" in made
    plain = made.replace('{{ "{{" }}', "\0")
    plain = re.sub(r"^ *\{\{-.*\}\}\n", "", plain, flags=re.MULTILINE).replace("\0", "{{")
    assert yaml.safe_load(plain) == {
        "kind": "X",
        "metadata": {"name": "x", "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {"description": "use {{ ds }}"},
    }


@pytest.mark.parametrize(
    "manifest",
    [
        "kind: X\nspec: {}\n",
        "kind: X\nmetadata: {name: x}\nspec: {}\n",
        "kind: X\nmetadata:\n  annotations:\n    a: b\n  name: x\nspec: {}\n",
        "kind: X\nmetadata:\n  name: x\n---\nkind: Y\n",
        "kind: X\nmetadata:\n  name: x\nspec: {}\nmetadata:\n  name: y\n",
    ],
)
def test_what_the_script_would_get_wrong_it_refuses(sync: ModuleType, manifest: str) -> None:
    with pytest.raises(ValueError, match="must"):
        sync.template(manifest)


# --- values


def closed(
    schema: Mapping[str, Any], default: Mapping[str, Any], path: str = "values"
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Every object of the values that takes no other names, with its schema and its default."""
    if schema.get("additionalProperties", True) is False:
        yield path, schema["properties"], default
        for name in schema["properties"].keys() & default.keys():
            yield from closed(schema["properties"][name], default[name], f"{path}.{name}")


def test_the_defaults_obey_their_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


def test_schema_and_defaults_name_the_same_values_and_each_is_described() -> None:
    paths = set()
    for path, properties, default in closed(SCHEMA, VALUES):
        paths.add(path)
        assert set(properties) == set(default), path
        assert all(schema.get("description") for schema in properties.values()), path
    assert {"values", "values.rbac.secrets", "values.serviceMonitor"} <= paths


@pytest.mark.parametrize(
    "path", [(), ("image",), ("operator",), ("rbac", "secrets"), ("serviceMonitor",)]
)
def test_a_typo_is_refused_wherever_it_stands(path: tuple[str, ...]) -> None:
    values = copy.deepcopy(VALUES)
    inner = values
    for name in path:
        inner = inner[name]
    inner["replicsa"] = 2
    with pytest.raises(jsonschema.ValidationError, match="replicsa"):
        jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("watchNamespaces", ["Research"]),
        ("watchNamespaces", "research"),
        ("replicas", "2"),
        ("image", {"digest": "sha256:abc"}),
        ("operator", {"allowNetworks": ["intranet"]}),
        ("operator", {"installation": "two words"}),
        ("operator", {"logFormat": "xml"}),
        ("podAnnotations", {"a": 1}),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({name: value}, SCHEMA)


def test_global_values_of_a_parent_chart_are_allowed() -> None:
    jsonschema.validate({"global": {"storageClass": "fast", "imagePullSecrets": None}}, SCHEMA)


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == package["version"]
    named = {item["name"] for item in yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])}
    crds = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")]
    assert named == {crd["metadata"]["name"] for crd in crds}


# --- the image


def test_the_image_copies_what_exists_and_is_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {
        source
        for instruction, rest in instructions()
        if instruction == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert copied == allowed
    assert {package["readme"], *package["license-files"]} <= copied
    for source in copied:
        assert (ROOT / source).exists(), source


def test_every_base_of_the_image_has_a_version_and_the_last_is_that_of_the_build() -> None:
    bases = [base.split()[0] for base, _ in stages()]
    assert len(bases) == 3
    for base in bases:
        assert re.search(r":\d+\.\d+(\.\d+)?(-slim)?(@sha256:[0-9a-f]{64})?$", base), base
    # A virtual environment holds a link to the Python that it was made by.
    assert bases[1] == bases[2]


def test_no_step_of_the_image_leaves_a_cache_in_a_layer() -> None:
    runs = [rest for _, found in stages() for name, rest in found if name == "RUN"]
    assert len(runs) == 3
    for run in runs:
        assert ("uv " in run) == ("--mount=type=cache,target=" in run), run
        assert "apt" not in run


def test_the_image_runs_as_nobody_and_without_build_tools() -> None:
    stages = "\n".join(f"{name} {rest}" for name, rest in instructions()).split("FROM ")
    last = stages[-1]
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    assert "RUN" not in last
    assert "uv" not in last
    assert 'ENTRYPOINT ["slackwater"]' in last
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert "slackwater" in script
