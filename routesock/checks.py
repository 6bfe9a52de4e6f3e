"""System checks of the settings, of the consumers with routes, and of the server in front of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from enum import StrEnum, unique
from typing import Any, Final

from channels.consumer import AsyncConsumer
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.cache import caches
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string
from django.utils.version import get_version_tuple

from . import conf
from .access import functions_asked, object_permissions
from .callables import is_async
from .consumers import RouteMixin
from .discovery import Endpoint, endpoints
from .exceptions import RouteSetupError
from .permissions.resolve import from_settings
from .routing import Route, is_middleware
from .throttling.cache import is_atomic
from .typing import UNSET

TAG: Final = "routesock"

_MIB: Final = 1024 * 1024

_AS_ASGI: Final[Any] = vars(AsyncConsumer)["as_asgi"].__func__


@unique
class Id(StrEnum):
    """The id of every message, for ``SILENCED_SYSTEM_CHECKS``; a number is used once, whatever the letter."""

    NOT_A_DICT = "routesock.E001"
    UNKNOWN_KEY = "routesock.E002"
    WRONG_VALUE = "routesock.E003"
    MIDDLEWARE_NOT_FOUND = "routesock.E004"
    MIDDLEWARE_NOT_ASYNC = "routesock.E005"
    APPLICATION_NOT_FOUND = "routesock.E006"
    WITHOUT_AS_ASGI = "routesock.E007"
    ASYNC_ON_SYNC = "routesock.W008"
    UNBOUNDED_DAPHNE = "routesock.W009"
    OVER_DAPHNES_LIMIT = "routesock.W010"
    OPEN_ROUTES = "routesock.W011"
    NO_OBJECTS = "routesock.W012"
    NO_PERMISSION = "routesock.E013"
    NO_SUCH_CACHE = "routesock.E014"
    NOT_ATOMIC = "routesock.W015"


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``ROUTESOCK`` is a dict of known keys and fitting values."""
    value = getattr(settings, "ROUTESOCK", {})
    if isinstance(value, dict):
        return [message for key in value for message in _check_setting(key, value[key])]
    return [
        Error(
            f"The setting ROUTESOCK is {value!r}, so routesock runs with its defaults.",
            hint='Write a dict, such as ROUTESOCK = {"TIMEOUT": 10}, or leave it out.',
            id=Id.NOT_A_DICT,
        )
    ]


def _check_setting(key: Any, value: Any) -> Iterator[CheckMessage]:
    if key not in conf.SETTINGS:
        similar = get_close_matches(str(key).upper(), conf.SETTINGS, n=1)
        hint = f"Did you mean {similar[0]!r}?" if similar else f"The keys are {', '.join(conf.SETTINGS)}."
        yield Error(f"ROUTESOCK[{key!r}] is no setting of routesock.", hint=hint, id=Id.UNKNOWN_KEY)
    elif not conf.SETTINGS[key].accepts(value):
        hint = f"Write {conf.SETTINGS[key].expected}."
        yield Error(f"ROUTESOCK[{key!r}] is {value!r}.", hint=hint, id=Id.WRONG_VALUE)


