from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from slackwater.api import crd
from slackwater.api.schema import UnstructuralError, structural
from slackwater.core.status import CONDITION_TYPES
from slackwater.ports import Kind
from slackwater.wire import WireModel

CRDS = Path(__file__).parents[2] / "crds"
FORBIDDEN = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "title", "const", "nullable"}


@pytest.fixture(params=list(Kind), ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@cache
def definition(kind: Kind) -> dict[str, Any]:
    return crd.definition(kind)


def schema_of(kind: Kind) -> dict[str, Any]:
    (version,) = definition(kind)["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below `schema` with its path: fields, items of lists, values of maps."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if keyword in schema:
            yield path + mark, schema[keyword]
            yield from fields(schema[keyword], path + mark)


def test_the_committed_file_is_the_one_that_the_models_make(kind: Kind) -> None:
    committed = (CRDS / crd.file_name(kind)).read_text(encoding="utf-8")
    assert committed == crd.render(kind), "run: python -m slackwater.api.crd crds"


def test_there_is_no_other_file() -> None:
    assert {path.name for path in CRDS.iterdir()} == {crd.file_name(kind) for kind in Kind}


def test_the_file_holds_the_definition(kind: Kind) -> None:
    assert yaml.safe_load(crd.render(kind)) == crd.definition(kind)


def test_writing_makes_one_file_per_kind(tmp_path: Path) -> None:
    assert crd.main([str(tmp_path / "crds")]) == 0
    assert len(list((tmp_path / "crds").iterdir())) == len(Kind)
    assert crd.main([]) == 2


def test_every_field_has_a_description(kind: Kind) -> None:
    given = {"apiVersion", "kind", "metadata"}
    for path, field in fields(schema_of(kind)):
        if path.endswith(("[]", ".*")) or path[1:] in given:
            continue
        text = field.get("description", "")
        assert text.endswith("."), path
        assert text == " ".join(text.split()), path
        assert text[0].isupper(), path


# A number or an expression: no structural schema can say that, so anything may stand there.
UNTYPED = {".spec.reservations[].gpus"}


def test_the_schema_is_structural(kind: Kind) -> None:
    for path, field in fields(schema_of(kind)):
        if path in UNTYPED:
            assert field["x-kubernetes-preserve-unknown-fields"] is True
            continue
        assert field.get("type") in {
            "object",
            "array",
            "string",
            "integer",
            "number",
            "boolean",
        }, path
        assert not FORBIDDEN & field.keys(), path
        if field["type"] == "array":
            assert "items" in field, path
            assert field["x-kubernetes-list-type"] in {"map", "set", "atomic"}, path
        if field.get("x-kubernetes-list-type") == "map":
            keys = set(field["x-kubernetes-list-map-keys"])
            assert keys <= set(field["items"]["required"]), path


def test_every_text_list_and_map_has_a_bound(kind: Kind) -> None:
    for path, field in fields(schema_of(kind)):
        if path in {".apiVersion", ".kind"} | UNTYPED:
            continue
        match field["type"]:
            case "string":
                assert "enum" in field or "maxLength" in field, path
            case "array":
                assert "maxItems" in field, path
            case "object":
                assert "additionalProperties" not in field or "maxProperties" in field, path
            case "integer" | "number":
                assert "minimum" in field, path


def test_only_conf_and_what_may_be_an_expression_are_free(kind: Kind) -> None:
    free = [p for p, f in fields(schema_of(kind)) if f.get("x-kubernetes-preserve-unknown-fields")]
    known = {Kind.TRAINING_WINDOW: [".spec.dag.conf"], Kind.GPU_POOL: sorted(UNTYPED)}
    assert free == known.get(kind, [])


def test_no_default_is_null_or_empty(kind: Kind) -> None:
    for path, field in fields(schema_of(kind)):
        assert field.get("default", "none") not in (None, {}, []), path


def test_a_default_is_one_of_its_enum_and_inside_its_bounds(kind: Kind) -> None:
    for path, field in fields(schema_of(kind)):
        if "default" not in field:
            continue
        default = field["default"]
        assert default in field.get("enum", [default]), path
        if isinstance(default, int | float):
            assert field.get("minimum", default) <= default <= field.get("maximum", default), path


def test_no_resource_of_a_cluster_names_a_file() -> None:
    names = [
        path.rpartition(".")[2]
        for path, _ in fields(schema_of(Kind.CALENDAR)["properties"]["spec"])
    ]
    assert names
    assert not [name for name in names if "file" in name.lower() or "path" in name.lower()]


def test_identity_of_a_dag_cannot_be_changed() -> None:
    dag = schema_of(Kind.TRAINING_WINDOW)["properties"]["spec"]["properties"]["dag"]["properties"]
    for name in ("dagId", "airflowRef"):
        (rule,) = dag[name]["x-kubernetes-validations"]
        assert rule["rule"] == "self == oldSelf"
        assert name in rule["message"]


def test_names_in_kubectl() -> None:
    found = {kind: definition(kind)["spec"]["names"]["shortNames"] for kind in Kind}
    assert found == {
        Kind.TRAINING_WINDOW: ["tw"],
        Kind.CALENDAR: ["tcal"],
        Kind.GPU_POOL: ["gpool"],
        Kind.AIRFLOW_INSTANCE: ["afi"],
    }


def test_columns_of_a_training_window() -> None:
    (version,) = definition(Kind.TRAINING_WINDOW)["spec"]["versions"]
    shown = [c["name"] for c in version["additionalPrinterColumns"] if not c.get("priority")]
    assert shown == ["Ready", "Window", "Running", "Why", "Last", "Next", "Age"]


def test_columns_read_fields_that_exist(kind: Kind) -> None:
    known = {path for path, _ in fields(schema_of(kind))} | {".metadata.creationTimestamp"}
    (version,) = definition(kind)["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        path, _, field = column["jsonPath"].partition('[?(@.type=="')
        if field:
            condition, _, field = field.partition('")]')
            assert condition in {*CONDITION_TYPES, "DataFresh"}
            path += f"[]{field}"
        assert path in known, column


def test_a_column_of_type_date_never_shows_a_time_to_come(kind: Kind) -> None:
    (version,) = definition(kind)["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        if column["type"] == "date":
            assert not column["jsonPath"].startswith((".status.next", ".status.blocks"))


def test_a_model_that_a_crd_cannot_say_is_refused() -> None:
    class Both(WireModel):
        field: Annotated[int | str, Field(description="Either.")] = 1

    with pytest.raises(UnstructuralError, match=r"Both\.field: .* anyOf"):
        structural(Both)


def test_exclusive_bounds_are_written_as_structural_schemas_want_them() -> None:
    class Share(WireModel):
        part: Annotated[float, Field(gt=0, lt=1, description="A share.")]

    part = structural(Share)["properties"]["part"]
    assert (part["minimum"], part["exclusiveMinimum"]) == (0, True)
    assert (part["maximum"], part["exclusiveMaximum"]) == (1, True)
