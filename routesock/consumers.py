"""RouteMixin: the class that takes over reading frames from a Channels consumer."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from logging import INFO
from typing import TYPE_CHECKING, Any, ClassVar, Final

from channels.consumer import AsyncConsumer
from channels.layers import get_channel_layer
from django.utils.module_loading import import_string

from . import conf
from ._compat import sync_function
from ._connection.connection import Connection
from ._groups.channel_reader import new_channel
from ._groups.layer_membership import Membership, RememberingLayer
from ._pipeline.compiler import ConsumerPlan, check_bases, compile_consumer, not_a_consumer, with_overrides
from ._routing import class_options
from ._routing.class_options import Heartbeat
from ._routing.push import Push
from ._runtime import database, instrumentation, shutdown
from ._runtime.clients import TOO_MANY, take_slot
from .auth._handshake.inner_application import GATE, Gate
from .dialects import Dialect, Keys
from .socket import SocketAttribute, keep_inherited_socket, socket_of
from .status import Ending, restart_ending
from .throttling import Throttle
from .typing import UNSET, Unset


class ChannelName:
    """The descriptor ``channel_name`` of a consumer. Its first access starts the task that reads the channel.

    Nothing can be sent to a channel whose name was never read, so a socket without it needs no such task.
    """

    def __get__(self, consumer: Any, owner: type) -> Any:
        if consumer is None:
            return self
        connection = vars(consumer).get("_routesock_connection")
        name = None if connection is None else connection.listen()
        if name is None:
            raise AttributeError(f"{owner.__name__!r} object has no attribute 'channel_name'")
        consumer.channel_name = name
        return name


class ChannelLayer:
    """The attribute ``channel_layer`` of a consumer, which remembers the groups of the consumer's own channel.

    It is made when it is first used, as most sockets use no groups of Channels' own.
    """

    def __get__(self, consumer: Any, owner: type) -> Any:
        if consumer is None:
            return self
        connection = vars(consumer).get("_routesock_connection")
        membership = None if connection is None else connection.membership
        if membership is None:
            raise AttributeError(f"{owner.__name__!r} object has no attribute 'channel_layer'")
        consumer.channel_layer = RememberingLayer(membership)
        return consumer.channel_layer


class _CompiledPlan:
    """The descriptor ``_routesock`` of a consumer class: its plan.

    A class is compiled when it is created, so that errors show then. Where a base in front of the mixin has an
    ``__init_subclass__`` that calls no ``super()``, the class is compiled at the first access.

    It is ``None`` for a mixin that is not combined with a consumer yet, and raises no ``AttributeError``: metaclasses,
    such as that of DCRF's observers, read all attributes that ``dir()`` names.
    """

    def __get__(self, consumer: Any, owner: type) -> Any:
        return vars(owner).get("_routesock_plan") or _compile(owner)


def _compile(cls: Any) -> ConsumerPlan | None:
    """Compile ``cls`` and store its plan; returns ``None`` for a mixin that is not combined with a consumer yet."""
    if not check_bases(cls, RouteMixin):
        return None
    cls._routesock_plan = plan = compile_consumer(cls)
    keep_inherited_socket(cls)
    plan.attributes.extend(dict(vars(base)) for base in cls.__mro__)
    return plan


def refresh_plan(cls: Any) -> None:
    """Compile ``cls`` again if it, or a base, has changed since it was created; called before it is first served.

    A class decorator or other code may have set an option or a method on it.

    Raises:
        RouteSetupError: What was set cannot work.
    """
    if any(map(_differs, cls.__mro__, cls._routesock.attributes)):
        _compile(cls)


def _differs(cls: type, before: dict[str, Any]) -> bool:
    """Return whether an option or a method of ``cls`` is not what it was."""
    now = vars(cls)
    changed = (name for name in now.keys() | before.keys() if now.get(name, UNSET) is not before.get(name, UNSET))
    # Python adds names such as __annotations__ when they are first read.
    return any(not name.startswith(("__", "_routesock_")) for name in changed)


class RouteMixin:
    """Routes frames to the methods of a WebSocket consumer that are decorated with :func:`~routesock.route`.

    Write it in front of the consumer class, async or sync::

        class ChatConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("chat.send", schema=SendSchema)
            async def send_message(self, request): ...

    Everything else stays with the consumer: ``connect``, ``disconnect``, groups, channel-layer handlers, and every
    frame that names no route. The attributes ``route_*`` below are options; set them on your class.

    Raises:
        RouteSetupError: When the class is created, for an option or a declaration that cannot work.
    """

    route_prefix: ClassVar[str] = ""
    """A prefix for the name of every route."""

    route_dialect: ClassVar[Dialect] = Keys()
    """The format of frames, a :class:`~routesock.Dialect`."""

    route_permissions: ClassVar[Sequence[Any] | Unset] = UNSET
    """Permissions for routes that declare none. ``()`` allows everyone. The default is the setting ``PERMISSIONS``."""

    route_timeout: ClassVar[float | Unset | None] = UNSET
    """The deadline of handlers in seconds, ``None`` for none. The default is the setting ``TIMEOUT``."""

    route_middleware: ClassVar[Sequence[Callable[..., Any]]] = ()
    """Functions ``async def m(request, call_next)`` that surround every request: its permissions,
    throttles, schema, hooks and handler."""

    route_disconnect_grace: ClassVar[float | Unset] = UNSET
    """The time in seconds that a running handler may go on after its client has left. The default is the setting
    ``DISCONNECT_GRACE``."""

    route_concurrency: ClassVar[int | Unset] = UNSET
    """The number of requests of ``parallel=True`` routes and streams that one socket may run at the same time. The
    default is the setting ``CONCURRENCY``."""

    route_max_frame: ClassVar[int | Unset] = UNSET
    """The largest frame of a client in bytes of UTF-8. The default is the setting ``MAX_FRAME``."""

    route_hello: ClassVar[bool] = False
    """Whether the client is sent a HELLO when the socket is accepted, with the version of the protocol and the limits
    of the connection."""

    route_overflow: ClassVar[str | Unset] = UNSET
    """The policy for a slow client with too many waiting frames. ``"close"`` closes the socket, ``"drop"`` drops the
    oldest push. The default is the setting ``OVERFLOW``."""

    route_foreign_errors: ClassVar[str] = "reply"
    """The effect of an exception in the consumer's own code on the socket. ``"reply"`` logs it and answers 500.
    ``"close"`` ends the socket with it, as Channels does."""

    route_dedicated_threads: ClassVar[bool] = False
    """Whether the sync work of each socket, queries above all, runs in one of ``DB_THREADS`` dedicated threads instead
    of the database thread that all sockets share."""

    route_thread_context: ClassVar[Callable[[Any], AbstractContextManager[Any]] | None] = None
    """A function that takes the consumer and returns a context manager, for the schema of a tenant, a role or a current
    user. It is entered in the database thread around each piece of sync work of the socket, Django's async ORM
    included."""

    route_heartbeat: ClassVar[Heartbeat | None] = None
    """When the server sends a PING and how long it waits for a sign of life, ``None`` for never."""

    route_idle_timeout: ClassVar[float | Unset | None] = UNSET
    """The time in seconds after which a socket is closed whose client sends nothing but PING and PONG, ``None`` for
    never. The default is the setting ``IDLE_TIMEOUT``."""

    route_anonymous_timeout: ClassVar[float | Unset | None] = UNSET
    """The time in seconds that a client has to sign in, ``None`` for no limit. The default is the setting
    ``ANONYMOUS_TIMEOUT``."""

    route_ends_with_session: ClassVar[bool | Unset] = UNSET
    """Whether a socket is closed when its user logs out or is no longer allowed to sign in. The default is the setting
    ``END_WITH_SESSION``."""

    route_revalidate_interval: ClassVar[float | None] = None
    """The time in seconds between two look-ups of the user and the session of a socket, ``None`` for no look-ups."""

    route_throttle: ClassVar[str | Throttle | Sequence[str | Throttle]] = ()
    """The rate at which all routes of the class together may be called, such as ``"100/min"``. It is a rate, a
    :class:`~routesock.Throttle`, or a list of them, and applies in addition to ``throttle=`` of each route."""

    route_connection_throttle: ClassVar[str | Throttle | Sequence[str | Throttle]] = ()
    """The rate at which a client may open sockets; takes the same values as ``route_throttle``."""

    route_pushes: ClassVar[Sequence[Push]] = ()
    """The pushes that the consumer sends. ``self.socket.push`` and ``self.socket.broadcast`` look names up in it. A
    class adds to the pushes of its bases, and overrides them by name. Documents of a class that lists none have every
    push that its app declares."""

    route_summary: ClassVar[str] = ""
    """One line about the consumer, for documents. The default is the first sentence of the docstring of the class."""

    socket: SocketAttribute = SocketAttribute()
    """The :class:`~routesock.socket.Socket` on an async consumer. On a sync consumer it is a
    :class:`~routesock.socket.SyncSocket`, whose methods block."""

    if TYPE_CHECKING:
        channel_layer: Any
        channel_name: str
    else:
        channel_layer = ChannelLayer()
        channel_name = ChannelName()

        @classmethod
        def as_asgi(cls, **initkwargs: Any) -> Any:
            """Return an ASGI application that makes a consumer for each socket; see Channels.

            Args:
                initkwargs: Arguments of the consumer's ``__init__``. Options ``route_*`` are not among them.

            Raises:
                RouteSetupError: One of them is an option, which would have no effect.
            """
            for name in initkwargs:
                if name.startswith("route_"):
                    class_options.check_late(cls, RouteMixin, name, f"{cls.__name__}.as_asgi({name}=...)")
            return super().as_asgi(**initkwargs)

    _routesock: Final = _CompiledPlan()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _compile(cls)

    # The parameters are Any for type checkers' sake: a user's class also has Channels' signature.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket, as ``AsyncConsumer.__call__`` does, but with routesock's way of reading frames."""
        consumer: Any = self
        if not issubclass(type(self), AsyncConsumer):
            raise not_a_consumer(type(self), type(self))
        if scope["type"] != "websocket":  # Channels raises, which servers rely on for "lifespan"
            await super().__call__(scope, receive, send)  # type: ignore[misc]
            return
        if "_routesock_connection" in vars(self):
            raise RuntimeError(
                f"One {type(self).__name__} serves two sockets, which would answer each other's requests. "
                f"Route to {type(self).__name__}.as_asgi(), which makes one for each."
            )
        for name in vars(self):
            if name.startswith("route_"):
                class_options.check_late(type(self), RouteMixin, name, f"self.{name} = ...")
        refresh_plan(type(self))
        type(self)._routesock.attributes.clear()
        consumer._routesock_connection = None
        consumer.scope = scope
        at_end: list[Callable[[], None]] = []  # an ExitStack would take 1 KiB for as long as the socket is open
        try:
            await _serve(consumer, with_overrides(type(self)._routesock, consumer), receive, send, at_end)
        finally:
            for release in reversed(at_end):
                release()


