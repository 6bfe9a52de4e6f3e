"""A client that is there and one that is not, as the servers and a real client see it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.servers import ANSWER_WITHIN, ASGI_SERVERS, Server, connect, receive, run_server, send

pytestmark = pytest.mark.servers


async def last_frames(connection: ClientConnection) -> tuple[list[Any], int]:
    """What comes until the server closes, and the code of the close."""
    frames: list[Any] = []
    async with asyncio.timeout(ANSWER_WITHIN):
        with suppress(ConnectionClosed):
            while True:
                frames.append(json.loads(await connection.recv()))
    assert connection.close_code is not None
    return frames, connection.close_code


async def test_a_silent_client_is_told_and_closed(server: Server) -> None:
    """Its protocol pongs are no life: a page that hangs sends them, too."""
    async with connect(server, "/heartbeat/") as connection:
        frames, code = await last_frames(connection)
    assert frames[0] == {"route": "PING", "payload": None}
    (notice,) = frames[1:]
    assert notice["route"] == "CLOSE"
    assert (notice["payload"]["code"], notice["payload"]["reconnect"]) == (4408, True)
    assert code == 4408
    server.wait_for_output("left with 4408")


async def test_a_client_that_answers_stays(server: Server) -> None:
    """For longer than a silent one would have had."""
    loop = asyncio.get_running_loop()
    async with connect(server, "/heartbeat/") as connection:
        opened = loop.time()
        while loop.time() < opened + 3:
            assert (await receive(connection))["route"] == "PING"
            await send(connection, {"route": "PONG"})
        await send(connection, {"route": "echo", "uuid": 1, "payload": "still here"})
        reply = await receive(connection, lambda frame: frame.get("uuid") == 1)
        assert (reply["status"], reply["payload"]) == (200, "still here")


async def gets_in(server: Server) -> bool:
    async with connect(server, "/ws/") as connection:
        try:
            await send(connection, {"route": "PING"})
            return bool((await receive(connection))["route"] == "PONG")
        except ConnectionClosed:
            return False


@pytest.mark.parametrize("kind", ASGI_SERVERS)
async def test_one_socket_too_many_is_told_and_closed(kind: str) -> None:
    """Also one whose client offers subprotocols, and would fail a handshake that chose none of them."""
    settings = json.dumps({"MAX_SOCKETS_PER_ADDRESS": 1})
    with run_server(kind, "tests.wire.asgi:application", ROUTESOCK=settings) as server:
        async with connect(server, "/ws/") as first:
            await send(first, {"route": "echo", "uuid": 1, "payload": "in"})
            assert (await receive(first))["payload"] == "in"
            async with connect(server, "/ws/", subprotocols=["v2", "v1"]) as second:
                assert second.subprotocol == "v2"
                (notice,), code = await last_frames(second)
            assert notice["payload"]["code"] == code == 4429
            await send(first, {"route": "echo", "uuid": 2, "payload": "still in"})
            assert (await receive(first))["payload"] == "still in"
        async with asyncio.timeout(ANSWER_WITHIN):
            while not await gets_in(server):  # until the server has noticed that the first one left
                pass
        assert "Traceback" not in server.output()
