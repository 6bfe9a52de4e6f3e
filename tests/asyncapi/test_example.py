"""The example project: what its consumer sends and takes is what its committed document says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from routesock import broadcast
from routesock.testing import RouteClient
from tests.asyncapi.frames import accepted, fitting
from tests.test_docs import chat

__all__ = ["chat"]

EXAMPLE = Path(__file__).resolve().parents[2] / "example_project"

DOCUMENT = json.loads((EXAMPLE / "asyncapi.json").read_text(encoding="utf-8"))

FRAMES: list[dict[str, Any]] = [
    {"action": "message.list", "request_id": 1},
    {"action": "room.join", "request_id": 2, "room": "lobby"},
    {"action": "room.join", "request_id": 3, "room": "not a room"},
    {"action": "message.send", "request_id": "4", "text": "Hello", "more": 1},
    {"action": "message.send", "request_id": 5, "text": ""},
    {"action": "message.send", "text": "Without an id"},
    {"action": "message.edit", "request_id": 6, "id": 1, "text": "Hello!"},
    {"action": "message.edit", "request_id": 7, "id": 99, "text": "Hello!"},
    {"action": "message.edit", "request_id": 8, "id": "1", "text": "Hello!"},
    {"action": "message.list", "request_id": 9},
    {"action": "PING", "request_id": 10, "at": 5},
]

REFUSED = [3, 5, 8]
"""The ids of those that a schema refuses."""


@pytest.mark.django_db
@pytest.mark.usefixtures("chat")
def test_each_frame_of_the_server_fits_one_message() -> None:
    from chat.consumers import ChatConsumer
    from chat.models import Message
    from chat.pushes import announcement_push, group_of

    alice = User.objects.create(username="alice")
    Message.objects.create(pk=1, author=alice, room="lobby", text="First")
    with RouteClient(ChatConsumer, path="/ws/chat/", as_user=alice) as client:
        for frame in FRAMES:
            client.send_json(frame)
        # Ten answers, since one is a notification, and three pushes.
        received = [client.receive() for _ in range(13)]
        broadcast(group_of("lobby"), announcement_push, {"author": alice, "text": "Listen."})
        received.append(client.receive())
    for frame in received:
        assert len(fitting(frame, DOCUMENT, "ws.chat")) == 1, frame
        assert all(len(found) == 1 for found in fitting(frame, DOCUMENT, "ws.chat").values())
    statuses = {frame["request_id"]: frame["status"] for frame in received if "status" in frame}
    assert statuses == {1: 409, 2: 200, 3: 422, "4": 201, 5: 422, 6: 200, 7: 404, 8: 422, 9: 200}


@pytest.mark.parametrize("frame", FRAMES, ids=json.dumps)
def test_a_request_fits_one_message_unless_the_server_refuses_it(frame: dict[str, Any]) -> None:
    assert len(accepted(frame, DOCUMENT, "ws.chat")) == (frame.get("request_id") not in REFUSED)
