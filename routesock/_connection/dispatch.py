"""Runs the jobs of one socket and answers each request exactly once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, Final

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from django.utils.module_loading import import_string

from .. import conf
from .._compat import dispatch_in_thread
from .._pipeline.compiler import ConsumerPlan
from .._runtime import database, instrumentation
from .._runtime.callables import runs
from .._wire.frames import OURS, Auth, Cancel, Decision, Of, Ping, Refusal
from .._wire.messages import Reply, Request
from ..auth._login.watcher import LoginWatcher
from ..exceptions import Cancelled, RoutesockError
from ..signals import request_started
from ..typing import UNSET
from .frame_parser import FrameParser
from .membership.member import Member
from .membership.pending import EventJob
from .queue.jobs import InFlight, Job, Progress
from .queue.ordered import OrderedQueue, ParallelQueue, uncancel
from .receive_hook import ReceiveHook, current_job
from .sending.frame_writer import FrameWriter, Replies
from .sending.send_queue import ANSWER, REPLY
from .tasks import Tasks
from .token_refresh import TokenRefresh


class Boundary(ABC):
    """The half of a :class:`~.responder.Responder` that calls the code of ``consumer``."""

    __slots__ = (
        "_compiled", "_consumer", "_end", "_guarded", "_middleware", "_plans", "abandoned", "admit", "connected",
        "in_flight", "intake", "life", "member", "replies",
    )  # fmt: skip
    in_flight: InFlight
    intake: FrameParser
    replies: Replies

    def __init__(self, consumer: Any, compiled: ConsumerPlan, end: Callable[[BaseException | None], None]) -> None:
        self._consumer = consumer
        self._compiled = compiled
        self._guarded = compiled.guarded
        self._plans = compiled.plans_now()
        self._end = end
        self._middleware = tuple(import_string(path) for path in conf.get("MIDDLEWARE"))
        self.connected = False
        """``connect()`` has returned."""
        self.admit: Callable[[], Awaitable[None]] | None = None
        """Called in front of ``connect()``; raises ``StopConsumer`` where there will be none."""
        self.member: Member | None = None
        """Its groups, once it has joined one."""
        self.life = instrumentation.Life(consumer)
        self.abandoned = False
        """The socket is at its end: a cancellation is the connection's, no job's."""

    @abstractmethod
    def waits(self, job: Job) -> None:
        """``job`` waits: from now on it can be cancelled, and its deadline runs."""

    @abstractmethod
    async def at_once(self, decision: Decision) -> bool:
        """Act on a frame that has no place in the order; ``False`` for one that has."""

    async def outcome(self, job: Job) -> Reply | Refusal:
        """What the frame's decision leads to; only a cancellation of ours is raised."""
        job.entered = True
        if type(job.decision) is Refusal:
            return job.decision
        request = job.decision
        assert type(request) is Request
        if job.waited and not job.watched:  # what it asks for was found out on the way
            self.waits(job)
        plan = self._plans[request.route]
        if plan.streams:
            request.emit = partial(self._emit, job)
        if not job.settled:
            request._began = perf_counter()
            if request_started.receivers:
                instrumentation.announce(request)
        try:
            return await plan.run(request, self._middleware)
        except BaseException as exc:  # a handler may raise SystemExit or a CancelledError of its own: 500 as well
            if self._is_ours(job, exc):
                raise
            return self._failure(request, exc)

    async def _emit(self, job: Job, item: Any) -> None:
        """Send one item of a stream. While the client does not read, its generator and its clock stand still."""
        if job.settled:  # and the generator took no notice of its cancellation
            raise asyncio.CancelledError
        assert type(job.decision) is Request
        self.in_flight.pause(job)
        await self.replies.item(job.decision, item)
        job.decision.started = None
        self.in_flight.restart(job)

    async def _consumer_code(self, job: Job) -> None:
        """Hand the message to the consumer as Channels would; a frame of ours comes back through the gate."""
        if job.entered or (job.decision is Of.NOBODY and not self._guarded):
            return
        token = current_job.set(job)
        try:
            if type(job) is EventJob:
                await self._compiled.events[job.occurrence.name].run(job.occurrence.event(), self._consumer)
            else:
                # A copy for a guard: what it writes into the message must show beside what the client sent.
                await self.dispatch({**job.message} if self._guarded else job.message)
        except StopConsumer:
            self._end(None)
        except BaseException as exc:
            if self._is_ours(job, exc):
                raise
            job.outcome = self._code_failed(job, exc)
        else:
            if job.message["type"] == "websocket.connect":
                self.connected = True
                self.life.connected()
                if self.member is not None:
                    self.member.connected()
        finally:
            current_job.reset(token)

    def _code_failed(self, job: Job, exc: BaseException) -> Refusal | None:
        kind = job.message.get("type")
        if kind == "websocket.connect":
            self._end(exc)
            return None
        if type(job.decision) is Request:
            return self._failure(job.decision, exc)
        what = f"The consumer's own code for {instrumentation.printable(kind)}"
        if type(job) is EventJob:
            what = f"The handler of the event {instrumentation.printable(job.occurrence.name)}"
        error = instrumentation.internal_error(exc, what, self._consumer)
        return Refusal(error) if kind == "websocket.receive" else None

    def _failure(self, request: Request, exc: BaseException) -> Refusal:
        return Refusal(instrumentation.error_for(exc, self._consumer, request), request.route, request.id)

    def _is_ours(self, job: Job, exc: BaseException) -> bool:
        """Whether ``exc`` comes from outside the handler: a cancellation of ours, or the end of the whole task."""
        if isinstance(exc, GeneratorExit):
            return not runs(job.task)
        return isinstance(exc, asyncio.CancelledError) and (job.revoked or self.abandoned)

    # The consumer's own dispatch and decode_json

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the consumer's handler of an ASGI or channel-layer message, in the thread that it belongs to."""
        kind = message["type"]
        if not kind.startswith("websocket.") and get_handler_name(message) in self._compiled.handlers:
            raise ValueError(
                f"{kind!r} names the handler of a route or an event, which no channel-layer message may call."
            )
        if kind == "websocket.disconnect":
            self.connected = False  # it runs once, whoever asks for it
        elif kind == "websocket.connect" and self.admit is not None:
            await self.admit()
        if self._compiled.sync and not self._compiled.dispatch:
            await database.in_thread(dispatch_in_thread, self._consumer, message)
        else:
            await self._consumer.dispatch(message)

    async def decode(self, job: Job) -> None:
        """Settle the decision about a frame that only the consumer's own ``decode_json`` can read."""
        text = job.message["text"]
        try:
            decode = self._consumer.decode_json
            content = await (database.in_thread(decode, text) if self._compiled.sync else decode(text))
        except BaseException as exc:
            if self._is_ours(job, exc):
                raise
            job.decision = self.intake.undecodable()
            return
        decision = self.intake.content(content, too_large=self.intake.is_too_large(text))
        if (type(decision) in (Ping, Cancel, Auth) or decision is Of.PONG) and await self.at_once(decision):
            decision = Of.NOBODY
            job.entered = True
        job.decision = decision


