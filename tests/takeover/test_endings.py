"""How a socket ends: ``disconnect()`` runs once, behind everything else, and nothing is left."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.exceptions import AcceptConnection, DenyConnection, InvalidChannelLayerError, StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import channel_layers

from routesock import RouteMixin, conf, route
from routesock._connection.tasks import CANCEL_WAIT

from .driver import LIMIT, Layer, Socket, turns, until
from .flavours import FLAVOURS, Gate, InThread, OnLoop, connected, raising

in_connect: ContextVar[str] = ContextVar("in_connect", default="unset")


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_disconnect_of_an_idle_socket(consumer: type, gate: Gate) -> None:
    """The client leaves: ``disconnect()`` gets its code, once, and the application returns."""
    async with connected(consumer, gate) as socket:
        await socket.call("quick", 1)
        socket.disconnect(4321)
        assert await socket.ending() is None
    assert socket.disconnects == [("disconnect", 4321)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_running_handler_finishes_within_the_grace(consumer: type, gate: Gate) -> None:
    """Who sends and leaves loses nothing: the running handler ends, then ``disconnect()`` runs; nothing else starts."""
    async with connected(consumer, gate) as socket:
        socket.requests("slow", 1)
        await until(lambda: gate.waiting)
        socket.requests("quick", 2, 3)
        socket.json({"foreign": 1})
        await socket.all_read()
        socket.disconnect()
        await turns()
        assert not socket.done
        gate.open()
        assert await socket.ending() is None
    assert socket.log == [("slow", 1), ("slow ended", 1), ("disconnect", 1000)]
    assert socket.texts == []
    assert socket.late == []


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_foreign_frame_finishes_within_the_grace(consumer: type, gate: Gate) -> None:
    """The consumer's own code has the same grace, and may send to the client that left without an exception."""
    async with connected(consumer, gate) as socket:
        socket.json({"wait": 1}, {"foreign": 2})
        await until(lambda: gate.waiting)
        socket.disconnect()
        await turns()
        gate.open()
        assert await socket.ending() is None
    assert socket.log == [("foreign", {"wait": 1}), ("disconnect", 1000)]


@pytest.mark.parametrize("grace", [0, 0.05])
async def test_handler_is_cancelled_after_the_grace(grace: float, gate: Gate) -> None:
    """After the grace the handler is cancelled, its ``finally`` runs, then ``disconnect()``, and no task is left."""

    class Consumer(OnLoop):
        route_disconnect_grace = grace

        @route("tidy")
        async def tidy(self, request: Any) -> None:
            try:
                await self.scope["gate"].wait()
            finally:
                await asyncio.sleep(0)
                self.scope["log"].append("tidied")

    async with connected(Consumer, gate) as socket:
        socket.requests("tidy", 1)
        socket.requests("quick", 2)
        await until(lambda: gate.waiting)
        socket.disconnect()
        assert await socket.ending() is None
    assert socket.log == ["tidied", ("disconnect", 1000)]


