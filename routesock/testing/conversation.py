"""The requests of a test client and their replies, streams included."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Self, TypeVar

from .._wire import codec
from .._wire.messages import NO_HEADERS, RequestId, Scope
from ..dialects import Dialect, Keys
from ..typing import UNSET, Unset
from .application import Application, ASGIApplication, kept_connections, let_run
from .frames import ClientReply, ClientTimeout, Close, ConnectionClosed, Inbox, NoReply, Push, tells_items

T = TypeVar("T")


class Line:
    """Writes to an application and waits for its frames; each wait takes ``timeout`` seconds unless it is told."""

    def __init__(self, socket: Application, inbox: Inbox, timeout: float) -> None:
        self.socket = socket
        self.inbox = inbox
        self._timeout = timeout

    def write(self, data: str | bytes) -> None:
        """Hands the application a frame. Raises what no call has raised yet, :class:`ConnectionClosed` included."""
        self.inbox.raise_failure()
        self.socket.raise_if_over()
        self.feed(data)

    def feed(self, data: str | bytes) -> None:
        """As :meth:`write`, and raises nothing."""
        self.socket.feed({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})

    async def answer(self, id: RequestId, take: Callable[[], T | None], what: str, timeout: float | None) -> T:
        """What ``take`` finds of that request; where nothing can come, the failure of a handler explains why."""
        try:
            return await self._wait(take, what, timeout, NoReply)
        except (ClientTimeout, ConnectionClosed):
            self.inbox.raise_failure(id)
            self.inbox.raise_failure()
            raise

    async def unasked(self, take: Callable[[], T | None], what: str, timeout: float | None) -> T:
        """What ``take`` finds and is no reply; a failure that is no call's own is raised instead."""

        def take_or_raise() -> T | None:
            self.inbox.raise_failure()
            return take()

        return await self._wait(take_or_raise, what, timeout, ClientTimeout)

    async def _wait(
        self, take: Callable[[], T | None], what: str, timeout: float | None, error: type[ClientTimeout]
    ) -> T:
        seconds = self._timeout if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + seconds
        in_time = True
        while (found := take()) is None:
            self.socket.raise_if_over()
            if not in_time:
                raise error(f"No {what} within {seconds:g} s. {self.inbox.summary()}")
            in_time = await self.socket.news(deadline)
        return found


