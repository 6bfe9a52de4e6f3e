"""The tasks of one socket: all of them end before it does."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from .._compat import enter_task, leave_task
from .._runtime import database

logger: Final = logging.getLogger("routesock.socket")

CANCEL_WAIT: Final = 1.0
"""Seconds that a cancelled handler has for its ``finally`` blocks before ``disconnect()`` runs without it."""


class _Begun(Coroutine[Any, Any, None]):
    """A coroutine that waits for ``awaited`` already."""

    __slots__ = ("_awaited", "_coroutine", "_told")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited
        self._told = False

    def send(self, value: Any) -> Any:
        if self._told:
            return self._coroutine.send(value)
        self._told = True
        return self._awaited

    def throw(self, *exc: Any) -> Any:
        return self._coroutine.throw(*exc)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self


class _Prospect:
    """The task of a coroutine that gets one only if it waits: what ``asyncio.current_task()`` gives until then.

    ``asyncio.timeout`` and task groups keep what they find there, and cancel it later.

    A task for each push would be simpler and dearer. Measured in turns, with 200 sockets on one uvicorn and the
    in-memory layer, as processor time of the server: a push costs 30 microseconds with this class and 40 with a task
    (the best rounds: 22 and 32). In process, with a ``send`` that does nothing, it costs 10 and 17.
    """

    __slots__ = ("__weakref__", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def cancelling(self) -> int:
        return 0 if self.task is None else self.task.cancelling()


class Tasks:
    """Starts tasks in ``context``, and waits for their end. ``failed`` is told what one of them raises."""

    __slots__ = ("_context", "_failed", "_hurried", "_loop", "_over", "_tasks", "finishing")

    def __init__(self, context: contextvars.Context, failed: Callable[[BaseException], None]) -> None:
        self._context = context
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []  # few, and smaller than a set
        self._over: asyncio.Future[None] | None = None
        self._hurried = False
        self.finishing = False
        """The socket is at its end: a cancellation ends its task."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """A task in the context that ``connect()`` runs in, as under Channels."""
        _ = self._start(coroutine, self._context)

    def start_apart(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """One in a copy of that context, which another task may have left while it waits for the thread."""
        context = self._context.copy()
        context.run(database.forget_waiting)
        return self._start(coroutine, context)

    def start_now(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` up to where it first waits, and the rest in a task; where it never waits, without one.

        Raises what it raises until then.
        """
        loop, caller, prospect = self._loop, asyncio.current_task(), _Prospect()
        if caller is not None:
            leave_task(loop, caller)
        enter_task(loop, prospect)
        try:
            awaited = self._context.run(coroutine.send, None)
        except StopIteration:
            return
        finally:
            leave_task(loop, prospect)
            if caller is not None:
                enter_task(loop, caller)
        prospect.task = self._start(_Begun(coroutine, awaited), self._context)

    def is_elsewhere(self) -> bool:
        """Whether this is called on a loop that is not the socket's: in some thread, by ``async_to_sync``."""
        return asyncio.get_running_loop() is not self._loop

    async def bring(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Await ``coroutine``, which runs on the socket's loop, from elsewhere."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def shielded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Await ``coroutine``, all that the socket's end brings with it, in a task that is none of these.

        A cancellation cuts every grace short.
        """
        self.finishing = True  # before the task's first step, which a loop that stops may keep it from taking
        task = asyncio.get_running_loop().create_task(coroutine, context=self._context)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.hurry()
            await task
            raise

    async def wait(self, tasks: Iterable[asyncio.Task[Any]], seconds: float) -> None:
        """Wait until ``tasks`` have ended, but not longer than ``seconds``, nor than :meth:`hurry` says."""
        pending: set[asyncio.Future[Any]] = {*tasks}
        if not pending or self._hurried:
            return
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        pending.add(self._over)
        timer = loop.call_later(seconds, self.hurry)
        try:
            while self._over in pending and len(pending) > 1:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    @property
    def hurried(self) -> bool:
        """Whether the grace is over."""
        return self._hurried

    def hurry(self) -> None:
        """Cut every grace short."""
        self._hurried = True
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def cancel(self, *, keep: Iterable[asyncio.Task[Any]] = ()) -> None:
        """Cancel all but those to ``keep``, and wait for their end."""
        tasks = {*self._tasks}.difference(keep)
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=CANCEL_WAIT)
            for task in stuck:
                logger.error("A task of a closed socket does not end when it is cancelled: %r.", task)

    def _start(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, context=context)
        self._tasks.append(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.remove(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._failed(exc)
