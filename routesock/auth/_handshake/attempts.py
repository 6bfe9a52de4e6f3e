"""Failed authentications per address, and the time that a client has to authenticate."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Any, Final

from django.db.utils import InterfaceError, OperationalError

from ..._runtime.timers import SECOND_LOOKS
from ...exceptions import RouteSetupError

MAX_ADDRESSES: Final = 10_000
"""Addresses that are remembered. When there are more, the one that failed longest ago is forgotten."""

ADDRESS_ATTEMPTS: Final = 20
"""Failures that lock an address by default. Many users may share it, and each may bring a token that has expired."""

LOCK: Final = 20.0
"""Seconds for which an address is locked by default."""

SPREAD: Final = 5.0
"""Seconds over which the clients of one address, which were refused together, come back."""

TOO_OFTEN: Final = "Too many wrong tokens."

LOCKOUT: Final = "routesock.lockout"
"""The key of the ASGI scope for the :class:`Lockout` that AUTH frames on the open socket count in."""


class Lockout:
    """Counts failed authentications per address. ``limit`` of them lock the address.

    One failure is forgotten every ``lock`` seconds, and a success forgets all. So an address is locked for at most
    ``lock`` seconds after the last failure, and may fail once after that. Each middleware has one, so addresses are
    counted per process. All methods may be called in any thread.
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
        self._failures: OrderedDict[str, float] = OrderedDict()  # by address, when the last failure is forgotten
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._failures)

    def fail(self, address: str | None) -> None:
        """Count a failure. ``None``, an unknown address, is not counted."""
        if address is None or not self._lock:
            return
        with self._guard:
            now = self._clock()
            until = max(self._failures.pop(address, now), now) + self._lock
            self._forget(now)
            if len(self._failures) >= self._max_addresses:
                self._failures.popitem(last=False)
            self._failures[address] = min(until, now + self._limit * self._lock)

    def succeed(self, address: str | None) -> None:
        """Forget the failures of ``address``."""
        if address is not None and self._failures:
            with self._guard:
                self._failures.pop(address, None)

    def locked_for(self, address: str | None) -> float:
        """Return for how many seconds ``address`` is still locked; 0 if it is not."""
        if address is None or not self._failures:
            return 0
        with self._guard:
            return max(self._failures.get(address, 0.0) - (self._limit - 1) * self._lock - self._clock(), 0)

    def _forget(self, now: float) -> None:
        # The one that failed longest ago comes first. It may be forgotten later than others behind it.
        while self._failures and next(iter(self._failures.values())) <= now:
            self._failures.popitem(last=False)


def lockout_of(address_attempts: Any, lock: Any) -> Lockout:
    """Return the lockout of a middleware with these options. Raises ``RouteSetupError`` if one is not valid."""
    if type(address_attempts) is not int or address_attempts < 1:
        raise RouteSetupError(f"address_attempts= must be a positive number of wrong tokens; got {address_attempts!r}.")
    if type(lock) not in (int, float) or not 0 <= lock < inf:
        raise RouteSetupError(f"lock= must be a number of seconds, 0 for no lock; got {lock!r}.")
    return Lockout(address_attempts, lock)


def retry_after(locked: float) -> float:
    """Return after how many seconds a client may try again whose address is locked for ``locked`` seconds."""
    return round(locked + random.uniform(0.1, SPREAD), 1)


def is_outage(exc: BaseException) -> bool:
    """Whether ``exc`` says that a database or a service does not answer, which is not the token's fault."""
    return isinstance(exc, OSError | InterfaceError | OperationalError)


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
