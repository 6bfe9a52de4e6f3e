"""The requests of one socket that run beside the order: those of ``parallel=True`` routes, and streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Container

from .jobs import READ_ON, REFUSED, Job, Jobs, Verdict
from .room import Progress
from .tasks import Tasks


class Pool:
    """Runs each job in a task and a context of its own, at most ``limit`` of them at a time.

    What comes meanwhile waits in the room that it shares with the requests that wait for the order.
    """

    __slots__ = ("_jobs", "_limit", "_progress", "_queue", "_tasks", "closed", "routes", "running")

    def __init__(
        self,
        jobs: Jobs,
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
                return REFUSED
        return REFUSED

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
