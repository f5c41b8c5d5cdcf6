"""A real browser, for the tests of pages."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
import pytest_asyncio

CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

Visit: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="module")
def browser_is_here() -> None:
    """Skips where there is no browser, or nothing to drive it with."""
    if not CHROMIUM.exists():
        pytest.skip(f"SKIPPED LOUDLY: there is no Chromium at {CHROMIUM}, no page is tried in a browser")
    if find_spec("playwright") is None:
        pytest.skip("SKIPPED LOUDLY: playwright is not installed, no page is tried in a browser")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chromium(browser_is_here: None) -> AsyncIterator[Any]:
    """The browser, without a window."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        yield browser
        await browser.close()


@pytest.fixture
def visit(chromium: Any) -> Visit:
    """Opens a page of a server: ``async with visit(url, color_scheme="dark") as page``. It may ask nobody else."""

    @asynccontextmanager
    async def visiting(url: str, path: str = "/playground", **options: Any) -> AsyncIterator[Any]:
        context = await chromium.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
        page = await context.new_page()
        page.set_default_timeout(30_000)
        asked, broken = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", lambda said: broken.append(said.text) if "Security Policy" in said.text else None)
        await page.goto(url + path)
        yield page
        await context.close()
        origin = httpx.URL(url).copy_with(path="/")
        assert [one for one in asked if not one.startswith((str(origin), "data:"))] == []
        assert broken == []

    return visiting
