"""The test client for sync tests, on an event loop in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from .. import _compat
from .._wire.messages import RequestId
from ..typing import UNSET, Unset
from .application import let_run
from .conversation import Conversation, ReplyStream
from .frames import ClientReply, Close, Push

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
        _compat.add_waiting_thread(self._loop, self._work)

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
            _compat.remove_waiting_thread(self._loop)
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
        notes = _compat.thread_notes()
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


class BlockingRouteClient:
    """A :class:`Conversation` whose methods block.

    The application runs only during a call, and each call lets it run as far as it goes without time passing, so a
    notification's handler is through when ``send`` returns. Sync work of the application, ORM work included, runs in
    the calling thread.
    """

    def __init__(self, conversation: Conversation, timeout: float) -> None:
        self._conversation = conversation
        self._timeout = timeout
        self._thread: LoopThread | None = None

    def connect(self) -> None:
        """As :meth:`Conversation.connect`."""
        if self._thread is not None:
            raise RuntimeError("The client is connected already.")
        self._thread = thread = LoopThread()
        self._conversation.settle = thread.settle
        try:
            self._run(self._conversation.connect())
        except BaseException:
            self._close(thread)
            raise

    def disconnect(self, code: int = 1000) -> None:
        """As :meth:`Conversation.disconnect`."""
        if self._thread is None:
            return
        try:
            self._run(self._conversation.disconnect(code))
        finally:
            self._close(self._thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.disconnect()
        except Exception as late:
            if error is None:
                raise
            error.add_note(f"The application failed as well: {late!r}")

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the application chose."""
        return self._conversation.subprotocol

    @property
    def accept_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the application's accept."""
        return self._conversation.accept_headers

    @property
    def connected(self) -> bool:
        """As :attr:`Conversation.connected`."""
        return self._conversation.connected

    @property
    def closed(self) -> Close | None:
        """As :attr:`Conversation.closed`."""
        return self._conversation.closed

    def call(
        self,
        route: str,
        payload: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        id: str | int | Unset = UNSET,
        timeout: float | None = None,
    ) -> ClientReply:
        """As :meth:`Conversation.call`."""
        return self._run(self._conversation.call(route, payload, headers=headers, id=id, timeout=timeout))

    def stream(
        self,
        route: str,
        payload: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        id: str | int | Unset = UNSET,
        timeout: float | None = None,
    ) -> Generator[ClientReply, None, None]:
        """As :meth:`Conversation.stream`: ``for reply in client.stream(...)``. A time-out leaves the stream."""
        return self._each(self._conversation.stream(route, payload, headers=headers, id=id, timeout=timeout))

    def send(
        self, route: str, payload: Any = None, *, headers: Mapping[str, Any] | None = None, id: RequestId = None
    ) -> None:
        """As :meth:`Conversation.send`."""
        self._run(self._conversation.send(route, payload, headers=headers, id=id))

    def send_json(self, value: Any) -> None:
        """As :meth:`Conversation.send_json`."""
        self._run(self._conversation.send_json(value))

    def send_text(self, text: str) -> None:
        """As :meth:`Conversation.send_text`."""
        self._run(self._conversation.send_text(text))

    def send_bytes(self, data: bytes) -> None:
        """As :meth:`Conversation.send_bytes`."""
        self._run(self._conversation.send_bytes(data))

    def cancel(self, id: str | int) -> None:
        """As :meth:`Conversation.cancel`."""
        self._run(self._conversation.cancel(id))

    def ping(self, payload: Any = None, *, timeout: float | None = None) -> Any:
        """As :meth:`Conversation.ping`."""
        return self._run(self._conversation.ping(payload, timeout=timeout))

    def expect_reply(self, id: str | int, *, timeout: float | None = None) -> ClientReply:
        """As :meth:`Conversation.expect_reply`."""
        return self._run(self._conversation.expect_reply(id, timeout=timeout))

    def expect_push(self, route: str | None = None, *, timeout: float | None = None, **match: Any) -> Push:
        """As :meth:`Conversation.expect_push`."""
        return self._run(self._conversation.expect_push(route, timeout=timeout, **match))

    def refute_push(self, route: str | None = None, *, within: float = 0.05, **match: Any) -> None:
        """As :meth:`Conversation.refute_push`."""
        self._run(self._conversation.refute_push(route, within=within, **match))

    def receive(self, *, timeout: float | None = None) -> Any:
        """As :meth:`Conversation.receive`."""
        return self._run(self._conversation.receive(timeout=timeout))

    def expect_close(self, *, timeout: float | None = None) -> Close:
        """As :meth:`Conversation.expect_close`."""
        return self._run(self._conversation.expect_close(timeout=timeout))

    def _each(self, replies: ReplyStream) -> Generator[ClientReply, None, None]:
        try:
            while True:
                try:
                    yield self._run(replies.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            if replies.open and self._thread is not None:
                self._thread.run(self._leave(replies))

    async def _leave(self, replies: ReplyStream) -> None:
        replies.leave()
        await self._settle()  # without the failures: nobody would see what is raised where a generator is let go

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._thread is None:
            coroutine.close()
            raise RuntimeError("The client is not connected: use `with RouteClient(...)`.")
        return self._thread.run(self._settled(coroutine))

    async def _settled(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result = await coroutine
        await self._settle()
        self._conversation.raise_failures()
        return result

    async def _settle(self) -> None:
        with suppress(TimeoutError):  # an application that never stands still goes on in the next call
            async with asyncio.timeout(self._timeout):
                await self._conversation.settle()

    def _close(self, thread: LoopThread) -> None:
        self._thread = None
        self._conversation.settle = let_run
        thread.close()
