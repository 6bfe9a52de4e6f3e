"""One sender and many subscribers, over real servers: how many deliveries per second, and how long one takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .audience import Audience
from .measuring import Ratio
from .tables import percentile

PLAIN, ROUTED = "plain Channels", "routesock"
LEAST_RATIO = 5.0
PACE = 0.5
"""The load under which latencies are taken, as a part of plain Channels' deliveries per second in a flood. What is
flooded has the latencies of its queues."""

LOOK_AT = 10
"""One in so many subscribers looks into its frames in a flood; all do so in the paced run."""

WARM_UP = 3
UNBOUNDED: Mapping[str, Any] = {"capacity": 10_000_000}
"""No layer drops anything, of either way: the capacity of 100 would lose most of a flood."""


@dataclass(frozen=True)
class Arrangement:
    """Where the subscribers are, and what carries a broadcast to them."""

    name: str
    backend: str
    processes: int
    subscribers: int

    @property
    def title(self) -> str:
        return f"fan-out to {self.subscribers} subscribers, {self.name}"

    @property
    def needs_redis(self) -> bool:
        return self.backend.startswith("channels_redis.")

    def layer(self, way: str, redis_url: str | None) -> dict[str, Any]:
        """The ``CHANNEL_LAYERS`` entry of the servers; each way has its own part of the Redis."""
        if not self.needs_redis:
            return {"BACKEND": self.backend, "CONFIG": {**UNBOUNDED}}
        # redis-py 8 gives up after five seconds, also on a receive() that is idle: the end of a plain Channels socket.
        hosts = [{"address": redis_url, "socket_timeout": None}]
        prefix = "".join(filter(str.isalpha, way))
        return {"BACKEND": self.backend, "CONFIG": {"hosts": hosts, "prefix": prefix, **UNBOUNDED}}


IN_MEMORY = "channels.layers.InMemoryChannelLayer"
ARRANGEMENTS = (
    Arrangement("in-memory layer, 1 process", IN_MEMORY, 1, 200),
    Arrangement("in-memory layer, 1 process", IN_MEMORY, 1, 1000),
    Arrangement("channels_redis core, 2 processes", "channels_redis.core.RedisChannelLayer", 2, 200),
    Arrangement("channels_redis pub/sub, 2 processes", "channels_redis.pubsub.RedisPubSubChannelLayer", 2, 200),
)


@dataclass
class Result:
    """One way: deliveries per second of each round, the latencies in milliseconds of all, and what was lost in all."""

    per_second: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    lost: int = 0

    @property
    def speed(self) -> float:
        return median(self.per_second)

    def latency(self, percent: float) -> float:
        return percentile(self.latencies, percent)


@dataclass(frozen=True)
class Outcome:
    """Both ways, under the same load."""

    plain: Result = field(default_factory=Result)
    routed: Result = field(default_factory=Result)

    def ratio(self) -> Ratio:
        """The deliveries per second of routesock in those of plain Channels, round by round."""
        pairs = zip(self.routed.per_second, self.plain.per_second, strict=True)
        ratios = [routed / plain for routed, plain in pairs]
        return Ratio(median(ratios), min(ratios), max(ratios))


def measure(arrangement: Arrangement, *, quick: bool = False, redis_url: str | None = None) -> Outcome:
    """Both ways in turn, several times: a flood, then a paced run. ``quick`` is one time, with few subscribers."""
    rounds, subscribers, deliveries, seconds = (1, 4, 10, 0.1) if quick else (5, arrangement.subscribers, 10_000, 2.0)
    outcome = Outcome()
    with ExitStack() as stack:
        pairs = []
        for way, result in ((PLAIN, outcome.plain), (ROUTED, outcome.routed)):
            layer = arrangement.layer(way, redis_url)
            ports = [stack.enter_context(served(way, layer)) for _ in range(arrangement.processes)]
            audience = stack.enter_context(Audience(ports, subscribers))
            audience.hear(WARM_UP, interval=0, every=1)
            pairs.append((audience, result))
        for _ in range(rounds):
            for audience, result in pairs:
                heard = audience.hear(deliveries // subscribers, interval=0, every=LOOK_AT)
                result.per_second.append(heard.delivered / heard.seconds)
                result.lost += heard.lost
            interval = subscribers / (PACE * outcome.plain.per_second[-1])
            for audience, result in pairs:
                heard = audience.hear(max(round(seconds / interval), 2), interval=interval, every=1)
                result.latencies += [one * 1000 for one in heard.latencies]
                result.lost += heard.lost
    return outcome


@contextmanager
def served(way: str, layer: Mapping[str, Any]) -> Iterator[int]:
    """The port of a server in its own process group, all of which is ended afterwards."""
    command: Sequence[str] = [sys.executable, "-m", "benchmarks.fan_out_server", way, json.dumps(layer)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            os.killpg(server.pid, signal.SIGKILL)
