"""TokenMiddleware: authenticates a WebSocket handshake by a token in its HTTP request."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import unquote_plus

from .._runtime.clients import customer_of
from .._runtime.instrumentation import internal_error, log_authentication
from .._wire.messages import Scope
from ..dialects import Dialect
from ..exceptions import NotAuthenticated, RouteSetupError
from ._handshake.attempts import (
    ADDRESS_ATTEMPTS,
    LOCK,
    LOCKOUT,
    TOO_OFTEN,
    is_outage,
    lockout_of,
    retry_after,
)
from .authenticators import (
    AUTHENTICATORS,
    FAILED,
    Authenticator,
    Credentials,
    CredentialSource,
    Identity,
    as_authenticators,
    authenticate,
    authenticate_token,
    update_scope,
)
from .refusals import REFUSALS, Application, Handshake, Receive, Send, deny, enter, has_odd_origin, reject

_BASE64URL: Final = "base64url."
"""In front of the prefix of a subprotocol whose token is encoded in base64url (RFC 4648, section 5). A subprotocol may
have the characters of an HTTP token only (RFC 9110, section 5.6.2)."""


class _Locked(Exception):
    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = wait


class TokenMiddleware:
    """ASGI middleware that authenticates sockets by a token in the HTTP request, and refuses invalid tokens.

    It uses the first token that it finds in ``Sec-WebSocket-Protocol``, the ``Authorization`` header, or the query
    string, in this order. The inner application gets ``scope["user"]``, ``scope["auth"]`` and
    ``scope["routesock.identity"]``. The token is removed from the subprotocols and the query string, but not from the
    ``Authorization`` header. Without a token the scope does not change.

    Args:
        app: The inner ASGI application, such as a ``URLRouter``.
        authenticators: A list of DRF authentication classes or their instances, functions
            ``async def authenticate(credentials)``, and :class:`~routesock.auth.SessionKeyAuthentication`. DRF classes
            are called without a token too, since they may read other parts of the request. Classes with
            ``handshake_compatible = True`` are not used here.
        subprotocol_prefix: The prefix of a subprotocol that is a token. A client offers its real subprotocol, and a
            second one with this prefix and the token. ``"base64url."`` in front of the prefix means that the token is
            encoded. ``None``: subprotocols have no token.
        header: Whether to read the ``Authorization`` header.
        query: The parameter of the query string with the token. ``None``: the query string has no token. Proxies and
            servers write query strings to their logs.
        address_attempts: How many wrong tokens lock an address, whose tokens are then answered 429. One is forgotten
            every ``lock`` seconds, and all of them when a token is good.
        lock: Seconds for which an address is locked at most after the last wrong token; 0 for no lock.
        refuse: What happens for an invalid token. ``"close"`` accepts the socket and closes it with 4401, so that
            browsers can read the reason. ``"http"`` answers the handshake with 401.
        dialect: The dialect of the CLOSE notice.

    Raises:
        RouteSetupError: If an argument is not valid.
    """

    def __init__(
        self,
        app: Application,
        authenticators: Iterable[Any],
        *,
        subprotocol_prefix: str | None = "bearer.",
        header: bool = True,
        query: str | None = None,
        refuse: str = "close",
        address_attempts: int = ADDRESS_ATTEMPTS,
        lock: float = LOCK,
        dialect: Dialect | None = None,
    ) -> None:
        if refuse not in REFUSALS:
            raise RouteSetupError(f'refuse= must be "close" or "http"; got {refuse!r}.')
        if subprotocol_prefix is not None and not (isinstance(subprotocol_prefix, str) and subprotocol_prefix):
            raise RouteSetupError(
                f'subprotocol_prefix= must be a string such as "bearer.", or None; got {subprotocol_prefix!r}.'
            )
        if query is not None and not (isinstance(query, str) and query):
            raise RouteSetupError(f'query= must be the name of a parameter such as "token", or None; got {query!r}.')
        self.inner = app
        self._all_authenticators = as_authenticators(authenticators)
        self._authenticators = [each for each in self._all_authenticators if not each.handshake_only]
        self._prefix = subprotocol_prefix
        self._header = header
        self._query = query
        self._refuse = refuse
        self._lockout = lockout_of(address_attempts, lock)
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.inner(scope, receive, send)
            return
        if has_odd_origin(scope):
            await deny(403)(scope, receive, send)
            return
        tokens = self._pop_tokens(scope)
        offered = scope.get("subprotocols") or ()
        try:
            identity = await self._identity_unless_locked(scope, tokens)
        except _Locked as exc:
            log_authentication(Handshake(scope), _source_of(tokens), TOO_OFTEN)
            await self._refusal(429, TOO_OFTEN, exc.wait)(scope, receive, send)
            return
        except NotAuthenticated as exc:
            log_authentication(Handshake(scope), _source_of(tokens), exc.detail)
            await self._refusal(401, exc.detail)(scope, receive, send)
            return
        except Exception as exc:
            log_authentication(Handshake(scope), _source_of(tokens), FAILED)
            await self._refusal(500, internal_error(exc, "Authentication", Handshake(scope)).detail)(
                scope, receive, send
            )
            return
        if identity is not None:
            scope = {**scope, AUTHENTICATORS: self._all_authenticators, LOCKOUT: self._lockout}
            update_scope(scope, identity)
            log_authentication(Handshake(scope), _source_of(tokens))

        async def send_with_subprotocol(message: Any) -> None:
            # A browser that offers subprotocols closes a connection that accepts none of them, and a client with a
            # token in a subprotocol has to offer at least one other.
            if message["type"] == "websocket.accept" and not message.get("subprotocol") and offered:
                message = {**message, "subprotocol": offered[0]}
            await send(message)

        in_subprotocol = any(source is CredentialSource.SUBPROTOCOL for source, _ in tokens)
        await enter(self.inner, scope, receive, send_with_subprotocol if in_subprotocol else send)

    def _pop_tokens(self, scope: Scope) -> list[tuple[CredentialSource, str]]:
        """Remove the tokens from the subprotocols and the query string of ``scope``, and return them.

        It changes the server's own scope, so that the access log does not show them either.
        """
        tokens: list[tuple[CredentialSource, str]] = []
        if self._prefix is not None:
            tokens += _pop_subprotocol_tokens(scope, self._prefix)
        if self._query is not None:
            tokens += _pop_query_tokens(scope, self._query)
        return tokens

    async def _identity_unless_locked(
        self, scope: Scope, tokens: list[tuple[CredentialSource, str]]
    ) -> Identity | None:
        """As :meth:`_identity`; counts wrong tokens, and raises ``_Locked`` where there were too many.

        A handshake without a token, which an authenticator may accept for its cookies, is not counted.
        """
        scheme = _read_authorization(scope)[0] if self._header else ""
        if not tokens and not any(_is_known(scheme, each) for each in self._authenticators):
            return await self._identity(scope, tokens)
        lockout, address = self._lockout, customer_of(scope)
        self._raise_if_locked(address)
        try:
            identity = await self._identity(scope, tokens)
        except Exception as exc:
            self._raise_if_locked(address)
            if not is_outage(exc):
                lockout.fail(address)
            raise
        self._raise_if_locked(address)
        if identity is not None:
            lockout.succeed(address)
        return identity

    def _raise_if_locked(self, address: str | None) -> None:
        locked = self._lockout.locked_for(address)
        if locked:
            raise _Locked(retry_after(locked))

    async def _identity(self, scope: Scope, tokens: list[tuple[CredentialSource, str]]) -> Identity | None:
        credentials = [Credentials(token, source, scope) for source, token in tokens]
        if credentials and credentials[0].source is CredentialSource.SUBPROTOCOL:
            return await authenticate_token(self._authenticators, credentials[0])
        identity = await self._from_header(scope) if self._header else None
        if identity is not None or not credentials:
            return identity
        return await authenticate_token(self._authenticators, credentials[0])

    async def _from_header(self, scope: Scope) -> Identity | None:
        """Authenticate by the request itself; ``None`` if it has no token, or an unknown scheme."""
        scheme, token = _read_authorization(scope)
        others = [each for each in self._authenticators if not each.reads_request and _is_known(scheme, each)]
        try:
            readers = [each for each in self._authenticators if each.reads_request]
            identity = await authenticate(readers, Credentials("", CredentialSource.REQUEST, scope))
        except NotAuthenticated:
            if not others:
                raise
            identity = None
        if identity is not None or not others:
            return identity
        return await authenticate_token(others, Credentials(token, CredentialSource.HEADER, scope, scheme))

    def _refusal(self, status: int, reason: str, wait: float | None = None) -> Application:
        if self._refuse == "close":
            return reject(status, reason, retry_after=wait, dialect=self._dialect)
        headers = [(b"www-authenticate", self._challenge())] if status == 401 else []
        if wait is not None:
            headers.append((b"retry-after", b"%d" % math.ceil(wait)))
        return deny(status, reason, headers=headers)

    def _challenge(self) -> bytes:
        """Return the header ``WWW-Authenticate`` with all known schemes, which a 401 must have (RFC 9110, 15.5.2)."""
        schemes = dict.fromkeys(scheme for each in self._authenticators for scheme in each.schemes)
        return ", ".join(schemes).encode("latin-1", "replace")


def _is_known(scheme: str, authenticator: Authenticator) -> bool:
    return scheme.lower() in map(str.lower, authenticator.schemes)


def _source_of(tokens: list[tuple[CredentialSource, str]]) -> CredentialSource:
    """Return where the token is, for the log; ``REQUEST`` for the ``Authorization`` header and for cookies."""
    return tokens[0][0] if tokens else CredentialSource.REQUEST


def _pop_subprotocol_tokens(scope: Scope, prefix: str) -> Iterator[tuple[CredentialSource, str]]:
    offered = [*(scope.get("subprotocols") or ())]
    real = [name for name in offered if not name.startswith((prefix, _BASE64URL + prefix))]
    if real == offered:
        return
    scope["subprotocols"] = real
    headers = [(name, value) for name, value in scope.get("headers", ()) if name.lower() != b"sec-websocket-protocol"]
    if real:
        headers.append((b"sec-websocket-protocol", ", ".join(real).encode("latin-1", "replace")))
    scope["headers"] = headers
    for name in offered:
        if name.startswith(prefix):
            yield CredentialSource.SUBPROTOCOL, name.removeprefix(prefix)
        elif name.startswith(_BASE64URL + prefix):
            yield CredentialSource.SUBPROTOCOL, _decode_base64url(name.removeprefix(_BASE64URL + prefix))


def _decode_base64url(text: str) -> str:
    """Decode base64url with or without padding. If it is invalid, return "", which no authenticator accepts."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _pop_query_tokens(scope: Scope, parameter: str) -> Iterator[tuple[CredentialSource, str]]:
    query: Any = scope.get("query_string", b"")
    text = query if isinstance(query, str) else query.decode("latin-1")
    others = []
    tokens = []
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if unquote_plus(name) == parameter:
            tokens.append(unquote_plus(value))
        else:
            others.append(part)
    if tokens:
        rest = "&".join(others)
        scope["query_string"] = rest if isinstance(query, str) else rest.encode("latin-1")
    for token in tokens:
        yield CredentialSource.QUERY, token


def _read_authorization(scope: Scope) -> tuple[str, str]:
    """Return the scheme and the token of the header ``Authorization``; empty strings unless there is exactly one."""
    values = [value for name, value in scope.get("headers", ()) if name.lower() == b"authorization"]
    scheme, _, token = values[0].decode("latin-1").strip().partition(" ") if len(values) == 1 else ("", "", "")
    return scheme, token.strip()
