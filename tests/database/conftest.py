from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import (  # noqa: F401  (a hook, which pytest finds by name)
    ASGI_SERVERS,
    Postgres,
    Server,
    pytest_runtest_makereport,
    run_postgres,
    run_server,
)


@pytest.fixture(scope="package")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for these tests."""
    with run_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="package", params=ASGI_SERVERS)
def server(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Server]:
    """``tests.database.application`` under each server."""
    with run_server(
        request.param, "tests.database.application:application", POSTGRES_PORT=f"{postgres.port}"
    ) as server:
        yield server
