"""What became of broadcasts: counted for the whole process, and told once per burst where something was lost."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .faults import printable
from .signals import deliveries_lost

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
    deliveries_lost.tell(sender, count=number, groups=groups, reason=reason)


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


def _begin_anew() -> None:
    global _lock
    _lock = threading.Lock()
    _counts.update(dict.fromkeys(_counts, 0))


if hasattr(os, "register_at_fork"):
    # The child has sent nothing yet, and a thread of its parent may have had the lock.
    os.register_at_fork(after_in_child=_begin_anew)
