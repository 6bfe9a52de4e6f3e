"""Frames of a plain ``Keys`` dialect are decided alike with and without the look-ups that replace its methods.

A dialect of a subclass is always called, so one that overrides nothing shows what the methods would have decided.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from hypothesis import example, given
from hypothesis import strategies as st

from routesock import Keys, Request, RouteMixin, route
from routesock._connection.frame_parser import FrameParser
from routesock._wire.frames import Auth, Ping, Refusal


class AlwaysCalled(Keys):
    """A dialect that the parser has to call, since a subclass may override its methods."""


class Plain(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("items")
    async def items(self, request: Request) -> Any:
        yield request.payload


class PlainThroughMethods(Plain):
    route_dialect = AlwaysCalled()


class Renamed(Plain):
    route_dialect = Keys(route="action", id="request_id", payload="data", headers="meta")


class RenamedThroughMethods(Plain):
    route_dialect = AlwaysCalled(route="action", id="request_id", payload="data", headers="meta")


IN_FLIGHT = "taken"

KEYS = ("route", "uuid", "payload", "headers", "action", "request_id", "data", "meta")

values = st.one_of(
    st.sampled_from(["echo", "items", "PING", "CANCEL", "unknown", "", IN_FLIGHT, "x" * 128, "x" * 129]),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["Request-Timeout", "other"]), st.integers(), max_size=2),
)

frames = st.one_of(
    values,
    st.dictionaries(st.sampled_from(KEYS), values),
    st.fixed_dictionaries(
        {"route": st.sampled_from(["echo", "items"]), "uuid": st.text(max_size=5)}, optional={"payload": values}
    ),
    st.fixed_dictionaries({"action": st.just("echo"), "request_id": st.text(max_size=5)}, optional={"data": values}),
)


def decision(cls: Any, text: str, max_frame: int = 65_536) -> Any:
    """Return what the parser of ``cls`` decides about the frame ``text``, in a form that can be compared."""
    consumer = cls()
    consumer.scope = {"type": "websocket"}
    parser = FrameParser(consumer, cls._routesock, {IN_FLIGHT})
    parser._max_frame = max_frame
    decided = parser.frame({"type": "websocket.receive", "text": text})
    if isinstance(decided, Request | Ping | Auth):
        request = decided if isinstance(decided, Request) else decided.request
        assert request.consumer is consumer
        headers = dict(request.headers)
        parts = (request.route, request.id, type(request.id), request.payload, request.data, headers, request.timeout)
        return parts if isinstance(decided, Request) else (type(decided), *parts)
    if isinstance(decided, Refusal):
        return type(decided.error), decided.error.problem(), decided.route, decided.id
    return decided


@pytest.mark.parametrize(
    ("plain", "through_methods"),
    [(Plain, PlainThroughMethods), (Renamed, RenamedThroughMethods)],
    ids=["default", "renamed"],
)
@given(frame=frames)
@example(frame={"route": "echo", "uuid": IN_FLIGHT})
@example(frame={"route": "echo", "uuid": "x" * 129})
@example(frame={"route": "echo", "uuid": "1", "headers": {"Request-Timeout": 3}})
@example(frame={"route": "items", "payload": 1})
@example(frame={"route": "PING", "uuid": 1, "payload": [2]})
@example(frame={"action": "PING", "route": "items"})
def test_a_frame_is_decided_as_by_the_methods_of_its_dialect(plain: Any, through_methods: Any, frame: Any) -> None:
    text = json.dumps(frame)
    assert decision(plain, text) == decision(through_methods, text)


@given(frame=frames)
def test_a_frame_that_is_too_large_is_decided_as_by_the_methods_of_its_dialect(frame: Any) -> None:
    text = json.dumps(frame)
    assert decision(Plain, text, 10) == decision(PlainThroughMethods, text, 10)


def test_a_plain_request_does_not_call_its_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Keys, "read")
    text = json.dumps({"route": "echo", "uuid": "1", "payload": [2]})
    assert decision(Plain, text)[:4] == ("echo", "1", str, [2])
