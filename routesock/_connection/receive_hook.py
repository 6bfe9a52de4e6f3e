"""Stands in for `receive` on consumers with their own `dispatch` or `websocket_receive`."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, Final, Protocol

from asgiref.sync import async_to_sync

from .._wire.frames import OURS, Auth, Cancel, Decision, Of, Ping, Refusal
from .._wire.messages import Reply
from .frame_parser import FrameParser
from .queue.jobs import Job
from .queue.ordered import uncancel

current_job: Final[ContextVar[Job | None]] = ContextVar("routesock_job", default=None)
"""The job whose message the consumer's own code has at the moment."""


class HookOwner(Protocol):
    """Who answers what a guard lets through."""

    intake: FrameParser

    async def at_once(self, decision: Decision) -> bool: ...
    async def decode(self, job: Job) -> None: ...
    async def outcome(self, job: Job) -> Reply | Refusal: ...
    async def answer(self, job: Job) -> None: ...
    def forget(self, job: Job) -> None: ...
    def write_off(self, job: Job) -> None: ...


class ReceiveHook:
    """Stands in for ``receive`` on a consumer that has a ``dispatch`` or ``websocket_receive`` of its own.

    Channels' ``websocket_receive`` calls it with each frame that the consumer's own code passes on. A frame of ours is
    answered; all else goes on to the ``receive`` of the class.
    """

    def __init__(self, consumer: Any, desk: HookOwner, *, sync: bool) -> None:
        self._consumer = consumer
        self._desk = desk
        consumer.receive = self._receive_in_thread if sync else self._receive

    async def _receive(self, *args: Any, **kwargs: Any) -> None:
        job = self._job(*args, **kwargs)
        if job is None or not await self._answered(job, *args, **kwargs):
            await type(self._consumer).receive(self._consumer, *args, **kwargs)

    def _receive_in_thread(self, *args: Any, **kwargs: Any) -> None:
        job = self._job(*args, **kwargs)
        if job is None or not async_to_sync(self._answered)(job, *args, **kwargs):
            type(self._consumer).receive(self._consumer, *args, **kwargs)

    def _job(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> Job | None:
        """The frame that the consumer's code is busy with; ``None`` if there is none, or a foreign one as it came."""
        job = current_job.get()
        if job is None or job.decision is None:
            return None
        if job.decision is Of.CONSUMER and text_data == job.message.get("text"):
            return None
        return job

    async def _answered(self, job: Job, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> bool:
        """Act on what was passed on; ``False`` if it is foreign."""
        if job.entered or text_data != job.message.get("text"):
            return await self._answered_anew(job, {"type": job.message["type"], "text": text_data, "bytes": bytes_data})
        job.entered = True
        if type(job.decision) in OURS:
            job.outcome = await self._desk.outcome(job)
            if job.over:  # the consumer passed it on from a task of its own, and its own code has ended
                await self._desk.answer(job)
        return True

    async def _answered_anew(self, job: Job, message: dict[str, Any]) -> bool:
        """What the consumer decrypted, unpacked or split: as if the client had sent it, in the place of its frame."""
        desk = self._desk
        job.entered = True
        desk.forget(job)
        job.decision = Of.NOBODY  # what stands in its place can be cancelled and has a deadline, not the frame itself
        task = asyncio.current_task()
        assert task is not None
        inner = Job(job.source, message, desk.intake.frame(message), task)
        inner.waited = True
        if inner.decision is Of.DECODER:
            await desk.decode(inner)
        if isinstance(inner.decision, Ping | Cancel | Auth):
            await desk.at_once(inner.decision)
        elif type(inner.decision) in OURS:
            try:
                inner.outcome = await desk.outcome(inner)
                inner.over = True
                await desk.answer(inner)
            except asyncio.CancelledError:
                if not inner.revoked:
                    desk.write_off(inner)
                    raise
                uncancel(task)
            finally:
                inner.over = True
                desk.forget(inner)
        return inner.decision is not Of.CONSUMER
