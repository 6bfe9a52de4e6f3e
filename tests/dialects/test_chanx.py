"""The dialect of chanx on a socket: what its transcripts do not show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import override_settings
from marshmallow import Schema, fields
from pydantic import BaseModel

from routesock import Request, RouteMixin, abroadcast, asend_event, route
from routesock.auth import HandshakeMiddleware, Identity
from routesock.dialects import Chanx, Incoming, Problem
from routesock.exceptions import Invalid, NotAuthenticated, NotFound, PermissionDenied, RoutesockError, Throttled
from routesock.testing import RouteClient
from tests.auth.tokens import Account

from .chanx import Chat, Completing

CAROL = Account("carol")

PLAIN = Chanx()


async def conversation(consumer: Any, *frames: Any, **options: Any) -> list[Any]:
    """What comes back for ``frames`` before the answer to the ping behind them."""
    received = []
    async with RouteClient(consumer, raise_exceptions=False, **options) as client:
        for frame in frames:
            await client.send_text(frame if isinstance(frame, str) else json.dumps(frame))
            await client.settle()
        await client.send_json({"action": "ping", "ref": "last"})
        while (frame := await client.receive()).get("ref") != "last":
            received.append(frame)
    return received


def error(failure: RoutesockError, request: Request, dialect: Chanx = PLAIN) -> Any:
    return dialect.error(Problem(failure.status, failure.problem(), failure.headers), request)


# Answers


@pytest.mark.parametrize(
    ("failure", "payload"),
    [
        (Throttled(wait=2), {"detail": "Too many requests."}),
        (RoutesockError(), {"detail": "The server could not process the request."}),
        (
            Invalid(errors={"text": ["Too long.", "Not nice."], "_schema": ["Odd."], "items": {"0": {"id": ["Bad."]}}}),
            [
                {"type": "value_error", "loc": ["chat.send", "payload", "text"], "msg": "Too long."},
                {"type": "value_error", "loc": ["chat.send", "payload", "text"], "msg": "Not nice."},
                {"type": "value_error", "loc": ["chat.send", "payload"], "msg": "Odd."},
                {"type": "value_error", "loc": ["chat.send", "payload", "items", "0", "id"], "msg": "Bad."},
            ],
        ),
        (
            Invalid(errors=[{"type": "missing", "loc": ["a", 0], "msg": "Field required"}]),
            [{"type": "missing", "loc": ["chat.send", "payload", "a", 0], "msg": "Field required"}],
        ),
        (
            Invalid(errors=[{}, {"id": ["Bad."]}]),
            [{"type": "value_error", "loc": ["chat.send", "payload", 1, "id"], "msg": "Bad."}],
        ),
        (Invalid(errors="Bad."), [{"type": "value_error", "loc": ["chat.send", "payload"], "msg": "Bad."}]),
    ],
    ids=["throttled", "internal", "by field", "pydantic", "list", "text"],
)
def test_an_error_has_a_detail_or_the_errors_of_pydantic(failure: RoutesockError, payload: Any) -> None:
    expected = {"action": "error", "payload": payload, "version": 1, "ref": "1"}
    assert error(failure, Request("chat.send", "1")) == expected


def test_many_errors_are_cut() -> None:
    failure = Invalid(errors={f"{number}": ["x" * 200] for number in range(50)})
    frame = error(failure, Request("r" * 128, "1"))
    assert len(json.dumps(frame)) < 4096
    assert frame["payload"][-1] == {
        "type": "too_many_errors",
        "loc": [],
        "msg": f"{50 - len(frame['payload']) + 1} more.",
    }


async def test_an_unexpected_exception_is_one_error() -> None:
    frames = await conversation(Chat, {"action": "fail", "ref": "f"})
    assert [(frame["action"], frame["ref"]) for frame in frames] == [("error", "f")]
    assert frames[0]["payload"].keys() == {"detail"}


def test_the_header_action_beats_reply_actions() -> None:
    dialect = Chanx(reply_actions={"a": "b"})
    assert dialect.reply(Request("a"), 200, 1, {}) == {"action": "b", "payload": 1}
    assert dialect.reply(Request("a"), 200, 1, {"action": "c"}) == {"action": "c", "payload": 1}
    assert dialect.reply(Request("x"), 200, 1, {"Location": "/"}) == {"action": "x", "payload": 1}


@pytest.mark.parametrize("actions", [{"a": 1}, {1: "a"}])
def test_reply_actions_are_strings(actions: Any) -> None:
    with pytest.raises(TypeError, match="must map names of routes to actions"):
        Chanx(reply_actions=actions)


def test_its_repr_is_how_to_make_it() -> None:
    assert repr(PLAIN) == "Chanx()"
    text = "Chanx(reply_actions={'a': 'b'}, camelize=True, completion=True)"
    assert repr(eval(text)) == text


# Pushes


async def test_a_push_to_a_topic_names_it() -> None:
    async with RouteClient(Chat) as client:
        await client.call("SUBSCRIBE", {"topic": "room:1"})
        await abroadcast("room:1", "news", {"text": "Rain"}, headers={"seq": 4, "x": 1})
        push = {"action": "news", "payload": {"text": "Rain"}, "version": 1, "topic": "room:1", "seq": 4}
        assert await client.receive() == push
        assert PLAIN.incoming(push) == Incoming("news", None, None, {"text": "Rain"}, {"topic": "room:1", "seq": 4})


def test_a_subscription_that_the_server_ends() -> None:
    payload = {**PermissionDenied().problem(), "topic": "room:1"}
    frame = {
        "action": "unsubscribed",
        "payload": {"reason": "unauthorized", "detail": "You do not have permission to do this."},
        "version": 1,
        "topic": "room:1",
    }
    assert PLAIN.push("UNSUBSCRIBE", payload) == frame
    read = PLAIN.incoming(frame)
    assert read is not None
    assert (read.route, read.payload["topic"]) == ("UNSUBSCRIBE", "room:1")


async def test_the_close_notice() -> None:
    async with RouteClient(Chat) as client:
        await client.send("shut")
        payload = {"code": 4403, "reason": "Closed.", "reconnect": False}
        assert await client.receive() == {"action": "close", "payload": payload}
        assert PLAIN.incoming({"action": "close", "payload": payload}) == Incoming("CLOSE", None, None, payload, {})
        assert (await client.expect_close()).code == 4403


# With completion=True


async def test_a_group_message_and_an_event_are_completed() -> None:
    async with RouteClient(Completing) as client:
        await client.send("cast", {"text": "x"})
        frames = [await client.receive() for _ in range(3)]
        complete = {"action": "complete", "payload": None}
        assert complete in frames
        frames.remove(complete)
        assert frames == [
            {"action": "cast", "payload": {"text": "x"}},
            {"action": "group_complete", "payload": None},
        ]
        await asend_event("everybody", "paid", {"n": 1})
        assert await client.receive() == {"action": "paid", "payload": {"n": 1}}
        assert await client.receive() == {"action": "event_complete", "payload": None}
        await client.call("SUBSCRIBE", {"topic": "room:1"})
        await abroadcast("room:1", "news", 1)
        assert (await client.receive())["action"] == "news"
        assert await client.receive() == {"action": "event_complete", "payload": None, "version": 1, "topic": "room:1"}


async def test_without_it_nothing_is_completed() -> None:
    async with RouteClient(Chat) as client:
        await client.send("cast", {"text": "x"})
        assert await client.receive() == {"action": "cast", "payload": {"text": "x"}}
        await asend_event("everybody", "paid", {"n": 1})
        assert await client.receive() == {"action": "paid", "payload": {"n": 1}}
        await client.settle()
        assert await client.ping() is None


async def test_an_unexpected_exception_is_completed_once() -> None:
    frames = await conversation(Completing, {"action": "fail", "ref": "f"})
    assert [(frame["action"], frame["ref"]) for frame in frames] == [("error", "f"), ("complete", "f")]


async def test_a_frame_that_cannot_be_made_after_an_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Chanx):
        def after_request(self, request: Request) -> Any:
            raise ValueError("a bug")

        def after_event(self, name: str) -> Any:
            return object()

    class Consumer(Chat):
        route_dialect = Broken(completion=True)

    async with RouteClient(Consumer, raise_exceptions=False) as client:
        assert (await client.call("echo", "x")).payload == "x"
        await asend_event("everybody", "paid", {"n": 1})
        assert await client.receive() == {"action": "paid", "payload": {"n": 1}}
        assert (await client.call("echo", "y")).payload == "y"
    logged = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(logged) == 3
    assert all("The frame after an" in message for message in logged)


# With camelize=True


class Names(Schema):
    first_name = fields.Str(required=True)


class PydanticNames(BaseModel):
    first_name: str


class Camel(RouteMixin, Chat.__bases__[1]):  # type: ignore[misc]
    route_dialect = Chanx(camelize=True)

    @route("name", schema=Names)
    async def name(self, request: Request) -> Any:
        return {**request.payload, "given_names": [{"nick_name": request.payload["first_name"]}]}

    @route("pydantic", schema=PydanticNames)
    async def pydantic(self, request: Request) -> Any:
        return request.payload.model_dump()


@pytest.mark.parametrize("action", ["name", "pydantic"])
async def test_names_are_camel_case_on_the_wire(action: str) -> None:
    good, bad = await conversation(
        Camel,
        {"action": action, "payload": {"firstName": "first_name"}},
        {"action": action, "payload": {"firstName": 1}},
    )
    assert good["payload"]["firstName"] == "first_name"
    assert [entry["loc"] for entry in bad["payload"]] == [[action, "payload", "firstName"]]


# Behind a handshake


async def by_token(credentials: Any) -> Identity | None:
    return {
        "good": Identity(CAROL),
        "long": Identity(CAROL, expires=1_900_000_000.0),
    }.get(credentials.token)


def gate(**options: Any) -> HandshakeMiddleware:
    return HandshakeMiddleware(Chat.as_asgi(), authenticators=[by_token], lock=0, timeout=20, **options)


async def test_without_a_handshake_authentication_is_an_unknown_action() -> None:
    (frame,) = await conversation(Chat, {"action": "authentication", "payload": {"token": "good"}})
    assert (frame["action"], [entry["type"] for entry in frame["payload"]]) == ("error", ["union_tag_invalid"])


@pytest.mark.parametrize("mode", ["required", "optional"])
async def test_a_client_signs_in(mode: str) -> None:
    async with RouteClient(gate(mode=mode), dialect=PLAIN) as client:
        hello = await client.receive()
        data = {"mode": mode, "attempts": 2, "timeout": 20.0}
        payload = {"status_code": 401, "status_text": "Unauthorized", "data": data}
        assert hello == {"action": "authentication", "payload": payload}
        assert PLAIN.incoming(hello) == Incoming("HELLO", None, None, data, {})
        await client.send_json({"action": "authentication", "payload": {"token": "good"}})
        payload = {"status_code": 200, "status_text": "OK", "data": {"detail": "OK"}}
        assert await client.receive() == {"action": "authentication", "payload": payload}
        assert (await client.call("echo", "x")).payload == "x"


async def test_a_wrong_token_and_requests_before_a_good_one() -> None:
    async with RouteClient(gate(), dialect=PLAIN) as client:
        await client.expect_push("HELLO")
        refused = await client.call("AUTH", {"token": "wrong"})
        assert (refused.status, refused.payload["attempts_left"]) == (401, 1)
        await client.send_json({"action": "echo", "ref": "e"})
        expected = {"action": "error", "payload": {"detail": NotAuthenticated.detail}, "version": 1, "ref": "e"}
        assert await client.receive() == expected
        await client.send_json({"action": "ping"})
        assert await client.receive() == {"action": "pong", "payload": None}
        reply = await client.call("AUTH", {"token": "long"})
        assert reply.status == 200
        assert reply.payload.pop("ttl") >= 0
        assert reply.payload == {"detail": "OK", "expires": 1_900_000_000.0}
        assert (await client.call("echo", "x")).payload == "x"


async def test_errors_in_debug_mode_keep_their_shape() -> None:
    with override_settings(DEBUG=True):
        frames = await conversation(Chat, {"action": "fail", "ref": "f"}, {"action": "zzz"})
    assert [frame["action"] for frame in frames] == ["error", "error"]
    assert frames[0]["payload"].keys() == {"detail"}


async def test_a_route_can_refuse_a_message_to_a_topic_as_chanx_does() -> None:
    class Rooms(RouteMixin, AsyncJsonWebsocketConsumer):
        route_dialect = Chanx()

        @route("say")
        async def say(self, request: Request) -> None:
            raise NotFound("Not subscribed to 'room:6'", code="not_subscribed")

    [frame] = await conversation(Rooms, {"action": "say", "topic": "room:6", "ref": "1"})
    assert frame["payload"] == {"reason": "not_subscribed", "detail": "Not subscribed to 'room:6'"}
