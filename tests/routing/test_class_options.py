"""Names of class options: a misspelt one, or one that has no effect where it stands, is an error."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from routesock import Request, RouteMixin, RouteSetupError, route
from routesock.permissions import IsAuthenticated

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
