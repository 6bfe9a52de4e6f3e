"""How long a client has to authenticate, whether it says something or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..liveness import SECOND_LOOKS


class Patience:
    """A watch of the loop's timer that ends ``timeout`` when it is looked at.

    A process that stood still finds the client's frame unread, so it looks again a few times; and a token that
    ``is_verified`` at this moment came in time, so that has ``seconds`` more, once.
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
