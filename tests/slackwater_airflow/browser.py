"""A person's way to the tide table: logs in to Airflow's own pages and goes to the frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from slackwater_windows.wire import encode
from testbed.airflow import API_ONLY, Airflow
from testbed.chromium import Page
from tests.slackwater_airflow.installed import build_wheels, whole
from tests.slackwater_airflow.scene import DAG_IDS, DAGS, scene

FRAME = "document.querySelector('iframe').contentDocument"


@contextmanager
def airflow_of_scene(home: Path, version: str = "3.3") -> Iterator[Airflow]:
    """Airflow's pages and API with the package and the scene's windows file; nothing runs."""
    wheels = build_wheels(home / "wheels")
    file = home / "windows.json"
    file.write_text(encode(scene(whole(datetime.now(UTC)))))
    server = Airflow(
        DAGS,
        components=API_ONLY,
        extra_packages=wheels,
        variables={"SLACKWATER_WINDOWS_FILE": str(file)},
        dags=DAG_IDS,
        version=version,
    )
    with server:
        yield server


async def log_in(page: Page, address: str, user: str = "viewer") -> None:
    """Ask for a page of Airflow, and get it by way of its login form, with the keyboard."""
    await page.open(address)
    await page.until("document.querySelector('input[name=username]')")
    await page.evaluate("document.querySelector('input[name=username]').focus()")
    await page.type(user)
    await page.press("Tab")
    await page.type(user)
    await page.press("Enter")
    await page.until("!location.pathname.startsWith('/auth')")
