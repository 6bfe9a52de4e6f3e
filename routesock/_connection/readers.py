"""Reads frames from the client of a socket, and messages from the channel layer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from itertools import count
from typing import Any, Final

from .. import conf
from .._groups.layer_membership import Membership
from .._pipeline.compiler import ConsumerPlan
from .._runtime import instrumentation
from .._wire.frames import OURS, Decision, Of, Ping, Refusal
from .._wire.messages import Request
from ..exceptions import TooManyInFlight
from ..typing import UNSET
from .dispatch import Dispatcher
from .liveness import Liveness
from .queue.jobs import MAX_QUEUED_EVENTS, Job, JobSource
from .queue.ordered import FAIR_SHARE, HANDED_OVER, NO_SLOT, OrderedQueue, ParallelQueue
from .state import SocketState
from .tasks import Tasks, uncancel

Receive = Callable[[], Awaitable[Any]]


class Action(Enum):
    """What to do with a message from the client."""

    STOP = "the client has left"
    IGNORE = "a close has begun"
    ACT = "a control frame or an error: act at once"
    SUBMIT = "submit it to a queue"


_STOP: Final = Action.STOP

_ACT: Final = Action.ACT

_SUBMIT: Final = Action.SUBMIT

_IGNORED: Final = (Action.IGNORE, None)


def _raise_if_ended(state: SocketState, task: asyncio.Task[Any]) -> None:
    """Re-raise the cancellation that is being handled, if it ends the socket.

    Otherwise it comes from a handler that had its own task cancelled, and reading goes on.
    """
    if state.ends_tasks:
        raise
    uncancel(task)


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


class ClientReader(JobSource):
    """Reads frames until the socket ends, or until it has handed the reading to another task.

    ``stop`` is called with the client's disconnect.
    """

    __slots__ = (
        "_concurrency", "_consumer", "_dispatcher", "_liveness", "_ordered", "_parallel_routes", "_receive", "_stop",
        "_tasks", "parallel",
    )  # fmt: skip

    def __init__(
        self,
        receive: Receive,
        consumer: Any,
        compiled: ConsumerPlan,
        dispatcher: Dispatcher,
        ordered: OrderedQueue,
        state: SocketState,
        tasks: Tasks,
        liveness: Liveness | None,
        stop: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__(conf.get("MAX_QUEUED"), state)
        self._receive = receive
        self._consumer = consumer
        self._parallel_routes = compiled.beside
        self._concurrency: int = conf.get("CONCURRENCY") if compiled.concurrency is UNSET else compiled.concurrency
        self._dispatcher = dispatcher
        self._ordered = ordered
        self._tasks = tasks
        self._liveness = liveness
        self._stop = stop
        self.parallel: ParallelQueue | None = None
        """The queue of requests that run in parallel, once there has been one."""

    async def read(self) -> None:
        task = _current_task()
        for number in count(1):
            message = decision = job = None  # an idle socket keeps nothing of its last frame
            try:
                if number % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
                if self._liveness is not None:
                    self._liveness.reading(task.get_loop().time())
                message = await self._receive()
            except asyncio.CancelledError:
                _raise_if_ended(self._state, task)
                continue
            action, decision = self._classify(message)
            if action is _SUBMIT:
                job = Job(self, message, decision, task)
                submitted = await self._queue_for(decision).submit(job)
                if submitted is NO_SLOT:
                    await self._refuse(decision)
                if submitted is HANDED_OVER or self._state.ends_tasks:  # which may wait for this task
                    return
            elif action is _ACT:
                assert decision is not None
                await self._dispatcher.act(decision)
            elif action is _STOP:
                self._stop(message)
                return

    def _classify(self, message: dict[str, Any]) -> tuple[Action, Decision | None]:
        kind = message["type"]
        if kind == "websocket.disconnect":
            return _STOP, None
        if self._state.is_closing:
            return _IGNORED
        decision = self._decide(message) if kind == "websocket.receive" else None
        if self._liveness is not None:
            self._liveness.heard(heartbeat=type(decision) is Ping or decision is Of.PONG)
        if decision is None or type(decision) is Request or not self._dispatcher.acts_at_once(decision):
            return _SUBMIT, decision
        return _ACT, decision

    def _decide(self, message: dict[str, Any]) -> Decision:
        try:
            return self._dispatcher.parser.frame(message)
        except Exception as exc:  # of a dialect that did not expect such a frame
            return Refusal(instrumentation.internal_error(exc, "Reading a frame", self._consumer))

    def _queue_for(self, decision: Decision | None) -> OrderedQueue | ParallelQueue:
        if not self._parallel_routes or type(decision) is not Request or decision.route not in self._parallel_routes:
            return self._ordered
        if self.parallel is None:
            self.parallel = ParallelQueue(self._dispatcher, self._state, self._tasks, self._concurrency)
        return self.parallel

    async def _refuse(self, decision: Decision | None) -> None:
        if isinstance(decision, OURS):
            refusal = Refusal(self._state.refusal or TooManyInFlight(), decision.route, decision.id)
            await self._dispatcher.writer.refuse(refusal, decision if type(decision) is Request else None)


class LayerReader(JobSource):
    """Reads messages of the channel layer, in the same way. A layer that fails does not end the socket."""

    __slots__ = ("_membership", "_ordered", "_receive")

    def __init__(self, receive: Receive, membership: Membership, ordered: OrderedQueue, state: SocketState) -> None:
        super().__init__(MAX_QUEUED_EVENTS, state, weight=conf.get("MAX_OUTGOING_BYTES"))
        self._receive = receive
        self._membership = membership
        self._ordered = ordered

    async def read(self) -> None:
        task = _current_task()
        for number in count(1):
            message = None
            try:
                if number % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
                message = await self._membership.receive(self._receive)
            except asyncio.CancelledError:
                _raise_if_ended(self._state, task)
                continue
            if not self._state.is_closing:
                job = Job(self, message, None, task)
                if await self._ordered.submit(job) is HANDED_OVER:
                    return
                del job
            if self._state.ends_tasks:
                return

    def weight_of(self, message: dict[str, Any]) -> int:
        return _weigh(message)


def _weigh(value: Any, levels: int = 4) -> int:
    """Return about how many bytes the texts in a message have, which is what makes one large."""
    if isinstance(value, str | bytes):
        return len(value)
    if levels and isinstance(value, dict):
        return sum(_weigh(item, levels - 1) for item in value.values())
    if levels and isinstance(value, list | tuple):
        return sum(_weigh(item, levels - 1) for item in value)
    return 0
