"""What a consumer overrides of Channels goes on meaning what it meant."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import date
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from django.core.exceptions import PermissionDenied

from routesock import Reply, RouteMixin, route

from .driver import Layer, Socket, problems, until
from .replay import record, replay

TEXTS = [
    "",
    "plain",
    "not JSON {",
    '{"a": 1}',
    "[]",
    "NaN",
    "x" * 100_000,
    "Grüße \ud800",
    "\x00",
    '{"route": "unknown"}',
]


class Routes:
    """Routes that each of the consumers below has."""

    scope: dict[str, Any]

    @route("answer")
    async def answer(self, request: Any) -> Any:
        return {"got": request.payload}

    @route("answer.sync")
    def answer_sync(self, request: Any) -> Any:
        return {"got": request.payload}

    @route("wait")
    async def wait(self, request: Any) -> Any:
        await self.scope["gate"].wait()
        return {"waited": True}

    @route("fail")
    async def fail(self, request: Any) -> Any:
        raise ValueError("secret")


def note(consumer: Any, *entry: Any) -> None:
    consumer.scope["log"].append(entry)


def of(consumer: Any, **scope: Any) -> Socket:
    return Socket(consumer.as_asgi(), **{"log": [], **scope})


# Raw consumers: every foreign frame belongs to ``receive``


class AsyncRaw(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        note(self, text_data, bytes_data)
        if text_data is not None:
            await self.send(text_data=f"text:{text_data}")
        else:
            await self.send(bytes_data=b"bytes:" + (bytes_data or b"none"))


class SyncRaw(WebsocketConsumer):
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        note(self, text_data, bytes_data)
        if text_data is not None:
            self.send(text_data=f"text:{text_data}")
        else:
            self.send(bytes_data=b"bytes:" + (bytes_data or b"none"))


class AsyncOwnReceive(AsyncJsonWebsocketConsumer):
    """A JSON consumer whose ``receive`` splits frames into lines before they are decoded."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        note(self, text_data, bytes_data)
        for line in (text_data or "").splitlines() or [""]:
            try:
                await super().receive(text_data=line, bytes_data=bytes_data, origin="receive", **kwargs)
            except ValueError as exc:
                await self.send_json({"refused": type(exc).__name__})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"content": content, **kwargs})


class SyncOwnReceive(JsonWebsocketConsumer):
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        note(self, text_data, bytes_data)
        for line in (text_data or "").splitlines() or [""]:
            try:
                super().receive(text_data=line, bytes_data=bytes_data, origin="receive", **kwargs)
            except ValueError as exc:
                self.send_json({"refused": type(exc).__name__})

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json({"content": content, **kwargs})


class AsyncOwnWebsocketReceive(AsyncWebsocketConsumer):
    async def websocket_receive(self, message: Any) -> None:
        note(self, message.get("text"), message.get("bytes"))
        if message.get("text") is None:
            await self.send(bytes_data=message["bytes"] * 2)
        else:
            await self.send(text_data=repr(message["text"]))


class SyncOwnWebsocketReceive(WebsocketConsumer):
    def websocket_receive(self, message: Any) -> None:
        note(self, message.get("text"), message.get("bytes"))
        if message.get("text") is None:
            self.send(bytes_data=message["bytes"] * 2)
        else:
            self.send(text_data=repr(message["text"]))


RAW = [AsyncRaw, SyncRaw, AsyncOwnReceive, SyncOwnReceive, AsyncOwnWebsocketReceive, SyncOwnWebsocketReceive]


def routed(plain: type) -> Any:
    return type(f"Routed{plain.__name__}", (RouteMixin, Routes, plain), {"__module__": __name__})


async def play_raw(socket: Socket) -> tuple[list[Any], list[Any]]:
    """Send text and binary frames one after the other; gives what was sent, and what the consumer has seen."""
    async with socket:
        for text in TEXTS:
            before = len(socket.sent)
            socket.text(text)
            await until(lambda before=before: len(socket.sent) > before, repr(text[:20]))
        for data in (b"", b"\xff\x00", b'{"route": "answer"}', b"x" * 100_000):
            before = len(socket.sent)
            socket.binary(data)
            await until(lambda before=before: len(socket.sent) > before, repr(data[:20]))
        before = len(socket.sent)
        socket.feed({"type": "websocket.receive", "text": None, "bytes": b"both"})
        socket.feed({"type": "websocket.receive", "text": "both", "bytes": None})
        await until(lambda: len(socket.sent) == before + 2)
    return socket.sent, socket.log


