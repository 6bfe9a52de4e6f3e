"""Applications whose routes ``routesock_routes`` lists, and others that it cannot list."""

from __future__ import annotations

import functools
from typing import Any

import pydantic
from channels.auth import AuthMiddlewareStack
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.db import transaction
from django.urls import path, re_path
from rest_framework import permissions as rest_permissions

from routesock import Event, Push, Request, RouteMixin, Throttle, event, route, run_in_thread, topic
from routesock.permissions import AllowAny, BasePermission, IsAuthenticated, IsStaff
from tests.schemas.samples import NoteSchema, NoteSerializer, NoteStruct

paths: Any = path  # by their types, both take views alone
re_paths: Any = re_path


class Payload(pydantic.BaseModel):
    text: str


class InRoom(BasePermission):
    def has_permission(self, request: Request) -> bool:
        return False


class Owns(BasePermission):
    def has_object_permission(self, request: Request, obj: Any) -> bool:
        return False


def is_even(request: Request) -> bool:
    return False


def room_of(request: Request) -> str:
    return "room"


def load(payload: Any) -> Any:
    return payload


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    """All kinds of options."""

    route_prefix = "shop."
    route_permissions = [IsAuthenticated & ~(IsStaff | InRoom())]
    route_throttle = "100/min"
    route_timeout = 5
    route_pushes = [Push("paid", schema=Payload), Push("old", schema=NoteSchema(many=True), deprecated=True)]

    @route(
        "buy",
        schema=NoteSchema,
        throttle=[Throttle("5/s", scope="ip", burst=2), Throttle("9/h", scope=room_of)],
        idempotent=True,
    )
    async def buy(self, request: Request) -> None: ...

    @route("list", schema=list[NoteStruct], throttle=(), timeout=None, deprecated=True, parallel=True)
    async def listed(self, request: Request) -> Any:
        yield 1

    @route("save", schema=NoteSerializer(many=True), permissions=[is_even, "is_mine", "shop.buy"], atomic="files")
    def save(self, request: Request) -> None: ...

    @route("load", schema=load, hydrate=load, permissions=[Owns], parallel=True, cancel_on_disconnect=True, timeout=0.5)
    async def load(self, request: Request) -> None: ...

    @route("help", schema=run_in_thread(Payload), permissions=(), public=True, reply=None)
    async def help(self, request: Request) -> None: ...

    def is_mine(self, request: Request) -> bool:
        return False

    @topic("room.{id}", schema=Payload, permissions=[IsStaff], recheck=True)
    async def room(self, request: Request) -> None: ...

    @topic("news", permissions=[AllowAny])
    async def news(self, request: Request) -> None: ...

    @event("restocked", schema=NoteSchema)
    async def restocked(self, event: Event) -> None: ...


class Open(RouteMixin, JsonWebsocketConsumer):
    """Says nothing of permissions."""

    @route("silent")
    def silent(self, request: Request) -> None: ...

    @route("any", permissions=[IsStaff | rest_permissions.AllowAny])
    def any(self, request: Request) -> None: ...

    @route("said", permissions=())
    def said(self, request: Request) -> None: ...

    @route("closed", permissions=[rest_permissions.IsAuthenticated])
    def closed(self, request: Request) -> None: ...


class Objects(RouteMixin, AsyncJsonWebsocketConsumer):
    """Its permission is never checked, since no route loads an object."""

    route_permissions = [Owns]

    @route("read")
    async def read(self, request: Request) -> None: ...

    @route("write", hydrate=load)
    @transaction.non_atomic_requests
    async def write(self, request: Request) -> None: ...


class Plain(AsyncJsonWebsocketConsumer):
    """Without routes."""


class PlainSync(JsonWebsocketConsumer):
    """Without routes, and sync."""


class Http(AsyncHttpConsumer):
    """Serves no WebSockets."""


class Hidden(RouteMixin, AsyncJsonWebsocketConsumer):
    """Stands behind an application that nobody can look into."""

    @route("hidden")
    async def hidden(self, request: Request) -> None: ...


def middleware(inner: Any) -> Any:
    async def called(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    return called


async def echo(scope: Any, receive: Any, send: Any) -> None: ...


async def inside(inner: Any, scope: Any, receive: Any, send: Any) -> None: ...


everything = ProtocolTypeRouter(
    {
        "http": URLRouter([paths("http/", Http.as_asgi())]),
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    paths("ws/plain/", Plain.as_asgi()),
                    paths("ws/", URLRouter([paths("shop/<int:pk>/", middleware(Shop.as_asgi()))])),
                    re_paths(r"^ws/sync/(?P<name>\w+)$", PlainSync.as_asgi()),
                    paths("ws/echo/", echo),
                ]
            )
        ),
    }
)

open_ones = URLRouter([paths("open/", Open.as_asgi()), paths("objects/", Objects.as_asgi())])

on_purpose = URLRouter([paths("shop/", Shop.as_asgi()), paths("plain/", Plain.as_asgi())])

hidden = URLRouter([paths("hidden/", functools.partial(inside, Hidden.as_asgi())), paths("open/", Open.as_asgi())])

only_django = ProtocolTypeRouter({"http": get_asgi_application()})

nothing = get_asgi_application()
