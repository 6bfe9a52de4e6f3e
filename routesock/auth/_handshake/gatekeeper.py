"""Reads the frames of a socket until its client has authenticated."""

from __future__ import annotations

import asyncio
from logging import INFO
from typing import Any, Final, NamedTuple

from ... import conf
from ..._runtime import shutdown
from ..._runtime.asgi_tree import consumer_at
from ..._runtime.clients import TOO_MANY, ConnectionSlot, customer_of, take_slot
from ..._runtime.closing import Send, first_subprotocol, send_message, send_notice_and_close
from ..._runtime.instrumentation import internal_error, log_authentication, log_socket, socket_is_refused
from ..._runtime.supervision import safe_logger
from ..._runtime.timers import FAIR_SECONDS, FAIR_SHARE, clock, running_timer
from ..._wire.messages import NO_HEADERS, Request, Scope
from ..._wire.problems import fitted
from ...dialects import Dialect, Frame, Keys, Problem
from ...dialects.base import MAX_ROUTE_CHARS, checked_id, decode_bounded, dialect_for
from ...exceptions import InvalidEnvelope, NotAuthenticated, RoutesockError
from ...status import ANONYMOUS, Ending, restart_ending
from ...typing import UNSET
from ..authenticators import (
    FAILED,
    INVALID_TOKEN,
    Authenticator,
    Credentials,
    CredentialSource,
    authenticate_token,
    expiry_of,
)
from ..refusals import Application, Handshake, Receive
from .attempts import LOCKOUT, TOO_OFTEN, AuthDeadline, Lockout, is_outage, retry_after
from .inner_application import InnerApplication

logger: Final = safe_logger("routesock.socket")

MAX_PROBLEM: Final = 3_500
"""Bytes of a problem object: with an id and a route an error's frame stays below 4 KiB."""

MAX_EARLY: Final = 64
"""Frames that a client may send before a good AUTH, those of public routes not counted. One more closes the socket."""

