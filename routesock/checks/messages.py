"""What the messages have in common: their ids, the tag, and how an exception reads in them."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final

TAG: Final = "routesock"


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
    NO_SUCH_LAYER = "routesock.E016"
    ONE_PROCESS = "routesock.W017"
    NO_GROUPS = "routesock.W018"
    SHORT_TIMEOUT = "routesock.W019"


def text_of(exc: Exception) -> str:
    """As the last line of a traceback has it."""
    return f"{type(exc).__name__}: {exc}"
