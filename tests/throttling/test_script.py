"""The script that counts in Redis decides as the store in memory does, by whatever clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routesock.throttling.base import MICROSECONDS, Bucket, Decision, Quota, Window, parse_rate
from routesock.throttling.memory import MemoryStore
from routesock.throttling.redis import TAKE
from tests.servers import HOST
from tests.throttling.model import PERIOD, Model, few, many, pauses, window
from tests.throttling.redis_server import RedisServer

pytestmark = pytest.mark.servers

OF_THE_SERVER = "redis.call('TIME')"
OF_THE_TEST = "{ARGV[#ARGV - 1], ARGV[#ARGV]}"

BEGINNING = 1_700_000_000 * MICROSECONDS
"""As long after 1970 as a server's clock is."""

on_one_server = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class Script:
    """The script with a clock of the test's own."""

    def __init__(self, client: redis.Redis) -> None:
        assert TAKE.text.count(OF_THE_SERVER) == 1
        self.client = client
        self.run = client.register_script(TAKE.text.replace(OF_THE_SERVER, OF_THE_TEST))
        self.now = BEGINNING

    def forget(self) -> None:
        self.client.flushall()
        self.now = BEGINNING

    def take(self, *buckets: Bucket) -> Decision:
        keys = [f"{one.key}:{caller}" for one, caller, _ in buckets]
        numbers = [number for one, _, cost in buckets for number in (one.limit, one.period, one.resolution, cost)]
        wait, *pairs = self.run(keys, [*numbers, self.now // MICROSECONDS, self.now % MICROSECONDS])
        quotas = [Quota(*pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)]
        return Decision(wait / MICROSECONDS, quotas)


@pytest.fixture
def script(redis_server: RedisServer) -> Iterator[Script]:
    with redis.Redis(host=HOST, port=redis_server.port) as client:
        yield Script(client)


@on_one_server
@given(
    limits=st.lists(few | many, min_size=1, max_size=3),
    calls=st.lists(st.tuples(pauses, st.lists(st.integers(0, 60), min_size=3, max_size=3)), max_size=60),
)
def test_both_stores_decide_alike(
    script: Script, limits: Sequence[int], calls: Sequence[tuple[int, Sequence[int]]]
) -> None:
    """Who passes, how long others wait, and what is left: of one window and of several, small and large."""
    script.forget()
    windows = [window(limit, name=f"{number}", period=PERIOD * number) for number, limit in enumerate(limits, 1)]
    memory = MemoryStore(lambda: script.now * 1000)
    for pause, costs in calls:
        script.now += pause
        buckets = [(one, "a", min(cost, one.limit)) for one, cost in zip(windows, costs, strict=False)]
        assert script.take(*buckets) == memory.decide(buckets, True)


@on_one_server
@given(
    limit=few | many,
    calls=st.lists(st.tuples(pauses | st.integers(-PERIOD * 3_000_000, -1), st.integers(1, 60)), max_size=80),
)
def test_clock_that_is_set_back_lets_nobody_through_twice(
    script: Script, limit: int, calls: Sequence[tuple[int, int]]
) -> None:
    """At most N in any period that has really passed, and nobody waits longer than a period by the new clock."""
    script.forget()
    one = window(limit)
    passed, model = 0, Model(one)
    for step, cost in calls:
        script.now += step
        passed += max(step, 0)
        wait = script.take((one, "a", min(cost, limit))).wait
        if wait:
            assert wait * MICROSECONDS <= one.period + one.resolution
        else:
            model.add(passed, min(cost, limit))


@pytest.mark.parametrize("limit", [2, 200])
def test_place_is_free_again_to_the_microsecond(script: Script, limit: int) -> None:
    """When the reply to a refused call said, and not before."""
    one = window(limit)
    script.now += 1
    for cost in (limit - 1, 1):
        assert script.take((one, "a", cost)).wait == 0
        script.now += 20 * MICROSECONDS
    wait = script.take((one, "a", 1)).wait
    script.now += round(wait * MICROSECONDS) - 1
    assert script.take((one, "a", 1)).wait == 1 / MICROSECONDS
    script.now += 1
    decision = script.take((one, "a", 1))
    assert (decision.wait, decision.quotas[0].remaining) == (0, limit - 2)


def test_log_is_small(script: Script) -> None:
    """However many calls a window lets through: 12 bytes for each of a hundred parts."""
    one = window(1_000_000)
    for _ in range(300):
        script.now += one.period // 250
        assert script.take((one, "a", 3000)).wait == 0
    assert script.client.strlen(f"{one.key}:a") <= 4 + 12 * 102


def test_log_goes_when_it_says_nothing_any_more(script: Script) -> None:
    """Redis forgets a caller who is silent for a period."""
    one, large = window(3), window(3000, name="large")
    script.now += 1  # just behind the beginning of a part
    script.take((one, "a", 1), (large, "a", 1))
    lasts = [script.client.pttl(f"{which.key}:a") for which in (one, large)]
    assert PERIOD * 1000 - 1000 < lasts[0] <= PERIOD * 1000 + 2
    assert PERIOD * 1010 - 1000 < lasts[1] <= PERIOD * 1010 + 2


def test_refused_and_free_calls_write_nothing(script: Script) -> None:
    """A refused call costs nothing, in Redis neither."""
    one, other = window(1), window(2, name="other")
    assert script.take((one, "a", 1)).wait == 0
    before = script.client.dump(f"{one.key}:a")
    assert script.take((one, "a", 1), (other, "a", 1)).wait == PERIOD
    assert script.take((one, "a", 0)).wait == 0
    assert script.client.dump(f"{one.key}:a") == before
    assert script.client.exists(f"{other.key}:a") == 0


def test_largest_rates_fit(script: Script) -> None:
    """The most that the grammar can say."""
    one = Window("tests", "largest", parse_rate("1000000000/366d"))
    for cost in (10**9 - 1, 1):
        assert script.take((one, "a", cost)).wait == 0
    assert script.take((one, "a", 1)).wait == pytest.approx(366 * 86_400, rel=0.02)
