"""A layer that answers, but has lost its groups, is noticed; one that is slow or down is not taken for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from routesock._groups import layer_pulse
from routesock._groups.layer_pulse import MIN_EXPIRY, Pulse
from tests.takeover.driver import until


class Keeping:
    """A layer that keeps its groups itself, as Redis' core layer does."""

    extensions = ("groups",)

    def __init__(self) -> None:
        self.group_expiry = 86_400.0
        self.members: dict[str, set[str]] = {}
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        self.sent = 0
        self.adds = 0
        self.drops = False
        self.down = False

    async def new_channel(self) -> str:
        return "specific.x"

    async def group_add(self, group: str, channel: str) -> None:
        self._check()
        self.adds += 1
        self.members.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.members[group].discard(channel)

    async def group_send(self, group: str, message: Any) -> None:
        self._check()
        self.sent += 1
        for channel in () if self.drops else self.members.get(group, ()):
            self.queues.setdefault(channel, asyncio.Queue()).put_nowait(message)

    async def receive(self, channel: str) -> Any:
        return await self.queues.setdefault(channel, asyncio.Queue()).get()

    def _check(self) -> None:
        if self.down:
            raise ConnectionError("The layer is down.")


class Losses:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_pulse, "INTERVAL", 0.001)
    monkeypatch.setattr(layer_pulse, "CALL_TIMEOUT", 0.05)


@pytest.fixture
async def layer() -> Keeping:
    return Keeping()


@pytest.fixture
async def losses(layer: Keeping) -> AsyncIterator[Losses]:
    losses = Losses()
    pulse = Pulse(layer, asyncio.get_running_loop(), losses)
    pulse.start()
    await until(lambda: layer.sent > 3)
    yield losses
    await pulse.end()
    await until(lambda: not any(layer.members.values()), "the group left")


async def beats(layer: Keeping, number: int = 3) -> None:
    before = layer.sent
    await until(lambda: layer.sent >= before + number)


async def test_a_layer_that_keeps_its_groups_is_left_in_peace(layer: Keeping, losses: Losses) -> None:
    await beats(layer, 20)
    assert (losses.count, layer.adds) == (0, 1)


async def test_lost_groups_are_noticed_once_each_time(layer: Keeping, losses: Losses) -> None:
    for number in (1, 2):
        layer.members.clear()
        await until(lambda: losses.count == number)  # noqa: B023
        await beats(layer, 20)
        assert losses.count == number


async def test_a_layer_that_delivers_nothing_at_all_has_not_lost_its_groups(layer: Keeping, losses: Losses) -> None:
    """Its queues may be full: to join all groups again would make that worse."""
    layer.drops = True
    await beats(layer, 6)
    layer.drops = False
    await beats(layer, 6)
    assert losses.count == 0


async def test_a_layer_that_is_down_has_not_lost_its_groups(layer: Keeping, losses: Losses) -> None:
    layer.down = True
    await asyncio.sleep(0.02)
    layer.down = False
    await beats(layer, 6)
    assert losses.count == 0


async def test_the_group_does_not_expire(layer: Keeping, losses: Losses) -> None:
    layer.group_expiry = 0.004
    await until(lambda: layer.adds > 3)
    assert losses.count == 0


@pytest.mark.parametrize("expiry", [MIN_EXPIRY - 1, 1])
async def test_groups_that_expire_soon_are_joined_again_anyway(layer: Keeping, expiry: float) -> None:
    layer.group_expiry = expiry
    pulse = Pulse(layer, asyncio.get_running_loop(), Losses())
    pulse.start()
    await asyncio.sleep(0.02)
    await pulse.end()
    assert (layer.sent, layer.adds) == (0, 0)
