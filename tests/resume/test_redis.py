"""Resuming over Redis: the store and the channel layer, with what both may lose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import channel_layers, get_channel_layer
from django.test import override_settings

from routesock import abroadcast, delivery_counts
from routesock._groups import hub as hubs
from routesock._store.opening import Outage
from routesock.exceptions import Unavailable
from routesock.history import ahistory, aposition
from routesock.testing import RouteClient
from tests.resume.test_topics import HISTORY, Rooms, pushes, say, subscribe
from tests.throttling.conftest import own_redis, redis_server, session_redis  # noqa: F401
from tests.throttling.redis_server import RedisServer, cache_at

pytestmark = pytest.mark.servers


def project(server: RedisServer) -> override_settings:
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [server.url]}}
    return override_settings(
        CACHES=cache_at(server.url),
        CHANNEL_LAYERS={"default": layer},
        ROUTESOCK={"HISTORY": HISTORY, "STORE_TIMEOUT": 20},
    )


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[RedisServer]:  # noqa: F811
    with project(redis_server):
        yield redis_server
        await channel_layers["default"].flush()  # closes its connections


async def check() -> None:
    for hub in [*hubs._hubs.values()]:
        await hub.check_streams()


class TestLayer:
    async def test_live_pushes_and_replay(self, redis: RedisServer) -> None:
        async with RouteClient(Rooms, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
            await say("a")
            assert await pushes(client, 1) == [("1", "a")]
        await say("b", "c")
        async with RouteClient(Rooms, timeout=20) as client:
            reply = await subscribe(client, since=since.replace(":0", ":1"))
            assert reply.headers["Recovered"] is True
            assert await pushes(client, 2) == [("2", "b"), ("3", "c")]

    async def test_messages_that_the_layer_loses(self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next one shows the gap; a check finds the last one. Nothing counts as lost."""
        layer: Any = get_channel_layer()
        before = delivery_counts()

        async def lose(group: str, message: Any) -> None:
            """Take it, and forget it."""

        async with RouteClient(Rooms, timeout=20) as client:
            await subscribe(client)
            with monkeypatch.context() as patch:
                patch.setattr(layer, "group_send", lose)
                await say("lost", "lost too")
            await say("next")
            assert await pushes(client, 3) == [("1", "lost"), ("2", "lost too"), ("3", "next")]
            with monkeypatch.context() as patch:
                patch.setattr(layer, "group_send", lose)
                await say("last")
            await check()
            assert await pushes(client, 1) == [("4", "last")]
        counts = delivery_counts()
        assert (counts.healed - before.healed >= 3, counts.lost - before.lost) == (True, 0)

    async def test_layer_that_fails_delays_a_push(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The sender gets no error, since the push is kept. An outage is logged once."""

        async def fail(group: str, message: Any) -> None:
            raise ConnectionError("gone")

        async with RouteClient(Rooms, timeout=20) as client:
            await subscribe(client)
            with monkeypatch.context() as patch:
                patch.setattr(get_channel_layer(), "group_send", fail)
                monkeypatch.setattr(hubs, "_late", Outage())
                await say("late", "later")
            await check()
            assert await pushes(client, 2) == [("1", "late"), ("2", "later")]
        assert caplog.text.count("Broadcasts are late") == 1

    async def test_keys_that_are_wiped(self, redis: RedisServer) -> None:
        """The client is notified, and gets a snapshot."""
        async with RouteClient(Rooms, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
            redis.execute("DEL", *redis.key_names())
            await check()
            assert (await client.expect_push("UNSUBSCRIBE")).payload["code"] == "history_lost"
            assert (await subscribe(client, since=since)).headers["Recovered"] is False


async def test_history_and_position(redis: RedisServer) -> None:
    """For pages and for code."""
    since = await aposition("room.5")
    await say("a", "b", "c")
    found = await ahistory("room.5", since, limit=2)
    assert ([push.payload for push in found.pushes], found.complete) == (["a", "b"], True)
    assert found.pushes[0].route == "said"
    rest = await ahistory("room.5", found.position)
    assert ([push.payload for push in rest.pushes], rest.position) == (["c"], await aposition("room.5"))
    everything = await ahistory("room.5")
    assert (len(everything.pushes), everything.complete) == (3, True)
    assert (await ahistory("room.5", "other:1")).complete is False
    for wrong in ({"group": "nothing"}, {"group": "room.5", "since": "x"}, {"group": "room.5", "limit": 0}):
        with pytest.raises(ValueError, match=r"."):
            await ahistory(**wrong)


async def test_store_that_is_gone(own_redis: RedisServer) -> None:  # noqa: F811
    """A broadcast raises, and so do the functions."""
    with override_settings(CACHES=cache_at(own_redis.url), ROUTESOCK={"HISTORY": HISTORY}):
        own_redis.kill()
        with pytest.raises(Unavailable):
            await abroadcast("room.5", "said")
        with pytest.raises(Unavailable):
            await aposition("room.5")
