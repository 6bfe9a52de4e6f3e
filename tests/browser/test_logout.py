"""The page's socket ends with the session that opened it."""

from __future__ import annotations

import asyncio
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import pytest
from websockets.exceptions import ConnectionClosed

from tests.servers import ANSWER_WITHIN, Server, connect, receive, send

pytestmark = pytest.mark.servers


class Browser:
    """A browser's cookies, and the forms of the example that it posts."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cookies = CookieJar()
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self._cookies))

    def cookie(self, name: str) -> str:
        return next(cookie.value or "" for cookie in self._cookies if cookie.name == name)

    def visit(self, path: str, form: dict[str, str] | None = None) -> None:
        data = None
        if form is not None:
            data = urlencode({**form, "csrfmiddlewaretoken": self.cookie("csrftoken")}).encode()
        self._opener.open(f"{self._server.base_url}{path}", data, timeout=ANSWER_WITHIN).close()


async def test_a_logout_in_another_tab_ends_the_pages_socket(example: Server) -> None:
    browser = Browser(example)
    await asyncio.to_thread(browser.visit, "/accounts/login/")
    await asyncio.to_thread(browser.visit, "/accounts/login/", {"username": "alice", "password": "wonderland"})
    cookie = f"sessionid={browser.cookie('sessionid')}"
    async with (
        connect(example, "/ws/chat/", cookie=cookie) as page,
        connect(example, "/ws/chat/", cookie=cookie) as tab,
    ):
        for socket in (page, tab):
            await send(socket, {"action": "whoami", "request_id": 1})
            assert (await receive(socket))["username"] == "alice"
        await asyncio.to_thread(browser.visit, "/accounts/logout/", {})
        for socket in (page, tab):
            notice = await receive(socket, lambda frame: frame["action"] == "CLOSE")
            assert (notice["code"], notice["reconnect"]) == (4401, False)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4401
