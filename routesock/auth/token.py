"""A token that comes with the HTTP request of the handshake."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import unquote_plus

from .._runtime.instrumentation import internal_error
from .._wire.messages import Scope
from ..dialects import Dialect
from ..exceptions import NotAuthenticated, RouteSetupError
from .authenticators import (
    AUTHENTICATORS,
    REFUSED,
    Authenticator,
    Credentials,
    CredentialSource,
    Identity,
    as_authenticators,
    authenticate,
    fill,
)
from .refusals import REFUSALS, Application, Handshake, Receive, Send, deny, enter, has_odd_origin, reject

_ENCODED: Final = "base64url."
"""In front of the prefix: what follows is the token in base64url (RFC 4648, section 5), since a subprotocol has only
the characters of an HTTP token (RFC 9110, section 5.6.2)."""


class TokenMiddleware:
    """ASGI middleware: signs in whoever brings a token with the handshake, and refuses a token that is not good.

    It looks for one in ``Sec-WebSocket-Protocol``, then in the ``Authorization`` header, then in the query string. The
    first token that is there counts. The application finds ``scope["user"]``, ``scope["auth"]`` and
    ``scope["routesock.identity"]``, and the token nowhere but in the ``Authorization`` header. Without any token the
    scope stays as it is.

    :param app: The ASGI application inside, such as a URLRouter.
    :param authenticators: Each an authentication class of DRF or an instance of one, an ``async def who(credentials)``,
        or a :class:`~routesock.auth.SessionKeyAuthentication`. DRF classes are asked without a token too, since they
        may look for something else in the request. Those marked ``handshake_compatible = True`` are left out.
    :param subprotocol_prefix: A page offers its real subprotocol and, beside it, this prefix with the token behind it;
        ``"base64url."`` in front of the prefix says that the token is encoded. ``None``: a subprotocol is no token.
    :param header: Whether the ``Authorization`` header is read.
    :param query: The name of a parameter of the query string; ``None``: a query string has no token. Query strings
        end up in logs of proxies and servers.
    :param refuse: ``"close"`` accepts a socket whose token is not good and closes it with 4401, so that a browser can
        tell why; ``"http"`` answers the handshake 401.
    :param dialect: How the CLOSE notice is spelt.

    Raises :class:`~routesock.exceptions.RouteSetupError` for an option that cannot work.
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
        dialect: Dialect | None = None,
    ) -> None:
        if refuse not in REFUSALS:
            raise RouteSetupError(f'refuse= is "close" or "http"; got {refuse!r}.')
        if subprotocol_prefix is not None and not (isinstance(subprotocol_prefix, str) and subprotocol_prefix):
            raise RouteSetupError(
                f'subprotocol_prefix= is a text such as "bearer.", or None; got {subprotocol_prefix!r}.'
            )
        if query is not None and not (isinstance(query, str) and query):
            raise RouteSetupError(f'query= is the name of a parameter such as "token", or None; got {query!r}.')
        self.inner = app
        self._all = as_authenticators(authenticators)
        self._authenticators = [each for each in self._all if not each.handshake_only]
        self._prefix = subprotocol_prefix
        self._header = header
        self._query = query
        self._refuse = refuse
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.inner(scope, receive, send)
            return
        if has_odd_origin(scope):
            await deny(403)(scope, receive, send)
            return
        tokens = self._taken_from(scope)
        chosen = scope.get("subprotocols") or ()
        try:
            identity = await self._identity(scope, tokens)
        except NotAuthenticated as exc:
            await self._refusal(401, exc.detail)(scope, receive, send)
            return
        except Exception as exc:
            await self._refusal(500, internal_error(exc, "Authentication", Handshake(scope)).detail)(
                scope, receive, send
            )
            return
        if identity is not None:
            scope = {**scope, AUTHENTICATORS: self._all}
            fill(scope, identity)

        async def choosing(message: Any) -> None:
            # Browsers take no connection with none of the subprotocols that they offer, and this one has to offer one.
            if message["type"] == "websocket.accept" and not message.get("subprotocol") and chosen:
                message = {**message, "subprotocol": chosen[0]}
            await send(message)

        in_subprotocol = any(source is CredentialSource.SUBPROTOCOL for source, _ in tokens)
        await enter(self.inner, scope, receive, choosing if in_subprotocol else send)

    def _taken_from(self, scope: Scope) -> list[tuple[CredentialSource, str]]:
        """The tokens of the subprotocols and the query, which are removed from ``scope``.

        From that of the server itself, so that its access log has none either.
        """
        tokens: list[tuple[CredentialSource, str]] = []
        if self._prefix is not None:
            tokens += _taken_from_subprotocols(scope, self._prefix)
        if self._query is not None:
            tokens += _taken_from_query(scope, self._query)
        return tokens

    async def _identity(self, scope: Scope, tokens: list[tuple[CredentialSource, str]]) -> Identity | None:
        credentials = [Credentials(token, source, scope) for source, token in tokens]
        if credentials and credentials[0].source is CredentialSource.SUBPROTOCOL:
            return await _verified(self._authenticators, credentials[0])
        identity = await self._from_header(scope) if self._header else None
        if identity is not None or not credentials:
            return identity
        return await _verified(self._authenticators, credentials[0])

    async def _from_header(self, scope: Scope) -> Identity | None:
        """Who the request itself says it is; ``None`` for one with no token, or with a scheme that nobody knows."""
        scheme, token = _authorization(scope)
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
        return await _verified(others, Credentials(token, CredentialSource.HEADER, scope, scheme))

    def _refusal(self, status: int, reason: str) -> Application:
        if self._refuse == "close":
            return reject(status, reason, dialect=self._dialect)
        return deny(status, reason, headers=[(b"www-authenticate", self._challenge())] if status == 401 else ())

    def _challenge(self) -> bytes:
        """The schemes that are known: a 401 has to say them (RFC 9110, section 15.5.2)."""
        schemes = dict.fromkeys(scheme for each in self._authenticators for scheme in each.schemes)
        return ", ".join(schemes).encode("latin-1", "replace")


