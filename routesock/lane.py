"""The order of one socket: its jobs run one at a time, while the frames behind a waiting job go on being read.

A job runs in the task of the reader that took it, so a job that never waits costs no task. When it first waits, the
*reading* is handed to a new task and the old reader becomes the worker: it ends its job and works off the queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from enum import Enum
from types import coroutine
from typing import Any, Final, Protocol

from .intake import Decision, Refusal
from .messages import Reply, Request

PATIENCE: Final = 0.02
"""Seconds for which a reader waits for room behind one running job before it refuses a request."""

_TURNS: Final = 3
"""Of the loop, for a job that is ready to go on: one to see that, one to step it, one for what it may wake."""

FAIR_SHARE: Final = 16
"""Jobs after which a task lets others run, so that one socket's flood cannot hold the loop."""


class Source:
    """Where jobs come from: the client or the channel layer. ``read()`` reads on; ``room`` bounds its queued jobs."""

    __slots__ = ("queued", "read", "room")

    def __init__(self, read: Callable[[], Coroutine[Any, Any, None]], room: int) -> None:
        self.read = read
        self.room = room
        self.queued = 0


class Job:
    """Something to do in a socket's order: an ASGI or channel-layer message, with the decision if it is a frame."""

    # Defaults on the class: most jobs end without one of them being set.
    entered = False  # the decision was acted upon
    outcome: Reply | Refusal | None = None
    settled = False  # the final reply is decided: whatever the handler still gives is dropped
    revoked = False  # its task was told to cancel it
    over = False  # its code has ended: there is nothing left to cancel
    waited = False  # it has suspended: until then nothing else can have happened on the socket
    watched = False  # it can be cancelled, and its deadline runs
    timer: asyncio.TimerHandle | None = None

    def __init__(
        self, source: Source, message: dict[str, Any], decision: Decision | None, task: asyncio.Task[Any]
    ) -> None:
        self.task = task  # who does it
        self.source = source
        self.message = message
        self.decision = decision


class Jobs(Protocol):
    """Who does the jobs of a lane."""

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
    REFUSED = "no room"


# Looking a member up costs more than the comparison, for each message.
READ_ON: Final = Verdict.READ_ON
HANDED_OVER: Final = Verdict.HANDED_OVER


class Lane:
    """Runs jobs in order, at most one at a time, and queues those that come meanwhile.

    ``spawn`` starts a task for a new reader; somebody awaits it in the end.
    """

    def __init__(self, jobs: Jobs, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._jobs = jobs
        self._spawn = spawn
        self._queue: deque[Job] = deque()
        self._reader: Source | None = None  # whose reading the running job still holds
        self._roomy: asyncio.Future[None] | None = None
        self._watched: Job | None = None
        self._impatient_at = 0.0
        self._taken = False
        self.running: Job | None = None
        self.in_send = False
        """Set by the owner while a job waits in ``send()``: that holds the reading, which is the back-pressure."""
        self.opening = True
        """Until the owner has seen the socket accepted: there is nothing to read before that, and nothing to answer."""
        self.closed = False

    async def submit(self, job: Job) -> Verdict:
        """Run ``job`` in this task if the lane is free, else queue it; a request finds room in time or is refused."""
        while self._taken and not self.closed:
            if job.source.queued < job.source.room:
                job.source.queued += 1
                self._queue.append(job)
                self._jobs.queued(job)
                return READ_ON
            if not await self._room(refusable=type(job.decision) is Request):
                return Verdict.REFUSED
        if self.closed:  # while the job waited for room
            return READ_ON
        self._reader = job.source
        self.running = job
        self.in_send = False
        await _stepped(self._jobs.run(job), self._waits)
        self.running = None
        if not self._taken:
            return READ_ON
        await self._work_off(job.task)
        self._taken = False
        self._watched = None
        return READ_ON if self._reader is not None else HANDED_OVER

    def drop(self, job: Job) -> bool:
        """Take ``job`` out of the queue; ``False`` if it is not there (any more)."""
        try:
            self._queue.remove(job)
        except ValueError:
            return False
        self._left(job)
        return True

    def close(self) -> None:
        """Drop what is queued and take nothing more; the running job goes on."""
        self.closed = True
        while self._queue:
            self._left(self._queue.popleft())
        self._release(self._roomy)

    async def _work_off(self, task: asyncio.Task[Any]) -> None:
        # The lane stays taken over the yields: a frame that is read meanwhile queues up behind.
        done = 0
        while self._queue:
            job = self._queue.popleft()
            self._left(job)
            job.task = task
            self.running = job
            self.in_send = False
            await _stepped(self._jobs.run(job), self._waits)
            self.running = None
            done += 1
            if done % FAIR_SHARE == 0:
                await self._turn(task)

    def _waits(self) -> bool:
        """The running job waits; ``True``: nothing more is to be done at its later waits."""
        job = self.running
        assert job is not None
        if not job.waited:
            job.waited = True
            self._taken = True
            self._jobs.waits(job)
        if self._reader is not None:
            if self.in_send or self.opening:
                return False
            reader, self._reader = self._reader, None
            self._spawn(reader.read())
        return True

    def _left(self, job: Job) -> None:
        job.source.queued -= 1
        self._release(self._roomy)

    async def _turn(self, task: asyncio.Task[Any]) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:  # of a handler that had its own task cancelled a little later
            if self.closed:
                raise
            uncancel(task)

    async def _room(self, *, refusable: bool) -> bool:
        """Wait until there may be room; ``False``: a refusable job has waited long enough behind the running one."""
        loop = asyncio.get_running_loop()
        if refusable:
            # A reply that waits for a slow client is no busy handler: patience begins when it has gone.
            if self._watched is not self.running or self.in_send:
                self._watched, self._impatient_at = self.running, loop.time() + PATIENCE
            if loop.time() >= self._impatient_at:
                return await self._moved_on()
        if self._roomy is None or self._roomy.done():
            self._roomy = loop.create_future()
        timer = loop.call_at(self._impatient_at, self._release, self._roomy) if refusable else None
        try:
            await asyncio.shield(self._roomy)
        finally:
            if timer is not None:
                timer.cancel()
        return True

    async def _moved_on(self) -> bool:
        """Whether the running job ends as soon as the loop turns: maybe the process stood still, not the job."""
        watched = self.running
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if self.running is not watched:
                return True
        return False

    @staticmethod
    def _release(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


@coroutine
def _stepped(job: Coroutine[Any, Any, None], waits: Callable[[], bool]) -> Generator[Any, Any, None]:
    """Await ``job`` and call ``waits`` each time it suspends, until that returns ``True``.

    The job runs in the current task from its first step to its last: ``asyncio.timeout``, task groups and cancellation
    are inside it what they are everywhere.
    """
    watching = True
    try:
        future = job.send(None)
        while True:
            if watching and waits():
                watching = False
            try:
                yield future
            except BaseException as exc:  # a cancellation, or the generator's close: both belong to the job
                future = job.throw(exc)
            else:
                future = job.send(None)
    except StopIteration:
        return


def uncancel(task: asyncio.Task[Any]) -> None:
    """Take back every cancellation of ``task`` that has been delivered."""
    while task.cancelling():
        task.uncancel()
