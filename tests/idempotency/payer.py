"""``python -m tests.idempotency.payer CACHES FILE``: one of several processes that get requests with the same keys.

For each line that it reads, a list of keys and the seconds that a handler takes, it sends a request with each key, all
at once. Then it writes the list of their outcomes: what the handler returned, or the code of the error. A handler
writes its key to the end of FILE when it begins.
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


class Till(RouteMixin, AsyncJsonWebsocketConsumer):
    file: int

    @route("pay", idempotent=True, timeout=60)
    async def pay(self, request: Request) -> Any:
        os.write(self.file, f"{request.payload['order']}\n".encode())
        await asyncio.sleep(request.payload["seconds"])
        return f"paid {request.payload['order']}"


async def pay(user: Any, key: str, seconds: float) -> Any:
    async with RouteClient(Till, as_user=user, timeout=60, raise_exceptions=False) as client:
        reply = await client.call("pay", {"order": key, "seconds": seconds}, headers={"Idempotency-Key": key})
        return reply.payload if reply.status == 200 else reply.payload["code"]


async def serve() -> None:
    from django.contrib.auth.models import User  # it needs the settings

    user = User(pk=7)
    loop = asyncio.get_running_loop()
    write("ready")
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        keys, seconds = json.loads(line)
        write(await asyncio.gather(*(pay(user, key, seconds) for key in keys)))


def write(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    caches, file = sys.argv[1:]
    settings.configure(
        CACHES=json.loads(caches),
        INSTALLED_APPS=["channels", "django.contrib.contenttypes", "django.contrib.auth"],
        ROUTESOCK={"STORE_TIMEOUT": 30},  # how long each process waits for its turn on a processor is not the subject
    )
    django.setup()
    Till.file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    asyncio.run(serve())


if __name__ == "__main__":
    main()
