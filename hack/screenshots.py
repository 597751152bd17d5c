"""Take the documentation's pictures anew: `python hack/screenshots.py` (or `make screenshots`).

They are of the real thing: Airflow with the package installed, logged in to with a browser, over the
windows file of the scene that the browser tests look at.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
for folder in (ROOT, ROOT / "packages" / "slackwater-windows"):
    sys.path.insert(0, str(folder))

from testbed.airflow import Airflow  # noqa: E402
from testbed.chromium import Chromium, Page  # noqa: E402
from tests.slackwater_airflow.browser import FRAME, airflow_of_scene, log_in  # noqa: E402


async def _shown(page: Page, address: str, theme: str) -> None:
    await page.open(address)
    await page.evaluate(f"localStorage.setItem('theme', '{theme}')")
    await page.open(address)
    await page.until(f"{FRAME}.querySelector('#week')")
    await page.until("!document.querySelector('.chakra-skeleton, .chakra-spinner')")
    await asyncio.sleep(1)  # Airflow's own fades


async def take(airflow: Airflow, chromium: Chromium) -> None:
    """All of them."""
    table = f"{airflow.url}/plugin/training-windows"
    async with chromium.page(1360, 1180) as page:
        await log_in(page, table)
        for theme, name in (("light", "tide-table.png"), ("dark", "tide-table-dark.png")):
            await _shown(page, table, theme)
            (IMAGES / name).write_bytes(await page.screenshot())
    async with chromium.page(1360, 1000) as page:
        await _shown(page, f"{airflow.url}/dags/distill/plugin/windows", "light")
        (IMAGES / "tide-table-dag.png").write_bytes(await page.screenshot())


def main() -> int:
    """The command."""
    with (
        tempfile.TemporaryDirectory(prefix="sw-screenshots-") as home,
        airflow_of_scene(Path(home)) as airflow,
        Chromium() as chromium,
    ):
        asyncio.run(take(airflow, chromium))
    return 0


if __name__ == "__main__":
    sys.exit(main())
