"""Time that a test sets: for modules that only ask a loop when to call, and for whole sockets."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class Handle:
    """What :meth:`Hours.call_at` gives."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when = when
        self.callback = callback
        self.cancelled = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.cancelled = True


class Hours:
    """As much of a loop as a timer needs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.scheduled: list[Handle] = []
        self.turns = 0

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Callable[[], None], *, context: contextvars.Context | None = None
    ) -> Handle:
        handle = Handle(when, callback)
        self.scheduled.append(handle)
        return handle

    def pending(self) -> list[Handle]:
        return [handle for handle in self.scheduled if not handle.cancelled]

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what is due meanwhile: each at its time, and what it schedules in another turn."""
        end = self.now + seconds
        while due := [handle for handle in self.pending() if handle.when() <= end]:
            handle = min(due, key=Handle.when)
            self.scheduled.remove(handle)
            self.now = max(self.now, handle.when())
            self.turns += 1
            handle.callback()
        self.now = end


class ShiftedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test puts forward.

    It goes on by itself, too, since threads and sockets take their time: ten times slower than a real clock, so that
    what is due in a second is not due before a busy machine has come to the next line of the test.
    """

    shift = 0.0

    def time(self) -> float:
        return super().time() / 10 + self.shift


async def advance(seconds: float) -> None:
    """Put the running :class:`ShiftedLoop` forward, and let run what is due then.

    What goes on at the moment comes to its rest first: a socket that has answered may not wait for a frame yet.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShiftedLoop)
    for shift in (0, seconds):
        loop.shift += shift
        for _ in range(100):
            await asyncio.sleep(0)


class _Skipping(selectors.SelectSelector):
    """Moves its clock on instead of waiting, unless it is a thread that is waited for."""

    now = 0.0
    threads = 0
    """Calls that are in other threads at the moment."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(None if self.threads and timeout != 0 else 0)
        if not events:
            if timeout is None:
                raise RuntimeError("Every task waits, and nothing is scheduled.")
            self.now += max(timeout, 0)
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop in which waiting takes no time, so that limits of milliseconds hold on the busiest machine.

    For tests without sockets: when no task can run, and no thread does, the clock jumps to what is scheduled next.
    """

    def __init__(self) -> None:
        self._clock = _Skipping()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def run_in_executor(self, *args: Any) -> asyncio.Future[Any]:
        call = super().run_in_executor(*args)
        self._clock.threads += 1
        call.add_done_callback(self._returned)
        return call

    def _returned(self, call: asyncio.Future[Any]) -> None:
        self._clock.threads -= 1


Test = Callable[..., Coroutine[Any, Any, None]]


def _runs_in(loop_factory: Callable[[], asyncio.AbstractEventLoop], test: Test) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test(*args, **kwargs))

    return run


def shifted(test: Test) -> Callable[..., None]:
    """Runs an async test in a :class:`ShiftedLoop`."""
    return _runs_in(ShiftedLoop, test)


def simulated(test: Test) -> Callable[..., None]:
    """Runs an async test in a :class:`SimulatedLoop`."""
    return _runs_in(SimulatedLoop, test)
