"""The client for sync tests: the same methods, blocking."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from routesock.messages import RequestId
from routesock.typing import UNSET, Unset

from .application import let_run
from .conversation import Conversation
from .frames import ClientReply, Close, Push
from .stream import ReplyStream
from .thread import LoopThread

T = TypeVar("T")


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
