"""Whatever a client sends: one clear reply in the dialect's shape, or by its rules none. The socket goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from routesock.testing import RouteClient
from tests.hostile import (  # noqa: F401  (a fixture, which pytest finds by name)
    MAX_ERROR,
    changed,
    changes,
    frames_before,
    json_values,
    no_faults,
    strict_value,
)

from .chanx import SUITE as CHANX
from .test_transcripts import SUITES
from .transcripts import LAST, Suite, receive

NAMES = ("echo", "text", "PING", "CANCEL", "AUTH", "SUBSCRIBE", "__init__", "dispatch")
CONTROL = (
    "rpc.ping", "rpc.pong", "rpc.on", "rpc.off", "rpc.login", "$/cancelRequest", "$/progress",
    "ping", "pong", "subscribe", "unsubscribe", "authentication",
    "socket.ping", "socket.pong", "socket.cancel", "socket.authorize", "socket.subscribe",
)  # fmt: skip


async def answers(suite: Suite, data: str | bytes) -> list[Any]:
    def is_answer(frame: Any) -> bool:
        read = suite.dialect.incoming(frame)
        return read is not None and read.payload == LAST

    async with RouteClient(suite.consumer) as client:
        return await frames_before(client, data, suite.dialect.request("echo", "the last", LAST), is_answer, receive)


def check(suite: Suite, data: str | bytes) -> None:
    frames = asyncio.run(answers(suite, data))
    value = strict_value(data)
    if not frames:
        assert suite.is_silent(value)
    elif isinstance(frames[0], list):  # a batch
        assert isinstance(value, list)
        assert len(frames[0]) == sum(not suite.is_silent(item) for item in value)
        for frame in frames[0]:
            check_reply(suite, frame)
    else:
        check_reply(suite, frames[0])


def check_reply(suite: Suite, frame: Any) -> None:
    read = suite.dialect.incoming(frame)
    assert read is not None
    if read.status is None:  # the answer to a PING, or an error of a dialect without statuses
        if read.route == "error":
            suite.check_error(frame)
        return
    assert read.status in (200, 201, 204, 400, 404, 409, 413, 422)
    if read.status >= 400:
        suite.check_error(frame)
        assert len(json.dumps(frame)) <= MAX_ERROR


suites = st.sampled_from(SUITES)
names = st.sampled_from((*NAMES, *CONTROL))
ids = st.sampled_from(("c1", 7, None, "i" * 129, 2**60, 1.0, True)) | json_values


@st.composite
def frames(draw: st.DrawFn) -> tuple[Suite, dict[str, Any]]:
    """A request of one of the dialects in which any value may be in the place of any key, or missing."""
    suite = draw(suites)
    frame = suite.dialect.request("echo", 1, {"text": "x"})
    for key in suite.keys:
        what = draw(st.sampled_from(("as it is", "missing", "name", "id", "any")))
        if what == "missing":
            frame.pop(key, None)
        elif what == "name":
            frame[key] = draw(names)
        elif what == "id":
            frame[key] = draw(ids)
        elif what == "any":
            frame[key] = draw(json_values)
    return suite, frame


@given(suite=suites, text=st.text())
@example(suite=SUITES[0], text="[" * 100_000)
@example(suite=SUITES[-1], text="[" * 100_000)
@example(suite=SUITES[-1], text='{"method":' * 5_000)
@example(suite=SUITES[-1], text="[" + ",".join("1" * 1000) + "]")
@settings(max_examples=2 * settings().max_examples)
def test_any_text(suite: Suite, text: str) -> None:
    check(suite, text)


@given(suite=suites, data=st.binary())
def test_any_bytes(suite: Suite, data: bytes) -> None:
    check(suite, data)


@given(suite=suites, value=json_values)
@settings(max_examples=2 * settings().max_examples)
def test_any_json_value(suite: Suite, value: Any) -> None:
    check(suite, json.dumps(value))


@given(frame=frames())
@example(frame=(CHANX, {"action": "authentication", "ref": 7}))
@example(frame=(CHANX, {"action": "authentication", "ref": "i" * 129}))
@settings(max_examples=5 * settings().max_examples)
def test_any_json_value_in_the_place_of_any_key(frame: tuple[Suite, dict[str, Any]]) -> None:
    suite, value = frame
    check(suite, json.dumps(value))


@given(items=st.lists(frames(), max_size=5))
@settings(max_examples=3 * settings().max_examples)
def test_any_frames_in_one_list(items: list[tuple[Suite, dict[str, Any]]]) -> None:
    for suite in SUITES:
        check(suite, json.dumps([value for owner, value in items if owner is suite]))


@given(suite=suites, number=st.integers(1, 70), inner=json_values)
def test_a_request_inside_other_values(suite: Suite, number: int, inner: Any) -> None:
    value: Any = suite.dialect.request("echo", 1, {"inner": inner})
    for level in range(number):
        value = [value] if level % 2 else {**suite.dialect.request("text", level, {"text": "x"}), "params": value}
    check(suite, json.dumps(value))


@given(suite=suites, change=changes)
@settings(max_examples=2 * settings().max_examples)
def test_a_request_with_one_place_changed(suite: Suite, change: tuple[int, str]) -> None:
    text = json.dumps(suite.dialect.request("text", "c1", {"text": "hello"}))
    check(suite, changed(text, change))
