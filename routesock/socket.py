"""`self.socket` on a consumer: pushes, groups, broadcasts and closing, for async and for sync consumers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, overload

from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer

from ._routing.push import Push, Pushes, answer_schema, aprepare, is_undeclared, load_answer
from ._wire.messages import NO_HEADERS, Request
from .status import Ending, ending_for


class Peer(Protocol):
    """The connection behind a socket. Its coroutines may be awaited on any event loop."""

    @property
    def pushes(self) -> Pushes:
        """The pushes that the consumer declares."""
        ...

    @property
    def groups(self) -> frozenset[str]: ...

    async def push(self, route: str, payload: Any, headers: Mapping[str, Any]) -> None: ...

    async def ask(self, route: str, payload: Any, headers: Mapping[str, Any], timeout: float) -> Any: ...

    async def join(self, name: str) -> None: ...

    async def leave(self, name: str) -> None: ...

    async def broadcast(
        self, name: str, route: str, payload: Any, headers: Mapping[str, Any], *, exclude_self: bool
    ) -> None: ...

    async def close(self, ending: Ending) -> None: ...

    async def reject(self, ending: Ending) -> None: ...


class Socket:
    """The socket of one client: ``self.socket`` on an async consumer.

    Use it in handlers, in ``connect()``, in channel-layer handlers and in tasks.
    """

    __slots__ = ("_peer", "_pushes")

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._pushes = peer.pushes

    async def push(self, route: str | Push, payload: Any = None, *, headers: Mapping[str, Any] = NO_HEADERS) -> None:
        """Send an unsolicited frame to this client.

        Waits while the client does not read what was sent before; ``route_overflow`` says what happens when too many
        frames wait. Does nothing once the socket is being closed, until ``disconnect()`` has run.

        Args:
            route: A name or a :class:`~routesock.Push`. A name in the consumer's ``route_pushes`` stands for that push.
            payload: What ``DjangoJSONEncoder`` can encode, or what the schema of the push takes.
            headers: The frame has the key ``headers`` if there are any.

        Raises:
            InvalidPush: The schema of the push refuses the payload. Nothing was sent.
            SocketEnded: The socket has ended, and ``disconnect()`` has run.
            ValueError: The name is reserved, or the frame has more than ``MAX_REPLY`` bytes.
            TypeError: The payload cannot be encoded.
        """
        if not is_undeclared(route, self._pushes):
            route, payload = await aprepare(route, payload, self._pushes)
        await self._peer.push(route, payload, headers)

    async def ask(
        self,
        route: str | Push,
        payload: Any = None,
        *,
        timeout: float = 10.0,
        schema: Any = None,
        headers: Mapping[str, Any] = NO_HEADERS,
    ) -> Any:
        """Ask this client, and wait for its answer.

        The client gets a push with an id and answers with an ``ANSWER``, which is read at once, even on a busy socket.
        The wait is part of the handler's deadline. The answer is what any client may send: validate it.

        Args:
            route: A name or a :class:`~routesock.Push`. A name in the consumer's ``route_pushes`` stands for that push.
            payload: What ``DjangoJSONEncoder`` can encode, or what the schema of the push takes.
            timeout: Seconds to wait. The header ``Timeout`` has them.
            schema: Any schema that ``schema=`` of a route takes, for the answer. By default ``answer=`` of the push.
            headers: Further headers of the frame.

        Returns:
            The payload of the answer, as the schema loads it.

        Raises:
            NoAnswer: The client has not answered in time, or the socket is being closed. It is a ``TimeoutError``.
            AskRefused: The client has answered with an error.
            InvalidAnswer: The schema refuses the answer.
            TooManyAsks: ``MAX_ASKS`` answers of this client are awaited already.
            InvalidPush: The schema of the push refuses the payload. Nothing was sent.
            ValueError: The name is reserved, ``timeout`` is not a positive number, or the frame has more than
                ``MAX_REPLY`` bytes.
            TypeError: The payload cannot be encoded.
            RuntimeError: Sync code asks, in the database thread that all sockets share; see
                ``route_dedicated_threads``. Or the socket is not accepted yet, or the dialect cannot ask.
        """
        if type(timeout) not in (int, float) or not 0 < timeout < math.inf:
            raise ValueError(f"The timeout of an ask must be a positive number of seconds; got {timeout!r}.")
        adapter = answer_schema(route, self._pushes, schema)
        if not is_undeclared(route, self._pushes):
            route, payload = await aprepare(route, payload, self._pushes)
        answer = await self._peer.ask(route, payload, headers, timeout)
        return answer if adapter is None else await load_answer(adapter, answer)

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups that the socket has joined, and of the topics that its client has subscribed to."""
        return self._peer.groups

    async def join(self, group: str) -> None:
        """Join ``group``: what is broadcast to it is pushed to this client, until the socket ends or leaves the group.

        Joining twice has no effect. Before ``connect()`` has returned, pushes of the group wait. These groups are not
        the groups of ``channel_layer.group_add``.

        Args:
            group: Any string.

        Raises:
            Exception: What the channel layer raises.
        """
        await self._peer.join(group)

    async def leave(self, group: str) -> None:
        """Leave ``group``. Never raises, and has no effect on a group that the socket has not joined.

        Args:
            group: The name with which it was joined.
        """
        await self._peer.leave(group)

    async def broadcast(
        self,
        group: str,
        route: str | Push,
        payload: Any = None,
        *,
        exclude_self: bool = False,
        headers: Mapping[str, Any] = NO_HEADERS,
    ) -> None:
        """Send a frame to every socket in ``group``, in all processes, whether this one has joined it or not.

        Args:
            group: The name of the group.
            route: A name or a :class:`~routesock.Push`. A name in the consumer's ``route_pushes`` stands for that push.
            payload: What ``DjangoJSONEncoder`` can encode, or what the schema of the push takes.
            exclude_self: Leave this socket out.
            headers: The frame has the key ``headers`` if there are any.

        Raises:
            InvalidPush: The schema of the push refuses the payload. Nothing was sent.
            ValueError: The name is reserved, or the frame has more than ``MAX_REPLY`` bytes.
            TypeError: The payload cannot be encoded.
            TimeoutError: The channel layer does not answer.
        """
        if not is_undeclared(route, self._pushes):
            route, payload = await aprepare(route, payload, self._pushes)
        await self._peer.broadcast(group, route, payload, headers, exclude_self=exclude_self)

    async def close(
        self, status: int, reason: str = "", *, reconnect: bool | None = None, retry_after: float | None = None
    ) -> None:
        """Send a CLOSE notice and close the socket with the code 4000 + ``status``.

        ``disconnect()`` runs as if the client had left. Called in ``connect()`` instead of ``accept()``, the handshake
        is answered with the HTTP status where the server supports that, else with 403.

        Args:
            status: An HTTP status, 100 to 599.
            reason: A text for the client.
            reconnect: Whether the client should connect again. By default it should after 408, 429 and 5xx.
            retry_after: After how many seconds it should.

        Raises:
            ValueError: ``status`` is not an HTTP status.
        """
        await self._peer.close(ending_for(status, reason, reconnect, retry_after))

    async def reject(
        self, status: int, reason: str = "", *, reconnect: bool | None = None, retry_after: float | None = None
    ) -> None:
        """Accept the socket and close it at once, so that a browser learns the reason; for ``connect()``.

        Call it instead of ``accept()``. Browsers hide the status of a handshake that failed from the page, but not the
        code of a close.

        Args:
            status: An HTTP status, 100 to 599.
            reason: A text for the client.
            reconnect: Whether the client should connect again. By default it should after 408, 429 and 5xx.
            retry_after: After how many seconds it should.

        Raises:
            ValueError: ``status`` is not an HTTP status.
        """
        await self._peer.reject(ending_for(status, reason, reconnect, retry_after))


