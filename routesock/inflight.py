"""The requests of one socket that have no final reply yet: their ids, their deadlines, and what ends them early."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from .exceptions import DeadlineExceeded, RoutesockError
from .intake import Refusal
from .jobs import Job
from .messages import Request, RequestId
from .tasks import Tasks


class Desk(Protocol):
    """Who does the jobs and answers them."""

    tasks: Tasks

    def drop(self, job: Job) -> bool:
        """Take ``job`` out of its queue, if it is still in one."""

    async def refuse(self, refusal: Refusal, request: Request) -> None:
        """Answer ``request`` with an error."""


class InFlight:
    """Knows the jobs of ``desk`` that can be cancelled."""

    __slots__ = ("_desk", "ids")

    def __init__(self, desk: Desk) -> None:
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
