"""The fake Airflow and the real one, asked the same things: same statuses, same bodies.

The real one is Airflow 3.3 with its REST API only, on SQLite: its runs stay queued unless a test
moves them.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from tests.airflow.contract_targets import PREFIX, Real, Target, faked

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]


def shape(value: Any) -> Any:
    """A JSON value with its scalars replaced by their types."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


def told(status: int, body: Any) -> Any:
    """What must be equal: of a refusal each word but its log id, of a success its shape."""
    if status < 400:
        return shape(body)
    return json.loads(re.sub(r"look for ID \w+", "look for ID x", json.dumps(body)))


R = "/api/v2/dags/{}/dagRuns"
INSTANCES = "/api/v2/dags/~/dagRuns/~/taskInstances/list"


def body(run_id: str | None = "r1", **more: Any) -> dict[str, Any]:
    return {"dag_run_id": run_id, "logical_date": None, **more}


# name, method, path, body, and as whom (None: nobody; else a user's name).
Step = tuple[str, str, str, Any, str | None]
LISTED = "/api/v2/dags/~/dagRuns?run_id_prefix_pattern=slackwater.contract.&state=queued&limit=2"
SCENARIO: list[Step] = [
    ("version", "GET", "/api/v2/version", None, None),
    ("health", "GET", "/api/v2/monitor/health", None, None),
    ("Airflow 2's path", "GET", "/api/v1/version", None, None),
    ("no such route", "GET", "/api/v2/nothing", None, "admin"),
    ("login", "POST", "/auth/token", {"username": "user", "password": "user"}, None),
    ("wrong password", "POST", "/auth/token", {"username": "user", "password": "x"}, None),
    ("wrong user", "POST", "/auth/token", {"username": "x", "password": "x"}, None),
    ("empty password", "POST", "/auth/token", {"username": "user", "password": ""}, None),
    ("nobody", "GET", "/api/v2/dags/plain", None, None),
    ("dag", "GET", "/api/v2/dags/plain", None, "viewer"),
    *[
        (f"details of {dag}", "GET", f"/api/v2/dags/{dag}/details", None, "admin")
        for dag in ("plain", "paused", "daily", "by_asset", "no_manual", "params", "nowhere")
    ],
    ("no dag", "GET", "/api/v2/dags/nowhere", None, "admin"),
    ("pools", "GET", "/api/v2/pools", None, "viewer"),
    ("tasks", "GET", "/api/v2/dags/plain/tasks", None, "viewer"),
    ("tasks of no dag", "GET", "/api/v2/dags/nowhere/tasks", None, "viewer"),
    ("trigger", "POST", R.format("plain"), body(conf={"a": {"b": None}}, note="n"), "user"),
    ("again", "POST", R.format("plain"), body(conf={}), "user"),
    (
        "dated",
        "POST",
        R.format("plain"),
        body("d1") | {"logical_date": "2026-01-01T00:00:00Z"},
        "user",
    ),
    (
        "date again",
        "POST",
        R.format("plain"),
        body("d2") | {"logical_date": "2026-01-01T00:00:00Z"},
        "user",
    ),
    ("without date", "POST", R.format("plain"), {"dag_run_id": "r2", "conf": {}}, "user"),
    ("unknown field", "POST", R.format("plain"), body("r2", zzz=1), "user"),
    ("conf is a list", "POST", R.format("plain"), body("r2", conf=[1]), "user"),
    ("no strings", "POST", R.format("plain"), body(3, note=4), "user"),  # type: ignore[arg-type]
    ("not an object", "POST", R.format("plain"), [1], "user"),
    ("bad date", "POST", R.format("plain"), body("r2") | {"logical_date": "nope"}, "user"),
    ("bad id", "POST", R.format("plain"), body("bad id"), "user"),
    ("two dots", "POST", R.format("plain"), body("a..b"), "user"),
    ("reserved id", "POST", R.format("plain"), body("scheduled__x"), "user"),
    ("trigger no dag", "POST", R.format("nowhere"), body(), "user"),
    ("trigger paused", "POST", R.format("paused"), body(), "user"),
    ("trigger no manual", "POST", R.format("no_manual"), body(), "user"),
    ("trigger as viewer", "POST", R.format("plain"), body("v"), "viewer"),
    *[
        (f"params {conf}", "POST", R.format("params"), body(f"p{number}", conf=conf), "user")
        for number, conf in enumerate(
            [
                {"epochs": 99},
                {"epochs": 0},
                {"epochs": "many"},
                {"rate": 1},
                {"rate": 0},
                {"team": "z"},
                {"team": None},
                {"label": "ABC"},
                {"label": "a"},
                {"label": "abcdef"},
                {"when": None},
                {"unknown": 1, "epochs": 4},
            ]
        )
    ],
    ("run", "GET", f"{R.format('plain')}/r1", None, "viewer"),
    *[
        (f"task instances {name}", "POST", INSTANCES, sent, "viewer")
        for name, sent in (
            ("of a run", {"dag_ids": ["plain"], "dag_run_ids": ["r1"], "order_by": "id"}),
            ("that succeeded", {"dag_ids": ["plain"], "state": ["success"]}),
            ("of no run", {"dag_ids": ["plain"], "dag_run_ids": ["nope"]}),
            ("behind the last", {"dag_run_ids": ["r1"], "page_limit": 100, "page_offset": 1}),
            ("by an unknown field", {"zzz": 1}),
        )
    ],
    (
        "ended runs",
        "GET",
        f"{R.format('plain')}?state=success&order_by=-end_date&end_date_gte=2026-01-01T00:00:00Z",
        None,
        "viewer",
    ),
    ("no run", "GET", f"{R.format('plain')}/nope", None, "viewer"),
    ("no run of no dag", "GET", f"{R.format('nowhere')}/nope", None, "viewer"),
    ("patch no run", "PATCH", f"{R.format('plain')}/nope", {"state": "failed"}, "user"),
    ("patch as viewer", "PATCH", f"{R.format('plain')}/r1", {"state": "failed"}, "viewer"),
    ("patch to running", "PATCH", f"{R.format('plain')}/r1", {"state": "running"}, "user"),
    ("patch a time", "PATCH", f"{R.format('plain')}/r1", {"run_after": "2027-01-01"}, "user"),
    ("begin", "begin", "plain", "r1", None),
    ("a running run", "GET", f"{R.format('plain')}/r1", None, "user"),
    ("delete it", "DELETE", f"{R.format('plain')}/r1", None, "user"),
    ("patch", "PATCH", f"{R.format('plain')}/r1", {"state": "failed"}, "user"),
    ("delete as viewer", "DELETE", f"{R.format('plain')}/r1", None, "viewer"),
    ("delete an ended run", "DELETE", f"{R.format('plain')}/r1", None, "user"),
    ("delete again", "DELETE", f"{R.format('plain')}/r1", None, "user"),
    *[
        (f"run {number}", "POST", R.format("plain"), body(f"{PREFIX}{number}"), "user")
        for number in range(5)
    ],
    ("first page", "GET", LISTED, None, "viewer"),
    ("next page", "GET", f"{LISTED}&offset=2", None, "viewer"),
    ("first cursor", "GET", f"{LISTED}&order_by=id&cursor=", None, "viewer"),
    ("bad cursor", "GET", f"{LISTED}&cursor=rubbish", None, "viewer"),
    ("bad state", "GET", f"{LISTED}&state=zzz", None, "viewer"),
    ("bad order", "GET", f"{LISTED}&order_by=zzz", None, "viewer"),
    ("unknown filter", "GET", f"{LISTED}&zzz=1", None, "viewer"),
    ("a page of a thousand", "GET", LISTED.replace("=2", "=1000"), None, "viewer"),
    ("a page of none", "GET", LISTED.replace("=2", "=0"), None, "viewer"),
    ("runs of no dag", "GET", f"{R.format('nowhere')}?limit=1", None, "viewer"),
    ("import errors", "mark", "plain", (False, True), None),
    ("details with import errors", "GET", "/api/v2/dags/plain/details", None, "user"),
    ("trigger with import errors", "POST", R.format("plain"), body("b1"), "user"),
    ("stale", "mark", "plain", (True, True), None),
    ("details when stale", "GET", "/api/v2/dags/plain/details", None, "user"),
    ("trigger when stale", "POST", R.format("plain"), body("b1"), "user"),
    ("runs when stale", "GET", f"{R.format('plain')}/d1", None, "user"),
]


