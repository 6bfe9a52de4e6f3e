"""The mixin: the only class that overrides something of Channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from .connection import Connection
from .dialects import Dialect, Keys
from .membership import Membership, RememberingLayer
from .overrides import Compiled, check_bases, compile_consumer
from .typing import UNSET, Unset


class RouteMixin:
    """Put it in front of a WebSocket consumer, async or sync, and frames that name a route go to the marked methods.

    Everything else stays with the consumer: ``connect``, ``disconnect``, groups, channel-layer handlers, and each frame
    that names no route. A wrong declaration raises :class:`~routesock.exceptions.RouteSetupError` when the class is
    created.
    """

    route_prefix: ClassVar[str] = ""
    """Stands in front of the name of every route."""

    route_dialect: ClassVar[Dialect] = Keys()
    """How frames are spelt."""

    route_timeout: ClassVar[float | Unset | None] = UNSET
    """Seconds that a handler may take; ``None``: no limit. Without it the setting ``TIMEOUT`` holds."""

    route_middleware: ClassVar[Sequence[Callable[..., Any]]] = ()
    """``async def m(request, call_next)``, around every handler."""

    route_disconnect_grace: ClassVar[float | Unset] = UNSET
    """Seconds that a running handler has to end once the client is gone. Without it ``DISCONNECT_GRACE`` holds."""

    _routesock: ClassVar[Compiled]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if check_bases(cls, RouteMixin):
            cls._routesock = compile_consumer(cls)

    # The parameters are Any for type checkers' sake: a user's class has Channels' own signature beside this one.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket: what ``AsyncConsumer.__call__`` sets up, with our own way of reading frames."""
        consumer: Any = self
        if scope["type"] != "websocket":  # Channels says what it thinks of it, which servers rely on for "lifespan"
            await super().__call__(scope, receive, send)  # type: ignore[misc]
            return
        if "scope" in vars(self):
            raise RuntimeError(
                f"One {type(self).__name__} serves two sockets, which would answer each other's requests. "
                f"Route to {type(self).__name__}.as_asgi(), which makes one for each."
            )
        consumer.scope = scope
        consumer.channel_layer = get_channel_layer(consumer.channel_layer_alias)
        membership = None
        if consumer.channel_layer is not None:
            consumer.channel_name = await consumer.channel_layer.new_channel()
            membership = Membership(consumer.channel_layer, consumer.channel_name)
            consumer.channel_layer = RememberingLayer(membership)
            consumer.channel_receive = membership.receive
        connection = Connection(consumer, type(self)._routesock, receive, membership, send)
        consumer.base_send = async_to_sync(connection.send) if consumer._sync else connection.send
        await connection.serve()
