"""What the Python client does that no transcript says: its own API, its buffers, and its WebSocket."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from pydantic import BaseModel
from websockets.asyncio.server import Server, ServerConnection, serve

from routesock.client import (
    Ask,
    Client,
    ConnectionLost,
    IncomingFrame,
    OutgoingFrame,
    Push,
    RouteError,
    Snapshot,
    StreamOverflow,
    Why,
)
from tests.clients.world import World, settle

pytestmark = pytest.mark.asyncio


def sent_by(world: World) -> list[tuple[Any, Any]]:
    return [(frame["route"], frame.get("payload")) for frame in world.ws.take()]


def of_topic(topic: str, payload: Any) -> dict[str, Any]:
    return {"route": "said", "payload": payload, "headers": {"Topic": topic}}


class TestClient:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://example.com/ws/?a=1#x", "wss://example.com/ws/?a=1"),
            ("http://[::1]:80/", "ws://[::1]:80/"),
            ("wss://example.com", "wss://example.com"),
        ],
    )
    async def test_an_http_url_is_that_of_a_websocket(self, url: str, expected: str) -> None:
        world = World(url)
        await world.open()
        assert world.ws.url == expected

    @pytest.mark.parametrize("url", ["/ws/", "ftp://example.com/", "ws://", "example.com"])
    async def test_another_url_is_an_error(self, url: str) -> None:
        with pytest.raises(ValueError, match="is not the URL of a WebSocket"):
            Client(url)

    async def test_unknown_keys_are_an_error(self) -> None:
        with pytest.raises(TypeError, match=r"Unknown keys: uuid\."):
            World(keys={"uuid": "id"})

    async def test_async_with_connects_and_closes(self) -> None:
        world = World()
        async with world.client as client:
            await world.ws.accept()
            assert client.state == "open"
        assert world.states == ["connecting", "open", "closed"]
        assert world.clock.timers == []

    async def test_wait_open_waits_and_raises_when_there_will_be_no_connection(self) -> None:
        world = World()
        waiting = asyncio.create_task(world.client.wait_open())
        await world.open()
        await waiting
        await world.client.wait_open()
        await world.ws.drop(4403)
        with pytest.raises(ConnectionLost, match="4403"):
            await world.client.wait_open()

    async def test_max_tries_attempts_in_a_row_close_it(self) -> None:
        world = World(max_tries=2)
        world.client.connect()
        await world.ws.drop()
        await world.clock.advance(60)
        await world.ws.drop()
        assert world.client.state == "closed"
        assert len(world.transports) == 2

    async def test_a_transport_that_cannot_be_opened_is_tried_again(self) -> None:
        failure = OSError("No network.")

        def fails(*args: Any) -> Any:
            raise failure

        world = World(open_transport=fails)
        world.client.connect()
        assert world.client.state == "waiting"
        assert world.client.why is not None
        assert world.client.why.cause is failure

    async def test_a_timeout_says_why_there_is_no_connection(self) -> None:
        world = World()
        world.client.connect()
        await world.ws.drop(1013, "Busy.")
        call = asyncio.create_task(world.client.call("x", timeout=0.1))
        await world.clock.advance(0.1)
        with pytest.raises(TimeoutError, match=r"x: not sent in 0\.1 s: no connection\. \[1013 Busy\.\]") as raised:
            await call
        assert isinstance(raised.value.__cause__, ConnectionLost)
        assert (raised.value.__cause__.sent, raised.value.__cause__.why) == (False, world.client.why)

    async def test_a_timeout_says_whether_the_call_was_sent(self) -> None:
        world = World()
        await world.open()
        sent = [asyncio.create_task(world.client.call("x", timeout=0.2)) for _ in range(32)]
        behind = asyncio.create_task(world.client.call("behind", timeout=0.1))
        await world.clock.advance(0.1)
        with pytest.raises(TimeoutError, match=r"^behind: not sent in 0\.1 s$"):
            await behind
        await world.clock.advance(0.1)
        errors = await asyncio.gather(*sent, return_exceptions=True)
        assert {str(error) for error in errors} == {"x: no reply in 0.2 s"}

    async def test_a_call_that_waits_to_be_sent_again_may_have_run(self) -> None:
        world = World()
        await world.open()
        calls = [asyncio.create_task(world.client.call("x", timeout=timeout, idempotent=True)) for timeout in (0.1, 5)]
        await world.clock.advance(0)
        await world.ws.drop(1013, "Busy.")
        await world.clock.advance(0.1)
        with pytest.raises(TimeoutError, match=r"^x: no reply in 0\.1 s: no connection\. \[1013 Busy\.\]$"):
            await calls[0]
        world.client.close()
        with pytest.raises(ConnectionLost) as raised:
            await calls[1]
        assert raised.value.sent

    async def test_a_call_that_the_server_was_too_busy_to_run_counts_as_not_sent(self) -> None:
        world = World()
        ws = await world.open()
        call = asyncio.create_task(world.client.call("x"))
        await world.clock.advance(0)
        await ws.receive({"uuid": 1, "route": "x", "status": 429, "payload": {"code": "too_many_in_flight"}})
        world.client.close()
        with pytest.raises(ConnectionLost) as raised:
            await call
        assert not raised.value.sent

    async def test_a_listener_of_states_may_connect_and_close(self) -> None:
        world = World()
        world.client.on_state(lambda state, why: world.client.close() if state == "waiting" else None)
        await world.open()
        await world.ws.drop()
        assert world.client.state == "closed"
        assert world.clock.timers == []
        closing = World()
        closing.client.on_state(lambda state, why: closing.client.close() if state == "connecting" else None)
        closing.client.connect()
        assert closing.transports == []


class TestPayloads:
    async def test_dates_numbers_and_models_are_encoded(self) -> None:
        @dataclass
        class Point:
            x: Decimal

        class Model(BaseModel):
            at: datetime

        now = datetime(2026, 1, 2, tzinfo=UTC)
        world = World()
        await world.open()
        for payload in (now, now.date(), UUID(int=1), Point(Decimal("1.5")), Model(at=now), {"text": "é"}):
            assert world.client.notify("x", payload)
        assert [payload for _, payload in sent_by(world)] == [
            "2026-01-02T00:00:00+00:00",
            "2026-01-02",
            "00000000-0000-0000-0000-000000000001",
            {"x": "1.5"},
            {"at": "2026-01-02T00:00:00Z"},
            {"text": "é"},
        ]

    async def test_a_flat_frame_has_the_members_of_a_dataclass(self) -> None:
        @dataclass
        class Point:
            x: int

        world = World(keys={"payload": None})
        await world.open()
        world.client.notify("x", Point(1))
        assert world.ws.take() == [{"route": "x", "x": 1}]

    @pytest.mark.parametrize("payload", [object(), float("nan"), {1j: 1}])
    async def test_what_json_cannot_say_is_the_callers_error(self, payload: Any) -> None:
        world = World()
        await world.open()
        with pytest.raises((TypeError, ValueError)):
            await world.client.call("x", payload)
        assert world.client.state == "open"
        assert world.ws.take() == []

    async def test_a_key_for_idempotency_is_sent(self) -> None:
        world = World()
        await world.open()
        call = asyncio.create_task(world.client.call("pay", idempotent="key-1"))
        await settle()
        frame = {"route": "pay", "uuid": 1, "headers": {"Idempotency-Key": "key-1"}}
        assert world.ws.take() == [frame]
        await world.ws.drop()
        await world.clock.advance(0.5)
        await world.ws.accept()
        assert world.ws.take() == [frame]
        await world.ws.receive({"uuid": 1, "route": "pay", "status": 200, "payload": "paid"})
        assert await call == "paid"

    async def test_the_queue_has_256_kib(self) -> None:
        world = World()
        first = asyncio.create_task(world.client.call("x", "é" * (128 * 1024 - 30)))
        await settle()
        with pytest.raises(ConnectionLost, match="Not sent"):
            await world.client.call("x", "a" * 100)
        assert not first.done()
        first.cancel()

    async def test_a_dialect_of_your_own(self) -> None:
        class Lists:
            ids = True

            def encode(self, frame: OutgoingFrame) -> bytes:
                return json.dumps([frame.route, frame.id, frame.payload]).encode()

            def decode(self, data: str | bytes) -> IncomingFrame | None:
                route, id_, status, payload = json.loads(data)
                return None if route == "noise" else IncomingFrame(route=route, id=id_, status=status, payload=payload)

        world = World(dialect=Lists())
        call = asyncio.create_task(world.client.call("x", 1))
        await settle()
        await world.open()
        assert world.ws.sent == [b'["x", 1, 1]']
        await world.ws.receive(b'["noise", null, null, null]', b'["x", 1, 200, "answer"]')
        assert await call == "answer"


class TestAnswers:
    async def test_a_handler_sees_for_how_long_the_server_waits(self) -> None:
        world = World()
        await world.open()
        seen: list[Ask[str]] = []
        world.client.answer("confirm", seen.append)
        await world.ws.receive({"route": "confirm", "uuid": "@1", "payload": "?", "headers": {"Timeout": 10}})
        await world.ws.receive({"route": "confirm", "uuid": "@2", "payload": "?"})
        assert seen[0] == Ask(route="confirm", payload="?", headers={"Timeout": 10})
        assert [ask.timeout for ask in seen] == [10, None]

    async def test_an_answer_that_cannot_be_encoded_is_a_500(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World()
        await world.open()
        world.client.answer("confirm", lambda ask: object())
        await world.ws.receive({"route": "confirm", "uuid": "@1", "payload": None})
        assert world.ws.take() == [{"route": "ANSWER", "uuid": "@1", "status": 500}]
        assert "The answer to 'confirm' failed" in caplog.text

    async def test_a_refusal_that_cannot_be_encoded_is_a_500(self, caplog: pytest.LogCaptureFixture) -> None:
        def refuse(ask: Ask[Any]) -> None:
            raise RouteError(None, 409, {"detail": object()})

        world = World()
        await world.open()
        world.client.answer("confirm", refuse)
        await world.ws.receive({"route": "confirm", "uuid": "@1", "payload": None})
        assert world.ws.take() == [{"route": "ANSWER", "uuid": "@1", "status": 500}]
        assert "The problem of the answer to 'confirm' cannot be encoded" in caplog.text

    async def test_one_handler_per_name(self) -> None:
        world = World()
        off = world.client.answer("confirm", lambda ask: 1)
        with pytest.raises(ValueError, match="confirm"):
            world.client.answer("confirm", lambda ask: 2)
        off()
        world.client.answer("confirm", lambda ask: 3)
        off()  # does nothing to the second one
        await world.open()
        await world.ws.receive({"route": "confirm", "uuid": "@1", "payload": None})
        assert world.ws.take() == [{"route": "ANSWER", "uuid": "@1", "status": 200, "payload": 3}]


class TestPushes:
    async def test_the_payloads_of_a_name_until_the_loop_is_left(self) -> None:
        world = World()
        await world.open()
        async with world.client.pushes("said") as pushes:
            await world.ws.receive({"route": "said", "payload": 1}, {"route": "said", "payload": 2})
            assert [await anext(pushes), await anext(pushes)] == [1, 2]
        rest: list[Push] = []
        world.client.on("*", rest.append)
        await world.ws.receive({"route": "said", "payload": 3})
        assert rest == [Push(route="said", payload=3)]

    async def test_a_loop_that_is_left_without_a_block_ends_with_its_iterator(self) -> None:
        world = World()
        await world.open()
        await world.ws.receive()
        stream = world.client.stream("ticks")
        await world.ws.receive({"uuid": 1, "route": "ticks", "status": 206, "payload": 0})
        assert await anext(stream) == 0
        del stream
        await settle()
        assert sent_by(world) == [("ticks", None), ("CANCEL", None)]

    async def test_they_end_with_the_client_and_raise_if_the_server_closes_it(self) -> None:
        for close, raised in ((None, StopAsyncIteration), (4403, ConnectionLost)):
            world = World()
            await world.open()
            pushes = world.client.pushes("said")
            await world.ws.receive({"route": "said", "payload": 1})
            if close is None:
                world.client.close()
            else:
                await world.ws.drop(close)
            assert await anext(pushes) == 1
            with pytest.raises(raised):
                await anext(pushes)

    async def test_1000_that_are_not_read_end_it(self) -> None:
        world = World()
        await world.open()
        pushes, stream = world.client.pushes("said"), world.client.stream("flood")
        world.ws.take()
        await world.ws.receive(*[{"route": "said", "payload": n} for n in range(1_001)])
        await world.ws.receive(*[{"uuid": 1, "status": 206, "payload": n} for n in range(1_001)])
        assert sent_by(world) == [("CANCEL", None)]
        for items in (pushes, stream):
            assert [await anext(items) for _ in range(1_000)] == [*range(1_000)]
            with pytest.raises(StreamOverflow):
                await anext(items)
            assert [item async for item in items] == []

    async def test_several_readers_share_the_items_and_one_may_be_cancelled(self) -> None:
        world = World()
        await world.open()
        pushes = world.client.pushes("said")
        readers = [asyncio.create_task(anext(pushes)) for _ in range(3)]  # type: ignore[arg-type]
        await settle()
        readers[0].cancel()
        await settle()
        world.ws.events.received('{"route": "said", "payload": 1}')
        readers[1].cancel()  # it was woken already
        await settle()
        assert await readers[2] == 1

    async def test_a_listener_that_fails_is_logged_and_harms_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World()
        await world.open()

        def fails(*args: object) -> None:
            raise RuntimeError("A fault of the application.")

        heard: list[Push] = []
        off = world.client.on("said", fails)
        world.client.on("said", heard.append)
        world.client.on_state(fails)
        await world.ws.receive({"route": "said", "payload": 1})
        off()
        off()
        await world.ws.receive({"route": "said", "payload": 2})
        await world.ws.drop()
        assert [push.payload for push in heard] == [1, 2]
        assert [record.exc_info is not None for record in caplog.records] == [True, True]

    async def test_an_async_listener_is_an_error(self) -> None:
        async def listener(push: Push) -> None: ...

        with pytest.raises(TypeError, match=r"pushes\(\)"):
            World().client.on("said", listener)

    async def test_a_frame_that_cannot_be_read_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World()
        await world.open()
        await world.ws.receive("no JSON", "[1]", '{"route": null}', "{}", '{"uuid": "x", "status": 200}')
        assert len(caplog.records) == 2
        assert world.client.state == "open"

    async def test_the_error_of_a_notification_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World(on_error=None)
        await world.open()
        await world.ws.receive({"uuid": None, "route": "typing", "status": 422, "payload": {"detail": "No."}})
        assert "A notification failed: typing: 422 No." in caplog.text

    async def test_a_notification_is_not_sent_while_a_mebibyte_waits(self) -> None:
        world = World()
        await world.open()
        world.ws.unsent = 1024 * 1024
        assert world.client.notify("typing") is False


class TestSubscriptions:
    async def test_the_first_snapshot_is_an_item_if_it_comes_after_pushes_that_were_missed(self) -> None:
        world = World()
        await world.open()
        entering = asyncio.create_task(world.client.subscribe("a", since="e:1").__aenter__())
        await settle()
        assert sent_by(world) == [("SUBSCRIBE", {"topic": "a", "since": "e:1"})]
        recovered = {"uuid": 1, "status": 204, "payload": None, "headers": {"Position": "e:1", "Recovered": True}}
        await world.ws.receive(recovered, of_topic("a", 2))
        room = await entering
        with pytest.raises(RuntimeError, match="since"):
            _ = room.snapshot
        await world.ws.drop()
        await world.clock.advance(0.5)
        await world.ws.accept()
        await world.ws.receive({"uuid": 2, "status": 200, "payload": "new", "headers": {"Recovered": False}})
        assert [(await anext(room)).payload, await anext(room)] == [
            2,
            Snapshot(payload="new", headers={"Recovered": False}),
        ]
        assert room.snapshot == "new"

    async def test_a_later_snapshot_is_an_item(self) -> None:
        world = World()
        await world.open()
        entering = asyncio.create_task(world.client.subscribe("a").__aenter__())
        await settle()
        await world.ws.receive({"uuid": 1, "status": 200, "payload": "old"}, of_topic("a", 1))
        room = await entering
        assert (room.topic, room.snapshot, room.ended) == ("a", "old", None)
        await world.ws.drop()
        await world.clock.advance(0.5)
        await world.ws.accept()
        await world.ws.receive({"uuid": 2, "status": 200, "payload": "new"})
        assert room.snapshot == "new"
        push, snapshot = await anext(room), await anext(room)
        assert (push.payload, snapshot) == (1, Snapshot(payload="new"))
        with pytest.raises(RuntimeError, match="entered once"):
            await room.__aenter__()
        await room.__aexit__(None, None, None)

    async def test_there_is_no_snapshot_outside_of_the_block(self) -> None:
        with pytest.raises(RuntimeError, match="async with"):
            World().client.subscribe("a").snapshot  # noqa: B018

    async def test_leaving_while_it_is_entered_unsubscribes(self) -> None:
        world = World()
        await world.open()
        entering = asyncio.create_task(world.client.subscribe("a").__aenter__())
        await settle()
        entering.cancel()
        await settle()
        assert sent_by(world) == [("SUBSCRIBE", {"topic": "a"}), ("UNSUBSCRIBE", {"topic": "a"})]

    async def test_a_client_that_is_closed_ends_it(self) -> None:
        world = World()
        await world.open()
        entering = asyncio.create_task(world.client.subscribe("a").__aenter__())
        await settle()
        await world.ws.receive({"uuid": 1, "status": 200, "payload": 1})
        room = await entering
        other = asyncio.create_task(world.client.subscribe("b").__aenter__())
        await settle()
        await world.ws.drop(4403)
        with pytest.raises(ConnectionLost):
            await anext(room)
        with pytest.raises(ConnectionLost):
            await other
        with pytest.raises(ConnectionLost):
            await world.client.subscribe("c").__aenter__()
        with pytest.raises(ConnectionLost):
            await anext(world.client.stream("x"))

    async def test_already_subscribed_is_no_error(self) -> None:
        world = World()
        await world.open()
        entering = asyncio.create_task(world.client.subscribe("a").__aenter__())
        await settle()
        await world.ws.receive({"uuid": 1, "status": 409, "payload": {"code": "already_subscribed"}})
        await world.clock.advance(20)
        assert sent_by(world) == [("SUBSCRIBE", {"topic": "a"})]
        entering.cancel()

    async def test_a_subscribe_without_a_reply_is_tried_again(self) -> None:
        world = World()
        await world.open()
        entering = asyncio.create_task(world.client.subscribe("a").__aenter__())
        for seconds in (20, 15, 0.5):
            await world.clock.advance(seconds)
            await world.ws.receive({"route": "news"})
        routes = [route for route, _ in sent_by(world)]
        assert routes == ["SUBSCRIBE", "CANCEL", "SUBSCRIBE"]
        entering.cancel()


class TestTokens:
    async def test_one_as_a_subprotocol_is_offered_beside_others(self) -> None:
        for own, expected in (((), ["routesock", "bearer.secret"]), (("chat",), ["chat", "bearer.secret"])):
            world = World(token="secret", auth="subprotocol", subprotocols=own)
            world.client.connect()
            await settle()
            assert world.ws.subprotocols == expected
            await world.ws.accept()
            assert (world.ws.take(), world.client.state) == ([], "open")

    async def test_none_offers_nothing(self) -> None:
        world = World(token=lambda refused: None, auth="subprotocol")
        world.client.connect()
        await settle()
        assert world.ws.subprotocols == []

    @pytest.mark.parametrize("auth", ["frame", "subprotocol"])
    async def test_a_function_that_fails_leads_to_another_try(self, auth: str) -> None:
        failure = OSError("offline")

        def token(refused: bool) -> str:
            raise failure

        world = World(token=token, auth=auth)
        world.client.connect()
        await settle()
        if auth == "frame":
            await world.ws.accept()
        assert world.client.why is not None
        assert (world.client.state, world.client.why.cause) == ("waiting", failure)

    async def test_a_function_that_hangs_is_given_up_and_cancelled(self) -> None:
        cancelled: list[bool] = []

        async def token(refused: bool) -> str:
            try:
                return await asyncio.Future()
            finally:
                cancelled.append(refused)

        world = World(token=token)
        await world.open()
        await world.clock.advance(10)
        assert (world.client.state, cancelled) == ("waiting", [False])

    async def test_a_refresh_that_fails_leaves_the_socket(self, caplog: pytest.LogCaptureFixture) -> None:
        def token(refused: bool, given: list[str] = ["secret"]) -> str:  # noqa: B006
            return given.pop()

        world = World(token=token)
        await world.open()
        expires = world.clock.now() + 4
        await world.ws.receive({"uuid": 1, "route": "AUTH", "status": 200, "payload": {"expires": expires}})
        await world.clock.advance(3)
        assert world.client.state == "open"
        assert "The token was not refreshed: IndexError" in caplog.text

    async def test_they_are_neither_in_errors_nor_in_logs(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        world = World(token="secret")
        await world.open()
        await world.ws.receive({"uuid": 1, "route": "AUTH", "status": 401, "payload": {"detail": "No."}})
        assert world.client.state == "closed"
        with pytest.raises(ConnectionLost) as lost:
            await world.client.call("x")
        assert "secret" not in f"{lost.value} {world.client.why} {world.ws.url} {caplog.text}"


async def test_errors_can_be_pickled() -> None:
    for error in (RouteError("x", 409, {"code": "taken", "title": "Conflict"}), ConnectionLost(True, Why(code=1006))):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest_asyncio.fixture
async def received() -> AsyncIterator[tuple[Server, list[Any]]]:
    """A WebSocket server that keeps requests and frames, and answers calls of ``echo``."""
    found: list[Any] = []

    async def keep(connection: ServerConnection) -> None:
        assert connection.request is not None
        found.append(connection.request.headers)
        async for text in connection:
            frame = json.loads(text)
            found.append(frame)
            if frame["route"] == "echo":
                await connection.send(json.dumps({**frame, "status": 200}))
            if frame["route"] == "close":
                await connection.close(4403, "Enough.")

    async with serve(keep, "127.0.0.1", 0) as server:
        yield server, found


def url_of(server: Server) -> str:
    return f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


class TestWebSocket:
    async def test_what_was_sent_is_written_before_the_close(self, received: tuple[Server, list[Any]]) -> None:
        server, found = received
        async with Client(url_of(server), headers={"Cookie": "a=b"}, connect_options={"proxy": None}) as client:
            await client.wait_open()
            for n in range(500):
                assert client.notify("x", n)
        while len(found) < 501:  # noqa: ASYNC110  (the server reads on by itself)
            await asyncio.sleep(0.01)
        headers, *frames = found
        assert (headers["Cookie"], headers["Origin"]) == ("a=b", url_of(server).replace("ws", "http").rstrip("/"))
        assert [frame["payload"] for frame in frames] == [*range(500)]

    async def test_a_close_frame_has_code_and_reason(self, received: tuple[Server, list[Any]]) -> None:
        server, _ = received
        async with Client(url_of(server), connect_options={"proxy": None}) as client:
            assert await client.call("echo", "é") == "é"
            with pytest.raises(ConnectionLost, match=r"\[4403 Enough\.\]"):
                await client.call("close")
            assert client.state == "closed"

    async def test_closing_while_it_connects_leaves_nothing(self, received: tuple[Server, list[Any]]) -> None:
        server, _ = received
        client = Client(url_of(server), connect_options={"proxy": None}).connect()
        client.close()
        client.close()
        await client.wait_closed()
        assert len(asyncio.all_tasks()) <= 2 + len(server.connections)

    async def test_a_server_that_is_not_there_is_the_cause(self, received: tuple[Server, list[Any]]) -> None:
        server, _ = received
        url = url_of(server)
        server.close()
        await server.wait_closed()
        async with Client(url, max_tries=1, connect_options={"proxy": None}) as client:
            with pytest.raises(ConnectionLost) as lost:
                await client.call("echo")
        assert lost.value.why is not None
        assert isinstance(lost.value.why.cause, OSError)
