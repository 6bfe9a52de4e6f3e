"""``python -m benchmarks.fan_out_server <way> <channel layer as JSON>``: a uvicorn with that way of
:mod:`benchmarks.fan_out_consumers`; prints its port, and ends when its standard input does."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading

import django
import uvicorn
from django.test import override_settings


def end_with_the_benchmark() -> None:
    """However that ended."""
    sys.stdin.read()
    os._exit(0)


def main(way: str, layer: str) -> None:
    threading.Thread(target=end_with_the_benchmark, daemon=True).start()
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    from .fan_out_consumers import WAYS  # needs Django's settings

    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listening.getsockname()[1], flush=True)
    # The loop is named, so that an installed uvloop changes nothing; pings would be counted as deliveries.
    config = uvicorn.Config(WAYS[way], loop="asyncio", ws_ping_interval=None, lifespan="off", log_level="warning")
    with override_settings(CHANNEL_LAYERS={"default": json.loads(layer)}):
        uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
