"""Walks an ASGI application: finds its consumers behind routers and middleware.

Channels' routers and middleware objects are looked through. What a middleware function wraps is in its closure, where
:func:`endpoints` alone looks for it: a function may choose between several applications.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any, Final, NamedTuple

from channels.consumer import AsyncConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver
from django.urls.exceptions import Resolver404
from django.utils.module_loading import import_string

from .._wire.messages import Scope

_WRAPPED: Final = ("inner", "application", "app")
"""Attributes under which middleware keeps what it wraps: Channels', Django's and Starlette's."""


class Endpoint(NamedTuple):
    """The application for the connections of one path.

    Attributes:
        path: The path as in the URLRouters, empty without one.
        application: What serves the connections.
        through: The routers and middleware around it, from the outside in.
        patterns: The URL patterns of the routers, from the outside in. ``path`` is their text.
        protocol: The protocol that the ProtocolTypeRouter has it for; ``None`` without one.
    """

    path: str
    application: Any
    through: tuple[Any, ...] = ()
    patterns: tuple[Any, ...] = ()
    protocol: str | None = None

    @property
    def consumer(self) -> type | None:
        """The consumer class; ``None`` for any other application."""
        found: Any = getattr(self.application, "__dict__", {}).get("consumer_class", self.application)
        if isinstance(found, AsyncConsumer):
            return type(found)
        return found if isinstance(found, type) and issubclass(found, AsyncConsumer) else None


def load_application() -> Any:
    """Import the ASGI application of the project and its URLconf, whose views may declare pushes.

    Returns:
        The application.

    Raises:
        ImproperlyConfigured: The project has no ``ASGI_APPLICATION``.
        Exception: What importing raises.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path is None:
        raise ImproperlyConfigured(
            'The setting ASGI_APPLICATION is missing. Set it to a dotted path such as "config.asgi.application".'
        )
    application = import_string(path)
    if getattr(settings, "ROOT_URLCONF", None):
        _ = get_resolver().url_patterns
    return application


def wrapped_consumers(application: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The consumer classes that ``application`` serves, each with the applications around it, from the outside in."""
    return _consumers_below(application, ())


def _consumers_below(application: Any, around: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    consumer = getattr(application, "__dict__", {}).get("consumer_class")
    if consumer is not None:
        yield consumer, around
        return
    for inner in _inside(application, frozenset(map(id, around))):
        if inner.protocol in (None, "websocket"):
            yield from _consumers_below(inner.application, (*around, application))


class _Inner(NamedTuple):
    """An application inside another, and what leads to it: a protocol, a URL pattern or, in middleware, neither."""

    application: Any
    protocol: str | None = None
    pattern: Any = None


def endpoints(application: Any) -> Iterator[Endpoint]:
    """The applications to which ``application`` passes connections in the end, whatever their protocol."""
    return _endpoints_below(Endpoint("", application))


def websocket_endpoints(application: Any) -> list[Endpoint]:
    """The endpoints of ``application`` that WebSockets may reach, in the order of the routers.

    Django's own application, which serves HTTP alone, is none of them.
    """
    from django.core.handlers.asgi import ASGIHandler  # not needed to serve sockets

    return [
        endpoint
        for endpoint in endpoints(application)
        if endpoint.protocol in (None, "websocket") and not isinstance(endpoint.application, ASGIHandler)
    ]


def leads_to(endpoint: Endpoint, path: str) -> bool:
    """Whether the URL patterns of ``endpoint`` match ``path``, such as ``"/ws/room/5/"``."""
    rest: str | None = path
    for pattern in endpoint.patterns:
        rest = None if rest is None else _rest_behind(pattern, rest)
    return rest is not None


def _endpoints_below(endpoint: Endpoint) -> Iterator[Endpoint]:
    inside = _inside(endpoint.application, frozenset(map(id, endpoint.through))) or _in_closure(endpoint)
    if not inside:
        yield endpoint
    for inner in inside:
        patterns = endpoint.patterns if inner.pattern is None else (*endpoint.patterns, inner.pattern)
        yield from _endpoints_below(
            Endpoint(
                "".join(map(str, patterns)),
                inner.application,
                (*endpoint.through, endpoint.application),
                patterns,
                endpoint.protocol or inner.protocol,
            )
        )


def _in_closure(endpoint: Endpoint) -> list[_Inner]:
    """The routers, the middleware and the consumers that a middleware function has in its closure."""
    function = endpoint.application
    if not isinstance(function, FunctionType) or "consumer_class" in vars(function):
        return []
    if any(function is outer for outer in endpoint.through):
        return []
    found: list[_Inner] = []
    for cell in function.__closure__ or ():
        try:
            inner: Any = cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
        within = Endpoint("", inner, (*endpoint.through, function))
        is_consumer = "consumer_class" in getattr(inner, "__dict__", {})
        if is_consumer or _inside(inner, frozenset(map(id, within.through))) or _in_closure(within):
            found.append(_Inner(inner))
    return found


def consumer_at(application: Any, scope: Scope) -> Any:
    """The consumer class that serves the path of the WebSocket ``scope``; ``None`` if there is none or it is not found.

    An application knows its class if it was made by ``as_asgi()``.
    """
    path = scope.get("path", "").removeprefix(scope.get("root_path", "")).lstrip("/")
    return _consumer_below(application, path, frozenset())


def _consumer_below(application: Any, path: str, above: frozenset[int]) -> Any:
    attributes = getattr(application, "__dict__", {})
    if "consumer_class" in attributes:
        return attributes["consumer_class"]
    for inner in _inside(application, above):
        rest = path if inner.pattern is None else _rest_behind(inner.pattern, path)
        if rest is not None and inner.protocol in (None, "websocket"):
            return _consumer_below(inner.application, rest, above | {id(application)})
    return None


def _rest_behind(pattern: Any, path: str) -> str | None:
    """The part of ``path`` that ``pattern`` leaves for the routers inside; ``None`` if it does not match."""
    try:
        match = pattern.match(path.lstrip("/"))
    except Resolver404:
        return None
    return str(match[0]) if match else None


def _inside(application: Any, above: frozenset[int]) -> list[_Inner]:
    """The applications that ``application`` may pass a connection to; none if it is in ``above``, inside itself."""
    if id(application) in above:
        return []
    if isinstance(application, ProtocolTypeRouter):
        return [_Inner(inner, protocol=protocol) for protocol, inner in application.application_mapping.items()]
    if isinstance(application, URLRouter):
        routes: Any = application.routes
        return [_Inner(route.callback, pattern=route.pattern) for route in routes]
    if isinstance(application, type | AsyncConsumer):
        return []
    attributes = getattr(application, "__dict__", {})
    return [_Inner(attributes[name]) for name in _WRAPPED if callable(attributes.get(name))]
