"""Users, and a consumer with one guarded route."""

from __future__ import annotations

from typing import Any, Final

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User

from routesock import Request, RouteMixin, route
from routesock.testing import ClientReply, RouteClient

ALICE: Final = User(pk=1, username="alice")
STAFF: Final = User(pk=2, username="staff", is_staff=True)

handled: Final[list[Any]] = []
"""The payloads that reached a handler; :func:`asked` empties it."""


def guarded(*permissions: Any, **options: Any) -> Any:
    """A consumer whose route ``ask`` has these permissions."""
    return _consumer(options, permissions=permissions)


def unsaid(**options: Any) -> Any:
    """A consumer whose route ``ask`` has no word about permissions."""
    return _consumer(options)


def _consumer(options: dict[str, Any], **of_route: Any) -> Any:
    """``options`` are those of the route, the base, and what else the class shall have."""
    of_route |= {name: options.pop(name) for name in ("schema", "hydrate", "dehydrate") if name in options}

    @route("ask", **of_route)
    async def ask(self: Any, request: Request) -> str:
        handled.append(request.payload)
        return "answered"

    return type("Guarded", (RouteMixin, options.pop("base", AsyncJsonWebsocketConsumer)), {"ask": ask, **options})


async def asked(
    consumer: Any, payload: Any = None, *, user: Any = None, raise_exceptions: bool = True, **options: Any
) -> ClientReply:
    """The one reply to one request, having seen that the handler ran if, and only if, it is a success."""
    handled.clear()
    async with RouteClient(consumer, as_user=user, raise_exceptions=raise_exceptions, timeout=30, **options) as client:
        reply = await client.call("ask", payload)
    assert len(handled) == (1 if reply.status < 400 else 0)
    return reply


async def status(consumer: Any, payload: Any = None, *, user: Any = None) -> int:
    return (await asked(consumer, payload, user=user)).status
