"""Jobs of a socket with their stages, and the sources that they come from, each with a bounded number of slots."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import Context
from enum import Enum, IntEnum
from typing import Any, Final, Protocol

from ..._groups.envelopes import EventMessage
from ..._runtime.database import DatabaseThread
from ..._wire.frames import Decision, Refusal
from ..._wire.messages import Reply, Request
from ..state import SocketState

QUEUE_TIMEOUT: Final = 0.02
"""Seconds for which a reader waits for a slot behind one running job before it refuses a request."""

_SLICES: Final = 4
"""Parts of that time. One whose end the loop notices too late does not count: the process stood still, not the job."""

_LATE_SLICES: Final = 20
"""Parts that do not count, at most."""

MAX_QUEUED_EVENTS: Final = 1000
"""Channel-layer messages that one socket queues, and as many events beside them. More messages stay in the layer, which
drops what exceeds its capacity; more events are dropped."""

_TURNS: Final = 3
"""Turns of the loop after which a job that is ready to go on has ended: it is noticed, resumed, and wakes others."""


class Stage(IntEnum):
    """How far a job has come. Stages only go forward; one that never waits skips WAITING."""

    QUEUED = 0
    """It has not begun."""
    RUNNING = 1
    """Its code runs and has not suspended yet, so nothing else can have happened on the socket."""
    WAITING = 2
    """Its code has suspended at least once. A request can be cancelled from now on, and its deadline runs."""
    DONE = 3
    """Its code has ended. What is left to do is to send the reply."""


STAGES: Final[Mapping[Stage, frozenset[Stage]]] = {
    Stage.QUEUED: frozenset({Stage.RUNNING}),
    Stage.RUNNING: frozenset({Stage.WAITING, Stage.DONE}),
    Stage.WAITING: frozenset({Stage.DONE}),
    Stage.DONE: frozenset(),
}
"""The stages that may follow each stage."""


class ReplyStatus(Enum):
    """What has become of the final reply to a job. Once it is not pending, the handler's result is ignored."""

    PENDING = "not decided yet"
    SENT = "handed to the writer"
    DROPPED = "there will be none"


# A module's name is found faster than a member of an enum, and these are needed for each message.
QUEUED: Final = Stage.QUEUED

RUNNING: Final = Stage.RUNNING

WAITING: Final = Stage.WAITING

DONE: Final = Stage.DONE

PENDING: Final = ReplyStatus.PENDING


