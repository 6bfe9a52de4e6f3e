from __future__ import annotations

from collections.abc import Iterator

import pytest

from routesock.testing.application import keep_test_connections


@pytest.fixture(autouse=True)
def connections_of_other_tests() -> Iterator[None]:
    """Plain Channels looks at every connection of its thread around each message.

    It would raise at one that an earlier test opened there, in a test that may not use the database.
    """
    with keep_test_connections():
        yield
