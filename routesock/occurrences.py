"""The events that one socket is to be told of: each waits for its turn among the requests and the other messages."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import count
from typing import Any, Final

from . import conf, losses
from .broadcasts import Occurrence
from .jobs import READ_ON, Job, Source
from .lane import FAIR_SHARE, Lane, uncancel
from .room import MAX_QUEUED_EVENTS, Progress, Room
from .tasks import Tasks

logger: Final = logging.getLogger("routesock.socket")


class EventJob(Job):
    """An event to be told of."""

    def __init__(self, source: Source, occurrence: Occurrence, task: asyncio.Task[Any]) -> None:
        super().__init__(source, occurrence.message, None, task)
        self.occurrence = occurrence


class Occurrences(Source):
    """Takes events at once, and brings them to the lane in a task that is there only while there are any.

    When more than ``MAX_QUEUED_EVENTS`` wait, or more than ``MAX_OUTGOING_BYTES``, the newest is dropped.
    """

    __slots__ = ("_consumer", "_dropped", "_lane", "_new", "_reading", "_tasks", "room")

    def __init__(self, consumer: Any, lane: Lane, progress: Progress, tasks: Tasks) -> None:
        self._consumer = consumer
        self._lane = lane
        self._tasks = tasks
        self._new: deque[Occurrence] = deque()
        self._reading = False
        self._dropped = 0
        self.room = Room(MAX_QUEUED_EVENTS, progress, weight=conf.get("MAX_OUTGOING_BYTES"))

    def put(self, occurrence: Occurrence) -> None:
        """Let it wait for :meth:`begin`."""
        if not self.room.take(self.weight_of(occurrence.message)):
            self._dropped += 1
            return
        self.report()
        self._new.append(occurrence)

    def begin(self) -> None:
        """What waits may have its turn now."""
        if self._new and not self._reading:
            self._reading = True
            self._tasks.start(self.read())

    async def read(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        for taken in count(1):
            if not self._new:
                break
            job = EventJob(self, self._new.popleft(), task)
            self.room.free(self.weight_of(job.message))  # and the lane takes it once more, if it has to wait there
            if await self._lane.submit(job) is not READ_ON:  # another task reads, or nothing is told any more
                return
            del job
            try:
                if taken % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
            except asyncio.CancelledError:  # of a handler that had its own task cancelled a little later
                if self._tasks.finishing:
                    raise
                uncancel(task)
        self._reading = False

    def report(self) -> None:
        """Tell what was dropped since the last time, if anything was."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            logger.warning("%s events for a socket that is busy were dropped: too many waited.", dropped)
            losses.dropped(type(self._consumer), dropped, "busy")

    def weight_of(self, message: dict[str, Any]) -> int:
        return len(message["data"])
