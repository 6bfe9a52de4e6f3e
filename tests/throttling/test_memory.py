"""The memory store: compared with a list of all calls, bounded, and shared by threads."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock.throttling.base import ALLOWED, MAX_TIMES, Bucket, Decision, Quota, Window
from routesock.throttling.memory import MAX_LOGS, MemoryStore
from tests.throttling.model import PERIOD, Model, few, many, pauses, window

SECOND = 1_000_000


class Clock:
    """The clock in microseconds; only a test advances it. The store reads nanoseconds."""

    def __init__(self) -> None:
        self.now = 5

    def __call__(self) -> int:
        return self.now * 1000 + 999  # what is less than a microsecond never counts


class Store(MemoryStore):
    def __init__(self, max_logs: int = MAX_LOGS) -> None:
        self.clock = Clock()
        super().__init__(self.clock, max_logs)

    def call(self, *buckets: Bucket, quotas: bool = False) -> Decision:
        return self.decide(buckets, quotas)

    def passes(self, one: Window, caller: str = "a", cost: int = 1) -> bool:
        return self.call((one, caller, cost)).wait == 0


calls = st.lists(st.tuples(pauses, st.integers(1, 5), st.sampled_from("abc")), max_size=150)


@given(few, calls)
def test_a_call_is_allowed_if_and_only_if_it_fits(limit: int, calls: Sequence[tuple[int, int, str]]) -> None:
    """There are at most N calls in any period, and a call that fits is allowed, to the microsecond."""
    one = window(limit)
    store, models = Store(), {caller: Model(one) for caller in "abc"}
    for pause, cost, caller in calls:
        store.clock.now += pause
        now, model = store.clock.now, models[caller]
        if cost <= limit:
            assert store.passes(one, caller, cost) == model.has_room(now, cost)
            if model.has_room(now, cost):
                model.add(now, cost)


@given(many, st.lists(st.tuples(pauses, st.integers(1, MAX_TIMES)), max_size=300))
def test_large_windows_never_allow_more_and_round_up(limit: int, calls: Sequence[tuple[int, int]]) -> None:
    """There are at most N calls in any period; a call that fits a hundredth of the period later is allowed."""
    one = window(limit)
    store, model = Store(), Model(one)
    for pause, cost in calls:
        store.clock.now += pause
        now = store.clock.now
        if store.passes(one, cost=cost):
            model.add(now, cost)
        else:
            assert not model.has_room(now, cost, late=one.resolution)
    logs = store._windows[one.key] if calls else {}
    assert all(len(log.entries) <= 2 * (MAX_TIMES + 2) for log in logs.values())


@given(few | many, calls)
def test_same_call_is_allowed_after_the_wait(limit: int, calls: Sequence[tuple[int, int, str]]) -> None:
    """And not a microsecond before."""
    one = window(limit)
    store = Store()
    for pause, cost, caller in calls:
        store.clock.now += pause
        wait = store.call((one, caller, cost)).wait if cost <= limit else 0
        if wait:
            before = store.clock.now
            store.clock.now = before + round(wait * SECOND) - 1
            assert not store.passes(one, caller, cost)
            store.clock.now += 1
            assert store.passes(one, caller, cost)
            assert 0 < wait <= PERIOD * (1 + 1 / MAX_TIMES)


@pytest.mark.parametrize("limit", [2, 200])
def test_calls_expire_to_the_microsecond(limit: int) -> None:
    """Exactly after the time in the refusal."""
    one = window(limit)
    store = Store()
    store.clock.now = one.period + 1
    for cost in (limit - 1, 1):
        assert store.passes(one, cost=cost)
        store.clock.now += 20 * SECOND
    store.clock.now += round(store.call((one, "a", 1)).wait * SECOND) - 1
    assert store.call((one, "a", 1)).wait == 1 / SECOND
    store.clock.now += 1
    assert store.passes(one)


@given(st.lists(st.tuples(pauses, st.integers(0, 3), st.integers(0, 3)), max_size=100))
def test_of_several_windows_a_call_takes_from_all_or_none(calls: Sequence[tuple[int, int, int]]) -> None:
    """A refusal by one window takes nothing from the other."""
    first, second = window(5, name="first"), window(7, period=PERIOD * 1.5, name="second")
    store, models = Store(), (Model(first), Model(second))
    for pause, *costs in calls:
        store.clock.now += pause
        now = store.clock.now
        fits = all(model.has_room(now, cost) for model, cost in zip(models, costs, strict=True))
        decision = store.call((first, "a", costs[0]), (second, "a", costs[1]))
        assert (decision.wait == 0) == fits
        for model, cost in zip(models, costs, strict=True):
            if fits:
                model.add(now, cost)


def test_quotas_are_returned_on_request_and_with_a_refusal() -> None:
    """They have the remaining calls and the microseconds until there is one more."""
    one, other = window(3), window(500, name="other")
    store = Store()
    assert store.call((one, "a", 2)) is ALLOWED
    store.clock.now += 10 * SECOND
    decision = store.call((one, "a", 1), (other, "a", 1), quotas=True)
    assert decision.wait == 0
    assert decision.quotas[0] == Quota(0, 990 * SECOND)
    assert decision.quotas[1].remaining == 499
    assert 1000 * SECOND <= decision.quotas[1].reset <= 1010 * SECOND
    assert store.call((one, "a", 1)) == Decision(990, [Quota(0, 990 * SECOND)])
    assert store.call((one, "b", 0), quotas=True) == Decision(0, [Quota(3, 0)])


def test_callers_and_windows_are_independent() -> None:
    """Each caller has all of each window."""
    one, other = window(1), window(1, name="other")
    store = Store()
    assert [store.passes(which, caller) for which in (one, other) for caller in "aabb"] == [True, False] * 4


def test_a_call_without_cost_is_always_allowed_and_not_recorded() -> None:
    """Even if there are no calls left."""
    one = window(1)
    store = Store()
    assert store.passes(one, "new", cost=0)
    assert len(store) == 0
    assert store.passes(one)
    assert not store.passes(one)
    assert store.passes(one, cost=0)


class TestBound:
    def test_unexpired_log_is_never_dropped(self) -> None:
        """Not even for a new caller. New callers of a full window share one log, so they are not let through freely."""
        one = window(1)
        store = Store(max_logs=4)
        assert all(store.passes(one, caller) for caller in "ab")
        assert store.passes(one, "c")
        assert not any(store.passes(one, caller) for caller in "abcdef")
        assert len(store) == 3

    def test_newcomers_of_a_full_window_share_its_limit(self) -> None:
        one = window(3, period=100)
        store = Store(max_logs=2)
        assert store.passes(one, "a")
        assert [store.passes(one, caller) for caller in "bcde"] == [True, True, True, False]
        assert store.call((one, "x", 1), quotas=True) == Decision(100, [Quota(0, 100 * SECOND)])
        assert [store.passes(one, "a") for _ in range(3)] == [True, True, False]
        store.clock.now += 100 * SECOND
        assert store.passes(one, "f")
        assert store.call((one, "f", 0), quotas=True).quotas == [Quota(2, 100 * SECOND)]

    def test_one_window_does_not_fill_the_store_for_others(self) -> None:
        """A client that may choose its key, such as a name in the payload, takes half of the store at most."""
        attacked, other = window(1), window(1, name="other")
        store = Store(max_logs=100)
        for number in range(1000):
            store.passes(attacked, str(number))
        assert len(store) == 51  # the shared log is one of them
        assert all(store.passes(other, str(number)) for number in range(20))
        assert not any(store.passes(other, str(number)) for number in range(20))

    def test_call_that_a_shared_log_refuses_takes_nothing(self) -> None:
        """From no window."""
        one, other = window(5), window(1, name="other")
        store = Store(max_logs=3)
        assert store.call((one, "a", 1), (other, "a", 1)) is ALLOWED
        assert store.call((one, "a", 1), (other, "b", 1)) is ALLOWED
        assert store.call((one, "a", 1), (other, "c", 1)).wait
        assert store.call((one, "a", 0), quotas=True).quotas[0].remaining == 3

    def test_first_expired_log_makes_room(self) -> None:
        """As soon as it expires, in any window."""
        short, long = window(1, period=10, name="short"), window(1, period=1000, name="long")
        store = Store(max_logs=3)
        assert store.passes(long)
        assert store.passes(short)
        store.clock.now += 10 * SECOND - 1
        assert store.passes(long, "b")  # in the shared log
        assert not store.passes(long, "c")
        store.clock.now += 1
        assert not store.passes(long, "c")
        assert not store.passes(long)

    def test_allowed_call_moves_its_caller_to_the_end(self) -> None:
        """The caller of the last call is dropped last."""
        one = window(5)
        store = Store(max_logs=4)
        for caller in "aba":
            assert store.passes(one, caller)
            store.clock.now += 100 * SECOND
        store.clock.now += 800 * SECOND  # b's call was 1000 s ago, and a's first one 1100
        assert store.passes(one, "c")
        assert [store.call((one, caller, 0), quotas=True).quotas[0].remaining for caller in "abc"] == [4, 5, 4]

    @given(st.lists(st.tuples(pauses, st.integers(0, 9), st.booleans()), max_size=200))
    def test_number_of_logs_is_right_and_nothing_is_allowed_that_exceeds_a_limit(
        self, calls: Sequence[tuple[int, int, bool]]
    ) -> None:
        """For all sequences of calls. What is refused exceeds the limit, or the caller shares a log."""
        windows = window(2, name="short", period=PERIOD / 4), window(3)
        store = Store(max_logs=8)
        models = {(one.key, caller): Model(one) for one in windows for caller in range(10)}
        for pause, caller, which in calls:
            store.clock.now += pause
            now, one = store.clock.now, windows[which]
            model = models[one.key, caller]
            had_log = str(caller) in store._windows.get(one.key, ())
            passed = store.passes(one, str(caller))
            if passed:
                model.add(now, 1)
            if str(caller) in store._windows[one.key] and not had_log:
                model.calls = model.calls[-1:]  # those before were counted in the shared log
            if had_log:
                assert passed or not model.has_room(now, 1)
            assert len(store) == sum(map(len, store._windows.values())) <= 8 + len(windows)

    def test_full_windows_are_logged_once_a_minute(self, caplog: pytest.LogCaptureFixture) -> None:
        one = window(1)
        store = Store(max_logs=1)
        for pause in (0, 1, 58, 2):
            store.clock.now += pause * SECOND
            for caller in "abc":
                store.passes(one, caller)
        assert [record.getMessage() for record in caplog.records] == [
            "The memory store counts as many callers of a throttle as it may: new ones share one limit."
        ] * 2

    def test_expired_logs_do_not_accumulate(self) -> None:
        """Each new log drops two of them."""
        one = window(1, period=10)
        store = Store()
        most = 0
        for number in range(1000):
            store.clock.now += SECOND
            assert store.passes(one, str(number))
            most = max(most, len(store))
        assert most <= 12


def test_clear_forgets_every_call() -> None:
    """For ``forget_throttles()``."""
    one = window(1)
    store = Store()
    assert [store.passes(one) for _ in range(2)] == [True, False]
    store.clear()
    assert len(store) == 0
    assert [store.passes(one) for _ in range(2)] == [True, False]


def test_threads_share_the_limit() -> None:
    """Event loops in several threads share the store of their process."""
    store = MemoryStore()
    one = window(500)
    start = threading.Barrier(8)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def hammer(caller: str) -> int:
        start.wait()
        return sum(store.decide([(one, caller, 1)], False).wait == 0 for _ in range(300))

    passed = Counter[str]()
    try:
        with ThreadPoolExecutor(8) as pool:
            for caller, count in zip("abababab", pool.map(hammer, "abababab"), strict=True):
                passed[caller] += count
    finally:
        sys.setswitchinterval(interval)
    assert passed == {"a": 500, "b": 500}
    assert len(store) == 2
