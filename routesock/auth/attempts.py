"""How often an address has brought a wrong token, and how long it has to wait: bounded, however many addresses try."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from .. import conf
from ..addresses import client_address, customer_at
from ..messages import Scope

MAX_ADDRESSES: Final = 10_000
"""Addresses that are remembered; beyond them the one that failed longest ago is forgotten."""


class Attempts:
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
