"""Application events: how handlers are declared, who is told, in what order, and what becomes of errors."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import marshmallow
import pytest
from asgiref.sync import sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from routesock import (
    Event,
    Request,
    RouteMixin,
    RouteSetupError,
    abroadcast,
    asend_event,
    checks,
    delivery_counts,
    event,
    route,
    run_in_thread,
    run_on_loop,
    send_event,
)
from routesock._connection import readers
from routesock._groups import hub
from routesock._groups.envelopes import EVENT, event_of, layer_group
from routesock._routing.event import MAX_NAME_CHARS
from routesock.testing import RouteClient
from tests.layers.in_memory import Crossing, as_default
from tests.takeover.driver import Socket, turns, until
from tests.takeover.flavours import Gate

WHERE: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


@pytest.fixture(autouse=True, params=[InMemoryChannelLayer, Crossing], ids=["in-memory", "crossing"])
def layer(request: pytest.FixtureRequest) -> Iterator[Any]:
    with as_default(request.param()) as layer:
        yield layer
    assert hub._hubs == {}


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


class OrderSchema(marshmallow.Schema):
    id = marshmallow.fields.Integer(required=True)


class OnLoop(RouteMixin, AsyncJsonWebsocketConsumer):
    """Notes what it is told in the scope's ``log``."""

    async def connect(self) -> None:
        self.scope["consumer"] = self
        await self.accept()
        await self.socket.join("orders")

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))

    @event("order.paid", schema=OrderSchema)
    async def order_paid(self, event: Event) -> None:
        self.scope["log"].append((event.name, event.payload, event.group))

    @event("note")
    async def on_note(self, event: Event) -> None:
        self.scope["log"].append(event.payload)

    @event("busy")
    async def on_busy(self, event: Event) -> None:
        self.scope["log"].append("busy")
        await self.scope["gate"].wait()
        self.scope["log"].append("busy ended")

    @event("fails")
    async def on_failure(self, event: Event) -> None:
        raise self.scope["raises"]

    @event("pushes")
    async def on_pushes(self, event: Event) -> None:
        await self.socket.push("told", event.payload)

    @route("slow")
    async def slow(self, request: Request) -> None:
        self.scope["log"].append("slow")
        await self.scope["gate"].wait()
        self.scope["log"].append("slow ended")

    @route("quick")
    async def quick(self, request: Request) -> Any:
        self.scope["log"].append(request.payload)
        return request.payload

    @route("beside", parallel=True)
    async def beside(self, request: Request) -> None:
        self.scope["log"].append("beside")
        await self.scope["gate"].wait()

    async def news(self, message: Any) -> None:
        self.scope["log"].append(message["text"])


class InThread(RouteMixin, JsonWebsocketConsumer):
    """The same, sync."""

    def connect(self) -> None:
        self.scope["consumer"] = self
        self.accept()
        self.socket.join("orders")

    def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))

    @event("order.paid", schema=OrderSchema)
    def order_paid(self, event: Event) -> None:
        self.scope["log"].append((event.name, event.payload, event.group))

    @event("note")
    def on_note(self, event: Event) -> None:
        self.scope["log"].append(event.payload)

    @event("busy")
    def on_busy(self, event: Event) -> None:
        self.scope["log"].append("busy")
        self.scope["gate"].wait_in_thread()
        self.scope["log"].append("busy ended")

    @event("fails")
    def on_failure(self, event: Event) -> None:
        raise self.scope["raises"]

    @event("pushes")
    def on_pushes(self, event: Event) -> None:
        self.socket.push("told", event.payload)

    @route("slow")
    def slow(self, request: Request) -> None:
        self.scope["log"].append("slow")
        self.scope["gate"].wait_in_thread()
        self.scope["log"].append("slow ended")

    @route("quick")
    def quick(self, request: Request) -> Any:
        self.scope["log"].append(request.payload)
        return request.payload

    def news(self, message: Any) -> None:
        self.scope["log"].append(message["text"])


BOTH = pytest.mark.parametrize("consumer", [OnLoop, InThread])


class Bare(RouteMixin, AsyncJsonWebsocketConsumer):
    """To derive from."""

    async def connect(self) -> None:
        self.scope["consumer"] = self
        await self.accept()
        await self.socket.join("orders")