class ReplyStream:
    """What answers one request, frame by frame: the items of its stream (206), then the reply that ends it.

    The request is sent when the first frame is asked for. A time-out leaves the stream open. Leaving it before its end
    cancels the request, and what still comes is dropped: a ``break`` does that, unless something else holds the stream,
    and :meth:`aclose` waits for the end as well.
    """

    def __init__(
        self,
        line: Line,
        id: str | int,
        what: str,
        *,
        request: Mapping[str, Any],
        cancel: Mapping[str, Any],
        timeout: float | None,
    ) -> None:
        self._line = line
        self._inbox = line.inbox
        self._id = id
        self._what = what
        self._request = request
        self._cancel = cancel
        self._timeout = timeout
        self._begun = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def open(self) -> bool:
        """Whether the request has been sent, and the stream neither ended nor left."""
        return self._loop is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ClientReply:
        if not self._begun:
            self._begin()
        if not self.open:
            raise StopAsyncIteration
        take = partial(self._inbox.take_next, self._id)
        frame = await self._line.answer(self._id, take, f"further frame of {self._what}", self._timeout)
        if not frame.is_item:
            self._close()
            self._inbox.raise_failure(self._id)
        return frame.reply()

    async def aclose(self) -> None:
        """Leaves the stream if it is open, and waits for its end. Raises what :meth:`RouteClient.call` raises."""
        self._begun = True
        if self.open:
            self.leave()
            with suppress(ConnectionClosed):
                await self._line.answer(self._id, self._ended, f"end of {self._what}", self._timeout)
            self._inbox.raise_failure(self._id)

    def leave(self) -> None:
        """Leaves the stream if it is open, and waits for nothing."""
        if self.open:
            self._close()
            if self._inbox.drop(self._id):
                self._line.feed(codec.encode(self._cancel))

    def __del__(self) -> None:
        # `async for` closes no iterator, it lets go of it. The application is written to in its own thread only.
        if self.open and self._loop is _running_loop():
            self.leave()

    def _begin(self) -> None:
        self._begun = True
        self._inbox.claim(self._id)
        self._loop = asyncio.get_running_loop()
        try:
            self._line.write(codec.encode(self._request))
        except BaseException:
            self._close()
            raise

    def _ended(self) -> bool | None:
        return None if self._inbox.drops(self._id) else True

    def _close(self) -> None:
        self._loop = None
        self._inbox.release(self._id)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Conversation:
    """What a client can say and wait for.

    Each wait takes the first frame that fits and leaves the others to their own readers. A time-out (seconds; ``None``
    for the client's own) ends the wait and nothing else. An application that died, and a handler that routesock
    answered with 500, raise their exception here: in the call that caused it, else in whatever waits for a push, a
    frame or the close, else in the next call or in the disconnect.
    """

    def __init__(
        self,
        application: ASGIApplication,
        scope: Scope,
        *,
        dialect: Dialect | None = None,
        timeout: float = 1.0,
        raise_exceptions: bool = True,
    ) -> None:
        self._application = application
        self._scope = scope
        self._dialect = dialect if dialect is not None else Keys()
        self._timeout = timeout
        self._raise_exceptions = raise_exceptions
        self._ids = itertools.count(1)
        self._line: Line | None = None
        self._on_exit = ExitStack()
        self.settle: Callable[[], Awaitable[None]] = let_run
        """Lets the application run as far as it goes without time passing."""
        self._reset()

    def _reset(self) -> None:
        self._inbox = Inbox(self._dialect)
        self.subprotocol: str | None = None
        """The subprotocol that the application chose."""
        self.accept_headers: list[tuple[bytes, bytes]] = []
        """The headers of the application's accept."""

    @property
    def connected(self) -> bool:
        """Whether the client is between connect and disconnect; the application may have closed by itself."""
        return self._line is not None

    @property
    def closed(self) -> Close | None:
        """How the application closed the socket, ``None`` if it did not."""
        return None if self._line is None else self._line.socket.closed

    async def connect(self) -> None:
        """Opens the socket. Raises :class:`ConnectionRefused`, or what the application raised."""
        if self._line is not None:
            raise RuntimeError("The client is connected already.")
        self._reset()
        scope = dict(self._scope)
        if self._raise_exceptions:
            scope["routesock.on_error"] = self._collect
        socket = Application(self._application, scope, self._inbox.deliver)
        with ExitStack() as stack:
            stack.enter_context(kept_connections())
            accept = await socket.connect(self._timeout)
            self._on_exit = stack.pop_all()
        self._line = Line(socket, self._inbox, self._timeout)
        self.subprotocol = accept.get("subprotocol")
        self.accept_headers = list(accept.get("headers", ()))

    async def disconnect(self, code: int = 1000) -> None:
        """Leaves, waits for the application to end, and raises what it raised unless that was raised before.

        An application that has not ended in time is cancelled, and :class:`ClientTimeout` says so.
        """
        line, self._line = self._line, None
        if line is not None:
            with self._on_exit:
                await line.socket.leave(code, self._timeout)
            self._inbox.raise_failure()

    async def call(
        self,
        route: str,
        payload: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        id: str | int | Unset = UNSET,
        timeout: float | None = None,
    ) -> ClientReply:
        """Sends a request and returns its reply, whatever the status; of a stream, the reply that ends it.

        Raises :class:`NoReply`, :class:`ConnectionClosed`, or the exception of the handler (its 500 is not returned
        then). ``id`` is made up unless it is given; ``ValueError`` for one that another call is waiting for.
        """
        request_id = self._id_of(id)
        with self._inbox.claimed(request_id):
            await self.send(route, payload, headers=headers, id=request_id)
            return await self._reply_to(request_id, f"reply to {route!r} (id {request_id!r})", timeout)

    def stream(
        self,
        route: str,
        payload: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        id: str | int | Unset = UNSET,
        timeout: float | None = None,
    ) -> ReplyStream:
        """Sends a request and gives each frame that answers it: ``async for reply in client.stream(...)``.

        The items of a stream have the status 206; the reply that ends them comes last. ``timeout`` is for each of them.
        Raises what :meth:`call` raises, and ``ValueError`` where replies have no status.
        """
        if not tells_items(self._dialect):
            raise ValueError(
                f"{self._dialect!r} has no status, so an item cannot be told from the end of its stream. "
                "Use send(), and receive() for each frame."
            )
        request_id = self._id_of(id)
        return ReplyStream(
            self._connection(),
            request_id,
            f"{route!r} (id {request_id!r})",
            request=self._dialect.request(route, request_id, payload, headers or NO_HEADERS),
            cancel=self._dialect.request("CANCEL", request_id, None),
            timeout=timeout,
        )

    async def send(
        self, route: str, payload: Any = None, *, headers: Mapping[str, Any] | None = None, id: RequestId = None
    ) -> None:
        """Sends a request and waits for nothing; without an ``id`` it is a notification, which gets no reply."""
        await self.send_json(self._dialect.request(route, id, payload, headers or NO_HEADERS))

    async def send_json(self, value: Any) -> None:
        """Sends a value as it is, encoded as routesock encodes (dates, UUIDs and Decimals included)."""
        await self.send_text(codec.encode(value))

    async def send_text(self, text: str) -> None:
        """Sends a text frame as it is."""
        self._connection().write(text)

    async def send_bytes(self, data: bytes) -> None:
        """Sends a binary frame."""
        self._connection().write(data)

    async def cancel(self, id: str | int) -> None:
        """Cancels the request of that id; its reply (499) comes to whoever waits for it."""
        await self.send("CANCEL", id=id)

    async def ping(self, payload: Any = None, *, timeout: float | None = None) -> Any:
        """Sends a PING and returns the payload of its PONG."""
        return (await self.call("PING", payload, timeout=timeout)).payload

    async def expect_reply(self, id: str | int, *, timeout: float | None = None) -> ClientReply:
        """The reply to a request that was sent with this ``id``, as :meth:`call` returns and raises it."""
        with self._inbox.claimed(id):
            return await self._reply_to(id, f"reply to id {id!r}", timeout)

    async def expect_push(self, route: str | None = None, *, timeout: float | None = None, **match: Any) -> Push:
        """The next push of that route (of any, for ``None``) whose payload has these members.

        Raises :class:`ClientTimeout`.
        """
        members = f" with {match!r}" if match else ""
        what = f"push{'' if route is None else f' of {route!r}'}{members}"
        return await self._connection().unasked(lambda: self._inbox.take_push(route, match), what, timeout)

    async def refute_push(self, route: str | None = None, *, within: float = 0.05, **match: Any) -> None:
        """Fails with an ``AssertionError`` if such a push is there or comes ``within`` so many seconds."""
        await self.settle()
        try:
            push = await self.expect_push(route, timeout=within, **match)
        except (ClientTimeout, ConnectionClosed):
            return
        raise AssertionError(f"No push was to come, but there is {push!r}.")

    async def receive(self, *, timeout: float | None = None) -> Any:
        """The next frame of any kind that no other call waits for: a JSON object as a dict, other text, or bytes.

        Raises :class:`ClientTimeout`.
        """
        return (await self._connection().unasked(self._inbox.take_any, "frame", timeout)).raw

    async def expect_close(self, *, timeout: float | None = None) -> Close:
        """Waits until the application closes the socket: ``(code, reason)``. Raises :class:`ClientTimeout`."""
        return await self._connection().unasked(lambda: self.closed, "close", timeout)

    def raise_failures(self) -> None:
        """Raises what no call has raised yet, without waiting for anything."""
        self._inbox.raise_failure()
        if self._line is not None:
            self._line.socket.raise_error()

    def _collect(self, id: RequestId, error: BaseException) -> None:
        """Routesock answers a 500: called before that reply is sent."""
        self._inbox.fail(id, error)
        if self._line is not None:
            self._line.socket.notify()

    def _connection(self) -> Line:
        if self._line is None:
            raise RuntimeError("The client is not connected: use `with RouteClient(...)` or `async with`.")
        return self._line

    def _id_of(self, id: str | int | Unset) -> str | int:
        return f"call-{next(self._ids)}" if id is UNSET else id

    async def _reply_to(self, id: str | int, what: str, timeout: float | None) -> ClientReply:
        frame = await self._connection().answer(id, partial(self._inbox.take_reply, id), what, timeout)
        # Not before: the 500 that follows a failure would stay behind, and answer the next request of that id.
        self._inbox.raise_failure(id)
        return frame.reply()