async def ask(
    session: aiohttp.ClientSession, target: Target, method: str, path: str, sent: Any, token: str
) -> tuple[int, Any]:
    headers = {"Authorization": token} if token else {}
    async with session.request(method, target.url + path, json=sent, headers=headers) as reply:
        text = await reply.text()
        return reply.status, json.loads(text) if text else None


async def play(target: Target) -> dict[str, Any]:
    """Answer by step: status, and what of the body must be equal."""
    found: dict[str, Any] = {}
    tokens: dict[str | None, str] = {None: ""}
    async with aiohttp.ClientSession() as session:
        for user in ("admin", "user", "viewer"):
            sent = {"username": user, "password": user}
            _, made = await ask(session, target, "POST", "/auth/token", sent, "")
            tokens[user] = f"Bearer {made['access_token']}"
        for name, method, path, sent, user in SCENARIO:
            assert name not in found
            if method == "begin":
                target.begin(path, sent)
            elif method == "mark":
                target.mark(path, stale=sent[0], import_errors=sent[1])
            else:
                status, got = await ask(session, target, method, path, sent, tokens[user])
                found[name] = status, told(status, got), _said(got)
        for name, good, life in (
            ("expired", True, timedelta(hours=-1)),
            ("forged", False, timedelta(hours=1)),
            ("resigned", True, timedelta(hours=1)),
        ):
            token = f"Bearer {target.sign(good_secret=good, life=life)}"
            status, got = await ask(session, target, "GET", "/api/v2/dags/plain", None, token)
            found[f"token {name}"] = status, told(status, got)
        for name, token in (("not a token", "Bearer abc"), ("basic", "Basic dTp1")):
            status, got = await ask(session, target, "GET", "/api/v2/dags/plain", None, token)
            found[name] = status, told(status, got)
    return found


