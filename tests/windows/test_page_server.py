"""The tide table in a real browser: quiet, keyboard-usable, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from aiohttp import web

from slackwater_windows.document import Cut, Document, Pool, Waited
from slackwater_windows.page import View, render
from slackwater_windows.style import headers
from testbed.chromium import Chromium, Page
from tests.windows.make import HOUR, NOW, document, occurrence, window

pytestmark = pytest.mark.server


def harbour() -> Document:
    waiting = window(
        occurrence("w", begins=-0.5, lasts=5, state="Waiting", waited=(Waited("Full", 1800),)),
        name="waiting",
        message="Waiting for 16 GPUs in research/h100 since 20:34: 9 free.",
    )
    nights = [
        occurrence(
            f"n{day}",
            begins=24 * day,
            state="Failed" if day < 0 else "Running" if day == 0 else "Planned",
            end_time=NOW - 9 * HOUR if day < 0 else None,
            cuts=(Cut(NOW + 26 * HOUR, NOW + 28 * HOUR, "reserved"),) if day == 1 else (),
        )
        for day in range(-1, 7)
    ]
    load = tuple((NOW - timedelta(minutes=15 * n), 50.0 + n % 40) for n in range(95, -1, -1))
    pool = Pool(
        name="research/h100", capacity=32, free=9, promised=4, utilization_percent=60, load=load
    )
    return document(window(*nights), waiting, pools=(pool,))


def longest() -> Document:
    """Names, reasons and run ids as long as Kubernetes and Airflow allow them."""
    ref = f"{'n' * 63}/{'p' * 63}"
    cuts = tuple(
        Cut(NOW + (26 + n) * HOUR, NOW + (26.5 + n) * HOUR, f"{'e' * 60}-{n}") for n in range(8)
    )
    lines = (
        occurrence("w", begins=-1, state="Waiting", planned_start=NOW + 2 * HOUR),
        occurrence("c", begins=25, lasts=9, cuts=cuts),
        occurrence(
            "r",
            begins=-9,
            state="Failed",
            dag_run_id="q" * 200,
            start_time=NOW - 9 * HOUR,
            end_time=NOW - 8 * HOUR,
        ),
    )
    row = window(
        *lines,
        name="w" * 63,
        namespace="n" * 63,
        dag_id="d" * 250,
        pool=ref,
        message=f"Waiting for 16 GPUs in {ref} since 20:34: 9 free.",
    )
    return document(row, pools=(Pool(name=ref, message=f"{'m' * 200}."),))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        told = longest() if request.path == "/longest" else harbour()
        text = render(told, NOW, View.asked(request.query))
        return web.Response(body=text.encode(), headers=headers(framed=False))

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/longest", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def focused(page: Page) -> str:
    return str(await page.evaluate("document.activeElement.outerHTML.slice(0, 120)"))


async def test_nothing_is_refused_loaded_or_complained_about(
    chromium: Chromium, address: str
) -> None:
    async with chromium.page() as page:
        await page.open(address)
        styled = await page.evaluate(
            "getComputedStyle(document.querySelector('.card')).borderRadius"
        )

        assert page.problems == []
        assert [one for one in page.requests if not one.startswith(("data:", address))] == []
        assert styled == "14px", "the policy lets the style sheet through"


async def test_light_and_dark_follow_the_reader_s_system_and_stay_readable(
    chromium: Chromium, address: str
) -> None:
    ground, ink = {}, {}
    async with chromium.page() as page:
        for scheme in ("light", "dark"):
            await page.scheme(scheme)
            await page.open(address)
            style = "getComputedStyle(document.documentElement)"
            ground[scheme] = _luminance(await page.evaluate(f"{style}.backgroundColor"))
            ink[scheme] = _luminance(await page.evaluate(f"{style}.color"))
            soft = _luminance(
                await page.evaluate("getComputedStyle(document.querySelector('.asof')).color")
            )
            assert _contrast(ground[scheme], ink[scheme]) > 7
            assert _contrast(ground[scheme], soft) > 4.5

    assert ground["light"] > 0.8
    assert ground["dark"] < 0.05


async def test_everything_can_be_reached_and_opened_with_the_keyboard(
    chromium: Chromium, address: str
) -> None:
    async with chromium.page() as page:
        await page.open(address)
        await page.press("Tab")
        assert "Skip to" in await focused(page)
        visible = "document.activeElement.getBoundingClientRect().left >= 0"
        assert await page.evaluate(visible)
        seen = []
        for _ in range(8):
            await page.press("Tab")
            seen.append(await focused(page))
        summaries = [one for one in seen if one.startswith("<summary")]
        assert any('type="search"' in one for one in seen)
        assert len(summaries) == 2

        await page.evaluate("document.querySelector('summary').focus()")
        assert (
            await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        )
        await page.press("Enter")
        assert await page.evaluate("document.querySelector('details').open")
        table = await page.evaluate("document.querySelector('details table').innerText")
        assert "Running" in table
        assert "reserved" in table


async def test_a_search_stays_on_the_page_and_narrows_it(chromium: Chromium, address: str) -> None:
    async with chromium.page() as page:
        await page.open(f"{address}?q=waiting")
        names = await page.evaluate(
            "[...document.querySelectorAll('summary b')].map(b=>b.innerText)"
        )
        assert names == ["waiting"]
        assert page.problems == []


@pytest.mark.parametrize("width", [360, 800, 1600])
async def test_no_width_needs_scrolling_sideways(
    chromium: Chromium, address: str, width: int
) -> None:
    async with chromium.page(width=width, height=900) as page:
        for path in ("", "longest"):
            await page.open(f"{address}{path}")
            await page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, path


async def test_the_days_have_room_for_their_names_on_a_phone(
    chromium: Chromium, address: str
) -> None:
    ends = "[...document.querySelectorAll('.days text')].map(t => t.getBoundingClientRect())"
    async with chromium.page(width=360, height=900) as page:
        await page.open(address)
        edges = await page.evaluate(f"{ends}.map(r => [r.left, r.right])")
    assert len(edges) == 7
    assert all(end <= start for (_, end), (start, _) in pairwise(edges))


def _luminance(color: str) -> float:
    """Relative luminance (WCAG 2) of `rgb(r, g, b)`."""
    parts = [float(p) / 255 for p in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return (high + 0.05) / (low + 0.05)
