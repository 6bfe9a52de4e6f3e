"""Counts in this process, for caches in local memory."""

from __future__ import annotations

import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from .base import MICROSECONDS, PASSED, Bucket, Decision, Quota, StoreError, Window

MAX_LOGS: Final = 50_000
"""Logs in a store: one for each caller in each window. A log has up to 2 KB, and a few hundred bytes as a rule."""

TIDIED: Final = 2
"""Logs that say nothing any more and go when another one comes, so that they never pile up."""


class Log:
    """When a caller has called: pairs of a time and a number of calls, at least one, and the sum of the numbers."""

    __slots__ = ("entries", "used")

    def __init__(self, when: int, cost: int) -> None:
        self.entries: array[int] = array("q", (when, cost))
        self.used: int = cost

    def forget(self, until: int) -> None:
        """Drop what was called at ``until`` or before, which is not all."""
        position = 0
        while self.entries[position] <= until:
            self.used -= self.entries[position + 1]
            position += 2
        del self.entries[:position]

    def time_of(self, number: int) -> int:
        """When the ``number``-th call was, the oldest first."""
        position = 0
        while number > self.entries[position + 1]:
            number -= self.entries[position + 1]
            position += 2
        return self.entries[position]


class _Logs(OrderedDict[str, Log]):
    """The logs of a window by caller, in the order of their last calls: the first is the first to say nothing more."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.period = window.period
        self.grain = window.grain

    def add(self, caller: str, cost: int, now: int) -> None:
        """Write down that ``caller`` calls."""
        when = now if self.grain == 1 else -(-now // self.grain) * self.grain
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

    def drop_old(self, now: int, most: int) -> int:
        """Drop at most ``most`` logs that say nothing any more; how many."""
        dropped = 0
        while dropped < most and self and next(iter(self.values())).entries[-2] <= now - self.period:
            self.popitem(last=False)
            dropped += 1
        return dropped


class MemoryStore:
    """The logs of the calls in this process, at most ``most``.

    One that still says something is never dropped, since its caller would begin anew. Where there is no room, the calls
    of a caller without a log cannot be decided.

    ``clock`` gives nanoseconds that never go back.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, most: int = MAX_LOGS) -> None:
        self._clock = clock
        self._most = most
        self._windows: dict[str, _Logs] = {}
        self._count = 0
        self._lock = threading.Lock()  # event loops in several threads share one store

    def __len__(self) -> int:
        """How many logs it has."""
        return self._count

    def clear(self) -> None:
        """Forget every call."""
        with self._lock:
            self._windows.clear()
            self._count = 0

    def close(self) -> None:
        """It has nothing to let go of."""

    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        """As :meth:`Store.take <routesock.throttling.base.Store.take>`; see :meth:`decide`."""
        return self.decide(buckets, quotas)

    def decide(self, buckets: Sequence[Bucket], quotas: bool) -> Decision:
        """The same at once: nobody has to wait for this process."""
        with self._lock:
            now = self._clock() // 1000
            wait = self._take(buckets, now)
            if wait or quotas:
                return Decision(
                    wait / MICROSECONDS, [self._quota(window, caller, now) for window, caller, _ in buckets]
                )
        return PASSED

    def _take(self, buckets: Sequence[Bucket], now: int) -> int:
        wait = new = 0
        for window, caller, cost in buckets:
            logs = self._windows.get(window.key)
            if logs is None:
                logs = self._windows[window.key] = _Logs(window)
            log = logs.get(caller)
            if log is not None and log.entries[0] <= now - window.period:
                log = self._aged(logs, caller, log, now)
            if log is None:
                new += cost > 0
            elif (excess := log.used + cost - window.limit) > 0:
                wait = max(wait, log.time_of(excess) + window.period - now)
        if wait:
            return wait
        if new:
            self._make_room(buckets, new, now)
        for window, caller, cost in buckets:
            if cost:
                self._windows[window.key].add(caller, cost, now)
        return 0

    def _aged(self, logs: _Logs, caller: str, log: Log, now: int) -> Log | None:
        """``log`` without what counts no more; ``None`` if nothing is left."""
        if log.entries[-2] > now - logs.period:
            log.forget(now - logs.period)
            return log
        del logs[caller]
        self._count -= 1
        return None

    def _make_room(self, buckets: Sequence[Bucket], new: int, now: int) -> None:
        for window, _, _ in buckets:
            self._count -= self._windows[window.key].drop_old(now, TIDIED)
        for logs in self._windows.values():
            if self._count + new <= self._most:
                break
            self._count -= logs.drop_old(now, new)
        else:
            if self._count + new > self._most:
                raise StoreError(f"{self._most} callers are counted in this process, and there is no room for another.")
        self._count += new

    def _quota(self, window: Window, caller: str, now: int) -> Quota:
        log = self._windows[window.key].get(caller)
        if log is None:
            return Quota(window.limit, 0)
        return Quota(window.limit - log.used, log.entries[0] + window.period - now)
