"""Reads the frames of a socket until its client has authenticated."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, NamedTuple

from ..._runtime import shutdown
from ..._runtime.asgi_tree import consumer_at
from ..._runtime.clients import TOO_MANY, ConnectionSlot, take_slot
from ..._runtime.instrumentation import internal_error
from ..._runtime.timers import running_timer
from ..._wire.messages import RequestId, Scope
from ...dialects import Dialect, Frame, Keys
from ...exceptions import BadRequest, InvalidEnvelope, NotAuthenticated, RoutesockError
from ...status import ANONYMOUS, Ending, restarting
from ..authenticators import REFUSED, Authenticator, Credentials, CredentialSource, authenticate
from ..refusals import Application, Receive, Send, say_goodbye
from .answers import HandshakeReplies, read_frame
from .attempts import AuthDeadline, Lockout, address_of
from .inner_application import InnerApplication

logger: Final = logging.getLogger("routesock.socket")

_TOO_OFTEN: Final = "Too many wrong tokens."


class Terms(NamedTuple):
    """What a handshake asks for."""

    authenticators: tuple[Authenticator, ...]
    required: bool
    timeout: float
    attempts: int
    failures: Lockout
    subprotocols: tuple[str, ...]
    dialect: Dialect | None


class _TurnedAway(Exception):
    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class Gatekeeper:
    """Stands in front of ``inner``, the application of one socket, until its client is let through or turned away."""

    __slots__ = (
        "_address", "_answers", "_behind", "_dialect", "_failed", "_held", "_patience", "_place", "_public", "_receive",
        "_restarting", "_send", "_terms", "_verifying", "scope",
    )  # fmt: skip

    grace: float = 0.0

    def __init__(self, terms: Terms, inner: Application, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._terms = terms
        self._receive = receive
        self._send = send
        self._address = address_of(scope)
        self._failed = 0
        self._held: list[dict[str, Any]] = []
        self._verifying = False
        self._place: ConnectionSlot | None = None
        self._patience: AuthDeadline | None = None
        self._restarting: Ending | None = None
        compiled = getattr(consumer_at(inner, scope), "_routesock", None)
        self._dialect = terms.dialect or getattr(compiled, "dialect", None) or Keys()
        self._public: frozenset[str] = getattr(compiled, "public", frozenset()) if terms.required else frozenset()
        self._answers = HandshakeReplies(self._dialect, send)
        self._behind = InnerApplication(inner, scope, receive, send, self._dialect, terms.authenticators)

    async def serve(self) -> None:
        """Accept the socket and serve it to its end."""
        opening = await self._receive()
        if opening["type"] != "websocket.connect":
            return
        await self._send({"type": "websocket.accept", "subprotocol": self._subprotocol()})
        sockets = shutdown.sockets()
        sockets.add(self)
        passed = False
        self._place = take_slot(self.scope)
        try:
            if sockets.draining:
                raise _TurnedAway(restarting(sockets.retry_after()))
            if self._place is None:
                raise _TurnedAway(TOO_MANY)
            passed = await self._within_time()
        except _TurnedAway as away:
            await self._turn_away(away.ending)
        finally:
            sockets.discard(self)
            self._leave_place()
            if not passed:
                await self._behind.end()
        if passed:
            await self._behind.proceed([opening, *self._held])

    def signed_in(self, user: object) -> None:
        """Nobody's consumer is here yet: who serves the socket behind the door is told by itself."""

    # What the end of the process asks

    def drain(self, retry_after: float) -> None:
        """Turn the client away, unless a consumer is there already, which does so itself."""
        if self._patience is not None and not self._behind.has_begun:
            self._restarting = restarting(retry_after)
            self._patience.end()

    def hurry(self) -> None:
        """There is nothing that could be cut short."""

    # Until somebody is let through

    async def _within_time(self) -> bool:
        """Whether somebody is let through before the time is over; if not, the socket has ended."""
        terms = self._terms
        locked = terms.failures.locked_for(self._address)
        if locked and terms.required:
            raise _TurnedAway(_locked(locked))
        timer = running_timer()
        timeout = asyncio.timeout(None)
        self._patience = patience = AuthDeadline(timeout, terms.timeout, lambda: self._verifying)
        passed = True
        try:
            async with timeout:
                alarm = timer.set(patience, timer.now() + terms.timeout)
                self._behind.ended = patience.end
                try:
                    await self._answers.hello(self._hello())
                    passed = await self._read()
                finally:
                    alarm.cancel()
                    self._behind.ended = None
        except TimeoutError:
            if not timeout.expired():
                raise
            if self._behind.has_ended:
                return False
            if self._restarting is not None:
                raise _TurnedAway(self._restarting) from None
            if terms.required:
                raise _TurnedAway(ANONYMOUS) from None
        self._behind.gate.is_open = passed
        return passed

    async def _read(self) -> bool:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._behind.hang_up(message)
                return False
            if self._behind.closing:
                continue
            try:
                if await self._take(message):
                    return True
            except _TurnedAway:
                raise
            except Exception as exc:  # of a dialect that did not expect such a frame
                await self._answers.refuse(internal_error(exc, "Reading a frame", self))

    async def _take(self, message: dict[str, Any]) -> bool:
        """Answer a frame, or hand it over; whether it opens the gate."""
        try:
            frame = read_frame(message)
            name = self._dialect.route(frame)
        except RoutesockError as error:
            if not self._terms.required:
                return self._hold(message)
            await self._answers.refuse(error)
            return False
        if name == "AUTH":
            self._verifying = True
            good = await self._auth(frame)
            self._verifying = good
            return good
        if name == "PING":
            await self._answers.pong(frame)
        elif type(name) is str and name in self._public:
            self._leave_place()
            await self._behind.hand_over(message)
        elif name in ("CANCEL", "PONG"):
            if self._behind.has_begun:
                await self._behind.hand_over(message)
        elif self._terms.required:
            await self._answers.turn_down(frame, name)
        else:
            return self._hold(message)
        return False

    async def _auth(self, frame: Frame) -> bool:
        """Answer an AUTH; whether it was a good one."""
        try:
            id = self._dialect.id(frame)
        except InvalidEnvelope as error:
            await self._answers.refuse(error, "AUTH", error.id)
            return False
        payload = self._dialect.payload(frame)
        token = payload.get("token") if isinstance(payload, dict) else None
        if not isinstance(token, str) or not token:
            await self._answers.refuse(BadRequest('AUTH has the payload {"token": "..."}.'), "AUTH", id)
            return False
        locked = self._terms.failures.locked_for(self._address)
        if locked:
            raise _TurnedAway(_locked(locked))
        try:
            identity = await authenticate(
                self._terms.authenticators, Credentials(token, CredentialSource.FRAME, self.scope)
            )
            if identity is None:
                raise NotAuthenticated(REFUSED)
        except NotAuthenticated:
            await self._fail(id)
            return False
        except Exception as exc:
            await self._answers.refuse(internal_error(exc, "Authentication", self, id), "AUTH", id)
            return False
        self._behind.gate.identity = identity
        await self._answers.grant(identity, id)
        return True

    async def _fail(self, id: RequestId) -> None:
        self._failed += 1
        self._terms.failures.fail(self._address)
        logger.info("A wrong token came from %s.", self._address)
        left = max(self._terms.attempts - self._failed, 0)
        if self._terms.failures.locked_for(self._address):
            left = 0
        await self._answers.refuse(NotAuthenticated(REFUSED, attempts_left=left), "AUTH", id)
        if not left:
            raise _TurnedAway(Ending(4401, _TOO_OFTEN, reconnect=False))

    async def _turn_away(self, ending: Ending) -> None:
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._behind.closing = True
        await say_goodbye(self._send, ending, self._dialect)
        self._behind.hang_up({"type": "websocket.disconnect", "code": ending.code, "reason": ending.reason})

    def _hold(self, message: dict[str, Any]) -> bool:
        """``message`` lets its client through, and is the first that the consumer gets."""
        self._held.append(message)
        return True

    def _leave_place(self) -> None:
        """Make room: whoever is behind takes a place of its own."""
        if self._place is not None:
            self._place.give_back()

    def _hello(self) -> dict[str, Any]:
        terms = self._terms
        mode = "required" if terms.required else "optional"
        hello: dict[str, Any] = {"mode": mode, "attempts": terms.attempts, "timeout": terms.timeout}
        if self._public:
            hello["public"] = sorted(self._public)
        return hello

    def _subprotocol(self) -> str | None:
        offered: list[str] = [*(self.scope.get("subprotocols") or ())]
        spoken = self._terms.subprotocols
        return next((name for name in spoken if name in offered), None) if spoken else next(iter(offered), None)


def _locked(seconds: float) -> Ending:
    return Ending(4429, _TOO_OFTEN, reconnect=True, retry_after=round(seconds, 1) or 0.1)
