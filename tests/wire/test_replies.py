"""What a request gets when nothing is wrong with it, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.servers import Server, connect, receive, send

from .conftest import Release

pytestmark = pytest.mark.servers


async def reply_to(connection: ClientConnection, **frame: Any) -> Any:
    await send(connection, frame)
    return await receive(connection)


@pytest.mark.parametrize("uuid", ["", "u" * 128, "é", 0, -(2**53), 2**53])
async def test_an_id_comes_back_as_it_was_sent(either: ClientConnection, uuid: Any) -> None:
    reply = await reply_to(either, route="echo", uuid=uuid, payload=None)
    assert reply == {"uuid": uuid, "route": "echo", "status": 204, "payload": None}
    assert type(reply["uuid"]) is type(uuid)


async def test_half_a_surrogate_pair_is_a_parse_error(either: ClientConnection) -> None:
    """Wherever it is in the frame, the id included."""
    for frame, id in (({"uuid": "\ud800"}, None), ({"uuid": 1, "payload": {"a": ["\udfff"]}}, 1)):
        reply = await reply_to(either, route="echo", **frame)
        assert (reply["status"], reply["uuid"], reply["payload"]["code"]) == (400, id, "parse_error")


async def test_a_schema_gives_the_handler_what_it_made_of_the_payload(either: ClientConnection) -> None:
    reply = await reply_to(either, route="text", uuid=1, payload={"text": "x", "room": "r"})
    assert (reply["status"], reply["payload"]) == (200, {"text": "x", "room": "r"})


async def test_a_payload_with_the_envelopes_own_names_is_left_alone(either: ClientConnection) -> None:
    payload = {"route": "x", "uuid": 1, "headers": 2, "status": 3, "payload": 4, "self": 5, "consumer": 6, "scope": 7}
    assert (await reply_to(either, route="echo", uuid=1, payload=payload))["payload"] == payload


async def test_other_keys_of_a_request_are_ignored(either: ClientConnection) -> None:
    assert (await reply_to(either, route="echo", uuid=1, payload=1, status=200, extra=[]))["payload"] == 1


async def test_a_handler_in_the_database_thread_answers_as_any_other(connection: ClientConnection) -> None:
    assert (await reply_to(connection, route="sync", uuid=1, payload=[1]))["payload"] == [1]


async def test_the_routes_own_status_replaces_200(connection: ClientConnection) -> None:
    reply = await reply_to(connection, route="created", uuid=1, headers={"trace": "abc"})
    assert (reply["status"], reply["payload"]) == (201, {"headers": {"trace": "abc"}})
    assert "headers" not in reply


async def test_none_is_204(connection: ClientConnection) -> None:
    reply = await reply_to(connection, route="nothing", uuid=1)
    assert reply == {"uuid": 1, "route": "nothing", "status": 204, "payload": None}


async def test_a_reply_says_its_status_and_headers(connection: ClientConnection) -> None:
    reply = await reply_to(connection, route="reply", uuid=1)
    assert (reply["status"], reply["headers"]) == (202, {"Location": "/there"})


async def test_replies_spell_what_django_json_encoder_spells(connection: ClientConnection) -> None:
    reply = await reply_to(connection, route="types", uuid=1)
    assert reply["payload"] == {
        "when": "2026-01-02T03:04:05Z",
        "price": "1.10",
        "key": "00000000-0000-0000-0000-000000000001",
    }


async def test_a_notification_gets_no_success_reply(either: ClientConnection) -> None:
    await send(either, {"route": "echo", "payload": 1})
    await send(either, {"route": "echo", "uuid": None, "payload": 2})
    assert (await reply_to(either, route="echo", uuid=3, payload=3))["uuid"] == 3


async def test_a_ping_is_answered_with_its_id_and_payload_and_no_status(either: ClientConnection) -> None:
    assert await reply_to(either, route="PING", uuid="h", payload={"t": 1}) == {
        "route": "PONG",
        "uuid": "h",
        "payload": {"t": 1},
    }
    assert await reply_to(either, route="PING") == {"route": "PONG", "uuid": None, "payload": None}


async def test_a_ping_is_answered_before_the_handler_in_front_of_it_ends(
    connection: ClientConnection, release: Release
) -> None:
    await send(connection, {"route": "held", "uuid": 1, "payload": "ping"})
    assert (await reply_to(connection, route="PING", uuid=2))["route"] == "PONG"
    await release("ping")
    assert (await receive(connection))["payload"] == "released"


async def test_pipelined_requests_are_all_answered_in_order(either: ClientConnection) -> None:
    # As many as find room: a busy machine may not run the database thread for 20 ms.
    for number in range(64):
        await send(either, {"route": "echo", "uuid": number, "payload": number})
    assert [(await receive(either))["uuid"] for _ in range(64)] == list(range(64))


@pytest.mark.parametrize("leave", ["close", "abort"])
async def test_who_sends_and_leaves_does_not_lose_the_message(server: Server, leave: str) -> None:
    async with connect(server, "/ws/") as connection:
        await send(connection, {"route": "save", "uuid": 1, "payload": leave})
        if leave == "abort":
            await send(connection, {"route": "PING"})
            await receive(connection)  # so the request has been read
            connection.transport.abort()
    await asyncio.to_thread(server.wait_for_output, f"saved {leave}")