async def test_grace_of_the_settings(gate: Gate, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a grace of the class the setting holds."""
    default = replace(conf.SETTINGS["DISCONNECT_GRACE"], default=2 * LIMIT)
    monkeypatch.setitem(conf.SETTINGS, "DISCONNECT_GRACE", default)
    settings.ROUTESOCK = {"DISCONNECT_GRACE": 0}
    async with connected(OnLoop, gate) as socket:
        socket.requests("slow", 1)
        await until(lambda: gate.waiting)
        socket.disconnect()
        assert await socket.ending() is None
    assert socket.log == [("slow", 1), ("disconnect", 1000)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_nothing_is_dispatched_after_a_close(consumer: type, gate: Gate, layer: Layer) -> None:
    """Once a handler has closed the socket nothing queued starts, no reply is sent, and ``disconnect()`` runs once."""
    async with connected(consumer, gate) as socket:
        channel = socket.scope["consumers"][0].channel_name
        await turns()  # until it is read
        socket.requests("slow", 1)
        await until(lambda: gate.waiting)
        socket.requests("close", 2)
        socket.requests("quick", 3)
        socket.json({"foreign": 4})
        await layer.send(channel, {"type": "note", "note": 5})
        await until(lambda: socket.is_idle() and layer.is_idle())
        gate.open()
        assert await socket.ending() is None
    assert socket.log == [("slow", 1), ("slow ended", 1), ("disconnect", 4000)]
    assert socket.statuses() == [(1, 200)]
    assert socket.closed == {"type": "websocket.close", "code": 4000}
    assert socket.late == []


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("waiting", ["foreign", "request"])
async def test_frame_that_waits_for_room_is_not_dispatched_after_a_close(
    consumer: type, waiting: str, gate: Gate, settings: Any
) -> None:
    """A frame whose reader was waiting for room in the queue when the socket closed is dropped as all others."""
    settings.ROUTESOCK = {"MAX_QUEUED": 1}
    async with connected(consumer, gate) as socket:
        socket.json({"wait": 1, "close": 4000})
        await until(lambda: gate.waiting)
        socket.json({"queued": 2})
        await socket.all_read()
        if waiting == "request":
            gate.open()  # no request waits long behind a busy handler
            socket.requests("quick", *range(5))
        else:
            socket.json({"waits for room": 3})
            await turns()
            gate.open()
        assert await socket.ending() is None
    assert [entry for entry in socket.log if entry[0] != "disconnect"] == [("foreign", {"wait": 1, "close": 4000})]
    assert len(socket.disconnects) == 1


async def test_close_in_a_running_handler_keeps_it_running(gate: Gate) -> None:
    """A handler that closes the socket goes on to its end within the grace, and what it sends reaches nobody."""

    async def leave(consumer: Any) -> str:
        await consumer.close(4000)
        await asyncio.sleep(0)
        await consumer.scope["gate"].wait()
        consumer.scope["log"].append("end of the handler")
        return "nobody reads it"

    async with connected(OnLoop, gate, leave=leave) as socket:
        socket.request("call", 1, "leave")
        await until(lambda: gate.waiting)
        gate.open()
        assert await socket.ending() is None
    assert socket.log == [("call", 1), "end of the handler", ("disconnect", 4000)]
    assert socket.statuses() == []


async def test_handlers_of_a_closing_socket_answer_no_ping(gate: Gate) -> None:
    """After a close has begun neither PING nor a malformed frame is answered."""

    class Server(Socket):
        def disconnect(self, code: int = 1000) -> None:
            """The client takes its time to leave."""

    async def leave(consumer: Any) -> None:
        await consumer.close(4000)
        await consumer.scope["gate"].wait()

    socket = Server(OnLoop.as_asgi(), gate=gate, log=[], leave=leave)
    async with socket:
        socket.request("call", 1, "leave")
        await until(lambda: gate.waiting)
        socket.json({"route": "PING"}, [], {"foreign": 1}, {"route": "quick", "uuid": 2})
        socket.text("not JSON")
        await socket.all_read()
        gate.open()
        await turns()
        assert socket.texts == []
        Socket.disconnect(socket, 4000)
        assert await socket.ending() is None
    assert socket.log == [("call", 1), ("disconnect", 4000)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_server_that_stops_cancels_everything(consumer: type, gate: Gate) -> None:
    """When the server cancels the application, ``disconnect()`` runs once all the same and no task is left."""
    async with connected(consumer, gate) as socket:
        if consumer is OnLoop:
            socket.requests("slow", 1)
            await until(lambda: gate.waiting)
        await socket.ping()
        socket.stop()
        assert isinstance(await socket.ending(), asyncio.CancelledError)
    assert len(socket.disconnects) == 1


@pytest.mark.parametrize("busy", [False, True])
async def test_loop_that_stops_cancels_everything_at_once(busy: bool, gate: Gate) -> None:
    """When every task of the loop is cancelled, as ``asyncio.run`` does at its end, ``disconnect()`` runs once."""
    before = asyncio.all_tasks()
    async with connected(OnLoop, gate) as socket:
        if busy:
            socket.requests("slow", 1, 2)
            await until(lambda: gate.waiting)
        await socket.ping()
        for task in asyncio.all_tasks() - before:
            task.cancel()
        assert isinstance(await socket.ending(), asyncio.CancelledError)
    assert len(socket.disconnects) == 1


async def test_loop_that_stops_just_behind_a_cancellation_is_not_held_up(gate: Gate) -> None:
    """As under ``asyncio.run``, when a server cancels its applications and returns without waiting for them."""
    before = asyncio.all_tasks()
    async with connected(OnLoop, gate) as socket:
        socket.stop()
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - before:
            task.cancel()
        assert isinstance(await socket.ending(), asyncio.CancelledError)


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_receive_that_fails_goes_to_the_server(consumer: type, gate: Gate) -> None:
    """An exception of the server's own ``receive()`` ends the application with it, after ``disconnect()``."""

    class Server(Socket):
        async def _receive(self) -> dict[str, Any]:
            message = await super()._receive()
            if message["type"] == "broken":
                raise OSError("The server is broken.")
            return message

    socket = Server(consumer.as_asgi(), gate=gate, log=[])  # type: ignore[attr-defined]
    async with socket:
        socket.feed({"type": "broken"})
        assert isinstance(await socket.ending(), OSError)
    assert len(socket.disconnects) == 1


async def test_send_that_fails_ends_no_handler_without_a_word(gate: Gate) -> None:
    """A server whose ``send()`` raises because the client left does not end the socket before its disconnect event."""

    class Server(Socket):
        broken = False

        async def _send(self, message: dict[str, Any]) -> None:
            if self.broken:
                raise RuntimeError("The client has left.")
            await super()._send(message)

    socket = Server(OnLoop.as_asgi(), gate=gate, log=[])
    async with socket:
        socket.broken = True
        socket.requests("quick", 1, 2)
        socket.json({"route": "PING"}, {"foreign": 3})
        await socket.all_read()
        await turns()
        assert not socket.done
        socket.disconnect(1006)
        assert await socket.ending() is None
    assert socket.log == [("quick", 1), ("quick", 2), ("foreign", {"foreign": 3}), ("disconnect", 1006)]


ENDINGS = ["client", "close", "stop consumer", "server", "send_json close", "layer"]


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_disconnect_once_and_groups_left(consumer: Any, ending: str, gate: Gate, layer: Layer) -> None:
    """However a socket ends, ``disconnect()`` is called once, and no group has it as a member any more."""

    class Grouped(consumer):  # type: ignore[misc, valid-type]
        groups = ["one", "two"]

    def close(self: Any) -> Any:
        return self.close(4000) if consumer is not OnLoop else self.close(code=4000)

    scope = {"stop": StopConsumer(), "close": close}
    async with connected(Grouped, gate, **scope) as socket:
        await socket.call("quick", 1)
        assert (layer.members("one"), layer.members("two")) == (1, 1)
        if ending == "close":
            socket.json({"close": 4000})
        elif ending == "stop consumer":
            socket.json({"raise": "stop"})
        elif ending == "layer":
            channel = socket.scope["consumers"][0].channel_name
            await layer.send(channel, {"type": "note", "note": 1, "raise": "stop"})
        elif ending == "server":
            socket.stop()
        elif ending == "send_json close":
            socket.requests("close", 2)
        else:
            socket.disconnect()
        await socket.ending()
    assert len(socket.disconnects) == 1
    assert (layer.members("one"), layer.members("two")) == (0, 0)


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
@pytest.mark.parametrize("rejecting", ["close", "code", "deny"])
async def test_connect_that_rejects(base: type, rejecting: str) -> None:
    """A close before the accept, or ``DenyConnection``, is passed on; no early frame is dispatched or answered."""
    log: list[Any] = []

    class Plain(base):  # type: ignore[misc, valid-type]
        def reject(self) -> Any:
            if rejecting == "deny":
                raise DenyConnection
            return self.close(4001) if rejecting == "code" else self.close()

        if base is AsyncJsonWebsocketConsumer:

            async def connect(self) -> None:
                await asyncio.sleep(0)
                if rejecting == "deny":
                    self.reject()
                await self.reject()

            async def receive_json(self, content: Any) -> None:
                log.append(content)

            async def disconnect(self, code: int) -> None:
                log.append(("disconnect", code))

        else:

            def connect(self) -> None:
                self.reject()

            def receive_json(self, content: Any) -> None:
                log.append(content)

            def disconnect(self, code: int) -> None:
                log.append(("disconnect", code))

    class Routed(RouteMixin, Plain):
        @route("quick")
        async def quick(self, request: Any) -> None:
            log.append("quick")

    results = []
    for consumer in (Plain, Routed):
        log.clear()
        socket = Socket(consumer.as_asgi())
        socket.start()
        socket.feed({"type": "websocket.connect"})
        if consumer is Routed:
            socket.json({"route": "quick", "uuid": 1}, {"foreign": 1}, {"route": "PING"}, [])
            socket.text("not JSON")
        assert await socket.ending() is None
        results.append((socket.sent, socket.late, list(log)))
    assert results[0] == results[1]


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
async def test_connect_that_raises_accept_connection(base: type) -> None:
    """``AcceptConnection`` from ``connect()`` accepts, as in plain Channels."""

    class Consumer(RouteMixin, base):  # type: ignore[misc, valid-type]
        if base is AsyncJsonWebsocketConsumer:

            async def connect(self) -> None:
                raise AcceptConnection

        else:

            def connect(self) -> None:
                raise AcceptConnection

        @route("quick")
        async def quick(self, request: Any) -> int:
            return 1

    async with Socket(Consumer.as_asgi()) as socket:
        assert socket.sent == [{"type": "websocket.accept", "subprotocol": None}]
        assert (await socket.call("quick", 1))["payload"] == 1


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("exc", [ValueError("Mine."), asyncio.CancelledError(), TimeoutError()], ids=repr)
async def test_connect_that_raises_goes_to_the_server(
    consumer: Any, accepted: bool, exc: BaseException, gate: Gate
) -> None:
    """What ``connect()`` raises ends the application with it, as plain Channels does; ``disconnect()`` does not run."""

    class Failing(consumer):  # type: ignore[misc, valid-type]
        if consumer is InThread:

            def connect(self) -> None:
                if accepted:
                    self.accept()
                raise exc

        else:

            async def connect(self) -> None:
                if accepted:
                    await self.accept()
                raise exc

    socket = connected(Failing, gate)
    socket.start()
    socket.feed({"type": "websocket.connect"})
    socket.requests("quick", 1)
    raised = await socket.ending()
    assert type(raised) is type(exc)
    assert socket.log == []
    assert socket.texts == []


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("method", ["connect", "disconnect"])
@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt()], ids=repr)
async def test_what_would_end_the_process_reaches_the_server_as_an_error(
    consumer: Any, method: str, exc: BaseException, gate: Gate
) -> None:
    """``sys.exit()`` for one client is not for all the others, whose sockets the same loop serves."""

    def fail(self: Any, *args: Any) -> None:
        raise exc

    async def fail_on_loop(self: Any, *args: Any) -> None:
        raise exc

    failing = type("Failing", (consumer,), {method: fail if consumer is InThread else fail_on_loop})
    socket = connected(failing, gate)
    socket.start()
    socket.feed({"type": "websocket.connect"})
    socket.disconnect()
    raised = await socket.ending()
    assert isinstance(raised, RuntimeError)
    assert raised.__cause__ is exc


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_stop_consumer_from_connect(consumer: Any, gate: Gate) -> None:
    """``StopConsumer`` from ``connect()`` ends the application without an error, as plain Channels does."""

    class Stopping(consumer):  # type: ignore[misc, valid-type]
        if consumer is InThread:

            def connect(self) -> None:
                raise StopConsumer

        else:

            async def connect(self) -> None:
                raise StopConsumer

    socket = connected(Stopping, gate)
    socket.start()
    socket.feed({"type": "websocket.connect"})
    assert await socket.ending() is None
    assert socket.log == []
    assert socket.sent == []


