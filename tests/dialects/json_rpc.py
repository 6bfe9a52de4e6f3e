"""JSON-RPC 2.0: every example of section 7 of its specification, and what rpc-websockets sends."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from marshmallow import Schema, fields

from routesock import Request, RouteMixin, route, topic
from routesock.dialects import JsonRpc

from .transcripts import Call, Read, Received, Sent, Suite, Transcript


class TextSchema(Schema):
    text = fields.Str(required=True)


class Calculator(RouteMixin, AsyncJsonWebsocketConsumer):
    """The server of the specification's examples."""

    route_dialect = JsonRpc()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("text", schema=TextSchema)
    async def text(self, request: Request) -> Any:
        return request.payload

    @route("subtract")
    async def subtract(self, request: Request) -> Any:
        if isinstance(request.payload, list):
            minuend, subtrahend = request.payload
        else:
            minuend, subtrahend = request.payload["minuend"], request.payload["subtrahend"]
        return minuend - subtrahend

    @route("sum")
    @route("notify_sum")
    async def sum(self, request: Request) -> Any:
        return sum(request.payload)

    @route("update")
    @route("notify_hello")
    async def update(self, request: Request) -> Any:
        return None

    @route("get_data")
    async def get_data(self, request: Request) -> Any:
        return ["hello", 5]

    @route("wait")
    async def wait(self, request: Request) -> Any:
        await asyncio.Event().wait()

    @route("count")
    async def count(self, request: Request) -> Any:
        for number in range(request.payload["to"]):
            yield number

    @topic("news")
    async def news(self, request: Request) -> Any:
        return None

    @topic("prices")
    async def prices(self, request: Request) -> Any:
        return {"EUR": 1}


def check_error(frame: Any) -> None:
    assert frame.keys() == {"jsonrpc", "error", "id"}
    error = frame["error"]
    assert error.keys() == {"code", "message", "data"}
    assert type(error["code"]) is int
    assert -32768 <= error["code"] <= -32000
    assert {"status", "code", "title", "detail"} <= error["data"].keys()


def is_silent(value: Any) -> bool:
    """A valid notification, and a batch of nothing else. A message with a bad method is none."""
    if isinstance(value, list):
        return bool(value) and all(is_silent(item) for item in value)
    return (
        isinstance(value, dict)
        and value.get("jsonrpc") == "2.0"
        and isinstance(value.get("method"), str)
        and 0 < len(value["method"]) <= 128
        and isinstance(value.get("params", {}), dict | list | None)
        and "id" not in value
    )


SPECIFICATION = "https://www.jsonrpc.org/specification#examples"

RPC_WEBSOCKETS = "rpc-websockets 10.0.1, dist/index.mjs"

LSP = "https://microsoft.github.io/language-server-protocol/, $/cancelRequest and $/progress"