async def _verified(authenticators: Iterable[Authenticator], credentials: Credentials) -> Identity:
    identity = await authenticate(authenticators, credentials) if credentials.token else None
    if identity is None:
        raise NotAuthenticated(REFUSED)
    return identity


def _is_known(scheme: str, authenticator: Authenticator) -> bool:
    return scheme.lower() in map(str.lower, authenticator.schemes)


def _taken_from_subprotocols(scope: Scope, prefix: str) -> Iterator[tuple[CredentialSource, str]]:
    offered = [*(scope.get("subprotocols") or ())]
    real = [name for name in offered if not name.startswith((prefix, _ENCODED + prefix))]
    if real == offered:
        return
    scope["subprotocols"] = real
    kept = [(name, value) for name, value in scope.get("headers", ()) if name.lower() != b"sec-websocket-protocol"]
    if real:
        kept.append((b"sec-websocket-protocol", ", ".join(real).encode("latin-1", "replace")))
    scope["headers"] = kept
    for name in offered:
        if name.startswith(prefix):
            yield CredentialSource.SUBPROTOCOL, name.removeprefix(prefix)
        elif name.startswith(_ENCODED + prefix):
            yield CredentialSource.SUBPROTOCOL, _decoded(name.removeprefix(_ENCODED + prefix))


def _decoded(text: str) -> str:
    """``text`` out of base64url, padded or not; empty, which is no token, for what is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _taken_from_query(scope: Scope, parameter: str) -> Iterator[tuple[CredentialSource, str]]:
    query: Any = scope.get("query_string", b"")
    text = query if isinstance(query, str) else query.decode("latin-1")
    kept = []
    found = []
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if unquote_plus(name) == parameter:
            found.append(unquote_plus(value))
        else:
            kept.append(part)
    if found:
        rest = "&".join(kept)
        scope["query_string"] = rest if isinstance(query, str) else rest.encode("latin-1")
    for token in found:
        yield CredentialSource.QUERY, token


def _authorization(scope: Scope) -> tuple[str, str]:
    values = [value for name, value in scope.get("headers", ()) if name.lower() == b"authorization"]
    scheme, _, token = values[0].decode("latin-1").strip().partition(" ") if len(values) == 1 else ("", "", "")
    return scheme, token.strip()
