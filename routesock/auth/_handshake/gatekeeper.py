"""Reads the frames of a socket until its client has authenticated."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

from ... import conf
from ..._runtime import shutdown
from ..._runtime.asgi_tree import consumer_at
from ..._runtime.clients import TOO_MANY, ConnectionSlot, take_slot
from ..._runtime.closing import Send, first_subprotocol, send_notice_and_close
from ..._runtime.instrumentation import internal_error, printable
from ..._runtime.supervision import safe_logger
from ..._runtime.timers import running_timer
from ..._wire import codec
from ..._wire.messages import NO_HEADERS, RequestId, Scope
from ..._wire.problems import fitted
from ...dialects import MAX_ROUTE_CHARS, Dialect, Frame, Keys
from ...exceptions import BadRequest, InvalidEnvelope, NotAuthenticated, ParseError, RoutesockError, TooLarge
from ...status import ANONYMOUS, Ending, restart_ending
from ..authenticators import INVALID_TOKEN, Authenticator, Credentials, CredentialSource, authenticate
from ..refusals import Application, Receive
from .attempts import AuthDeadline, Lockout, address_of
from .inner_application import InnerApplication

logger: Final = safe_logger("routesock.socket")

MAX_PROBLEM: Final = 3_500
"""Bytes of a problem object: with an id and a route an error's frame stays below 4 KiB."""

_TOO_OFTEN: Final = "Too many wrong tokens."


class Terms(NamedTuple):
    """The options of a handshake."""

    authenticators: tuple[Authenticator, ...]
    required: bool
    timeout: float
    attempts: int
    failures: Lockout
    subprotocols: tuple[str, ...]
    dialect: Dialect | None


