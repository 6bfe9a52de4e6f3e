"""Numbers the messages that cross a channel layer, detects lost and repeated ones, and counts them."""

from __future__ import annotations

import asyncio
import contextvars
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any, Final, NamedTuple

from .._runtime.instrumentation import counted, printable, pushes_were
from .._runtime.supervision import reset_after_fork, safe_logger
from ..signals import deliveries_lost
from .envelopes import Message

MAX_COUNTERS: Final = 10_000
"""Groups of a layer that a process numbers, and senders and groups that a hub follows. Above that, the oldest is
forgotten.
"""

MAX_MISSING: Final = 10_000
"""Numbers that a hub waits for. Above that, the oldest are given up."""

_Key = tuple[Hashable, str]


class Numbering:
    """Numbers what this process sends to each group, from any thread.

    Each counter has a unique name and starts at 1. A counter that was forgotten is replaced by one with another name,
    so that a number never means two messages.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = secrets.token_hex(8)
        self._made = 0
        self._counters: OrderedDict[tuple[int, str], tuple[str, int]] = OrderedDict()

    def next(self, layer: Any, group: str) -> tuple[str, int]:
        """The name of the counter of ``group`` in ``layer``, and its next number."""
        key = (id(layer), group)
        with self._lock:
            counter = self._counters.pop(key, None)
            if counter is None:
                self._made += 1
                counter = (f"{self._process}.{self._made}", 0)
                if len(self._counters) >= MAX_COUNTERS:
                    self._counters.popitem(last=False)
            counter = self._counters[key] = (counter[0], counter[1] + 1)
            return counter


class Watch:
    """Tracks which numbers of each counter have arrived. Numbers may overtake each other."""

    def __init__(self) -> None:
        self._seen: OrderedDict[_Key, tuple[int, int]] = OrderedDict()  # the lowest and the highest
        self._missing: OrderedDict[tuple[_Key, int], int] = OrderedDict()  # between those, and since when
        self._burst = 1

    def arrived(self, period: Hashable, counter: str, number: int, *, certain: bool) -> int | None:
        """Record that ``number`` of ``counter`` has arrived.

        Args:
            period: The time that a hub is in a group. The first number of a counter in it says nothing about earlier
                ones.
            certain: ``False`` for a number from which nothing is concluded: those before it may have been sent while
                the hub was not in the group.

        Returns:
            How many more messages are missing now; -1 if this one was missing; ``None`` if it arrived earlier.
        """
        key = (period, counter)
        seen = self._seen.pop(key, None)
        if seen is None:
            if len(self._seen) >= MAX_COUNTERS:
                self._seen.popitem(last=False)
            self._seen[key] = (number, number)
            return 0
        lowest, highest = seen
        self._seen[key] = (min(lowest, number), max(highest, number))
        if number > highest:
            self._miss(key, highest + 1, number, self._burst if certain else 0)
            return number - highest - 1 if certain else 0
        if number < lowest:
            self._miss(key, number + 1, lowest, 0)
            return 0
        since = self._missing.pop((key, number), None)
        if since is None:
            return None
        return -1 if since == self._burst else 0

    def settle(self) -> None:
        """End the burst: what is missing now counts as lost. If it arrives later it is new, and the count stays."""
        self._burst += 1

    def _miss(self, key: _Key, first: int, end: int, since: int) -> None:
        for number in range(max(first, end - MAX_MISSING), end):
            self._missing[key, number] = since
        surplus = len(self._missing) - MAX_MISSING
        if surplus > 0:
            for missing in [*islice(self._missing, surplus)]:
                del self._missing[missing]


_numbering = Numbering()


def number(layer: Any, group: str) -> tuple[str, int]:
    """As :meth:`Numbering.next`, of this process."""
    return _numbering.next(layer, group)


@reset_after_fork
def _restart_numbering() -> None:
    global _numbering
    _numbering = Numbering()


BURST: Final = 1.0
"""Seconds from the first loss of a burst until the burst is reported."""

MAX_NAMED: Final = 5
"""Groups that a log message names."""


class DeliveryCounts(NamedTuple):
    """Counts of broadcasts in this process since it began. They never decrease."""

    sent: int
    """Broadcasts of this process that were sent."""
    failed: int
    """Broadcasts of this process that the channel layer did not take. Each raised where it was sent."""
    received: int
    """Broadcasts that the channel layer delivered to this process, for groups that have a socket here."""
    lost: int
    """Broadcasts that it should have delivered, but did not within a second after a later one."""
    repeated: int
    """Broadcasts that it delivered twice. Sockets got them once."""
    healed: int
    """Broadcasts that it did not deliver, and that were read from the history of their group instead."""
    dropped: int
    """Frames and events that single sockets of this process did not get because too many were waiting."""


_lock = threading.Lock()

_counts = dict.fromkeys(DeliveryCounts._fields, 0)


def delivery_counts() -> DeliveryCounts:
    """A snapshot of the counts of broadcasts in this process. May be called in any thread."""
    with _lock:
        return DeliveryCounts(**_counts)


def count(field: str, number: int = 1) -> None:
    """Add to one of the :class:`DeliveryCounts`."""
    with _lock:
        _counts[field] += number


def dropped(sender: type, number: int, reason: str, groups: tuple[str, ...] = ()) -> None:
    """Count ``number`` frames that were dropped in a burst, and send ``deliveries_lost``. To be called on the loop."""
    count("dropped", number)
    deliveries_lost.notify(sender, count=number, groups=groups, reason=reason)


def named(groups: tuple[str, ...]) -> str:
    """Some of the names of ``groups``, for a log line."""
    names = ", ".join(map(printable, groups[:MAX_NAMED]))
    return f"{names}, ..." if len(groups) > MAX_NAMED else names


class Burst:
    """Collects losses that happen close to each other.

    ``report`` is called on the loop with the number and the groups of each burst, a second after its first loss.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Callable[[int, tuple[str, ...]], None]) -> None:
        self._loop = loop
        self._report = report
        self._groups: dict[str, int] = {}
        self._timer: Any = None

    def add(self, group: str, number: int) -> None:
        """Add ``number`` losses in ``group``; a negative number if messages have arrived late."""
        self._groups[group] = self._groups.get(group, 0) + number
        if self._timer is None:
            self._timer = self._loop.call_at(self._loop.time() + BURST, self.end, context=contextvars.Context())

    def end(self) -> None:
        """Report now, if there is anything to report."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        groups, self._groups = self._groups, {}
        self._report(sum(groups.values()), tuple(group for group, number in groups.items() if number))


@reset_after_fork
def _reset_counts() -> None:
    global _lock
    _lock = threading.Lock()
    _counts.update(dict.fromkeys(_counts, 0))


logger: Final = safe_logger("routesock.socket")

SETTLES: Final = 1.0
"""Seconds after joining a group during which messages that were sent before may still arrive."""


class Period:
    """The time that a hub is in a group, from the moment at which the layer has confirmed it."""

    __slots__ = ("certain_from",)

    def __init__(self, now: float) -> None:
        self.certain_from = now + SETTLES


class Arrivals:
    """Counts the messages that a layer delivers to the hub of ``loop``, and those that it loses."""

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._layer = type(layer)
        self._loop = loop
        self._watch = Watch()
        self._lost = Burst(loop, self._report_lost)
        self._backlog = Burst(loop, self._report_backlog)

    def is_new(self, period: Period, message: Message) -> bool:
        """Count ``message``, sent to a group that the hub is in; ``False`` if it has been delivered before."""
        counter, number = message.get("from"), message.get("seq")
        if isinstance(counter, str) and isinstance(number, int):  # an older routesock sends none
            certain = self._loop.time() >= period.certain_from
            more = self._watch.arrived(period, counter, number, certain=certain)
            if more is None:
                count("repeated")
                return False
            if more:
                self._lost.add(message["group"], more)
        count("received")
        return True

    def overflow(self, group: str, members: int) -> None:
        """Count a broadcast to ``group`` that is dropped because too many wait to be written."""
        self._backlog.add(group, members)

    def end(self) -> None:
        """The hub has ended: report what is left."""
        self._lost.end()
        self._backlog.end()

    def _report_lost(self, number: int, groups: tuple[str, ...]) -> None:
        self._watch.settle()
        if not number:
            return
        count("lost", number)
        logger.warning(
            "%s to %s did not arrive: the channel layer %s dropped them (its capacity or expiry, or "
            "it was restarted). Groups: %s.",
            counted(number, "broadcast"),
            counted(len(groups), "group"),
            self._layer.__name__,
            named(groups),
        )
        deliveries_lost.notify(self._layer, count=number, groups=groups, reason="layer")

    def _report_backlog(self, number: int, groups: tuple[str, ...]) -> None:
        logger.warning(
            "%s dropped in %s: other threads broadcast faster than the event loop can write. Groups: %s.",
            pushes_were(number),
            counted(len(groups), "group"),
            named(groups),
        )
        dropped(self._layer, number, "backlog", groups)
