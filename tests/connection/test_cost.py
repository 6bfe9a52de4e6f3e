"""What a frame of the default dialect costs, counted in calls: a count does not depend on the load of the machine."""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

import routesock
from benchmarks.driving import Application, Arrival, Peer, Traffic
from routesock import Request, RouteMixin, route
from routesock._connection import readers
from routesock._connection.queue import job_queue
from routesock._runtime import database
from routesock._wire.messages import request_with

PACKAGE = routesock.__path__[0]

FEW, MANY = 64, 224
"""Frames. Both numbers are multiples of the frames after which a socket lets others run."""


class Echo(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo.0", public=True)
    async def echo(self, request: Request) -> Any:
        return request.payload


async def calls_per_frame(application: Application, arrival: Arrival) -> Counter[str]:
    """Return how often each function was called per frame: those of routesock, and those written in C."""
    few, many = [await _calls(application, arrival, number) for number in (FEW, MANY)]
    many.subtract(few)
    return Counter({name: round(number / (MANY - FEW)) for name, number in many.items()})


async def _calls(application: Application, arrival: Arrival, number: int) -> Counter[str]:
    calls: Counter[str] = Counter()

    def count(frame: Any, event: str, function: Any) -> None:
        if event == "c_call":
            calls[getattr(function, "__qualname__", repr(function))] += 1
        elif event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls[f"routesock: {frame.f_code.co_qualname}"] += 1  # a coroutine that goes on counts as well

    peer = Peer(Traffic(number, ("echo.0",)), arrival, lambda: 0.0)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        await asyncio.create_task(peer.serve(application))
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("arrival", Arrival)
async def test_what_a_frame_costs(arrival: Arrival, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each open connection to a database is looked at. The tests before this one have left some.
    monkeypatch.setattr(database._shared, "_opened", {})
    # A task lets others run after some milliseconds, which are few frames on a busy machine, and then goes on again.
    for module in (readers, job_queue):
        monkeypatch.setattr(module, "FAIR_SECONDS", math.inf)
    calls = await calls_per_frame(Echo.as_asgi(), arrival)
    ours = {name: number for name, number in calls.items() if number and name.startswith("routesock: ")}
    assert 10 <= sum(ours.values()) <= 16 + (arrival is Arrival.QUEUE), ours  # there the reader goes on once
    # The beginning of the request, and for how long its frame holds the loop: two, since a wait does not count.
    assert calls["perf_counter"] == 3
    # What a task sees that starts beside the handler.
    assert calls["Context.copy"] == 1
    if arrival is Arrival.READY:  # else the loop's own are among them
        assert calls["Context.run"] == 1


def test_a_request_has_all_attributes_that_the_class_gives_it() -> None:
    request = Request("a", 1, {"b": 2}, {"c": "d"}, None)
    made = request_with("a", 1, {"b": 2}, {"c": "d"}, None, "frame")
    names = {name for name in Request.__slots__ if hasattr(request, name)}
    assert {name: getattr(made, name) for name in names} == {name: getattr(request, name) for name in names}
    assert {name for name in Request.__slots__ if hasattr(made, name)} - names == {"_frame"}
    assert made.frame == "frame"
