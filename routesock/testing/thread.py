"""An event loop whose sync work runs in the thread that waits for it.

Django's ``TestCase`` keeps its transaction on the connection of the test's thread, and an in-memory SQLite database may
live in that one connection. So the ORM work of an application under test has to run there, while its loop, which must
not share a thread with blocking code, runs in another one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import AsyncToSync, SyncToAsync

from .application import let_run

P = ParamSpec("P")
T = TypeVar("T")


class WaitingThread(Executor):
    """Runs work in the thread that calls :meth:`work_until`, one item after the other.

    While that thread is elsewhere, work waits for the next call of :meth:`work_until`; it is never lost.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running = False
        self._finished = 0
        self._open = False
        self.item_done: Callable[[], object] = lambda: None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            self._items.append((future, partial(fn, *args, **kwargs)))
            self._changed.notify_all()
        return future

    @property
    def finished(self) -> int:
        """How many items have ended."""
        with self._changed:
            return self._finished

    def idle_since(self, finished: int) -> bool:
        """Whether nothing runs, nothing waits, and nothing has ended since that many had."""
        with self._changed:
            return not self._running and not self._items and self._finished == finished

    def open(self) -> None:
        """Lets items start again after :meth:`try_close`."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def try_close(self) -> bool:
        """Keeps further items from starting; ``False``, and nothing done, while one runs.

        An item may itself wait for the loop (``async_to_sync``), so the loop must not stop under it.
        """
        with self._changed:
            if not self._running:
                self._open = False
            return not self._running

    def work_until(self, done: Future[Any]) -> None:
        """Works until ``done`` is."""
        done.add_done_callback(self._wake)
        while (item := self._next(done)) is not None:
            try:
                _run(*item)
            finally:
                del item
                with self._changed:
                    self._running = False
                    self._finished += 1
                self.item_done()

    def _wake(self, _: Future[Any]) -> None:
        with self._changed:
            self._changed.notify_all()

    def _next(self, done: Future[Any]) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._changed.wait_for(lambda: done.done() or (self._open and self._items))
            if done.done():
                return None
            self._running = True
            return self._items.popleft()


class LoopThread:
    """An event loop that runs only while :meth:`run` is called; between two calls the application stands still."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="routesock-client")
        self._runner = asyncio.Runner()
        self._loop = self._pool.submit(self._runner.get_loop).result()
        self._work = WaitingThread()
        self._quiet = asyncio.Event()
        self._work.item_done = partial(self._loop.call_soon_threadsafe, self._quiet.set)
        self._task: asyncio.Task[Any] | None = None
        # Where asgiref looks for the thread that waits for a loop. It only ever submits to what it finds.
        AsyncToSync.loop_thread_executors[self._loop] = cast(Any, self._work)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result; this thread does the loop's sync work meanwhile."""
        self._task = None
        done = self._pool.submit(self._runner.run, self._until_closed(coroutine))
        return self._wait_for(done, lambda: self._loop.call_soon_threadsafe(self._cancel, done))

    async def settle(self) -> None:
        """Lets the application run as far as it goes without time passing, its sync work included."""
        while True:
            self._quiet.clear()
            finished = self._work.finished
            await let_run()
            if self._work.idle_since(finished):
                return
            await self._quiet.wait()

    def close(self) -> None:
        """Cancels the tasks that are left, closes the loop and ends its thread."""
        try:
            self._work.open()
            self._wait_for(self._pool.submit(self._runner.close), lambda: None)
        finally:
            del AsyncToSync.loop_thread_executors[self._loop]
            self._pool.shutdown()

    async def _until_closed(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        self._work.open()
        try:
            return await coroutine
        finally:
            while True:
                self._quiet.clear()
                if self._work.try_close():
                    break
                await self._quiet.wait()

    def _cancel(self, done: Future[Any]) -> None:
        if done.done():
            return
        if self._task is not None:
            self._task.cancel()
        else:  # the call has not begun
            self._loop.call_soon(self._cancel, done)

    def _wait_for(self, done: Future[T], interrupt: Callable[[], object]) -> T:
        # Work that asgiref ran here leaves a note of its loop, and async_to_sync in the test would wait for that loop.
        notes = vars(SyncToAsync.threadlocal)
        before = dict(notes)
        try:
            self._work.work_until(done)
        except BaseException:  # Ctrl-C, or a time limit of the test runner
            interrupt()
            self._work.work_until(done)
            raise
        finally:
            notes.clear()
            notes.update(before)
        return done.result()


def _run(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
