"""Replaces ``receive`` on consumers with their own ``dispatch`` or ``websocket_receive``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import async_to_sync

from .._wire.frames import ANSWERED, Auth, Cancel, Ping, Unanswered
from .queue.jobs import DONE, PENDING, RUNNING, WAITING, Job
from .tasks import uncancel

if TYPE_CHECKING:
    from .dispatch import Dispatcher

current_job: Final[ContextVar[Job | None]] = ContextVar("routesock_job", default=None)
"""The job whose message the consumer's own code is handling."""


class ReceiveHook:
    """Replaces ``receive`` on a consumer that has its own ``dispatch`` or ``websocket_receive``.

    Channels' ``websocket_receive`` calls it with each frame that the consumer's own code passes on. A routed frame is
    answered; every other one goes on to the ``receive`` of the consumer or its class.
    """

    def __init__(self, consumer: Any, dispatcher: Dispatcher, *, sync: bool) -> None:
        self._consumer = consumer
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
        job = self._current_job(*args, **kwargs)
        if job is None or not await self._handle(job, *args, **kwargs):
            await self._original()(*args, **kwargs)

    def _receive_in_thread(self, *args: Any, **kwargs: Any) -> None:
        job = self._current_job(*args, **kwargs)
        if job is None or not async_to_sync(self._handle)(job, *args, **kwargs):
            self._original()(*args, **kwargs)

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
        if job.handled or text_data != job.message.get("text"):
            return await self._handle_new(job, {"type": job.message["type"], "text": text_data, "bytes": bytes_data})
        job.handled = True
        if type(job.decision) in ANSWERED:
            job.result = await self._dispatcher.result_of(job)
            if (
                job.stage is DONE and job.reply is PENDING
            ):  # it was passed on from another task, and the consumer's own code has ended
                await self._dispatcher.answer(job)
        return True

    async def _handle_new(self, job: Job, message: dict[str, Any]) -> bool:
        """Act on a frame that the consumer has decrypted, unpacked or split, as if the client had sent it."""
        dispatcher = self._dispatcher
        job.handled = True
        dispatcher.forget(job)
        job.decision = Unanswered.IGNORED  # the new frame can be cancelled and has a deadline in its place
        task = asyncio.current_task()
        assert task is not None
        inner = Job(job.source, message, dispatcher.parser.frame(message), task)
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
