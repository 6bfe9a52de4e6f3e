"""Many sockets at the same moment, and sockets that come and go, over a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection

from tests.servers import Server, connect, receive, run_redis_server, run_server, send
from tests.takeover.driver import until

from .conftest import Stack

pytestmark = pytest.mark.servers

APPLICATION = "tests.layers.asgi:application"
CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"

POOL = 20
"""Connections of a process to Redis; 100 by default."""

WITHIN = 60.0
"""Seconds for what takes a few on a machine that has nothing else to do."""

uuids = count(1)


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The server and the layer that the test asks for, configured as in the docs."""
    kind, layer = request.param
    env = {"CHANNEL_LAYER": layer, "SOCKET_TIMEOUT": "10", "POOL": f"{POOL}", "CAPACITY": "1000"}
    with run_redis_server() as redis, run_server(kind, APPLICATION, REDIS_URL=redis.url, **env) as server:
        yield Stack(server, redis)


def on(*stacks: tuple[str, str]) -> Any:
    names = [f"{kind}-{layer.split('.')[1]}" for kind, layer in stacks]
    return pytest.mark.parametrize("stack", stacks, indirect=True, scope="module", ids=names)


@pytest.fixture
async def opened(server: Server) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def opened(number: int, path: str = "/roam/") -> list[ClientConnection]:
            connecting = [connect(server, path, max_queue=None, open_timeout=WITHIN) for _ in range(number)]
            return [*await asyncio.gather(*map(stack.enter_async_context, connecting))]

        yield opened


async def ask(connection: ClientConnection, route: str, payload: Any = None) -> int:
    """The status of the reply."""
    uuid = next(uuids)
    await send(connection, {"route": route, "uuid": uuid, "payload": payload})
    status: int = (await receive(connection, lambda frame: frame.get("uuid") == uuid, within=WITHIN))["status"]
    return status


@on(("uvicorn", CORE), ("uvicorn", PUBSUB))
@pytest.mark.parametrize("kind", ["", ".own"])
async def test_all_joins_and_broadcasts_of_one_moment_succeed(opened: Any, kind: str) -> None:
    """They wait for a connection, where the pool of redis-py refuses what is too much."""
    sockets = await opened(250)
    joined = await asyncio.gather(*(ask(socket, f"join{kind}", f"g{i}{kind}") for i, socket in enumerate(sockets)))
    assert joined == [204] * 250
    told = await asyncio.gather(*(ask(socket, f"shout{kind}", f"g{i}{kind}") for i, socket in enumerate(sockets[:200])))
    assert told == [204] * 200


@on(("uvicorn", CORE))
async def test_a_loop_that_was_blocked_does_not_take_the_layer_for_slow(opened: Any) -> None:
    (socket,) = await opened(1)
    assert await ask(socket, "block", 6) == 204


@on(("uvicorn", CORE), ("uvicorn", PUBSUB))
async def test_sockets_that_come_and_go_cost_no_broadcast(opened: Any, server: Server) -> None:
    (listener,) = await opened(1, "/news/")
    (teller,) = await opened(1, "/news/")
    stop = asyncio.Event()
    departed = 0

    async def come_and_go() -> None:
        nonlocal departed
        while not stop.is_set():
            async with connect(server, "/roam/?own", open_timeout=WITHIN):
                pass
            departed += 1

    coming = [asyncio.create_task(come_and_go()) for _ in range(8)]
    await until(lambda: departed > 20)
    for first in range(0, 600, 20):
        uuid = next(uuids)
        await send(teller, {"route": "tell", "uuid": uuid, "payload": {"first": first, "last": first + 20}})
        reply = await receive(teller, lambda frame: frame.get("uuid") == uuid, within=WITHIN)  # noqa: B023
        assert reply["payload"] == []
    stop.set()
    await asyncio.gather(*coming)
    assert departed > 100
    numbers: list[int] = []
    await send(teller, {"route": "pass", "payload": "end"})
    while True:
        frame = await receive(listener, lambda frame: frame["route"] == "news", within=WITHIN)
        if frame["payload"] == "end":
            break
        numbers.append(frame["payload"])
    assert numbers == [*range(600)]


@on(("uvicorn", PUBSUB), ("daphne", PUBSUB))
@pytest.mark.parametrize("stopped", [False, True])
async def test_sockets_that_leave_keep_no_subscription(
    stack: Stack, server: Server, opened: Any, stopped: bool
) -> None:
    """Not even where Redis stands still for a second while they leave."""
    (other,) = await opened(1, "/news/")
    with Redis.from_url(stack.redis.url) as redis:

        def subscribed() -> set[bytes]:
            return {*redis.pubsub_channels()}

        before = subscribed()
        for _ in range(3):
            async with AsyncExitStack() as sockets:
                connecting = [connect(server, "/ws/", max_queue=None, open_timeout=WITHIN) for _ in range(20)]
                connecting += [connect(server, "/roam/", max_queue=None, open_timeout=WITHIN) for _ in range(20)]
                opened_now = await asyncio.gather(*map(sockets.enter_async_context, connecting))
                for number, socket in enumerate(opened_now[20:]):
                    assert await ask(socket, "join", f"group {number}") == 204
                assert len(subscribed()) >= len(before) + 60
                if stopped:
                    stack.redis.pause()
                    await send(other, {"route": "pass", "payload": 1})  # waits for its answer, and the layer with it
            if stopped:
                await asyncio.sleep(1)
                stack.redis.resume()
            await until(lambda: subscribed() <= before, "no subscription left", WITHIN)


@on(("uvicorn", CORE))
async def test_groups_that_redis_has_lost_come_back(stack: Stack, opened: Any, server: Server) -> None:
    """After FLUSHALL nothing fails: a process notices that what it sends to itself does not come back."""
    lost, again = "has lost its groups", "its groups were joined again"
    before = len(server.output())
    (listener,) = await opened(1, "/news/")
    (teller,) = await opened(1, "/news/")
    (member,) = await opened(1, "/ws/")
    with Redis.from_url(stack.redis.url) as redis:
        await until(lambda: redis.keys("asgi:group:routesock.pulse.*"), "the first pulse", WITHIN)
        redis.flushall()
        await until(lambda: again in server.output()[before:], "the groups again", WITHIN)
        hearing = asyncio.create_task(receive(listener, lambda frame: frame["route"] == "news", within=WITHIN))
        assert await ask(teller, "pass", "news") == 204
        assert (await hearing)["payload"] == "news"
        hearing = asyncio.create_task(receive(member, lambda frame: "told" in frame, within=WITHIN))
        await send(member, {"route": "broadcast", "payload": {"group": "declared", "round": 1}})
        assert (await hearing)["told"] == "declared"
        assert server.output()[before:].count(lost) == 1