def socket(consumer: Any = OnLoop, **scope: Any) -> Socket:
    return Socket(consumer.as_asgi(), log=[], **scope)


def bare(**attributes: Any) -> Any:
    return type("Shop", (Bare,), attributes)


def refusal(make: Callable[[], object]) -> str:
    with pytest.raises(RouteSetupError) as caught:
        make()
    return str(caught.value)


async def ready(client: Socket) -> None:
    """``connect()`` has returned."""
    await until(lambda: client.sent, "accepted")
    await client.ping("ready")
    connection = client.scope["consumer"]._routesock_connection
    await until(lambda: connection._state.connected, "connected")


async def logged(client: Socket, *entries: Any) -> None:
    """The consumer has noted these, and nothing else, in this order."""
    await until(lambda: len(client.log) >= len(entries) or client.done, f"{entries} in {client.log}")
    await turns()
    assert client.log[: len(entries)] == [*entries]
    assert [entry for entry in client.log[len(entries) :] if entry[0] != "disconnect"] == []


class TestTelling:
    @BOTH
    async def test_the_handler_gets_what_the_schema_made_of_the_payload(self, consumer: Any) -> None:
        async with socket(consumer) as client:
            await ready(client)
            await asend_event("orders", "order.paid", {"id": "7"})
            await logged(client, ("order.paid", {"id": 7}, "orders"))

    @BOTH
    async def test_without_a_schema_it_gets_what_json_gives_back(self, consumer: Any) -> None:
        async with socket(consumer) as client:
            await ready(client)
            await asend_event("orders", "note", ("a", 1.5, None))
            await logged(client, ["a", 1.5, None])

    @BOTH
    async def test_the_handler_may_use_the_socket(self, consumer: Any) -> None:
        async with socket(consumer) as client:
            await ready(client)
            await asend_event("orders", "pushes", {"type": "news", "route": "PING"})
            await client.read(2)
            assert client.frames[-1] == {"route": "told", "payload": {"type": "news", "route": "PING"}}

    @pytest.mark.parametrize("group", ["", "all orders", "ß" * 300, "\ud800", "routesock.group.orders", "a.b-c_d"])
    async def test_the_group_is_named_as_the_sender_named_it(self, group: str) -> None:
        async with socket() as client:
            await ready(client)
            await client.scope["consumer"].socket.join(group)
            await asend_event(group, "order.paid", {"id": 1})
            await logged(client, ("order.paid", {"id": 1}, group))

    async def test_who_is_not_in_the_group_is_not_told(self) -> None:
        async with socket() as client:
            await ready(client)
            await asend_event("others", "note", 1)
            await asend_event("orders", "note", 2)
            await logged(client, 2)
            await client.scope["consumer"].socket.leave("orders")
            await asend_event("orders", "note", 3)
            await logged(client, 2)

    async def test_a_consumer_that_does_not_declare_it_takes_no_notice(self, caplog: Any) -> None:
        async with socket(Bare) as client, socket() as other:
            await ready(client)
            await ready(other)
            await asend_event("orders", "note", 1)
            await logged(other, 1)
            assert client.scope["consumer"]._routesock_connection.member()._events is None
        assert not caplog.records

    async def test_what_one_handler_changes_no_other_sees(self) -> None:
        def popped(payload: Any) -> Any:
            return payload.pop("list")

        async def keep(self: Any, event: Event) -> None:
            event.payload.append(len(event.payload))
            self.scope["log"].append(event.payload)

        shop = bare(keep=event("changed", schema=popped)(keep))
        async with socket(shop) as one, socket(shop) as two:
            await ready(one)
            await ready(two)
            await asend_event("orders", "changed", {"list": []})
            await logged(one, [0])
            await logged(two, [0])

    async def test_a_plain_def_runs_in_the_database_thread_of_an_async_consumer(self) -> None:
        threads: list[Any] = []

        def handler(self: Any, event: Event) -> None:
            threads.append(threading.current_thread())

        async def stays(self: Any, event: Event) -> None:
            threads.append(threading.current_thread())

        shop = bare(
            one=event("plain")(handler),
            two=event("marked")(run_on_loop(lambda self, event: handler(self, event))),
            three=event("async")(stays),
        )
        async with socket(shop) as client:
            await ready(client)
            for name in ("plain", "marked", "async"):
                await asend_event("orders", name)
            await until(lambda: len(threads) == 3)
        database = await sync_to_async(threading.current_thread)()
        assert threads == [database, threading.current_thread(), threading.current_thread()]

    @pytest.mark.parametrize("wait", [True, False], ids=["async", "sync"])
    async def test_a_blocking_schema_loads_in_the_database_thread(self, wait: bool) -> None:
        threads: list[Any] = []

        def load(payload: Any) -> Any:
            threads.append(threading.current_thread())
            return payload + 1

        def plain(self: Any, event: Event) -> None:
            self.scope["log"].append(event.payload)

        async def awaited(self: Any, event: Event) -> None:
            self.scope["log"].append(event.payload)

        shop = bare(handler=event("loaded", schema=run_in_thread(load))(awaited if wait else plain))
        async with socket(shop) as client:
            await ready(client)
            await asend_event("orders", "loaded", 1)
            await logged(client, 2)
        assert threads == [await sync_to_async(threading.current_thread)()]

    @BOTH
    async def test_what_connect_set_in_the_context_is_there(self, consumer: Any) -> None:
        def told(self: Any, event: Event) -> None:
            self.scope["log"].append(WHERE.get())

        class Shop(consumer):  # type: ignore[misc]
            on_told = event("told")(told)

            async def websocket_connect(self, message: Any) -> None:
                WHERE.set("connected")
                await super().websocket_connect(message)

        class SyncShop(Shop):
            def websocket_connect(self, message: Any) -> None:
                WHERE.set("connected")
                consumer.websocket_connect(self, message)

        async with socket(Shop if consumer is OnLoop else SyncShop) as client:
            await ready(client)
            await asend_event("orders", "told")
            await logged(client, "connected")

    async def test_a_consumer_with_threads_of_its_own_has_its_sync_handlers_there(self) -> None:
        def told(self: Any, event: Event) -> None:
            self.scope["log"].append(threading.current_thread().name)

        async with socket(bare(on_told=event("told")(told), route_dedicated_threads=True)) as client:
            await ready(client)
            await asend_event("orders", "told")
            await until(lambda: client.log)
            assert client.log[0].startswith("routesock-db")

    async def test_a_dispatch_of_the_consumers_own_is_not_passed(self) -> None:
        kinds: list[str] = []

        class Checked(OnLoop):
            async def dispatch(self, message: Any) -> None:
                kinds.append(message["type"])
                await super().dispatch(message)

        async with socket(Checked) as client:
            await ready(client)
            await asend_event("orders", "note", 1)
            await logged(client, 1)
        assert kinds == ["websocket.connect", "websocket.disconnect"]


