"""Failed authentications per address, and the time that a client has to authenticate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ... import conf
from ..._runtime.clients import client_address, customer_at
from ..._runtime.timers import SECOND_LOOKS
from ..._wire.messages import Scope

MAX_ADDRESSES: Final = 10_000
"""Addresses that are remembered; beyond them the one that failed longest ago is forgotten."""


class Lockout:
    """The failures of each address within ``lock`` seconds; ``limit`` of them lock it for as long, counted from the
    last one.

    One for each middleware, so for one process. Any thread may ask.
    """

    def __init__(
        self,
        limit: int,
        lock: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        places: int = MAX_ADDRESSES,
    ) -> None:
        self._limit = limit
        self._lock = lock
        self._clock = clock
        self._places = places
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the count, and when it is forgotten
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._failures)

    def fail(self, address: str | None) -> None:
        """Note a failure. An address that is not known is not counted."""
        if address is None or not self._lock:
            return
        with self._guard:
            now = self._clock()
            self._forget(now)
            count, _ = self._failures.pop(address, (0, 0.0))
            if len(self._failures) >= self._places:
                self._failures.popitem(last=False)
            self._failures[address] = (count + 1, now + self._lock)

    def locked_for(self, address: str | None) -> float:
        """Seconds for which ``address`` has to wait, 0 for one that is not locked."""
        if address is None:
            return 0
        with self._guard:
            count, until = self._failures.get(address, (0, 0.0))
            return max(until - self._clock(), 0) if count >= self._limit else 0

    def _forget(self, now: float) -> None:
        # All wait equally long, so the first to be forgotten stand first.
        while self._failures and next(iter(self._failures.values()))[1] <= now:
            self._failures.popitem(last=False)


def address_of(scope: Scope) -> str | None:
    """Where the client of ``scope`` is; of an IPv6 address the /64, which is one customer's."""
    address = client_address(scope, conf.get("NUM_PROXIES"))
    return None if address is None else customer_at(str(address))


class AuthDeadline:
    """A watch of the loop's timer that ends ``timeout`` when it is looked at.

    A process that stood still finds the client's frame unread, so it looks again a few times; and a token that
    ``is_verified`` at this moment came in time, so that has ``seconds`` more, once.
    """

    __slots__ = ("_is_verified", "_looks", "_seconds", "_timeout")

    def __init__(self, timeout: asyncio.Timeout, seconds: float, is_verified: Callable[[], bool]) -> None:
        self._timeout = timeout
        self._seconds: float | None = seconds
        self._is_verified = is_verified
        self._looks = 0

    def look(self, now: float) -> float | None:
        if self._seconds is not None and self._is_verified():
            due, self._seconds, self._looks = now + self._seconds, None, 0
            return due
        self._looks += 1
        if self._looks <= SECOND_LOOKS:
            return now
        self.end()
        return None

    def end(self) -> None:
        """Stop waiting now."""
        if not self._timeout.expired():
            self._timeout.reschedule(0)
