"""Whatever a handler raises or returns: one reply, and the socket lives."""

from __future__ import annotations

import asyncio
import json
import logging
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.exceptions import AcceptConnection, DenyConnection, StopConsumer
from django.utils.functional import lazystr

from routesock import Reply

from .driver import Layer, problems, strict, turns, until
from .flavours import FLAVOURS, Broken, Gate, InThread, OnLoop, Unusual, connected, raising, returning

FAULTS = {
    "ValueError": ValueError("secret"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "StopIteration": StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration(),
    "StopConsumer": StopConsumer(),
    "AcceptConnection": AcceptConnection(),
    "DenyConnection": DenyConnection(),
    "TimeoutError": TimeoutError(),
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError(),
    "broken": Broken(),
    "unusual": Unusual("secret"),
    "group": BaseExceptionGroup("secret", [SystemExit(1), ValueError("secret")]),
    "cause": RuntimeError(Broken()),
}


async def alive(socket: Any) -> None:
    """Check that the socket does everything still: a request, a foreign frame, PING."""
    assert (await socket.call("quick", "alive", "yes"))["payload"] == "yes"
    socket.json({"alive": 1})
    await until(lambda: {"alive": 1} in socket.frames)
    await socket.ping()


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("route", ["call", "call.later"])
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
async def test_exception_is_one_500(consumer: type, route: str, debug: bool, gate: Gate, settings: Any) -> None:
    """Any exception of a handler, whatever its class, is one 500 with the uuid; its text is sent only under DEBUG."""
    settings.DEBUG = debug
    async with connected(consumer, gate, **{name: raising(exc) for name, exc in FAULTS.items()}) as socket:
        for name in FAULTS:
            reply = await socket.call(route, name, name)
            assert problems([reply]) == [(500, "internal_error", name)]
            assert ("secret" in json.dumps(reply)) <= debug
            assert ("traceback" in reply["payload"]) is debug
            socket.request(route, None, name)
            await until(lambda: socket.replies(None), name)
            socket.sent.clear()
            socket.frames.clear()
        await alive(socket)
    assert len(socket.disconnects) == 1


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_pipelined_faults_are_as_many_500s(consumer: type, gate: Gate) -> None:
    """Faults in a row, with requests that work between them, are answered each with its own uuid, in order."""
    async with connected(consumer, gate, **{name: raising(exc) for name, exc in FAULTS.items()}) as socket:
        expected = []
        for name in FAULTS:
            socket.request("call", name, name)
            socket.request("quick", f"after {name}")
            expected += [(name, 500), (f"after {name}", 200)]
        await socket.read(len(expected))
        assert socket.statuses() == expected
        await alive(socket)


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_faults_of_queued_requests(consumer: type, gate: Gate) -> None:
    """A fault behind a handler that waited, in a task that is no reader any more, is a 500 as well."""
    async with connected(consumer, gate, **{name: raising(exc) for name, exc in FAULTS.items()}) as socket:
        socket.request("slow", "slow")
        await until(lambda: gate.waiting)
        for name in FAULTS:
            socket.request("call", name, name)
        await socket.all_read()
        gate.open()
        await socket.read(len(FAULTS) + 1)
        assert socket.statuses() == [("slow", 200), *((name, 500) for name in FAULTS)]
        await alive(socket)


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("name", [name for name in FAULTS if name != "StopConsumer"])
async def test_fault_of_the_consumers_own_code(consumer: type, name: str, gate: Gate) -> None:
    """What ``receive_json`` raises is a 500 without uuid, what a channel-layer handler raises is logged; both live."""
    async with connected(consumer, gate, fault=FAULTS[name]) as socket:
        socket.json({"raise": "fault"})
        assert problems(await socket.read(1)) == [(500, "internal_error", None)]
        await alive(socket)


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_faults_of_channel_layer_handlers(consumer: type, gate: Gate, layer: Layer, caplog: Any) -> None:
    """What a channel-layer handler raises is logged with its traceback, nothing is sent, and the next event comes."""
    faults = {name: exc for name, exc in FAULTS.items() if name != "StopConsumer"}
    async with connected(consumer, gate, **faults) as socket:
        channel = socket.scope["consumers"][0].channel_name
        with caplog.at_level(logging.ERROR, "routesock"):
            for name in faults:
                await layer.send(channel, {"type": "note", "note": name, "raise": name})
            await layer.send(channel, {"type": "note", "note": "last"})
            await until(lambda: socket.texts)
        assert socket.frames == [{"note": "last"}]
        assert len([record for record in caplog.records if record.exc_info]) == len(faults)
        await alive(socket)


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_events_that_name_no_handler(consumer: type, gate: Gate, layer: Layer) -> None:
    """A channel-layer message of an unknown type, or one that names a route's handler, calls and ends nothing."""
    async with connected(consumer, gate) as socket:
        channel = socket.scope["consumers"][0].channel_name
        for kind in ("unknown", "quick", "hang.up", "call.later", "_private"):
            await layer.send(channel, {"type": kind})
        await layer.send(channel, {"no type": 1})
        await layer.send(channel, {"type": "note", "note": "last"})
        await until(lambda: socket.texts)
        assert socket.frames == [{"note": "last"}]
        assert socket.log == [("event", "last")]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_stop_consumer_of_the_consumers_own_code_ends_the_socket(consumer: type, gate: Gate) -> None:
    """``StopConsumer`` from ``receive_json`` ends the application without an error, after one ``disconnect()``."""
    async with connected(consumer, gate, stop=StopConsumer()) as socket:
        socket.requests("quick", 1)
        await socket.reply(1)
        socket.json({"raise": "stop"})
        socket.requests("quick", 2)
        assert await socket.ending() is None
    assert len(socket.disconnects) == 1
    assert socket.statuses() == [(1, 200)]


class Exits:
    """A value that raises what no encoder expects when it is looked at."""

    def __init__(self, exc: BaseException) -> None:
        self._exc = exc

    def items(self) -> Any:
        raise self._exc


def lazy(exc: BaseException) -> Any:
    class Text(str):
        def __str__(self) -> str:
            raise exc

    return lazystr(Text("x"))


def circular() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


class Negative(int):
    def __repr__(self) -> str:
        raise ValueError("secret")


UNENCODABLE: dict[str, Any] = {
    "object": object(),
    "set": {1, 2},
    "bytes": b"bytes",
    "NaN": float("nan"),
    "infinity in depth": {"a": [1, {"b": float("-inf")}]},
    "circular": circular(),
    "deep": deep(),
    "key": {(1, 2): 3},
    "keys that cannot be sorted or spelt": {object(): 1},
    "generator": (number for number in range(3)),
    "exception": ValueError("secret"),
    "class": dict,
    "lazy text that raises": lazy(ValueError("secret")),
    "lazy text that exits": lazy(SystemExit(1)),
    "lazy text that cancels": lazy(asyncio.CancelledError()),
    "lazy text that stops": lazy(StopIteration()),
    "too large": "x" * 1_000_001,
    "too large as JSON": "\x00" * 200_000,
    "reply of an object": Reply(object(), status=201),
    "header": Reply(1, headers={"X": object()}),
    "reply of a list of objects": Reply([object()], status=404),
}


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("route", ["call", "call.later"])
@pytest.mark.parametrize("name", UNENCODABLE)
async def test_result_that_cannot_be_sent_is_one_500(consumer: type, route: str, name: str, gate: Gate) -> None:
    """A result that JSON cannot spell, or over ``MAX_REPLY``, is one 500 with the uuid; no half frame is sent."""
    async with connected(consumer, gate, result=returning(UNENCODABLE[name])) as socket:
        reply = await socket.call(route, 7, "result")
        assert problems([reply]) == [(500, "internal_error", 7)]
        assert "secret" not in json.dumps(reply)
        await alive(socket)


ENCODABLE: dict[str, Any] = {
    "none": (None, 204),
    "zero": (0, 200),
    "false": (False, 200),
    "empty": ({}, 200),
    "decimal": (Decimal("1.50"), 200),
    "lazy": (lazystr("text"), 200),
    "surrogate": ("\ud800", 200),
    "big integer": (2**80, 200),
    "largest": ("x" * 999_900, 200),
}


@pytest.mark.parametrize("consumer", FLAVOURS)
@pytest.mark.parametrize("name", ENCODABLE)
async def test_result_that_can_be_sent_is_strict_json(consumer: type, name: str, gate: Gate) -> None:
    """Falsy values, lazy texts, Decimals and texts up to the limit are results as any other."""
    value, status = ENCODABLE[name]
    async with connected(consumer, gate, result=returning(value)) as socket:
        reply = await socket.call("call", 1, "result")
        assert reply["status"] == status
        assert reply["payload"] == (str(value) if name in ("decimal", "lazy") else value)
        assert strict(socket.texts[-1]) == reply


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_notifications_are_never_answered_unless_they_fail(consumer: type, gate: Gate) -> None:
    """Without a uuid a success sends nothing; an error is sent with ``"uuid": null``."""
    scope = {"good": returning({"a": 1}), "gone": returning(Reply("gone", status=410)), "bad": raising(ValueError())}
    async with connected(consumer, gate, **scope) as socket:
        for name in scope:
            socket.request("call", None, name)
        await alive(socket)
        assert [status for status in socket.statuses() if status[0] is None] == [(None, 410), (None, 500)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_malformed_frames_leave_the_order_alone(consumer: type, gate: Gate) -> None:
    """Each hostile frame has one error reply, and none of them costs a request that works."""
    hostile = [
        "",
        "{",
        '{"route": "quick", "uuid": NaN}',
        '{"route": "quick", "uuid": 1e999, "payload": 1}',
        '{"route": "quick", "uuid": 9007199254740993}',
        '{"route": "quick", "uuid": "' + "u" * 129 + '"}',
        '{"route": "quick", "payload": ' + "[" * 80 + "]" * 80 + "}",
        '{"route": "quick", "uuid": 1, "payload": "' + "x" * 70_000 + '"}',
        '{"route": "quick", "uuid": [1]}',
        '{"route": "PING", "uuid": {}}',
    ]
    async with connected(consumer, gate) as socket:
        for number, text in enumerate(hostile):
            socket.text(text)
            socket.request("quick", f"after {number}")
        await socket.read(2 * len(hostile))
        statuses = [status for uuid, status in socket.statuses() if not str(uuid).startswith("after")]
        assert statuses == [400, 400, 400, 400, 400, 400, 400, 413, 400, 400]
        assert all(len(text) < 4096 for text in socket.texts)
        await alive(socket)


async def test_fault_while_cancelling_is_not_a_second_reply(gate: Gate) -> None:
    """A handler that raises something else when it is cancelled has been answered already."""

    async def spoil(consumer: Any) -> None:
        try:
            await consumer.scope["gate"].wait()
        except asyncio.CancelledError:
            raise SystemExit(1) from None

    async with connected(OnLoop, gate, spoil=spoil) as socket:
        socket.request("call", 1, "spoil")
        await until(lambda: gate.waiting)
        socket.cancel(1)
        assert (await socket.reply(1))["status"] == 499
        await alive(socket)
        assert len(socket.replies(1)) == 1


async def test_coroutine_that_ignores_its_close_is_one_500(gate: Gate) -> None:
    """An awaitable that raises at its first step, or yields what asyncio does not know, is a 500."""

    class Odd:
        def __await__(self) -> Any:
            yield "not a future"

    async def odd(consumer: Any) -> None:
        await Odd()

    async with connected(OnLoop, gate, odd=odd) as socket:
        assert problems([await socket.call("call", 1, "odd")]) == [(500, "internal_error", 1)]
        await alive(socket)


async def test_sync_handler_that_returns_a_coroutine_is_one_500(gate: Gate) -> None:
    """A coroutine that nobody would await is an error of the handler, and is closed."""

    async def nobody() -> None:
        raise AssertionError

    async with connected(InThread, gate, coroutine=lambda consumer: nobody()) as socket:
        assert problems([await socket.call("call", 1, "coroutine")]) == [(500, "internal_error", 1)]
        await alive(socket)


async def test_database_thread_survives(gate: Gate) -> None:
    """After exits and interrupts in sync handlers the database thread goes on working for others."""
    async with connected(InThread, gate, **{name: raising(exc) for name, exc in FAULTS.items()}) as socket:
        for name in ("SystemExit", "KeyboardInterrupt", "GeneratorExit"):
            await socket.call("call", name, name)
    assert await sync_to_async(lambda: 1)() == 1
    await turns(5)
