"""Marks on methods, what a class collects of them, and what is refused when it is created."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
import textwrap
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar
from unittest import mock

import marshmallow
import pytest
from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

from routesock import Keys, Request, RouteMixin, RouteSetupError, event, route, topic
from routesock._routing.arguments import RESERVED
from routesock._routing.route import Route
from routesock.checks.consumers import consumers
from routesock.dialects.base import MAX_ROUTE_CHARS
from routesock.testing import RouteClient

if TYPE_CHECKING:
    from fractions import Fraction

HERE = Path(__file__).resolve().parent.parent
T = TypeVar("T")


class Plain(RouteMixin, AsyncJsonWebsocketConsumer):
    """A consumer to derive from."""


class Messages:
    """A plain mixin with a route: neither a consumer nor a RouteMixin."""

    @route("send", status=201, timeout=3, tags="chat")
    async def send_message(self, request: Request) -> Any:
        return "base"


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def routes_of(cls: type) -> dict[str, Route]:
    return {name: plan.route for name, plan in cls._routesock.plans.items()}  # type: ignore[attr-defined]


def attrs_of(cls: type) -> dict[str, str]:
    return {name: route.attr for name, route in routes_of(cls).items()}


def consumer(*bases: type, **attributes: Any) -> type:
    return type("Chat", (*bases, Plain), attributes)


def consumer_with(handler: Any, attr: str = "handler") -> type:
    return consumer(**{attr: handler})


def given(**options: Any) -> Any:
    """A mark with ``options``, of which a type checker knows nothing."""
    return route("send", **options)


def refusal(make: Callable[[], object]) -> str:
    """The message with which ``make`` is refused."""
    with pytest.raises(RouteSetupError) as caught:
        make()
    return str(caught.value)


async def answers(cls: type, name: str, payload: Any = None) -> Any:
    async with RouteClient(cls) as client:
        return (await client.call(name, payload)).payload


class TestMarks:
    def test_decorated_function_is_the_same_object(self) -> None:
        """The decorator marks; it wraps nothing."""

        async def handler(self: Any, request: Request) -> None: ...

        assert route("send")(handler) is handler

    async def test_decorated_method_stays_callable(self) -> None:
        """A test may call a handler as the method that it is."""
        assert await Messages().send_message(Request(route="send")) == "base"

    def test_stacked_marks_are_aliases(self) -> None:
        """Each mark is a route of its own, with its own options."""

        class Chat(Plain):
            @route("chat.send", status=201)
            @route("send")
            async def handler(self, request: Request) -> None: ...

        assert attrs_of(Chat) == {"chat.send": "handler", "send": "handler"}
        assert [route.status for route in routes_of(Chat).values()] == [201, None]

    def test_one_name_cannot_stand_twice_on_a_method(self) -> None:
        """Two marks of one name would leave open whose options hold."""

        @route("send")
        def handler(self: Any, request: Request) -> None: ...

        assert "twice. Remove one." in refusal(lambda: route("send")(handler))

    def test_wrapper_made_with_wraps_keeps_the_mark(self) -> None:
        """A decorator above ``@route`` needs to know nothing of it."""

        def logged(function: Any) -> Any:
            @functools.wraps(function)
            async def wrapper(self: Any, request: Request) -> Any:
                return await function(self, request)

            return wrapper

        class Chat(Plain):
            @logged
            @route("send", status=201)
            async def handler(self, request: Request) -> None: ...

        assert routes_of(Chat)["send"].status == 201

    @pytest.mark.parametrize("outside", [True, False], ids=["above", "below"])
    async def test_database_sync_to_async_stands_above_or_below_the_mark(self, outside: bool) -> None:
        """Channels' own decorator keeps a route a route, in either order."""

        def handler(self: Any, request: Request) -> Any:
            return type(self).__name__

        mark: Any = route("send")
        marked = database_sync_to_async(mark(handler)) if outside else mark(database_sync_to_async(handler))
        assert await answers(consumer_with(marked), "send") == "Chat"

    @pytest.mark.parametrize("outside", [True, False], ids=["above", "below"])
    async def test_staticmethod_stands_above_or_below_the_mark(self, outside: bool) -> None:
        """A static method takes the request alone, in either order of the decorators."""

        async def handler(request: Request) -> Any:
            return request.payload

        mark: Any = route("send")
        marked = staticmethod(mark(handler)) if outside else mark(staticmethod(handler))
        assert await answers(consumer_with(marked), "send", 7) == 7

    @pytest.mark.parametrize("outside", [True, False], ids=["above", "below"])
    async def test_classmethod_stands_above_or_below_the_mark(self, outside: bool) -> None:
        """A class method takes the class and the request, in either order of the decorators."""

        async def handler(cls: type, request: Request) -> Any:
            return cls.__name__

        mark: Any = route("send")
        marked = classmethod(mark(handler)) if outside else mark(classmethod(handler))
        assert await answers(consumer_with(marked), "send") == "Chat"

    async def test_cached_method_is_a_handler(self) -> None:
        """``functools.lru_cache`` hands the mark on, as every wrapper that copies ``__dict__`` does."""

        @functools.lru_cache
        @route("send")
        def handler(self: Any, request: Request) -> str:
            return "cached"

        assert await answers(consumer_with(handler), "send") == "cached"

    @pytest.mark.parametrize("descriptor", [property, functools.cached_property])
    def test_property_cannot_be_a_handler(self, descriptor: Any) -> None:
        """A mark under a property is no silent nothing: it is an error that names the attribute."""
        marked = descriptor(route("send")(lambda self: None))
        assert refusal(lambda: consumer_with(marked)).startswith("Chat.handler overrides a route with <")

    @pytest.mark.parametrize("handler", [None, "send", 5, Messages], ids=repr)
    def test_only_a_method_can_be_marked(self, handler: Any) -> None:
        """A value or a class under the decorator is refused."""
        assert "decorates a method, not" in refusal(lambda: route("send")(handler))

    def test_decorator_without_parentheses_says_how_to_write_it(self) -> None:
        """``@route`` alone gets the function as the name, and the message shows a name."""

        async def handler(self: Any, request: Request) -> None: ...

        assert '@route("chat.send")' in refusal(lambda: route(handler))  # type: ignore[arg-type]

    def test_class_attributes_are_not_evaluated_by_the_search(self) -> None:
        """A lazy object on a class stays lazy while marks are looked for."""
        evaluated = mock.Mock(return_value=5)
        consumer(lazy=SimpleLazyObject(evaluated), api=mock.MagicMock())
        evaluated.assert_not_called()


