"""The queues of one socket: jobs that run in order, and requests that run in parallel."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Generator
from enum import Enum
from itertools import count
from types import coroutine
from typing import Any, Final

from ..._runtime.database import hold_connections
from ..._runtime.timers import FAIR_SECONDS, FAIR_SHARE, clock
from ..._wire.frames import ANSWERED
from ...exceptions import RoutesockError
from ..dispatch import Dispatcher
from ..state import SocketState
from ..tasks import Tasks, uncancel
from .jobs import RUNNING, WAITING, Job, JobSource


class Submitted(Enum):
    """What has become of a submitted job, and so what its reader does next."""

    READ_ON = "done or queued: read on"
    HANDED_OVER = "done, and another task reads: return"
    NO_SLOT = "no slot in time"


# A module's name is found faster than a member of an enum, and these are needed for each message.
READ_ON: Final = Submitted.READ_ON

HANDED_OVER: Final = Submitted.HANDED_OVER

NO_SLOT: Final = Submitted.NO_SLOT

_ENDED: Final = object()


class JobQueue:
    """Runs the jobs of one socket: in order, at most one at a time, and requests of parallel routes at the same time.

    ``concurrency`` is how many of the latter may run at a time.
    """

    __slots__ = (
        "_busy", "_concurrency", "_context", "_dispatcher", "_parallel", "_queue", "_reader", "_state", "_tasks",
        "current",
    )  # fmt: skip

    def __init__(self, dispatcher: Dispatcher, state: SocketState, tasks: Tasks, concurrency: int) -> None:
        self._dispatcher = dispatcher
        self._state = state
        self._tasks = tasks
        self._context = tasks.context
        self._concurrency = concurrency
        self._parallel: ParallelQueue | None = None  # most sockets never need one
        self._queue: deque[Job] | None = None
        self._reader: JobSource | None = None  # its task runs the current job, so nothing else reads from it
        self._busy = False
        self.current: Job | None = None
        """The job that runs in the order."""

    def submit_parallel(self, job: Job) -> Awaitable[Submitted]:
        """Run or queue a request of a parallel route."""
        if self._parallel is None:
            self._parallel = ParallelQueue(self._dispatcher, self._state, self._tasks, self._concurrency)
        return self._parallel.submit(job)

    async def submit(self, job: Job) -> Submitted:
        """Run ``job`` in this task if no other runs, else queue it.

        A request or refusal that finds no slot in time is not queued.
        """
        rest = self.begin(job)
        return READ_ON if rest is None else await rest

    def begin(self, job: Job) -> Awaitable[Submitted] | None:
        """Submit ``job`` as :meth:`submit` does, and run it up to where it first waits.

        Returns ``None`` if it has ended, as most jobs do without waiting: read on. Otherwise await the result at once,
        which runs the rest.
        """
        state = self._state
        if self._busy or not state.may_dispatch:
            return self._submit_later(job)
        self.current = job
        state.current_task = job.task
        context = self._context
        self._tasks.before_job = context.copy()
        steps = self._dispatcher.run(job)
        future = context.run(next, steps.__await__(), _ENDED)  # unlike steps.send(None), it does not raise at the end
        if future is not _ENDED:
            self._reader = job.source
            return self._run(job, steps, future)
        state.current_task = self.current = None
        return None

    async def _submit_later(self, job: Job) -> Submitted:
        state = self._state
        while self._busy and state.may_dispatch:
            if job.enqueue(self):
                if self._queue is None:
                    self._queue = deque()
                self._queue.append(job)
                self._dispatcher.add(job)
                return READ_ON
            if not await job.source.wait_for_slot(refusable=type(job.decision) in ANSWERED):
                return NO_SLOT
        if not state.may_dispatch:  # before the job came, or while it waited for a slot
            return NO_SLOT
        return await self.submit(job)

    def remove(self, job: Job) -> None:
        """Take a queued job out."""
        assert self._queue is not None
        self._queue.remove(job)
        job.dequeue()

    def running(self) -> set[Job]:
        """Return all jobs that run, in order and in parallel."""
        current = set() if self.current is None else {self.current}
        return current if self._parallel is None else current | self._parallel.running

    def counts(self) -> tuple[int, int]:
        """How many jobs run, and how many are queued. May be called in any thread."""
        current, queue, parallel = self.current, self._queue, self._parallel
        running, queued = int(current is not None), len(queue or ())
        if parallel is not None:
            running, queued = running + len(parallel.running), queued + len(parallel.queued)
        return running, queued

    def clear(self) -> list[Job]:
        """Take out and return all queued jobs. Those that run go on."""
        jobs, self._queue = [*(self._queue or ())], None
        for job in jobs:
            job.dequeue()
        return jobs if self._parallel is None else jobs + self._parallel.clear()

    # Refusing them

    async def finish_running(self, error: RoutesockError) -> None:
        """Wait for the jobs that run. What is queued, and what still comes, is answered ``error``."""
        await self._refuse_queued(error)
        while self.running():
            await self._state.next_job_done()

    async def refuse_all(self, error: RoutesockError) -> None:
        """Cancel the requests that run. They, what is queued, and what still comes are answered ``error``."""
        await self._refuse_queued(error)
        await self.cancel_running(error)

    async def cancel_running(self, error: RoutesockError) -> None:
        """Cancel the requests that run, and answer them ``error``."""
        for job in self.running() | {*self._dispatcher.in_flight.values()}:
            await self._dispatcher.cancel(job, error)

    async def _refuse_queued(self, error: RoutesockError) -> None:
        self._state.drain(error)
        # One at a time, since a refusal waits for a slow client: until then a CANCEL and a close find the others here.
        while (job := self._take_queued()) is not None:
            await self._dispatcher.refuse(job, error)

    def _take_queued(self) -> Job | None:
        """Take out and return a queued job; ``None`` if there is none."""
        for queue in (self._queue, None if self._parallel is None else self._parallel.queued):
            if queue:
                job = queue.popleft()
                job.dequeue()
                return job
        return None

    # Running them in order

    @coroutine
    def _run(self, job: Job, steps: Coroutine[Any, Any, None], future: Any) -> Generator[Any, Any, Submitted]:
        """Run the rest of ``job``, which waits for ``future``, and then what was queued behind it.

        Each runs from its first step to its last in the current task, so ``asyncio.timeout``, task groups and
        cancellation work inside it as they do everywhere.
        """
        state, task, tasks = self._state, job.task, self._tasks
        context = self._context
        resumed = 0.0
        for number in count():
            watching = True
            try:
                while future is not _ENDED:
                    if watching and self._suspended():
                        watching = False
                    try:
                        yield future
                    except GeneratorExit:  # thrown away with its loop, as the job's coroutine may have been before
                        steps.close()
                        raise
                    except BaseException as exc:  # a cancellation, which belongs to the job
                        resumed = clock()
                        future = context.run(steps.throw, exc)
                    else:
                        resumed = clock()
                        future = context.run(steps.send, None)
            except StopIteration:
                pass
            finally:
                job.release_connections()
            state.current_task = self.current = None
            state.job_done()
            # The queue stays busy when others have a turn: a frame that is read meanwhile is queued behind.
            if (number and number % FAIR_SHARE == 0) or (self._queue and clock() - resumed >= FAIR_SECONDS):
                yield from self._let_others_run(task).__await__()
                resumed = clock()
            if not self._queue or not state.may_dispatch:
                break
            job = self.current = self._queue.popleft()
            job.dequeue()
            job.task = state.current_task = task
            tasks.before_job = context.copy()
            steps = self._dispatcher.run(job)
            future = context.run(next, steps.__await__(), _ENDED)
        self._busy = False
        reader, self._reader = self._reader, None
        return READ_ON if reader is not None else HANDED_OVER

    def _suspended(self) -> bool:
        """Called when the current job suspends. Returns ``True`` if it need not be called again for this job."""
        job = self.current
        assert job is not None
        self._busy = True
        if job.stage is RUNNING:
            job.stage = WAITING
            job.thread = hold_connections(self._tasks.context)
            self._dispatcher.started_waiting(job)
        if self._reader is not None:
            if self._state.in_send or not self._state.handshake_done:
                return False
            reader, self._reader = self._reader, None
            self._tasks.start(reader.read())
        return True

    async def _let_others_run(self, task: asyncio.Task[Any]) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:  # from a handler that had its own task cancelled a little later
            if not self._state.may_dispatch:
                raise
            uncancel(task)


class ParallelQueue:
    """Runs each job in a separate task and context, at most ``limit`` of them at a time.

    Jobs that have to wait share the slots of their source with those in the ordered queue.
    """

    __slots__ = ("_dispatcher", "_limit", "_state", "_tasks", "_turn_began", "queued", "running")

    def __init__(self, dispatcher: Dispatcher, state: SocketState, tasks: Tasks, limit: int) -> None:
        self._dispatcher = dispatcher
        self._state = state
        self._tasks = tasks
        self._limit = limit
        self._turn_began: float | None = None  # when the first job of this turn of the loop began
        self.queued: deque[Job] = deque()
        self.running: set[Job] = set()

    async def submit(self, job: Job) -> Submitted:
        """Start ``job`` or queue it, unless it finds no slot in time."""
        while self._state.may_dispatch:
            if len(self.running) < self._limit:
                self._start(job)
                return READ_ON
            if job.enqueue(self):
                self.queued.append(job)
                self._dispatcher.add(job)
                return READ_ON
            if not await job.source.wait_for_slot(refusable=True):
                return NO_SLOT
        return NO_SLOT

    def remove(self, job: Job) -> None:
        """Take a queued job out."""
        self.queued.remove(job)
        job.dequeue()

    def clear(self) -> list[Job]:
        """Take out and return all queued jobs. Those that run go on."""
        jobs = [*self.queued]
        self.queued.clear()
        for job in jobs:
            job.dequeue()
        return jobs

    def _start(self, job: Job) -> None:
        job.advance(RUNNING)
        job.advance(WAITING)  # it can be cancelled before its first step
        job.task = self._tasks.start_task(self._run(job))
        self.running.add(job)
        job.thread = hold_connections(self._tasks.context)
        # A task that is cancelled before its first step runs nothing, so its end cannot be seen from inside.
        job.task.add_done_callback(lambda _: self._ended(job))
        self._dispatcher.started_waiting(job)

    async def _run(self, job: Job) -> None:
        """Run ``job``, in a later turn of the loop if the jobs that began in this one take long."""
        while self._turn_began is not None and clock() - self._turn_began >= FAIR_SECONDS:  # noqa: ASYNC110, for turns
            await asyncio.sleep(0)
        if self._turn_began is None:
            self._turn_began = clock()
            asyncio.get_running_loop().call_soon(self._end_turn)
        await self._dispatcher.run(job)

    def _end_turn(self) -> None:
        self._turn_began = None

    def _ended(self, job: Job) -> None:
        self.running.discard(job)
        job.release_connections()
        self._state.job_done()
        if self.queued and self._state.may_dispatch:
            following = self.queued.popleft()
            following.dequeue()
            self._start(following)
        else:
            job.source.wake()
