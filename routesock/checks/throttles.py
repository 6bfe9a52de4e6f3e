"""The check of the cache that counts calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.cache import caches
from django.core.checks import CheckMessage, Error, Warning

from ..throttling.cache import is_atomic
from .classes import consumers
from .messages import Id, text_of
from .settings import setting_if_valid


def check_throttles(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Where anything is throttled, ``THROTTLE_CACHE`` names a cache that can count."""
    alias = setting_if_valid("THROTTLE_CACHE")
    throttled = [cls.__name__ for cls in consumers() if cls._routesock.throttled]
    if alias is None or not throttled:
        return []
    try:
        backend = type(caches[alias])
    except Exception as exc:
        return [
            Error(
                f"ROUTESOCK['THROTTLE_CACHE']: there is no cache {alias!r} ({text_of(exc)}). "
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
