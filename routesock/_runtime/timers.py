"""One timer for all sockets of an event loop, and how long a task may run before it lets others run."""

from __future__ import annotations

import asyncio
import contextvars
import time
import weakref
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

from .supervision import Guard

FAIR_SHARE: Final = 16
"""Jobs after which a task lets others run, so that one socket's flood cannot hold the loop."""

FAIR_SECONDS: Final = 0.005
"""Seconds after which it does so at the latest, whatever the number of jobs: a large frame may take a millisecond."""

clock: Final = time.perf_counter
"""Measures these seconds."""

SHARE: Final = 100
"""Alarms that ring in one turn of the loop. The others ring in the next, so that sockets are served in between."""

_LOOK: Final = Guard("A timer of a socket")


class Watch(Protocol):
    """Called by a timer when its time comes."""

    def look(self, now: float) -> float | None:
        """Act on the time; return when to be called again (a time of the loop), ``None`` for never."""


class Alarm:
    """The next time at which a watch is called."""

    __slots__ = ("_queued", "_timer", "_watch", "due")

    def __init__(self, timer: Timer, watch: Watch, due: float) -> None:
        self._timer = timer
        self._watch: Watch | None = watch
        self._queued = False
        self.due = due

    def __lt__(self, other: Alarm) -> bool:
        return self.due < other.due

    def cancel(self) -> None:
        """Forget the watch at once, not only when its time comes. Does nothing the second time."""
        if self._watch is not None:
            self._watch = None
            if self._queued:
                self._timer._dropped()


class Timer:
    """Rings the alarms of one loop: a heap of them, of which only the first is scheduled."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._alarms: list[Alarm] = []
        self._cancelled = 0  # since they were last swept out
        self._handle: asyncio.TimerHandle | None = None

    def set(self, watch: Watch, due: float) -> Alarm:
        """Call ``watch`` when the loop's time is ``due``."""
        alarm = Alarm(self, watch, due)
        self._push(alarm)
        self._schedule()
        return alarm

    def now(self) -> float:
        """The time of the loop."""
        return self._loop.time()

    def __len__(self) -> int:
        """The number of alarms it holds, including cancelled ones."""
        return len(self._alarms)

    def _push(self, alarm: Alarm) -> None:
        alarm._queued = True
        heappush(self._alarms, alarm)

    def _ring(self) -> None:
        self._handle = None
        now = self._loop.time()
        # All that are due are taken before one is called: one that is due again at once waits for the next turn.
        for alarm in self._taken(now):
            watch = alarm._watch  # None: cancelled by one of those before it
            due = None
            with _LOOK:  # a watch that raises is not called again
                if watch is not None:
                    due = watch.look(now)
            if due is None:
                alarm._watch = None
            elif alarm._watch is not None:
                alarm.due = due
                self._push(alarm)
        self._schedule()

    def _taken(self, now: float) -> list[Alarm]:
        taken: list[Alarm] = []
        while self._alarms and len(taken) < SHARE and self._alarms[0].due <= now:
            alarm = heappop(self._alarms)
            alarm._queued = False
            if alarm._watch is not None:
                taken.append(alarm)
        return taken

    def _dropped(self) -> None:
        self._cancelled += 1
        if self._cancelled * 2 > len(self._alarms):
            self._alarms = [alarm for alarm in self._alarms if alarm._watch is not None]
            heapify(self._alarms)
            self._cancelled = 0
            self._schedule()

    def _schedule(self) -> None:
        """Have the loop call when the first alarm is due, and not at all where there is none."""
        due = self._alarms[0].due if self._alarms else None
        if self._handle is not None:
            if due is not None and self._handle.when() <= due:
                return  # at worst it rings for nothing
            self._handle.cancel()
            self._handle = None
        if due is not None:
            # In an empty context: the current one, of some socket, would be kept alive until then.
            self._handle = self._loop.call_at(due, self._ring, context=contextvars.Context())


# A timer is referenced by its alarms and by its loop, not from here: it refers to the loop, and a loop that is thrown
# away could never be collected.
_timers: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Timer]]] = weakref.WeakKeyDictionary()


def running_timer() -> Timer:
    """The timer of the running loop."""
    loop = asyncio.get_running_loop()
    known = _timers.get(loop)
    timer = None if known is None else known()
    if timer is None:
        timer = Timer(loop)
        _timers[loop] = weakref.ref(timer)
    return timer


SECOND_LOOKS: Final = 20
"""Turns of the loop between the end of a client's time and the decision that the client is gone.

A process that was blocked finds the client's frame unread when it continues: the frame has to pass the server's parser,
its queue and maybe a middleware or two, each of which takes a turn.
"""
