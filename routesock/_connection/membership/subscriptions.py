"""What one socket is subscribed to: the groups that follow from it, and the hooks that are called at its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from ... import conf
from ..._pipeline.topic_plan import TopicPlan
from ..._routing.topic import SUBSCRIBE, UNSUBSCRIBE
from ..._runtime import database, instrumentation
from ..._runtime.callables import is_from_outside, runs
from ..._wire.messages import Request
from ...exceptions import AlreadySubscribed, NotSubscribed, RoutesockError, TooManySubscriptions
from ..sending.frame_writer import Replies
from ..tasks import CANCEL_WAIT, Tasks
from .member import Member
from .pending import PushRecheck

logger: Final = logging.getLogger("routesock.socket")


class Subscription:
    """One topic of one socket."""

    __slots__ = ("_data", "_owner", "_payload", "consumer", "ending", "gate", "name", "plan", "there")

    def __init__(self, owner: Subscriptions, name: str, plan: TopicPlan) -> None:
        self._owner = owner
        self._payload = self._data = None
        self.consumer = owner.consumer
        self.name = name
        self.plan = plan
        self.there = False
        """The handler has succeeded."""
        self.ending: asyncio.Task[None] | None = None
        """Who ends it, though the client did not ask for that."""
        self.gate = None if plan.check is None else PushRecheck(plan.check, self, owner.member.write)

    def keep(self, request: Request) -> None:
        """Remember what the handler is about to get, for the hook."""
        if self.plan.hook is not None:
            self._payload, self._data = request.payload, request.data

    def restore(self, request: Request) -> None:
        """Give it to ``request``."""
        request.payload, request.data, request._topic = self._payload, self._data, self.name

    async def leave(self) -> None:
        if self.gate is not None:
            self.gate.shut()
        await self._owner.member.unsubscribe(self.name)

    # What its gate asks

    def request(self) -> Request:
        request = Request(SUBSCRIBE, None, self.plan.pattern.match(self.name.split(".")), consumer=self.consumer)
        request._topic = self.name
        return request

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._owner.tasks.start_apart(coroutine)

    async def deny(self, error: RoutesockError) -> None:
        await self._owner.deny(self, error)


class Subscriptions:
    """All subscriptions of the socket of ``consumer``; a hook has ``grace`` seconds where no client waits for it."""

    def __init__(self, consumer: Any, member: Member, tasks: Tasks, replies: Replies, grace: float) -> None:
        self._by_name: dict[str, Subscription] = {}
        self._grace = grace
        self._most: int = conf.get("MAX_SUBSCRIPTIONS")
        self._over = False
        self._replies = replies
        self.consumer = consumer
        self.member = member
        self.tasks = tasks

    # What a SUBSCRIBE and an UNSUBSCRIBE ask

    async def begin(self, name: str, plan: TopicPlan) -> None:
        await self._settled(name)
        if name in self._by_name:
            raise AlreadySubscribed
        if len(self._by_name) >= self._most:
            raise TooManySubscriptions(limit=self._most)
        self._by_name[name] = Subscription(self, name, plan)

    async def enter(self, request: Request) -> None:
        assert request.topic is not None
        subscription = self._by_name[request.topic]
        subscription.keep(request)
        await self.member.subscribe(subscription.name, subscription.gate)

    async def establish(self, name: str) -> None:
        if self._over:  # a handler that took no notice of the socket's end
            await self.abandon(name)
            return
        subscription = self._by_name[name]
        subscription.there = True
        if subscription.gate is not None:
            subscription.gate.open()

    async def abandon(self, name: str) -> None:
        subscription = self._by_name.get(name)
        if subscription is not None and subscription.ending is None:  # else its permission is gone, too
            del self._by_name[name]
            await subscription.leave()

    async def unsubscribe(self, request: Request) -> None:
        assert request.topic is not None
        await self._settled(request.topic)
        subscription = self._by_name.pop(request.topic, None)
        if subscription is None:
            raise NotSubscribed
        hook = subscription.plan.hook
        try:
            await subscription.leave()
        except asyncio.CancelledError:  # with its first step the socket has left
            await self._call_hook(subscription)
            raise
        if hook is not None:
            subscription.restore(request)
            await hook.run(request, ())

    async def _settled(self, name: str) -> None:
        """Wait until a subscription that is being ended has ended, hook included."""
        subscription = self._by_name.get(name)
        if subscription is not None and subscription.ending is not None:
            await asyncio.wait({subscription.ending})

    # What ends them otherwise

    async def deny(self, subscription: Subscription, error: RoutesockError) -> None:
        """End it, and tell the client why. Raises nothing but a cancellation."""
        subscription.ending = asyncio.current_task()
        try:
            try:
                await subscription.leave()
            finally:
                if runs(subscription.ending):  # else it is thrown away with its loop
                    await self._call_hook(subscription)
            await self._replies.unsubscribed(subscription.name, error)
        finally:
            del self._by_name[subscription.name]

    def endings(self) -> set[asyncio.Task[None]]:
        """The tasks that end one."""
        return {s.ending for s in self._by_name.values() if s.ending is not None}

    async def end(self) -> None:
        """The socket has ended: call every hook, one after the other."""
        self._over = True
        for subscription in [*self._by_name.values()]:
            if subscription.there and subscription.ending is None:
                await self._call_hook(subscription)

    async def _call_hook(self, subscription: Subscription) -> None:
        """In a task of its own, which is cancelled if it takes too long. Raises nothing."""
        if subscription.plan.hook is None:
            return
        task = asyncio.get_running_loop().create_task(self._hooked(subscription))
        waiting = asyncio.current_task()
        try:
            await asyncio.wait({task}, timeout=CANCEL_WAIT if self.tasks.hurried else max(self._grace, CANCEL_WAIT))
        finally:
            if not task.done() and runs(waiting):
                task.cancel()
                await asyncio.wait({task}, timeout=CANCEL_WAIT)
                if not task.done():
                    logger.error("The unsubscribe hook of a topic does not end when it is cancelled: %r.", task)

    async def _hooked(self, subscription: Subscription) -> None:
        database.forget_waiting()
        request = Request(UNSUBSCRIBE, consumer=self.consumer)
        subscription.restore(request)
        hook = subscription.plan.hook
        assert hook is not None
        what = f"The unsubscribe hook of the topic {instrumentation.printable(subscription.name)}"
        task = asyncio.current_task()
        try:
            await hook.run(request, ())
        except BaseException as exc:  # the hooks behind it run, whatever this one raises
            if not is_from_outside(exc, task):
                instrumentation.internal_error(exc, what, self.consumer, request=request)
            elif runs(task):
                logger.error("%s did not end in time.", what, extra=instrumentation.extras(self.consumer, request))  # noqa: TRY400
            else:
                raise
