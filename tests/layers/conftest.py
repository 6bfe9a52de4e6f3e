from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.servers import (  # noqa: F401  (a hook, which pytest finds by name)
    RedisServer,
    Server,
    pytest_runtest_makereport,
    run_redis_server,
    run_server,
)


@dataclass
class Stack:
    """A server, and the Redis behind its channel layer."""

    server: Server
    redis: RedisServer


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The server and the layer that the test asks for."""
    kind, layer = request.param
    with (
        run_redis_server() as redis,
        run_server(kind, "tests.layers.asgi:application", CHANNEL_LAYER=layer, REDIS_URL=redis.url) as server,
    ):
        yield Stack(server, redis)


@dataclass
class Pair:
    """Two processes of one application, and the Redis between them."""

    first: Server
    second: Server
    redis: RedisServer


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two servers with the layer that the test asks for."""
    application = "tests.layers.asgi:application"
    with run_redis_server() as redis:
        env = {"CHANNEL_LAYER": request.param, "REDIS_URL": redis.url, "SOCKET_TIMEOUT": "10"}
        with run_server("uvicorn", application, **env) as first, run_server("uvicorn", application, **env) as second:
            yield Pair(first, second, redis)


@pytest.fixture
def server(stack: Stack) -> Server:
    """For the report of a test that fails."""
    return stack.server


@pytest.fixture
def redis(stack: Stack) -> Iterator[RedisServer]:
    """The stack's Redis, which runs again when the test has ended."""
    yield stack.redis
    stack.redis.resume()
    if not stack.redis.runs:
        stack.redis.start()
