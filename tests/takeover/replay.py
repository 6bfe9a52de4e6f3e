"""What a plain consumer sends for a conversation, and what a routed one sends for the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .driver import Layer, Socket, until

Open = Callable[[], Socket]
"""Makes a socket of the consumer under test: each conversation has one of its own."""


@dataclass
class Recording:
    """The messages that a plain consumer sent, and how many there were after connect and after each frame."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)


async def record(open_socket: Open, layer: Layer, texts: list[str]) -> Recording:
    """Play ``texts`` to a plain consumer, frame by frame: the next one goes out when it waits for more."""
    recording = Recording()
    socket = open_socket()

    def rests() -> bool:
        return socket.done or (socket.is_idle() and layer.is_idle())

    async with socket:
        await until(rests)
        recording.marks.append(len(socket.sent))
        for text in texts:
            socket.text(text)
            await until(rests, text[:100])
            assert socket.closed or not socket.done, f"The plain consumer died: {text[:100]}"
            recording.marks.append(len(socket.sent))
    recording.sent = socket.sent + socket.late
    return recording


async def replay(open_socket: Open, texts: list[str], recording: Recording) -> list[dict[str, Any]]:
    """Play ``texts`` to a routed consumer; a frame waits only for as many messages as the plain one sent before it."""
    socket = open_socket()
    async with socket:
        for text, mark in zip(texts, recording.marks, strict=False):
            await until(lambda mark=mark: len(socket.sent) >= mark or socket.done, text[:100])
            socket.text(text)
        await until(lambda: len(socket.sent) >= recording.marks[-1] or socket.done)
    return socket.sent + socket.late


def is_reply(message: dict[str, Any]) -> bool:
    """Whether routesock made this message: nothing of the legacy consumer has a status at its top."""
    text = message.get("text") or ""
    if not text.startswith("{"):
        return False
    frame = json.loads(text)
    return type(frame.get("status")) is int and ("title" in frame or "taken" in frame)


async def replay_taken(
    open_socket: Open, texts: list[str], recording: Recording, expected: Callable[[str], int | None]
) -> tuple[list[dict[str, Any]], list[int]]:
    """As :func:`replay` where ``texts`` also hold frames of a taken route; gives their statuses apart from the rest.

    ``expected(text)``: the status of a taken frame, 0 for one that gets no reply, ``None`` for a frame of the legacy
    consumer. The recording is of the legacy frames alone.
    """
    socket = open_socket()
    legacy = replies = 0
    looked_at = ours = 0

    def caught_up() -> bool:
        nonlocal looked_at, ours
        ours += sum(map(is_reply, socket.sent[looked_at:]))
        looked_at = len(socket.sent)
        return socket.done or (ours >= replies and len(socket.sent) - ours >= recording.marks[legacy])

    async with socket:
        for text in texts:
            await until(caught_up, text[:100])
            socket.text(text)
            status = expected(text)
            legacy += status is None
            replies += bool(status)
        await until(caught_up)
    sent = socket.sent + socket.late
    statuses = [json.loads(message["text"])["status"] for message in sent if is_reply(message)]
    return [message for message in sent if not is_reply(message)], statuses
