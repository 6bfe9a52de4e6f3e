"""The throttle store in the memory of this process, for Django's local-memory cache."""

from __future__ import annotations

import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from .._runtime.supervision import safe_logger
from .base import ALLOWED, MICROSECONDS, Bucket, Decision, Quota, Window

logger: Final = safe_logger("routesock.throttle")

MAX_LOGS: Final = 100_000
"""The maximum number of logs in a store: one per caller and window, of a few hundred bytes up to 2 KB each."""

SHARED: Final = ""
"""The caller whose log newcomers of a full window share. The keys of all others have a prefix."""

LOG_INTERVAL: Final = 60 * MICROSECONDS
"""Microseconds between two log records about full windows."""

EXPIRED_PER_CALL: Final = 2
"""How many expired logs of a window a new log replaces, so that expired logs do not accumulate."""


class Log:
    """The calls of one caller in one window: pairs of a time and a number of calls, and the sum of the numbers.

    A log is never empty.
    """

    __slots__ = ("entries", "used")

    def __init__(self, when: int, cost: int) -> None:
        self.entries: array[int] = array("q", (when, cost))
        self.used: int = cost

    def drop_until(self, until: int) -> None:
        """Drop the calls at ``until`` and before. At least one call must be later."""
        position = 0
        while self.entries[position] <= until:
            self.used -= self.entries[position + 1]
            position += 2
        del self.entries[:position]

    def time_of(self, number: int) -> int:
        """Return the time of the ``number``-th call; 1 is the oldest."""
        position = 0
        while number > self.entries[position + 1]:
            number -= self.entries[position + 1]
            position += 2
        return self.entries[position]


class _Logs(OrderedDict[str, Log]):
    """The logs of a window by caller, in the order of their last calls, so that the first log expires first."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.period = window.period
        self.resolution = window.resolution

    def add(self, caller: str, cost: int, now: int) -> None:
        """Record a call of ``caller``."""
        when = now if self.resolution == 1 else -(-now // self.resolution) * self.resolution
        log = self.get(caller)
        if log is None:
            self[caller] = Log(when, cost)
            return
        entries = log.entries
        if entries[-2] == when:
            entries[-1] += cost
        else:
            entries.append(when)
            entries.append(cost)
        log.used += cost
        self.move_to_end(caller)

    def drop_expired(self, now: int, limit: int) -> int:
        """Drop at most ``limit`` expired logs. Return how many were dropped."""
        dropped = 0
        while dropped < limit and self and next(iter(self.values())).entries[-2] <= now - self.period:
            self.popitem(last=False)
            dropped += 1
        return dropped


class MemoryStore:
    """Counts the calls in this process.

    A log that has not expired is never dropped, since its caller could start anew. A window is full when it has as many
    logs as the store has room for. So one window has at most half of all logs, and others still find room. Callers
    without a log share one log in a full window: they have its limit together.

    Args:
        clock: Returns monotonic nanoseconds.
        max_logs: The maximum number of logs.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, max_logs: int = MAX_LOGS) -> None:
        self._clock = clock
        self._max_logs = max_logs
        self._windows: dict[str, _Logs] = {}
        self._count = 0
        self._shares = False  # since the last log record
        self._next_record = 0
        self._lock = threading.Lock()  # event loops in several threads share one store

    def __len__(self) -> int:
        """Return the number of logs."""
        return self._count

    def clear(self) -> None:
        """Forget every call."""
        with self._lock:
            self._windows.clear()
            self._count = 0

    def close(self) -> None:
        """Do nothing: there are no connections."""

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """Take from the buckets, as :meth:`decide` does."""
        return self.decide(buckets, quotas)

    def decide(self, buckets: Sequence[Bucket], quotas: bool) -> Decision:
        """Take from the buckets without awaiting anything."""
        with self._lock:
            now = self._clock() // 1000
            wait = self._take(buckets, now)
            if not (wait or quotas or self._shares):
                return ALLOWED
            decision = ALLOWED
            if wait or quotas:
                decision = Decision(
                    wait / MICROSECONDS, [self._quota(window, caller, now) for window, caller, _ in buckets]
                )
        if self._shares:  # not inside the lock, since a log handler may be slow
            self._report(now)
        return decision

    def _take(self, buckets: Sequence[Bucket], now: int) -> int:
        wait = new = 0
        for window, caller, cost in buckets:
            logs = self._windows.get(window.key)
            if logs is None:
                logs = self._windows[window.key] = _Logs(window)
            log = logs.get(caller)
            if log is not None and log.entries[0] <= now - window.period:
                log = self._without_expired(logs, caller, log, now)
            if log is None:
                new += cost > 0
            elif (excess := log.used + cost - window.limit) > 0:
                wait = max(wait, log.time_of(excess) + window.period - now)
        if wait:
            return wait
        if new:
            buckets, wait = self._place(buckets, now)
            if wait:
                return wait
        for window, caller, cost in buckets:
            if cost:
                self._windows[window.key].add(caller, cost, now)
        return 0

    def _without_expired(self, logs: _Logs, caller: str, log: Log, now: int) -> Log | None:
        """Drop expired calls from ``log``. Return ``None`` if there are no others; the log is deleted then."""
        if log.entries[-2] > now - logs.period:
            log.drop_until(now - logs.period)
            return log
        del logs[caller]
        self._count -= 1
        return None

    def _place(self, buckets: Sequence[Bucket], now: int) -> tuple[Sequence[Bucket], int]:
        """Make room for callers without a log. Return the buckets, and the wait for a shared log that is used up.

        In a full window :data:`SHARED` takes the place of such a caller.
        """
        placed: list[Bucket] = []
        wait = new = 0
        for window, caller, cost in buckets:
            logs = self._windows[window.key]
            if cost and caller not in logs:
                if not self._has_room(logs, new, now):
                    self._shares = True
                    caller = SHARED
                    wait = max(wait, self._wait_for_shared(logs, window, cost, now))
                new += caller not in logs
            placed.append((window, caller, cost))
        if not wait:
            self._count += new
        return placed, wait

    def _has_room(self, logs: _Logs, new: int, now: int) -> bool:
        """Whether a window may have another log beside the ``new`` ones; expired logs are dropped for it."""
        self._count -= logs.drop_expired(now, EXPIRED_PER_CALL)
        for others in self._windows.values():
            if len(logs) < self._max_logs - self._count - new:
                return True
            self._count -= others.drop_expired(now, 1)
        return len(logs) < self._max_logs - self._count - new

    def _wait_for_shared(self, logs: _Logs, window: Window, cost: int, now: int) -> int:
        log = logs.get(SHARED)
        if log is not None and log.entries[0] <= now - window.period:
            log = self._without_expired(logs, SHARED, log, now)
        excess = 0 if log is None else log.used + cost - window.limit
        return 0 if log is None or excess <= 0 else log.time_of(excess) + window.period - now

    def _report(self, now: int) -> None:
        self._shares = False
        if now >= self._next_record:
            self._next_record = now + LOG_INTERVAL
            logger.warning("The memory store counts as many callers of a throttle as it may: new ones share one limit.")

    def _quota(self, window: Window, caller: str, now: int) -> Quota:
        logs = self._windows[window.key]
        log = logs.get(caller)
        if log is None and len(logs) >= self._max_logs - self._count:
            log = logs.get(SHARED)
        if log is None:
            return Quota(window.limit, 0)
        return Quota(window.limit - log.used, log.entries[0] + window.period - now)