async def _serve(
    consumer: Any, compiled: ConsumerPlan, receive: Any, send: Any, at_end: list[Callable[[], None]]
) -> None:
    """Serve the socket of ``consumer``. Functions that release what it holds are added to ``at_end``."""
    context = contextvars.copy_context()
    sockets = shutdown.sockets()
    gate: Gate | None = consumer.scope.get(GATE)
    if gate is not None:
        gate.enter(consumer.scope)
    consumer.channel_layer = layer = get_channel_layer(consumer.channel_layer_alias)
    if compiled.thread_context is not None:
        database.set_thread_context(context, partial(compiled.thread_context, consumer))
    ending = await _refused(consumer, compiled, gate, at_end, context)
    if conf.checks_replies():
        # By its name: a socket that is not checked must not import it, and it is above this module.
        send = import_string("routesock._asyncapi.conformance.checked_send")(consumer, send)
    membership = None if layer is None or ending is not None else Membership(layer, await new_channel(layer))
    connection = Connection(consumer, compiled, receive, membership, send, context, gate, socket_of=socket_of)
    consumer._routesock_connection = connection
    if membership is not None:
        _set_channel(consumer, membership, connection)
    consumer.base_send = sync_function(connection.send) if compiled.sync else connection.send
    if ending is None and sockets.draining:
        ending = restart_ending(sockets.retry_after())
    if ending is not None:
        await _close_at_once(consumer, connection, receive, ending)
        return
    thread = database.take_dedicated_thread(context) if compiled.dedicated_threads else None
    if thread is not None:
        at_end.append(partial(database.release_dedicated_thread, thread))
    sockets.add(connection)
    if layer is not None and (presence := (id(layer), id(asyncio.get_running_loop()))) not in sockets.presences:
        sockets.presences[presence] = layer, _presence_on(layer)
    at_end.append(partial(sockets.discard, connection))
    await connection.serve()


