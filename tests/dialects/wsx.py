"""django-wsx 0.1: the conversations of its README, and those that its source writes."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from marshmallow import Schema, fields
from marshmallow.validate import Length

from routesock import Request, RouteMixin, Throttle, route
from routesock.dialects import Wsx
from routesock.exceptions import NotFound, PermissionDenied, RoutesockError, Throttled

from .transcripts import Call, Read, Received, Sent, Suite, Transcript


class TextSchema(Schema):
    text = fields.Str(required=True, validate=Length(max=10))


class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = Wsx()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=TextSchema)
    async def text(self, request: Request) -> Any:
        return request.payload

    @route("public.ping", public=True)
    async def ping(self, request: Request) -> Any:
        return {"pong": True}

    @route("chat.send", schema=TextSchema)
    async def send_text(self, request: Request) -> Any:
        await self.socket.push("chat.message", request.payload)
        return {"user": "alice", **request.payload}

    @route("refuse")
    async def refuse(self, request: Request) -> Any:
        raise {
            "permission": PermissionDenied(),
            "missing": NotFound("No such room."),
            "throttled": Throttled(wait=1.2),
            "own": RoutesockError("The room is full.", status=409, code="room_full", seats=2),
        }[request.payload["how"]]

    @route("once", throttle=Throttle("1/min"))
    async def once(self, request: Request) -> None:
        return None

    @route("none")
    async def none(self, request: Request) -> None:
        return None

    @route("fail")
    async def fail(self, request: Request) -> None:
        raise ValueError("a bug")

    @route("shut")
    async def shut(self, request: Request) -> None:
        await self.socket.close(403, "Closed.")


README = "README, Message format"
SOURCE = "wsx/views.py, receive_json and _send_error"


def _error(code: str, status: int, ending: str = "", **error: Any) -> tuple[str, Any]:
    return ending, Read(None, "e", status, {"code": code, **error})


TRANSCRIPTS = (
    Transcript(
        "a request",
        README,
        (
            Sent('{"id": "req_1", "action": "chat.send", "data": {"text": "hello"}, "trace_id": "abc123"}'),
            Received(
                '{"action": "chat.message", "data": {"text": "hello"}}',
                Read("chat.message", None, None, {"text": "hello"}),
            ),
            Received(
                '{"id": "req_1", "ok": true, "data": {"user": "alice", "text": "hello"}, "trace_id": "abc123"}',
                Read(None, "req_1", 200, {"user": "alice", "text": "hello"}),
            ),
        ),
    ),
    Transcript(
        "a request without a trace id",
        SOURCE,
        (
            Sent('{"id": 7, "action": "public.ping", "data": {}}', Call("public.ping", 7, {})),
            Received(
                '{"id": 7, "ok": true, "data": {"pong": true}, "trace_id": "..."}', Read(None, 7, 200, {"pong": True})
            ),
            Sent('{"id": 8, "action": "echo"}', Call("echo", 8)),
            Received('{"id": 8, "ok": true, "data": {}, "trace_id": "..."}', Read(None, 8, 200, {})),
            Sent('{"id": 9, "action": "none"}', Call("none", 9)),
            Received('{"id": 9, "ok": true, "data": null, "trace_id": "..."}', Read(None, 9, 200, None)),
        ),
    ),
    Transcript(
        "a request without an id",
        SOURCE,
        (
            Sent('{"action": "public.ping"}', Call("public.ping")),
            Sent('{"action": "text", "data": {}, "trace_id": "t"}'),
            Received(
                '{"ok": false, "error": {"code": "validation_error", "detail": "...", "fields": {"text": ["..."]}},'
                ' "trace_id": "t"}',
                Read(None, None, 422, {"code": "validation_error", "detail": "...", "fields": {"text": ["..."]}}),
            ),
        ),
    ),
    Transcript(
        "data that is not valid",
        README,
        (
            Sent('{"id": "req_1", "action": "chat.send", "data": {"text": "much too long"}, "trace_id": "abc123"}'),
            Received(
                '{"id": "req_1", "ok": false, "error": {"code": "validation_error", "detail": "...",'
                ' "fields": {"text": ["Longer than maximum length 10."]}}, "trace_id": "abc123"}',
                Read(
                    None,
                    "req_1",
                    422,
                    {
                        "code": "validation_error",
                        "detail": "...",
                        "fields": {"text": ["Longer than maximum length 10."]},
                    },
                ),
            ),
        ),
    ),
    Transcript(
        "errors",
        "wsx/exceptions.py",
        (
            Sent('{"id": "e", "action": "no.such", "trace_id": "t"}'),
            Received(
                '{"ok": false, "error": {"code": "not_found", "detail": "..."}, "id": "e", "trace_id": "t"}',
                Read(None, "e", 404, {"code": "not_found", "detail": "..."}),
            ),
            Sent(
                '{"id": "e", "action": "refuse", "data": {"how": "permission"}}',
                Call("refuse", "e", {"how": "permission"}),
            ),
            Received(
                '{"ok": false, "error": {"code": "permission_denied", "detail": "..."}, "id": "e", "trace_id": "..."}',
                Read(None, "e", 403, {"code": "permission_denied", "detail": "..."}),
            ),
            Sent('{"id": "e", "action": "refuse", "data": {"how": "missing"}}'),
            Received(
                '{"ok": false, "error": {"code": "not_found", "detail": "No such room."},'
                ' "id": "e", "trace_id": "..."}',
                Read(None, "e", 404, {"code": "not_found", "detail": "No such room."}),
            ),
            Sent('{"id": "e", "action": "refuse", "data": {"how": "throttled"}}'),
            Received(
                '{"ok": false, "error": {"code": "throttled", "detail": "...", "extra": {"wait": 2}},'
                ' "id": "e", "trace_id": "..."}',
                Read(None, "e", 429, {"code": "throttled", "detail": "...", "extra": {"wait": 2}}),
            ),
            Sent('{"id": "e", "action": "refuse", "data": {"how": "own"}}'),
            Received(
                '{"ok": false, "error": {"code": "bad_request", "detail": "The room is full.",'
                ' "extra": {"seats": 2, "code": "room_full"}}, "id": "e", "trace_id": "..."}',
                Read(
                    None,
                    "e",
                    400,
                    {"code": "bad_request", "detail": "The room is full.", "extra": {"seats": 2, "code": "room_full"}},
                ),
            ),
        ),
    ),
    Transcript(
        "frames that are no messages",
        SOURCE,
        (
            Sent("[1]"),
            Received(
                '{"ok": false, "error": {"code": "bad_request", "detail": "..."}, "trace_id": "..."}',
                Read(None, None, 400, {"code": "bad_request", "detail": "..."}),
            ),
            Sent("no json"),
            Received(
                '{"ok": false, "error": {"code": "bad_request", "detail": "..."}, "trace_id": "..."}',
                Read(None, None, 400, {"code": "bad_request", "detail": "..."}),
            ),
            Sent('{"id": 5, "data": {}}'),
            Received(
                '{"ok": false, "error": {"code": "bad_request", "detail": "..."}, "id": 5, "trace_id": "..."}',
                Read(None, 5, 400, {"code": "bad_request", "detail": "..."}),
            ),
        ),
    ),
    Transcript(
        "heartbeat",
        "routesock: django-wsx has none",
        (
            Sent('{"id": 1, "action": "socket.ping", "data": {"n": 1}}', Call("PING", 1, {"n": 1})),
            Received(
                '{"id": 1, "action": "socket.pong", "data": {"n": 1}, "trace_id": "..."}',
                Read("PONG", 1, None, {"n": 1}),
            ),
            Sent('{"id": 1, "action": "socket.cancel"}', Call("CANCEL", 1)),
        ),
    ),
)


def _is_silent(value: Any) -> bool:
    """A request without an id, a CANCEL, and the answer to a PING."""
    return isinstance(value, dict) and (
        value.get("id") is None or value.get("action") in ("socket.cancel", "socket.pong", "CANCEL", "PONG")
    )


def _check_error(frame: Any) -> None:
    assert frame["ok"] is False
    assert frame.keys() - {"id"} == {"ok", "error", "trace_id"}
    error = frame["error"]
    assert {"code", "detail"} <= error.keys() <= {"code", "detail", "fields", "extra"}
    assert isinstance(error["detail"], str)
    assert all(isinstance(name, str) for name in error.get("fields", {}))


SUITE = Suite("wsx", Chat, TRANSCRIPTS, ("id", "action", "data", "trace_id"), _is_silent, _check_error)
