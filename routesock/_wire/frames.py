"""The kinds of incoming frames: requests, refusals, PING, CANCEL, AUTH, and frames for the consumer's own code."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from ..exceptions import RoutesockError
from .messages import Request, RequestId


class Of(Enum):
    """Frames that are none of ours to answer."""

    CONSUMER = "foreign: the consumer's own code answers"
    NOBODY = "ignored"
    PONG = "an answer to a PING of ours: that it came says all"
    DECODER = "only the consumer's own decode_json can tell, and that waits"


class Refusal(NamedTuple):
    """An error to answer; ``route`` and ``id`` are ``None`` where they could not be read."""

    error: RoutesockError
    route: str | None = None
    id: RequestId = None


class Ping(NamedTuple):
    """A heartbeat to answer with the same id and payload."""

    id: RequestId
    payload: Any


class Cancel(NamedTuple):
    """A request to cancel."""

    id: RequestId


class Auth(NamedTuple):
    """A new token for whoever is signed in."""

    id: RequestId
    payload: Any

    def __repr__(self) -> str:  # without the token
        return f"<Auth {self.id!r}>"


Decision: TypeAlias = Request | Refusal | Ping | Cancel | Auth | Of

OURS: Final = (Request, Refusal)
"""Decisions that are answered by routesock, not by the consumer's own code."""