TOO_EARLY: Final = Ending(4429, "Too many frames came before AUTH.", reconnect=True, retry_after=30)


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
        "_address", "_deadline", "_dialect", "_early", "_failed", "_held", "_info", "_inner", "_max_frame", "_public",
        "_receive", "_restarting", "_send", "_slot", "_terms", "_verifying", "scope",
    )  # fmt: skip

    grace: float = 0.0

    def __init__(self, terms: Terms, inner: Application, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._terms = terms
        self._receive = receive
        self._send = send
        self._address = customer_of(scope)
        self._early = 0
        self._failed = 0
        self._held: list[dict[str, Any]] = []
        self._verifying = False
        self._slot: ConnectionSlot | None = None
        self._deadline: AuthDeadline | None = None
        self._restarting: Ending | None = None
        compiled: Any = getattr(consumer_at(inner, scope), "_routesock", None)
        dialect = terms.dialect or getattr(compiled, "dialect", None) or Keys()
        self._dialect = dialect_for(dialect, self)
        self._info: dict[str, Any] = compiled.connection_info() if getattr(compiled, "hello", False) else {}
        most = getattr(compiled, "max_frame", UNSET)
        self._max_frame: int = conf.get("MAX_FRAME") if most is UNSET else most
        self._public: frozenset[str] = getattr(compiled, "public", frozenset()) if terms.required else frozenset()
        inner_scope = {**scope, LOCKOUT: terms.failures}
        self._inner = InnerApplication(inner, inner_scope, receive, send, self._dialect, terms.authenticators)

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

    def load(self) -> None:
        """Return ``None``: the socket has not opened."""

    def report(self) -> None:
        """Return ``None``: the socket has not opened."""

    def close_soon(self, ending: Ending) -> None:
        """Do nothing: no user and no consumer is known yet."""

    def drain_soon(self, retry_after: float) -> None:
        """Do nothing: a gate closes its socket in time, and a consumer behind it finds that the process drains."""

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
        handled, spent = 0, 0.0
        while True:
            if handled >= FAIR_SHARE or spent >= FAIR_SECONDS:
                handled, spent = 0, 0.0
                await asyncio.sleep(0)
            message = await self._receive()
            began = clock()
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
                self._count_early()
                await self._refuse(internal_error(exc, "Reading a frame", self))
            handled += 1
            spent += clock() - began

    def _count_early(self) -> None:
        """Count a frame that gets a client no further. Raises ``_Refused`` for one too many."""
        self._early += 1
        if self._early > MAX_EARLY:
            raise _Refused(TOO_EARLY)

    async def _handle(self, message: dict[str, Any]) -> bool:
        """Answer a frame, or pass it on. Returns whether it opens the gate."""
        try:
            frame = _frame_in(self._dialect, message, self._max_frame)
        except RoutesockError as error:
            if not self._terms.required:
                return self._let_through(message)
            self._count_early()
            await self._refuse(error)
            return False
        name = frame.route
        if name == "AUTH":
            self._verifying = True
            good = await self._auth(frame)
            self._verifying = good
            return good
        if type(name) is str and name in self._public:
            self._free_slot()
            await self._inner.pass_on(message)
            return False
        self._count_early()
        if name == "PING":
            await self._pong(frame)
        elif name in ("CANCEL", "PONG", "ANSWER"):
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
            request = self._request(frame, "AUTH")
        except InvalidEnvelope as error:
            self._count_early()
            await self._refuse(error, self._request(frame._replace(id=None), "AUTH"))
            return False
        payload = request.payload
        token = payload.get("token") if isinstance(payload, dict) else None
        if not isinstance(token, str) or not token:
            self._count_early()
            await self._refuse(InvalidEnvelope('The payload of AUTH is {"token": "..."}.'), request)
            return False
        self._raise_if_locked()
        try:
            credentials = Credentials(token, CredentialSource.FRAME, self.scope)
            identity = await authenticate_token(self._terms.authenticators, credentials)
        except NotAuthenticated:
            self._raise_if_locked()
            await self._fail(request)
            return False
        except Exception as exc:
            failure = internal_error(exc, "Authentication", self, request.id)
            if is_outage(exc):
                self._count_early()
                await self._refuse(failure, request)
            else:
                await self._fail(request, failure)
            return False
        self._raise_if_locked()
        self._terms.failures.succeed(self._address)
        self._inner.gate.identity = identity
        log_authentication(Handshake({**self.scope, "user": identity.user}), CredentialSource.FRAME)
        if request.id is not None or self._dialect.answers_without_id or self._dialect.answers_auth:
            await self._write(self._dialect.reply(request, 200, expiry_of(identity), NO_HEADERS))
        return True

    def _raise_if_locked(self) -> None:
        """Raise ``_Refused`` while the address is locked: before a token is looked at, and once more after that.

        Other sockets of the address may have failed meanwhile. Otherwise as many tokens could be tried at once as there
        are sockets.
        """
        locked = self._terms.failures.locked_for(self._address)
        if locked:
            raise _Refused(_locked(locked))

    async def _fail(self, request: Request, error: RoutesockError | None = None) -> None:
        """Answer a token that is wrong, or one that an authenticator failed at (``error``)."""
        self._failed += 1
        self._terms.failures.fail(self._address)
        log_authentication(self, CredentialSource.FRAME, INVALID_TOKEN if error is None else FAILED)
        left = max(self._terms.attempts - self._failed, 0)
        if self._terms.failures.locked_for(self._address):
            left = 0
        await self._refuse(error or NotAuthenticated(INVALID_TOKEN, attempts_left=left), request)
        if not left:
            raise _Refused(Ending(4401, TOO_OFTEN, reconnect=False))

    async def _close(self, ending: Ending) -> None:
        log_socket(INFO, self, "A socket is closed with %d: %s", ending.code, ending.reason)
        socket_is_refused(ending.code)
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

    def _request(self, frame: Frame, name: str = "") -> Request:
        """Return what the dialect gets for its answer to ``frame``. Raises :class:`InvalidEnvelope` for a bad id."""
        consumer: Any = self  # there is none yet; a dialect may read its scope
        request = Request(name, checked_id(self._dialect, frame), frame.payload, NO_HEADERS, consumer)
        request._frame = frame.value
        return request

    async def _pong(self, frame: Frame) -> None:
        try:
            await self._write(self._dialect.pong(self._request(frame, "PING")))
        except InvalidEnvelope as error:
            await self._refuse(error, self._request(frame._replace(id=None), "PING"))

    async def _refuse_early(self, frame: Frame, name: Any) -> None:
        """Answer a frame that comes before the AUTH."""
        route = name if type(name) is str and len(name) <= MAX_ROUTE_CHARS else ""
        try:
            request = self._request(frame, route)
        except InvalidEnvelope as error:
            await self._refuse(error, self._request(frame._replace(id=None), route))
        else:
            await self._refuse(NotAuthenticated(), request)

    async def _refuse(self, error: RoutesockError, request: Request | None = None) -> None:
        members = fitted(error.problem(), MAX_PROBLEM)
        answered = self._request(Frame(None)) if request is None else request
        await self._write(
            self._dialect.error(Problem(error.status, members, error.headers, error.native_errors), answered)
        )

    async def _write(self, frame: Any) -> None:
        if frame is None:  # the dialect sends nothing
            return
        data = self._dialect.encode(frame)
        try:
            await self._send(send_message(data))
        except Exception:
            logger.debug("A frame could not be sent.", exc_info=True)

    def _hello(self) -> dict[str, Any]:
        terms = self._terms
        mode = "required" if terms.required else "optional"
        hello: dict[str, Any] = {"mode": mode, "attempts": terms.attempts, "timeout": terms.timeout}
        if self._public:
            hello["public"] = sorted(self._public)
        return {**hello, **self._info}

    def _subprotocol(self) -> str | None:
        offered: list[str] = [*(self.scope.get("subprotocols") or ())]
        spoken = self._terms.subprotocols
        return next((name for name in spoken if name in offered), None) if spoken else first_subprotocol(offered)


def _locked(seconds: float) -> Ending:
    return Ending(4429, TOO_OFTEN, reconnect=True, retry_after=retry_after(seconds))


def _frame_in(dialect: Dialect, message: dict[str, Any], limit: int) -> Frame:
    """Return the frame in a ``websocket.receive`` event, of at most ``limit`` bytes.

    Raises the error that answers an event without one.
    """
    decoded = decode_bounded(dialect, message, limit)
    if isinstance(decoded, Frame):
        return decoded
    raise InvalidEnvelope("A message holds one frame until the client has authenticated." if decoded else None)
