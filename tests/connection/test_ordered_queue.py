"""Room in the lane of a socket: who waits for it, how long, and who is refused."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import override_settings

from routesock import Request, RouteMixin, route
from routesock.testing import RouteClient


class Patient(RouteMixin, AsyncJsonWebsocketConsumer):
    event: asyncio.Event

    @route("wait")
    async def wait(self, request: Request) -> str:
        await type(self).event.wait()
        for _ in range(4):
            await asyncio.sleep(0)
        return "waited"

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


async def test_a_process_that_stood_still_refuses_nobody_for_it() -> None:
    """The time for room has passed while nothing could run; the job in front ends in a few turns."""
    Patient.event = asyncio.Event()

    def stand_still() -> None:
        Patient.event.set()
        time.sleep(0.03)  # what a busy machine does to the loop

    with override_settings(ROUTESOCK={"MAX_QUEUED": 1}):
        async with RouteClient(Patient) as client:
            calls = [asyncio.ensure_future(client.call("wait"))]
            await asyncio.sleep(0)
            calls += [asyncio.ensure_future(client.call("echo", number)) for number in (1, 2)]
            asyncio.get_running_loop().call_later(0.005, stand_still)
            assert [reply.status for reply in await asyncio.gather(*calls)] == [200, 200, 200]


async def test_a_job_that_does_not_end_is_not_waited_for_again() -> None:
    """One slow handler costs the reader its patience once, so what comes behind it is heard."""
    Patient.event = asyncio.Event()
    with override_settings(ROUTESOCK={"MAX_QUEUED": 1}):
        async with RouteClient(Patient) as client:
            slow = asyncio.ensure_future(client.call("wait"))
            await asyncio.sleep(0)
            queued = asyncio.ensure_future(client.call("echo", 1))
            refused = await asyncio.gather(*(client.call("echo", number) for number in range(20)))
            assert {reply.status for reply in refused} == {429}
            assert not slow.done()
            assert await client.ping("still heard") == "still heard"
            Patient.event.set()
            assert (await slow).status == (await queued).status == 200
            assert (await client.call("echo", "again")).status == 200
