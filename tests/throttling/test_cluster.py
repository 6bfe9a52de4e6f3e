"""A Redis Cluster cannot count calls: that is a mistake, and not an outage in which all calls pass."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from redis.exceptions import MovedError

from routesock import Request, RouteMixin, route
from routesock.testing import RouteClient
from routesock.throttling.cache import CacheStore
from tests.servers import free_port
from tests.throttling.model import window
from tests.throttling.redis_server import RedisServer, cache_at, run_redis_server


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("once", throttle="1/h")
    async def once(self, request: Request) -> str:
        return "passed"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisServer]:
    with run_redis_server(
        # By default the port of the server and 10,000, which may be more than there are.
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        str(free_port()),
    ) as server:
        yield server


@pytest.mark.servers
async def test_the_first_call_says_that_the_cache_is_a_cluster(
    cluster: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(CACHES=cache_at(cluster.url), ROUTESOCK={"THROTTLE_FAIL": "open", "THROTTLE_TIMEOUT": 20}):
        async with RouteClient(Shop, timeout=20) as client:
            for _ in range(2):
                with pytest.raises(ImproperlyConfigured, match="routesock cannot use a Redis Cluster"):
                    await client.call("once")
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "routesock cannot use a Redis Cluster" in caplog.text


@pytest.mark.servers
async def test_a_node_that_may_not_be_asked_shows_it_by_its_answer(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def moved(*arguments: Any, retry: bool) -> None:
        raise MovedError("1234 127.0.0.1:7001")

    monkeypatch.setattr("routesock._store.redis._run_script", moved)
    with override_settings(CACHES=cache_at(redis_server.url)):
        async with RouteClient(Shop, timeout=20) as client:
            with pytest.raises(ImproperlyConfigured, match="routesock cannot use a Redis Cluster"):
                await client.call("once")


class OfCluster(LocMemCache):
    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        raise MovedError("1234 127.0.0.1:7001")


async def test_another_cache_in_a_cluster_is_a_mistake_too() -> None:
    config = {"BACKEND": f"{__name__}.OfCluster", "LOCATION": "cluster"}
    with override_settings(CACHES={"default": config}), pytest.raises(ImproperlyConfigured, match="Cluster"):
        await CacheStore("default").take([(window(1), "a", 1)], 5, quotas=False)
