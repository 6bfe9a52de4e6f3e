"""Layers whose Redis fails, over real sockets: no socket ends, requests are answered, and members come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.servers import RedisServer, Server, connect, receive, send
from tests.takeover.driver import until

pytestmark = pytest.mark.servers

CORE = pytest.param(("uvicorn", "channels_redis.core.RedisChannelLayer"), id="core")
PUBSUB = pytest.param(("uvicorn", "channels_redis.pubsub.RedisPubSubChannelLayer"), id="pubsub")
DAPHNE = pytest.param(("daphne", "channels_redis.core.RedisChannelLayer"), id="daphne")


def on(*stacks: Any) -> Any:
    return pytest.mark.parametrize("stack", stacks, indirect=True, scope="module")


BACK_WITHIN = 60.0
"""Seconds. What is promised is 5, on a machine that has nothing else to do."""

FAILS = "The channel layer RedisChannelLayer fails"
ANSWERS = "The channel layer RedisChannelLayer answers again"
WORKS = "The channel layer RedisChannelLayer works again"

numbers = count(1)


class Party:
    """Sockets in the groups ``declared`` and ``joined``, and one more that broadcasts to them."""

    def __init__(self, sender: ClientConnection, members: list[ClientConnection]) -> None:
        self.sender = sender
        self.members = members

    async def broadcast(self, group: str, round_: int, number_of: int = 1) -> int:
        """The status of the reply to whom broadcasts."""
        payload = {"group": group, "round": round_, "count": number_of}
        status: int = (await request(self.sender, "broadcast", payload))["status"]
        return status

    async def all_answer(self) -> None:
        for member in (self.sender, *self.members):
            assert (await request(member, "echo", 1))["payload"] == 1

    async def all_hear(self) -> None:
        """Returns when broadcasts to each group have reached each member."""
        round_ = next(numbers)

        async def hear(member: ClientConnection) -> None:
            missing = {"declared", "joined"}
            while missing:
                frame = await receive(member, lambda frame: frame.get("round") == round_, within=BACK_WITHIN)
                missing.discard(frame["told"])

        hearing = asyncio.gather(*map(hear, self.members))
        while not hearing.done():
            for group in ("declared", "joined"):
                await self.broadcast(group, round_)
            await asyncio.wait({hearing}, timeout=0.05)
        await hearing


async def request(connection: ClientConnection, route: str, payload: Any) -> Any:
    uuid = next(numbers)
    await send(connection, {"route": route, "uuid": uuid, "payload": payload})
    return await receive(connection, lambda frame: frame.get("uuid") == uuid)


@pytest.fixture
async def party(server: Server, redis: RedisServer) -> AsyncIterator[Party]:
    async with AsyncExitStack() as stack:
        # A client that leaves frames unread does not get to its own close.
        opening = (connect(server, path, max_queue=None) for path in ("/ws/", "/ws/", "/ws/", "/sync/"))
        sockets = [await stack.enter_async_context(socket) for socket in opening]
        party = Party(sockets[0], sockets[1:])
        await party.all_hear()
        yield party


@on(CORE, PUBSUB, DAPHNE)
async def test_members_come_back_when_redis_does(party: Party, redis: RedisServer, server: Server) -> None:
    redis.stop()
    assert await party.broadcast("declared", 0) == 500
    await party.all_answer()
    with pytest.raises(InvalidStatus, match="500"):
        await connect(server, "/ws/")
    redis.start()
    await party.all_hear()
    await party.all_answer()


@on(CORE)
async def test_a_restart_that_nobody_had_time_to_notice_costs_no_membership(
    party: Party, redis: RedisServer, server: Server
) -> None:
    """Only the one socket that was reading sees it, and for all of them it is logged once."""
    before = len(server.output())
    redis.kill()
    redis.start()
    await party.all_hear()
    await party.all_answer()
    await until(lambda: WORKS in server.output()[before:], "the end of the outage in the log", BACK_WITHIN)
    assert server.output()[before:].count(FAILS) <= 1


@on(CORE, PUBSUB)
async def test_a_redis_that_hangs_keeps_no_request_waiting_and_costs_no_membership(
    party: Party, redis: RedisServer
) -> None:
    redis.pause()
    sending = asyncio.ensure_future(party.broadcast("declared", 0))
    for member in party.members:
        assert (await request(member, "echo", 1))["payload"] == 1
    assert await sending == 500
    redis.resume()
    await party.all_hear()
    await party.all_answer()


@on(CORE)
async def test_who_leaves_while_redis_hangs_is_in_no_group_afterwards(
    party: Party, redis: RedisServer, server: Server
) -> None:
    before = len(server.output())
    redis.pause()
    await asyncio.gather(*(party.members.pop().close() for _ in range(2)))
    await until(lambda: FAILS in server.output()[before:], "the outage in the log", BACK_WITHIN)
    redis.resume()
    await party.all_hear()
    await until(lambda: WORKS in server.output()[before:], "the end of the outage in the log", BACK_WITHIN)
    names = [f"asgi:group:{name}" for name in ("declared", "joined")]
    with Redis.from_url(redis.url) as client:
        # Once more a moment later: a call that was given up may have joined a group again since.
        await until(lambda: [client.zcard(name) for name in names] == [2, 2], "the groups left", BACK_WITHIN)


@on(CORE, PUBSUB)
async def test_a_member_that_is_busy_gets_every_broadcast(party: Party) -> None:
    busy = party.members[0]
    await send(busy, {"route": "busy", "uuid": "busy"})
    round_ = next(numbers)
    assert await party.broadcast("declared", round_, 300) == 204
    await send(busy, {"route": "CANCEL", "uuid": "busy"})
    told = [await receive(busy, lambda frame: frame.get("round") == round_) for _ in range(300)]
    assert [frame["number"] for frame in told] == [*range(300)]


@on(CORE, PUBSUB)
async def test_a_known_outage_does_not_hold_the_database_thread(
    party: Party, redis: RedisServer, server: Server
) -> None:
    """The first broadcast finds out, the others fail at once, and so do joins."""
    sync = party.members[-1]
    redis.pause()
    assert (await request(sync, "broadcast", {"count": 1}))["payload"] == ["TimeoutError"]
    before = len(server.output())
    errors = (await request(sync, "broadcast", {"count": 200}))["payload"]
    assert errors == ["TimeoutError"] * 200
    assert (await request(sync, "join", {"count": 200}))["payload"] == ["TimeoutError"] * 200
    assert "does not answer" not in server.output()[before:]
    redis.resume()
    await party.all_hear()
    await until(lambda: "RedisPubSubChannelLayer answers again" in server.output() or ANSWERS in server.output())

    async def broadcast() -> list[str]:
        errors: list[str] = (await request(sync, "broadcast", {"count": 1}))["payload"]
        return errors

    async with asyncio.timeout(BACK_WITHIN):
        while await broadcast():  # noqa: ASYNC110  (each is a request)
            await asyncio.sleep(0.05)
