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
"""Addresses that are remembered. When there are more, the one that failed longest ago is forgotten."""


class Lockout:
    """Counts failed authentications per address. ``limit`` of them lock the address.

    A lock lasts ``lock`` seconds after the last failure, and failures are forgotten after as many. Each middleware has
    one, so addresses are counted per process. All methods may be called in any thread.
    """

    def __init__(
        self,
        limit: int,
        lock: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_addresses: int = MAX_ADDRESSES,
    ) -> None:
        self._limit = limit
        self._lock = lock
        self._clock = clock
        self._max_addresses = max_addresses
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the count, and when it is forgotten
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._failures)

    def fail(self, address: str | None) -> None:
        """Count a failure. ``None``, an unknown address, is not counted."""
        if address is None or not self._lock:
            return
        with self._guard:
            now = self._clock()
            self._forget(now)
            count, _ = self._failures.pop(address, (0, 0.0))
            if len(self._failures) >= self._max_addresses:
                self._failures.popitem(last=False)
            self._failures[address] = (count + 1, now + self._lock)

    def locked_for(self, address: str | None) -> float:
        """Return for how many seconds ``address`` is still locked; 0 if it is not."""
        if address is None:
            return 0
        with self._guard:
            count, until = self._failures.get(address, (0, 0.0))
            return max(until - self._clock(), 0) if count >= self._limit else 0

    def _forget(self, now: float) -> None:
        # All are kept for the same time, so the oldest come first.
        while self._failures and next(iter(self._failures.values()))[1] <= now:
            self._failures.popitem(last=False)


def address_of(scope: Scope) -> str | None:
    """Return the address of the client; of an IPv6 address the /64, which one customer has."""
    address = client_address(scope, conf.get("NUM_PROXIES"))
    return None if address is None else customer_at(str(address))


class AuthDeadline:
    """Ends ``timeout`` when the loop's timer says that the time to authenticate is over.

    After a process stood still, the client's frame is still unread, so the deadline is checked a few times. A token
    that is being verified (``is_verified``) came in time, so it has ``seconds`` more, once.
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
