"""Results that query the database when they are read, and lists for a schema of one object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pydantic
import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import Group
from marshmallow import Schema, fields, pre_dump
from rest_framework import serializers

from routesock import Reply, Request, RouteMixin, route, run_on_loop
from routesock._runtime import database
from routesock.exceptions import InternalError
from routesock.schemas import as_schema
from routesock.testing import RouteClient


class GroupSchema(Schema):
    name = fields.Str()


class GroupModel(pydantic.BaseModel):
    name: str = ""


class GroupStruct(msgspec.Struct):
    name: str = ""


class GroupSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(required=False)


MANY = {
    "marshmallow": GroupSchema(many=True),
    "pydantic": list[GroupModel],
    "msgspec": list[GroupStruct],
    "drf": GroupSerializer(many=True),
}

ONE = {"marshmallow": GroupSchema, "pydantic": GroupModel, "msgspec": GroupStruct, "drf": GroupSerializer}

NAMES = {
    "marshmallow": "GroupSchema(many=True)",
    "pydantic": "list[GroupModel]",
    "msgspec": "list[GroupStruct]",
    "drf": "GroupSerializer(many=True)",
}


def consumer(schema: Any) -> Any:
    class Groups(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("queryset", dehydrate=schema)
        def queryset(self, request: Request) -> Any:
            return Group.objects.order_by("name")

        @route("manager", dehydrate=schema)
        def manager(self, request: Request) -> Any:
            return Group.objects

        @route("generator", dehydrate=schema)
        def generator(self, request: Request) -> Any:
            return (group for group in Group.objects.order_by("name"))

        @route("reply", dehydrate=schema)
        def reply(self, request: Request) -> Any:
            return Reply(Group.objects.order_by("name"), status=203)

    return Groups


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each function that was taken to the database thread."""
    taken: list[Any] = []
    original = database._in_thread

    async def counted(function: Any, args: tuple[Any, ...]) -> Any:
        taken.append(function)
        return await original(function, args)

    monkeypatch.setattr(database, "_in_thread", counted)
    return taken


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("library", MANY)
async def test_a_sync_handler_may_return_a_queryset(library: str, hops: list[Any]) -> None:
    """It is evaluated and serialised in the handler's own hop, whichever library the schema is from."""
    await Group.objects.abulk_create([Group(name="a"), Group(name="b")])
    async with RouteClient(consumer(MANY[library])) as client:
        hops.clear()
        for name in ("queryset", "manager", "generator", "reply"):
            assert (await client.call(name)).payload == [{"name": "a"}, {"name": "b"}], name
    assert len(hops) == 4


class Marked(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("on_loop", dehydrate=run_on_loop(GroupSchema(many=True)))
    def on_loop(self, request: Request) -> Any:
        return Group.objects.all()

    @route("async", dehydrate=GroupSchema(many=True))
    async def in_async(self, request: Request) -> Any:
        return Group.objects.all()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["on_loop", "async"])
async def test_a_schema_runs_on_the_loop_if_it_says_so_or_the_handler_does(name: str) -> None:
    async with RouteClient(Marked, raise_exceptions=False) as client:
        assert (await client.call(name)).status == 500


@pytest.mark.parametrize("library", ONE)
@pytest.mark.parametrize("make", [list, tuple, set, iter, lambda items: Group.objects.none()])
def test_a_list_through_a_schema_for_one_object_names_the_fix(library: str, make: Any) -> None:
    """Some libraries would find no field in it, and answer with an empty object."""
    with pytest.raises(TypeError) as caught:
        as_schema(ONE[library]).dump(make([Group]))
    assert f"Write {NAMES[library]}." in str(caught.value)


class Texts(pydantic.RootModel[list[str]]):
    pass


class Pair(msgspec.Struct, array_like=True):
    first: int
    second: int


class Tree(pydantic.BaseModel):
    children: list[Tree] = []


class Gathered(pydantic.BaseModel):
    names: list[str]

    @pydantic.model_validator(mode="before")
    @classmethod
    def gather(cls, value: Any) -> Any:
        return {"names": list(value)}


class Wrapped(Schema):
    names = fields.List(fields.Str())

    @pre_dump
    def wrap(self, value: Any, **kwargs: Any) -> Any:
        return {"names": value}


class Joined(serializers.Serializer[Any]):
    def to_representation(self, instance: Any) -> Any:
        return {"text": ", ".join(instance)}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (Texts, ["a"], ["a"]),
        (Pair, [1, 2], [1, 2]),
        (Gathered, ["a"], {"names": ["a"]}),
        (Wrapped, ["a"], {"names": ["a"]}),
        (Joined, ["a", "b"], {"text": "a, b"}),
    ],
)
def test_a_schema_that_takes_a_list_is_left_alone(schema: Any, value: Any, expected: Any) -> None:
    dumped = as_schema(schema).dump(value)
    assert dumped == expected


def test_a_model_that_refers_to_itself_takes_no_list() -> None:
    with pytest.raises(TypeError, match=r"Write list\[Tree\]"):
        as_schema(Tree).dump([])


def failing() -> Iterator[Any]:
    yield Group(name="a")
    raise LookupError("in the generator")


class Failing(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("failing", dehydrate=GroupSchema(many=True))
    def failing(self, request: Request) -> Any:
        return failing()

    @route("plain")
    def plain(self, request: Request) -> Any:
        return failing()


@pytest.mark.parametrize("name", ["failing", "plain"])
async def test_a_generator_that_fails_or_that_nothing_serialises_is_a_500(name: str) -> None:
    async with RouteClient(Failing, raise_exceptions=False) as client:
        assert (await client.call(name)).status == InternalError.status
