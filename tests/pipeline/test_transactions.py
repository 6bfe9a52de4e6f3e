"""``atomic=`` and ``ATOMIC_REQUESTS``: hydrate, handler and dehydrate in one hop and one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from django.http import Http404
from marshmallow import Schema, fields

from routesock import Reply, Request, RouteMixin, RouteSetupError, route, run_on_loop, topic
from routesock._runtime import database
from routesock.exceptions import NotFound
from routesock.testing import RouteClient

with_database = pytest.mark.django_db(transaction=True)


@pytest.fixture
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each function that was taken to the database thread."""
    taken: list[Any] = []
    original = database._in_thread

    async def counted(function: Any, args: Any) -> Any:
        taken.append(function)
        return await original(function, args)

    monkeypatch.setattr(database, "_in_thread", counted)
    return taken


class NameSchema(Schema):
    name = fields.Str()


class NumberSchema(Schema):
    number = fields.Int()


def in_transaction() -> bool:
    return connection.in_atomic_block


class Handlers:
    """Each handler adds a group, and fails in one of the ways to fail, or in none."""

    def add(self, request: Request) -> Group:
        return Group.objects.create(name=f"{request.route} {in_transaction()}")

    @route("fine")
    def fine(self, request: Request) -> Any:
        return self.add(request).name

    @route("error")
    def error(self, request: Request) -> None:
        self.add(request)
        raise ValueError

    @route("404")
    def missing(self, request: Request) -> None:
        self.add(request)
        raise Http404

    @route("own.404")
    def not_found(self, request: Request) -> None:
        self.add(request)
        raise NotFound

    @route("reply.409")
    def conflict(self, request: Request) -> Reply:
        return Reply(self.add(request).name, 409)

    @route("reply.202")
    def accepted(self, request: Request) -> Reply:
        return Reply(self.add(request).name, 202)

    @route("dehydrate.fails", dehydrate="fail")
    def serialised(self, request: Request) -> Any:
        return self.add(request)

    @route("hydrate.writes", hydrate="add")
    def hydrated(self, request: Request) -> None:
        raise NotFound

    @route("out", hydrate="add")
    @transaction.non_atomic_requests
    def opted_out(self, request: Request) -> None:
        raise NotFound

    @route("never", atomic=False)
    def never(self, request: Request) -> None:
        self.add(request)
        raise NotFound

    def fail(self, value: Any) -> Any:
        raise LookupError


class AsyncConsumer(RouteMixin, Handlers, AsyncJsonWebsocketConsumer):
    @route("async")
    async def in_async(self, request: Request) -> None:
        await Group.objects.acreate(name="async")
        raise NotFound

    @topic("topic.{name}")
    def subscribed(self, request: Request) -> Any:
        self.add(request)
        raise NotFound


class SyncConsumer(RouteMixin, Handlers, JsonWebsocketConsumer):
    pass


CONSUMERS = pytest.mark.parametrize("consumer", [AsyncConsumer, SyncConsumer])

ROLLED_BACK = ["error", "404", "own.404", "reply.409", "dehydrate.fails", "hydrate.writes"]

STATUSES = {"error": 500, "dehydrate.fails": 500, "reply.409": 409}


async def groups() -> list[str]:
    return [group.name async for group in Group.objects.order_by("pk")]


@with_database
@pytest.mark.usefixtures("atomic_requests")
@CONSUMERS
@pytest.mark.parametrize("name", ROLLED_BACK)
async def test_a_request_that_fails_leaves_nothing(consumer: type[Any], name: str) -> None:
    async with RouteClient(consumer, raise_exceptions=False) as client:
        assert (await client.call(name)).status == STATUSES.get(name, 404)
    assert await groups() == []


@with_database
@pytest.mark.usefixtures("atomic_requests")
@CONSUMERS
async def test_a_request_that_succeeds_is_committed_as_one(consumer: type[Any]) -> None:
    async with RouteClient(consumer) as client:
        assert (await client.call("fine")).payload == "fine True"
        assert (await client.call("reply.202")).payload == "reply.202 True"
    assert await groups() == ["fine True", "reply.202 True"]


@with_database
@pytest.mark.usefixtures("atomic_requests")
@CONSUMERS
@pytest.mark.parametrize("name", ["out", "never"])
async def test_a_route_may_opt_out(consumer: type[Any], name: str) -> None:
    async with RouteClient(consumer) as client:
        assert (await client.call(name)).status == 404
    assert await groups() == [f"{name} False"]


