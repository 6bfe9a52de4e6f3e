"""The pytest plugin with the fixture ``route_client`` and the option ``--documented``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--documented``."""
    parser.getgroup("routesock").addoption(
        "--documented",
        action="store_true",
        help="Fail a test in which a RouteClient receives a frame that does not fit its document.",
    )


@pytest.fixture(autouse=True, scope="session")
def _documented_clients(request: pytest.FixtureRequest) -> Iterator[None]:
    """Apply ``--documented`` to all clients of the run."""
    if not request.config.getoption("documented"):
        yield
        return
    from .testing import RouteClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RouteClient, "_documented_by_default", True)
        yield


@pytest.fixture
def route_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """A factory of test clients. It takes the arguments of :class:`routesock.testing.RouteClient`.

    In a sync test it returns a connected, blocking client and disconnects it after the test. In an async test it
    returns a client for ``async with``; a client that is still open after the test fails the test.
    """
    # Not at the top of the module: pytest loads this plugin before Django's settings are configured.
    from .testing import RouteClient

    # Clients disconnect when this fixture is torn down, and disconnect() may query the database. A database fixture
    # that is set up after this one would be torn down before that.
    for name in ("db", "transactional_db"):
        if name in request.fixturenames:
            request.getfixturevalue(name)

    opened: list[RouteClient] = []

    with ExitStack() as stack:

        def make_client(app: Any, path: str = "/", **options: Any) -> Any:
            client = RouteClient(app, path, **options)
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return stack.enter_context(client)
            opened.append(client)
            return client

        yield make_client

    if any(client.connected for client in opened):
        pytest.fail(
            "A client from route_client is still open after the test. Use `async with route_client(...) as client`."
        )
