"""Broadcasts between two processes over a real Redis: each once and in order, and what a restart costs is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection

from routesock._groups.losses import SETTLES
from tests.servers import Server, connect, receive, run_redis_server, run_server, send
from tests.takeover.driver import until

from .conftest import Pair

pytestmark = pytest.mark.servers

CORE = pytest.param("channels_redis.core.RedisChannelLayer", id="core")
PUBSUB = pytest.param("channels_redis.pubsub.RedisPubSubChannelLayer", id="pubsub")

EITHER = pytest.mark.parametrize("pair", [CORE, PUBSUB], indirect=True, scope="module")

WITHIN = 60.0
"""Seconds for what takes a few on a machine that has nothing else to do."""

BACK_WITHIN = 60.0
"""Seconds. What is promised is 5, on such a machine."""

uuids = count(1)


class Listener:
    """A socket in a group, and what was broadcast to it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.news: list[Any] = []
        self.reading = asyncio.create_task(self.read())

    async def read(self) -> None:
        async for text in self.connection:
            self.news.append(json.loads(text)["payload"])


class Client:
    """Who broadcasts, and asks what became of it. It is in the group, too."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def ask(self, route: str, payload: Any = None) -> Any:
        uuid = next(uuids)
        await send(self.connection, {"route": route, "uuid": uuid, "payload": payload})
        reply = await receive(self.connection, lambda frame: frame.get("uuid") == uuid, within=WITHIN)
        assert reply["status"] < 300
        return reply.get("payload")

    async def tell(self, first: int, last: int) -> list[int]:
        """Broadcast these numbers; those that the layer refused."""
        refused: list[int] = await self.ask("tell", {"first": first, "last": last})
        return refused


class Audience:
    """Listeners in both processes, and a client of each."""

    def __init__(self, stack: AsyncExitStack, pair: Pair) -> None:
        self.stack = stack
        self.pair = pair

    async def open(self, server: Server) -> ClientConnection:
        return await self.stack.enter_async_context(connect(server, "/news/", max_queue=None, open_timeout=WITHIN))

    async def fill(self, size: int) -> None:
        self.halves = [
            [Listener(await self.open(server)) for _ in range(size)] for server in (self.pair.first, self.pair.second)
        ]
        self.clients = [Client(await self.open(server)) for server in (self.pair.first, self.pair.second)]

    @property
    def listeners(self) -> list[Listener]:
        return [listener for half in self.halves for listener in half]

    async def heard(self, number: Any) -> None:
        """Returns when everybody has heard ``number``."""
        await until(lambda: all(number in each.news[-50:] for each in self.listeners), f"{number} everywhere", WITHIN)

    async def counts(self) -> list[dict[str, int]]:
        return [await client.ask("counts") for client in self.clients]


@pytest.fixture
async def seat(pair: Pair) -> AsyncIterator[Callable[[int], Any]]:
    async with AsyncExitStack() as stack:

        async def seat(size: int) -> Audience:
            audience = Audience(stack, pair)
            await audience.fill(size)
            return audience

        yield seat


@pytest.fixture
def first(pair: Pair) -> Server:
    """For the report of a test that fails."""
    return pair.first


@pytest.fixture
def second(pair: Pair) -> Server:
    return pair.second


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {field: after[field] - before[field] for field in before if after[field] != before[field]}


@EITHER
@pytest.mark.usefixtures("first", "second")
async def test_every_broadcast_reaches_every_socket_once_and_in_order(seat: Any) -> None:
    audience = await seat(50)
    before = await audience.counts()
    assert await audience.clients[0].tell(0, 1000) == []
    await audience.heard(999)
    assert all(listener.news == [*range(1000)] for listener in audience.listeners)
    changes = [*map(difference, before, await audience.counts())]
    assert changes == [{"sent": 1000, "received": 1000}, {"received": 1000}]


@EITHER
@pytest.mark.usefixtures("second")
async def test_a_restart_of_redis_costs_what_is_counted_and_nothing_else(seat: Any, pair: Pair, first: Server) -> None:
    audience = await seat(3)
    await asyncio.sleep(SETTLES)
    client = audience.clients[0]
    before = await audience.counts()
    lines = len(first.output())
    assert await client.tell(0, 100) == []
    await audience.heard(99)

    told = 100
    refused = 0

    async def tell() -> None:
        nonlocal told, refused
        refused += len(await client.tell(told, told + 10))
        told += 10

    pair.redis.kill()
    await tell()
    assert refused
    pair.redis.start()
    since = told
    async with asyncio.timeout(BACK_WITHIN):
        while not all(listener.news[-1] > since for listener in audience.listeners):
            await tell()
            await asyncio.sleep(0.1)
    calm = told
    await tell()
    await audience.heard(told - 1)

    missing = []
    for half in audience.halves:
        news = half[0].news
        assert all(listener.news == news for listener in half)
        assert news == sorted({*news})
        assert {*range(100), *range(calm, told)} <= {*news}
        missing.append({*range(told)} - {*news})
        assert missing[-1] == {*range(min(missing[-1]), max(missing[-1]) + 1)}  # one outage, and nothing beside it

    async def lost() -> list[int]:
        return [difference(*each).get("lost", 0) for each in zip(before, await audience.counts(), strict=True)]

    async with asyncio.timeout(WITHIN):
        while await lost() != [*map(len, missing)]:  # noqa: ASYNC110  (a burst is told after a second)
            await asyncio.sleep(0.1)
    assert difference(before[0], (await audience.counts())[0])["failed"] == refused
    assert f"{len(missing[0])} broadcasts to 1 group did not arrive" in first.output()[lines:]


def deep(levels: int) -> Any:
    return {"payload": deep(levels - 1)} if levels else None


ANYTHING: list[Any] = [
    None,
    0,
    2**64,
    -1.5e300,
    "",
    "\0",
    "msg:1",
    'msg:{"type": "websocket.close"}',
    "routesock.push",
    "websocket.disconnect",
    "\x00 and \U0001f600 and \u2028",
    '{"route": "CLOSE"}',
    b"\x93NUMPY".decode("latin-1"),
    [],
    {"": None},
    {"route": "PING", "uuid": 1, "status": 500, "payload": {"headers": {}}},
    {"route": "CLOSE", "payload": {"code": 1012}},
    {"type": "websocket.close", "code": 1000},
    {"type": "routesock.revocation", "event": "x"},
    {"__asgi_channel__": ["specific.a!b"], "type": "routesock.push", "group": "x", "from": "x", "seq": 1, "except": 1},
    {"data": "x", "__class__": "x", "py/object": "os.system"},
    deep(50),
]


@EITHER
@pytest.mark.usefixtures("first", "second")
async def test_a_payload_that_looks_like_anything_arrives_as_it_was_sent(seat: Any) -> None:
    audience = await seat(1)
    for payload in ANYTHING:
        await audience.clients[0].ask("pass", payload)
    await audience.clients[0].ask("pass", "the end")
    await audience.heard("the end")
    assert [listener.news[:-1] for listener in audience.listeners] == [ANYTHING, ANYTHING]


async def test_sockets_that_live_longer_than_a_member_of_a_group_go_on_receiving() -> None:
    expiry = 2
    with (
        run_redis_server() as redis,
        run_server(
            "uvicorn",
            "tests.layers.asgi:application",
            CHANNEL_LAYER="channels_redis.core.RedisChannelLayer",
            REDIS_URL=redis.url,
            GROUP_EXPIRY=f"{expiry}",
            SOCKET_TIMEOUT="10",  # a receive() that times out would have the group joined again
        ) as server,
    ):
        async with connect(server, "/news/") as connection:
            await asyncio.sleep(expiry * 1.5)
            hearing = asyncio.create_task(receive(connection, lambda frame: frame["route"] == "news", within=WITHIN))
            while not hearing.done():  # a machine that is busy may let the membership lapse for a moment
                await send(connection, {"route": "pass", "payload": "still here"})
                await asyncio.wait({hearing}, timeout=0.5)
            assert (await hearing)["payload"] == "still here"


@pytest.mark.parametrize("pair", [PUBSUB], indirect=True, scope="module")
async def test_a_socket_that_has_ended_leaves_no_subscription_in_redis(pair: Pair) -> None:
    with Redis.from_url(pair.redis.url) as redis:

        def subscribed() -> set[bytes]:
            return {*redis.pubsub_channels()}

        async with connect(pair.first, "/news/"):
            before = subscribed()
            async with connect(pair.first, "/news/"), connect(pair.first, "/news/"):
                added = subscribed() - before
                assert added
            # Only those: what other sockets have left behind on the way may still vanish.
            await until(lambda: not added & subscribed())


JUNK = [
    b"",
    b"\x00" * 12,
    b"no msgpack",
    b"\xc1" * 40,
    b"\x00" * 12 + b"\xa4text",  # a text
    b"\x00" * 12 + b"\x93\x01\x02\x03",  # a list
    b"\x00" * 12 + b"\x80",  # an empty dict
    b"\x00" * 12 + b"\x81\xa4type\x01",
    b"\x00" * 12 + b"\x81\xa4type\x90",
    b"\x00" * 12 + b"\x81\x01\xa4type",
    b"\xa4text",
    b"\x93\x01\x02\x03",
    b"\x80",
    b"\x81\xa4type\x01",
    b"\x82\xa4type\xaeroutesock.push\xa5group\x01",
    b"\x00" * 12 + b"\x82\xa4type\xaeroutesock.push\xa5group\x01",
    b"\x00" * 12 + b"\x81\xa4type\xb4routesock.revocation",
    b"\x81\xa4type\xb4routesock.revocation",
]
"""What other programs may write into Redis, with and without the random prefix of the core layer."""


@EITHER
async def test_no_message_in_a_layer_costs_more_than_itself(
    seat: Any, pair: Pair, first: Server, second: Server
) -> None:
    audience = await seat(2)
    before = [len(server.output()) for server in (first, second)]
    with Redis.from_url(pair.redis.url) as redis:
        queues: set[bytes] = set()
        channels = redis.pubsub_channels()
        groups = redis.keys("asgi:group:routesock.named*")
        for key in groups:
            queues |= {b"asgi" + name.rsplit(b"!", 1)[0] + b"!" for name in redis.zrange(key, 0, -1)}
        assert queues or channels
        for number, junk in enumerate(JUNK):
            for queue in queues:
                redis.zadd(queue, {junk: number + 1})
            for channel in channels:
                redis.publish(channel, junk)
            await audience.clients[0].ask("pass", number)
    await audience.heard(len(JUNK) - 1)
    for listener in audience.listeners:
        assert listener.news == [*range(len(JUNK))]
    for server, lines in zip((first, second), before, strict=True):
        assert "fails" not in server.output()[lines:]
        assert "started again" not in server.output()[lines:]
        assert "cannot be read" in server.output()[lines:]
