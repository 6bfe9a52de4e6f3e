"""The queues of one socket: jobs that run in order, and requests that run in parallel."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container, Coroutine, Generator
from types import coroutine
from typing import Any, Final

from ..._wire.frames import OURS
from ..tasks import Tasks
from .jobs import HANDED_OVER, NO_SLOT, READ_ON, Job, JobRunner, JobSource, Progress, Verdict

FAIR_SHARE: Final = 16
"""Jobs after which a task lets others run, so that one socket's flood cannot hold the loop."""


class OrderedQueue:
    """Runs jobs in order, at most one at a time, and queues those that come meanwhile.

    ``tasks`` starts a new reader.
    """

    __slots__ = (
        "_jobs",
        "_progress",
        "_queue",
        "_reader",
        "_taken",
        "_tasks",
        "closed",
        "opening",
        "running",
    )

    def __init__(self, jobs: JobRunner, progress: Progress, tasks: Tasks) -> None:
        self._jobs = jobs
        self._progress = progress
        self._tasks = tasks
        self._queue: deque[Job] | None = None  # most sockets never need one
        self._reader: JobSource | None = None  # whose reading the running job still holds
        self._taken = False
        self.running: Job | None = None
        self.opening = True
        """Until the owner has seen the socket accepted: there is nothing to read before that, and nothing to answer."""
        self.closed = False

    async def submit(self, job: Job) -> Verdict:
        """Run ``job`` in this task if the lane is free, else queue it; what is answered by us finds room in time or
        is refused."""
        while self._taken and not self.closed:
            if job.queue():
                if self._queue is None:
                    self._queue = deque()
                self._queue.append(job)
                self._jobs.queued(job)
                return READ_ON
            if not await job.source.room.wait(refusable=type(job.decision) in OURS):
                return NO_SLOT
        if self.closed:  # before the job came, or while it waited for room
            return NO_SLOT
        self._reader = job.source
        self.running = job
        self._progress.task = job.task
        await _stepped(self._jobs.run(job), self._waits)
        self._progress.task = self.running = None
        if not self._taken:
            return READ_ON
        self._progress.end()
        await self._work_off(job.task)
        self._taken = False
        return READ_ON if self._reader is not None else HANDED_OVER

    def drop(self, job: Job) -> bool:
        """Take ``job`` out of the queue; ``False`` if it is not there (any more)."""
        if self._queue is None or job not in self._queue:
            return False
        self._queue.remove(job)
        job.unqueue()
        return True

    def close(self) -> list[Job]:
        """Take nothing more, and give back what is queued; the running job goes on."""
        self.closed = True
        dropped = [*self._queue] if self._queue else []
        self._queue = None
        for job in dropped:
            job.unqueue()
        return dropped

    async def _work_off(self, task: asyncio.Task[Any]) -> None:
        # The lane stays taken over the yields: a frame that is read meanwhile queues up behind.
        done = 0
        while self._queue:
            job = self._queue.popleft()
            job.unqueue()
            job.task = task
            self.running = job
            self._progress.task = task
            await _stepped(self._jobs.run(job), self._waits)
            self._progress.task = self.running = None
            self._progress.end()
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
            if self._progress.in_send or self.opening:
                return False
            reader, self._reader = self._reader, None
            self._tasks.start(reader.read())
        return True

    async def _turn(self, task: asyncio.Task[Any]) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:  # of a handler that had its own task cancelled a little later
            if self.closed:
                raise
            uncancel(task)


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


class ParallelQueue:
    """Runs each job in a task and a context of its own, at most ``limit`` of them at a time.

    What comes meanwhile waits in the room that it shares with the requests that wait for the order.
    """

    __slots__ = ("_jobs", "_limit", "_progress", "_queue", "_tasks", "closed", "routes", "running")

    def __init__(
        self,
        jobs: JobRunner,
        progress: Progress,
        tasks: Tasks,
        routes: Container[str],
        limit: int,
    ) -> None:
        self.routes = routes
        """The names of the routes whose requests belong here."""
        self._jobs = jobs
        self._progress = progress
        self._tasks = tasks
        self._limit = limit
        self._queue: deque[Job] = deque()
        self.running: set[Job] = set()
        self.closed = False

    async def submit(self, job: Job) -> Verdict:
        """Start ``job`` or queue it; one that finds no room in time is refused."""
        while not self.closed:
            if len(self.running) < self._limit:
                self._start(job)
                return READ_ON
            if job.queue():
                self._queue.append(job)
                self._jobs.queued(job)
                return READ_ON
            if not await job.source.room.wait(refusable=True):
                return NO_SLOT
        return NO_SLOT

    def drop(self, job: Job) -> bool:
        """Take ``job`` out of the queue; ``False`` if it is not there (any more)."""
        if job not in self._queue:
            return False
        self._queue.remove(job)
        job.unqueue()
        return True

    def close(self) -> list[Job]:
        """Take nothing more, and give back what is queued; what runs goes on."""
        self.closed = True
        dropped = [*self._queue]
        self._queue.clear()
        for job in dropped:
            job.unqueue()
        return dropped

    def _start(self, job: Job) -> None:
        job.waited = True
        job.task = self._tasks.start_apart(self._jobs.run(job))
        self.running.add(job)
        # A task that is cancelled before its first step runs nothing, so its end cannot be told from inside.
        job.task.add_done_callback(lambda _: self._ended(job))
        self._jobs.waits(job)

    def _ended(self, job: Job) -> None:
        self.running.discard(job)
        self._progress.end()
        if self._queue:
            following = self._queue.popleft()
            following.unqueue()
            self._start(following)
        else:
            job.source.room.release()
