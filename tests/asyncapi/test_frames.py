"""Real consumers: each frame that they send fits one message, and what they refuse fits none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import AnonymousUser

from routesock._asyncapi.document import build
from routesock.dialects import Dialect
from tests.asyncapi import zoo
from tests.asyncapi.frames import accepted, channel_at, exchange, fitting
from tests.asyncapi.zoo import SCRIPT, UUID

DOCUMENT = build(zoo.application)

CLASSES = {
    "/nested/{pk}/{name}/": (zoo.Nested, "/nested/1/a/"),
    "/flat/": (zoo.Flat, "/flat/"),
    "/camel/{room}/": (zoo.Camel, "/camel/a/"),
    "/dcrf/": (zoo.OfDcrf, "/dcrf/"),
    "/token/": (zoo.Zoo, "/token/"),
}

TREE = {"name": "a", "children": [{"name": "b", "children": []}]}

REQUESTS: list[tuple[str, Any]] = [
    ("echo", {"a": 1}),
    ("tree", TREE),
    ("tree", {"name": ""}),
    ("tree", {"children": 1}),
    ("item", {"id": 1}),
    ("item", {"id": "x"}),
    ("item.maybe", {"id": 0}),
    ("item.maybe", {"id": 2, "title": "t"}),
    ("created", {"name": "x"}),
    ("created", {"name": "x" * 51}),
    ("done", {}),
    ("moved", {"gone": True}),
    ("moved", {"gone": False}),
    ("list", {}),
    ("stream", {"n": 1}),
    ("stream", {"fail": True}),
    ("silent", {}),
    ("silent", {"fail": 1}),
    ("secret", {}),
    ("Żółw & <script>", {}),
    ("Żółw_& <script>", {}),
    ("push", {}),
    ("SUBSCRIBE", {"topic": f"room.{UUID}"}),
    ("SUBSCRIBE", {"topic": f"room.{UUID}"}),
    ("SUBSCRIBE", {"topic": "room.vip"}),
    ("SUBSCRIBE", {"topic": "room.5"}),
    ("SUBSCRIBE", {"topic": "a/b.c-x.d"}),
    ("SUBSCRIBE", {"topic": "none"}),
    ("UNSUBSCRIBE", {"topic": "room.vip"}),
    ("UNSUBSCRIBE", {"topic": "room.vip"}),
    ("PING", {"at": 1}),
    ("AUTH", {"token": "t"}),
    ("unknown", {}),
    (SCRIPT, {}),
    ("HELLO", {}),
]

REFUSED = {400, 404, 422}
"""Statuses that mean that the frame itself was wrong."""


@pytest.fixture(autouse=True)
async def _no_groups() -> None:
    layer: Any = get_channel_layer()
    await layer.flush()


def texts_of(dialect: Dialect) -> list[str]:
    frames = [dialect.request(name, str(number), payload) for number, (name, payload) in enumerate(REQUESTS)]
    notifications = [dialect.request(name, None, payload) for name, payload in REQUESTS]
    return [json.dumps(frame) for frame in (*frames, *notifications)] + ["no json", "[]", '"text"', "{}", '{"a": 1}']


@pytest.mark.parametrize("address", CLASSES)
async def test_each_frame_of_the_server_fits_one_message(address: str) -> None:
    cls, path = CLASSES[address]
    channel = channel_at(DOCUMENT, address)
    frames = await exchange(
        zoo.application, path, texts_of(cls.route_dialect), **{"user": AnonymousUser(), "routesock.on_error": print}
    )
    assert len(frames) > 40
    seen = set()
    for frame in frames:
        fitted = fitting(frame, DOCUMENT, channel)
        route = frame.get("route", frame.get("action", frame.get("type")))
        if route == "SUBSCRIBE" or route == "UNSUBSCRIBE":
            # What a topic answers fits the messages of that topic; errors fit those of others, too.
            assert fitted, frame
        else:
            # In the dialect of DCRF a reply and a push of one name are the same frame.
            operations = {operation.removesuffix(".push") if cls is zoo.OfDcrf else operation for operation in fitted}
            assert len(operations) == 1, (frame, fitted)
        assert all(len(messages) == 1 for messages in fitted.values()), (frame, fitted)
        seen |= {message.rpartition("/")[2] for messages in fitted.values() for message in messages}
    assert {
        "tree.reply", "tree.error", "item.maybe.reply", "created.reply", "done.reply", "moved.error", "list.reply",
        "moved.error.410", "stream.item", "stream.end", "stream.error", "silent.error", "secret.error", "error",
        "tree.push", "anything.push", "echo.push", "PONG.reply", "SUBSCRIBE.room.vip.reply",
        "UNSUBSCRIBE.room.vip.reply",
    } <= seen  # fmt: skip


ID_KEYS = ("uuid", "request_id", "ref")

STATUS_KEYS = ("status", "response_status", "code")


def status_of(frame: Any) -> int:
    return next(frame[key] for key in STATUS_KEYS if isinstance(frame.get(key), int))


@pytest.mark.parametrize("address", CLASSES)
async def test_requests_fit_their_message_exactly_if_the_server_takes_them(address: str) -> None:
    cls, path = CLASSES[address]
    channel = channel_at(DOCUMENT, address)
    requests = [cls.route_dialect.request(name, str(number), pair) for number, (name, pair) in enumerate(REQUESTS)]
    frames = await exchange(zoo.application, path, [*map(json.dumps, requests)], user=AnonymousUser())
    statuses = {
        next(frame[key] for key in ID_KEYS if key in frame): status_of(frame)
        for frame in frames
        if any(frame.get(key) is not None for key in ID_KEYS) and "PONG" not in frame.values()
    }
    assert len(statuses) >= len(REQUESTS) - 2  # a PING, and one that is never answered
    for number, (name, _) in enumerate(REQUESTS):
        matches = accepted(requests[number], DOCUMENT, channel)
        if name == "AUTH":  # known behind a TokenMiddleware alone
            assert len(matches) == (cls is zoo.Zoo)
        elif statuses.get(str(number)) in REFUSED and name != "UNSUBSCRIBE":
            assert matches == [], (requests[number], matches)
        else:
            assert len(matches) == 1, (requests[number], matches)


async def check_all(frames: list[Any], address: str, expected: set[str]) -> None:
    channel = channel_at(DOCUMENT, address)
    seen = []
    for frame in frames:
        messages = [message for found in fitting(frame, DOCUMENT, channel).values() for message in found]
        assert len(messages) == 1, (frame, messages)
        seen.append(messages[0].rpartition("/")[2])
    assert set(seen) == expected


async def test_frames_of_a_handshake_fit_their_messages() -> None:
    frames = [
        {"route": "PING", "uuid": 1},
        {"route": "PING", "uuid": [1]},
        {"route": "open", "uuid": 2},
        {"route": "other", "uuid": 3},
        {"route": "AUTH", "uuid": 4, "payload": {}},
        {"route": "AUTH", "uuid": 5, "payload": {"token": "wrong"}},
        {"route": "AUTH", "uuid": 6, "payload": {"token": "wrong"}},
    ]
    received = await exchange(zoo.application, "/handshake/", [*map(json.dumps, frames), "no json"])
    expected = {"HELLO.push", "PONG.reply", "PING.error", "open.reply", "error", "AUTH.error", "CLOSE.push"}
    await check_all(received, "/handshake/", expected)


async def test_the_answer_to_a_good_token_fits_its_message() -> None:
    texts = [json.dumps({"route": "AUTH", "uuid": 1, "payload": {"token": "good"}}), '{"route": "PING"}']
    await check_all(
        await exchange(zoo.application, "/handshake/", texts), "/handshake/", {"HELLO.push", "AUTH.reply", "PONG.reply"}
    )


async def test_a_hello_without_a_handshake_fits_its_message() -> None:
    received = await exchange(zoo.application, "/nested/1/a/", [], user=AnonymousUser())
    await check_all(received, "/nested/{pk}/{name}/", {"HELLO.push"})
