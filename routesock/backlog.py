"""Broadcasts that wait in front of one socket: a bounded number of them, and of bytes."""

from __future__ import annotations

from collections import deque

from . import conf
from .broadcasts import Broadcast


class Backlog:
    """Broadcasts in the order in which they came, at most ``MAX_OUTGOING_BYTES`` of them together."""

    __slots__ = ("_bytes", "_max_bytes", "_waiting", "dropped")

    def __init__(self) -> None:
        self._waiting: deque[Broadcast] = deque()
        self._bytes = 0
        self._max_bytes: int = conf.get("MAX_OUTGOING_BYTES")
        self.dropped: dict[str, int] = {}
        """How many there was no room for, by what they waited for."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, broadcast: Broadcast, most: int) -> bool:
        """Let it wait if fewer than ``most`` do; ``False`` if there is no room. Alone it has room whatever its size."""
        if self._waiting and (len(self._waiting) >= most or self._bytes + broadcast.size > self._max_bytes):
            return False
        self._waiting.append(broadcast)
        self._bytes += broadcast.size
        return True

    def take(self) -> Broadcast:
        """The oldest, which waits no more."""
        broadcast = self._waiting.popleft()
        self._bytes -= broadcast.size
        return broadcast

    def drop(self, reason: str) -> None:
        """Count one that is not to wait, or no more."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._bytes = 0
