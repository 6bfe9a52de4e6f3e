"""Where the connections of an ASGI application end up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from channels.consumer import AsyncConsumer
from channels.routing import ProtocolTypeRouter, URLRouter

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
