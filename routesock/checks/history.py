"""System checks of topics that clients resume."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from .._groups.history import policies
from .._routing.topic import Parameter, Pattern
from ..dialects import Dialect
from ..dialects.base import POSITION_HEADER
from .consumers import consumers
from .settings import Id, setting_if_valid

_PROBE: Final = "position-probe:1"


def check_history(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check the patterns of ``HISTORY``, and that each topic with ``recover=`` has one and a dialect with headers."""
    if setting_if_valid("HISTORY") is None:
        return []
    try:
        patterns = [pattern for pattern, _ in policies()]
    except ImproperlyConfigured as exc:
        hint = 'Write patterns as those of @topic: {"room.{room_id}": {"size": 100, "ttl": 300}}.'
        return [Error(str(exc), hint=hint, id=Id.NO_HISTORY)]
    return [message for cls in consumers() for message in _check_topics(cls, patterns)]


def _check_topics(cls: Any, patterns: Sequence[Pattern]) -> Iterator[CheckMessage]:
    for topic in cls._routesock.topics:
        if not topic.recover:
            continue
        parts = [_example(segment) for segment in topic.pattern.segments]
        if all(pattern.match(parts) is None for pattern in patterns):
            yield Error(
                f"No pattern of ROUTESOCK['HISTORY'] matches the topic {topic.name!r} of {cls.__name__}, which has "
                f"recover={topic.recover!r}.",
                hint=f'Add a pattern such as {{"{topic.name}": {{"size": 100, "ttl": 300}}}}.',
                obj=cls,
                id=Id.NO_HISTORY,
            )
        elif not _has_headers(cls._routesock.dialect):
            yield Error(
                f"The topic {topic.name!r} of {cls.__name__} has recover={topic.recover!r}, and the frames of its "
                "dialect have no headers, where a client would find its position.",
                hint="Use a dialect with headers, or remove recover=.",
                obj=cls,
                id=Id.NO_HISTORY,
            )


def _example(segment: str | Parameter) -> str:
    return segment if isinstance(segment, str) else f"{segment.before}x{segment.after}"


def _has_headers(dialect: Dialect) -> bool:
    return _PROBE in json.dumps(dialect.push("x", None, {POSITION_HEADER: _PROBE}), default=str)
