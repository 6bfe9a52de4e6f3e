"""Runs the jobs of one socket and answers each request exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from time import perf_counter
from typing import Any, Final

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from django.utils.module_loading import import_string

from .. import conf
from .._compat import dispatch_in_thread, set_waiting_caller, waiting_caller
from .._groups.envelopes import EventMessage
from .._pipeline.compiler import ConsumerPlan
from .._pipeline.plan import Plan, RequestPlan
from .._runtime import counters, database, instrumentation
from .._runtime.callables import runs
from .._wire.frames import ANSWERED, Answer, Auth, Cancel, Decision, Ping, Refusal, Unanswered
from .._wire.messages import Reply, Request, RequestId
from ..exceptions import Cancelled, DeadlineExceeded, InvalidEnvelope, RoutesockError
from ..signals import request_started
from ..typing import UNSET
from .frame_parser import FrameParser
from .queue.jobs import DONE, PENDING, QUEUED, RUNNING, WAITING, EventJob, Job, ReplyStatus
from .receive_hook import ReceiveHook, current_job
from .sending.frame_writer import FrameWriter
from .sending.send_queue import ANSWER, REPLY
from .state import SocketState, asks_of
from .tasks import T, Tasks, in_context, uncancel
from .token_refresh import TokenRefresh

_UNDECODED: Final = Unanswered.UNDECODED

_SENT: Final = ReplyStatus.SENT


class Dispatcher:
    """Runs jobs through the routes of a class and through the code of its ``consumer``.

    Args:
        refresh: Answers AUTH; ``None`` where no frame of that name is routesock's.
        admit: Called before ``connect()``; raises ``StopConsumer`` where that is not to be called.
        connected: Called when ``connect()`` has returned.
        stop: Called to end the socket: with an exception for the server, or with ``None`` for ``StopConsumer``.
    """

    __slots__ = (
        "_admit", "_compiled", "_connected", "_consumer", "_hook", "_middleware", "_own_dispatch", "_plans", "_refresh",
        "_state", "_stop", "_tasks", "_timeout", "_waiting_caller", "in_flight", "parser", "writer",
    )  # fmt: skip

    def __init__(
        self,
        consumer: Any,
        compiled: ConsumerPlan,
        writer: FrameWriter,
        state: SocketState,
        tasks: Tasks,
        *,
        refresh: TokenRefresh | None,
        admit: Callable[[], Awaitable[None]] | None,
        connected: Callable[[], None],
        stop: Callable[[BaseException | None], None],
    ) -> None:
        self._consumer = consumer
        self._compiled = compiled
        self._own_dispatch = compiled.overrides_dispatch
        self._plans = compiled.current_plans()
        self._middleware = tuple(import_string(path) for path in conf.get("MIDDLEWARE"))
        self._timeout: float | None = conf.get("TIMEOUT")
        self._waiting_caller = tasks.context.run(waiting_caller)
        self._state = state
        self._tasks = tasks
        self._refresh = refresh
        self._admit = admit
        self._connected = connected
        self._stop = stop
        self.writer = writer
        self.in_flight: dict[RequestId, Job] = {}
        """The requests that can be cancelled, by their ids."""
        self.parser = FrameParser(consumer, compiled, self.in_flight)
        self._hook: ReceiveHook | None = None
        if compiled.overrides_dispatch:
            self._hook = ReceiveHook(consumer, self, sync=compiled.sync, overrides=compiled.overrides)

    def close(self) -> None:
        """Leave the consumer as it was, since nothing runs any longer."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    # Called by the queues

    async def run(self, job: Job) -> None:
        """Run ``job`` and answer it. Raises only the cancellation at the end of the socket."""
        if job.stage is QUEUED:  # else it runs in parallel, and waits from the beginning
            job.stage = RUNNING
        request = job.decision
        try:
            if type(request) is Request and not self._own_dispatch:  # as result_of() does, without another coroutine
                plan = self._prepare(job, request)
                try:
                    if isinstance(plan, Plan) and plan.calls is not None and not self._middleware:
                        plan.refresh()  # this is plan.run(), without another coroutine
                        value: Any = None
                        for call, awaited in plan.calls:
                            value = call(request, value)
                            if awaited:
                                value = await value
                        job.result = value
                    else:
                        job.result = await plan.run(request, self._middleware)
                        job.context = getattr(request, "_context", None)
                except BaseException as exc:
                    job.result = self._handler_failure(job, request, exc)
            else:
                await self._run_other(job)
            cancelled = job.reply is not PENDING
            job.stage = DONE
            if not cancelled and job.task.cancelling() and not self._state.ends_jobs:
                await _absorb_cancellation(job.task)
            if self.in_flight or job.timer is not None:
                self.forget(job)
            if job.result is not None and job.reply is PENDING:
                await self.answer(job)
        except asyncio.CancelledError:
            # Its request was cancelled, or the handler had its own task cancelled a little later.
            set_waiting_caller(self._waiting_caller)
            self.forget(job)
            if self._state.ends_jobs:
                raise
            uncancel(job.task)
        else:
            if cancelled:  # and the handler ignored that
                set_waiting_caller(self._waiting_caller)
                uncancel(job.task)

    async def _run_other(self, job: Job) -> None:
        if job.decision is _UNDECODED:
            await self.decode(job)
        if self._own_dispatch or type(job.decision) not in ANSWERED:
            await self._run_consumer_code(job)
        else:
            job.result = await self.result_of(job)

    def add(self, job: Job) -> None:
        """Let a CANCEL find ``job``. Its id is taken from now on."""
        if type(job.decision) is Request and job.decision.id is not None:
            self.in_flight[job.decision.id] = job

    def started_waiting(self, job: Job) -> None:
        """Let ``job`` be cancelled and start its deadline, before anything else can happen on the socket."""
        if type(job.decision) is not Request:
            return
        timeout = self._plans[job.decision.route].timeout_of(job.decision)
        if timeout is UNSET:
            timeout = self._timeout
        if job.decision.timeout is not None:  # a client may ask for a shorter deadline, but not for a longer one
            timeout = job.decision.timeout if timeout is None else min(timeout, job.decision.timeout)
        self.add(job)
        job.start_timer(timeout, self._expired)

    # Requests

    async def result_of(self, job: Job) -> Reply | Refusal:
        """Return what to answer to the frame of ``job``. Raises only a cancellation by routesock."""
        request = job.decision
        if type(request) is Refusal:
            return request
        assert type(request) is Request
        plan = self._prepare(job, request)
        try:
            result: Reply | Refusal = await plan.run(request, self._middleware)
        except BaseException as exc:
            result = self._handler_failure(job, request, exc)
        job.context = getattr(request, "_context", None)
        return result

    def _prepare(self, job: Job, request: Request) -> RequestPlan:
        if job.stage is WAITING and job.timer is None and job.reply is PENDING:  # what the frame asks for is known now
            self.started_waiting(job)
        plan = self._plans[request.route]
        if plan.streams:
            request.emit = partial(self._emit, job)
        if job.reply is PENDING:
            request._began = perf_counter()
            if request_started.receivers:
                instrumentation.announce(request)
        return plan

    def _handler_failure(self, job: Job, request: Request, exc: BaseException) -> Refusal:
        """Return the answer to ``exc``, which is being handled; re-raise what does not come from the handler."""
        if self._is_from_outside(job, exc):  # a handler may raise SystemExit or a CancelledError itself: a 500 as well
            raise exc
        job.context = getattr(request, "_context", None)
        return self._failure(request, exc)

    async def _emit(self, job: Job, item: Any) -> None:
        """Send one item of a stream. While the client does not read, its generator and its deadline stand still."""
        if job.reply is not PENDING:  # and the generator ignored its cancellation
            raise asyncio.CancelledError
        assert type(job.decision) is Request
        job.stop_timer()
        await self.writer.item(job.decision, item)
        job.decision.started = None
        job.restart_timer(self._expired)

    def answer(self, job: Job) -> Awaitable[None]:
        """Send the result of ``job``, whose reply must be pending."""
        job.reply = _SENT
        if job.context is not None:
            context, job.context = job.context, None
            answering = in_context(self._copy_of(context), partial(self.answer, job))
            if type(job.decision) is Request and hasattr(job.decision, "_replied"):
                return _answer_and_go_on(answering, job.decision)
            return answering
        result = job.result
        request = job.decision if type(job.decision) is Request else None
        kind = ANSWER if job.task is self._state.current_task else REPLY
        if isinstance(result, Refusal):
            return self.writer.refuse(result, request, kind)
        if request is None or result is None:
            return _nothing()
        return self.writer.reply(request, result, kind)

    def forget(self, job: Job) -> None:
        """Stop the deadline of ``job``. Its id may be used again."""
        job.stop_timer()
        if type(job.decision) is Request and self.in_flight.get(job.decision.id) is job:
            del self.in_flight[job.decision.id]

    async def cancel(self, job: Job | None, error: RoutesockError) -> None:
        """Answer a queued or running request with ``error`` and cancel it. One that is done is left alone."""
        if job is None or job.reply is not PENDING or job.stage is DONE or type(job.decision) is not Request:
            return
        if job.queue is not None:
            job.queue.remove(job)
        else:
            job.decision._revoked = True
            job.task.cancel()
        await self.refuse(job, error)

    async def refuse(self, job: Job, error: RoutesockError) -> None:
        """Answer ``job``, which is in no queue, with ``error``, if it is a request."""
        if type(job.decision) is Request:
            job.decide(_SENT)
            self.forget(job)
            if hasattr(job.decision, "_claim") and (writing := job.decision._claim.cut_off()) is not None:
                await writing  # so that it is known when the client sends the request again
            refuse = partial(self.writer.refuse, Refusal(error, job.decision.route, job.decision.id), job.decision)
            if hasattr(job.decision, "_context"):
                await in_context(self._copy_of(job.decision._context), refuse)
            else:
                await refuse()

    def _copy_of(self, context: Context) -> Context:
        """Return a copy of ``context``, in which a request ran, to answer the request in."""
        copied = context.copy()
        if self._compiled.sync and self._own_dispatch:  # the thread that has passed the frame on waits no longer
            copied.run(set_waiting_caller, None)
        return copied

    def drop_at_disconnect(self, job: Job) -> bool:
        """Drop the reply of a running ``job`` whose route ends with its client; ``False``: it has a grace period."""
        if type(job.decision) is Request:
            route = self._plans[job.decision.route].route
            if route.streams or route.cancel_on_disconnect:
                self.forget(job)
                self.drop(job)
                return True
        return False

    def drop(self, job: Job) -> None:
        """Note that ``job`` gets no reply any longer, if it is a request without one."""
        if job.reply is PENDING:
            job.reply = ReplyStatus.DROPPED
        if type(job.decision) is Request:
            _in_context_of(job.decision, instrumentation.finished, job.decision, None)

    def _expired(self, job: Job) -> None:
        self._tasks.start(self.cancel(job, DeadlineExceeded()))

    # The consumer's own code

    async def _run_consumer_code(self, job: Job) -> None:
        """Hand the message to the consumer as Channels would. A routed frame comes back through the receive hook."""
        if job.handled or (job.decision is Unanswered.IGNORED and not self._own_dispatch):
            return
        token = current_job.set(job)
        try:
            if type(job) is EventJob:
                await self._run_event(job.event)
            else:
                # A copy for an own dispatch: what it writes into the message must show beside what the client sent.
                await self.dispatch({**job.message} if self._own_dispatch else job.message)
        except StopConsumer:
            self._stop(None)
        except BaseException as exc:
            if self._is_from_outside(job, exc):
                raise
            job.result = self._consumer_failure(job, exc)
        else:
            if job.message["type"] == "websocket.connect":
                self._connected()
        finally:
            with suppress(ValueError):  # in another context, where the coroutine is thrown away with its loop
                current_job.reset(token)
            job.refused = None
        if self._hook is not None and type(job.decision) is Request and not job.handled and job.result is None:
            self._hook.warn_of_unreachable_route(job.decision)

    async def _run_event(self, event: EventMessage) -> None:
        try:
            await self._compiled.events[event.name].run(event.event(), self._consumer)
        except Exception:
            if self.writer.completes:
                await self.writer.after_event(event.name)
            raise
        if self.writer.completes:
            await self.writer.after_event(event.name)

    def _consumer_failure(self, job: Job, exc: BaseException) -> Refusal | None:
        kind = job.message.get("type")
        if kind == "websocket.connect":
            self._stop(exc)
            return None
        if type(job.decision) is Request:
            return self._failure(job.decision, exc)
        if job.refused is exc:  # Channels raised it for a frame that is refused anyway, and the consumer let it out
            assert isinstance(job.decision, Refusal)
            return job.decision
        if self._compiled.closes_on_foreign_errors and type(job) is not EventJob:
            self._stop(exc)
            return None
        what = f"The consumer's own code for {instrumentation.printable(kind)}"
        if type(job) is EventJob:
            what = f"The handler of the event {instrumentation.printable(job.event.name)}"
        error = instrumentation.internal_error(exc, what, self._consumer)
        return Refusal(error) if kind == "websocket.receive" else None

    def _failure(self, request: Request, exc: BaseException) -> Refusal:
        error = _in_context_of(request, instrumentation.error_for, exc, self._consumer, request)
        return Refusal(error, request.route, request.id)

    def _is_from_outside(self, job: Job, exc: BaseException) -> bool:
        """Whether ``exc`` does not come from the handler: a cancellation by routesock, or the end of the whole task."""
        if isinstance(exc, GeneratorExit):
            return not runs(job.task)
        return isinstance(exc, asyncio.CancelledError) and self.has_given_up(job)

    def has_given_up(self, job: Job) -> bool:
        """Whether the code of ``job`` has been cancelled, alone or with its socket, and may still run."""
        return job.is_cancelled or self._state.ends_jobs

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the consumer's handler of an ASGI or channel-layer message, in the thread that it belongs to."""
        kind = message["type"]
        if not kind.startswith("websocket.") and get_handler_name(message) in self._compiled.handlers:
            raise ValueError(
                f"{kind!r} names the handler of a route or an event, which no channel-layer message may call."
            )
        if kind == "websocket.disconnect":
            self._state.disconnected = True
        elif kind == "websocket.connect" and self._admit is not None:
            await self._admit()
        if self._compiled.sync and not self._compiled.dispatch:
            await database.in_thread(dispatch_in_thread, self._consumer, message)
        else:
            await self._consumer.dispatch(message)

    async def decode(self, job: Job) -> None:
        """Decide about a frame that only the consumer's own ``decode_json`` can read."""
        text = job.message["text"]
        try:
            decode = self._consumer.decode_json
            content = await (database.in_thread(decode, text) if self._compiled.sync else decode(text))
        except BaseException as exc:
            if self._is_from_outside(job, exc):
                raise
            job.decision = self.parser.undecodable()
            return
        decision = self.parser.content(content, too_large=self.parser.is_too_large(text))
        if isinstance(decision, list):  # its frames have one place in the order
            decision = Refusal(InvalidEnvelope("A frame holds one request here, since its decode_json waits."))
        if type(decision) in (Ping, Cancel, Answer, Auth) or decision is Unanswered.PONG:
            await self.act(decision)
            decision = Unanswered.IGNORED
            job.handled = True
        job.decision = decision

    # Frames that are not queued

    def acts_at_once(self, decision: Decision) -> bool:
        """Whether :meth:`act` handles ``decision`` ahead of the queues."""
        if isinstance(decision, Refusal):
            return not self._own_dispatch
        if decision is Unanswered.IGNORED:
            return not self._own_dispatch
        return isinstance(decision, Ping | Cancel | Answer | Auth) or decision is Unanswered.PONG

    async def act(self, decision: Decision) -> None:
        """Act on a control frame, a refused or an ignored one."""
        if isinstance(decision, Refusal):
            await self.writer.refuse(decision)
        elif isinstance(decision, Ping):
            await self.writer.pong(decision.request)
        elif isinstance(decision, Cancel):
            await self.cancel(self.in_flight.get(decision.id), Cancelled())
        elif isinstance(decision, Answer):
            asks = asks_of(self._consumer)
            if asks is None or not asks.take(decision):
                counters.count_dropped_answer()
        elif isinstance(decision, Auth):
            assert self._refresh is not None
            await self._refresh.answer(decision)


def _in_context_of(request: Request, function: Callable[..., T], *args: Any) -> T:
    """Return ``function(*args)``, called inside of the middleware of ``request``, if there is any."""
    if hasattr(request, "_context"):
        return request._context.copy().run(function, *args)
    return function(*args)


async def _answer_and_go_on(answering: Awaitable[None], request: Request) -> None:
    await answering
    request._replied()


async def _nothing() -> None:
    """Do nothing."""


async def _absorb_cancellation(task: asyncio.Task[Any]) -> None:
    """Take back the cancellation of a handler that cancelled its own task and returned."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    uncancel(task)
