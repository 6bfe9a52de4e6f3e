"""The places of a bounded queue, and how long somebody waits for one."""

from __future__ import annotations

import asyncio
from typing import Any, Final

PATIENCE: Final = 0.02
"""Seconds for which a reader waits for room behind one running job before it refuses a request."""

MAX_QUEUED_EVENTS: Final = 1000
"""Channel-layer messages that wait for their turn on a socket, and as many events beside them. More messages stay in
the layer, which drops what it has no room for; more events are dropped."""

_TURNS: Final = 3
"""Of the loop, for a job that is ready to go on: one to see that, one to step it, one for what it may wake."""


class Progress:
    """What the jobs and the frames of one socket have come to, for those who wait for them."""

    __slots__ = ("_waiter", "closing", "ended", "in_send", "sending", "task")

    def __init__(self) -> None:
        self.closing = False
        """A close has begun: nothing more is dispatched, and no frame of ours is sent."""
        self.ended = 0
        """Counts the jobs that have ended: patience begins anew with each."""
        self.task: asyncio.Task[Any] | None = None
        """Who does the job whose turn it is."""
        self.in_send = False
        """That task is in ``send()``: a job that waits there holds the reading, which is the back-pressure."""
        self.sending = False
        """Some frame is with the server: a reply that waits for a slow client is no busy handler."""
        self._waiter: asyncio.Future[None] | None = None

    def end(self) -> None:
        """A job that had waited has ended."""
        self.ended += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> None:
        """Wait for the next such end; one at a time may."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter


class Room:
    """At most ``places`` jobs, of at most ``weight`` bytes together, where bytes are counted."""

    __slots__ = ("_free", "_impatient_at", "_places", "_progress", "_seen", "_waiter", "_weight")

    def __init__(self, places: int, progress: Progress, *, weight: int = 0) -> None:
        self._places = places
        self._free = places
        self._weight = weight
        self._progress = progress
        self._waiter: asyncio.Future[None] | None = None
        self._impatient_at = 0.0
        self._seen = -1

    def take(self, weight: int = 0) -> bool:
        """Take a place; ``False`` if there is none. An empty queue has one for any weight."""
        if not self._free or (weight > self._weight and self._free < self._places):
            return False
        self._free -= 1
        self._weight -= weight
        return True

    def free(self, weight: int = 0) -> None:
        """Give a place back."""
        self._free += 1
        self._weight += weight
        self.release()

    def release(self) -> None:
        """Let whoever waits for room look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, *, refusable: bool) -> bool:
        """Wait until there may be room; ``False``: a refusable job has waited long enough behind a running one."""
        loop = asyncio.get_running_loop()
        if refusable:
            if self._seen != self._progress.ended or self._progress.sending:
                self._seen, self._impatient_at = self._progress.ended, loop.time() + PATIENCE
            if loop.time() >= self._impatient_at:
                return await self._moved_on()
        if self._waiter is None or self._waiter.done():
            self._waiter = loop.create_future()
        timer = loop.call_at(self._impatient_at, self.release) if refusable else None
        try:
            await asyncio.shield(self._waiter)
        finally:
            if timer is not None:
                timer.cancel()
        return True

    async def _moved_on(self) -> bool:
        """Whether a job in front ends as soon as the loop turns: maybe the process stood still, not the job."""
        seen = self._progress.ended
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if self._progress.ended != seen:
                return True
        return False
