"""JSON text of one request in, of one reply out: what routesock keeps, the standard way, and what it does not use."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from timeit import Timer
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from routesock._wire import codec

from .driving import PAYLOAD, Clock, reply

REQUEST = json.dumps({"route": "echo.0", "uuid": "c0000000", "payload": PAYLOAD})
REPLY = reply("echo.0", "c0000000", PAYLOAD)

# Faster, and not used: both write NaN as null, and orjson reads integers beyond 64 bits as floats.
_FAST = ("orjson", "msgspec")


@dataclass(frozen=True)
class Timed:
    """The microseconds of one call; ``ratio`` is the median over rounds, to the first way of its list."""

    name: str
    microseconds: float
    ratio: float


def decoders() -> dict[str, Callable[[], Any]]:
    ways: dict[str, Callable[[], Any]] = {
        "json.loads": partial(json.loads, REQUEST),
        "routesock._wire.codec.decode": partial(codec.decode, REQUEST, 64),
    }
    for name in filter(find_spec, _FAST):
        library = import_module(name)
        loads = library.json.decode if name == "msgspec" else library.loads
        ways[name] = partial(loads, REQUEST)
    return ways


def encoders() -> dict[str, Callable[[], Any]]:
    ways: dict[str, Callable[[], Any]] = {
        "json.dumps, DjangoJSONEncoder": partial(json.dumps, REPLY, cls=DjangoJSONEncoder),
        "json.dumps": partial(json.dumps, REPLY),
        "routesock._wire.codec.encode": partial(codec.encode, REPLY),
    }
    for name in filter(find_spec, _FAST):
        library = import_module(name)
        dumps = library.json.encode if name == "msgspec" else library.dumps
        ways[name] = partial(_text, dumps)
    return ways


def _text(dumps: Callable[[Any], bytes]) -> str:
    return dumps(REPLY).decode()


def measure(ways: dict[str, Callable[[], Any]], *, rounds: int, slot: float, clock: Clock) -> list[Timed]:
    count = max(int(slot / 4e-6 / len(ways)), 20)
    timers = {name: Timer(call, timer=clock) for name, call in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(timer.timeit(count) / count)
    first = next(iter(times.values()))
    return [
        Timed(name, median(own) * 1e6, median(a / b for a, b in zip(own, first, strict=True)))
        for name, own in times.items()
    ]
