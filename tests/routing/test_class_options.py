"""Names of class options: a misspelt one, or one that has no effect where it stands, is an error."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from routesock import Request, RouteMixin, RouteSetupError, route
from routesock.permissions import IsAuthenticated
from routesock.testing import RouteClient

BASES = (RouteMixin, AsyncJsonWebsocketConsumer)


def consumer(bases: tuple[type, ...] = BASES, **options: Any) -> Any:
    return type("Chat", bases, options)


def refusal(bases: tuple[type, ...] = BASES, **options: Any) -> str:
    with pytest.raises(RouteSetupError) as caught:
        consumer(bases, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("route_permission", "route_permissions"),
        ("route_permision", "route_permissions"),
        ("route_throtle", "route_throttle"),
        ("route_time_out", "route_timeout"),
        ("route_middlewares", "route_middleware"),
        ("route_dialects", "route_dialect"),
        ("route_push", "route_pushes"),
        ("route_revalidate", "route_revalidate_interval"),
        ("route_ends_with_sessions", "route_ends_with_session"),
    ],
)
@pytest.mark.parametrize("value", [[IsAuthenticated], IsAuthenticated, None, 60, "10/m", False], ids=repr)
def test_a_misspelt_option_names_the_nearest(name: str, nearest: str, value: Any) -> None:
    """It might have been a permission; so no value of it is ignored."""
    message = refusal(**{name: value})
    assert message == f"Chat.{name} is no option, so nothing reads it. Did you mean {nearest}?"


@pytest.mark.parametrize("name", ["route_", "route_xyz", "route_db_isolation"])
def test_where_none_is_near_all_are_listed(name: str) -> None:
    assert "The options are route_anonymous_timeout, " in refusal(**{name: 1})


def test_the_class_that_has_it_is_named() -> None:
    """A mixin is no consumer yet, so its options are checked with the first consumer that it is mixed into."""
    mixin = type("Mixin", (), {"route_permission": []})
    options = type("Options", (RouteMixin,), {"route_timeouts": 1})
    assert refusal((mixin, *BASES)).startswith("Mixin.route_permission is no option")
    assert refusal((options, AsyncJsonWebsocketConsumer)).startswith("Options.route_timeouts is no option")


def test_methods_may_have_such_names() -> None:
    class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("join")
        async def route_join(self, request: Request) -> None: ...

        def route_helper(self) -> None: ...

        @staticmethod
        def route_static() -> None: ...

        @classmethod
        def route_class(cls) -> None: ...

        @property
        def route_property(self) -> int:
            return 1

        @cached_property
        def route_cached(self) -> int:
            return 1

    class Without(Chat):
        route_join = None  # type: ignore[assignment]  # removes the route

    assert Without._routesock.plans == {}


def test_annotations_and_instance_attributes_are_none_of_its_business() -> None:
    class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
        route_state: int

        def __init__(self) -> None:
            super().__init__()
            self.route_state = 1

    assert Chat().route_state == 1


class Legacy(JsonWebsocketConsumer):
    """A consumer that knows nothing of routesock."""

    route_name = "chat"


def test_a_class_behind_the_mixin_may_have_other_names() -> None:
    """They are its own, and were there before."""
    assert consumer((RouteMixin, Legacy)).route_name == "chat"


@pytest.mark.parametrize("option", ["route_permissions", "route_throttle", "route_prefix"])
def test_but_no_option_that_the_mixin_hides(option: str) -> None:
    options = type("Options", (), {option: ()})
    message = refusal((RouteMixin, options, AsyncJsonWebsocketConsumer))
    assert message.startswith(f"Options.{option} has no effect, since RouteMixin stands in front of Options")
    assert "Set it on Chat, or write Options in front of RouteMixin." in message
    assert refusal((consumer(), options)).startswith(f"Options.{option} has no effect")


def test_options_of_a_mixin_in_front_hold() -> None:
    options = type("Options", (), {"route_timeout": 3, "route_prefix": "chat."})
    marked = route("send")(lambda self, request: None)
    assert list(consumer((options, *BASES), handler=marked)._routesock.plans) == ["chat.send"]


@pytest.mark.parametrize("name", ["route_permissions", "route_permission", "route_timeouts", "route_heartbeat"])
async def test_an_option_that_is_set_on_a_consumer_is_an_error(name: str) -> None:
    """Options are read from the class, so the route would stay open. It is found when the consumer is served."""

    class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, [IsAuthenticated])

    with pytest.raises(RouteSetupError, match=rf"^self.{name} = ... has no effect, since options are read from"):
        await RouteClient(Chat).connect()


@pytest.mark.parametrize("name", ["route_permissions", "route_permission"])
def test_an_option_in_as_asgi_is_an_error(name: str) -> None:
    """Channels passes it to ``__init__``, which ignores it."""
    with pytest.raises(RouteSetupError) as caught:
        consumer().as_asgi(**{name: [IsAuthenticated]})
    assert str(caught.value) == (
        f"Chat.as_asgi({name}=...) has no effect, since options are read from the class. "
        "Write `route_permissions = ...` in the body of Chat."
    )


def test_other_arguments_of_as_asgi_go_to_the_consumer() -> None:
    class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
        def __init__(self, room: str, route_state: int) -> None:
            super().__init__()
            self.room, self.route_state = room, route_state

    application: Any = Chat.as_asgi(room="general", route_state=1)
    assert application.consumer_class is Chat
    assert application.consumer_initkwargs == {"room": "general", "route_state": 1}


def test_as_asgi_of_the_consumer_is_called() -> None:
    class Legacy(AsyncJsonWebsocketConsumer):
        @classmethod
        def as_asgi(cls, **initkwargs: Any) -> Any:
            return [cls, initkwargs]

    cls: Any = type("Chat", (RouteMixin, Legacy), {})
    assert cls.as_asgi(room="general") == [cls, {"room": "general"}]


def chat() -> Any:
    class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("read")
        async def read(self, request: Request) -> str:
            return "read"

    return Chat


async def test_an_option_that_is_set_on_the_class_later_holds() -> None:
    """By a class decorator, or by ``AppConfig.ready``: before the class is first served."""
    cls = chat()
    cls.route_permissions = [IsAuthenticated]
    async with RouteClient(cls) as client:
        assert (await client.call("read")).status == 401


async def test_a_route_that_is_set_on_the_class_later_is_one() -> None:
    cls = chat()

    class Inheriting(cls):  # type: ignore[misc]
        """One whose base changes."""

    cls.write = route("write")(lambda self, request: "written")
    for served in (cls, Inheriting):
        async with RouteClient(served) as client:
            assert (await client.call("write")).payload == "written"


async def test_a_misspelt_option_that_is_set_later_ends_the_socket() -> None:
    cls = chat()
    cls.route_permission = [IsAuthenticated]
    with pytest.raises(RouteSetupError, match="route_permission is no option"):
        async with RouteClient(cls):
            pass


async def test_a_class_that_has_not_changed_is_compiled_once() -> None:
    cls = chat()
    plan = cls._routesock
    async with RouteClient(cls) as client:
        assert (await client.call("read")).payload == "read"
    assert cls._routesock is plan
