"""The hubs of this process, and the way to the groups in all processes."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any, Final

from . import losses, numbering
from .broadcasts import Message
from .capacity import widen
from .hub import SEND_LIMIT, Hub
from .revocation import crosses

logger: Final = logging.getLogger("routesock.socket")

_hubs: Final[dict[tuple[int, int], Hub]] = {}
# Loops of several threads share them.
_lock = threading.Lock()


def hub_of(layer: Any) -> Hub:
    """The hub of ``layer`` in the running loop."""
    loop = asyncio.get_running_loop()
    key = (id(layer), id(loop))
    with _lock:
        if key not in _hubs:
            for other, hub in [*_hubs.items()]:
                if hub.loop.is_closed():  # and its sockets were thrown away with it
                    del _hubs[other]
            _hubs[key] = Hub(layer, loop, _forget)
        return _hubs[key]


def _forget(hub: Hub) -> None:
    with _lock:
        if _hubs.get((id(hub.layer), id(hub.loop))) is hub:
            del _hubs[id(hub.layer), id(hub.loop)]


def _hubs_of(layer: Any) -> Iterator[Hub]:
    with _lock:
        hubs = [hub for hub in _hubs.values() if hub.layer is layer]
    yield from hubs


async def send(layer: Any, message: Message) -> None:
    """Bring ``message`` to its group, in all processes that ``layer`` reaches.

    Raises what the layer raises, and ``TimeoutError`` when it takes longer than ``SEND_LIMIT``: the message may have
    arrived then, or not.
    """
    if crosses(layer):
        widen(layer)
        counter, number = numbering.number(layer, message["group"])
        try:
            async with asyncio.timeout(SEND_LIMIT):
                await layer.group_send(message["group"], {**message, "from": counter, "seq": number})
        except BaseException:
            losses.count("failed")
            raise
        losses.count("sent")
        return
    losses.count("sent")
    running = asyncio.get_running_loop()
    for hub in _hubs_of(layer):
        if hub.loop is running:
            await hub.accept(message)
        else:
            try:
                hub.loop.call_soon_threadsafe(hub.take, message)
            except RuntimeError:  # the loop was thrown away, and its sockets with it
                logger.debug("A hub's loop is closed.", exc_info=True)


def _begin_anew() -> None:
    global _lock
    _lock = threading.Lock()
    _hubs.clear()


if hasattr(os, "register_at_fork"):
    # Its loops are its parent's, and do not run here; nor does a thread that may have the lock.
    os.register_at_fork(after_in_child=_begin_anew)
