"""Sockets of applications in this process, for what is measured in wall time: each asks, and waits for the answer."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from .driving import SCOPE, TIMEOUT, Application, Event, WrongReplyError

T = TypeVar("T")


class Client:
    """The client of one socket, and the server between it and ``application``."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._accepted = asyncio.Event()
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[tuple[float, Any]]] = {}
        self._task: asyncio.Task[None]

    async def connect(self) -> None:
        self._events.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.ensure_future(self._application(dict(SCOPE), self._events.get, self._send))
        await self._accepted.wait()

    async def disconnect(self) -> None:
        self._events.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self._task

    async def ask(self, route: str, payload: Any = None) -> float:
        """Seconds from the frame to its answer. :class:`WrongReplyError` for an error."""
        id = next(self._ids)
        answer: asyncio.Future[tuple[float, Any]] = asyncio.get_running_loop().create_future()
        self._answers[id] = answer
        text = json.dumps({"route": route, "uuid": id, "payload": payload})
        begun = time.perf_counter()
        self._events.put_nowait({"type": "websocket.receive", "text": text})
        ended, frame = await answer
        if frame.get("status", 200) >= 300:
            raise WrongReplyError(f"{route!r} was answered {frame!r}")
        return ended - begun

    async def _send(self, event: Event) -> None:
        now = time.perf_counter()
        if event["type"] == "websocket.send":
            frame = json.loads(event["text"])
            self._answers.pop(frame["uuid"]).set_result((now, frame))
        else:
            self._accepted.set()


@asynccontextmanager
async def connected(application: Application, count: int) -> AsyncIterator[Sequence[Client]]:
    """``count`` sockets of ``application``."""
    clients = [Client(application) for _ in range(count)]
    await asyncio.gather(*(client.connect() for client in clients))
    yield clients
    await asyncio.gather(*(client.disconnect() for client in clients))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine in a new loop and return its result. Raises ``TimeoutError`` if it does not end."""
    # Named, so that an installed uvloop changes nothing.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(asyncio.wait_for(coroutine, TIMEOUT))
