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

from .._groups.layer_membership import Membership
from .._pipeline.compiler import ConsumerPlan
from .._pipeline.plan import ConnectionCheck
from .._runtime import database
from .._runtime.clients import TOO_MANY, is_signed_in
from ..auth._handshake.inner_application import Gate
from ..auth._login.revocation import group_of, name_in_scope
from ..auth._login.watcher import watch_login
from ..auth.authenticators import AUTHENTICATORS
from .closing import Closing, bearable
from .dispatch import Responder
from .liveness import watched
from .membership.member import Member
from .membership.subscriptions import Subscriptions
from .readers import ClientReader, LayerReader, Receive
from .sending.frame_writer import FrameWriter
from .token_refresh import TOO_MANY_REFUSED, TokenRefresh

logger: Final = logging.getLogger("routesock.socket")

JOIN_WAIT: Final = 1.0
"""Seconds for which ``connect()`` waits until the socket is in the group of its user."""


class Connection(Closing):
    """Serves one socket of ``consumer``: reads from the client and the channel layer until either ends it."""

    __slots__ = ("_membership", "_outgoing")

    def __init__(
        self,
        consumer: Any,
        compiled: ConsumerPlan,
        receive: Receive,
        membership: Membership | None,
        send: Callable[[Any], Awaitable[None]],
        context: contextvars.Context,
        gate: Gate | None = None,
    ) -> None:
        super().__init__(consumer, compiled, receive, send, context)
        progress, tasks, end = self._progress, self._tasks, self._end
        self._outgoing = outgoing = FrameWriter(consumer, compiled, self._outbox, progress)
        self._responder = responder = Responder(consumer, compiled, outgoing, progress, tasks, end)
        if gate is not None:  # the socket was accepted in our place
            responder.lane.opening = False
            responder.admit = partial(self._admit, gate, compiled.door)
        if AUTHENTICATORS in consumer.scope:
            responder.refreshing = TokenRefresh(consumer, responder.replies, self._signed_in, self._refused)
        self._liveness = watched(self, compiled.limits)
        self._reader = ClientReader(receive, responder, tasks, progress, consumer, self._liveness, end)
        self._membership = membership
        self._layer = None

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

    async def _admit(self, gate: Gate, door: ConnectionCheck) -> None:
        """The client has come through ``gate``, so ``connect()`` is next, unless its user has or opens too many."""
        ending = await door.ending(self._consumer) if gate.admit(self._consumer.scope) else TOO_MANY
        if ending is not None:
            await self.close(ending.code, ending.reason, reconnect=ending.reconnect, retry_after=ending.retry_after)
            raise StopConsumer
        await self.follow_login()

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

    # What its liveness asks

    def ping(self) -> None:
        self._tasks.start(self._ping())

    async def _ping(self) -> None:
        assert self._liveness is not None
        await self._responder.replies.ping()
        self._liveness.pinged(asyncio.get_running_loop().time())

    def is_busy(self) -> bool:
        return bool(self._responder.running())

    def is_signed_in(self) -> bool:
        return is_signed_in(self._consumer.scope)

    # What its login asks

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.start_apart(coroutine)

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
            plan = type(self._consumer)._routesock
            scope = self._consumer.scope
            responder.standing = watch_login(self, scope, plan.ends_with_session, plan.revalidate)
        if responder.standing is not None:
            responder.standing.begin()
        name = name_in_scope(self._consumer.scope)
        if name is not None or responder.member is not None:
            group = None if name is None else group_of(name)
            await asyncio.wait({self.start(self.member().belong(group))}, timeout=JOIN_WAIT)

    def _refused(self) -> None:
        self.sign_out(TOO_MANY_REFUSED)

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
        database.forget_waiting()
        try:
            with suppress(StopConsumer):
                await self._responder.dispatch(message)
        except (SystemExit, KeyboardInterrupt) as exc:
            raise bearable(exc) from exc
