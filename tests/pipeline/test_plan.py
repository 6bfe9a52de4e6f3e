"""What happens to a request between its frame and its reply, and in which thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.test import override_settings
from marshmallow import Schema, fields
from rest_framework import serializers

from routesock import Reply, Request, RouteMixin, route, run_on_loop
from routesock._runtime import database
from routesock.exceptions import NotFound, RouteSetupError, Unavailable
from routesock.testing import RouteClient

LOOP = "loop"
THREAD = "database thread"

log: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[Callable[..., Any]]:
    """Each function that was taken to the database thread."""
    taken: list[Callable[..., Any]] = []
    original = database._in_thread

    async def counted(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        taken.append(function)
        return await original(function, args)

    monkeypatch.setattr(database, "_in_thread", counted)
    return taken


def where() -> str:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return THREAD
    return LOOP


class IdSchema(Schema):
    id = fields.Int(required=True)


class ArticleSchema(Schema):
    id = fields.Int()
    title = fields.Str()


class Article:
    def __init__(self, id: int) -> None:
        self.id = id
        self.title = f"Article {id}"


def load_article(request: Request) -> Article:
    log.append(f"hydrate in {where()}")
    if request.payload["id"] == 404:
        raise ObjectDoesNotExist
    return Article(request.payload["id"])


async def aload_article(request: Request) -> Article:
    log.append(f"hydrate in {where()}")
    return Article(request.payload["id"])


def spell(article: Article) -> str:
    log.append(f"dehydrate in {where()}")
    return article.title


@run_on_loop
def load_at_once(request: Request) -> Article:
    return load_article(request)


@run_on_loop
def spell_at_once(article: Article) -> str:
    return spell(article)


class Articles(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("get", schema=IdSchema, hydrate=load_article, dehydrate=ArticleSchema())
    async def get(self, request: Request) -> Any:
        log.append(f"handler in {where()}")
        return request.payload

    @route("sync.get", schema=IdSchema, hydrate=load_article, dehydrate=spell)
    def get_in_thread(self, request: Request) -> Any:
        log.append(f"handler in {where()}")
        return request.payload

    @route("async.get", schema=IdSchema, hydrate=aload_article, dehydrate="atitle_of")
    async def get_async(self, request: Request) -> Any:
        log.append(f"{request.data} {type(request.payload).__name__}")
        return request.payload

    @route("named.get", schema=IdSchema, hydrate="load", dehydrate="title_of")
    async def get_by_names(self, request: Request) -> Any:
        return request.payload

    def load(self, request: Request) -> Article:
        return Article(request.payload["id"])

    def title_of(self, article: Article) -> str:
        return article.title

    async def atitle_of(self, article: Article) -> str:
        return article.title

    @route("on_loop", hydrate=load_at_once, dehydrate=spell_at_once)
    @run_on_loop
    def get_on_loop(self, request: Request) -> Any:
        log.append(f"handler in {where()}")
        return request.payload

    @route("reply", dehydrate=spell_at_once)
    async def reply(self, request: Request) -> Reply:
        return Reply(Article(1), status=request.payload, headers={"X": 1})

    @route("none", dehydrate=spell_at_once)
    async def none(self, request: Request) -> None:
        return None

    @route("none.202", status=202)
    async def accepted(self, request: Request) -> None:
        return None

    @route("misfit", dehydrate=ArticleSchema(many=True))
    async def misfit(self, request: Request) -> Any:
        return 1

    @route("bad.dump", dehydrate=IdSchema(many=True))
    async def bad_dump(self, request: Request) -> Any:
        raise_on_iteration: Any = iter(_refusing())
        return raise_on_iteration

    @route("coroutine")
    def forgot_async(self, request: Request) -> Any:
        return aload_article(request)

    @route("coroutine.hydrate", hydrate=lambda request: aload_article(request))
    async def forgot_async_hook(self, request: Request) -> Any:
        return request.payload


def _refusing() -> Iterator[Any]:
    raise ValidationError("a fault of ours, not of the client")
    yield


async def test_a_request_goes_through_schema_hydrate_handler_and_dehydrate() -> None:
    async with RouteClient(Articles) as client:
        reply = await client.call("get", {"id": 3})
        assert (reply.status, reply.payload) == (200, {"id": 3, "title": "Article 3"})
        assert log == [f"hydrate in {THREAD}", f"handler in {LOOP}"]


async def test_hydrate_is_not_asked_for_what_the_schema_refuses() -> None:
    async with RouteClient(Articles) as client:
        assert (await client.call("get", {"id": "x"})).status == 422
        assert log == []


async def test_the_handler_is_not_asked_for_what_hydrate_does_not_find() -> None:
    async with RouteClient(Articles) as client:
        reply = await client.call("get", {"id": 404})
        assert (reply.status, reply.payload["code"]) == (404, "not_found")
        assert log == [f"hydrate in {THREAD}"]


async def test_consecutive_sync_steps_share_one_hop(hops: list[Any]) -> None:
    async with RouteClient(Articles) as client:
        assert (await client.call("sync.get", {"id": 3})).payload == "Article 3"
        assert log == [f"hydrate in {THREAD}", f"handler in {THREAD}", f"dehydrate in {THREAD}"]
        assert len(hops) == 1


async def test_a_route_of_async_steps_pays_no_hop(hops: list[Any]) -> None:
    async with RouteClient(Articles) as client:
        assert (await client.call("async.get", {"id": 3})).payload == "Article 3"
        assert hops == []


async def test_a_step_marked_with_run_on_loop_runs_there(hops: list[Any]) -> None:
    async with RouteClient(Articles) as client:
        assert (await client.call("on_loop", {"id": 3})).payload == "Article 3"
        assert log == [f"hydrate in {LOOP}", f"handler in {LOOP}", f"dehydrate in {LOOP}"]
        assert hops == []


async def test_a_request_keeps_the_validated_input_beside_the_loaded_object() -> None:
    async with RouteClient(Articles) as client:
        await client.call("async.get", {"id": 3})
        assert log[-1] == "{'id': 3} Article"


async def test_hooks_may_be_named() -> None:
    async with RouteClient(Articles) as client:
        assert (await client.call("named.get", {"id": 5})).payload == "Article 5"


@pytest.mark.parametrize(("status", "payload"), [(200, "Article 1"), (299, "Article 1")])
async def test_a_reply_of_2xx_is_dehydrated(status: int, payload: str) -> None:
    async with RouteClient(Articles) as client:
        reply = await client.call("reply", status)
        assert (reply.status, reply.payload, reply.headers) == (status, payload, {"X": 1})


async def test_a_reply_of_another_class_is_not_dehydrated() -> None:
    async with RouteClient(Articles, raise_exceptions=False) as client:
        assert (await client.call("reply", 404)).status == 500  # an Article is no JSON
        assert log == []


async def test_none_is_204_and_not_dehydrated() -> None:
    async with RouteClient(Articles) as client:
        assert (await client.call("none")).status == 204
        assert (await client.call("none.202")).status == 202
        assert log == []


@pytest.mark.parametrize("name", ["misfit", "bad.dump"])
async def test_a_result_that_does_not_fit_its_schema_is_a_fault_of_ours(name: str) -> None:
    async with RouteClient(Articles, raise_exceptions=False) as client:
        assert (await client.call(name)).status == 500


@pytest.mark.parametrize("name", ["coroutine", "coroutine.hydrate"])
async def test_a_coroutine_that_nobody_awaits_is_a_fault_with_a_hint(name: str) -> None:
    async with RouteClient(Articles) as client:
        with pytest.raises(TypeError, match="async def"):
            await client.call(name, {"id": 1})


class Serializer(serializers.Serializer):  # type: ignore[misc]
    id = serializers.IntegerField()

    def validate_id(self, value: int) -> int:
        log.append(f"validate in {where()}")
        return value


class WithSerializer(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("sync", schema=Serializer)
    def sync(self, request: Request) -> Any:
        return request.payload

    @route("async", schema=Serializer)
    async def asynchronous(self, request: Request) -> Any:
        return request.payload


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_a_schema_that_may_use_the_database_runs_in_its_thread(name: str, hops: list[Any]) -> None:
    async with RouteClient(WithSerializer) as client:
        assert (await client.call(name, {"id": 1})).payload == {"id": 1}
        assert log == [f"validate in {THREAD}"]
        assert len(hops) == 1


def test_a_hook_that_the_class_does_not_have_is_found_at_class_creation() -> None:
    with pytest.raises(RouteSetupError, match=r"Broken\.get: hydrate='nowhere' is not a method"):

        class Broken(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("get", hydrate="nowhere")
            async def get(self, request: Request) -> None: ...


@pytest.mark.parametrize("option", ["hydrate", "dehydrate"])
def test_a_named_hook_that_cannot_be_called_is_found_at_class_creation(option: str) -> None:
    def without_argument(self: Any) -> None: ...

    def generator(self: Any, request: Request) -> Iterator[int]:
        yield 1

    for hook in (without_argument, generator):
        with pytest.raises(RouteSetupError, match="cannot be called as a hook"):

            class Broken(RouteMixin, AsyncJsonWebsocketConsumer):
                @route("get", **{option: "hook"})  # type: ignore[arg-type]
                async def get(self, request: Request) -> None: ...

                locals()["hook"] = hook


async def test_a_named_hook_may_be_a_static_method() -> None:
    class Static(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("get", hydrate="double")
        async def get(self, request: Request) -> Any:
            return request.payload

        @staticmethod
        def double(request: Request) -> Any:
            return request.payload * 2

    async with RouteClient(Static) as client:
        assert (await client.call("get", 4)).payload == 8


async def test_a_handler_can_be_patched_on_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    async def patched(self: Any, request: Request) -> str:
        return "patched"

    monkeypatch.setattr(Articles, "get_by_names", patched)
    monkeypatch.setattr(Articles, "title_of", lambda self, value: value)
    async with RouteClient(Articles) as client:
        assert (await client.call("named.get", {"id": 5})).payload == "patched"


class Parallel(RouteMixin, JsonWebsocketConsumer):
    @route("ident")
    def ident(self, request: Request) -> int:
        return threading.get_ident()


async def test_sync_handlers_of_all_sockets_share_djangos_thread() -> None:
    async with RouteClient(Parallel) as one, RouteClient(Parallel) as other:
        idents = {(await client.call("ident")).payload for client in (one, other, one)}
        assert len(idents) == 1
        assert idents != {threading.get_ident()}


async def outermost(request: Request, call_next: Any) -> Any:
    log.append("settings in")
    reply = await call_next(request)
    log.append(f"settings out {reply.status}")
    return reply


async def of_class(request: Request, call_next: Any) -> Any:
    log.append("class in")
    reply = await call_next(request)
    return Reply(reply.payload, 202, {"From": "class"})


async def of_route(request: Request, call_next: Any) -> Any:
    log.append("route in")
    if request.payload == "stop":
        return "stopped"
    return await call_next(request)


async def failing(request: Request, call_next: Any) -> Any:
    try:
        return await call_next(request)
    except NotFound as error:
        raise Unavailable(wait=1.5) from error


class Wrapped(RouteMixin, AsyncJsonWebsocketConsumer):
    route_middleware = [of_class]

    @route("both", middleware=[of_route], hydrate=run_on_loop(lambda request: request.payload), dehydrate="mark")
    async def both(self, request: Request) -> Any:
        log.append("handler")
        return request.payload

    @run_on_loop
    def mark(self, value: Any) -> Any:
        return f"{value}!"

    @route("failing", middleware=[failing])
    async def failing(self, request: Request) -> None:
        raise NotFound


MIDDLEWARE = {"MIDDLEWARE": ["tests.pipeline.test_plan.outermost"]}


async def test_middleware_stands_around_the_handler_from_settings_to_class_to_route() -> None:
    with override_settings(ROUTESOCK=MIDDLEWARE):
        async with RouteClient(Wrapped) as client:
            reply = await client.call("both", "x")
    assert log == ["settings in", "class in", "route in", "handler", "settings out 202"]
    assert (reply.status, reply.payload, reply.headers) == (202, "x!", {"From": "class"})


async def test_middleware_may_answer_itself() -> None:
    async with RouteClient(Wrapped) as client:
        assert (await client.call("both", "stop")).payload == "stopped"
        assert log == ["class in", "route in"]


async def test_middleware_may_turn_one_error_into_another() -> None:
    async with RouteClient(Wrapped) as client:
        reply = await client.call("failing")
        assert (reply.status, reply.headers) == (503, {"Retry-After": 2})


async def test_settings_are_read_when_a_socket_opens() -> None:
    async with RouteClient(Wrapped) as client:
        with override_settings(ROUTESOCK=MIDDLEWARE):
            await client.call("both", "x")
    assert "settings in" not in log
