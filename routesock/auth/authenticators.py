"""Authenticators: verify credentials such as tokens and session keys, and return the user's identity."""

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
from django.utils.functional import LazyObject

from .._compat import unwrap_lazy_user
from .._runtime import database
from .._runtime.callables import is_async, takes
from .._wire.messages import Scope
from ..exceptions import NotAuthenticated, RouteSetupError

INVALID_TOKEN: Final = "The token is not valid."
"""The ``detail`` for every refused token, so that clients cannot distinguish unknown, expired and revoked tokens."""

FAILED: Final = "An authenticator failed."
"""The reason in the log for a token at which an authenticator raised an unexpected exception."""

IDENTITY: Final = "routesock.identity"
"""The key of the ASGI scope for the :class:`Identity` of an authenticated socket."""

AUTHENTICATORS: Final = "routesock.authenticators"
"""The key of the ASGI scope for the authenticators of AUTH frames on the open socket."""


class CredentialSource(StrEnum):
    """The place where the client sent the credentials."""

    SUBPROTOCOL = "subprotocol"
    HEADER = "header"
    QUERY = "query"
    FRAME = "frame"
    REQUEST = "request"
    """There is no token, but an authenticator may find credentials in the HTTP request of the handshake."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A token and its source. ``repr()`` and log records do not show the token.

    Attributes:
        token: The token; empty for the source ``REQUEST``.
        source: Where the client sent it.
        scope: The ASGI scope of the socket.
        scheme: The scheme in front of the token in an ``Authorization`` header, such as ``"Bearer"``; otherwise empty.
    """

    token: str
    source: CredentialSource
    scope: Scope
    scheme: str = ""

    def __repr__(self) -> str:
        return f"<Credentials from {self.source}>"


class Identity(NamedTuple):
    """An authenticated user.

    Attributes:
        user: The user.
        expires: When the login ends, in seconds since the epoch, as ``time.time()``; ``None`` if it does not expire.
        auth: What ``scope["auth"]`` becomes, such as DRF's ``request.auth``.
    """

    user: Any
    expires: float | None = None
    auth: Any = None


@runtime_checkable
class Authenticator(Protocol):
    """The interface of authenticators: ``identity = await authenticator(credentials)``.

    The result is ``None`` if the authenticator does not recognise the credentials.

    Raises:
        NotAuthenticated: If the credentials are refused.
    """

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes of its tokens in an ``Authorization`` header, such as ``("Bearer",)``."""
        ...

    @property
    def handshake_only(self) -> bool:
        """Whether it accepts AUTH frames only, and no credentials in the HTTP request."""
        ...

    @property
    def reads_request(self) -> bool:
        """Whether it reads the HTTP request itself, including the ``Authorization`` header."""
        ...

    def __call__(self, credentials: Credentials) -> Awaitable[Identity | None]: ...


class CallableAuthenticator:
    """Adapts an async function of the credentials, which returns a user, an :class:`Identity` or ``None``."""

    schemes: tuple[str, ...] = ("Bearer",)
    handshake_only: bool = False
    reads_request: bool = False

    def __init__(self, function: Any) -> None:
        self._function = function

    def __repr__(self) -> str:
        return f"CallableAuthenticator({getattr(self._function, '__qualname__', self._function)!r})"

    async def __call__(self, credentials: Credentials) -> Identity | None:
        result = await self._function(credentials)
        return result if result is None or isinstance(result, Identity) else Identity(result)


_ADAPTERS: Final = {"rest_framework": ".rest_framework"}
"""Library to the module with its adapter, which is imported only for objects of that library."""


def as_authenticator(authenticator: Any) -> Authenticator:
    """Return an :class:`Authenticator` for one of the objects that ``authenticators=`` accepts.

    Args:
        authenticator: An ``async def authenticate(credentials)`` that returns a user, an :class:`Identity` or ``None``;
            a DRF authentication class or an instance of one; or an :class:`Authenticator`, which is returned unchanged.

    Raises:
        RouteSetupError: If it is anything else.
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
        f"{authenticator!r} is not an authenticator. Use `async def authenticate(credentials)` that returns a user or "
        "None, SessionKeyAuthentication(), or an authentication class of Django REST framework."
    )


