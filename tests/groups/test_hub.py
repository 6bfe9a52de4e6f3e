"""One member of the layer per process: what it is asked for, what becomes of a layer that fails, and the hub's end."""

from __future__ import annotations

import asyncio
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from routesock import Keys, Request, RouteMixin, abroadcast, route
from routesock._connection.membership.member import Member
from routesock._groups import hub
from routesock._groups.envelopes import EVENT, PUSH, layer_group
from routesock._groups.layer_recovery import _recoveries
from routesock._runtime.supervision import FIRST_RESTART
from routesock._wire import codec
from routesock.auth._login import revocation
from tests.clock import advance, shifted
from tests.layers.flaky import FlakyLayer
from tests.layers.in_memory import as_default
from tests.takeover.driver import Socket, turns, until

ROOM = layer_group("room")


class Counting(FlakyLayer):
    """Counts what it delivers."""

    def __init__(self) -> None:
        super().__init__()
        self.delivered = 0

    async def send(self, channel: str, message: Any) -> None:
        self.delivered += 1
        await super().send(channel, message)


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    monkeypatch.setattr("routesock._groups.layer_recovery.CALL_LIMIT", 0.05)
    monkeypatch.setattr("routesock._groups.layer_recovery.QUIET", 0.01)
    monkeypatch.setattr("routesock._groups.hub.CALL_LIMIT", 0.05)
    # A machine that is busy for a second would turn each call that fails into a known outage.
    monkeypatch.setattr("routesock._runtime.layer_calls.SLOW", math.inf)
    with as_default(Counting()) as layer:
        yield layer
    assert hub._hubs == {}
    assert not _recoveries


