"""Keeps long-lived work going: guards, a supervisor that restarts tasks, a logger that never raises, fork resets."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import random
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, TypeVar

from .callables import is_from_outside

T = TypeVar("T")


class SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose methods never raise: a broken log handler must not end a socket, or a loop that serves many."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """As ``Logger.log``. What a handler or filter raises is printed, as ``logging`` does with its own errors."""
        try:
            if self.isEnabledFor(level):
                kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
                self.logger.log(level, msg, *args, **kwargs)
        except Exception:
            if logging.raiseExceptions:
                with suppress(OSError, ValueError):  # of a stream that is closed: there is nowhere left to report to
                    traceback.print_exc()


def safe_logger(name: str) -> SafeLogger:
    """The logger with that ``name``, as one that never raises."""
    return SafeLogger(logging.getLogger(name))


logger: Final = safe_logger("routesock.socket")


class Guard:
    """Context manager for one of many: logs what its body raises, so that the others are still served.

    Only what ends the current task is raised: its own cancellation. ``what`` begins the log message: "A delivery".
    A guard has no state, so one serves a whole loop.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, tb: TracebackType | None) -> bool:
        if exc is not None:
            self.caught(exc)
        return True

    def caught(self, exc: BaseException) -> None:
        """Log ``exc``, or raise it if it ends the current task: for loops in which ``with`` costs too much."""
        if is_from_outside(exc, _current_task()):
            raise exc
        logger.error("%s failed.", self._what, exc_info=exc)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None


def backoff(first: float, last: float) -> Iterator[float]:
    """Seconds between tries: at first up to ``first``, then doubled up to ``last``.

    Half of each is random, so that processes which fail together do not try again together.
    """
    longest = first
    while True:
        yield longest * random.uniform(0.5, 1)
        longest = min(longest * 2, last)


FIRST_RESTART: Final = 0.1

LAST_RESTART: Final = 5.0
"""Seconds at most before a dead task is started again: for the first time, and after many times."""


class Supervisor:
    """Runs a long-lived task and starts it again when it dies, until :meth:`end`.

    ``run`` gives the task's coroutine. A coroutine that returns has done its work, and is not started again by itself.
    ``what`` begins the log messages: "The reader of a channel layer".

    The task is a :func:`plain_task`: a task factory of the project may start tasks eagerly, or not know ``context``.
    """

    __slots__ = ("_began", "_ended", "_loop", "_pauses", "_restart", "_run", "_task", "_what")

    def __init__(
        self, what: str, run: Callable[[], Coroutine[Any, Any, None]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._what = what
        self._run = run
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._restart: asyncio.TimerHandle | None = None
        self._pauses = backoff(FIRST_RESTART, LAST_RESTART)
        self._began = 0.0
        self._ended = False

    @property
    def is_running(self) -> bool:
        """Whether the task runs, or is about to be started again."""
        if self._task is None:
            return False
        return not (self._task.done() if self._ended else _has_returned(self._task))

    def start(self) -> None:
        """Start the task unless it runs or the supervisor has ended. To be called on the loop."""
        if not self._ended and not self.is_running:
            self._begin()

    async def end(self) -> None:
        """Cancel the task, wait for its end, and never start it again."""
        self._ended = True
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _begin(self) -> None:
        self._began = self._loop.time()
        self._task = plain_task(self._contained(), self._loop)
        self._task.add_done_callback(self._finished)

    async def _contained(self) -> None:
        try:
            await self._run()
        except (SystemExit, KeyboardInterrupt) as exc:  # which a task passes on to the loop, and so to all sockets
            raise RuntimeError(f"{self._what} raised {exc!r}.") from exc

    def _finished(self, task: asyncio.Task[None]) -> None:
        if self._ended or _has_returned(task):
            return
        lived = self._loop.time() - self._began
        if lived > LAST_RESTART:
            self._pauses = backoff(FIRST_RESTART, LAST_RESTART)
        pause = next(self._pauses)
        self._restart = self._loop.call_later(pause, self._begin_again, task, context=contextvars.Context())
        if not task.cancelled():
            logger.error("%s failed. It is started again in %.1f s.", self._what, pause, exc_info=task.exception())

    def _begin_again(self, task: asyncio.Task[None]) -> None:
        self._restart = None
        if task.cancelled():  # said only now: a loop that shuts down cancels all tasks, and does not get here
            logger.error("%s was cancelled by other code. It is started again.", self._what)
        self._begin()


def _has_returned(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def plain_task(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> asyncio.Task[T]:
    """A task of ``loop`` in an empty context, made without the task factory that the process may have set.

    For tasks that outlive the socket that happens to start them. The caller keeps a reference.
    """
    return asyncio.Task(coroutine, loop=loop, context=contextvars.Context())


def own_task(coroutine: Coroutine[Any, Any, T], context: contextvars.Context | None = None) -> asyncio.Task[T]:
    """A task of the running loop, by default in a copy of the current context, made without a task factory.

    The factory of a project may start tasks eagerly, inside of the code that starts them, or not know ``context``.
    The caller keeps a reference.
    """
    return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), context=context)


def reset_after_fork(reset: Callable[[], None]) -> Callable[[], None]:
    """Decorator: call ``reset`` in each forked child of this process.

    A child inherits its parent's sockets, loops and counts, which are not its own, and locks that a thread of the
    parent may hold, which does not run there.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=reset)
    return reset
