"""What metrics cost a request, and whether their text is valid: ``python -m benchmarks.metrics``."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from routesock import Request, RouteMixin, metrics, route
from routesock._runtime import counters

from .driving import Arrival, Peer, Traffic

MOST = 1.0
"""Microseconds that a request may take longer when metrics are registered."""

UNKNOWN_ROUTES = 10_000


class Echo(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo.0", public=True)
    async def echo(self, request: Request) -> Any:
        return request.payload


class Figures(NamedTuple):
    """Medians over the fastest quarter of the rounds, in microseconds of a request.

    In the others, programs beside this one slow both down, to half the speed on a busy machine.
    """

    without: float
    registered: float
    more: float
    """The median of the rounds' differences."""


async def cost(rounds: int, frames: int, clock: Callable[[], float] = time.process_time) -> Figures:
    """Serve echoes with and without metrics, by turns."""
    counters.start_recording()
    recorder = counters.recorder
    pairs = []
    for number in range(rounds):
        taken = {}
        for with_metrics in (False, True) if number % 2 else (True, False):  # neither always comes first
            counters.recorder = recorder if with_metrics else None
            peer = Peer(Traffic(frames, ("echo.0",)), Arrival.READY, clock)
            taken[with_metrics] = await peer.serve(Echo.as_asgi()) * 1e6
        pairs.append((taken[False], taken[True]))
    counters.recorder = recorder
    pairs = sorted(pairs, key=sum)[: max(len(pairs) // 4, 1)]
    return Figures(
        median(without for without, _ in pairs),
        median(registered for _, registered in pairs),
        median(registered - without for without, registered in pairs),
    )


def new_series(registry: CollectorRegistry, routes: int) -> int:
    """The series that frames with so many unknown routes add."""
    before = series_of(registry)
    recorder = counters.recorder
    assert recorder is not None
    plans = Echo._routesock.current_plans()
    for number in range(routes):
        name = f"unknown.{number}"
        recorder.refused(name if name in plans else counters.UNKNOWN, 404)
    return series_of(registry) - before


def series_of(registry: CollectorRegistry) -> int:
    text = generate_latest(registry).decode()
    return sum(len(family.samples) for family in text_string_to_metric_families(text))


def validity(text: bytes) -> str:
    """What promtool says, if it is installed; else what the parser of ``prometheus_client`` does."""
    promtool = shutil.which("promtool")
    if promtool is None:
        families = [*text_string_to_metric_families(text.decode())]
        return f"{len(families)} families read by prometheus_client's parser (there is no promtool)"
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    return "valid" if checked.returncode == 0 else (checked.stdout + checked.stderr).decode()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="whether it runs, not how fast it is")
    quick = parser.parse_args(argv).quick
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    django.setup()
    registry = CollectorRegistry()
    metrics.register(registry)
    figures = asyncio.run(cost(*((4, 50) if quick else (300, 500))))
    series = new_series(registry, 100 if quick else UNKNOWN_ROUTES)
    began = time.perf_counter()
    text = generate_latest(registry)
    scrape = (time.perf_counter() - began) * 1e3
    print(f"a request without metrics       {figures.without:8.2f} us")
    print(f"a request with metrics          {figures.registered:8.2f} us")
    print(f"more                            {figures.more:8.2f} us   (at most {MOST:g})")
    print(f"series of {UNKNOWN_ROUTES} unknown routes  {series:8}      (0)")
    print(f"a scrape                        {scrape:8.2f} ms")
    print(f"promtool check metrics          {validity(text)}")
    return int(series != 0)


if __name__ == "__main__":
    sys.exit(main())
