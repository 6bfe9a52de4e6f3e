"""Pushes and events that wait: for connect(), for a permission check, or for their turn."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import count
from typing import Any, Final

from ... import conf
from ..._groups import losses
from ..._groups.envelopes import Broadcast, EventMessage
from ..queue.jobs import MAX_QUEUED_EVENTS, EventJob, JobSource
from ..queue.ordered import FAIR_SHARE, READ_ON, OrderedQueue
from ..state import SocketState
from ..tasks import Tasks, uncancel

logger: Final = logging.getLogger("routesock.socket")


class PushBacklog:
    """Broadcasts in the order in which they came, of at most ``MAX_OUTGOING_BYTES`` in total."""

    __slots__ = ("_bytes", "_max_bytes", "_waiting", "dropped")

    def __init__(self) -> None:
        self._waiting: deque[Broadcast] = deque()
        self._bytes = 0
        self._max_bytes: int = conf.get("MAX_OUTGOING_BYTES")
        self.dropped: dict[str, int] = {}
        """How many were dropped, by what they waited for."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, broadcast: Broadcast, most: int) -> bool:
        """Append ``broadcast``; ``False`` if ``most`` wait already or it is too large. One alone may be of any size."""
        if self._waiting and (len(self._waiting) >= most or self._bytes + broadcast.size > self._max_bytes):
            return False
        self._waiting.append(broadcast)
        self._bytes += broadcast.size
        return True

    def take(self) -> Broadcast:
        """Remove and return the oldest."""
        broadcast = self._waiting.popleft()
        self._bytes -= broadcast.size
        return broadcast

    def drop(self, reason: str) -> None:
        """Count one that is dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def clear(self) -> None:
        """Remove all."""
        self._waiting.clear()
        self._bytes = 0


class EventQueue(JobSource):
    """Takes events at once, and submits them to the ordered queue in a task that exists only while there are any.

    When more than ``MAX_QUEUED_EVENTS`` wait, or more than ``MAX_OUTGOING_BYTES``, the newest is dropped.
    """

    __slots__ = ("_consumer", "_dropped", "_new", "_queue", "_reading", "_tasks")

    def __init__(self, consumer: Any, queue: OrderedQueue, state: SocketState, tasks: Tasks) -> None:
        super().__init__(MAX_QUEUED_EVENTS, state, weight=conf.get("MAX_OUTGOING_BYTES"))
        self._consumer = consumer
        self._queue = queue
        self._tasks = tasks
        self._new: deque[EventMessage] = deque()
        self._reading = False
        self._dropped = 0

    def put(self, event: EventMessage) -> None:
        """Keep ``event`` until :meth:`start`."""
        if not self.take_slot(self.weight_of(event.message)):
            self._dropped += 1
            return
        self.report_dropped()
        self._new.append(event)

    def start(self) -> None:
        """Submit what waits."""
        if self._new and not self._reading:
            self._reading = True
            self._tasks.start(self.read())

    async def read(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in count(1):
            if not self._new:
                break
            job = EventJob(self, self._new.popleft(), task)
            self.free_slot(self.weight_of(job.message))  # the ordered queue takes it again if the job has to wait there
            if await self._queue.submit(job) is not READ_ON:  # another task reads, or nothing is dispatched any longer
                return
            del job
            try:
                if number % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
            except asyncio.CancelledError:  # from a handler that had its own task cancelled a little later
                if self._state.ends_tasks:
                    raise
                uncancel(task)
        self._reading = False

    def report_dropped(self) -> None:
        """Log and count what was dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            logger.warning("%s events for a socket that is busy were dropped: too many waited.", dropped)
            losses.dropped(type(self._consumer), dropped, "busy")

    def weight_of(self, message: dict[str, Any]) -> int:
        return len(message["data"])
