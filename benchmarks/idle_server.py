"""``python -m benchmarks.idle_server <way>``: a uvicorn whose sockets do nothing; prints its port.

``/`` is that way of :mod:`benchmarks.memory`, ``/rss`` sends the process's resident memory in bytes.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

import django
import uvicorn

from .driving import Receive, Send


def resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def told(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": str(resident())})
    await send({"type": "websocket.close"})


def main(way: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    from .memory import WAYS  # needs Django's settings

    idle = WAYS[way]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (told(receive, send) if scope["path"] == "/rss" else idle(scope, receive, send))

    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(application, lifespan="off", log_level="warning")).run([listening])


if __name__ == "__main__":
    main(sys.argv[1])
