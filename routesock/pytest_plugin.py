"""The ``route_client`` fixture for pytest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture
def route_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes test clients; takes what :class:`routesock.testing.RouteClient` takes.

    In a sync test it returns a connected, blocking client, which is closed after the test. In an async test it returns
    a client for ``async with``; one that is still open after the test is an error.
    """
    # Here and not above: pytest loads this module before Django's settings are there.
    from .testing import RouteClient

    # A fixture that was set up later would be torn down before the clients leave, and disconnect() may need it.
    for name in ("db", "transactional_db"):
        if name in request.fixturenames:
            request.getfixturevalue(name)

    opened: list[RouteClient] = []

    with ExitStack() as stack:

        def client_of(app: Any, path: str = "/", **options: Any) -> Any:
            client = RouteClient(app, path, **options)
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return stack.enter_context(client)
            opened.append(client)
            return client

        yield client_of

    if any(client.connected for client in opened):
        pytest.fail("A client of route_client is still open: use `async with route_client(...) as client`.")
