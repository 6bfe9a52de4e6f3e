"""SIGTERM to the process of the tests themselves: ``calls`` stands where a server has its handler."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.servers import pytest_runtest_makereport

__all__ = ["Calls", "calls", "pytest_runtest_makereport", "sigterm", "turns", "until"]

Calls = list[tuple[Any, ...]]


@pytest.fixture
def calls() -> Iterator[Calls]:
    """What the server's own handler of SIGTERM has been called with."""
    calls: Calls = []
    before = signal.signal(signal.SIGTERM, lambda *args: calls.append(args))
    yield calls
    signal.signal(signal.SIGTERM, before)


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


async def turns() -> None:
    """Long enough for whatever does not wait to have happened."""
    for _ in range(20):
        await asyncio.sleep(0)


def sigterm() -> None:
    signal.raise_signal(signal.SIGTERM)
