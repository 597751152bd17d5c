"""Prometheus with scrape targets and rules, for queries against really scraped series."""

from __future__ import annotations

import functools
import json
import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from testbed import cache, debian, gobuild, web
from testbed.process import Server, wait_until

MODULE = Path(__file__).parent
_GO_MODULE = "github.com/prometheus/prometheus"


class NotAvailable(RuntimeError):
    """No Prometheus of the wanted major version can be had here."""


@dataclass(frozen=True)
class Binaries:
    prometheus: Path
    promtool: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]


@functools.cache
def find(version: str | None = None) -> Binaries:
    """Prometheus and promtool: on PATH, else Debian's package unpacked, else built by Go.

    `version` is the major version wanted ("2" or "3"). The two differ in PromQL (left-open
    ranges since 3), so rule tests run on both; without a wish the first one found will do.
    Raises NotAvailable.
    """
    problems = []
    for source in (_on_path, _from_debian, _from_go):
        try:
            found = source(version)
        except (cache.BuildError, OSError) as error:
            problems.append(f"{source.__name__.strip('_')}: {error}")
            continue
        if found is not None:
            return found
    wish = f"Prometheus {version}" if version else "Prometheus"
    raise NotAvailable("\n".join([f"{wish} is neither installed nor to be had:", *problems]))


def _on_path(version: str | None) -> Binaries | None:
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if not prometheus or not promtool:
        return None
    return _matching(Path(prometheus), Path(promtool), version)


def _from_debian(version: str | None) -> Binaries | None:
    # Keyed by the release, not by the package's version: a warm start asks no network.
    key = cache.digest("prometheus", debian.release())
    tree = cache.present("prometheus-deb", key)
    if tree is None:
        offered = debian.candidate("prometheus") if debian.available() else None
        if offered is None or (version and offered.partition(".")[0] != version):
            return None
        tree = cache.ensure("prometheus-deb", key, lambda d: debian.unpack(["prometheus"], d))
    return _matching(tree / "usr/bin/prometheus", tree / "usr/bin/promtool", version)


def _from_go(version: str | None) -> Binaries | None:
    # v0.316.0 of the module is release 3.16.0.
    _, minor, patch = gobuild.require(MODULE / "go.mod", _GO_MODULE).split(".")
    release = f"3.{int(minor) - 300}.{patch}"
    if version not in (None, "3"):
        return None
    directory = gobuild.build(
        "prometheus-go",
        MODULE,
        {name: f"{_GO_MODULE}/cmd/{name}" for name in ("prometheus", "promtool")},
        variables={"github.com/prometheus/common/version.Version": release},
        tags=["remove_all_sd"],
    )
    return _matching(directory / "prometheus", directory / "promtool", version)


def _matching(prometheus: Path, promtool: Path, version: str | None) -> Binaries | None:
    shown = subprocess.run([prometheus, "--version"], capture_output=True, text=True, check=True)
    words = (shown.stdout or shown.stderr).split()
    found = Binaries(prometheus, promtool, words[words.index("version") + 1].partition("+")[0])
    return found if version in (None, found.major) else None


class Prometheus(Server):
    """A Prometheus that scrapes `targets` (host:port, or with a path: host:port/path).

    `rules` are rule files; `labels` are put on every target. `honor_labels` as an operator's
    ServiceMonitor would set it. Change `targets` or `rules` and call `reload()`.
    """

    name = "prometheus"

    def __init__(
        self,
        targets: Sequence[str] = (),
        *,
        home: Path | None = None,
        port: int | None = None,
        interval: str = "1s",
        rules: Sequence[Path] = (),
        labels: Mapping[str, str] | None = None,
        honor_labels: bool = False,
        retention: str = "90d",
        version: str | None = None,
    ) -> None:
        self.binaries = find(version)
        super().__init__(home, port)
        self.targets = list(targets)
        self.interval = interval
        self.rules = list(rules)
        self.labels = dict(labels or {})
        self.honor_labels = honor_labels
        self.retention = retention

    @property
    def promtool(self) -> Path:
        return self.binaries.promtool

    def command(self) -> Sequence[str | Path]:
        return [
            self.binaries.prometheus,
            f"--config.file={self.home / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.home / 'data'}",
            f"--storage.tsdb.retention.time={self.retention}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            # Undocumented; by default the first scrape comes five seconds after the start.
            "--scrape.discovery-reload-interval=100ms",
            "--log.level=warn",
        ]

    def prepare(self) -> None:
        """Write the configuration (as JSON, which is YAML)."""
        # One job for all: Prometheus ends the series of a target that leaves its job, not
        # those of a job that is gone.
        groups = []
        for target in self.targets:
            scheme, separator, rest = target.rpartition("://")
            host, _, path = rest.partition("/")
            own = {
                "instance": target,
                "__scheme__": scheme if separator else "http",
                "__metrics_path__": f"/{path or 'metrics'}",
            }
            groups.append({"targets": [host], "labels": {**own, **self.labels}})
        config = {
            "global": {
                "scrape_interval": self.interval,
                "scrape_timeout": self.interval,
                "evaluation_interval": self.interval,
            },
            "rule_files": [str(rule.absolute()) for rule in self.rules],
            "scrape_configs": [
                {
                    "job_name": "testbed",
                    "honor_labels": self.honor_labels,
                    "static_configs": groups,
                }
            ],
        }
        (self.home / "prometheus.yml").write_text(json.dumps(config, indent=1))

    def ready(self) -> bool:
        return web.answers(f"{self.url}/-/ready")

    def reload(self) -> Self:
        """Make a running server read its configuration and rules again."""
        self.prepare()
        web.call("POST", f"{self.url}/-/reload", timeout=30).checked()
        return self

    def api(self, path: str, **parameters: str | float) -> Any:
        """`data` of a call to /api/v1/`path`; an error answer raises."""
        form = urlencode({key: str(value) for key, value in parameters.items()})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = web.call("POST", f"{self.url}/api/v1/{path}", form, headers=headers, timeout=30)
        return answer.checked().json()["data"]

    def query(self, expression: str, **parameters: str | float) -> list[dict[str, Any]]:
        """The result rows of an instant query."""
        result: list[dict[str, Any]] = self.api("query", query=expression, **parameters)["result"]
        return result

    def value(self, expression: str) -> float | None:
        """The value of a query with one row; None if it has no row."""
        rows = self.query(expression)
        if len(rows) > 1:
            raise ValueError(f"{len(rows)} series where one is meant: {expression}")
        return float(rows[0]["value"][1]) if rows else None

    def wait_for(self, expression: str, value: float | None = None, timeout: float = 30) -> None:
        """Wait until the query has a row, or has this value (None waits for any row)."""

        def holds() -> bool:
            rows = self.query(expression)
            if value is None:
                return bool(rows)
            return len(rows) == 1 and math.isclose(float(rows[0]["value"][1]), value, abs_tol=1e-9)

        wait_until(holds, f"{expression} = {'any' if value is None else value}", timeout, poll=0.2)
