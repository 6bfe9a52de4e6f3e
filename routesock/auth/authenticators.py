"""Authenticators: turn credentials into an identity."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from math import isfinite
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty

from .._runtime import database
from .._runtime.callables import is_async, takes
from .._wire.messages import Scope
from ..exceptions import NotAuthenticated, RouteSetupError

REFUSED: Final = "The token is not valid."
"""What a client reads of a refusal: nothing that tells one kind of wrong token from another."""

IDENTITY: Final = "routesock.identity"
"""The key of the scope that holds the :class:`Identity` of a socket that has authenticated itself."""

AUTHENTICATORS: Final = "routesock.authenticators"
"""The key of the scope that holds the authenticators which an AUTH on the open socket may use."""


class CredentialSource(StrEnum):
    """Where a token came from."""

    SUBPROTOCOL = "subprotocol"
    HEADER = "header"
    QUERY = "query"
    FRAME = "frame"
    REQUEST = "request"
    """Nowhere: there is none, but an authenticator may find something in the handshake's request that it knows."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A token and where it came from. Neither ``repr`` nor a log line shows the token.

    ``scheme`` is what stood in front of it in an ``Authorization`` header, empty elsewhere.
    """

    token: str
    source: CredentialSource
    scope: Scope
    scheme: str = ""

    def __repr__(self) -> str:
        return f"<Credentials from {self.source}>"


class Identity(NamedTuple):
    """Who an authenticator found: the user, when that ends (``time.time()``, ``None``: never), and DRF's ``auth``."""

    user: Any
    expires: float | None = None
    auth: Any = None


@runtime_checkable
class Authenticator(Protocol):
    """``await authenticator(credentials)`` gives an :class:`Identity`, ``None`` for a token that is not its own.

    It raises :class:`~routesock.exceptions.NotAuthenticated` for a token that is refused.
    """

    @property
    def schemes(self) -> tuple[str, ...]:
        """What stands in front of its tokens in an ``Authorization`` header."""
        ...

    @property
    def handshake_only(self) -> bool:
        """Whether it authenticates by a frame, and never by what comes with the HTTP request."""
        ...

    @property
    def reads_request(self) -> bool:
        """Whether it looks for credentials of its own in the request, the ``Authorization`` header included."""
        ...

    def __call__(self, credentials: Credentials) -> Awaitable[Identity | None]: ...


class CallableAuthenticator:
    """``async def who(credentials)`` of the user's own, which returns a user, an :class:`Identity` or ``None``."""

    schemes: tuple[str, ...] = ("Bearer",)
    handshake_only: bool = False
    reads_request: bool = False

    def __init__(self, function: Any) -> None:
        self._function = function

    def __repr__(self) -> str:
        return f"CallableAuthenticator({getattr(self._function, '__qualname__', self._function)!r})"

    async def __call__(self, credentials: Credentials) -> Identity | None:
        found = await self._function(credentials)
        return found if found is None or isinstance(found, Identity) else Identity(found)


_ADAPTERS: Final = {"rest_framework": ".rest_framework"}
"""Library to the module with its adapter. A module is imported for an object of its library, so never on a guess."""


def as_authenticator(authenticator: Any) -> Authenticator:
    """``authenticator`` as one: an async callable of the credentials, or a DRF authentication class or instance.

    What such a callable returns may be a user, which never expires. An :class:`Authenticator` is taken as it is.
    :class:`~routesock.exceptions.RouteSetupError` for anything else.
    """
    cls = authenticator if isinstance(authenticator, type) else type(authenticator)
    modules = {base.__module__.partition(".")[0] for base in cls.__mro__}
    for library, module in _ADAPTERS.items():
        if library in modules:
            adapter: Authenticator | None = import_module(module, __package__).adapter_for(authenticator)
            if adapter is not None:
                return adapter
    if isinstance(authenticator, Authenticator) and not isinstance(authenticator, type):
        return authenticator
    if is_async(authenticator) and not isinstance(authenticator, type) and takes(authenticator, 1):
        return CallableAuthenticator(authenticator)
    raise RouteSetupError(
        f"{authenticator!r} is no authenticator. Accepted are `async def who(credentials)`, which returns a user or "
        "None, SessionKeyAuthentication(), and an authentication class of Django REST framework."
    )


