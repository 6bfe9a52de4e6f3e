"""The public face of the client."""

from __future__ import annotations

import asyncio
import inspect
import random as random_module
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from ._auth import TokenFunction
from ._buffer import ItemBuffer
from ._calls import Options
from ._codec import Dialect, Keys, KeysDialect
from ._connection import AnswerHandler, Connection, LoopClock, PushListener, StateListener
from ._host import logger
from ._topics import Subscriber
from ._transport import Opener, opener
from ._types import (
    DEFAULT_TIMEOUT,
    NO_HEADERS,
    Clock,
    ConnectionLost,
    Headers,
    OutgoingFrame,
    Problem,
    Push,
    Reply,
    RouteError,
    Snapshot,
    State,
    Why,
)

Item = TypeVar("Item", covariant=True)
State_ = TypeVar("State_", covariant=True)


class Items(AsyncIterator[Item], Generic[Item]):
    """Items to be read with ``async for``. Leaving the loop ends them at their source.

    With ``async with`` they end at the end of the block, on every implementation of Python. Without it they end when
    the iterator is no longer referenced; in CPython that is when the loop is left.
    """

    def __init__(self, buffer: ItemBuffer) -> None:
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        item: Item = await self._buffer.get()
        return item

    async def aclose(self) -> None:
        """Ends the iteration: a stream is cancelled on the server. May be called again."""
        self._buffer.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._buffer.ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._buffer.leave)


class Subscription(Generic[State_]):
    """A subscription to a topic, for ``async with``.

    Entering waits for the snapshot. Iterating gives the pushes of the topic. After a reconnect it gives a
    :class:`Snapshot`, unless the server sends the pushes that were missed: replace the state that you keep by it.
    Iterating ends when the server ends the subscription, and when ``close()`` is called. It raises
    :class:`ConnectionLost` when the server closes the connection for good.
    """

    def __init__(self, connection: Connection, topic: str, since: str | None = None) -> None:
        self.topic = topic
        self._since = since
        self._connection = connection
        self._buffer = ItemBuffer()
        self._snapshot: Reply | None = None
        self._ended: RouteError | None = None
        self._entered: asyncio.Future[None] | None = None
        self._off: list[Callable[[], None]] = []

    @property
    def snapshot(self) -> State_:
        """The payload of the last reply to SUBSCRIBE.

        Raises:
            RuntimeError: There is none yet: before the subscription is entered, or since it went on from ``since``.
        """
        if self._snapshot is None:
            raise RuntimeError(
                "There is no snapshot before the subscription is entered with `async with`, nor if it goes on from "
                "`since`."
            )
        snapshot: State_ = self._snapshot.payload
        return snapshot

    @property
    def ended(self) -> Problem | None:
        """Why the server has ended the subscription, or ``None``."""
        return None if self._ended is None else self._ended.problem

    async def __aenter__(self) -> Self:
        if self._off:
            raise RuntimeError("A subscription can be entered once.")
        connection = self._connection
        if connection.over is not None:
            raise ConnectionLost(False, connection.over)
        self._entered = asyncio.get_running_loop().create_future()
        self._buffer.on_stop = self._leave
        subscriber = Subscriber(
            snapshot=self._on_snapshot, recovered=self._on_recovered, push=self._buffer.put, ended=self._on_ended
        )
        connection.state_listeners.append(self._on_state)
        self._off.append(lambda: connection.state_listeners.remove(self._on_state))
        self._off.append(connection.topics.subscribe(self.topic, subscriber, self._since))
        try:
            await self._entered
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._buffer.leave()
        self._leave()

    def __aiter__(self) -> AsyncIterator[Push | Snapshot[State_]]:
        return self

    async def __anext__(self) -> Push | Snapshot[State_]:
        item: Push | Snapshot[State_] = await self._buffer.get()
        return item

    def _on_snapshot(self, reply: Reply) -> None:
        is_entered = self._entered is not None and self._entered.done()
        self._snapshot = reply
        if is_entered:
            self._buffer.put(Snapshot(payload=reply.payload, headers=reply.headers))
        self._enter(None)

    def _on_recovered(self) -> None:
        self._enter(None)

    def _on_ended(self, error: RouteError) -> None:
        self._ended = error
        self._buffer.finish()
        self._enter(error)

    def _on_state(self, state: State, why: Why | None) -> None:
        if state is State.CLOSED:
            error = ConnectionLost(False, why)
            self._buffer.finish(None if why is None or why.code == 1000 else error)
            self._enter(error)

    def _enter(self, error: BaseException | None) -> None:
        if self._entered is not None and not self._entered.done():
            if error is None:
                self._entered.set_result(None)
            else:
                self._entered.set_exception(error)

    def _leave(self) -> None:
        while self._off:
            self._off.pop()()


