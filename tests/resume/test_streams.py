"""What a hub makes of the hints for one group, and of its history: each push once, in order, or the followers know."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from routesock._groups import losses
from routesock._groups.envelopes import Broadcast, layer_group, message_of
from routesock._groups.stream import CHECKSUMS, Stream
from routesock._store.histories import MemoryHistories, Position, Read
from routesock._store.opening import Outage, StoreError

GROUP = layer_group("room.5")
SIZE = 100


class Store(MemoryHistories):
    """A store that can be down, and whose replies can be held back."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def read(self, group: str, since: Position, most: int) -> Read:
        return await self._answer(await super().read(group, since, most))

    async def latest(self, group: str, limit: int) -> Read:
        return await self._answer(await super().latest(group, limit))

    async def _answer(self, read: Read) -> Read:
        self.reads += 1
        await self.open.wait()
        if self.is_down:
            raise StoreError("down")
        return read

    async def say(self, *texts: Any, excluded: str | None = None, size: int = SIZE) -> list[dict[str, Any]]:
        """Append pushes, and return the hints."""
        hints = []
        for text in texts:
            message = message_of(GROUP, "said", text, {}, excluded=excluded)
            at = await self.append(GROUP, message["data"], excluded, size, 60)
            hints.append({**message, "at": str(at)})
        return hints

    def set_back(self, number: int) -> None:
        """Lose the last pushes, under the same epoch."""
        history = self._filled[GROUP]
        history.top -= number
        for _ in range(number):
            history.entries.pop()

    def wipe(self) -> None:
        self._filled.clear()
        self._empty.clear()


class Group:
    """A stream, one follower of it, and what was delivered."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = Store() if store is None else store
        self.got: list[Any] = []
        self.losses: list[Position] = []
        self.checks: list[asyncio.Task[None]] = []
        self.stream = Stream(GROUP, self._histories, self._deliver, self._check_soon)
        self.stream.followers[self] = None

    async def _histories(self) -> Store:
        return self.store

    def _deliver(self, broadcast: Broadcast) -> None:
        self.got.append(broadcast._payload)

    def _check_soon(self, stream: Stream) -> None:
        assert stream is self.stream
        self.checks.append(asyncio.get_running_loop().create_task(stream.check()))

    def lost(self, top: Position) -> None:
        self.losses.append(top)

    async def begin(self) -> Position:
        """Have a follower read where the history is."""
        top = (await self.store.latest(GROUP, 0)).top
        self.stream.found(top)
        return top

    def hint(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            broadcast = Broadcast(message)
            if self.stream.accept(broadcast):
                self._deliver(broadcast)

    async def settle(self) -> None:
        """Return when the checks that were asked for have ended."""
        while self.checks:
            await self.checks.pop()


async def test_hints_in_order_need_no_read() -> None:
    group = Group()
    await group.begin()
    before = group.store.reads
    group.hint(*await group.store.say("a", "b"))
    await group.settle()
    assert (group.got, group.store.reads) == (["a", "b"], before)


@pytest.mark.parametrize("which", [[1], [1, 2], [2]], ids=str)
async def test_gap_is_read_at_once(which: list[int]) -> None:
    """Nothing is delivered in front of what is missing."""
    group = Group()
    await group.begin()
    before = losses.delivery_counts().healed
    hints = await group.store.say("a", "b", "c")
    group.hint(*(hints[number] for number in which))
    assert group.got == []
    await group.settle()
    assert (group.got, losses.delivery_counts().healed - before) == (["a", "b", "c"], 3)


async def test_repeated_hints_are_dropped_without_a_read() -> None:
    """The last one, too."""
    group = Group()
    await group.begin()
    hints = await group.store.say("a", "b")
    group.hint(*hints)
    before = losses.delivery_counts().repeated
    group.hint(*hints, *hints)
    assert (group.got, group.checks, losses.delivery_counts().repeated - before) == (["a", "b"], [], 4)


async def test_push_without_a_position_is_delivered() -> None:
    """It is from a process that does not have the setting."""
    group = Group()
    await group.begin()
    group.hint(message_of(GROUP, "said", "plain", {}))
    assert (group.got, group.checks) == (["plain"], [])


class TestFirstRead:
    async def test_hints_before_it_are_passed_on(self) -> None:
        """Followers know what to do with them. The position is behind them, wherever the reply has it."""
        group = Group()
        group.store.open.clear()
        reading = asyncio.create_task(group.begin())
        await asyncio.sleep(0)
        hints = await group.store.say("a", "b", "c")
        group.hint(*hints[:2])
        assert group.got == ["a", "b"]
        group.store.open.set()
        top = await reading
        assert (top.offset, group.stream.position) == (0, Position(top.epoch, 2))
        group.hint(hints[2])
        assert (group.got, group.checks) == (["a", "b", "c"], [])

    async def test_hint_of_an_epoch_that_is_over(self) -> None:
        group = Group()
        [hint] = await group.store.say("a")
        group.hint(hint)
        group.store.wipe()
        top = await group.begin()
        assert group.stream.position == top

    async def test_check_has_nothing_to_do_before_it(self) -> None:
        group = Group()
        await group.stream.check()
        assert group.store.reads == 0


class TestSecondFollower:
    """A later one may read more than the hub has delivered."""

    async def test_catching_up(self) -> None:
        group = Group()
        await group.begin()
        await group.store.say("lost")
        top = await group.begin()
        await group.settle()
        assert (group.got, group.stream.position) == (["lost"], top)

    async def test_nothing_to_catch_up_with(self) -> None:
        group = Group()
        await group.begin()
        group.hint(*await group.store.say("a"))
        await group.begin()
        assert group.checks == []

    async def test_another_epoch(self) -> None:
        """The others are notified at once."""
        group = Group()
        await group.begin()
        group.store.wipe()
        top = await group.begin()
        await group.settle()
        assert (group.losses, group.stream.position) == ([top], top)


class TestCheck:
    async def test_hint_that_comes_while_the_history_is_read(self) -> None:
        """It is delivered, and the read does not deliver it again."""
        group = Group()
        await group.begin()
        [first] = await group.store.say("a")
        group.store.open.clear()
        checking = asyncio.create_task(group.stream.check())
        await asyncio.sleep(0)
        group.hint(first)
        before = losses.delivery_counts().healed
        group.store.open.set()
        await checking
        assert (group.got, losses.delivery_counts().healed) == (["a"], before)

    async def test_gap_that_shows_while_the_history_is_read(self) -> None:
        """The same check reads once more, and no second one reads beside it."""
        group = Group()
        await group.begin()
        await group.store.say("a")
        group.store.open.clear()
        checking = asyncio.create_task(group.stream.check())
        await asyncio.sleep(0)
        before = group.store.reads
        _, hint = await group.store.say("b", "c")
        group.hint(hint)
        await asyncio.sleep(0)
        assert group.store.reads == before
        group.store.open.set()
        await checking
        assert group.got == ["a", "b", "c"]
        await group.settle()

    async def test_store_that_is_down(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is lost: the next check reads. It is logged, and so is the end of it."""
        monkeypatch.setattr("routesock._store.opening.RECOVERY_TIME", 0)
        monkeypatch.setattr("routesock._groups.history._outage", Outage())
        group = Group()
        await group.begin()
        await group.store.say("a")
        group.store.is_down = True
        with caplog.at_level(logging.WARNING, "routesock.store"):
            await group.stream.check()
            assert (group.got, group.losses) == ([], [])
            group.store.is_down = False
            await group.stream.check()
        assert group.got == ["a"]
        assert [record.message for record in caplog.records] == [
            "Histories cannot be read or written: down", "Histories can be read and written again.",
        ]  # fmt: skip


