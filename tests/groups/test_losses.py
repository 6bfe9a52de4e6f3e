"""What a channel layer does not bring, brings twice or brings late: noticed, counted and told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from routesock import DeliveryCounts, RouteMixin, abroadcast, broadcast, delivery_counts
from routesock._groups import hub, losses
from routesock._groups.losses import BURST, SETTLES, Burst, Numbering, Watch
from routesock.signals import deliveries_lost
from routesock.testing import ClientTimeout, RouteClient
from tests.clock import Hours, advance, shifted
from tests.takeover.driver import Socket, turns, until

CAPACITY = 3


class Crossing(InMemoryChannelLayer):
    """As one that reaches other processes; what it is sent while it is ``down`` raises, and it can be held up."""

    down = False
    held: list[Any] | None = None

    async def group_send(self, group: str, message: Any) -> None:
        if self.down:
            raise ConnectionError("down")
        if self.held is not None:
            self.held.append((group, message))
            return
        for channel in self.groups.get(group, ()):  # all at once, unlike the one in memory
            with suppress(ChannelFull):
                await self.send(channel, message)

    async def let_go(self, *which: int) -> None:
        """Bring what was held up, in the order of its indices."""
        held, self.held = self.held, None
        assert held is not None
        for index in which:
            await self.group_send(*held[index])


@pytest.fixture
def layer() -> Iterator[Any]:
    backend = {"BACKEND": f"{__name__}.Crossing", "CONFIG": {"capacity": CAPACITY}}
    with override_settings(CHANNEL_LAYERS={"default": backend}):
        yield get_channel_layer()


class Told(list[dict[str, Any]]):
    """What the receivers of ``deliveries_lost`` are told."""

    def receive(self, **arguments: Any) -> None:
        asyncio.get_running_loop()  # raises in any other thread
        del arguments["signal"]
        self.append(arguments)


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    deliveries_lost.connect(told.receive, weak=False, dispatch_uid="told")
    yield told
    deliveries_lost.disconnect(dispatch_uid="told")


class Since:
    """The counts of the process since the test began."""

    def __init__(self) -> None:
        self.before = delivery_counts()

    def __call__(self) -> dict[str, int]:
        pairs = zip(DeliveryCounts._fields, self.before, delivery_counts(), strict=True)
        return {field: now - before for field, before, now in pairs if now != before}


@pytest.fixture
def counted() -> Since:
    return Since()


class News(RouteMixin, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.socket.join("news")
        await self.accept()


async def send(*numbers: int) -> None:
    """Broadcast ``numbers`` in one turn of the loop, so that a layer with little room cannot take them all."""
    await asyncio.gather(*(abroadcast("news", "news", number) for number in numbers))


async def heard(client: RouteClient, number: int) -> list[int]:
    """What comes to ``client``: so many pushes, and no more."""
    numbers = [(await client.receive())["payload"] for _ in range(number)]
    await client.settle()
    with pytest.raises(ClientTimeout):
        await client.receive(timeout=0)
    return numbers


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


# What numbers tell

ARRIVALS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 12)), max_size=60)


@given(ARRIVALS, st.sets(st.integers(0, 60)))
def test_losses_are_what_a_sender_numbered_between_its_first_and_its_last_arrival(
    arrivals: list[tuple[str, int]], ends: set[int]
) -> None:
    """In any order, with any repetition, and with bursts that end anywhere."""
    watch, period = Watch(), object()
    firsts: dict[str, int] = {}
    delivered: set[tuple[str, int]] = set()
    told: set[tuple[str, int]] = set()
    burst = 0
    for index, (sender, number) in enumerate(arrivals):
        more = watch.arrived(period, sender, number, certain=True)
        assert (more is None) == ((sender, number) in delivered)
        burst += more or 0
        delivered.add((sender, number))
        firsts.setdefault(sender, number)
        lost = {
            (each, missing)
            for each, first in firsts.items()
            for missing in range(first + 1, max(number for other, number in delivered if other == each))
        } - delivered
        assert burst == len(lost - told)
        if index in ends:
            watch.settle()
            told |= lost
            burst = 0


@given(ARRIVALS)
def test_nothing_is_lost_as_long_as_it_is_uncertain_who_is_in_the_group(arrivals: list[tuple[str, int]]) -> None:
    watch, period = Watch(), object()
    new = Counter(arrival for arrival in arrivals if watch.arrived(period, *arrival, certain=False) is not None)
    assert new == Counter({*arrivals})


def test_a_period_in_a_group_knows_nothing_of_the_one_before() -> None:
    watch = Watch()
    first, second = object(), object()
    assert watch.arrived(first, "a", 1, certain=True) == 0
    assert watch.arrived(second, "a", 9, certain=True) == 0
    assert watch.arrived(second, "a", 12, certain=True) == 2


def test_a_hub_follows_so_many_senders_and_waits_for_so_many_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MAX_COUNTERS", 3)
    monkeypatch.setattr(losses, "MAX_MISSING", 5)
    watch, period = Watch(), object()
    for sender in "abcd":
        watch.arrived(period, sender, 1, certain=True)
    assert watch.arrived(period, "d", 1_000_001, certain=True) == 999_999
    assert watch.arrived(period, "a", 9, certain=True) == 0  # forgotten, and so a beginning
    assert (len(watch._seen), len(watch._missing)) == (3, 5)
    late = [watch.arrived(period, "d", number, certain=True) for number in (1_000_000, 999_996, 999_995)]
    assert late == [-1, -1, None]


def test_a_counter_that_was_forgotten_is_followed_by_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MAX_COUNTERS", 2)
    counters, layer = Numbering(), object()
    first = [counters.next(layer, "a") for _ in range(3)]
    assert [number for _, number in first] == [1, 2, 3]
    counters.next(layer, "b")
    assert counters.next(layer, "a") == (first[0][0], 4)  # asked for later than "b"
    counters.next(layer, "c")
    assert counters.next(layer, "a") == (first[0][0], 5)
    name, number = counters.next(layer, "b")
    assert (number, len(counters._counters)) == (1, 2)
    assert counters.next(layer, "c")[0] != name


def test_each_layer_of_a_process_has_counters_of_its_own() -> None:
    counters, one, other = Numbering(), object(), object()
    assert counters.next(one, "a")[0] != counters.next(other, "a")[0]
    assert counters.next(one, "a")[1] == 2


def test_threads_share_one_counter() -> None:
    counters, layer = Numbering(), object()
    numbers: list[tuple[str, int]] = []

    def take() -> None:
        numbers.extend([counters.next(layer, "a") for _ in range(500)])
        for _ in range(500):
            losses.count("received")

    before = delivery_counts().received
    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for name, _ in numbers}) == 1
    assert sorted(number for _, number in numbers) == [*range(1, 4001)]
    assert delivery_counts().received == before + 4000


FORK = """
import os, signal, threading
from routesock._groups import losses

