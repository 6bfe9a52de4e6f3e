"""What there is to do on a socket: jobs, the source that each came from, and the room that they have to wait in."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from enum import Enum
from typing import Any, Final, Protocol

from .intake import Decision, Refusal
from .messages import Reply
from .room import Room


class Source(ABC):
    """Where jobs come from: the client or the channel layer. ``room`` bounds those that wait."""

    __slots__ = ()
    room: Room

    @abstractmethod
    async def read(self) -> None:
        """Read until the socket closes, or until another task does."""

    def weight_of(self, message: dict[str, Any]) -> int:
        """Bytes that ``message`` takes from the room, where those count."""
        return 0


class Job:
    """Something to do for a socket: an ASGI or channel-layer message, with the decision if it is a frame."""

    # Defaults on the class: most jobs end without one of them being set.
    entered = False  # the decision was acted upon
    outcome: Reply | Refusal | None = None
    settled = False  # the final reply is decided: whatever the handler still gives is dropped
    revoked = False  # its task was told to cancel it
    over = False  # its code has ended: there is nothing left to cancel
    waited = False  # it has suspended: until then nothing else can have happened on the socket
    watched = False  # it can be cancelled, and its deadline runs
    timeout: float | None = None  # seconds that its deadline is away
    timer: asyncio.TimerHandle | None = None
    weight = 0  # bytes that it holds while it is queued, where that is not bounded otherwise

    def __init__(
        self, source: Source, message: dict[str, Any], decision: Decision | None, task: asyncio.Task[Any]
    ) -> None:
        self.task = task  # who does it
        self.source = source
        self.message = message
        self.decision = decision

    def queue(self) -> bool:
        """Take a place in the room of its source; ``False`` if there is none."""
        self.weight = self.source.weight_of(self.message)
        return self.source.room.take(self.weight)

    def unqueue(self) -> None:
        """Give the place back."""
        self.source.room.free(self.weight)


class Jobs(Protocol):
    """Who does the jobs of a socket."""

    async def run(self, job: Job) -> None:
        """Do ``job``, with whatever it raises."""

    def queued(self, job: Job) -> None:
        """``job`` has to wait for its turn."""

    def waits(self, job: Job) -> None:
        """``job`` waits for the first time; called before anything else can happen on the socket."""


class Verdict(Enum):
    """What became of a submitted job, and so what its reader does next."""

    READ_ON = "done or queued: read on"
    HANDED_OVER = "done, and another task reads by now: end"
    REFUSED = "no room"


# Looking a member up costs more than the comparison, for each message.
READ_ON: Final = Verdict.READ_ON
HANDED_OVER: Final = Verdict.HANDED_OVER
REFUSED: Final = Verdict.REFUSED
