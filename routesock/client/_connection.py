"""The state machine of a client: one WebSocket at a time, and what follows when it ends."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from ._auth import Auth, TokenFunction
from ._calls import Calls
from ._codec import Dialect
from ._heartbeat import Heartbeat
from ._host import Alarm, logger, safely
from ._topics import Topics
from ._transport import Events, Opener, Transport
from ._types import (
    Ask,
    Clock,
    IncomingFrame,
    OutgoingFrame,
    Push,
    RouteError,
    State,
    Timer,
    Why,
    members,
    retry_after,
    seconds,
)

CONNECT: Final = 10.0
"""Seconds for connecting and authenticating together."""
STABLE: Final = 5.0
"""The back-off begins again when a connection has been open so many seconds."""
CLOSING: Final = 3.0
"""Seconds after a CLOSE notice after which it counts as the close itself."""
FIRST_BACKOFF: Final = 0.5
MAX_BACKOFF: Final = 30.0
MAX_UNSENT: Final = 1024 * 1024
"""Notifications are not sent while so much waits to be written."""

FINAL: Final = frozenset({4400, 4401, 4403, 4404, 4413})
"""Close codes that are final without a notice: bad request, unauthenticated, forbidden, not found, too large."""
UNAUTHENTICATED: Final = 4401

PushListener = Callable[[Push], object]
AnswerHandler = Callable[[Ask[Any]], object]
"""Returns the payload of an answer, or an awaitable of it."""
StateListener = Callable[[State, Why | None], object]


class LoopClock:
    """The wall clock, which goes on while the machine sleeps, and the timers of the running loop."""

    def now(self) -> float:
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback)


class Connection:
    """A connection that comes back. Its parts see it as :class:`~routesock.client._host.Host`."""

    def __init__(
        self,
        url: str,
        *,
        dialect: Dialect,
        open_transport: Opener,
        token: str | TokenFunction | None,
        as_subprotocol: bool,
        subprotocols: Sequence[str],
        max_tries: int | None,
        on_error: Callable[[RouteError], object],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self.dialect = dialect
        self.clock = clock
        self.state: State = State.IDLE
        self.why: Why | None = None
        self.listeners: dict[str, list[PushListener]] = {}
        self.state_listeners: list[StateListener] = []
        self.handlers: dict[str, AnswerHandler] = {}
        """What answers the server, by the name of what it asks."""
        self._url = url
        self._open_transport = open_transport
        self._has_token = token is not None
        self._as_subprotocol = as_subprotocol
        self._subprotocols = subprotocols
        self._max_tries = max_tries
        self._on_error = on_error
        self._random = random
        self._transport: Transport | None = None
        self._transports: set[Transport] = set()
        """Those that have not ended, the current one among them."""
        self._tasks: set[asyncio.Task[None]] = set()
        """What runs for the current connection."""
        self._notice: Why | None = None
        """The server's CLOSE notice on this connection."""
        self._attempt = 0
        """Counts attempts and their ends, so that events of an older one are ignored."""
        self._tries = 0
        """Attempts since a connection was stable."""
        self._alarm = Alarm(clock)
        """The timer of the state: of connecting, of becoming stable, of closing, or of waiting."""
        self._patient = False
        """Whether nothing may cut the waiting short, since the server has said how long it is."""
        self.calls: Calls = Calls(self)
        self.topics: Topics = Topics(self, self.calls)
        self._auth = Auth(self, self.calls, token, self._spawn)
        self._heartbeat = Heartbeat(self)

    @property
    def ready(self) -> bool:
        return self.state is State.OPEN and self._notice is None and self._is_open

    @property
    def over(self) -> Why | None:
        return self.why if self.state is State.CLOSED else None

    @property
    def _is_open(self) -> bool:
        return self._transport is not None and self._transport.is_open

    def backoff(self, n: int) -> float:
        most = min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** min(n, 16))
        return most / 2 + self._random() * most

    def transmit(self, data: str | bytes) -> None:
        if self._transport is not None:
            self._transport.send(data)

    def write(self, frame: OutgoingFrame) -> bool:
        is_open = self._is_open
        if is_open:
            self.transmit(self.dialect.encode(frame))
        return is_open

    def connect(self) -> None:
        """Connects. While it waits to try again, it tries at once, unless the server has said how long to wait."""
        if self.state in (State.IDLE, State.CLOSED):
            self._tries = 0
            self._auth.refused = False
        elif self.state is not State.WAITING or self._patient:
            return
        self._connect()

    def close(self) -> None:
        if self.state is not State.CLOSED:
            self._end(State.CLOSED, Why(code=1000, reason="close() was called."))

    async def wait_closed(self) -> None:
        """Returns when all WebSockets that were closed have ended, and their tasks."""
        while self._transports:
            transport = self._transports.pop()
            try:
                await transport.wait_closed()
            except asyncio.CancelledError:
                self._transports.add(transport)
                raise
        if tasks := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(tasks)

    def notify(self, frame: OutgoingFrame) -> bool:
        data = self.dialect.encode(frame)
        if not self.ready or self._transport is None or self._transport.unsent >= MAX_UNSENT:
            return False
        self._transport.send(data)
        return True

    def lost(self, why: Why, delay: float | None = None) -> None:
        """Follows the verdict: waits for another try, or is closed for good."""
        over = why.code in FINAL if why.reconnect is None else not why.reconnect
        if why.code == UNAUTHENTICATED and self._auth.renewable:
            # A new token may be good where the old one has ended. If that is refused as well, it is no use.
            over = self._auth.refused
            self._auth.refused = True
        if over or (self._max_tries is not None and self._tries >= self._max_tries):
            self._end(State.CLOSED, why)
            return
        attempt = self._end(State.WAITING, why)
        if attempt != self._attempt:
            return  # a listener has called connect() or close()
        self._patient = why.retry_after is not None
        if why.retry_after is not None:
            delay = why.retry_after * (1 + self._random() / 5)
        elif delay is None:
            delay = self.backoff(max(0, self._tries - 1))
        self._alarm.set(delay, self._connect)

    def _enter(self, state: State) -> None:
        self.state = state
        for listener in [*self.state_listeners]:
            safely(listener, state, self.why)

    def _spawn(self, awaitable: Awaitable[None]) -> None:
        """Runs a part of this connection; it is cancelled when the connection ends."""
        assert isinstance(awaitable, Coroutine)
        task = asyncio.get_running_loop().create_task(awaitable, name="routesock client: connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connect(self) -> None:
        self._attempt += 1
        self._tries += 1
        self._patient = False
        self._notice = None
        self._alarm.set(CONNECT, lambda: self.lost(Why(code=1006, reason="Connecting took too long.")))
        attempt = self._attempt
        self._enter(State.CONNECTING)
        if attempt != self._attempt:
            return
        if self._as_subprotocol and self._has_token:
            self._spawn(self._connect_with_token(attempt))
        else:
            self._open(attempt, self._subprotocols)

    async def _connect_with_token(self, attempt: int) -> None:
        try:
            token = await self._auth.get()
        except Exception as error:
            self._if_current(attempt, self.lost, Why(code=1006, reason="There is no token.", cause=error))
            return
        offered = self._subprotocols
        if token is not None:
            offered = [*(self._subprotocols or ["routesock"]), f"bearer.{token}"]
        self._if_current(attempt, self._open, attempt, offered)

    def _open(self, attempt: int, offered: Sequence[str]) -> None:
        current = partial(self._if_current, attempt)
        events = Events(
            opened=lambda: current(self._opened, attempt),
            received=lambda data: current(self._receive, data),
            closed=lambda *how: current(self._closed, *how),
        )
        try:
            self._transport = self._open_transport(self._url, offered, events)
        except Exception as error:
            self.lost(Why(code=1006, reason="Connecting failed.", cause=error))
        else:
            self._transports.add(self._transport)

    def _if_current(self, attempt: int, callback: Callable[..., None], *args: Any) -> None:
        if attempt == self._attempt:
            callback(*args)

    def _opened(self, attempt: int) -> None:
        if self._has_token and not self._as_subprotocol:
            self._enter(State.AUTHENTICATING)
            if attempt == self._attempt:
                self._spawn(self._authenticate(attempt))
        else:
            self._begin()

    async def _authenticate(self, attempt: int) -> None:
        try:
            token = await self._auth.get()
            if token is not None and attempt == self._attempt:
                await self._auth.send(token)
        except RouteError as error:
            # A server that does not know AUTH knows the user already, by a cookie, say.
            if error.status != 404:
                self._if_current(attempt, self.lost, _refusal(error))
                return
        except Exception as error:
            why = Why(code=1006, reason="Authenticating failed.", cause=error)
            self._if_current(attempt, self.lost, why)
            return
        self._if_current(attempt, self._begin)

    def _begin(self) -> None:
        """The connection can be used from now on."""
        self._alarm.set(STABLE, self._stable)
        self.topics.opened()
        self.state = State.OPEN
        self._heartbeat.start()
        self.calls.flush(opened=True)
        self._enter(State.OPEN)

    def _stable(self) -> None:
        self._tries = 0
        self._auth.refused = False

    def _closed(self, code: int, reason: str, cause: BaseException | None) -> None:
        self.lost(self._notice or Why(code=code, reason=reason, cause=cause))

    def _end(self, state: State, why: Why) -> int:
        """Leaves the WebSocket, whatever it is doing, and returns the number of this end."""
        self._attempt += 1
        attempt = self._attempt
        self._alarm.stop()
        self._heartbeat.stop()
        self._auth.stop()
        self._patient = False
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        self.state = state
        self.why = why
        self.topics.lost()
        self.calls.lost(why)
        self._enter(state)
        return attempt

    def _receive(self, data: str | bytes) -> None:
        self._heartbeat.heard()
        try:
            frame = self.dialect.decode(data)
        except Exception as error:
            # Not the frame: it may be private.
            logger.error("A frame from the server cannot be read: %s: %s", type(error).__name__, error)
            return
        if frame is not None:
            self._dispatch(frame)

    def _dispatch(self, frame: IncomingFrame) -> None:
        route, status = frame.route, frame.status
        if route == "PONG":
            return
        if route == "PING":
            self.write(OutgoingFrame(route="PONG", id=frame.id, payload=frame.payload))
            return
        if (status is not None or frame.id is not None or not self.dialect.ids) and self.calls.receive(frame):
            return
        if status is not None:
            # A reply to nothing is that to a call that was cancelled, or the error of a notification.
            if status >= 400 and frame.id is None:
                safely(self._on_error, RouteError(route, status, members(frame.payload), frame.headers))
            return
        if route is None:
            return
        if frame.id is not None and (handler := self.handlers.get(route)) is not None:
            self._spawn(self._answer(frame, handler))
            return
        problem = members(frame.payload)
        if route == "CLOSE":
            self._notice = notice = _notice(problem)
            self._alarm.set(CLOSING, lambda: self.lost(notice))
        elif route == "HELLO":
            self.calls.allow(problem.get("maxQueued", problem.get("max_queued")))
        elif route == "UNSUBSCRIBE":
            self.topics.ended(problem)
        self._push(_push_of(frame))

    async def _answer(self, frame: IncomingFrame, handler: AnswerHandler) -> None:
        attempt = self._attempt
        try:
            assert frame.route is not None
            ask: Ask[Any] = Ask(route=frame.route, payload=frame.payload, headers=frame.headers, topic=frame.topic)
            payload: Any = handler(ask)
            if inspect.isawaitable(payload):
                payload = await payload
            data = self._answer_data(frame, 200, payload)
        except RouteError as error:
            data = self._refusal_data(frame, error, handler)
        except Exception:
            logger.exception("The answer to %r failed: %r", frame.route, handler)
            data = self._answer_data(frame, 500, None)
        if attempt == self._attempt and self._is_open:
            safely(self.transmit, data)

    def _refusal_data(self, ask: IncomingFrame, error: RouteError, handler: AnswerHandler) -> str | bytes:
        try:
            return self._answer_data(ask, error.status, error.problem)
        except Exception:
            logger.exception("The problem of the answer to %r cannot be encoded: %r", ask.route, handler)
            return self._answer_data(ask, 500, None)

    def _answer_data(self, ask: IncomingFrame, status: int, payload: Any) -> str | bytes:
        return self.dialect.encode(OutgoingFrame(route="ANSWER", id=ask.id, status=status, payload=payload))

    def _push(self, push: Push) -> None:
        self.topics.push(push)
        for listener in [*self.listeners.get(push.route, self.listeners.get("*", ()))]:
            safely(listener, push)


def _push_of(frame: IncomingFrame) -> Push:
    assert frame.route is not None
    return Push(route=frame.route, payload=frame.payload, headers=frame.headers, topic=frame.topic)


def _notice(problem: Any) -> Why:
    code = problem.get("code")
    reconnect = problem.get("reconnect")
    return Why(
        code=code if isinstance(code, int) else 1006,
        reason=str(problem.get("reason", "")),
        reconnect=reconnect if isinstance(reconnect, bool) else None,
        retry_after=retry_after(problem),
    )


def _refusal(error: RouteError) -> Why:
    """The end of a connection whose AUTH was refused."""
    reconnect = error.status >= 500 or error.status == 429
    wait = seconds(error.retry_after)
    return Why(code=4000 + error.status, reason=str(error), reconnect=reconnect, retry_after=wait, cause=error)
