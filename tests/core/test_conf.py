"""The conf of a run: the user's JSON with values filled in, our key beside it (R6, R9, R13)."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.conf import (
    BadConf,
    check_conf,
    check_params,
    conf_for,
    conf_variables,
    render,
    rfc3339,
)
from slackwater.core.event import Event
from slackwater.core.params import complaint
from slackwater.core.span import Span
from slackwater.core.spec import GpuAsk, Identity, Ref

START = datetime(2026, 3, 29, 1, tzinfo=UTC)
WINDOW = Span(START, START + timedelta(hours=8))
GPU = GpuAsk(pool=Ref("research", "h100"), count=16, per_pod=8)
EVENT = Event(
    key="3f2a",
    series="s",
    original_start="2026-03-29T03:00:00",
    span=Span(START, START + timedelta(hours=9)),
    summary="train: secret merger",
    description="lr=0.1\nlayers=12",
    organizer="anna@example.com",
    categories=("gpu",),
)


def cel(text: str) -> dict:
    return {"$cel": text}


def variables(conf, **changes):
    given_ = {
        "conf": conf,
        "event": EVENT,
        "occurrence": "3f2a",
        "zone": "Europe/Berlin",
        "window": WINDOW,
        "gpu": GPU,
        "run_id": "slackwater.x.research.nightly.abc",
        "ref": Ref("research", "nightly"),
        "details": True,
    }
    return conf_variables(**{**given_, **changes})


def rendered(conf, **changes):
    check_conf(conf)
    return render(conf, variables(conf, **changes))


# --- filling in --------------------------------------------------------------------------------


def test_values_keep_their_types_anywhere_in_the_conf():
    conf = {
        "epochs": 3,
        "until": cel("window.end"),
        "params": cel("event.parameters"),
        "deep": [{"n": cel("gpu.count / gpu.perPod")}, cel("[gpu.pool, run.namespace]")],
        "length": cel("window.end - window.start"),
        "half": cel("event.end - event.start + duration('500ms')"),
        "times": cel('{"start": event.start}'),
        "name": cel("run.name + '-' + event.id"),
        "text": "$cel",
        "none": None,
        "nothing": cel("null"),
        "late": cel("event.hour >= 3"),
        "empty": {},
    }
    assert rendered(conf) == {
        "epochs": 3,
        "until": "2026-03-29T09:00:00Z",
        "params": {"lr": 0.1, "layers": 12},
        "deep": [{"n": 2}, ["research/h100", "research"]],
        "length": 28800,
        "half": 32400.5,
        "times": {"start": "2026-03-29T01:00:00Z"},
        "name": "nightly-3f2a",
        "text": "$cel",
        "none": None,
        "nothing": None,
        "late": True,
        "empty": {},
    }


def test_a_whole_conf_may_be_one_expression():
    assert rendered(cel("event.parameters")) == {"lr": 0.1, "layers": 12}
    with pytest.raises(BadConf, match="must be a map"):
        rendered(cel("gpu.count"))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.text().filter(lambda name: name not in {"$cel", "trainingWindow"}), json_values
    )
)
def test_json_without_expressions_comes_out_as_it_went_in(conf):
    if "$cel" in json.dumps(conf):
        return
    assert rendered(conf) == conf


# --- what expressions see ----------------------------------------------------------------------


def test_a_conf_sees_times_numbers_and_hashed_names_and_no_text():
    seen = variables({"p": cel("event.parameters")})
    assert set(seen) == {"event", "window", "gpu", "run"}
    assert seen["window"] == {"start": WINDOW.start, "end": WINDOW.end, "durationSeconds": 28800}
    assert seen["gpu"] == {"count": 16, "perPod": 8, "pool": "research/h100"}
    assert seen["run"]["id"] == "slackwater.x.research.nightly.abc"
    for secret in ("merger", "anna", "lr=0.1"):
        assert secret not in repr(seen)


@pytest.mark.parametrize(
    "text", ["event.summary", "event.description", "event.organizer", "event.categories"]
)
def test_no_title_no_description_no_name_can_be_put_into_a_conf(text):
    with pytest.raises(BadConf, match="no such field"):
        rendered({"x": cel(text)})


def test_parameters_are_there_only_where_the_calendar_gives_details():
    conf = {"params": cel("event.parameters")}
    with pytest.raises(BadConf) as caught:
        rendered(conf, details=False)
    assert (caught.value.path, caught.value.detail) == ("params", "no such field")


def test_a_readable_event_without_description_has_no_parameters():
    empty = Event(key="k", series="s", original_start="", span=WINDOW, summary="train: x")
    assert rendered({"p": cel("event.parameters")}, event=empty) == {"p": {}}


def test_a_private_event_has_unknown_parameters():
    private = Event(key="k", series="s", original_start="", span=WINDOW)
    with pytest.raises(BadConf, match="no such field"):
        rendered({"p": cel("event.parameters")}, event=private)


def test_a_description_that_cannot_be_read_matters_only_to_a_conf_that_asks():
    broken = Event(
        key="k", series="s", original_start="", span=WINDOW, summary="x", description="```json\n{"
    )
    assert rendered({"n": cel("event.hour")}, event=broken) == {"n": 3}
    with pytest.raises(BadConf) as caught:
        rendered({"n": 1, "deep": [cel("event.parameters.lr")]}, event=broken)
    assert caught.value.path == "deep[0]"
    assert "does not end" in caught.value.detail


def test_an_inline_occurrence_is_its_own_event():
    conf = {"start": cel("event.start"), "id": cel("event.id"), "params": cel("event.parameters")}
    assert rendered(conf, event=None, occurrence="ab12", details=False) == {
        "start": "2026-03-29T01:00:00Z",
        "id": "ab12",
        "params": {},
    }


def test_without_a_gpu_question_there_is_no_gpu():
    with pytest.raises(BadConf, match="there is no `gpu` here"):
        rendered({"n": cel("gpu.count")}, gpu=None)
    assert rendered({"n": cel("1")}, gpu=None) == {"n": 1}


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conf", "path", "detail"),
    [
        ({"trainingWindow": {}}, "trainingWindow", "written by Slackwater"),
        ({"a": cel("1 +")}, "a", "line 1, column 4: unexpected end"),
        ({"a": {"b": [1, cel("")]}}, "a.b[1]", "unexpected end"),
        ({"a": cel("hour")}, "a", "no variable hour"),
        ({"a": {"$cel": "1", "b": 2}}, "a", "alone"),
        ({"a": {"$cel": 1}}, "a", "alone"),
        ({"$cel": "1 +"}, "$cel", "unexpected end"),
        ({f"a{n}": cel("1") for n in range(101)}, "a100", "100 expressions"),
    ],
)
def test_a_bad_conf_is_refused_before_any_run_needs_it(conf, path, detail):
    with pytest.raises(BadConf) as caught:
        check_conf(conf)
    assert caught.value.path == path
    assert detail in caught.value.detail


def test_a_conf_that_is_nested_too_deeply_is_refused():
    deep: dict = {}
    for _ in range(40):
        deep = {"a": deep}
    for refuse in (check_conf, lambda conf: render(conf, {})):
        with pytest.raises(BadConf, match="nested more than 32 levels"):
            refuse(deep)


def test_a_conf_that_grows_too_large_is_refused():
    conf = {f"a{n}": cel("event.parameters") for n in range(8)}
    big = Event(
        key="k",
        series="s",
        original_start="",
        span=WINDOW,
        summary="x",
        description="x=" + "y" * 50_000,
    )
    with pytest.raises(BadConf, match="larger than 256 KiB") as caught:
        rendered(conf, event=big)
    assert caught.value.path == "a5"


def test_a_failure_names_its_place_and_no_value():
    conf = {"a": [{"lr": cel("int(event.parameters.secret)")}]}
    event = Event(
        key="k",
        series="s",
        original_start="",
        span=WINDOW,
        summary="x",
        description="secret=merger",
    )
    with pytest.raises(BadConf) as caught:
        rendered(conf, event=event)
    assert caught.value.path == "a[0].lr"
    assert "merger" not in repr(caught.value)


def test_a_number_that_json_does_not_know_is_refused():
    with pytest.raises(BadConf, match="JSON knows no such number"):
        render({"a": [float("nan")]}, {})


# --- our own key -------------------------------------------------------------------------------


def full(conf, **changes):
    given_ = {
        "identity": Identity(
            installation="cluster-1", ref=Ref("research", "nightly"), created=START
        ),
        "occurrence": "3f2a",
        "entry": "team",
        "original_start": "2026-03-29T03:00:00",
        "window": WINDOW,
        "gpu": GPU,
    }
    seen = changes.pop("seen", None) or variables(conf)
    return conf_for(conf, seen, **{**given_, **changes})


def test_the_conf_says_whose_run_it_is_and_what_it_may_hold():
    found = full({"epochs": 3})
    assert found == {
        "epochs": 3,
        "trainingWindow": {
            "version": 1,
            "installation": "cluster-1",
            "namespace": "research",
            "name": "nightly",
            "occurrence": "3f2a",
            "entry": "team",
            "originalStart": "2026-03-29T03:00:00",
            "start": "2026-03-29T01:00:00Z",
            "end": "2026-03-29T09:00:00Z",
            "pool": "research/h100",
            "gpus": 16,
            "perPod": 8,
            "parameters": {"lr": 0.1, "layers": 12},
        },
    }
    assert json.loads(json.dumps(found)) == found


def test_our_key_holds_parameters_only_where_they_may_flow_on_and_are_small():
    def told(**changes):
        return full({}, seen=variables({}, **changes))["trainingWindow"].get("parameters")

    long = "\n".join(f"n{i}={'x' * 200}" for i in range(150))
    assert told() == {"lr": 0.1, "layers": 12}
    assert told(details=False) is None
    assert told(event=replace(EVENT, description=long)) is None
    assert told(event=replace(EVENT, description="```json\n{")) is None, "nobody asked for it"
    assert told(event=replace(EVENT, description="")) is None


def test_without_a_gpu_question_no_gpu_is_held():
    own = full({}, gpu=None)["trainingWindow"]
    assert (own["pool"], own["gpus"], own["perPod"]) == (None, 0, 1)


def test_an_event_cannot_forge_our_key():
    forged = Event(
        key="k",
        series="s",
        original_start="",
        span=WINDOW,
        summary="x",
        description="trainingWindow=mine",
    )
    conf = cel("event.parameters")
    found = conf_for(
        conf,
        variables(conf, event=forged),
        identity=Identity(installation="i", ref=Ref("n", "m"), created=START),
        occurrence="k",
        entry="team",
        original_start="",
        window=WINDOW,
        gpu=None,
    )
    assert found["trainingWindow"]["installation"] == "i"


def test_instants_are_written_in_utc():
    assert (
        rfc3339(datetime(2026, 3, 29, 1, 0, 0, 250_000, tzinfo=UTC))
        == "2026-03-29T01:00:00.250000Z"
    )


# --- the DAG's params --------------------------------------------------------------------------


def param(value=None, **schema):
    return {"value": value, "schema": schema, "description": None}


@pytest.mark.parametrize(
    ("conf", "params", "sentence"),
    [
        ({"epochs": 3}, {"epochs": param(1, type="integer", minimum=1, maximum=10)}, None),
        (
            {"epochs": 99},
            {"epochs": param(1, type="integer", maximum=10)},
            "epochs must be at most 10",
        ),
        (
            {"epochs": 0},
            {"epochs": param(1, type="integer", minimum=1)},
            "epochs must be at least 1",
        ),
        ({"epochs": "3"}, {"epochs": param(1, type="integer")}, "epochs must be of type integer"),
        ({"lr": None}, {"lr": param(0.1, type="number")}, "lr must be of type number"),
        ({"lr": None}, {"lr": param(0.1, type=["number", "null"])}, None),
        ({}, {"lr": param(0.1, type="number")}, None),
        ({}, {"lr": param(None, type="number")}, "lr needs a value"),
        ({}, {"lr": param(None, type=["null", "number"])}, None),
        ({}, {"lr": param(None)}, None),
        ({}, {"lr": {"schema": {}}}, "lr needs a value"),
        ({"other": object()}, {}, None),
        ({"lr": 1}, {"lr": {"value": 2, "schema": None}}, None),
        ({"lr": 1}, {"lr": 2}, None),
        (
            {"model": "gpt"},
            {"model": param("a", type="string", enum=["a", "b"])},
            'model must be one of ["a", "b"]',
        ),
    ],
)
def test_what_airflow_would_refuse_is_known_before(conf, params, sentence):
    assert check_params(conf, params) == sentence


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        (2.0, {"type": "integer"}, None),
        (2.5, {"type": "integer"}, "must be of type integer"),
        (10**400, {"type": "integer"}, None),
        (True, {"type": "integer"}, "must be of type integer"),
        (True, {"type": "boolean"}, None),
        (1, {"type": "boolean"}, "must be of type boolean"),
        ("x", {"type": ["integer", "null"]}, "must be of type integer or null"),
        ([], {"type": "array"}, None),
        ({}, {"type": "object"}, None),
        (1, {"type": "future"}, None),
        (1, {"const": True}, "must be true"),
        (1, {"const": 1}, None),
        (True, {"enum": [1, 0]}, "must be one of [1, 0]"),
        (3, {"exclusiveMinimum": 3}, "must be above 3"),
        (3, {"exclusiveMaximum": 3}, "must be below 3"),
        ("x", {"minimum": 3}, None),
        (True, {"minimum": 3}, None),
        ("ab", {"minLength": 3}, "must have at least 3 characters"),
        ("abcd", {"maxLength": 3}, "must have at most 3 characters"),
        ([1], {"minItems": 2}, "must have at least 2 items"),
        ([1, 2], {"maxItems": 1}, "must have at most 1 items"),
        ("abc", {"pattern": "^x"}, None),
        (7, {"multipleOf": 4}, "must be a multiple of 4"),
        (8, {"multipleOf": 4}, None),
        (0.7, {"multipleOf": 0.1}, None),
        ({}, {"minProperties": 1}, "must have at least 1 names"),
        ({"a": 1, "b": 2}, {"maxProperties": 1}, "must have at most 1 names"),
        ("soon", {"format": "date-time"}, "must have the format date-time"),
        ("2026-11-23T03:00:00Z", {"format": "date-time"}, None),
        ("2026-02-30", {"format": "date"}, "must have the format date"),
        ("20260203", {"format": "date"}, "must have the format date"),
        ("2026-02-03", {"format": "date"}, None),
        ("x", {"format": "email"}, None),
        (3, {"format": "date"}, None),
        ({"lr": "fast"}, {"properties": {"lr": {"type": "number"}}}, "lr must be of type number"),
        ({}, {"properties": {"lr": {"type": "number"}}}, None),
        ({}, {"required": ["lr"]}, "needs lr"),
        ([], {"required": ["lr"]}, None),
        (
            {"lr": 1, "dragon": 2},
            {"properties": {"lr": {}, "model": {}}, "additionalProperties": False},
            "may only hold lr, model",
        ),
        ({"dragon": 2}, {"additionalProperties": False}, "may only hold nothing"),
        ({"dragon": 2}, {"additionalProperties": {"type": "string"}}, "* must be of type string"),
        ({"dragon": 2}, {"additionalProperties": False, "patternProperties": {"^d": {}}}, None),
        ([1, "x"], {"items": {"type": "integer"}}, "[1] must be of type integer"),
        ([1, "x"], {"items": {"type": "integer"}, "prefixItems": [{}, {}]}, None),
        (5, {"allOf": [{"minimum": 1}, {"maximum": 4}]}, "must be at most 4"),
        (5, {"anyOf": [{"maximum": 4}, {"minimum": 6}]}, "fits none of the forms that are allowed"),
        (5, {"anyOf": [{"maximum": 4}, {"pattern": "x"}]}, None),
        (5, {"oneOf": [{"maximum": 6}, {"minimum": 4}]}, None),
        (5, {"anyOf": [True, {"maximum": 4}]}, None),
        (5, {"$ref": "#/x", "maximum": 4}, None),
        ("a", {"enum": ["b" * 300]}, 'must be one of ["' + "b" * 117 + "…"),
    ],
)
def test_a_complaint_shows_the_bound_and_not_the_value(value, schema, expected):
    assert complaint(value, schema) == expected


def test_an_inner_value_is_named_by_its_place_and_no_name_of_the_value_is_told():
    schema = {
        "properties": {
            "steps": {"items": {"properties": {"lr": {"exclusiveMinimum": 0}}}},
            "tags": {"additionalProperties": {"maxLength": 3}},
        }
    }
    value = {"steps": [{"lr": 1}, {"lr": 0}]}
    assert complaint(value, schema, "hyper") == "hyper.steps[1].lr must be above 0"
    hidden = {"tags": {"secret launch": "dragon"}}
    assert complaint(hidden, schema, "hyper") == "hyper.tags.* must have at most 3 characters"


def test_the_subset_never_complains_where_the_whole_of_json_schema_does_not():
    scalars = (
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=4)
    )
    schemas = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(
                ["null", "boolean", "integer", "number", "string", "array", "object"]
            )
            | st.lists(
                st.sampled_from(["null", "integer", "string"]), min_size=1, max_size=2, unique=True
            ),
            "enum": st.lists(scalars, min_size=1, max_size=3),
            "const": scalars,
            "minimum": st.integers(-5, 5),
            "exclusiveMaximum": st.integers(-5, 5),
            "maxLength": st.integers(0, 4),
            "minItems": st.integers(0, 2),
        },
    )

    @settings(max_examples=60)
    @given(scalars | st.lists(scalars, max_size=3), schemas)
    def compare(value, schema):
        valid = not list(jsonschema.Draft202012Validator(schema).iter_errors(value))
        assert (complaint(value, schema) is None) is valid

    compare()
    names = st.sampled_from(["a", "b"])
    nested = st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(names, schemas, max_size=2),
            "additionalProperties": st.booleans() | schemas,
            "required": st.lists(names, max_size=2, unique=True),
            "items": schemas,
            "anyOf": st.lists(schemas, min_size=1, max_size=2),
            "allOf": st.lists(schemas, min_size=1, max_size=2),
            "multipleOf": st.integers(1, 3),
            "minProperties": st.integers(0, 2),
        },
    )

    @settings(max_examples=120)
    @given(st.dictionaries(names, scalars) | st.lists(scalars, max_size=3) | scalars, nested)
    def never_too_strict(value, schema):
        if complaint(value, schema) is not None:
            assert list(jsonschema.Draft202012Validator(schema).iter_errors(value))

    never_too_strict()


def test_a_conf_without_expressions_is_judged_when_it_is_written():
    with pytest.raises(BadConf, match="JSON knows no such number"):
        check_conf({"steps": [1, float("nan")]})
    with pytest.raises(BadConf, match="larger than 256 KiB"):
        check_conf({"text": "x" * 300_000})
    check_conf({"epochs": 3, "until": [{"deep": None}]})
