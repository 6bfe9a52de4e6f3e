"""What one subscription writes: behind the reply, each push once, in order, or it ends with a notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from routesock._connection.membership import follower as following
from routesock._connection.membership.follower import Follower
from routesock._groups.envelopes import Broadcast, layer_group
from routesock._groups.hub import Hub
from routesock._store.histories import Position
from tests.resume.test_streams import Store
from tests.takeover.driver import until

GROUP = layer_group("room.5")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()

    async def histories() -> Store:
        return store

    for module in ("routesock._store.histories", "routesock._connection.membership.follower"):
        monkeypatch.setattr(f"{module}.open_histories", histories)
    monkeypatch.setattr("routesock._groups.hub.CHECK_INTERVAL", 1e6)  # what is found is not found by waiting
    return store


@pytest.fixture
async def hub(store: Store) -> AsyncIterator[Hub]:
    hub = Hub(None, asyncio.get_running_loop(), lambda hub: None)
    yield hub
    for group, entry in [*hub._groups.items()]:
        for member in [*entry.members]:
            await hub.leave(group, member)
    await until(lambda: not hub._groups)


class Recheck:
    """Permissions that are checked before each push."""

    def __init__(self, allowed: bool = True) -> None:
        self.allowed = allowed
        self.taken: list[Any] = []

    async def allows(self) -> bool:
        await asyncio.sleep(0)
        return self.allowed

    def take(self, broadcast: Broadcast) -> None:
        self.taken.append(broadcast._payload)


class Socket:
    """A socket with one subscription. What it sends is in ``sent``, the positions that were sent in ``offsets``."""

    id: str | None = None

    def __init__(self, hub: Hub, *, recheck: Any = None, recover: Any = True, plainly: bool = True) -> None:
        self._hub = hub
        self.joins = True
        self.writes_plainly = plainly
        self.sent: list[Any] = []
        self.plain: list[Any] = []
        self.offsets: list[int] = []
        self.ends: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.readable = asyncio.Event()
        self.readable.set()
        self.subscription: Any = SimpleNamespace(
            name="room.5", recheck=recheck, ending=None, plan=SimpleNamespace(recover=recover),
            subscriptions=SimpleNamespace(
                member=self, tasks=SimpleNamespace(start=self.start, start_task=self.start), deny=self.deny
            ),
        )  # fmt: skip
        self.follower = Follower(self.subscription)

    async def begin(self, since: Position | None = None) -> Any:
        """Return the reply up to the handler; ``None`` if that is to run."""
        return await self.follower.begin(SimpleNamespace() if since is None else SimpleNamespace(_since=since))  # type: ignore[arg-type]

    async def subscribe_at(self, since: Position | None = None) -> dict[str, Any]:
        """Return the headers of the reply, which is sent."""
        await self.begin(since)
        self.follower.start()
        return dict(self.follower.headers())

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.append(task)
        return task

    async def deny(self, subscription: Any, error: Any) -> None:
        self.ends.append(error.code)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    # As the member of the hub

    def hub(self) -> Hub:
        return self._hub

    async def subscribe(self, name: str, taker: Any) -> None:
        if self.joins:
            await self._hub.join(GROUP, self)

    def deliver(self, broadcast: Any) -> None:
        self.follower.take(broadcast)

    def skip(self, broadcast: Broadcast) -> None:
        self.follower.skip(broadcast)

    def write(self, broadcast: Broadcast) -> None:
        self.plain.append(broadcast._payload)

    def write_kept(self, broadcast: Broadcast) -> None:
        self.sent.append(broadcast._payload)
        self.offsets.append(broadcast.offset)

    async def write_in_turn(self, broadcasts: Iterator[Broadcast]) -> None:
        for broadcast in broadcasts:
            self.write_kept(broadcast)
            await self.readable.wait()


def broadcast(hint: dict[str, Any], **changed: Any) -> Broadcast:
    return Broadcast({**hint, **changed})


class TestBehindTheReply:
    async def test_what_comes_before_the_position_is_known(self, store: Store, hub: Hub) -> None:
        """The store's reply is older than a push that comes through the layer meanwhile."""
        socket = Socket(hub)
        store.open.clear()
        beginning = asyncio.create_task(socket.begin())
        await socket.settle()
        [hint] = await store.say("a")
        hub.take(hint)
        await socket.settle()
        store.open.set()
        assert await beginning is None
        assert socket.follower.headers()["Position"].endswith(":0")
        assert socket.sent == []
        socket.follower.start()
        await socket.settle()
        assert socket.sent == ["a"]

    async def test_what_comes_while_the_handler_runs(self, store: Store, hub: Hub) -> None:
        """Nothing is written in front of the reply, and nothing is read twice."""
        socket = Socket(hub)
        await socket.begin()
        for hint in await store.say("a", "b"):
            hub.take(hint)
        await socket.settle()
        assert socket.sent == []
        socket.follower.start()
        await socket.settle()
        hub.take(*await store.say("c"))
        await socket.settle()
        assert (socket.sent, socket.offsets) == (["a", "b", "c"], [1, 2, 3])

    async def test_history_that_is_lost_meanwhile(self, store: Store, hub: Hub) -> None:
        """The subscription ends behind its reply."""
        socket = Socket(hub)
        await socket.begin()
        store.wipe()
        await hub.check_streams()
        assert socket.ends == []
        socket.follower.start()
        await socket.settle()
        assert socket.ends == ["history_lost"]

    @pytest.mark.parametrize("is_down", [False, True])
    async def test_socket_that_ends_meanwhile(self, store: Store, hub: Hub, is_down: bool) -> None:
        """Nothing is written, whatever the store replies."""
        socket = Socket(hub)
        store.open.clear()
        beginning = asyncio.create_task(socket.begin(Position("other", 0)))
        await socket.settle()
        socket.follower.stop()
        store.is_down = is_down
        store.open.set()
        assert await beginning is None
        socket.follower.start()
        hub.take(*await store.say("a"))
        await socket.settle()
        assert (socket.sent, socket.plain, hub._streams) == ([], [], {})

    async def test_socket_that_ended_before_it_joined(self, store: Store, hub: Hub) -> None:
        socket = Socket(hub)
        socket.joins = False
        assert await socket.begin() is None
        assert (store.reads, hub._streams) == (0, {})

    async def test_replay_and_live_pushes(self, store: Store, hub: Hub) -> None:
        """What comes again through the layer is not written again."""
        top = await store.append(GROUP, '["said", 0, {}]', None, 10, 60)
        hints = await store.say("a", "b")
        socket = Socket(hub)
        reply = await socket.begin(top)
        assert (reply.status, dict(socket.follower.headers())) == (204, {"Position": str(top), "Recovered": True})
        socket.deliver(broadcast(hints[0]))
        socket.follower.start()
        await socket.settle()
        for hint in hints:
            socket.deliver(broadcast(hint))
        await socket.settle()
        assert socket.sent == ["a", "b"]

    async def test_pushes_that_are_no_longer_kept(self, store: Store, hub: Hub) -> None:
        """Recovered is false, and nothing is replayed in part."""
        await store.say(*"abc", size=2)
        top = (await store.latest(GROUP, 0)).top
        socket = Socket(hub)
        assert await socket.subscribe_at(Position(top.epoch, 0)) == {"Position": str(top), "Recovered": False}
        await socket.settle()
        assert socket.sent == []

    async def test_entry_that_cannot_be_read(self, store: Store, hub: Hub) -> None:
        """The client is given a snapshot."""
        top = (await store.latest(GROUP, 0)).top
        await store.append(GROUP, "[1]", None, 10, 60)
        socket = Socket(hub)
        headers = await socket.subscribe_at(top)
        assert headers == {"Position": f"{top.epoch}:1", "Recovered": False}
        hub.take(*await store.say("a"))
        await socket.settle()
        assert socket.sent == ["a"]

    async def test_position_of_another_epoch(self, store: Store, hub: Hub) -> None:
        top = (await store.latest(GROUP, 0)).top
        socket = Socket(hub)
        headers = await socket.subscribe_at(Position("other", 0))
        assert headers == {"Position": str(top), "Recovered": False}


