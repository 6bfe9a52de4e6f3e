"""Whatever happens to a layer while consumers join and leave, it has in the end what they want."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from routesock._groups.layer_membership import Membership
from routesock._groups.layer_recovery import _recoveries
from tests.clock import simulated
from tests.takeover.driver import turns, until

pytestmark = pytest.mark.repetitions

GROUPS = ("one", "two", "three")


class Remote:
    """A layer whose calls take their time: what was given up is done all the same, and calls overtake each other."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.groups: dict[str, set[str]] = {group: set() for group in GROUPS}
        self.down = False
        self.running = asyncio.Event()
        self.running.set()
        self._starts = 0
        self._stale = False  # a connection of before the restart is left in the pool
        self._reading: dict[str, asyncio.Future[None]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    def restart(self, *, keeps_data: bool) -> None:
        """Break every call that is under way; what waits for messages notices in at most one place."""
        self._starts += 1
        self._stale = True
        if not keeps_data:
            for members in self.groups.values():
                members.clear()
        self.fail_reading(one=True)

    def fail_reading(self, *, one: bool = False) -> None:
        for reading in [reading for reading in self._reading.values() if not reading.done()][: 1 if one else None]:
            reading.set_exception(ConnectionError("The connection is broken."))

    async def group_add(self, group: str, channel: str) -> None:
        await self._call(lambda: self.groups[group].add(channel))

    async def group_discard(self, group: str, channel: str) -> None:
        await self._call(lambda: self.groups[group].discard(channel))

    async def receive(self, channel: str) -> Any:
        self._check()
        self._reading[channel] = asyncio.get_running_loop().create_future()
        await self._reading[channel]

    async def _call(self, act: Callable[[], None]) -> None:
        self._check()
        call = asyncio.ensure_future(self._carried_out(act))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        await asyncio.shield(call)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # nobody need have waited for it

    async def _carried_out(self, act: Callable[[], None]) -> None:
        starts = self._starts
        for seconds in (self.random.choice((0, 0, 0, 0.003)), None, self.random.choice((0, 0, 0, 0.003))):
            if seconds is None:
                await self.running.wait()
            else:
                await asyncio.sleep(seconds)
            if self.down or starts != self._starts:
                raise ConnectionError("The connection is broken.")
            if seconds is None:
                act()

    def _check(self) -> None:
        if self.down or self._stale:
            self._stale = False
            raise ConnectionError("The connection is broken.")


class Visitor:
    """A socket that joins and leaves groups at random, and may end."""

    def __init__(self, layer: Remote, channel: str) -> None:
        self.random = layer.random
        self.membership = Membership(layer, channel)
        self.wants: dict[str, bool | None] = dict.fromkeys(GROUPS, False)
        """Not known for a group for which a call has failed: the consumer was told."""
        self.ended = False
        self._reader = asyncio.ensure_future(self._read())

    async def visit(self) -> None:
        for _ in range(self.random.randrange(3, 12)):
            group = self.random.choice(GROUPS)
            joins = self.random.random() < 0.6
            self.wants[group] = None
            call = self.membership.group_add if joins else self.membership.group_discard
            try:
                await call(group, self.membership.channel)
            except ConnectionError:
                pass
            else:
                self.wants[group] = joins
            await asyncio.sleep(self.random.random() * 0.006)

    async def end(self) -> None:
        self.ended = True
        self.wants = dict.fromkeys(GROUPS, False)
        self.membership.leaving()
        self._reader.cancel()
        await asyncio.wait({self._reader})
        await self.membership.leave_all()

    async def _read(self) -> None:
        while True:
            await self.membership.receive(partial(self.membership.layer.receive, self.membership.channel))


async def spoil(layer: Remote) -> None:
    random = layer.random
    for _ in range(random.randrange(1, 6)):
        await asyncio.sleep(random.random() * 0.02)
        fault = random.choice(("outage", "restart", "hang"))
        keeps_data = random.random() < 0.5
        if fault == "restart":
            layer.restart(keeps_data=keeps_data)
        elif fault == "outage":
            layer.down = True
            layer.fail_reading()
            await asyncio.sleep(random.random() * 0.01)
            layer.restart(keeps_data=keeps_data)
            layer.down = False
        else:
            layer.running.clear()
            await asyncio.sleep(random.random() * 0.03)
            layer.running.set()


@pytest.mark.parametrize("seed", range(60))
@simulated
async def test_members_are_in_the_groups_that_they_want(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"FIRST_RETRY": 0.001, "LAST_RETRY": 0.003, "QUIET": 0.01, "CALL_LIMIT": 0.01}.items():
        monkeypatch.setattr(f"routesock._groups.layer_recovery.{name}", seconds)
    monkeypatch.setattr("routesock._groups.layer_membership.CALL_LIMIT", 0.01)
    layer = Remote(Random(seed))
    before = asyncio.all_tasks()
    visitors = [Visitor(layer, f"channel.{number}") for number in range(5)]

    async def come_and_go(visitor: Visitor) -> None:
        await visitor.visit()
        if visitor is not visitors[0] and layer.random.random() < 0.5:
            await visitor.end()

    await asyncio.gather(spoil(layer), *map(come_and_go, visitors))
    layer.fail_reading()
    await turns()

    def is_right() -> bool:
        return all(not recovery.is_running for recovery in _recoveries.values()) and all(
            wanted is None or wanted is (visitor.membership.channel in layer.groups[group])
            for visitor in visitors
            for group, wanted in visitor.wants.items()
        )

    await until(is_right, "everybody is where they want to be")
    for visitor in visitors:
        if not visitor.ended:
            await visitor.end()
    assert layer.groups == {group: set() for group in GROUPS}
    assert not _recoveries
    await until(lambda: asyncio.all_tasks() == before, "no task left")
