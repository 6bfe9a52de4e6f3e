"""Ids of all system checks, and the checks of the ``ROUTESOCK`` settings, its middleware and its documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum, unique
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from .. import conf
from .._routing.arguments import is_middleware
from .._runtime.callables import is_predicate

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
    WITHOUT_MIXIN = "routesock.W021"
    ANY_ORIGIN = "routesock.W022"
    NO_ACCESS_FUNCTION = "routesock.E023"
    PUBLIC_PLAYGROUND = "routesock.W024"
    NO_DOCS = "routesock.W025"
    NO_STORE = "routesock.E026"
    LOCAL_STORE = "routesock.W027"
    NO_HISTORY = "routesock.E028"
    ENDLESS_CLAIM = "routesock.E029"
    NO_APPLICATION = "routesock.W030"


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
    if key == "DOCS" and isinstance(value, dict):
        for inner in value:
            yield from _check_key("ROUTESOCK['DOCS']", inner, value[inner], conf.DOCS)
    else:
        yield from _check_key("ROUTESOCK", key, value, conf.SETTINGS)


def _check_key(name: str, key: Any, value: Any, known: Mapping[str, conf.Setting]) -> Iterator[CheckMessage]:
    """Check one key of the dict with this name in the settings."""
    if key not in known:
        candidates = {candidate.casefold(): candidate for candidate in known}
        similar = get_close_matches(str(key).casefold(), candidates, n=1)
        hint = f"Did you mean {candidates[similar[0]]!r}?" if similar else f"Valid keys are {', '.join(known)}."
        yield Error(f"{name}[{key!r}] is not a setting of routesock.", hint=hint, id=Id.UNKNOWN_KEY)
    elif not known[key].accepts(value):
        hint = f"Use {known[key].expected}."
        yield Error(f"{name}[{key!r}] has the invalid value {value!r}.", hint=hint, id=Id.WRONG_VALUE)


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


def check_documents(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check who can see the documents: that ``DOCS_ACCESS`` works, and fits ``DEBUG`` and ``PLAYGROUND``."""
    access = setting_if_valid("DOCS_ACCESS")
    if access == "debug" and not settings.DEBUG:
        return [
            Warning(
                "ROUTESOCK['DOCS_ACCESS'] is \"debug\" and DEBUG is off, so the documents are a 404 for everyone.",
                hint='Use "staff", or silence this check if no one needs to read them here.',
                id=Id.NO_DOCS,
            )
        ]
    if access == "public" and setting_if_valid("PLAYGROUND"):
        return [
            Warning(
                "ROUTESOCK['DOCS_ACCESS'] is \"public\" and PLAYGROUND is on, so everyone finds a page that calls your "
                "routes.",
                hint='Remove PLAYGROUND, or use DOCS_ACCESS = "staff".',
                id=Id.PUBLIC_PLAYGROUND,
            )
        ]
    if access is None or access in conf.DOCS_POLICIES:
        return []
    return list(_check_access_function(access))


def _check_access_function(path: str) -> Iterator[CheckMessage]:
    name = f"ROUTESOCK['DOCS_ACCESS']: {path!r}"
    hint = "Use the dotted path of a function `def allowed(request)` that returns a bool."
    try:
        function = import_string(path)
    except Exception as exc:
        yield Error(f"{name} cannot be imported ({text_of(exc)}).", hint=hint, id=Id.NO_ACCESS_FUNCTION)
        return
    if not is_predicate(function):
        yield Error(f"{name} is not such a function.", hint=hint, obj=function, id=Id.NO_ACCESS_FUNCTION)


def setting_if_valid(key: str) -> Any:
    """Return the setting, or ``None`` if it is invalid, which :func:`check_settings` reports."""
    setting = conf.SETTINGS[key]
    value = conf.project_settings().get(key, setting.default)
    return value if setting.accepts(value) else None
