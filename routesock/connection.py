"""One socket from its first frame to its end: who reads, who works, and that nothing outlives it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from channels.exceptions import StopConsumer

from . import conf, db, losses
from .auth.base import AUTHENTICATORS
from .auth.gate import Gate
from .auth.refusals import can_respond, respond
from .caps import TOO_MANY, is_signed_in
from .exceptions import NotAuthenticated, Unavailable
from .liveness import watched
from .logins import name_in_scope
from .member import Member
from .membership import Membership
from .outbox import Kind, Outbox
from .outgoing import Outgoing, means_gone
from .overrides import Compiled
from .pipeline import Door
from .readers import ClientReader, LayerReader, Receive
from .refreshing import REFUSED, Refreshing
from .responder import Responder
from .revocation import group_of
from .room import Progress
from .standing import standing
from .status import RESTART, RESTARTS, SENDABLE, Ending
from .subscriptions import Subscriptions
from .tasks import Tasks
from .typing import UNSET

logger: Final = logging.getLogger("routesock.socket")

CLOSE_WAIT: Final = 1.0
"""Seconds that a notice of ours has to get past a client that does not read, and a close frame as many again."""


JOIN_WAIT: Final = 1.0
"""Seconds for which ``connect()`` waits until the socket is in the group of its user."""


class Connection:
    """Serves one socket of ``consumer``: reads from the client and the channel layer until either ends it."""

    __slots__ = (
        "__weakref__", "_consumer", "_ended", "_gone", "_layer", "_liveness", "_membership", "_outbox", "_outgoing",
        "_progress", "_reader", "_receive", "_responder", "_send", "_tasks", "grace",
    )  # fmt: skip

    def __init__(
        self,
        consumer: Any,
        compiled: Compiled,
        receive: Receive,
        membership: Membership | None,
        send: Callable[[Any], Awaitable[None]],
        context: contextvars.Context,
        gate: Gate | None = None,
    ) -> None:
        self._consumer = consumer
        self._receive = receive
        self._send = send
        self.grace: float = conf.get("DISCONNECT_GRACE") if compiled.grace is UNSET else compiled.grace
        self._gone = False
        self._ended: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        end = self._end
        self._tasks = tasks = Tasks(context, end)
        overflow = conf.get("OVERFLOW") if compiled.overflow is UNSET else compiled.overflow
        self._progress = progress = Progress()
        self._outbox = Outbox(send, progress, overflow == "drop", self)
        self._outgoing = outgoing = Outgoing(consumer, compiled, self._outbox, progress)
        self._responder = responder = Responder(consumer, compiled, outgoing, progress, tasks, end)
        if gate is not None:  # the socket was accepted in our place
            responder.lane.opening = False
            responder.admit = partial(self._admit, gate, compiled.door)
        if AUTHENTICATORS in consumer.scope:
            responder.refreshing = Refreshing(consumer, responder.replies, self._signed_in, self._refused)
        self._liveness = watched(self, compiled.limits)
        self._reader = ClientReader(receive, responder, tasks, progress, consumer, self._liveness, end)
        self._membership = membership
        self._layer: LayerReader | None = None

    async def serve(self) -> None:
        """Read until the socket ends, then let ``disconnect()`` run, once, behind everything else."""
        message = {"type": "websocket.disconnect", "code": 1006}
        try:
            await self.follow_login()
            self._tasks.start(self._reader.read())
            message = await self._ended or message
        except GeneratorExit:  # thrown away with its loop: nothing can be awaited any more
            raise
        except BaseException:  # connect() raised, or the server has no patience
            self._tasks.hurry()
            await self._tasks.shielded(self._finish(message))
            raise
        else:
            await self._tasks.shielded(self._finish(message))
        finally:
            if self._responder.standing is not None:
                self._responder.standing.forget()

    def listen(self) -> str | None:
        """The name of the socket's own channel, which is read from now on; ``None`` without a channel layer.

        May be called in any thread.
        """
        if self._membership is None:
            return None
        self._ended.get_loop().call_soon_threadsafe(self._listen, self._membership)
        return self._membership.channel

    def _listen(self, membership: Membership) -> None:
        if self._layer is None and not self._tasks.finishing:
            receive = self._consumer.channel_receive
            self._layer = LayerReader(receive, self._responder, self._tasks, self._progress, membership)
            self._tasks.start(self._layer.read())

    async def turn_away(self, ending: Ending) -> None:
        """In place of :meth:`serve`: accept the socket, since a browser cannot tell why it is refused, and close it."""
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
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
            self._responder.lane.opening = False
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

    async def _admit(self, gate: Gate, door: Door) -> None:
        """The client has come through ``gate``, so ``connect()`` is next, unless its user has or opens too many."""
        ending = await door.ending(self._consumer) if gate.admit(self._consumer.scope) else TOO_MANY
        if ending is not None:
            await self.close(ending.code, ending.reason, reconnect=ending.reconnect, retry_after=ending.retry_after)
            raise StopConsumer
        await self.follow_login()

    async def reject(self, code: int, reason: str, *, reconnect: bool, retry_after: float | None = None) -> None:
        """As :meth:`close`, but a socket that is not accepted yet is, first."""
        if self._responder.lane.opening and not self._progress.closing:
            offered = self._consumer.scope.get("subprotocols")
            await self.send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
        await self.close(code, reason, reconnect=reconnect, retry_after=retry_after)

    async def push(self, route: str, payload: Any, headers: Mapping[str, Any]) -> None:
        """Send a frame that nobody asked for. Raises what encoding raises."""
        await self._responder.replies.push(route, payload, headers)

    def member(self) -> Member:
        """The groups of the socket, or the place for them."""
        responder = self._responder
        if responder.member is None:
            responder.member = Member(
                self._consumer,
                None if self._membership is None else self._membership.layer,
                type(self._consumer)._routesock.dialect,
                self._outgoing,
                self._progress,
                self._tasks,
                responder.lane,
                connected=responder.connected,
            )
        return responder.member

    def subscriptions(self) -> Subscriptions:
        """What the socket is subscribed to, or the place for it."""
        member = self.member()
        if member.subscriptions is None:
            member.subscriptions = Subscriptions(
                self._consumer, member, self._tasks, self._responder.replies, self.grace
            )
        subscriptions: Subscriptions = member.subscriptions
        return subscriptions

    async def close(self, code: int, reason: str, *, reconnect: bool, retry_after: float | None = None) -> None:
        """End the socket: a CLOSE notice, the close itself, then all that follows a client's leaving.

        ``reconnect`` tells the client whether to come back, ``retry_after`` in how many seconds. Does nothing on a
        socket that is being closed, raises nothing, and does not wait for a client that does not read.
        """
        if self._progress.closing:
            return
        self._close()
        reason = fitted(reason)
        notice: dict[str, Any] = {"code": code, "reason": reason, "reconnect": reconnect}
        if retry_after is not None:
            notice["retry_after"] = retry_after
        try:
            if not self._responder.lane.opening:
                await _within(CLOSE_WAIT, self._responder.replies.close_notice(notice))
            await _within(CLOSE_WAIT, self._send_close(code, reason, retry_after))
        except Exception:
            logger.debug("A socket could not be closed.", exc_info=True)
        finally:
            self._end({"type": "websocket.disconnect", "code": code, "reason": reason})

    def drain(self, retry_after: float) -> None:
        """Begin to end, since the process does: what runs has its grace, then the client is told when to come back."""
        if not self._progress.closing:
            self._tasks.start(self._drain(retry_after))

    async def _drain(self, retry_after: float) -> None:
        error = Unavailable(RESTARTS, wait=retry_after)
        await self._tasks.wait([self._tasks.start_apart(self._responder.drain(error))], self.grace)
        await _within(CLOSE_WAIT, self._responder.revoke_all(error))
        await self.close(RESTART, RESTARTS, reconnect=True, retry_after=retry_after)

    async def _send_close(self, code: int, reason: str, retry_after: float | None) -> None:
        if self._responder.lane.opening and 4300 <= code <= 4599 and can_respond(self._consumer.scope):
            await respond(self._send, code - 4000, reason, retry_after)
            return
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception as exc:
            if means_gone(exc) or code >= 3000:
                raise
            await self._send({"type": "websocket.close", "code": SENDABLE, "reason": reason})

    def overflow(self) -> None:
        """End a socket whose client does not read."""
        logger.warning("A client does not read what is sent to it: its socket is closed (1013).")
        self._tasks.start(self.close(1013, "too slow", reconnect=True))

    def dropped(self, number: int) -> None:
        """Count pushes that the client was too slow for."""
        losses.dropped(type(self._consumer), number, "client")

    def _close(self) -> None:
        """From here on nothing is dispatched and no reply sent."""
        self._progress.closing = True
        if self._liveness is not None:
            self._liveness.end()
        for job in self._responder.close():
            self._responder.write_off(job)
        self._reader.room.release()
        if self._layer is not None:
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
            self._ended.set_exception(_bearable(outcome))
        else:
            self._ended.set_result(outcome)

    # What its liveness asks

    def ping(self) -> None:
        self._tasks.start(self._ping())

    async def _ping(self) -> None:
        assert self._liveness is not None
        await self._responder.replies.ping()
        self._liveness.pinged(asyncio.get_running_loop().time())

    def end(self, ending: Ending) -> None:
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._tasks.start(self.close(ending.code, ending.reason, reconnect=ending.reconnect))

    def is_busy(self) -> bool:
        return bool(self._responder.running())

    def is_signed_in(self) -> bool:
        return is_signed_in(self._consumer.scope)

    # What its login asks

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.start_apart(coroutine)

    def sign_out(self, ending: Ending) -> None:
        if self._progress.closing:  # what still runs has its grace, as if the client had only left
            return
        logger.info("A socket is closed with %d: %s", ending.code, ending.reason)
        self._tasks.start(self._sign_out(ending))

    async def _sign_out(self, ending: Ending) -> None:
        await _within(CLOSE_WAIT, self._responder.expel(NotAuthenticated(ending.reason)))
        await self.close(ending.code, ending.reason, reconnect=ending.reconnect)

    def signed_in(self, user: object) -> None:
        """Follow ``user`` from now on, if that is who the consumer has put into its scope. May be called anywhere."""
        if self._consumer.scope.get("user") is user:
            self._ended.get_loop().call_soon_threadsafe(self._signed_in)

    def _signed_in(self) -> None:
        _ = self.start(self.follow_login())

    async def follow_login(self) -> None:
        """The socket belongs to whoever is signed in by now. Returns when other processes can end it, too."""
        responder = self._responder
        if self._progress.closing:
            return
        if responder.standing is None:
            responder.standing = standing(self, self._consumer, type(self._consumer)._routesock)
        if responder.standing is not None:
            responder.standing.begin()
        name = name_in_scope(self._consumer.scope)
        if name is not None or responder.member is not None:
            group = None if name is None else group_of(name)
            await asyncio.wait({self.start(self.member().belong(group))}, timeout=JOIN_WAIT)

    def _refused(self) -> None:
        self.sign_out(REFUSED)

    def hurry(self) -> None:
        """Cut the grace short."""
        self._tasks.hurry()

    async def _finish(self, message: dict[str, Any]) -> None:
        self._close()
        self._gone = True
        tasks, responder = self._tasks, self._responder
        if self._membership is not None:
            self._membership.leaving()
        # Who sends and leaves must not lose the message: what runs has a grace, all else ends.
        graced = {job.task for job in responder.running() if not responder.give_up(job)}
        subscriptions = None if responder.member is None else responder.member.subscriptions
        if subscriptions is not None:
            graced |= subscriptions.endings()
        await tasks.cancel(keep=graced)
        await tasks.wait(graced, self.grace)
        responder.abandoned = True
        left = responder.running()
        await tasks.cancel()
        for job in left:
            responder.write_off(job)
        try:
            subscriptions = None if responder.member is None else responder.member.subscriptions
            if subscriptions is not None:  # a handler that had a grace may have made it
                await subscriptions.end()
            if responder.connected:
                # With a context of its own: a task that took no notice of its cancellation may go on in the socket's.
                await asyncio.get_running_loop().create_task(self._disconnect(message))
        finally:
            if responder.member is not None:
                await responder.member.leave_all()
            if self._membership is not None:
                await self._membership.leave_all()
            responder.life.closed(message.get("code", 1005))

    async def _disconnect(self, message: dict[str, Any]) -> None:
        db.forget_waiting()
        try:
            with suppress(StopConsumer):
                await self._responder.dispatch(message)
        except (SystemExit, KeyboardInterrupt) as exc:
            raise _bearable(exc) from exc


def _bearable(exc: BaseException) -> BaseException:
    """``exc`` for the server; in place of what would end the whole process, an error with that as its cause."""
    if isinstance(exc, Exception | asyncio.CancelledError):
        return exc
    error = RuntimeError(f"A consumer raised {exc!r}.")
    error.__cause__ = exc
    return error


def fitted(reason: str) -> str:
    """``reason`` cut to what a close frame holds: 125 bytes with the code (RFC 6455, section 5.5)."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")


async def _within(seconds: float, doing: Awaitable[None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await doing