@pytest.mark.parametrize("plain", RAW)
async def test_own_receive_gets_every_foreign_frame(plain: type) -> None:
    """``receive`` and ``websocket_receive`` of the class get text, empty, non-JSON, binary and oversized frames."""
    assert await play_raw(of(routed(plain))) == await play_raw(of(plain))


@pytest.mark.parametrize("plain", [AsyncRaw, SyncRaw, AsyncOwnReceive, SyncOwnReceive])
async def test_own_receive_sees_no_routed_frame(plain: type) -> None:
    """Routed frames, PING and CANCEL, and refusals of routed frames do not pass through ``receive``."""
    async with of(routed(plain)) as socket:
        assert (await socket.call("answer", 1, "x"))["payload"] == {"got": "x"}
        assert (await socket.call("answer.sync", 2, "x"))["payload"] == {"got": "x"}
        await socket.ping()
        socket.cancel(1)
        socket.text('{"route": "answer", "uuid": []}')
        await until(lambda: (None, 400) in socket.statuses())
        assert socket.log == []


@pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer, AsyncJsonWebsocketConsumer])
async def test_without_own_code_everything_foreign_is_refused(base: type) -> None:
    """A class that has no code for foreign frames answers 400 or 404 itself, and the socket lives."""
    async with of(routed(base)) as socket:
        socket.text("not JSON", "", "[]", '{"route": "unknown", "uuid": 1}', '{"uuid": 2}', '{"route": 3, "uuid": 3}')
        socket.binary(b"{}")
        socket.text('{"route": "PONG"}', "NaN", "x" * 70_000)
        await socket.read(9)
        assert problems(socket.frames) == [
            (400, "parse_error", None),
            (400, "parse_error", None),
            (400, "invalid_envelope", None),
            (404, "unknown_route", 1),
            (400, "invalid_envelope", 2),
            (400, "invalid_envelope", 3),
            (400, "parse_error", None),
            (400, "parse_error", None),
            (413, "too_large", None),
        ]
        assert (await socket.call("answer", 4))["status"] == 200


# Checks in dispatch and websocket_receive


class AsyncDispatch:
    async def dispatch(self, message: Any) -> None:
        if message["type"] == "websocket.receive":
            await asyncio.sleep(0)
            examine(self, message)
        await super().dispatch(message)  # type: ignore[misc]


class AsyncWebsocketReceive:
    async def websocket_receive(self, message: Any) -> None:
        examine(self, message)
        await super().websocket_receive(message)  # type: ignore[misc]


class SyncWebsocketReceive:
    def websocket_receive(self, message: Any) -> None:
        examine(self, message)
        super().websocket_receive(message)  # type: ignore[misc]


class SyncDispatchAsync:
    """The ``dispatch`` of a sync consumer, written as a coroutine."""

    async def dispatch(self, message: Any) -> None:
        if message["type"] == "websocket.receive":
            examine(self, message)
        await super().dispatch(message)  # type: ignore[misc]


class SyncDispatchInThread:
    """The ``dispatch`` of a sync consumer that runs in the thread, as that of Channels."""

    @database_sync_to_async
    def dispatch(self, message: Any) -> None:
        if message["type"] == "websocket.receive":
            examine(self, message)
        getattr(self, message["type"].replace(".", "_"))(message)


def examine(consumer: Any, message: Any) -> None:
    """A check that a team has put in front of everything."""
    text = message.get("text") or ""
    note(consumer, text)
    if "forbidden" in text:
        raise PermissionDenied("Not here.")


class AsyncForeign(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"foreign": content})


