"""Middleware surrounds everything of a request: its checks, hooks, errors, texts and records."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404
from django.utils import translation
from django.utils.translation import gettext, gettext_lazy

from routesock import Reply, Request, RouteMixin, route, topic
from routesock.exceptions import Invalid, NotFound
from routesock.testing import RouteClient
from tests.clock import simulated

log: list[str] = []

scope: ContextVar[str | None] = ContextVar("scope", default=None)

LAZY = gettext_lazy("This field is required.")

GERMAN = "Dieses Feld ist zwingend erforderlich."

ENGLISH = "This field is required."


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


def noting(name: str, result: Any = None) -> Any:
    async def step(*args: Any) -> Any:
        log.append(name)
        return result if result is not None else getattr(args[-1], "payload", args[-1])

    return step


async def noted(request: Request, call_next: Any) -> Any:
    log.append("middleware in")
    try:
        return await call_next(request)
    except Exception as exc:
        log.append(f"middleware {type(exc).__name__}")
        raise
    finally:
        log.append("middleware out")


class Steps(RouteMixin, AsyncJsonWebsocketConsumer):
    route_middleware = [noted]

    @route("all", permissions=[noting("permission", True)], hydrate=noting("hydrate"), dehydrate=noting("dehydrate", 1))
    async def everything(self, request: Request) -> Any:
        log.append("handler")
        return 2

    @route("denied", permissions=[lambda request: False])
    async def denied(self, request: Request) -> None: ...

    @route("invalid", schema=lambda payload: int(payload))
    async def invalid(self, request: Request) -> None: ...


async def test_all_steps_of_a_request_are_inside() -> None:
    async with RouteClient(Steps) as client:
        assert (await client.call("all")).payload == 1
    assert log == ["middleware in", "permission", "hydrate", "handler", "dehydrate", "middleware out"]


async def test_a_name_that_is_no_route_is_outside() -> None:
    async with RouteClient(Steps) as client:
        assert (await client.call("unknown")).status == 404
    assert log == []


@pytest.mark.parametrize(("name", "status"), [("denied", 401), ("invalid", 422)])
async def test_a_request_that_is_refused_passes_through_as_an_exception(name: str, status: int) -> None:
    async with RouteClient(Steps, raise_exceptions=False) as client:
        assert (await client.call(name, "x")).status == status
    assert log[0] == "middleware in"
    assert log[1].startswith("middleware ")
    assert log[2:] == ["middleware out"]


# One language in a reply


async def in_german(request: Request, call_next: Any) -> Any:
    with translation.override("de"):
        return await call_next(request)


async def short(request: Request, call_next: Any) -> Any:
    return Reply({"text": LAZY}, 409)


class Texts:
    @route("reply")
    async def reply(self, request: Request) -> Any:
        return Reply({"lazy": [LAZY], "now": gettext(ENGLISH)}, headers={"Text": LAZY})

    @route("hooks", permissions=["may"], hydrate="load", dehydrate="dump")
    async def hooks(self, request: Request) -> Any:
        return [request.payload, gettext(ENGLISH)]

    @route("404")
    async def missing(self, request: Request) -> None:
        raise Http404(LAZY)

    @route("404.own")
    async def not_found(self, request: Request) -> None:
        raise NotFound(LAZY)

    @route("403")
    async def denied(self, request: Request) -> None:
        raise PermissionDenied(LAZY)

    @route("422")
    async def invalid(self, request: Request) -> None:
        raise Invalid(errors={"field": [LAZY]})

    @route("422.django")
    async def invalid_django(self, request: Request) -> None:
        raise ValidationError({"field": LAZY})

    @route("short", middleware=[short])
    async def short(self, request: Request) -> None: ...

    @topic("topic")
    async def subscribed(self, request: Request) -> Any:
        return {"lazy": LAZY}

    def may(self, request: Request) -> bool:
        return gettext(ENGLISH) == GERMAN

    def load(self, request: Request) -> Any:
        return gettext(ENGLISH)

    def dump(self, value: Any) -> Any:
        return [*value, gettext(ENGLISH), LAZY]


class SyncTexts:
    @route("reply")
    def reply(self, request: Request) -> Any:
        return Reply({"lazy": [LAZY], "now": gettext(ENGLISH)}, headers={"Text": LAZY})

    @route("404")
    def missing(self, request: Request) -> None:
        raise Http404(LAZY)

    @route("422")
    def invalid(self, request: Request) -> None:
        raise Invalid(errors={"field": [LAZY]})


class ByMiddleware(RouteMixin, Texts, AsyncJsonWebsocketConsumer):
    route_middleware = [in_german]


class ByMiddlewareInSync(RouteMixin, SyncTexts, JsonWebsocketConsumer):
    route_middleware = [in_german]


class ByDispatch(RouteMixin, Texts, AsyncJsonWebsocketConsumer):
    async def dispatch(self, message: Any) -> None:
        with translation.override("de"):
            await super().dispatch(message)


class ByDispatchInSync(RouteMixin, SyncTexts, JsonWebsocketConsumer):
    def websocket_receive(self, message: Any) -> None:
        with translation.override("de"):
            super().websocket_receive(message)

    @classmethod
    def encode_json(cls, content: Any) -> Any:
        log.append(gettext(ENGLISH))
        return json.dumps(content, default=str)


class ByBothInSync(ByDispatchInSync):
    route_middleware = [noted]


CONSUMERS = [ByMiddleware, ByMiddlewareInSync, ByDispatch, ByDispatchInSync, ByBothInSync]

CALLS = [
    (consumer, name)
    for consumer in CONSUMERS
    for name in ("reply", "hooks", "404", "404.own", "403", "422", "422.django", "short")
    if not issubclass(consumer, SyncTexts) or name in ("reply", "404", "422")
]


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


@pytest.mark.parametrize(("consumer", "name"), CALLS, ids=lambda value: getattr(value, "__name__", value))
async def test_a_reply_has_one_language(consumer: type[Any], name: str) -> None:
    async with RouteClient(consumer) as client:
        await client.send_json({"route": name, "uuid": 1})
        texts = [*texts_in(await client.receive())]
    assert GERMAN in texts
    assert ENGLISH not in texts


async def test_so_has_the_reply_to_a_subscription() -> None:
    async with RouteClient(ByMiddleware) as client:
        assert (await client.call("SUBSCRIBE", {"topic": "topic"})).payload == {"lazy": GERMAN}


@pytest.mark.parametrize("consumer", [ByDispatchInSync, ByBothInSync])
async def test_the_own_encode_json_of_a_sync_consumer_runs_inside_of_its_dispatch(consumer: type[Any]) -> None:
    async with RouteClient(consumer) as client:
        await client.call("reply")
    assert GERMAN in log
    assert ENGLISH not in log


async def test_the_next_request_has_its_own_language() -> None:
    class Some(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("german", middleware=[in_german])
        async def german(self, request: Request) -> Any:
            return LAZY

        @route("english")
        async def english(self, request: Request) -> Any:
            return LAZY

    async with RouteClient(Some) as client:
        assert [(await client.call(name)).payload for name in ("german", "english", "german")] == [
            GERMAN, ENGLISH, GERMAN,
        ]  # fmt: skip


# Records


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    seen: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        """Notes with each record what a middleware has set, as log filters and error trackers do."""

        def emit(self, record: logging.LogRecord) -> None:
            record.scope = scope.get()
            seen.append(record)

    logger, handler = logging.getLogger("routesock.request"), Handler()
    logger.addHandler(handler)
    with caplog.at_level(logging.INFO, "routesock.request"):
        yield seen
    logger.removeHandler(handler)


async def scoped(request: Request, call_next: Any) -> Any:
    token = scope.set(request.route)
    try:
        return await call_next(request)
    finally:
        scope.reset(token)


class Scoped(RouteMixin, AsyncJsonWebsocketConsumer):
    route_middleware = [scoped]

    @route("fine")
    async def fine(self, request: Request) -> int:
        return 1

    @route("denied", permissions=[lambda request: False])
    async def denied(self, request: Request) -> None: ...

    @route("broken")
    async def broken(self, request: Request) -> None:
        raise ValueError

    @route("unencodable")
    async def unencodable(self, request: Request) -> Any:
        return object()

    @route("slow", timeout=0.01)
    async def slow(self, request: Request) -> None:
        await asyncio.sleep(30)

    @route("left", cancel_on_disconnect=True)
    async def left(self, request: Request) -> None:
        await asyncio.sleep(30)


class ScopedByDispatch(RouteMixin, AsyncJsonWebsocketConsumer):
    async def dispatch(self, message: Any) -> None:
        token = scope.set("dispatch")
        try:
            await super().dispatch(message)
        finally:
            scope.reset(token)

    @route("fine")
    async def fine(self, request: Request) -> int:
        return 1

    @route("broken")
    async def broken(self, request: Request) -> None:
        raise ValueError

    @route("slow", timeout=0.01)
    async def slow(self, request: Request) -> None:
        await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("name", "status"), [("fine", 200), ("denied", 401), ("broken", 500), ("unencodable", 500), ("slow", 504)]
)
@simulated
async def test_records_of_a_request_belong_to_the_context_that_a_middleware_has_set(
    name: str, status: int, records: list[Any]
) -> None:
    async with RouteClient(Scoped, raise_exceptions=False) as client:
        assert (await client.call(name)).status == status
        await client.settle()
    assert [(record.scope, record.routesock_status) for record in records] == [(name, status)]


async def test_so_does_the_record_of_a_request_that_gets_no_reply(records: list[Any]) -> None:
    async with RouteClient(Scoped) as client:
        await client.send_json({"route": "left", "uuid": 1})
        await client.settle()
    assert [(record.scope, record.routesock_status) for record in records] == [("left", None)]


@pytest.mark.parametrize(("name", "status"), [("fine", 200), ("broken", 500), ("slow", 504)])
@simulated
async def test_so_do_those_inside_of_an_own_dispatch(name: str, status: int, records: list[Any]) -> None:
    async with RouteClient(ScopedByDispatch, raise_exceptions=False) as client:
        assert (await client.call(name)).status == status
        await client.settle()
    assert [(record.scope, record.routesock_status) for record in records] == [("dispatch", status)]
