"""What an authenticator gets, what it gives, and the forms in which users name one."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from ..exceptions import RouteSetupError
from ..messages import Scope


class Source(StrEnum):
    """Where a token came from."""

    SUBPROTOCOL = "subprotocol"
    HEADER = "header"
    QUERY = "query"
    FRAME = "frame"


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A token and where it came from. Neither ``repr`` nor a log line shows the token."""

    token: str
    source: Source
    scope: Scope

    def __repr__(self) -> str:
        return f"<Credentials from {self.source}>"


class Identity(NamedTuple):
    """Who an authenticator found: the user, when that ends (``time.time()``, ``None``: never), and DRF's ``auth``."""

    user: Any
    expires: float | None = None
    auth: Any = None


class Authenticator(Protocol):
    """``await authenticator(credentials)`` gives an :class:`Identity`, ``None`` for a token that is not its own.

    It raises :class:`~routesock.exceptions.NotAuthenticated` for a token that is refused.
    """

    def __call__(self, credentials: Credentials) -> Awaitable[Identity | None]: ...


def resolve(authenticator: Any) -> Authenticator:
    """``authenticator`` as one: an async callable of the credentials, or a DRF authentication class or instance.

    What such a callable returns may be a user, which never expires. :class:`RouteSetupError` for anything else.
    """
    raise NotImplementedError