def _said(got: Any) -> Any:
    """The values that the adapter acts on."""
    if not isinstance(got, dict):
        return None
    keys = (
        "dag_id",
        "dag_run_id",
        "state",
        "conf",
        "note",
        "logical_date",
        "is_paused",
        "is_stale",
        "has_import_errors",
        "timetable_summary",
        "allowed_run_types",
        "params",
        "total_entries",
        "total_entries_limit",
        "scheduler",
    )
    said = {key: got[key] for key in keys if key in got}
    if isinstance(got.get("dag_runs"), list):
        said["ids"] = [run["dag_run_id"] for run in got["dag_runs"]]
    return said


def unlike(where: str, one: Any, other: Any) -> list[str]:
    """Where two values differ, leaf by leaf."""
    if isinstance(one, dict) and isinstance(other, dict):
        inner = [(f"{where} {key}", one.get(key), other.get(key)) for key in {**one, **other}]
    elif (
        isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other)
    ):
        inner = [(f"{where} {n}", *pair) for n, pair in enumerate(zip(one, other, strict=True))]
    else:
        return [] if one == other else [f"{where}: {one!r}, {other!r}"]
    return [line for step in inner for line in unlike(*step)]


async def test_both_servers_give_the_same_answers(real: Real) -> None:
    asked = await play(real)
    async with faked() as fake:
        answered = await play(fake)
    assert asked.keys() == answered.keys()
    different = [line for name in asked for line in unlike(name, asked[name], answered[name])]
    assert not different, "\n".join(["where: real, fake", *different])
    assert len(asked) > 80