class TestOrder:
    @BOTH
    async def test_events_wait_behind_a_busy_request_and_keep_their_place(self, consumer: Any, gate: Gate) -> None:
        async with socket(consumer, gate=gate) as client:
            await ready(client)
            client.request("slow", 1)
            await until(lambda: gate.waiting)
            client.request("quick", 2, "first")
            await client.ping()
            await asend_event("orders", "note", "second")
            await turns()
            await channel_layers["default"].send(
                client.scope["consumer"].channel_name, {"type": "news", "text": "third"}
            )
            await turns()
            client.request("quick", 3, "fourth")
            await client.ping()
            await asend_event("orders", "note", "fifth")
            await turns()
            assert client.log == ["slow"]
            gate.open()
            await logged(client, "slow", "slow ended", "first", "second", "third", "fourth", "fifth")

    @BOTH
    async def test_requests_wait_behind_a_busy_event_and_pings_do_not(self, consumer: Any, gate: Gate) -> None:
        async with socket(consumer, gate=gate) as client:
            await ready(client)
            await asend_event("orders", "busy")
            await until(lambda: gate.waiting)
            client.request("quick", 1, "behind")
            await asend_event("orders", "note", "last")
            await abroadcast("orders", "pushed")
            await client.ping()
            await until(lambda: {"route": "pushed", "payload": None} in client.frames)
            assert client.log == ["busy"]
            gate.open()
            await logged(client, "busy", "busy ended", "behind", "last")

    async def test_parallel_routes_hold_up_no_event(self, gate: Gate) -> None:
        async with socket(gate=gate) as client:
            await ready(client)
            client.request("beside", 1)
            await until(lambda: gate.waiting)
            await asend_event("orders", "note", 1)
            await logged(client, "beside", 1)
            gate.open()

    async def test_a_hundred_events_come_in_order_among_requests(self) -> None:
        async with socket() as client:
            await ready(client)
            for number in range(0, 200, 2):
                await asend_event("orders", "note", number)
                await turns(5)
                await client.call("quick", number, number + 1)
            await logged(client, *range(200))

    async def test_a_burst_comes_in_order_whether_handlers_wait_or_not(self) -> None:
        async def waits(self: Any, event: Event) -> None:
            await asyncio.sleep(0)
            self.scope["log"].append(event.payload)

        @run_on_loop
        def at_once(self: Any, event: Event) -> None:
            self.scope["log"].append(event.payload)

        shop = bare(waits=event("waits")(waits), at_once=event("at.once")(at_once))
        async with socket(shop) as client:
            await ready(client)
            for number in range(100):
                await asend_event("orders", "waits" if number % 3 else "at.once", number)
            await until(lambda: len(client.log) == 100)
            assert client.log == [*range(100)]

    async def test_a_burst_for_a_busy_socket_takes_one_task(self, gate: Gate) -> None:
        def reading() -> int:
            return sum("Occurrences.read" in repr(task.get_coro()) for task in asyncio.all_tasks())

        async with socket(gate=gate) as client:
            await ready(client)
            client.request("slow", 1)
            await until(lambda: gate.waiting)
            for number in range(50):
                await asend_event("orders", "note", number)
            counts = []
            for _ in range(500):
                await asyncio.sleep(0)
                counts.append(reading())
            gate.open()
            assert max(counts) <= 1  # a layer may also have brought them one by one
            assert counts[-1] == 0
            await logged(client, "slow", "slow ended", *range(50))

    async def test_an_idle_socket_has_no_task_for_events(self) -> None:
        async with socket() as client:
            await ready(client)
            await turns()
            before = len(asyncio.all_tasks())
            for number in range(3):
                await asend_event("orders", "note", number)
            await logged(client, 0, 1, 2)
            assert len(asyncio.all_tasks()) == before


