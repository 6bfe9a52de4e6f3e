"""The consumers that the TypeScript client talks to over real servers."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth.models import User
from django.urls import path
from marshmallow import Schema, fields

import routesock
from routesock import Heartbeat, Keys, Reply, Request, RouteMixin, route, topic
from routesock.auth import Credentials, HandshakeMiddleware, Identity, TokenMiddleware
from routesock.exceptions import PermissionDenied, Throttled
from routesock.permissions import BasePermission

RUNS = Path(os.environ["RUNS_FILE"]) if "RUNS_FILE" in os.environ else None
"""Where the route ``record`` writes each of its runs, so that they are counted over restarts."""

STATIC = Path(routesock.__file__).parent / "static" / "routesock"

WAITING: list[Any] = []
"""Payloads of ``wait``, since each was begun."""

CANCELLED: list[Any] = []
"""What was cancelled before it had ended: payloads of ``wait`` and ``ticks``."""

CLOSED_ROOMS: set[str] = set()


class PairSchema(Schema):
    a = fields.Integer(required=True)
    b = fields.Integer(required=True)


class IsOpen(BasePermission):
    def has_permission(self, request: Request) -> bool:
        return request.topic not in CLOSED_ROOMS


class ClientConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    route_hello = True

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("add", schema=PairSchema)
    async def add(self, request: Request) -> Reply:
        return Reply(request.payload["a"] + request.payload["b"], status=201, headers={"Location": "sum"})

    @route("headers")
    async def headers(self, request: Request) -> Any:
        return dict(request.headers)

    @route("wait", parallel=True)
    async def wait(self, request: Request) -> Any:
        try:
            WAITING.append(request.payload)
            await asyncio.sleep(request.payload)
        except asyncio.CancelledError:
            CANCELLED.append(request.payload)
            raise
        return request.payload

    @route("ordered")
    async def ordered(self, request: Request) -> Any:
        await asyncio.sleep(request.payload)
        return request.payload

    @route("waiting")
    async def waiting(self, request: Request) -> Any:
        return WAITING

    @route("cancelled")
    async def cancelled(self, request: Request) -> Any:
        return CANCELLED

    @route("count")
    async def count(self, request: Request) -> AsyncIterator[Any]:
        for number in range(request.payload):
            yield number

    @route("ticks")
    async def ticks(self, request: Request) -> AsyncIterator[Any]:
        try:
            for number in itertools.count():
                yield number
                await asyncio.sleep(0.01)
        finally:
            CANCELLED.append(request.payload)

    @route("fails")
    async def fails(self, request: Request) -> AsyncIterator[Any]:
        yield 0
        raise PermissionDenied

    @route("throttled")
    async def throttled(self, request: Request) -> None:
        raise Throttled(wait=3)

    @route("record", parallel=True)
    async def record(self, request: Request) -> Any:
        assert RUNS is not None
        with RUNS.open("a") as runs:
            runs.write(f"{request.payload}\n")
        await asyncio.sleep(0.05)
        return request.payload

    @route("close")
    async def close_socket(self, request: Request) -> None:
        await self.socket.close(request.payload["with"], "As you wish.")

    @route("drop")
    async def drop(self, request: Request) -> None:
        """Closes as a proxy does: without a notice."""
        await AsyncJsonWebsocketConsumer.close(self, request.payload["with"])

    @route("me")
    async def me(self, request: Request) -> str:
        return request.user.get_username()

    @topic("room.{name}", permissions=[IsOpen], recheck=True)
    async def room(self, request: Request) -> Any:
        return {"room": request.topic}

    @topic("log.{name}", permissions=[], recover=True)
    async def log(self, request: Request) -> Any:
        return {"log": request.topic}

    @route("say")
    async def say(self, request: Request) -> None:
        await self.socket.broadcast(request.payload["room"], "said", request.payload["text"])

    @route("close.room")
    async def close_room(self, request: Request) -> None:
        CLOSED_ROOMS.add(request.payload)


class FlatConsumer(ClientConsumer):
    route_hello = False
    route_dialect = Keys(route="action", id="request_id", payload=None)


class CamelConsumer(ClientConsumer):
    route_dialect = Keys(camelize=True)


class NoIdsConsumer(ClientConsumer):
    route_hello = False
    route_dialect = Keys(id=None)


class WatchedConsumer(ClientConsumer):
    """Closes a client that does not answer its PINGs."""

    route_heartbeat = Heartbeat(interval=0.2, timeout=2)


async def authenticate(credentials: Credentials) -> Identity | None:
    """Knows the tokens ``NAME-SECONDS``, and ``NAME`` for one that does not end."""
    name, _, seconds = credentials.token.partition("-")
    if name == "wrong":
        return None
    return Identity(User(pk=1, username=name), expires=time.time() + float(seconds) if seconds else None)


PAGE = b"""<!doctype html>
<title>A page with a socket</title>
<link rel="icon" href="data:,">
<script type="module">
  import { Routesock } from "/client.js";
  window.states = [];
  window.socket = new Routesock("/ws/", { random: () => 1 });
  socket.onState((state) => states.push(state));
  socket.connect();
  addEventListener("pageshow", (event) => (window.restored = event.persisted));
</script>
"""


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """A page that opens a socket, the client as a module, and a page without both."""
    if scope["path"] == "/client.js":
        kind, body = b"text/javascript", (STATIC / "client.js").read_bytes()
    else:
        kind, body = b"text/html", PAGE if scope["path"] == "/" else b"<!doctype html><title>Another page</title>"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": URLRouter(
            [
                path("ws/", ClientConsumer.as_asgi()),
                path("flat/", FlatConsumer.as_asgi()),
                path("camel/", CamelConsumer.as_asgi()),
                path("no-ids/", NoIdsConsumer.as_asgi()),
                path("watched/", WatchedConsumer.as_asgi()),
                path(
                    "handshake/",
                    HandshakeMiddleware(ClientConsumer.as_asgi(), authenticators=[authenticate], lock=0),
                ),
                path("token/", TokenMiddleware(ClientConsumer.as_asgi(), [authenticate], lock=0)),
            ]
        ),
    }
)
