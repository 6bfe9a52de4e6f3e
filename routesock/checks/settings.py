"""Ids of all system checks, and the checks of the ``ROUTESOCK`` settings and its middleware."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from enum import StrEnum, unique
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from .. import conf
from .._routing.route import is_middleware

TAG: Final = "routesock"


@unique
class Id(StrEnum):
    """The ids of all messages, for ``SILENCED_SYSTEM_CHECKS``. Errors and warnings do not share numbers."""

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
    NO_SUCH_LAYER = "routesock.E016"
    ONE_PROCESS = "routesock.W017"
    NO_GROUPS = "routesock.W018"
    SHORT_TIMEOUT = "routesock.W019"
    UNREAD_GUARD = "routesock.W020"
    UNREAD_GUARD = "routesock.W020"
    UNREAD_GUARD = "routesock.W020"
    WITHOUT_MIXIN = "routesock.W021"
    ANY_ORIGIN = "routesock.W022"


def text_of(exc: Exception) -> str:
    """Return the type and the text of an exception, as in the last line of a traceback."""
    return f"{type(exc).__name__}: {exc}"


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that ``ROUTESOCK`` is a dict with known keys and valid values."""
    value = getattr(settings, "ROUTESOCK", {})
    if isinstance(value, dict):
        return [message for key in value for message in _check_setting(key, value[key])]
    return [
        Error(
            f"The setting ROUTESOCK must be a dict, not {value!r}. routesock uses its defaults.",
            hint='Set it to a dict such as {"TIMEOUT": 10}, or remove it.',
            id=Id.NOT_A_DICT,
        )
    ]


def _check_setting(key: Any, value: Any) -> Iterator[CheckMessage]:
    if key not in conf.SETTINGS:
        similar = get_close_matches(str(key).upper(), conf.SETTINGS, n=1)
        hint = f"Did you mean {similar[0]!r}?" if similar else f"Valid keys are {', '.join(conf.SETTINGS)}."
        yield Error(f"ROUTESOCK[{key!r}] is not a setting of routesock.", hint=hint, id=Id.UNKNOWN_KEY)
    elif not conf.SETTINGS[key].accepts(value):
        hint = f"Use {conf.SETTINGS[key].expected}."
        yield Error(f"ROUTESOCK[{key!r}] has the invalid value {value!r}.", hint=hint, id=Id.WRONG_VALUE)


def check_middleware(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that each path in ``MIDDLEWARE`` is that of an ``async def middleware(request, call_next)``."""
    paths = setting_if_valid("MIDDLEWARE") or ()
    return [message for path in paths for message in _check_middleware(path)]


def _check_middleware(path: str) -> Iterator[CheckMessage]:
    name = f"ROUTESOCK['MIDDLEWARE']: {path!r}"
    try:
        function = import_string(path)
    except Exception as exc:
        yield Error(
            f"{name} cannot be imported ({text_of(exc)}). Every connection fails.",
            hint='Use the dotted path of a function, such as "shop.middleware.timing".',
            id=Id.MIDDLEWARE_NOT_FOUND,
        )
        return
    if not is_middleware(function):
        yield Error(
            f"{name} is not a middleware function. Every request fails.",
            hint="Define it as `async def middleware(request, call_next)`.",
            obj=function,
            id=Id.MIDDLEWARE_NOT_ASYNC,
        )


def setting_if_valid(key: str) -> Any:
    """Return the setting, or ``None`` if it is invalid, which :func:`check_settings` reports."""
    setting = conf.SETTINGS[key]
    value = conf.project_settings().get(key, setting.default)
    return value if setting.accepts(value) else None
