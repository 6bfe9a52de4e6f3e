"""``self.socket`` on a consumer: what its code does with the socket that no request asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from asgiref.sync import async_to_sync

from ._routing.push import Push, aspoken, is_plain
from ._wire.messages import NO_HEADERS
from .status import Ending, ending_for


class Groups(Protocol):
    """The groups of that connection."""

    @property
    def groups(self) -> frozenset[str]: ...

    async def join(self, name: str) -> None: ...

    async def leave(self, name: str) -> None: ...

    async def broadcast(
        self, name: str, route: str, payload: Any, headers: Mapping[str, Any], *, exclude_self: bool
    ) -> None: ...


class Peer(Protocol):
    """The connection behind a socket."""

    async def push(self, route: str, payload: Any, headers: Mapping[str, Any]) -> None: ...

    def member(self) -> Groups: ...

    async def close(self, ending: Ending) -> None: ...

    async def reject(self, ending: Ending) -> None: ...


class Socket:
    """The socket of one client, as ``self.socket`` of an async consumer."""

    __slots__ = ("_peer",)

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def push(self, route: str | Push, payload: Any = None, *, headers: Mapping[str, Any] = NO_HEADERS) -> None:
        """Send a frame that nobody asked for: ``route``, ``payload``, and ``headers`` if there are any.

        ``route`` is a name or a :class:`~routesock.Push`; under a declared name ``payload`` is what its schema takes.
        Waits while the client does not read what was sent before; what happens when too much waits is said by
        ``route_overflow``. Does nothing once the socket is being closed.

        Raises ``ValueError`` for a reserved name or a frame over ``MAX_REPLY`` bytes, what encoding the payload raises,
        and :class:`~routesock.exceptions.InvalidPush` where the payload does not fit a declared push.
        """
        if not is_plain(route):
            route, payload = await aspoken(route, payload)
        await self._peer.push(route, payload, headers)

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups that the socket has joined, and of the topics that its client has subscribed to."""
        return self._peer.member().groups

    async def join(self, group: str) -> None:
        """Be sent what is broadcast to ``group``, any string, until the socket ends or leaves it.

        Frames wait for ``connect()`` to return, and then for nothing that the socket is busy with. Joining twice is
        joining once. Raises what the channel layer raises.

        These groups are not those of ``channel_layer.group_add``: a broadcast reaches who has joined here.
        """
        await self._peer.member().join(group)

    async def leave(self, group: str) -> None:
        """The opposite of :meth:`join`. Raises nothing."""
        await self._peer.member().leave(group)

    async def broadcast(
        self,
        group: str,
        route: str | Push,
        payload: Any = None,
        *,
        exclude_self: bool = False,
        headers: Mapping[str, Any] = NO_HEADERS,
    ) -> None:
        """Send a frame to every socket in ``group``, in all processes; whether this one is in it or not.

        ``exclude_self`` leaves this socket out. The rest is as with :func:`routesock.abroadcast`.
        """
        if not is_plain(route):
            route, payload = await aspoken(route, payload)
        await self._peer.member().broadcast(group, route, payload, headers, exclude_self=exclude_self)

    async def close(
        self, status: int, reason: str = "", *, reconnect: bool | None = None, retry_after: float | None = None
    ) -> None:
        """Close the socket with the code 4000 + ``status``, an HTTP status, after a CLOSE notice that says the same.

        ``reconnect`` tells the client whether to come back; as it comes, after 408, 429 and 5xx. ``retry_after`` are
        the seconds in which. ``disconnect()`` runs as if the client had left. ``ValueError`` for any other status.

        In ``connect()``, in place of ``accept()``, there is no socket yet: the handshake is answered with that status
        where the server can do so, else with 403.
        """
        await self._peer.close(ending_for(status, reason, reconnect, retry_after))

    async def reject(
        self, status: int, reason: str = "", *, reconnect: bool | None = None, retry_after: float | None = None
    ) -> None:
        """In ``connect()``, in place of ``accept()``: accept the socket only to close it, as :meth:`close` does.

        Browsers tell a page nothing of a handshake that failed, but what a socket was closed with.
        """
        await self._peer.reject(ending_for(status, reason, reconnect, retry_after))


class SyncSocket:
    """The same for a sync consumer, whose code runs in a thread: the methods of :class:`Socket`, blocking."""

    __slots__ = ("_socket", "broadcast", "close", "join", "leave", "push", "reject")

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.push = async_to_sync(socket.push)
        self.join = async_to_sync(socket.join)
        self.leave = async_to_sync(socket.leave)
        self.broadcast = async_to_sync(socket.broadcast)
        self.close = async_to_sync(socket.close)
        self.reject = async_to_sync(socket.reject)

    @property
    def groups(self) -> frozenset[str]:
        """As that of :class:`Socket`."""
        return self._socket.groups


class Accessor:
    """The attribute ``socket`` of a consumer, made when it is first asked for; one that a consumer sets replaces it."""

    def __get__(self, consumer: Any, owner: type) -> Any:
        if consumer is None:
            return self
        peer = vars(consumer).get("_routesock_connection")
        if peer is None:
            raise AttributeError(f"{owner.__name__} has no socket: it serves none.")
        socket = Socket(peer)
        consumer.socket = SyncSocket(socket) if consumer._sync else socket
        return consumer.socket


def give_way(cls: type) -> None:
    """An attribute ``socket`` that ``cls`` inherits from a class behind the mixin stays what it was without it."""
    found = [vars(base)["socket"] for base in cls.__mro__ if "socket" in vars(base)]
    if isinstance(found[0], Accessor) and len(found) > 1:
        cls.socket = found[1]  # type: ignore[attr-defined]