async def test_frames_wait_for_connect_to_return(gate: Gate) -> None:
    """After the accept the client may send: PING is answered, nothing is dispatched before ``connect()`` returned."""

    class Slow(OnLoop):
        async def connect(self) -> None:
            await self.accept()
            await self.scope["gate"].wait()
            self.scope["log"].append("connected")

    async with connected(Slow, gate) as socket:
        socket.requests("quick", 1)
        socket.json({"foreign": 2})
        await until(lambda: gate.waiting)
        await socket.ping()
        assert socket.log == []
        gate.open()
        await socket.read(3)
        assert socket.log == ["connected", ("quick", 1), ("foreign", {"foreign": 2})]


async def test_nothing_is_answered_before_the_accept(gate: Gate) -> None:
    """Frames that come before the accept wait, PING too: no server lets an application send then."""

    class Slow(OnLoop):
        async def connect(self) -> None:
            await self.scope["gate"].wait()
            await self.accept()

    socket = connected(Slow, gate)
    socket.start()
    socket.feed({"type": "websocket.connect"})
    socket.json({"route": "PING", "uuid": 1})
    socket.requests("quick", 2)
    socket.text("not JSON")
    await until(lambda: gate.waiting)
    await turns()
    assert socket.sent == []
    gate.open()
    await socket.read(3)
    assert socket.sent[0]["type"] == "websocket.accept"
    assert {frame["uuid"] for frame in socket.frames} == {1, 2, None}
    socket.disconnect()
    assert await socket.ending() is None


