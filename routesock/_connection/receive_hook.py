"""Replaces ``receive`` on consumers with their own ``dispatch`` or ``websocket_receive``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from asgiref.sync import async_to_sync

from .._runtime.supervision import safe_logger
from .._wire.frames import ANSWERED, Auth, Cancel, Decision, Ping, Refusal, Unanswered
from .._wire.messages import Request
from ..exceptions import ParseError
from .queue.jobs import DONE, PENDING, RUNNING, WAITING, Job
from .tasks import uncancel

if TYPE_CHECKING:
    from .dispatch import Dispatcher

logger: Final = safe_logger("routesock.socket")

current_job: Final[ContextVar[Job | None]] = ContextVar("routesock_job", default=None)
"""The job whose message the consumer's own code is handling."""


_passing: Final[WeakSet[type]] = WeakSet()
"""The classes whose own code has passed on a frame, or about which a warning has been logged."""


class ReceiveHook:
    """Replaces ``receive`` on a consumer that has its own ``dispatch`` or ``websocket_receive``.

    Channels' ``websocket_receive`` calls it with each frame that the consumer's own code passes on. A routed frame is
    answered; every other one goes on to the ``receive`` of the consumer or its class.
    """

    def __init__(self, consumer: Any, dispatcher: Dispatcher, *, sync: bool, overrides: Container[str] = ()) -> None:
        self._consumer = consumer
        self._sync = sync
        self._overrides = overrides
        self._has_passed = False
        self._dispatcher = dispatcher
        self._own: Callable[..., Any] | None = vars(consumer).get("receive")  # as __init__ may have set it
        self._installed = consumer.receive = self._receive_in_thread if sync else self._receive

    def remove(self) -> None:
        """Give the consumer its own ``receive`` back."""
        if vars(self._consumer).get("receive") is self._installed:
            del self._consumer.receive
            if self._own is not None:
                self._consumer.receive = self._own
        del self._installed

    async def _receive(self, *args: Any, **kwargs: Any) -> None:
        self._note_passed()
        job = self._current_job(*args, **kwargs)
        if job is not None and await self._handle(job, *args, **kwargs):
            return
        try:
            await self._original()(*args, **kwargs)
        except BaseException as exc:
            self._note_refused(job, exc)
            raise
        if job is not None and job.handled:
            await self._refuse(job)

    def _receive_in_thread(self, *args: Any, **kwargs: Any) -> None:
        self._note_passed()
        job = self._current_job(*args, **kwargs)
        if job is not None and async_to_sync(self._handle)(job, *args, **kwargs):
            return
        try:
            self._original()(*args, **kwargs)
        except BaseException as exc:
            self._note_refused(job, exc)
            raise
        if job is not None and job.handled:
            async_to_sync(self._refuse)(job)

    def _note_passed(self) -> None:
        if not self._has_passed:
            self._has_passed = True
            _passing.add(type(self._consumer))

    @staticmethod
    def _note_refused(job: Job | None, exc: BaseException) -> None:
        """Note that ``exc`` comes from a frame that is refused, so that it need not be logged."""
        if job is not None and type(job.decision) is Refusal:
            job.refused = exc

    async def _refuse(self, job: Job) -> None:
        """Answer a frame that is no JSON, and for which Channels' ``receive`` has not raised anything."""
        job.result = job.decision if type(job.decision) is Refusal else None
        await self._answer_late(job)

    async def _answer_late(self, job: Job) -> None:
        """Answer ``job`` if it was passed on from another task, and the consumer's own code has ended."""
        if job.stage is DONE and job.reply is PENDING and job.result is not None:
            await self._dispatcher.answer(job)

    def warn_of_unreachable_route(self, request: Request) -> None:
        """Log, once for each class, that its own code has passed on neither ``request`` nor any frame before."""
        cls = type(self._consumer)
        if cls in _passing:
            return
        _passing.add(cls)
        override = "websocket_receive" if "websocket_receive" in self._overrides else "dispatch"
        base = "await super()" if not self._sync else "super()"
        logger.warning(
            "%s.%s did not pass on a request of the route %r, so the route cannot be reached. "
            "Call `%s.%s(message)` in it for each frame that it does not handle itself.",
            cls.__name__, override, request.route, base, override,
        )  # fmt: skip

    def _original(self) -> Callable[..., Any]:
        """Return the ``receive`` that this one replaces. The class is looked at now, since it may be patched."""
        return partial(type(self._consumer).receive, self._consumer) if self._own is None else self._own

    def _current_job(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> Job | None:
        """Return the job that the consumer's code handles; ``None`` without one, and for an unchanged foreign frame."""
        job = current_job.get()
        if job is None or job.decision is None:
            return None
        if job.decision is Unanswered.FOREIGN and text_data == job.message.get("text"):
            return None
        return job

    async def _handle(self, job: Job, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> bool:
        """Act on the frame that was passed on; ``False`` if it is foreign."""
        if self._dispatcher.has_given_up(job):  # a thread passes it on, which could not be cancelled
            raise asyncio.CancelledError
        if job.handled or text_data != job.message.get("text"):
            return await self._handle_new(job, {"type": job.message["type"], "text": text_data, "bytes": bytes_data})
        job.handled = True
        if type(job.decision) is Refusal and isinstance(job.decision.error, ParseError):
            return False  # Channels raises inside the consumer's own code, which may handle that
        if type(job.decision) in ANSWERED:
            job.context = copy_context()
            if type(job.decision) is Request:
                job.decision._context = job.context
            job.result = await self._dispatcher.result_of(job)
            await self._answer_late(job)
        return True

    async def _handle_new(self, job: Job, message: dict[str, Any]) -> bool:
        """Act on a frame that the consumer has decrypted, unpacked or split, as if the client had sent it."""
        dispatcher = self._dispatcher
        job.handled = True
        dispatcher.forget(job)
        job.decision = Unanswered.IGNORED  # the new frame can be cancelled and has a deadline in its place
        task = asyncio.current_task()
        assert task is not None
        decided = dispatcher.parser.frame(message)
        if isinstance(decided, list):
            passed_on = [await self._handle_decided(job, part, decision, task) for part, decision in decided]
            return any(passed_on)
        return await self._handle_decided(job, message, decided, task)

    async def _handle_decided(
        self, job: Job, message: dict[str, Any], decision: Decision, task: asyncio.Task[Any]
    ) -> bool:
        dispatcher = self._dispatcher
        inner = Job(job.source, message, decision, task)
        inner.advance(RUNNING)
        inner.advance(WAITING)
        if inner.decision is Unanswered.UNDECODED:
            await dispatcher.decode(inner)
        if isinstance(inner.decision, Ping | Cancel | Auth):
            await dispatcher.act(inner.decision)
        elif type(inner.decision) in ANSWERED:
            await self._run(inner, task)
        return inner.decision is not Unanswered.FOREIGN

    async def _run(self, job: Job, task: asyncio.Task[Any]) -> None:
        cancelled = False
        try:
            try:
                job.result = await self._dispatcher.result_of(job)
            finally:
                cancelled = job.reply is not PENDING
                job.advance(DONE)
            if job.reply is PENDING:
                await self._dispatcher.answer(job)
        except asyncio.CancelledError:
            if not cancelled:
                self._dispatcher.drop(job)
                raise
            uncancel(task)
        finally:
            self._dispatcher.forget(job)
