"""Jobs, the limits on queued jobs, and the requests that have no final reply yet."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from enum import Enum
from typing import Any, Final, Protocol

from ..._wire.frames import Decision, Refusal
from ..._wire.messages import Reply, Request, RequestId
from ...exceptions import DeadlineExceeded, RoutesockError
from ..tasks import Tasks

QUEUE_TIMEOUT: Final = 0.02
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


class QueueSlots:
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
                self._seen, self._impatient_at = self._progress.ended, loop.time() + QUEUE_TIMEOUT
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


class JobSource(ABC):
    """Where jobs come from: the client or the channel layer. ``room`` bounds those that wait."""

    __slots__ = ()
    room: QueueSlots

    @abstractmethod
    async def read(self) -> None:
        """Read until the socket closes, or until another task does."""

    def weight_of(self, message: dict[str, Any]) -> int:
        """Bytes that ``message`` takes from the room, where those count."""
        return 0


class Job:
    """Something to do for a socket: an ASGI or channel-layer message, with the decision if it is a frame."""

    # Defaults on the class: most jobs end without one of them being set.
    entered = False  # the decision was acted upon
    outcome: Reply | Refusal | None = None
    settled = False  # the final reply is decided: whatever the handler still gives is dropped
    revoked = False  # its task was told to cancel it
    over = False  # its code has ended: there is nothing left to cancel
    waited = False  # it has suspended: until then nothing else can have happened on the socket
    watched = False  # it can be cancelled, and its deadline runs
    timeout: float | None = None  # seconds that its deadline is away
    timer: asyncio.TimerHandle | None = None
    weight = 0  # bytes that it holds while it is queued, where that is not bounded otherwise

    def __init__(
        self, source: JobSource, message: dict[str, Any], decision: Decision | None, task: asyncio.Task[Any]
    ) -> None:
        self.task = task  # who does it
        self.source = source
        self.message = message
        self.decision = decision

    def queue(self) -> bool:
        """Take a place in the room of its source; ``False`` if there is none."""
        self.weight = self.source.weight_of(self.message)
        return self.source.room.take(self.weight)

    def unqueue(self) -> None:
        """Give the place back."""
        self.source.room.free(self.weight)


class JobRunner(Protocol):
    """Who does the jobs of a socket."""

    async def run(self, job: Job) -> None:
        """Do ``job``, with whatever it raises."""

    def queued(self, job: Job) -> None:
        """``job`` has to wait for its turn."""

    def waits(self, job: Job) -> None:
        """``job`` waits for the first time; called before anything else can happen on the socket."""


class Verdict(Enum):
    """What became of a submitted job, and so what its reader does next."""

    READ_ON = "done or queued: read on"
    HANDED_OVER = "done, and another task reads by now: end"
    NO_SLOT = "no room"


# Looking a member up costs more than the comparison, for each message.
READ_ON: Final = Verdict.READ_ON

HANDED_OVER: Final = Verdict.HANDED_OVER

NO_SLOT: Final = Verdict.NO_SLOT


class InFlightOwner(Protocol):
    """Who does the jobs and answers them."""

    tasks: Tasks

    def drop(self, job: Job) -> bool:
        """Take ``job`` out of its queue, if it is still in one."""
        ...

    async def refuse(self, refusal: Refusal, request: Request) -> None:
        """Answer ``request`` with an error."""


class InFlight:
    """Knows the jobs of ``desk`` that can be cancelled."""

    __slots__ = ("_desk", "ids")

    def __init__(self, desk: InFlightOwner) -> None:
        self._desk = desk
        self.ids: dict[RequestId, Job] = {}

    def add(self, job: Job) -> None:
        """A CANCEL finds ``job`` from now on, and its id is taken."""
        if type(job.decision) is Request and job.decision.id is not None:
            self.ids[job.decision.id] = job

    def watch(self, job: Job, timeout: float | None) -> None:
        """``job`` waits: it can be cancelled, and has so many seconds from its handler's start."""
        job.watched = True
        job.timeout = timeout
        self.add(job)
        if timeout is not None:
            job.timer = asyncio.get_running_loop().call_later(timeout, self._deadline, job)

    def pause(self, job: Job) -> None:
        """Stop the clock of ``job``."""
        if job.timer is not None:
            job.timer.cancel()

    def restart(self, job: Job) -> None:
        """Start the clock of ``job`` from zero, if it has one."""
        if job.timer is not None and job.timeout is not None and not job.settled:
            job.timer = asyncio.get_running_loop().call_later(job.timeout, self._deadline, job)

    def forget(self, job: Job) -> None:
        """Its deadline, and its id: a client may use that again."""
        self.pause(job)
        if type(job.decision) is Request and self.ids.get(job.decision.id) is job:
            del self.ids[job.decision.id]

    async def revoke(self, job: Job | None, error: RoutesockError) -> None:
        """End a queued or running request with ``error``, at once; one that has ended already is left alone."""
        if job is None or job.settled or job.over or type(job.decision) is not Request:
            return
        if not self._desk.drop(job):
            job.revoked = job.decision._revoked = True
            job.task.cancel()
        await self.refuse(job, error)

    async def refuse(self, job: Job, error: RoutesockError) -> None:
        """Answer ``job``, which is in no queue any more, with ``error``, if it is a request."""
        if type(job.decision) is Request:
            job.settled = True
            self.forget(job)
            await self._desk.refuse(Refusal(error, job.decision.route, job.decision.id), job.decision)

    def _deadline(self, job: Job) -> None:
        assert type(job.decision) is Request
        assert job.timeout is not None
        started = job.decision.started
        left = 0.0 if started is None else started + job.timeout - time.monotonic()
        if left > 0:  # hooks waited before the handler began
            job.timer = asyncio.get_running_loop().call_later(left, self._deadline, job)
        else:
            self._desk.tasks.start(self.revoke(job, DeadlineExceeded()))