class Room(RouteMixin, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.scope["consumer"] = self
        await self.accept()

    @route("join")
    async def join(self, request: Request) -> None:
        await self.socket.join(request.payload)

    @route("leave")
    async def leave(self, request: Request) -> None:
        await self.socket.leave(request.payload)

    @route("endless")
    async def endless(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("tell")
    async def tell(self, request: Request) -> None:
        await self.socket.broadcast("room", "told", request.payload)

    async def foreign(self, event: Any) -> None:
        raise AssertionError("A hub's channel is not the consumer's.")


def socket() -> Socket:
    return Socket(Room.as_asgi())


def told(client: Socket) -> list[Any]:
    return [frame["payload"] for frame in client.frames if frame["route"] == "told"]


async def test_the_layer_delivers_once_however_many_sockets_there_are(layer: Counting) -> None:
    async with socket() as one, socket() as two, socket() as three:
        for client in (one, two, three):
            await client.call("join", 1, "room")
        assert layer.calls.count(("group_add", ROOM)) == 1
        await abroadcast("room", "told", "news")
        await until(lambda: all(told(client) == ["news"] for client in (one, two, three)))
        assert layer.delivered == 1


async def test_the_layer_is_left_with_the_last_socket(layer: Counting) -> None:
    async with socket() as one:
        await one.call("join", 1, "room")
        async with socket() as two:
            await two.call("join", 1, "room")
            await two.call("leave", 2, "room")
            assert layer.members(ROOM) == 1
            await two.call("join", 3, "room")
        assert layer.members(ROOM) == 1
        await one.call("leave", 2, "room")
        assert layer.members(ROOM) == 0
        assert hub._hubs == {}
        await one.call("join", 3, "room")
        assert layer.members(ROOM) == 1
    assert layer.members(ROOM) == 0


async def test_many_join_and_leave_at_once(layer: Counting) -> None:
    """Whoever is in the group when all calls have returned gets what is sent then, and nobody else does."""
    async with socket() as stays, socket() as goes:
        here, there = stays.scope["consumer"].socket, goes.scope["consumer"].socket
        for _ in range(20):
            layer.held.add(("group_add", ROOM))
            joining = [asyncio.ensure_future(member.join("room")) for member in (here, there)]
            await turns()
            leaving = asyncio.ensure_future(there.leave("room"))
            await turns()
            layer.release(("group_add", ROOM))
            await asyncio.gather(*joining, leaving)
            await there.leave("room")
            assert layer.members(ROOM) == 1
            await here.leave("room")
            assert layer.members(ROOM) == 0
        await here.join("room")
        await abroadcast("room", "told", "news")
        await until(lambda: told(stays) == ["news"])
        assert told(goes) == []


async def test_a_socket_whose_user_changes_faster_than_the_layer_answers_leaves_nothing_behind(
    layer: Counting,
) -> None:
    one, two = "routesock.user.1", "routesock.user.2"
    layer.held |= {("group_add", two), ("group_discard", two)}
    async with socket() as client:
        connection = client.scope["consumer"]._routesock_connection
        for user in (two, one):
            connection._start(connection.member().belong(user))
            await turns()
        layer.release(("group_add", two))
        await turns()
        client.disconnect()
        await until(lambda: client.done)
        client._settled = True  # a task of the hub's waits for the layer still
        layer.release(("group_discard", two))
    await until(lambda: hub._hubs == {} and not _recoveries)
    assert layer.members(one) == layer.members(two) == 0


class SyncMember(RouteMixin, JsonWebsocketConsumer):
    def connect(self) -> None:
        self.scope["consumer"] = self
        self.accept()


@pytest.mark.parametrize("consumer", [Room, SyncMember])
@pytest.mark.parametrize("crossing", [False, True])
async def test_a_thread_of_the_consumers_own_may_join_and_leave(
    consumer: Any, crossing: bool, request: pytest.FixtureRequest
) -> None:
    """One that no event loop has started: what async code it calls there runs on a loop of its own."""
    if crossing:
        request.getfixturevalue("layer")
    async with Socket(consumer.as_asgi()) as client:
        member = client.scope["consumer"].socket
        join, leave = (member.join, member.leave)
        if consumer is Room:
            join, leave = async_to_sync(join), async_to_sync(leave)
        await asyncio.to_thread(join, "room")
        await abroadcast("room", "told", 1)
        await until(lambda: told(client) == [1])
        await asyncio.to_thread(leave, "room")
        assert hub._hubs == {}


async def test_a_group_that_the_layer_refuses_is_not_joined(layer: Counting) -> None:
    async with socket() as client:
        layer.broken.add(ROOM)
        with pytest.raises(ConnectionError):
            await client.scope["consumer"].socket.join("room")
        assert client.scope["consumer"].socket.groups == frozenset()
        layer.broken.clear()
        await client.call("join", 2, "room")
        assert client.scope["consumer"].socket.groups == {"room"}
        assert layer.members(ROOM) == 1


async def test_a_layer_that_hangs_is_not_waited_for_long(layer: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routesock._groups.hub.SEND_LIMIT", 0.05)
    async with socket() as client:
        layer.pause()
        with pytest.raises(TimeoutError):
            await client.scope["consumer"].socket.join("room")
        layer.resume()
        assert client.scope["consumer"].socket.groups == frozenset()


async def test_nor_does_it_hold_up_the_end_of_a_socket(layer: Counting) -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
        layer.pause()
        client.disconnect()
        await until(lambda: client.done)
        client._settled = True  # a task of the hub's waits for the layer still
    layer.resume()
    await until(lambda: hub._hubs == {} and not _recoveries)


async def test_a_broadcast_to_a_layer_that_is_down_raises(layer: Counting) -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
        await turns()  # until the hub reads
        layer.stop()
        with pytest.raises(ConnectionError):
            await abroadcast("room", "told", "lost")
        layer.start()
        await until(lambda: layer.members(ROOM) == 1)
        await abroadcast("room", "told", "news")
        await until(lambda: told(client) == ["news"])


async def test_a_broadcast_that_the_layer_does_not_take_in_time_raises(
    layer: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*args: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("routesock._groups.hub.SEND_LIMIT", 0.01)
    monkeypatch.setattr(layer, "group_send", hang)
    with pytest.raises(TimeoutError):
        await abroadcast("room", "told", "lost")


async def test_a_hub_outlives_the_expiry_of_its_group(layer: Counting) -> None:
    layer.group_expiry = 0.05  # type: ignore[assignment]
    async with socket() as client:
        await client.call("join", 1, "room")
        await until(lambda: layer.calls.count(("group_add", ROOM)) > 2)
        await abroadcast("room", "told", "news")
        await until(lambda: told(client) == ["news"])


@pytest.mark.parametrize(
    "message",
    [
        {"type": "foreign"},
        {"type": "websocket.close"},
        {"type": PUSH},
        {"type": PUSH, "group": None},
        {"type": PUSH, "group": [ROOM], "data": '["told", 1, {}]'},
        {"type": EVENT, "group": [ROOM], "name": "told", "data": "[]"},
        {"type": PUSH, "group": ROOM},
        {"type": PUSH, "group": ROOM, "data": None},
        {"type": PUSH, "group": ROOM, "data": "[1, 2]"},
        {"type": PUSH, "group": ROOM, "data": "[" * 100_000},
        {"type": PUSH, "group": ROOM, "data": '["told", 1, 5]'},
        {"type": PUSH, "group": ROOM, "data": '["told", 1, {}]', "from": "x", "seq": 10**300},
        {"type": PUSH, "group": ROOM, "data": '["told", 1, {}]', "except": []},
        {"type": None},
        {},
    ],
)
async def test_a_message_that_is_not_ours_does_no_harm(
    layer: Counting, caplog: pytest.LogCaptureFixture, message: Any
) -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
        await layer.group_send(ROOM, message)
        await abroadcast("room", "told", "news")
        await until(lambda: "news" in told(client))


async def test_messages_of_our_types_call_nothing_on_a_consumers_own_channel(
    layer: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
        await layer.send(
            client.scope["consumer"].channel_name, {"type": PUSH, "group": ROOM, "data": '["told", "forged", {}]'}
        )
        await abroadcast("room", "told", "news")
        await until(lambda: told(client) == ["news"])


def test_a_loop_that_is_torn_down_ends_it(layer: Counting) -> None:
    """While a socket has its grace, so that it has not left yet."""

    async def run() -> None:
        client = socket()
        client.start()
        client.feed({"type": "websocket.connect"})
        await until(lambda: client.sent)
        await client.call("join", 1, "room")
        client.request("endless", 2)
        await turns()
        client.disconnect()
        await turns()

    asyncio.run(run())
    hub._hubs.clear()
    _recoveries.clear()


EXCEPTIONS = [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno == logging.ERROR]


def task_of(name: str) -> asyncio.Task[Any]:
    """The task in which the hub runs its method ``name``."""
    (task,) = (task for task in asyncio.all_tasks() if any(f.f_code.co_name == name for f in frames_of(task)))
    return task


def frames_of(task: asyncio.Task[Any]) -> Iterator[Any]:
    coroutine: Any = task.get_coro()
    while coroutine is not None and hasattr(coroutine, "cr_frame"):
        if coroutine.cr_frame is not None:
            yield coroutine.cr_frame
        coroutine = coroutine.cr_await


@pytest.mark.parametrize("crossing", [False, True])
@pytest.mark.parametrize("exc", EXCEPTIONS, ids=type)
async def test_a_member_that_raises_keeps_nothing_from_the_others(
    crossing: bool,
    exc: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    if crossing:
        request.getfixturevalue("layer")
    deliver = Member.deliver
    failing: list[Any] = []

    def delivering(self: Any, broadcast: Any) -> None:
        if self in failing:
            raise exc
        deliver(self, broadcast)

    monkeypatch.setattr(Member, "deliver", delivering)
    async with socket() as one, socket() as two, socket() as three:
        for client in (one, two, three):
            await client.call("join", 1, "room")
        failing.append(two.scope["consumer"]._routesock_connection.member())
        await abroadcast("room", "told", 1)
        await until(lambda: told(one) == told(three) == [1])
        failing.clear()
        await abroadcast("room", "told", 2)
        await until(lambda: told(one) == told(three) == [1, 2])
        assert told(two) == [2]
    (record,) = errors(caplog)
    assert record.exc_info is not None
    assert record.exc_info[1] is exc


@pytest.mark.parametrize("exc", EXCEPTIONS, ids=type)
async def test_a_message_that_cannot_be_handled_ends_no_more_than_its_own_delivery(
    exc: BaseException, layer: Counting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(message: Any) -> None:
        raise exc

    monkeypatch.setattr(hub, "received", fail)
    async with socket() as client:
        await client.call("join", 1, "room")
        await layer.group_send(ROOM, {"type": revocation.TYPE})
        await abroadcast("room", "told", "news")
        await until(lambda: told(client) == ["news"])
    (record,) = errors(caplog)
    assert record.getMessage() == "The handling of a channel-layer message failed."


@pytest.mark.parametrize("message", [None, [], "text", 7])
async def test_what_is_no_message_at_all_does_no_harm(
    message: Any, layer: Counting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receive = layer.receive

    async def receiving(channel: str) -> Any:
        received = await receive(channel)
        return message if received["type"] == "odd" else received

    monkeypatch.setattr(layer, "receive", receiving)
    async with socket() as client:
        await client.call("join", 1, "room")
        await layer.group_send(ROOM, {"type": "odd"})
        await abroadcast("room", "told", "news")
        await until(lambda: told(client) == ["news"])
    assert len(errors(caplog)) == 1


async def test_a_layer_that_returns_at_once_lets_others_run(layer: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def receive(channel: str) -> Any:
        return {"type": "odd"}

    monkeypatch.setattr(layer, "receive", receive)
    async with socket() as client:
        await client.call("join", 1, "room")
        assert (await client.call("leave", 2, "room"))["status"] == 204


@shifted
async def test_a_reader_that_dies_is_started_again(layer: Counting, caplog: pytest.LogCaptureFixture) -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
        await turns()
        layer.fail(SystemExit(3))  # type: ignore[arg-type]
        await turns()
        await advance(FIRST_RESTART)
        await abroadcast("room", "told", 1)
        await until(lambda: told(client) == [1])
        task_of("_read").cancel()
        await turns()
        await advance(2 * FIRST_RESTART)
        await abroadcast("room", "told", 2)
        await until(lambda: told(client) == [1, 2])
    first, second = [record.getMessage() for record in errors(caplog)]
    assert first.startswith("The reader of a channel layer failed. It is started again in ")
    assert second == "The reader of a channel layer was cancelled by other code. It is started again."
    before = asyncio.all_tasks()
    await advance(60)
    assert asyncio.all_tasks() == before  # nothing is started behind the end


@shifted
async def test_a_writer_that_is_cancelled_goes_on_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """Each member gets each message once."""

    class Kept:
        id = None

        def __init__(self) -> None:
            self.got: list[Any] = []

        def deliver(self, broadcast: Any) -> None:
            self.got.append(broadcast.data(Keys()))

    members = [Kept() for _ in range(2 * hub.FAIR_SHARE)]
    one = hub.Hub(None, asyncio.get_running_loop(), lambda ended: None)
    for member in members:
        await one.join(ROOM, member)
    for number in (1, 2):
        one.take({"type": PUSH, "group": ROOM, "data": f'["told", {number}, {{}}]'})
    await asyncio.sleep(0)
    assert [len(member.got) for member in members] == [1] * hub.FAIR_SHARE + [0] * hub.FAIR_SHARE
    task_of("_write").cancel()
    await turns()
    await advance(FIRST_RESTART)
    await turns()
    texts = [codec.encode(Keys().push("told", number, {})) for number in (1, 2)]
    assert all(member.got == texts for member in members)
    assert [record.getMessage() for record in errors(caplog)] == [
        "The writer of broadcasts was cancelled by other code. It is started again."
    ]


async def test_a_sender_that_waits_for_room_goes_on_when_the_hub_ends() -> None:
    class Slow:
        id = None

        def deliver(self, broadcast: Any) -> None: ...

    one, member = hub.Hub(None, asyncio.get_running_loop(), lambda ended: None), Slow()
    await one.join(ROOM, member)
    message = {"type": PUSH, "group": ROOM, "data": '["told", 1, {}]'}
    for _ in range(hub.MAX_PENDING):
        one.take(message)
    waiting = asyncio.ensure_future(one.accept(message))
    await one.leave(ROOM, member)
    await asyncio.wait_for(waiting, 30)


def without_context(loop: Any, coroutine: Any) -> Any:
    return asyncio.Task(coroutine, loop=loop)


@pytest.mark.parametrize("factory", [without_context, getattr(asyncio, "eager_task_factory", None)])  # new in 3.12
def test_a_task_factory_of_the_project_does_not_matter(factory: Any, layer: Counting) -> None:
    """One that starts tasks at once, and one that does not know the argument ``context``, which Python 3.11 added."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        one = hub.Hub(layer, loop, lambda ended: None)
        got: list[Any] = []

        class Kept:
            id = None

            def deliver(self, broadcast: Any) -> None:
                got.append(broadcast)

        loop.set_task_factory(factory)
        member = Kept()
        await one.join(ROOM, member)
        for number in range(1, 4):
            await layer.group_send(ROOM, {"type": PUSH, "group": ROOM, "data": '["told", 1, {}]'})
            await until(lambda: len(got) == number)  # noqa: B023
        await one.leave(ROOM, member)

    asyncio.run(test())


async def test_who_is_sent_more_than_is_written_is_made_to_wait(layer: Counting) -> None:
    """The messages stay in the layer, which bounds them, and not in the hub."""
    (one, one_written) = (hub.Hub(None, asyncio.get_running_loop(), print), asyncio.Event())

    class Slow:
        id = None

        def deliver(self, broadcast: Any) -> None:
            one_written.set()

    await one.join(ROOM, Slow())
    message = {"type": PUSH, "group": ROOM, "data": '["told", 1, {}]'}
    for _ in range(hub.MAX_PENDING):
        one.take(message)
    waiting = one.accept(message)
    waiting.send(None)
    assert not one_written.is_set()
    waiting.close()
    await asyncio.wait_for(one.accept(message), 30)
    assert one_written.is_set()
    await turns()


FORK = """
import asyncio, os, signal, threading
from django.conf import settings
settings.configure(ROUTESOCK={}, SECRET_KEY="x", CHANNEL_LAYERS={})
from routesock._groups import hub
from routesock._groups.envelopes import PUSH
from routesock.auth._login import revocation

message = {"type": PUSH, "group": "room", "data": '["told", 1, {}]'}

async def main():
    loop = asyncio.get_running_loop()
    await hub.hub_of(None).join("room", object())
    revocation.listen("user", type("Listener", (), {"loop": loop}))
    writes = []
    loop._write_to_self = lambda: writes.append(1)
    lock, rlock = hub._lock, revocation._lock
    with lock, rlock:  # as a thread of the parent may have
        child = os.fork()
        if not child:
            signal.alarm(10)
            asyncio._set_running_loop(None)
            thread = threading.Thread(target=lambda: asyncio.run(hub.send(None, message)))
            thread.start()
            thread.join()
            revocation._deliver("user", {})
            os._exit(bool(writes))
    assert os.waitpid(child, 0)[1] == 0
    assert len(hub._hubs) == len(revocation._listeners) == 1

asyncio.run(main())
"""


def test_a_forked_process_does_not_reach_for_the_sockets_of_its_parent() -> None:
    """Its copies of their loops would keep what they are told for ever, and wake the parent's."""
    subprocess.run([sys.executable, "-W", "error", "-c", FORK], check=True, timeout=60)