async def test_client_that_leaves_during_connect(gate: Gate) -> None:
    """``connect()`` ends, then ``disconnect()`` runs once; a frame sent meanwhile is not dispatched."""

    class Slow(OnLoop):
        async def connect(self) -> None:
            await self.accept()
            await self.scope["gate"].wait()
            self.scope["log"].append("connected")

    async with connected(Slow, gate) as socket:
        socket.requests("quick", 1)
        socket.disconnect()
        await until(lambda: gate.waiting)
        await turns()
        gate.open()
        assert await socket.ending() is None
    assert socket.log == ["connected", ("disconnect", 1000)]


async def test_connect_that_never_returns_is_cancelled_without_disconnect(gate: Gate) -> None:
    """A ``connect()`` that outlasts the grace is cancelled; ``disconnect()`` belongs to those that returned."""

    class Slow(OnLoop):
        route_disconnect_grace = 0

        async def connect(self) -> None:
            await self.accept()
            await self.scope["gate"].wait()

    async with connected(Slow, gate) as socket:
        await until(lambda: gate.waiting)
        socket.disconnect()
        assert await socket.ending() is None
    assert socket.log == []


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_context_of_connect_is_that_of_the_socket(consumer: Any, gate: Gate) -> None:
    """Context variables set in ``connect()`` are seen by handlers, foreign frames, events and ``disconnect()``."""
    seen: list[str] = []

    def look(self: Any) -> str:
        seen.append(in_connect.get())
        return seen[-1]

    class Consumer(consumer):  # type: ignore[misc, valid-type]
        if consumer is InThread:

            def connect(self) -> None:
                in_connect.set("set")
                super().connect()

            def disconnect(self, code: int) -> None:
                look(self)

            def receive_json(self, content: Any) -> None:
                look(self)
                super().receive_json(content)

        else:

            async def connect(self) -> None:
                in_connect.set("set")
                await super().connect()

            async def disconnect(self, code: int) -> None:
                look(self)

            async def receive_json(self, content: Any) -> None:
                look(self)
                await super().receive_json(content)

    async with connected(Consumer, gate, look=look) as socket:
        assert (await socket.call("call", 1, "look"))["payload"] == "set"
        socket.requests("slow", 2)
        await until(lambda: gate.waiting)
        socket.json({"foreign": 3})
        socket.request("call", 4, "look")
        gate.open()
        await socket.reply(4)
    assert seen == ["set"] * 4
    assert in_connect.get() == "unset"


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_without_a_channel_layer(consumer: type, gate: Gate, settings: Any) -> None:
    """A project without a channel layer has routes, foreign frames and one ``disconnect()`` all the same."""
    settings.CHANNEL_LAYERS = {}
    channel_layers.backends.pop("default", None)
    async with connected(consumer, gate) as socket:
        assert socket.scope["consumers"][0].channel_layer is None
        await socket.call("quick", 1)
        socket.json({"foreign": 1})
        await socket.read(2)
    assert len(socket.disconnects) == 1


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_groups_without_a_channel_layer(consumer: Any, gate: Gate, settings: Any) -> None:
    """``groups`` without a channel layer is an error for the server, as in plain Channels."""
    settings.CHANNEL_LAYERS = {}
    channel_layers.backends.pop("default", None)

    class Grouped(consumer):  # type: ignore[misc, valid-type]
        groups = ["one"]

    socket = connected(Grouped, gate)
    socket.start()
    socket.feed({"type": "websocket.connect"})
    assert isinstance(await socket.ending(), InvalidChannelLayerError)


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_disconnect_that_raises_goes_to_the_server(consumer: Any, gate: Gate, layer: Layer) -> None:
    """What ``disconnect()`` raises goes to the server, after the groups were left."""

    class Failing(consumer):  # type: ignore[misc, valid-type]
        groups = ["one"]
        if consumer is InThread:

            def disconnect(self, code: int) -> None:
                self.scope["log"].append(("disconnect", code))
                raise ValueError("Mine.")

        else:

            async def disconnect(self, code: int) -> None:
                self.scope["log"].append(("disconnect", code))
                raise ValueError("Mine.")

    async with connected(Failing, gate) as socket:
        socket.disconnect()
        assert isinstance(await socket.ending(), ValueError)
    assert len(socket.disconnects) == 1
    assert layer.members("one") == 0


