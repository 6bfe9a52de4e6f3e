"""A channel layer that fails: no socket ends, and every member is in its groups again once the layer is back."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from contextvars import ContextVar
from itertools import islice
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import channel_layers

from routesock import Request, RouteMixin, route
from routesock._groups.layer_recovery import FIRST_RETRY, LAST_RETRY, WORKERS, _recoveries, recovery_of
from routesock._runtime.supervision import backoff
from tests.layers.flaky import FlakyLayer
from tests.layers.in_memory import as_default
from tests.takeover.driver import Socket, turns, until


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits as ever, but none of them long."""
    for name, seconds in {"FIRST_RETRY": 0.005, "LAST_RETRY": 0.02, "QUIET": 0.02, "CALL_LIMIT": 0.05}.items():
        monkeypatch.setattr(f"routesock._groups.layer_recovery.{name}", seconds)
    monkeypatch.setattr("routesock._groups.layer_membership.CALL_LIMIT", 0.05)
    # A machine that is busy for a second would turn each call that fails into a known outage.
    monkeypatch.setattr("routesock._runtime.layer_calls.SLOW", math.inf)


@pytest.fixture
def layer() -> Iterator[FlakyLayer]:
    with as_default(FlakyLayer()) as layer:
        yield layer
    assert not _recoveries  # nothing is remembered of a layer that no socket uses


class Member(RouteMixin, AsyncJsonWebsocketConsumer):
    groups = ["all"]

    async def connect(self) -> None:
        self.scope["consumer"] = self
        for group in self.scope["joining"]:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.accept()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    async def told(self, event: dict[str, Any]) -> None:
        await self.send_json({"told": event["what"]})


class Sockets:
    """Sockets of one process, which leave one by one."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.open: list[Socket] = []

    async def add(self, *joining: str, consumer: Any = Member) -> Socket:
        socket = Socket(consumer.as_asgi(), joining=joining)
        await self._stack.enter_async_context(socket)
        await turns()  # until its channel is read
        self.open.append(socket)
        return socket

    async def leave(self, socket: Socket) -> None:
        socket._settled = True
        socket.disconnect()
        await until(lambda: socket.done, "the end of a socket")
        self.open.remove(socket)


@pytest.fixture
async def sockets(layer: FlakyLayer) -> AsyncIterator[Sockets]:
    async with AsyncExitStack() as stack:
        sockets = Sockets(stack)
        yield sockets
        for socket in [*sockets.open]:
            await sockets.leave(socket)
    assert not [task for task in asyncio.all_tasks() if "routesock/recovery" in repr(task.get_coro())]


def channel_of(socket: Socket) -> str:
    name: str = socket.scope["consumer"].channel_name
    return name


def layer_of(socket: Socket) -> Any:
    return socket.scope["consumer"].channel_layer


def given_up(layer: FlakyLayer) -> bool:
    """Whether a call hangs and nothing waits for it: it may still be carried out."""
    return layer.hangs and all(recovery._idle.is_set() for recovery in _recoveries.values())


async def hears(layer: FlakyLayer, group: str, *members: Socket) -> None:
    """Returns when a broadcast to ``group`` reaches each of ``members``."""
    before = [len(member.texts) for member in members]
    await layer.group_send(group, {"type": "told", "what": group})
    for member, count in zip(members, before, strict=True):
        await until(lambda: len(member.texts) > count, f"{group!r} heard")  # noqa: B023
        assert member.frames[-1] == {"told": group}


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is told of the layer, above ``DEBUG``."""
    told = [record for record in caplog.records if record.name == "routesock.socket"]
    return [record.levelname for record in told if record.levelno > logging.DEBUG]


async def test_members_are_in_their_groups_again_after_an_outage(sockets: Sockets, layer: FlakyLayer) -> None:
    """In those of ``groups`` and in their own; requests go on meanwhile."""
    first, second = await sockets.add("own"), await sockets.add("own", "other")
    layer.stop()
    assert (await first.call("echo", 1))["payload"] == 1
    with pytest.raises(ConnectionError):
        await layer_of(first).group_send("all", {"type": "told"})
    layer.start()
    await until(lambda: layer.members("all") == 2)
    await hears(layer, "all", first, second)
    await hears(layer, "own", first, second)
    await hears(layer, "other", second)


