"""``python -m tests.idempotency.payer CACHES FILE``: one of several processes that get requests with the same keys.

For each line that it reads, a list of keys with the seconds that their handlers take, it sends a request with each key,
all at once. Then it writes the list of their outcomes: what the handler returned, or the code of the error. A handler
writes its key and the id of the process to the end of FILE when it begins.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings

from routesock import Request, RouteMixin, route
from routesock.testing import RouteClient

from .driving import write_beginning

MAX_ORDERS = 1000
"""Requests at once."""


class Till(RouteMixin, AsyncJsonWebsocketConsumer):
    file: int

    @route("pay", idempotent=True, timeout=60, parallel=True)
    async def pay(self, request: Request) -> Any:
        write_beginning(self.file, request.payload["order"])
        await asyncio.sleep(request.payload["seconds"])
        return f"paid {request.payload['order']}"


async def pay(client: RouteClient, key: str, seconds: float) -> Any:
    reply = await client.call("pay", {"order": key, "seconds": seconds}, headers={"Idempotency-Key": key})
    return reply.payload if reply.status == 200 else reply.payload["code"]


async def serve() -> None:
    from django.contrib.auth.models import User  # it needs the settings

    loop = asyncio.get_running_loop()
    write("ready")
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        async with RouteClient(Till, as_user=User(pk=7), timeout=60, raise_exceptions=False) as client:
            write(await asyncio.gather(*(pay(client, key, seconds) for key, seconds in json.loads(line))))


def write(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    caches, file = sys.argv[1:]
    settings.configure(
        CACHES=json.loads(caches),
        INSTALLED_APPS=["channels", "django.contrib.contenttypes", "django.contrib.auth"],
        LOGGING={"version": 1, "loggers": {"routesock.request": {"level": "ERROR"}}},  # most replies are a 409
        ROUTESOCK={
            "STORE_TIMEOUT": 30,  # how long each process waits for its turn on a processor is not the subject
            "CONCURRENCY": MAX_ORDERS,
            "MAX_QUEUED": MAX_ORDERS,
        },
    )
    django.setup()
    Till.file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    asyncio.run(serve())


if __name__ == "__main__":
    main()
