"""The settings: names, defaults and valid values of the ``ROUTESOCK`` dict in Django's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise

from ._compat import django_setting


@dataclass(frozen=True)
class Setting:
    """One key of ``ROUTESOCK``, or of the dict ``DOCS`` in it.

    Attributes:
        default: The value where the project sets none.
        accepts: Returns whether a value is valid.
        expected: The valid values in words, for error messages and system checks.
    """

    default: Any
    accepts: Callable[[Any], bool]
    expected: str


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and value > 0


def _is_none_or(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


def _is_client_error(value: Any) -> bool:
    return isinstance(value, int) and 400 <= value <= 499  # http.HTTPStatus is an int


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, Promise) or (isinstance(value, str) and value != "")


def _is_url(value: Any, *schemes: str) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:  # such as half an IPv6 address
        return False
    return parts.scheme in schemes and bool(parts.hostname)


def _is_web_url(value: Any) -> bool:
    return _is_url(value, "https", "http")


def _is_servers(value: Any) -> bool:
    names = value if isinstance(value, dict) else {}
    urls = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (None,)
    return all(map(_is_text, names)) and all(_is_url(url, "wss", "ws") for url in urls)


def _is_contact(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() <= {"name", "url", "email"} and all(map(_is_text, value.values()))


def _is_license(value: Any) -> bool:
    return _is_contact(value) and value.keys() in ({"name"}, {"name", "url"})


DOCS: Final[dict[str, Setting]] = {
    "title": Setting("WebSocket API", _is_text, "a text"),
    "version": Setting("1.0.0", _is_text, "a text"),
    "description": Setting("", lambda value: isinstance(value, str | Promise), "a text"),
    "servers": Setting(
        (), _is_servers, 'a list of URLs such as "wss://chat.example.com", or a dict from names to URLs'
    ),
    "terms": Setting(None, _is_none_or(_is_web_url), 'a URL such as "https://example.com/terms", or None'),
    "contact": Setting(None, _is_none_or(_is_contact), 'a dict with texts for "name", "url" or "email", or None'),
    "license": Setting(None, _is_none_or(_is_license), 'a dict with texts for "name" and perhaps "url", or None'),
}
"""The keys of the dict ``DOCS``."""


def _is_docs(value: Any) -> bool:
    return isinstance(value, dict) and all(key in DOCS and DOCS[key].accepts(item) for key, item in value.items())


DOCS_POLICIES: Final = ("staff", "debug", "public")


def _is_access(value: Any) -> bool:
    return isinstance(value, str) and (value in DOCS_POLICIES or "." in value)


def _is_switch(value: Any) -> bool:
    return value is None or type(value) is bool


def _is_kept(value: Any) -> bool:
    """Whether ``value`` says how much of the history of a group is kept."""
    return (
        isinstance(value, dict)
        and value.keys() == {"size", "ttl"}
        and _is_count(value["size"])
        and value["size"] <= 1000
        and _is_seconds(value["ttl"])
        and value["ttl"] <= 86_400
    )


def _is_history(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) and _is_kept(value[key]) for key in value)


OVERFLOW_POLICIES: Final = ("close", "drop")

ERROR_SHAPES: Final = ("flat", "native")

FAIL_POLICIES: Final = ("open", "closed")

SETTINGS: Final[dict[str, Setting]] = {
    "MAX_FRAME": Setting(65_536, _is_count, "a positive number of bytes"),
    "MAX_REPLY": Setting(1_000_000, _is_count, "a positive number of bytes"),
    "MAX_DEPTH": Setting(64, _is_count, "a positive number of levels"),
    "MAX_QUEUED": Setting(64, _is_count, "a positive number of requests"),
    "MAX_QUEUED_BYTES": Setting(524_288, _is_count, "a positive number of bytes"),
    "CONCURRENCY": Setting(15, _is_count, "a positive number of requests"),
    "MAX_SUBSCRIPTIONS": Setting(100, _is_count, "a positive number of subscriptions"),
    "MAX_ASKS": Setting(16, _is_count, "a positive number of answers"),
    "MAX_OUTGOING": Setting(256, _is_count, "a positive number of frames"),
    "MAX_OUTGOING_BYTES": Setting(4_000_000, _is_count, "a positive number of bytes"),
    "OVERFLOW": Setting("close", lambda value: value in OVERFLOW_POLICIES, '"close" or "drop"'),
    "VALIDATION_STATUS": Setting(422, _is_client_error, "a status from 400 to 499"),
    "VALIDATION_ERRORS": Setting("flat", lambda value: value in ERROR_SHAPES, '"flat" or "native"'),
    "TIMEOUT": Setting(30.0, _is_none_or(_is_seconds), "a positive number of seconds, or None for no deadline"),
    "DISCONNECT_GRACE": Setting(
        5.0, lambda value: type(value) in (int, float) and value >= 0, "a number of seconds, 0 for none"
    ),
    "DB_THREADS": Setting(8, _is_count, "a positive number of threads"),
    "THROTTLE_CACHE": Setting(
        "default", lambda value: isinstance(value, str) and value != "", "the name of a cache in CACHES"
    ),
    "THROTTLE_TIMEOUT": Setting(0.25, _is_seconds, "a positive number of seconds"),
    "THROTTLE_FAIL": Setting("open", lambda value: value in FAIL_POLICIES, '"open" or "closed"'),
    "THROTTLE_HEADERS": Setting(False, lambda value: type(value) is bool, "True or False"),
    "STORE": Setting(
        None,
        _is_none_or(lambda value: isinstance(value, str) and value != ""),
        "the name of a cache in CACHES, or None for that of THROTTLE_CACHE",
    ),
    "STORE_TIMEOUT": Setting(0.25, _is_seconds, "a positive number of seconds"),
    "IDEMPOTENCY_FAIL": Setting("closed", lambda value: value in FAIL_POLICIES, '"open" or "closed"'),
    "IDEMPOTENCY_MAX_KEYS": Setting(10_000, _is_count, "a positive number of keys"),
    "IDEMPOTENCY_MAX_BYTES": Setting(32_000_000, _is_count, "a positive number of bytes"),
    "HISTORY": Setting(
        {},
        _is_history,
        'a dict from patterns of groups to dicts such as {"size": 100, "ttl": 300}, with a size of 1 to 1,000 pushes '
        "and a ttl of at most 86,400 seconds",
    ),
    "NUM_PROXIES": Setting(0, lambda value: type(value) is int and value >= 0, "a number of proxies, 0 for none"),
    "DRAIN_ON_SIGTERM": Setting(True, lambda value: type(value) is bool, "True or False"),
    "IDLE_TIMEOUT": Setting(None, _is_none_or(_is_seconds), "a positive number of seconds, or None for no limit"),
    "ANONYMOUS_TIMEOUT": Setting(None, _is_none_or(_is_seconds), "a positive number of seconds, or None for no limit"),
    "END_WITH_SESSION": Setting(True, lambda value: type(value) is bool, "True or False"),
    "MAX_SOCKETS_PER_USER": Setting(None, _is_none_or(_is_count), "a positive number of sockets, or None for no limit"),
    "MAX_SOCKETS_PER_ADDRESS": Setting(
        None, _is_none_or(_is_count), "a positive number of sockets, or None for no limit"
    ),
    "MIDDLEWARE": Setting((), _is_list_of_strings, "a list of dotted paths"),
    "PERMISSIONS": Setting((), _is_list_of_strings, 'a list of dotted paths and of strings such as "chat.add_message"'),
    "LOG_EXCLUDE": Setting((), _is_list_of_strings, "a list of names of routes"),
    "GUARD_ATTRIBUTES": Setting((), _is_list_of_strings, "a list of names of class attributes"),
    "DOCS": Setting({}, _is_docs, f"a dict with some of the keys {', '.join(DOCS)}"),
    "DOCS_ACCESS": Setting("staff", _is_access, '"staff", "debug", "public", or the dotted path of a function'),
    "PLAYGROUND": Setting(None, _is_switch, "True, False, or None for the value of DEBUG"),
    "CHECK_REPLIES": Setting(None, _is_switch, "True, False, or None for the value of DEBUG"),
    "CENSUS": Setting(None, _is_switch, "True, False, or None for whether routesock is in INSTALLED_APPS"),
}


def project_settings() -> dict[str, Any]:
    """Return the project's ``ROUTESOCK`` dict; an empty one if it is missing or not a dict (see ``routesock.E001``)."""
    value = django_setting("ROUTESOCK", None)
    return value if isinstance(value, dict) else {}


