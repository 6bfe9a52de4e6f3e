"""Numbers on what crosses a channel layer: what did not arrive shows in them, and so does what arrived twice."""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice
from typing import Any, Final

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


def _begin_anew() -> None:
    global _numbering
    _numbering = Numbering()


if hasattr(os, "register_at_fork"):
    # The child must not go on with the numbers of its parent, nor wait for a lock that a thread of the parent has.
    os.register_at_fork(after_in_child=_begin_anew)
