"""HandshakeMiddleware: authenticates a socket by its first frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from ..._runtime.clients import is_signed_in
from ..._wire.messages import Scope
from ...dialects import Dialect
from ...exceptions import RouteSetupError
from ..authenticators import Authenticator, as_authenticators
from ..refusals import Application, Receive, Send, deny, enter, has_odd_origin
from .attempts import ADDRESS_ATTEMPTS, LOCK, lockout_of
from .gatekeeper import Gatekeeper, Terms


class Mode(StrEnum):
    """The policy for clients that are not signed in."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    DISABLED = "disabled"


class HandshakeMiddleware:
    """ASGI middleware that accepts a socket, sends HELLO, and passes nothing to the consumer before a good AUTH.

    Then the consumer is connected, with ``scope["user"]``, ``scope["auth"]`` and ``scope["routesock.identity"]``. A
    socket whose ``scope["user"]`` is signed in already passes as if there were no handshake. Routes with
    ``public=True`` are answered before it.

    Args:
        app: The ASGI application inside, such as a ``URLRouter``.
        authenticators: Each is a DRF authentication class or an instance of one, an ``async def who(credentials)``, or
            a :class:`~routesock.auth.SessionKeyAuthentication`.
        mode: ``"required"``; ``"optional"``, where a client that sends anything but AUTH, or nothing for ``timeout``
            seconds, is let through anonymously; or ``"disabled"``, where there is no handshake.
        timeout: Seconds that a client has to authenticate.
        attempts: How many wrong tokens close the socket.
        address_attempts: How many wrong tokens lock an address. One is forgotten every ``lock`` seconds, and all of
            them when a token is good.
        lock: Seconds for which an address is locked at most after the last wrong token; 0 for no lock.
        subprotocols: The subprotocols of the consumers, the best one first. The socket is accepted before a consumer
            could choose; without them the first one that the client offers is accepted.
        dialect: How frames are encoded; by default as the consumer at that path encodes them.

    Raises:
        RouteSetupError: For an option that cannot work.
    """

    def __init__(
        self,
        app: Application,
        *,
        authenticators: Iterable[Any] = (),
        mode: str = "required",
        timeout: float = 20,
        attempts: int = 2,
        address_attempts: int = ADDRESS_ATTEMPTS,
        lock: float = LOCK,
        subprotocols: Sequence[str] = (),
        dialect: Dialect | None = None,
    ) -> None:
        if mode not in [*Mode]:
            raise RouteSetupError(f'mode= must be "required", "optional" or "disabled"; got {mode!r}.')
        if not _is_number(timeout) or timeout <= 0:
            raise RouteSetupError(f"timeout= must be a positive number of seconds; got {timeout!r}.")
        if type(attempts) is not int or attempts < 1:
            raise RouteSetupError(f"attempts= must be a positive number of wrong tokens; got {attempts!r}.")
        lockout = lockout_of(address_attempts, lock)
        if isinstance(subprotocols, str):
            raise RouteSetupError(f"subprotocols= must be a list of names; got {subprotocols!r}.")
        if dialect is not None and not isinstance(dialect, Dialect):
            raise RouteSetupError(f"dialect= must be an instance of a Dialect, such as Keys(); got {dialect!r}.")
        self.inner = app
        self._mode = Mode(mode)
        resolved: tuple[Authenticator, ...] = ()
        if self._mode is not Mode.DISABLED:
            resolved = as_authenticators(authenticators)
        self._terms = Terms(
            resolved, self._mode is Mode.REQUIRED, float(timeout), attempts, lockout, tuple(subprotocols), dialect,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or self._mode is Mode.DISABLED:
            await self.inner(scope, receive, send)
        elif has_odd_origin(scope):
            await deny(403)(scope, receive, send)
        elif is_signed_in(scope):
            await enter(self.inner, scope, receive, send)
        else:
            await Gatekeeper(self._terms, self.inner, scope, receive, send).serve()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
