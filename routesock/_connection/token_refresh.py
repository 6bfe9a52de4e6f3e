"""AUTH on an open socket: replaces a token that is about to expire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from .. import conf
from .._runtime import instrumentation
from .._runtime.clients import customer_of
from .._runtime.fair_timeout import FairTimeout
from .._wire.frames import Auth, Refusal
from ..auth._handshake.attempts import LOCKOUT, TOO_OFTEN, Lockout, is_outage, retry_after
from ..auth.authenticators import (
    AUTHENTICATORS,
    FAILED,
    Authenticator,
    Credentials,
    CredentialSource,
    Identity,
    authenticate_token,
    expiry_of,
    update_scope,
)
from ..exceptions import (
    DeadlineExceeded,
    InvalidEnvelope,
    NotAuthenticated,
    PermissionDenied,
    RoutesockError,
    Throttled,
    TooManyInFlight,
)
from ..status import Ending
from .sending.frame_writer import FrameWriter

MAX_REFUSED: Final = 5
"""Refused tokens after which a socket is closed, since its client may be guessing."""

TOO_MANY_REFUSED: Final = Ending(4401, "Too many tokens were refused.", reconnect=False)


INTERVAL: Final = 1.0
"""Seconds after a successful AUTH, or one that an authenticator failed at, before which the next one is refused."""

WRONG: Final = "This token is not valid for the user of this socket. Connect again to sign in as somebody else."
"""The ``detail`` for every refused token: it does not show whether the token belongs to another user."""


class TokenRefresh:
    """Answers AUTH on an open socket: 200, or an error after which the old identity is still valid.

    Only one token at a time is verified, in a task. Every other AUTH is refused in the task that reads the socket, so a
    client that does not read its answers is not read either.

    Args:
        consumer: The consumer, whose scope gets the new identity.
        writer: Sends the answers.
        start: Starts a task that ends with the socket.
        changed: Called when there is a new identity.
        end: Called when too many tokens were refused.
    """

    __slots__ = (
        "_authenticators", "_busy", "_changed", "_consumer", "_end", "_lockout", "_next", "_refused", "_start",
        "_writer",
    )  # fmt: skip

    def __init__(
        self,
        consumer: Any,
        writer: FrameWriter,
        *,
        start: Callable[[Coroutine[Any, Any, None]], object],
        changed: Callable[[], None],
        end: Callable[[Ending], None],
    ) -> None:
        self._consumer = consumer
        self._authenticators: Sequence[Authenticator] = consumer.scope[AUTHENTICATORS]
        self._lockout: Lockout | None = consumer.scope.get(LOCKOUT)
        self._writer = writer
        self._start = start
        self._changed = changed
        self._end = end
        self._busy = False
        self._next = 0.0  # the time of the loop from which on the next AUTH is verified
        self._refused = 0

    async def answer(self, auth: Auth) -> None:
        """Refuse ``auth``, or start the task that verifies its token."""
        try:
            token = self._token_of(auth)
        except RoutesockError as error:
            await self._refuse(auth, error)
        else:
            self._busy = True
            self._start(self._verify(auth, token))

    def _token_of(self, auth: Auth) -> str:
        """Return the token in ``auth``. Raises the error that refuses it without a look at the token."""
        if self._busy:
            raise TooManyInFlight
        token = auth.payload.get("token") if isinstance(auth.payload, Mapping) else None
        if not isinstance(token, str) or not token:
            raise InvalidEnvelope('The payload of AUTH is {"token": "..."}.')
        wait = self._next - asyncio.get_running_loop().time()
        if wait > 0:
            raise Throttled("A token was verified a moment ago.", wait=wait)
        self._raise_if_locked()
        return token

    def _raise_if_locked(self) -> None:
        locked = 0.0 if self._lockout is None else self._lockout.locked_for(customer_of(self._consumer.scope))
        if locked:
            raise Throttled(TOO_OFTEN, wait=retry_after(locked))

    async def _verify(self, auth: Auth, token: str) -> None:
        try:
            identity = await self._identity(token)
        except (NotAuthenticated, PermissionDenied):
            await self._refuse_wrong(auth, NotAuthenticated(WRONG))
        except RoutesockError as error:
            await self._refuse(auth, error)
        except BaseException as exc:  # an authenticator may raise SystemExit or a CancelledError itself
            if _is_cancelled():
                raise
            self._next = asyncio.get_running_loop().time() + INTERVAL
            failure = instrumentation.internal_error(exc, "AUTH", self._consumer)
            await (self._refuse(auth, failure) if is_outage(exc) else self._refuse_wrong(auth, failure))
        else:
            self._next = asyncio.get_running_loop().time() + INTERVAL
            if self._lockout is not None:
                self._lockout.succeed(customer_of(self._consumer.scope))
            update_scope(self._consumer.scope, identity)
            instrumentation.log_authentication(self._consumer, CredentialSource.FRAME)
            self._changed()
            await self._writer.granted(auth.request, expiry_of(identity))
        finally:
            self._busy = False

    async def _identity(self, token: str) -> Identity:
        scope = self._consumer.scope
        try:
            identity = await self._authenticated(Credentials(token, CredentialSource.FRAME, scope))
            if identity.user != scope.get("user"):
                raise NotAuthenticated(WRONG)
        except (NotAuthenticated, PermissionDenied):
            self._raise_if_locked()
            raise
        self._raise_if_locked()  # since other sockets of the address have failed meanwhile
        return identity

    async def _authenticated(self, credentials: Credentials) -> Identity:
        try:
            async with FairTimeout(conf.get("TIMEOUT")):
                return await authenticate_token(self._authenticators, credentials)
        except TimeoutError:
            raise DeadlineExceeded("The token took too long to be looked at; the old one holds.") from None

    async def _refuse_wrong(self, auth: Auth, error: RoutesockError) -> None:
        """Refuse a token that is wrong, or one that an authenticator failed at, and count it."""
        if self._lockout is not None:
            self._lockout.fail(customer_of(self._consumer.scope))
        self._refused += 1
        detail = FAILED if error.status >= 500 else error.detail
        instrumentation.log_authentication(self._consumer, CredentialSource.FRAME, detail)
        await self._refuse(auth, error)
        if self._refused == MAX_REFUSED:
            self._end(TOO_MANY_REFUSED)

    async def _refuse(self, auth: Auth, error: RoutesockError) -> None:
        await self._writer.refuse(Refusal(error, "AUTH", auth.id, auth.request))


def _is_cancelled() -> bool:
    """Whether the current task was cancelled from outside."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
