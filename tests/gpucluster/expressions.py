"""What the chart's dashboard and alerts ask of Prometheus."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.gpucluster.conftest import FILES

DASHBOARD: dict[str, Any] = json.loads((FILES / "dashboard.json").read_text())


def panel_expressions() -> dict[str, str]:
    """PromQL by panel, as Grafana sends it when everything is chosen."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$namespace", ".*")
        .replace("$pool", ".*")
        .replace("$__rate_interval", "1m")
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    }


def alert_expressions() -> dict[str, str]:
    """PromQL by alert."""
    rules = yaml.safe_load((FILES / "alerts.yaml").read_text())
    return {f"{one['alert']} {one['labels'].get('kind', '')}": one["expr"] for one in rules}