_DECODER: Final = Of.DECODER


class Responder(Boundary):
    """Does the jobs of one socket. ``end`` ends it: with an exception for the server, or without."""

    __slots__ = ("_progress", "_timeout", "draining", "lane", "pool", "refreshing", "standing", "tasks")

    def __init__(
        self,
        consumer: Any,
        compiled: ConsumerPlan,
        outgoing: FrameWriter,
        progress: Progress,
        tasks: Tasks,
        end: Callable[[BaseException | None], None],
    ) -> None:
        super().__init__(consumer, compiled, end)
        self._progress = progress
        self.replies = Replies(consumer, compiled.dialect, outgoing, progress)
        self._timeout: float | None = conf.get("TIMEOUT")
        self.tasks = tasks
        self.in_flight = InFlight(self)
        self.intake = FrameParser(consumer, compiled, self.in_flight.ids)
        self.lane = OrderedQueue(self, progress, tasks)
        self.pool: ParallelQueue | None = None
        if compiled.beside:
            limit = conf.get("CONCURRENCY") if compiled.concurrency is UNSET else compiled.concurrency
            self.pool = ParallelQueue(self, progress, tasks, compiled.beside, limit)
        self.draining: RoutesockError | None = None
        """What answers requests that come once :meth:`drain` has begun."""
        self.standing: LoginWatcher | None = None
        """The login behind the socket, where that is followed."""
        self.refreshing: TokenRefresh | None = None
        """What answers AUTH; ``None`` where no frame of that name is one of ours."""
        if compiled.guarded:
            ReceiveHook(consumer, self, sync=compiled.sync)

    def close(self) -> list[Job]:
        """Start nothing more, and give back what waits."""
        dropped = self.lane.close()
        return dropped if self.pool is None else dropped + self.pool.close()

    async def drain(self, error: RoutesockError) -> None:
        """Start nothing more, and wait for what runs; what waits, and what still comes, is answered ``error``."""
        self.draining = error
        for job in self.close():
            await self.in_flight.refuse(job, error)
        while self.running():
            await self._progress.next()

    async def revoke_all(self, error: RoutesockError) -> None:
        """End every request that still runs with ``error``."""
        for job in self.running() | {*self.in_flight.ids.values()}:
            await self.in_flight.revoke(job, error)

    async def expel(self, error: RoutesockError) -> None:
        """End at once, with ``error``, what runs, what waits, and what still comes."""
        self.draining = error
        for job in self.close():
            await self.in_flight.refuse(job, error)
        await self.revoke_all(error)

    def running(self) -> set[Job]:
        """What runs, in the order and beside it."""
        ordered = set() if self.lane.running is None else {self.lane.running}
        return ordered if self.pool is None else ordered | self.pool.running

    def give_up(self, job: Job) -> bool:
        """Write ``job``, which runs, off if its route ends with its client; ``False``: it has a grace to end."""
        if type(job.decision) is Request:
            route = self._plans[job.decision.route].route
            if route.streams or route.cancel_on_disconnect:
                job.settled = job.revoked = True
                self.in_flight.forget(job)
                self.write_off(job)
                return True
        return False

    def write_off(self, job: Job) -> None:
        """There will be no reply to ``job`` any more, if it is a request that has none yet."""
        if type(job.decision) is Request:
            instrumentation.finished(job.decision, None)

    # What the lane asks

    async def run(self, job: Job) -> None:
        try:
            if job.decision is _DECODER:
                await self.decode(job)
            if self._guarded or type(job.decision) not in OURS:
                await self._consumer_code(job)
            else:
                job.outcome = await self.outcome(job)
            job.over = True
            if job.task.cancelling() and not job.revoked and not self.abandoned:
                await _absorb_cancellation(job.task)
            if job.waited or self.in_flight.ids:
                self.forget(job)
            await self.answer(job)
        except asyncio.CancelledError:
            # Not ours to pass on: a job that was revoked, or a handler that had its own task cancelled a little later.
            self.forget(job)
            if self.abandoned:
                raise
            uncancel(job.task)
        else:
            if job.revoked:  # and the handler took no notice
                uncancel(job.task)

    async def answer(self, job: Job) -> None:
        """Send the outcome of ``job``, once."""
        if job.settled or job.outcome is None:
            return
        job.settled = True
        kind = ANSWER if job.task is self._progress.task else REPLY
        if isinstance(job.outcome, Refusal):
            await self.replies.refuse(job.outcome, job.decision if type(job.decision) is Request else None, kind)
        elif type(job.decision) is Request:
            await self.replies.reply(job.decision, job.outcome, kind)

    def queued(self, job: Job) -> None:
        self.in_flight.add(job)

    def waits(self, job: Job) -> None:
        if type(job.decision) is not Request or job.over:
            return
        timeout = self._plans[job.decision.route].timeout_of(job.decision)
        if timeout is UNSET:
            timeout = self._timeout
        if job.decision.timeout is not None:  # a client may have less patience, never more
            timeout = job.decision.timeout if timeout is None else min(timeout, job.decision.timeout)
        self.in_flight.watch(job, timeout)

    # What a reader asks

    async def at_once(self, decision: Decision) -> bool:
        """Act on a frame that has no place in the order; ``False`` for one that has."""
        if isinstance(decision, Refusal) and not self._guarded:
            await self.replies.refuse(decision)
        elif isinstance(decision, Ping):
            await self.replies.pong(decision)
        elif isinstance(decision, Cancel):
            await self.in_flight.revoke(self.in_flight.ids.get(decision.id), Cancelled())
        elif isinstance(decision, Auth) and self.refreshing is not None:
            _ = self.tasks.start_apart(self.refreshing.answer(decision))
        else:
            return decision is Of.PONG or (decision is Of.NOBODY and not self._guarded)
        return True

    def forget(self, job: Job) -> None:
        self.in_flight.forget(job)

    async def refuse(self, refusal: Refusal, request: Request) -> None:
        await self.replies.refuse(refusal, request)

    def drop(self, job: Job) -> bool:
        return self.lane.drop(job) or (self.pool is not None and self.pool.drop(job))


async def _absorb_cancellation(task: asyncio.Task[Any]) -> None:
    """A handler cancelled its own task and returned: the cancellation must not meet whatever the task does next."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    uncancel(task)
