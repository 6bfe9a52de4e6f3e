"""One socket from its first frame to its end: who reads, who works, and that nothing outlives it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

from channels.exceptions import StopConsumer

from . import conf, db, faults
from .caps import is_signed_in
from .exceptions import TooManyInFlight, Unavailable
from .intake import Decision, Of, Ping, Refusal
from .jobs import HANDED_OVER, READ_ON, Job, Source
from .lane import FAIR_SHARE, Lane, uncancel
from .liveness import watched
from .messages import Request
from .outbox import Kind, Outbox
from .outgoing import Outgoing, means_gone
from .overrides import Compiled
from .pool import Pool
from .responder import Responder
from .room import Progress, Room
from .status import Ending
from .typing import UNSET

logger: Final = logging.getLogger("routesock.socket")

MAX_QUEUED_EVENTS: Final = 1000
"""Channel-layer messages that wait for their turn. More stay in the layer, which drops what it has no room for."""

CANCEL_WAIT: Final = 1.0
"""Seconds that a cancelled handler has for its ``finally`` blocks before ``disconnect()`` runs without it."""

CLOSE_WAIT: Final = 1.0
"""Seconds that a notice of ours has to get past a client that does not read, and a close frame as many again."""

RESTART: Final = 1012
"""Service Restart, the close code when the process ends (IANA's registry of RFC 6455, section 11.7)."""

_RESTARTS: Final = "The server restarts."

_SENDABLE: Final = 4503
"""Instead of a registered code, for a server that sends none; daphne's autobahn takes 1000 and 3000 to 4999 only."""

_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 5.0
"""Seconds between two tries of a channel layer that fails; each wait is twice the last."""

Receive = Callable[[], Awaitable[Any]]


class Connection:
    """Serves one socket of ``consumer``: reads from the client and the channel layer until either ends it."""

    __slots__ = (
        "__weakref__",
        "_channel_receive",
        "_client",
        "_closing",
        "_consumer",
        "_context",
        "_ended",
        "_finishing",
        "_gone",
        "_grace_over",
        "_hurried",
        "_lane",
        "_layer",
        "_liveness",
        "_outbox",
        "_receive",
        "_responder",
        "_send",
        "_sync",
        "_taking_leave",
        "_tasks",
        "grace",
    )  # fmt: skip

    def __init__(
        self,
        consumer: Any,
        compiled: Compiled,
        receive: Receive,
        channel_receive: Receive | None,
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        self._consumer = consumer
        self._sync = compiled.sync
        self._receive = receive
        self._channel_receive = channel_receive
        self._send = send
        self.grace: float = conf.get("DISCONNECT_GRACE") if compiled.grace is UNSET else compiled.grace
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._taking_leave = False
        self._gone = False
        self._finishing = False
        self._hurried = False
        self._grace_over: asyncio.Future[None] | None = None
        overflow = conf.get("OVERFLOW") if compiled.overflow is UNSET else compiled.overflow
        progress = Progress()
        self._outbox = Outbox(send, progress, overflow == "drop", self._overflow)
        self._responder = Responder(
            consumer,
            compiled,
            Outgoing(consumer, compiled, self._outbox),
            progress,
            self._spawn,
            self._spawn_apart,
            self._end,
        )
        self._lane = self._responder.lane
        self._client = Source(self._read_client, Room(conf.get("MAX_QUEUED"), progress))
        events = Room(MAX_QUEUED_EVENTS, progress, weight=conf.get("MAX_OUTGOING_BYTES"))
        self._layer = Source(self._read_layer, events, weigh)
        self._liveness = watched(self, compiled.limits)
        self._context: contextvars.Context
        self._ended: asyncio.Future[dict[str, Any] | None]

    async def serve(self, context: contextvars.Context) -> None:
        """Read until the socket ends, then let ``disconnect()`` run, once, behind everything else.

        ``context`` is that of all the socket's tasks.
        """
        self._context = context
        self._ended = asyncio.get_running_loop().create_future()
        self._spawn(self._read_client())
        if self._channel_receive is not None:
            self._spawn(self._read_layer())
        message = {"type": "websocket.disconnect", "code": 1006}
        try:
            message = await self._ended or message
        except GeneratorExit:  # thrown away with its loop: nothing can be awaited any more
            raise
        except BaseException:  # connect() raised, or the server has no patience
            self.hurry()
            await self._finished(message)
            raise
        await self._finished(message)

    async def turn_away(self, ending: Ending) -> None:
        """In place of :meth:`serve`: accept the socket, since a browser cannot tell why it is refused, and close it."""
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._context = contextvars.copy_context()
        self._ended = asyncio.get_running_loop().create_future()
        offered = self._consumer.scope.get("subprotocols")
        try:
            await self._receive()
            # Browsers take no connection with none of the subprotocols that they offer.
            await self.send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
            await self.close(ending.code, ending.reason, reconnect=ending.reconnect, retry_after=ending.retry_after)
        finally:
            self._close()

    async def send(self, message: dict[str, Any]) -> None:
        """The consumer's ``base_send``: passes everything on, and sees when a close begins.

        Once the client has left, nothing is sent and nothing raised: servers differ in what they do then, and a handler
        that saves, acknowledges and tells others must get to the end.
        """
        if self._gone:
            return
        kind = Kind.OWN
        if message["type"] != "websocket.send":
            kind = Kind.CONTROL
            self._lane.opening = False
            if message["type"] == "websocket.close":
                self._close()
            elif self._liveness is not None:
                self._liveness.accepted(asyncio.get_running_loop().time())
        try:
            await self._outbox.write(message, kind)
            if message["type"] == "websocket.accept":
                self._responder.life.accepted()
        except Exception as exc:
            if not means_gone(exc):
                raise
            logger.debug("A frame could not be sent.", exc_info=True)

    async def push(self, route: str, payload: Any, headers: Mapping[str, Any]) -> None:
        """Send a frame that nobody asked for. Raises what encoding raises."""
        await self._responder.replies.push(route, payload, headers)

    async def close(self, code: int, reason: str, *, reconnect: bool, retry_after: float | None = None) -> None:
        """End the socket: a CLOSE notice, the close itself, then all that follows a client's leaving.

        ``reconnect`` tells the client whether to come back, ``retry_after`` in how many seconds. Does nothing on a
        socket that is being closed, raises nothing, and does not wait for a client that does not read.
        """
        if self._closing or self._taking_leave:
            return
        self._taking_leave = True
        reason = fitted(reason)
        notice: dict[str, Any] = {"code": code, "reason": reason, "reconnect": reconnect}
        if retry_after is not None:
            notice["retry_after"] = retry_after
        try:
            if not self._lane.opening:
                await _within(CLOSE_WAIT, self._responder.replies.close_notice(notice))
            self._close()
            await _within(CLOSE_WAIT, self._send_close(code, reason))
        except Exception:
            logger.debug("A socket could not be closed.", exc_info=True)
        finally:
            self._end({"type": "websocket.disconnect", "code": code, "reason": reason})

    def drain(self, retry_after: float) -> None:
        """Begin to end, since the process does: what runs has its grace, then the client is told when to come back."""
        if not self._closing:
            self._spawn(self._drain(retry_after))

    async def _drain(self, retry_after: float) -> None:
        error = Unavailable(_RESTARTS, wait=retry_after)
        await self._wait_for({self._spawn_apart(self._responder.drain(error))})
        await _within(CLOSE_WAIT, self._responder.revoke_all(error))
        await self.close(RESTART, _RESTARTS, reconnect=True, retry_after=retry_after)

    async def _send_close(self, code: int, reason: str) -> None:
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception as exc:
            if means_gone(exc) or code >= 3000:
                raise
            await self._send({"type": "websocket.close", "code": _SENDABLE, "reason": reason})

    def _overflow(self) -> None:
        logger.warning("A client does not read what is sent to it: its socket is closed (1013).")
        self._spawn(self.close(1013, "too slow", reconnect=True))

    async def _read_client(self) -> None:
        task = _this_task()
        beside = self._responder.pool
        liveness = self._liveness
        for taken in count(1):
            try:
                if taken % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
                message = decision = job = None  # an idle socket keeps nothing of its last frame
                if liveness is not None:
                    liveness.listens(task.get_loop().time())
                message = await self._receive()
            except asyncio.CancelledError:
                self._raise_if_closing()
                continue
            if message["type"] == "websocket.disconnect":
                self._end(message)
                return
            if self._closing:
                continue
            decision = self._decide(message) if message["type"] == "websocket.receive" else None
            if liveness is not None:
                liveness.heard(heartbeat=type(decision) is Ping or decision is Of.PONG)
            if decision is not None and type(decision) is not Request and await self._responder.at_once(decision):
                continue
            job = Job(self._client, message, decision, task)
            order: Lane | Pool = self._lane
            if beside is not None and type(decision) is Request and decision.route in beside.routes:
                order = beside
            verdict = await order.submit(job)
            if verdict is READ_ON:
                continue
            if verdict is HANDED_OVER:
                return
            if type(decision) is Request:
                error = self._responder.draining or TooManyInFlight()
                await self._responder.replies.refuse(Refusal(error, decision.route, decision.id), decision)

    def _decide(self, message: dict[str, Any]) -> Decision:
        try:
            return self._responder.intake.frame(message)
        except Exception as exc:  # of a dialect that did not expect such a frame
            return Refusal(faults.internal_error(exc, "Reading a frame", self._consumer))

    async def _read_layer(self) -> None:
        receive = self._channel_receive
        assert receive is not None
        task = _this_task()
        delay = _FIRST_RETRY
        for taken in count(1):
            try:
                if taken % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
                message = None
                message = await receive()
            except asyncio.CancelledError:
                self._raise_if_closing()
                continue
            except Exception:
                # A layer that is down says nothing about this socket: requests go on.
                logger.exception("The channel layer failed; the next try is in %s s.", delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_RETRY)
                continue
            delay = _FIRST_RETRY
            if not self._closing and await self._lane.submit(Job(self._layer, message, None, task)) is HANDED_OVER:
                return
            if self._finishing:
                return

    def _close(self) -> None:
        """From here on nothing is dispatched and no reply sent."""
        self._closing = self._outbox.closing = True
        if self._liveness is not None:
            self._liveness.end()
        for job in self._responder.close():
            self._responder.write_off(job)
        self._client.room.release()
        self._layer.room.release()

    def _end(self, outcome: dict[str, Any] | BaseException | None) -> None:
        """Wake ``serve``: with the disconnect, with an exception for the server, or with neither (``StopConsumer``)."""
        self._close()
        self._gone = True
        self._outbox.close()
        if self._ended.done():
            if isinstance(outcome, Exception):
                logger.error("A socket that had ended failed once more.", exc_info=outcome)
        elif isinstance(outcome, BaseException):
            self._ended.set_exception(outcome)
        else:
            self._ended.set_result(outcome)

    # What its liveness asks

    def ping(self) -> None:
        self._spawn(self._ping())

    async def _ping(self) -> None:
        assert self._liveness is not None
        await self._responder.replies.ping()
        self._liveness.pinged(asyncio.get_running_loop().time())

    def end(self, ending: Ending) -> None:
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._spawn(self.close(ending.code, ending.reason, reconnect=ending.reconnect))

    def is_busy(self) -> bool:
        return bool(self._responder.running())

    def is_signed_in(self) -> bool:
        return is_signed_in(self._consumer.scope)

    def _raise_if_closing(self) -> None:
        """Re-raise the cancellation being handled if it ends the socket; else a handler cancelled its own task."""
        if self._finishing:
            raise
        uncancel(_this_task())

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a task of this socket, in the context that ``connect()`` ran in, as under Channels."""
        _ = self._task(coroutine, self._context)

    def _spawn_apart(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start one in a copy of that context, which another task may have left while it waits for the thread."""
        context = self._context.copy()
        context.run(db.forget_waiting)
        return self._task(coroutine, context)

    def _task(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._end(exc)

    def hurry(self) -> None:
        """Cut the grace short."""
        self._hurried = True
        if self._grace_over is not None and not self._grace_over.done():
            self._grace_over.set_result(None)

    async def _finished(self, message: dict[str, Any]) -> None:
        """Finish, also if the server cancels us meanwhile: then without the grace."""
        task = asyncio.get_running_loop().create_task(self._finish(message), context=self._context)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.hurry()
            await task
            raise

    async def _finish(self, message: dict[str, Any]) -> None:
        self._close()
        self._finishing = True
        # Who sends and leaves must not lose the message: what runs has a grace, all else ends.
        graced = {job.task for job in self._responder.running() if not self._responder.give_up(job)}
        await self._cancel(self._tasks - graced)
        await self._wait_for(graced)
        self._responder.abandoned = True
        left = self._responder.running()
        await self._cancel(set(self._tasks))
        for job in left:
            self._responder.write_off(job)
        try:
            if self._responder.connected:
                with suppress(StopConsumer):
                    await self._responder.dispatch(message)
        finally:
            self._responder.life.closed(message.get("code", 1005))

    async def _wait_for(self, tasks: set[asyncio.Task[Any]]) -> None:
        """Wait until ``tasks`` have ended, but not longer than the grace."""
        if not tasks or self._hurried:
            return
        loop = asyncio.get_running_loop()
        self._grace_over = loop.create_future()
        timer = loop.call_later(self.grace, self.hurry)
        pending: set[asyncio.Future[Any]] = {*tasks, self._grace_over}
        while self._grace_over in pending and len(pending) > 1:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()

    async def _cancel(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=CANCEL_WAIT)
            for task in stuck:
                logger.error("A task of a closed socket does not end when it is cancelled: %r.", task)


def restarting(retry_after: float) -> Ending:
    """How a socket is closed when the process ends."""
    return Ending(RESTART, _RESTARTS, reconnect=True, retry_after=retry_after)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def fitted(reason: str) -> str:
    """``reason`` cut to what a close frame holds: 125 bytes with the code (RFC 6455, section 5.5)."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")


async def _within(seconds: float, doing: Awaitable[None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await doing


def weigh(value: Any, levels: int = 4) -> int:
    """Bytes, about, of the texts in a channel-layer message, which is what makes one large."""
    if isinstance(value, str | bytes):
        return len(value)
    if levels and isinstance(value, dict):
        return sum(weigh(item, levels - 1) for item in value.values())
    if levels and isinstance(value, list | tuple):
        return sum(weigh(item, levels - 1) for item in value)
    return 0