class JobSource(ABC):
    """Reads jobs. At most ``slots`` of them are queued, of at most ``weight`` bytes in total."""

    __slots__ = ("_free", "_last_seen", "_late", "_left", "_slots", "_state", "_waiter", "_weight")

    def __init__(self, slots: int, state: SocketState, *, weight: int = 0) -> None:
        self._slots = slots
        self._free = slots
        self._weight = weight
        self._state = state
        self._waiter: asyncio.Future[None] | None = None
        self._left = self._late = 0  # parts of the queue timeout
        self._last_seen = -1

    @abstractmethod
    async def read(self) -> None:
        """Read until the socket ends, or until another task reads."""

    def weight_of(self, message: dict[str, Any]) -> int:
        """Return the bytes that ``message`` counts for; 0 where bytes are not counted."""
        return 0

    def take_slot(self, weight: int = 0) -> bool:
        """Take a slot; ``False`` if there is none. An empty queue accepts any weight."""
        if not self._free or (weight > self._weight and self._free < self._slots):
            return False
        self._free -= 1
        self._weight -= weight
        return True

    def free_slot(self, weight: int = 0) -> None:
        """Give a slot back."""
        self._free += 1
        self._weight += weight
        self.wake()

    def wake(self) -> None:
        """Let the reader that waits for a slot try again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait_for_slot(self, *, refusable: bool) -> bool:
        """Wait until there may be a slot. Returns ``False`` when a refusable job has waited for its timeout."""
        loop = asyncio.get_running_loop()
        if refusable:
            if self._last_seen != self._state.jobs_done or self._state.sending:
                self._last_seen, self._left, self._late = self._state.jobs_done, _SLICES, _LATE_SLICES
            if self._left <= 0:
                return await self._has_moved_on()
        if self._waiter is None or self._waiter.done():
            self._waiter = loop.create_future()
        due = loop.time() + QUEUE_TIMEOUT / _SLICES
        timer = loop.call_at(due, self._end_slice, due) if refusable else None
        try:
            await asyncio.shield(self._waiter)
        finally:
            if timer is not None:
                timer.cancel()
        return True

    def _end_slice(self, due: float) -> None:
        late = asyncio.get_running_loop().time() - due > QUEUE_TIMEOUT / _SLICES / 2
        if late and self._late:
            self._late -= 1
        else:
            self._left -= 1
        self.wake()

    async def _has_moved_on(self) -> bool:
        """Whether a job ends within a few turns of the loop: then the process stood still, not the job."""
        seen = self._state.jobs_done
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if self._state.jobs_done != seen:
                return True
        return False


class Queue(Protocol):
    """A queue that jobs wait in: the ordered or the parallel one."""

    def remove(self, job: Job) -> None:
        """Take a queued job out."""


class Job:
    """Something to do for a socket: an ASGI or channel-layer message, with the decision if it is a frame.

    =========  ==============================  ==========================================================
    stage      next                            because
    =========  ==============================  ==========================================================
    QUEUED     RUNNING                         its turn has come, at once or after it was queued
    RUNNING    WAITING                         it suspends for the first time
    ..         DONE                            its code has ended without suspending
    WAITING    DONE                            its code has ended
    =========  ==============================  ==========================================================

    A reply that is decided before the job is DONE belongs to a request that was cancelled, and so was its task.
    """

    # Defaults on the class: most jobs end without one of them being set.
    stage = QUEUED
    reply = PENDING
    handled = False
    """The consumer's own code has passed the frame on, and it was acted upon."""
    refused: BaseException | None = None
    """What Channels raised inside the consumer's own code for a frame that is refused anyway."""
    result: Reply | Refusal | None = None
    """What to answer, once that is known."""
    context: Context | None = None
    """The context to send the answer in, inside of middleware or of the consumer's own ``dispatch``."""
    thread: DatabaseThread | None = None
    """The thread whose connections are kept open for it, while it waits."""
    queue: Queue | None = None
    """The queue that it waits in."""
    weight = 0
    """The bytes that it counts for while it is queued."""
    timeout: float | None = None
    """Seconds that its handler may take."""
    timer: asyncio.TimerHandle | None = None

    def __init__(
        self, source: JobSource, message: dict[str, Any], decision: Decision | None, task: asyncio.Task[Any]
    ) -> None:
        self.task = task  # runs it
        self.source = source
        self.message = message
        self.decision = decision

    def advance(self, stage: Stage) -> None:
        """Go on to ``stage``, which must be one of those that may follow the current one."""
        assert stage in STAGES[self.stage], f"A job does not go from {self.stage.name} to {stage.name}."
        self.stage = stage

    def decide(self, reply: ReplyStatus) -> None:
        """Note what has become of the final reply. That is decided once."""
        assert self.reply is PENDING, f"A reply that is {self.reply.name} does not become {reply.name}."
        self.reply = reply

    @property
    def is_cancelled(self) -> bool:
        """Whether its code still runs though its reply is decided, since its task was cancelled."""
        return self.reply is not PENDING and self.stage is not DONE

    def release_connections(self) -> None:
        """Let the connections be closed that were kept open for it."""
        thread, self.thread = self.thread, None
        if thread is not None:
            thread.release()

    def enqueue(self, queue: Queue) -> bool:
        """Take a slot of the source to wait in ``queue``; ``False`` if there is none."""
        weight = self.source.weight_of(self.message)
        if not self.source.take_slot(weight):
            return False
        self.queue, self.weight = queue, weight
        return True

    def dequeue(self) -> None:
        """Give the slot back."""
        self.queue = None
        self.source.free_slot(self.weight)

    # The deadline

    def start_timer(self, timeout: float | None, expired: Callable[[Job], None]) -> None:
        """Call ``expired`` after ``timeout`` seconds, counted from the start of the handler.

        The time for which the event loop is blocked counts: the client waits meanwhile, and may wait no longer.
        """
        self.timeout = timeout
        if timeout is not None:
            self.timer = asyncio.get_running_loop().call_later(timeout, self._check_deadline, expired)

    def stop_timer(self) -> None:
        """Stop the clock."""
        if self.timer is not None:
            self.timer.cancel()

    def restart_timer(self, expired: Callable[[Job], None]) -> None:
        """Start the clock from zero, if there is a deadline and the request is not answered yet."""
        if self.timer is not None and self.reply is PENDING:
            self.start_timer(self.timeout, expired)

    def _check_deadline(self, expired: Callable[[Job], None]) -> None:
        assert type(self.decision) is Request
        assert self.timeout is not None
        started = self.decision.started
        left = 0.0 if started is None else started + self.timeout - time.monotonic()
        if left > 0:  # hooks waited before the handler began
            self.timer = asyncio.get_running_loop().call_later(left, self._check_deadline, expired)
        else:
            expired(self)


class EventJob(Job):
    """An event to hand to its ``@event`` method."""

    def __init__(self, source: JobSource, event: EventMessage, task: asyncio.Task[Any]) -> None:
        super().__init__(source, event.message, None, task)
        self.event = event
