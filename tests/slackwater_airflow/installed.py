"""The two wheels as users get them, laid over a real Airflow's environment without touching it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from slackwater_windows.document import Document, Occurrence, Pool, Window
from slackwater_windows.wire import encode
from testbed import pythons

ROOT = Path(__file__).parents[2]
PACKAGES = ("slackwater-windows", "slackwater-airflow")
DAGS = Path(__file__).parent / "dags"
DAG_IDS = ("tw_current", "tw_own", "tw_named", "tw_shown", "tw_made")


def build_wheels(into: Path) -> list[Path]:
    """Build them from the sources of this checkout."""
    for name in PACKAGES:
        subprocess.run(
            [pythons.uv(), "build", "-q", "--wheel", "--out-dir", into, ROOT / "packages" / name],
            check=True,
            timeout=300,
        )
    return sorted(into.glob("*.whl"))


@dataclass
class Harbour:
    """The windows file, as an operator would keep it: one TrainingWindow with one occurrence."""

    file: Path
    start: datetime
    end: datetime
    run_id: str | None = None
    state: str = "Planned"
    planned_start: datetime | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    def document(self) -> Document:
        occurrence = Occurrence(
            id="o1",
            entry="team",
            state=self.state,
            reason="Ahead",
            start=self.start,
            end=self.end,
            dag_run_id=self.run_id,
            trigger_time=self.start if self.run_id else None,
            planned_start=self.planned_start,
            parameters=self.parameters,
        )
        window = Window(
            namespace="research",
            name="nightly",
            dag_id="tw_shown",
            time_zone="Europe/Berlin",
            message="Waiting for 16 GPUs in research/h100.",
            pool="research/h100",
            gpus=16,
            per_pod=8,
            occurrences=(occurrence,),
        )
        # The same event as another TrainingWindow sees it, which starts tw_current.
        current = replace(window, name="current", dag_id="tw_current")
        state = "Waiting" if self.planned_start else "Planned"
        quiet = replace(occurrence, dag_run_id=None, trigger_time=None, state=state)
        window = replace(window, occurrences=(quiet,))
        hidden = Window(namespace="secret", name="other", dag_id="not_of_this_airflow")
        pool = Pool(name="research/h100", capacity=32, free=9, promised=4)
        return Document(
            installation="test",
            written_at=self.start,
            windows=(current, window, hidden),
            pools=(pool,),
        )

    def write(self) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(encode(self.document()))
        fresh.replace(self.file)

    def move(self, start: datetime, length: timedelta = timedelta(hours=2)) -> None:
        self.start, self.end = start, start + length
        self.write()


def whole(at: datetime) -> datetime:
    return at.replace(microsecond=0)