class TestLosses:
    async def test_pushes_that_are_no_longer_kept(self) -> None:
        """Followers are notified once, and the next push is delivered."""
        group = Group()
        await group.begin()
        await group.store.say(*"abc", size=2)
        await group.stream.check()
        position = group.stream.position
        assert (group.losses, group.got, position and position.offset) == ([position], [], 3)
        await group.stream.check()
        group.hint(*await group.store.say("d", size=2))
        assert (len(group.losses), group.got) == (1, ["d"])

    async def test_entry_that_cannot_be_read(self, caplog: pytest.LogCaptureFixture) -> None:
        """As of another version of routesock: it is missing, and the group goes on behind it."""
        group = Group()
        await group.begin()
        await group.store.append(GROUP, "{", None, SIZE, 60)
        with caplog.at_level(logging.WARNING, "routesock.store"):
            await group.stream.check()
        assert [record.message for record in caplog.records] == ["A push in the history of a group cannot be read."]
        assert [top.offset for top in group.losses] == [1]
        group.hint(*await group.store.say("a"))
        assert group.got == ["a"]

    async def test_hint_of_another_epoch(self) -> None:
        """Its number says nothing about what it is behind."""
        group = Group()
        await group.begin()
        group.hint(*await group.store.say("a"))
        group.store.wipe()
        hints = await group.store.say("x", "y")
        group.hint(hints[1])
        assert group.got == ["a"]
        await group.settle()
        assert (group.got, [top.offset for top in group.losses]) == (["a"], [2])

    async def test_history_that_was_set_back(self) -> None:
        """A check notices it, and gives it another epoch."""
        group = Group()
        top = await group.begin()
        group.hint(*await group.store.say("a", "b"))
        group.store.set_back(1)
        await group.stream.check()
        [lost] = group.losses
        assert lost == group.stream.position == (await group.store.latest(GROUP, 0)).top
        assert lost.epoch != top.epoch

    async def test_history_that_is_where_it_was_keeps_its_epoch(self) -> None:
        group = Group()
        top = await group.begin()
        group.hint(*await group.store.say("a", "b"))
        await group.stream.check()
        assert (group.losses, (await group.store.latest(GROUP, 0)).top) == ([], Position(top.epoch, 2))

    async def test_other_data_under_a_known_number(self) -> None:
        """It was set back, and others have got the numbers: the hub need not be in front of it to notice."""
        group = Group()
        top = await group.begin()
        group.hint(*await group.store.say("a", "b"))
        group.store.set_back(2)
        hints = await group.store.say("x", "y", "z")
        group.hint(hints[1])
        assert group.got == ["a", "b"]
        await group.settle()
        assert (group.got, len(group.losses)) == (["a", "b"], 1)
        position = group.stream.position
        assert position is not None
        assert position.epoch != top.epoch
        # The next ones are as ever: nothing is certain any more.
        group.hint(*await group.store.say("c"))
        await group.store.say("d")
        await group.stream.check()
        assert (group.got, len(group.losses)) == (["a", "b", "c", "d"], 1)

    async def test_checksums_are_those_of_the_epoch(self) -> None:
        """A hint whose push a new epoch began with is a repeated one."""
        group = Group()
        await group.begin()
        group.hint(*await group.store.say("a"))
        group.store.wipe()
        [hint] = await group.store.say("x")
        await group.stream.check()
        group.hint(hint)
        assert (group.checks, len(group.losses)) == ([], 1)

    async def test_number_of_checksums_is_bounded(self) -> None:
        group = Group()
        await group.begin()
        group.hint(*await group.store.say(*range(CHECKSUMS + 10)))
        assert [*group.stream._checksums] == [*range(11, CHECKSUMS + 11)]
