"""Channel layers: their capacity, and whether a layer reaches other processes."""

from __future__ import annotations

import re
from typing import Any, Final

from channels.layers import InMemoryChannelLayer

LEAST: Final = 1000
"""Messages; Channels' own default of 100 is meant for one member, and a process that is busy for 0.1 s is over it."""

_SUFFIX: Final = ".routesock"

_HUBS: Final = re.compile(r"[^!]+![^!]*\.routesock\Z")


def hub_channel(layer: Any, channel: str) -> str:
    """``channel``, which ``layer`` has made for a hub, under a name that tells so, where the layer bounds by names."""
    return channel + _SUFFIX if _bounds(layer) is not None and "!" in channel else channel


def widen(layer: Any) -> None:
    """Let ``layer`` keep :data:`LEAST` messages at least for each hub: those that send decide on that.

    Whatever the ``channel_capacity`` of its settings says of such a channel stays.
    """
    bounds = _bounds(layer)
    if bounds is not None and not any(pattern is _HUBS for pattern, _ in bounds):
        bounds.append((_HUBS, max(LEAST, layer.capacity)))


def _bounds(layer: Any) -> list[tuple[re.Pattern[str], int]] | None:
    """The bounds of a layer that has them by the names of channels: those of Channels' own base class."""
    bounds = getattr(layer, "channel_capacity", None)
    return bounds if isinstance(bounds, list) and isinstance(getattr(layer, "capacity", None), int) else None


def crosses(layer: Any) -> bool:
    """Whether ``layer`` has groups that reach other processes."""
    return layer.__class__ is not InMemoryChannelLayer and "groups" in getattr(layer, "extensions", ())
