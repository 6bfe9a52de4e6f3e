"""What the published clients talk to: a demultiplexer of DCRF consumers, and JSON-RPC with and without a handshake."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channelsmultiplexer import AsyncJsonWebsocketDemultiplexer
from django.urls import path
from marshmallow import Schema, fields

from routesock import Event, Request, RouteMixin, asend_event, broadcast, event, route
from routesock.auth import Credentials, HandshakeMiddleware, Identity
from routesock.dialects import Dcrf
from routesock.exceptions import NotFound, PermissionDenied

from .json_rpc import Calculator


class TodoData(Schema):
    title = fields.Str(required=True)


class TodoSchema(Schema):
    data = fields.Nested(TodoData, required=True)


class Todos(RouteMixin, AsyncJsonWebsocketConsumer):
    """The actions of DCRF's model consumers as routes, over objects in memory."""

    route_dialect = Dcrf()
    todos: dict[int, dict[str, Any]] = {}

    async def connect(self) -> None:
        self.subscribed: dict[int, set[Any]] = {}
        await self.accept()

    @route("list")
    async def list(self, request: Request) -> Any:
        return [*self.todos.values()]

    @route("create", schema=TodoSchema, status=201)
    async def create(self, request: Request) -> Any:
        pk = max(self.todos, default=0) + 1
        self.todos[pk] = {"pk": pk, **request.payload["data"]}
        return self.todos[pk]

    @route("retrieve")
    async def retrieve(self, request: Request) -> Any:
        return self._todo(request)

    @route("update")
    @route("patch")
    async def patch(self, request: Request) -> Any:
        todo = self._todo(request)
        todo.update(request.payload["data"])
        await asend_event(f"todo {todo['pk']}", "todo.changed", {"action": "update", "data": todo})
        return todo

    @route("delete")
    async def delete(self, request: Request) -> Any:
        pk = self._todo(request)["pk"]
        del self.todos[pk]
        await asend_event(f"todo {pk}", "todo.changed", {"action": "delete", "data": {"pk": pk}})

    @route("forbidden")
    async def forbidden(self, request: Request) -> Any:
        raise PermissionDenied

    @route("broken")
    async def broken(self, request: Request) -> Any:
        raise RuntimeError("A fault of the server.")

    @route("subscribe_instance", status=201)
    async def subscribe_instance(self, request: Request) -> Any:
        pk = self._todo(request)["pk"]
        self.subscribed.setdefault(pk, set()).add(request.id)
        await self.socket.join(f"todo {pk}")

    @event("todo.changed")
    async def todo_changed(self, event: Event) -> None:
        change = event.payload
        for request_id in self.subscribed[change["data"]["pk"]]:
            await self.socket.push(change["action"], change["data"], headers={"Request-Id": request_id})

    @route("drop")
    async def drop(self, request: Request) -> Any:
        """The server goes away, and its clients come back."""
        await self.socket.close(503)

    def _todo(self, request: Request) -> dict[str, Any]:
        todo = self.todos.get(request.payload["pk"])
        if todo is None:
            raise NotFound
        return todo


class Legacy(AsyncJsonWebsocketConsumer):
    """A consumer without the mixin beside the other one, which answers as DCRF does."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        reply = {"errors": [], "data": "legacy", "response_status": 200}
        await self.send_json({**reply, "action": content["action"], "request_id": content["request_id"]})


class Streams(AsyncJsonWebsocketDemultiplexer):
    applications = {"todos": Todos.as_asgi(), "legacy": Legacy.as_asgi()}


class OneStream(AsyncJsonWebsocketDemultiplexer):
    """The socket ends with its only stream."""

    applications = {"todos": Todos.as_asgi()}


class Rpc(Calculator):
    """What the tests of rpc-websockets call, beside the methods of the specification's examples."""

    @route("divide")
    async def divide(self, request: Request) -> Any:
        dividend, divisor = request.payload
        return dividend / divisor

    @route("forbidden")
    async def forbidden(self, request: Request) -> Any:
        raise PermissionDenied

    @route("publish")
    async def publish(self, request: Request) -> Any:
        await asyncio.to_thread(broadcast, "news", "headline", request.payload)

    @route("drop")
    async def drop(self, request: Request) -> Any:
        await self.socket.close(503, "Back in a moment.")


class Account:
    """A user without a database."""

    is_authenticated = True
    is_active = True
    pk = username = "ada"


async def who(credentials: Credentials) -> Identity | None:
    return Identity(Account()) if credentials.token == "ada's token" else None


application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("streams/", Streams.as_asgi()),
                path("one-stream/", OneStream.as_asgi()),
                path("rpc/", Rpc.as_asgi()),
                path("rpc/login/", HandshakeMiddleware(Rpc.as_asgi(), authenticators=[who], lock=0)),
            ]
        )
    }
)