def get(name: str) -> Any:
    """Return the current value of a setting. Nothing is cached, so ``override_settings`` works.

    Args:
        name: A key of ``ROUTESOCK``, such as ``"TIMEOUT"``.

    Raises:
        ImproperlyConfigured: If the project's value is not valid.
        KeyError: If routesock has no such setting.
    """
    setting = SETTINGS[name]
    value = project_settings().get(name, setting.default)
    if not setting.accepts(value):  # a system check reports it too, but servers do not run system checks
        raise ImproperlyConfigured(f"ROUTESOCK[{name!r}] must be {setting.expected}; got {value!r}.")
    return value


def checks_replies() -> bool:
    """Return whether the frames of new sockets are held against their documents."""
    value: bool | None = get("CHECK_REPLIES")
    return bool(django_settings.DEBUG) if value is None else value


def in_census() -> bool:
    """Return whether this process answers operators who ask for its sockets."""
    value: bool | None = get("CENSUS")
    return apps.is_installed("routesock") if value is None else value


def docs() -> dict[str, Any]:
    """Return ``DOCS`` with the defaults of the keys that the project does not set.

    Raises:
        ImproperlyConfigured: If a key or its value is not valid.
    """
    own: dict[str, Any] = get("DOCS")
    return {key: setting.default for key, setting in DOCS.items()} | own
