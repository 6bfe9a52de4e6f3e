"""Reads one channel of a layer in a separate task, so that closing a socket never interrupts the layer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

from .._compat import keeps_channel, tracks_channels, wake_receiver
from .._runtime.fair_timeout import wait_fairly

END_LIMIT: Final = 1.0
"""Seconds that the end of a socket waits for a ``receive()`` that was cancelled. Its clean-up may take longer."""

LOST_AFTER: Final = 0.25
"""Seconds after which a cancellation is repeated that a layer has lost, as ``asyncio.wait_for`` of Python 3.11 may."""

PERHAPS_LOST_AFTER: Final = 10.0
"""The same for a layer that does not show whether it has lost the cancellation, or still cleans up."""

Receive = Callable[[], Awaitable[Any]]


class ChannelReader:
    """Reads ``channel`` of ``layer``, one message at a time.

    A ``receive()`` of the core layer takes messages of all sockets of the process: if it is cancelled, it may take one
    along. So a task waits for each message, and only what waits for that task is cancelled.
    """

    __slots__ = ("_arrived", "_channel", "_layer", "_loop", "_reading", "_waiter")

    def __init__(self, layer: Any, channel: str, loop: asyncio.AbstractEventLoop) -> None:
        self._layer = layer
        self._channel = channel
        self._loop = loop
        self._reading: asyncio.Task[None] | None = None
        self._arrived: tuple[Any, BaseException | None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self, receive: Receive) -> tuple[Any, BaseException | None]:
        """The next message from ``receive``, or what that raised. If it is cancelled, the next call goes on with it."""
        while self._arrived is None:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.Task(self._read_one(receive), loop=self._loop)  # with no task factory
            self._waiter = self._loop.create_future()
            await self._waiter
        arrived, self._arrived = self._arrived, None
        return arrived

    async def _read_one(self, receive: Receive) -> None:
        try:
            self._arrived = await _outcome(receive)
        finally:  # woken from here, and not by the end of the task, which would take another turn of the loop
            if self._waiter is not None and not self._waiter.done():
                if self._arrived is None:
                    self._waiter.cancel()  # as the layer's receive() was
                else:
                    self._waiter.set_result(None)

    async def end(self) -> None:
        """Have the layer forget the channel. Returns when it has, or after :data:`END_LIMIT`."""
        reading, self._reading = self._reading, None
        if reading is None or reading.done():
            await wait_fairly({outlive(release_channel(self._layer, self._channel))}, END_LIMIT)
            return
        _unfinished.add(reading)
        reading.add_done_callback(_unfinished.discard)
        # A core layer's is not waited for: one that reads for the whole process ends with the next message.
        if not wake_receiver(self._layer, self._channel):
            reading.cancel()
            self._loop.call_later(LOST_AFTER, _cancel_if_lost, self._layer, self._channel, reading, 0.0)
            await wait_fairly({reading}, END_LIMIT)


async def _outcome(receive: Receive) -> tuple[Any, BaseException | None]:
    try:
        return await receive(), None
    except Exception as exc:
        return None, exc
    except (SystemExit, KeyboardInterrupt) as exc:  # which a task would pass on to the loop, and not to the caller
        return None, exc


def _cancel_if_lost(layer: Any, channel: str, reading: asyncio.Task[Any], waited: float) -> None:
    """Cancel ``reading`` again if the layer has lost its cancellation. A clean-up that takes long is left alone."""
    if reading.done():
        return
    waited += LOST_AFTER
    lost = keeps_channel(layer, channel) if tracks_channels(layer) else waited >= PERHAPS_LOST_AFTER
    if lost:
        reading.cancel()
        waited = 0.0
    reading.get_loop().call_later(LOST_AFTER, _cancel_if_lost, layer, channel, reading, waited)


_unfinished: Final[set[asyncio.Task[Any]]] = set()
"""What layers still do for sockets that have ended. A loop keeps no reference to its tasks."""


def outlive(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run ``coroutine`` in a task that outlives the socket."""
    task = asyncio.Task(coroutine, loop=asyncio.get_running_loop())
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)
    return task


async def release_channel(layer: Any, channel: str) -> None:
    """Have ``layer`` forget a channel that nothing reads.

    The pub/sub layer subscribes in ``new_channel()``, and unsubscribes in a ``receive()`` that is cancelled.
    """
    while keeps_channel(layer, channel):
        receiving = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)  # it has begun then
        receiving.cancel()
        await asyncio.wait({receiving})
        if receiving.cancelled() or receiving.exception() is not None:
            break  # otherwise it has returned a message that was waiting


async def new_channel(layer: Any) -> str:
    """A new channel of ``layer``. If the caller is cancelled meanwhile, the layer forgets the channel."""
    opening = asyncio.Task(layer.new_channel(), loop=asyncio.get_running_loop())
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(partial(_opened_for_nothing, layer))
        _unfinished.add(opening)
        raise


def _opened_for_nothing(layer: Any, opening: asyncio.Task[str]) -> None:
    _unfinished.discard(opening)
    if not opening.cancelled() and opening.exception() is None:
        _ = outlive(release_channel(layer, opening.result()))
