"""How quickly a client's answer arrives, and what false answers do: ``python -m benchmarks.ask``."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any, Final, NamedTuple

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from websockets.asyncio.client import ClientConnection, connect

from routesock import Request, RouteMixin, route
from routesock.exceptions import NoAnswer

from .driving import Application
from .measured_server import served

MOST_ANSWER: Final = 5.0
MOST_PING: Final = 50.0
MOST_END: Final = 50.0
"""Milliseconds."""

_ended: Final[list[float]] = []


class Asking(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("ask", public=True)
    async def ask(self, request: Request) -> float:
        """Return the milliseconds until the client has answered."""
        began = time.perf_counter()
        await self.socket.ask("confirm", request.payload, timeout=10)
        return (time.perf_counter() - began) * 1000

    @route("wait", public=True)
    async def wait(self, request: Request) -> None:
        """Wait for an answer until the client has left."""
        try:
            await self.socket.ask("confirm", timeout=60)
        except NoAnswer:
            _ended.append(time.monotonic())

    @route("ended", public=True)
    async def ended(self, request: Request) -> list[float]:
        return _ended


WAYS: Mapping[str, Application] = {"asks": Asking.as_asgi()}


class Figures(NamedTuple):
    """Milliseconds, and the number of replies to false answers, of which there should be none."""

    answer: float
    answer_p99: float
    replies: int
    ping: float
    end: float

    @property
    def is_good(self) -> bool:
        """Whether all of them are within their bounds."""
        within = self.answer <= MOST_ANSWER and self.ping <= MOST_PING and self.end <= MOST_END
        return within and not self.replies


FALSE: Final[Sequence[Mapping[str, Any]]] = (
    {"uuid": "@999"}, {"uuid": "@1", "status": 302}, {"uuid": None}, {"uuid": ["@1"]}, {"uuid": "@1", "headers": 5},
)  # fmt: skip
"""Answers that nothing waits for."""


async def measure(asks: int, answers: int, ends: int) -> Figures:
    """Ask ``asks`` times, send ``answers`` false answers, and leave ``ends`` times while a handler waits."""
    with served("benchmarks.ask", "asks") as port:
        url = f"ws://127.0.0.1:{port}/"
        async with connect(url, proxy=None, compression=None) as client:
            times = [await _asked(client) for _ in range(asks)]
            replies, ping = await _flooded(client, answers)
            waits = [await _left(url, client, number) for number in range(ends)]
    return Figures(median(times), quantiles(times, n=100)[-1], replies, ping, median(waits))


async def _asked(client: ClientConnection) -> float:
    await _send(client, {"route": "ask", "uuid": 1, "payload": {"text": "Delete 7 files?"}})
    asked = json.loads(await client.recv())
    await _send(client, {"route": "ANSWER", "uuid": asked["uuid"], "status": 200, "payload": True})
    reply = json.loads(await client.recv())
    if reply["status"] != 200:
        raise RuntimeError(f"The handler was not answered: {reply}")
    return float(reply["payload"])


async def _flooded(client: ClientConnection, answers: int) -> tuple[int, float]:
    """Return how many frames false answers brought, and the milliseconds that a PING behind the last one took."""
    for number in range(answers):
        await _send(client, {"route": "ANSWER", "status": 200, "payload": number, **FALSE[number % len(FALSE)]})
    began = time.perf_counter()
    await _send(client, {"route": "PING", "uuid": "last"})
    replies = 0
    while json.loads(await client.recv()).get("uuid") != "last":
        replies += 1
    return replies, (time.perf_counter() - began) * 1000


async def _left(url: str, other: ClientConnection, before: int) -> float:
    """Return the milliseconds from the end of the connection until the handler has gone on."""
    async with connect(url, proxy=None, compression=None) as client:
        await _send(client, {"route": "wait", "uuid": 1})
        await client.recv()
        left = time.monotonic()
        client.transport.abort()
    while True:
        await _send(other, {"route": "ended", "uuid": 1})
        ended = json.loads(await other.recv())["payload"]
        if len(ended) > before:
            return float((ended[before] - left) * 1000)
        await asyncio.sleep(0.005)


async def _send(client: ClientConnection, frame: Mapping[str, Any]) -> None:
    await client.send(json.dumps(frame))


def report(figures: Figures) -> str:
    """The figures beside their bounds."""
    return "\n".join((
        f"an ordered handler asks and is answered: {figures.answer:.2f} ms (at most {MOST_ANSWER:g} ms)",
        f"  99 % of them: {figures.answer_p99:.2f} ms",
        f"replies to false answers: {figures.replies} (none)",
        f"PING behind them: {figures.ping:.1f} ms (at most {MOST_PING:g} ms)",
        f"the end of a connection ends the wait: {figures.end:.1f} ms (at most {MOST_END:g} ms)",
    ))  # fmt: skip


def main() -> int:
    """Measure and print. Returns 1 if a figure is out of its bounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ask", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, which only show that it runs")
    quick = parser.parse_args().quick
    figures = asyncio.run(measure(20, 100, 2) if quick else measure(500, 10_000, 20))
    print(report(figures))
    return 0 if quick or figures.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