def as_authenticators(authenticators: Iterable[Any]) -> tuple[Authenticator, ...]:
    """Return an :class:`Authenticator` for each of ``authenticators``. Raises ``RouteSetupError`` if there is none."""
    if isinstance(authenticators, str | bytes) or not isinstance(authenticators, Iterable):
        raise RouteSetupError(f"authenticators= must be a list of authenticators; got {authenticators!r}.")
    resolved = tuple(as_authenticator(authenticator) for authenticator in authenticators)
    if not resolved:
        raise RouteSetupError("authenticators= is empty. List at least one authenticator.")
    return resolved


async def authenticate(authenticators: Iterable[Authenticator], credentials: Credentials) -> Identity | None:
    """Return the identity from the first authenticator that accepts ``credentials``.

    The result is ``None`` if no authenticator recognises them.

    Raises:
        NotAuthenticated: If authenticators refuse the credentials and none accepts them, the user is not active, or the
            identity has expired. Other exceptions of authenticators are not caught.
    """
    refusal: NotAuthenticated | None = None
    for authenticator in authenticators:
        try:
            identity = await authenticator(credentials)
            if identity is not None:
                return await verify(identity)
        except NotAuthenticated as exc:  # a token without a scheme may belong to another authenticator
            refusal = exc
    if refusal is not None:
        raise refusal
    return None


async def authenticate_token(authenticators: Iterable[Authenticator], credentials: Credentials) -> Identity:
    """Return the identity of a client that has sent a token.

    Raises:
        NotAuthenticated: For every token that is wrong. One with control characters or lone surrogates is: databases
            and headers do not take them. Other exceptions of authenticators are not caught.
    """
    token = credentials.token
    identity = await authenticate(authenticators, credentials) if token and token.isprintable() else None
    if identity is None:
        raise NotAuthenticated(INVALID_TOKEN)
    return identity


async def verify(identity: Identity) -> Identity:
    """Return ``identity`` with its user unwrapped. Raises ``NotAuthenticated`` for inactive users and expired logins.

    ``is_authenticated`` must be ``True`` and not only truthy: on the class ``AnonymousUser`` it is a property object.
    """
    user = identity.user
    if isinstance(user, LazyObject):
        user = await database.in_thread(unwrap_lazy_user, user)
    if getattr(user, "is_authenticated", False) is not True or getattr(user, "is_active", True) is not True:
        raise NotAuthenticated(INVALID_TOKEN)
    if identity.expires is not None and not (isfinite(identity.expires) and identity.expires > time.time()):
        raise NotAuthenticated(INVALID_TOKEN)
    return identity._replace(user=user)


def expiry_of(identity: Identity) -> dict[str, float | None]:
    """Return the payload that answers AUTH: when the login ends, and in how many seconds, since clocks differ."""
    expires = identity.expires
    ttl = None if expires is None else max(0.0, round(expires - time.time(), 3))
    return {"expires": expires, "ttl": ttl}


def update_scope(scope: Scope, identity: Identity) -> None:
    """Set ``user``, ``auth`` and the identity in ``scope``, and ``session`` if the token was a session key."""
    scope["user"] = identity.user
    scope["auth"] = identity.auth
    scope[IDENTITY] = identity
    if _is_session(identity.auth):
        scope["session"] = identity.auth


def _is_session(auth: Any) -> bool:
    from django.contrib.sessions.backends.base import SessionBase

    return isinstance(auth, SessionBase)


MAX_SESSION_KEY: Final = 128
"""Characters. Django's keys have 32."""


class SessionKeyAuthentication:
    """An authenticator whose tokens are keys of Django sessions.

    ``django.contrib.auth`` loads the user of the session. So it refuses a session that was flushed, whose user is no
    longer active, or whose user has changed the password since.
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
    from django.contrib.auth import get_user  # it imports models, which need the app registry

    # Session stores do not expect a NUL character or a path, and memcached no key of more than 250 characters.
    if not key.isascii() or not key.isalnum() or len(key) > MAX_SESSION_KEY:
        return None
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore
    request = HttpRequest()
    request.session = session = store(key)
    user = get_user(request)
    return Identity(user, None, session) if user.is_authenticated else None
