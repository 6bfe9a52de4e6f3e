"""Counts in Redis: what is kept there, and what a Redis that is down, slow, hung or of another mind decides."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import override_settings

from routesock import Request, RouteMixin, Throttle, route, run_on_loop
from routesock.testing import RouteClient
from tests.throttling.redis_server import RedisServer, cache_at

pytestmark = pytest.mark.servers

LOGGER = "routesock.throttle"


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("once", throttle="1/h")
    async def once(self, request: Request) -> str:
        return "passed"

    @route("often", throttle="1000/h")
    async def often(self, request: Request) -> str:
        return "passed"

    @route("either", throttle=["2/h", Throttle("1/h", scope=run_on_loop(lambda request: request.payload))])
    async def either(self, request: Request) -> str:
        return "passed"

    @route("open")
    async def open(self, request: Request) -> str:
        return "passed"


Settings = Callable[..., Any]


def at(server: RedisServer, options: dict[str, Any] | None = None, **own: Any) -> override_settings:
    return override_settings(CACHES=cache_at(server.url, **(options or {})), ROUTESOCK=own)


async def statuses(client: RouteClient, name: str, count: int) -> list[int]:
    return [(await client.call(name)).status for _ in range(count)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if (record.name, record.levelno) == (LOGGER, logging.WARNING)
    ]


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[RouteClient]:
    """Of a server that is in order."""
    with at(redis_server):
        async with RouteClient(Shop, timeout=20) as client:
            yield client


@pytest.fixture
async def mistreated(own_redis: RedisServer) -> AsyncIterator[RouteClient]:
    """Of ``own_redis``, which counts already: a connection is open, and the script known."""
    with at(own_redis):
        async with RouteClient(Shop, timeout=20) as client:
            assert await statuses(client, "often", 1) == [200]
            yield client


class TestKept:
    async def test_route_is_throttled_there(self, client: RouteClient, redis_server: RedisServer) -> None:
        """And nothing else touches it."""
        assert await statuses(client, "open", 1) == [200]
        assert redis_server.key_names() == []
        assert await statuses(client, "once", 2) == [200, 429]
        assert len(redis_server.key_names()) == 1

    async def test_keys_say_nothing_of_a_client(self, redis_server: RedisServer) -> None:
        """They begin as all keys of the cache, have one hash tag, and expire."""
        hostile = "{}\r\nFLUSHALL\r\n" * 5
        with at(redis_server, NUM_PROXIES=1):
            async with RouteClient(Shop, headers={"X-Forwarded-For": "203.0.113.7"}) as client:
                await client.call("once")
                await client.call("either", hostile)
        keys = redis_server.key_names()
        assert len(keys) == 3
        for key in keys:
            assert re.fullmatch(r"shop:1:routesock\.throttle:\{[0-9a-f]{32}\}(:[0-9a-f]{32}){1,2}", key)
            assert 3_500_000 < redis_server.execute("PTTL", key) <= 3_600_002

    async def test_keys_of_one_call_lie_together(self, client: RouteClient, redis_server: RedisServer) -> None:
        """Or no script could see them all, where there are several servers: their hash tags are one."""
        await client.call("either", "a")
        assert len({re.search(r"\{.*\}", key)[0] for key in redis_server.key_names()}) == 1  # type: ignore[index]

    async def test_of_several_rates_a_call_takes_from_all_or_none(self, client: RouteClient) -> None:
        """What the one refuses costs nothing in the other."""
        replies = [await client.call("either", payload) for payload in ("a", "a", "a", "b", "c")]
        assert [reply.status for reply in replies] == [200, 429, 429, 200, 429]

    async def test_calls_at_the_same_time_get_each_their_own_answer(self, redis_server: RedisServer) -> None:
        """Although one connection carries them all, and one of them leaves."""
        with at(redis_server):
            async with RouteClient(Shop, timeout=20) as one, RouteClient(Shop, timeout=20) as other:
                leaving = asyncio.create_task(other.call("often"))
                await asyncio.sleep(0)
                calls = [one.call("once") for _ in range(20)] + [other.call("often") for _ in range(20)]
                leaving.cancel()
                replies = await asyncio.gather(*calls)
        assert sorted(reply.status for reply in replies[:20]) == [200] + [429] * 19
        assert {reply.status for reply in replies[20:]} == {200}
        connections = [line for line in redis_server.execute("CLIENT", "LIST").splitlines() if "evalsha" in line]
        assert len(connections) <= 1

    def test_each_event_loop_has_a_client_of_its_own(self, redis_server: RedisServer) -> None:
        """And leaves nothing open when it ends."""

        async def call() -> int:
            async with RouteClient(Shop, timeout=20) as client:
                return (await client.call("once")).status

        def clients() -> set[str]:
            return {line.split()[0] for line in redis_server.execute("CLIENT", "LIST").splitlines()}

        before = clients()  # of other tests
        with at(redis_server):
            assert [asyncio.run(call()) for _ in range(3)] == [200, 429, 429]
        # Who asks is one; the server may take a moment to notice that the last loop has ended.
        assert any(len(clients() - before) == 1 for _ in range(2000))

    async def test_exceptions_that_the_cache_ignores_are_not_ignored(
        self, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``IGNORE_EXCEPTIONS`` is for caching: there nothing is wrong with an empty cache."""
        with at(own_redis, {"IGNORE_EXCEPTIONS": True}, THROTTLE_FAIL="closed"):
            async with RouteClient(Shop, timeout=20) as client:
                assert await statuses(client, "once", 2) == [200, 429]
                own_redis.stop()
                assert await statuses(client, "once", 1) == [503]
        assert len(warnings(caplog)) == 1


