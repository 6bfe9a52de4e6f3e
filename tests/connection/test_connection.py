"""The socket itself: what opens it, and what is left of it when it ends."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import threading
import time
import weakref
from collections import OrderedDict
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from autobahn.exception import Disconnected
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from routesock import Keys, Request, RouteMixin, route
from routesock.dialects import Frame
from routesock.exceptions import SocketEnded
from routesock.testing import RouteClient
from tests.takeover.driver import Socket, turns, until


class Echo(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("wait")
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()


async def test_one_consumer_instance_does_not_serve_two_sockets() -> None:
    """Each would answer the other's requests."""
    shared = Echo()
    async with RouteClient(shared) as client:
        assert (await client.call("echo", 1)).payload == 1
        with pytest.raises(RuntimeError, match=r"Echo\.as_asgi\(\)"):
            async with RouteClient(shared):
                pass


async def test_a_consumer_may_set_its_scope_before_it_is_served() -> None:
    """A ``__call__`` of the class itself, or its constructor, may do so; it is still one consumer for one socket."""

    class Tenant(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.scope = {}  # type: ignore[typeddict-item]

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            self.scope = {**scope, "tenant": "acme"}
            await super().__call__(self.scope, receive, send)

        @route("tenant")
        async def tenant(self, request: Request) -> Any:
            return self.scope["tenant"]  # type: ignore[typeddict-item]

    async with RouteClient(Tenant) as client:
        assert (await client.call("tenant")).payload == "acme"
    shared = Tenant()
    async with RouteClient(shared):
        with pytest.raises(RuntimeError, match=r"Tenant\.as_asgi\(\)"):
            async with RouteClient(shared):
                pass


async def test_a_consumer_that_is_asked_twice_at_the_same_time_serves_one_socket() -> None:
    """The second call comes before the first has opened its socket."""
    shared = Echo()
    first, second = Socket(shared), Socket(shared)
    first.start()
    second.start()
    assert isinstance(await second.ending(), RuntimeError)
    first.feed({"type": "websocket.connect"})
    assert (await first.call("echo", 1))["payload"] is True
    first.disconnect()
    assert await first.ending() is None


@pytest.mark.parametrize("name", ["TIMEOUT", "MAX_FRAME", "MAX_QUEUED", "MAX_REPLY", "MIDDLEWARE", "DISCONNECT_GRACE"])
async def test_a_setting_that_cannot_be_meant_is_named_when_a_socket_opens(name: str) -> None:
    with (
        override_settings(ROUTESOCK={name: "30"}),
        pytest.raises(ImproperlyConfigured, match=rf"ROUTESOCK\['{name}'\] must be .*; got '30'"),
    ):
        async with RouteClient(Echo):
            pass


def test_a_handler_whose_loop_goes_away_is_no_fault_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Its coroutine is closed with a GeneratorExit, which nobody is there to answer."""

    async def leave_running() -> Any:
        client = RouteClient(Echo)
        await client.connect()
        await client.send("wait", id="w")
        await asyncio.sleep(0.01)
        return client

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(leave_running())
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()
    loop.close()
    del client, tasks
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


class Sockets:
    """An application that is driven by hand, without a server."""

    def __init__(self, application: Any) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        scope = {"type": "websocket", "path": "/", "headers": []}
        self.task = asyncio.ensure_future(application(scope, self.inbox.get, self.send))

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def put(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.inbox.put_nowait(message)
        await until(lambda: self.inbox.empty() or self.task.done())
        await turns()


async def test_a_server_without_patience_cuts_the_grace_short_but_not_the_disconnect() -> None:
    seen: list[str] = []

    class Slow(RouteMixin, AsyncJsonWebsocketConsumer):
        route_disconnect_grace = 30

        @route("slow")
        async def slow(self, request: Request) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("slow cancelled")

        async def disconnect(self, code: int) -> None:
            seen.append(f"disconnect {code}")

    before = asyncio.all_tasks()
    socket = Sockets(Slow.as_asgi())
    await socket.put(
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": '{"route": "slow", "uuid": 1}'},
        {"type": "websocket.disconnect", "code": 1001},
    )
    assert seen == []
    socket.task.cancel()
    await asyncio.wait([socket.task], timeout=30)
    assert socket.task.cancelled()
    assert seen == ["slow cancelled", "disconnect 1001"]
    assert asyncio.all_tasks() == before


async def test_what_is_no_websocket_is_left_to_channels() -> None:
    """A server that offers its lifespan must hear that nobody takes it, or it waits."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "lifespan.startup"})
    with pytest.raises(ValueError, match=r"lifespan\.startup"):
        await asyncio.wait_for(Echo.as_asgi()({"type": "lifespan"}, inbox.get, inbox.put), 30)


class Guarded(RouteMixin, AsyncJsonWebsocketConsumer):
    """Counts every frame, and unpacks those that were sent backwards."""

    seen = 0

    async def websocket_receive(self, message: Any) -> None:
        self.seen += 1
        text = message.get("text")
        if text and text.startswith("}"):
            await self.receive(text_data=text[::-1])
        else:
            await super().websocket_receive(message)

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("seen")
    async def count(self, request: Request) -> int:
        return self.seen


async def test_a_guard_that_passes_a_frame_on_does_not_keep_its_refusal_from_the_client() -> None:
    async with RouteClient(Guarded) as client:
        for text, status in [("no JSON", 400), ("[]", 400), ('{"route": "nowhere"}', 404)]:
            await client.send_text(text)
            reply = await client.receive()
            assert isinstance(reply, dict)
            assert reply["status"] == status
        assert (await client.call("seen")).payload == 4


class GuardedWaiting(Guarded):
    """And its ``decode_json`` waits."""

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        await asyncio.sleep(0)
        return await super().decode_json(text_data)


class GuardedSync(RouteMixin, JsonWebsocketConsumer):
    def websocket_receive(self, message: Any) -> None:
        text = message.get("text")
        if text and text.startswith("}"):
            self.receive(text_data=text[::-1])
        else:
            super().websocket_receive(message)

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


@pytest.mark.parametrize("guarded", [Guarded, GuardedWaiting, GuardedSync])
async def test_what_a_guard_unpacks_is_a_frame_as_any_other(guarded: Any) -> None:
    async with RouteClient(guarded) as client:
        for frame, answer in [
            ('{"route": "echo", "uuid": 5, "payload": 1}', {"uuid": 5, "status": 200}),
            ('{"route": "nowhere", "uuid": 6}', {"uuid": 6, "status": 404}),
            ('{"route": "PING", "uuid": 7}', {"uuid": 7, "route": "PONG"}),
        ]:
            await client.send_text(frame[::-1])
            reply = await client.receive()
            assert isinstance(reply, dict)
            assert answer.items() <= reply.items()
        for silent in ('{"route": "PONG"}', '{"route": "CANCEL", "uuid": 8}'):
            await client.send_text(silent[::-1])
        assert (await client.call("echo", 1)).payload == 1


async def test_a_guard_sees_a_pong_too() -> None:
    async with RouteClient(Guarded) as client:
        await client.send_text('{"route": "PONG"}')
        assert (await client.call("seen")).payload == 2


class FailingLayer(InMemoryChannelLayer):
    """A channel layer that is down for its first receives."""

    failures = 2

    def __init__(self) -> None:
        super().__init__()
        self.back: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def receive(self, channel: str) -> Any:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the layer is down")
        if not self.back.done():
            self.back.set_result(channel)
        return await super().receive(channel)


class Evented(Echo):
    async def connect(self) -> None:
        assert self.channel_name
        await super().connect()

    async def told(self, event: dict[str, Any]) -> None:
        await self.send_json({"told": event["what"]})


async def test_a_channel_layer_that_fails_does_not_end_the_socket(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests go on meanwhile, and events come again once it is back."""
    layer = FailingLayer()
    monkeypatch.setattr("routesock.consumers.get_channel_layer", lambda alias: layer)
    async with RouteClient(Evented) as client:
        assert (await client.call("echo", 1)).payload == 1
        await layer.send(await asyncio.wait_for(layer.back, 30), {"type": "told", "what": "back"})
        assert await client.receive() == {"told": "back"}
    assert [record.name for record in caplog.records] == ["routesock.socket"]


class Exits(Echo):
    """Its own methods raise what no task may raise."""

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        if content.get("payload") == "exit":
            raise SystemExit(3)
        if "never" in str(content):
            raise ValueError("nor the error")
        return await super().encode_json(content)


async def test_an_encoder_that_exits_is_a_500() -> None:
    async with RouteClient(Exits, raise_exceptions=False) as client:
        assert (await client.call("echo", "exit")).status == 500
        assert (await client.call("echo", 1)).payload == 1


async def test_an_encoder_that_spells_not_even_the_error_leaves_a_log_and_the_socket(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with RouteClient(Exits, raise_exceptions=False) as client:
        await client.send("echo", "never", id="never")
        assert (await client.call("echo", 1)).payload == 1
    assert caplog.records[-1].getMessage() == "Nor could the error be sent."


@pytest.mark.parametrize(
    ("exc", "level"), [(OSError(), logging.DEBUG), (Disconnected(), logging.DEBUG), (RuntimeError(), logging.WARNING)]
)
async def test_a_frame_that_the_server_does_not_take_is_no_fault_of_the_handler(
    exc: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "routesock")

    async def refuse(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            raise exc

    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for message in (
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": '{"route": "echo", "uuid": 1}'},
        {"type": "websocket.disconnect", "code": 1001},
    ):
        inbox.put_nowait(message)
    await asyncio.wait_for(Echo.as_asgi()({"type": "websocket", "headers": []}, inbox.get, refuse), 30)
    assert [record.levelno for record in caplog.records if "could not be sent" in record.getMessage()] == [level]


async def test_a_connect_that_fails_after_the_socket_has_ended_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Late(Echo):
        async def connect(self) -> None:
            await self.accept()
            try:
                await asyncio.Event().wait()
            finally:
                raise LookupError("too late")

    class Impatient(Late):
        route_disconnect_grace = 0

    socket = Sockets(Impatient.as_asgi())
    await socket.put({"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001})
    await asyncio.wait_for(socket.task, 30)
    assert [record.getMessage() for record in caplog.records] == ["A socket that had ended failed once more."]


async def test_nothing_of_a_handler_that_outlived_the_grace_is_left_on_the_loop() -> None:
    """Neither its deadline nor, through that, the consumer."""

    class Slow(Echo):
        route_disconnect_grace = 0
        route_timeout = 60

    made: list[weakref.ref[Any]] = []
    original = Slow.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        made.append(weakref.ref(self))

    Slow.__init__ = init  # type: ignore[method-assign]
    socket = Sockets(Slow.as_asgi())
    await socket.put(
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": '{"route": "wait", "uuid": 1}'},
        {"type": "websocket.disconnect", "code": 1001},
    )
    await asyncio.wait_for(socket.task, 30)
    del socket
    await asyncio.sleep(0)
    gc.collect()
    assert made[0]() is None


async def test_disconnect_runs_once_also_if_the_channel_layer_asks_for_it() -> None:
    codes: list[int] = []

    class Asked(Echo):
        async def disconnect(self, code: int) -> None:
            codes.append(code)

    class OnLayer(Asked):
        async def connect(self) -> None:
            await self.accept()
            await self.channel_layer.send(self.channel_name, {"type": "websocket.disconnect", "code": 5})

    socket = Sockets(OnLayer.as_asgi())
    await socket.put({"type": "websocket.connect"})
    await asyncio.wait_for(socket.task, 30)
    assert codes == [5]


class OwnSend(Echo):
    async def send(self, text_data: Any = None, bytes_data: Any = None, close: bool = False) -> None:
        await sync_to_async(lambda: None)()
        await super().send(text_data=text_data, bytes_data=bytes_data, close=close)

    @route("thread", timeout=0.05)
    async def thread(self, request: Request) -> None:
        await sync_to_async(time.sleep)(0.2)

    @route("bye")
    async def bye(self, request: Request) -> int:
        await self.close(4000)
        return 1


async def test_an_own_send_may_use_the_database_thread_while_a_handler_does() -> None:
    async with RouteClient(OwnSend) as client:
        slow = asyncio.ensure_future(client.call("thread", timeout=30))
        assert await client.ping(1) == 1
        assert (await slow).status == 504


mine: ContextVar[str] = ContextVar("mine", default="nobody's")


class SlowSend(Echo):
    """Its ``send`` is in the thread until ``release`` is set."""

    async def send(self, text_data: Any = None, bytes_data: Any = None, close: bool = False) -> None:
        if "PONG" in str(text_data):
            await sync_to_async(self.wait_for_release)()
        await super().send(text_data=text_data, bytes_data=bytes_data, close=close)

    def wait_for_release(self) -> None:
        self.scope["sending"].set()
        assert self.scope["release"].wait(30)

    @route("thread")
    async def thread(self, request: Request) -> str:
        mine.set("before")
        await until(self.scope["sending"].is_set)
        mine.set("the handler's")
        self.scope["release"].set()
        await sync_to_async(lambda: None)()
        await until(self.scope["sent"].is_set)
        return mine.get()


class SlowSyncSend(RouteMixin, JsonWebsocketConsumer):
    thread = SlowSend.thread
    wait_for_release = SlowSend.wait_for_release

    def send(self, text_data: Any = None, bytes_data: Any = None, close: bool = False) -> None:
        if "PONG" in str(text_data):
            self.wait_for_release()
        super().send(text_data=text_data, bytes_data=bytes_data, close=close)


@pytest.mark.parametrize("consumer", [SlowSend, SlowSyncSend])
async def test_a_handler_may_use_the_database_thread_while_an_own_send_does(consumer: type) -> None:
    """Nor does the end of that call undo what the handler has set meanwhile in a context variable."""
    scope = {name: threading.Event() for name in ("sending", "release", "sent")}
    async with Socket(consumer.as_asgi(), **scope) as client:  # type: ignore[attr-defined]
        client.request("thread", 1)
        await client.ping()
        scope["sent"].set()
        assert (await client.reply(1))["payload"] == "the handler's"


async def test_no_reply_is_sent_behind_a_close_through_an_own_send_either() -> None:
    socket = Sockets(OwnSend.as_asgi())
    await socket.put(
        {"type": "websocket.connect"}, {"type": "websocket.receive", "text": '{"route": "bye", "uuid": 1}'}
    )
    await asyncio.sleep(0.05)
    assert [message["type"] for message in socket.sent] == ["websocket.accept", "websocket.close"]
    await socket.put({"type": "websocket.disconnect", "code": 4000})
    await asyncio.wait_for(socket.task, 30)


@pytest.mark.parametrize("exc", [ConnectionResetError(), Disconnected()], ids=["ASGI 2.4", "daphne"])
async def test_a_handler_goes_on_when_the_client_leaves_while_it_sends(exc: Exception) -> None:
    """What it saves and tells others behind that must not be lost."""
    saved: list[str] = []

    class Saving(Echo):
        @route("save")
        async def save(self, request: Request) -> None:
            await self.send_json({"saving": True})
            saved.append("saved")

    class Leaving(Sockets):
        async def send(self, message: dict[str, Any]) -> None:
            if message["type"] == "websocket.send":
                raise exc

    socket = Leaving(Saving.as_asgi())
    await socket.put(
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": '{"route": "save"}'},
        {"type": "websocket.disconnect", "code": 1006},
    )
    await asyncio.wait_for(socket.task, 30)
    assert saved == ["saved"]


class Finally(Echo):
    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        try:
            return OrderedDict(json.loads(text_data))
        finally:
            await asyncio.sleep(0)


class Nested(RouteMixin, JsonWebsocketConsumer):
    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        async def decode() -> Any:
            return json.loads(text_data)

        return async_to_sync(decode)()

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


@pytest.mark.parametrize("consumer", [Finally, Nested])
async def test_a_decoder_that_works_under_channels_works_here(consumer: type) -> None:
    async with RouteClient(consumer) as client:
        assert [(await client.call("echo", number)).payload for number in (1, 2)] == [1, 2]


class Stubborn(Keys):
    """A dialect that does not expect every frame."""

    def read(self, value: Any) -> Frame:
        if value == {"hostile": 2}:
            raise RuntimeError("a bug")
        return Frame(value["action"]["name"], value["uuid"], value["payload"])


class InStubborn(Echo):
    route_dialect = Stubborn()


async def test_a_dialect_that_fails_costs_a_reply_but_not_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    async with RouteClient(InStubborn, raise_exceptions=False) as client:
        request = {"action": {"name": "echo"}, "uuid": 1, "payload": 2}
        for frame, status in [({"hostile": 1}, 400), ([], 400), ({"hostile": 2}, 500), (request, 200)]:
            await client.send_json(frame)
            reply = await client.receive()
            assert isinstance(reply, dict)
            assert reply["status"] == status


async def test_handlers_that_have_their_task_cancelled_later_do_not_stop_the_socket() -> None:
    """Also where the cancellation meets the worker between two jobs."""

    class Cancelling(Echo):
        @route("cancel")
        async def cancel(self, request: Request) -> int:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            return 1

        @route("first")
        async def first(self, request: Request) -> int:
            await asyncio.sleep(0.05)
            return 1

    async with RouteClient(Cancelling, timeout=30) as client:
        calls = [asyncio.ensure_future(client.call("first"))]
        await asyncio.sleep(0)
        calls += [asyncio.ensure_future(client.call("cancel")) for _ in range(40)]
        assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
        assert (await client.call("echo", 1)).payload == 1


@pytest.mark.parametrize("way", ["send_json", "push"])
@pytest.mark.parametrize("leaves", [True, False])
async def test_a_task_of_the_consumers_own_learns_that_the_socket_has_ended(way: str, leaves: bool) -> None:
    """Under Channels the server's ``send`` raises. Silence would keep the task for ever."""
    tasks: list[asyncio.Task[None]] = []
    silent: list[str] = []

    class Ticker(Echo):
        async def connect(self) -> None:
            await self.accept()
            tasks.append(asyncio.create_task(self.tick()))

        async def tick(self) -> None:
            while True:
                await (self.send_json({"tick": 1}) if way == "send_json" else self.socket.push("tick"))
                await asyncio.sleep(0)

        async def disconnect(self, code: int) -> None:
            await self.send_json("nobody reads it")
            await self.socket.push("nobody.reads.it")
            silent.append("in disconnect()")

        @route("long")
        async def long(self, request: Request) -> None:
            await until(lambda: client.is_all_read())
            await self.send_json("nobody reads it")
            silent.append("in its grace")

    client = Socket(Ticker.as_asgi())
    async with client:
        client.json({"route": "long"})
        if leaves:
            client.disconnect()
        else:
            await until(lambda: client.is_idle)
            client.stop()
        await asyncio.wait({tasks[0]}, timeout=30)
        ended = await client.ending()
        assert ended is None or not leaves
        assert isinstance(tasks[0].exception(), SocketEnded)
        assert isinstance(tasks[0].exception(), OSError)
        assert silent[-1] == "in disconnect()"


async def test_a_thread_learns_that_the_socket_has_ended() -> None:
    raised: list[BaseException] = []

    class Ticker(RouteMixin, JsonWebsocketConsumer):
        def connect(self) -> None:
            self.accept()
            threading.Thread(target=self.tick).start()

        def tick(self) -> None:
            try:
                while True:
                    self.send_json({"tick": 1})
                    time.sleep(0.001)
            except SocketEnded as exc:
                raised.append(exc)

    async with Socket(Ticker.as_asgi()):
        pass
    await until(lambda: raised)


async def test_a_server_that_cancels_the_application_leaves_no_client_without_an_answer() -> None:
    """As hypercorn and granian do when they stop: what runs is answered, and the client is told when to come back."""
    codes: list[int] = []

    class Noting(Echo):
        async def disconnect(self, code: int) -> None:
            codes.append(code)

    async with Socket(Noting.as_asgi()) as client:
        client.json({"route": "wait", "uuid": 1}, {"route": "echo", "uuid": 2})
        await until(client.is_idle)
        client.stop()
        assert isinstance(await client.ending(), asyncio.CancelledError)
        assert client.statuses() == [(2, 503), (1, 503)]
        notice = client.frames[-1]
        assert (notice["route"], notice["payload"]["reconnect"]) == ("CLOSE", True)
        assert notice["payload"]["retry_after"] >= 1
        assert client.closed is not None
        assert client.closed["code"] == notice["payload"]["code"] == 1012
    assert codes == [1012]


async def test_a_server_that_cancels_does_not_wait_for_a_client_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("routesock._runtime.closing.CLOSE_WAIT", 0.01)
    async with Socket(Echo.as_asgi()) as client:
        client.writable.clear()
        client.json({"route": "wait", "uuid": 1})
        await until(client.is_idle)
        client.stop()
        assert isinstance(await client.ending(), asyncio.CancelledError)
        assert client.closed is None


async def test_the_name_of_the_channel_starts_a_task_only_while_the_socket_is_open() -> None:
    """Nothing can be sent to a channel whose name was never read; before and after, there is nothing to read for."""
    consumer: Any = Echo()
    assert "socket" not in dict(inspect.getmembers(consumer))
    before = asyncio.all_tasks()
    with pytest.raises(AttributeError):
        consumer.channel_name  # noqa: B018
    assert asyncio.all_tasks() == before
    async with Socket(consumer) as client:
        await until(client.is_idle)
        tasks = asyncio.all_tasks()
        assert dict(inspect.getmembers(consumer))["channel_name"] == consumer.channel_name
        await turns()
        assert asyncio.all_tasks() - tasks
    before = asyncio.all_tasks()
    assert consumer.channel_name
    _ = inspect.getmembers(consumer)
    await turns()
    assert asyncio.all_tasks() == before
