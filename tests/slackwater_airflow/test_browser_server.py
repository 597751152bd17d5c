"""The tide table inside Airflow's own pages, in a real browser: closed, open, light, dark, by keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import web
from testbed.airflow import Airflow
from testbed.chromium import Chromium, Page
from tests.slackwater_airflow.browser import FRAME, airflow_of_scene, log_in

pytestmark = pytest.mark.server

NAMES = ("nightly-llm", "finetune-eval", "distill", "weekend-sweep")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=["3.3", "3.2"])
def airflow(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Airflow]:
    with airflow_of_scene(tmp_path_factory.mktemp("scene"), request.param) as server:
        yield server


@pytest.fixture(autouse=True)
async def nobody(chromium: Chromium) -> None:
    """Each test begins logged out and with the settings of a new browser."""
    async with chromium.page() as page:
        await page.call("Network.clearBrowserCookies")


async def shown(page: Page) -> list[str]:
    found: list[str] = await page.evaluate(
        f"[...{FRAME}.querySelectorAll('summary b')].map(b => b.innerText)"
    )
    return found


async def test_who_is_not_logged_in_meets_the_login_and_learns_nothing(
    airflow: Airflow, chromium: Chromium
) -> None:
    async with chromium.page() as page:
        await page.open(f"{airflow.url}/plugin/training-windows")
        await page.until("location.pathname.startsWith('/auth/login')")
        await page.open(f"{airflow.url}/slackwater/")
        said = await page.evaluate("document.documentElement.innerText")
    forged = {"Cookie": "_token=eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."}

    assert said == "Not authenticated"
    assert web.call("GET", f"{airflow.url}/slackwater/").status == 401
    assert web.call("GET", f"{airflow.url}/slackwater/", headers=forged).status in {401, 403}
    for path in ("/slackwater/", "/slackwater/?dag_id=distill", "/slackwater/../slackwater/x"):
        answer = web.call("GET", f"{airflow.url}{path}", headers=forged)
        assert not any(name in answer.text for name in NAMES), path


async def test_it_is_reached_from_the_menu_and_read_with_the_keyboard_alone(
    airflow: Airflow, chromium: Chromium
) -> None:
    async with chromium.page() as page:
        await log_in(page, f"{airflow.url}/")
        browse = (
            "[...document.querySelectorAll('button')].find(b => b.innerText.trim() == 'Browse')"
        )
        await page.until(browse)
        await page.evaluate(f"{browse}.focus()")
        await page.press("Enter")
        await page.until("document.querySelector('[role=menuitem][data-highlighted]')")
        chosen = "document.querySelector('[role=menuitem][data-highlighted]').innerText"
        for _ in range(12):
            if "Training windows" in await page.evaluate(chosen):
                break
            await page.press("ArrowDown")
        await page.press("Enter")
        await page.until(f"{FRAME}.querySelector('#week')")
        assert set(await shown(page)) == set(NAMES)

        focused = f"{FRAME}.activeElement"
        for _ in range(40):
            await page.press("Tab")
            if await page.evaluate(f"{focused}.tagName") == "SUMMARY":
                break
        assert await page.evaluate(f"{focused}.innerText.includes('finetune-eval')")
        await page.press("Enter")
        await page.until(f"{FRAME}.querySelector('details').open")

        # Airflow gives the frame's address to its own, so that what one sees can be sent on.
        await page.evaluate(f"{FRAME}.querySelector('.zones a').click()")
        await page.until(f"{FRAME}.querySelector('.zones b').innerText == 'UTC'")
        assert [text for text in page.problems if "Content Security Policy" in text] == []


async def test_it_follows_airflow_s_own_light_and_dark(
    airflow: Airflow, chromium: Chromium
) -> None:
    ground = {}
    async with chromium.page() as page:
        await log_in(page, f"{airflow.url}/plugin/training-windows")
        for theme in ("light", "dark"):
            await page.evaluate(f"localStorage.setItem('theme', '{theme}')")
            await page.open(f"{airflow.url}/plugin/training-windows")
            await page.until(f"{FRAME}.querySelector('#week')")
            ground[theme] = await page.evaluate(
                f"getComputedStyle({FRAME}.documentElement).backgroundColor"
            )
        await page.evaluate("localStorage.removeItem('theme')")
    assert ground == {"light": "rgb(244, 248, 249)", "dark": "rgb(10, 21, 27)"}


async def test_the_tab_of_a_dag_shows_its_windows_opened(
    airflow: Airflow, chromium: Chromium
) -> None:
    async with chromium.page() as page:
        await log_in(page, f"{airflow.url}/dags/distill/plugin/windows")
        await page.until(f"{FRAME}.querySelector('#week')")

        assert await shown(page) == ["distill"]
        assert await page.evaluate(f"{FRAME}.querySelector('details').open")
        assert "planned for" in await page.evaluate(f"{FRAME}.querySelector('details').innerText")


async def test_nothing_is_shown_any_more_once_the_login_is_gone(
    airflow: Airflow, chromium: Chromium
) -> None:
    async with chromium.page() as page:
        await log_in(page, f"{airflow.url}/plugin/training-windows")
        await page.until(f"{FRAME}.querySelector('#week')")
        await page.call("Network.clearBrowserCookies")
        await page.evaluate("document.querySelector('iframe').contentWindow.location.reload()")
        await page.until(f"{FRAME}.documentElement.innerText == 'Not authenticated'")