class SyncForeign(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json({"foreign": content})


def checked_by(check: type) -> type:
    """A plain consumer with ``check`` in front."""
    return type(check.__name__, (check, AsyncForeign if check.__name__.startswith("Async") else SyncForeign), {})


CHECKS = [AsyncDispatch, AsyncWebsocketReceive, SyncWebsocketReceive, SyncDispatchAsync, SyncDispatchInThread]
CHECKED = [checked_by(check) for check in CHECKS]


@pytest.mark.parametrize("where", ["right", "left"])
@pytest.mark.parametrize("check", CHECKS)
async def test_check_sees_every_frame_but_ping_and_cancel(check: type, where: str) -> None:
    """A check in ``dispatch`` or ``websocket_receive`` sees each routed, foreign and refused frame once, in order."""
    if where == "right":
        consumer = routed(checked_by(check))
    else:
        base = routed(AsyncForeign if check.__name__.startswith("Async") else SyncForeign)
        consumer = type("Left", (check, base), {"__module__": __name__})
    texts = [
        '{"route": "answer", "uuid": 1}',
        '{"route": "PING", "uuid": 2}',
        '{"foreign": 3}',
        '{"route": "answer.sync", "uuid": 4}',
        '{"route": "CANCEL", "uuid": 5}',
        '{"route": "unknown", "uuid": 6}',
        '{"route": "answer", "uuid": true}',
        '{"route": "fail", "uuid": 7}',
        "not JSON",
        "[]",
        "",
        '{"route": "answer", "uuid": 8, "payload": "' + "x" * 70_000 + '"}',
        '{"route": "answer", "uuid": 9}',
    ]
    async with of(consumer) as socket:
        socket.text(*texts)
        await socket.reply(9)
        assert [text for (text,) in socket.log] == [
            text for text in texts if "PING" not in text and "CANCEL" not in text
        ]
        assert sorted(socket.statuses(), key=repr) == sorted(
            [(1, 200), (4, 200), (None, 400), (7, 500), (None, 400), (None, 400), (8, 413), (9, 200)], key=repr
        )
        assert [frame["foreign"] for frame in socket.frames if "foreign" in frame] == [
            {"foreign": 3},
            {"route": "unknown", "uuid": 6},
            [],
        ]


@pytest.mark.parametrize("checked", CHECKED)
async def test_check_that_raises_keeps_the_handler_from_running(checked: type) -> None:
    """A check that raises is answered with the status of its exception, and neither route nor consumer is called."""
    async with of(routed(checked)) as socket:
        reply = await socket.call("answer", 1, "forbidden")
        assert problems([reply]) == [(403, "permission_denied", 1)]
        socket.json({"foreign": "forbidden"})
        socket.binary(b"forbidden")
        await until(lambda: len(socket.texts) == 3)
        assert problems(socket.frames[1:]) == [(500, "internal_error", None), (400, "parse_error", None)]
        assert (await socket.call("answer", 2))["status"] == 200


@pytest.mark.parametrize("checked", CHECKED)
async def test_checked_consumers_keep_order_ping_and_cancel(checked: type) -> None:
    """Behind a check requests run in order, while PING and CANCEL get through and an id in flight is a 409."""
    gate = asyncio.Event()
    async with of(routed(checked), gate=gate) as socket:
        socket.requests("wait", 1, 2, 2)
        socket.requests("answer", 3)
        await socket.ping()
        socket.cancel(2)
        assert (await socket.reply(2))["status"] == 499
        gate.set()
        await socket.reply(3)
        # The check has to see a refused frame as well, so it keeps its place in the order.
        assert socket.statuses() == [(2, 499), (1, 200), (2, 409), (3, 200)]


@pytest.mark.parametrize("checked", CHECKED)
async def test_cancel_and_deadline_of_a_running_request_behind_a_check(checked: type) -> None:
    """CANCEL and the deadline end a running request of a checked consumer too, and the next one runs."""
    gate = asyncio.Event()
    async with of(routed(checked), gate=gate) as socket:
        # Its own deadline: that of all requests would be the next one's, too, which a busy machine may miss.
        socket.json({"route": "wait", "uuid": 1, "headers": {"Request-Timeout": 0.5}})
        assert (await socket.reply(1))["status"] == 504
        socket.requests("answer", 2)
        assert (await socket.reply(2))["status"] == 200
    async with of(routed(checked), gate=gate) as socket:
        socket.requests("wait", 1)
        await until(lambda: socket.log)
        await socket.all_read()
        socket.cancel(1)
        assert (await socket.reply(1))["status"] == 499
        assert (await socket.call("answer", 2))["status"] == 200
        assert len(socket.replies(1)) == 1


@pytest.mark.parametrize("checked", CHECKED)
async def test_checked_foreign_frames_read_the_same(checked: Any, layer: Layer) -> None:
    """Foreign frames of a consumer with a check are answered byte for byte as before."""
    texts = [
        '{"a": 1}',
        "[1]",
        "NaN",
        '"x"',
        "null",
        json.dumps("x" * 100_000),
        '{"route": "unknown"}',
        '{"a":"\\ud800"}',
    ]

    def open_socket(consumer: Any) -> Any:
        return lambda: of(consumer)

    recording = await record(open_socket(checked), layer, texts)
    assert await replay(open_socket(routed(checked)), texts, recording) == recording.sent


async def test_check_that_drops_frames_leaves_no_reply() -> None:
    """A ``dispatch`` that swallows a frame swallows a request too: it is not handled, and its id is free again."""

    class Dropping(AsyncJsonWebsocketConsumer):
        async def dispatch(self, message: Any) -> None:
            if "drop" not in (message.get("text") or ""):
                await super().dispatch(message)

    async with of(routed(Dropping)) as socket:
        socket.request("answer", 1, "drop")
        assert (await socket.call("answer", 1, "kept"))["payload"] == {"got": "kept"}
        assert len(socket.texts) == 1


async def test_check_that_closes_ends_the_socket() -> None:
    """A check that closes instead of raising is respected: the request behind it is not handled."""

    class Closing(AsyncJsonWebsocketConsumer):
        async def websocket_receive(self, message: Any) -> None:
            await self.close(4403)

    async with of(routed(Closing)) as socket:
        socket.requests("answer", 1, 2)
        assert await socket.ending() is None
    assert socket.texts == []
    assert socket.closed == {"type": "websocket.close", "code": 4403}


# Encoding, decoding, sending


class AsyncStamped(AsyncJsonWebsocketConsumer):
    """A consumer whose ``encode_json`` adds a field to everything."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"foreign": content})

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        await asyncio.sleep(0)
        return json.dumps({**content, "stamp": "ü"}, ensure_ascii=False, separators=(",", ":"))


class SyncStamped(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json({"foreign": content})

    @classmethod
    def encode_json(cls, content: Any) -> str:
        return json.dumps({**content, "stamp": "ü"}, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("stamped", [AsyncStamped, SyncStamped])
async def test_own_encode_json_spells_every_frame(stamped: type) -> None:
    """Replies, errors, PONG and foreign answers are all spelt by the ``encode_json`` of the class."""
    async with of(routed(stamped)) as socket:
        socket.requests("answer", 1)
        socket.requests("answer.sync", 2)
        socket.requests("fail", 3)
        socket.text("not JSON", '{"route": "answer", "uuid": true}', '{"route": "PING", "uuid": 4}', '{"foreign": 5}')
        socket.requests("answer", 6)
        await socket.read(8)
        assert all(frame["stamp"] == "ü" for frame in socket.frames)
        assert all('","' in text or ('":' in text and ": " not in text.split("detail")[0]) for text in socket.texts)
        assert {(6, 200), (1, 200), (2, 200), (3, 500), (None, 400)} == set(socket.statuses())


@pytest.mark.parametrize("stamped", [AsyncStamped, SyncStamped])
async def test_own_encode_json_that_fails_is_one_500(stamped: type) -> None:
    """A result that the class's own ``encode_json`` cannot spell, or spells over ``MAX_REPLY``, is a 500."""

    class Consumer(routed(stamped)):  # type: ignore[misc]
        @route("object")
        async def object(self, request: Any) -> Any:
            return Reply(object(), status=201)

        @route("large")
        async def large(self, request: Any) -> Any:
            return "ü" * 600_000

    async with of(Consumer) as socket:
        assert problems([await socket.call("object", 1)]) == [(500, "internal_error", 1)]
        assert problems([await socket.call("large", 2)]) == [(500, "internal_error", 2)]
        assert (await socket.call("answer", 3))["status"] == 200


def snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            re.sub("([A-Z])", lambda found: "_" + found[1].lower(), key): snake(item) for key, item in value.items()
        }
    return [snake(item) for item in value] if isinstance(value, list) else value