def check_middleware(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Each path in ``MIDDLEWARE`` leads to an ``async def m(request, call_next)``."""
    paths = _setting_if_valid("MIDDLEWARE") or ()
    return [message for path in paths for message in _check_middleware(path)]


def _check_middleware(path: str) -> Iterator[CheckMessage]:
    name = f"ROUTESOCK['MIDDLEWARE']: {path!r}"
    try:
        function = import_string(path)
    except Exception as exc:
        yield Error(
            f"{name} cannot be imported ({_text_of(exc)}). Every connection fails.",
            hint='Write the dotted path of a function, such as "shop.middleware.timing".',
            id=Id.MIDDLEWARE_NOT_FOUND,
        )
        return
    if not is_middleware(function):
        yield Error(
            f"{name} is no middleware. Every request fails.",
            hint="Write it as `async def m(request, call_next)`.",
            obj=function,
            id=Id.MIDDLEWARE_NOT_ASYNC,
        )


def check_consumers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``ASGI_APPLICATION`` can be imported and serves its consumers right, and so do their handlers and permissions.

    One check and not four: consumers are known once the application is imported. What makes a declaration impossible
    is no check: it raises when the class is created, so it is found here as an application that cannot be imported.
    """
    messages = list(_check_application())
    messages += _check_handlers()
    messages += _check_permissions()
    return messages


def _check_application() -> Iterator[CheckMessage]:
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path is None:
        return
    try:
        application = import_string(path)
    except Exception as exc:
        yield Error(
            f"ASGI_APPLICATION: {path!r} cannot be imported ({_text_of(exc)}).",
            hint='Write the dotted path of the ASGI application, such as "config.asgi.application".',
            id=Id.APPLICATION_NOT_FOUND,
        )
        return
    for endpoint in endpoints(application):
        yield from _check_endpoint(endpoint)


def _check_endpoint(endpoint: Endpoint) -> Iterator[CheckMessage]:
    application = endpoint.application
    cls: Any = application
    if isinstance(application, RouteMixin):
        cls, wrong = type(application), "one instance for all sockets: replies go to the wrong client"
    elif isinstance(application, type):
        wrong = "a class, which is no ASGI application: every connection fails"
    elif inspect.ismethod(application) and application.__func__ is _AS_ASGI:
        cls, wrong = application.__self__, "a method that was not called: every connection fails"
    else:
        return
    if issubclass(cls, RouteMixin):
        yield Error(
            f"What serves the path {endpoint.path!r} is {wrong}.",
            hint=f"Write {cls.__name__}.as_asgi().",
            obj=cls,
            id=Id.WITHOUT_AS_ASGI,
        )


def _check_handlers() -> Iterator[CheckMessage]:
    seen: set[int] = set()
    for cls in _consumers(RouteMixin):
        for attr in _methods(cls) if cls._routesock.sync else ():
            definition = id(inspect.getattr_static(cls, attr))
            if _is_on_loop(getattr(cls, attr)) and definition not in seen:
                seen.add(definition)  # said once, of the class that has it, and not of each subclass
                yield Warning(
                    f"{cls.__name__}.{attr} is async on a sync consumer: it runs on the event loop, where self.send(), "
                    "self.close() and the ORM refuse to.",
                    hint=f"Write `def {attr}`, or derive the class from AsyncJsonWebsocketConsumer.",
                    obj=cls,
                    id=Id.ASYNC_ON_SYNC,
                )


def _is_on_loop(function: Any) -> bool:
    return is_async(function) or inspect.isasyncgenfunction(function)


def _consumers(cls: type[RouteMixin]) -> dict[type[RouteMixin], None]:
    """The subclasses of ``cls`` that are consumers, a base before what derives from it."""
    found: dict[type[RouteMixin], None] = {}
    for subclass in cls.__subclasses__():
        if issubclass(subclass, AsyncConsumer):
            found[subclass] = None
        found |= _consumers(subclass)
    return found


def _methods(cls: type[RouteMixin]) -> dict[str, None]:
    """The names of what answers routes and events: handlers, and the hooks that are methods.

    A hook that is a function is left out: it gets a request and not the consumer, and may serve either kind.
    """
    compiled = cls._routesock
    routes = [route for plan in compiled.plans.values() for route in plan.declared]
    names = [name for route in routes for name in (route.attr, *functions_asked(route), route.hydrate, route.dehydrate)]
    names += [topic.unsubscribe for topic in compiled.topics]
    names += (telling.attr for telling in compiled.events.values())
    return dict.fromkeys(name for name in names if isinstance(name, str))


def _check_permissions() -> Iterator[CheckMessage]:
    names = _setting_if_valid("PERMISSIONS")
    if names is None:
        return
    told: set[tuple[str, int]] = set()
    try:
        for name in names:
            from_settings(name)
        for cls in _consumers(RouteMixin):
            for message, routes in (_open_routes(cls), _routes_without_objects(cls)):
                keys = {(message.id or "", id(inspect.getattr_static(cls, route.attr))) for route in routes}
                if keys - told:
                    told |= keys  # said once, of the class that has them, and not of each subclass
                    yield message
    except RouteSetupError as exc:
        yield Error(
            f"ROUTESOCK['PERMISSIONS']: {exc} Every connection fails.",
            hint='Write dotted paths, such as "routesock.permissions.IsAuthenticated", or "app_label.codename".',
            id=Id.NO_PERMISSION,
        )


def _open_routes(cls: type[RouteMixin]) -> tuple[CheckMessage, list[Route]]:
    """The routes about which nobody says who may call them, where others of the class do say so."""
    routes = _routes_now(cls)
    unsaid = [route for route in routes if route.permissions is UNSET]
    message = Warning(
        f"{cls.__name__} says who may call some of its routes, but everybody may call {_names_of(unsaid)}.",
        hint="Give the class route_permissions, or write permissions=() on the routes that are open on purpose.",
        obj=cls,
        id=Id.OPEN_ROUTES,
    )
    return message, unsaid if len(unsaid) < len(routes) else []


def _routes_without_objects(cls: type[RouteMixin]) -> tuple[CheckMessage, list[Route]]:
    """The routes that have permissions for objects, but no object."""
    routes = [route for route in _routes_now(cls) if route.hydrate is None and any(object_permissions(route))]
    names = dict.fromkeys(leaf.name for route in routes for leaf in object_permissions(route))
    message = Warning(
        f"{cls.__name__}: {', '.join(names)} would look at objects, but {_names_of(routes)} without hydrate= has none.",
        hint="Write hydrate=, or permissions= without them for these routes.",
        obj=cls,
        id=Id.NO_OBJECTS,
    )
    return message, routes


def _routes_now(cls: type[RouteMixin]) -> list[Route]:
    return [route for plan in cls._routesock.plans_now().values() for route in plan.declared]


def _names_of(routes: Iterable[Route]) -> str:
    return ", ".join(repr(route.name) for route in routes)


def check_throttles(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Where anything is throttled, ``THROTTLE_CACHE`` names a cache that can count."""
    alias = _setting_if_valid("THROTTLE_CACHE")
    throttled = [cls.__name__ for cls in _consumers(RouteMixin) if cls._routesock.throttled]
    if alias is None or not throttled:
        return []
    try:
        backend = type(caches[alias])
    except Exception as exc:
        return [
            Error(
                f"ROUTESOCK['THROTTLE_CACHE']: there is no cache {alias!r} ({_text_of(exc)}). "
                f"Every call of a throttled route fails: {', '.join(throttled)}.",
                hint="Write the name of one in CACHES that works.",
                id=Id.NO_SUCH_CACHE,
            )
        ]
    if is_atomic(backend):
        return []
    return [
        Warning(
            f"The cache {alias!r}, by which {', '.join(throttled)} is throttled, has no atomic incr() "
            f"({backend.__qualname__}): more calls may be let through than the rates say.",
            hint="Use django-redis, local memory, or memcached; ROUTESOCK['THROTTLE_CACHE'] names the cache.",
            id=Id.NOT_ATOMIC,
        )
    ]


def check_daphne(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """daphne, if it is the project's server, bounds frames, and not below what routesock allows."""
    daphne = next((config.module for config in apps.get_app_configs() if config.name == "daphne"), None)
    version = getattr(daphne, "__version__", None)
    if version is None:
        return []
    if get_version_tuple(version) < (4, 2, 2):
        return [
            Warning(
                f"daphne {version} takes frames of any size into memory before MAX_FRAME is asked (CVE-2026-44545).",
                hint="Install daphne>=4.2.2.",
                id=Id.UNBOUNDED_DAPHNE,
            )
        ]
    return [
        *_check_limit("MAX_FRAME", "and closes the socket at a larger frame", "MESSAGE", "FRAME"),
        *_check_limit("MAX_REPLY", "and refuses to send a larger reply", "MESSAGE"),
    ]


def _check_limit(key: str, consequence: str, *kinds: str) -> Iterator[CheckMessage]:
    options = {f"DAPHNE_WEBSOCKET_MAX_{kind}_SIZE": f"--websocket-max-{kind.lower()}-size" for kind in kinds}
    limits = {option: getattr(settings, option, _MIB) for option in options}
    name = min((name for name in limits if limits[name]), key=lambda name: limits[name], default=None)
    value = _setting_if_valid(key)
    if name is not None and value is not None and value > limits[name]:
        yield Warning(
            f"ROUTESOCK[{key!r}] is {value}, but daphne stops at {limits[name]} bytes {consequence}.",
            hint=f"Lower it, or raise {name} (runserver) and {options[name]} (the daphne command).",
            id=Id.OVER_DAPHNES_LIMIT,
        )


def _setting_if_valid(key: str) -> Any:
    """The setting, or ``None`` if it is of a wrong type, which :func:`check_settings` says."""
    setting = conf.SETTINGS[key]
    value = conf.configured().get(key, setting.default)
    return value if setting.accepts(value) else None


def _text_of(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"


CHECKS: Final = (check_settings, check_middleware, check_consumers, check_throttles, check_daphne)
