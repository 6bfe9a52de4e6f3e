"""What a channel layer brings to a hub: each message once, and a word about those that it did not bring."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from .broadcasts import Message
from .losses import Burst, count, dropped, named
from .numbering import Watch
from .signals import deliveries_lost

logger: Final = logging.getLogger("routesock.socket")

SETTLES: Final = 1.0
"""Seconds after a hub has joined a group in which what comes may have been sent before that."""


class Stay:
    """The time that a hub is in a group, from the moment at which the layer has said so."""

    __slots__ = ("settled",)

    def __init__(self, now: float) -> None:
        self.settled = now + SETTLES


class Arrivals:
    """Counts what a layer brings to the hub of ``loop``, and what it lacks."""

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._layer = type(layer)
        self._loop = loop
        self._watch = Watch()
        self._lost = Burst(loop, self._tell_lost)
        self._backlog = Burst(loop, self._tell_backlog)

    def is_new(self, stay: Stay, message: Message) -> bool:
        """Whether ``message``, to a group that the hub is in, is to be delivered: it is not, if it was before."""
        counter, number = message.get("from"), message.get("seq")
        if isinstance(counter, str) and isinstance(number, int):  # an older routesock sends none
            certain = self._loop.time() >= stay.settled
            more = self._watch.arrived(stay, counter, number, certain=certain)
            if more is None:
                count("repeated")
                return False
            if more:
                self._lost.add(message["group"], more)
        count("received")
        return True

    def overflow(self, group: str, members: int) -> None:
        """A broadcast to ``group`` is dropped, since too many wait to be written."""
        self._backlog.add(group, members)

    def end(self) -> None:
        """Nothing more will come."""
        self._lost.end()
        self._backlog.end()

    def _tell_lost(self, number: int, groups: tuple[str, ...]) -> None:
        self._watch.settle()
        if not number:
            return
        count("lost", number)
        logger.warning(
            "%d broadcasts to %d groups did not arrive: the channel layer %s dropped them (its capacity or expiry, or "
            "it was restarted). Groups: %s.",
            number,
            len(groups),
            self._layer.__name__,
            named(groups),
        )
        deliveries_lost.tell(self._layer, count=number, groups=groups, reason="layer")

    def _tell_backlog(self, number: int, groups: tuple[str, ...]) -> None:
        logger.warning(
            "%d pushes in %d groups were dropped: other threads broadcast faster than the event loop can write. "
            "Groups: %s.",
            number,
            len(groups),
            named(groups),
        )
        dropped(self._layer, number, "backlog", groups)