class _Refused(Exception):
    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class Gatekeeper:
    """Stands in front of ``inner``, the application of one socket, until its client has authenticated."""

    __slots__ = (
        "_address", "_deadline", "_dialect", "_failed", "_held", "_inner", "_public", "_receive", "_restarting",
        "_send", "_slot", "_terms", "_verifying", "scope",
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
        self._slot: ConnectionSlot | None = None
        self._deadline: AuthDeadline | None = None
        self._restarting: Ending | None = None
        compiled = getattr(consumer_at(inner, scope), "_routesock", None)
        self._dialect = terms.dialect or getattr(compiled, "dialect", None) or Keys()
        self._public: frozenset[str] = getattr(compiled, "public", frozenset()) if terms.required else frozenset()
        self._inner = InnerApplication(inner, scope, receive, send, self._dialect, terms.authenticators)

    async def serve(self) -> None:
        """Accept the socket and serve it to its end."""
        opening = await self._receive()
        if opening["type"] != "websocket.connect":
            return
        await self._send({"type": "websocket.accept", "subprotocol": self._subprotocol()})
        sockets = shutdown.sockets()
        sockets.add(self)
        passed = False
        self._slot = take_slot(self.scope)
        try:
            if sockets.draining:
                raise _Refused(restart_ending(sockets.retry_after()))
            if self._slot is None:
                raise _Refused(TOO_MANY)
            passed = await self._authenticate_in_time()
        except _Refused as refused:
            await self._close(refused.ending)
        finally:
            sockets.discard(self)
            self._free_slot()
            if not passed:
                await self._inner.end()
        if passed:
            await self._inner.run([opening, *self._held])

    def signed_in(self, user: object) -> None:
        """Do nothing. A consumer behind the gate is notified itself."""

    # Called when the process stops

    def drain(self, retry_after: float) -> None:
        """Close the socket, unless a consumer runs already, which does so itself."""
        if self._deadline is not None and not self._inner.has_started:
            self._restarting = restart_ending(retry_after)
            self._deadline.end()

    def end_grace(self) -> None:
        """Do nothing. There is no grace period."""

    # Until the client has authenticated

    async def _authenticate_in_time(self) -> bool:
        """Whether the client is let through before the time is over. If not, the socket has ended."""
        terms = self._terms
        locked = terms.failures.locked_for(self._address)
        if locked and terms.required:
            raise _Refused(_locked(locked))
        timer = running_timer()
        timeout = asyncio.timeout(None)
        self._deadline = deadline = AuthDeadline(timeout, terms.timeout, lambda: self._verifying)
        passed = True
        try:
            async with timeout:
                alarm = timer.set(deadline, timer.now() + terms.timeout)
                self._inner.on_end = deadline.end
                try:
                    await self._write(self._dialect.push("HELLO", self._hello()))
                    passed = await self._read()
                finally:
                    alarm.cancel()
                    self._inner.on_end = None
        except TimeoutError:
            if not timeout.expired():
                raise
            if self._inner.has_ended:
                return False
            if self._restarting is not None:
                raise _Refused(self._restarting) from None
            if terms.required:
                raise _Refused(ANONYMOUS) from None
        self._inner.gate.is_open = passed
        return passed

    async def _read(self) -> bool:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._inner.disconnect(message)
                return False
            if self._inner.closing:
                continue
            try:
                if await self._handle(message):
                    return True
            except _Refused:
                raise
            except Exception as exc:  # of a dialect that did not expect such a frame
                await self._refuse(internal_error(exc, "Reading a frame", self))

    async def _handle(self, message: dict[str, Any]) -> bool:
        """Answer a frame, or pass it on. Returns whether it opens the gate."""
        try:
            frame = _frame_in(message)
            name = self._dialect.route(frame)
        except RoutesockError as error:
            if not self._terms.required:
                return self._let_through(message)
            await self._refuse(error)
            return False
        if name == "AUTH":
            self._verifying = True
            good = await self._auth(frame)
            self._verifying = good
            return good
        if name == "PING":
            await self._pong(frame)
        elif type(name) is str and name in self._public:
            self._free_slot()
            await self._inner.pass_on(message)
        elif name in ("CANCEL", "PONG"):
            if self._inner.has_started:
                await self._inner.pass_on(message)
        elif self._terms.required:
            await self._refuse_early(frame, name)
        else:
            return self._let_through(message)
        return False

    async def _auth(self, frame: Frame) -> bool:
        """Answer an AUTH. Returns whether its token was good."""
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
            raise _Refused(_locked(locked))
        try:
            identity = await authenticate(
                self._terms.authenticators, Credentials(token, CredentialSource.FRAME, self.scope)
            )
            if identity is None:
                raise NotAuthenticated(INVALID_TOKEN)
        except NotAuthenticated:
            await self._fail(id)
            return False
        except Exception as exc:
            await self._refuse(internal_error(exc, "Authentication", self, id), "AUTH", id)
            return False
        self._inner.gate.identity = identity
        if id is not None:
            await self._write(self._dialect.reply("AUTH", id, 200, {"expires": identity.expires}, NO_HEADERS))
        return True

    async def _fail(self, id: RequestId) -> None:
        self._failed += 1
        self._terms.failures.fail(self._address)
        logger.info("A wrong token came from %s.", printable(self._address)[1:-1])
        left = max(self._terms.attempts - self._failed, 0)
        if self._terms.failures.locked_for(self._address):
            left = 0
        await self._refuse(NotAuthenticated(INVALID_TOKEN, attempts_left=left), "AUTH", id)
        if not left:
            raise _Refused(Ending(4401, _TOO_OFTEN, reconnect=False))

    async def _close(self, ending: Ending) -> None:
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._inner.closing = True
        await send_notice_and_close(self._send, ending, self._dialect)
        self._inner.disconnect({"type": "websocket.disconnect", "code": ending.code, "reason": ending.reason})

    def _let_through(self, message: dict[str, Any]) -> bool:
        """Let the client through. ``message`` is the first frame that the consumer gets."""
        self._held.append(message)
        return True

    def _free_slot(self) -> None:
        """Give the slot back. A consumer behind the gate takes one itself."""
        if self._slot is not None:
            self._slot.give_back()

    # Frames to the client

    async def _pong(self, frame: Frame) -> None:
        try:
            await self._write(self._dialect.pong(self._dialect.id(frame), self._dialect.payload(frame)))
        except InvalidEnvelope as error:
            await self._refuse(error, "PING", error.id)

    async def _refuse_early(self, frame: Frame, name: Any) -> None:
        """Answer a frame that comes before the AUTH."""
        route = name if type(name) is str and 0 < len(name) <= MAX_ROUTE_CHARS else None
        try:
            id = self._dialect.id(frame)
        except InvalidEnvelope as error:
            await self._refuse(error, route, error.id)
        else:
            await self._refuse(NotAuthenticated(), route, id)

    async def _refuse(self, error: RoutesockError, route: str | None = None, id: RequestId = None) -> None:
        problem = fitted(error.problem(), MAX_PROBLEM)
        await self._write(self._dialect.reply(route, id, error.status, problem, error.headers))

    async def _write(self, frame: Frame) -> None:
        text = codec.encode(frame)
        try:
            await self._send({"type": "websocket.send", "text": text})
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
        return next((name for name in spoken if name in offered), None) if spoken else first_subprotocol(offered)


def _locked(seconds: float) -> Ending:
    return Ending(4429, _TOO_OFTEN, reconnect=True, retry_after=round(seconds, 1) or 0.1)


def _frame_in(message: dict[str, Any]) -> Frame:
    """Return the object in a ``websocket.receive`` event. Raises the error that answers an event without one."""
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
