"""Whatever a client sends: at most one reply, strict JSON, and the socket answers the next request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from marshmallow import Schema, fields

from routesock import Keys, Request, RouteMixin, route
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


class TextSchema(Schema):
    text = fields.Str(required=True)


class Strict(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=TextSchema)
    async def text(self, request: Request) -> Any:
        return request.payload


class StrictSync(RouteMixin, JsonWebsocketConsumer):
    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=TextSchema)
    def text(self, request: Request) -> Any:
        return request.payload


class Flat(Strict):
    route_dialect = Keys(route="action", id="request_id", payload=None)


NAMES = ("echo", "text")
SILENT = ("CANCEL", "PONG")


async def answers(consumer: type, frame: str | bytes) -> list[dict[str, Any]]:
    keys = consumer.route_dialect  # type: ignore[attr-defined]

    def is_answer(reply: Any) -> bool:
        assert isinstance(reply, dict)
        read = keys.incoming(reply)
        if read.id != "the next":
            return False
        assert read[2:4] == (200, {"text": "x"})
        return True

    async with RouteClient(consumer, timeout=30) as client:
        return await frames_before(client, frame, keys.request("echo", "the next", {"text": "x"}), is_answer)


def check(consumer: type, frame: str | bytes) -> None:
    replies = asyncio.run(answers(consumer, frame))
    dialect = consumer.route_dialect  # type: ignore[attr-defined]
    content = strict_value(frame)
    if not replies:
        # Only a cancel of nothing, a PONG and a notification that succeeded are silent.
        assert isinstance(content, dict)
        frame = dialect.read(content)
        assert frame.route in SILENT or (frame.route in NAMES and frame.id is None)
        return
    reply = dialect.incoming(replies[0])
    if reply.route == "PONG":
        assert reply.status is None
        return
    assert reply.status in (200, 204, 400, 404, 413, 422)
    if reply.status >= 400:
        assert len(json.dumps(replies[0])) <= MAX_ERROR
        assert {"code", "title", "detail"} <= reply.payload.keys()
    else:
        assert isinstance(content, dict)
        assert reply.id == dialect.read(content).id


names = st.sampled_from((*NAMES, *SILENT, "PING", "CLOSE", "AUTH", "__init__", "dispatch", "send"))
consumers = st.sampled_from((Strict, StrictSync, Flat))


@given(consumer=consumers, text=st.text())
@example(consumer=Strict, text="[" * 100_000)
@example(consumer=Strict, text='{"route":' * 5_000)
@example(consumer=Strict, text='{"route": "echo", "payload": ' + "1" * 5_000 + "}")
@example(consumer=Strict, text='{"route": "echo", "route": "nowhere"}')
@settings(max_examples=2 * settings().max_examples)
def test_any_text_frame(consumer: type, text: str) -> None:
    check(consumer, text)


@given(consumer=consumers, data=st.binary())
def test_any_binary_frame(consumer: type, data: bytes) -> None:
    check(consumer, data)


@given(consumer=consumers, value=json_values)
@settings(max_examples=2 * settings().max_examples)
def test_any_json_value(consumer: type, value: Any) -> None:
    check(consumer, json.dumps(value))


@given(
    consumer=consumers,
    name=names | json_values,
    id=st.sampled_from(("c1", 7)) | json_values,
    payload=json_values,
    headers=st.none() | st.just({}) | json_values,
    absent=st.sets(st.sampled_from(("route", "uuid", "payload", "headers", "action", "request_id"))),
)
@settings(max_examples=3 * settings().max_examples)
def test_any_json_value_in_the_place_of_any_part(
    consumer: type, name: Any, id: Any, payload: Any, headers: Any, absent: set[str]
) -> None:
    if consumer is Flat:
        frame = {**(payload if isinstance(payload, dict) else {"x": payload}), "action": name, "request_id": id}
    else:
        frame = {"route": name, "uuid": id, "payload": payload, "headers": headers}
    check(consumer, json.dumps({key: value for key, value in frame.items() if key not in absent}))


@given(consumer=consumers, change=changes)
@settings(max_examples=2 * settings().max_examples)
def test_a_request_with_one_place_changed(consumer: type, change: tuple[int, str]) -> None:
    text = json.dumps(consumer.route_dialect.request("text", "c1", {"text": "hello"}))  # type: ignore[attr-defined]
    check(consumer, changed(text, change))
