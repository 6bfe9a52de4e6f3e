"""The topics that one socket is subscribed to, with their permission checks and unsubscribe hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from ... import conf
from ..._groups import losses
from ..._groups.envelopes import Broadcast
from ..._pipeline.plan import Plan
from ..._pipeline.topic_plan import TopicPlan
from ..._routing.topic import SUBSCRIBE, UNSUBSCRIBE
from ..._runtime import database, instrumentation
from ..._runtime.callables import is_from_outside, runs
from ..._runtime.fair_timeout import FairTimeout, wait_fairly
from ..._runtime.supervision import own_task, safe_logger
from ..._wire import problems
from ..._wire.messages import Reply, Request
from ...exceptions import AlreadySubscribed, NotSubscribed, RoutesockError, TooManySubscriptions
from ...typing import UNSET
from ..sending.frame_writer import FrameWriter
from ..state import SocketState
from ..tasks import CANCEL_WAIT, Tasks
from .member import Member, PushBacklog

if TYPE_CHECKING:
    from .follower import Follower

logger: Final = safe_logger("routesock.socket")


class Subscription:
    """One topic of one socket."""

    __slots__ = (
        "_data", "_payload", "consumer", "ending", "established", "follower", "name", "plan", "recheck",
        "subscriptions",
    )  # fmt: skip

    def __init__(self, subscriptions: Subscriptions, name: str, plan: TopicPlan) -> None:
        self._payload = self._data = None
        self.subscriptions = subscriptions
        self.consumer = subscriptions.consumer
        self.name = name
        self.plan = plan
        self.established = False
        """The handler has succeeded."""
        self.ending: asyncio.Task[None] | None = None
        """The task that ends it without an UNSUBSCRIBE of the client."""
        self.recheck = None if plan.check is None else PushRecheck(plan.check, self)
        self.follower: Follower | None = None
        """What resumes the topic, if it has a history."""

    def keep(self, request: Request) -> None:
        """Remember what the handler is about to get, for the hook."""
        if self.plan.hook is not None:
            self._payload, self._data = request.payload, request.data

    def restore(self, request: Request) -> None:
        """Give it to ``request``."""
        request.payload, request.data, request._topic = self._payload, self._data, self.name

    async def leave(self) -> None:
        """Leave the group. From the first step on nothing is delivered."""
        if self.recheck is not None:
            self.recheck.stop()
        if self.follower is not None:
            self.follower.stop()
        await self.subscriptions.member.unsubscribe(self.name)

    def request(self) -> Request:
        """Return a request as if the client subscribed now, for a permission check."""
        request = Request(SUBSCRIBE, None, self.plan.pattern.match(self.name.split(".")), consumer=self.consumer)
        request._topic = self.name
        return request


class PushRecheck:
    """Runs ``check`` before each push of a subscription, or once for all pushes that wait for it.

    Pushes wait from the beginning until :meth:`start`, and are ignored after :meth:`stop`.
    """

    __slots__ = ("_check", "_limit", "_started", "_stopped", "_subscription", "_task", "_waiting")

    def __init__(self, check: Plan, subscription: Subscription) -> None:
        self._check = check
        self._subscription = subscription
        self._limit: int = conf.get("MAX_OUTGOING")
        self._waiting = PushBacklog()
        self._started = False
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def take(self, broadcast: Broadcast) -> None:
        """Write ``broadcast`` once the check allows it. Never raises, and does not wait."""
        if self._stopped:
            return
        if self._waiting.put(broadcast, self._limit):
            self._start_task()
        else:
            self._waiting.drop("permission")

    def skip(self, broadcast: Broadcast) -> None:
        pass

    def start(self) -> None:
        """Check what waits, since the client has subscribed."""
        self._started = True
        self._start_task()

    def stop(self) -> None:
        """Drop what waits, since the subscription has ended."""
        self._stopped = True
        self._waiting.clear()

    def _start_task(self) -> None:
        if self._started and self._waiting and self._task is None:
            self._task = self._subscription.subscriptions.tasks.start_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._check_and_write([self._waiting.take() for _ in range(len(self._waiting))])
        finally:
            self._task = None
            number = self._waiting.dropped.pop("permission", 0)
            if number:
                were = instrumentation.pushes_were(number)
                logger.warning("%s dropped while the permissions of the topic were checked.", were)
                losses.dropped(type(self._subscription.consumer), number, "permission")

    async def _check_and_write(self, broadcasts: list[Broadcast]) -> None:
        if not await self.allows():
            return
        for broadcast in () if self._stopped else broadcasts:
            self._subscription.subscriptions.member.write(broadcast)

    async def allows(self) -> bool:
        """Run the check. If it is an answer about the client, the subscription is ended; else its error is logged."""
        request = self._subscription.request()
        task = asyncio.current_task()
        try:
            async with FairTimeout(self._seconds()):
                await self._check.run(request, ())
        except BaseException as exc:  # a permission may itself raise SystemExit or CancelledError
            if is_from_outside(exc, task):
                raise
            await self._refused(exc, request)
            return False
        return True

    async def _refused(self, exc: BaseException, request: Request) -> None:
        """End the subscription, unless ``exc`` is no answer about the client; then only these pushes are dropped."""
        if self._stopped:
            return
        error = problems.error_of(exc)
        if error is not None and error.status < 500 and error.status != HTTPStatus.TOO_MANY_REQUESTS:
            self.stop()
            await self._subscription.subscriptions.deny(self._subscription, error)
        else:
            what = f"Whether a push of the topic {instrumentation.printable(request.topic)} may be sent"
            instrumentation.internal_error(exc, what, self._subscription.consumer, request=request)

    def _seconds(self) -> float | None:
        seconds: float | None = conf.get("TIMEOUT") if self._check.timeout is UNSET else self._check.timeout
        return seconds


class Subscriptions:
    """All subscriptions of one socket. A hook that no client waits for has ``grace`` seconds."""

    def __init__(
        self, consumer: Any, member: Member, state: SocketState, tasks: Tasks, writer: FrameWriter, grace: float
    ) -> None:
        self._by_name: dict[str, Subscription] = {}
        self._ended = False
        self._grace = grace
        self._limit: int = conf.get("MAX_SUBSCRIPTIONS")
        self._state = state
        self._writer = writer
        self.consumer = consumer
        self.member = member
        self.tasks = tasks

    # Called by the plans of SUBSCRIBE and UNSUBSCRIBE

    async def begin(self, name: str, plan: TopicPlan) -> None:
        await self._wait_until_ended(name)
        if name in self._by_name:
            raise AlreadySubscribed
        if len(self._by_name) >= self._limit:
            raise TooManySubscriptions(limit=self._limit)
        subscription = self._by_name[name] = Subscription(self, name, plan)
        if plan.recover and conf.get("HISTORY"):
            from .follower import follower_of  # most projects need it not

            subscription.follower = follower_of(subscription)

    async def enter(self, request: Request) -> Reply | None:
        assert request.topic is not None
        subscription = self._by_name[request.topic]
        subscription.keep(request)
        if subscription.follower is not None:
            return await subscription.follower.begin(request)
        await self.member.subscribe(subscription.name, subscription.recheck)
        return None

    def follow(self, name: str) -> tuple[Mapping[str, Any], Callable[[], None]] | None:
        follower = self._by_name[name].follower
        return None if follower is None else (follower.headers(), follower.start)

    async def establish(self, name: str) -> None:
        if self._ended:  # a handler that ignored its cancellation
            await self.undo(name)
            return
        subscription = self._by_name[name]
        subscription.established = True
        if subscription.recheck is not None:
            subscription.recheck.start()

    async def undo(self, name: str) -> None:
        subscription = self._by_name.get(name)
        if subscription is not None and subscription.ending is None:  # else its permission was denied as well
            del self._by_name[name]
            await subscription.leave()

    async def unsubscribe(self, request: Request) -> None:
        assert request.topic is not None
        await self._wait_until_ended(request.topic)
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

    async def _wait_until_ended(self, name: str) -> None:
        """Wait until a subscription that is being ended has ended, hook included."""
        subscription = self._by_name.get(name)
        if subscription is not None and subscription.ending is not None:
            await asyncio.wait({subscription.ending})

    # Other ends of a subscription

    async def deny(self, subscription: Subscription, error: RoutesockError) -> None:
        """End ``subscription`` and send the client the reason. Raises only if it is cancelled."""
        subscription.ending = asyncio.current_task()
        try:
            try:
                await subscription.leave()
            finally:
                if runs(subscription.ending):  # else it is thrown away with its loop
                    await self._call_hook(subscription)
            await self._writer.unsubscribed(subscription.name, error)
        finally:
            self._by_name.pop(subscription.name, None)

    def endings(self) -> set[asyncio.Task[None]]:
        """Return the tasks that end a subscription."""
        return {s.ending for s in self._by_name.values() if s.ending is not None}

    async def end(self) -> None:
        """Call every hook, one after the other, since the socket has ended."""
        self._ended = True
        for subscription in [*self._by_name.values()]:
            if subscription.follower is not None:
                subscription.follower.stop()
            if subscription.established and subscription.ending is None:
                await self._call_hook(subscription)
        self._by_name.clear()

    async def _call_hook(self, subscription: Subscription) -> None:
        """Call the hook in a separate task, which is cancelled if it takes too long. Never raises."""
        if subscription.plan.hook is None:
            return
        task = own_task(self._run_hook(subscription))
        waiting = asyncio.current_task()
        try:
            await wait_fairly({task}, CANCEL_WAIT if self._state.grace_over else max(self._grace, CANCEL_WAIT))
        finally:
            if not task.done() and runs(waiting):
                task.cancel()
                await wait_fairly({task}, CANCEL_WAIT)
                if not task.done():
                    logger.error("The unsubscribe hook of a topic does not end when it is cancelled: %r.", task)

    async def _run_hook(self, subscription: Subscription) -> None:
        database.forget_waiting()
        request = Request(UNSUBSCRIBE, consumer=self.consumer)
        subscription.restore(request)
        hook = subscription.plan.hook
        assert hook is not None
        what = f"The unsubscribe hook of the topic {instrumentation.printable(subscription.name)}"
        task = asyncio.current_task()
        try:
            await hook.run(request, ())
        except BaseException as exc:  # the other hooks run, whatever this one raises
            if not is_from_outside(exc, task):
                instrumentation.internal_error(exc, what, self.consumer, request=request)
            elif runs(task):
                logger.error("%s did not end in time.", what, extra=instrumentation.extras(self.consumer, request))  # noqa: TRY400
            else:
                raise
