"""BlockingRouteClient: the test client for sync tests, which runs an event loop in a thread."""

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
from .application import run_until_idle
from .async_client import AsyncClient, ReplyStream
from .frames import Ask, ClientReply, Close, Push

P = ParamSpec("P")

T = TypeVar("T")


class WaitingThread(Executor):
    """An executor that runs its work in the thread that calls :meth:`work_until`, one item after the other.

    Work that is submitted between two calls of :meth:`work_until` waits for the next one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._is_running = False
        self._finished = 0
        self._is_open = False
        self.item_done: Callable[[], object] = lambda: None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            self._items.append((future, partial(fn, *args, **kwargs)))
            self._changed.notify_all()
        return future

    @property
    def finished(self) -> int:
        """The number of items that have ended."""
        with self._changed:
            return self._finished

    def is_idle_since(self, finished: int) -> bool:
        """Whether no item runs or waits, and none has ended since :attr:`finished` had this value."""
        with self._changed:
            return not self._is_running and not self._items and self._finished == finished

    def open(self) -> None:
        """Allow items to start, also after :meth:`try_close`."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def try_close(self) -> bool:
        """Prevent further items from starting, unless an item runs. Return whether this succeeded.

        The event loop must not stop while an item runs, since the item may wait for it with ``async_to_sync``.
        """
        with self._changed:
            if not self._is_running:
                self._is_open = False
            return not self._is_running

    def work_until(self, done: Future[Any]) -> None:
        """Run items until ``done`` has a result."""
        done.add_done_callback(self._wake)
        while (item := self._next(done)) is not None:
            try:
                _run(*item)
            finally:
                del item
                with self._changed:
                    self._is_running = False
                    self._finished += 1
                self.item_done()

    def _wake(self, _: Future[Any]) -> None:
        with self._changed:
            self._changed.notify_all()

    def _next(self, done: Future[Any]) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._changed.wait_for(lambda: done.done() or (self._is_open and self._items))
            if done.done():
                return None
            self._is_running = True
            return self._items.popleft()


