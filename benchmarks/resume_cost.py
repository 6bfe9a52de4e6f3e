"""What a history costs: the processor time of Redis for a broadcast with one and without, and of a resuming SUBSCRIBE.

Run ``python -m benchmarks.resume_cost``. It starts a ``redis-server``.
"""

from __future__ import annotations

import asyncio
import os
import time
from statistics import median
from typing import Any

import redis

from tests.servers import HOST, run_redis_server

BROADCASTS = 2_000
ROUNDS = 5
MISSED = 100
SUBSCRIPTIONS = 200
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


async def subscriptions() -> float:
    """Return the microseconds of this process for a SUBSCRIBE with ``MISSED`` pushes behind it, client included."""
    from routesock import abroadcast
    from routesock.history import aposition
    from routesock.testing import RouteClient

    from .resume_server import Rooms

    since = await aposition("room.missed")
    for number in range(MISSED):
        await abroadcast("room.missed", "said", number)
    spent = 0.0
    async with RouteClient(Rooms, timeout=20) as client:
        for _ in range(SUBSCRIPTIONS):
            before = time.process_time()
            reply = await client.call("SUBSCRIBE", {"topic": "room.missed", "since": since})
            assert reply.headers["Recovered"] is True
            for _ in range(MISSED):
                await client.receive()
            spent += time.process_time() - before
            await client.call("UNSUBSCRIBE", {"topic": "room.missed"})
    return spent / SUBSCRIPTIONS * 1e6


async def measure(port: int) -> None:
    client: Any = redis.Redis(host=HOST, port=port)
    plain, kept = [], []
    for _ in range(ROUNDS):
        plain.append(await broadcasts("plain.1", client))
        kept.append(await broadcasts("room.1", client))
    print(f"Redis, broadcast to a plain group:    {median(plain):7.1f} us")
    print(f"Redis, broadcast with a history:      {median(kept):7.1f} us, {median(kept) / median(plain):.2f} times")
    print(f"process, SUBSCRIBE with {MISSED} missed:   {await subscriptions():7.0f} us, with the test client")


def main() -> None:
    with run_redis_server() as server:
        os.environ.update(RESUME_LAYER=server.url, RESUME_STORE=server.url, RESUME_LOSE="0", RESUME_TIMEOUT="10")
        from . import resume_server

        assert resume_server.LOSE == 0
        asyncio.run(measure(server.port))


if __name__ == "__main__":
    main()
