"""Consumers whose sockets each belong to a tenant, and three ways to keep the tenants apart."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.db import connections, models, transaction
from django.urls import path

from routesock import Event, Request, RouteMixin, asend_event, event, route, send_event

from .models import Note, Secret

TENANTS: Final = ("a", "b")

_user: Final = threading.local()


def tenant_of(consumer: Any) -> str:
    name: str = consumer.scope["url_route"]["kwargs"]["tenant"]
    return name


def alias_of(consumer: Any) -> str:
    alias: str = consumer.scope["url_route"]["kwargs"]["alias"]
    return alias


@contextmanager
def search_path(consumer: Any) -> Iterator[None]:
    with connections[alias_of(consumer)].cursor() as cursor:
        cursor.execute("SELECT set_config('search_path', %s, false)", [f"tenant_{tenant_of(consumer)}"])
    try:
        yield
    finally:
        with connections[alias_of(consumer)].cursor() as cursor:
            cursor.execute("RESET search_path")


@contextmanager
def role(consumer: Any) -> Iterator[None]:
    alias = alias_of(consumer)
    with transaction.atomic(alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT set_config('role', %s, true)", [f"tenant_{tenant_of(consumer)}"])
        yield


@contextmanager
def current_user(consumer: Any) -> Iterator[None]:
    _user.name = tenant_of(consumer)
    try:
        yield
    finally:
        del _user.name


def notes(consumer: Any) -> models.QuerySet[Any]:
    return Note.objects.using(alias_of(consumer)).order_by("pk")


def secrets(consumer: Any) -> models.QuerySet[Any]:
    return Secret.objects.using(alias_of(consumer)).order_by("pk")


class OfUser(models.Value):
    """The current user of the thread that runs the query."""

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        return "%s", [_user.name]


def names(consumer: Any) -> models.QuerySet[Any]:
    return (
        Note.objects.using(alias_of(consumer)).order_by("pk").annotate(who=OfUser("", output_field=models.TextField()))
    )


def texts(rows: Any) -> list[str]:
    return [getattr(row, "who", row.text) for row in rows]


class Rows(RouteMixin):
    """Each route returns what the socket can read, in one of the ways to read."""

    rows: Callable[[Any], models.QuerySet[Any]]

    @route("sync")
    def in_sync(self, request: Request) -> list[str]:
        return texts(type(self).rows(self))

    @route("hydrate", hydrate="texts_of", dehydrate="texts_of", permissions=["may"])
    def hydrated(self, request: Request) -> Any:
        return request.payload

    @route("stream")
    def stream(self, request: Request) -> Iterator[list[str]]:
        for _ in range(3):
            yield texts(type(self).rows(self))

    @route("thread.parallel", parallel=True)
    def in_parallel(self, request: Request) -> list[str]:
        return texts(type(self).rows(self))

    def may(self, request: Request) -> bool:
        return {text[0] for text in texts(type(self).rows(self))} == {tenant_of(self)}

    def texts_of(self, _: Any) -> list[str]:
        return texts(type(self).rows(self))


class AsyncRows(Rows, AsyncJsonWebsocketConsumer):
    @route("async")
    async def in_async(self, request: Request) -> list[str]:
        return texts([row async for row in type(self).rows(self)])

    @route("channels")
    async def in_channels(self, request: Request) -> list[str]:
        return await database_sync_to_async(lambda: texts(type(self).rows(self)))()

    @route("async.hydrate", hydrate="atexts_of", dehydrate="atexts_of")
    async def async_hydrated(self, request: Request) -> Any:
        return request.payload

    @route("async.stream")
    async def async_stream(self, request: Request) -> AsyncIterator[list[str]]:
        for _ in range(3):
            yield texts([row async for row in type(self).rows(self)])

    @route("messages")
    async def send_messages(self, request: Request) -> None:
        await self.socket.join(f"own.{id(self)}")
        await asend_event(f"own.{id(self)}", "told")
        await self.channel_layer.send(self.channel_name, {"type": "layer.message"})

    @event("told")
    async def told(self, event: Event) -> None:
        await self.layer_message({})

    async def layer_message(self, message: dict[str, Any]) -> None:
        await self.send_json({"rows": texts([row async for row in type(self).rows(self)])})

    async def atexts_of(self, _: Any) -> list[str]:
        return texts([row async for row in type(self).rows(self)])


class SyncRows(Rows, JsonWebsocketConsumer):
    @route("nested")
    def nested(self, request: Request) -> list[str]:
        return async_to_sync(self._nested)()

    async def _nested(self) -> list[str]:
        return texts([row async for row in type(self).rows(self)])

    @route("messages")
    def send_messages(self, request: Request) -> None:
        self.socket.join(f"own.{id(self)}")
        send_event(f"own.{id(self)}", "told")
        async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "layer.message"})

    @event("told")
    def told(self, event: Event) -> None:
        self.layer_message({})

    def layer_message(self, message: dict[str, Any]) -> None:
        self.send_json({"rows": texts(type(self).rows(self))})

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json({"rows": texts(type(self).rows(self))})


WAYS: Final = {"search-path": (search_path, notes), "role": (role, secrets), "user": (current_user, names)}


def _consumers() -> Iterator[Any]:
    for way, (manager, rows) in WAYS.items():
        for kind, base in (("async", AsyncRows), ("sync", SyncRows)):
            for threads in (False, True):
                options = {"route_thread_context": manager, "route_dedicated_threads": threads, "rows": rows}
                name = f"{kind}-{'dedicated' if threads else 'shared'}"
                yield path(f"{way}/{name}/<alias>/<tenant>/", type(name, (base,), options).as_asgi())


urls: Final = [*_consumers()]
