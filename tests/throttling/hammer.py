"""``python -m tests.throttling.hammer CACHES SETTINGS OFFSET``: one of several processes whose clients call at once.

For each line that it reads, the alias of a cache and the name of a bucket, it writes how many calls of its clients
passed.
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
from django.test import override_settings

from routesock import Request, RouteMixin, Throttle, route, run_on_loop
from routesock.testing import RouteClient

LIMIT = 30
CLIENTS = 20
CALLS = 2


@run_on_loop
def bucket(request: Request) -> Any:
    return request.payload


class Limited(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("limited", throttle=Throttle(f"{LIMIT}/h", scope=bucket))
    async def limited(self, request: Request) -> str:
        return "passed"


async def hammer(own: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        clients: dict[str, list[RouteClient]] = {}
        write("ready")
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            alias, name = json.loads(line)
            with override_settings(ROUTESOCK={**own, "THROTTLE_CACHE": alias}):
                if alias not in clients:
                    opening = [RouteClient(Limited, timeout=60) for _ in range(CLIENTS)]
                    clients[alias] = [await stack.enter_async_context(client) for client in opening]
                calls = [client.call("limited", name) for client in clients[alias] for _ in range(CALLS)]
                statuses = [reply.status for reply in await asyncio.gather(*calls)]
            assert set(statuses) <= {200, 429}, statuses
            write(statuses.count(200))


def write(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    caches, own, offset = sys.argv[1:]
    settings.configure(CACHES=json.loads(caches), INSTALLED_APPS=["channels"])
    django.setup()
    clock, ahead = time.time, float(offset)
    time.time = lambda: clock() + ahead
    asyncio.run(hammer(json.loads(own)))


if __name__ == "__main__":
    main()
