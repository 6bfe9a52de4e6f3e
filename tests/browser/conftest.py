from __future__ import annotations

import functools
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright, expect

from tests.servers import (  # noqa: F401  (fixtures and a hook, which pytest finds by name)
    Server,
    demo_database,
    example,
    log_in,
    pytest_runtest_makereport,
)

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "wonderland"


class OpenPage(Protocol):
    """Opens a room in a window of its own, logged in. ``before`` is called with the page while it is empty."""

    async def __call__(
        self, server: Server, username: str, room: str, *, before: Callable[[Page], Awaitable[None]] | None = None
    ) -> Page: ...


expect.set_options(timeout=30_000)


# Playwright's blocking API leaves a running event loop behind in the thread, in which no other asynchronous test could
# run; so its asynchronous API, with one loop for all tests of this package and one Chromium on it.
@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def chromium() -> AsyncIterator[Browser]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise RuntimeError("These tests need Chromium (Debian: apt-get install chromium).")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="package")
def session_of() -> Callable[[Server, str], str]:
    """Logs a user in once per server: hashing the password takes longer than all the rest of a page."""
    return functools.cache(lambda server, username: log_in(server, username, PASSWORD))


@pytest_asyncio.fixture(loop_scope="package")
async def open_page(chromium: Browser, session_of: Callable[[Server, str], str]) -> AsyncIterator[OpenPage]:
    """Fails the test if a script on the page failed, or something on it breaks the page's content security policy."""
    contexts = []
    failures: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            failures.append(message.text)

    async def open_page(
        server: Server, username: str, room: str, *, before: Callable[[Page], Awaitable[None]] | None = None
    ) -> Page:
        context = await chromium.new_context(base_url=server.base_url)
        contexts.append(context)
        name, value = session_of(server, username).split("=")
        await context.add_cookies([{"name": name, "value": value, "url": server.base_url}])
        page = await context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", listen)
        if before:
            await before(page)
        await page.goto(f"/rooms/{room}/")
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert failures == []


async def submit(page: Page, text: str) -> None:
    """Sends ``text``, or saves it where a message is being edited."""
    await page.get_by_label("Message", exact=True).fill(text)
    await page.get_by_role("button", name=re.compile("^(Send|Save)$")).click()


async def announce(page: Page, text: str) -> None:
    """Posts ``text`` to the view that announces it, and returns when that has taken it."""
    if not await page.locator("#announcement").is_visible():
        await page.get_by_text("Announce something").click()
    await page.get_by_label("Announcement", exact=True).fill(text)
    await page.get_by_role("button", name="Announce").click()
    await expect(page.get_by_text("Last reply: POST /announcements/ → 204")).to_be_visible()


def announcements(page: Page) -> Locator:
    """What stands above the log of ``page``."""
    return page.get_by_role("list", name="Announcements").get_by_role("listitem")


def frames(page: Page) -> Locator:
    """The frames in the drawer of ``page``, the newest first."""
    return page.get_by_role("list", name="Frames").get_by_role("listitem")


async def joined(page: Page) -> Page:
    """The page, once it is in its room."""
    await expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    return page
