"""Channel layers in memory that stand in for others, and a place for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from channels.layers import InMemoryChannelLayer, channel_layers

L = TypeVar("L", bound=InMemoryChannelLayer)


class Crossing(InMemoryChannelLayer):
    """One that passes for a layer which reaches other processes."""


CROSSING = {"BACKEND": f"{__name__}.Crossing"}


@contextmanager
def as_default(layer: L) -> Iterator[L]:
    """``layer`` in the place of the default one."""
    before = channel_layers.set("default", layer)
    try:
        yield layer
    finally:
        channel_layers.backends.pop("default", None)
        if before is not None:
            channel_layers.set("default", before)