def as_authenticators(authenticators: Iterable[Any]) -> tuple[Authenticator, ...]:
    """Each of ``authenticators`` resolved. :class:`RouteSetupError` for none at all: nobody would get in."""
    if isinstance(authenticators, str | bytes) or not isinstance(authenticators, Iterable):
        raise RouteSetupError(f"authenticators= is a list of authenticators; got {authenticators!r}.")
    resolved = tuple(as_authenticator(authenticator) for authenticator in authenticators)
    if not resolved:
        raise RouteSetupError("authenticators= is empty, so that nobody could be authenticated.")
    return resolved


async def authenticate(authenticators: Iterable[Authenticator], credentials: Credentials) -> Identity | None:
    """Who the first authenticator that accepts ``credentials`` says it is; ``None`` if they are nobody's.

    Where all refuse, or the user may not sign in, or the time is over, it raises
    :class:`~routesock.exceptions.NotAuthenticated`. Whatever else an authenticator raises comes through.
    """
    refusal: NotAuthenticated | None = None
    for authenticator in authenticators:
        try:
            identity = await authenticator(credentials)
            if identity is not None:
                return await checked(identity)
        except NotAuthenticated as exc:  # a token without a scheme may be that of another
            refusal = exc
    if refusal is not None:
        raise refusal
    return None


async def checked(identity: Identity) -> Identity:
    """``identity`` with a real user in it, if that is one who is signed in.

    ``is_authenticated`` has to be ``True`` itself: on the class ``AnonymousUser`` it is a property, which is truthy.
    """
    user = identity.user
    if isinstance(user, LazyObject):
        user = await database.in_thread(unwrapped, user)
    if getattr(user, "is_authenticated", False) is not True or getattr(user, "is_active", True) is not True:
        raise NotAuthenticated(REFUSED)
    if identity.expires is not None and not (isfinite(identity.expires) and identity.expires > time.time()):
        raise NotAuthenticated(REFUSED)
    return identity._replace(user=user)


def unwrapped(user: Any) -> Any:
    """The user inside a lazy one: others may put another user into that, as Channels' AuthMiddleware does."""
    if user._wrapped is empty:
        user._setup()
    return user._wrapped


def fill(scope: Scope, identity: Identity) -> None:
    """Write into ``scope`` who it is: ``user``, ``auth``, the identity itself, and the session that was its token."""
    scope["user"] = identity.user
    scope["auth"] = identity.auth
    scope[IDENTITY] = identity
    if _is_session(identity.auth):
        scope["session"] = identity.auth


def _is_session(auth: Any) -> bool:
    from django.contrib.sessions.backends.base import SessionBase

    return isinstance(auth, SessionBase)


class SessionKeyAuthentication:
    """The key of a Django session as a token. Who is signed in there is for ``django.contrib.auth`` to say.

    So a session that was flushed, whose user may not sign in any more, or has changed the password since, is refused.
    """

    schemes: tuple[str, ...] = ("Session",)
    handshake_only: bool = False
    reads_request: bool = False

    def __repr__(self) -> str:
        return "SessionKeyAuthentication()"

    async def __call__(self, credentials: Credentials) -> Identity | None:
        if credentials.source is CredentialSource.REQUEST:
            return None
        identity: Identity | None = await database.in_thread(_identity_of, credentials.token)
        return identity


def _identity_of(key: str) -> Identity | None:
    from django.contrib.auth import get_user  # models, which need the app registry

    if not key.isascii() or not key.isalnum():  # stores do not expect a NUL or a path
        return None
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore
    request = HttpRequest()
    request.session = session = store(key)
    user = get_user(request)
    return Identity(user, None, session) if user.is_authenticated else None
