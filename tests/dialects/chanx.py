"""chanx 2.13: what a consumer of chanx with these handlers answered, frame by frame, on Channels 4.3."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from pydantic import BaseModel

from routesock import Reply, Request, RouteMixin, event, route, topic
from routesock.dialects import Chanx

from .transcripts import Call, Read, Received, Sent, Suite, Transcript


class Text(BaseModel):
    text: str
    n: int = 0


def may_enter(request: Request) -> bool:
    return request.topic != "room:9"


class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = Chanx(reply_actions={"chat.send": "chat.sent"})

    async def connect(self) -> None:
        await self.accept()
        await self.socket.join("everybody")

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=Text)
    async def text(self, request: Request) -> Any:
        return request.payload.model_dump()

    @route("chat.send", schema=Text)
    async def send_text(self, request: Request) -> Any:
        return request.payload.model_dump()

    @route("chat.maybe")
    async def maybe(self, request: Request) -> Any:
        return Reply({"why": "full"}, headers={"action": "chat.later"})

    @route("nothing")
    async def nothing(self, request: Request) -> None:
        return None

    @route("fail")
    async def fail(self, request: Request) -> None:
        raise ValueError("a bug")

    @route("cast")
    async def cast(self, request: Request) -> None:
        await self.socket.broadcast("everybody", "cast", request.payload)

    @route("items")
    async def items(self, request: Request) -> Any:
        yield {"item": 1}
        yield {"item": 2}

    @route("shut")
    async def shut(self, request: Request) -> None:
        await self.socket.close(403, "Closed.")

    @topic("room:{id}", permissions=[may_enter])
    async def room(self, request: Request) -> None:
        return None

    @event("paid")
    async def paid(self, event: Any) -> None:
        await self.socket.push("paid", event.payload)


class Completing(Chat):
    """With ``send_completion = True``."""

    route_dialect = Chanx(reply_actions={"chat.send": "chat.sent"}, completion=True)


SOURCE = "the frames that chanx 2.13.0 sent"

_WRONG = """{"action": "error", "payload": [
    {"type": "string_type", "loc": ["chat.send", "payload", "text"], "msg": "Input should be a valid string"},
    {"type": "int_parsing", "loc": ["chat.send", "payload", "n"],
     "msg": "Input should be a valid integer, unable to parse string as an integer"}
], "version": 1, "ref": "1"}"""

TRANSCRIPTS = (
    Transcript(
        "a message without a ref",
        SOURCE,
        (
            Sent('{"action": "chat.send", "payload": {"text": "x"}}', Call("chat.send", None, {"text": "x"})),
            Received(
                '{"action": "chat.sent", "payload": {"text": "x", "n": 0}}',
                Read("chat.sent", None, None, {"text": "x", "n": 0}),
            ),
        ),
    ),
    Transcript(
        "a message with a ref",
        SOURCE,
        (
            Sent(
                '{"action": "chat.send", "payload": {"text": "x"}, "version": 1, "ref": "1"}',
                Call("chat.send", "1", {"text": "x"}),
            ),
            Received(
                '{"action": "chat.sent", "payload": {"text": "x", "n": 0}, "version": 1, "ref": "1"}',
                Read("chat.sent", "1", 200, {"text": "x", "n": 0}),
            ),
        ),
    ),
    Transcript(
        "another action in a header",
        "a handler with a union of messages as its result",
        (
            Sent('{"action": "chat.maybe", "payload": null, "version": 1, "ref": "m"}', Call("chat.maybe", "m")),
            Received(
                '{"action": "chat.later", "payload": {"why": "full"}, "version": 1, "ref": "m"}',
                Read("chat.later", "m", 200, {"why": "full"}),
            ),
        ),
    ),
    Transcript(
        "a handler that returns None",
        SOURCE,
        (Sent('{"action": "nothing", "payload": null, "version": 1, "ref": "b"}', Call("nothing", "b")),),
    ),
    Transcript(
        "ping",
        SOURCE,
        (
            Sent('{"action": "ping", "payload": null}', Call("PING")),
            Received('{"action": "pong", "payload": null}', Read("PONG", None, None, None)),
            Sent('{"action": "ping", "payload": null, "version": 1, "ref": "7"}', Call("PING", "7")),
            Received('{"action": "pong", "payload": null, "version": 1, "ref": "7"}', Read("PONG", "7", None, None)),
            Sent('{"action": "pong", "payload": null}', Call("PONG")),
        ),
    ),
    Transcript(
        "a payload that is not valid",
        SOURCE,
        (
            Sent('{"action": "chat.send", "payload": {"text": 1, "n": "z"}, "ref": "1"}'),
            Received(
                _WRONG,
                Read(
                    "error",
                    "1",
                    422,
                    [
                        {
                            "type": "string_type",
                            "loc": ["chat.send", "payload", "text"],
                            "msg": "Input should be a valid string",
                        },
                        {
                            "type": "int_parsing",
                            "loc": ["chat.send", "payload", "n"],
                            "msg": "Input should be a valid integer, unable to parse string as an integer",
                        },
                    ],
                ),
            ),
            Sent('{"action": "chat.send"}'),
            Received(
                '{"action": "error", "payload": [{"type": "...", "loc": ["chat.send", "payload"], "msg": "..."}]}',
                Read("error", None, None, [{"type": "...", "loc": ["chat.send", "payload"], "msg": "..."}]),
            ),
        ),
    ),
    Transcript(
        "a ref that is not a string",
        SOURCE,
        (
            Sent('{"action": "chat.send", "payload": {"text": "x"}, "ref": 1}'),
            Received(
                '{"action": "error", "payload": [{"type": "string_type", "loc": ["ref"], "msg": "..."}]}',
                Read("error", None, None, [{"type": "string_type", "loc": ["ref"], "msg": "..."}]),
            ),
        ),
    ),
    Transcript(
        "an action that is unknown or missing",
        SOURCE,
        (
            Sent('{"action": "zzz", "ref": "2"}'),
            Received(
                '{"action": "error", "payload": [{"type": "union_tag_invalid", "loc": [], "msg": "..."}],'
                ' "version": 1, "ref": "2"}',
                Read("error", "2", 422, [{"type": "union_tag_invalid", "loc": [], "msg": "..."}]),
            ),
            Sent('{"ref": "3"}'),
            Received(
                '{"action": "error", "payload": [{"type": "union_tag_not_found", "loc": [], "msg": "..."}],'
                ' "version": 1, "ref": "3"}',
                Read("error", "3", 422, [{"type": "union_tag_not_found", "loc": [], "msg": "..."}]),
            ),
            Sent('{"action": "subscribe"}'),
            Received(
                '{"action": "error", "payload": [{"type": "union_tag_invalid", "loc": [], "msg": "..."}]}',
                Read("error", None, None, [{"type": "union_tag_invalid", "loc": [], "msg": "..."}]),
            ),
        ),
    ),
    Transcript(
        "frames that are no messages",
        SOURCE,
        (
            Sent("[1]"),
            Received(
                '{"action": "error", "payload": [{"type": "model_type", "loc": [], "msg": "..."}]}',
                Read("error", None, None, [{"type": "model_type", "loc": [], "msg": "..."}]),
            ),
            Sent("no json"),
            Received(
                '{"action": "error", "payload": [{"type": "json_invalid", "loc": [], "msg": "..."}]}',
                Read("error", None, None, [{"type": "json_invalid", "loc": [], "msg": "..."}]),
            ),
        ),
    ),
    Transcript(
        "a topic",
        SOURCE,
        (
            Sent(
                '{"action": "subscribe", "payload": null, "version": 1, "topic": "room:1", "ref": "1"}',
                Call("SUBSCRIBE", "1", {"topic": "room:1"}),
            ),
            Received(
                '{"action": "subscribed", "payload": null, "version": 1, "topic": "room:1", "ref": "1"}',
                Read("SUBSCRIBE", "1", 200, None),
            ),
            Sent('{"action": "subscribe", "topic": "room:1", "ref": "2"}'),
            Received(
                '{"action": "subscribed", "payload": null, "version": 1, "topic": "room:1", "ref": "2"}',
                Read("SUBSCRIBE", "2", 200, None),
            ),
            Sent('{"action": "chat.send", "topic": "room:1", "payload": {"text": "x"}, "ref": "5"}'),
            Received(
                '{"action": "chat.sent", "payload": {"text": "x", "n": 0},'
                ' "version": 1, "topic": "room:1", "ref": "5"}',
                Read("chat.sent", "5", 200, {"text": "x", "n": 0}),
            ),
            Sent(
                '{"action": "unsubscribe", "payload": null, "version": 1, "topic": "room:1", "ref": "6"}',
                Call("UNSUBSCRIBE", "6", {"topic": "room:1"}),
            ),
            Received(
                '{"action": "unsubscribed", "payload": null, "version": 1, "topic": "room:1", "ref": "6"}',
                Read("UNSUBSCRIBE", "6", 200, None),
            ),
            Sent('{"action": "unsubscribe", "topic": "room:1"}'),
            Received(
                '{"action": "unsubscribed", "payload": null, "version": 1, "topic": "room:1"}',
                Read("UNSUBSCRIBE", None, None, {"topic": "room:1"}),
            ),
        ),
    ),
    Transcript(
        "topics that are refused",
        SOURCE,
        (
            Sent('{"action": "subscribe", "topic": "x", "ref": "1"}'),
            Received(
                '{"action": "error", "payload": {"reason": "unknown_topic", "detail": "..."},'
                ' "version": 1, "topic": "x", "ref": "1"}',
                Read("error", "1", 404, {"reason": "unknown_topic", "detail": "..."}),
            ),
            Sent('{"action": "subscribe", "topic": "room:9", "ref": "1"}'),
            Received(
                '{"action": "error", "payload": {"reason": "unauthorized", "detail": "..."},'
                ' "version": 1, "topic": "room:9", "ref": "1"}',
                Read("error", "1", 403, {"reason": "unauthorized", "detail": "..."}),
            ),
            Sent('{"action": "chat.send", "topic": 5, "ref": "5"}'),
            Received(
                '{"action": "error", "payload": [{"type": "string_type", "loc": ["topic"], "msg": "..."}]}',
                Read("error", None, None, [{"type": "string_type", "loc": ["topic"], "msg": "..."}]),
            ),
        ),
    ),
    Transcript(
        "a message to a group",
        SOURCE,
        (
            Sent('{"action": "cast", "payload": {"text": "x"}}', Call("cast", None, {"text": "x"})),
            Received('{"action": "cast", "payload": {"text": "x"}}', Read("cast", None, None, {"text": "x"})),
        ),
    ),
    Transcript(
        "several messages",
        "a handler of chanx that calls send_message()",
        (
            Sent('{"action": "items", "payload": null, "version": 1, "ref": "s"}', Call("items", "s")),
            Received(
                '{"action": "items", "payload": {"item": 1}, "version": 1, "ref": "s"}',
                Read("items", "s", 200, {"item": 1}),
            ),
            Received(
                '{"action": "items", "payload": {"item": 2}, "version": 1, "ref": "s"}',
                Read("items", "s", 200, {"item": 2}),
            ),
        ),
    ),
)

_COMPLETE = Received('{"action": "complete", "payload": null}', Read("complete", None, None, None))


def _complete(ref: str) -> Received:
    return Received(
        f'{{"action": "complete", "payload": null, "version": 1, "ref": "{ref}"}}', Read("complete", None, None, None)
    )


COMPLETION = (
    Transcript(
        "completion of a message",
        SOURCE,
        (
            Sent('{"action": "chat.send", "payload": {"text": "x"}, "ref": "1"}'),
            Received(
                '{"action": "chat.sent", "payload": {"text": "x", "n": 0}, "version": 1, "ref": "1"}',
                Read("chat.sent", "1", 200, {"text": "x", "n": 0}),
            ),
            _complete("1"),
            Sent('{"action": "chat.send", "payload": {"text": "x"}}'),
            Received(
                '{"action": "chat.sent", "payload": {"text": "x", "n": 0}}',
                Read("chat.sent", None, None, {"text": "x", "n": 0}),
            ),
            _COMPLETE,
            Sent('{"action": "nothing", "ref": "b"}'),
            _complete("b"),
            Sent('{"action": "ping", "ref": "7"}'),
            Received('{"action": "pong", "payload": null, "version": 1, "ref": "7"}', Read("PONG", "7", None, None)),
            _complete("7"),
        ),
    ),
    Transcript(
        "completion of an error",
        SOURCE,
        (
            Sent('{"action": "chat.send", "payload": {"text": 1, "n": "z"}, "ref": "1"}'),
            Received(_WRONG, TRANSCRIPTS[5].steps[1].read),  # type: ignore[union-attr]
            _complete("1"),
            Sent('{"action": "zzz", "ref": "2"}'),
            TRANSCRIPTS[7].steps[1],
            _complete("2"),
            Sent('{"ref": "3"}'),
            TRANSCRIPTS[7].steps[3],
            _complete("3"),
        ),
    ),
    Transcript(
        "frames that are not handled are not completed",
        SOURCE,
        (*TRANSCRIPTS[8].steps, *TRANSCRIPTS[6].steps, *TRANSCRIPTS[10].steps),
    ),
    Transcript(
        "topics are not completed, messages to them are",
        SOURCE,
        (
            *TRANSCRIPTS[9].steps[:6],
            Received(
                '{"action": "complete", "payload": null, "version": 1, "topic": "room:1", "ref": "5"}',
                Read("complete", None, None, None),
            ),
            *TRANSCRIPTS[9].steps[6:],
        ),
    ),
    Transcript(
        "several messages",
        SOURCE,
        (*TRANSCRIPTS[12].steps, _complete("s")),
    ),
)


def _is_silent(value: Any) -> bool:
    """A handler that returns ``None``, a CANCEL, and the answer to a ping of the server."""
    return isinstance(value, dict) and (
        value.get("action") in ("pong", "PONG", "CANCEL")
        or (value.get("action") == "echo" and not value.get("payload"))
    )


def _check_error(frame: Any) -> None:
    payload = frame["payload"]
    if frame["action"] == "authentication":
        assert payload.keys() == {"status_code", "status_text", "data"}
        assert payload["status_code"] >= 400
        return
    assert frame["action"] == "error"
    if isinstance(payload, list):
        assert payload
        assert all(entry.keys() == {"type", "loc", "msg"} for entry in payload)
    else:
        assert payload.keys() - {"reason"} == {"detail"}
        assert isinstance(payload["detail"], str)


SUITE = Suite(
    "chanx",
    Chat,
    TRANSCRIPTS,
    ("action", "payload", "ref", "topic", "version", "seq"),
    _is_silent,
    _check_error,
)

COMPLETING = Suite("chanx with completion", Completing, COMPLETION, SUITE.keys, _is_silent, _check_error)
