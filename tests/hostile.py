"""Hostile frames, and what a socket sends before it answers the next request: for every dialect."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import strategies as st

from routesock.testing import RouteClient

MAX_ERROR: Final = 4096
"""Bytes that an error's frame may have."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

changes = st.tuples(
    st.integers(0, 60),
    st.characters() | st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", ":", "\x00", "\ud800", "NaN"]),
)
"""A place in a frame, and what stands there."""


def changed(text: str, change: tuple[int, str]) -> str:
    """Return ``text`` with one character replaced."""
    place, insert = change
    return text[:place] + insert + text[place + 1 :]


@pytest.fixture(autouse=True)
def no_faults(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A hostile frame is the client's fault: none of these tests may leave an error in the log."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def strict_value(data: str | bytes) -> Any:
    """Return what ``data`` holds as strict JSON, ``None`` for what is none."""
    try:
        return json.loads(data, parse_constant=_refuse_constant) if isinstance(data, str) else None
    except (ValueError, RecursionError, AssertionError):
        return None


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


async def frames_before(
    client: RouteClient,
    data: str | bytes,
    request: Any,
    is_answer: Callable[[Any], object],
    receive: Callable[[RouteClient], Awaitable[Any]] = RouteClient.receive,
) -> list[Any]:
    """Send ``data`` and ``request``. Return what comes back before the frame that answers ``request``, at most one.

    All of it is strict JSON.
    """
    await (client.send_text(data) if isinstance(data, str) else client.send_bytes(data))
    await client.send_text(json.dumps(request))
    frames: list[Any] = []
    while True:
        frame = await receive(client)
        json.dumps(frame, allow_nan=False)
        if is_answer(frame):
            assert len(frames) <= 1
            return frames
        frames.append(frame)
