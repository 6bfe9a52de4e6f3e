"""The page's socket ends with the session that opened it."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed

from tests.servers import Server, connect, receive, send

from .conftest import PASSWORD
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
