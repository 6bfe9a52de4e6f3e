"""A Python client whose clock, chance and network belong to the test, and what plays transcripts on it."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from routesock.client import (
    Client,
    ConnectionLost,
    Events,
    Keys,
    Push,
    Reply,
    RouteError,
    Snapshot,
    StreamOverflow,
    Why,
)

TRANSCRIPTS = Path(__file__).parent / "transcripts"


async def settle() -> None:
    """Lets tasks run that can."""
    for _ in range(30):
        await asyncio.sleep(0)


class FakeTimer:
    def __init__(self, clock: FakeClock, due: int, callback: Callable[[], object]) -> None:
        self.clock, self.due, self.callback = clock, due, callback

    def cancel(self) -> None:
        if self in self.clock.timers:
            self.clock.timers.remove(self)


class FakeClock:
    """A clock that stands still until a test moves it. It counts milliseconds, so that no rounding adds up."""

    def __init__(self) -> None:
        self.time = 1_000_000
        self.timers: list[FakeTimer] = []

    def now(self) -> float:
        return self.time / 1000

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(self, self.time + round(delay * 1000), callback)
        self.timers.append(timer)
        return timer

    async def advance(self, seconds: float) -> None:
        """Moves the time, and fires what becomes due at its time."""
        end = self.time + round(seconds * 1000)
        await settle()
        while due := [timer for timer in self.timers if timer.due <= end]:
            timer = min(due, key=lambda timer: timer.due)
            self.time = max(self.time, timer.due)
            await self._fire(timer)
        self.time = end
        await settle()

    async def sleep(self, seconds: float) -> None:
        """Moves the time at once, as for a machine that sleeps: what became due fires late."""
        self.time += round(seconds * 1000)
        for timer in sorted((timer for timer in self.timers if timer.due <= self.time), key=lambda timer: timer.due):
            if timer in self.timers:
                await self._fire(timer)

    async def _fire(self, timer: FakeTimer) -> None:
        self.timers.remove(timer)
        timer.callback()
        await settle()


class FakeTransport:
    """A WebSocket whose other side is the test."""

    def __init__(self, url: str, subprotocols: Sequence[str], events: Events) -> None:
        self.url, self.subprotocols, self.events = url, [*subprotocols], events
        self.is_open = False
        self.closed = False
        self.unsent = 0
        self.sent: list[str | bytes] = []
        self._taken = 0

    def send(self, data: str | bytes) -> None:
        if self.is_open:
            self.sent.append(data)

    def close(self) -> None:
        self.is_open = False
        self.closed = True

    async def wait_closed(self) -> None:
        assert self.closed

    def take(self) -> list[Any]:
        """The frames that were sent since the last call."""
        frames = [json.loads(data) for data in self.sent[self._taken :]]
        self._taken = len(self.sent)
        return frames

    async def accept(self) -> None:
        self.is_open = True
        self.events.opened()
        await settle()

    async def receive(self, *frames: Any) -> None:
        for frame in frames:
            self.events.received(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))
        await settle()

    async def drop(self, code: int = 1006, reason: str = "") -> None:
        self.is_open = False
        self.events.closed(code, reason, None)
        await settle()


class World:
    """A client without a server."""

    def __init__(self, url: str = "ws://test/ws/", **options: Any) -> None:
        self.clock = FakeClock()
        self.random = 0.5
        self.transports: list[FakeTransport] = []
        self.states: list[str] = []
        self.errors: list[RouteError] = []
        defaults = {
            "clock": self.clock,
            "random": lambda: self.random,
            "open_transport": self._open,
            "on_error": self.errors.append,
        }
        self.client = Client(url, **(defaults | options))
        self.client.on_state(lambda state, why: self.states.append(state))

    def _open(self, url: str, subprotocols: Sequence[str], events: Events) -> FakeTransport:
        self.transports.append(FakeTransport(url, subprotocols, events))
        return self.transports[-1]

    @property
    def ws(self) -> FakeTransport:
        """The newest WebSocket."""
        return self.transports[-1]

    async def open(self) -> FakeTransport:
        self.client.connect()
        await settle()
        await self.ws.accept()
        return self.ws


def numbered(value: Any, n: int) -> Any:
    """``value`` with ``n`` in place of ``$n``."""
    if value == "$n":
        return n
    if isinstance(value, dict):
        return {key: numbered(item, n) for key, item in value.items()}
    return value.replace("$n", f"{n}") if isinstance(value, str) else value


class Reports(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


class Player:
    """Plays one transcript; each method is a step."""

    def __init__(self, transcript: dict[str, Any]) -> None:
        options: dict[str, Any] = {}
        self.refused: list[bool] = []
        if tokens := transcript.get("tokens"):
            given = iter(tokens)

            async def token(refused: bool) -> str | None:
                self.refused.append(refused)
                return next(given)

            options["token"] = token
        if "keys" in transcript:
            options["keys"] = Keys(**transcript["keys"])
        self.world = World(**options)
        self.steps = transcript["steps"]
        self.calls: dict[str, asyncio.Task[Reply]] = {}
        self.seen: dict[str, list[Any]] = {}
        self.leaving: dict[str, Callable[[], object]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.later: dict[str, asyncio.Future[Any]] = {}
        self.reports = Reports()

    async def play(self) -> None:
        logger = logging.getLogger("routesock.client")
        logger.addHandler(self.reports)
        try:
            await self._play()
        finally:
            logger.removeHandler(self.reports)

    async def _play(self) -> None:
        for number, step in enumerate(self.steps, 1):
            try:
                (verb, argument), *more = step.items()
                await getattr(self, f"do_{verb}")(argument, **dict(more))
                await settle()
            except Exception as error:
                error.add_note(f"in step {number}: {step}")
                raise
        self.world.client.close()
        for task in [*self.calls.values(), *self.tasks]:
            task.cancel()
        await asyncio.gather(*self.calls.values(), *self.tasks, return_exceptions=True)

    async def do_connect(self, _: bool) -> None:
        self.world.client.connect()

    async def do_accept(self, _: bool) -> None:
        await self.world.ws.accept()

    async def do_open(self, _: bool) -> None:
        await self.world.open()

    async def do_close(self, _: bool) -> None:
        self.world.client.close()

    async def do_drop(self, how: dict[str, Any]) -> None:
        await self.world.ws.drop(**how)

    async def do_wait(self, seconds: float) -> None:
        await self.world.clock.advance(seconds)

    async def do_sleep(self, seconds: float) -> None:
        await self.world.clock.sleep(seconds)

    async def do_alive(self, seconds: float) -> None:
        while seconds > 0:
            await self.world.clock.advance(min(20, seconds))
            await self.world.ws.receive({"route": "news", "payload": None})
            seconds -= 20

    async def do_state(self, state: str, why: dict[str, Any] | None = None) -> None:
        assert self.world.client.state == state
        if why is not None:
            assert self.world.client.why == Why(**why)

    async def do_sockets(self, number: int) -> None:
        assert len(self.world.transports) == number

    async def do_refusals(self, refusals: list[bool]) -> None:
        assert self.refused == refusals

    async def do_out(self, frames: list[Any]) -> None:
        assert self.world.ws.take() == frames

    async def do_sent(self, range_: dict[str, Any], behind: Sequence[Any] = ()) -> None:
        frames = self.world.ws.take()
        ids = [*range(range_["from"], range_["to"] + 1)]
        assert [(frame["route"], frame["uuid"]) for frame in frames[: len(ids)]] == [
            (range_["route"], id) for id in ids
        ]
        assert frames[len(ids) :] == [*behind]

    async def do_in(self, frames: list[Any]) -> None:
        await self.world.ws.receive(*frames)

    async def do_in_range(self, range_: dict[str, Any]) -> None:
        for n in range(range_["from"], range_["to"] + 1):
            await self.world.ws.receive(numbered(range_["frame"], n))

    async def do_call(self, call: dict[str, Any]) -> None:
        options = {key: value for key, value in call.items() if key not in ("as", "route", "payload", "times")}
        for n in range(1, call.get("times", 1) + 1):
            name = f"{call['as']}{n}" if "times" in call else call["as"]
            request = self.world.client.request(call["route"], numbered(call.get("payload"), n), **options)
            self.calls[name] = asyncio.create_task(request)
        await settle()

    async def do_cancel(self, name: str) -> None:
        self.calls[name].cancel()

    async def do_notify(self, call: dict[str, Any]) -> None:
        assert self.world.client.notify(call["route"], call.get("payload")) is call["written"]

    async def do_settled(self, outcomes: dict[str, Any]) -> None:
        """Exactly these calls have settled since the last such step."""
        expected: dict[str, Any] = {}
        for name, outcome in outcomes.items():
            if found := re.fullmatch(r"([a-z]+)(\d+)\.\.\1(\d+)", name):
                numbers = range(int(found[2]), int(found[3]) + 1)
                expected |= {f"{found[1]}{n}": numbered(outcome, n) for n in numbers}
            else:
                expected[name] = outcome
        done = {name: self.calls.pop(name) for name in [*self.calls] if self.calls[name].done()}
        assert done.keys() == expected.keys()
        for name, task in done.items():
            actual = outcome_of(task)
            compared = {key: value for key, value in actual.items() if key in expected[name]}
            for key, value in compared.items():
                if isinstance(value, dict) and isinstance(wanted := expected[name][key], dict) and key != "reply":
                    compared[key] = {part: value.get(part) for part in wanted}
            assert compared == expected[name], name

    async def do_stream(self, stream: dict[str, Any]) -> None:
        options = {key: value for key, value in stream.items() if key not in ("as", "route", "payload")}
        items = self.world.client.stream(stream["route"], stream.get("payload"), **options)
        name = stream["as"]
        self.leaving[name] = lambda: self._spawn(items.aclose())
        seen = self.seen.setdefault(name, [])

        async def read() -> None:
            try:
                async for item in items:
                    seen.append(["item", item])
                seen.append(["end"])
            except RouteError as error:
                seen.append(["error", error.status, error.problem["code"]])
            except ConnectionLost as error:
                seen.append(["lost", error.sent])
            except TimeoutError:
                seen.append(["timeout"])
            except StreamOverflow:
                seen.append(["overflow"])

        self._spawn(read())

    async def do_subscribe(self, subscription: dict[str, Any]) -> None:
        for n in range(1, subscription.get("times", 1) + 1):
            name = f"{subscription['as']}{n}" if "times" in subscription else subscription["as"]
            task = self._spawn(self._stay(numbered(subscription["topic"], n), self.seen.setdefault(name, [])))
            self.leaving[name] = task.cancel
        await settle()

    async def _stay(self, topic: str, seen: list[Any]) -> None:
        try:
            async with self.world.client.subscribe(topic) as room:
                seen.append(["snapshot", room.snapshot])
                async for item in room:
                    if isinstance(item, Snapshot):
                        seen.append(["snapshot", item.payload])
                    else:
                        seen.append(["push", item.route, item.payload])
                assert room.ended is not None
                seen.append(["ended", room.ended["code"]])
        except RouteError as error:
            seen.append(["ended", error.problem["code"]])

    async def do_listen(self, listener: dict[str, Any]) -> None:
        seen = self.seen.setdefault(listener["as"], [])
        self.leaving[listener["as"]] = self.world.client.on(
            listener["route"], lambda push: seen.append(["push", push.route, push.payload])
        )

    async def do_answer(self, answer: dict[str, Any]) -> None:
        name = answer["as"]
        seen = self.seen.setdefault(name, [])

        def handle(ask: Push) -> Any:
            seen.append(["ask", ask.route, ask.payload, ask.headers.get("Timeout")])
            if "refuse" in answer:
                raise RouteError(ask.route, **answer["refuse"])
            if "fail" in answer:
                raise ValueError(answer["fail"])
            if "later" in answer:
                self.later[name] = asyncio.get_running_loop().create_future()
                return self.later[name]
            return answer["reply"]

        self.leaving[name] = self.world.client.answer(answer["route"], handle)

    async def do_finish(self, finish: dict[str, Any]) -> None:
        if not self.later[finish["as"]].cancelled():  # with the connection of the ask
            self.later[finish["as"]].set_result(finish["reply"])

    async def do_reported(self, number: int) -> None:
        """So many exceptions of the application were logged since the last such step."""
        assert len(self.reports.found) == number
        self.reports.found.clear()

    async def do_leave(self, name: str) -> None:
        self.leaving[name]()

    async def do_heard(self, heard: dict[str, Any]) -> None:
        """Exactly this was heard since the last such step."""
        for name, expected in heard.items():
            assert self.seen[name] == expected, name
            self.seen[name].clear()

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        return task


def outcome_of(task: asyncio.Task[Reply]) -> dict[str, Any]:
    """How a call has ended, as transcripts have it."""
    if task.cancelled():
        return {"cancelled": True}
    error = task.exception()
    if error is None:
        reply = task.result()
        return {"reply": reply.payload, "status": reply.status, "headers": dict(reply.headers)}
    if isinstance(error, RouteError):
        return {"error": {"status": error.status, "code": error.problem.get("code"), "retry_after": error.retry_after}}
    if isinstance(error, ConnectionLost):
        return {"lost": {"sent": error.sent, "code": error.why and error.why.code}}
    if isinstance(error, TimeoutError):
        return {"timeout": True}
    raise error


def transcripts() -> dict[str, dict[str, Any]]:
    """All transcripts by file and name."""
    files = sorted(TRANSCRIPTS.glob("*.json"))
    found = itertools.chain.from_iterable(
        ((f"{file.stem}: {transcript['name']}", transcript) for transcript in json.loads(file.read_text("utf-8")))
        for file in files
    )
    return dict(found)
