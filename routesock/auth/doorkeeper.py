"""The handshake of one socket: who reads its frames until somebody has authenticated, and what then becomes of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, NamedTuple

from .. import codec, conf, shutdown
from ..caps import TOO_MANY, take_place
from ..dialects import MAX_ROUTE_CHARS, Dialect, Frame, Keys
from ..exceptions import (
    BadRequest,
    InvalidEnvelope,
    NotAuthenticated,
    ParseError,
    RoutesockError,
    TooLarge,
)
from ..faults import internal_error
from ..liveness import ANONYMOUS
from ..messages import NO_HEADERS, RequestId, Scope
from ..problems import fitted
from ..status import Ending, restarting
from ..timers import running_timer
from .attempts import Attempts, address_of
from .base import AUTHENTICATORS, REFUSED, Authenticator, Credentials, Source, authenticate
from .behind import Behind
from .gate import consumer_at
from .patience import Patience
from .refusals import Application, Receive, Send, say_goodbye

logger: Final = logging.getLogger("routesock.socket")

MAX_PROBLEM: Final = 3_500
"""Bytes of a problem object: with an id and a route an error's frame stays below 4 KiB."""

_TOO_OFTEN: Final = "Too many wrong tokens."


class Terms(NamedTuple):
    """What a handshake asks for."""

    authenticators: tuple[Authenticator, ...]
    required: bool
    timeout: float
    attempts: int
    failures: Attempts
    subprotocols: tuple[str, ...]
    dialect: Dialect | None


