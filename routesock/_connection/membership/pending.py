"""Pushes and events that wait: for connect(), for a permission check, or for their turn."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from itertools import count
from typing import Any, Final, Protocol

from ... import conf
from ..._groups import losses
from ..._groups.envelopes import Broadcast, EventMessage
from ..._pipeline.plan import Plan
from ..._runtime import instrumentation
from ..._runtime.callables import is_from_outside
from ..._wire import problems
from ..._wire.messages import Request
from ...exceptions import RoutesockError
from ...typing import UNSET
from ..queue.jobs import MAX_QUEUED_EVENTS, READ_ON, Job, JobSource, Progress, QueueSlots
from ..queue.ordered import FAIR_SHARE, OrderedQueue, uncancel
from ..tasks import Tasks


class PushBacklog:
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


logger: Final = logging.getLogger("routesock.socket")


class EventJob(Job):
    """An event to be told of."""

    def __init__(self, source: JobSource, occurrence: EventMessage, task: asyncio.Task[Any]) -> None:
        super().__init__(source, occurrence.message, None, task)
        self.occurrence = occurrence


class EventQueue(JobSource):
    """Takes events at once, and brings them to the lane in a task that is there only while there are any.

    When more than ``MAX_QUEUED_EVENTS`` wait, or more than ``MAX_OUTGOING_BYTES``, the newest is dropped.
    """

    __slots__ = ("_consumer", "_dropped", "_lane", "_new", "_reading", "_tasks", "room")

    def __init__(self, consumer: Any, lane: OrderedQueue, progress: Progress, tasks: Tasks) -> None:
        self._consumer = consumer
        self._lane = lane
        self._tasks = tasks
        self._new: deque[EventMessage] = deque()
        self._reading = False
        self._dropped = 0
        self.room = QueueSlots(MAX_QUEUED_EVENTS, progress, weight=conf.get("MAX_OUTGOING_BYTES"))

    def put(self, occurrence: EventMessage) -> None:
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


class RecheckOwner(Protocol):
    """The subscription whose pushes these are."""

    consumer: Any

    def request(self) -> Request:
        """One as if the client subscribed now."""
        ...

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the socket."""
        ...

    async def deny(self, error: RoutesockError) -> None:
        """End it. Raises nothing but a cancellation."""


class PushRecheck:
    """Asks ``check`` before each push, or once for all that wait when it is asked.

    It is closed until it is opened, and once more when it is shut. ``write`` is given what may pass.
    """

    __slots__ = ("_check", "_limit", "_open", "_owner", "_shut", "_task", "_waiting", "_write")

    def __init__(self, check: Plan, owner: RecheckOwner, write: Callable[[Broadcast], None]) -> None:
        self._check = check
        self._owner = owner
        self._write = write
        self._limit: int = conf.get("MAX_OUTGOING")
        self._waiting = PushBacklog()
        self._open = False
        self._shut = False
        self._task: asyncio.Task[None] | None = None

    def take(self, broadcast: Broadcast) -> None:
        if self._shut:
            return
        if self._waiting.put(broadcast, self._limit):
            self._begin()
        else:
            self._waiting.drop("permission")

    def open(self) -> None:
        """The subscription is there."""
        self._open = True
        self._begin()

    def shut(self) -> None:
        """It has ended: nothing passes any more."""
        self._shut = True
        self._waiting.clear()

    def _begin(self) -> None:
        if self._open and self._waiting and self._task is None:
            self._task = self._owner.start(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._pass([self._waiting.take() for _ in range(len(self._waiting))])
        finally:
            self._task = None
            number = self._waiting.dropped.pop("permission", 0)
            if number:
                logger.warning("%d pushes were dropped while the permissions of their topic were asked.", number)
                losses.dropped(type(self._owner.consumer), number, "permission")

    async def _pass(self, broadcasts: list[Broadcast]) -> None:
        request = self._owner.request()
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(self._seconds()):
                await self._check.run(request, ())
        except BaseException as exc:  # a permission may raise SystemExit or a CancelledError of its own
            if is_from_outside(exc, task):
                raise
            await self._refused(exc, request)
            return
        for broadcast in () if self._shut else broadcasts:
            self._write(broadcast)

    async def _refused(self, exc: BaseException, request: Request) -> None:
        """Deny, unless ``exc`` says nothing about the client; then the pushes are not sent, and that is all."""
        if self._shut:
            return
        error = problems.error_of(exc)
        if error is not None and error.status < 500 and error.status != HTTPStatus.TOO_MANY_REQUESTS:
            self.shut()
            await self._owner.deny(error)
        else:
            what = f"Whether a push of the topic {instrumentation.printable(request.topic)} may be sent"
            instrumentation.internal_error(exc, what, self._owner.consumer, request=request)

    def _seconds(self) -> float | None:
        seconds: float | None = conf.get("TIMEOUT") if self._check.timeout is UNSET else self._check.timeout
        return seconds
