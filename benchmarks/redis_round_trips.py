"""A throttle's round trip to Redis beside a bare one with the same script, through redis-py's own client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, NamedTuple

import redis.asyncio
from django.core.cache import caches
from django.test import override_settings

from routesock.throttling.base import Window, parse_rate
from routesock.throttling.redis import TAKE, open_store

TARGET = 1.3
TIMEOUT = 60.0

Ask = Callable[[str], Awaitable[Any]]


class Timed(NamedTuple):
    """The microseconds of one call, and the median over rounds of its ratio to the first way."""

    name: str
    microseconds: float
    ratio: float


def measure(url: str, *, rounds: int, slot: float) -> dict[str, list[Timed]]:
    """Both ways at the Redis at ``url``: one call after the other, and fifty at a time."""
    config = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}
    with override_settings(CACHES=config):
        return asyncio.run(_measure(url, rounds, max(int(slot / 2e-4), 2)))


async def _measure(url: str, rounds: int, count: int) -> dict[str, list[Timed]]:
    window = Window("benchmark", "rate", parse_rate("1000000000/min"))
    store = open_store(caches["default"])
    client = redis.asyncio.Redis.from_url(url)

    async def bare(caller: str) -> None:
        await client.evalsha(TAKE.sha, 1, caller, window.limit, window.period, window.resolution, 1)

    async def take(caller: str) -> None:
        await store.take([(window, caller, 1)], TIMEOUT, quotas=False)

    ways: dict[str, Ask] = {"bare EVALSHA, redis-py": bare, "throttle": take}
    await take("first")  # which has the script loaded
    try:
        return {
            "one after the other": await _race(ways, rounds, count, 1),
            "fifty at a time": await _race(ways, rounds, count, 50),
        }
    finally:
        store.close()
        await getattr(client, "aclose", client.close)()  # redis-py 5.0.0 calls it otherwise


async def _race(ways: dict[str, Ask], rounds: int, count: int, beside: int) -> list[Timed]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, ask in ways.items():
            began = time.perf_counter()
            for _ in range(count):
                await asyncio.gather(*(ask(f"caller {number}") for number in range(beside)))
            times[name].append((time.perf_counter() - began) / count / beside)
    first = next(iter(times.values()))
    return [
        Timed(name, median(own) * 1e6, median(a / b for a, b in zip(own, first, strict=True)))
        for name, own in times.items()
    ]
