"""Hubs and followers over any course of events: hints lost, repeated and out of order, keys wiped and set back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from routesock._connection.membership.follower import Follower
from routesock._groups import history as kept
from routesock._groups import losses
from routesock._groups.envelopes import Broadcast, layer_group, message_of
from routesock._groups.history import Policy
from routesock._groups.hub import Hub
from routesock._store.histories import MemoryHistories, Position, parse_position

NAME = "room.5"
GROUP = layer_group(NAME)
HUBS = 2
CLIENTS = 4
SIZE = 6


class World:
    """One history, some hubs, and clients that come and go between them."""

    def __init__(self) -> None:
        self.histories = MemoryHistories()
        self.said = 0
        self.hubs: list[Hub] = [self.new_hub() for _ in range(HUBS)]
        self.hints: list[list[dict[str, Any]]] = [[] for _ in range(HUBS)]
        self.clients = [Client(self) for _ in range(CLIENTS)]

    def new_hub(self) -> Hub:
        return Hub(None, asyncio.get_running_loop(), self.ended)

    def ended(self, hub: Hub) -> None:
        """The last member has left: the next one finds another hub."""
        self.hubs[self.hubs.index(hub)] = self.new_hub()

    async def say(self) -> None:
        self.said += 1
        message = await kept.keep(message_of(GROUP, "said", self.said, {}), Policy(SIZE, 60))
        for hints in self.hints:
            hints.append(message)

    async def deliver(self, hub: int, which: int, again: bool) -> None:
        """Deliver one of the waiting hints, not always the first, and perhaps twice."""
        hints = self.hints[hub]
        if hints:
            message = hints[which % len(hints)] if again else hints.pop(which % len(hints))
            self.hubs[hub].take(message)
            await self.settle()

    def lose(self, hub: int, number: int) -> None:
        del self.hints[hub][:number]

    async def check(self, hub: int) -> None:
        await self.hubs[hub].check_streams()
        await self.settle()

    def wipe(self) -> None:
        self.histories._filled.clear()
        self.histories._empty.clear()

    def trim(self, number: int) -> None:
        history = self.histories._filled.get(GROUP)
        for _ in range(min(number, len(history.entries) if history else 0)):
            assert history is not None
            history.entries.popleft()

    async def set_back(self, number: int) -> None:
        """Fail over to a server that has not got the last writes. Some hub has seen them."""
        history = self.histories._filled.get(GROUP)
        positions = [hub._streams[GROUP].position for hub in self.hubs if GROUP in hub._streams]
        if history is None or not any(position == Position(history.epoch, history.top) for position in positions):
            return
        number = min(number, len(history.entries))
        history.top -= number
        for _ in range(number):
            history.entries.pop()
        for hub in range(HUBS):
            await self.check(hub)

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    async def end(self) -> None:
        """After a check, and after those who were notified have come back, everybody has everything."""
        for hub in range(HUBS):
            await self.check(hub)
        for client in self.clients:
            if client.is_connected:
                if client.is_lost:
                    await client.connect(client.home)
                assert client.state == self.said, (client.state, self.said)


class Client:
    """One that follows the rule for clients: ``Recovered: true``, apply what follows; else replace the state."""

    id: str | None = None
    writes_plainly = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.position: str | None = None
        self.state = 0  # the number of the last push that it knows, and knows all before
        self.snapshot = 0
        self.follower: Any = None
        self.home = 0
        self.is_lost = False

    @property
    def is_connected(self) -> bool:
        return self.follower is not None

    async def connect(self, hub: int) -> None:
        await self.disconnect()
        self.home = hub
        self.is_lost = False
        tasks = SimpleNamespace(start=self.start, start_task=self.start)
        subscription: Any = SimpleNamespace(
            name=NAME, recheck=None, ending=None, plan=SimpleNamespace(recover=True),
            subscriptions=SimpleNamespace(member=self, tasks=tasks, deny=self.deny),
        )  # fmt: skip
        follower = self.follower = Follower(subscription)
        request: Any = SimpleNamespace()
        if self.position is not None:
            request._since = parse_position(self.position)
        reply = await follower.begin(request)
        if reply is None:
            self.state = self.snapshot = self.world.said  # the handler runs
        await asyncio.sleep(0)
        headers = follower.headers()
        assert headers.get("Recovered") is (None if self.position is None else reply is not None)
        self.position = headers["Position"]
        follower.start()
        await self.world.settle()

    async def disconnect(self) -> None:
        if self.follower is not None:
            home = self.hub()
            self.follower.stop()
            self.follower = None
            await home.leave(GROUP, self)

    def start(self, coroutine: Any) -> Any:
        return asyncio.get_running_loop().create_task(coroutine)

    async def deny(self, subscription: Any, error: Any) -> None:
        assert error.code == "history_lost"
        self.is_lost = True

    # As a member of the socket's group

    def hub(self) -> Hub:
        return self.world.hubs[self.home]

    async def subscribe(self, name: str, taker: Any) -> None:
        await self.hub().join(GROUP, self)

    def deliver(self, broadcast: Any) -> None:
        if self.follower is not None:
            self.follower.take(broadcast)

    def skip(self, broadcast: Broadcast) -> None:
        raise AssertionError("nobody is excluded")

    def write_kept(self, broadcast: Broadcast) -> None:
        number = broadcast._payload
        if number > self.snapshot:  # what the snapshot has may come again
            assert number == self.state + 1, (number, self.state)
            self.state = number
        before, at = parse_position(str(self.position)), broadcast.position
        assert before is not None
        assert at == Position(before.epoch, before.offset + 1)
        self.position = str(at)

    async def write_in_turn(self, broadcasts: Iterator[Broadcast]) -> None:
        for broadcast in broadcasts:
            self.write_kept(broadcast)
            await asyncio.sleep(0)


HUB = st.integers(0, HUBS - 1)
CLIENT = st.integers(0, CLIENTS - 1)
NUMBER = st.integers(1, SIZE)
EVENT = st.one_of(
    st.tuples(st.just("say")),
    st.tuples(st.just("say")),
    st.tuples(st.just("deliver"), HUB, st.integers(0, 3), st.booleans()),
    st.tuples(st.just("deliver"), HUB, st.just(0), st.just(False)),
    st.tuples(st.just("lose"), HUB, NUMBER),
    st.tuples(st.just("check"), HUB),
    st.tuples(st.just("connect"), CLIENT, HUB),
    st.tuples(st.just("disconnect"), CLIENT),
    st.tuples(st.just("wipe")),
    st.tuples(st.just("trim"), NUMBER),
    st.tuples(st.just("set_back"), NUMBER),
)


async def happen(events: list[tuple[Any, ...]]) -> None:
    world = World()

    async def histories() -> MemoryHistories:
        return world.histories

    with (
        patch("routesock._store.histories.open_histories", histories),
        patch("routesock._groups.history.open_histories", histories),
        patch("routesock._connection.membership.follower.open_histories", histories),
    ):
        for name, *arguments in [("connect", 0, 0), ("say",), *events]:
            if name == "connect":
                await world.clients[arguments[0]].connect(arguments[1])
            elif name == "disconnect":
                await world.clients[arguments[0]].disconnect()
            else:
                result = getattr(world, name)(*arguments)
                if result is not None:
                    await result
            for client in world.clients:
                if client.is_lost:
                    await client.connect(client.home)
        await world.end()
        for client in world.clients:
            await client.disconnect()
        assert not any(hub._streams for hub in world.hubs)


@given(st.lists(EVENT, max_size=40))
def test_no_push_is_lost_repeated_or_out_of_order(events: list[tuple[Any, ...]]) -> None:
    """Behind ``Recovered: true`` there is no gap; where something is gone, the client is notified by the next check."""
    asyncio.run(happen(events))


def test_healed_pushes_are_counted() -> None:
    before = losses.delivery_counts()
    asyncio.run(happen([("say",), ("say",), ("lose", 0, 3), ("check", 0)]))
    after = losses.delivery_counts()
    assert after.healed - before.healed == 3
    assert after.lost == before.lost
