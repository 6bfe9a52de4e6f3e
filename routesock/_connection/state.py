"""The state of one socket: its phase, and what its jobs and frames have come to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import IntEnum
from time import perf_counter
from typing import Any, Final, Protocol

from .._wire.frames import Answer
from ..exceptions import RoutesockError


class Phase(IntEnum):
    """How far a socket has come. Phases only go forward."""

    OPENING = 0
    """The handshake is not answered yet."""
    OPEN = 1
    """The socket is accepted; frames are read and answered."""
    DRAINING = 2
    """Running jobs may finish, and are answered. Queued and new requests are answered with an error."""
    CLOSING = 3
    """A close has begun: nothing is dispatched, and only the CLOSE notice and the close frame are sent."""
    GONE = 4
    """The client has left, or counts as gone: nothing is sent. Running handlers have their grace period."""
    DISCONNECTING = 5
    """The grace period is over: what still runs is cancelled, then ``disconnect()`` runs."""
    ENDED = 6
    """``disconnect()`` has run: all groups are left, and nothing happens on the socket again."""


TRANSITIONS: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.OPENING: frozenset({Phase.OPEN, Phase.DRAINING, Phase.CLOSING}),
    Phase.OPEN: frozenset({Phase.DRAINING, Phase.CLOSING}),
    Phase.DRAINING: frozenset({Phase.CLOSING}),
    Phase.CLOSING: frozenset({Phase.GONE}),
    Phase.GONE: frozenset({Phase.DISCONNECTING}),
    Phase.DISCONNECTING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset(),
}
"""The phases that may follow each phase."""


class OpenAsks(Protocol):
    """What a socket has asked its client; see :class:`~routesock._connection.asks.Asks`."""

    def take(self, answer: Answer) -> bool:
        """Hand ``answer`` to the call that waits for it; ``False`` if there is none."""
        ...

    def end(self) -> None:
        """End all waits: no answer will come."""


ASKS: Final = "_routesock_asks"
"""The attribute of a consumer with what it has asked. The first call sets it, so that other sockets keep nothing."""


def asks_of(consumer: Any) -> OpenAsks | None:
    """Return what the socket of ``consumer`` has asked; ``None`` if it never has."""
    asks: OpenAsks | None = vars(consumer).get(ASKS)
    return asks


class SocketState:
    """The state that all parts of one socket share.

    ============= ========================== ======================================================================
    phase         next                       because
    ============= ========================== ======================================================================
    OPENING       OPEN                       ``accept()``
    ..            DRAINING, CLOSING          as for OPEN, before the handshake is answered
    OPEN          DRAINING                   the process stops, or the login behind the socket has ended
    ..            CLOSING                    a close by the server, the client's disconnect, ``StopConsumer``, a failure
    DRAINING      CLOSING                    what ran has finished, or one of the causes above
    CLOSING       GONE                       the close frame is sent, or there was none to send
    GONE          DISCONNECTING              the grace period is over, or nothing needed it
    DISCONNECTING ENDED                      ``disconnect()`` and the unsubscribe hooks have run
    ============= ========================== ======================================================================

    ``may_dispatch``, ``is_closing`` and ``is_gone`` are plain attributes, since they are read for each frame.
    """

    __slots__ = (
        "_waiter", "accept_sent", "connected", "current_task", "disconnected", "grace_over", "handshake_done",
        "in_send", "is_closing", "is_gone", "jobs_done", "may_dispatch", "opened_at", "phase", "refusal", "sending",
    )  # fmt: skip

    def __init__(self, *, handshake_done: bool = False) -> None:
        self.phase = Phase.OPEN if handshake_done else Phase.OPENING
        self.may_dispatch = True
        """Jobs may start: the phase is before DRAINING."""
        self.is_closing = False
        """Nothing but the close itself is sent: the phase is CLOSING or later."""
        self.is_gone = False
        """Nothing at all is sent, and a cancellation ends a task of the socket: the phase is GONE or later."""
        self.handshake_done = handshake_done
        """The handshake is answered, by the consumer or by a gate in front of it: frames can come."""
        self.accept_sent = False
        """The consumer's own accept has been sent."""
        self.connected = False
        """``connect()`` has returned."""
        self.disconnected = False
        """``disconnect()`` has been called. It is called once, whatever the cause."""
        self.opened_at: float | None = None
        """When ``accept()`` and ``connect()`` were both done, as ``time.perf_counter()``."""
        self.grace_over = False
        """Nothing is waited for any longer."""
        self.refusal: RoutesockError | None = None
        """The answer to requests that come while the socket drains."""
        self.jobs_done = 0
        """How many jobs have ended, of those that had to wait. The queue timeout starts again with each."""
        self.current_task: asyncio.Task[Any] | None = None
        """The task that runs the current job of the ordered queue."""
        self.in_send = False
        """That task waits in ``send()``. Then the socket is not read, so that a slow client slows itself down."""
        self.sending = False
        """The server has a frame that it has not taken yet."""
        self._waiter: asyncio.Future[None] | None = None

    def advance(self, phase: Phase) -> None:
        """Go on to ``phase``, which must be one of those that may follow the current one."""
        assert phase in TRANSITIONS[self.phase], f"A socket does not go from {self.phase.name} to {phase.name}."
        self.phase = phase
        self.may_dispatch = phase < Phase.DRAINING
        self.is_closing = phase >= Phase.CLOSING
        self.is_gone = phase >= Phase.GONE

    def answer_handshake(self) -> None:
        """Note that the handshake is answered. A socket that is draining or closing already stays so."""
        self.handshake_done = True
        if self.phase is Phase.OPENING:
            self.advance(Phase.OPEN)

    def note_opened(self) -> bool:
        """Note the time when ``accept()`` and ``connect()`` are both done. Returns whether that is now.

        A socket that has ended meanwhile has not opened.
        """
        if not (self.accept_sent and self.connected) or self.opened_at is not None or self.phase is Phase.ENDED:
            return False
        self.opened_at = perf_counter()
        return True

    def drain(self, error: RoutesockError) -> None:
        """Answer requests that still come with ``error``. A later error replaces an earlier one."""
        self.refusal = error
        if self.phase < Phase.DRAINING:
            self.advance(Phase.DRAINING)

    @property
    def may_join(self) -> bool:
        """Whether groups may be joined."""
        return self.phase < Phase.ENDED

    @property
    def must_disconnect(self) -> bool:
        """Whether ``disconnect()`` is still to be called."""
        return self.connected and not self.disconnected

    @property
    def ends_jobs(self) -> bool:
        """Whether a cancellation that meets a job comes from the socket's end."""
        return self.phase >= Phase.DISCONNECTING

    def job_done(self) -> None:
        """Note that a job has ended that had to wait."""
        self.jobs_done += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next_job_done(self) -> None:
        """Wait for the next such end. Only one task at a time may wait."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
