"""Starts the tasks of one socket and ends all of them before the socket has ended."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import partial
from types import coroutine
from typing import Any, Final, TypeVar

from .._compat import enter_task, leave_task
from .._runtime.fair_timeout import wait_fairly
from .._runtime.supervision import own_task, safe_logger
from .state import SocketState

logger: Final = safe_logger("routesock.socket")

T = TypeVar("T")

CANCEL_WAIT: Final = 1.0
"""Seconds that a cancelled handler has for its ``finally`` blocks before ``disconnect()`` runs without it."""


class _Begun(Coroutine[Any, Any, None]):
    """A coroutine whose first step has run, after which it waits for ``awaited``."""

    __slots__ = ("_awaited", "_coroutine", "_has_started")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited
        self._has_started = False

    def send(self, value: Any) -> Any:
        if self._has_started:
            return self._coroutine.send(value)
        self._has_started = True
        return self._awaited

    def throw(self, *exc: Any) -> Any:
        return self._coroutine.throw(*exc)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self


class _Unstarted(Coroutine[Any, Any, None]):
    """Makes its coroutine when the task begins. A loop that is closed before leaves none that was never awaited."""

    __slots__ = ("_coroutine", "_function")

    def __init__(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._function = function
        self._coroutine: Coroutine[Any, Any, None] | None = None

    def send(self, value: Any) -> Any:
        if self._coroutine is None:
            self._coroutine = self._function()
        return self._coroutine.send(value)

    def throw(self, *exc: Any) -> Any:
        if self._coroutine is None:
            self._coroutine = self._function()
        return self._coroutine.throw(*exc)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Any:
        return self


class _TaskPlaceholder:
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
    """Starts the tasks of a socket and ends them. ``failed`` is called with what one of them raises.

    ``connect()``, the jobs of the ordered queue and ``disconnect()`` share ``context``. Each task has a copy, made
    between two of these jobs. So a task does not see what a running handler has set for a while, and no handler sees
    what is set around the ``receive()`` or the ``send()`` of another task.
    """

    __slots__ = ("_failed", "_grace_over", "_loop", "_state", "_tasks", "before_job", "context")

    def __init__(
        self, context: contextvars.Context, state: SocketState, failed: Callable[[BaseException], None]
    ) -> None:
        self.context = context
        self.before_job = context
        """A copy of ``context`` from before the ordered job that runs, or that ran last."""
        self._state = state
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._grace_over: asyncio.Future[None] | None = None

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a task in a copy of the context."""
        _ = self._start(coroutine, self._copied_context())

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """As :meth:`start`; returns the task."""
        return self._start(coroutine, self._copied_context())

    def start_untracked(self, function: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Start a task that :meth:`cancel` does not cancel, in the context that ``connect()`` runs in."""
        return own_task(_Unstarted(function), self.context)

    def _copied_context(self) -> contextvars.Context:
        return (self.context if self._state.current_task is None else self.before_job).copy()

    def __bool__(self) -> bool:
        """Whether a task still runs."""
        return bool(self._tasks)

    def start_now(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` up to where it first waits, and the rest in a task; where it never waits, without one.

        Raises what it raises until then.
        """
        loop, caller, placeholder = self._loop, asyncio.current_task(), _TaskPlaceholder()
        context = self._copied_context()
        if caller is not None:
            leave_task(loop, caller)
        enter_task(loop, placeholder)
        try:
            awaited = context.run(coroutine.send, None)
        except StopIteration:
            return
        finally:
            leave_task(loop, placeholder)
            if caller is not None:
                enter_task(loop, caller)
        placeholder.task = self._start(_Begun(coroutine, awaited), context)

    async def wait(self, tasks: Iterable[asyncio.Task[Any]], seconds: float) -> None:
        """Wait until ``tasks`` have ended, but no longer than ``seconds``, nor than until :meth:`end_grace`."""
        pending: set[asyncio.Future[Any]] = {*tasks}
        if not pending or self._state.grace_over:
            return
        loop = asyncio.get_running_loop()
        self._grace_over = loop.create_future()
        pending.add(self._grace_over)
        # No FairTimeout: the process manager that stops the server counts the server's lateness, too.
        timer = loop.call_later(seconds, self.end_grace)
        try:
            while self._grace_over in pending and len(pending) > 1:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    def end_grace(self) -> None:
        """End every wait for tasks, now and from now on."""
        self._state.grace_over = True
        if self._grace_over is not None and not self._grace_over.done():
            self._grace_over.set_result(None)

    async def cancel(self, *, keep: Iterable[asyncio.Task[Any]] = ()) -> None:
        """Cancel all tasks but those to ``keep``, and wait for their end."""
        tasks = self._tasks.difference(keep)
        for task in tasks:
            task.cancel()
        if tasks:
            for stuck in await wait_fairly(tasks, CANCEL_WAIT):
                logger.error("A task of a closed socket does not end when it is cancelled: %r.", stuck)

    def _start(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> asyncio.Task[None]:
        task = own_task(coroutine, context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._failed(exc)


@coroutine
def in_context(context: contextvars.Context, function: Callable[[], Awaitable[T]]) -> Generator[Any, Any, T]:
    """Await ``function()`` in the current task, but in ``context``."""
    steps = context.run(function).__await__()
    resume: Callable[[], Any] = partial(next, steps)
    try:
        while True:
            future = context.run(resume)
            try:
                yield future
            except BaseException as exc:  # a cancellation, or the generator's close
                resume = partial(steps.throw, exc)
            else:
                resume = partial(next, steps)
    except StopIteration as done:
        result: T = done.value
        return result


def uncancel(task: asyncio.Task[Any]) -> None:
    """Take back every cancellation of ``task`` that has been delivered."""
    while task.cancelling():
        task.uncancel()
