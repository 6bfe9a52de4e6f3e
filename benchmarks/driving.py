"""Drives an ASGI application in process, as a server would, and times it from the first frame to the last reply."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]
Clock = Callable[[], float]

PAYLOAD = {"text": "hello world", "room": "general"}
SCOPE = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": []}
TIMEOUT = 60.0


class Arrival(Enum):
    """How frames reach the application."""

    READY = "receive() returns at once, as behind a client that pipelines"
    QUEUE = "each frame wakes a waiting reader, after the reply to the one before"


class Traffic:
    """``count`` frames, each with its own id, that name ``routes`` in turn; and the replies to them."""

    def __init__(self, count: int, routes: Sequence[str]) -> None:
        named = [(routes[number % len(routes)], f"c{number:07d}") for number in range(count)]
        self.frames = [json.dumps({"route": route, "uuid": id, "payload": PAYLOAD}) for route, id in named]
        self.replies = [json.dumps(reply(route, id, PAYLOAD)) for route, id in named]


def reply(route: str, id: Any, payload: Any) -> dict[str, Any]:
    """The one reply frame that every contender gives."""
    return {"uuid": id, "route": route, "status": 200, "payload": payload}


class WrongReplyError(Exception):
    """A contender does not answer what all the others do, so its time says nothing."""


class Peer:
    """A server and its one client: sends the frames of ``traffic`` and keeps what comes back."""

    def __init__(self, traffic: Traffic, arrival: Arrival, clock: Clock) -> None:
        self._traffic = traffic
        self._arrival = arrival
        self._clock = clock
        self._events = iter([{"type": "websocket.receive", "text": text} for text in traffic.frames])
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._begun = self._ended = 0.0
        self._replies: list[Any] = []

    async def serve(self, application: Application) -> float:
        """Seconds per message. :class:`WrongReplyError` unless each frame got its reply, in order and to the letter."""
        receive = self._queue.get if self._arrival is Arrival.QUEUE else self._ready
        self._queue.put_nowait({"type": "websocket.connect"})
        async with asyncio.timeout(TIMEOUT):
            await application(dict(SCOPE), receive, self._send)
        if self._replies != self._traffic.replies:
            pairs = zip(self._replies, self._traffic.replies, strict=False)
            wrong = next((pair for pair in pairs if pair[0] != pair[1]), None)
            raise WrongReplyError(f"{len(self._replies)} replies to {len(self._traffic.frames)} frames: {wrong}")
        return (self._ended - self._begun) / len(self._replies)

    async def _ready(self) -> Event:
        if not self._queue.empty():
            return self._queue.get_nowait()
        if not self._begun:
            self._begun = self._clock()
        for event in self._events:
            return event
        await self._answered.wait()
        return await self._queue.get()

    def _feed(self) -> None:
        if not self._begun:
            self._begun = self._clock()
        self._queue.put_nowait(next(self._events))

    async def _send(self, event: Event) -> None:
        if event["type"] == "websocket.send":
            self._replies.append(event["text"])
            if len(self._replies) == len(self._traffic.replies):
                self._ended = self._clock()
                self._answered.set()
                self._queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
                return
        if self._arrival is Arrival.QUEUE:
            asyncio.get_running_loop().call_soon(self._feed)  # the reader shall wait, and be woken
