"""What a socket holds while nothing happens on it: of Python's memory here, and of the memory of a uvicorn process."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tracemalloc

from websockets.asyncio.client import ClientConnection, connect

from .clients import Client, run
from .contenders import ROUTE, as_it_came, by_hand, routed
from .driving import PAYLOAD, Application
from .json_codecs import REQUEST
from .tables import Most, Table

MOST_RATIO = Most(1.15, of_first=True)
WARM_UP = 20
"""Sockets of a server in front of those that count."""

WAYS: dict[str, Application] = {"hand-written consumer": by_hand(as_it_came), "1 route": routed()}


def idle(*, sockets: int) -> Table:
    """``sockets`` of each way that have answered one request, in this process and in a server's."""
    rows = {name: [_traced(way, sockets) / 1024, _resident(name, sockets) / 1024] for name, way in WAYS.items()}
    return Table("KiB", ("Python's objects", "RSS of uvicorn"), rows, (MOST_RATIO, MOST_RATIO))


def _traced(way: Application, sockets: int) -> float:
    """Bytes that Python allocates for each socket."""

    async def talk() -> int:
        clients = [Client(way) for _ in range(sockets)]
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        await asyncio.gather(*(client.connect() for client in clients))
        await asyncio.gather(*(client.ask(ROUTE, PAYLOAD) for client in clients))
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
        await asyncio.gather(*(client.disconnect() for client in clients))
        return used

    run(talk())  # what the process keeps for all of them is there then
    tracemalloc.start()
    try:
        return run(talk()) / sockets
    finally:
        tracemalloc.stop()


def _resident(name: str, sockets: int) -> float:
    """Bytes by which a server's process grows for each socket."""
    command = [sys.executable, "-m", "benchmarks.idle_server", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            return run(_grown(f"ws://127.0.0.1:{server.stdout.readline().strip()}", sockets))
        finally:
            server.terminate()


async def _grown(url: str, sockets: int) -> float:
    opened: list[ClientConnection] = []
    before = after = 0
    for count in (WARM_UP, sockets):
        before = after
        for _ in range(count):
            connection = await _connect(f"{url}/")
            opened.append(connection)
            await connection.send(REQUEST)
            await connection.recv()
        async with _connect(f"{url}/rss") as reader:
            after = int(await reader.recv())
    await asyncio.gather(*(connection.close() for connection in opened))
    return (after - before) / sockets


def _connect(url: str) -> connect:
    return connect(url, compression=None, ping_interval=None, proxy=None)
