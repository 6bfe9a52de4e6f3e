"""The same echo, written in every way that is compared; each group has its hand-written consumer first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import marshmallow
import msgspec
import pydantic
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from rest_framework import permissions as rest_framework

from routesock import RouteMixin, route, run_on_loop
from routesock.permissions import BasePermission, IsAuthenticated, IsStaff
from routesock.schemas import as_schema

from .driving import Application, Receive, Send, reply

ROUTE = "echo.0"
OFTEN = "1000000000/min"


class MarshmallowEcho(marshmallow.Schema):
    text = marshmallow.fields.String(required=True, validate=marshmallow.validate.Length(min=1, max=100))
    room = marshmallow.fields.String(required=True)


class PydanticEcho(pydantic.BaseModel):
    text: str = pydantic.Field(min_length=1, max_length=100)
    room: str


class MsgspecEcho(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    room: str


_kept_schema = MarshmallowEcho()
_kept_adapter = pydantic.TypeAdapter(PydanticEcho)


def as_it_came(payload: Any) -> Any:
    return payload


def loaded(payload: Any) -> Any:
    return _kept_schema.load(payload)


def loaded_and_dumped(payload: Any) -> Any:
    return _kept_schema.dump(_kept_schema.load(payload))


def through_pydantic(payload: Any) -> Any:
    return members(_kept_adapter.validate_python(payload))


def through_msgspec(payload: Any) -> Any:
    return members(msgspec.convert(payload, MsgspecEcho))


def members(payload: Any) -> dict[str, Any]:
    return {"text": payload.text, "room": payload.room}


class Target(NamedTuple):
    """The most that a contender should take, as a part of another one's time."""

    ready: float
    queue: float


MARSHMALLOW_TARGET = Target(ready=0.10, queue=0.2)
MSGSPEC_TARGET = Target(ready=0.055, queue=0.12)
GUARD_TARGET = Target(ready=1.3, queue=1.3)
"""For a guard beside the same route without it."""

MORE_ROUTES_TARGET = Target(ready=1.05, queue=1.05)
"""For a contender beside the one with a single route."""


@dataclass(frozen=True)
class Contender:
    """One way to answer the echo; its frames name ``routes`` in turn. ``beside`` is another contender of its group."""

    name: str
    application: Application
    routes: Sequence[str] = (ROUTE,)
    target: Target | None = None
    beside: str = ""


@dataclass(frozen=True)
class Group:
    """Contenders that do the same work; the first is what the others are compared to."""

    name: str
    contenders: tuple[Contender, ...]


def bare(work: Callable[[Any], Any]) -> Application:
    """An ASGI application without Channels: the floor."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            content = json.loads(event["text"])
            if content["route"] == ROUTE:
                text = json.dumps(reply(ROUTE, content["uuid"], work(content["payload"])))
                await send({"type": "websocket.send", "text": text})

    return application


def by_hand(work: Callable[[Any], Any], *, waits: bool = False) -> Application:
    """What a team writes on Channels."""

    class ByHand(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            if content["route"] == ROUTE:
                if waits:
                    await asyncio.sleep(0)
                await self.send_json(reply(ROUTE, content["uuid"], work(content["payload"])))

    return ByHand.as_asgi()


def by_hand_sync() -> Application:
    class ByHandSync(JsonWebsocketConsumer):
        def receive_json(self, content: Any, **kwargs: Any) -> None:
            if content["route"] == ROUTE:
                self.send_json(reply(ROUTE, content["uuid"], content["payload"]))

    return ByHandSync.as_asgi()


async def echo(self: Any, request: Any) -> Any:
    return request.payload


async def echo_members(self: Any, request: Any) -> Any:
    return members(request.payload)


async def echo_later(self: Any, request: Any) -> Any:
    await asyncio.sleep(0)
    return request.payload


def echo_sync(self: Any, request: Any) -> Any:
    return request.payload


def routed(
    handler: Callable[..., Any] = echo, *, routes: int = 1, base: type = AsyncJsonWebsocketConsumer, **options: Any
) -> Application:
    """A consumer with ``routes`` routes, each with its own handler."""
    if options.get("schema") is not None:
        options["schema"] = as_schema(options["schema"])  # once: a thousand adapters would take a second
    methods = {f"echo_{number}": route(f"echo.{number}", **options)(_copy(handler)) for number in range(routes)}
    consumer: Any = type("Routed", (RouteMixin, base), methods)
    application: Application = consumer.as_asgi()
    return application


def _copy(function: Any) -> Any:
    copy = type(function)(function.__code__, function.__globals__, function.__name__)
    vars(copy).update(vars(function))
    return copy


def legacy_behind_the_mixin() -> Application:
    class Legacy(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("new")
        async def new(self, request: Any) -> None:
            """Never asked for: the frames are the legacy code's."""

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            if content["route"] == ROUTE:
                await self.send_json(reply(ROUTE, content["uuid"], content["payload"]))

    return Legacy.as_asgi()


