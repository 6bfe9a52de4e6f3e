"""Contenders against each other: rounds of short slots, one for each, in one run."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from .contenders import Contender, Group
from .driving import Arrival, Clock, Peer, Traffic

WARM_UP = 100
FEWEST, MOST = 20, 20_000


class Ratio(NamedTuple):
    """Two contenders in all rounds."""

    median: float
    least: float
    most: float


class Race:
    """The seconds per message of each contender of ``group``, round by round."""

    def __init__(self, group: Group, arrival: Arrival, clock: Clock) -> None:
        self.group = group
        self.arrival = arrival
        self._clock = clock
        self._traffic: dict[str, Traffic] = {}
        self._times: dict[str, list[float]] = {contender.name: [] for contender in group.contenders}

    async def warm_up(self, slot: float) -> None:
        """Meet every route once, and find out how many messages fill ``slot`` seconds."""
        for contender in self.group.contenders:
            seconds = await self._run(contender, Traffic(max(WARM_UP, len(contender.routes)), contender.routes))
            count = min(max(int(slot / seconds), FEWEST), MOST)
            self._traffic[contender.name] = Traffic(count, contender.routes)

    async def round(self) -> None:
        for contender in self.group.contenders:
            self._times[contender.name].append(await self._run(contender, self._traffic[contender.name]))

    def microseconds(self, name: str) -> float:
        return median(self._times[name]) * 1e6

    def ratio(self, name: str, other: str) -> Ratio:
        """The time of the contender ``name`` as a part of another one's, round by round."""
        ratios = [a / b for a, b in zip(self._times[name], self._times[other], strict=True)]
        return Ratio(median(ratios), min(ratios), max(ratios))

    async def _run(self, contender: Contender, traffic: Traffic) -> float:
        peer = Peer(traffic, self.arrival, self._clock)
        gc.collect()
        return await peer.serve(contender.application)


def run(groups: Sequence[Group], *, rounds: int, slot: float, clock: Clock) -> list[tuple[Race, Race]]:
    """The races of each group, frames ready and through a queue."""
    races = [tuple(Race(group, arrival, clock) for arrival in Arrival) for group in groups]

    async def all_rounds() -> None:
        gc.freeze()  # what was imported: each run begins with a collection
        for pair in races:
            for race in pair:
                await race.warm_up(slot)
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            for pair in races:
                for race in pair:
                    await race.round()

    # Named, so that an installed uvloop changes nothing.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        try:
            runner.run(all_rounds())
        finally:
            gc.unfreeze()
    return [(ready, queue) for ready, queue in races]