class TestCollection:
    def test_plain_mixin_carries_routes(self) -> None:
        """A class that knows neither Channels nor the mixin may hold handlers."""
        assert attrs_of(consumer(Messages)) == {"send": "send_message"}

    def test_plain_mixin_behind_the_consumer_carries_routes(self) -> None:
        """Where in the MRO a handler stands does not matter."""
        assert attrs_of(type("Chat", (Plain, Messages), {})) == {"send": "send_message"}

    async def test_undecorated_override_keeps_the_options(self) -> None:
        """Overriding a handler is plain Python: the route stays what it was."""

        class Chat(Messages, Plain):
            async def send_message(self, request: Request) -> Any:
                return "own"

        assert routes_of(Chat)["send"].status == 201
        assert await answers(Chat, "send") == "own"

    def test_decorated_override_replaces_the_options(self) -> None:
        """Nothing of the overridden mark is merged in."""

        class Chat(Messages, Plain):
            @route("send", timeout=9)
            async def send_message(self, request: Request) -> Any: ...

        route_ = routes_of(Chat)["send"]
        assert (route_.status, route_.timeout, route_.tags) == (None, 9.0, ())

    def test_decorated_override_replaces_the_name(self) -> None:
        """The old name is gone."""

        class Chat(Messages, Plain):
            @route("say")
            async def send_message(self, request: Request) -> Any: ...

        assert attrs_of(Chat) == {"say": "send_message"}

    def test_override_of_an_override_keeps_the_nearest_options(self) -> None:
        """The first marks along the MRO hold."""

        class Louder(Messages):
            @route("send", status=202)
            async def send_message(self, request: Request) -> Any: ...

        class Chat(Louder, Plain):
            async def send_message(self, request: Request) -> Any: ...

        assert routes_of(Chat)["send"].status == 202

    def test_none_removes_a_route(self) -> None:
        """``name = None``, as in Django's forms."""

        class Chat(Messages, Plain):
            send_message = None  # type: ignore[assignment]

        assert attrs_of(Chat) == {}

    def test_removed_route_stays_removed(self) -> None:
        """A later method of that name is no handler unless it says so: a helper must not become public by its name."""

        class Quiet(Messages, Plain):
            send_message = None  # type: ignore[assignment]

        class Chat(Quiet):
            async def send_message(self, request: Request) -> Any: ...  # type: ignore[override]

        class Again(Quiet):
            @route("send")
            async def send_message(self, request: Request) -> Any: ...  # type: ignore[override]

        assert attrs_of(Chat) == {}
        assert attrs_of(Again) == {"send": "send_message"}

    def test_override_by_a_value_is_refused(self) -> None:
        """What is neither a method nor ``None`` was a mistake."""
        message = refusal(lambda: consumer(Messages, send_message=5))
        assert message == "Chat.send_message overrides a route with 5. Write a method, or None to remove the route."

    def test_one_name_on_two_methods_is_refused(self) -> None:
        """The error names both."""

        class One:
            @route("x")
            async def one(self, request: Request) -> None: ...

            @route("x")
            async def two(self, request: Request) -> None: ...

        assert "Both Chat.one and Chat.two handle the route 'x'." in refusal(lambda: consumer(One))

    def test_claim_on_an_inherited_name_says_how_to_remove_it(self) -> None:
        """The remedy is about the inherited method, not about the new one."""
        message = refusal(lambda: consumer(Messages, say=route("send")(lambda self, request: None)))
        assert message.endswith("Rename one, or remove an inherited one with `send_message = None`.")

    def test_inherited_name_is_free_once_it_is_removed(self) -> None:
        """That remedy works."""
        cls = consumer(Messages, send_message=None, say=route("send")(lambda self, request: None))
        assert attrs_of(cls) == {"send": "say"}

    def test_diamond_takes_the_first_along_the_mro(self) -> None:
        """Of two overrides of one handler, Python's own order decides, for the code and for the options."""

        class Left(Messages):
            @route("send", status=202)
            async def send_message(self, request: Request) -> Any: ...

        class Right(Messages):
            @route("send", status=203)
            async def send_message(self, request: Request) -> Any: ...

        class Undecorated(Messages):
            async def send_message(self, request: Request) -> Any: ...

        assert routes_of(consumer(Left, Right))["send"].status == 202
        assert routes_of(consumer(Right, Left))["send"].status == 203
        assert routes_of(consumer(Undecorated, Right))["send"].status == 203

    def test_diamond_with_a_removal_follows_the_mro(self) -> None:
        """``None`` counts where it is the first, and only there."""

        class Removing(Messages):
            send_message = None  # type: ignore[assignment]

        class Marked(Messages):
            @route("send")
            async def send_message(self, request: Request) -> Any: ...

        assert attrs_of(consumer(Removing, Marked)) == {}
        assert attrs_of(consumer(Marked, Removing)) == {"send": "send_message"}

    def test_subclass_adds_to_its_bases_alone(self) -> None:
        """A base and a sibling know nothing of a subclass's routes."""
        base = consumer(Messages)
        sub = type("Sub", (base,), {"say": route("say")(lambda self, request: None)})
        assert list(attrs_of(sub)) == ["send", "say"]
        assert list(attrs_of(base)) == ["send"]

    def test_two_routed_consumers_can_be_combined(self) -> None:
        """The routes of both are there."""
        one = consumer(Messages)
        two = consumer(say=route("say")(lambda self, request: None))
        assert sorted(attrs_of(type("Both", (one, two), {}))) == ["say", "send"]

    def test_generic_consumer_is_collected(self) -> None:
        """``Generic`` among the bases changes nothing."""

        class Base(Plain, Generic[T]):
            @route("send")
            async def handler(self, request: Request) -> None: ...

        class Chat(Base[int]): ...

        assert attrs_of(Chat) == {"send": "handler"}

    def test_mangled_name_is_found(self) -> None:
        """A handler may be private to its class."""

        class Chat(Plain):
            @route("send")
            async def __handler(self, request: Request) -> None: ...

        assert attrs_of(Chat) == {"send": "_Chat__handler"}

    async def test_handler_patched_on_the_class_is_called(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A handler is looked up at each call, so that a test can replace it."""
        cls: Any = consumer(Messages)

        async def patched(self: Any, request: Request) -> str:
            return "patched"

        monkeypatch.setattr(cls, "send_message", patched)
        assert await answers(cls, "send") == "patched"


class TestPrefix:
    def test_prefix_stands_in_front_of_every_name(self) -> None:
        """Inherited routes have it too."""
        assert list(attrs_of(consumer(Messages, route_prefix="chat."))) == ["chat.send"]

    def test_subclass_overrides_the_prefix(self) -> None:
        """One set of handlers serves under two names."""
        base = consumer(Messages, route_prefix="chat.")
        assert list(attrs_of(type("Sub", (base,), {"route_prefix": "room."}))) == ["room.send"]

    @pytest.mark.parametrize("prefix", [None, 5, b"chat."])
    def test_prefix_is_a_string(self, prefix: Any) -> None:
        """Anything else is refused."""
        assert "Chat.route_prefix must be a string" in refusal(lambda: consumer(Messages, route_prefix=prefix))

    def test_prefixed_name_is_checked_as_a_whole(self) -> None:
        """A prefix can neither build a reserved name nor one that is too long."""
        ng = route("NG")(lambda self, request: None)
        assert "'PING' is reserved" in refusal(lambda: consumer(handler=ng, route_prefix="PI"))
        assert "at most" in refusal(lambda: consumer(Messages, route_prefix="x" * MAX_ROUTE_CHARS))


class TestNames:
    @pytest.mark.parametrize("name", [None, 5, "", b"send", ["send"], True])
    def test_name_is_a_string_that_is_not_empty(self, name: Any) -> None:
        """Anything else is refused."""
        assert "A route's name must be a string" in refusal(lambda: route(name))

    def test_name_has_as_many_characters_as_frames_may_name(self) -> None:
        """A longer one could never be called."""
        route("x" * MAX_ROUTE_CHARS)
        assert f"at most {MAX_ROUTE_CHARS} characters" in refusal(lambda: route("x" * (MAX_ROUTE_CHARS + 1)))

    @pytest.mark.parametrize("name", sorted(RESERVED))
    def test_reserved_name_is_refused(self, name: str) -> None:
        """The message gives the name to write instead; in lower case it is a name like any other."""
        assert refusal(lambda: route(name)).endswith(f"Write {name.lower()!r}.")
        route(name.lower())

    def test_reserved_names_are_these(self) -> None:
        """A name that is reserved later would break a project that uses it."""
        assert set(RESERVED) == {
            *"PING PONG CANCEL ANSWER CLOSE AUTH HELLO RESUME SUBSCRIBE UNSUBSCRIBE PRESENCE".split()
        }

    def test_member_of_an_enum_is_a_name(self) -> None:
        """A project may keep its names in a ``StrEnum``."""

        class Names(StrEnum):
            SEND = "send"

        assert "send" in attrs_of(consumer_with(route(Names.SEND)(lambda self, request: None)))

    @pytest.mark.parametrize("name", ["chat send", "чат", "\U0001f600", "__class__", "connect", "a/b"])
    async def test_any_other_string_is_a_name(self, name: str) -> None:
        """A route's name is looked up in a table, and is never an attribute."""
        assert await answers(consumer_with(route(name)(lambda self, request: 1)), name) == 1


class TestHandlers:
    @pytest.mark.parametrize(
        "handler",
        [
            lambda self, request: None,
            lambda self, request, more=None: None,
            lambda self, request, *more: None,
            lambda *all: None,
            lambda self, request, **options: None,
        ],
        ids=["two", "default", "rest", "all", "options"],
    )
    def test_handler_that_takes_self_and_request_is_accepted(self, handler: Any) -> None:
        """More is allowed where it is optional."""
        assert attrs_of(consumer_with(route("send")(handler)))

    @pytest.mark.parametrize(
        "handler",
        [
            lambda: None,
            lambda self: None,
            lambda self, request, more: None,
            lambda self, *, request: None,
            lambda self, request, *, more: None,
            staticmethod(lambda: None),
            staticmethod(lambda self, request: None),
            classmethod(lambda cls: None),
        ],
        ids=["none", "self", "three", "keyword", "option", "static none", "static two", "class"],
    )
    def test_handler_that_cannot_be_called_is_refused(self, handler: Any) -> None:
        """The message shows the signature, and the one to write."""
        message = refusal(lambda: consumer_with(route("send")(handler)))
        assert message.startswith("Chat.handler(")
        assert message.endswith("cannot be called as a handler. Write `def handler(self, request)`.")

    def test_override_is_checked_like_a_handler(self) -> None:
        """A method that happens to have a handler's name is found out at once."""
        assert "cannot be called" in refusal(lambda: consumer(Messages, send_message=lambda self, room, text: None))

    def test_callable_that_hides_its_signature_is_accepted(self) -> None:
        """What cannot be known is found out at the call."""

        class Hidden:
            __signature__ = "none"

            def __call__(self, *args: Any) -> None: ...

        assert attrs_of(consumer_with(route("send")(Hidden())))

    def test_generators_stream(self) -> None:
        """A handler that yields runs beside the order, without being asked to; a status of its own it has not."""

        async def stream(self: Any, request: Request) -> Any:
            yield 1

        def items(self: Any, request: Request) -> Any:
            yield 1

        for handler in (stream, items):
            (found,) = routes_of(consumer_with(route("send")(handler))).values()
            assert (found.streams, found.parallel) == (True, False)
        message = refusal(lambda: consumer_with(route("send.status", status=201)(stream)))
        assert message == "Chat.handler yields: its items have status 206 and its end 200. Remove status=."

    @pytest.mark.parametrize("option", ["parallel", "cancel_on_disconnect"])
    @pytest.mark.parametrize("value", [1, 0, None, "yes"])
    def test_a_flag_is_a_bool(self, option: str, value: Any) -> None:
        """``parallel="no"`` would be true."""
        message = refusal(lambda: route("send", **{option: value}))
        assert message == f"{option}= must be True or False; got {value!r}."

    CHANNELS_NAMES = """
        connect disconnect receive receive_json send send_json accept close dispatch groups as_asgi encode_json
        decode_json websocket_connect websocket_receive websocket_disconnect websocket_anything __call__ __init__
        scope channel_layer channel_name channel_receive base_send channel_layer_alias
    """

    @pytest.mark.parametrize("attr", CHANNELS_NAMES.split())
    def test_names_of_channels_are_refused(self, attr: str) -> None:
        """A handler may neither replace what Channels calls nor be replaced by what it sets on the consumer."""
        message = refusal(lambda: consumer_with(route("send")(lambda self, request: None), attr))
        assert f"Chat.{attr} cannot be a route: Channels uses the name {attr}." in message

    def test_names_are_refused_on_a_consumer_without_json_too(self) -> None:
        """A class keeps its handlers when it moves to the JSON consumer."""
        bases = (RouteMixin, WebsocketConsumer)
        assert "cannot be a route" in refusal(
            lambda: type("Chat", bases, {"send_json": route("send")(lambda self, request: None)})
        )

    async def test_annotations_are_not_evaluated(self) -> None:
        """A name that exists for type checkers only, as in this module, is no error."""

        class Chat(Plain):
            @route("send")
            async def handler(self, request: Request, more: Optional[Fraction] = None) -> Fraction | str:  # noqa: UP045
                return "sent"

        assert await answers(Chat, "send") == "sent"

    async def test_class_created_in_a_function_may_use_local_schemas(self) -> None:
        """Nothing is looked up by name in a module."""

        class Local(marshmallow.Schema):
            text = marshmallow.fields.String(required=True)

        class Chat(Plain):
            @route("send", schema=Local)
            async def handler(self, request: Request) -> Any:
                return request.payload

        assert await answers(Chat, "send", {"text": "x"}) == {"text": "x"}


class TestOptions:
    def test_defaults(self) -> None:
        """A route without options has none."""
        route_ = routes_of(consumer_with(route("send")(lambda self, request: None)))["send"]
        assert route_ == Route(name="send", attr="handler")

    def test_every_option_is_kept(self) -> None:
        """What was given stands on the class's route."""
        options: dict[str, Any] = {
            "hydrate": str,
            "dehydrate": "dump",
            "status": 201,
            "timeout": 3.0,
            "middleware": (pass_on,),
            "summary": "Sends.",
            "description": "Sends a message.",
            "tags": ("chat", "write"),
            "deprecated": True,
        }
        cls = consumer(handler=given(**options)(lambda self, request: None), dump=lambda self, value: value)
        kept = routes_of(cls)["send"]
        assert {option: getattr(kept, option) for option in options} == options

    @pytest.mark.parametrize("option", ["permission", "throttles", "public", "name2", "serializer"])
    def test_unknown_option_is_a_type_error(self, option: str) -> None:
        """An option that routesock does not have is never ignored: it might have been a permission."""
        with pytest.raises(TypeError, match=option):
            given(**{option: ()})

    @pytest.mark.parametrize(
        ("decorator", "option", "nearest"),
        [
            (route, "permission", "permissions="),
            (route, "permission_classes", "permissions="),
            (route, "throttle_classes", "throttle="),
            (route, "shema", "schema="),
            (route, "cancel_on_disconect", "cancel_on_disconnect="),
            (topic, "permision", "permissions="),
            (topic, "unsubscribed", "unsubscribe="),
            (event, "schemas", "schema="),
        ],
    )
    def test_misspelt_option_names_the_nearest(self, decorator: Any, option: str, nearest: str) -> None:
        """All decorators do."""
        with pytest.raises(RouteSetupError) as caught:
            decorator("send", **{option: ()})
        assert str(caught.value) == f"@{decorator.__name__} has no option {option}=. Did you mean {nearest}?"

    def test_unknown_option_that_resembles_none_lists_all(self) -> None:
        with pytest.raises(RouteSetupError, match=r"^@event has no option xyz=\. The options are schema=\.$"):
            event("send", xyz=1)  # type: ignore[arg-type]

    def test_options_are_keyword_only(self) -> None:
        """The name is the one positional argument."""
        with pytest.raises(TypeError, match="positional"):
            route("send", marshmallow.Schema)  # type: ignore[call-arg]

    @pytest.mark.parametrize(("tags", "kept"), [("chat", ("chat",)), (["a", "b"], ("a", "b")), ((), ())])
    def test_one_tag_may_be_given_as_a_string(self, tags: Any, kept: tuple[str, ...]) -> None:
        """It is not taken apart into characters."""
        marked = route("send", tags=tags)(lambda self, request: None)
        assert routes_of(consumer_with(marked))["send"].tags == kept

    @pytest.mark.parametrize("status", [200, 204, 299, HTTPStatus.CREATED, None])
    def test_status_is_that_of_a_success(self, status: Any) -> None:
        """200 to 299, as a number or as an ``HTTPStatus``."""
        marked = route("send", status=status)(lambda self, request: None)
        assert routes_of(consumer_with(marked))["send"].status == status

    @pytest.mark.parametrize("status", [199, 206, 300, 404, 0, -1, "200", 200.0, True, "created"])
    def test_any_other_status_is_refused(self, status: Any) -> None:
        """An error has its status from the exception."""
        assert "status= must be a success status" in refusal(lambda: route("send", status=status))

    @pytest.mark.parametrize("timeout", [1, 0.5, 30.0, None, math.inf])
    def test_timeout_is_seconds_or_none(self, timeout: Any) -> None:
        """On a route and on a class."""
        marked = route("send", timeout=timeout)(lambda self, request: None)
        assert routes_of(consumer_with(marked))["send"].timeout == timeout
        consumer(route_timeout=timeout)

    @pytest.mark.parametrize("timeout", [0, -1, "30", True, False, math.nan, Decimal(3), [3]])
    def test_any_other_timeout_is_refused(self, timeout: Any) -> None:
        """On a route and on a class, which the message names."""
        assert "timeout must be a positive number of seconds" in refusal(lambda: route("send", timeout=timeout))
        assert refusal(lambda: consumer(route_timeout=timeout)).startswith(
            "Chat.route_timeout must be a positive number"
        )

    @pytest.mark.parametrize("grace", [0, 5, 0.5])
    def test_grace_is_seconds(self, grace: Any) -> None:
        """0 is none."""
        consumer(route_disconnect_grace=grace)

    @pytest.mark.parametrize("grace", [None, -1, "5", True, math.nan])
    def test_any_other_grace_is_refused(self, grace: Any) -> None:
        """``None`` is refused too: a socket has an end."""
        assert "Chat.route_disconnect_grace must be a number" in refusal(lambda: consumer(route_disconnect_grace=grace))

    @pytest.mark.parametrize("isolation", [None, 1, "yes", 8])
    def test_isolation_is_true_or_false(self, isolation: Any) -> None:
        """Who writes a number means the setting."""
        consumer(route_dedicated_threads=True)
        assert "DB_THREADS" in refusal(lambda: consumer(route_dedicated_threads=isolation))

    @pytest.mark.parametrize("dialect", [None, Keys, "keys", {}])
    def test_dialect_is_an_instance(self, dialect: Any) -> None:
        """A class in its place is refused with an instance as an example."""
        assert "Keys(route='action')" in refusal(lambda: consumer(route_dialect=dialect))

    def test_class_options_are_checked_without_routes_too(self) -> None:
        """A base class with a mistake is found where the mistake is."""
        assert "route_middleware" in refusal(lambda: consumer(route_middleware=5))


class TestMiddleware:
    def test_what_is_called_like_middleware_is_accepted(self) -> None:
        """A function, a partial of one, and an object with an async ``__call__``."""

        class Timing:
            async def __call__(self, request: Request, call_next: Any) -> Any: ...

        async def named(name: str, request: Request, call_next: Any) -> Any: ...

        middleware = [pass_on, functools.partial(named, "x"), Timing(), functools.partial(Timing())]
        marked = given(middleware=middleware)(lambda self, request: None)
        assert routes_of(consumer_with(marked))["send"].middleware == tuple(middleware)
        consumer(route_middleware=middleware)

    @pytest.mark.parametrize(
        "middleware",
        [pass_on, "shop.m", {"m": pass_on}, {pass_on}, 5, None, iter([pass_on])],
        ids=["function", "name", "dict", "set", "int", "None", "iterator"],
    )
    def test_middleware_is_a_list_or_a_tuple(self, middleware: Any) -> None:
        """An iterator would be used up by the first class, and a set has no order."""
        assert "middleware must be a list of functions" in refusal(lambda: given(middleware=middleware))
        assert "Chat.route_middleware must be a list" in refusal(lambda: consumer(route_middleware=middleware))

    def test_what_cannot_be_awaited_as_middleware_is_refused(self) -> None:
        """A sync function, a generator, a class in place of its instance, a wrong number of parameters, a method."""

        def sync(request: Request, call_next: Any) -> Any: ...

        async def stream(request: Request, call_next: Any) -> Any:
            yield

        async def one(request: Request) -> Any: ...

        async def method(self: Any, request: Request, call_next: Any) -> Any: ...

        class Timing:
            async def __call__(self, request: Request, call_next: Any) -> Any: ...

        for wrong in (sync, stream, one, method, Timing, None, "shop.middleware.timing"):
            middleware: Any = [pass_on, wrong]
            message = refusal(lambda middleware=middleware: given(middleware=middleware))  # type: ignore[misc]
            assert message == f"middleware: write {wrong!r} as `async def m(request, call_next)`."


class TestHooks:
    HOOKS = ("hydrate", "dehydrate")

    @pytest.mark.parametrize("option", HOOKS)
    @pytest.mark.parametrize(
        "hook",
        [str, dict, len, functools.partial(int, base=10), mock.Mock()],
        ids=["str", "dict", "len", "partial", "mock"],
    )
    def test_callable_of_one_argument_is_a_hook(self, option: str, hook: Any) -> None:
        """Functions, classes, builtins that hide their signature, partials."""
        given(**{option: hook})

    @pytest.mark.parametrize("option", HOOKS)
    async def test_name_of_a_method_is_a_hook(self, option: str) -> None:
        """It may be inherited, and is the subclass's where that overrides it."""
        marked = given(**{option: "hook"})(lambda self, request: request.payload)
        base = consumer(handler=marked, hook=lambda self, argument: "base")
        sub = type("Sub", (base,), {"hook": lambda self, argument: "sub"})
        assert await answers(base, "send", 1) == "base"
        assert await answers(sub, "send", 1) == "sub"

    @pytest.mark.parametrize("option", HOOKS)
    def test_name_that_names_no_method_is_refused(self, option: str) -> None:
        """The message says where it stands and what to write."""
        marked = given(**{option: "hook"})(lambda self, request: None)
        for attributes in ({}, {"hook": 5}):
            message = refusal(lambda attributes=attributes: consumer(handler=marked, **attributes))  # type: ignore[misc]
            assert f"Chat.handler: {option}='hook' is not a method of the class." in message

    @pytest.mark.parametrize("option", HOOKS)
    @pytest.mark.parametrize("hook", [5, "", "no name", "self.load", ["load"], ()], ids=repr)
    def test_anything_else_is_no_hook(self, option: str, hook: Any) -> None:
        """Neither a value nor a string that can name nothing."""
        assert f"{option}= must be a function or the name of a method" in refusal(lambda: given(**{option: hook}))

    @pytest.mark.parametrize("option", HOOKS)
    def test_method_given_as_a_function_is_refused_with_its_name(self, option: str) -> None:
        """In a class body a method is a function that wants ``self``; the message gives the name to write."""

        def load(self: Any, request: Request) -> None: ...

        message = refusal(lambda: given(**{option: load}))
        assert message.endswith(f"cannot be called with one argument. For a method, pass its name: {option}='load'.")

    @pytest.mark.parametrize("option", HOOKS)
    def test_generator_is_no_hook(self, option: str) -> None:
        """What it yields would never be asked for."""

        async def load(request: Request) -> Any:
            yield 1

        assert refusal(lambda: given(**{option: load})).endswith("yields. Return the result instead.")

    @pytest.mark.parametrize(
        "schema", [5, "SendSchema", {"text": str}, [], pytest.param(object(), id="object()")], ids=repr
    )
    def test_schema_of_no_library_is_refused(self, schema: Any) -> None:
        """The message lists what is accepted."""
        assert "is not a schema." in refusal(lambda: route("send", schema=schema))

    def test_schema_may_dehydrate(self) -> None:
        """``dehydrate=`` takes what ``schema=`` takes."""
        route("send", dehydrate=marshmallow.Schema, schema=marshmallow.Schema)


class TestBases:
    @pytest.mark.parametrize(
        "base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer]
    )
    async def test_every_websocket_consumer_takes_the_mixin(self, base: type) -> None:
        """Sync and async, with and without JSON."""
        cls = type("Chat", (RouteMixin, base), {"handler": route("send")(lambda self, request: "sent")})
        assert await answers(cls, "send") == "sent"

    def test_mixin_behind_the_consumer_is_refused(self) -> None:
        """It would do nothing there; the message gives the order that works."""
        message = refusal(lambda: type("Chat", (AsyncJsonWebsocketConsumer, RouteMixin), {}))
        assert message.endswith("Write `class Chat(RouteMixin, AsyncJsonWebsocketConsumer)`.")

    def test_mixin_behind_a_legacy_consumer_is_refused(self) -> None:
        """The message names the project's own class."""

        class Legacy(JsonWebsocketConsumer): ...

        assert "Write `class Chat(RouteMixin, Legacy)`." in refusal(lambda: type("Chat", (Legacy, RouteMixin), {}))

    async def test_consumer_in_front_of_a_routed_one_is_accepted(self) -> None:
        """What it overrides holds, and the mixin is still in front of Channels."""

        class Legacy(AsyncJsonWebsocketConsumer):
            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                await self.send_json({"legacy": content})

        class Chat(Legacy, consumer(Messages)): ...  # type: ignore[misc]

        async with RouteClient(Chat) as client:
            assert (await client.call("send")).payload == "base"
            await client.send_json({"hello": 1})
            assert await client.receive() == {"legacy": {"hello": 1}}

    @pytest.mark.parametrize("base", [AsyncConsumer, AsyncHttpConsumer])
    def test_mixin_on_another_kind_of_consumer_is_refused(self, base: type) -> None:
        """There are no frames to route."""
        assert "Chat is not a WebSocket consumer" in refusal(lambda: type("Chat", (RouteMixin, base), {}))

    @pytest.mark.parametrize("method", ["__call__", "__await__", "as_view"])
    def test_mixin_in_front_of_a_class_that_is_no_consumer_is_refused(self, method: str) -> None:
        """Such a class is served by something else, which would never read a frame for the mixin."""
        endpoint = type("Endpoint", (), {method: lambda self: None})
        message = refusal(lambda: type("Chat", (RouteMixin, endpoint), {}))
        assert message.startswith("Chat is not a Channels consumer, so RouteMixin in front of Endpoint has no frames")
        assert "`class Chat(RouteMixin, AsyncJsonWebsocketConsumer)`" in message

    async def test_class_without_a_consumer_is_refused_when_it_is_served(self) -> None:
        """Until then it may be a mixin that is still to be combined."""

        class Helper: ...

        class Chat(RouteMixin, Helper):
            @route("send")
            async def handler(self, request: Request) -> None: ...

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await super().__call__(scope, receive, send)

        with pytest.raises(RouteSetupError, match=r"^Chat is not a Channels consumer, so RouteMixin has no .*Write `"):
            await Chat()({"type": "websocket"}, None, None)
        assert attrs_of(type("Real", (Chat, AsyncJsonWebsocketConsumer), {})) == {"send": "handler"}

    def test_base_with_its_own_call_is_refused(self) -> None:
        """The mixin in front would replace it without a word; behind it, or in what it calls, both work."""

        class Traced(AsyncJsonWebsocketConsumer):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

        message = refusal(lambda: type("Chat", (RouteMixin, Traced), {}))
        assert message.startswith("Traced overrides __call__")
        assert "put the mixin into those consumers" in message
        assert message.endswith(
            "(RouteMixin, AsyncJsonWebsocketConsumer)` with the routes, and `class Chat(Traced, Routed)`."
        )

    async def test_call_in_front_of_the_mixin_is_kept(self) -> None:
        """A consumer may still wrap the whole socket."""
        seen = []

        class Chat(consumer(Messages)):  # type: ignore[misc]
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                seen.append(scope["type"])
                await super().__call__(scope, receive, send)

        assert await answers(Chat, "send") == "base"
        assert seen == ["websocket"]

    def test_mixin_without_a_consumer_is_no_error(self) -> None:
        """A project's own mixin may derive from ours; it is compiled once it meets a consumer."""

        class Ours(RouteMixin):
            @route("send")
            async def handler(self, request: Request) -> None: ...

        assert Ours._routesock is None
        assert attrs_of(type("Chat", (Ours, AsyncJsonWebsocketConsumer), {})) == {"send": "handler"}
        assert "no effect" in refusal(lambda: type("Chat", (AsyncJsonWebsocketConsumer, Ours), {}))

    def test_a_metaclass_may_read_all_attributes_of_the_bases(self) -> None:
        """That of djangochannelsrestframework's observers does, and the mixin is one of the bases."""

        class Reading(type):
            def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
                for base in bases:
                    for attr in dir(base):
                        getattr(base, attr)
                return super().__new__(cls, name, bases, body)

        class Observer(AsyncJsonWebsocketConsumer, metaclass=Reading):
            pass

        class Chat(RouteMixin, Observer):
            @route("send")
            async def handler(self, request: Request) -> None: ...

        assert attrs_of(Chat) == {"send": "handler"}

    async def test_base_in_front_that_calls_no_super_when_a_class_is_created_switches_nothing_off(self) -> None:
        """The class is compiled when it is first served, with its own routes and options."""

        class Observable(AsyncJsonWebsocketConsumer):
            def __init_subclass__(cls, **kwargs: Any) -> None:
                """Calls no ``super()``."""

        class Chat(Observable, consumer(Messages)):  # type: ignore[misc]
            route_prefix = "chat."

            @route("own")
            async def own(self, request: Request) -> str:
                return "own"

        class Child(Chat):
            @route("child")
            async def child(self, request: Request) -> str:
                return "child"

        assert {Chat, Child} <= {*consumers()}  # whose system checks run
        assert await answers(Child, "chat.child") == "child"
        assert await answers(Child, "chat.own") == "own"
        assert await answers(Chat, "chat.own") == "own"
        assert await answers(Chat, "chat.send") == "base"
        assert "chat.child" not in attrs_of(Chat)

    async def test_errors_of_such_a_class_show_when_it_is_first_served(self) -> None:
        """Each socket raises the same error, and none is served without routes."""

        class Observable(AsyncJsonWebsocketConsumer):
            def __init_subclass__(cls, **kwargs: Any) -> None:
                """Calls no ``super()``."""

        class Chat(Observable, consumer(Messages)):  # type: ignore[misc]
            route_timeout = -1

        assert Chat not in consumers()
        for _ in range(2):
            with pytest.raises(RouteSetupError, match="route_timeout"):
                async with RouteClient(Chat):
                    pass

    def test_arguments_of_the_class_statement_reach_other_bases(self) -> None:
        """``__init_subclass__`` of a class behind the mixin is called with them."""

        class Named:
            label = ""

            def __init_subclass__(cls, label: str = "", **kwargs: Any) -> None:
                super().__init_subclass__(**kwargs)
                cls.label = label

        class Chat(RouteMixin, AsyncJsonWebsocketConsumer, Named, label="chat"): ...

        assert Chat.label == "chat"

    def test_setup_error_is_what_django_and_python_would_raise(self) -> None:
        """It is caught as either."""
        assert issubclass(RouteSetupError, ImproperlyConfigured)
        assert issubclass(RouteSetupError, TypeError)


SNIPPET = """
    from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
    from routesock import Reply, Request, RouteMixin, route


    class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
        route_prefix = "chat."

        @route("send", timeout=None, tags=["chat"])
        async def send_message(self, request: Request) -> Reply:
            return Reply({"id": 1}, status=201)

        @route("a")
        @route("b")
        def count(self, request: Request) -> int:
            return 1


    class SyncChat(RouteMixin, JsonWebsocketConsumer):
        @route("send")
        def send_message(self, request: Request) -> None:
            self.send_json({})


    reveal_type(Chat.send_message)
    reveal_type(Chat().count)
    route("send", serializer=None)
    route(5)
"""


def test_decorated_methods_keep_their_types() -> None:
    """A type checker sees the method as it was written, and a wrong option."""
    cache = HERE.parent / ".mypy_cache" / "snippets"  # not that of `make types`, whose options are others
    cache.mkdir(parents=True, exist_ok=True)
    snippet = cache / "snippet.py"  # always there: mypy repeats the messages of a cached module with their path
    snippet.write_text(textwrap.dedent(SNIPPET))
    options = ["--strict", "--config-file=", "--no-error-summary", "--hide-error-context", f"--cache-dir={cache}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(snippet)], capture_output=True, text=True, cwd=HERE.parent
    )
    told = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if "snippet.py:" in line]
    coroutine = "typing.Coroutine[Any, Any, routesock._wire.messages.Reply]"
    assert told[:2] == [
        f'note: Revealed type is "def (self: snippet.Chat, request: routesock._wire.messages.Request) -> {coroutine}"',
        'note: Revealed type is "def (request: routesock._wire.messages.Request) -> int"',
    ], done.stdout + done.stderr
    assert [line.split("[")[-1] for line in told[2:] if "error" in line] == ["call-arg]", "arg-type]"]


