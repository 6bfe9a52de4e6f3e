"""An application with everything that a document can meet."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pydantic
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.urls import path, re_path
from marshmallow import EXCLUDE, Schema, fields, validate
from rest_framework import serializers

from routesock import Heartbeat, Keys, Push, Reply, Request, RouteMixin, route, topic
from routesock.auth import Credentials, HandshakeMiddleware, TokenMiddleware
from routesock.dialects import Chanx, Dcrf, Dialect, Frame, JsonRpc, Wsx
from routesock.exceptions import Conflict
from routesock.permissions import IsAuthenticated

paths: Any = path  # by their types, both take views alone
re_paths: Any = re_path

SCRIPT = "<script>alert('zoo')</script>"

UUID = "0b4e9e5a-6a0c-4d1c-9b56-6a4d3f1f2a10"


class TreeSchema(Schema):
    name = fields.String(required=True, validate=validate.Length(1, 50))
    children = fields.List(fields.Nested(lambda: TreeSchema()))

    class Meta:
        unknown = EXCLUDE


class Item(pydantic.BaseModel):
    """Loads and dumps in two ways, since a default is always dumped."""

    id: int
    title: str = SCRIPT


class Moved(msgspec.Struct):
    moved_to: str


class OtherSchema(Schema):
    one = fields.Integer(required=True)


class OtherSerializer(serializers.Serializer[Any]):
    two = serializers.IntegerField()


class RoomSchema(Schema):
    room_id = fields.UUID(required=True)


class StatusSchema(Schema):
    """Its fields have the names of keys of frames."""

    status = fields.String(required=True)
    note = fields.String()


async def user_of(credentials: Credentials) -> Any:
    return User(username="good") if credentials.token == "good" else None


def plain(payload: Any) -> Any:
    return payload


class Zoo(RouteMixin, AsyncJsonWebsocketConsumer):
    """Everything <script>alert('zoo')</script>.

    And more of it: <script>alert('zoo')</script>
    """

    route_pushes = [
        Push("tree", schema=TreeSchema, summary=SCRIPT, description=SCRIPT, tags=[SCRIPT]),
        Push("anything", deprecated=True),
        Push("echo", schema=Item),
        Push(SCRIPT, schema=StatusSchema),
    ]

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("tree", schema=TreeSchema, dehydrate=TreeSchema(), examples=[{"name": "a", "children": [{"name": "b"}]}])
    async def tree(self, request: Request) -> Any:
        return request.payload

    @route("item", schema=Item, dehydrate=Item, tags=["items"], deprecated=True)
    async def item(self, request: Request) -> Any:
        return request.payload

    @route("item.maybe", schema=Item, dehydrate=Item)
    async def maybe(self, request: Request) -> Item | None:
        return None if request.payload.id == 0 else request.payload

    @route("created", schema=TreeSchema(only=["name"]), status=201)
    async def created(self, request: Request) -> Any:
        return {"made": request.payload["name"]}

    @route("done")
    async def done(self, request: Request) -> None:
        """Do it <script>alert('zoo')</script>."""

    @route("moved", errors={409: SCRIPT, 410: Moved})
    async def moved(self, request: Request) -> Any:
        if request.payload.get("gone"):
            return Reply({"moved_to": "6"}, status=410)
        raise Conflict("Not now.")

    @route("status", schema=StatusSchema, dehydrate=StatusSchema())
    async def status(self, request: Request) -> Any:
        return request.payload

    @route("list", schema=plain, reply=OtherSchema(many=True))
    async def listed(self, request: Request) -> Any:
        return [{"one": 1}]

    @route("other", schema=OtherSerializer)
    def other(self, request: Request) -> Any:
        return [*request.payload]

    @route("stream", dehydrate=OtherSchema(), timeout=None)
    async def stream(self, request: Request) -> AsyncIterator[Any]:
        yield {"one": 1}
        yield {"one": 2}
        if request.payload.get("fail"):
            raise Conflict

    @route("silent", reply=None)
    async def silent(self, request: Request) -> Any:
        if request.payload:
            raise Conflict

    @route("secret", permissions=[IsAuthenticated], throttle="100/min", summary=SCRIPT, description=SCRIPT)
    async def secret(self, request: Request) -> Any:
        return 1

    @route("Żółw & <script>", examples=[{"text": SCRIPT}])
    async def odd(self, request: Request) -> Any:
        return {"text": SCRIPT}

    @route("Żółw_& <script>")
    async def odd_too(self, request: Request) -> Any:
        return "text"

    @route("push")
    async def push(self, request: Request) -> None:
        await self.socket.push("tree", {"name": "a", "children": []})
        await self.socket.push("anything", [1])
        await self.socket.push("anything", {"a": 1})
        await self.socket.push("echo", Item(id=1))
        await self.socket.push(SCRIPT, {"status": "x"})

    @topic("room.{room_id}", schema=RoomSchema, dehydrate=TreeSchema(), examples=[f"room.{UUID}"])
    async def room(self, request: Request) -> Any:
        return {"name": request.topic}

    @topic("room.vip")
    async def vip(self, request: Request) -> Any:
        await self.socket.broadcast("room.vip", "anything", {"a": 1})
        return {"vip": True}

    @topic("a/b.{kind}-x.{rest}", summary=SCRIPT, errors={423: SCRIPT}, recheck=True, permissions=[IsAuthenticated])
    async def nested(self, request: Request) -> Any:
        return None


class Few(RouteMixin, AsyncJsonWebsocketConsumer):
    """A route and a push, for dialects whose frames are not described."""

    route_pushes = [Push("tree", schema=TreeSchema)]

    @route("tree", schema=TreeSchema, dehydrate=TreeSchema(), examples=[{"name": "a"}])
    async def tree(self, request: Request) -> Any:
        return request.payload


class Nested(Zoo):
    """The default dialect, with everything that the server sends by itself."""

    route_hello = True
    route_heartbeat = Heartbeat()


class Flat(Zoo):
    """Payloads are spread over their frames."""

    route_dialect = Keys(route="action", id="request_id", payload=None)


class Camel(Zoo):
    """Other keys, camelCase, and an answer to each request."""

    route_dialect = Keys(
        route="type", id="ref", payload="data", status="code", headers=None, camelize=True, completion=True
    )


class NoIds(Zoo):
    """Frames without ids."""

    route_dialect = Keys(id=None)


class OfDcrf(Zoo):
    """The frames of djangochannelsrestframework."""

    route_dialect = Dcrf()


class OfJsonRpc(Few):
    """JSON-RPC 2.0."""

    route_dialect = JsonRpc()


class OfChanx(Few):
    """The frames of chanx."""

    route_dialect = Chanx()


class OfWsx(Few):
    """The frames of wsx."""

    route_dialect = Wsx()


class Pairs(Dialect):
    """A dialect that only the project knows: a list of route and payload."""

    def read(self, value: Any) -> Frame:
        name, payload = value
        return Frame(name, None, payload, None, value)

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        return [request.route, status, payload]

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = {}) -> Any:
        return [route, payload]


class OwnDialect(Few):
    """Frames of another kind."""

    route_dialect = Pairs()


class Foreign(RouteMixin, AsyncJsonWebsocketConsumer):
    """Has code of its own for other frames."""

    route_pushes: list[Push] = []

    @route("open", public=True)
    async def open(self, request: Request) -> Any:
        return 1

    async def receive_json(self, content: Any, **kwargs: Any) -> None: ...


class Plain(JsonWebsocketConsumer):
    """Without routes."""


def middleware(inner: Any) -> Any:
    async def called(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    return called


async def inside(inner: Any, scope: Any, receive: Any, send: Any) -> None: ...


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter(
            [
                paths("nested/<int:pk>/<slug:name>/", AuthMiddlewareStack(Nested.as_asgi())),
                paths("flat/", middleware(Flat.as_asgi())),
                paths("camel/", URLRouter([re_paths(r"^(?P<room>\w+)/$", Camel.as_asgi())])),
                re_paths(r"^no-ids/(\d+)/?$", NoIds.as_asgi()),
                paths("dcrf/", OfDcrf.as_asgi()),
                paths("json-rpc/", OfJsonRpc.as_asgi()),
                paths("chanx/", OfChanx.as_asgi()),
                paths("wsx/", OfWsx.as_asgi()),
                paths("own/<path:rest>", OwnDialect.as_asgi()),
                paths("handshake/", HandshakeMiddleware(Foreign.as_asgi(), authenticators=[user_of])),
                paths("token/", TokenMiddleware(Zoo.as_asgi(), [user_of], query="token")),
                paths("plain/", Plain.as_asgi()),
                paths("partial/", functools.partial(inside, Plain.as_asgi())),
            ]
        ),
    }
)

small = URLRouter(
    [
        paths("flat/", Flat.as_asgi()),
        paths("handshake/", HandshakeMiddleware(Foreign.as_asgi(), authenticators=[user_of])),
    ]
)
