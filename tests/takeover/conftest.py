from __future__ import annotations

from collections.abc import Iterator

import pytest
from channels.layers import channel_layers

from .driver import Layer
from .flavours import Gate


@pytest.fixture(autouse=True)
def layer() -> Iterator[Layer]:
    """A channel layer of the test's own."""
    layer = Layer()
    before = channel_layers.set("default", layer)
    yield layer
    channel_layers.backends.pop("default", None)
    if before is not None:
        channel_layers.set("default", before)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """What handlers wait for; opened in the end, so that no thread is left waiting."""
    gate = Gate()
    yield gate
    gate.open()
