"""The groups of a socket: what a consumer sees of its layer, what is remembered, and how they are left."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import InvalidChannelLayerError
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer

from routesock import Request, RouteMixin, route
from routesock._groups.layer_membership import Membership, RememberingLayer
from routesock._groups.layer_recovery import _recoveries
from tests.layers.flaky import FlakyLayer
from tests.layers.in_memory import as_default
from tests.takeover.driver import Socket, turns, until

Ask = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a layer that hangs."""
    monkeypatch.setattr("routesock._groups.layer_membership.CALL_LIMIT", 0.05)
    monkeypatch.setattr("routesock._groups.layer_recovery.CALL_LIMIT", 0.05)
    # A machine that is busy for a second would turn each call that fails into a known outage.
    monkeypatch.setattr("routesock._runtime.layer_calls.SLOW", math.inf)
    monkeypatch.setattr("routesock._groups.channel_reader.LOST_AFTER", 0.01)


@pytest.fixture
def layer() -> Iterator[FlakyLayer]:
    with as_default(FlakyLayer()) as layer:
        yield layer


class OnLoop(RouteMixin, AsyncJsonWebsocketConsumer):
    """Joins ``own`` beside its ``groups``, and leaves it in the end."""

    groups = ["declared", "declared.too"]

    async def connect(self) -> None:
        self.scope["consumer"] = self
        await self.channel_layer.group_add("own", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append("begin")
        await self.channel_layer.group_discard("own", self.channel_name)
        self.scope["log"].append("end")

    @route("call")
    async def call(self, request: Request) -> Any:
        result = self.scope["asked"](self)
        return await result if asyncio.iscoroutine(result) else result

    async def told(self, event: dict[str, Any]) -> None:
        await self.send_json(event)


class InThread(RouteMixin, JsonWebsocketConsumer):
    groups = ["declared", "declared.too"]

    def connect(self) -> None:
        self.scope["consumer"] = self
        async_to_sync(self.channel_layer.group_add)("own", self.channel_name)
        self.accept()

    def disconnect(self, code: int) -> None:
        self.scope["log"].append("begin")
        async_to_sync(self.channel_layer.group_discard)("own", self.channel_name)
        self.scope["log"].append("end")


EITHER = pytest.mark.parametrize("consumer", [OnLoop, InThread])
ALL = ("declared", "declared.too", "own")


def socket_of(consumer: Any, asked: Ask | None = None) -> Socket:
    return Socket(consumer.as_asgi(), log=[], asked=asked)


async def left(socket: Socket) -> None:
    """Let the client leave, and wait until the application has ended; other sockets may have work to do."""
    socket._settled = True
    socket.disconnect()
    await until(lambda: socket.done, "the end")


# What a consumer sees


async def test_the_layer_of_a_consumer_passes_for_the_real_one(layer: FlakyLayer) -> None:
    async with socket_of(OnLoop) as socket:
        seen: Any = socket.scope["consumer"].channel_layer
        assert isinstance(seen, FlakyLayer)
        assert (seen, hash(seen), repr(seen), str(seen)) == (layer, hash(layer), repr(layer), str(layer))
        assert (layer == seen, seen == InMemoryChannelLayer()) == (True, False)
        assert dir(seen) == dir(layer)
        assert seen.capacity == 100
        seen.mark = 1
        assert vars(layer)["mark"] == 1
        del seen.mark
        assert not hasattr(layer, "mark")
    async with socket_of(OnLoop) as other:
        assert other.scope["consumer"].channel_layer == seen


async def test_no_layer_stays_none(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}

    class Plain(OnLoop):
        groups = []

        async def connect(self) -> None:
            self.scope["consumer"] = self
            await self.accept()

        async def disconnect(self, code: int) -> None:
            pass

    async with socket_of(Plain) as socket:
        assert socket.scope["consumer"].channel_layer is None


class Groupless:
    """A channel layer without the extension for groups."""

    async def new_channel(self) -> str:
        return "channel"

    async def receive(self, channel: str) -> Any:
        await asyncio.Event().wait()


@EITHER
async def test_a_layer_without_groups_is_named_as_ever(consumer: Any, layer: FlakyLayer) -> None:
    channel_layers.set("default", Groupless())
    async with socket_of(consumer) as socket:
        assert isinstance(await socket.ending(), InvalidChannelLayerError)
    assert not hasattr(RememberingLayer(Membership(Groupless(), "channel")), "group_add")


async def test_what_the_layer_refuses_is_raised_and_not_remembered(
    layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async with socket_of(OnLoop) as socket:
        seen, channel = socket.scope["consumer"].channel_layer, socket.scope["consumer"].channel_name
        for name in ("no spaces", ["unhashable"], b"bytes", None):
            for method in (seen.group_add, seen.group_discard):
                with pytest.raises(TypeError, match="must be a valid unicode string"):
                    await method(name, channel)
        layer.calls.clear()
        assert caplog.records == []  # the layer works
    assert {group for _, group in layer.calls} == {*ALL}


async def test_groups_of_other_channels_are_the_consumers_own_business(layer: FlakyLayer) -> None:
    async with socket_of(OnLoop) as socket:
        seen = socket.scope["consumer"].channel_layer
        await seen.group_add("kept", "other")
        await seen.group_add("dropped", "other")
        await seen.group_discard("dropped", "other")
        layer.broken.add("kept")
        with pytest.raises(ConnectionError):
            await seen.group_discard("kept", "other")
        layer.calls.clear()
    assert {group for _, group in layer.calls} == {*ALL}
    assert layer.groups.keys() == {"kept"}


# The end


@EITHER
@pytest.mark.parametrize("fault", ["works", "down", "hangs"])
async def test_disconnect_runs_to_its_end_whatever_the_layer_does(
    consumer: Any, fault: str, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither Channels' own leaving of ``groups`` in front of it stops it, nor that of the consumer in it."""
    socket = socket_of(consumer)
    async with socket:
        if fault == "down":
            layer.broken.update(ALL)
        elif fault == "hangs":
            layer.pause()
        socket.disconnect()
        assert await socket.ending() is None
    assert socket.scope["log"] == ["begin", "end"]
    assert [record.levelname for record in caplog.records] == ([] if fault == "works" else ["ERROR"])


async def test_a_layer_that_hangs_holds_the_end_up_once_and_not_for_each_group(
    layer: FlakyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync consumer would keep the database thread from others for so long."""
    monkeypatch.setattr("routesock._groups.layer_recovery.FIRST_RETRY", 60)
    async with socket_of(OnLoop):
        layer.pause()
        layer.calls.clear()
    # In front of disconnect(), the first alone; then all at a time, by the recovery and in the end.
    assert Counter(layer.calls) == {("group_discard", group): 3 if group == "declared" else 2 for group in ALL}


@EITHER
async def test_every_group_is_left_also_those_that_the_consumer_forgets(consumer: Any, layer: FlakyLayer) -> None:
    class Forgetful(consumer):  # type: ignore[misc]
        if consumer is OnLoop:

            async def disconnect(self, code: int) -> None:
                assert layer.members("own") == 1
                raise LookupError("before it has left anything")

        else:

            def disconnect(self, code: int) -> None:
                assert layer.members("own") == 1
                raise LookupError("before it has left anything")

    socket = socket_of(Forgetful)
    async with socket:
        assert {*layer.groups} == {*ALL}
        socket.disconnect()
        assert isinstance(await socket.ending(), LookupError)  # the server hears of it, as under Channels
    assert layer.groups == {}


async def test_groups_are_left_when_connect_raises(layer: FlakyLayer) -> None:
    class Raising(OnLoop):
        async def connect(self) -> None:
            await super().connect()
            raise LookupError("after it has joined")

    async with socket_of(Raising) as socket:
        assert isinstance(await socket.ending(), LookupError)
    assert layer.groups == {}


@pytest.mark.parametrize("fault", ["fails", "hangs"])
async def test_a_group_that_cannot_be_left_keeps_no_other_from_it(
    fault: str, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    groups = [f"group.{number}" for number in range(20)]

    class Joining(OnLoop):
        async def connect(self) -> None:
            for group in groups:
                await self.channel_layer.group_add(group, self.channel_name)
            await super().connect()

    async with socket_of(Joining) as socket:
        if fault == "fails":
            layer.broken.add("group.3")
        else:
            layer.held.add(("group_discard", "group.3"))
        socket.disconnect()
        assert await socket.ending() is None
    assert layer.groups.keys() == {"group.3"}
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_mistake_in_disconnect_is_not_taken_for_a_fault_of_the_layer(layer: FlakyLayer) -> None:
    class Mistaken(OnLoop):
        async def disconnect(self, code: int) -> None:
            await self.channel_layer.group_discard("no spaces", self.channel_name)

    async with socket_of(Mistaken) as socket:
        socket.disconnect()
        assert isinstance(await socket.ending(), TypeError)
    assert layer.groups == {}


async def test_a_dead_layer_that_a_consumer_never_joined_does_not_stop_its_disconnect(layer: FlakyLayer) -> None:
    class Stranger(OnLoop):
        groups = []

        async def connect(self) -> None:
            await self.accept()

    socket = socket_of(Stranger)
    async with socket:
        layer.broken.update(ALL)
    assert socket.scope["log"] == ["begin", "end"]


async def test_before_the_end_the_layers_errors_are_the_consumers(layer: FlakyLayer) -> None:
    async with socket_of(OnLoop) as socket:
        seen, channel = socket.scope["consumer"].channel_layer, socket.scope["consumer"].channel_name
        layer.broken.update(("own", "new"))
        with pytest.raises(ConnectionError):
            await seen.group_discard("own", channel)
        with pytest.raises(ConnectionError):
            await seen.group_add("new", channel)
        layer.broken.clear()
    assert layer.groups == {}


async def test_a_group_whose_joining_was_given_up_is_left_too(layer: FlakyLayer) -> None:
    """Its handler was cancelled, but the layer had been asked, and does it when it comes to it."""
    async with socket_of(OnLoop) as socket:
        seen, channel = socket.scope["consumer"].channel_layer, socket.scope["consumer"].channel_name
        layer.held.add(("group_add", "slow"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(seen.group_add("slow", channel), 0.01)
        layer.release(("group_add", "slow"))
        assert layer.members("slow") == 1
    assert layer.groups == {}


@pytest.mark.parametrize("fault", ["works", "down"])
async def test_a_group_that_is_joined_behind_the_end_is_left(fault: str, layer: FlakyLayer) -> None:
    """A thread, or a task of the consumer's own, may go on after its socket."""
    async with socket_of(OnLoop) as socket:
        seen, channel = socket.scope["consumer"].channel_layer, socket.scope["consumer"].channel_name
        layer.held.add(("group_add", "late"))
        joining = asyncio.ensure_future(seen.group_add("late", channel))
        await asyncio.sleep(0)
        await left(socket)
        if fault == "down":
            layer.broken.add("late")
        before = asyncio.all_tasks()
        layer.release(("group_add", "late"))
        await joining
        assert asyncio.all_tasks() <= before
        assert layer.members("late") == (fault == "down")
        await seen.group_add("later", channel)
        assert layer.members("later") == 0
        with pytest.raises(TypeError):
            await seen.group_discard("no spaces", channel)


class FailsLate(FlakyLayer):
    def __init__(self) -> None:
        super().__init__()
        self.failing = asyncio.Event()

    async def group_discard(self, group: str, channel: str) -> None:
        await self.failing.wait()
        raise ConnectionError("The layer is down.")


async def test_a_call_that_fails_behind_the_end_is_no_business_of_other_sockets(layer: FlakyLayer) -> None:
    class Stranger(OnLoop):
        groups = []

        async def connect(self) -> None:
            self.scope["consumer"] = self
            await self.accept()

        async def disconnect(self, code: int) -> None:
            pass

    layer = FailsLate()
    channel_layers.set("default", layer)
    async with socket_of(Stranger) as socket:
        seen, channel = socket.scope["consumer"].channel_layer, socket.scope["consumer"].channel_name
        leaving = asyncio.ensure_future(seen.group_discard("own", channel))
        await asyncio.sleep(0)
        await left(socket)
        layer.failing.set()
        with pytest.raises(ConnectionError):
            await leaving
        assert not _recoveries


async def test_in_its_grace_a_handler_joins_no_group_any_more(layer: FlakyLayer) -> None:
    joined = []

    async def join_late(consumer: Any) -> None:
        await free.wait()
        await consumer.channel_layer.group_add("late", consumer.channel_name)
        joined.append(layer.members("late"))

    free = asyncio.Event()
    async with socket_of(OnLoop, join_late) as socket:
        socket.request("call", 1)
        await socket.all_read()
        socket.disconnect()
        await until(socket.is_all_read)
        await asyncio.sleep(0)
        free.set()
        assert await socket.ending() is None
    assert joined == [0]
    assert layer.groups == {}


# Reading


class Deaf(FlakyLayer):
    """Its ``receive`` overhears a cancellation, as ``asyncio.wait_for`` does under Python 3.11 now and then."""

    async def receive(self, channel: str) -> Any:
        self.channels[channel] = asyncio.Queue()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await asyncio.Event().wait()
            finally:
                del self.channels[channel]


class Tidy(FlakyLayer):
    """Its ``receive`` cleans up when it is cancelled, and the channel stays in Redis if that is cut short."""

    async def receive(self, channel: str) -> Any:
        self.channels[channel] = asyncio.Queue()
        try:
            await asyncio.Event().wait()
        finally:
            del self.channels[channel]
            for _ in range(20):
                await asyncio.sleep(0.005)
            self.tidied = True


class Clumsy(FlakyLayer):
    """Its ``receive`` answers a cancellation with an error, since the layer has gone."""

    async def receive(self, channel: str) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("The layer is down.")


@pytest.mark.parametrize("cls", [Deaf, Clumsy])
async def test_a_layer_that_does_not_let_go_does_not_hold_the_end_up(
    cls: type[FlakyLayer], layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    channel_layers.set("default", cls())
    async with socket_of(OnLoop) as socket:
        socket.disconnect()
        assert await socket.ending() is None
    assert caplog.records == []


@pytest.mark.parametrize("end_limit", [1.0, 0.01])
async def test_a_clean_up_of_the_layer_is_not_cut_short(
    end_limit: float, layer: FlakyLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation is repeated only where it was lost, whether the socket still waits for the clean-up or not."""
    monkeypatch.setattr("routesock._groups.channel_reader.END_LIMIT", end_limit)
    tidy = Tidy()
    channel_layers.set("default", tidy)
    async with socket_of(OnLoop) as socket:
        await left(socket)
        await until(lambda: hasattr(tidy, "tidied"), "the end of the clean-up")
    assert caplog.records == []


@pytest.mark.parametrize("consumer", [OnLoop])
async def test_a_member_that_is_busy_gets_every_broadcast(consumer: Any) -> None:
    """A layer in memory keeps 100 for a channel; routesock takes them from it while the handler runs."""
    free = asyncio.Event()
    async with socket_of(consumer, lambda consumer: free.wait()) as socket:
        socket.request("call", 1)
        await socket.all_read()
        for number in range(300):
            await get_channel_layer().group_send("own", {"type": "told", "number": number})  # type: ignore[union-attr]
            # The layer of Channels 4.1 never waits by itself, and drops what is above its capacity. Each message takes
            # two turns of the loop: one of the task that reads the layer, and one of the task that waits for that.
            await turns(2)
        assert socket.texts == []
        free.set()
        frames = await socket.read(301)
    assert [frame["number"] for frame in frames if "number" in frame] == [*range(300)]


class Named(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("name")
    async def name(self, request: Request) -> str:
        return self.channel_name  # type: ignore[no-any-return]

    async def told(self, event: Any) -> None:
        await self.send_json({"told": event["what"]})


class SyncNamed(RouteMixin, JsonWebsocketConsumer):
    @route("name")
    def name(self, request: Request) -> str:
        return self.channel_name  # type: ignore[no-any-return]

    def told(self, event: Any) -> None:
        self.send_json({"told": event["what"]})


@pytest.mark.parametrize("consumer", [Named, SyncNamed])
async def test_a_channel_is_read_once_somebody_has_asked_for_its_name(consumer: Any, layer: FlakyLayer) -> None:
    """Nobody can send to it before, and an idle socket that uses no such group costs half."""
    async with Socket(consumer.as_asgi()) as socket:
        await turns()
        assert layer.received == 0
        name = (await socket.call("name", 1))["payload"]
        assert (await socket.call("name", 2))["payload"] == name
        await layer.send(name, {"type": "told", "what": "news"})
        await until(lambda: {"told": "news"} in socket.frames)
        await until(lambda: layer.received == 2, "a call for the next message")
        await turns()
        assert layer.received == 2


async def test_a_class_may_declare_the_name(layer: FlakyLayer) -> None:
    class Declaring(Named):
        channel_name = ""

    async with Socket(Declaring.as_asgi()) as socket:
        name = (await socket.call("name", 1))["payload"]
        assert name
        await layer.send(name, {"type": "told", "what": "news"})
        await until(lambda: {"told": "news"} in socket.frames)


class Registering(FlakyLayer):
    """As the pub/sub layer of channels_redis, which subscribes in ``new_channel()``, and forgets a channel in a
    ``receive()`` that is cancelled, and nowhere else.
    """

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel = await super().new_channel(prefix)
        self.channels[channel] = asyncio.Queue()
        return channel

    async def receive(self, channel: str) -> Any:
        self.received += 1
        queue = self.channels.setdefault(channel, asyncio.Queue())
        try:
            return await queue.get()
        except asyncio.CancelledError:
            del self.channels[channel]
            raise


@pytest.mark.parametrize("sent", [0, 3])
async def test_a_channel_that_was_never_read_is_given_back(sent: int) -> None:
    layer = Registering()
    before = channel_layers.set("default", layer)
    try:
        async with Socket(Named.as_asgi()):
            (name,) = layer.channels
            for _ in range(sent):
                await layer.send(name, {"type": "told", "what": "news"})
        assert layer.channels == {}
        async with Socket(Named.as_asgi()) as socket:
            await socket.call("name", 1)
            await turns()
            received = layer.received
        assert layer.channels == {}
        assert layer.received == received
    finally:
        channel_layers.set("default", before)


async def test_without_a_layer_there_is_no_name(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}

    class Asking(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("has")
        async def has(self, request: Request) -> bool:
            with pytest.raises(AttributeError, match="'Asking' object has no attribute 'channel_name'"):
                _ = self.channel_name
            return hasattr(self, "channel_name")

    async with Socket(Asking.as_asgi()) as socket:
        assert (await socket.call("has", 1))["payload"] is False
    assert not hasattr(Asking(), "channel_name")