before = losses.number(None, "a")
losses.count("sent", 7)
locks = losses._lock, losses._numbering._lock
for lock in locks:
    lock.acquire()  # as a thread of the parent may have
child = os.fork()
if not child:
    signal.alarm(10)
    name, number = losses.number(None, "a")
    os._exit(not (name != before[0] and number == 1 and set(losses.delivery_counts()) == {0}))
for lock in locks:
    lock.release()
assert os.waitpid(child, 0)[1] == 0
assert losses.number(None, "a") == (before[0], 2)
assert losses.delivery_counts().sent == 7
"""


def test_a_forked_process_counts_by_itself() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", FORK], check=True, timeout=60)


# Bursts


class Lines(list[tuple[int, tuple[str, ...]]]):
    """A burst on a clock, and what it tells."""

    def __init__(self) -> None:
        self.hours = Hours()
        loop: Any = self.hours
        self.burst = Burst(loop, lambda number, groups: self.append((number, groups)))


def test_a_burst_is_told_once_a_while_after_its_first_loss() -> None:
    lines = Lines()
    for group in "aab":
        lines.burst.add(group, 1)
        lines.hours.advance(BURST / 4)
    assert lines == []
    lines.hours.advance(BURST / 4)
    assert lines == [(3, ("a", "b"))]
    lines.hours.advance(9)
    lines.burst.add("c", 1)
    lines.burst.end()
    lines.hours.advance(9)
    lines.burst.end()
    assert lines[1:] == [(1, ("c",))]


def test_what_comes_late_is_taken_back() -> None:
    lines = Lines()
    lines.burst.add("a", 2)
    lines.burst.add("b", 1)
    lines.burst.add("b", -1)
    lines.hours.advance(BURST)
    assert lines == [(2, ("a",))]


def test_a_line_names_some_groups_and_none_can_forge_another() -> None:
    assert losses.named(("a", "b\nERROR")) == "'a', 'b\\nERROR'"
    assert losses.named(tuple("abcdefg")) == "'a', 'b', 'c', 'd', 'e', ..."
    assert len(losses.named(("x" * 10_000,))) < 300


# Hubs


@shifted
async def test_what_a_layer_drops_is_counted_logged_once_and_signalled(
    layer: Any, counted: Since, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    async with RouteClient(News) as client, RouteClient(News) as other:
        await send(1)
        await advance(SETTLES)
        await send(*range(2, 12))
        assert await heard(client, 4) == await heard(other, 4) == [1, 2, 3, 4]
        await send(12)
        assert await heard(client, 1) == await heard(other, 1) == [12]
        assert counted() == {"sent": 12, "received": 5}
        await advance(BURST)
        assert counted() == {"sent": 12, "received": 5, "lost": 7}
    assert warnings(caplog) == [
        (
            "7 broadcasts to 1 group did not arrive: the channel layer Crossing dropped them (its capacity or expiry, "
            "or it was restarted). Groups: 'routesock.group.news'."
        )
    ]
    assert told == [{"sender": Crossing, "count": 7, "groups": ("routesock.group.news",), "reason": "layer"}]


@shifted
async def test_a_burst_is_told_when_the_last_socket_leaves(layer: Any, counted: Since, told: Told) -> None:
    async with RouteClient(News) as client:
        await send(1)
        await advance(SETTLES)
        await send(*range(2, 7))
        await heard(client, 4)
        await send(7)
        await heard(client, 1)
        assert told == []
    assert [each["count"] for each in told] == [2]
    assert counted()["lost"] == 2


@shifted
async def test_what_comes_twice_is_delivered_once(layer: Any, counted: Since) -> None:
    async with RouteClient(News) as client:
        layer.held = []
        await send(1, 2, 3)
        await layer.let_go(0, 0, 1)
        assert await heard(client, 2) == [1, 2]
        layer.held = []
        await send(4)
        layer.held = [*layer.held, *layer.held]
        await layer.let_go(0, 1)
        assert await heard(client, 1) == [4]
        await advance(BURST)
    assert counted() == {"sent": 4, "received": 3, "repeated": 2}


@shifted
async def test_what_is_overtaken_is_delivered_and_not_lost(layer: Any, counted: Since, told: Told) -> None:
    async with RouteClient(News) as client:
        await advance(SETTLES)
        layer.held = []
        await send(1, 2, 3)
        await layer.let_go(1, 2, 0)
        assert await heard(client, 3) == [2, 3, 1]
        layer.held = []
        await send(4, 5, 6)
        await layer.let_go(2, 0, 1)
        assert await heard(client, 3) == [6, 4, 5]
        await advance(BURST)
    assert counted() == {"sent": 6, "received": 6}
    assert told == []


@shifted
async def test_what_comes_after_it_was_told_as_lost_is_delivered(layer: Any, counted: Since) -> None:
    async with RouteClient(News) as client:
        await send(1)
        await advance(SETTLES)
        layer.held = []
        await send(2, 3)
        held = layer.held
        await layer.let_go(1)
        assert await heard(client, 2) == [1, 3]
        await advance(BURST)
        layer.held = held
        await layer.let_go(0)
        assert await heard(client, 1) == [2]
        await advance(BURST)
    assert counted() == {"sent": 3, "received": 3, "lost": 1}


@shifted
async def test_what_is_sent_while_the_layer_fails_raises_and_is_lost(layer: Any, counted: Since) -> None:
    async with RouteClient(News) as client:
        await send(1)
        await advance(SETTLES)
        layer.down = True
        for number in (2, 3):
            with pytest.raises(ConnectionError):
                await send(number)
        layer.down = False
        await send(4)
        assert await heard(client, 2) == [1, 4]
    assert counted() == {"sent": 2, "failed": 2, "received": 2, "lost": 2}


@shifted
async def test_what_is_sent_to_a_group_without_members_here_is_not_lost(layer: Any, counted: Since) -> None:

    class Elsewhere(RouteMixin, AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            await self.socket.join("elsewhere")
            await self.accept()

    async with RouteClient(Elsewhere):  # the hub lives on
        for first in (1, 11, 21):
            async with RouteClient(News) as client:
                await advance(SETTLES)
                await send(first)
                assert await heard(client, 1) == [first]
            await send(*range(first + 1, first + 10))
        await advance(BURST)
    assert counted() == {"sent": 30, "received": 3}


@shifted
async def test_what_comes_soon_after_joining_may_lack_something(layer: Any, counted: Since) -> None:
    """It may have been on its way before that, and what followed it went to nobody here."""
    async with RouteClient(News) as client:
        layer.held = []
        await send(1, 2, 3)
        held = layer.held
        await layer.let_go(0, 2)
        assert await heard(client, 2) == [1, 3]
        await advance(SETTLES)
        await send(4)
        layer.held = held
        await layer.let_go(1)
        assert await heard(client, 2) == [4, 2]
        await advance(BURST)
    assert counted() == {"sent": 4, "received": 4}


@pytest.mark.parametrize("numbers", [{}, {"from": 1, "seq": 2}, {"from": "a", "seq": "b"}])
async def test_a_message_without_numbers_is_delivered(layer: Any, counted: Since, numbers: Any) -> None:
    async with RouteClient(News) as client:
        message = {"type": "routesock.push", "group": "routesock.group.news", "data": '["news", 1, {}]', **numbers}
        for _ in range(2):
            await layer.group_send("routesock.group.news", message)
        assert await heard(client, 2) == [1, 1]
    assert counted() == {"received": 2}


async def test_in_memory_nothing_is_numbered_and_nothing_lost(counted: Since) -> None:
    layer = get_channel_layer()
    assert type(layer) is InMemoryChannelLayer
    many = 5 * layer.capacity
    async with RouteClient(News) as client:
        await send(*range(many))
        assert await heard(client, many) == [*range(many)]
    assert counted() == {"sent": many}


async def test_threads_that_broadcast_faster_than_the_loop_writes_lose_the_newest(
    monkeypatch: pytest.MonkeyPatch, counted: Since, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hub, "MAX_BACKLOG", 10)
    async with RouteClient(News) as client, RouteClient(News) as other:

        def flood() -> None:
            for number in range(15):
                broadcast("news", "news", number)

        thread = threading.Thread(target=flood)
        thread.start()
        thread.join()  # and the loop meanwhile has no turn
        assert await heard(client, 10) == await heard(other, 10) == [*range(10)]
    assert counted() == {"sent": 15, "dropped": 10}
    assert warnings(caplog) == [
        (
            "10 pushes were dropped in 1 group: other threads broadcast faster than the event loop can write. "
            "Groups: 'routesock.group.news'."
        )
    ]
    assert told == [
        {"sender": InMemoryChannelLayer, "count": 10, "groups": ("routesock.group.news",), "reason": "backlog"}
    ]


# Sockets


@override_settings(ROUTESOCK={"MAX_OUTGOING": 2})
async def test_what_comes_before_connect_has_returned_is_bounded(
    counted: Since, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(News):
        async def connect(self) -> None:
            await super().connect()
            await send(*range(5))
            await asyncio.sleep(0.01)

    async with RouteClient(Slow) as client:
        assert await heard(client, 2) == [0, 1]
    assert counted() == {"sent": 5, "dropped": 3}
    assert told == [{"sender": Slow, "count": 3, "groups": (), "reason": "connect"}]
    assert warnings(caplog) == ["3 pushes were dropped that came before a socket was ready for them."]


async def test_what_a_slow_client_does_not_get_is_counted(counted: Since, told: Told) -> None:
    class Dropping(News):
        route_overflow = "drop"

    with override_settings(ROUTESOCK={"MAX_OUTGOING": 5}):
        async with Socket(Dropping.as_asgi()) as client:  # type: ignore[attr-defined]
            client.writable.clear()
            for number in range(20):
                await abroadcast("news", "news", number)
            await turns()
            client.writable.set()
            await until(lambda: [frame["payload"] for frame in client.frames] == [0, *range(15, 20)])
            await until(lambda: told)
    assert counted() == {"sent": 20, "dropped": 14}
    assert told == [{"sender": Dropping, "count": 14, "groups": (), "reason": "client"}]