class AsyncSnake(AsyncJsonWebsocketConsumer):
    """A consumer whose ``decode_json`` turns camelCase keys into snake_case, and waits."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        note(self, content)
        await self.send_json({"foreign": content})

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        await asyncio.sleep(0)
        return snake(json.loads(text_data))


class SyncSnake(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        note(self, content)
        self.send_json({"foreign": content})

    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        return snake(json.loads(text_data))


class AsyncPrefixed(AsyncSnake):
    """A consumer whose frames are no JSON before its own ``decode_json`` has seen them."""

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        return await super().decode_json(text_data.removeprefix("42"))


@pytest.mark.parametrize("decoding", [AsyncSnake, SyncSnake])
async def test_own_decode_json_reads_every_frame(decoding: type) -> None:
    """Routed frames are read by the ``decode_json`` of the class, in the order of their arrival with foreign ones."""
    async with of(routed(decoding)) as socket:
        socket.text('{"route": "answer", "uuid": 1, "payload": {"userName": 1}}')
        socket.text(
            '{"fooBar": 2}', '{"route": "answer.sync", "uuid": 3, "payload": [{"aB": 1}]}', "{", '{"fooBar": NaN}'
        )
        socket.text('{"Route": "answer", "uuid": 4}')
        await socket.ping()
        await until(lambda: len(socket.log) == 3)
        await until(lambda: len(socket.texts) == 7)
        refused = [frame for frame in socket.frames if frame.get("status") == 400]
        rest = [frame for frame in socket.frames if frame.get("route") != "PONG" and frame not in refused]
        assert problems(refused) == [(400, "parse_error", None)]  # which may overtake
        assert rest[0]["payload"] == {"got": {"user_name": 1}}
        assert rest[1] == {"foreign": {"foo_bar": 2}}
        assert rest[2]["payload"] == {"got": [{"a_b": 1}]}
        assert rest[4] == {"foreign": {"_route": "answer", "uuid": 4}}


@pytest.mark.parametrize("decoding", [AsyncSnake, SyncSnake])
async def test_deadline_and_cancel_with_an_own_decode_json(decoding: type, settings: Any) -> None:
    """Where the class decodes by itself, deadlines hold, and CANCEL ends what is running."""
    settings.ROUTESOCK = {"TIMEOUT": 2}  # of all requests, so what only answers has to be done by then, too
    gate = asyncio.Event()
    async with of(routed(decoding), gate=gate) as socket:
        socket.requests("wait", 1)
        assert (await socket.reply(1))["status"] == 504
        assert (await socket.call("answer", 2))["status"] == 200
    settings.ROUTESOCK = {}
    async with of(routed(decoding), gate=gate) as socket:
        socket.requests("wait", 1)
        await socket.all_read()
        await socket.ping()
        socket.cancel(1)
        socket.requests("answer", 2)
        await socket.reply(2)
        assert socket.statuses() == [(1, 499), (2, 200)]


async def test_frames_that_only_the_own_decode_json_can_read() -> None:
    """A frame that is no JSON before the class's own decoding is routed, PING and CANCEL included."""
    async with of(routed(AsyncPrefixed)) as socket:
        socket.text(
            '42{"route": "answer", "uuid": 1}', '42{"route": "PING", "uuid": 2}', '42{"route": "CANCEL", "uuid": 1}'
        )
        socket.text('42{"fooBar": 3}', "42{")
        await socket.read(4)
        assert socket.frames[0]["status"] == 200
        assert socket.frames[1] == {"route": "PONG", "uuid": 2, "payload": None}
        assert socket.frames[2] == {"foreign": {"foo_bar": 3}}
        assert problems(socket.frames[3:]) == [(400, "parse_error", None)]


