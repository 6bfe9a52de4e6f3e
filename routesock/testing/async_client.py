"""The async methods of the test client: requests, replies, streams and pushes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Self

from .._wire import codec
from .._wire.messages import NO_HEADERS, RequestId, Scope
from ..dialects import Dialect, Keys
from ..exceptions import RoutesockError
from ..typing import UNSET, Unset
from .application import Application, ASGIApplication, Transport, keep_test_connections, run_until_idle
from .frames import (
    Ask,
    ClientReply,
    ClientTimeout,
    Close,
    ConnectionClosed,
    Frame,
    Inbox,
    Push,
    UndocumentedFrame,
    has_item_status,
)


class ReplyStream:
    """An async iterator of the replies to one request: the items of its stream (206), then the final reply.

    The first iteration sends the request. A timeout leaves the stream open. Leaving the loop before the end cancels the
    request and drops its further frames: ``break`` does so unless there is another reference to the stream.
    :meth:`aclose` also waits for the end.
    """

    def __init__(
        self,
        transport: Transport,
        id: str | int,
        what: str,
        *,
        request: str | bytes,
        cancel: str | bytes,
        timeout: float | None,
    ) -> None:
        self._transport = transport
        self._inbox = transport.inbox
        self._id = id
        self._what = what
        self._request = request
        self._cancel = cancel
        self._timeout = timeout
        self._has_started = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_open(self) -> bool:
        """Whether the request has been sent and the stream has neither ended nor been left."""
        return self._loop is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ClientReply:
        if not self._has_started:
            self._start()
        if not self.is_open:
            raise StopAsyncIteration
        take = partial(self._inbox.take_next, self._id)
        frame = await self._transport.wait_for_reply(self._id, take, f"further frame of {self._what}", self._timeout)
        if frame.is_item:
            self._inbox.raise_failure(self._id, UndocumentedFrame)
        else:
            self._close()
            self._inbox.raise_failure(self._id)
        return frame.reply()

    async def aclose(self) -> None:
        """Cancel the request if the stream is open, and wait for its end. Raises what ``call()`` raises."""
        self._has_started = True
        if self.is_open:
            self.leave()
            with suppress(ConnectionClosed):
                await self._transport.wait_for_reply(self._id, self._has_ended, f"end of {self._what}", self._timeout)
            self._inbox.raise_failure(self._id)

    def leave(self) -> None:
        """Cancel the request if the stream is open, and do not wait for its end."""
        if self.is_open:
            self._close()
            if self._inbox.drop(self._id):
                self._transport.feed(self._cancel)

    def __del__(self) -> None:
        # `async for` does not call aclose() after a break. Only the thread of the event loop may send frames.
        if self.is_open and self._loop is _running_loop():
            self.leave()

    def _start(self) -> None:
        self._has_started = True
        self._inbox.claim(self._id)
        self._loop = asyncio.get_running_loop()
        try:
            self._transport.send(self._request)
        except BaseException:
            self._close()
            raise

    def _has_ended(self) -> bool | None:
        return None if self._inbox.is_dropping(self._id) else True

    def _close(self) -> None:
        self._loop = None
        self._inbox.release(self._id)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class AsyncClient:
    """The methods of :class:`~routesock.testing.RouteClient`.

    Each wait takes the first frame that matches and leaves the others for later calls. ``timeout`` is in seconds;
    ``None`` means the timeout of the client. A timeout ends the wait only; the socket stays open.

    Exceptions of the application, and of handlers that routesock answers with 500, are raised in the test: in the call
    that caused them; otherwise in a method that waits for a push, a frame or the close; otherwise in the next call or
    in :meth:`disconnect`.
    """

    def __init__(
        self,
        application: ASGIApplication,
        scope: Scope,
        *,
        dialect: Dialect | None = None,
        timeout: float = 1.0,
        raise_exceptions: bool = True,
        documented: bool = False,
    ) -> None:
        self._application = application
        self._documented = documented
        self._scope = scope
        self._dialect = dialect if dialect is not None else Keys()
        self._timeout = timeout
        self._raise_exceptions = raise_exceptions
        self._ids = itertools.count(1)
        self._transport: Transport | None = None
        self._on_exit = ExitStack()
        self._answering: dict[str, Callable[[Any], Any]] = {}
        self.settle: Callable[[], Awaitable[None]] = run_until_idle
        """Run the application until it waits for a timer, a thread or a frame."""
        self._reset()

    def _reset(self) -> None:
        self._inbox = Inbox(self._dialect)
        if self._answering:
            self._inbox.asked = self._answer_at_once
        self.subprotocol: str | None = None
        """The subprotocol that the application chose."""
        self.accept_headers: list[tuple[bytes, bytes]] = []
        """The headers with which the application accepted the socket."""

    @property
    def connected(self) -> bool:
        """Whether the client is between connect and disconnect, even if the application has closed the socket."""
        return self._transport is not None

    @property
    def closed(self) -> Close | None:
        """The code and reason with which the application closed the socket; ``None`` if it did not."""
        return None if self._transport is None else self._transport.application.closed

    async def connect(self) -> None:
        """Open the socket.

        Raises:
            ConnectionRefused: If the application closes the socket. Exceptions of the application are raised as well.
        """
        if self._transport is not None:
            raise RuntimeError("The client is already connected.")
        self._reset()
        scope = dict(self._scope)
        if self._raise_exceptions:
            scope["routesock.on_error"] = self._add_failure
        application = Application(self._application, scope, self._deliver())
        with ExitStack() as stack:
            stack.enter_context(keep_test_connections())
            accept = await application.connect(self._timeout)
            self._on_exit = stack.pop_all()
        self._transport = Transport(application, self._inbox, self._timeout)
        self.subprotocol = accept.get("subprotocol")
        self.accept_headers = list(accept.get("headers", ()))

    async def disconnect(self, code: int = 1000) -> None:
        """Disconnect and wait for the application to end. Raise its exception unless it was raised before.

        Args:
            code: The close code.

        Raises:
            ClientTimeout: If the application did not end in time and had to be cancelled.
        """
        transport, self._transport = self._transport, None
        if transport is not None:
            with self._on_exit:
                await transport.application.disconnect(code, self._timeout)
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
        """Send a request and return its reply, whatever its status. For a stream, return the reply that ends it.

        Args:
            route: The name of the route.
            payload: The payload of the request.
            headers: The headers of the request.
            id: The id of the request. The default is a new one.
            timeout: Seconds to wait for the reply.

        Raises:
            NoReply: If there is no reply in time.
            ConnectionClosed: If the application closes the socket.
            ValueError: If another call waits for a reply with the same id. An unexpected exception of the handler is
                raised as well, in place of its reply with the status 500.
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
        """Send a request and iterate over its replies: ``async for reply in client.stream(...)``.

        The items of the stream have the status 206. The last reply is the one that ends the stream. The iteration
        raises what :meth:`call` raises.

        Args:
            route: The name of the route.
            payload: The payload of the request.
            headers: The headers of the request.
            id: The id of the request. The default is a new one.
            timeout: Seconds to wait for each reply.

        Raises:
            ValueError: If the dialect has no status.
        """
        if not has_item_status(self._dialect):
            raise ValueError(
                f"{self._dialect!r} has no status, so items cannot be distinguished from the end of their stream. "
                "Use send(), and receive() for each frame."
            )
        request_id = self._id_of(id)
        return ReplyStream(
            self._connected(),
            request_id,
            f"{route!r} (id {request_id!r})",
            request=self._dialect.encode(self._dialect.request(route, request_id, payload, headers or NO_HEADERS)),
            cancel=self._dialect.encode(self._dialect.request("CANCEL", request_id, None)),
            timeout=timeout,
        )

    async def subscribe(self, topic: str, *, since: str | None = None, timeout: float | None = None) -> ClientReply:
        """Subscribe to a topic and return the reply, whatever its status. Its pushes come to :meth:`expect_push`.

        Args:
            topic: The name of the topic.
            since: The position to go on from, if the topic has a history: ``position`` of the last reply or push. Then
                ``recovered`` of the reply says whether the pushes that were missed follow.
            timeout: Seconds to wait for the reply.

        Raises:
            NoReply: If there is no reply in time. What :meth:`call` raises is raised as well.
        """
        payload = {"topic": topic} if since is None else {"topic": topic, "since": since}
        return await self.call("SUBSCRIBE", payload, timeout=timeout)

    async def unsubscribe(self, topic: str, *, timeout: float | None = None) -> ClientReply:
        """End a subscription and return the reply, whatever its status. Raises what :meth:`call` raises.

        Args:
            topic: The name of the topic.
            timeout: Seconds to wait for the reply.
        """
        return await self.call("UNSUBSCRIBE", {"topic": topic}, timeout=timeout)

    async def send(
        self, route: str, payload: Any = None, *, headers: Mapping[str, Any] | None = None, id: RequestId = None
    ) -> None:
        """Send a request and do not wait for a reply. Without ``id`` it is a notification, which gets none."""
        self._connected().send(self._dialect.encode(self._dialect.request(route, id, payload, headers or NO_HEADERS)))

    async def send_json(self, value: Any) -> None:
        """Send a value as a JSON frame, encoded as routesock encodes, including dates, UUIDs and Decimals."""
        await self.send_text(codec.encode(value))

    async def send_text(self, text: str) -> None:
        """Send a text frame."""
        self._connected().send(text)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        self._connected().send(data)

    async def cancel(self, id: str | int) -> None:
        """Cancel the request with this id. The call that waits for its reply gets the status 499."""
        await self.send("CANCEL", id=id)

    async def ping(self, payload: Any = None, *, timeout: float | None = None) -> Any:
        """Send a PING and return the payload of the PONG."""
        return (await self.call("PING", payload, timeout=timeout)).payload

    async def expect_reply(self, id: str | int, *, timeout: float | None = None) -> ClientReply:
        """Wait for the reply to a request that was sent with this id. Raises what :meth:`call` raises."""
        with self._inbox.claimed(id):
            return await self._reply_to(id, f"reply to id {id!r}", timeout)

    async def expect_push(self, route: str | None = None, *, timeout: float | None = None, **match: Any) -> Push:
        """Wait for a push and return it.

        Args:
            route: The name of the push; ``None`` for any.
            timeout: Seconds to wait.
            **match: Members that the payload must have.

        Raises:
            ClientTimeout: If there is no such push in time.
        """
        members = f" with {match!r}" if match else ""
        what = f"push{'' if route is None else f' of {route!r}'}{members}"
        return await self._connected().wait_for(lambda: self._inbox.take_push(route, match), what, timeout)

    async def expect_ask(self, route: str | None = None, *, timeout: float | None = None, **match: Any) -> Ask:
        """Wait until the server asks, and return what it asks. Answer it with :meth:`answer`.

        Args:
            route: The name of what it asks; ``None`` for any.
            timeout: Seconds to wait.
            **match: Members that the payload must have.

        Raises:
            ClientTimeout: If it asks no such thing in time.
        """
        members = f" with {match!r}" if match else ""
        what = f"ask{'' if route is None else f' of {route!r}'}{members}"
        return await self._connected().wait_for(lambda: self._inbox.take_ask(route, match), what, timeout)

    async def answer(self, ask: Ask | str, payload: Any = None, *, status: int = 200) -> None:
        """Answer what the server has asked.

        Args:
            ask: What :meth:`expect_ask` has returned, or its id.
            payload: The payload of the answer.
            status: The status: 200 to 299, or 400 to 599 to refuse.
        """
        id = ask.id if isinstance(ask, Ask) else ask
        self._connected().send(self._dialect.encode(self._dialect.answer(id, status, payload)))

    def on_ask(self, route: str, function: Callable[[Any], Any]) -> None:
        """Answer from now on what the server asks under this name. :meth:`expect_ask` does not see it.

        Args:
            route: The name of what it asks.
            function: Is called with the payload and returns that of the answer. It raises a
                :class:`~routesock.RoutesockError` to refuse: the answer has its status and its problem object.
        """
        self._answering[route] = function
        self._inbox.asked = self._answer_at_once

    def _answer_at_once(self, ask: Ask) -> bool:
        function = self._answering.get(ask.route)
        transport = self._transport
        if function is None or transport is None:
            return False
        status = 200
        try:
            payload = function(ask.payload)
        except RoutesockError as error:
            status, payload = error.status, error.problem()
        transport.feed(self._dialect.encode(self._dialect.answer(ask.id, status, payload)))
        return True

    async def refute_push(self, route: str | None = None, *, within: float = 0.05, **match: Any) -> None:
        """Assert that there is no such push.

        Args:
            route: The name of the push; ``None`` for any.
            within: Seconds to wait for one.
            **match: Members that the payload must have.

        Raises:
            AssertionError: If there is such a push.
        """
        await self.settle()
        try:
            push = await self.expect_push(route, timeout=within, **match)
        except (ClientTimeout, ConnectionClosed):
            return
        raise AssertionError(f"Unexpected push: {push!r}.")

    async def receive(self, *, timeout: float | None = None) -> Any:
        """Wait for the next frame of any kind that no other call waits for.

        Returns:
            A dict for a JSON object, a str for other text, or bytes. A frame of a dialect with its own ``decode()`` is
            returned as it was received.

        Raises:
            ClientTimeout: If there is no frame in time.
        """
        return (await self._connected().wait_for(self._inbox.take_any, "frame", timeout)).raw

    async def expect_close(self, *, timeout: float | None = None) -> Close:
        """Wait until the application closes the socket, and return ``(code, reason)``.

        Raises:
            ClientTimeout: If it does not close the socket in time.
        """
        return await self._connected().wait_for(lambda: self.closed, "close", timeout)

    def raise_failures(self) -> None:
        """Raise exceptions of the application that no call has raised yet. Do not wait for any."""
        self._inbox.raise_failure()
        if self._transport is not None:
            self._transport.application.raise_error()

    def _add_failure(self, id: RequestId, error: BaseException) -> None:
        """Record an unexpected exception; routesock calls it before it sends the reply with the status 500."""
        self._inbox.add_failure(id, error)
        if self._transport is not None:
            self._transport.application.notify()

    def _deliver(self) -> Callable[[str | bytes], None]:
        """Return what takes the frames of the application."""
        inbox = self._inbox
        if not self._documented:
            return inbox.deliver
        from .._asyncapi.conformance import conformance_at  # not imported by tests that check no documents

        conformance = conformance_at(self._application, self._scope.get("path", "/"))
        if conformance is None:
            return inbox.deliver

        def deliver(data: str | bytes) -> None:
            found = conformance.misfit(data)
            if found is not None:
                error = UndocumentedFrame(f"{found} The frame: {data!r}"[:1000], found.route, found.pointer)
                inbox.add_failure(Frame.parse(data, self._dialect).id, error)
            inbox.deliver(data)

        return deliver

    def _connected(self) -> Transport:
        if self._transport is None:
            raise RuntimeError("The client is not connected. Use `with RouteClient(...)` or `async with`.")
        return self._transport

    def _id_of(self, id: str | int | Unset) -> str | int:
        return f"call-{next(self._ids)}" if id is UNSET else id

    async def _reply_to(self, id: str | int, what: str, timeout: float | None) -> ClientReply:
        frame = await self._connected().wait_for_reply(id, partial(self._inbox.take_reply, id), what, timeout)
        # Only after the reply was taken, or its 500 would be taken as the reply to the next request with that id.
        self._inbox.raise_failure(id)
        return frame.reply()
