"""``python -m benchmarks.measured_server <module> <way>``: a uvicorn with that way of the module's ``WAYS``; prints its
port, and ends when its standard input does.

``/`` is the way. The other paths answer each frame with a figure of the process: ``/cpu`` with its processor time in
seconds, of all threads; ``/rss`` with its resident memory in bytes; ``/garbage`` with the bytes that were in reference
cycles since the frame before, the first of which stops Python's own collection.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import django
import uvicorn

from .driving import Receive, Send

CHECKOUT = "BENCHMARKS_CHECKOUT"
"""The environment variable with the directory whose ``routesock`` is served, where it is not this one's."""


@contextmanager
def served(module: str, way: str, *, checkout: str | None = None) -> Iterator[int]:
    """The port of a server process."""
    command = [sys.executable, "-m", "benchmarks.measured_server", module, way]
    environment = {**os.environ, **({} if checkout is None else {CHECKOUT: checkout})}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def garbage() -> int:
    if not tracemalloc.is_tracing():
        gc.disable()
        gc.collect()
        tracemalloc.start()
        return 0
    before = tracemalloc.get_traced_memory()[0]
    gc.collect()
    return before - tracemalloc.get_traced_memory()[0]


FIGURES: dict[str, Callable[[], float]] = {"/cpu": time.process_time, "/garbage": garbage, "/rss": resident}


async def report(figure: Callable[[], float], receive: Receive, send: Send) -> None:
    """Answer each frame with the figure of that moment."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": repr(figure())})


def end_with_the_benchmark() -> None:
    """Wait for the end of the standard input, which comes however the benchmark ends."""
    sys.stdin.read()
    os._exit(0)


def main(module: str, way: str) -> None:
    threading.Thread(target=end_with_the_benchmark, daemon=True).start()
    checkout = os.environ.get(CHECKOUT)
    if checkout is not None:
        sys.path.insert(0, checkout)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    served_way = import_module(module).WAYS[way]  # needs Django's settings

    async def application(scope: Any, receive: Any, send: Any) -> None:
        figure = FIGURES.get(scope["path"])
        await (served_way(scope, receive, send) if figure is None else report(figure, receive, send))

    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listening.getsockname()[1], flush=True)
    # The loop is named, so that an installed uvloop changes nothing.
    config = uvicorn.Config(application, loop="asyncio", ws_ping_interval=None, lifespan="off", log_level="warning")
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