def _presence_on(layer: Any) -> Callable[[], None]:
    """Answer operators who ask for open sockets through ``layer``; returns what ends that."""
    if not conf.in_census():
        return _do_nothing
    # By its name, as above: it is above this module, and a project without operators must not import it.
    leave: Callable[[], None] = import_string("routesock._groups.census.be_present")(layer)
    return leave


def _do_nothing() -> None:
    pass


async def _close_at_once(consumer: Any, connection: Connection, receive: Any, ending: Ending) -> None:
    """Accept a socket only to close it, so that browsers can read the reason."""
    instrumentation.log_socket(INFO, consumer, "A socket is closed with %d: %s", ending.code, ending.reason)
    try:
        await receive()
        await connection.reject(ending)
    finally:
        connection.stop(None)
    await connection.end()


async def _refused(
    consumer: Any,
    compiled: ConsumerPlan,
    gate: Gate | None,
    at_end: list[Callable[[], None]],
    context: contextvars.Context,
) -> Ending | None:
    """Take a slot for the socket of ``consumer``; returns how to close it if that is not possible."""
    slot = take_slot(consumer.scope)
    if slot is None:
        return TOO_MANY
    if slot.is_counted or gate is not None:
        at_end.append(slot.give_back)
    if gate is None:
        check = compiled.connection_check.ending(consumer)
        if compiled.thread_context is None:
            return await check
        return await asyncio.get_running_loop().create_task(check, context=context.copy())
    gate.keep(slot)  # the socket is counted for its user, and throttled, once the client has passed
    return None


def _set_channel(consumer: Any, membership: Membership, connection: Connection) -> None:
    """Give ``consumer`` what Channels gives it for its channel, over attributes of its class as under Channels."""
    consumer.channel_receive = partial(membership.layer.receive, membership.channel)
    if isinstance(type(consumer).channel_layer, ChannelLayer):
        del consumer.channel_layer
    else:
        consumer.channel_layer = RememberingLayer(membership)
    if not isinstance(type(consumer).channel_name, ChannelName):
        consumer.channel_name = connection.listen()