async def replica(server: RedisServer) -> None:
    server.execute("REPLICAOF", "127.0.0.1", "1")


async def out_of_memory(server: RedisServer) -> None:
    server.execute("CONFIG", "SET", "maxmemory", "1")


async def wrong_type(server: RedisServer) -> None:
    for key in server.key_names():
        server.execute("DEL", key)
        server.execute("LPUSH", key, "a")


async def denied(server: RedisServer) -> None:
    server.execute("ACL", "SETUSER", "default", "-eval", "-evalsha")


async def stopped(server: RedisServer) -> None:
    server.stop()


async def hung(server: RedisServer) -> None:
    server.pause()


ILLS: dict[Callable[[RedisServer], Any], str] = {
    replica: "ReadOnlyError",
    out_of_memory: "OutOfMemoryError",
    wrong_type: "WRONGTYPE",
    denied: "NoPermissionError",
    stopped: "ConnectionError",
    hung: "did not answer",
}


class TestOutage:
    @pytest.mark.parametrize("ill", ILLS)
    async def test_call_passes_and_that_is_logged_once(
        self, ill: Any, mistreated: RouteClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whatever is wrong. The log says so at the beginning of an outage."""
        await ill(own_redis)
        assert await statuses(mistreated, "often", 3) == [200] * 3
        [warning] = warnings(caplog)
        assert ILLS[ill] in warning
        assert "calls are allowed" in warning

    @pytest.mark.parametrize("ill", ILLS)
    async def test_call_is_refused_where_that_is_the_policy(
        self, ill: Any, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With 503, and a second to wait."""
        with at(own_redis, THROTTLE_FAIL="closed"):
            async with RouteClient(Shop, timeout=20) as client:
                assert await statuses(client, "often", 1) == [200]
                await ill(own_redis)
                reply = await client.call("often")
        assert (reply.status, reply.payload["code"], reply.headers["Retry-After"]) == (503, "unavailable", 1)
        [warning] = warnings(caplog)
        assert ILLS[ill] in warning
        assert "calls are refused" in warning

    async def test_counting_goes_on_when_it_is_back(
        self, mistreated: RouteClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At the first call: a restart costs what was counted (and the script), but no call more."""
        assert await statuses(mistreated, "once", 2) == [200, 429]
        own_redis.stop()
        assert await statuses(mistreated, "once", 2) == [200, 200]
        own_redis.start()
        assert await statuses(mistreated, "once", 3) == [200, 429, 429]
        assert len(warnings(caplog)) == 1

    async def test_restart_between_two_calls_is_not_noticed(
        self, mistreated: RouteClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The connection is opened anew, and the script sent."""
        own_redis.stop()
        own_redis.start()
        assert await statuses(mistreated, "once", 2) == [200, 429]
        own_redis.execute("SCRIPT", "FLUSH")
        assert await statuses(mistreated, "once", 2) == [429, 429]
        own_redis.execute("CLIENT", "KILL", "TYPE", "normal")
        assert await statuses(mistreated, "once", 2) == [429, 429]
        assert warnings(caplog) == []

    async def test_counting_goes_on_when_it_wakes(self, mistreated: RouteClient, own_redis: RedisServer) -> None:
        """After it hung, and whatever was asked meanwhile."""
        assert await statuses(mistreated, "once", 1) == [200]
        own_redis.pause()
        assert await statuses(mistreated, "once", 2) == [200, 200]
        own_redis.resume()
        assert await statuses(mistreated, "once", 2) == [429, 429]

    async def test_hung_redis_holds_nothing_else_up(self, mistreated: RouteClient, own_redis: RedisServer) -> None:
        """Not the event loop, not other routes, and not the thread of the ORM."""
        own_redis.pause()
        waiting = asyncio.create_task(mistreated.call("often"))
        async with RouteClient(Shop, timeout=20) as other:
            assert await statuses(other, "open", 3) == [200] * 3
            assert await sync_to_async(lambda: "of the ORM")() == "of the ORM"
            for _ in range(100):
                await asyncio.sleep(0)
            assert not waiting.done()
        assert (await waiting).status == 200

    async def test_calls_that_wait_for_a_hung_redis_are_decided_together(
        self, mistreated: RouteClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not one after the other: fifty would take a quarter of a minute."""
        own_redis.pause()
        sockets = [RouteClient(Shop, timeout=30) for _ in range(50)]
        for socket in sockets:
            await socket.connect()
        replies = await asyncio.gather(*(socket.call("often") for socket in sockets))
        assert [reply.status for reply in replies] == [200] * 50
        for socket in sockets:
            await socket.disconnect()
        assert len(warnings(caplog)) == 1

    async def test_redis_that_is_down_at_first_is_no_different(
        self, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A process may start before its Redis does."""
        own_redis.stop()
        with at(own_redis):
            async with RouteClient(Shop, timeout=20) as client:
                assert await statuses(client, "once", 2) == [200, 200]
                own_redis.start()
                assert await statuses(client, "once", 2) == [200, 429]
        assert len(warnings(caplog)) == 1

    async def test_script_of_somebody_else_that_does_not_end(
        self, mistreated: RouteClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Redis is busy: no answer at first, an error later."""
        own_redis.execute("CONFIG", "SET", "lua-time-limit", "400")
        endless = asyncio.create_task(asyncio.to_thread(own_redis.execute, "EVAL", "while true do end", "0"))
        while not warnings(caplog):
            assert await statuses(mistreated, "often", 1) == [200]
        assert await statuses(mistreated, "often", 3) == [200] * 3
        with pytest.raises(Exception, match="killed"):
            await asyncio.gather(endless, asyncio.to_thread(killed, own_redis))
        assert await statuses(mistreated, "once", 2) == [200, 429]


def killed(server: RedisServer) -> None:
    while True:
        try:
            server.execute("SCRIPT", "KILL")
        except Exception as exc:
            if "NOTBUSY" in str(exc):
                continue
            raise
        return
