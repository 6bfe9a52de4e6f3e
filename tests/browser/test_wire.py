"""The example's socket as a program sees it that is no browser, under each server."""

from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus

from tests.servers import Server, connect, log_in, receive, send

from .conftest import PASSWORD

pytestmark = pytest.mark.servers


async def test_handshake_without_a_login_is_refused(example: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(example, "/ws/chat/")
    assert refused.value.response.status_code == 403


async def test_handshake_from_a_foreign_page_is_refused(example: Server) -> None:
    cookie = log_in(example, "alice", PASSWORD)
    with pytest.raises(InvalidStatus) as refused:
        await connect(example, "/ws/chat/", cookie=cookie, origin="https://evil.example")
    assert refused.value.response.status_code == 403


async def test_frames_that_no_code_can_stand_leave_the_socket_open(example: Server) -> None:
    async with connect(example, "/ws/chat/", cookie=log_in(example, "alice", PASSWORD)) as alice:
        for text, status in [("no JSON", 400), ("", 400), ("[]", 500), ('{"action": "nothing"}', 404)]:
            await alice.send(text)
            assert (await receive(alice))["status"] == status
        await alice.send(b"\x00\xff")
        assert (await receive(alice))["status"] == 400
        await send(alice, {"action": "PING", "request_id": "still there"})
        assert (await receive(alice))["request_id"] == "still there"


async def test_a_notification_gets_no_reply_but_its_broadcast(example: Server) -> None:
    async with connect(example, "/ws/chat/", cookie=log_in(example, "alice", PASSWORD)) as alice:
        await send(alice, {"action": "room.join", "room": "wire"})
        await send(alice, {"action": "message.send", "text": "Hello"})
        pushed = await receive(alice)
        assert (pushed["action"], pushed["text"]) == ("message", "Hello")
