"""Debian's Chromium, driven by playwright: a page that is watched while a test uses it.

Whatever a page asks of another origin is refused and remembered, and so is what it complains of.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Route, async_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium: apt-get install -y --no-install-recommends chromium",
)
#: Root has no sandbox of its own; the others keep Chromium from asking for Google's hosts.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_FAILED_LOAD = re.compile(r"^Failed to load resource: .* status of (\d+)")


@dataclass
class Watched:
    """An open page and what was noticed of it.

    Attributes:
        origin: where everything has to come from.
        foreign: addresses elsewhere that were asked for.
        complaints: errors and warnings of the console, and uncaught exceptions.
        failed: HTTP statuses of requests that the console told as failed.
    """

    page: Page
    origin: str
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    failed: set[int] = field(default_factory=set)

    async def open(self, path: str) -> None:
        """Go to a page of the origin and wait until it is loaded."""
        await self.page.goto(f"{self.origin}{path}", wait_until="load")

    async def until(self, condition: str, argument: object = None, seconds: float = 10.0) -> Any:
        """Wait in the page until a function `(argument) => value` is true; that value.

        Looked at with every frame. `Page.wait_for_function` would need `unsafe-eval`, which our
        policy forbids.

        Raises:
            TimeoutError: it was not so within the seconds.
        """
        waiting = f"""
            (argument) => new Promise((resolve) => {{
              const met = {condition};
              const look = () => {{
                const value = met(argument);
                if (value) resolve(value);
                else requestAnimationFrame(look);
              }};
              look();
            }})
        """
        async with asyncio.timeout(seconds):
            return await self.page.evaluate(waiting, argument)

    def check(self, *, failed: frozenset[int] = frozenset()) -> None:
        """Hold the page to what holds for all of them.

        Args:
            failed: statuses that the test has provoked.
        """
        assert self.foreign == []
        assert self.complaints == []
        assert self.failed <= failed

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        status = _FAILED_LOAD.match(message.text)
        if status:
            self.failed.add(int(status[1]))
        else:
            self.complaints.append(f"{message.type}: {message.text}")

    async def _refuse_foreign(self, route: Route, request: Request) -> None:
        if request.url.startswith((f"{self.origin}/", "data:", "blob:")):
            await route.continue_()
        else:
            self.foreign.append(request.url)
            await route.abort()


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A running Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_page(browser: Browser, origin: str, **options: Any) -> AsyncIterator[Watched]:
    """An empty page that is watched, in a context of its own; `options` are the context's."""
    context = await browser.new_context(**options)
    try:
        page = await context.new_page()
        watched = Watched(page, origin.rstrip("/"))
        page.on("console", watched._console)
        page.on("pageerror", lambda error: watched.complaints.append(f"uncaught: {error}"))
        await context.route("**/*", watched._refuse_foreign)
        yield watched
    finally:
        await context.close()
