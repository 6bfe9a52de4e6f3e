"""What a socket holds while nothing happens on it, here and in a uvicorn process, and what it leaves when it ends."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from websockets.asyncio.client import connect

from .clients import Client, connected, run
from .contenders import ROUTE, as_it_came, by_hand, routed
from .driving import PAYLOAD, Application
from .json_codecs import REQUEST
from .measured_server import served
from .tables import Most, Table

MOST_RATIO = Most(1.15, of_first=True)
MOST_OBJECTS = Most(10)
MOST_GARBAGE = Most(12)
WARM_UP = 20
"""Sockets of a server in front of those that count."""

WAYS: dict[str, Application] = {"hand-written consumer": by_hand(as_it_came), "1 route": routed()}


def idle(*, sockets: int) -> Table:
    """``sockets`` of each way that have answered one request, in this process and in a server's."""
    rows = {name: [_traced(way, sockets) / 1024, _resident(name, sockets) / 1024] for name, way in WAYS.items()}
    return Table("KiB", ("Python's objects", "RSS of uvicorn"), rows, (MOST_RATIO, MOST_RATIO))


def objects(*, sockets: int) -> Table:
    """The instances of routesock's own classes that an idle socket holds."""
    return Table(
        "", ("instances of routesock's",), {name: [held(way, sockets)] for name, way in WAYS.items()}, (MOST_OBJECTS,)
    )


def garbage(*, sockets: int) -> Table:
    """What a socket that has ended leaves for Python's cyclic garbage collector."""
    rows = {name: [left(way, sockets) / 1024, _left_in_a_server(name, sockets) / 1024] for name, way in WAYS.items()}
    return Table("KiB", ("here", "in uvicorn"), rows, (None, MOST_GARBAGE))


def _traced(way: Application, sockets: int) -> float:
    """Bytes that Python allocates for each socket."""

    async def talk() -> int:
        before = _allocated()
        async with connected(way, sockets) as clients:
            await _ask(clients)
            return _allocated() - before

    run(talk())  # what the process keeps for all of them is there then
    tracemalloc.start()
    try:
        return run(talk()) / sockets
    finally:
        tracemalloc.stop()


def held(way: Application, sockets: int) -> float:
    """Instances of routesock's classes for each socket."""

    async def talk() -> int:
        before = _instances()
        async with connected(way, sockets) as clients:
            await _ask(clients)
            return _instances() - before

    run(talk())
    return run(talk()) / sockets


def left(way: Application, sockets: int) -> float:
    """Bytes in reference cycles for each socket that has ended."""

    async def talk() -> int:
        async with connected(way, sockets) as clients:
            await _ask(clients)
        del clients
        await asyncio.sleep(0)  # for the callbacks of tasks that have ended
        before = tracemalloc.get_traced_memory()[0]
        return before - _allocated()

    run(talk())
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        return run(talk()) / sockets
    finally:
        tracemalloc.stop()
        gc.enable()


async def _ask(clients: Sequence[Client]) -> None:
    await asyncio.gather(*(client.ask(ROUTE, PAYLOAD) for client in clients))


def _allocated() -> int:
    """Bytes that are in use, once garbage is collected."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _instances() -> int:
    gc.collect()
    # Of a class made without a module, __module__ is a descriptor.
    return sum(str(type(one).__module__).partition(".")[0] == "routesock" for one in gc.get_objects())


def _resident(name: str, sockets: int) -> float:
    """Bytes by which a server's process grows for each socket."""

    async def grown(url: str) -> int:
        await _figure(f"{url}/rss")
        async with _talking(url, WARM_UP):
            before = await _figure(f"{url}/rss")
            async with _talking(url, sockets):
                return await _figure(f"{url}/rss") - before

    with served(__name__, name) as port:
        return run(grown(f"ws://127.0.0.1:{port}")) / sockets


def _left_in_a_server(name: str, sockets: int) -> float:
    """Bytes in reference cycles of a server's process for each socket that has ended."""

    async def freed(url: str) -> int:
        async with _talking(url, WARM_UP):
            pass
        await _figure(f"{url}/garbage")
        async with _talking(url, sockets):
            pass
        await asyncio.sleep(0.5)  # the server may still be at the end of the last ones
        return await _figure(f"{url}/garbage")

    with served(__name__, name) as port:
        return run(freed(f"ws://127.0.0.1:{port}")) / sockets


@asynccontextmanager
async def _talking(url: str, count: int) -> AsyncIterator[None]:
    """``count`` clients that have had an answer each."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            connection = await stack.enter_async_context(_connect(f"{url}/"))
            await connection.send(REQUEST)
            await connection.recv()
        yield


async def _figure(url: str) -> int:
    async with _connect(url) as connection:
        await connection.send("now")
        return int(await connection.recv())


def _connect(url: str) -> connect:
    return connect(url, compression=None, ping_interval=None, proxy=None)