class LoopThread:
    """An event loop in a thread. It runs only during :meth:`run`, so the application is paused between two calls."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="routesock-client")
        self._runner = asyncio.Runner()
        self._loop = self._pool.submit(self._runner.get_loop).result()
        self._work = WaitingThread()
        self._item_done = asyncio.Event()
        self._work.item_done = partial(self._loop.call_soon_threadsafe, self._item_done.set)
        self._task: asyncio.Task[Any] | None = None
        _compat.add_waiting_thread(self._loop, self._work)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result. This thread runs the sync work of the application meanwhile."""
        self._task = None
        done = self._pool.submit(self._runner.run, self._until_closed(coroutine))
        return self._wait_for(done, lambda: self._loop.call_soon_threadsafe(self._cancel, done))

    async def settle(self) -> None:
        """Run the application, including its sync work, until it waits for a timer or a frame."""
        while True:
            self._item_done.clear()
            finished = self._work.finished
            await run_until_idle()
            if self._work.is_idle_since(finished):
                return
            await self._item_done.wait()

    def close(self) -> None:
        """Cancel the remaining tasks, close the loop and end its thread."""
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
                self._item_done.clear()
                if self._work.try_close():
                    break
                await self._item_done.wait()

    def _cancel(self, done: Future[Any]) -> None:
        if done.done():
            return
        if self._task is not None:
            self._task.cancel()
        else:  # the coroutine has not started
            self._loop.call_soon(self._cancel, done)

    def _wait_for(self, done: Future[T], interrupt: Callable[[], object]) -> T:
        # Sync work that asgiref runs in this thread sets thread-local variables to its loop. Later calls of
        # async_to_sync() in the test would wait for that loop, so they are restored.
        variables = _compat.thread_notes()
        saved = dict(variables)
        try:
            self._work.work_until(done)
        except BaseException:  # Ctrl-C, or a timeout of the test runner
            interrupt()
            self._work.work_until(done)
            raise
        finally:
            variables.clear()
            variables.update(saved)
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
    """The test client for sync tests: the methods of :class:`~routesock.testing.RouteClient`, but blocking.

    The application runs only during a call. Each call runs it until it waits for a timer or a frame, so the handler of
    a notification has finished when ``send()`` returns. Sync work of the application, such as queries, runs in the
    thread of the test.
    """

    def __init__(self, client: AsyncClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._thread: LoopThread | None = None

    def connect(self) -> None:
        """As :meth:`RouteClient.connect`."""
        if self._thread is not None:
            raise RuntimeError("The client is already connected.")
        self._thread = thread = LoopThread()
        self._client.settle = thread.settle
        try:
            self._run(self._client.connect())
        except BaseException:
            self._close(thread)
            raise

    def disconnect(self, code: int = 1000) -> None:
        """As :meth:`RouteClient.disconnect`."""
        if self._thread is None:
            return
        try:
            self._run(self._client.disconnect(code))
        finally:
            self._close(self._thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.disconnect()
        except Exception as exc:
            if error is None:
                raise
            error.add_note(f"The application failed as well: {exc!r}")

    @property
    def subprotocol(self) -> str | None:
        """As :attr:`RouteClient.subprotocol`."""
        return self._client.subprotocol

    @property
    def accept_headers(self) -> list[tuple[bytes, bytes]]:
        """As :attr:`RouteClient.accept_headers`."""
        return self._client.accept_headers

    @property
    def connected(self) -> bool:
        """As :attr:`RouteClient.connected`."""
        return self._client.connected

    @property
    def closed(self) -> Close | None:
        """As :attr:`RouteClient.closed`."""
        return self._client.closed

    def call(
        self,
        route: str,
        payload: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        id: str | int | Unset = UNSET,
        timeout: float | None = None,
    ) -> ClientReply:
        """As :meth:`RouteClient.call`."""
        return self._run(self._client.call(route, payload, headers=headers, id=id, timeout=timeout))

    def stream(
        self,
        route: str,
        payload: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        id: str | int | Unset = UNSET,
        timeout: float | None = None,
    ) -> Generator[ClientReply, None, None]:
        """As :meth:`RouteClient.stream`: ``for reply in client.stream(...)``. A timeout cancels the request."""
        return self._iterate(self._client.stream(route, payload, headers=headers, id=id, timeout=timeout))

    def subscribe(self, topic: str, *, since: str | None = None, timeout: float | None = None) -> ClientReply:
        """As :meth:`RouteClient.subscribe`."""
        return self._run(self._client.subscribe(topic, since=since, timeout=timeout))

    def unsubscribe(self, topic: str, *, timeout: float | None = None) -> ClientReply:
        """As :meth:`RouteClient.unsubscribe`."""
        return self._run(self._client.unsubscribe(topic, timeout=timeout))

    def send(
        self, route: str, payload: Any = None, *, headers: Mapping[str, Any] | None = None, id: RequestId = None
    ) -> None:
        """As :meth:`RouteClient.send`."""
        self._run(self._client.send(route, payload, headers=headers, id=id))

    def send_json(self, value: Any) -> None:
        """As :meth:`RouteClient.send_json`."""
        self._run(self._client.send_json(value))

    def send_text(self, text: str) -> None:
        """As :meth:`RouteClient.send_text`."""
        self._run(self._client.send_text(text))

    def send_bytes(self, data: bytes) -> None:
        """As :meth:`RouteClient.send_bytes`."""
        self._run(self._client.send_bytes(data))

    def cancel(self, id: str | int) -> None:
        """As :meth:`RouteClient.cancel`."""
        self._run(self._client.cancel(id))

    def ping(self, payload: Any = None, *, timeout: float | None = None) -> Any:
        """As :meth:`RouteClient.ping`."""
        return self._run(self._client.ping(payload, timeout=timeout))

    def expect_reply(self, id: str | int, *, timeout: float | None = None) -> ClientReply:
        """As :meth:`RouteClient.expect_reply`."""
        return self._run(self._client.expect_reply(id, timeout=timeout))

    def expect_push(self, route: str | None = None, *, timeout: float | None = None, **match: Any) -> Push:
        """As :meth:`RouteClient.expect_push`."""
        return self._run(self._client.expect_push(route, timeout=timeout, **match))

    def expect_ask(self, route: str | None = None, *, timeout: float | None = None, **match: Any) -> Ask:
        """As :meth:`RouteClient.expect_ask`."""
        return self._run(self._client.expect_ask(route, timeout=timeout, **match))

    def answer(self, ask: Ask | str, payload: Any = None, *, status: int = 200) -> None:
        """As :meth:`RouteClient.answer`."""
        self._run(self._client.answer(ask, payload, status=status))

    def on_ask(self, route: str, function: Callable[[Any], Any]) -> None:
        """As :meth:`RouteClient.on_ask`. A sync handler needs it: it waits for the answer in the thread of the test."""
        self._client.on_ask(route, function)

    def refute_push(self, route: str | None = None, *, within: float = 0.05, **match: Any) -> None:
        """As :meth:`RouteClient.refute_push`."""
        self._run(self._client.refute_push(route, within=within, **match))

    def receive(self, *, timeout: float | None = None) -> Any:
        """As :meth:`RouteClient.receive`."""
        return self._run(self._client.receive(timeout=timeout))

    def expect_close(self, *, timeout: float | None = None) -> Close:
        """As :meth:`RouteClient.expect_close`."""
        return self._run(self._client.expect_close(timeout=timeout))

    def _iterate(self, replies: ReplyStream) -> Generator[ClientReply, None, None]:
        try:
            while True:
                try:
                    yield self._run(replies.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            if replies.is_open and self._thread is not None:
                self._thread.run(self._leave(replies))

    async def _leave(self, replies: ReplyStream) -> None:
        replies.leave()
        await self._settle()  # failures are not raised, since Python ignores exceptions while it finalises a generator

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._thread is None:
            coroutine.close()
            raise RuntimeError("The client is not connected. Use `with RouteClient(...)`.")
        return self._thread.run(self._settled(coroutine))

    async def _settled(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result = await coroutine
        await self._settle()
        self._client.raise_failures()
        return result

    async def _settle(self) -> None:
        with suppress(TimeoutError):  # an application that is never idle goes on in the next call
            async with asyncio.timeout(self._timeout):
                await self._client.settle()

    def _close(self, thread: LoopThread) -> None:
        self._thread = None
        self._client.settle = run_until_idle
        thread.close()
