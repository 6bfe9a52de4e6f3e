"""What the schemas of each library see of the request."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import marshmallow
import pydantic
import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import Group, User
from django.urls import path
from marshmallow import fields
from rest_framework import permissions, serializers

from routesock import Request, RouteMixin, route, run_in_thread, run_on_loop, topic
from routesock.permissions.rest_framework import RestFramework
from routesock.schemas import PlainAdapter, SchemaAdapter, as_schema
from routesock.schemas.base import loader_of, takes_request
from routesock.testing import RouteClient

MARSHMALLOW_3 = "context" in inspect.signature(marshmallow.Schema).parameters


def made_by_hand(route: str = "note", payload: Any = None) -> Request:
    return Request(route, 1, payload)


# Functions and adapters of the project


class Old(SchemaAdapter):
    """An adapter that was written before adapters got the request."""

    def load(self, payload: Any) -> Any:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return [payload]

    def dump(self, value: Any) -> Any:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return {"dumped": value}


class New(SchemaAdapter):
    def load(self, payload: Any, request: Request | None = None) -> Any:
        return [payload, request.route if request else None]

    def dump(self, value: Any, request: Request | None = None) -> Any:
        return {"dumped": value, "route": request.route if request else None}


def with_route(payload: Any, request: Request | None) -> Any:
    return [payload, None if request is None else request.route]


def strict(payload: Any, strict: bool = True) -> Any:
    return [payload, strict]


class Notes(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("old", schema=Old(), dehydrate=Old())
    async def old(self, request: Request) -> Any:
        return request.payload

    @route("new", schema=New(), dehydrate=New())
    async def new(self, request: Request) -> Any:
        return request.payload

    @route("items", dehydrate=New())
    async def items(self, request: Request) -> Any:
        yield 1

    @route("threaded", schema=run_in_thread(New()), dehydrate=run_on_loop(Old()))
    async def threaded(self, request: Request) -> Any:
        return request.payload

    @route("function", schema=with_route)
    async def function(self, request: Request) -> Any:
        return request.payload

    @route("default", schema=strict)
    async def default(self, request: Request) -> Any:
        return request.payload

    @topic("room.{id}", schema=with_route)
    async def room(self, request: Request) -> Any:
        return request.payload


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("old", {"dumped": ["x"]}),
        ("new", {"dumped": ["x", "new"], "route": "new"}),
        ("threaded", {"dumped": ["x", "threaded"]}),
        ("function", ["x", "function"]),
        ("default", ["x", True]),
    ],
)
async def test_an_adapter_gets_the_request_if_its_method_takes_it(name: str, expected: Any) -> None:
    """Decided by the signature; a second argument with a default and another name is not the request."""
    async with RouteClient(Notes) as client:
        assert (await client.call(name, "x")).payload == expected


async def test_the_items_of_a_stream_are_dumped_with_the_request() -> None:
    async with RouteClient(Notes) as client:
        items = [item.payload async for item in client.stream("items")]
    assert items == [{"dumped": 1, "route": "items"}, None]


async def test_the_schema_of_a_topic_gets_the_request() -> None:
    async with RouteClient(Notes) as client:
        assert (await client.call("SUBSCRIBE", {"topic": "room.5"})).payload[1] == "SUBSCRIBE"


def test_a_second_argument_is_the_request_by_its_name_or_if_it_has_no_default() -> None:
    for function, taken in [
        (lambda payload, request=None: 0, True),
        (lambda payload, context: 0, True),
        (lambda payload, other=None: 0, False),
        (lambda *payload: 0, False),
        (lambda payload, *, request=None: 0, False),
        (dict.fromkeys, False),
    ]:
        assert takes_request(function) is taken, function


def test_a_push_and_an_event_have_no_request() -> None:
    """A function with a second argument gets ``None``."""
    assert PlainAdapter(with_route).dump_checked("x") == ["x", None]
    assert loader_of(New())("x", None) == ["x", None]
    assert loader_of(run_in_thread(Old()))("x", None) == ["x"]


# DRF


class OwnedSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()
    owner = serializers.HiddenField(default=serializers.CurrentUserDefault())

    def validate_text(self, text: str) -> str:
        view = self.context["view"]
        assert self.context["format"] is None
        return f"{text} {view.action} {view.kwargs} {self.context['request'].data}"


class NumberSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    owner = serializers.HiddenField(default=serializers.CurrentUserDefault())

    def validate(self, attrs: Any) -> Any:
        return {**attrs, "action": self.context["view"].action}


class LinkedSerializer(serializers.HyperlinkedModelSerializer[Group]):
    class Meta:
        model = Group
        fields = ("url", "name")


class Nested(serializers.Serializer[Any]):
    user = serializers.SerializerMethodField()

    def get_user(self, value: Any) -> Any:
        return [self.context["request"].user.username, self.context.get("mark"), "nothing" in self.context]


class Outer(serializers.Serializer[Any]):
    inner = Nested(source="*")


urlpatterns = [path("groups/<int:pk>/", lambda request, pk: None, name="group-detail")]  # type: ignore[arg-type, misc]


class Seen(permissions.BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return bool(view.action == "with_permission")


class Rest(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("own", schema=OwnedSerializer)
    async def own_note(self, request: Request) -> Any:
        return [request.payload["text"], request.payload["owner"].username]

    @route("permitted", schema=OwnedSerializer, permissions=[RestFramework(Seen, method="GET")])
    async def with_permission(self, request: Request) -> Any:
        return request.payload["text"]

    @topic("notes.{id}", schema=NumberSerializer)
    async def notes(self, request: Request) -> Any:
        return [request.payload["id"], request.payload["owner"].username, request.payload["action"]]

    @route("group", dehydrate=LinkedSerializer)
    def group(self, request: Request) -> Any:
        return Group(pk=7, name="a")

    @route("nested", dehydrate=Outer(many=True, context={"mark": 1}))
    async def nested(self, request: Request) -> Any:
        return [object()]


async def test_a_serializer_has_the_user_the_view_and_the_format() -> None:
    """As in a view: ``CurrentUserDefault`` is the socket's user."""
    async with RouteClient(Rest, as_user=User(pk=1, username="ann")) as client:
        reply = await client.call("own", {"text": "hi"})
        assert reply.payload == ["hi own_note {} {'text': 'hi'}", "ann"]


