"""What a history costs: a broadcast with one and without, a SUBSCRIBE that resumes, and groups that have none.

Run ``python -m benchmarks.resume_cost``. It starts a ``redis-server`` and a uvicorn. All figures are processor time: of
Redis, of the uvicorn without its client, and of this process with and without the setting ``HISTORY``, in turn.
``--only-plain`` compares only the last two.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import redis
from django.conf import settings
from django.test import override_settings
from websockets.asyncio.client import ClientConnection, connect

from tests.servers import HOST, Server, free_port, run_redis_server

BROADCASTS = 2_000
ROUNDS = 5
MISSED = 100
SUBSCRIPTIONS = 40
SUBSCRIPTION_ROUNDS = 15
PLAIN_ROUNDS = 200
PLAIN_BROADCASTS = 20
PLAIN_SOCKETS = 10
PAYLOAD = "x" * 150


def seconds_of(client: Any) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


async def broadcasts(group: str, client: Any) -> float:
    """Return the microseconds of Redis for one broadcast to ``group``."""
    from routesock import abroadcast

    before = seconds_of(client)
    for _ in range(BROADCASTS // 20):
        await asyncio.gather(*(abroadcast(group, "said", PAYLOAD) for _ in range(20)))
    return (seconds_of(client) - before) / BROADCASTS * 1e6


def process_seconds(pid: int) -> float:
    """Return the processor time of a process, of all its threads (Linux)."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def uvicorn() -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.resume_server:application", "--host", HOST]
    command += ["--port", str(port), "--log-level", "warning", "--ws", "websockets-sansio"]
    server = Server(command, port=port, env=os.environ)
    try:
        server.start()
        yield server
    finally:
        server.close()


class Subscriber:
    """Sends a request to ``server`` over and over, and reads what follows."""

    def __init__(self, server: Server, socket: ClientConnection) -> None:
        assert server._process is not None
        self._pid = server._process.pid
        self._socket = socket

    async def turns(self, number: int, request: str, frames: int, *others: str) -> float:
        """Return the microseconds of the server for ``request``, answered with ``frames``, and for ``others``."""
        before = process_seconds(self._pid)
        for _ in range(number):
            await self._socket.send(request)
            for _ in range(frames):
                await self._socket.recv()
            for other in others:
                await self._socket.send(other)
                await self._socket.recv()
        return (process_seconds(self._pid) - before) / number * 1e6


async def subscriptions(server: Server) -> list[list[float]]:
    """Return the microseconds of ``server``, each by round.

    For a SUBSCRIBE with nothing missed, for one with :data:`MISSED` pushes, for a single frame that the server sends
    without routesock, and for :data:`MISSED` more of them.
    """
    from routesock import abroadcast
    from routesock.history import aposition

    url = f"ws://{HOST}:{server.port}/"
    async with (
        connect(url, compression=None) as other,
        connect(url, compression=None) as socket,
        connect(f"{url}bare", compression=None) as bare,
    ):
        requests = {}
        for missed in (0, MISSED):
            group = f"room.missed-{missed}"
            since = await aposition(group)
            Path(os.environ["RESUME_TRUTH"], f"missed-{missed}").write_text("0")  # noqa: ASYNC240
            for number in range(missed):
                await abroadcast(group, "said", [number, PAYLOAD])
            subscribe = json.dumps({"route": "SUBSCRIBE", "uuid": 1, "payload": {"topic": group, "since": since}})
            unsubscribe = json.dumps({"route": "UNSUBSCRIBE", "uuid": 2, "payload": {"topic": group}})
            await other.send(subscribe)  # so that the server does not leave the group
            for _ in range(1 + missed):
                await other.recv()
            await socket.send(subscribe)
            reply = await socket.recv()
            assert json.loads(reply)["headers"]["Recovered"] is True
            frames = [await socket.recv() for _ in range(missed)]
            assert [json.loads(frame)["payload"][0] for frame in frames] == [*range(missed)]
            await socket.send(unsubscribe)
            assert json.loads(await socket.recv())["status"] == 204
            requests[missed] = subscribe, 1 + missed, unsubscribe
        ours, floor = Subscriber(server, socket), Subscriber(server, bare)
        prepared = [json.dumps([reply, frames[-1], missed]) for missed in (0, MISSED)]
        rounds = []
        for _ in range(SUBSCRIPTION_ROUNDS + 1):  # the first is to warm up
            round = [await ours.turns(SUBSCRIPTIONS, *requests[missed]) for missed in (0, MISSED)]
            round += [
                await floor.turns(SUBSCRIPTIONS, request, 1 + missed)
                for request, missed in zip(prepared, (0, MISSED), strict=True)
            ]
            rounds.append(round)
    return [*zip(*rounds[1:], strict=True)]