def by_number_of_routes(target: Target | None = None, **options: Any) -> tuple[Contender, ...]:
    """The last route of small and large consumers; and all routes in turn, so that none is in the processor's cache."""
    names = tuple(f"echo.{number}" for number in range(1000))
    large = routed(routes=1000, **options)
    return (
        Contender("1 route", routed(**options), target=target),
        Contender("100 routes", routed(routes=100, **options), names[99:100], target, beside="1 route"),
        Contender("1000 routes", large, names[-1:], target, beside="1 route"),
        Contender("1000 routes, all in turn", large, names),
    )


def signed_in(application: Application) -> Application:
    """``application`` behind a middleware that knows who is there: a superuser, whose rights need no query."""
    from django.contrib.auth.models import User  # which needs Django to be set up

    user = User(pk=1, username="alice", is_superuser=True)

    async def middleware(scope: Any, receive: Receive, send: Send) -> None:
        await application({**scope, "user": user}, receive, send)

    return middleware


class Lowercase(BasePermission):
    """One that a user might write."""

    @run_on_loop
    def has_permission(self, request: Any) -> bool:
        return bool(request.payload["room"].islower())


async def is_lowercase(request: Any) -> bool:
    return bool(request.payload["room"].islower())


def guarded(*permissions: Any, handler: Callable[..., Any] = echo) -> Application:
    return signed_in(routed(handler, permissions=permissions))


def groups() -> tuple[Group, ...]:
    """Everything that is compared."""
    return (
        Group(
            "no schema",
            (
                Contender("hand-written consumer", by_hand(as_it_came)),
                Contender("bare ASGI callable", bare(as_it_came)),
                *by_number_of_routes(),
            ),
        ),
        Group(
            "marshmallow",
            (
                Contender("hand-written consumer", by_hand(loaded)),
                Contender("bare ASGI callable", bare(loaded)),
                *by_number_of_routes(MARSHMALLOW_TARGET, schema=MarshmallowEcho),
            ),
        ),
        Group(
            "marshmallow, load and dump",
            (
                Contender("hand-written consumer", by_hand(loaded_and_dumped)),
                Contender("bare ASGI callable", bare(loaded_and_dumped)),
                Contender("1 route", routed(schema=MarshmallowEcho, dehydrate=MarshmallowEcho)),
            ),
        ),
        Group(
            "pydantic",
            (
                Contender("hand-written consumer", by_hand(through_pydantic)),
                Contender("bare ASGI callable", bare(through_pydantic)),
                Contender("1 route", routed(echo_members, schema=PydanticEcho)),
            ),
        ),
        Group(
            "msgspec",
            (
                Contender("hand-written consumer", by_hand(through_msgspec)),
                Contender("bare ASGI callable", bare(through_msgspec)),
                Contender("1 route", routed(echo_members, schema=MsgspecEcho), target=MSGSPEC_TARGET),
            ),
        ),
        Group(
            "a throttle in local memory",
            (
                Contender("1 route without", routed()),
                Contender("1 route", routed(throttle=OFTEN), target=GUARD_TARGET),
                Contender("1 route, two rates", routed(throttle=[OFTEN, "900000000/h"])),
            ),
        ),
        Group(
            "a handler that waits once",
            (
                Contender("hand-written consumer", by_hand(as_it_came, waits=True)),
                Contender("1 route", routed(echo_later)),
            ),
        ),
        Group(
            "foreign frames, to the consumer's own receive_json",
            (
                Contender("without the mixin", by_hand(as_it_came)),
                Contender("behind the mixin", legacy_behind_the_mixin()),
            ),
        ),
        Group(
            "a sync handler",
            (
                Contender("hand-written sync consumer", by_hand_sync()),
                Contender("1 route, sync consumer", routed(echo_sync, base=JsonWebsocketConsumer)),
                Contender("1 route, async consumer", routed(echo_sync)),
                Contender("1 route, @run_on_loop", routed(run_on_loop(_copy(echo_sync)))),
            ),
        ),
        Group(
            "permissions",
            (
                Contender("without", guarded()),
                Contender("IsAuthenticated", guarded(IsAuthenticated), target=GUARD_TARGET),
                Contender("IsStaff | IsAuthenticated", guarded(IsStaff | IsAuthenticated), target=GUARD_TARGET),
                Contender("~IsStaff & (staff | signed in)", guarded(~IsStaff & (IsStaff | IsAuthenticated))),
                Contender("a class, @run_on_loop", guarded(Lowercase)),
                Contender("an async function", guarded(is_lowercase)),
            ),
        ),
        Group(
            "permissions in front of a sync handler, in its hop",
            (
                Contender("without", guarded(handler=echo_sync)),
                Contender("IsAuthenticated", guarded(IsAuthenticated, handler=echo_sync)),
                Contender('"auth.add_user"', guarded("auth.add_user", handler=echo_sync)),
                Contender("DRF's IsAuthenticated", guarded(rest_framework.IsAuthenticated, handler=echo_sync)),
            ),
        ),
    )