class TestBeforeConnect:
    async def test_events_wait_until_connect_has_returned_in_front_of_later_requests(self, gate: Gate) -> None:
        class Slow(OnLoop):
            async def connect(self) -> None:
                await super().connect()
                await self.scope["gate"].wait()
                self.scope["log"].append("connected")

        async with socket(Slow, gate=gate) as client:
            await until(lambda: gate.waiting)
            await asend_event("orders", "note", "event")
            await turns()
            client.request("quick", 1, "request")
            await client.ping()
            assert client.log == []
            gate.open()
            await logged(client, "connected", "event", "request")

    async def test_those_of_a_socket_that_is_refused_are_not_told(self, gate: Gate) -> None:
        class Refused(OnLoop):
            async def connect(self) -> None:
                await self.socket.join("orders")
                await self.scope["gate"].wait()
                await self.close()

        client = socket(Refused, gate=gate)
        client.start()
        client.feed({"type": "websocket.connect"})
        await until(lambda: gate.waiting)
        await asend_event("orders", "note", 1)
        await turns()
        gate.open()
        await until(lambda: client.closed)
        await client.ending()
        assert 1 not in client.log

    async def test_those_that_come_before_connect_begins_wait_for_its_end(self) -> None:
        """As behind a gate, where a public route may join a group."""
        async with socket() as client:
            await ready(client)
            member = client.scope["consumer"]._routesock_connection.member()
            member._state.connected = False
            await asend_event("orders", "note", 1)
            await turns()
            assert client.log == []
            member._state.connected = True
            member.connected()
            await logged(client, 1)


