"""Each alert of the chart: when it fires, when it keeps quiet, and that its runbook is there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gpucluster.conftest import FILES

ALERTS: list[dict[str, Any]] = yaml.safe_load((FILES / "alerts.yaml").read_text())
RUNBOOK = Path(__file__).parents[2] / "docs" / "gpu" / "alerts.md"
ME = 'namespace="research",name="{}"'
HOURS = 60


@dataclass(frozen=True)
class Case:
    """Series by minute; `labels` are of the alert that fires at `fires` and not at `quiet`."""

    alert: str
    series: dict[str, str]
    fires: int
    quiet: tuple[int, ...]
    labels: dict[str, str] = field(default_factory=dict)
    summary: str = ""


def series(metric: str, name: str, **labels: str) -> str:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f"slackwater_{metric}{{{ME.format(name)}{more}}}"


def here(name: str, **labels: str) -> dict[str, str]:
    return {"namespace": "research", "name": name, **labels}


POOL_STALE = Case(
    "SlackwaterPoolStale",
    {
        # Its numbers are a minute old until minute 30, and then stand still.
        series("pool_promised_gpus", "h100"): "0x60",
        series("pool_sample_timestamp_seconds", "h100"): "0+60x30 1800x30",
        # Another is well.
        series("pool_promised_gpus", "a100"): "0x60",
        series("pool_sample_timestamp_seconds", "a100"): "0+60x60",
    },
    fires=50,
    quiet=(20, 40),
    labels=here("h100"),
    summary="GPU pool research/h100 has no fresh numbers.",
)
POOL_WITHOUT_NUMBERS = Case(
    "SlackwaterPoolStale",
    {
        series("pool_promised_gpus", "h100"): "0x60",
        series("pool_sample_timestamp_seconds", "h100"): "0+60x30 stale",
    },
    fires=42,
    quiet=(30, 39),
    labels=here("h100"),
    summary="GPU pool research/h100 has no fresh numbers.",
)
COVERAGE = Case(
    "SlackwaterPoolCoverage",
    {
        series("pool_coverage_ratio", "h100"): "1x10 0.5x30 1x10",
        series("pool_coverage_ratio", "a100"): "0.9x50",
    },
    fires=25,
    quiet=(10, 18, 45),
    labels=here("h100"),
    summary="Only 50% of the GPUs of research/h100 report.",
)
FIRST_MISS = Case(
    # The counter appears with its first miss, as counters of a client library do.
    "SlackwaterMissedWindow",
    {
        series("occurrences_total", "nightly", state="Missed", reason="WaitingForGPUs"): (
            "_x90 1x100"
        ),
        series("occurrences_total", "nightly", state="Missed", reason="EmptyWindow"): "_x90 1x100",
        series("occurrences_total", "nightly", state="Succeeded", reason="Succeeded"): (
            "0x90 1x100"
        ),
    },
    fires=92,
    quiet=(85, 155),
    labels=here("nightly", reason="WaitingForGPUs"),
    summary="A window of research/nightly passed without a run (WaitingForGPUs).",
)
NEXT_MISS = Case(
    "SlackwaterMissedWindow",
    {
        series("occurrences_total", "nightly", state="Missed", reason="NoData"): "3x90 4x100",
        series("occurrences_total", "nightly", state="Missed", reason="EmptyWindow"): "3x90 4x100",
    },
    fires=95,
    quiet=(85, 155),
    labels=here("nightly", reason="NoData"),
    summary="A window of research/nightly passed without a run (NoData).",
)
MISS_AFTER_A_RESTART = Case(
    "SlackwaterMissedWindow",
    {
        series("occurrences_total", "nightly", state="Missed", reason="NoData"): (
            "7x60 stale _x29 1x100"
        ),
    },
    fires=95,
    quiet=(61, 85, 155),
    labels=here("nightly", reason="NoData"),
    summary="A window of research/nightly passed without a run (NoData).",
)
CALENDAR_STALE = Case(
    "SlackwaterDependencySilent",
    {
        # Read every minute until minute 30; a reading counts for an hour.
        series("calendar_requests_total", "team"): "0+1x200",
        series("calendar_sync_timestamp_seconds", "team"): "0+60x30 1800x170",
        series("calendar_blocks_timestamp_seconds", "team"): "3600+60x30 5400x170",
        # A feed that is read every hour, and counts for six.
        series("calendar_requests_total", "feed"): "0+1x200",
        series("calendar_sync_timestamp_seconds", "feed"): "0x59 3600x60 7200x80",
        series("calendar_blocks_timestamp_seconds", "feed"): "21600x59 25200x60 28800x80",
    },
    fires=90,
    quiet=(30, 60, 80),
    labels=here("team", kind="Calendar"),
    summary="Calendar research/team cannot be read.",
)
CALENDAR_NEVER_READ = Case(
    "SlackwaterDependencySilent",
    {
        series("calendar_requests_total", "team"): "0+1x60",
        series("calendar_requests_total", "static"): "0x60",
        series("calendar_sync_timestamp_seconds", "static"): "0x60",
    },
    fires=12,
    quiet=(5,),
    labels=here("team", kind="Calendar"),
    summary="Calendar research/team cannot be read.",
)
AIRFLOW_SILENT = Case(
    "SlackwaterDependencySilent",
    {
        series("airflow_up", "default"): "1x10 0x40 1x10",
        series("airflow_up", "other"): "1x60",
    },
    fires=25,
    quiet=(10, 18, 55),
    labels=here("default", kind="AirflowInstance"),
    summary="Airflow research/default does not answer.",
)
NO_LEADER = Case(
    "SlackwaterNoLeader",
    {
        'slackwater_leader{pod="a"}': "1x20 0x40",
        'slackwater_leader{pod="b"}': "0x40 1x20",
    },
    fires=30,
    quiet=(20, 23, 45),
    summary="No Slackwater acts.",
)
NO_OPERATOR = Case(
    "SlackwaterNoLeader",
    {'slackwater_leader{pod="a"}': "1x20 stale"},
    fires=30,
    quiet=(20, 23),
    summary="No Slackwater acts.",
)
START_DELAY = Case(
    "SlackwaterStartDelay",
    {
        # Four starts between the 1st and the 4th hour, each half an hour to two hours late.
        'slackwater_start_delay_seconds_bucket{le="1800"}': "0x600",
        'slackwater_start_delay_seconds_bucket{le="3600"}': "0x59 1x59 2x59 3x59 4x400",
        'slackwater_start_delay_seconds_bucket{le="+Inf"}': "0x59 1x59 2x59 3x59 4x400",
        "slackwater_start_delay_seconds_count": "0x59 1x59 2x59 3x59 4x400",
    },
    fires=5 * HOURS,
    quiet=(1 * HOURS, 2 * HOURS, 12 * HOURS),
    summary="One start in ten comes more than 57m 0s after its window opened.",
)
CASES = {
    name.lower().replace("_", " "): value
    for name, value in globals().items()
    if isinstance(value, Case)
}


@pytest.mark.server
@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_only_then(promtool, name: str) -> None:
    case = CASES[name]
    (rule,) = (
        one
        for one in ALERTS
        if one["alert"] == case.alert and one["labels"].get("kind") == case.labels.get("kind")
    )
    annotations = rule["annotations"] | {"summary": case.summary}
    for label, value in case.labels.items():
        text = annotations["description"].replace(f"{{{{ $labels.{label} }}}}", value)
        annotations["description"] = text
    firing = {"exp_labels": rule["labels"] | case.labels, "exp_annotations": annotations}
    promtool(
        "alerts.yaml",
        [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in case.series.items()],
                "alert_rule_test": [
                    {
                        "alertname": case.alert,
                        "eval_time": f"{minute}m",
                        "exp_alerts": [firing] if minute == case.fires else [],
                    }
                    for minute in (*case.quiet, case.fires)
                ],
            }
        ],
    )


def test_every_alert_has_a_case() -> None:
    assert {(one["alert"], one["labels"].get("kind")) for one in ALERTS} == {
        (case.alert, case.labels.get("kind")) for case in CASES.values()
    }


def test_every_alert_has_a_runbook_where_it_says() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line.removeprefix("## ")).lower().replace(" ", "-")
        for line in RUNBOOK.read_text().splitlines()
        if line.startswith("## ")
    }
    for alert in ALERTS:
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert page.endswith("docs/gpu/alerts.md")
        assert anchor == alert["alert"].lower()
        assert anchor in headings