class TestTake:
    async def test_pushes_in_order_are_written_at_once(self, store: Store, hub: Hub) -> None:
        socket = Socket(hub)
        await socket.subscribe_at()
        before = store.reads
        for hint in await store.say("a", "b", "c"):
            socket.deliver(broadcast(hint))
        assert (socket.sent, store.reads, socket.tasks) == (["a", "b", "c"], before, [])

    async def test_gap_is_read(self, store: Store, hub: Hub) -> None:
        """Nothing is written in front of what is missing."""
        socket = Socket(hub)
        await socket.subscribe_at()
        hints = await store.say("a", "b", "c")
        socket.deliver(broadcast(hints[1]))
        assert socket.sent == []
        await socket.settle()
        assert socket.sent == ["a", "b", "c"]

    async def test_repeats(self, store: Store, hub: Hub) -> None:
        socket = Socket(hub)
        await socket.subscribe_at()
        hints = await store.say("a", "b")
        for hint in [*hints, *hints]:
            socket.deliver(broadcast(hint))
        await socket.settle()
        assert (socket.sent, socket.tasks) == (["a", "b"], [])

    async def test_another_epoch(self, store: Store, hub: Hub) -> None:
        """It is for those that have subscribed since. This one is notified by the hub."""
        socket = Socket(hub)
        await socket.subscribe_at()
        [hint] = await store.say("a")
        socket.deliver(broadcast(hint, at="other:1"))
        await socket.settle()
        assert (socket.sent, socket.tasks) == ([], [])

    async def test_nothing_after_the_end(self, store: Store, hub: Hub) -> None:
        socket = Socket(hub)
        await socket.subscribe_at()
        socket.follower.stop()
        [hint] = await store.say("a")
        socket.deliver(broadcast(hint))
        await socket.settle()
        assert (socket.sent, socket.plain) == ([], [])

    async def test_push_without_a_position(self, store: Store, hub: Hub) -> None:
        """It is from a process without the setting, and is written as that of any other group."""
        socket = Socket(hub)
        await socket.subscribe_at()
        [hint] = await store.say("a")
        del hint["at"]
        socket.deliver(broadcast(hint))
        assert (socket.plain, socket.sent) == (["a"], [])

    async def test_more_than_wait_in_memory(self, store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        """The rest is read, when those before are written. A later push does not overtake them."""
        monkeypatch.setattr(following, "MAX_WAITING", 2)
        socket = Socket(hub, plainly=False)
        await socket.subscribe_at()
        socket.readable.clear()
        hints = await store.say(*range(8))
        for hint in hints[:7]:
            socket.deliver(broadcast(hint))
            await socket.settle()
        assert socket.sent == [0]
        assert [one.offset for one in socket.follower._waiting] == [2, 3]
        socket.writes_plainly = True
        socket.deliver(broadcast(hints[7]))
        socket.readable.set()
        await socket.settle()
        assert socket.sent == [*range(8)]

    async def test_reading_is_overtaken(self, store: Store, hub: Hub) -> None:
        """Pushes that come while they are read are written once."""
        socket = Socket(hub)
        await socket.subscribe_at()
        hints = await store.say(*"abc")
        store.open.clear()
        socket.deliver(broadcast(hints[1]))
        await socket.settle()  # the task has looked at the push behind the gap, and reads
        socket.deliver(broadcast(hints[2]))
        store.open.set()
        await socket.settle()
        assert socket.sent == [*"abc"]
        socket.deliver(broadcast((await store.say("d"))[0]))
        assert socket.sent == [*"abcd"]

    async def test_end_while_a_push_is_written(self, store: Store, hub: Hub) -> None:
        """The next one of the batch is not."""
        await store.say("a", "b", "c")
        socket = Socket(hub)
        socket.readable.clear()
        top = (await store.latest(GROUP, 0)).top
        await socket.subscribe_at(Position(top.epoch, 0))
        await socket.settle()
        socket.follower.stop()
        socket.readable.set()
        await socket.settle()
        assert (socket.sent, [task.done() for task in socket.tasks]) == (["a"], [True])


class TestOwnPushes:
    """A socket that excludes itself does not get them, and its position goes on behind them."""

    @pytest.fixture
    async def socket(self, store: Store, hub: Hub) -> Socket:
        socket = Socket(hub)
        socket.id = "me"
        await socket.subscribe_at()
        return socket

    async def test_live(self, socket: Socket, store: Store, hub: Hub) -> None:
        """Without a read."""
        before = store.reads
        hub.take(*await store.say("own", excluded="me"))
        hub.take(*await store.say("other"))
        await socket.settle()
        assert (socket.sent, socket.offsets, store.reads) == (["other"], [2], before)

    async def test_in_a_replay(self, socket: Socket, store: Store) -> None:
        """Those of others are written, and so are those that exclude somebody else."""
        await store.say("own", excluded="me")
        await store.say("theirs", excluded="another")
        [hint] = await store.say("a")
        socket.deliver(broadcast(hint))
        await socket.settle()
        assert socket.sent == ["theirs", "a"]

    async def test_behind_a_gap(self, socket: Socket, store: Store) -> None:
        """What was missed before is not passed over."""
        await store.say("missed")
        [own] = await store.say("own", excluded="me")
        [hint] = await store.say("a")
        socket.follower.skip(broadcast(own))
        socket.deliver(broadcast(hint))
        await socket.settle()
        assert socket.sent == ["missed", "a"]

    async def test_before_the_reply(self, store: Store, hub: Hub) -> None:
        socket = Socket(hub)
        socket.id = "me"
        await socket.begin()
        [own] = await store.say("own", excluded="me")
        socket.follower.skip(broadcast(own))
        socket.follower.start()
        hub.take(own)
        hub.take(*await store.say("a"))
        await socket.settle()
        assert socket.sent == ["a"]


class TestLosses:
    @pytest.mark.parametrize("is_established", [True, False])
    async def test_hub_that_has_missed_more(self, store: Store, hub: Hub, is_established: bool) -> None:
        """A socket that is in the new epoch already goes on; it reads what the hub does not deliver to it."""
        old = Socket(hub)
        await old.subscribe_at()
        store.wipe()
        await store.say("a")
        new = Socket(hub)
        await new.begin()
        await store.say("b")  # neither hint comes, and the hub goes to the top at once
        if is_established:
            new.follower.start()
        await new.settle()
        assert (old.ends, new.ends) == (["history_lost"], [])
        if not is_established:
            assert new.sent == []
            new.follower.start()
            await new.settle()
        assert new.sent == ["b"]
        hub.take(*await store.say("c"))
        await new.settle()
        assert (new.sent, old.sent) == (["b", "c"], [])

    async def test_subscription_that_ends_otherwise(self, store: Store, hub: Hub) -> None:
        """It gets no second notice."""
        socket = Socket(hub)
        await socket.subscribe_at()
        socket.subscription.ending = asyncio.current_task()
        store.wipe()
        await hub.check_streams()
        await socket.settle()
        assert socket.ends == []

    async def test_history_that_was_set_back_before_the_reply(self, store: Store, hub: Hub) -> None:
        """What came while the handler ran is gone: the follower notices it by itself."""
        socket = Socket(hub)
        await socket.begin()
        for hint in await store.say("a", "b"):
            hub.take(hint)
        await socket.settle()
        store.set_back(1)
        socket.follower.start()
        await socket.settle()
        assert (socket.sent, socket.ends) == ([], ["history_lost"])

    async def test_pushes_that_are_no_longer_kept(self, store: Store, hub: Hub) -> None:
        socket = Socket(hub)
        await socket.subscribe_at()
        hints = await store.say(*"abcd", size=2)
        socket.deliver(broadcast(hints[3]))
        await socket.settle()
        assert (socket.sent, socket.ends) == ([], ["history_lost"])


class TestStoreThatIsDown:
    @pytest.fixture(autouse=True)
    def retry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(following, "RETRY", 0.001)

    @pytest.mark.parametrize(("since", "headers"), [(None, {}), (Position("a", 1), {"Recovered": False})])
    async def test_subscribing(self, store: Store, hub: Hub, since: Any, headers: dict[str, Any]) -> None:
        """Pushes have no position until the store answers; then the subscription ends."""
        store.is_down = True
        socket = Socket(hub)
        assert await socket.subscribe_at(since) == headers
        assert hub._streams == {}
        hub.take(*await store.say("a"))
        await socket.settle()
        assert (socket.plain, socket.sent) == (["a"], [])
        before = store.reads
        await until(lambda: store.reads >= before + 3)
        assert socket.ends == []
        store.is_down = False
        await until(lambda: socket.ends)
        assert socket.ends == ["history_lost"]
        await asyncio.gather(*socket.tasks)

    async def test_permissions_are_checked_all_the_same(self, store: Store, hub: Hub) -> None:
        store.is_down = True
        socket = Socket(hub, recheck=Recheck())
        await socket.subscribe_at()
        hub.take(*await store.say("a"))
        await socket.settle()
        assert (socket.subscription.recheck.taken, socket.plain) == (["a"], [])
        socket.follower.stop()
        await asyncio.gather(*socket.tasks)

    async def test_gap(self, store: Store, hub: Hub) -> None:
        """It is read when the store answers."""
        waits: list[float] = []

        socket = Socket(hub)
        await socket.subscribe_at()
        hints = await store.say("a", "b")
        store.is_down = True
        before = store.reads
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(following.asyncio, "sleep", noting(waits))
            socket.deliver(broadcast(hints[1]))
            await until(lambda: store.reads >= before + 3)
            store.is_down = False
            await until(lambda: socket.sent)
        assert (socket.sent, socket.ends) == (["a", "b"], [])
        assert waits.count(following.RETRY) >= 3

    async def test_newest_push(self, store: Store, hub: Hub) -> None:
        """With ``recover="last"`` it does not follow, and the position is behind it."""
        await store.say("a")
        socket = Socket(hub, recover="last")
        latest = store.latest

        async def fail(group: str, limit: int) -> Any:
            store.is_down = limit == 1
            return await latest(group, limit)

        store.latest = fail  # type: ignore[method-assign]
        headers = await socket.subscribe_at()
        store.is_down = False
        await socket.settle()
        assert (headers["Position"].endswith(":1"), socket.sent) == (True, [])
        hub.take(*await store.say("b"))
        await socket.settle()
        assert socket.sent == ["b"]


def noting(waits: list[float]) -> Callable[[float], Any]:
    """Return an ``asyncio.sleep`` that notes its arguments."""
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(seconds)

    return note


class TestNewestPush:
    @pytest.mark.parametrize("number", [0, 1, 3])
    async def test_it_follows_the_reply(self, store: Store, hub: Hub, number: int) -> None:
        """The position of the reply is in front of it."""
        await store.say(*range(number))
        socket = Socket(hub, recover="last")
        headers = await socket.subscribe_at()
        await socket.settle()
        assert headers["Position"].endswith(f":{max(number - 1, 0)}")
        assert socket.sent == [number - 1][: number and 1]
        hub.take(*await store.say("next"))
        await socket.settle()
        assert socket.sent[-1] == "next"


class TestRecheck:
    async def test_permission_that_is_taken_away_between_reply_and_replay(self, store: Store, hub: Hub) -> None:
        """Nothing of what was missed is written."""
        await store.say("secret", "secret")
        top = (await store.latest(GROUP, 0)).top
        socket = Socket(hub, recheck=Recheck(allowed=False))
        await socket.subscribe_at(Position(top.epoch, 0))
        await socket.settle()
        assert (socket.sent, socket.plain, socket.ends) == ([], [], ["history_lost"])

    async def test_pushes_wait_for_the_check(self, store: Store, hub: Hub) -> None:
        socket = Socket(hub, recheck=Recheck())
        await socket.subscribe_at()
        for hint in await store.say("a", "b"):
            socket.deliver(broadcast(hint))
        assert socket.sent == []
        await socket.settle()
        assert socket.sent == ["a", "b"]
