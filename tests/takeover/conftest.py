from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.layers.in_memory import as_default

from .driver import Layer
from .flavours import Gate


@pytest.fixture(autouse=True)
def layer() -> Iterator[Layer]:
    """A channel layer of the test's own."""
    with as_default(Layer()) as layer:
        yield layer


@pytest.fixture
def gate() -> Iterator[Gate]:
    """What handlers wait for; opened in the end, so that no thread is left waiting."""
    gate = Gate()
    yield gate
    gate.open()
