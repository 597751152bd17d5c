"""A headless Chromium and enough of its DevTools protocol to look at a page as a person would."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from testbed import cache, debian, web
from testbed.process import Server

_PACKAGE = "chromium-headless-shell"
_NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")


def _unpacked() -> Path:
    """The programs from Debian's package, without installing it."""
    key = cache.digest(_PACKAGE, debian.release())
    if tree := cache.present("chromium", key):
        return tree
    if not debian.available():
        raise cache.BuildError("Chromium is not installed: put it on PATH")

    def wanted(name: str) -> bool:
        return name.startswith(("lib", "fonts-liberation", "chromium-common")) and not (
            name.startswith(("libc6", "libelogind", "libdebian", "libnewt", "libtextwrap"))
        )

    return cache.ensure("chromium", key, lambda d: debian.unpack([_PACKAGE], d, wanted))


def find() -> tuple[Path, Path | None]:
    """(the program, root of the unpacked package if it is one)."""
    for name in _NAMES:
        if installed := shutil.which(name):
            return Path(installed), None
    tree = _unpacked()
    return tree / "usr/lib/chromium/chromium-headless-shell", tree


class Chromium(Server):
    """One headless browser; `page()` opens a page in it."""

    name = "chromium"
    start_timeout = 60.0

    def __init__(self, home: Path | None = None, port: int | None = None) -> None:
        self._program, self._tree = find()
        super().__init__(home, port)

    def command(self) -> Sequence[str | Path]:
        return [
            self._program,
            "--headless",
            "--no-sandbox",  # a container's root has no user namespaces; only our pages are opened
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-address=127.0.0.1",
            f"--remote-debugging-port={self.port}",
            f"--user-data-dir={self.home / 'profile'}",
            "about:blank",
        ]

    def environment(self) -> Mapping[str, str]:
        if self._tree is None:
            return {}
        fonts = self.home / "fonts.conf"
        fonts.write_text(
            "<?xml version='1.0'?><!DOCTYPE fontconfig SYSTEM 'fonts.dtd'><fontconfig>"
            f"<dir>{self._tree}/usr/share/fonts</dir><dir>/usr/share/fonts</dir>"
            f"<cachedir>{self.home}/fonts</cachedir>"
            + "".join(
                f"<alias binding='same'><family>{name}</family>"
                "<prefer><family>Liberation Sans</family></prefer></alias>"
                for name in ("system-ui", "sans-serif", "sans")
            )
            + "</fontconfig>"
        )
        return {
            "LD_LIBRARY_PATH": debian.library_path(self._tree),
            "FONTCONFIG_FILE": str(fonts),
        }

    def ready(self) -> bool:
        try:
            return web.call("GET", f"{self.url}/json/version", timeout=5).status == 200
        except (OSError, ValueError):
            return False

    @asynccontextmanager
    async def page(self, width: int = 1280, height: int = 900) -> AsyncIterator[Page]:
        """A new page; everything it logs is kept in `problems`."""
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{self.url}/json/new?about:blank") as answer:
                target = await answer.json()
            async with session.ws_connect(
                target["webSocketDebuggerUrl"], max_msg_size=64 * 2**20
            ) as socket:
                page = Page(socket)
                reader = asyncio.create_task(page.read())
                try:
                    for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
                        await page.call(f"{domain}.enable")
                    await page.call(
                        "Emulation.setDeviceMetricsOverride",
                        width=width,
                        height=height,
                        deviceScaleFactor=1,
                        mobile=False,
                    )
                    yield page
                finally:
                    reader.cancel()
            await session.get(f"{self.url}/json/close/{target['id']}")


class Page:
    """One page, driven over its DevTools socket.

    `problems` holds what a person would see in the console in red: errors, exceptions, refused
    resources; `requests` every address that was asked for.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._next = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.problems: list[str] = []
        self.requests: list[str] = []

    async def read(self) -> None:
        """Take in what the browser says until cancelled."""
        async for message in self._socket:
            said = json.loads(message.data)
            if (waiting := self._answers.pop(said.get("id", 0), None)) is not None:
                waiting.set_result(said)
                continue
            match said.get("method"), said.get("params"):
                case "Page.loadEventFired", _:
                    self._loaded.set()
                case "Network.requestWillBeSent", params:
                    self.requests.append(params["request"]["url"])
                case "Runtime.exceptionThrown", params:
                    self.problems.append(str(params["exceptionDetails"]))
                case "Log.entryAdded", params if params["entry"]["level"] in {"error", "warning"}:
                    self.problems.append(params["entry"]["text"])
                case "Runtime.consoleAPICalled", params if params["type"] in {"error", "warning"}:
                    self.problems.append(str(params["args"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        self._next += 1
        answer = self._answers[self._next] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._next, "method": method, "params": params})
        async with asyncio.timeout(30):
            said = await answer
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']}")
        result: dict[str, Any] = said["result"]
        return result

    async def open(self, url: str) -> None:
        """Go to an address and wait until it is loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(60):
            await self._loaded.wait()

    async def scheme(self, name: str) -> None:
        """Prefer `light` or `dark`, as the system's setting would."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def until(self, expression: str, seconds: float = 30) -> None:
        """Wait until a JavaScript expression is true; one that throws is not true yet.

        Nor is one that a change of the page cuts off.
        """
        attempt = f"(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"
        try:
            async with asyncio.timeout(seconds):
                while True:
                    with suppress(RuntimeError):
                        if await self.evaluate(attempt):
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            shown = await self.evaluate(
                "location.href + '\\n' + document.body.innerText.slice(0, 800)"
            )
            raise TimeoutError(f"not within {seconds} s: {expression}\n{shown}") from None

    async def type(self, text: str) -> None:
        """Write into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press and release one key, such as Tab or Enter."""
        codes = {
            "Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " "),
            "ArrowDown": (40, ""),
        }  # fmt: skip
        code, text = codes[key]
        common = {"key": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def screenshot(self, *, whole: bool = False) -> bytes:
        """A PNG of what shows, or of the whole page."""
        result = await self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole
        )
        return base64.b64decode(result["data"])
