from __future__ import annotations

from collections.abc import Iterator

import pytest
from channels.layers import channel_layers

from .driver import Layer


@pytest.fixture(autouse=True)
def layer() -> Iterator[Layer]:
    """A channel layer of the test's own."""
    layer = Layer()
    before = channel_layers.set("default", layer)
    yield layer
    channel_layers.backends.pop("default")
    if before is not None:
        channel_layers.set("default", before)
