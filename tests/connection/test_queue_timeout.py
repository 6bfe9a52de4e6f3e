"""A request is refused behind a job that is slow, and not in a process that stood still."""

from __future__ import annotations

import asyncio
import time

from routesock._connection.queue.jobs import _LATE_SLICES, JobSource
from routesock._connection.state import SocketState


class Source(JobSource):
    async def read(self) -> None:
        raise NotImplementedError


async def submit(source: Source) -> bool:
    """Wait for a slot as a reader does; ``False``: the request is refused."""
    while not source.take_slot():
        if not await source.wait_for_slot(refusable=True):
            return False
    return True


async def blocked(times: int) -> None:
    """Block the loop, each time for longer than the queue timeout."""
    for _ in range(times):
        time.sleep(0.025)  # noqa: ASYNC251  (the loop has to block)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_job_that_is_slow_has_the_next_request_refused() -> None:
    source = Source(1, SocketState())
    assert source.take_slot()
    assert not await submit(source)
    assert not await submit(source)


async def test_a_loop_that_was_blocked_refuses_nothing() -> None:
    source = Source(1, SocketState())
    assert source.take_slot()
    submitting = asyncio.create_task(submit(source))
    await asyncio.sleep(0)
    await blocked(5)
    assert not submitting.done()
    source.free_slot()
    assert await submitting


async def test_a_loop_that_is_always_late_refuses_in_the_end() -> None:
    source = Source(1, SocketState())
    assert source.take_slot()
    submitting = asyncio.create_task(submit(source))
    await asyncio.sleep(0)
    for _ in range(4 * _LATE_SLICES):
        if submitting.done():
            break
        await blocked(1)
    assert not await submitting
