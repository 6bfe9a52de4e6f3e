"""django-observable-socket 1.0: what its TypeScript client sends, and what it needs to read."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from marshmallow import Schema, fields

from routesock import Reply, Request, RouteMixin, route
from routesock.dialects import ObservableSocket

from .transcripts import Call, Read, Received, Sent, Suite, Transcript


class TextSchema(Schema):
    text = fields.Str(required=True)


class Routes(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = ObservableSocket()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=TextSchema)
    async def text(self, request: Request) -> Any:
        return request.payload

    @route("sayHello")
    async def say_hello(self, request: Request) -> Any:
        await self.socket.push("news", "Rain")
        return Reply({"hello": request.payload["name"]}, headers={"Language": request.headers.get("Language")})


CLIENT = "the client's Message.ts and ObservableSocket.ts"

_ID = "0f6e6f4e-1f0b-4b51-9d5e-2f4b0b7f4a10"

TRANSCRIPTS = (
    Transcript(
        "a message",
        CLIENT,
        (
            Sent(f'{{"headers": null, "uuid": "{_ID}", "route": "echo", "payload": {{"a": 1}}, "status": 200}}'),
            Received(f'{{"payload": {{"a": 1}}, "uuid": "{_ID}", "status": 200}}', Read(None, _ID, 200, {"a": 1})),
        ),
    ),
    Transcript(
        "global headers, and a push before the reply",
        CLIENT,
        (
            Sent(
                f'{{"headers": {{"Language": "de"}}, "uuid": "{_ID}", "route": "sayHello",'
                ' "payload": {"name": "Ada"}, "status": 200}'
            ),
            Received('{"route": "news", "payload": "Rain"}', Read("news", None, None, "Rain")),
            Received(
                f'{{"headers": {{"Language": "de"}}, "payload": {{"hello": "Ada"}}, "uuid": "{_ID}", "status": 200}}',
                Read(None, _ID, 200, {"hello": "Ada"}),
            ),
        ),
    ),
    Transcript(
        "errors",
        CLIENT,
        (
            Sent(f'{{"headers": {{}}, "uuid": "{_ID}", "route": "noSuch", "payload": null, "status": 200}}'),
            Received(f'{{"payload": "...", "uuid": "{_ID}", "status": 404}}', Read(None, _ID, 404, "...")),
            Sent(f'{{"headers": {{}}, "uuid": "{_ID}", "route": "text", "payload": {{}}, "status": 200}}'),
            Received(f'{{"payload": "...", "uuid": "{_ID}", "status": 422}}', Read(None, _ID, 422, "...")),
            Sent('{"route": "noSuch", "uuid": 1, "payload": null}', Call("noSuch", 1)),
            Received('{"payload": "...", "uuid": 1, "status": 404}', Read(None, 1, 404, "...")),
        ),
    ),
    Transcript(
        "heartbeat",
        CLIENT,
        (
            Sent(f'{{"headers": null, "uuid": "{_ID}", "route": "PING", "payload": null, "status": 200}}'),
            Received(f'{{"payload": null, "uuid": "{_ID}", "route": "PONG"}}', Read("PONG", _ID, None, None)),
            Sent('{"route": "PING", "uuid": 7, "payload": null}', Call("PING", 7)),
            Received('{"payload": null, "uuid": 7, "route": "PONG"}', Read("PONG", 7, None, None)),
        ),
    ),
)


def _is_silent(value: Any) -> bool:
    return isinstance(value, dict) and (value.get("uuid") is None or value.get("route") in ("CANCEL", "PONG"))


def _check_error(frame: Any) -> None:
    assert {"code", "title", "detail"} <= frame["payload"].keys()
    assert frame.keys() - {"headers"} == {"uuid", "route", "status", "payload"}


SUITE = Suite(
    "observable_socket", Routes, TRANSCRIPTS, ("route", "uuid", "payload", "headers", "status"), _is_silent,
    _check_error, frozenset({"route"}),
)  # fmt: skip
