"""How the options of a django-redis cache configure the throttle store: URLs, TLS, sentinels and shards."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from routesock import Request, RouteMixin, Throttle, route, run_on_loop
from routesock._store.redis import client_for
from routesock.testing import RouteClient
from routesock.throttling.redis import open_store
from tests.servers import HOST, free_port
from tests.takeover.driver import until
from tests.throttling.model import window
from tests.throttling.redis_server import RedisServer, cache_at, run_redis_server

SENTINELS = {"CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory"}


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("once", throttle=Throttle("1/h", scope=run_on_loop(lambda request: request.payload)))
    async def once(self, request: Request) -> str:
        return "passed"


@asynccontextmanager
async def shop(location: Any, **options: Any) -> AsyncIterator[RouteClient]:
    with override_settings(CACHES=cache_at(location, **options), ROUTESOCK={"THROTTLE_FAIL": "closed"}):
        async with RouteClient(Shop, timeout=20) as client:
            yield client


async def counts(client: RouteClient, bucket: str = "a") -> bool:
    """Whether calls are counted: the second is refused."""
    statuses = [(await client.call("once", bucket)).status for _ in range(2)]
    assert set(statuses) <= {200, 429, 503}
    return statuses == [200, 429]


def pool_of(location: Any, **options: Any) -> Any:
    """The connection pool of the client for the default cache."""
    with override_settings(CACHES=cache_at(location, **options)):
        return client_for(caches["default"].client.connect(0).connection_pool)._connect.args[0]  # type: ignore[attr-defined]


class TestOptions:
    """Options are read from the connections that django-redis would create, without a server."""

    def test_options_in_the_url(self) -> None:
        """As redis-py reads it."""
        pool = pool_of("redis://alice:se%20cret@redis.example:6380/3?client_name=shop")
        given = pool.connection_kwargs
        assert pool.connection_class is Connection
        assert (given["host"], given["port"], given["db"]) == ("redis.example", 6380, 3)
        assert (given["username"], given["password"], given["client_name"]) == ("alice", "se cret", "shop")

    def test_options_of_django_redis(self) -> None:
        """Its own options, and those for redis-py."""
        pool = pool_of(
            "redis://redis.example",
            PASSWORD="secret",
            CONNECTION_POOL_KWARGS={"username": "alice", "db": 4, "socket_keepalive": True, "max_connections": 3},
        )
        given = pool.connection_kwargs
        assert (given["username"], given["password"], given["db"]) == ("alice", "secret", 4)
        assert given["socket_keepalive"] is True

    def test_timeouts_and_retries_are_not_taken_from_the_cache(self) -> None:
        """``THROTTLE_TIMEOUT`` limits each call instead."""
        pool = pool_of(
            "redis://redis.example?retry_on_timeout=yes&health_check_interval=5",
            SOCKET_TIMEOUT=30,
            SOCKET_CONNECT_TIMEOUT=30,
        )
        connection = pool.make_connection()
        assert connection.retry._retries == 0
        assert connection.socket_timeout is connection.socket_connect_timeout is None
        assert connection.health_check_interval == 0

    def test_encrypted_connection(self) -> None:
        """It uses the configured certificates."""
        pool = pool_of(
            "rediss://redis.example",
            CONNECTION_POOL_KWARGS={
                "ssl_cert_reqs": "none",
                "ssl_ca_certs": "/etc/ca.pem",
                "ssl_check_hostname": False,
            },
        )
        assert pool.connection_class is SSLConnection
        assert pool.make_connection().ca_certs == "/etc/ca.pem"

    def test_unsupported_option_is_an_error(self) -> None:
        """It must not be ignored silently, since it concerns security."""
        with pytest.raises(ImproperlyConfigured, match="ssl_validate_ocsp"):
            pool_of("rediss://other.example", CONNECTION_POOL_KWARGS={"ssl_validate_ocsp": True})

    def test_unix_socket(self) -> None:
        pool = pool_of("unix:///run/redis.sock?db=2")
        assert pool.connection_class is UnixDomainSocketConnection
        assert (pool.connection_kwargs["path"], pool.connection_kwargs["db"]) == ("/run/redis.sock", 2)

    def test_sentinels_have_their_own_options(self) -> None:
        """Addresses, passwords and a timeout of half a second each."""
        pool = pool_of(
            "redis://shop/2",
            **SENTINELS,
            CLIENT_CLASS="django_redis.client.SentinelClient",
            SENTINELS=[("one.example", 26379), ("two.example", 26380)],
            SENTINEL_KWARGS={"password": "of sentinels", "socket_timeout": 20},
            PASSWORD="of the master",
            CONNECTION_POOL_KWARGS={"ssl": True},
        )
        assert isinstance(pool, SentinelConnectionPool)
        assert (pool.service_name, pool.is_master) == ("shop", True)
        assert pool.connection_class is SentinelManagedSSLConnection
        assert (pool.connection_kwargs["password"], pool.connection_kwargs["db"]) == ("of the master", 2)
        sentinels = [sentinel.connection_pool.make_connection() for sentinel in pool.sentinel_manager.sentinels]
        assert [(one.host, one.port) for one in sentinels] == [("one.example", 26379), ("two.example", 26380)]
        assert {(one.password, one.socket_timeout, one.retry._retries) for one in sentinels} == {
            ("of sentinels", 0.5, 0)
        }


@pytest.mark.servers
class TestServers:
    @pytest.mark.parametrize("client", ["DefaultClient", "HerdClient", "ShardClient"])
    async def test_clients(self, redis_server: RedisServer, client: str) -> None:
        async with shop(redis_server.url, CLIENT_CLASS=f"django_redis.client.{client}") as connected:
            assert await counts(connected)
        assert len(redis_server.key_names()) == 1

    async def test_primary_of_several_servers_is_used(self, redis_server: RedisServer) -> None:
        """The others are replicas for reading."""
        async with shop([redis_server.url, f"redis://{HOST}:1/0"]) as client:
            assert await counts(client)

    async def test_password_and_number_of_the_database(self) -> None:
        with run_redis_server("--requirepass", "secret") as server:
            async with shop(f"redis://:secret@{HOST}:{server.port}/5") as client:
                assert await counts(client)
            async with shop(f"redis://{HOST}:{server.port}/5", PASSWORD="wrong") as client:
                assert (await client.call("once", "a")).status == 503

    async def test_unix_socket(self) -> None:
        with tempfile.TemporaryDirectory() as folder, run_redis_server("--unixsocket", f"{folder}/redis"):
            async with shop(f"unix://{folder}/redis?db=1") as client:
                assert await counts(client)

    async def test_encoding_of_the_cache_does_not_matter(self, redis_server: RedisServer) -> None:
        """Compressors and serializers do not matter either, since the script stores its values itself."""
        options = {
            "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "CONNECTION_POOL_KWARGS": {"decode_responses": True},
        }
        async with shop(redis_server.url, **options) as client:
            assert await counts(client)

    async def test_callers_are_distributed_over_shards(self, redis_server: RedisServer) -> None:
        """The calls of one caller are on the shard that django-redis chooses for the key."""
        with run_redis_server() as other:
            location = [redis_server.url, other.url]
            sharded = "django_redis.client.ShardClient"
            async with shop(location, CLIENT_CLASS=sharded) as client:
                assert all([await counts(client, f"{number}") for number in range(20)])
                both = {server.url: server.key_names() for server in (redis_server, other)}
                assert sum(map(len, both.values())) == 20
                assert all(both.values())
                for url, keys in both.items():
                    assert {caches["default"].client.get_server_name(key) for key in keys} == {url}

    async def test_windows_of_one_call_are_on_one_shard(self, redis_server: RedisServer) -> None:
        """Their tag decides which one."""
        with run_redis_server() as other:
            caches_of_two = cache_at([redis_server.url, other.url], CLIENT_CLASS="django_redis.client.ShardClient")
            with override_settings(CACHES=caches_of_two):
                store = open_store(caches["default"])
                windows = [window(1, name=f"{number}") for number in range(20)]
                buckets = [(one, f"{number}", 1) for number, one in enumerate(windows)]
                assert (await store.take(buckets, 20, quotas=False)).wait == 0
                assert (await store.take(buckets, 20, quotas=False)).wait > 0
            assert sorted(map(len, (redis_server.key_names(), other.key_names()))) == [0, 20]


@pytest.fixture
def watched() -> Iterator[tuple[RedisServer, RedisServer, list[int]]]:
    """A primary, its replica, and the ports of two sentinels that watch them; one of the sentinels is down."""
    with ExitStack() as stack:
        master = stack.enter_context(run_redis_server("--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(run_redis_server("--replicaof", f"{HOST} {master.port}"))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        file = Path(folder, "sentinel.conf")
        file.write_text(
            f"port {port}\nbind {HOST}\ndir {folder}\n"
            f"sentinel monitor shop {HOST} {master.port} 1\n"
            "sentinel down-after-milliseconds shop 1000\nsentinel failover-timeout shop 5000\n"
        )
        command = [master.command[0], str(file), "--sentinel"]
        sentinel = stack.enter_context(closing(RedisServer(command, port=port, env=os.environ, cwd=Path(folder))))
        sentinel.start()
        yield master, replica, [free_port(), port]


@pytest.mark.servers
@pytest.mark.parametrize("client", ["DefaultClient", "SentinelClient"])
async def test_sentinels_are_asked_for_the_primary(
    watched: tuple[RedisServer, RedisServer, list[int]], client: str
) -> None:
    """After a failover the store uses the new primary."""
    master, replica, ports = watched
    options = {
        **SENTINELS,
        "CLIENT_CLASS": f"django_redis.client.{client}",
        "SENTINELS": [(HOST, port) for port in ports],
    }
    async with asyncio.timeout(60), shop("redis://shop/0", **options) as connected:
        assert await counts(connected)
        assert len(master.key_names()) == 1
        await until(lambda: "online" in str(master.execute("INFO", "replication")), "the replica is known", 30)
        master.stop()
        for number in itertools.count():
            if await counts(connected, f"{number}"):
                break
        assert replica.execute("ROLE")[0] == "master"
