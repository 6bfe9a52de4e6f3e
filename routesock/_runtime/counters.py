"""Counts what happens in this process, for metrics: requests, sockets, errors of the store, recoveries.

What the parts of routesock count on their own is here, except for deliveries, which are in ``_groups/losses.py``.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from time import perf_counter
from typing import Final, NamedTuple

from .._wire.messages import Request
from .supervision import reset_after_fork

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds of the buckets in which durations of requests are counted."""

MAX_PENDING: Final = 512
"""Requests of one route and status that have ended and are not counted in the buckets yet."""

UNKNOWN: Final = ""
"""The route of frames that name none of the consumer's. What clients write is never a label."""

Key = tuple[str, int | None]
"""A route, and a status: that of the reply, ``None`` for no reply."""


class Durations(NamedTuple):
    """The durations of the requests of one route that ended with one status.

    ``buckets`` has one count for each of :data:`BUCKETS`, not cumulated, and a last one for longer ones. ``sum`` is in
    seconds.
    """

    buckets: tuple[int, ...]
    sum: float


class Recorder:
    """Counts requests and sockets. Its methods may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pending: dict[str, dict[int | None, list[float]]] = {}
        """Durations by route and status. They are appended without the lock, and counted many at a time."""
        self._cells: dict[Key, list[float]] = {}  # the counts of the buckets, and the sum
        self._refused: Counter[Key] = Counter({(UNKNOWN, 404): 0})
        self._opened: Counter[str] = Counter()
        self._closed: Counter[int] = Counter()
        self._refused_sockets: Counter[int] = Counter()

    def finished(self, request: Request, status: int | None) -> None:
        """Count ``request``, which has begun and whose end was not counted yet."""
        began = request._began
        if began is not None:
            request._began = None
            self.add(request.route, status, perf_counter() - began)

    def add(self, route: str, status: int | None, seconds: float) -> None:
        """Count a request of a declared ``route``."""
        pending = self.pending_of(route, status)
        pending.append(seconds)
        if len(pending) >= MAX_PENDING:
            self.count(route, status, pending)

    def pending_of(self, route: str, status: int | None) -> list[float]:
        """Return the list in :attr:`pending`, perhaps a new one."""
        with self._lock:
            return self.pending.setdefault(route, {}).setdefault(status, [])

    def count(self, route: str, status: int | None, pending: list[float]) -> None:
        """Count the durations that are pending in the buckets. That is several times as fast as one at a time."""
        with self._lock:
            durations = pending[:]
            del pending[: len(durations)]  # other threads may have appended more
            if not durations:
                return
            cell = self._cells.setdefault((route, status), [0] * (len(BUCKETS) + 1) + [0.0])
            cell[-1] += sum(durations)
            if max(durations) <= BUCKETS[0]:  # as nearly always: without sorting them
                cell[0] += len(durations)
                return
            durations.sort()
            counted = 0
            for index, bound in enumerate(BUCKETS):
                up_to = bisect_right(durations, bound)
                cell[index] += up_to - counted
                counted = up_to
                if counted == len(durations):
                    break
            cell[len(BUCKETS)] += len(durations) - counted

    def refused(self, route: str, status: int) -> None:
        """Count a frame that never became a request; ``route`` is a declared one or :data:`UNKNOWN`."""
        with self._lock:
            self._refused[route, status] += 1

    def opened(self, consumer: str) -> None:
        """Count a socket that has opened."""
        with self._lock:
            self._opened[consumer] += 1

    def closed(self, code: int) -> None:
        """Count a socket that has ended."""
        with self._lock:
            self._closed[code] += 1

    def socket_refused(self, code: int) -> None:
        """Count a socket that the server closed with ``code`` before it had opened."""
        with self._lock:
            self._refused_sockets[code] += 1

    def durations(self) -> dict[Key, Durations]:
        """The requests so far."""
        with self._lock:
            known = [(route, *item) for route, pending in self.pending.items() for item in pending.items()]
        for route, status, pending in known:
            self.count(route, status, pending)
        with self._lock:
            return {
                key: Durations(tuple(int(count) for count in buckets), seconds)
                for key, (*buckets, seconds) in self._cells.items()
            }

    def refusals(self) -> Mapping[Key, int]:
        """The refused frames so far."""
        with self._lock:
            return self._refused.copy()

    def openings(self) -> Mapping[str, int]:
        """Return the number of sockets opened so far, by the name of their consumer."""
        with self._lock:
            return self._opened.copy()

    def closings(self) -> Mapping[int, int]:
        """Return the number of sockets ended so far, by close code."""
        with self._lock:
            return self._closed.copy()

    def refused_sockets(self) -> Mapping[int, int]:
        """Return the number of sockets closed before they had opened, by close code."""
        with self._lock:
            return self._refused_sockets.copy()


recorder: Recorder | None = None
"""Counts if metrics are registered. ``None`` costs each request one test."""


def start_recording() -> None:
    """Count requests and sockets from now on."""
    global recorder
    if recorder is None:
        recorder = Recorder()


_lock = threading.Lock()

_store_errors = 0

_dropped_answers = 0

_recoveries: Final[Counter[str]] = Counter()


def count_store_error() -> None:
    """Count a call of the store that failed."""
    global _store_errors
    with _lock:
        _store_errors += 1


def count_recovery(outcome: str) -> None:
    """Count a client that came back to a topic after a reconnect; ``outcome`` is one of a few fixed words."""
    with _lock:
        _recoveries[outcome] += 1


def count_dropped_answer() -> None:
    """Count an ANSWER of a client that no call of ``ask()`` waits for."""
    global _dropped_answers
    with _lock:
        _dropped_answers += 1


def dropped_answers() -> int:
    """Return the number of clients' answers dropped so far."""
    return _dropped_answers


def store_errors() -> int:
    """Return the number of failed store calls so far."""
    return _store_errors


def recoveries() -> Mapping[str, int]:
    """Return the number of resumed subscriptions so far, by outcome."""
    with _lock:
        return _recoveries.copy()


@reset_after_fork
def _reset() -> None:
    global _dropped_answers, _lock, _store_errors, recorder
    _lock = threading.Lock()
    _store_errors = _dropped_answers = 0
    _recoveries.clear()
    if recorder is not None:
        recorder = Recorder()
