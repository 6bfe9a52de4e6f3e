"""The application behind the tests of the wire: every kind of handler, schema and failure behind a reply."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import logging
import uuid
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404
from django.urls import path
from marshmallow import Schema, fields, validate

from routesock import Heartbeat, Reply, Request, RouteMixin, route
from routesock.exceptions import Conflict, NotAuthenticated, Throttled

from .life import LifeConsumer
from .topics import TopicsConsumer


class TextSchema(Schema):
    text = fields.Str(required=True, validate=validate.Length(min=1, max=1000))
    room = fields.Str(required=True)


HELD: dict[str, asyncio.Event] = {}


class WireConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    """A class without frames of its own: whatever is no request is refused."""

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=TextSchema)
    async def text(self, request: Request) -> Any:
        return request.payload

    @route("sync")
    def in_thread(self, request: Request) -> Any:
        return request.payload

    @route("created", status=201)
    async def created(self, request: Request) -> Any:
        return {"headers": dict(request.headers)}

    @route("nothing")
    async def nothing(self, request: Request) -> None:
        return None

    @route("reply")
    async def reply(self, request: Request) -> Reply:
        return Reply({"made": True}, status=202, headers={"Location": "/there"})

    @route("types")
    async def types(self, request: Request) -> Any:
        return {
            "when": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
            "price": decimal.Decimal("1.10"),
            "key": uuid.UUID(int=1),
        }

    @route("fail")
    async def fail(self, request: Request) -> None:
        raise FAILURES[request.payload]()

    @route("sync.fail")
    def fail_in_thread(self, request: Request) -> None:
        raise FAILURES[request.payload]()

    @route("result")
    async def result(self, request: Request) -> Any:
        return RESULTS[request.payload]()

    @route("slow", timeout=30)
    async def slow(self, request: Request) -> str:
        await asyncio.sleep(request.payload)
        return "slept"

    @route("held", timeout=30)
    async def held(self, request: Request) -> str:
        """Waits for a ``release`` with the same payload, which another socket sends."""
        HELD[request.payload] = released = asyncio.Event()
        await released.wait()
        return "released"

    @route("release")
    async def release(self, request: Request) -> None:
        HELD.pop(request.payload).set()

    @route("save")
    async def save(self, request: Request) -> None:
        """Waits, tells the client, and only then does what must not be lost."""
        await asyncio.sleep(0.2)
        await self.send_json({"saving": request.payload})
        logging.getLogger(__name__).warning("saved %s", request.payload)

    @route("late", timeout=0.05)
    async def late(self, request: Request) -> str:
        await asyncio.sleep(30)
        return "never"


class SyncWireConsumer(RouteMixin, JsonWebsocketConsumer):
    """The same for the sync family, in short."""

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=TextSchema)
    def text(self, request: Request) -> Any:
        return request.payload

    @route("fail")
    def fail(self, request: Request) -> None:
        raise FAILURES[request.payload]()

    @route("result")
    def result(self, request: Request) -> Any:
        return RESULTS[request.payload]()


class HeartbeatConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    """Closes a client that is silent for a little more than two seconds."""

    route_heartbeat = Heartbeat(interval=0.2, timeout=2)

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    async def disconnect(self, code: int) -> None:
        logging.getLogger(__name__).warning("left with %s", code)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def _circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


SECRET = "SELECT password FROM auth_user"

FAILURES: dict[str, Any] = {
    "not_authenticated": NotAuthenticated,
    "permission_denied": DjangoPermissionDenied,
    "http404": Http404,
    "missing": lambda: ObjectDoesNotExist(SECRET),
    "invalid": lambda: ValidationError({"text": ["Too rude."]}),
    "conflict": lambda: Conflict("Taken."),
    "throttled": lambda: Throttled(wait=1.2),
    "exception": lambda: RuntimeError(SECRET),
    "timeout": lambda: TimeoutError(SECRET),
    "exit": lambda: SystemExit(3),
    "interrupt": lambda: KeyboardInterrupt(SECRET),
    "generator_exit": lambda: GeneratorExit(SECRET),
    "cancelled": lambda: asyncio.CancelledError(SECRET),
    "stop_iteration": lambda: StopIteration(SECRET),
    "unprintable": Unprintable,
}

RESULTS: dict[str, Any] = {
    "object": object,
    "set": lambda: {1},
    "nan": lambda: float("nan"),
    "infinity": lambda: {"deep": [float("inf")]},
    "circular": _circular,
    "large": lambda: "x" * 1_000_001,
    "key": lambda: {(1, 2): 3},
}

application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("ws/", WireConsumer.as_asgi()),
                path("sync/", SyncWireConsumer.as_asgi()),
                path("life/", LifeConsumer.as_asgi()),
                path("topics/", TopicsConsumer.as_asgi()),
                path("heartbeat/", HeartbeatConsumer.as_asgi()),
            ]
        )
    }
)