class TestErrors:
    @BOTH
    async def test_a_handler_that_raises_is_logged_with_the_events_name(self, consumer: Any, caplog: Any) -> None:
        async with socket(consumer, raises=KeyError("lost")) as client:
            await ready(client)
            await asend_event("orders", "fails")
            await asend_event("orders", "note", 1)
            await logged(client, 1)
            assert await client.call("quick", 1, 2)
        (record,) = caplog.records
        assert "The handler of the event 'fails' failed" in record.getMessage()
        assert "KeyError: 'lost'" in caplog.text
        assert len(client.texts) == 2  # the PONG and the reply: nobody asked for the event

    @BOTH
    @pytest.mark.parametrize("exc", [SystemExit(), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
    async def test_whatever_a_handler_raises_the_socket_lives(
        self, consumer: Any, exc: BaseException, caplog: Any
    ) -> None:
        async with socket(consumer, raises=exc) as client:
            await ready(client)
            await asend_event("orders", "fails")
            await asend_event("orders", "note", 1)
            await logged(client, 1)
        assert "The handler of the event 'fails' failed" in caplog.text

    @pytest.mark.parametrize("later", [True, False])
    async def test_a_handler_that_cancels_its_own_task_loses_no_other_event(self, later: bool) -> None:
        async def handler(self: Any, event: Event) -> None:
            task = asyncio.current_task()
            assert task is not None
            if event.payload == 1:
                if later:
                    asyncio.get_running_loop().call_soon(task.cancel)
                else:
                    task.cancel()
            self.scope["log"].append(event.payload)

        async with socket(bare(handler=event("cancels")(handler))) as client:
            await ready(client)
            for number in range(40):
                await asend_event("orders", "cancels", number)
            await logged(client, *range(40))

    @BOTH
    async def test_stop_consumer_ends_the_socket(self, consumer: Any) -> None:
        async with socket(consumer, raises=StopConsumer()) as client:
            await ready(client)
            await asend_event("orders", "fails")
            await asend_event("orders", "note", 1)
            await until(lambda: client.done)
            await client.ending()
        assert 1 not in client.log

    @BOTH
    async def test_a_payload_that_the_schema_refuses_calls_nothing(self, consumer: Any, caplog: Any) -> None:
        async with socket(consumer) as client:
            await ready(client)
            await asend_event("orders", "order.paid", {"id": "seven"})
            await asend_event("orders", "note", 1)
            await logged(client, 1)
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert "event 'order.paid'" in record.getMessage()
        assert "Not a valid integer." in caplog.text

    async def test_a_schema_that_falls_over_calls_nothing(self, caplog: Any) -> None:
        called: list[Any] = []

        def load(payload: Any) -> Any:
            raise ValidationError("wrong")

        async with socket(bare(handler=event("loaded", schema=load)(lambda self, event: called.append(1)))) as client:
            await ready(client)
            await asend_event("orders", "loaded")
            await until(lambda: "event 'loaded' failed" in caplog.text)
        assert called == []

    async def test_a_plain_def_that_returns_a_coroutine_is_an_error(self, caplog: Any) -> None:
        async def inner() -> None: ...

        async with socket(bare(handler=event("wrapped")(lambda self, event: inner()))) as client:
            await ready(client)
            await asend_event("orders", "wrapped")
            await until(lambda: "returned a coroutine" in caplog.text)

    async def test_the_testing_client_raises_what_a_handler_raised(self) -> None:
        class Shop(OnLoop):
            @event("fails")
            async def on_failure(self, event: Event) -> None:
                raise KeyError("lost")

            async def disconnect(self, code: int) -> None: ...

        async with RouteClient(Shop) as client:
            await client.settle()  # connect() joins the group after its accept
            await asend_event("orders", "fails")
            await client.settle()
            with pytest.raises(KeyError, match="lost"):
                client.raise_failures()


class TestEnds:
    @BOTH
    async def test_a_running_handler_has_a_grace_and_nothing_else_starts(self, consumer: Any, gate: Gate) -> None:
        async with socket(consumer, gate=gate) as client:
            await ready(client)
            await asend_event("orders", "busy")
            await asend_event("orders", "note", 1)
            await until(lambda: gate.waiting)
            client.disconnect(1001)
            await until(client.is_all_read)
            await turns()
            await asend_event("orders", "note", 2)
            gate.open()
            await client.ending()
        assert client.log == ["busy", "busy ended", ("disconnect", 1001)]

    async def test_a_handler_without_an_end_is_cancelled_after_the_grace(self, gate: Gate) -> None:
        class Short(OnLoop):
            route_disconnect_grace = 0.01

        async with socket(Short, gate=gate) as client:
            await ready(client)
            await asend_event("orders", "busy")
            await until(lambda: gate.waiting)
            client.disconnect(1001)
            await client.ending()
        assert client.log == ["busy", ("disconnect", 1001)]

    async def test_after_a_close_has_begun_nothing_is_told(self) -> None:
        async def closing(self: Any, event: Event) -> None:
            await self.socket.close(403)

        class Shop(OnLoop):
            on_close = event("close")(closing)

        async with socket(Shop) as client:
            await ready(client)
            await asend_event("orders", "close")
            await asend_event("orders", "note", 1)
            await until(lambda: client.closed)
            await client.ending()
        assert [entry for entry in client.log if entry[0] != "disconnect"] == []

    async def test_a_socket_that_leaves_in_the_middle_of_a_burst_leaves_no_task(self) -> None:
        async with socket() as client:
            await ready(client)
            for number in range(100):
                await asend_event("orders", "note", number)
                if number == 50:
                    client.disconnect(1001)
            await client.ending()
        told = client.log[: client.log.index(("disconnect", 1001))]
        assert told == [*range(len(told))]
        assert client.log[-1] == ("disconnect", 1001)


class TestBounds:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "MAX_QUEUED_EVENTS", 3)

    async def test_the_newest_are_dropped_and_told_once_per_burst(self, gate: Gate, caplog: Any) -> None:
        before = delivery_counts().dropped
        async with socket(gate=gate) as client:
            await ready(client)
            await asend_event("orders", "busy")
            await until(lambda: gate.waiting)
            for number in range(10):
                await asend_event("orders", "note", number)
            await turns()
            assert not caplog.records
            gate.open()
            await logged(client, "busy", "busy ended", 0, 1, 2)
            await asend_event("orders", "note", 10)
            await logged(client, "busy", "busy ended", 0, 1, 2, 10)
            (record,) = caplog.records
            assert record.getMessage().startswith("Dropped 7 events for a socket that is busy: too many waited.")
            assert delivery_counts().dropped - before == 7
        assert len(caplog.records) == 1

    async def test_what_was_dropped_is_logged_at_the_end_of_the_socket(self, gate: Gate, caplog: Any) -> None:
        async with socket(gate=gate) as client:
            await ready(client)
            await asend_event("orders", "busy")
            await until(lambda: gate.waiting)
            for number in range(5):
                await asend_event("orders", "note", number)
            await turns()
            gate.open()
        assert [record.getMessage()[:13] for record in caplog.records] == ["Dropped 2 eve"]

    async def test_large_ones_are_bounded_in_bytes(self, gate: Gate, settings: Any) -> None:
        settings.ROUTESOCK = {"MAX_OUTGOING_BYTES": 100}
        async with socket(gate=gate) as client:
            await ready(client)
            await asend_event("orders", "busy")
            await until(lambda: gate.waiting)
            await asend_event("orders", "note", "x" * 200)
            await asend_event("orders", "note", "y" * 200)
            await turns()
            gate.open()
            await logged(client, "busy", "busy ended", "x" * 200)
            await asend_event("orders", "note", "z" * 200)
            await logged(client, "busy", "busy ended", "x" * 200, "z" * 200)


class TestForeign:
    @BOTH
    @pytest.mark.parametrize(
        "kind", [EVENT, "routesock.push", "order.paid", "order_paid", "note", "on.note", "on_note", "busy", "on.busy"]
    )
    async def test_a_channel_layer_message_calls_no_handler_of_events(
        self, layer: Any, consumer: Any, kind: str, gate: Gate, caplog: Any
    ) -> None:
        async with socket(consumer, gate=gate) as client:
            await ready(client)
            message = {**event_of("orders", "note", 1), "payload": 1, "type": kind}
            await layer.send(client.scope["consumer"].channel_name, message)
            await layer.send(client.scope["consumer"].channel_name, {"type": "news", "text": "after"})
            await logged(client, "after")
        assert f"'{kind}'" in caplog.text

    @pytest.mark.parametrize(
        "change", [{"name": None}, {"name": ["note"]}, {"data": 1}, {"data": "["}, {"data": "1"}, {"data": "[]"}]
    )
    async def test_a_message_that_is_no_event_is_logged_and_harms_nobody(
        self, layer: Any, change: Any, caplog: Any
    ) -> None:
        async with socket() as client:
            await ready(client)
            message = {**event_of("orders", "note", 1), **change}
            await hub.send(layer, message)
            await asend_event("orders", "note", 2)
            await logged(client, 2)
        assert caplog.records


class TestSending:
    @pytest.mark.parametrize("where", ["thread", "sync_to_async"])
    async def test_from_threads(self, where: str) -> None:
        async with socket() as client:
            await ready(client)
            if where == "thread":
                thread = threading.Thread(target=send_event, args=("orders", "note", "from a thread"))
                thread.start()
                await until(lambda: not thread.is_alive())
            else:
                await sync_to_async(send_event)("orders", "note", "from a thread")
            await logged(client, "from a thread")

    async def test_the_sync_one_says_in_async_code_what_to_call(self) -> None:
        with pytest.raises(RuntimeError, match=r"await asend_event\(\.\.\.\) instead"):
            send_event("orders", "note")

    def test_without_any_socket(self) -> None:
        send_event("orders", "note", 1)

    def test_in_a_blocking_test(self) -> None:
        with RouteClient(OnLoop, scope={"log": []}) as client:
            send_event("orders", "pushes", 1)
            assert client.expect_push("told").payload == 1

    @pytest.mark.parametrize(
        ("payload", "error"),
        [(object(), TypeError), (float("nan"), ValueError), ("x" * 1_000_000, ValueError)],
        ids=["object", "nan", "large"],
    )
    async def test_what_cannot_be_sent_raises_at_the_sender(self, payload: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            await asend_event("orders", "note", payload)

    @pytest.mark.parametrize(
        ("name", "error"), [("", ValueError), ("x" * (MAX_NAME_CHARS + 1), ValueError), (None, TypeError)]
    )
    async def test_names_are_checked_at_the_sender(self, name: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="An event's name"):
            await asend_event("orders", name)

    async def test_the_group_is_a_string(self) -> None:
        with pytest.raises(TypeError, match="name must be a string"):
            await asend_event(1, "note")  # type: ignore[arg-type]

    async def test_one_message_reaches_all_sockets_of_the_process(self, layer: Any) -> None:
        sent: list[Any] = []

        async def count(channel: str, message: Any, send: Any = layer.send) -> None:
            sent.append(message)
            await send(channel, message)

        layer.send = count
        async with socket() as one, socket() as two, socket() as three:
            for client in (one, two, three):
                await ready(client)
            await asend_event("orders", "note", 1)
            for client in (one, two, three):
                await logged(client, 1)
        assert [message["type"] for message in sent] == ([EVENT] if type(layer) is Crossing else [])

    async def test_a_message_that_a_layer_brings_twice_is_told_once(self, layer: Any) -> None:
        async def twice(channel: str, message: Any, send: Any = layer.send) -> None:
            await send(channel, message)
            await send(channel, message)

        layer.send = twice
        async with socket() as client:
            await ready(client)
            await asend_event("orders", "note", 1)
            await abroadcast("orders", "pushed")
            await asend_event("orders", "note", 2)
            await logged(client, 1, 2)

    @given(
        group=st.text(max_size=200),
        payload=st.recursive(
            st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        ),
    )
    def test_what_crosses_the_layer_is_what_was_sent(self, group: str, payload: Any) -> None:
        from routesock._groups.envelopes import EventMessage

        message = json.loads(json.dumps(event_of(group, "note", payload)))
        arrived = EventMessage(message).event()
        assert (arrived.name, arrived.payload, arrived.group) == ("note", payload, group)
        assert message["group"] == layer_group(group)


class TestDeclaration:
    def test_the_function_stays_as_it_is(self) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        assert event("paid")(handler) is handler

    @pytest.mark.parametrize("name", ["", None, 1, b"paid"])
    def test_a_name_is_a_string(self, name: Any) -> None:
        assert '@event("order.paid")' in refusal(lambda: event(name))

    def test_a_name_is_not_longer_than_that_of_a_route(self) -> None:
        assert event("x" * MAX_NAME_CHARS)
        assert "at most 128 characters" in refusal(lambda: event("x" * (MAX_NAME_CHARS + 1)))

    def test_a_schema_is_one(self) -> None:
        assert "is not a schema" in refusal(lambda: event("paid", schema="OrderSchema"))

    def test_the_decorator_is_called_with_a_name(self) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        assert '@event("order.paid")' in refusal(lambda: event(handler))  # type: ignore[arg-type]

    def test_two_methods_cannot_claim_one_name(self) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        async def other(self: Any, event: Event) -> None: ...

        message = refusal(lambda: bare(one=event("paid")(handler), two=event("paid")(other)))
        assert "Both Shop.one and Shop.two handle the event 'paid'." in message

    def test_one_name_stands_once_on_a_method(self) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        assert "twice. Remove one." in refusal(lambda: event("paid")(event("paid")(handler)))

    @pytest.mark.parametrize(("upper", "lower"), [(route, event), (event, route)])
    def test_a_method_is_not_both_route_and_event(self, upper: Any, lower: Any) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        assert "Write a method for each." in refusal(lambda: upper("a")(lower("b")(handler)))

    def test_a_route_and_an_event_may_have_one_name(self) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        async def other(self: Any, request: Request) -> None: ...

        shop = bare(one=event("paid")(handler), two=route("paid")(other))
        assert shop._routesock.handlers == {"one", "two"}

    def test_the_prefix_of_routes_is_not_one_of_events(self) -> None:
        class Shop(OnLoop):
            route_prefix = "shop."

        assert "note" in Shop._routesock.events

    def test_stacked_marks_are_several_events(self) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        shop = bare(handler=event("paid")(event("shipped")(handler)))
        assert {*shop._routesock.events} == {"paid", "shipped"}

    async def test_an_override_without_a_mark_keeps_the_marks(self) -> None:
        class Louder(OnLoop):
            async def on_note(self, event: Event) -> None:
                self.scope["log"].append(event.payload.upper())

        async with socket(Louder) as client:
            await ready(client)
            await asend_event("orders", "note", "quiet")
            await logged(client, "QUIET")

    def test_none_removes_an_event(self) -> None:
        class Silent(OnLoop):
            on_note: ClassVar[Any] = None

        assert "note" not in Silent._routesock.events
        assert "on_note" not in Silent._routesock.handlers

    def test_an_override_with_another_mark_has_that_one_alone(self) -> None:
        class Other(OnLoop):
            @route("note")
            async def on_note(self, request: Request) -> None: ...  # type: ignore[override]

        assert "note" not in Other._routesock.events
        assert "note" in Other._routesock.plans

    @pytest.mark.parametrize("attr", ["connect", "websocket_note", "channel_name"])
    def test_the_names_of_channels_are_taken(self, attr: str) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        assert "cannot be an event" in refusal(lambda: bare(**{attr: event("paid")(handler)}))

    def test_the_signature_is_checked(self) -> None:
        async def handler(self: Any) -> None: ...

        message = refusal(lambda: bare(handler=event("paid")(handler)))  # type: ignore[arg-type]
        assert "Write `def handler(self, event)`." in message

    @pytest.mark.parametrize("wait", [True, False])
    def test_generators_are_refused(self, wait: bool) -> None:
        async def one(self: Any, event: Event) -> Any:
            yield 1

        def two(self: Any, event: Event) -> Any:
            yield 1

        assert "yields" in refusal(lambda: bare(handler=event("paid")(one if wait else two)))

    def test_an_async_handler_on_a_sync_consumer_is_checked_like_a_routes(self) -> None:
        async def handler(self: Any, event: Event) -> None: ...

        cls: Any = type("AsyncOnSync", (InThread,), {"handler": event("paid")(handler)})
        told = [message.msg for message in checks.check_consumers(None) if message.obj is cls]
        assert any("AsyncOnSync.handler is async on a sync consumer" in message for message in told)

    def test_an_event_does_not_show_its_payload(self) -> None:
        assert repr(Event("paid", {"card": "secret"}, "orders")) == "<Event 'paid' in 'orders'>"
