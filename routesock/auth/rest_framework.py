"""The authenticator that adapts authentication classes of Django REST framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from rest_framework.authentication import BaseAuthentication  # type: ignore[import-untyped, unused-ignore]
from rest_framework.exceptions import APIException  # type: ignore[import-untyped, unused-ignore]
from rest_framework.request import Request  # type: ignore[import-untyped, unused-ignore]

from .._runtime import database
from ..exceptions import NotAuthenticated
from .authenticators import INVALID_TOKEN, Authenticator, Credentials, CredentialSource, Identity
from .request_middleware import build_request

_SCHEME: Final = "Bearer"
"""The scheme for authentication classes that do not return one from ``authenticate_header()`` (RFC 6750)."""


class RestFrameworkAuthenticator:
    """Calls ``authenticate()`` of a DRF authentication class with the request of the handshake.

    The token is in the ``Authorization`` header of that request. A sync ``authenticate()`` runs in the database thread.
    A class with ``handshake_compatible = True`` is used for AUTH frames only.
    """

    def __init__(self, authentication: Any) -> None:
        self._authentication = authentication
        self.handshake_only: bool = getattr(authentication, "handshake_compatible", False) is True
        self.reads_request: bool = not self.handshake_only
        self._is_async = iscoroutinefunction(authentication.authenticate)
        self._known_schemes: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"RestFrameworkAuthenticator({type(self._authentication).__qualname__})"

    @property
    def schemes(self) -> tuple[str, ...]:
        if self._known_schemes is None:
            challenge = self._authentication.authenticate_header(Request(build_request({"path": "/"}))) or _SCHEME
            self._known_schemes = (challenge.split()[0],)
        return self._known_schemes

    async def __call__(self, credentials: Credentials) -> Identity | None:
        authorization = None
        if credentials.source is not CredentialSource.REQUEST:
            if not _fits_header(credentials.token):
                raise NotAuthenticated(INVALID_TOKEN)
            authorization = f"{credentials.scheme or self.schemes[0]} {credentials.token}"
        request = Request(build_request(credentials.scope, authorization), authenticators=[self._authentication])
        authenticate = self._authentication.authenticate
        try:
            result = await (authenticate(request) if self._is_async else database.in_thread(authenticate, request))
        except APIException as exc:
            if exc.status_code >= 500:
                raise
            raise NotAuthenticated(INVALID_TOKEN) from exc
        if result is None:
            return None
        user, auth = result
        return Identity(user, _expiry_of(auth), auth)


def _fits_header(token: str) -> bool:
    """Whether a header can carry ``token``: DRF encodes it as Latin-1."""
    try:
        _ = token.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def adapter_for(authentication: Any) -> Authenticator | None:
    """Return an authenticator for a DRF authentication class or an instance of one, otherwise ``None``."""
    if isinstance(authentication, type) and issubclass(authentication, BaseAuthentication):
        return RestFrameworkAuthenticator(authentication())
    if isinstance(authentication, BaseAuthentication):
        return RestFrameworkAuthenticator(authentication)
    return None


def _expiry_of(auth: Any) -> float | None:
    """Return the claim ``exp`` (RFC 7519, section 4.1.4), if ``auth`` or its ``payload`` is a mapping of claims."""
    claims = auth if isinstance(auth, Mapping) else getattr(auth, "payload", None)
    expires = claims.get("exp") if isinstance(claims, Mapping) else None
    return float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None
