"""Consumers after patterns of public projects send the same bytes before and after they are taken over."""

from __future__ import annotations

from typing import Any

import pytest

from routesock import Keys, RouteMixin

from .driver import Layer, Socket, until
from .patterns import LINES, PATTERNS, Pattern


def send(socket: Socket, frame: str | bytes) -> None:
    if isinstance(frame, bytes):
        socket.binary(frame)
    else:
        socket.text(frame)


async def transcript(consumer: Any, frames: tuple[Any, ...], layer: Layer, expected: list[int] | None = None) -> Any:
    """Return what ``consumer`` sends for ``frames``, and how many messages it had sent after each of them."""
    counts: list[int] = []
    async with Socket(consumer.as_asgi()) as socket:
        for number, frame in enumerate(frames):
            await until(lambda: socket.is_idle())
            send(socket, frame)
            if expected is not None:
                await until(lambda number=number: len(socket.sent) >= expected[number], str(frame))
            elif "run" in str(frame):
                await until(lambda: str(LINES - 1) in str(socket.sent[-1]))
            else:
                await until(lambda: socket.is_idle() and layer.is_idle(), str(frame))
            counts.append(len(socket.sent))
    return socket.sent + socket.late, counts


def with_the_mixin_alone(pattern: Pattern) -> type:
    return type(f"Mixed{pattern.before.__name__}", (RouteMixin, pattern.before), {"route_dialect": Keys(route="never")})


@pytest.mark.parametrize("name", PATTERNS)
async def test_the_mixin_alone_changes_nothing(name: str, layer: Layer) -> None:
    pattern = PATTERNS[name]
    before, counts = await transcript(pattern.before, pattern.frames, layer)
    after, _ = await transcript(with_the_mixin_alone(pattern), pattern.frames, layer, counts)
    assert after == before


@pytest.mark.parametrize("name", PATTERNS)
async def test_a_taken_consumer_sends_the_same_bytes(name: str, layer: Layer) -> None:
    pattern = PATTERNS[name]
    before, counts = await transcript(pattern.before, pattern.frames, layer)
    after, _ = await transcript(pattern.after, pattern.frames, layer, counts)
    assert after == before
    assert len(before) > 1


@pytest.mark.parametrize("name", [name for name, pattern in PATTERNS.items() if pattern.fatal])
async def test_a_frame_that_was_fatal_is_not(name: str, layer: Layer) -> None:
    pattern = PATTERNS[name]
    before, counts = await transcript(pattern.before, pattern.frames[:1], layer)
    async with Socket(pattern.after.as_asgi()) as socket:
        for frame in pattern.fatal:
            send(socket, frame)
            await until(lambda: socket.is_idle())
        skipped = len(socket.sent)
        send(socket, pattern.frames[0])
        await until(lambda: len(socket.sent) - skipped >= counts[0] - 1)
    assert socket.sent[skipped:] == before[1:]


@pytest.mark.parametrize("name", [name for name, pattern in PATTERNS.items() if pattern.fatal])
async def test_it_was_fatal(name: str, layer: Layer) -> None:
    for frame in PATTERNS[name].fatal:
        async with Socket(PATTERNS[name].before.as_asgi()) as socket:
            send(socket, frame)
            assert await socket.ending() is not None
