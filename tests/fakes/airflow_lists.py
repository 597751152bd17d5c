"""Airflow 3.3.2's lists: runs by filter and page, pools, a DAG's tasks."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from multidict import MultiMapping

from tests.fakes.airflow_bodies import (
    Dag,
    DagRun,
    Json,
    base64_text,
    run_body,
    time_text,
    version_body,
)
from tests.fakes.airflow_rules import Refusal

STATES = ("queued", "running", "success", "failed")


def run_list(
    runs: Sequence[DagRun],
    query: MultiMapping[str],
    dag_id: str,
    release: tuple[int, int],
    page_limit: int,
) -> Json:
    """Runs of a DAG, or of all (`~`), as this release filters and pages them."""
    states = query.getall("state", [])
    if not set(states) <= set(STATES):
        raise Refusal(422, f"Invalid value for state. Valid values are {', '.join(STATES)}")
    if (order := query.get("order_by", "id")) not in {"id", "-end_date"}:
        raise Refusal(
            400,
            f"Ordering with '{order}' is disallowed or the attribute does not exist on the model",
        )
    since = datetime.fromisoformat(query.get("end_date_gte", "1970-01-01T00:00:00Z"))
    ended = "end_date_gte" in query
    prefixes = [""]
    if release >= (3, 2) and query.get("run_id_prefix_pattern", "~") != "~":
        given = query["run_id_prefix_pattern"].split("|")
        prefixes = [re.sub(r"[^A-Za-z0-9]+$", "", prefix) for prefix in given]
    found = [
        run
        for run in runs
        if dag_id in {"~", run.dag_id}
        and (not states or run.state in states)
        and run.run_id.startswith(tuple(prefixes))
        and (not ended or (run.end_date is not None and run.end_date >= since))
    ]
    if order == "-end_date":
        found.sort(key=lambda run: run.end_date or datetime.max.replace(tzinfo=UTC), reverse=True)
    limit = min(int(query.get("limit", "50")), page_limit)
    if release >= (3, 3) and "cursor" in query:
        try:
            return cursor_page(found, query["cursor"], limit)
        except ValueError:
            raise Refusal(400, "Invalid cursor token") from None
    skip = int(query.get("offset", "0"))
    body: Json = {"dag_runs": [run_body(r) for r in found[skip : skip + limit]]}
    body["total_entries"] = len(found)
    if release >= (3, 3):
        body |= {"total_entries_limit": None, "next_cursor": None, "previous_cursor": None}
    return body


def cursor_page(found: list[DagRun], cursor: str, limit: int) -> Json:
    """One page by keyset; ValueError for a cursor that is none."""
    after = int(base64.urlsafe_b64decode(cursor + "==")) if cursor else 0
    rest = [run for run in found if run.number > after]
    page = rest[:limit]
    more = len(rest) > limit and page
    return {
        "dag_runs": [run_body(run) for run in page],
        "total_entries": len(found),
        "total_entries_limit": 50000,
        "next_cursor": base64_text(str(page[-1].number).encode()) if more else None,
        "previous_cursor": base64_text(b"back") if after else None,
    }


def instance_list(
    dags: Mapping[str, Dag], runs: Sequence[DagRun], body: Json, page_limit: int
) -> Json:
    """The task instances of some runs, one for each task of the DAG."""
    found = [
        instance_body(
            run, task, pool, *(run.worked or {}).get(task, (run.start_date, run.end_date))
        )
        for run in runs
        if (not body.get("dag_ids") or run.dag_id in body["dag_ids"])
        and (not body.get("dag_run_ids") or run.run_id in body["dag_run_ids"])
        for task, (pool, _) in dags[run.dag_id].tasks.items()
    ]
    if body.get("state"):
        found = [one for one in found if one["state"] in body["state"]]
    skip, limit = body.get("page_offset") or 0, min(body.get("page_limit") or 100, page_limit)
    return {
        "task_instances": found[skip : skip + limit],
        "total_entries": len(found),
        "total_entries_limit": None,
        "next_cursor": None,
        "previous_cursor": None,
    }


def instance_body(
    run: DagRun, task: str, pool: str, start: datetime | None, end: datetime | None
) -> Json:
    ran = None if start is None or end is None else (end - start).total_seconds()
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{run.run_id} {task}")),
        "task_id": task,
        "dag_id": run.dag_id,
        "dag_run_id": run.run_id,
        "map_index": -1,
        "logical_date": run.logical_date,
        "run_after": time_text(run.queued_at),
        "start_date": time_text(start),
        "end_date": time_text(end),
        "duration": ran,
        "state": None if start is None else "running" if end is None else "success",
        "try_number": 0 if start is None else 1,
        "max_tries": 0,
        "task_display_name": task,
        "dag_display_name": run.dag_id,
        "hostname": "",
        "unixname": "root",
        "pool": pool,
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": 1,
        "operator": "_PythonDecoratedOperator",
        "operator_name": "@task",
        "queued_when": None,
        "scheduled_when": None,
        "pid": None,
        "executor": None,
        "executor_config": "{}",
        "note": None,
        "rendered_map_index": None,
        "rendered_fields": {},
        "trigger": None,
        "triggerer_job": None,
        "dag_version": version_body(run.dag_id),
    }


def pool_list(pools: Mapping[str, int], query: MultiMapping[str], page_limit: int) -> Json:
    """One page of the pools."""
    limit, skip = min(int(query.get("limit", "50")), page_limit), int(query.get("offset", "0"))
    found = [pool_body(name, slots) for name, slots in pools.items()]
    return {"pools": found[skip : skip + limit], "total_entries": len(found)}


def pool_body(name: str, slots: int) -> Json:
    return {
        "name": name,
        "slots": slots,
        "description": "Default pool" if name == "default_pool" else None,
        "include_deferred": False,
        "occupied_slots": 0,
        "running_slots": 0,
        "queued_slots": 0,
        "scheduled_slots": 0,
        "open_slots": slots,
        "deferred_slots": 0,
        "team_name": None,
    }


def task_list(dag: Dag) -> Json:
    """The tasks of a DAG."""
    found = [task_body(name, pool, slots) for name, (pool, slots) in dag.tasks.items()]
    return {"tasks": found, "total_entries": len(found)}


def task_body(name: str, pool: str, slots: int) -> Json:
    return {
        "task_id": name,
        "task_display_name": name,
        "owner": "airflow",
        "start_date": None,
        "end_date": None,
        "trigger_rule": "all_success",
        "depends_on_past": False,
        "wait_for_downstream": False,
        "retries": 0.0,
        "queue": "default",
        "pool": pool,
        "pool_slots": float(slots),
        "execution_timeout": None,
        "retry_delay": {"__type": "TimeDelta", "days": 0, "seconds": 300, "microseconds": 0},
        "retry_exponential_backoff": 0.0,
        "priority_weight": 1.0,
        "weight_rule": "downstream",
        "ui_color": "#ffefeb",
        "ui_fgcolor": "#000",
        "template_fields": ["templates_dict", "op_args", "op_kwargs"],
        "downstream_task_ids": [],
        "doc_md": "What its docstring says.",
        "operator_name": "@task",
        "params": {},
        "class_ref": {
            "module_path": "airflow.providers.standard.decorators.python",
            "class_name": "_PythonDecoratedOperator",
        },
        "is_mapped": False,
        "extra_links": [],
    }