class SyncSocket:
    """The socket of one client: ``self.socket`` on a sync consumer, with the methods of :class:`Socket`.

    Call them in any thread but that of the event loop. In a handler, :meth:`push` and :meth:`close` do not wait for a
    client that does not read, since other sockets need the thread; in a thread that you started, they do.
    """

    __slots__ = ("_socket",)

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def push(self, route: str | Push, payload: Any = None, *, headers: Mapping[str, Any] = NO_HEADERS) -> None:
        """Send an unsolicited frame to this client; see :meth:`Socket.push`."""
        async_to_sync(self._socket.push)(route, payload, headers=headers)

    def ask(
        self,
        route: str | Push,
        payload: Any = None,
        *,
        timeout: float = 10.0,
        schema: Any = None,
        headers: Mapping[str, Any] = NO_HEADERS,
    ) -> Any:
        """Ask this client, and wait for its answer; see :meth:`Socket.ask`.

        The class needs ``route_dedicated_threads = True``. The thread waits for the client, and the other sockets that
        share it wait, too.
        """
        return async_to_sync(self._socket.ask)(route, payload, timeout=timeout, schema=schema, headers=headers)

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups that the socket has joined, and of the topics that its client has subscribed to."""
        return self._socket.groups

    def join(self, group: str) -> None:
        """Join ``group``; see :meth:`Socket.join`."""
        async_to_sync(self._socket.join)(group)

    def leave(self, group: str) -> None:
        """Leave ``group``; see :meth:`Socket.leave`."""
        async_to_sync(self._socket.leave)(group)

    def broadcast(
        self,
        group: str,
        route: str | Push,
        payload: Any = None,
        *,
        exclude_self: bool = False,
        headers: Mapping[str, Any] = NO_HEADERS,
    ) -> None:
        """Send a frame to every socket in ``group``; see :meth:`Socket.broadcast`."""
        async_to_sync(self._socket.broadcast)(group, route, payload, exclude_self=exclude_self, headers=headers)

    def close(
        self, status: int, reason: str = "", *, reconnect: bool | None = None, retry_after: float | None = None
    ) -> None:
        """Send a CLOSE notice and close the socket; see :meth:`Socket.close`."""
        async_to_sync(self._socket.close)(status, reason, reconnect=reconnect, retry_after=retry_after)

    def reject(
        self, status: int, reason: str = "", *, reconnect: bool | None = None, retry_after: float | None = None
    ) -> None:
        """Accept the socket and close it at once; see :meth:`Socket.reject`."""
        async_to_sync(self._socket.reject)(status, reason, reconnect=reconnect, retry_after=retry_after)


class _Untyped(Protocol):
    """Matches only consumers whose base a type checker does not know, since Channels has no stubs in that project."""

    def __routesock_untyped__(self) -> None: ...


@overload
def socket_of(consumer: _Untyped) -> Any: ...
@overload
def socket_of(consumer: SyncConsumer) -> SyncSocket: ...  # type: ignore[overload-overlap]  # a subclass of AsyncConsumer
@overload
def socket_of(consumer: AsyncConsumer) -> Socket: ...
@overload
def socket_of(consumer: object) -> Any: ...  # a mixin, which may serve either kind
def socket_of(consumer: Any) -> Any:
    """Return the socket of a consumer, also where ``self.socket`` is something else, as the class uses that name.

    Args:
        consumer: A consumer with :class:`~routesock.RouteMixin` that serves a client.

    Returns:
        A :class:`Socket`, or a :class:`SyncSocket` for a sync consumer. It is ``self.socket`` of a class that does not
        use that name itself.

    Raises:
        AttributeError: The consumer is not connected, or has no ``RouteMixin``.
    """
    peer = vars(consumer).get("_routesock_connection")
    if peer is None:
        raise AttributeError(f"{type(consumer).__name__} has no socket: it is not connected.")
    if isinstance(inspect.getattr_static(consumer, "socket"), Socket | SyncSocket | SocketAttribute):
        return consumer.socket
    return _new(peer, consumer)


def _new(peer: Peer, consumer: Any) -> Socket | SyncSocket:
    socket = Socket(peer)
    return SyncSocket(socket) if consumer._sync else socket


class SocketAttribute:
    """The descriptor ``socket`` of a consumer. It makes the socket at the first access and stores it on the consumer.

    An attribute of that name which the consumer sets takes precedence.
    """

    @overload
    def __get__(self, consumer: None, owner: type) -> SocketAttribute: ...
    @overload
    def __get__(self, consumer: _Untyped, owner: type) -> Any: ...
    @overload
    def __get__(self, consumer: SyncConsumer, owner: type) -> SyncSocket: ...
    @overload
    def __get__(self, consumer: AsyncConsumer, owner: type) -> Socket: ...
    @overload
    def __get__(self, consumer: object, owner: type) -> Any: ...  # a mixin, which may serve either kind
    def __get__(self, consumer: Any, owner: type) -> Any:
        if consumer is None:
            return self
        peer = vars(consumer).get("_routesock_connection")
        if peer is None:
            raise AttributeError(f"{owner.__name__} has no socket: it is not connected.")
        consumer.socket = _new(peer, consumer)
        return consumer.socket


def keep_inherited_socket(cls: type) -> None:
    """Keep an attribute ``socket`` that ``cls`` inherits from a class after the mixin, in place of the mixin's."""
    found = [vars(base)["socket"] for base in cls.__mro__ if "socket" in vars(base)]
    if isinstance(found[0], SocketAttribute) and len(found) > 1:
        cls.socket = found[1]  # type: ignore[attr-defined]


if TYPE_CHECKING:

    class AsyncRequest(Request):
        """The request of an async consumer, for annotations: its ``socket`` is a :class:`Socket`."""

        @property
        def socket(self) -> Socket: ...

    class SyncRequest(Request):
        """The request of a sync consumer, for annotations: its ``socket`` is a :class:`SyncSocket`."""

        @property
        def socket(self) -> SyncSocket: ...

else:
    AsyncRequest = SyncRequest = Request