class TestLostHandlers:
    """A handler whose name something else has been given in the class body: the route would vanish without a word."""

    def test_two_methods_of_one_name_are_refused(self) -> None:
        """Python keeps the second."""
        with pytest.raises(RouteSetupError) as caught:

            class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
                @route("send")
                async def send_message(self, request: Request) -> None: ...

                async def send_message(self, text: str) -> None:  # type: ignore[no-redef]  # noqa: F811
                    ...

        assert str(caught.value) == (
            "Chat defines send_message twice, so a route, 'send', is lost. Rename one of the methods."
        )

    def test_two_handlers_of_one_name_are_refused(self) -> None:
        """Whatever the second handles."""
        with pytest.raises(RouteSetupError, match="Chat defines changed twice, so an event"):

            class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
                @event("order.paid")
                async def changed(self, event: Any) -> None: ...

                @route("change")
                async def changed(self, request: Request) -> None:  # type: ignore[no-redef]  # noqa: F811
                    ...

    def test_method_between_its_two_definitions_is_found_in_a_plain_mixin(self) -> None:
        """Checked with the first consumer that it is mixed into."""

        class Plain:
            @route("send")
            @staticmethod
            def post(request: Request) -> None: ...

            @property
            def post(self) -> None:  # type: ignore[no-redef]  # noqa: F811
                ...

        with pytest.raises(RouteSetupError, match="Plain defines post twice"):
            type("Chat", (Plain, RouteMixin, AsyncJsonWebsocketConsumer), {})

    def test_decorator_that_hides_the_route_is_refused(self) -> None:
        """One without ``functools.wraps``."""

        def logged(method: Any) -> Any:
            async def call(self: Any, request: Request) -> Any:
                return await method(self, request)

            return call

        with pytest.raises(RouteSetupError) as caught:

            class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
                @logged
                @route("send")
                async def send_message(self, request: Request) -> None: ...

        assert "Chat.send_message handles a route, 'send', and is replaced with <function " in str(caught.value)
        assert "use functools.wraps in it, or write @route above it." in str(caught.value)

    def test_route_that_another_decorator_declares_is_found(self) -> None:
        """The class body is looked for above its calls."""

        def mine(name: str) -> Any:
            return lambda method: route(name)(method)

        with pytest.raises(RouteSetupError, match="defines post twice"):

            class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
                @mine("send")
                async def post(self, request: Request) -> None: ...

                async def post(self, text: str) -> None:  # noqa: F811
                    ...

    def test_what_is_not_lost_is_right(self) -> None:
        """Wraps, an alias, a method that is taken away, one that a subclass overrides, or that is made elsewhere."""

        def handler(self: Any, request: Request) -> None: ...

        def wrapped(method: Any) -> Any:
            return functools.wraps(method)(lambda self, request: method(self, request))

        class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
            @wrapped
            @route("a")
            def a(self, request: Request) -> None: ...

            @route("b")
            def b(self, request: Request) -> None: ...

            other = b
            del b

            @route("c")
            def c(self, request: Request) -> None: ...

            c = None  # type: ignore[assignment]  # noqa: F811
            d = route("d")(handler)

        class Inheriting(Chat):
            def d(self, request: Request) -> None: ...

        assert list(routes_of(Inheriting)) == ["a", "b", "d"]
