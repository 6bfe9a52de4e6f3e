"""AUTH on an open socket: replaces a token that is about to expire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .. import conf
from .._runtime import instrumentation
from .._wire.frames import Auth, Refusal
from ..auth.authenticators import (
    AUTHENTICATORS,
    INVALID_TOKEN,
    Authenticator,
    Credentials,
    CredentialSource,
    Identity,
    authenticate,
    update_scope,
)
from ..exceptions import (
    DeadlineExceeded,
    InvalidEnvelope,
    NotAuthenticated,
    PermissionDenied,
    RoutesockError,
    TooManyInFlight,
)
from ..status import Ending
from .sending.frame_writer import FrameWriter

MAX_REFUSED: Final = 5
"""Refused tokens after which a socket is closed, since its client may be guessing."""

TOO_MANY_REFUSED: Final = Ending(4401, "Too many tokens were refused.", reconnect=False)


class TokenRefresh:
    """Answers AUTH on an open socket.

    ``changed`` is called when there is a new identity, ``end`` when too many tokens were refused.
    """

    __slots__ = ("_authenticators", "_busy", "_changed", "_consumer", "_end", "_refused", "_writer")

    def __init__(
        self, consumer: Any, writer: FrameWriter, changed: Callable[[], None], end: Callable[[Ending], None]
    ) -> None:
        self._consumer = consumer
        self._authenticators: Sequence[Authenticator] = consumer.scope[AUTHENTICATORS]
        self._writer = writer
        self._changed = changed
        self._end = end
        self._busy = False
        self._refused = 0

    async def answer(self, auth: Auth) -> None:
        """Answer 200 with the new expiry, or with an error, after which the old identity is still valid."""
        if self._busy:
            await self._refuse(auth, TooManyInFlight())
            return
        self._busy = True
        try:
            identity = await self._identity(auth)
        except (NotAuthenticated, PermissionDenied) as error:
            self._refused += 1
            await self._refuse(auth, error)
            if self._refused == MAX_REFUSED:
                self._end(TOO_MANY_REFUSED)
        except RoutesockError as error:
            await self._refuse(auth, error)
        except BaseException as exc:  # an authenticator may raise SystemExit or a CancelledError itself
            if _is_cancelled():
                raise
            await self._refuse(auth, instrumentation.internal_error(exc, "AUTH", self._consumer))
        else:
            update_scope(self._consumer.scope, identity)
            self._changed()
            await self._writer.granted(auth.request, {"expires": identity.expires})
        finally:
            self._busy = False

    async def _identity(self, auth: Auth) -> Identity:
        token = auth.payload.get("token") if isinstance(auth.payload, Mapping) else None
        if not isinstance(token, str) or not token:
            raise InvalidEnvelope('The payload of AUTH is {"token": "..."}.')
        scope = self._consumer.scope
        identity = await self._authenticated(Credentials(token, CredentialSource.FRAME, scope))
        if identity.user != scope.get("user"):
            raise PermissionDenied("This token is somebody else's. Connect again to sign in with it.")
        return identity

    async def _authenticated(self, credentials: Credentials) -> Identity:
        try:
            async with asyncio.timeout(conf.get("TIMEOUT")):
                identity = await authenticate(self._authenticators, credentials)
        except TimeoutError:
            raise DeadlineExceeded("The token took too long to be looked at; the old one holds.") from None
        if identity is None:
            raise NotAuthenticated(INVALID_TOKEN)
        return identity

    async def _refuse(self, auth: Auth, error: RoutesockError) -> None:
        await self._writer.refuse(Refusal(error, "AUTH", auth.id, auth.request))


def _is_cancelled() -> bool:
    """Whether the current task was cancelled from outside."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
