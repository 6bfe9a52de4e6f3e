"""Numbers the messages that cross a channel layer, detects lost and repeated ones, and counts them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any, Final, NamedTuple

from .._runtime.instrumentation import printable
from ..signals import deliveries_lost
from .envelopes import Message

MAX_COUNTERS: Final = 10_000
"""Groups of a layer that a process numbers, and senders and groups that a hub follows; then the oldest is forgotten."""

MAX_MISSING: Final = 10_000
"""Numbers that a hub waits for; then the oldest are given up."""

_Key = tuple[Hashable, str]


class Numbering:
    """Numbers what this process sends to each group, from any thread.

    A counter has a name of its own, and numbers from 1. One that was forgotten is followed by one with another name, so
    that a number never means two messages.
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
    """What has arrived of the numbers of each counter. Numbers may overtake each other."""

    def __init__(self) -> None:
        self._seen: OrderedDict[_Key, tuple[int, int]] = OrderedDict()  # the lowest and the highest
        self._missing: OrderedDict[tuple[_Key, int], int] = OrderedDict()  # between those, and since when
        self._burst = 1

    def arrived(self, stay: Hashable, counter: str, number: int, *, certain: bool) -> int | None:
        """By how many more messages are missing with this one, -1 where it was missing; ``None``: it has come before.

        The first of a counter in a ``stay``, the time that a hub is in a group, says nothing of what was sent before.
        Unless ``certain``, nothing does: what this one lets miss may have been sent to a group without the hub.
        """
        key = (stay, counter)
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
        """What is missing by now stays missing: when it comes after all, it is new, and takes nothing back."""
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


def _restart_numbering() -> None:
    global _numbering
    _numbering = Numbering()


if hasattr(os, "register_at_fork"):
    # The child must not go on with the numbers of its parent, nor wait for a lock that a thread of the parent has.
    os.register_at_fork(after_in_child=_restart_numbering)

BURST: Final = 1.0
"""Seconds from the first loss until it is told, with those that have come to it."""

MAX_NAMED: Final = 5
"""Groups that are told by name."""


class DeliveryCounts(NamedTuple):
    """What became of broadcasts in this process since it began. None of the numbers ever becomes smaller."""

    sent: int
    """Broadcasts of this process that went out."""
    failed: int
    """Broadcasts of this process that the channel layer did not take; each has raised where it was sent."""
    received: int
    """Broadcasts that the channel layer has brought to this process, for groups that a socket here is in."""
    lost: int
    """Broadcasts that it should have brought, and did not within a second after a later one."""
    repeated: int
    """Broadcasts that it has brought twice. Sockets got them once."""
    dropped: int
    """Frames and events that single sockets of this process did not get, since too many waited already."""


_lock = threading.Lock()

_counts = dict.fromkeys(DeliveryCounts._fields, 0)


def delivery_counts() -> DeliveryCounts:
    """What became of broadcasts in this process since it began, as a snapshot; from any thread."""
    with _lock:
        return DeliveryCounts(**_counts)


def count(field: str, number: int = 1) -> None:
    """Add to one of the :class:`DeliveryCounts`."""
    with _lock:
        _counts[field] += number


def dropped(sender: type, number: int, reason: str, groups: tuple[str, ...] = ()) -> None:
    """Count ``number`` frames that a burst has cost, and tell the receivers of ``deliveries_lost``; on the loop."""
    count("dropped", number)
    deliveries_lost.notify(sender, count=number, groups=groups, reason=reason)


def named(groups: tuple[str, ...]) -> str:
    """Some of the names of ``groups``, for a log line."""
    names = ", ".join(map(printable, groups[:MAX_NAMED]))
    return f"{names}, ..." if len(groups) > MAX_NAMED else names


class Burst:
    """Losses in groups that come close to each other. ``tell`` is called with the number and the groups of each burst,
    a second after its first loss, on the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[int, tuple[str, ...]], None]) -> None:
        self._loop = loop
        self._tell = tell
        self._groups: dict[str, int] = {}
        self._timer: Any = None

    def add(self, group: str, number: int) -> None:
        """``number`` more were lost in ``group``; below zero, so many were not lost after all."""
        self._groups[group] = self._groups.get(group, 0) + number
        if self._timer is None:
            self._timer = self._loop.call_at(self._loop.time() + BURST, self.end, context=contextvars.Context())

    def end(self) -> None:
        """Tell what there is to tell, now."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        groups, self._groups = self._groups, {}
        self._tell(sum(groups.values()), tuple(group for group, number in groups.items() if number))


def _reset_counts() -> None:
    global _lock
    _lock = threading.Lock()
    _counts.update(dict.fromkeys(_counts, 0))


if hasattr(os, "register_at_fork"):
    # The child has sent nothing yet, and a thread of its parent may have had the lock.
    os.register_at_fork(after_in_child=_reset_counts)

logger: Final = logging.getLogger("routesock.socket")

SETTLES: Final = 1.0
"""Seconds after a hub has joined a group in which what comes may have been sent before that."""


class Stay:
    """The time that a hub is in a group, from the moment at which the layer has said so."""

    __slots__ = ("settled",)

    def __init__(self, now: float) -> None:
        self.settled = now + SETTLES


class Arrivals:
    """Counts what a layer brings to the hub of ``loop``, and what it lacks."""

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._layer = type(layer)
        self._loop = loop
        self._watch = Watch()
        self._lost = Burst(loop, self._tell_lost)
        self._backlog = Burst(loop, self._tell_backlog)

    def is_new(self, stay: Stay, message: Message) -> bool:
        """Whether ``message``, to a group that the hub is in, is to be delivered: it is not, if it was before."""
        counter, number = message.get("from"), message.get("seq")
        if isinstance(counter, str) and isinstance(number, int):  # an older routesock sends none
            certain = self._loop.time() >= stay.settled
            more = self._watch.arrived(stay, counter, number, certain=certain)
            if more is None:
                count("repeated")
                return False
            if more:
                self._lost.add(message["group"], more)
        count("received")
        return True

    def overflow(self, group: str, members: int) -> None:
        """A broadcast to ``group`` is dropped, since too many wait to be written."""
        self._backlog.add(group, members)

    def end(self) -> None:
        """Nothing more will come."""
        self._lost.end()
        self._backlog.end()

    def _tell_lost(self, number: int, groups: tuple[str, ...]) -> None:
        self._watch.settle()
        if not number:
            return
        count("lost", number)
        logger.warning(
            "%d broadcasts to %d groups did not arrive: the channel layer %s dropped them (its capacity or expiry, or "
            "it was restarted). Groups: %s.",
            number,
            len(groups),
            self._layer.__name__,
            named(groups),
        )
        deliveries_lost.notify(self._layer, count=number, groups=groups, reason="layer")

    def _tell_backlog(self, number: int, groups: tuple[str, ...]) -> None:
        logger.warning(
            "%d pushes in %d groups were dropped: other threads broadcast faster than the event loop can write. "
            "Groups: %s.",
            number,
            len(groups),
            named(groups),
        )
        dropped(self._layer, number, "backlog", groups)
