"""The replies of one socket: does its jobs, and answers each exactly once, however the socket ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from . import conf, observing
from .boundary import Boundary
from .exceptions import Cancelled, RoutesockError
from .guard import Guard
from .inflight import InFlight
from .intake import OURS, Auth, Cancel, Decision, Intake, Of, Ping, Refusal
from .jobs import Job
from .lane import Lane, uncancel
from .messages import Request
from .outbox import ANSWER, REPLY
from .outgoing import Outgoing
from .overrides import Compiled
from .pool import Pool
from .refreshing import Refreshing
from .replies import Replies
from .room import Progress
from .standing import Standing
from .tasks import Tasks
from .typing import UNSET

_DECODER: Final = Of.DECODER


class Responder(Boundary):
    """Does the jobs of one socket. ``end`` ends it: with an exception for the server, or without."""

    __slots__ = ("_progress", "_timeout", "draining", "lane", "pool", "refreshing", "standing", "tasks")

    def __init__(
        self,
        consumer: Any,
        compiled: Compiled,
        outgoing: Outgoing,
        progress: Progress,
        tasks: Tasks,
        end: Callable[[BaseException | None], None],
    ) -> None:
        super().__init__(consumer, compiled, end)
        self._progress = progress
        self.replies = Replies(consumer, compiled.dialect, outgoing, progress)
        self._timeout: float | None = conf.get("TIMEOUT")
        self.tasks = tasks
        self.in_flight = InFlight(self)
        self.intake = Intake(consumer, compiled, self.in_flight.ids)
        self.lane = Lane(self, progress, tasks)
        self.pool: Pool | None = None
        if compiled.beside:
            limit = conf.get("CONCURRENCY") if compiled.concurrency is UNSET else compiled.concurrency
            self.pool = Pool(self, progress, tasks, compiled.beside, limit)
        self.draining: RoutesockError | None = None
        """What answers requests that come once :meth:`drain` has begun."""
        self.standing: Standing | None = None
        """The login behind the socket, where that is followed."""
        self.refreshing: Refreshing | None = None
        """What answers AUTH; ``None`` where no frame of that name is one of ours."""
        if compiled.guarded:
            Guard(consumer, self, sync=compiled.sync)

    def close(self) -> list[Job]:
        """Start nothing more, and give back what waits."""
        dropped = self.lane.close()
        return dropped if self.pool is None else dropped + self.pool.close()

    async def drain(self, error: RoutesockError) -> None:
        """Start nothing more, and wait for what runs; what waits, and what still comes, is answered ``error``."""
        self.draining = error
        for job in self.close():
            await self.in_flight.refuse(job, error)
        while self.running():
            await self._progress.next()

    async def revoke_all(self, error: RoutesockError) -> None:
        """End every request that still runs with ``error``."""
        for job in self.running() | {*self.in_flight.ids.values()}:
            await self.in_flight.revoke(job, error)

    async def expel(self, error: RoutesockError) -> None:
        """End at once, with ``error``, what runs, what waits, and what still comes."""
        self.draining = error
        for job in self.close():
            await self.in_flight.refuse(job, error)
        await self.revoke_all(error)

    def running(self) -> set[Job]:
        """What runs, in the order and beside it."""
        ordered = set() if self.lane.running is None else {self.lane.running}
        return ordered if self.pool is None else ordered | self.pool.running

    def give_up(self, job: Job) -> bool:
        """Write ``job``, which runs, off if its route ends with its client; ``False``: it has a grace to end."""
        if type(job.decision) is Request:
            route = self._plans[job.decision.route].route
            if route.streams or route.cancel_on_disconnect:
                job.settled = job.revoked = True
                self.in_flight.forget(job)
                self.write_off(job)
                return True
        return False

    def write_off(self, job: Job) -> None:
        """There will be no reply to ``job`` any more, if it is a request that has none yet."""
        if type(job.decision) is Request:
            observing.finished(job.decision, None)

    # What the lane asks

    async def run(self, job: Job) -> None:
        try:
            if job.decision is _DECODER:
                await self.decode(job)
            if self._guarded or type(job.decision) not in OURS:
                await self._consumer_code(job)
            else:
                job.outcome = await self.outcome(job)
            job.over = True
            if job.task.cancelling() and not job.revoked and not self.abandoned:
                await _absorb_cancellation(job.task)
            if job.waited or self.in_flight.ids:
                self.forget(job)
            await self.answer(job)
        except asyncio.CancelledError:
            # Not ours to pass on: a job that was revoked, or a handler that had its own task cancelled a little later.
            self.forget(job)
            if self.abandoned:
                raise
            uncancel(job.task)
        else:
            if job.revoked:  # and the handler took no notice
                uncancel(job.task)

    async def answer(self, job: Job) -> None:
        """Send the outcome of ``job``, once."""
        if job.settled or job.outcome is None:
            return
        job.settled = True
        kind = ANSWER if job.task is self._progress.task else REPLY
        if isinstance(job.outcome, Refusal):
            await self.replies.refuse(job.outcome, job.decision if type(job.decision) is Request else None, kind)
        elif type(job.decision) is Request:
            await self.replies.reply(job.decision, job.outcome, kind)

    def queued(self, job: Job) -> None:
        self.in_flight.add(job)

    def waits(self, job: Job) -> None:
        if type(job.decision) is not Request or job.over:
            return
        timeout = self._plans[job.decision.route].timeout_of(job.decision)
        if timeout is UNSET:
            timeout = self._timeout
        if job.decision.timeout is not None:  # a client may have less patience, never more
            timeout = job.decision.timeout if timeout is None else min(timeout, job.decision.timeout)
        self.in_flight.watch(job, timeout)

    # What a reader asks

    async def at_once(self, decision: Decision) -> bool:
        """Act on a frame that has no place in the order; ``False`` for one that has."""
        if isinstance(decision, Refusal) and not self._guarded:
            await self.replies.refuse(decision)
        elif isinstance(decision, Ping):
            await self.replies.pong(decision)
        elif isinstance(decision, Cancel):
            await self.in_flight.revoke(self.in_flight.ids.get(decision.id), Cancelled())
        elif isinstance(decision, Auth) and self.refreshing is not None:
            _ = self.tasks.start_apart(self.refreshing.answer(decision))
        else:
            return decision is Of.PONG or (decision is Of.NOBODY and not self._guarded)
        return True

    def forget(self, job: Job) -> None:
        self.in_flight.forget(job)

    async def refuse(self, refusal: Refusal, request: Request) -> None:
        await self.replies.refuse(refusal, request)

    def drop(self, job: Job) -> bool:
        return self.lane.drop(job) or (self.pool is not None and self.pool.drop(job))


async def _absorb_cancellation(task: asyncio.Task[Any]) -> None:
    """A handler cancelled its own task and returned: the cancellation must not meet whatever the task does next."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    uncancel(task)