@pytest.mark.parametrize("exc", [ValueError, KeyError, RecursionError, SystemExit, asyncio.CancelledError, TypeError])
@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
async def test_own_decode_json_that_raises_is_a_400(base: Any, exc: type[BaseException]) -> None:
    """Whatever ``decode_json`` raises, the frame is a 400 and the socket lives."""

    class Failing(base):  # type: ignore[misc, valid-type]
        if base is AsyncJsonWebsocketConsumer:

            @classmethod
            async def decode_json(cls, text_data: str) -> Any:
                if "fail" in text_data:
                    raise exc
                return await super().decode_json(text_data)

        else:

            @classmethod
            def decode_json(cls, text_data: str) -> Any:
                if "fail" in text_data:
                    raise exc
                return super().decode_json(text_data)

    async with of(routed(Failing)) as socket:
        socket.text('{"fail": 1}')
        assert problems(await socket.read(1)) == [(400, "parse_error", None)]
        assert (await socket.call("answer", 1))["status"] == 200


class AsyncCounting(AsyncJsonWebsocketConsumer):
    """A consumer that counts what it sends, in the signature that Channels calls it with."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send(text_data="foreign")

    async def send(self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool = False) -> None:
        note(self, text_data)
        await asyncio.sleep(0)
        await super().send(text_data=text_data, bytes_data=bytes_data, close=close)


class AsyncCountingKeywords(AsyncCounting):
    async def send(self, **kwargs: Any) -> None:  # type: ignore[override]
        note(self, kwargs["text_data"])
        await AsyncWebsocketConsumer.send(self, **kwargs)


class SyncCounting(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send(text_data="foreign")

    def send(self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool = False) -> None:
        note(self, text_data)
        super().send(text_data=text_data, bytes_data=bytes_data, close=close)


class SyncCountingKeywords(SyncCounting):
    def send(self, **kwargs: Any) -> None:  # type: ignore[override]
        note(self, kwargs["text_data"])
        WebsocketConsumer.send(self, **kwargs)


@pytest.mark.parametrize("counting", [AsyncCounting, AsyncCountingKeywords, SyncCounting, SyncCountingKeywords])
async def test_own_send_sends_every_frame(counting: type) -> None:
    """Replies, errors and PONG go through the ``send`` of the class, called as Channels calls it."""
    async with of(routed(counting)) as socket:
        socket.requests("answer", 1)
        socket.requests("answer.sync", 2)
        socket.text("not JSON", '{"foreign": 3}')
        socket.requests("fail", 4)
        await socket.ping()
        await socket.read(6)
        assert [text for (text,) in socket.log] == socket.texts
        assert {(1, 200), (2, 200), (None, 400), (4, 500)} == set(socket.statuses())


class AsyncWrapping(AsyncJsonWebsocketConsumer):
    """A consumer whose ``send_json`` wraps what it sends."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"foreign": content})

    async def send_json(self, content: Any, close: bool = False) -> None:
        note(self, content)
        await super().send_json({**content, "wrapped": True}, close=close)


