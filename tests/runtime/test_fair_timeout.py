"""FairTimeout: a timeout that does not count the time for which the event loop is blocked."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from routesock._runtime.fair_timeout import MAX_LATE_SLICES, SLICES, FairTimeout


async def test_block_that_ends_in_time() -> None:
    async with FairTimeout(10):
        await asyncio.sleep(0)


async def test_block_that_takes_too_long() -> None:
    """It raises ``TimeoutError``, as ``asyncio.timeout()`` does, and the task can go on."""
    with pytest.raises(TimeoutError):
        async with FairTimeout(0.05):
            await asyncio.sleep(60)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_result_that_arrives_while_the_loop_is_blocked_is_in_time() -> None:
    """Even if the loop is blocked for longer than the timeout."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    loop.call_soon(time.sleep, 0.2)
    loop.call_soon(loop.call_soon, answer.set_result, "done")
    async with FairTimeout(0.05):
        assert await answer == "done"


async def busy(turns: int) -> int:
    """Run iterations of a loop, each blocked for longer than a slice. Return how many ran before the timeout."""
    done = 0
    with suppress(TimeoutError):
        async with FairTimeout(0.005):
            for _ in range(turns):
                time.sleep(0.003)  # noqa: ASYNC251  (the loop has to block)
                await asyncio.sleep(0)
                done += 1
    return done


async def test_late_slices_do_not_count() -> None:
    """A result within some iterations is in time, however long each of them takes."""
    assert await busy(MAX_LATE_SLICES) == MAX_LATE_SLICES


async def test_late_slices_are_bounded() -> None:
    """A loop that is always busy must not wait for ever."""
    assert MAX_LATE_SLICES < await busy(10_000) <= 2 * (MAX_LATE_SLICES + SLICES)


async def test_cancellation_is_not_a_timeout() -> None:
    """A task that is cancelled from outside raises ``CancelledError``."""

    async def wait() -> None:
        async with FairTimeout(60):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_timer_is_cancelled_at_the_end() -> None:
    """It must not interrupt what the task does next."""
    for _ in range(3):
        async with FairTimeout(0.01):
            pass
        with pytest.raises(ValueError, match="own"):
            async with FairTimeout(0.01):
                raise ValueError("own")
    await asyncio.sleep(0.05)
