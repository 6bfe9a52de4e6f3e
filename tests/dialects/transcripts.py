"""Conversations between a peer's client and server, and how to play either side of them with a dialect.

A module for each dialect has a :class:`Suite`. Its transcripts are taken from the peer's specification, README or
source, and are read from both sides: :func:`serve` plays the client against a routesock consumer, and
:func:`check_client` has the client's half of the dialect write the requests and read what the server sends.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from routesock.dialects import Dialect
from routesock.testing import RouteClient


class Call(NamedTuple):
    """The arguments of ``dialect.request()``."""

    route: str
    id: Any = None
    payload: Any = None


class Read(NamedTuple):
    """The first four parts of what ``dialect.incoming()`` returns."""

    route: Any
    id: Any
    status: Any
    payload: Any


class Sent(NamedTuple):
    """What the client sends. ``call`` is ``None`` for a frame that no client of routesock's would send."""

    text: str
    call: Call | None = None


class Received(NamedTuple):
    """What the server sends. ``read`` is ``None`` for a frame that the client's half does not read, such as a batch."""

    text: str
    read: Read | None = None


@dataclass(frozen=True)
class Transcript:
    """One conversation, in its order. ``source`` says where it is written down."""

    name: str
    source: str
    steps: tuple[Sent | Received, ...]


@dataclass(frozen=True)
class Suite:
    """What the tests of all dialects need to know of one.

    ``consumer`` has a route ``echo``, which returns its payload, and a route ``text`` with a schema that requires a
    string ``text``. ``may_add`` are keys that our frames may have beside those in the transcripts. ``keys`` are the
    dialect's own keys in a frame. ``is_silent`` says of a decoded frame whether by the dialect's rules nothing answers
    it; ``check_error`` fails for an error that does not have the dialect's shape.
    """

    name: str
    consumer: type
    transcripts: tuple[Transcript, ...]
    keys: tuple[str, ...]
    is_silent: Callable[[Any], bool]
    check_error: Callable[[Any], None]
    may_add: frozenset[str] = field(default=frozenset())

    @property
    def dialect(self) -> Dialect:
        return self.consumer.route_dialect  # type: ignore[attr-defined, no-any-return]

    def __repr__(self) -> str:
        return self.name


LAST = {"text": "the last request"}


async def serve(suite: Suite, transcript: Transcript) -> None:
    """Play the client's side. What the server sends has to be what the transcript says, and nothing else."""
    async with RouteClient(suite.consumer) as client:
        for step in transcript.steps:
            if isinstance(step, Sent):
                await client.send_text(step.text)
            else:
                frame = await receive(client)
                assert is_same(json.loads(step.text), frame, suite.may_add), frame
        await client.send_text(json.dumps(suite.dialect.request("echo", "last", LAST)))
        frame = await receive(client)
        last = suite.dialect.incoming(frame)
        assert last is not None, frame
        assert last.payload == LAST, frame


def check_client(suite: Suite, transcript: Transcript) -> None:
    """Check that the client's half of the dialect writes these requests, and reads these answers."""
    for step in transcript.steps:
        value = load(step.text)
        if isinstance(step, Sent):
            assert step.call is None or suite.dialect.request(*step.call) == value
        else:
            read = suite.dialect.incoming(value)
            assert (None if read is None else Read(*read[:4])) == step.read


async def receive(client: RouteClient) -> Any:
    """The next frame, decoded. ``RouteClient`` decodes objects alone."""
    frame = await client.receive()
    return json.loads(frame) if isinstance(frame, str) else frame


def load(text: str) -> Any:
    """The JSON value of ``text``, ``None`` if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def is_same(expected: Any, actual: Any, may_add: frozenset[str]) -> bool:
    """Whether both are the same, but for keys in ``may_add``. Lists may be in any order: JSON-RPC allows it in batches.

    A ``"..."`` in ``expected`` stands for any value.
    """
    if expected == "...":
        return True
    if isinstance(expected, dict) and isinstance(actual, dict):
        added = actual.keys() - expected.keys()
        return added <= may_add and all(
            key in actual and is_same(value, actual[key], may_add) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return False
        left = list(actual)
        for item in expected:
            found = next((index for index, other in enumerate(left) if is_same(item, other, may_add)), None)
            if found is None:
                return False
            del left[found]
        return True
    return type(expected) is type(actual) and bool(expected == actual)


def names_are_unique(suites: list[Suite]) -> bool:
    """Whether each transcript has its own test id."""
    counted = Counter((suite.name, transcript.name) for suite in suites for transcript in suite.transcripts)
    return all(number == 1 for number in counted.values())
