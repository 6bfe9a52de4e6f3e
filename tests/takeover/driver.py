"""A server's side of one websocket: feeds an ASGI application and keeps every message that it sends."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from channels.layers import InMemoryChannelLayer

LIMIT = 30.0
"""Seconds after which something that a test waits for has failed; a busy machine may take several for a thread."""


async def until(predicate: Callable[[], object], what: str = "", seconds: float = LIMIT) -> None:
    """Wait for ``predicate()``; the application does not notice who waits, nor when the time is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    turns = 0
    while not predicate():
        if loop.time() > deadline:
            raise AssertionError(f"Not within {seconds} s: {what or predicate}")
        turns += 1
        await asyncio.sleep(0 if turns < 40 else 0.0005)


async def turns(count: int = 50) -> None:
    """Let everything run that is not waiting for time, a thread or the test."""
    for _ in range(count):
        await asyncio.sleep(0)


class Layer(InMemoryChannelLayer):
    """The in-memory layer, which also tells whether the newest channel has taken all that was sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self._latest = ""
        self._waiting: set[str] = set()

    async def new_channel(self, prefix: str = "specific.") -> str:
        self._latest = await super().new_channel(prefix)
        return self._latest

    async def receive(self, channel: str) -> dict[str, Any]:
        self._waiting.add(channel)
        try:
            return await super().receive(channel)
        finally:
            self._waiting.discard(channel)

    def is_idle(self) -> bool:
        queue = self.channels.get(self._latest)
        return self._latest in self._waiting and (queue is None or queue.empty())

    def members(self, group: str) -> int:
        return len(self.groups.get(group, ()))


class Socket:
    """One run of ``application``. As a server does, it answers a close with a ``websocket.disconnect``.

    As a context manager it connects, and on the way out it disconnects, waits for the application's end, raises what
    the application raised unless :meth:`ending` has, and checks that no task is left. Where several are open, the last
    to end checks that for all.
    """

    _open: ClassVar[set[Socket]] = set()
    _others: ClassVar[set[asyncio.Task[Any]]] = set()

    def __init__(self, application: Any, *, path: str = "/ws/", **scope: Any) -> None:
        self._application = application
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": path,
            "headers": [],
            "subprotocols": [],
            "query_string": b"",
            **scope,
        }
        self._input: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._waiting = False
        self._settled = False
        self._parsed: list[Any] = []
        self._disconnected = False
        self._task: asyncio.Task[Any] | None = None
        self.writable = asyncio.Event()
        """Cleared, the client does not read: ``send`` waits."""
        self.writable.set()
        self.yields = False
        """``send`` lets other tasks run, as a server does whose buffer is full."""
        self.sent: list[dict[str, Any]] = []
        """What the application sent, in order, until the client left."""
        self.late: list[dict[str, Any]] = []
        """What it sent to a client that had left."""

    # What the server does

    async def __aenter__(self) -> Socket:
        self.start()
        self.feed({"type": "websocket.connect"})
        await until(lambda: self.sent or self.done, "accept or close")
        return self

    async def __aexit__(self, kind: Any, exc: Any, traceback: Any) -> None:
        try:
            if self._settled:
                return
            self.disconnect()
            raised = await self.ending()
            if raised is not None and exc is None:
                raise raised
        finally:
            assert self._task is not None
            self._task.cancel()
            self._open.discard(self)

    def start(self) -> None:
        if not self._open:
            Socket._others = asyncio.all_tasks()
        self._open.add(self)
        self._task = asyncio.create_task(self._application(self.scope, self._receive, self._send))

    def feed(self, message: dict[str, Any]) -> None:
        self._input.put_nowait(message)

    def disconnect(self, code: int = 1000) -> None:
        if not self._disconnected:
            self._disconnected = True
            self.feed({"type": "websocket.disconnect", "code": code, "reason": ""})

    def stop(self) -> None:
        """Cancel the application, as a server does that is stopped."""
        assert self._task is not None
        self._task.cancel()

    async def ending(self, seconds: float = LIMIT) -> BaseException | None:
        """Wait for the application to return; gives what it raised. No task that it started is left then."""
        task = self._task
        assert task is not None
        self._settled = True
        ended, _ = await asyncio.wait({task}, timeout=seconds)
        assert ended, f"The application did not end within {seconds} s."
        self._open.discard(self)
        left = asyncio.all_tasks() - self._others - {task, asyncio.current_task()}
        if self._open:  # whose tasks are among them
            left.clear()
        # A call that a layer does not answer is not cut short at the end of the socket.
        left = {task for task in left if "_Calls._run" not in repr(task.get_coro())}
        assert not left, f"The application left tasks: {left}"
        return asyncio.CancelledError() if task.cancelled() else task.exception()

    async def _receive(self) -> dict[str, Any]:
        self._waiting = True
        try:
            return await self._input.get()
        finally:
            self._waiting = False

    async def _send(self, message: dict[str, Any]) -> None:
        if self.yields:
            await asyncio.sleep(0)
        await self.writable.wait()
        (self.late if self._disconnected else self.sent).append(dict(message))
        if message["type"] == "websocket.close":
            self.disconnect(message.get("code", 1000))

    @property
    def done(self) -> bool:
        return self._task is not None and self._task.done()

    @property
    def log(self) -> list[Any]:
        """What the consumer noted in the scope."""
        return self.scope["log"]  # type: ignore[no-any-return]

    @property
    def disconnects(self) -> list[Any]:
        """The calls of ``disconnect()``."""
        return [entry for entry in self.log if entry[0] == "disconnect"]

    def is_idle(self) -> bool:
        """Whether the application has read everything and waits for more."""
        return self._waiting and self._input.empty()

    def is_all_read(self) -> bool:
        """Whether the application has read everything, the disconnect included."""
        return self._input.empty()

    def unread(self) -> int:
        """How many messages the application has not read yet."""
        return self._input.qsize()

    async def all_read(self) -> None:
        """Wait until the application has read everything."""
        await until(self.is_idle, "everything read")

    # What the client does

    def text(self, *texts: str) -> None:
        for text in texts:
            self.feed({"type": "websocket.receive", "text": text})

    def binary(self, data: bytes) -> None:
        self.feed({"type": "websocket.receive", "bytes": data})

    def json(self, *contents: Any) -> None:
        self.text(*map(json.dumps, contents))

    def request(self, route: str, uuid: Any = None, payload: Any = True) -> None:
        self.json({"route": route, "uuid": uuid, "payload": payload})

    def requests(self, route: str, *uuids: Any) -> None:
        for uuid in uuids:
            self.request(route, uuid)

    def cancel(self, uuid: Any) -> None:
        self.json({"route": "CANCEL", "uuid": uuid})

    # What the client has read

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.sent if message.get("text") is not None]

    @property
    def frames(self) -> list[Any]:
        """The text frames as values, those that are no JSON as they are."""
        texts = self.texts
        for text in texts[len(self._parsed) :]:
            try:
                self._parsed.append(json.loads(text))
            except ValueError:
                self._parsed.append(text)
        return self._parsed

    @property
    def closed(self) -> dict[str, Any] | None:
        return next((message for message in self.sent if message["type"] == "websocket.close"), None)

    def replies(self, uuid: Any) -> list[Any]:
        answers = [frame for frame in self.frames if type(frame) is dict and "status" in frame]
        return [frame for frame in answers if frame["uuid"] == uuid and type(frame["uuid"]) is type(uuid)]

    def statuses(self) -> list[tuple[Any, int]]:
        """The uuid and status of each reply, in order."""
        return [(frame["uuid"], frame["status"]) for frame in self.frames if type(frame) is dict and "status" in frame]

    async def read(self, count: int) -> list[Any]:
        """The frames, once there are so many."""
        await until(lambda: len(self.texts) >= count or self.done, f"{count} frames")
        assert len(self.texts) >= count, f"The application ended after {len(self.texts)} frames."
        return self.frames

    async def reply(self, uuid: Any) -> Any:
        """The reply to the request of that uuid."""
        await until(lambda: self.replies(uuid) or self.done, f"a reply to {uuid!r}")
        (reply,) = self.replies(uuid)
        return reply

    async def call(self, route: str, uuid: Any, payload: Any = True) -> Any:
        self.request(route, uuid, payload)
        return await self.reply(uuid)

    async def ping(self, uuid: Any = "ping") -> None:
        """Send a PING and wait for its PONG."""
        expected = {"route": "PONG", "uuid": uuid, "payload": None}
        before = self.frames.count(expected)
        self.json({"route": "PING", "uuid": uuid})
        await until(lambda: self.frames.count(expected) > before, "PONG")


def strict(text: str) -> Any:
    """The value that ``text`` spells; ``ValueError`` for what RFC 8259 does not know."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON.")

    def finite(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            refuse(digits)
        return number

    return json.loads(text, parse_constant=refuse, parse_float=finite)


def problems(frames: Iterable[Any]) -> list[tuple[int, str, Any]]:
    """Status, code and uuid of error replies."""
    return [(frame["status"], frame["payload"]["code"], frame["uuid"]) for frame in frames]
