"""What Airflow 3.3.2 answers, field by field."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Param:
    """A DAG param: its value where the conf gives none, and its JSON schema."""

    value: Any = None
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Dag:
    """A DAG; all fields may be changed while the server runs."""

    dag_id: str
    paused: bool = False
    stale: bool = False
    import_errors: bool = False
    schedule: str | None = None
    params: Mapping[str, Param] = field(default_factory=dict)
    allowed_run_types: list[str] | None = None
    starts_after: timedelta | None = None
    runs_for: timedelta | None = None
    outcome: str = "success"
    broken_details: bool = False
    # Pool and slots by task.
    tasks: Mapping[str, tuple[str, int]] = field(
        default_factory=lambda: {"nothing": ("default_pool", 1)}
    )


@dataclass
class DagRun:
    """A run, in the order of `number` as in the database."""

    number: int
    dag_id: str
    run_id: str
    conf: Json
    note: str | None
    logical_date: str | None
    queued_at: datetime
    state: str = "queued"
    start_date: datetime | None = None
    end_date: datetime | None = None
    # When each of its tasks was at work; left out, all the time of the run.
    worked: Mapping[str, tuple[datetime | None, datetime | None]] | None = None


def time_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def base64_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def version_body(dag_id: str) -> Json:
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, dag_id)),
        "version_number": 1,
        "dag_id": dag_id,
        "bundle_name": "dags-folder",
        "bundle_version": None,
        "created_at": "2026-01-01T00:00:00Z",
        "dag_display_name": dag_id,
        "bundle_url": None,
    }


def run_body(run: DagRun) -> Json:
    took = (run.end_date - run.start_date) if run.end_date and run.start_date else None
    return {
        "dag_run_id": run.run_id,
        "dag_id": run.dag_id,
        "logical_date": run.logical_date,
        "queued_at": time_text(run.queued_at),
        "start_date": time_text(run.start_date),
        "end_date": time_text(run.end_date),
        "duration": None if took is None else took.total_seconds(),
        "data_interval_start": run.logical_date,
        "data_interval_end": run.logical_date,
        "run_after": time_text(run.queued_at),
        "last_scheduling_decision": None,
        "run_type": "manual",
        "state": run.state,
        "triggered_by": "rest_api",
        "triggering_user_name": "admin",
        "conf": run.conf,
        "note": run.note,
        "dag_versions": [version_body(run.dag_id)],
        "bundle_version": None,
        "dag_display_name": run.dag_id,
        "partition_key": None,
        "partition_date": None,
    }


def dag_body(dag: Dag, now: datetime) -> Json:
    described = "Never, external triggers only" if dag.schedule is None else dag.schedule
    periodic = dag.schedule not in {None, "Asset"}
    upcoming = time_text(now + timedelta(days=1)) if periodic else None
    return {
        "dag_id": dag.dag_id,
        "dag_display_name": dag.dag_id,
        "is_paused": dag.paused,
        "is_stale": dag.stale,
        "last_parsed_time": time_text(now),
        "last_parse_duration": None,
        "last_expired": None,
        "bundle_name": "dags-folder",
        "bundle_version": None,
        "relative_fileloc": "contract.py",
        "fileloc": "/dags/contract.py",
        "description": None,
        "timetable_summary": dag.schedule,
        "timetable_description": described,
        "timetable_partitioned": False,
        "timetable_periodic": periodic,
        "tags": [],
        "max_active_tasks": 16,
        "max_active_runs": 16,
        "max_consecutive_failed_dag_runs": 0,
        "has_task_concurrency_limits": False,
        "has_import_errors": dag.import_errors,
        "next_dagrun_logical_date": upcoming,
        "next_dagrun_data_interval_start": upcoming,
        "next_dagrun_data_interval_end": upcoming,
        "next_dagrun_run_after": upcoming,
        "allowed_run_types": dag.allowed_run_types,
        "owners": ["airflow"],
        "is_backfillable": periodic and dag.allowed_run_types is None,
        "file_token": "token",
    }


def details_body(dag: Dag, now: datetime, running: int) -> Json:
    params = {
        name: {
            "value": param.value,
            "schema": dict(param.schema),
            "description": None,
            "source": None,
        }
        for name, param in dag.params.items()
    }
    asset = {"uri": "slackwater://data", "name": "data", "group": "asset", "id": 1}
    return dag_body(dag, now) | {
        "catchup": False,
        "dag_run_timeout": None,
        "asset_expression": {"all": [{"asset": asset}]} if dag.schedule == "Asset" else None,
        "doc_md": None,
        "start_date": None,
        "end_date": None,
        "is_paused_upon_creation": dag.paused or None,
        "params": params,
        "render_template_as_native_obj": False,
        "template_search_path": None,
        "timezone": "UTC",
        "last_parsed": time_text(now),
        "default_args": {},
        "rerun_with_latest_version": None,
        "owner_links": {},
        "is_favorite": False,
        "active_runs_count": running,
        "concurrency": 16,
        "latest_dag_version": version_body(dag.dag_id),
    }


def health_body(scheduler: str, now: datetime) -> Json:
    beat = time_text(now) if scheduler == "healthy" else None
    return {
        "metadatabase": {"status": "healthy"},
        "scheduler": {"status": scheduler, "latest_scheduler_heartbeat": beat},
        "triggerer": {"status": None, "latest_triggerer_heartbeat": None},
        "dag_processor": {"status": None, "latest_dag_processor_heartbeat": None},
    }
