from __future__ import annotations

from collections.abc import Iterator

import pytest

from routesock.testing import forget_throttles
from tests.servers import pytest_runtest_makereport  # noqa: F401  (a hook, which pytest finds by name)
from tests.throttling.redis_server import RedisServer, run_redis_server


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """No test meets the calls of another."""
    forget_throttles()


@pytest.fixture(scope="session")
def session_redis() -> Iterator[RedisServer]:
    with run_redis_server() as server:
        yield server


@pytest.fixture
def redis_server(session_redis: RedisServer) -> RedisServer:
    """A Redis that is empty."""
    session_redis.execute("FLUSHALL")
    session_redis.execute("SCRIPT", "FLUSH")
    return session_redis


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One to be mistreated."""
    with run_redis_server() as server:
        yield server
