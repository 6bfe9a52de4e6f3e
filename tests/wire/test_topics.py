"""Topics over real servers: pushes reach who has subscribed, and every hook runs when a client leaves."""

from __future__ import annotations

import asyncio

import pytest

from tests.servers import Server, connect, receive, send

pytestmark = pytest.mark.servers


async def test_a_broadcast_reaches_the_subscribers_of_its_topic(server: Server) -> None:
    async with connect(server, "/topics/") as one, connect(server, "/topics/") as other:
        for connection in (one, other):
            await send(connection, {"route": "SUBSCRIBE", "uuid": 1, "payload": {"topic": "works.é"}})
            assert await receive(connection) == {
                "uuid": 1,
                "route": "SUBSCRIBE",
                "status": 200,
                "payload": {"name": "é"},
            }
        await send(other, {"route": "UNSUBSCRIBE", "uuid": 2, "payload": {"topic": "works.é"}})
        assert (await receive(other))["status"] == 204
        await send(other, {"route": "tell", "uuid": 3, "payload": "works.é"})
        assert (await receive(other))["uuid"] == 3
        assert await receive(one) == {"route": "told", "headers": {"Topic": "works.é"}, "payload": "Hello"}


async def test_every_hook_runs_before_disconnect_when_a_client_leaves(server: Server) -> None:
    topics = ["works.1", "fails.1", "hangs.1", "thread.1", "works.2"]
    async with connect(server, "/topics/?everybody") as connection:
        for topic in topics:
            await send(connection, {"route": "SUBSCRIBE", "uuid": topic, "payload": {"topic": topic}})
            assert (await receive(connection))["status"] in (200, 204)
    await asyncio.to_thread(server.wait_for_output, "disconnect of everybody")
    output = server.output()
    found = [output.index(f"hook of {topic}") for topic in topics] + [output.index("disconnect of everybody")]
    assert found == sorted(found)
    assert [output.count(f"hook of {topic}\n") for topic in topics] == [1] * len(topics)
