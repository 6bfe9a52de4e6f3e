"""The kinds of incoming frames: requests, refusals, PING, CANCEL, AUTH, and frames for the consumer's own code."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from ..exceptions import RoutesockError
from .messages import Request, RequestId


class Unanswered(Enum):
    """Frames that routesock does not answer itself."""

    FOREIGN = "the consumer's own code gets it"
    IGNORED = "ignored"
    PONG = "the answer to a PING from the server"
    UNDECODED = "only the consumer's own decode_json can read it, and that is async"


class Refusal(NamedTuple):
    """An error reply. ``route`` and ``id`` are ``None`` if they could not be read."""

    error: RoutesockError
    route: str | None = None
    id: RequestId = None


class Ping(NamedTuple):
    """A heartbeat, answered with the same id and payload."""

    id: RequestId
    payload: Any


class Cancel(NamedTuple):
    """Cancels the request with this id."""

    id: RequestId


class Auth(NamedTuple):
    """A new token for the user who is signed in."""

    id: RequestId
    payload: Any

    def __repr__(self) -> str:  # without the token, which would end up in logs
        return f"<Auth {self.id!r}>"


Decision: TypeAlias = Request | Refusal | Ping | Cancel | Auth | Unanswered

ANSWERED: Final = (Request, Refusal)
"""Kinds of frames that routesock answers, not the consumer's own code."""
