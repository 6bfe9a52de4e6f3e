"""The timer: when it looks after what, and what it keeps."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock._runtime.timers import SHARE, Timer, running_timer
from tests.clock import Hours


class Looking:
    """A watch that does as it is told, and keeps when it was looked at."""

    def __init__(self, then: Callable[[float], float | None] = lambda now: None) -> None:
        self.looks: list[float] = []
        self.then = then

    def look(self, now: float) -> float | None:
        self.looks.append(now)
        return self.then(now)


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
def timer(hours: Hours) -> Timer:
    loop: Any = hours
    return Timer(loop)


def test_a_watch_is_looked_at_when_its_time_has_come(timer: Timer, hours: Hours) -> None:
    watch = Looking()
    timer.set(watch, 5)
    hours.advance(4.9)
    assert watch.looks == []
    hours.advance(0.1)
    assert watch.looks == [5]


def test_a_watch_says_when_it_is_looked_at_again(timer: Timer, hours: Hours) -> None:
    watch = Looking(lambda now: now + 10 if now < 30 else None)
    timer.set(watch, 5)
    hours.advance(100)
    assert watch.looks == [5, 15, 25, 35]
    assert len(timer) == 0


def test_the_loop_calls_once_for_all_watches(timer: Timer, hours: Hours) -> None:
    """However many sockets there are, one call is scheduled."""
    for number in range(1000):
        timer.set(Looking(lambda now: now + 60), 10 + number % 50)
        assert len(hours.pending()) == 1
    hours.advance(30)
    assert len(hours.pending()) == 1


def test_an_earlier_alarm_is_not_kept_waiting(timer: Timer, hours: Hours) -> None:
    late, early = Looking(), Looking()
    timer.set(late, 60)
    timer.set(early, 5)
    assert [handle.when() for handle in hours.pending()] == [5]
    hours.advance(60)
    assert (early.looks, late.looks) == ([5], [60])


def test_an_alarm_that_is_cancelled_does_not_ring(timer: Timer, hours: Hours) -> None:
    watch, other = Looking(), Looking()
    alarm = timer.set(watch, 5)
    timer.set(other, 6)
    alarm.cancel()
    alarm.cancel()
    hours.advance(10)
    assert watch.looks == []
    assert other.looks == [6]


def test_a_cancelled_alarm_keeps_nothing(timer: Timer) -> None:
    """A closed socket is gone at once, not only when its alarm would have rung."""
    watch = Looking()
    gone = weakref.ref(watch)
    alarm = timer.set(watch, 3600)
    timer.set(Looking(), 3600)
    timer.set(Looking(), 3600)
    alarm.cancel()
    del watch
    gc.collect()
    assert gone() is None


def test_cancelled_alarms_do_not_pile_up(timer: Timer, hours: Hours) -> None:
    """Sockets that come and go leave less than they were, long before their alarms are due."""
    kept = [Looking() for _ in range(10)]
    for watch in kept:
        timer.set(watch, 3600)
    for _ in range(10_000):
        timer.set(Looking(), 3600).cancel()
    assert len(timer) <= 2 * len(kept) + 1
    hours.advance(3600)
    assert [watch.looks for watch in kept] == [[3600]] * 10


def test_nothing_is_scheduled_where_nothing_is_watched(timer: Timer, hours: Hours) -> None:
    timer.set(Looking(), 5).cancel()
    assert hours.pending() == []
    timer.set(Looking(), 5)
    hours.advance(5)
    assert hours.pending() == []


def test_what_is_due_again_at_once_waits_for_the_next_turn(timer: Timer, hours: Hours) -> None:
    """So that whatever else the loop has to do is done in between."""
    watch = Looking(lambda now: now if len(watch.looks) < 5 else None)
    timer.set(watch, 1)
    hours.advance(1)
    assert len(watch.looks) == hours.turns == 5


def test_a_crowd_is_looked_at_in_shares(timer: Timer, hours: Hours) -> None:
    watches = [Looking() for _ in range(2 * SHARE + 1)]
    for watch in watches:
        timer.set(watch, 1)
    hours.advance(1)
    assert hours.turns == 3
    assert all(watch.looks == [1] for watch in watches)


def test_a_watch_may_cancel_alarms_while_it_is_looked_at(timer: Timer, hours: Hours) -> None:
    """Its own, which then rings no more, and that of another that is due in the same moment."""
    other = Looking()

    def cancelling(now: float) -> float:
        own.cancel()
        others.cancel()
        return now + 1

    watch = Looking(cancelling)
    own = timer.set(watch, 1)
    others = timer.set(other, 1)
    hours.advance(10)
    assert (watch.looks, other.looks) == ([1], [])
    assert len(timer) == 0


def test_a_watch_may_set_alarms_while_it_is_looked_at(timer: Timer, hours: Hours) -> None:
    second = Looking()

    def setting(now: float) -> None:
        timer.set(second, now + 1)

    timer.set(Looking(setting), 1)
    hours.advance(10)
    assert second.looks == [2]
    assert hours.pending() == []


@pytest.mark.parametrize("exc", [ZeroDivisionError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_watch_that_fails_silences_no_other(
    exc: type[BaseException], timer: Timer, hours: Hours, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(now: float) -> None:
        raise exc

    broken, sound = Looking(failing), Looking(lambda now: now + 1)
    timer.set(broken, 1)
    timer.set(sound, 1)
    hours.advance(2.5)
    assert broken.looks == [1]
    assert sound.looks == [1, 2]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert len(timer) == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=200), st.randoms(use_true_random=False))
def test_alarms_ring_in_order_and_cancelled_ones_never(alarms: list[tuple[int, bool]], random: Any) -> None:
    """Whatever the order in which they are set and cancelled."""
    hours: Any = Hours()
    timer = Timer(hours)
    rung: list[int] = []
    for due, cancelled in alarms:
        alarm = timer.set(Looking(lambda now, due=due: rung.append(due)), due)  # type: ignore[misc]
        if cancelled:
            alarm.cancel()
    hours.advance(50)
    assert rung == sorted(due for due, cancelled in alarms if not cancelled)
    assert len(timer) == 0
    assert hours.pending() == []


async def test_a_loop_has_one_timer_as_long_as_it_is_used() -> None:
    alarm = running_timer().set(Looking(), asyncio.get_running_loop().time() + 60)
    assert running_timer() is running_timer()
    alarm.cancel()


def test_loops_have_timers_of_their_own() -> None:
    async def timer() -> Timer:
        return running_timer()

    assert asyncio.run(timer()) is not asyncio.run(timer())


in_test: ContextVar[str] = ContextVar("in_test", default="unset")


async def test_a_timer_keeps_no_context_of_whoever_set_it() -> None:
    """What hangs on the context of one socket would live as long as another one's alarm."""
    in_test.set("set")
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    running_timer().set(Looking(lambda now: seen.set_result(in_test.get())), 0)
    assert await seen == "unset"


def test_a_dead_loop_is_not_kept() -> None:
    """Not by its timer either, though sockets of it have alarms that will never ring."""

    async def leave_an_alarm() -> weakref.ref[Any]:
        loop = asyncio.get_running_loop()
        watch: Any = Looking()
        watch.loop = loop
        watch.alarm = running_timer().set(watch, loop.time() + 3600)
        return weakref.ref(loop)

    gone = asyncio.run(leave_an_alarm())
    gc.collect()
    assert gone() is None
