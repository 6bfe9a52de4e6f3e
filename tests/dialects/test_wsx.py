"""The dialect of django-wsx on a socket and behind a handshake."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from marshmallow import Schema, fields
from pydantic import BaseModel

from routesock import Reply, Request, RouteMixin, route
from routesock.auth import HandshakeMiddleware, Identity
from routesock.dialects import Incoming, Problem, Wsx
from routesock.exceptions import Invalid, RoutesockError
from routesock.testing import RouteClient
from tests.auth.tokens import Account

from .wsx import Chat

CAROL = Account("carol")

PLAIN = Wsx()


def error(failure: RoutesockError, request: Request) -> Any:
    frame = PLAIN.error(Problem(failure.status, failure.problem(), failure.headers), request)
    return frame["error"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"), (401, "not_authenticated"), (403, "permission_denied"), (404, "not_found"),
        (405, "bad_request"), (409, "bad_request"), (413, "bad_request"), (422, "validation_error"),
        (429, "throttled"), (499, "bad_request"), (500, "server_error"), (503, "server_error"), (504, "server_error"),
    ],
)  # fmt: skip
def test_each_status_has_a_code_of_django_wsx(status: int, code: str) -> None:
    assert error(RoutesockError("Because.", status=status), Request("a", 1)) == {"code": code, "detail": "Because."}
    frame = {"ok": False, "error": {"code": code, "detail": "x"}, "id": 1, "trace_id": "t"}
    read = PLAIN.incoming(frame)
    assert read is not None
    assert read.status in (status, 400, 500)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"text": ["Bad."]}, {"text": ["Bad."]}),
        ([{"type": "missing", "loc": ["a", 0], "msg": "Field required"}], {"a.0": ["Field required"]}),
        ([{"type": "missing", "loc": [], "msg": "Odd."}, "Bad."], {"non_field_errors": ["Odd.", "Bad."]}),
        ("Bad.", {"non_field_errors": ["Bad."]}),
    ],
    ids=["by field", "pydantic", "of the whole", "text"],
)
@pytest.mark.parametrize("status", [400, 422])
def test_errors_by_field(errors: Any, expected: Any, status: int) -> None:
    """Also with the setting ``VALIDATION_STATUS`` of 400."""
    assert error(Invalid(errors=errors, status=status), Request("a", 1)) == {
        "code": "validation_error",
        "detail": "The payload is not valid.",
        "fields": expected,
    }


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"code": "teapot", "detail": "Short."}, {"detail": "Short.", "extra": {"code": "teapot"}}),
        ({"seats": 2}, {"detail": "Conflict", "extra": {"seats": 2}}),
        ({"code": None, "detail": 7}, {"detail": "Conflict", "extra": {"code": None}}),
        ("full", {"detail": "Conflict", "extra": {"data": "full"}}),
        (None, {"detail": "Conflict"}),
    ],
)
def test_a_reply_with_the_status_of_an_error_is_one(payload: Any, expected: Any) -> None:
    frame = PLAIN.reply(Request("a", 1), 409, payload, {})
    assert frame == {"ok": False, "error": {"code": "bad_request", **expected}, "id": 1, "trace_id": frame["trace_id"]}


def test_a_trace_id_that_is_too_long_to_be_repeated_is_replaced() -> None:
    for given, kept in [("t" * 128, True), ("t" * 129, False), ("", False), (7, False), ({}, False)]:
        request = Request("a", 1)
        request._frame = {"trace_id": given}
        frame = PLAIN.reply(request, 200, None, {})
        assert (frame["trace_id"] == given) is kept
        if not kept:
            assert frame["trace_id"] == request.trace_id


async def test_an_unexpected_exception_is_a_server_error(caplog: pytest.LogCaptureFixture) -> None:
    async with RouteClient(Chat, raise_exceptions=False) as client:
        reply = await client.call("fail")
        assert reply.status == 500
        assert (reply.payload["code"], reply.ok) == ("server_error", False)
        assert "error_id" in reply.payload["extra"]


async def test_a_throttle_says_how_long_to_wait() -> None:
    async with RouteClient(Chat) as client:
        assert (await client.call("once")).ok
        reply = await client.call("once")
        assert (reply.status, reply.payload["code"]) == (429, "throttled")
        assert 0 < reply.payload["extra"]["wait"] <= 60


async def test_the_close_notice() -> None:
    async with RouteClient(Chat) as client:
        await client.send("shut")
        data = {"code": 4403, "reason": "Closed.", "reconnect": False}
        frame = await client.receive()
        assert frame == {"action": "socket.close", "data": data}
        assert PLAIN.incoming(frame) == Incoming("CLOSE", None, None, data, {})
        assert (await client.expect_close()).code == 4403


def test_its_repr_is_how_to_make_it() -> None:
    assert repr(PLAIN) == "Wsx()"
    assert repr(eval("Wsx(camelize=True)")) == "Wsx(camelize=True)"


def test_completion_sends_nothing_more() -> None:
    dialect = Wsx(completion=True)
    assert not dialect.completes
    assert not dialect.answers_without_id


# With camelize=True


class Names(Schema):
    first_name = fields.Str(required=True)


class PydanticNames(BaseModel):
    first_name: str


class Camel(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = Wsx(camelize=True)

    @route("name", schema=Names)
    async def name(self, request: Request) -> Any:
        return {"first_name": request.payload["first_name"], "user_ids": {"user-id": 1}}

    @route("pydantic", schema=PydanticNames)
    async def pydantic(self, request: Request) -> Any:
        return Reply(request.payload.model_dump(), 409)


async def test_names_are_camel_case_on_the_wire() -> None:
    async with RouteClient(Camel) as client:
        reply = await client.call("name", {"firstName": "first_name"})
        assert reply.payload == {"firstName": "first_name", "userIds": {"user-id": 1}}
        assert (await client.call("name", {"firstName": 1})).payload["fields"].keys() == {"firstName"}
        assert (await client.call("pydantic", {"firstName": 1})).payload["fields"].keys() == {"firstName"}
        assert (await client.call("pydantic", {"firstName": "x"})).payload["extra"] == {"firstName": "x"}


# Behind a handshake


async def by_token(credentials: Any) -> Identity | None:
    return {
        "good": Identity(user=CAROL),
        "long": Identity(user=CAROL, expires=1_900_000_000.0),
    }.get(credentials.token)


def gate(**options: Any) -> HandshakeMiddleware:
    options = {"lock": 0, "timeout": 20, **options}
    return HandshakeMiddleware(Chat.as_asgi(), authenticators=[by_token], **options)


def authorize(token: Any, **members: Any) -> dict[str, Any]:
    return {**members, "action": "socket.authorize", "data": {"token": token}}


@pytest.mark.parametrize("mode", ["required", "optional"])
async def test_the_conversation_of_the_readme(mode: str) -> None:
    async with RouteClient(gate(mode=mode), dialect=PLAIN) as client:
        hello = await client.receive()
        assert hello.pop("trace_id")
        assert hello == {
            "action": "socket.handshake",
            "data": {
                "authorize": "socket.authorize",
                "attempts": 2,
                "lock_seconds": 20,
                "timeout_seconds": 20,
                "allow_unauth": ["public.ping"] if mode == "required" else [],
                "mode": mode,
            },
        }
        read = PLAIN.incoming(hello)
        assert read is not None
        assert (read.route, read.id, read.status, read.payload) == ("HELLO", None, None, hello["data"])
        await client.send_json(authorize("good", id="auth1", trace_id="t"))
        authorized = {
            "action": "socket.authorized",
            "data": {"authenticated": True, "via": "authorize"},
            "trace_id": "t",
        }
        assert await client.receive() == authorized
        assert PLAIN.incoming(authorized) == Incoming("AUTH", None, None, authorized["data"], {})
        await client.send_json({"id": 1, "action": "chat.send", "data": {"text": "hello"}, "trace_id": "u"})
        assert await client.receive() == {"action": "chat.message", "data": {"text": "hello"}}
        reply = {"id": 1, "ok": True, "data": {"user": "alice", "text": "hello"}, "trace_id": "u"}
        assert await client.receive() == reply


async def test_an_authorize_without_an_id_is_answered_too() -> None:
    async with RouteClient(gate(), dialect=PLAIN) as client:
        await client.expect_push("HELLO")
        await client.send_json(authorize("long"))
        push = await client.expect_push("AUTH")
        assert push.payload.pop("ttl") > 0
        assert push.payload == {"authenticated": True, "via": "authorize", "expires": 1_900_000_000.0}
        # It stays so on the open socket, where a client renews its token.
        await client.send_json(authorize("good"))
        assert (await client.expect_push("AUTH")).payload == {"authenticated": True, "via": "authorize"}


async def test_a_wrong_token_and_actions_before_a_good_one() -> None:
    async with RouteClient(gate(), dialect=PLAIN) as client:
        await client.expect_push("HELLO")
        await client.send_json(authorize("wrong", id="auth1", trace_id="t"))
        assert await client.receive() == {
            "ok": False,
            "error": {"code": "not_authenticated", "detail": "The token is not valid.", "extra": {"attempts_left": 1}},
            "id": "auth1",
            "trace_id": "t",
        }
        assert (await client.call("chat.send", {"text": "x"})).status == 401
        assert (await client.call("public.ping")).payload == {"pong": True}
        assert await client.ping({"n": 1}) == {"n": 1}
        await client.send_json(authorize("wrong"))
        frame = await client.receive()
        assert (frame["ok"], "id" in frame, frame["error"]["extra"]) == (False, False, {"attempts_left": 0})
        notice = await client.receive()
        assert (notice["action"], notice["data"]["code"]) == ("socket.close", 4401)
        assert (await client.expect_close()).code == 4401


@pytest.mark.parametrize("data", [None, [], {}, {"token": 7}, {"token": ""}, "good"])
async def test_an_authorize_without_a_token(data: Any) -> None:
    async with RouteClient(gate(), dialect=PLAIN) as client:
        await client.expect_push("HELLO")
        await client.send_json({"id": 1, "action": "socket.authorize", "data": data})
        frame = await client.receive()
        assert (frame["id"], frame["error"]["code"]) == (1, "bad_request")
        await client.send_json(authorize("good"))
        await client.expect_push("AUTH")


async def test_an_optional_handshake_lets_anonymous_clients_through() -> None:
    async with RouteClient(gate(mode="optional"), dialect=PLAIN) as client:
        await client.expect_push("HELLO")
        assert (await client.call("echo", {"a": 1})).payload == {"a": 1}


@pytest.mark.parametrize(
    "text", ["no json", "[1]", "7", json.dumps({"action": 7}), json.dumps({"id": [], "action": "x"})]
)
async def test_frames_that_are_no_messages_before_authentication(text: str) -> None:
    async with RouteClient(gate(), dialect=PLAIN) as client:
        await client.expect_push("HELLO")
        await client.send_text(text)
        frame = await client.receive()
        assert frame["ok"] is False
        assert frame["error"]["code"] in ("bad_request", "not_authenticated")
        await client.send_json(authorize("good"))
        await client.expect_push("AUTH")