async def test_all_come_back_although_only_one_has_noticed(sockets: Sockets, layer: FlakyLayer) -> None:
    """channels_redis has one of the sockets read for all; the others wait behind it and see nothing of a restart."""
    first, second = await sockets.add(), await sockets.add("own")
    layer.groups.clear()
    layer.fail(channel=channel_of(first))
    await until(lambda: layer.members("own") == 1)
    await hears(layer, "all", first, second)


@pytest.mark.parametrize("method", ["group_add", "group_discard"])
async def test_a_call_of_a_consumer_that_fails_is_a_sign_too(method: str, sockets: Sockets, layer: FlakyLayer) -> None:
    """It may be the only one to meet a restart."""
    first, second = await sockets.add("own"), await sockets.add("own")
    layer.groups.clear()
    layer.broken.add("unlucky")
    with pytest.raises(ConnectionError):
        await getattr(layer_of(first), method)("unlucky", channel_of(first))
    layer.broken.clear()
    await until(lambda: (layer.members("all"), layer.members("own"), layer.members("unlucky")) == (2, 2, 0))
    await hears(layer, "all", first, second)


async def test_a_call_of_a_consumer_that_takes_too_long_is_none(sockets: Sockets, layer: FlakyLayer) -> None:
    """To join every group once more would be no help to a layer that has too much to do."""
    socket = await sockets.add("own")
    layer.calls.clear()
    layer.slow.add("slow")
    with pytest.raises(TimeoutError):
        await layer_of(socket).group_add("slow", channel_of(socket))
    (recovery,) = _recoveries.values()
    assert not recovery.is_running
    layer.slow.clear()


async def test_an_outage_is_logged_once_and_so_is_its_end(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "routesock")
    for _ in range(5):
        await sockets.add("own")
    layer.stop()
    await until(lambda: len(caplog.records) > 20)  # every try is at DEBUG
    layer.start()
    await until(lambda: len(levels(caplog)) > 1)
    assert levels(caplog) == ["ERROR", "ERROR"]
    alarm = next(record for record in caplog.records if record.levelname == "ERROR")
    assert isinstance(alarm.exc_info, tuple)
    assert alarm.exc_info[0] is ConnectionError
    assert "FlakyLayer" in alarm.getMessage()