class SyncWrapping(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json({"foreign": content})

    def send_json(self, content: Any, close: bool = False) -> None:
        note(self, content)
        super().send_json({**content, "wrapped": True}, close=close)


@pytest.mark.parametrize("wrapping", [AsyncWrapping, SyncWrapping])
async def test_own_send_json_sends_every_frame(wrapping: type) -> None:
    """Replies, errors and PONG go through the ``send_json`` of the class."""
    async with of(routed(wrapping)) as socket:
        socket.requests("answer", 1)
        socket.requests("fail", 2)
        socket.text("not JSON", '{"foreign": 3}', '{"route": "PING"}')
        await socket.read(5)
        assert all(frame["wrapped"] for frame in socket.frames)
        assert len(socket.log) == 5
        assert {(1, 200), (2, 500), (None, 400)} == set(socket.statuses())


@pytest.mark.parametrize("wrapping", [AsyncWrapping, SyncWrapping])
async def test_own_send_json_changes_nothing_about_results(wrapping: type) -> None:
    """A ``send_json`` that adds something leaves it at that: dates are spelt, NaN and what is too large are a 500."""

    class Consumer(routed(wrapping)):  # type: ignore[misc]
        @route("result")
        async def result(self, request: Any) -> Any:
            return {"nan": float("nan"), "date": date(2024, 5, 6), "large": "x" * 1_000_000}[request.payload]

    async with of(Consumer) as socket:
        statuses = {name: (await socket.call("result", name, name))["status"] for name in ("date", "nan", "large")}
        assert statuses == {"date": 200, "nan": 500, "large": 500}


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
async def test_own_accept_and_close(base: Any) -> None:
    """``accept`` and ``close`` of the class send what they sent: subprotocol, headers, code and reason."""

    class Plain(base):  # type: ignore[misc, valid-type]
        if base is AsyncJsonWebsocketConsumer:

            async def accept(self, subprotocol: Any = None, headers: Any = None) -> None:
                await super().accept("v2", [(b"x-a", b"1")])

            async def close(self, code: Any = None, reason: Any = None) -> None:
                note(self, code)
                await super().close(4000 + (code or 0), reason or "own")

            async def receive_json(self, content: Any) -> None:
                await self.send_json({"last": content}, close=7)

        else:

            def accept(self, subprotocol: Any = None, headers: Any = None) -> None:
                super().accept("v2", [(b"x-a", b"1")])

            def close(self, code: Any = None, reason: Any = None) -> None:
                note(self, code)
                super().close(4000 + (code or 0), reason or "own")

            def receive_json(self, content: Any) -> None:
                self.send_json({"last": content}, close=7)

    results = []
    for consumer in (Plain, routed(Plain)):
        async with of(consumer) as socket:
            socket.json(1)
            assert await socket.ending() is None
        results.append((socket.sent, socket.late, socket.log))
    assert results[0] == results[1]
    assert results[0][0][-1] == {"type": "websocket.close", "code": 4007, "reason": "own"}


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
async def test_own_websocket_connect_and_disconnect(base: Any) -> None:
    """``websocket_connect`` and ``websocket_disconnect`` of the class are called, once each, around everything."""

    class Plain(base):  # type: ignore[misc, valid-type]
        if base is AsyncJsonWebsocketConsumer:

            async def websocket_connect(self, message: Any) -> None:
                note(self, "connect")
                await super().websocket_connect(message)

            async def websocket_disconnect(self, message: Any) -> None:
                note(self, "disconnect", message["code"])
                await super().websocket_disconnect(message)

        else:

            def websocket_connect(self, message: Any) -> None:
                note(self, "connect")
                super().websocket_connect(message)

            def websocket_disconnect(self, message: Any) -> None:
                note(self, "disconnect", message["code"])
                super().websocket_disconnect(message)

    async with of(routed(Plain)) as socket:
        await socket.call("answer", 1)
        socket.disconnect(4999)
        assert await socket.ending() is None
    assert socket.log == [("connect",), ("disconnect", 4999)]


async def test_reserved_frame_that_is_not_strict_json_is_a_400() -> None:
    """A PING that is not strict JSON is no foreign frame of a consumer with ``receive_json``: it is a 400."""
    async with of(routed(AsyncWrapping)) as socket:
        socket.text('{"route": "PING", "uuid": 1, "payload": NaN}')
        await socket.read(1)
        assert socket.frames[0].get("status") == 400


async def test_mixin_between_classes_of_the_consumer() -> None:
    """A subclass of a routed consumer goes on overriding what it likes."""

    class Sub(routed(AsyncRaw)):  # type: ignore[misc]
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            note(self, "sub")
            await super().receive(text_data=text_data, bytes_data=bytes_data)

        async def answer(self, request: Any) -> Any:
            return ["sub", await super().answer(request)]

    async with of(Sub) as socket:
        assert (await socket.call("answer", 1, 2))["payload"] == ["sub", {"got": 2}]
        socket.text("x")
        await socket.read(2)
        assert socket.log == [("sub",), ("x", None)]