async def test_permissions_and_serializers_of_a_request_see_one_action() -> None:
    async with RouteClient(Rest, as_user=User(pk=1, username="ann")) as client:
        assert (await client.call("permitted", {"text": "hi"})).payload == "hi with_permission {} {'text': 'hi'}"


async def test_the_serializer_of_a_topic_has_the_user() -> None:
    async with RouteClient(Rest, as_user=User(pk=1, username="ann")) as client:
        assert (await client.call("SUBSCRIBE", {"topic": "notes.5"})).payload == [5, "ann", "notes"]


async def test_hyperlinks_are_absolute(settings: Any) -> None:
    """With the scheme and the host of the handshake."""
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["shop.example"]
    async with RouteClient(Rest, headers=[(b"host", b"shop.example")]) as client:
        payload = (await client.call("group")).payload
        assert payload == {"url": "http://shop.example/groups/7/", "name": "a"}


async def test_nested_serializers_share_the_context_and_what_the_project_has_put_into_it() -> None:
    async with RouteClient(Rest, as_user=User(pk=1, username="ann")) as client:
        assert (await client.call("nested")).payload == [{"inner": {"user": ["ann", 1, False]}}]


def test_a_serializer_in_a_push_has_no_request() -> None:
    """Nor has one with a request that belongs to no consumer."""
    for request in (None, made_by_hand()):
        with pytest.raises(KeyError):
            as_schema(Outer).dump(object(), request)


def test_the_request_of_drf_is_made_only_if_a_serializer_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from routesock.schemas import rest_framework

    monkeypatch.delattr(rest_framework, "view_of")
    request = made_by_hand()
    request.consumer = Rest()
    serializer = as_schema(NameSerializer)
    assert serializer.load({"name": "a"}, request) == {"name": "a"}


class NameSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()


# pydantic


class Priced(pydantic.BaseModel):
    price: int

    @pydantic.field_validator("price")
    @classmethod
    def check(cls, price: int, info: pydantic.ValidationInfo) -> int:
        route = info.context["request"].route if info.context else None
        if route == "cheap" and price > 10:
            raise ValueError("too dear")
        return price

    @pydantic.field_serializer("price")
    def with_route(self, price: int, info: Any) -> Any:
        context = getattr(info, "context", None)  # there is none before pydantic 2.7
        return [price, context["request"].route if context else None]


def test_validators_and_serializers_of_pydantic_find_the_request_in_their_context() -> None:
    adapter = as_schema(Priced)
    assert adapter.load({"price": 50}, made_by_hand("dear")).price == 50
    assert adapter.load({"price": 50}).price == 50
    with pytest.raises(pydantic.ValidationError) as caught:
        adapter.dump({"price": 50}, made_by_hand("cheap"))
    assert "too dear" in str(caught.value)
    assert adapter.dump({"price": 5}) == {"price": [5, None]}


def test_serializers_of_pydantic_find_the_request_in_their_context() -> None:
    """From pydantic 2.8 on, whose ``TypeAdapter.dump_python`` takes a context."""
    seen = "cheap" if "context" in inspect.signature(pydantic.TypeAdapter.dump_python).parameters else None
    assert as_schema(list[Priced]).dump([{"price": 5}], made_by_hand("cheap")) == [{"price": [5, seen]}]


