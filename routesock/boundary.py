"""The error boundary of one socket: what its requests and messages lead to, whatever the code behind them raises."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any, Final

from channels.consumer import SyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from django.utils.module_loading import import_string

from . import conf, db, faults, observing
from .guard import current
from .inflight import InFlight
from .intake import Auth, Cancel, Decision, Intake, Of, Ping, Refusal
from .jobs import Job
from .member import Member
from .messages import Reply, Request
from .occurrences import EventJob
from .overrides import Compiled
from .replies import Replies
from .running import runs
from .signals import request_started

_dispatch_in_thread: Final = vars(SyncConsumer)["dispatch"].func


class Boundary(ABC):
    """The half of a :class:`~.responder.Responder` that calls the code of ``consumer``."""

    __slots__ = (
        "_compiled", "_consumer", "_end", "_guarded", "_middleware", "_plans", "abandoned", "admit", "connected",
        "in_flight", "intake", "life", "member", "replies",
    )  # fmt: skip
    in_flight: InFlight
    intake: Intake
    replies: Replies

    def __init__(self, consumer: Any, compiled: Compiled, end: Callable[[BaseException | None], None]) -> None:
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
        self.life = observing.Life(consumer)
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
                observing.announce(request)
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
        token = current.set(job)
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
            current.reset(token)

    def _code_failed(self, job: Job, exc: BaseException) -> Refusal | None:
        kind = job.message.get("type")
        if kind == "websocket.connect":
            self._end(exc)
            return None
        if type(job.decision) is Request:
            return self._failure(job.decision, exc)
        what = f"The consumer's own code for {faults.printable(kind)}"
        if type(job) is EventJob:
            what = f"The handler of the event {faults.printable(job.occurrence.name)}"
        error = faults.internal_error(exc, what, self._consumer)
        return Refusal(error) if kind == "websocket.receive" else None

    def _failure(self, request: Request, exc: BaseException) -> Refusal:
        return Refusal(faults.error_for(exc, self._consumer, request), request.route, request.id)

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
            await db.in_thread(_dispatch_in_thread, self._consumer, message)
        else:
            await self._consumer.dispatch(message)

    async def decode(self, job: Job) -> None:
        """Settle the decision about a frame that only the consumer's own ``decode_json`` can read."""
        text = job.message["text"]
        try:
            decode = self._consumer.decode_json
            content = await (db.in_thread(decode, text) if self._compiled.sync else decode(text))
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
