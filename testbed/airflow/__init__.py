"""A real Airflow in its own environment: the whole of it, or only its REST API."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from testbed import cache, pythons, web
from testbed.process import Server, wait_until

HERE = Path(__file__).parent
# One environment for each: by auth manager and version.
LOCKS = {
    ("simple", "3.3"): HERE / "requirements.txt",
    ("simple", "3.2"): HERE / "requirements-3.2.txt",
    ("fab", "3.3"): HERE / "requirements-fab.txt",
    ("keycloak", "3.3"): HERE / "requirements-keycloak.txt",
}
SAMPLE_DAGS = HERE / "dags"

API_ONLY = ("api-only",)
WITHOUT_TRIGGERER = ("api-server", "scheduler", "dag-processor")
EVERYTHING = (*WITHOUT_TRIGGERER, "triggerer")

# Each user's password is the user's name.
USERS = {"admin": "admin", "op": "op", "user": "user", "viewer": "viewer"}

_HEALTH = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}

# Loops made quick: the defaults suit a cluster, and would make each test wait for seconds.
_QUICK = {
    "scheduler.scheduler_heartbeat_sec": "1",
    "scheduler.scheduler_idle_sleep_time": "0.2",
    "scheduler.enable_health_check": "False",
    "dag_processor.refresh_interval": "5",
    "dag_processor.bundle_refresh_check_interval": "2",
    "dag_processor.min_file_process_interval": "5",
    "dag_processor.parsing_processes": "1",
    "dag_processor.stale_dag_threshold": "30",
    "workers.min_heartbeat_interval": "1",
}


# Roles of the simple auth manager, as FAB's auth manager calls them.
_FAB_ROLES = {"admin": "Admin", "op": "Op", "user": "User", "viewer": "Viewer"}
_MANAGERS = {
    "fab": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    "keycloak": "airflow.providers.keycloak.auth_manager.keycloak_auth_manager.KeycloakAuthManager",
}


def find(auth: str = "simple", version: str = "3.3") -> Path:
    """The Python of the environment that has Airflow of this version, with this auth manager."""
    name = "airflow" if auth == "simple" else f"airflow-{auth}"
    return pythons.environment(name, LOCKS[auth, version])


class Airflow(Server):
    """One Airflow.

    `components`: API_ONLY, WITHOUT_TRIGGERER or EVERYTHING (deferrable tasks need it).
    `database`: "sqlite" or a PostgreSQL URL. SQLite answers concurrent writes with 500, so
    whoever writes in parallel needs PostgreSQL.
    `users`: name → role; the password is the name.
    `auth`: "simple"; "fab" for the auth manager of Flask AppBuilder, "keycloak" for Keycloak's,
    whose server the settings name (both SQLite only).
    `settings`: more of Airflow's options, as {"section.key": value}.
    `variables`: of its environment, besides its own.
    `extra_packages`: requirements or project directories, installed without their
    dependencies beside Airflow (plugins found by entry point); `pythonpath`: directories.
    `dags`: names that must have been parsed before it counts as ready.
    `version`: of Airflow, one of those that a lock file is there for.
    """

    name = "airflow"
    start_timeout = 240.0
    poll = 0.25  # its start is all computing, which a probe delays
    stop_grace = 5.0  # with a task running it would wait for that task

    def __init__(
        self,
        dags_folder: Path = SAMPLE_DAGS,
        *,
        home: Path | None = None,
        port: int | None = None,
        components: Sequence[str] = WITHOUT_TRIGGERER,
        database: str = "sqlite",
        users: Mapping[str, str] = USERS,
        auth: str = "simple",
        settings: Mapping[str, str] | None = None,
        extra_packages: Sequence[str | Path] = (),
        pythonpath: Sequence[Path] = (),
        dags: Collection[str] = (),
        version: str = "3.3",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.python = find(auth, version)
        self.auth = auth
        super().__init__(home, port)
        self.home = self.home.absolute()
        self.dags_folder = dags_folder.absolute()
        self.components = tuple(components)
        self.database = (
            f"sqlite:///{self.home / 'airflow.db'}" if database == "sqlite" else database
        )
        self.users = dict(users)
        self.settings = dict(settings or {})
        self.variables = dict(variables or {})
        self.extra_packages = list(extra_packages)
        self.pythonpath = [path.absolute() for path in pythonpath]
        self.expected_dags = set(dags)
        self._tokens: dict[str, str] = {}
        self._warm = False

    # Starting.

    def prepare(self) -> None:
        self._tokens.clear()
        self._warm = False
        passwords = {name: name for name in self.users}
        (self.home / "passwords.json").write_text(json.dumps(passwords))
        (self.home / "plugins").mkdir(exist_ok=True)
        extra = self.home / "extra"
        if self.extra_packages and not extra.exists():
            cache.execute(
                "airflow: extra packages",
                [pythons.uv(), "pip", "install", "-q", "--no-deps", "--python", self.python,
                 "--target", extra, *self.extra_packages],
            )  # fmt: skip

    def command(self) -> Sequence[str | Path]:
        # -P: neither this folder nor the working directory may shadow Airflow's modules.
        return [self.python, "-P", HERE / "serve.py", ",".join(self.components)]

    def environment(self) -> Mapping[str, str]:
        # Predictable, so that a restart on the same home accepts the tokens of before.
        secret = hashlib.sha512(str(self.home).encode()).hexdigest()
        options = {
            "core.load_examples": "False",
            "core.dags_folder": str(self.dags_folder),
            "core.plugins_folder": str(self.home / "plugins"),
            "core.executor": "LocalExecutor",
            "core.parallelism": "4",
            "core.dags_are_paused_at_creation": "False",
            "core.fernet_key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "core.min_serialized_dag_update_interval": "0",
            "core.execution_api_server_url": f"{self.url}/execution/",
            "core.simple_auth_manager_users": ",".join(f"{n}:{r}" for n, r in self.users.items()),
            "core.simple_auth_manager_passwords_file": str(self.home / "passwords.json"),
            "api.host": "127.0.0.1",
            "api.port": str(self.port),
            "api.base_url": self.url,
            "api.workers": "1",
            "api.secret_key": secret,
            "api_auth.jwt_secret": secret,
            "database.sql_alchemy_conn": self.database,
            "logging.base_log_folder": str(self.home / "logs"),
            "usage_data_collection.enabled": "False",
            **_QUICK,
            **self.settings,
        }
        if self.auth in _MANAGERS:
            options["core.auth_manager"] = _MANAGERS[self.auth]
        variables = {f"AIRFLOW__{k.upper().replace('.', '__')}": v for k, v in options.items()}
        path = [str(self.home / "extra"), *map(str, self.pythonpath)]
        return {
            **variables,
            **self._fab_users(),
            **self.variables,
            "AIRFLOW_HOME": str(self.home),
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join(path),
        }

    def _fab_users(self) -> dict[str, str]:
        """What serve.py makes users of, as FAB keeps them in its database."""
        if self.auth != "fab":
            return {}
        roles = {name: _FAB_ROLES[role] for name, role in self.users.items()}
        return {"TESTBED_FAB_USERS": json.dumps(roles)}

    def ready(self) -> bool:
        try:
            if not self._warm and self.components != API_ONLY:
                # The first request to the tasks' API compiles all its versions, and the server
                # answers nothing else meanwhile: better now than in the middle of a test.
                web.call("GET", f"{self.url}/execution/health", timeout=120).checked()
                self._warm = True
            health = web.call("GET", f"{self.url}/api/v2/monitor/health", timeout=5).json()
            for component in self.components:
                key = _HEALTH.get(component)
                if key and health[key]["status"] != "healthy":
                    return False
            return self.expected_dags <= self.dag_ids()
        except (OSError, ValueError, KeyError, RuntimeError):
            return False

    def tail(self, lines: int = 40) -> str:
        """The end of the log, and of each component's own."""
        parts = [super().tail(lines)]
        for log in sorted(self.home.glob("*.log")):
            if log != self.log_path:
                end = log.read_text(errors="replace").splitlines()[-lines:]
                parts.append("\n".join([f"--- {log.name}", *end]))
        return "\n".join(parts)

    def kill_component(self, component: str) -> None:
        """SIGKILL one of the components, such as the scheduler; the others go on."""
        os.kill(json.loads((self.home / "components.json").read_text())[component], signal.SIGKILL)

    # Using.

    def token(self, user: str = "admin") -> str:
        """A bearer token of `user`; the same one until the next start."""
        if user not in self._tokens:
            body = {"username": user, "password": user}
            answer = web.call("POST", f"{self.url}/auth/token", body, timeout=30).checked()
            self._tokens[user] = answer.json()["access_token"]
        return self._tokens[user]

    def call(self, method: str, path: str, body: Any = None, user: str = "admin") -> web.Answer:
        """One request to /api/v2`path`, whatever its answer."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        return web.call(method, f"{self.url}/api/v2{path}", body, headers=headers, timeout=30)

    def get(self, path: str, user: str = "admin") -> Any:
        """The JSON of a GET; an error answer raises."""
        return self.call("GET", path, user=user).checked().json()

    def dag_ids(self) -> set[str]:
        return {dag["dag_id"] for dag in self.get("/dags?limit=100")["dags"]}

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> Any:
        """Start a run as a person would; returns the run."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        return self.call("POST", f"/dags/{dag_id}/dagRuns", body).checked().json()

    def run(self, dag_id: str, run_id: str) -> Any:
        return self.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")

    def runs(self, dag_id: str = "~") -> list[Any]:
        """The newest 100 runs, of every DAG by default."""
        found: list[Any] = self.get(f"/dags/{dag_id}/dagRuns?order_by=-id&limit=100")["dag_runs"]
        return found

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        states: Collection[str] = ("success", "failed"),
        timeout: float = 60,
    ) -> Any:
        """Wait until the run is in one of `states`; returns the run."""
        wait_until(
            lambda: self.run(dag_id, run_id)["state"] in states,
            f"{dag_id} {run_id} in {'/'.join(states)}",
            timeout,
            poll=0.2,
        )
        return self.run(dag_id, run_id)

    def set_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Put a run into a state by hand, to play the scheduler that API_ONLY lacks.

        The API accepts no change to `running`, so that one goes straight into SQLite.
        """
        if state != "running":
            path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
            self.call("PATCH", path, {"state": state}).checked()
            return
        import sqlite3

        now = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime())
        with sqlite3.connect(self.home / "airflow.db", timeout=10) as database:
            database.execute(
                "UPDATE dag_run SET state = 'running', start_date = ?, updated_at = ?"
                " WHERE dag_id = ? AND run_id = ?",
                (now, now, dag_id, run_id),
            )