def test_a_model_that_reads_no_context_is_given_none() -> None:
    class Plain(pydantic.BaseModel):
        price: int

    adapter: Any = as_schema(Plain)
    assert not adapter._has_context
    assert adapter.load({"price": 1}, made_by_hand()).price == 1
    assert adapter.dump({"price": 1}, made_by_hand()) == {"price": 1}


def test_model_post_init_gets_the_context() -> None:
    class After(pydantic.BaseModel):
        seen: str = ""

        def model_post_init(self, context: Any, /) -> None:
            self.seen = context["request"].route

    assert as_schema(After).load({}, made_by_hand("here")).seen == "here"


# marshmallow


def current_route() -> Any:
    from marshmallow.experimental.context import Context  # type: ignore[import-not-found, unused-ignore]

    context: Any = Context.get(None)
    return None if context is None else context["request"].route


class RoutedSchema(marshmallow.Schema):
    name = fields.Str()

    def route(self) -> Any:
        if not MARSHMALLOW_3:
            return current_route()
        request = self.context["request"]  # type: ignore[attr-defined, unused-ignore]
        return request.route if request else None

    @marshmallow.post_load
    def add(self, data: Any, **kwargs: Any) -> Any:
        return {**data, "loaded": self.route()}

    @marshmallow.post_dump
    def show(self, data: Any, **kwargs: Any) -> Any:
        return {**data, "dumped": self.route()}


class OuterSchema(marshmallow.Schema):
    inner = fields.Nested(RoutedSchema)
    others = fields.List(fields.Nested(RoutedSchema()))


def test_hooks_of_marshmallow_find_the_request_in_the_context() -> None:
    """In nested schemas, too; and not the request of an earlier message."""
    if not MARSHMALLOW_3:
        __import__("marshmallow.experimental.context")
    adapter = as_schema(OuterSchema)
    payload = {"inner": {"name": "a"}, "others": [{"name": "b"}]}
    for route_name in ("one", "two"):
        request = made_by_hand(route_name)
        assert adapter.load(payload, request) == {
            "inner": {"name": "a", "loaded": route_name},
            "others": [{"name": "b", "loaded": route_name}],
        }
        assert adapter.dump(payload, request)["others"] == [{"name": "b", "dumped": route_name}]
    assert adapter.load(payload)["inner"] == {"name": "a", "loaded": None}
    assert adapter.dump_checked(payload)["inner"] == {"name": "a", "dumped": None}


class Shared(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("one", schema=run_in_thread(RoutedSchema()), parallel=True)
    async def one(self, request: Request) -> Any:
        return request.payload["loaded"]

    @route("two", schema=RoutedSchema)
    async def two(self, request: Request) -> Any:
        return request.payload["loaded"]


async def test_sockets_do_not_see_the_requests_of_others() -> None:
    if not MARSHMALLOW_3:
        __import__("marshmallow.experimental.context")
    async with RouteClient(Shared) as first, RouteClient(Shared) as second:
        calls = [client.call(name, {}) for name in ("one", "two") * 3 for client in (first, second)]
        replies = await asyncio.gather(*calls)
    assert [reply.payload for reply in replies] == ["one", "one", "two", "two"] * 3


@pytest.mark.filterwarnings("ignore:The `context` parameter:DeprecationWarning")  # marshmallow 3.24 to 3.26
def test_a_context_of_the_project_is_kept() -> None:
    """Beside the request: with marshmallow 3 that of the schema, with marshmallow 4 the one around the request."""
    request = made_by_hand("here")
    if MARSHMALLOW_3:
        schema = Reading(context={"tenant": 5})  # type: ignore[call-arg, unused-ignore]
        loaded = as_schema(schema).load({}, request)
        assert loaded == {"tenant": 5, "route": "here"}
        return
    from marshmallow.experimental.context import Context  # type: ignore[import-not-found, unused-ignore]

    with Context({"tenant": 5}):
        assert as_schema(Reading).load({}, request) == {"tenant": 5, "request": request}
    with Context("tenant"):  # no dict: left alone
        assert as_schema(Reading).load({}, request) == "tenant"


class Reading(marshmallow.Schema):
    @marshmallow.post_load
    def read(self, data: Any, **kwargs: Any) -> Any:
        if MARSHMALLOW_3:
            context = self.context  # type: ignore[attr-defined, unused-ignore]
            return {"tenant": context["tenant"], "route": context["request"].route}
        from marshmallow.experimental.context import Context  # type: ignore[import-not-found, unused-ignore]

        return Context.get()
