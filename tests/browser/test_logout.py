"""The page's socket ends with the session that opened it."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, expect
from websockets.exceptions import ConnectionClosed

from tests.servers import Server, connect, receive, send

from .conftest import PASSWORD, joined
from .visitor import Visitor

pytestmark = pytest.mark.servers


async def test_a_logout_in_another_tab_ends_the_pages_socket(example: Server) -> None:
    browser = Visitor(example)
    cookie = await asyncio.to_thread(browser.log_in, "alice", PASSWORD)
    async with (
        connect(example, "/ws/chat/", cookie=cookie) as page,
        connect(example, "/ws/chat/", cookie=cookie) as tab,
    ):
        for socket in (page, tab):
            await send(socket, {"action": "whoami", "request_id": 1})
            assert (await receive(socket))["username"] == "alice"
        await asyncio.to_thread(browser.log_out)
        for socket in (page, tab):
            notice = await receive(socket, lambda frame: frame["action"] == "CLOSE")
            assert (notice["code"], notice["reconnect"]) == (4401, False)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4401


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="package")
async def test_a_page_whose_login_has_ended_does_not_connect_again(example: Server, chromium: Browser) -> None:
    """The CLOSE notice says ``"reconnect": false``: without it the page would try for ever."""
    context = await chromium.new_context(base_url=example.base_url)
    browser = Visitor(example)
    name, value = (await asyncio.to_thread(browser.log_in, "alice", PASSWORD)).split("=")
    await context.add_cookies([{"name": name, "value": value, "url": example.base_url}])
    page = await context.new_page()
    opened: list[str] = []
    page.on("websocket", lambda socket: opened.append(socket.url))
    await page.goto("/rooms/logout/")
    await joined(page)
    await page.clock.install()
    await asyncio.to_thread(browser.log_out)
    await expect(page.locator("#connection")).to_have_text("You are no longer signed in.")
    await expect(page.get_by_role("link", name="Log in again")).to_be_visible()
    await page.clock.run_for(60_000)
    assert len(opened) == 1
    await context.close()
