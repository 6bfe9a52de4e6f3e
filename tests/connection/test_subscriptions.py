"""The ends of subscriptions: hooks at an UNSUBSCRIBE and with the socket, whatever the others do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from routesock import Request, RouteMixin, RoutesockError, abroadcast, broadcast, route, run_on_loop, topic
from routesock._connection.membership import member
from routesock._store.opening import Outage
from tests.layers.flaky import FlakyLayer
from tests.layers.in_memory import as_default
from tests.takeover.driver import Socket, turns, until

RAISED = {
    "error": ValueError("broken"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "cancelled": asyncio.CancelledError(),
    "generator": GeneratorExit(),
    "problem": RoutesockError("Not now.", status=409, code="not_now"),
}


class Presence(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0.02

    @topic("room.{room_id}", unsubscribe="left")
    async def room(self, request: Request) -> Any:
        return request.payload

    @topic("raises.{what}", unsubscribe="raising")
    async def raises(self, request: Request) -> None: ...

    @topic("hangs", unsubscribe="hanging")
    async def hangs(self, request: Request) -> None: ...

    @topic("clings", unsubscribe="clinging")
    async def clings(self, request: Request) -> None: ...

    @topic("function.{name}", unsubscribe=lambda request: request.consumer.note("function", request))
    async def function(self, request: Request) -> None: ...

    @topic("thread.{name}", unsubscribe="in_thread")
    async def thread(self, request: Request) -> None: ...

    @topic("silent")
    async def silent(self, request: Request) -> None: ...

    @topic("slow", unsubscribe="left")
    async def slow(self, request: Request) -> str:
        self.note("slow", request)
        await self.scope["go"].wait()
        return "at last"

    async def left(self, request: Request) -> None:
        await asyncio.sleep(0)
        self.note("left", request)

    async def raising(self, request: Request) -> None:
        self.note("raises", request)
        raise RAISED[request.payload["what"]]

    async def hanging(self, request: Request) -> None:
        self.note("hangs", request)
        try:
            await asyncio.sleep(60)
        finally:
            self.note("given up", request)

    async def clinging(self, request: Request) -> None:
        self.note("clings", request)
        while not self.scope["go"].is_set():
            try:
                await self.scope["go"].wait()
            except asyncio.CancelledError:
                self.note("clung", request)

    def in_thread(self, request: Request) -> None:
        broadcast("elsewhere", "left", request.payload)
        self.note("thread", request)

    def note(self, what: str, request: Request) -> None:
        self.scope["log"].append((what, request.topic, request.id))

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", sorted(self.socket.groups), code))


class SyncPresence(RouteMixin, JsonWebsocketConsumer):
    @topic("room.{room_id}", unsubscribe="left")
    def room(self, request: Request) -> Any:
        return request.payload

    @topic("raises.{what}", unsubscribe="raising")
    def raises(self, request: Request) -> None: ...

    @topic("on_loop", unsubscribe="at_once")
    def at_once_room(self, request: Request) -> None: ...

    def left(self, request: Request) -> None:
        self.scope["log"].append(("left", request.topic, request.id))

    def raising(self, request: Request) -> None:
        self.scope["log"].append(("raises", request.topic, request.id))
        raise RAISED[request.payload["what"]]

    @run_on_loop
    def at_once(self, request: Request) -> None:
        self.scope["log"].append(("at once", request.topic, request.id))

    def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", sorted(self.socket.groups), code))


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routesock._connection.membership.subscriptions.CANCEL_WAIT", 0.02)


def socket(consumer: Any = Presence, **scope: Any) -> Socket:
    return Socket(consumer.as_asgi(), log=[], **scope)


async def subscribe(client: Socket, *names: str) -> None:
    for name in names:
        assert (await client.call("SUBSCRIBE", name, {"topic": name}))["status"] in (200, 204)


async def test_an_unsubscribe_calls_the_hook_before_its_reply() -> None:
    async with socket() as client:
        await subscribe(client, "room.5")
        await client.call("UNSUBSCRIBE", 1, {"topic": "room.5"})
        assert client.log == [("left", "room.5", 1)]
    assert client.log[1:] == [("disconnect", [], 1000)]


@pytest.mark.parametrize("what", [what for what in RAISED if what != "problem"])
@pytest.mark.parametrize("consumer", [Presence, SyncPresence])
async def test_a_hook_that_raises_is_a_500_and_the_socket_has_left(consumer: type, what: str) -> None:
    async with socket(consumer) as client:
        await subscribe(client, f"raises.{what}", "room.5")
        assert (await client.call("UNSUBSCRIBE", 1, {"topic": f"raises.{what}"}))["status"] == 500
        assert (await client.call("UNSUBSCRIBE", 2, {"topic": f"raises.{what}"}))["status"] == 404
        await abroadcast(f"raises.{what}", "news", 1)
        await abroadcast("room.5", "news", 2)
        await until(lambda: client.frames[-1].get("payload") == 2)
    assert [entry[0] for entry in client.log] == ["raises", "left", "disconnect"]


async def test_a_hook_may_answer_with_an_error_of_its_own() -> None:
    async with socket() as client:
        await subscribe(client, "raises.problem")
        reply = await client.call("UNSUBSCRIBE", 1, {"topic": "raises.problem"})
        assert (reply["status"], reply["payload"]["code"]) == (409, "not_now")


async def test_every_hook_runs_before_disconnect_whatever_the_others_did(caplog: pytest.LogCaptureFixture) -> None:
    names = ["room.1", *(f"raises.{what}" for what in RAISED), "hangs", "silent", "function.f", "thread.t", "room.2"]
    async with socket() as client:
        await subscribe(client, *names)
    assert client.log == [
        ("left", "room.1", None),
        *(("raises", f"raises.{what}", None) for what in RAISED),
        ("hangs", "hangs", None),
        ("given up", "hangs", None),
        ("function", "function.f", None),
        ("thread", "thread.t", None),
        ("left", "room.2", None),
        ("disconnect", sorted(names), 1000),
    ]
    failed = [record.getMessage() for record in caplog.records]
    assert [text.split("'")[1] for text in failed] == [*(f"raises.{what}" for what in RAISED), "hangs"]
    assert failed[-1] == "The unsubscribe hook of the topic 'hangs' did not end in time."


async def test_every_hook_of_a_sync_consumer_runs_before_disconnect() -> None:
    async with socket(SyncPresence) as client:
        await subscribe(client, "room.1", "raises.error", "raises.exit", "on_loop", "room.2")
    assert [entry[:2] for entry in client.log[:-1]] == [
        ("left", "room.1"),
        ("raises", "raises.error"),
        ("raises", "raises.exit"),
        ("at once", "on_loop"),
        ("left", "room.2"),
    ]
    assert client.log[-1][0] == "disconnect"


async def test_a_hook_that_cannot_be_cancelled_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    go = asyncio.Event()
    client = socket(go=go)
    client.start()
    client.feed({"type": "websocket.connect"})
    await subscribe(client, "clings", "room.1")
    client.disconnect()
    await until(lambda: client.done)
    assert [entry[0] for entry in client.log] == ["clings", "clung", "left", "disconnect"]
    assert "does not end when it is cancelled" in caplog.text
    go.set()
    await client.ending()


async def test_hooks_run_where_the_server_has_no_patience() -> None:
    client = socket()
    client.start()
    client.feed({"type": "websocket.connect"})
    await subscribe(client, "hangs", "room.1")
    client.stop()
    assert isinstance(await client.ending(), asyncio.CancelledError)
    assert [entry[0] for entry in client.log] == ["hangs", "given up", "left", "disconnect"]


async def test_a_hook_runs_once_where_the_client_leaves_during_it() -> None:
    async with socket() as client:
        await subscribe(client, "hangs")
        client.request("UNSUBSCRIBE", 1, {"topic": "hangs"})
        await until(lambda: client.log)
    assert [entry[0] for entry in client.log] == ["hangs", "given up", "disconnect"]


async def test_a_hook_may_use_the_thread_that_a_handler_still_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routesock._connection.tasks.CANCEL_WAIT", 0.02)
    go = threading.Event()

    class Busy(Presence):
        route_disconnect_grace = 60

        @topic("busy", unsubscribe="leaving")
        async def busy(self, request: Request) -> None: ...

        @route("block", cancel_on_disconnect=True)
        async def block(self, request: Request) -> None:
            self.note("blocks", request)
            while not go.is_set():
                with suppress(asyncio.CancelledError):
                    await sync_to_async(go.wait)(5)

        async def leaving(self, request: Request) -> None:
            self.note("waits", request)
            await sync_to_async(self.note)("left", request)

    async with socket(Busy) as client:
        await subscribe(client, "busy")
        client.request("block", 1)
        await until(lambda: client.log)
        client.disconnect()
        await until(lambda: len(client.log) == 2)
        go.set()
    assert [entry[0] for entry in client.log] == ["blocks", "waits", "left", "disconnect"]


async def test_an_unsubscribe_that_never_had_its_turn_leaves_the_hook_to_the_end() -> None:
    go = asyncio.Event()
    async with socket(go=go) as client:
        await subscribe(client, "room.1")
        client.request("SUBSCRIBE", 1, {"topic": "slow"})
        client.request("UNSUBSCRIBE", 2, {"topic": "room.1"})
        await until(lambda: client.log)
        await client.all_read()
    assert client.log == [("slow", "slow", 1), ("left", "room.1", None), ("disconnect", ["room.1"], 1000)]


async def test_a_handler_that_succeeds_in_its_grace_has_its_hook_called() -> None:
    go = asyncio.Event()
    patient = type("Patient", (Presence,), {"route_disconnect_grace": 60})
    async with socket(patient, go=go) as client:
        client.request("SUBSCRIBE", 1, {"topic": "slow"})
        await until(lambda: client.log)
        client.disconnect()
        await until(client.is_all_read)
        go.set()
    assert [entry[:2] for entry in client.log] == [("slow", "slow"), ("left", "slow"), ("disconnect", ["slow"])]


async def test_a_cancelled_unsubscribe_has_left_and_called_the_hook() -> None:
    async with socket() as client:
        await subscribe(client, "hangs")
        client.request("UNSUBSCRIBE", 1, {"topic": "hangs"})
        await until(lambda: client.log)
        client.cancel(1)
        assert (await client.reply(1))["status"] == 499
        assert (await client.call("UNSUBSCRIBE", 2, {"topic": "hangs"}))["status"] == 404
    assert [entry[0] for entry in client.log] == ["hangs", "given up", "disconnect"]


@pytest.fixture
def layer() -> Iterator[FlakyLayer]:
    """One that reaches other processes, as far as anybody can tell."""
    with as_default(FlakyLayer()) as layer:
        yield layer


async def test_a_layer_that_fails_is_a_503_and_nobody_is_subscribed(
    layer: FlakyLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client may try again. An outage is logged once, however many clients try."""
    monkeypatch.setattr(member, "_outage", Outage())
    async with socket() as client:
        layer.broken.add("routesock.group.room.5")
        for uuid in (1, 2):
            reply = await client.call("SUBSCRIBE", uuid, {"topic": "room.5"})
            assert (reply["status"], reply["payload"]["code"]) == (503, "unavailable")
            assert reply["headers"]["Retry-After"] == 1
        assert (await client.call("UNSUBSCRIBE", 3, {"topic": "room.5"}))["status"] == 404
        layer.broken.clear()
        await subscribe(client, "room.5")
        assert layer.members("routesock.group.room.5") == 1
    assert [entry[0] for entry in client.log] == ["left", "disconnect"]
    assert layer.members("routesock.group.room.5") == 0
    texts = [record.getMessage() for record in caplog.records if record.name == "routesock.socket"]
    assert texts.count("Topics cannot be subscribed to, since the channel layer fails.") == 1
    assert not [text for text in texts if "failed (error" in text]


