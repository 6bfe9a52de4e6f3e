"""Every row of the table of errors, over real sockets: one clear reply, and the socket answers the next request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.servers import Server, receive, send

from .application import FAILURES, RESULTS, SECRET
from .conftest import Release

pytestmark = pytest.mark.servers

DEEP = '{"route": "echo", "uuid": 1, "payload": ' + "[" * 70 + "]" * 70 + "}"


async def still_answers(connection: ClientConnection) -> None:
    await send(connection, {"route": "echo", "uuid": "after", "payload": 1})
    assert await receive(connection) == {"uuid": "after", "route": "echo", "status": 200, "payload": 1}


async def refused(connection: ClientConnection, frame: Any) -> Any:
    """The one reply to ``frame``, which is text, bytes, or an object to spell as JSON; the socket works after it."""
    await connection.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))
    reply = await receive(connection)
    assert reply.keys() - {"headers"} == {"uuid", "route", "status", "payload"}
    assert reply["payload"].keys() >= {"code", "title", "detail"}
    assert len(json.dumps(reply)) <= 4096
    await still_answers(connection)
    return reply


@pytest.mark.parametrize(
    "frame",
    [
        "",
        " ",
        "{",
        "no JSON",
        "{} {}",
        '{"route": "echo", "payload": NaN}',
        '{"route": "echo", "payload": -Infinity}',
        '{"route": "echo", "payload": 1e999}',
        '{"route": "echo", "payload": ' + "9" * 5000 + "}",
        DEEP,
        "[" * 60_000,
        b'{"route": "echo", "uuid": 1}',
        b"",
        b"\xff\x00",
        "\ufeff{}",
        "{'route': 'echo'}",
    ],
    ids=lambda frame: repr(frame[:20]),
)
async def test_what_is_no_strict_json_text_is_a_parse_error(either: ClientConnection, frame: str | bytes) -> None:
    reply = await refused(either, frame)
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (
        400,
        "parse_error",
        1 if frame is DEEP else None,
    )


@pytest.mark.parametrize(
    ("frame", "uuid"),
    [
        ([], None),
        ([{"route": "echo"}], None),
        ("echo", None),
        (None, None),
        (1, None),
        ({}, None),
        ({"uuid": 5}, 5),
        ({"route": None, "uuid": 5}, 5),
        ({"route": "", "uuid": 5}, 5),
        ({"route": 1, "uuid": 5}, 5),
        ({"route": ["echo"], "uuid": 5}, 5),
        ({"route": {"echo": 1}, "uuid": 5}, 5),
        ({"route": "r" * 129, "uuid": 5}, 5),
        ({"route": "echo", "uuid": 1.5}, None),
        ({"route": "echo", "uuid": True}, None),
        ({"route": "echo", "uuid": []}, None),
        ({"route": "echo", "uuid": {}}, None),
        ({"route": "echo", "uuid": "u" * 129}, None),
        ({"route": "echo", "uuid": 2**53 + 1}, None),
        ({"route": "nowhere", "uuid": 1.5}, None),
        ({"route": "echo", "uuid": 5, "headers": []}, 5),
        ({"route": "echo", "uuid": 5, "headers": "x"}, 5),
        ({"route": "PING", "uuid": 1.5}, None),
    ],
    ids=repr,
)
async def test_json_that_is_no_request_is_an_invalid_envelope(either: ClientConnection, frame: Any, uuid: Any) -> None:
    reply = await refused(either, json.dumps(frame))
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (400, "invalid_envelope", uuid)


@pytest.mark.parametrize(
    "text", ["x" * 65_536, json.dumps({"route": "echo", "uuid": 1, "payload": "é" * 40_000}, ensure_ascii=False)]
)
async def test_a_frame_over_the_limit_in_bytes_is_too_large(either: ClientConnection, text: str) -> None:
    reply = await refused(either, text + " ")
    assert (reply["status"], reply["payload"]["code"], reply["payload"]["limit"]) == (413, "too_large", 65_536)


async def test_a_frame_of_just_the_limit_is_read(connection: ClientConnection) -> None:
    frame = json.dumps({"route": "echo", "uuid": 1, "payload": ""})
    await connection.send(frame[:-2] + "x" * (65_536 - len(frame)) + frame[-2:])
    assert (await receive(connection))["status"] == 200


@pytest.mark.parametrize(
    "name",
    [
        *("nowhere", "ECHO", "echo ", "__init__", "dispatch", "send", "websocket.disconnect", "text\x00", "é"),
        *("CLOSE", "AUTH", "HELLO", "RESUME", "SUBSCRIBE", "UNSUBSCRIBE", "PRESENCE"),
    ],
)
async def test_only_declared_names_are_routes(either: ClientConnection, name: str) -> None:
    reply = await refused(either, {"route": name, "uuid": 7})
    assert (reply["status"], reply["payload"]["code"]) == (404, "unknown_route")
    assert (reply["uuid"], reply["route"]) == (7, name)


@pytest.mark.parametrize(
    "payload", [None, [], "x", 1, {}, {"text": "", "room": "r"}, {"text": "x", "room": "r", "z": 1}]
)
async def test_what_the_schema_refuses_is_invalid_with_its_messages(either: ClientConnection, payload: Any) -> None:
    reply = await refused(either, {"route": "text", "uuid": 7, "payload": payload})
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (422, "invalid", 7)
    assert reply["payload"]["errors"]


async def test_thousands_of_wrong_fields_get_a_small_error(either: ClientConnection) -> None:
    reply = await refused(either, {"route": "text", "uuid": 7, "payload": {f"unknown{i}": 1 for i in range(2500)}})
    assert reply["status"] == 422
    assert len(reply["payload"]["errors"]) <= 21


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        ("not_authenticated", 401, "not_authenticated"),
        ("permission_denied", 403, "permission_denied"),
        ("http404", 404, "not_found"),
        ("missing", 404, "not_found"),
        ("invalid", 422, "invalid"),
        ("conflict", 409, "conflict"),
        ("throttled", 429, "throttled"),
    ],
)
async def test_errors_with_a_status_reach_the_client_as_such(
    either: ClientConnection, failure: str, status: int, code: str
) -> None:
    reply = await refused(either, {"route": "fail", "uuid": 7, "payload": failure})
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (status, code, 7)
    assert SECRET not in json.dumps(reply)
    if status == 429:
        assert reply["headers"] == {"Retry-After": 2}


@pytest.mark.parametrize("failure", [*list(FAILURES)[7:], "no such failure"])
@pytest.mark.parametrize("name", ["fail", "sync.fail"])
async def test_any_other_fault_of_a_handler_is_a_500_that_tells_nothing(
    connection: ClientConnection, server: Server, name: str, failure: str
) -> None:
    reply = await refused(connection, {"route": name, "uuid": 7, "payload": failure})
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (500, "internal_error", 7)
    assert reply["payload"].keys() == {"code", "title", "detail", "error_id"}
    assert SECRET not in json.dumps(reply)
    assert reply["payload"]["error_id"] in server.output()


@pytest.mark.parametrize("failure", [*list(FAILURES)[7:]])
async def test_a_sync_consumer_survives_the_same_faults(server: Server, either: ClientConnection, failure: str) -> None:
    reply = await refused(either, {"route": "fail", "uuid": 7, "payload": failure})
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (500, "internal_error", 7)


@pytest.mark.parametrize("result", RESULTS)
async def test_a_result_that_cannot_be_spelt_is_a_500(either: ClientConnection, result: str) -> None:
    reply = await refused(either, {"route": "result", "uuid": 7, "payload": result})
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (500, "internal_error", 7)


async def test_a_passed_deadline_is_a_504(connection: ClientConnection) -> None:
    reply = await refused(connection, {"route": "late", "uuid": 7})
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (504, "timeout", 7)


async def test_a_cancelled_request_is_answered_499(connection: ClientConnection) -> None:
    await send(connection, {"route": "slow", "uuid": 7, "payload": 30})
    reply = await refused(connection, {"route": "CANCEL", "uuid": 7})
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (499, "cancelled", 7)


async def test_an_id_in_flight_is_a_conflict_and_the_first_request_goes_on(
    connection: ClientConnection, release: Release
) -> None:
    await send(connection, {"route": "held", "uuid": 7, "payload": "conflict"})
    await send(connection, {"route": "echo", "uuid": 7})
    reply = await receive(connection)
    assert (reply["status"], reply["payload"]["code"], reply["uuid"]) == (409, "duplicate_id", 7)
    await release("conflict")
    assert (await receive(connection))["payload"] == "released"
    await still_answers(connection)


async def test_what_finds_no_room_in_time_is_refused_and_what_was_queued_is_answered(
    connection: ClientConnection, release: Release
) -> None:
    await send(connection, {"route": "held", "uuid": "first", "payload": "no room"})
    for number in range(80):
        await send(connection, {"route": "echo", "uuid": number, "payload": number})
    replies = [await receive(connection) for _ in range(16)]
    await release("no room")
    replies += [await receive(connection) for _ in range(65)]
    refusals = [reply for reply in replies if reply["status"] == 429]
    assert {reply["payload"]["code"] for reply in refusals} == {"too_many_in_flight"}
    assert [reply["uuid"] for reply in refusals] == list(range(64, 80))
    assert [reply["uuid"] for reply in replies if reply["status"] == 200] == ["first", *range(64)]
    await still_answers(connection)


async def test_an_error_of_a_notification_has_no_uuid(either: ClientConnection) -> None:
    reply = await refused(either, {"route": "fail", "payload": "conflict"})
    assert (reply["status"], reply["uuid"]) == (409, None)


async def test_a_cancel_of_nothing_is_ignored(either: ClientConnection) -> None:
    for frame in [{"route": "CANCEL"}, {"route": "CANCEL", "uuid": 99}, {"route": "CANCEL", "uuid": 1.5}]:
        await send(either, frame)
    await still_answers(either)


async def test_a_pong_is_never_answered(either: ClientConnection) -> None:
    await send(either, {"route": "PONG", "uuid": 1})
    await still_answers(either)
