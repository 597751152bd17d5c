"""Run Airflow's components from one import: `python serve.py api-server,scheduler,...`.

Runs inside Airflow's own environment, configured by AIRFLOW__* variables. Importing Airflow
costs each process seconds of CPU, so it is imported once and forked per component. The single
component `api-only` instead serves the REST API in this process, with the DAGs parsed once and
nothing that would run them: triggered runs stay queued until somebody changes their state.

SIGTERM ends every component.
"""

import importlib
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

COMMANDS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
# What each component imports anyway; done before the fork, its pages are shared.
MODULES = {
    "api-server": [
        "airflow.api_fastapi.main",
        "airflow.api_fastapi.core_api.app",
        "airflow.api_fastapi.execution_api.app",
        "airflow.cli.commands.api_server_command",
    ],
    "scheduler": [
        "airflow.jobs.scheduler_job_runner",
        "airflow.executors.local_executor",
        "airflow.cli.commands.scheduler_command",
    ],
    "dag-processor": [
        "airflow.dag_processing.manager",
        "airflow.cli.commands.dag_processor_command",
    ],
    "triggerer": ["airflow.jobs.triggerer_job_runner", "airflow.cli.commands.triggerer_command"],
}
STARTED = time.monotonic()


def load(name: str) -> Any:
    """Import by name: this file is read by tools that do not have Airflow."""
    return importlib.import_module(name)


def say(message: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.1f} s] {message}", flush=True)


def create_tables() -> None:
    settings = load("airflow.settings")
    if not load("sqlalchemy").inspect(settings.engine).has_table("dag"):
        load("airflow.utils.db").initdb()
        create_fab_users(json.loads(os.environ.get("TESTBED_FAB_USERS", "{}")))
    say("database ready")


def create_fab_users(roles: dict[str, str]) -> None:
    """Users by role, each with its name as password."""
    if not roles:
        return
    utils = load("airflow.providers.fab.auth_manager.cli_commands.utils")
    with utils.get_application_builder() as builder:
        builder.sm.sync_roles()
        for name, role in roles.items():
            mail = f"{name}@example.com"
            builder.sm.add_user(name, name, name, mail, builder.sm.find_role(role), name)


def serve_api_only() -> None:
    manager = load("airflow.dag_processing.bundles.manager").DagBundlesManager()
    dagbag = load("airflow.dag_processing.dagbag")
    manager.sync_bundles_to_db()
    for bundle in manager.get_all_dag_bundles():
        bundle.initialize()
        bag = dagbag.BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        dagbag.sync_bag_to_db(bag, bundle.name, bundle_version=bundle.get_current_version())
        say(f"DAGs {sorted(bag.dags)}, broken files {sorted(bag.import_errors)}")
    load("uvicorn").run(
        load("airflow.api_fastapi.app").create_app(apps="core"),
        host="127.0.0.1",
        port=int(os.environ["AIRFLOW__API__PORT"]),
        log_level="warning",
        access_log=False,
    )


def run_component(name: str) -> None:
    """In a forked child: behave as `airflow <component>` with a log file of its own."""
    settings = load("airflow.settings")
    path = Path(os.environ["AIRFLOW_HOME"], f"{name}.log")
    log = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    settings.configure_vars()
    settings.configure_orm()  # connections must not be shared across the fork
    sys.argv = ["airflow", *COMMANDS[name]]
    status = 0
    try:
        load("airflow.__main__").main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    os._exit(status)


def serve(components: list[str]) -> int:
    for component in components:
        for module in MODULES[component]:
            load(module)
    say("imported")
    create_tables()
    load("airflow.settings").dispose_orm()
    children = {}
    for component in components:
        pid = os.fork()
        if pid == 0:
            run_component(component)
        children[pid] = component
    ids = {component: pid for pid, component in children.items()}
    Path(os.environ["AIRFLOW_HOME"], "components.json").write_text(json.dumps(ids))
    say(f"forked {children}")

    def stop(_signal: int, _frame: FrameType | None) -> None:
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while children:
        pid, status = os.wait()
        say(f"{children.pop(pid, pid)} ended with {os.waitstatus_to_exitcode(status)}")
    return 0


def main() -> int:
    warnings.filterwarnings("ignore")
    components = sys.argv[1].split(",")
    if components == ["api-only"]:
        create_tables()
        serve_api_only()
        return 0
    return serve(components)


if __name__ == "__main__":
    sys.exit(main())