@with_database
@pytest.mark.usefixtures("atomic_requests")
async def test_async_handlers_have_no_transaction() -> None:
    async with RouteClient(AsyncConsumer) as client:
        assert (await client.call("async")).status == 404
    assert await groups() == ["async"]


@with_database
@pytest.mark.usefixtures("atomic_requests")
async def test_a_topic_has_one() -> None:
    async with RouteClient(AsyncConsumer) as client:
        assert (await client.call("SUBSCRIBE", {"topic": "topic.a"})).status == 404
    assert await groups() == []


@with_database
@CONSUMERS
async def test_without_the_setting_there_is_no_transaction(consumer: type[Any]) -> None:
    async with RouteClient(consumer) as client:
        assert (await client.call("own.404")).status == 404
        assert (await client.call("fine")).payload == "fine False"
    assert await groups() == ["own.404 False", "fine False"]


class Explicit(RouteMixin, AsyncJsonWebsocketConsumer):
    @route(
        "all",
        schema=NameSchema,
        hydrate="load",
        permissions=["may"],
        dehydrate=run_on_loop(lambda value: value),
        atomic=True,
    )
    def everything(self, request: Request) -> Any:
        return [*request.payload, in_transaction(), threading.current_thread() is threading.main_thread()]

    @route("schema", dehydrate=NumberSchema, atomic=True)
    def by_schema(self, request: Request) -> Any:
        Group.objects.create(name="x")
        return {"number": "no number"}

    @route("files", atomic="files")
    def in_files(self, request: Request) -> Any:
        return [connections["files"].in_atomic_block, in_transaction()]

    @route("both", atomic=["default", "files"])
    def in_both(self, request: Request) -> Any:
        return [connections["files"].in_atomic_block, in_transaction()]

    def load(self, request: Request) -> Any:
        return [in_transaction()]

    def may(self, request: Request) -> bool:
        return True


@with_database
async def test_hydrate_handler_and_dehydrate_take_one_hop(hops: list[Any]) -> None:
    async with RouteClient(Explicit) as client:
        assert (await client.call("all", {"name": "x"})).payload == [True, True, False]
    assert len(hops) == 1


@with_database
async def test_a_schema_that_cannot_serialise_the_result_rolls_back() -> None:
    async with RouteClient(Explicit, raise_exceptions=False) as client:
        assert (await client.call("schema")).status == 500
    assert await groups() == []


@pytest.mark.django_db(transaction=True, databases=["default", "files"])
@pytest.mark.parametrize(("name", "inside"), [("files", [True, False]), ("both", [True, True])])
async def test_other_databases_are_named_by_their_aliases(name: str, inside: list[bool]) -> None:
    async with RouteClient(Explicit) as client:
        assert (await client.call(name)).payload == inside


async def hook(value: Any) -> Any:
    return value


def handler(self: Any, request: Request) -> None: ...


async def async_handler(self: Any, request: Request) -> None: ...


def stream(self: Any, request: Request) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (stream, {}, "Remove atomic=, and write `with transaction.atomic():` around the queries for one item."),
        (async_handler, {}, "Write `def go`, or remove atomic= and call a sync function"),
        (run_on_loop(handler), {}, "is decorated with @run_on_loop, where no query may run. Remove that or atomic=."),
        (lambda self, request: None, {"hydrate": hook}, "Write all of them as `def`, or remove atomic=."),
        (lambda self, request: None, {"dehydrate": hook}, "Write all of them as `def`, or remove atomic=."),
        (transaction.non_atomic_requests(lambda self, request: None), {}, "Remove one of them."),
    ],
    ids=["stream", "async", "on-loop", "hydrate", "dehydrate", "opt-out"],
)
def test_what_cannot_be_in_a_transaction_is_an_error(function: Any, options: Any, message: str) -> None:
    with pytest.raises(RouteSetupError) as caught:
        type("Chat", (RouteMixin, AsyncJsonWebsocketConsumer), {"go": route("go", atomic=True, **options)(function)})
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [None, 1, "", [], ["default", 1]], ids=repr)
def test_a_value_that_names_no_database_is_an_error(value: Any) -> None:
    with pytest.raises(RouteSetupError, match="atomic= must be True, False, or the alias of a database"):
        route("go", atomic=value)
