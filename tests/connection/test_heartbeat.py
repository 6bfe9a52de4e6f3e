"""The server's own heartbeat: what it may be, and what clients and consumers see of it."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import FrozenInstanceError
from decimal import Decimal
from typing import Any, Final

import pytest
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.test import override_settings

from routesock import Heartbeat, Keys, Request, RouteMixin, RouteSetupError, route
from routesock._runtime.timers import running_timer
from routesock.testing import RouteClient
from tests.clock import ShiftedLoop, advance, shifted
from tests.takeover.driver import until
from tests.takeover.flavours import Gate, connected
from tests.takeover.flavours import OnLoop as Plain


class OnLoop(Plain):
    route_heartbeat = Heartbeat(interval=25, timeout=10)


def test_defaults() -> None:
    """A change of a default is a change of behaviour."""
    assert (Heartbeat().interval, Heartbeat().timeout) == (25, 10)


@pytest.mark.parametrize("seconds", [1, 0.05, 3600])
def test_seconds_may_be_any_positive_number(seconds: float) -> None:
    assert Heartbeat(seconds, seconds) == Heartbeat(interval=seconds, timeout=seconds)


@pytest.mark.parametrize("part", ["interval", "timeout"])
@pytest.mark.parametrize("seconds", [0, -1, None, "25", True, math.nan, math.inf, Decimal(25)])
def test_what_cannot_be_meant_is_named_at_once(part: str, seconds: Any) -> None:
    with pytest.raises(ValueError, match=f"{part} must be a positive number of seconds; got"):
        Heartbeat(**{part: seconds})


def test_it_cannot_be_changed_under_open_sockets() -> None:
    heartbeat: Any = Heartbeat()
    with pytest.raises(FrozenInstanceError):
        heartbeat.interval = 1


class Heard(RouteMixin, AsyncJsonWebsocketConsumer):
    """Notes what reaches the consumer's own code."""

    route_heartbeat = Heartbeat(interval=25, timeout=10)
    seen: list[Any]

    async def disconnect(self, code: int) -> None:
        self.seen.append(code)

    @route("wait", timeout=None)
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()


class HeardInThread(RouteMixin, JsonWebsocketConsumer):
    route_heartbeat = Heartbeat(interval=25, timeout=10)
    seen: list[Any]

    def disconnect(self, code: int) -> None:
        self.seen.append(code)


@pytest.fixture(autouse=True)
def seen() -> list[Any]:
    Heard.seen = HeardInThread.seen = []
    return Heard.seen


PING: Final = {"route": "PING", "payload": None}


@pytest.mark.parametrize("consumer", [Heard, HeardInThread])
@shifted
async def test_a_silent_client_gets_a_ping_a_notice_and_a_close(consumer: Any, seen: list[Any]) -> None:
    async with RouteClient(consumer) as client:
        await client.ping()  # it is read from
        await advance(24)
        await client.refute_push()
        await advance(2)
        assert await client.receive() == PING
        await advance(8)
        assert client.closed is None
        await advance(3)
        notice = (await client.expect_push("CLOSE")).payload
        assert (notice["code"], notice["reconnect"]) == (4408, True)
        assert await client.expect_close() == (4408, notice["reason"])
    assert seen == [4408]


@pytest.mark.parametrize("text", ['{"route": "PONG"}', "not even JSON", "", b"binary"])
@shifted
async def test_any_frame_is_life(text: Any) -> None:
    async with RouteClient(Heard) as client:
        for _ in range(5):
            await advance(30)
            assert (await client.expect_push("PING")).payload is None
            await (client.send_bytes(text) if isinstance(text, bytes) else client.send_text(text))
            await client.settle()
        assert client.closed is None


@shifted
async def test_a_client_is_heard_while_a_handler_runs() -> None:
    async with RouteClient(Heard) as client:
        await client.send("wait", id=1)
        await client.settle()
        await advance(26)
        assert await client.receive() == PING
        await client.send("PONG")
        await advance(20)
        assert client.closed is None
        await client.cancel(1)
        assert (await client.expect_reply(1)).status == 499


@shifted
async def test_the_ping_is_spelt_as_the_page_spells_frames() -> None:
    class Renamed(Heard):
        route_dialect = Keys(route="action", payload="data")

    async with RouteClient(Renamed) as client:
        await advance(26)
        assert await client.receive() == {"action": "PING", "data": None}
        await client.send_json({"action": "PONG"})
        await advance(20)
        assert client.closed is None


class OwnReceiveJson(Heard):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.seen.append(content)


class OwnReceive(Heard):
    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        self.seen.append(text_data)


class OwnDispatch(OwnReceiveJson):
    async def dispatch(self, message: Any) -> None:
        if message["type"] == "websocket.receive":
            self.seen.append(message)
        await super().dispatch(message)


class OwnDecoder(OwnReceiveJson):
    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        cls.seen.append(text_data)
        return json.loads(text_data)


class SlowDecoder(OwnReceiveJson):
    """Only what it has decoded tells that the frame is a PONG."""

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        await asyncio.sleep(0)
        return json.loads(text_data.replace("~", ""))


@pytest.mark.parametrize("consumer", [OwnReceiveJson, OwnReceive, OwnDispatch, OwnDecoder])
async def test_a_pong_does_not_reach_the_consumers_own_code(consumer: Any, seen: list[Any]) -> None:
    async with RouteClient(consumer) as client:
        await client.send("PONG", {"of": 1})
        await client.send_json({"next": 1})
        await until(lambda: seen)
        assert "PONG" not in repr(seen)


