"""``python -m tests.throttling.hammer CACHES SETTINGS OFFSET``: one of several processes whose clients call at once.

For each line that it reads, which is the name of a bucket, it writes how many calls of its clients passed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings

from routesock import Request, RouteMixin, Throttle, nonblocking, route
from routesock.testing import RouteClient

LIMIT = 30
CLIENTS = 50
CALLS = 2


@nonblocking
def bucket(request: Request) -> Any:
    return request.payload


class Limited(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("limited", throttle=Throttle(f"{LIMIT}/h", scope=bucket))
    async def limited(self, request: Request) -> str:
        return "passed"


async def hammer() -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RouteClient(Limited, timeout=60)) for _ in range(CLIENTS)]
        loop = asyncio.get_running_loop()
        write("ready")
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            calls = [client.call("limited", line.strip()) for client in clients for _ in range(CALLS)]
            statuses = [reply.status for reply in await asyncio.gather(*calls)]
            assert set(statuses) <= {200, 429}, statuses
            write(statuses.count(200))


def write(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    caches, own, offset = sys.argv[1:]
    settings.configure(CACHES=json.loads(caches), ROUTESOCK=json.loads(own), INSTALLED_APPS=["channels"])
    django.setup()
    clock, ahead = time.time, float(offset)
    time.time = lambda: clock() + ahead
    asyncio.run(hammer())


if __name__ == "__main__":
    main()
