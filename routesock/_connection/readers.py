"""Reads the jobs of a socket: frames of its client, messages of its channel, and events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Set
from enum import Enum
from itertools import count
from typing import Any, Final

from .. import conf
from .._groups import losses
from .._groups.envelopes import EventMessage
from .._groups.layer_membership import Membership
from .._runtime import instrumentation
from .._runtime.supervision import safe_logger
from .._runtime.timers import FAIR_SECONDS, FAIR_SHARE, clock
from .._wire.frames import ANSWERED, Decision, Ping, Refusal, Unanswered
from .._wire.messages import Request
from ..exceptions import TooManyInFlight
from .dispatch import Dispatcher
from .liveness import Liveness
from .queue.job_queue import HANDED_OVER, NO_SLOT, READ_ON, JobQueue, Submitted
from .queue.jobs import MAX_QUEUED_EVENTS, EventJob, Job, JobSource
from .state import SocketState
from .tasks import Tasks, uncancel

logger: Final = safe_logger("routesock.socket")

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
    if state.is_gone:
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
        "_batch", "_consumer", "_dispatcher", "_liveness", "_parallel_routes", "_parse", "_queue", "_receive", "_stop",
    )  # fmt: skip

    def __init__(
        self,
        receive: Receive,
        consumer: Any,
        dispatcher: Dispatcher,
        queue: JobQueue,
        state: SocketState,
        liveness: Liveness | None,
        parallel_routes: Set[str],
        stop: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__(conf.get("MAX_QUEUED"), state, weight=conf.get("MAX_QUEUED_BYTES"))
        self._receive = receive
        self._consumer = consumer
        self._dispatcher = dispatcher
        self._parallel_routes = parallel_routes
        self._parse = dispatcher.parser.frame
        self._queue = queue
        self._liveness = liveness
        self._stop = stop
        self._batch: deque[tuple[dict[str, Any], Decision]] = deque()
        """Frames that came in one message and are still to be read."""

    async def read(self) -> None:
        task = _current_task()
        state, liveness, parallel_routes = self._state, self._liveness, self._parallel_routes
        rest: Awaitable[Submitted] | None
        spent = 0.0
        for number in count(1):
            message = decision = job = rest = None  # an idle socket keeps nothing of its last frame
            try:
                if number % FAIR_SHARE == 0 or spent >= FAIR_SECONDS:
                    spent = 0.0
                    await asyncio.sleep(0)
                if liveness is not None:
                    liveness.reading(task.get_loop().time())
                if not self._batch:
                    message = await self._receive()
            except asyncio.CancelledError:
                _raise_if_ended(state, task)
                continue
            except RuntimeError:
                if task.get_loop().is_closed():  # thrown away with its loop, which a server's queue calls at that
                    return
                raise
            began = clock()
            if message is not None:
                action, decision = self._classify(message)
            else:
                message, decision = self._batch.popleft()
                action = Action.IGNORE if state.is_closing else self._action(decision)
            if action is _SUBMIT:
                job = Job(self, message, decision, task)
                if parallel_routes and type(decision) is Request and decision.route in parallel_routes:
                    rest = self._queue.submit_parallel(job)
                else:
                    rest = self._queue.begin(job)
                if rest is not None:
                    submitted = await rest
                    if submitted is NO_SLOT:
                        await self._refuse(decision)
                    elif submitted is HANDED_OVER:
                        return
                if state.is_gone:  # which may wait for this task
                    return
            elif action is _ACT:
                assert decision is not None
                await self._dispatcher.act(decision)
            elif action is _STOP:
                self._stop(message)
                return
            if decision is not None:  # a slow connect() is no reason, since nothing can be behind it
                spent += clock() - began

    def _classify(self, message: dict[str, Any]) -> tuple[Action, Decision | None]:
        if message["type"] != "websocket.receive":
            return self._classify_other(message["type"])
        if self._state.is_closing:
            return _IGNORED
        try:
            decision = self._parse(message)
        except Exception as exc:  # of a dialect that did not expect such a frame
            decision = Refusal(instrumentation.internal_error(exc, "Reading a frame", self._consumer))
        if type(decision) is Request:  # as nearly every frame
            if self._liveness is not None:
                self._liveness.heard(heartbeat=False)
            return _SUBMIT, decision
        if isinstance(decision, list):
            self._batch.extend(decision)
            self._heard(frame for _, frame in decision)
            return _IGNORED
        self._heard((decision,))
        return self._action(decision), decision

    def _heard(self, decisions: Iterable[Decision]) -> None:
        """Note what the client has sent in one message. A heartbeat does not end its idle time."""
        if self._liveness is not None:
            heartbeat = all(type(decision) is Ping or decision is Unanswered.PONG for decision in decisions)
            self._liveness.heard(heartbeat=heartbeat)

    def _classify_other(self, kind: str) -> tuple[Action, None]:
        """Classify a message that holds no frame."""
        if kind == "websocket.disconnect":
            return _STOP, None
        if self._state.is_closing:
            return _IGNORED
        if self._liveness is not None:
            self._liveness.heard(heartbeat=False)
        return _SUBMIT, None

    def _action(self, decision: Decision | None) -> Action:
        if decision is None or type(decision) is Request or not self._dispatcher.acts_at_once(decision):
            return _SUBMIT
        return _ACT

    def weight_of(self, message: dict[str, Any]) -> int:
        return _weigh(message)

    async def _refuse(self, decision: Decision | None) -> None:
        if isinstance(decision, ANSWERED):
            request = decision if type(decision) is Request else None
            about = decision.about if isinstance(decision, Refusal) else None
            refusal = Refusal(self._state.refusal or TooManyInFlight(), decision.route, decision.id, about)
            await self._dispatcher.writer.refuse(refusal, request)


class LayerReader(JobSource):
    """Reads messages of the channel layer, in the same way. A layer that fails does not end the socket."""

    __slots__ = ("_membership", "_queue", "_receive")

    def __init__(self, receive: Receive, membership: Membership, queue: JobQueue, state: SocketState) -> None:
        super().__init__(MAX_QUEUED_EVENTS, state, weight=conf.get("MAX_OUTGOING_BYTES"))
        self._receive = receive
        self._membership = membership
        self._queue = queue

    async def read(self) -> None:
        task = _current_task()
        spent = 0.0
        for number in count(1):
            message = None
            try:
                if number % FAIR_SHARE == 0 or spent >= FAIR_SECONDS:
                    spent = 0.0
                    await asyncio.sleep(0)
                message = await self._membership.receive(self._receive)
            except asyncio.CancelledError:
                _raise_if_ended(self._state, task)
                continue
            except RuntimeError:
                if task.get_loop().is_closed():  # thrown away with its loop, which a server's queue calls at that
                    return
                raise
            began = clock()
            if not self._state.is_closing:
                job = Job(self, message, None, task)
                if await self._queue.submit(job) is HANDED_OVER:
                    return
                del job
            if self._state.is_gone:
                return
            spent += clock() - began

    def weight_of(self, message: dict[str, Any]) -> int:
        return _weigh(message)


class EventReader(JobSource):
    """Takes events at once, and submits them to the queue in a task that exists only while there are any.

    When more than ``MAX_QUEUED_EVENTS`` wait, or more than ``MAX_OUTGOING_BYTES``, the newest is dropped.
    """

    __slots__ = ("_consumer", "_dropped", "_new", "_queue", "_reading", "_tasks")

    def __init__(self, consumer: Any, queue: JobQueue, state: SocketState, tasks: Tasks) -> None:
        super().__init__(MAX_QUEUED_EVENTS, state, weight=conf.get("MAX_OUTGOING_BYTES"))
        self._consumer = consumer
        self._queue = queue
        self._tasks = tasks
        self._new: deque[EventMessage] = deque()
        self._reading = False
        self._dropped = 0

    def put(self, event: EventMessage) -> None:
        """Keep ``event`` until :meth:`start`."""
        if not self.take_slot(self.weight_of(event.message)):
            self._dropped += 1
            return
        self.report_dropped()
        self._new.append(event)

    def start(self) -> None:
        """Submit what waits."""
        if self._new and not self._reading:
            self._reading = True
            self._tasks.start(self.read())

    async def read(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        spent = 0.0
        for number in count(1):
            if not self._new:
                break
            began = clock()
            job = EventJob(self, self._new.popleft(), task)
            self.free_slot(self.weight_of(job.message))  # taken again if the job has to wait in the queue
            if await self._queue.submit(job) is not READ_ON:  # another task reads, or nothing is dispatched any longer
                return
            del job
            spent += clock() - began
            try:
                if number % FAIR_SHARE == 0 or spent >= FAIR_SECONDS:
                    spent = 0.0
                    await asyncio.sleep(0)
            except asyncio.CancelledError:  # from a handler that had its own task cancelled a little later
                if self._state.is_gone:
                    raise
                uncancel(task)
        self._reading = False

    def report_dropped(self) -> None:
        """Log and count what was dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            events = instrumentation.counted(dropped, "event")
            logger.warning("Dropped %s for a socket that is busy: too many waited.", events)
            losses.dropped(type(self._consumer), dropped, "busy")

    def weight_of(self, message: dict[str, Any]) -> int:
        return len(message["data"])


def _weigh(value: Any, levels: int = 4) -> int:
    """Return about how many bytes the texts in a message have, which is what makes one large."""
    if isinstance(value, str | bytes):
        return len(value)
    if levels and isinstance(value, dict):
        return sum(_weigh(item, levels - 1) for item in value.values())
    if levels and isinstance(value, list | tuple):
        return sum(_weigh(item, levels - 1) for item in value)
    return 0
