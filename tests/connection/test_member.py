"""``join``, ``leave``, ``groups`` and ``broadcast`` of ``self.socket``, and what becomes of a frame on the way."""

from __future__ import annotations

import asyncio
import contextvars
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from routesock import Dialect, Keys, Request, RouteMixin, abroadcast, route
from routesock._groups import hub
from routesock.dialects import Frame
from tests.takeover.driver import Socket, turns, until

WHERE: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


class Room(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("join")
    async def join(self, request: Request) -> list[str]:
        await self.socket.join(request.payload)
        return sorted(self.socket.groups)

    @route("leave")
    async def leave(self, request: Request) -> list[str]:
        await self.socket.leave(request.payload)
        return sorted(self.socket.groups)

    @route("tell")
    async def tell(self, request: Request) -> None:
        await self.socket.broadcast(*request.payload["args"], **request.payload.get("kwargs", {}))

    @route("busy")
    async def busy(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("raises")
    async def raises(self, request: Request) -> str:
        with pytest.raises(TypeError, match="not JSON serializable"):
            await self.socket.broadcast("room", "told", object())
        with pytest.raises(ValueError, match="JSON compliant"):
            await self.socket.broadcast("room", "told", float("nan"))
        with pytest.raises(ValueError, match="over MAX_REPLY"):
            await self.socket.broadcast("room", "told", "x" * 1_000_000)
        with pytest.raises(TypeError, match="name must be a string"):
            await self.socket.broadcast(1, "told")
        return "raised"


class SyncRoom(RouteMixin, JsonWebsocketConsumer):
    @route("join")
    def join(self, request: Request) -> list[str]:
        self.socket.join(request.payload)
        return sorted(self.socket.groups)

    @route("leave")
    def leave(self, request: Request) -> list[str]:
        self.socket.leave(request.payload)
        return sorted(self.socket.groups)

    @route("tell")
    def tell(self, request: Request) -> None:
        self.socket.broadcast(*request.payload["args"], **request.payload.get("kwargs", {}))

    @route("raises")
    def raises(self, request: Request) -> str:
        with pytest.raises(TypeError, match="not JSON serializable"):
            self.socket.broadcast("room", "told", object())
        return "raised"


BOTH = pytest.mark.parametrize("consumer", [Room, SyncRoom])


def socket(consumer: Any = Room) -> Socket:
    return Socket(consumer.as_asgi(), log=[])


def pushes(client: Socket) -> list[Any]:
    return [frame for frame in client.frames if "status" not in frame]


def told(client: Socket) -> list[Any]:
    return [frame["payload"] for frame in pushes(client) if frame["route"] == "told"]


def tell(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"args": args, "kwargs": kwargs}


@BOTH
async def test_a_broadcast_reaches_the_sockets_of_a_group_and_no_other(consumer: type) -> None:
    async with socket(consumer) as one, socket() as two, socket(consumer) as three:
        assert (await one.call("join", 1, "room:general"))["payload"] == ["room:general"]
        await two.call("join", 1, "room:general")
        await three.call("join", 1, "room-general")
        await three.call("tell", 2, tell("room:general", "told", {"a": [1]}, headers={"X": 1}))
        await until(lambda: pushes(one) and pushes(two))
        await turns()
        assert pushes(one) == pushes(two) == [{"route": "told", "payload": {"a": [1]}, "headers": {"X": 1}}]
        assert pushes(three) == []


@BOTH
async def test_joining_twice_is_joining_once_and_leaving_is_leaving(consumer: type) -> None:
    async with socket(consumer) as client:
        await client.call("join", 1, "room")
        assert (await client.call("join", 2, "room"))["payload"] == ["room"]
        await client.call("tell", 3, tell("room", "told", 1))
        await until(lambda: told(client) == [1])
        assert (await client.call("leave", 4, "room"))["payload"] == []
        await client.call("leave", 5, "room")
        await abroadcast("room", "told", 2)
        await turns()
        assert told(client) == [1]
    assert hub._hubs == {}


@BOTH
async def test_a_sender_can_leave_itself_out(consumer: type) -> None:
    async with socket(consumer) as sender, socket() as other, socket() as third:
        for client in (sender, other, third):
            await client.call("join", 1, "room")
        await other.call("tell", 2, tell("room", "told", "all"))
        await sender.call("tell", 2, tell("room", "told", "others", exclude_self=True))
        await other.call("tell", 3, tell("room", "told", "others too", exclude_self=True))
        await until(lambda: told(third) == ["all", "others", "others too"])
        assert told(sender) == ["all", "others too"]
        assert told(other) == ["all", "others"]


@BOTH
async def test_what_cannot_be_sent_raises_to_the_sender_and_reaches_nobody(consumer: type) -> None:
    async with socket(consumer) as client:
        await client.call("join", 1, "room")
        assert (await client.call("raises", 2))["payload"] == "raised"
        await turns()
        assert pushes(client) == []


async def test_a_group_ends_with_the_socket() -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
    assert hub._hubs == {}
    await abroadcast("room", "told", 1)


async def test_nor_does_a_socket_join_at_its_end() -> None:
    class Late(Room):
        async def disconnect(self, code: int) -> None:
            await self.socket.join("late")
            self.scope["log"].append(self.socket.groups)

    async with socket(Late) as client:
        await client.call("join", 1, "room")
    assert client.log == [{"room", "late"}]
    assert hub._hubs == {}


async def test_a_push_passes_whatever_the_socket_is_busy_with() -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
        client.request("busy", 2)
        client.request("busy", 3)
        await client.all_read()
        for number in range(300):
            await abroadcast("room", "told", number)
        await until(lambda: told(client) == [*range(300)])
        client.cancel(2)
        client.cancel(3)


async def test_what_comes_while_a_socket_connects_waits_until_it_has() -> None:
    class Careful(Room):
        async def connect(self) -> None:
            await self.socket.join("room")
            await self.scope["go"].wait()
            await self.accept()
            await self.scope["go_on"].wait()
            await self.socket.push("snapshot")

    client = Socket(Careful.as_asgi(), go=asyncio.Event(), go_on=asyncio.Event())
    client.start()
    client.feed({"type": "websocket.connect"})
    await until(lambda: hub._hubs)
    await abroadcast("room", "told", 1)
    await turns()
    assert client.sent == []
    client.scope["go"].set()
    await until(lambda: client.sent)
    await abroadcast("room", "told", 2)
    await turns()
    assert pushes(client) == []
    client.scope["go_on"].set()
    await until(lambda: len(pushes(client)) == 3)
    assert [frame["route"] for frame in pushes(client)] == ["snapshot", "told", "told"]
    assert told(client) == [1, 2]
    client.disconnect()
    assert await client.ending() is None


async def test_it_does_not_wait_without_bound() -> None:
    class Endless(Room):
        async def connect(self) -> None:
            await self.accept()
            await self.socket.join("room")
            await self.scope["go"].wait()

    with override_settings(ROUTESOCK={"MAX_OUTGOING": 3}):
        async with Socket(Endless.as_asgi(), go=asyncio.Event()) as client:
            await until(lambda: hub._hubs)
            for number in range(10):
                await abroadcast("room", "told", number)
            await turns()
            client.scope["go"].set()
            await until(lambda: told(client) == [0, 1, 2])
    with override_settings(ROUTESOCK={"MAX_OUTGOING_BYTES": 2000}):
        async with Socket(Endless.as_asgi(), go=asyncio.Event()) as client:
            await until(lambda: hub._hubs)
            for number in range(10):
                await abroadcast("room", "told", str(number) * 900)
            await turns()
            client.scope["go"].set()
            await until(lambda: told(client) == ["0" * 900, "1" * 900])


class Loud(Keys):
    """Counts how often a push is spelt."""

    spelt = 0

    def push(self, *args: Any, **kwargs: Any) -> Any:
        type(self).spelt += 1
        return super().push(*args, **kwargs)


class InCapitals(Dialect):
    """Makes of the payload what it likes."""

    def read(self, value: Any) -> Frame:
        return Frame("echo", payload=value)

    def reply(self, request: Request, status: int, payload: Any, headers: Any) -> Any:
        return {"REPLY": payload}

    def push(self, route: str, payload: Any, headers: Any = None) -> Any:
        return {"PUSH": [route, payload]}


async def test_each_dialect_spells_it_in_its_own_way_and_once() -> None:
    class One(Room):
        route_dialect = Loud()

        async def connect(self) -> None:
            await self.accept()
            await self.socket.join("room")

    class Two(One):
        route_dialect = Keys(route="action", payload=None)

    class Three(One):
        route_dialect = InCapitals()

    Loud.spelt = 0
    async with socket(One) as one, socket(One) as again, socket(Two) as two, socket(Three) as three:
        await abroadcast("room", "told", {"a": 1})
        await until(lambda: all(client.frames for client in (one, again, two, three)))
        assert one.frames == again.frames == [{"route": "told", "payload": {"a": 1}}]
        assert two.frames == [{"action": "told", "a": 1}]
        assert three.frames == [{"PUSH": ["told", {"a": 1}]}]
    assert Loud.spelt == 1


class OwnEncoding(Room):
    async def connect(self) -> None:
        await self.socket.join("room")
        await self.accept()

    async def encode_json(self, content: Any) -> str:
        content["payload"]["by"] = self.scope["name"]
        return await super().encode_json(content)  # type: ignore[no-any-return]


class SyncOwnSending(SyncRoom):
    def connect(self) -> None:
        self.socket.join("room")
        self.accept()

    def send_json(self, content: Any, close: Any = False) -> None:
        content["payload"]["by"] = self.scope["name"]
        super().send_json(content, close)


@pytest.mark.parametrize("consumer", [OwnEncoding, SyncOwnSending])
async def test_it_goes_through_what_the_consumer_overrides(consumer: Any) -> None:
    """Which may change the frame, and changes nobody else's."""
    async with (
        Socket(consumer.as_asgi(), name="one") as one,
        Socket(consumer.as_asgi(), name="two") as two,
        socket() as plain,
    ):
        await plain.call("join", 1, "room")
        for number in range(5):
            await abroadcast("room", "told", {"n": number})
        await until(lambda: all(len(told(client)) == 5 for client in (one, two, plain)))
        assert told(one) == [{"n": number, "by": "one"} for number in range(5)]
        assert told(two) == [{"n": number, "by": "two"} for number in range(5)]
        assert told(plain) == [{"n": number} for number in range(5)]


class WaitingToEncode(Room):
    async def encode_json(self, content: Any) -> str:
        await wait_for(self, content)
        return await super().encode_json(content)  # type: ignore[no-any-return]


class WaitingToSendJson(Room):
    async def send_json(self, content: Any, close: Any = False) -> None:
        await wait_for(self, content)
        await super().send_json(content, close)


class WaitingToSend(Room):
    async def send(self, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
        await wait_for(self, json.loads(text_data))
        await super().send(text_data, bytes_data, close)


async def wait_for(consumer: Any, content: Any) -> None:
    """Let pushes wait, each for another time."""
    if "status" not in content:
        if "go" in consumer.scope:
            await consumer.scope["go"].wait()
        await turns(content["payload"] * 7 % 5)


WAITING = pytest.mark.parametrize("consumer", [WaitingToEncode, WaitingToSendJson, WaitingToSend])


@WAITING
async def test_pushes_stay_in_order_whatever_their_ways_through_it_take(consumer: Any) -> None:
    async with socket(consumer) as client:
        await client.call("join", 1, "room")
        for number in range(100):
            await abroadcast("room", "told", number)
            if number % 9 == 0:
                await turns(3)
        await until(lambda: len(told(client)) == 100)
        assert told(client) == [*range(100)]


@WAITING
async def test_they_do_not_wait_there_without_bound(
    consumer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """More may wait there than for the client, as many as events for a socket that is busy."""
    monkeypatch.setattr("routesock._connection.membership.member.MAX_QUEUED_EVENTS", 30)
    with override_settings(ROUTESOCK={"MAX_OUTGOING": 5}):
        async with Socket(consumer.as_asgi(), go=asyncio.Event()) as client:
            await client.call("join", 1, "room")
            tasks = len(asyncio.all_tasks())
            await abroadcast("room", "told", -1)
            await turns()
            for number in range(100):
                await abroadcast("room", "told", number)
            await turns()
            assert len(asyncio.all_tasks()) < tasks + 5
            client.scope["go"].set()
            await until(lambda: told(client) == [-1, *range(30)])
            await until(lambda: caplog.records)
    assert [record.getMessage() for record in caplog.records] == [
        "70 pushes were dropped because the consumer's own sending code was busy."
    ]


async def flood(slow: Socket, count: int) -> None:
    """Tell the room ``count`` times while ``slow`` does not read; the first is with the server then."""
    slow.writable.clear()
    await abroadcast("room", "told", 0)
    await turns()
    for number in range(1, count):
        await abroadcast("room", "told", number)
    await turns()
    slow.writable.set()


@WAITING
async def test_a_client_that_reads_slowly_gets_the_newest_there_too(consumer: Any) -> None:
    with override_settings(ROUTESOCK={"MAX_OUTGOING": 5, "OVERFLOW": "drop"}):
        async with socket(consumer) as slow:
            await slow.call("join", 1, "room")
            await flood(slow, 100)
            await until(lambda: told(slow) == [0, 95, 96, 97, 98, 99])


@WAITING
async def test_or_is_closed(consumer: Any) -> None:
    with override_settings(ROUTESOCK={"MAX_OUTGOING": 5}):
        async with socket(consumer) as slow:
            await slow.call("join", 1, "room")
            await flood(slow, 10)
            await until(lambda: slow.closed)
            assert slow.closed is not None
            assert slow.closed["code"] == 1013
            await slow.ending()


async def test_one_that_fails_there_keeps_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(OwnEncoding):
        async def encode_json(self, content: Any) -> str:
            if content["payload"] == "told":
                raise ValueError("not this one")
            return await AsyncJsonWebsocketConsumer.encode_json(content)

    async with socket(Failing) as failing, socket() as other:
        await other.call("join", 1, "room")
        await abroadcast("room", "told", "told")
        await abroadcast("room", "told", "more")
        await until(lambda: told(other) == ["told", "more"] and told(failing) == ["more"])
    assert "A push" in caplog.text


@pytest.mark.parametrize("error", [ConnectionResetError, ValueError, asyncio.CancelledError])
async def test_nor_does_one_whose_server_fails_to_send(error: type[BaseException]) -> None:
    """A ``CancelledError`` comes from a server or a middleware that waits for something which was cancelled."""
    fails: list[Any] = []

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if "told" in message.get("text", ""):
                fails.append(message)
                raise error
            await send(message)

        await Room.as_asgi()(scope, receive, sending)

    async with Socket(wrapped, log=[]) as failing, socket() as other:
        await failing.call("join", 1, "room")
        await other.call("join", 1, "room")
        for number in range(3):
            await abroadcast("room", "told", number)
        await until(lambda: told(other) == [0, 1, 2])
        assert len(fails) == 3
        await failing.call("join", 2, "room")


async def test_nor_does_one_whose_client_does_not_read() -> None:
    with override_settings(ROUTESOCK={"MAX_OUTGOING": 5, "OVERFLOW": "drop"}):
        async with socket() as slow, socket() as other:
            await slow.call("join", 1, "room")
            await other.call("join", 1, "room")
            slow.writable.clear()
            for number in range(100):
                await abroadcast("room", "told", number)
            await until(lambda: told(other) == [*range(100)])
            slow.writable.set()
            await until(lambda: told(slow) == [0, 95, 96, 97, 98, 99])


async def test_a_client_that_never_reads_is_closed() -> None:
    with override_settings(ROUTESOCK={"MAX_OUTGOING": 5}):
        async with socket() as slow:
            await slow.call("join", 1, "room")
            slow.writable.clear()
            for number in range(10):
                await abroadcast("room", "told", number)
            await turns()
            slow.writable.set()
            await until(lambda: slow.closed)
            assert slow.closed is not None
            assert slow.closed["code"] == 1013
            await slow.ending()
    assert hub._hubs == {}


async def test_a_timeout_around_send_ends_that_send_and_nothing_else() -> None:
    """A middleware may have one: ``asyncio.timeout`` cancels the task in which it was entered."""
    ended: list[str] = []

    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            try:
                async with asyncio.timeout(0.01), asyncio.TaskGroup() as group:
                    group.create_task(send(message))
            except TimeoutError:
                ended.append(message["text"])
                raise

        await Room.as_asgi()(scope, receive, sending)

    async with Socket(impatient, log=[]) as slow, socket() as other:
        await slow.call("join", 1, "room")
        await other.call("join", 1, "room")
        slow.writable.clear()
        await abroadcast("room", "told", 1)
        await until(lambda: told(other) == [1] and len(ended) == 1)
        slow.writable.set()
        await abroadcast("room", "told", 2)
        await until(lambda: told(other) == [1, 2] and told(slow) == [2])


async def test_frames_stay_in_order_when_the_server_takes_its_time() -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
        client.yields = True
        for number in range(200):
            await abroadcast("room", "told", number)
            if number % 7 == 0:
                await turns(number % 3)
        await until(lambda: told(client) == [*range(200)])


@BOTH
async def test_a_socket_that_has_ended_joins_nothing(consumer: type) -> None:
    """Not even its first group: a task that the consumer has started may outlive the socket."""
    served: list[Any] = []

    class Kept(consumer):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            served.append(self)

    async with socket(Kept):
        (kept,) = served
    await (kept.socket.join("room") if consumer is Room else asyncio.to_thread(kept.socket.join, "room"))
    assert kept.socket.groups == frozenset()
    assert hub._hubs == {}


async def test_nothing_is_sent_once_a_close_has_begun() -> None:
    async with socket() as client:
        await client.call("join", 1, "room")
        client.disconnect()
        await until(client.is_all_read)
        await abroadcast("room", "told", 1)
        await client.ending()
        assert told(client) == []
        assert client.late == []


async def test_the_servers_send_runs_in_the_context_of_the_socket() -> None:
    seen: list[str] = []

    def placed(where: str) -> Any:
        application = Room.as_asgi()

        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            WHERE.set(where)

            async def sending(message: Any) -> None:
                seen.append(WHERE.get())
                await asyncio.sleep(0)
                seen.append(WHERE.get())
                await send(message)

            await application(scope, receive, sending)

        return wrapped

    async with Socket(placed("one"), log=[]) as one, Socket(placed("two"), log=[]) as two:
        await one.call("join", 1, "room")
        await two.call("join", 1, "room")
        seen.clear()
        await abroadcast("room", "told", 1)
        await until(lambda: told(one) and told(two))
        assert sorted(seen) == ["one", "one", "two", "two"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
TREACHEROUS = st.sampled_from(
    [
        "msg:private:thing",
        "PING",
        "CLOSE",
        {"route": "CLOSE", "payload": {"code": 4401}},
        {"uuid": 1, "status": 200, "route": "join", "headers": {}},
        {"type": "routesock.push", "group": "routesock.group.room", "data": "[]"},
        {"type": "websocket.close"},
        {"__asgi_channel__": ["x"]},
        {"except": "me", "from": "you", "seq": 1},
        '["told", "forged", {}]',
    ]
)


@given(payload=VALUES | TREACHEROUS, name=st.text(max_size=20))
def test_a_payload_arrives_as_it_was_sent(payload: Any, name: str) -> None:
    class Joined(Room):
        async def connect(self) -> None:
            await self.socket.join(name)
            await self.accept()

    async def run() -> None:
        async with socket(Joined) as client:
            await abroadcast(name, "told", payload)
            await until(lambda: told(client) == [payload])

    async_to_sync(run)()


class _SlowLayer(InMemoryChannelLayer):
    """Reaches other processes, and joins a group when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_add = asyncio.Event()

    async def group_add(self, group: str, channel: str) -> None:
        await self.may_add.wait()
        await super().group_add(group, channel)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (["join", "leave"], []),
        (["join", "leave", "join"], ["room"]),
        (["join", "join", "leave"], []),
        (["join", "join"], ["room"]),
        (["subscribe", "unsubscribe"], []),
        (["join", "subscribe", "leave"], ["room"]),
        (["join", "subscribe", "unsubscribe"], ["room"]),
        (["subscribe", "join", "leave", "unsubscribe"], []),
    ],
)
async def test_what_is_left_while_the_layer_is_asked_is_left(
    calls: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the socket would be in the group for as long as it is open, and the answer to LEAVE wrong."""
    layer = _SlowLayer()
    monkeypatch.setattr(channel_layers, "backends", {"default": layer})
    consumers: list[Any] = []

    class Joining(Room):
        async def connect(self) -> None:
            consumers.append(self)
            await self.accept()

    async with socket(Joining) as client:
        await until(lambda: client.sent)
        member = consumers[0]._routesock_connection.member()
        tasks = []
        for call in calls:
            arguments = ("room", None) if call == "subscribe" else ("room",)
            tasks.append(asyncio.ensure_future(getattr(member, call)(*arguments)))
            await turns(5)
        layer.may_add.set()
        await asyncio.gather(*tasks)
        assert sorted(member.groups) == expected
        assert sum(map(len, layer.groups.values())) == len(expected)
        assert sum(member in group.members for group in hub.hub_of(layer)._groups.values()) == len(expected)


async def test_a_join_that_fails_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = _SlowLayer()
    monkeypatch.setattr(channel_layers, "backends", {"default": layer})
    monkeypatch.setattr(hub, "SEND_LIMIT", 0.01)
    async with socket() as client:
        assert (await client.call("join", 1, "room"))["status"] == 500
        layer.may_add.set()
        assert (await client.call("join", 2, "room"))["payload"] == ["room"]
        assert (await client.call("leave", 3, "room"))["payload"] == []