TRANSCRIPTS = (
    Transcript(
        "positional-parameters",
        SPECIFICATION,
        (
            Sent(
                '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}', Call("subtract", 1, [42, 23])
            ),
            Received('{"jsonrpc": "2.0", "result": 19, "id": 1}', Read(None, 1, 200, 19)),
            Sent(
                '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}', Call("subtract", 2, [23, 42])
            ),
            Received('{"jsonrpc": "2.0", "result": -19, "id": 2}', Read(None, 2, 200, -19)),
        ),
    ),
    Transcript(
        "named-parameters",
        SPECIFICATION,
        (
            Sent(
                '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
                Call("subtract", 3, {"subtrahend": 23, "minuend": 42}),
            ),
            Received('{"jsonrpc": "2.0", "result": 19, "id": 3}', Read(None, 3, 200, 19)),
            Sent(
                '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
                Call("subtract", 4, {"minuend": 42, "subtrahend": 23}),
            ),
            Received('{"jsonrpc": "2.0", "result": 19, "id": 4}', Read(None, 4, 200, 19)),
        ),
    ),
    Transcript(
        "notifications",
        SPECIFICATION,
        (
            Sent(
                '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', Call("update", None, [1, 2, 3, 4, 5])
            ),
            Sent('{"jsonrpc": "2.0", "method": "foobar"}', Call("foobar")),
        ),
    ),
    Transcript(
        "a-method-that-does-not-exist",
        SPECIFICATION,
        (
            Sent('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', Call("foobar", "1")),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
                Read(None, "1", 404, {"title": "Method not found", "detail": None}),
            ),
        ),
    ),
    Transcript(
        "invalid-json",
        SPECIFICATION,
        (
            Sent('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]'),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
                Read(None, None, 400, {"title": "Parse error", "detail": None}),
            ),
        ),
    ),
    Transcript(
        "an-invalid-request",
        SPECIFICATION,
        (
            Sent('{"jsonrpc": "2.0", "method": 1, "params": "bar"}'),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
                Read(None, None, 400, {"title": "Invalid Request", "detail": None}),
            ),
        ),
    ),
    Transcript(
        "a-batch-of-invalid-json",
        SPECIFICATION,
        (
            Sent(
                '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"\n]',
            ),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
                Read(None, None, 400, {"title": "Parse error", "detail": None}),
            ),
        ),
    ),
    Transcript(
        "an-empty-batch",
        SPECIFICATION,
        (
            Sent("[]"),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
                Read(None, None, 400, {"title": "Invalid Request", "detail": None}),
            ),
        ),
    ),
    Transcript(
        "an-invalid-batch",
        SPECIFICATION,
        (
            Sent("[1]"),
            Received('[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]'),
        ),
    ),
    Transcript(
        "a-batch-of-invalid-requests",
        SPECIFICATION,
        (
            Sent("[1,2,3]"),
            Received(
                '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},'
                '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},'
                '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]'
            ),
        ),
    ),
    Transcript(
        "a-batch",
        SPECIFICATION,
        (
            Sent(
                '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
                '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
                '{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
                '{"foo": "boo"},'
                '{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
                '{"jsonrpc": "2.0", "method": "get_data", "id": "9"}]'
            ),
            Received(
                '[{"jsonrpc": "2.0", "result": 7, "id": "1"},'
                '{"jsonrpc": "2.0", "result": 19, "id": "2"},'
                '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},'
                '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},'
                '{"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}]'
            ),
        ),
    ),
    Transcript(
        "a-batch-of-notifications",
        SPECIFICATION,
        (
            Sent(
                '[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
                '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]'
            ),
        ),
    ),
    Transcript(
        "a-null-id-is-a-request",
        "https://www.jsonrpc.org/specification#request_object",
        (
            Sent('{"jsonrpc": "2.0", "method": "get_data", "id": null}'),
            Received('{"jsonrpc": "2.0", "result": ["hello", 5], "id": null}', Read(None, None, 200, ["hello", 5])),
            Sent('{"jsonrpc": "2.0", "method": "nowhere", "id": null}'),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": null}',
                Read(None, None, 404, {"title": "Method not found", "detail": None}),
            ),
        ),
    ),
    Transcript(
        "events",
        RPC_WEBSOCKETS,
        (
            Sent(
                '{"jsonrpc": "2.0", "method": "rpc.on", "params": ["news"], "id": 1}',
                Call("SUBSCRIBE", 1, {"topic": "news"}),
            ),
            Received('{"jsonrpc": "2.0", "result": {"news": "ok"}, "id": 1}', Read(None, 1, 200, {"news": "ok"})),
            Sent(
                '{"jsonrpc": "2.0", "method": "rpc.on", "params": ["prices"], "id": 2}',
                Call("SUBSCRIBE", 2, {"topic": "prices"}),
            ),
            Received(
                '{"jsonrpc": "2.0", "result": {"prices": {"EUR": 1}}, "id": 2}',
                Read(None, 2, 200, {"prices": {"EUR": 1}}),
            ),
            Sent('{"jsonrpc": "2.0", "method": "rpc.on", "params": ["news", "prices"], "id": 3}'),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32602, "message": "Invalid params"}, "id": 3}',
                Read(None, 3, 422, {"title": "Invalid params", "detail": None}),
            ),
            Sent(
                '{"jsonrpc": "2.0", "method": "rpc.off", "params": ["news"], "id": 4}',
                Call("UNSUBSCRIBE", 4, {"topic": "news"}),
            ),
            Received('{"jsonrpc": "2.0", "result": {"news": "ok"}, "id": 4}', Read(None, 4, 200, {"news": "ok"})),
        ),
    ),
    Transcript(
        "a-ping",
        "the control messages of routesock under names that JSON-RPC reserves for extensions",
        (
            Sent(
                '{"jsonrpc": "2.0", "method": "rpc.ping", "params": {"sent": 5}, "id": 1}',
                Call("PING", 1, {"sent": 5}),
            ),
            Received('{"jsonrpc": "2.0", "result": {"sent": 5}, "id": 1}', Read(None, 1, 200, {"sent": 5})),
            Sent('{"jsonrpc": "2.0", "method": "rpc.ping"}', Call("PING")),
            Sent('{"jsonrpc": "2.0", "method": "rpc.pong"}', Call("PONG")),
            Sent('{"jsonrpc": "2.0", "method": "rpc.pong", "id": 2}'),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": 2}',
                Read(None, 2, 400, {"title": "Invalid Request", "detail": None}),
            ),
        ),
    ),
    Transcript(
        "a-cancelled-request",
        LSP,
        (
            Sent('{"jsonrpc": "2.0", "method": "wait", "id": 1}', Call("wait", 1)),
            Sent('{"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}}', Call("CANCEL", 1)),
            Received(
                '{"jsonrpc": "2.0", "error": {"code": -32800, "message": "Client Closed Request"}, "id": 1}',
                Read(None, 1, 499, {"title": "Client Closed Request", "detail": None}),
            ),
            Sent('{"jsonrpc": "2.0", "method": "$/cancelRequest"}'),
            Sent('{"jsonrpc": "2.0", "method": "$/cancelRequest", "params": [1]}'),
            Sent('{"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": {}}}'),
        ),
    ),
    Transcript(
        "a-stream",
        LSP,
        (
            Sent('{"jsonrpc": "2.0", "method": "count", "params": {"to": 2}, "id": 1}', Call("count", 1, {"to": 2})),
            Received(
                '{"jsonrpc": "2.0", "method": "$/progress", "params": {"token": 1, "value": 0}}', Read(None, 1, 206, 0)
            ),
            Received(
                '{"jsonrpc": "2.0", "method": "$/progress", "params": {"token": 1, "value": 1}}', Read(None, 1, 206, 1)
            ),
            Received('{"jsonrpc": "2.0", "result": null, "id": 1}', Read(None, 1, 204, None)),
            Sent('{"jsonrpc": "2.0", "method": "count", "params": {"to": 2}}', Call("count", None, {"to": 2})),
        ),
    ),
)

SUITE = Suite(
    "json-rpc",
    Calculator,
    TRANSCRIPTS,
    keys=("jsonrpc", "method", "params", "id"),
    is_silent=is_silent,
    check_error=check_error,
    may_add=frozenset({"data"}),
)
