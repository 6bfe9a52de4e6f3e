"""Walks an ASGI application: finds its consumers behind routers and middleware."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from channels.consumer import AsyncConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls.exceptions import Resolver404

from .._wire.messages import Scope

_WRAPPED: Final = ("inner", "application", "app")
"""Attributes under which middleware keeps what it wraps: Channels', Django's and Starlette's."""


class Endpoint(NamedTuple):
    """What serves the sockets of one path; ``path`` as it stands in the URLRouters, empty without any."""

    path: str
    application: Any


def endpoints(application: Any) -> Iterator[Endpoint]:
    """What ``application`` passes connections on to in the end, behind Channels' routers and behind middleware objects.

    What a middleware function wraps is not found: it is in a closure.
    """
    return _below(Endpoint("", application), frozenset())


def _below(endpoint: Endpoint, above: frozenset[int]) -> Iterator[Endpoint]:
    inner = [] if id(endpoint.application) in above else list(_inside(endpoint))
    if not inner:
        yield endpoint
    for each in inner:
        yield from _below(each, above | {id(endpoint.application)})


def _inside(endpoint: Endpoint) -> Iterator[Endpoint]:
    path, application = endpoint
    if isinstance(application, ProtocolTypeRouter):
        for inner in application.application_mapping.values():
            yield Endpoint(path, inner)
    elif isinstance(application, URLRouter):
        routes: Any = application.routes
        for route in routes:
            yield Endpoint(path + str(route.pattern), route.callback)
    elif not isinstance(application, type | AsyncConsumer):
        attributes = getattr(application, "__dict__", {})
        for name in _WRAPPED:
            if callable(attributes.get(name)):
                yield Endpoint(path, attributes[name])


_WRAPPED_AGAIN: Final = ("inner", "application", "app")
"""Attributes under which middleware keeps what it wraps: Channels', Django's and Starlette's."""


def consumer_at(application: Any, scope: Scope) -> Any:
    """The consumer class that serves the path of ``scope``; ``None`` where there is none, or nobody can tell.

    It looks through Channels' routers and through middleware objects, not into the closure of a middleware function.
    """
    path = scope.get("path", "").removeprefix(scope.get("root_path", "")).lstrip("/")
    return _consumer_below(application, path, 0)


_DEEPEST: Final = 50
"""Levels of what wraps what: middleware may wrap itself by mistake."""


def _consumer_below(application: Any, path: str, level: int) -> Any:
    if level > _DEEPEST:
        return None
    if isinstance(application, ProtocolTypeRouter):
        return _consumer_below(application.application_mapping.get("websocket"), path, level + 1)
    if isinstance(application, URLRouter):
        routes: Any = application.routes
        for route in routes:
            try:
                match = route.pattern.match(path.lstrip("/"))
            except Resolver404:
                continue
            if match:
                return _consumer_below(route.callback, match[0], level + 1)
        return None
    attributes = getattr(application, "__dict__", {})
    if "consumer_class" in attributes:
        return attributes["consumer_class"]
    for name in _WRAPPED_AGAIN:
        if callable(attributes.get(name)):
            return _consumer_below(attributes[name], path, level + 1)
    return None