class _TurnedAway(Exception):
    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class Doorkeeper:
    """Stands in front of ``inner``, the application of one socket, until its client is let through or turned away."""

    def __init__(self, terms: Terms, inner: Application, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._terms = terms
        self._receive = receive
        self._send = send
        self._address = address_of(scope)
        self._failed = 0
        self._verifying = False
        self._patience: Patience | None = None
        self._restarting: Ending | None = None
        compiled = getattr(consumer_at(inner, scope), "_routesock", None)
        self._dialect = terms.dialect or getattr(compiled, "dialect", None) or Keys()
        self._public: frozenset[str] = getattr(compiled, "public", frozenset()) if terms.required else frozenset()
        known = {**scope, AUTHENTICATORS: terms.authenticators}
        self._behind = Behind(inner, known, receive, send, self._dialect)

    async def serve(self) -> None:
        """Accept the socket and serve it to its end."""
        opening = await self._receive()
        if opening["type"] != "websocket.connect":
            return
        await self._send({"type": "websocket.accept", "subprotocol": self._subprotocol()})
        passed: list[dict[str, Any]] | None = None
        sockets = shutdown.sockets()
        sockets.add(self)
        place = take_place(self.scope)
        try:
            if sockets.draining:
                raise _TurnedAway(restarting(sockets.retry_after()))
            if place is None:
                raise _TurnedAway(TOO_MANY)
            passed = await self._within_time()
        except _TurnedAway as away:
            await self._turn_away(away.ending)
        finally:
            sockets.discard(self)
            if place is not None:  # whoever is behind has one of its own
                place.give_back()
            if passed is None:
                await self._behind.end()
        if passed is not None:
            await self._behind.proceed(opening, passed)

    # What the end of the process asks

    grace: Final = 0.0

    def drain(self, retry_after: float) -> None:
        """Turn the client away, unless a consumer is there already, which does so itself."""
        if self._patience is not None and not self._behind.has_begun:
            self._restarting = restarting(retry_after)
            self._patience.end()

    def hurry(self) -> None:
        """There is nothing that could be cut short."""

    async def _within_time(self) -> list[dict[str, Any]] | None:
        """The frames that are held for the consumer when somebody is let through; ``None``: the socket has ended."""
        terms = self._terms
        locked = terms.failures.locked_for(self._address)
        if locked and terms.required:
            raise _TurnedAway(_locked(locked))
        timer = running_timer()
        timeout = asyncio.timeout(None)
        self._patience = patience = Patience(timeout, terms.timeout, lambda: self._verifying)
        passed: list[dict[str, Any]] | None = []
        try:
            async with timeout:
                alarm = timer.set(patience, timer.now() + terms.timeout)
                self._behind.ended = patience.end
                try:
                    await self._write(self._dialect.push("HELLO", self._hello()))
                    passed = await self._read()
                finally:
                    alarm.cancel()
                    self._behind.ended = None
        except TimeoutError:
            if not timeout.expired():
                raise
            if self._behind.has_ended:
                return None
            if self._restarting is not None:
                raise _TurnedAway(self._restarting) from None
            if terms.required:
                raise _TurnedAway(ANONYMOUS) from None
        if passed is not None:
            self._behind.gate.is_open = True
        return passed

    async def _read(self) -> list[dict[str, Any]] | None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._behind.hang_up(message)
                return None
            if self._behind.closing:
                continue
            try:
                frame = _frame(message)
                name = self._dialect.route(frame)
            except RoutesockError as error:
                if not self._terms.required:
                    return [message]
                await self._refuse(error)
                continue
            except Exception as exc:  # of a dialect that did not expect such a frame
                await self._refuse(internal_error(exc, "Reading a frame", self))
                continue
            if name == "AUTH":
                self._verifying = True
                if await self._auth(frame):
                    return []
                self._verifying = False
            elif name == "PING":
                await self._pong(frame)
            elif type(name) is str and name in self._public:
                await self._behind.hand_over(message)
            elif name in ("CANCEL", "PONG"):
                if self._behind.has_begun:
                    await self._behind.hand_over(message)
            elif self._terms.required:
                await self._turn_down(frame, name)
            else:
                return [message]

    async def _auth(self, frame: Frame) -> bool:
        """Answer an AUTH; whether it was a good one."""
        try:
            id = self._dialect.id(frame)
        except InvalidEnvelope as error:
            await self._refuse(error, "AUTH", error.id)
            return False
        payload = self._dialect.payload(frame)
        token = payload.get("token") if isinstance(payload, dict) else None
        if not isinstance(token, str) or not token:
            await self._refuse(BadRequest('AUTH has the payload {"token": "..."}.'), "AUTH", id)
            return False
        locked = self._terms.failures.locked_for(self._address)
        if locked:
            raise _TurnedAway(_locked(locked))
        try:
            identity = await authenticate(self._terms.authenticators, Credentials(token, Source.FRAME, self.scope))
            if identity is None:
                raise NotAuthenticated(REFUSED)
        except NotAuthenticated:
            await self._fail(id)
            return False
        except Exception as exc:
            await self._refuse(internal_error(exc, "Authentication", self, id), "AUTH", id)
            return False
        self._behind.gate.identity = identity
        if id is not None:
            await self._write(self._dialect.reply("AUTH", id, 200, {"expires": identity.expires}, NO_HEADERS))
        return True

    async def _fail(self, id: RequestId) -> None:
        self._failed += 1
        self._terms.failures.fail(self._address)
        logger.info("A wrong token came from %s.", self._address)
        left = max(self._terms.attempts - self._failed, 0)
        if self._terms.failures.locked_for(self._address):
            left = 0
        await self._refuse(NotAuthenticated(REFUSED, attempts_left=left), "AUTH", id)
        if not left:
            raise _TurnedAway(Ending(4401, _TOO_OFTEN, reconnect=False))

    async def _turn_down(self, frame: Frame, name: Any) -> None:
        readable = name if type(name) is str and 0 < len(name) <= MAX_ROUTE_CHARS else None
        try:
            id = self._dialect.id(frame)
        except InvalidEnvelope as error:
            await self._refuse(error, readable, error.id)
            return
        await self._refuse(NotAuthenticated(), readable, id)

    async def _pong(self, frame: Frame) -> None:
        try:
            await self._write(self._dialect.pong(self._dialect.id(frame), self._dialect.payload(frame)))
        except InvalidEnvelope as error:
            await self._refuse(error, "PING", error.id)

    async def _turn_away(self, ending: Ending) -> None:
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._behind.closing = True
        await say_goodbye(self._send, ending, self._dialect)
        self._behind.hang_up({"type": "websocket.disconnect", "code": ending.code, "reason": ending.reason})

    async def _refuse(self, error: RoutesockError, route: str | None = None, id: RequestId = None) -> None:
        problem = fitted(error.problem(), MAX_PROBLEM)
        await self._write(self._dialect.reply(route, id, error.status, problem, error.headers))

    async def _write(self, frame: Frame) -> None:
        try:
            await self._send({"type": "websocket.send", "text": codec.encode(frame)})
        except Exception:
            logger.debug("A frame could not be sent.", exc_info=True)

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


def _frame(message: dict[str, Any]) -> Frame:
    """The object that a frame holds. Raises the error that answers one which holds none."""
    text = message.get("text")
    if not text:
        kind = "binary" if message.get("bytes") else "empty"
        raise ParseError(f"A frame is one JSON text; this one is {kind}.")
    limit: int = conf.get("MAX_FRAME")
    if codec.size_of(text) > limit:
        raise TooLarge(f"A frame has at most {limit} bytes.", limit=limit)
    frame = codec.decode(text, conf.get("MAX_DEPTH"))
    if not isinstance(frame, dict):
        raise InvalidEnvelope("A request is a JSON object.")
    return frame


def _locked(seconds: float) -> Ending:
    return Ending(4429, _TOO_OFTEN, reconnect=True, retry_after=round(seconds, 1) or 0.1)
