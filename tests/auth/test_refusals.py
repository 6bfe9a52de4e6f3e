"""How a socket is refused: so that a browser can tell, or as HTTP does."""

from __future__ import annotations

from typing import Any

import pytest

from routesock import Keys
from routesock._runtime.closing import accept_message, send_notice_and_close
from routesock.auth import HandshakeMiddleware, deny, reject
from routesock.status import restart_ending
from tests.takeover.driver import Socket, until

from .consumers import LONG, Refusing, Wordy

RESPONSE: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


async def test_reject_accepts_tells_and_closes() -> None:
    async with Socket(reject(403, "Not you."), subprotocols=["v2", "v1"]) as socket:
        await until(lambda: socket.closed)
        assert socket.sent[0] == {"type": "websocket.accept", "subprotocol": "v2"}
        assert socket.frames == [
            {"route": "CLOSE", "payload": {"code": 4403, "reason": "Not you.", "reconnect": False}}
        ]
        assert socket.closed == {"type": "websocket.close", "code": 4403, "reason": "Not you."}


@pytest.mark.parametrize(("status", "reconnect"), [(401, False), (408, True), (429, True), (500, True), (404, False)])
async def test_reject_says_whether_to_come_back(status: int, reconnect: bool) -> None:
    async with Socket(reject(status, retry_after=3, dialect=Keys(route="action"))) as socket:
        await until(lambda: socket.closed)
        (notice,) = socket.frames
        assert notice["action"] == "CLOSE"
        assert (notice["payload"]["reconnect"], notice["payload"]["retry_after"]) == (reconnect, 3)
    async with Socket(reject(status, reconnect=not reconnect)) as socket:
        await until(lambda: socket.closed)
        assert socket.frames[0]["payload"]["reconnect"] is not reconnect


def gate(application: Any) -> Any:
    return HandshakeMiddleware(application, authenticators=[nobody], mode="optional")


async def nobody(credentials: Any) -> Any:
    return None


@pytest.mark.parametrize("application", [reject(403, LONG), gate(Wordy.as_asgi())], ids=["reject", "gate"])
async def test_a_long_reason_is_cut_to_what_a_close_frame_holds(application: Any) -> None:
    """RFC 6455, section 5.5: some servers drop the connection for a reason over 123 bytes."""
    async with Socket(application) as socket:
        socket.json({"route": "anything"})
        await until(lambda: socket.closed)
        closed = socket.closed
        assert closed is not None
        reason = closed["reason"]
        assert 120 <= len(reason.encode()) <= 123
        assert LONG.startswith(reason)
        assert closed["code"] == 4403
        assert socket.frames[-1] == {
            "route": "CLOSE",
            "payload": {"code": 4403, "reason": reason, "reconnect": False},
        }


async def test_a_gate_closes_with_a_code_that_the_server_can_send() -> None:
    """daphne's autobahn sends no registered code but 1000."""

    class Daphne(Socket):
        async def _send(self, message: Any) -> None:
            if message["type"] == "websocket.close" and message["code"] < 3000:
                raise RuntimeError("invalid close code")
            await super()._send(message)

    async def restarting(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(accept_message(scope))
        await send_notice_and_close(send, restart_ending(2.0), Keys())

    async with Daphne(restarting) as socket:
        await until(lambda: socket.closed)
        assert socket.frames[0]["payload"]["code"] == 1012
        assert socket.closed == {"type": "websocket.close", "code": 4503, "reason": "The server restarts."}


async def test_a_gate_closes_although_the_dialect_cannot_encode_the_notice(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Keys):
        def push(self, route: str, payload: Any, headers: Any = None) -> Any:
            raise LookupError("no such notice")

    async with Socket(reject(403, "Not you.", dialect=Broken())) as socket:
        await until(lambda: socket.closed)
        assert socket.closed == {"type": "websocket.close", "code": 4403, "reason": "Not you."}
    assert any(record.exc_info for record in caplog.records)


async def test_deny_answers_the_handshake_where_the_server_can() -> None:
    async with Socket(deny(404, headers=[(b"X-A", b"1")]), **RESPONSE) as socket:
        await until(lambda: len(socket.sent) == 2)
        start, body = socket.sent
        assert start["type"] == "websocket.http.response.start"
        assert start["status"] == 404
        assert dict(start["headers"]) == {
            b"content-type": b"text/plain; charset=utf-8",
            b"x-a": b"1",
            b"content-length": b"9",
        }
        assert body == {"type": "websocket.http.response.body", "body": b"Not Found"}
    async with Socket(deny(404)) as socket:
        assert [message["type"] for message in socket.sent] == ["websocket.close"]


@pytest.mark.parametrize("status", [4403, 99, 600, "403", None])
def test_what_is_no_status_is_refused(status: Any) -> None:
    with pytest.raises(ValueError, match="status"):
        reject(status)
    with pytest.raises(ValueError, match="status"):
        deny(status)


async def test_a_consumers_own_close_in_connect_answers_the_handshake() -> None:
    async with Socket(Refusing.as_asgi(), path="/close/", **RESPONSE) as socket:
        await until(lambda: len(socket.sent) == 2)
        start, body = socket.sent
        assert (start["status"], dict(start["headers"])[b"retry-after"]) == (401, b"2")
        assert body["body"] == b"Who are you?"
    async with Socket(Refusing.as_asgi(), path="/close/") as socket:
        assert socket.sent == [{"type": "websocket.close", "code": 4401, "reason": "Who are you?"}]


async def test_a_consumers_own_reject_in_connect_is_told_to_browsers() -> None:
    async with Socket(Refusing.as_asgi(), path="/reject/", subprotocols=["v1"], **RESPONSE) as socket:
        await until(lambda: socket.closed)
        assert socket.sent[0] == {"type": "websocket.accept", "subprotocol": "v1"}
        assert socket.frames[0]["payload"] == {"code": 4403, "reason": "Not here.", "reconnect": False}
        assert socket.closed == {"type": "websocket.close", "code": 4403, "reason": "Not here."}
