"""How long somebody else is waited for: our own standing still is not held against them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from routesock.throttling.base import MAX_LATE_SLICES, SLICES, FairTimeout


async def test_block_that_ends_in_time_is_left_alone() -> None:
    async with FairTimeout(10):
        await asyncio.sleep(0)


async def test_time_is_over() -> None:
    """A ``TimeoutError``, as from ``asyncio.timeout()``; the task can go on."""
    with pytest.raises(TimeoutError):
        async with FairTimeout(0.05):
            await asyncio.sleep(60)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_answer_that_came_while_the_loop_stood_still_is_heard() -> None:
    """Although by then the time is over more than once."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    loop.call_soon(time.sleep, 0.2)
    loop.call_soon(loop.call_soon, answer.set_result, "heard")
    async with FairTimeout(0.05):
        assert await answer == "heard"


async def busy(turns: int) -> int:
    """So many turns of a loop that is busy for much longer than a part of the time in each; how many there were."""
    done = 0
    with suppress(TimeoutError):
        async with FairTimeout(0.005):
            for _ in range(turns):
                time.sleep(0.003)  # noqa: ASYNC251  (it is to stand still)
                await asyncio.sleep(0)
                done += 1
    return done


async def test_time_does_not_pass_while_the_loop_is_busy() -> None:
    """So somebody who answers within some turns of the loop is heard, however long each turn is."""
    assert await busy(MAX_LATE_SLICES) == MAX_LATE_SLICES


async def test_patience_ends_in_a_loop_that_is_always_busy() -> None:
    """What waits there must be decided, too."""
    assert MAX_LATE_SLICES < await busy(10_000) <= 2 * (MAX_LATE_SLICES + SLICES)


async def test_cancellation_is_not_taken_for_the_end_of_the_time() -> None:
    """A client that leaves is a client that leaves."""

    async def wait() -> None:
        async with FairTimeout(60):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_is_left_behind() -> None:
    """No timer goes off later and hits what the task does next."""
    for _ in range(3):
        async with FairTimeout(0.01):
            pass
        with pytest.raises(ValueError, match="own"):
            async with FairTimeout(0.01):
                raise ValueError("own")
    await asyncio.sleep(0.05)