async def test_own_tasks_of_the_consumer_are_its_own(gate: Gate) -> None:
    """A task that ``connect()`` starts and ``disconnect()`` cancels works as in plain Channels."""

    class Ticking(OnLoop):
        async def connect(self) -> None:
            await super().connect()
            self.ticker = asyncio.create_task(self.tick())

        async def tick(self) -> None:
            for number in range(1000):
                await self.send_json({"tick": number})
                await asyncio.sleep(0.001)

        async def disconnect(self, code: int) -> None:
            self.ticker.cancel()
            await asyncio.wait({self.ticker})
            await super().disconnect(code)

    async with connected(Ticking, gate) as socket:
        socket.requests("slow", 1)
        await until(lambda: len(socket.texts) > 3 and gate.waiting)
        gate.open()
        await socket.reply(1)
    assert len(socket.disconnects) == 1


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_disconnect_behind_a_flood(consumer: type, gate: Gate) -> None:
    """A client that sends a flood and leaves: the disconnect is seen, and nothing of the queue starts after it."""
    async with connected(consumer, gate) as socket:
        socket.requests("slow", 1)
        await until(lambda: gate.waiting)
        socket.requests("quick", *range(2, 300))
        socket.disconnect()
        await until(socket.is_all_read)
        await turns()
        gate.open()
        assert await socket.ending() is None
    assert socket.log == [("slow", 1), ("slow ended", 1), ("disconnect", 1000)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_deadline_passes_within_the_grace(consumer: type, gate: Gate, caplog: Any, settings: Any) -> None:
    """A handler whose deadline comes while the client is gone is cancelled then; nothing is sent, nothing is logged."""
    settings.ROUTESOCK = {"DISCONNECT_GRACE": 2 * LIMIT}
    with caplog.at_level(logging.ERROR):
        async with connected(consumer, gate) as socket:
            socket.json({"route": "slow", "uuid": 1, "headers": {"Request-Timeout": 1}})  # not over before it has left
            await until(lambda: gate.waiting)
            socket.disconnect()
            if consumer is OnLoop:
                assert await socket.ending() is None
            else:
                await asyncio.sleep(1.1)  # longer than the timeout
                gate.open()
                assert await socket.ending() is None
    assert len(socket.disconnects) == 1
    assert caplog.records == []


async def test_handler_that_will_not_end_is_reported(gate: Gate, caplog: Any) -> None:
    """A handler that swallows the cancellation of a closed socket is logged, and ``disconnect()`` runs without it."""

    async def stubborn(consumer: Any) -> None:
        for _ in range(2):
            try:
                await consumer.scope["gate"].wait()
            except asyncio.CancelledError:
                consumer.scope["log"].append("swallowed")

    class Consumer(OnLoop):
        route_disconnect_grace = 0

    async with connected(Consumer, gate, stubborn=stubborn) as socket:
        socket.request("call", 1, "stubborn")
        await until(lambda: gate.waiting)
        socket.disconnect()
        with caplog.at_level(logging.ERROR, "routesock"):
            await until(lambda: socket.done)
        assert socket.log == [("call", 1), "swallowed", ("disconnect", 1000)]
        assert len(caplog.records) == 1
        gate.open()
        await turns()
        assert await socket.ending() is None


async def test_handler_that_will_not_leave_the_thread_keeps_no_disconnect_from_running(gate: Gate) -> None:
    """To asgiref, which looks at the context that they would share, ``disconnect()`` would wait for the handler."""
    returned: list[str] = []

    async def stubborn(consumer: Any) -> None:
        for _ in range(3):
            with suppress(asyncio.CancelledError):
                await sync_to_async(consumer.scope["gate"].wait_in_thread)()
        returned.append("stubborn")

    class Consumer(OnLoop):
        route_disconnect_grace = 0

    async with connected(Consumer, gate, stubborn=stubborn) as socket:
        socket.request("call", 1, "stubborn")
        await until(lambda: gate.waiting)
        socket.disconnect()
        await asyncio.sleep(CANCEL_WAIT * 1.5)
        gate.open()
        await until(lambda: socket.done)
        assert socket.log == [("call", 1), ("disconnect", 1000)]
        # Channels 4.1 does nothing in the thread before disconnect(), so the handler may still be there.
        await until(lambda: returned)
        await turns()
        assert await socket.ending() is None


class Guarded(InThread):
    def websocket_receive(self, message: Any) -> None:
        super().websocket_receive(message)


@pytest.mark.parametrize("consumer", [InThread, Guarded])
async def test_thread_that_outlives_the_grace(consumer: Any, gate: Gate) -> None:
    """A thread cannot be cancelled, and Channels' way to ``disconnect()`` needs it: it runs once, behind it."""

    class Consumer(consumer):  # type: ignore[misc, valid-type]
        route_disconnect_grace = 0.01

    async with connected(Consumer, gate) as socket:
        socket.requests("slow", 1)
        await until(lambda: gate.waiting)
        socket.disconnect()
        await asyncio.sleep(0.05)  # five times the grace
        assert not socket.done
        gate.open()
        assert await socket.ending() is None
    assert socket.log == [("slow", 1), ("slow ended", 1), ("disconnect", 1000)]


@pytest.mark.parametrize("name", ["fault", "exit"])
async def test_fault_of_a_handler_within_the_grace(name: str, gate: Gate) -> None:
    """What a handler raises after the client left is logged, and changes nothing in how the socket ends."""

    async def fail(consumer: Any) -> None:
        await consumer.scope["gate"].wait()
        raising(ValueError("late") if name == "fault" else SystemExit(1))(consumer)

    async with connected(OnLoop, gate, fail=fail) as socket:
        socket.request("call", 1, "fail")
        await until(lambda: gate.waiting)
        socket.disconnect()
        await turns()
        gate.open()
        assert await socket.ending() is None
    assert socket.log == [("call", 1), ("disconnect", 1000)]
