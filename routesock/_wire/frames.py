"""The kinds of incoming frames: requests, refusals, control frames, and frames for the consumer's own code."""

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
    """An error reply. ``route`` and ``id`` are ``None`` if they could not be read.

    ``about`` is what the dialect of the reply gets in place of the request, where the frame is known.
    """

    error: RoutesockError
    route: str | None = None
    id: RequestId = None
    about: Request | None = None


class Ping(NamedTuple):
    """A heartbeat, answered with the same id and payload."""

    request: Request


class Cancel(NamedTuple):
    """Cancels the request with this id."""

    id: RequestId


class Answer(NamedTuple):
    """A client's answer to what the server has asked. A malformed one has the id ``None`` and is dropped."""

    id: RequestId
    status: int
    payload: Any


class Auth(NamedTuple):
    """A new token for the signed-in user. The token is the payload, which the request's repr leaves out."""

    request: Request

    @property
    def id(self) -> RequestId:
        """The id of the request."""
        return self.request.id

    @property
    def payload(self) -> Any:
        """An object with the token, if the client did it right."""
        return self.request.payload


Decision: TypeAlias = Request | Refusal | Ping | Cancel | Answer | Auth | Unanswered

Batch: TypeAlias = list[tuple[dict[str, Any], Decision]]
"""The decisions about several frames in one message, each with the message that holds that frame alone."""

ANSWERED: Final = (Request, Refusal)
"""Kinds of frames that routesock answers, not the consumer's own code."""