async def test_nor_does_one_that_its_decoder_has_to_unpack(seen: list[Any]) -> None:
    async with RouteClient(SlowDecoder) as client:
        await client.send_text('{"route": "~P~O~N~G"}')
        await client.send_text('{"other": "~1"}')
        await until(lambda: seen)
        assert seen == [{"other": "1"}]


async def test_without_a_heartbeat_a_pong_is_the_consumers(seen: list[Any]) -> None:
    class Deaf(OwnReceiveJson):
        route_heartbeat = None

    async with RouteClient(Deaf) as client:
        await client.send_json({"route": "PONG"})
        await until(lambda: seen)
        assert seen == [{"route": "PONG"}]


class Foreign(Heard):
    """Its own code waits until the test lets it go on."""

    gate: asyncio.Event

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.gate.wait()
        self.seen.append(content)


@shifted
async def test_a_full_queue_makes_no_client_silent(seen: list[Any]) -> None:
    """Its frames are there, and it is the server that does not read them."""
    Foreign.gate = asyncio.Event()
    with override_settings(ROUTESOCK={"MAX_QUEUED": 2}):
        async with RouteClient(Foreign) as client:
            for number in range(5):
                await client.send_json({"foreign": number})
            await advance(1000)
            await advance(1000)
            assert client.closed is None
            Foreign.gate.set()
            await until(lambda: len(seen) == 5)
            await client.ping()
            await advance(24)
            await client.refute_push()


@shifted
async def test_a_client_that_takes_its_time_with_a_reply_is_not_silent() -> None:
    async with connected(OnLoop, Gate()) as socket:
        await socket.call("quick", 0)
        socket.writable.clear()
        socket.request("quick", 1)
        await until(socket.is_all_read)
        await advance(1000)
        await advance(1000)
        socket.writable.set()
        assert (await socket.reply(1))["status"] == 200
        await advance(24)
        assert socket.closed is None


@shifted
async def test_nor_is_one_that_the_ping_has_not_reached() -> None:
    """A push of another task waits for the client, and the PING behind it."""
    async with connected(OnLoop, Gate()) as socket:
        socket.writable.clear()
        pushing = asyncio.create_task(socket.scope["consumers"][0].send_json({"push": 1}))
        await advance(1000)
        await advance(1000)
        socket.writable.set()
        await pushing
        assert (await socket.read(2))[1] == PING
        await advance(9)
        assert socket.closed is None
        await advance(2)
        assert (await socket.read(3))[2]["route"] == "CLOSE"
        await until(lambda: socket.closed)


@shifted
async def test_a_process_that_stood_still_closes_nobody_who_answered() -> None:
    """The answer came in time, and nobody was there to read it."""
    async with RouteClient(Heard) as client:
        await advance(26)
        assert await client.receive() == PING
        await client.send("PONG")
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ShiftedLoop)
        loop.shift += 3600  # before anything has run
        await client.settle()
        assert client.closed is None


@shifted
async def test_while_connect_does_not_return_nobody_is_pinged() -> None:
    class Late(Heard):
        gate: asyncio.Event
        begun = False

        async def connect(self) -> None:
            type(self).begun = True
            await self.gate.wait()
            await self.accept()

    Late.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        client = RouteClient(Late, timeout=10_000)
        connecting = group.create_task(client.connect())
        await until(lambda: Late.begun)
        await advance(1000)
        assert not connecting.done()
        Late.gate.set()
    await advance(24)
    await client.refute_push()
    await client.disconnect()


@shifted
async def test_a_socket_that_is_accepted_after_connect_is_pinged_from_then_on() -> None:
    class Later(Heard):
        async def connect(self) -> None:
            type(self).begun = True
            loop = asyncio.get_running_loop()
            loop.call_later(100, lambda: self.accepting.append(loop.create_task(self.accept())))

        accepting: list[Any] = []
        begun = False

    async with asyncio.TaskGroup() as group:
        client = RouteClient(Later, timeout=10_000)
        connecting = group.create_task(client.connect())
        await until(lambda: Later.begun)
        await advance(60)
        assert not connecting.done()
        await advance(41)
    await advance(24)
    await client.refute_push()
    await advance(2)
    assert await client.receive() == PING
    await client.disconnect()


async def test_without_a_heartbeat_nothing_is_watched() -> None:
    """And so nothing is paid for it."""

    class Deaf(Heard):
        route_heartbeat = None

    async with RouteClient(Deaf):
        assert len(running_timer()) == 0
    async with RouteClient(Heard):
        assert len(running_timer()) == 1


ENDINGS: Final[dict[str, Any]] = {
    "the client leaves": lambda socket: socket.disconnect(),
    "a handler closes": lambda socket: socket.request("close", 1),
    "the server stops the application": lambda socket: socket.stop(),
    "the consumer's own code ends it": lambda socket: socket.json({"raise": "stop"}),
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_nothing_is_watched_once_a_socket_has_ended(how: str) -> None:
    async with connected(OnLoop, Gate(), stop=StopConsumer()) as socket:
        assert len(running_timer()) == 1
        ENDINGS[how](socket)
        await socket.ending()
        assert len(running_timer()) == 0


async def test_nor_is_a_socket_whose_connect_raised() -> None:
    class Broken(Heard):
        async def connect(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with RouteClient(Broken):
            pass
    assert len(running_timer()) == 0


@pytest.mark.parametrize("heartbeat", [25, (25, 10), {"interval": 25}, Heartbeat, True])
def test_what_is_no_heartbeat_is_named_when_the_class_is_created(heartbeat: Any) -> None:
    with pytest.raises(RouteSetupError, match=r"Wrong\.route_heartbeat must be a Heartbeat\(interval=25, timeout=10\)"):
        type("Wrong", (RouteMixin, AsyncJsonWebsocketConsumer), {"route_heartbeat": heartbeat})