async def test_a_layer_that_refuses_a_group_is_a_500(layer: FlakyLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has answered, and will not answer otherwise."""

    async def refuse(group: str, channel: str) -> None:
        raise TypeError("Not such a group.")

    async with socket() as client:
        monkeypatch.setattr(layer, "group_add", refuse)
        assert (await client.call("SUBSCRIBE", 1, {"topic": "room.5"}))["status"] == 500


async def test_a_subscription_stands_where_a_join_of_the_same_group_fails_meanwhile(layer: FlakyLayer) -> None:
    class Joining(Presence):
        @route("join", parallel=True)
        async def join(self, request: Request) -> None:
            await self.socket.join(request.payload)

    add = ("group_add", "routesock.group.room.5")
    async with socket(Joining) as client:
        layer.held.add(add)
        client.request("join", 1, "room.5")
        await until(lambda: add in layer.calls)
        client.request("SUBSCRIBE", 2, {"topic": "room.5"})
        await client.all_read()
        await turns()
        client.cancel(1)
        assert (await client.reply(1))["status"] == 499
        layer.release(add)
        assert (await client.reply(2))["status"] == 200
        await turns()
        await abroadcast("room.5", "news", 1)
        await until(lambda: client.frames[-1].get("payload") == 1)


async def test_a_cancelled_unsubscribe_calls_the_hook_though_the_layer_hangs(layer: FlakyLayer) -> None:
    async with socket() as client:
        await subscribe(client, "room.5")
        layer.pause()
        client.request("UNSUBSCRIBE", 1, {"topic": "room.5"})
        await until(lambda: ("group_discard", "routesock.group.room.5") in layer.calls)
        client.cancel(1)
        assert (await client.reply(1))["status"] == 499
        await until(lambda: client.log)
        layer.resume()
    assert [entry[0] for entry in client.log] == ["left", "disconnect"]
