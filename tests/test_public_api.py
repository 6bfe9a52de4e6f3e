"""The names that users write: which there are, and that each is explained."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any, Final

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

import routesock
from routesock import Request, RouteMixin, exceptions, route

ROOT: Final = Path(__file__).resolve().parent.parent

PUBLIC: Final[dict[str, list[str]]] = {
    "routesock": [
        "NO_REPLY",
        "DeliveryCounts",
        "Dialect",
        "Event",
        "Heartbeat",
        "Idempotent",
        "Keys",
        "Push",
        "Reply",
        "Request",
        "RouteMixin",
        "RouteSetupError",
        "RoutesockError",
        "Throttle",
        "abroadcast",
        "acensus",
        "apush_to_user",
        "asend_event",
        "broadcast",
        "census",
        "delivery_counts",
        "event",
        "push_to_user",
        "route",
        "run_in_thread",
        "run_on_loop",
        "send_event",
        "topic",
    ],
    "routesock.client": [
        "Ask",
        "Client",
        "ClientError",
        "Clock",
        "ConnectionLost",
        "Dialect",
        "Events",
        "IncomingFrame",
        "Items",
        "Keys",
        "OutgoingFrame",
        "Push",
        "Reply",
        "RouteError",
        "Snapshot",
        "State",
        "StreamOverflow",
        "Subscription",
        "Timer",
        "Transport",
        "Why",
    ],
    "routesock.history": ["History", "KeptPush", "ahistory", "aposition", "history", "position"],
    "routesock.dialects": [
        "Chanx",
        "Dcrf",
        "Dialect",
        "Frame",
        "Incoming",
        "JsonRpc",
        "Keys",
        "ObservableSocket",
        "Problem",
        "Wsx",
    ],
    "routesock.permissions": ["AllowAny", "BasePermission", "HasPerm", "IsAuthenticated", "IsStaff", "as_permission"],
    "routesock.auth": [
        "Authenticator",
        "CredentialSource",
        "Credentials",
        "HandshakeMiddleware",
        "Identity",
        "RequestMiddleware",
        "SessionKeyAuthentication",
        "TokenMiddleware",
        "as_authenticator",
        "deny",
        "reject",
    ],
    "routesock.schemas": ["Definition", "Described", "PlainAdapter", "SchemaAdapter", "as_schema", "library_adapter"],
    "routesock.health": ["health_view"],
    "routesock.metrics": ["register"],
    "routesock.middleware": ["KeepSocketsMiddleware"],
    "routesock.signals": ["deliveries_lost", "request_finished", "request_started", "socket_closed", "socket_opened"],
    "routesock.testing": [
        "Ask",
        "BlockingRouteClient",
        "ClientReply",
        "ClientTimeout",
        "Close",
        "ConnectionClosed",
        "ConnectionRefused",
        "NoReply",
        "Push",
        "ReplyStream",
        "RouteClient",
        "UndocumentedFrame",
        "forget_stores",
        "forget_throttles",
    ],
    "routesock.throttling": ["Throttle"],
    "routesock.tracing.otel": ["instrument", "trace_headers", "uninstrument"],
}

CLASS_OPTIONS: Final = {
    "route_anonymous_timeout",
    "route_heartbeat",
    "route_idle_timeout",
    "route_foreign_errors",
    "route_concurrency",
    "route_max_frame",
    "route_hello",
    "route_connection_throttle",
    "route_dedicated_threads",
    "route_thread_context",
    "route_dialect",
    "route_disconnect_grace",
    "route_ends_with_session",
    "route_middleware",
    "route_overflow",
    "route_permissions",
    "route_prefix",
    "route_pushes",
    "route_revalidate_interval",
    "route_summary",
    "route_throttle",
    "route_timeout",
}


def names_of(cls: type) -> set[str]:
    return set(dir(cls)) - set(dir(object))


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_exactly_these(module: str) -> None:
    """A name is added or removed on purpose."""
    assert importlib.import_module(module).__all__ == PUBLIC[module]


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names])
def test_public_name_exists_and_is_explained(module: str, name: str) -> None:
    """By its own docstring, which begins with a sentence, and not by one that it inherits."""
    doc = getattr(importlib.import_module(module), name).__doc__
    assert doc
    assert doc.strip().split("\n\n")[0].rstrip()[-1] in ".:"


@pytest.mark.parametrize("module", PUBLIC)
def test_public_methods_are_explained(module: str) -> None:
    """So is every public method of a public class; an override may leave it to its base."""
    for name in PUBLIC[module]:
        cls = getattr(importlib.import_module(module), name)
        if isinstance(cls, type):
            for attr, member in vars(cls).items():
                if inspect.isfunction(member) and not attr.startswith("_"):
                    assert inspect.getdoc(getattr(cls, attr)), f"{module}.{name}.{attr}"


def test_every_error_is_explained() -> None:
    """``routesock.exceptions`` is public as a whole."""
    errors = [
        cls for cls in vars(exceptions).values() if isinstance(cls, type) and cls.__module__ == exceptions.__name__
    ]
    assert errors
    assert all(cls.__doc__ for cls in errors)


def test_mixin_adds_the_class_options_and_nothing_else() -> None:
    """What a consumer has already is never hidden by a name of ours: ``socket`` gives way to a consumer's own.

    ``channel_layer``, ``channel_name`` and ``as_asgi`` are Channels' own. The last calls that of the consumer.
    """
    names = {name for name in names_of(RouteMixin) if not name.startswith("_")}
    assert names == {*CLASS_OPTIONS, "socket", "channel_layer", "channel_name", "as_asgi"}


def test_private_names_of_the_mixin_are_routesocks() -> None:
    """A private attribute of the user's own cannot be hit either."""
    private = {name for name in names_of(RouteMixin) | set(RouteMixin.__annotations__) if name.startswith("_")}
    assert {name for name in private if not name.endswith("__")} == {"_routesock"}


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
def test_consumer_with_routes_has_no_other_new_names(base: type) -> None:
    """Creating the class adds nothing to it but what was compiled."""

    async def handler(self: Any, request: Request) -> None: ...

    cls: Any = type("Chat", (RouteMixin, base), {"handler": route("send")(handler)})
    added = names_of(cls) - names_of(base) - names_of(RouteMixin)
    assert {name for name in added if not name.endswith("__")} == {"handler", "_routesock_plan"}


def test_version_is_that_of_the_metadata() -> None:
    """One release has one number."""
    assert f"version = {routesock.__version__}\n" in (ROOT / "setup.cfg").read_text()