async def plain() -> tuple[float, float, float]:
    """Return the microseconds of a broadcast without the setting and with it, and the median ratio of the rounds.

    It goes to a group without a history. The rounds take turns in this process.
    """
    from routesock import abroadcast

    from .resume_server import PLAIN, Plain

    arrived = asyncio.Event()
    expected, sent = PLAIN_SOCKETS, 0

    async def send(message: Any) -> None:
        nonlocal sent
        sent += message["type"] == "websocket.accept" or "said" in message.get("text", "")
        if sent == expected:
            arrived.set()

    sockets = []
    for _ in range(PLAIN_SOCKETS):
        frames: asyncio.Queue[Any] = asyncio.Queue()
        await frames.put({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": []}
        sockets.append(asyncio.create_task(Plain.as_asgi()(scope, frames.get, send)))  # type: ignore[arg-type]
    await arrived.wait()
    project = settings.ROUTESOCK
    settings_by_turn = {name: value for name, value in project.items() if name != "HISTORY"}, project
    times: list[list[float]] = [[], []]
    for turn in range(PLAIN_ROUNDS + 10):
        for which in (0, 1) if turn % 2 else (1, 0):
            expected += PLAIN_BROADCASTS * PLAIN_SOCKETS
            arrived.clear()
            with override_settings(ROUTESOCK=settings_by_turn[which]):
                before = time.process_time()
                for _ in range(PLAIN_BROADCASTS):
                    await abroadcast(PLAIN, "said", PAYLOAD)
                async with asyncio.timeout(60):
                    await arrived.wait()
                times[which].append((time.process_time() - before) / PLAIN_BROADCASTS * 1e6)
    for socket in sockets:
        socket.cancel()
    await asyncio.gather(*sockets, return_exceptions=True)
    without, with_it = (each[10:] for each in times)
    ratio = median(after / before for before, after in zip(without, with_it, strict=True))
    return median(without), median(with_it), ratio


async def measure(port: int, server: Server) -> None:
    client: Any = redis.Redis(host=HOST, port=port)
    plain, kept = [], []
    for _ in range(ROUNDS):
        plain.append(await broadcasts("plain.1", client))
        kept.append(await broadcasts("room.1", client))
    print(f"Redis, broadcast to a plain group:     {median(plain):7.1f} us")
    print(f"Redis, broadcast with a history:       {median(kept):7.1f} us, {median(kept) / median(plain):.2f} times")
    nothing, all_missed, *floor = await subscriptions(server)
    more = median(b - a for a, b in zip(nothing, all_missed, strict=True))
    alone = median(b - a for a, b in zip(*floor, strict=True))
    print(f"server, SUBSCRIBE with nothing missed: {median(nothing):7.0f} us, and an UNSUBSCRIBE")
    print(f"server, {MISSED} missed pushes more:       {more:7.0f} us")
    print(f"server, the same frames by uvicorn:    {alone:7.0f} us, without routesock")


def main() -> None:
    with run_redis_server() as server, tempfile.TemporaryDirectory() as truth:
        os.environ.update(RESUME_TRUTH=truth)
        os.environ.update(RESUME_LAYER=server.url, RESUME_STORE=server.url, RESUME_LOSE="0", RESUME_TIMEOUT="10")
        from . import resume_server

        assert resume_server.LOSE == 0
        with uvicorn() as application:
            if "--only-plain" not in sys.argv:
                asyncio.run(measure(server.port, application))
        without, with_it, ratio = asyncio.run(plain())
        print(f"process, plain group without HISTORY:  {without:7.1f} us for {PLAIN_SOCKETS} sockets")
        print(f"process, plain group with HISTORY:     {with_it:7.1f} us, {ratio:.3f} times")


if __name__ == "__main__":
    main()