class Client:
    """A WebSocket that comes back by itself, with calls, streams, pushes and topics.

    ``async with`` connects, and closes at the end of the block. All methods belong to the thread of the event loop.

    Args:
        url: ``wss://host/path`` or ``ws://``; ``https://`` and ``http://`` are understood, too.
        token: A token, or a function that returns one, or ``None`` for none. It may be async, and is called for each
            connection and before a token expires. Its argument is true if the server has refused the last token:
            get a new one then.
        keys: The keys of the server's ``Keys`` dialect, as a ``dict``.
        dialect: A dialect that is no ``Keys``; ``keys`` has no effect then.
        auth: How the token is sent: in an AUTH frame, or as a subprotocol for ``TokenMiddleware``.
        subprotocols: Subprotocols to offer. By default none, or ``routesock`` beside a token.
        headers: Headers of the HTTP request, such as ``{"Cookie": "sessionid=..."}``.
        origin: The Origin header. By default the server's own, since ``AllowedHostsOriginValidator`` asks for one.
        max_tries: Attempts in a row after which the client is closed. By default it never gives up.
        on_error: Called with the :class:`RouteError` of a notification. By default it is logged.
        connect_options: Further arguments of ``websockets.asyncio.client.connect``, such as ``ssl`` or ``proxy``.
        clock: The time, for tests.
        random: Returns a number from 0 to 1 for the jitter, for tests.
        open_transport: Opens a WebSocket, for tests.
    """

    keys: ClassVar[Keys] = {}
    """The keys of a subclass for one consumer, as ``manage.py routesock_client python`` writes it."""

    def __init__(
        self,
        url: str,
        *,
        token: str | TokenFunction | None = None,
        keys: Keys | None = None,
        dialect: Dialect | None = None,
        auth: Literal["frame", "subprotocol"] = "frame",
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        origin: str | None = None,
        max_tries: int | None = None,
        on_error: Callable[[RouteError], object] | None = None,
        connect_options: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random_module.random,
        open_transport: Opener | None = None,
    ) -> None:
        self._connection = Connection(
            _websocket_url(url),
            dialect=dialect or KeysDialect(self.keys if keys is None else keys),
            open_transport=open_transport or opener(headers or {}, origin, connect_options or {}),
            token=token,
            as_subprotocol=auth == "subprotocol",
            subprotocols=[*subprotocols],
            max_tries=max_tries,
            on_error=on_error or _log,
            clock=clock or LoopClock(),
            random=random,
        )

    @property
    def state(self) -> State:
        """What the connection is doing."""
        return self._connection.state

    @property
    def why(self) -> Why | None:
        """Why the last connection has ended; ``None`` before that."""
        return self._connection.why

    def connect(self) -> Self:
        """Connects, and stays connected until :meth:`close`. While it waits to try again, it tries at once."""
        self._connection.connect()
        return self

    def close(self) -> None:
        """Closes the connection. Calls that wait or are in flight raise :class:`ConnectionLost`."""
        self._connection.close()

    async def wait_closed(self) -> None:
        """Waits until every WebSocket that was left is closed; that takes at most 2 s."""
        await self._connection.wait_closed()

    async def wait_open(self) -> None:
        """Waits until calls can be sent.

        Raises:
            ConnectionLost: The client is closed, or the server closes it for good.
        """
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look(state: State, why: Why | None) -> None:
            if not reached.done() and state is State.OPEN:
                reached.set_result(None)
            elif not reached.done() and state is State.CLOSED:
                reached.set_exception(ConnectionLost(False, why))

        off = self.on_state(look)
        look(self.state, self.why)
        try:
            await reached
        finally:
            off()

    async def __aenter__(self) -> Self:
        return self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()

    async def call(
        self,
        route: str,
        payload: Any = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        idempotent: bool | str = False,
        queue: bool = True,
        headers: Headers = NO_HEADERS,
    ) -> Any:
        """Calls a route, and returns the payload of its reply. Cancelling the task cancels the call on the server.

        Args:
            route: The name of the route.
            payload: What JSON can say; also dates, ``UUID``, ``Decimal``, dataclasses and pydantic models.
            timeout: Seconds, the time in the queue included. ``None``: no limit. One that is not the default is also
                sent to the server.
            idempotent: Send the call again if the connection was lost before the reply. A text is also sent as the
                header ``Idempotency-Key``.
            queue: ``False``: raise at once if there is no connection. By default the call waits for one.
            headers: Headers of the frame.

        Raises:
            RouteError: The server has answered with a status from 400 on.
            ConnectionLost: There is no connection, or it was lost before the reply.
            TimeoutError: There was no reply in time. The message says whether the call was sent. If there is no
                connection, ``__cause__`` is a :class:`ConnectionLost` that says why.
        """
        reply = await self.request(route, payload, timeout=timeout, idempotent=idempotent, queue=queue, headers=headers)
        return reply.payload

    async def request(
        self,
        route: str,
        payload: Any = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        idempotent: bool | str = False,
        queue: bool = True,
        headers: Headers = NO_HEADERS,
    ) -> Reply:
        """Like :meth:`call`, and returns status and headers, too."""
        options = Options(
            timeout=timeout,
            sent_timeout=None if timeout == DEFAULT_TIMEOUT else timeout,
            idempotent=idempotent,
            queue=queue,
            headers=headers,
        )
        return await self._connection.calls.request(route, payload, options)

    def notify(self, route: str, payload: Any = None, *, headers: Headers = NO_HEADERS) -> bool:
        """Calls a route without waiting for a reply. Errors go to ``on_error``.

        Returns:
            Whether it was sent. It never waits for a connection, and is not sent while 1 MiB waits to be written.
        """
        return self._connection.notify(OutgoingFrame(route=route, payload=payload, headers=headers or None))

    def stream(
        self,
        route: str,
        payload: Any = None,
        *,
        timeout: float | None = None,
        queue: bool = True,
        headers: Headers = NO_HEADERS,
    ) -> Items[Any]:
        """Calls a route that streams. Leaving the loop cancels the stream on the server.

        Iterating raises what :meth:`call` does, and :class:`StreamOverflow` after 1,000 items that were not read.

        Args:
            route: The name of the route.
            payload: As for :meth:`call`.
            timeout: Seconds between two items; also sent to the server. By default there is no limit.
            queue: As for :meth:`call`.
            headers: Headers of the frame.
        """
        buffer = ItemBuffer()
        options = Options(timeout=timeout, sent_timeout=timeout, queue=queue, headers=headers)
        try:
            self._connection.calls.start(
                route, payload, options, lambda reply: buffer.finish(), buffer.finish, items=buffer
            )
        except ConnectionLost as error:
            buffer.finish(error)
        return Items(buffer)

    def subscribe(self, topic: str, *, since: str | None = None) -> Subscription[Any]:
        """Subscribes to a topic, now and after each reconnect, as long as the ``async with`` block runs.

        Pushes between two connections come after a reconnect if the topic has a history that still has all of them.
        Else they are lost, and a new snapshot stands for them. Entering raises :class:`RouteError` if the server
        refuses the subscription.

        Args:
            topic: The name of the topic.
            since: The position that you know already, for a topic with a history. What came after it comes first.
        """
        return Subscription(self._connection, topic, since)

    def pushes(self, route: str) -> Items[Any]:
        """The payloads of the pushes of a name, from now on, over reconnects. Leaving the loop ends it.

        Iterating raises :class:`StreamOverflow` after 1,000 pushes that were not read, and :class:`ConnectionLost` when
        the server closes the connection for good. It ends when :meth:`close` is called.
        """
        buffer = ItemBuffer()

        def closed(state: State, why: Why | None) -> None:
            if state is State.CLOSED:
                buffer.finish(None if why is None or why.code == 1000 else ConnectionLost(False, why))
                stop()

        offs = [self.on(route, lambda push: buffer.put(push.payload)), self.on_state(closed)]

        def stop() -> None:
            for off in offs:
                off()

        buffer.on_stop = stop
        return Items(buffer)

    def on(self, route: str, listener: PushListener) -> Callable[[], None]:
        """Calls ``listener`` with each :class:`Push` of that name; ``"*"`` gets those that no other listener takes.

        Returns:
            A function that ends it.

        Raises:
            TypeError: ``listener`` is async. Use :meth:`pushes`.
        """
        return _add(self._connection.listeners.setdefault(route, []), listener, lambda: self._forget(route))

    def answer(self, route: str, handler: AnswerHandler) -> Callable[[], None]:
        """Answers what the server asks under that name with what ``handler`` returns; it may be async.

        To refuse, raise a :class:`RouteError`: the server gets its status and problem. Any other exception is logged,
        and the server gets a 500. An async handler is cancelled when the connection is lost.

        Args:
            route: The name of what the server asks.
            handler: Is called with an :class:`Ask`. Its ``timeout`` is the seconds for which the server waits.

        Returns:
            A function that ends it.

        Raises:
            ValueError: There is a handler for that name already.
        """
        handlers = self._connection.handlers
        if route in handlers:
            raise ValueError(f"{route!r} has a handler already.")
        handlers[route] = handler

        def off() -> None:
            if handlers.get(route) is handler:
                del handlers[route]

        return off

    def on_state(self, listener: StateListener) -> Callable[[], None]:
        """Calls ``listener`` with each new state, and why the last connection has ended.

        Returns:
            A function that ends it.

        Raises:
            TypeError: ``listener`` is async.
        """
        return _add(self._connection.state_listeners, listener, lambda: None)

    def _forget(self, route: str) -> None:
        if not self._connection.listeners.get(route):
            self._connection.listeners.pop(route, None)


Listener = TypeVar("Listener", bound=Callable[..., object])


def _add(listeners: list[Listener], listener: Listener, empty: Callable[[], None]) -> Callable[[], None]:
    """Adds a listener, which may be there already, and returns a function that removes this one."""
    if inspect.iscoroutinefunction(listener):
        raise TypeError("A listener is a plain function. Iterate over pushes() to await something for each.")
    listeners.append(listener)
    there = True

    def off() -> None:
        nonlocal there
        if there:
            there = False
            listeners.remove(listener)
            empty()

    return off


def _log(error: RouteError) -> None:
    logger.error("A notification failed: %s", error)


def _websocket_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is not the URL of a WebSocket, such as wss://example.com/ws/chat/.")
    return urlunsplit(parts._replace(scheme=scheme, fragment=""))
