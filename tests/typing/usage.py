"""What type checkers see in a project that uses routesock: `make types` runs mypy and pyright over this file.

A line with ``type: ignore`` has to be an error in both, since both report a comment that suppresses nothing.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from marshmallow import Schema

from routesock import (
    Event,
    Heartbeat,
    Keys,
    Push,
    Reply,
    Request,
    RouteMixin,
    Throttle,
    abroadcast,
    broadcast,
    event,
    push_to_user,
    route,
    run_in_thread,
    run_on_loop,
    send_event,
    topic,
)
from routesock.permissions import BasePermission, IsAuthenticated, IsStaff
from routesock.permissions.base import And, Not, Or
from routesock.schemas import SchemaAdapter
from routesock.socket import AsyncRequest, Socket, SyncRequest, SyncSocket, socket_of

news = Push("news", summary="Something happened.")


class AsyncChat(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = Keys(route="action")
    route_permissions = [IsAuthenticated, IsAuthenticated & ~IsStaff, "chat.add_message"]
    route_pushes = [news]
    route_throttle = ["100/min", Throttle("5/s")]
    route_heartbeat = Heartbeat(interval=30)
    route_timeout = None

    async def connect(self) -> None:
        assert_type(self.socket, Socket)
        assert_type(self.channel_name, str)
        await self.socket.join("room")
        await self.accept()

    @route("send")
    async def send_message(self, request: Request) -> Reply:
        assert_type(await self.socket.push(news, {"a": 1}, headers={"X": 1}), None)
        assert_type(self.socket.groups, frozenset[str])
        await self.socket.broadcast("room", "news", exclude_self=True)
        await self.socket.close(403, "Go away.", reconnect=False, retry_after=1.5)
        return Reply(status=201)

    @route("documented", reply=Schema, errors={409: "Twice.", 410: Schema()}, examples=[{"text": "Hello"}])
    async def documented(self, request: Request) -> dict[str, str]:
        return {"text": "Hello"}

    @topic("room.{id}", reply=Schema, pushes=[news], examples=["room.5"], summary="A room.", tags=["rooms"])
    async def room(self, request: Request) -> None: ...

    @route("wrong")
    async def wrong(self, request: Request) -> None:
        await self.socket.push(5)  # type: ignore[arg-type]
        await self.socket.push("news", header={})  # type: ignore[call-arg]
        await self.socket.close("403")  # type: ignore[arg-type]
        await self.socket.pusch("news")  # type: ignore[attr-defined]
        self.socket.groups.add("room")  # type: ignore[attr-defined]


class SyncChat(RouteMixin, JsonWebsocketConsumer):
    def connect(self) -> None:
        assert_type(self.socket, SyncSocket)
        self.socket.join("room")
        self.accept()

    @route("send")
    def send_message(self, request: Request) -> int:
        self.socket.push(news, {"a": 1}, headers={"X": 1})
        assert_type(self.socket.groups, frozenset[str])
        self.socket.broadcast("room", "news", exclude_self=True)
        self.socket.leave("room")
        self.socket.close(403, "Go away.", reconnect=False, retry_after=1.5)
        return 1

    @route("wrong")
    def wrong(self, request: Request) -> None:
        self.socket.push(5)  # type: ignore[arg-type]
        self.socket.broadcast("room")  # type: ignore[call-arg]
        self.socket.pusch("news")  # type: ignore[attr-defined]


class AsyncBytes(RouteMixin, AsyncWebsocketConsumer):
    async def connect(self) -> None:
        assert_type(self.socket, Socket)


class SyncBytes(RouteMixin, WebsocketConsumer):
    def connect(self) -> None:
        assert_type(self.socket, SyncSocket)


class Mixin(RouteMixin):
    """Without a consumer it may serve either kind."""

    def call(self) -> None:
        assert_type(self.socket, Any)


class OwnSocket(RouteMixin, AsyncJsonWebsocketConsumer):
    """A consumer that uses the name itself: its requests have the socket of routesock."""

    socket: Any = "tcp://127.0.0.1:5555"

    @route("send")
    async def send_message(self, request: AsyncRequest) -> None:
        assert_type(request.socket, Socket)
        assert_type(socket_of(self), Socket)
        await request.socket.push(news)
        await request.socket.pusch(news)  # type: ignore[attr-defined]

    @route("untyped")
    async def untyped(self, request: Request) -> None:
        assert_type(request.socket, Any)


class SyncOwnSocket(RouteMixin, JsonWebsocketConsumer):
    @route("send")
    def send_message(self, request: SyncRequest) -> None:
        assert_type(request.socket, SyncSocket)
        assert_type(socket_of(self), SyncSocket)
        request.socket.join("room")


class WrongOptions(RouteMixin, AsyncJsonWebsocketConsumer):
    route_timeout = "30"  # type: ignore[assignment]
    route_pushes = ["news"]  # type: ignore[list-item]
    route_heartbeat = 30  # type: ignore[assignment]
    route_dedicated_threads = 8  # type: ignore[assignment]


class Decorated(RouteMixin, AsyncJsonWebsocketConsumer):
    """Decorators keep the signature of what they decorate."""

    @route("one", permissions=(), throttle="5/s", schema=run_in_thread(Schema), timeout=None)
    @route("other", cancel_on_disconnect=True)
    async def one(self, request: Request) -> int:
        return 1

    @route("quick")
    @run_on_loop
    def quick(self, request: Request) -> str:
        return "quick"

    @event("order.paid")
    async def paid(self, event: Event) -> None: ...

    @topic("room.{room_id}", recheck=False)
    async def room(self, request: Request) -> list[int]:
        return []

    @route()  # type: ignore[call-arg]
    async def unnamed(self, request: Request) -> None: ...


async def calls(consumer: Decorated, request: Request) -> None:
    assert_type(await consumer.one(request), int)
    assert_type(consumer.quick(request), str)
    assert_type(await consumer.paid(Event("order.paid")), None)
    assert_type(await consumer.room(request), list[int])
    consumer.quick()  # type: ignore[call-arg]


def functions(adapter: SchemaAdapter) -> None:
    def shout(text: str) -> str:
        return text.upper()

    assert_type(run_on_loop(shout)("a"), str)
    assert_type(run_in_thread(shout)("a"), str)
    assert_type(run_in_thread(Schema), SchemaAdapter)
    assert_type(run_in_thread(adapter), SchemaAdapter)
    run_on_loop(shout)(1)  # type: ignore[arg-type]


class Owner(BasePermission):
    message = "Not yours."

    def has_object_permission(self, request: Request, obj: Any) -> bool:
        return bool(request.user == obj)


def compositions() -> None:
    assert_type(Owner & IsAuthenticated, And)
    assert_type(Owner() | IsStaff(), Or)
    assert_type(~Owner, Not)


def senders(user: Any) -> None:
    broadcast("room", news, {"a": 1}, on_commit=True, using="default")
    push_to_user(user, "news", on_commit=True)
    send_event("room", "order.paid", {"id": 1}, on_commit=True)
    broadcast("room", news, on_comit=True)  # type: ignore[call-arg]
    broadcast(5, news)  # type: ignore[arg-type]


async def async_senders() -> None:
    await abroadcast("room", news, {"a": 1}, layer="default")
    await abroadcast("room", news, on_commit=True)  # type: ignore[call-arg]


def requests(request: Request, told: Event) -> None:
    assert_type(request.route, str)
    assert_type(request.id, str | int | None)
    assert_type(request.topic, str | None)
    assert_type(told.group, str)
    news.name = "other"  # type: ignore[misc]