async def test_one_call_on_a_stale_connection_is_no_outage(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """The groups are joined again, and there is neither an alarm nor an all-clear."""
    caplog.set_level(logging.INFO, "routesock")
    socket = await sockets.add("own")
    layer.groups.clear()
    layer.fail(channel=channel_of(socket))
    await own_again(layer, socket)
    (recovery,) = _recoveries.values()
    await until(lambda: not recovery.is_running)
    assert levels(caplog) == []
    layer.fail(channel=channel_of(socket))  # once more within a minute
    await until(lambda: levels(caplog) == ["ERROR", "ERROR"])


async def own_again(layer: FlakyLayer, socket: Socket) -> None:
    await until(lambda: layer.members("own") == 1)
    await hears(layer, "own", socket)


async def test_a_second_outage_is_logged_as_the_first(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "routesock")
    await sockets.add()
    for count in (1, 2):
        layer.stop()
        await until(lambda: len(levels(caplog)) == 2 * count - 1)  # noqa: B023
        layer.start()
        await until(lambda: levels(caplog) == ["ERROR", "ERROR"] * count)  # noqa: B023


async def test_groups_that_a_restart_has_lost_are_no_loss_of_their_own(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch over the groups notices a restart some seconds after the sockets: only another loss is logged."""
    caplog.set_level(logging.INFO, "routesock")
    socket = await sockets.add("own")
    layer.stop()
    await until(lambda: levels(caplog) == ["ERROR"])
    layer.start()
    await until(lambda: levels(caplog) == ["ERROR", "ERROR"])
    (recovery,) = _recoveries.values()
    layer.groups.clear()
    recovery._groups_lost()
    await until(lambda: layer.members("own") == 1)
    await hears(layer, "own", socket)
    assert levels(caplog) == ["ERROR", "ERROR"]
    monkeypatch.setattr("routesock._groups.layer_recovery.AFTERMATH", 0)
    recovery._groups_lost()
    await until(lambda: levels(caplog) == ["ERROR"] * 4)
    assert "has lost its groups" in caplog.text


async def test_an_outage_is_logged_once_though_each_socket_fails_and_comes_back(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """No socket is open between them, so nothing tries the layer until the next one."""
    caplog.set_level(logging.INFO, "routesock.socket")

    def told() -> list[str]:
        records = [record for record in caplog.records if "The channel layer" in record.getMessage()]
        return [" ".join(record.getMessage().split()[4:6]) for record in records]

    layer.stop()
    for _ in range(4):
        failing = Socket(Member.as_asgi(), joining=["own"])
        failing.start()
        failing.feed({"type": "websocket.connect"})
        assert isinstance(await failing.ending(), ConnectionError)
    assert not _recoveries
    assert told() == ["fails. Sockets"]
    layer.start()
    socket = await sockets.add("own")
    await until(lambda: told() == ["fails. Sockets", "works again;"])
    await hears(layer, "own", socket)
    layer.stop()
    await until(lambda: len(told()) == 3)
    assert told()[2] == "fails. Sockets"


async def test_a_layer_that_joins_groups_but_does_not_give_messages_is_one_outage(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """As one with two servers, of which one is down."""
    caplog.set_level(logging.INFO, "routesock")
    socket = await sockets.add()
    layer.mute = ConnectionError("The other server is down.")
    layer.fail()
    await until(lambda: len(layer.calls) > 20)
    layer.mute = None
    await hears(layer, "all", socket)
    await until(lambda: len(levels(caplog)) > 1)
    assert levels(caplog) == ["ERROR", "ERROR"]


class RedisTimeoutError(Exception):
    """As redis-py's, which is no :class:`TimeoutError`."""


RedisTimeoutError.__name__ = "TimeoutError"


@pytest.mark.parametrize("error", [TimeoutError, RedisTimeoutError])
async def test_a_receive_that_waited_in_vain_is_no_outage(
    error: type[Exception], sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """redis-py 8 gives up after 5 s without a message. One call shows that the layer works; no groups are joined."""
    caplog.set_level(logging.INFO, "routesock")
    members = [await sockets.add("own") for _ in range(5)]
    layer.calls.clear()
    layer.fail(error("Timeout reading"), channel_of(members[0]))
    await until(lambda: layer.calls)
    await hears(layer, "all", *members)
    (recovery,) = _recoveries.values()
    await until(lambda: not recovery.is_running)
    assert len(layer.calls) == 1
    assert levels(caplog) == []


async def test_a_receive_that_gives_up_at_once_is_not_called_all_the_time(sockets: Sockets, layer: FlakyLayer) -> None:
    await sockets.add()
    layer.mute = TimeoutError("at once")
    layer.received = 0
    layer.fail()
    await until(lambda: layer.received)
    await turns()
    assert layer.received == 1


async def test_a_layer_that_hangs_is_an_outage_too(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "routesock")
    first, second = await sockets.add(), await sockets.add("own")
    layer.pause()
    layer.fail(TimeoutError("Timeout reading"), channel_of(first))
    await until(lambda: levels(caplog) == ["ERROR"])
    assert (await first.call("echo", 1))["payload"] == 1
    layer.groups.clear()  # it was killed in the end
    layer.resume()
    await until(lambda: levels(caplog) == ["ERROR", "ERROR"])
    await hears(layer, "all", first, second)
    await hears(layer, "own", second)


async def test_a_process_without_groups_goes_on_reading(sockets: Sockets, layer: FlakyLayer) -> None:
    class Alone(Member):
        groups = []

    socket = await sockets.add(consumer=Alone)
    layer.stop()
    await turns()
    layer.start()
    await layer.send(channel_of(socket), {"type": "told", "what": "alone"})
    assert await socket.read(1) == [{"told": "alone"}]


async def test_a_group_that_can_never_be_joined_again_keeps_nobody_else_out(
    sockets: Sockets, layer: FlakyLayer
) -> None:
    first, second = await sockets.add("bad"), await sockets.add("own")
    layer.broken.add("bad")
    layer.groups.clear()
    layer.fail()
    await until(lambda: layer.members("all") == 2)
    await hears(layer, "all", first, second)
    await hears(layer, "own", second)
    layer.broken.clear()
    await until(lambda: layer.members("bad") == 1)


async def test_many_members_come_back(sockets: Sockets, layer: FlakyLayer) -> None:
    for number in range(40):
        await sockets.add("own", f"group.{number}")
    layer.stop()
    layer.start()
    await until(lambda: len(layer.groups) == 42)
    assert (layer.members("all"), layer.members("own")) == (40, 40)


async def test_a_layer_that_is_down_is_not_asked_for_every_group_at_each_try(
    sockets: Sockets, layer: FlakyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2 * WORKERS):
        await sockets.add("own")
    monkeypatch.setattr("routesock._groups.layer_recovery.FIRST_RETRY", 60)
    layer.calls.clear()
    layer.stop()
    await until(lambda: layer.calls)
    await turns()
    assert len(layer.calls) == WORKERS


def test_the_waits_grow_to_two_seconds_and_are_not_the_same_everywhere() -> None:
    first, second = ([*islice(backoff(FIRST_RETRY, LAST_RETRY), 20)] for _ in range(2))
    assert first != second
    for wait in (first, second):
        assert wait[0] <= 0.1
        assert all(1 <= seconds <= 2 for seconds in wait[5:])


@pytest.mark.parametrize("exc", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()], ids=type)
async def test_a_group_for_which_the_layer_raises_what_no_layer_should_keeps_nobody_else_out(
    exc: BaseException, sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await sockets.add("bad"), await sockets.add("own")
    group_add = layer.group_add
    failing = True

    async def adding(group: str, channel: str) -> None:
        if group == "bad" and failing:
            raise exc
        await group_add(group, channel)

    layer.group_add = adding  # type: ignore[method-assign]
    layer.groups.clear()
    layer.fail()
    await until(lambda: layer.members("all") == 2)
    await hears(layer, "all", first, second)
    await hears(layer, "own", second)
    failing = False
    await until(lambda: layer.members("bad") == 1)
    assert levels(caplog)[0] == "ERROR"


async def test_a_recovery_that_is_cancelled_by_other_code_is_started_again(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routesock._runtime.supervision.FIRST_RESTART", 0.005)
    first, second = await sockets.add("own"), await sockets.add("own")
    (recovery,) = _recoveries.values()
    layer.held.add(("group_add", "own"))
    layer.stop()
    layer.calls.clear()
    before = asyncio.all_tasks()
    layer.start()
    await until(lambda: ("group_add", "own") in layer.calls)
    for task in asyncio.all_tasks() - before:
        task.cancel()
    layer.release(("group_add", "own"))
    await until(lambda: (layer.members("all"), layer.members("own")) == (2, 2))
    await hears(layer, "own", first, second)
    assert sum("recovery" in record.getMessage() for record in caplog.records) == 1
    await until(lambda: not recovery.is_running)


class BrokenHandler(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        raise ConnectionError("The log server is down.")


async def test_a_log_handler_that_raises_changes_nothing(
    sockets: Sockets, layer: FlakyLayer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It must not make a socket's reader run for ever without a turn for anything else."""
    handler = BrokenHandler()
    logging.getLogger("routesock.socket").addHandler(handler)
    try:
        first, second = await sockets.add("own"), await sockets.add("own")
        layer.stop()
        await turns()
        assert (await first.call("echo", 1))["payload"] == 1
        layer.start()
        await hears_again(layer, first, second)
    finally:
        logging.getLogger("routesock.socket").removeHandler(handler)
    assert "The log server is down." in capsys.readouterr().err


async def hears_again(layer: FlakyLayer, *members: Socket) -> None:
    await until(lambda: layer.members("own") == len(members))
    await hears(layer, "own", *members)


in_connect: ContextVar[str] = ContextVar("in_connect", default="nothing")


async def test_the_recovery_keeps_nothing_of_the_socket_that_began_it(layer: FlakyLayer) -> None:
    """It may run for longer."""
    seen = set()

    class Seeing(FlakyLayer):
        async def group_add(self, group: str, channel: str) -> None:
            seen.add(in_connect.get())
            await super().group_add(group, channel)

    class Setting(Member):
        async def websocket_connect(self, message: Any) -> None:
            in_connect.set("something")
            await super().websocket_connect(message)

    layer = Seeing()
    channel_layers.set("default", layer)
    async with Socket(Setting.as_asgi(), joining=()):
        assert seen == {"something"}
        await turns()  # until its channel is read
        seen.clear()
        layer.stop()
        layer.start()
        await until(lambda: seen)
    assert seen == {"nothing"}


def test_a_loop_that_was_thrown_away_is_forgotten() -> None:
    """Its sockets had no time to leave."""
    loop = asyncio.new_event_loop()
    recovery_of("layer", loop)
    loop.close()
    other = asyncio.new_event_loop()
    try:
        recovery = recovery_of("layer", other)
        assert [*_recoveries.values()] == [recovery]
    finally:
        other.close()
        _recoveries.clear()


# Groups that were left, and sockets that have ended


async def test_a_group_that_was_left_is_not_joined_again(sockets: Sockets, layer: FlakyLayer) -> None:
    socket = await sockets.add("own", "kept")
    await layer_of(socket).group_discard("own", channel_of(socket))
    layer.stop()
    layer.start()
    await until(lambda: layer.members("kept") == 1)
    assert layer.members("own") == 0


@pytest.mark.parametrize("first", ["group_add", "group_discard"])
async def test_a_group_that_is_left_while_it_is_joined_again_is_left(
    first: str, sockets: Sockets, layer: FlakyLayer
) -> None:
    """Whichever of the two calls the layer gets to first."""
    socket = await sockets.add("own")
    layer.held |= {("group_add", "own"), ("group_discard", "own")}
    layer.stop()
    layer.calls.clear()
    layer.start()
    await until(lambda: ("group_add", "own") in layer.calls)
    leaving = asyncio.ensure_future(layer_of(socket).group_discard("own", channel_of(socket)))
    await turns()
    for name in (first, "group_add", "group_discard"):
        layer.release((name, "own"))
        await turns()
    await leaving
    await until(lambda: layer.members("all") == 1)
    await turns()
    assert layer.members("own") == 0


async def test_a_group_that_is_left_and_joined_while_it_is_joined_again_is_joined(
    sockets: Sockets, layer: FlakyLayer
) -> None:
    socket = await sockets.add("own")
    layer.held.add(("group_add", "own"))
    layer.stop()
    layer.calls.clear()
    layer.start()
    await until(lambda: ("group_add", "own") in layer.calls)
    await layer_of(socket).group_discard("own", channel_of(socket))
    layer.held.add(("group_discard", "own"))
    joining = asyncio.ensure_future(layer_of(socket).group_add("own", channel_of(socket)))
    await turns()
    layer.release(("group_add", "own"))
    await joining
    layer.release(("group_discard", "own"))
    await turns()
    await hears(layer, "own", socket)


async def test_a_joining_that_was_given_up_and_comes_late_is_undone(sockets: Sockets, layer: FlakyLayer) -> None:
    """The layer hung while the group was joined again, and comes to it when the consumer has left the group."""
    socket = await sockets.add("own")
    layer.held.add(("group_add", "own"))
    layer.stop()
    layer.start()
    await until(lambda: given_up(layer))
    await layer_of(socket).group_discard("own", channel_of(socket))
    layer.release(("group_add", "own"))
    assert layer.members("own") == 1
    await until(lambda: layer.members("own") == 0)


async def test_a_joining_that_comes_when_its_socket_has_ended_is_undone(
    sockets: Sockets, layer: FlakyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routesock._groups.layer_recovery.QUIET", 1)  # not over before the call is released
    socket, _ = await sockets.add("own"), await sockets.add()
    layer.held.add(("group_add", "own"))
    layer.stop()
    layer.calls.clear()
    layer.start()
    await until(lambda: ("group_add", "own") in layer.calls)
    await sockets.leave(socket)
    await until(lambda: given_up(layer))
    layer.release(("group_add", "own"))
    assert layer.members("own") == 1
    await until(lambda: layer.members("own") == 0)


async def test_a_joining_that_comes_when_the_layer_answers_again_is_undone(
    sockets: Sockets, layer: FlakyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left by then is left once more when the outage is over: connections overtake each other."""
    monkeypatch.setattr("routesock._groups.layer_recovery.QUIET", 1)  # not over before the call is released
    socket, _ = await sockets.add("own"), await sockets.add()
    layer.held.add(("group_add", "own"))
    layer.stop()
    layer.start()
    await until(lambda: given_up(layer))
    await sockets.leave(socket)
    (recovery,) = _recoveries.values()
    await until(recovery._answers.is_set)
    await turns()
    layer.release(("group_add", "own"))
    assert layer.members("own") == 1
    await until(lambda: layer.members("own") == 0)
    await until(lambda: not recovery._departed)


async def test_a_group_that_is_joined_while_it_is_still_being_left_is_remembered(
    sockets: Sockets, layer: FlakyLayer
) -> None:
    socket = await sockets.add("own")
    layer.held.add(("group_discard", "own"))
    leaving = asyncio.ensure_future(layer_of(socket).group_discard("own", channel_of(socket)))
    await turns()
    await layer_of(socket).group_add("own", channel_of(socket))
    layer.release(("group_discard", "own"))
    await leaving
    layer.stop()
    layer.start()
    await until(lambda: layer.members("own") == 1)


async def test_a_failure_while_groups_are_left_once_more_is_recovered_from(
    sockets: Sockets, layer: FlakyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routesock._groups.layer_membership.CALL_LIMIT", 5)
    socket, other = await sockets.add("own"), await sockets.add()
    layer.broken.add("own")
    await sockets.leave(socket)
    layer.broken.clear()
    await until(lambda: layer.members("own") == 0)
    layer.calls.clear()
    layer.held.add(("group_discard", "own"))
    await until(lambda: layer.calls)  # once more
    layer.fail()
    layer.groups.clear()
    await turns()
    layer.release(("group_discard", "own"))
    await until(lambda: layer.members("all") == 1)
    await hears(layer, "all", other)


@pytest.mark.parametrize("alone", [True, False])
async def test_a_socket_that_ends_while_it_is_joining_again_is_in_no_group(
    alone: bool, sockets: Sockets, layer: FlakyLayer
) -> None:
    socket = await sockets.add("own")
    if not alone:
        await sockets.add()
    layer.held.add(("group_add", "own"))
    layer.stop()
    layer.calls.clear()
    layer.start()
    await until(lambda: ("group_add", "own") in layer.calls)
    leaving = asyncio.ensure_future(sockets.leave(socket))
    await turns()
    layer.release(("group_add", "own"))
    await leaving
    await until(lambda: layer.members("own") == 0)
    await turns()
    assert layer.members("own") == 0


@pytest.mark.parametrize("fault", ["down", "hangs"])
async def test_groups_that_an_ended_socket_could_not_leave_are_left_after_the_outage(
    fault: str, sockets: Sockets, layer: FlakyLayer
) -> None:
    """Redis may have kept its data, so the others of the process leave them for it."""
    socket, other = await sockets.add("own"), await sockets.add("own")
    if fault == "down":
        layer.broken.update(("own", "all"))
    else:
        layer.pause()
    await sockets.leave(socket)
    assert (layer.members("own"), layer.members("all")) == (2, 2)
    layer.broken.clear()
    layer.resume(lost=True)
    await until(lambda: (layer.members("own"), layer.members("all")) == (1, 1))
    await hears(layer, "own", other)
    (recovery,) = _recoveries.values()
    await until(lambda: not recovery._departed)


async def test_an_outage_outlives_no_socket(sockets: Sockets, layer: FlakyLayer) -> None:
    """The fixture looks for tasks that are left."""
    members = [await sockets.add("own") for _ in range(3)]
    layer.stop()
    await turns()
    for member in members:
        await sockets.leave(member)


# What layers forget without failing


async def test_membership_outlives_the_layers_expiry(
    sockets: Sockets, layer: FlakyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "routesock")
    layer.group_expiry = 0.2  # type: ignore[assignment]
    socket = await sockets.add("own")
    joined = [*layer.groups["own"].values()]
    await until(lambda: [*layer.groups["own"].values()] > joined)
    again = [*layer.groups["own"].values()]
    await until(lambda: [*layer.groups["own"].values()] > again)
    assert layer.members("all") == 1
    (recovery,) = _recoveries.values()
    await sockets.leave(socket)
    assert recovery._timer is not None
    assert recovery._timer.cancelled()
    assert levels(caplog) == []
