"""Who reads for a socket: frames from its client, and messages from the channel layer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from .. import conf
from .._groups.layer_membership import Membership
from .._runtime import instrumentation
from .._wire.frames import OURS, Decision, Of, Ping, Refusal
from .._wire.messages import Request
from ..exceptions import TooManyInFlight
from .dispatch import Responder
from .liveness import Liveness
from .queue.jobs import HANDED_OVER, MAX_QUEUED_EVENTS, READ_ON, Job, JobSource, Progress, QueueSlots
from .queue.ordered import FAIR_SHARE, OrderedQueue, ParallelQueue, uncancel
from .tasks import Tasks

Receive = Callable[[], Awaitable[Any]]


class Reader(JobSource):
    """Reads in a task until the socket closes, or until it has handed the reading to another task.

    A cancellation that is not the socket's own is that of a handler which had its own task cancelled: the reading goes
    on.
    """

    __slots__ = ("_progress", "_receive", "_responder", "_tasks", "room")

    def __init__(
        self, receive: Receive, responder: Responder, tasks: Tasks, progress: Progress, room: QueueSlots
    ) -> None:
        self._receive = receive
        self._progress = progress
        self._responder = responder
        self._tasks = tasks
        self.room = room

    def _this_task(self) -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task is not None
        return task

    def _raise_if_finishing(self, task: asyncio.Task[Any]) -> None:
        """Re-raise the cancellation that is being handled if it ends the socket."""
        if self._tasks.finishing:
            raise
        uncancel(task)


class ClientReader(Reader):
    """Reads frames. ``end`` is called with the client's disconnect."""

    __slots__ = ("_consumer", "_end", "_liveness")

    def __init__(
        self,
        receive: Receive,
        responder: Responder,
        tasks: Tasks,
        progress: Progress,
        consumer: Any,
        liveness: Liveness | None,
        end: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__(receive, responder, tasks, progress, QueueSlots(conf.get("MAX_QUEUED"), progress))
        self._consumer = consumer
        self._liveness = liveness
        self._end = end

    async def read(self) -> None:
        task = self._this_task()
        responder = self._responder
        beside = responder.pool
        liveness = self._liveness
        for taken in count(1):
            try:
                if taken % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
                message = decision = job = None  # an idle socket keeps nothing of its last frame
                if liveness is not None:
                    liveness.listens(task.get_loop().time())
                message = await self._receive()
            except asyncio.CancelledError:
                self._raise_if_finishing(task)
                continue
            if message["type"] == "websocket.disconnect":
                self._end(message)
                return
            if self._progress.closing:
                continue
            decision = self._decide(message) if message["type"] == "websocket.receive" else None
            if liveness is not None:
                liveness.heard(heartbeat=type(decision) is Ping or decision is Of.PONG)
            if decision is not None and type(decision) is not Request and await responder.at_once(decision):
                continue
            job = Job(self, message, decision, task)
            order: OrderedQueue | ParallelQueue = responder.lane
            if beside is not None and type(decision) is Request and decision.route in beside.routes:
                order = beside
            verdict = await order.submit(job)
            if verdict is HANDED_OVER or self._tasks.finishing:  # which may wait for this task since the job is done
                return
            if verdict is READ_ON:
                continue
            if isinstance(decision, OURS):
                refusal = Refusal(responder.draining or TooManyInFlight(), decision.route, decision.id)
                await responder.replies.refuse(refusal, decision if type(decision) is Request else None)

    def _decide(self, message: dict[str, Any]) -> Decision:
        try:
            return self._responder.intake.frame(message)
        except Exception as exc:  # of a dialect that did not expect such a frame
            return Refusal(instrumentation.internal_error(exc, "Reading a frame", self._consumer))


class LayerReader(Reader):
    """Reads messages of the channel layer. A layer that is down says nothing about the socket, which lives on."""

    __slots__ = ("_membership",)

    def __init__(
        self, receive: Receive, responder: Responder, tasks: Tasks, progress: Progress, membership: Membership
    ) -> None:
        room = QueueSlots(MAX_QUEUED_EVENTS, progress, weight=conf.get("MAX_OUTGOING_BYTES"))
        super().__init__(receive, responder, tasks, progress, room)
        self._membership = membership

    async def read(self) -> None:
        task = self._this_task()
        membership, lane = self._membership, self._responder.lane
        for taken in count(1):
            try:
                if taken % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
                message = None
                message = await membership.receive(self._receive)
            except asyncio.CancelledError:
                self._raise_if_finishing(task)
                continue
            if not self._progress.closing:
                job = Job(self, message, None, task)
                if await lane.submit(job) is HANDED_OVER:
                    return
                del job
            if self._tasks.finishing:
                return

    def weight_of(self, message: dict[str, Any]) -> int:
        return _weigh(message)


def _weigh(value: Any, levels: int = 4) -> int:
    """Bytes, about, of the texts in a message, which is what makes one large."""
    if isinstance(value, str | bytes):
        return len(value)
    if levels and isinstance(value, dict):
        return sum(_weigh(item, levels - 1) for item in value.values())
    if levels and isinstance(value, list | tuple):
        return sum(_weigh(item, levels - 1) for item in value)
    return 0
