"""JSON-RPC beyond the transcripts: error codes, notifications, control messages, options, and any payload."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock import Heartbeat, Reply, Request, abroadcast, route, topic
from routesock.auth import HandshakeMiddleware
from routesock.dialects import JsonRpc, Problem
from routesock.dialects.json_rpc import INTERNAL_ERROR, REQUEST_CANCELLED
from routesock.exceptions import InvalidEnvelope, RoutesockError, Throttled
from routesock.permissions import BasePermission
from routesock.testing import RouteClient
from tests.clock import advance, shifted

from .application import who
from .json_rpc import Calculator
from .transcripts import receive

DIALECT = JsonRpc()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
ids = st.text(max_size=128) | st.integers(-(2**53), 2**53)


class Failing(Calculator):
    @route("fail")
    async def fail(self, request: Request) -> Any:
        raise RoutesockError(status=request.payload["status"], code="of_its_own", headers={"Retry-After": 7})

    @route("busy")
    async def busy(self, request: Request) -> Any:
        raise Throttled(wait=1.2)

    @route("conflict")
    async def conflict(self, request: Request) -> Any:
        return Reply(["old", "new"], status=409)

    @route("crash")
    async def crash(self, request: Request) -> Any:
        raise KeyError("a secret")

    @route("twice", status=201)
    async def twice(self, request: Request) -> Any:
        await self.socket.push("first", request.payload)
        return Reply(request.payload, status=201)


def test_each_status_has_a_code_in_the_range_of_the_specification() -> None:
    """-32000 to -32099 are server errors; -32800 is that of the Language Server Protocol."""
    request = Request("a", 1)
    codes = {
        status: DIALECT.error(Problem(status, {"code": "c", "title": "t", "detail": "d"}), request)["error"]["code"]
        for status in range(400, 600)
    }
    assert {status: codes[status] for status in (400, 401, 403, 404, 429, 498)} == {
        400: -32000, 401: -32001, 403: -32003, 404: -32004, 429: -32029, 498: -32098,
    }  # fmt: skip
    assert codes[499] == REQUEST_CANCELLED
    assert {codes[status] for status in range(500, 600)} == {INTERNAL_ERROR}
    assert all(-32099 <= code <= -32000 for status, code in codes.items() if status < 499)


@pytest.mark.parametrize("status", [400, 404, 429, 499, 500, 503])
async def test_a_client_finds_the_status_of_an_error_and_its_headers(status: int) -> None:
    async with RouteClient(Failing) as client:
        reply = await client.call("fail", {"status": status})
    assert (reply.status, reply.payload["code"], reply.headers) == (status, "of_its_own", {"Retry-After": 7})


async def test_the_data_of_an_error_is_the_problem_with_status_and_headers() -> None:
    async with RouteClient(Failing) as client:
        await client.send_json({"jsonrpc": "2.0", "method": "busy", "id": 1})
        assert await client.receive() == {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {
                "code": -32029,
                "message": "Too Many Requests",
                "data": {
                    "status": 429,
                    "code": "throttled",
                    "title": "Too Many Requests",
                    "detail": "Too many requests.",
                    "retry_after": 2,
                    "headers": {"Retry-After": 2},
                },
            },
        }


async def test_a_status_that_a_handler_returns_is_an_error_as_well() -> None:
    async with RouteClient(Failing) as client:
        await client.send_json({"jsonrpc": "2.0", "method": "conflict", "id": 1})
        frame = await client.receive()
        assert frame["error"] == {
            "code": -32009, "message": "Conflict", "data": {"status": 409, "payload": ["old", "new"]},
        }  # fmt: skip
        reply = await client.call("conflict")
        assert (reply.status, reply.payload) == (409, ["old", "new"])


async def test_a_fault_of_the_server_is_an_internal_error_without_its_cause() -> None:
    async with RouteClient(Failing, raise_exceptions=False) as client:
        await client.send_json({"jsonrpc": "2.0", "method": "crash", "id": 1})
        frame = await client.receive()
    assert (frame["error"]["code"], frame["error"]["message"]) == (-32603, "Internal error")
    assert "secret" not in json.dumps(frame)


async def test_errors_of_notifications_are_logged_and_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    notifications = [("nowhere", {}), ("text", {"text": 5}), ("busy", {}), ("crash", {}), ("count", {"to": 2})]
    async with RouteClient(Failing, raise_exceptions=False) as client:
        for name, params in notifications:
            await client.send_json({"jsonrpc": "2.0", "method": name, "params": params})
        assert (await client.call("sum", [1, 2])).payload == 3
        assert client.closed is None
        await client.refute_push()
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    for what in ("Route 'nowhere': 404", "Route 'text': 422", "Route 'busy': 429", "Route 'crash' failed"):
        assert any(line.startswith(what) for line in logged), (what, logged)


async def test_a_batch_has_the_answers_to_control_messages_as_well() -> None:
    batch = [
        {"jsonrpc": "2.0", "method": "rpc.ping", "params": [1], "id": 1},
        {"jsonrpc": "2.0", "method": "rpc.on", "params": ["news"], "id": 2},
        {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 99}},
        {"jsonrpc": "1.0", "method": "sum", "id": 3},
        {"jsonrpc": "2.0", "method": "sum", "params": "1, 2", "id": 4},
        {"jsonrpc": "2.0", "method": "sum", "params": [1, 2], "id": None},
    ]
    async with RouteClient(Calculator) as client:
        await client.send_json(batch)
        answers = {frame["id"]: frame for frame in await receive(client)}
    assert answers.keys() == {1, 2, 3, 4, None}
    assert answers[1]["result"] == [1]
    assert answers[2]["result"] == {"news": "ok"}
    assert answers[3]["error"]["code"] == answers[4]["error"]["code"] == -32600
    assert answers[None]["result"] == 3


async def test_a_batch_has_a_bound(settings: Any) -> None:
    settings.ROUTESOCK = {"MAX_QUEUED": 3}
    async with RouteClient(Calculator) as client:
        await client.send_json([{"jsonrpc": "2.0", "method": "sum", "params": [], "id": id} for id in range(4)])
        frame = await client.receive()
    assert (frame["id"], frame["error"]["code"]) == (None, -32600)


async def test_params_may_be_null() -> None:
    """rpc-websockets sends a null of its caller in notifications, although the specification has none."""
    async with RouteClient(Calculator) as client:
        await client.send_json({"jsonrpc": "2.0", "method": "echo", "params": None, "id": 1})
        assert await client.receive() == {"jsonrpc": "2.0", "result": None, "id": 1}


@pytest.mark.parametrize(
    ("payload", "params"),
    [({"a": 1}, {"a": 1}), ([1, 2], [1, 2]), (5, [5]), ("text", ["text"]), (False, [False]), ([], []), ({}, {})],
)
def test_params_are_an_object_or_an_array(payload: Any, params: Any) -> None:
    assert DIALECT.push("a", payload) == {"jsonrpc": "2.0", "method": "a", "params": params}
    assert DIALECT.request("a", 1, payload) == {"jsonrpc": "2.0", "method": "a", "params": params, "id": 1}


def test_without_a_payload_there_are_no_params() -> None:
    assert DIALECT.push("a", None) == {"jsonrpc": "2.0", "method": "a"}


async def test_pushes_are_notifications() -> None:
    async with RouteClient(Failing) as client:
        assert (await client.call("twice", {"a": 1})).payload == {"a": 1}
        assert (await client.expect_push("first")).payload == {"a": 1}


async def test_the_test_client_pings_cancels_and_reads_streams() -> None:
    async with RouteClient(Calculator) as client:
        assert await client.ping({"sent": 1}) == {"sent": 1}
        frames = [(frame.status, frame.payload) async for frame in client.stream("count", {"to": 2})]
        assert frames == [(206, 0), (206, 1), (204, None)]
        await client.send("wait", id=1)
        await client.cancel(1)
        assert (await client.expect_reply(1)).status == 499


async def test_a_close_has_its_notice() -> None:
    class Closing(Calculator):
        @route("shut")
        async def shut(self, request: Request) -> Any:
            await self.socket.close(403, "We are closed.")

    async with RouteClient(Closing) as client:
        await client.send("shut", id=1)
        push = await client.expect_push("CLOSE")
        assert push.payload == {"code": 4403, "reason": "We are closed.", "reconnect": False}
        assert (await client.expect_close()).code == 4403
    assert DIALECT.push("CLOSE", {"code": 4403})["method"] == "rpc.close"


async def test_the_handshake() -> None:
    application = HandshakeMiddleware(Calculator.as_asgi(), authenticators=[who], lock=0)
    async with RouteClient(application, dialect=DIALECT) as client:
        assert await client.receive() == {
            "jsonrpc": "2.0",
            "method": "rpc.hello",
            "params": {"mode": "required", "attempts": 2, "timeout": 20},
        }
        await client.send_json({"jsonrpc": "2.0", "method": "sum", "params": [1, 2]})  # a notification
        await client.send_json([{"jsonrpc": "2.0", "method": "sum", "params": [1, 2], "id": 1}])
        frame = await client.receive()
        assert (frame["id"], frame["error"]["code"]) == (None, -32600)
        await client.send_json({"jsonrpc": "2.0", "method": "rpc.login", "params": {"token": "ada's token"}, "id": 2})
        assert await client.receive() == {"jsonrpc": "2.0", "result": {"expires": None, "ttl": None}, "id": 2}
        assert (await client.call("sum", [1, 2])).payload == 3


async def test_the_end_of_a_subscription_is_a_notification() -> None:
    frame = DIALECT.push("UNSUBSCRIBE", {"topic": "news", "code": "permission_denied"})
    assert frame == {
        "jsonrpc": "2.0", "method": "rpc.unsubscribed", "params": {"topic": "news", "code": "permission_denied"},
    }  # fmt: skip
    read = DIALECT.incoming(frame)
    assert read is not None
    assert (read.route, read.payload) == ("UNSUBSCRIBE", {"topic": "news", "code": "permission_denied"})


async def test_a_push_through_a_topic_names_it() -> None:
    async with RouteClient(Calculator) as client:
        await client.call("SUBSCRIBE", {"topic": "news"})
        await abroadcast("news", "headline", {"text": "Rain"})
        frame = await client.receive()
    assert frame == {"jsonrpc": "2.0", "method": "headline", "params": {"text": "Rain"}, "topic": "news"}
    read = DIALECT.incoming(frame)
    assert read is not None
    assert read.headers == {"Topic": "news"}


async def test_errors_of_subscriptions() -> None:
    class Nobody(BasePermission):
        def has_permission(self, request: Request) -> bool:
            return False

    class Secret(Calculator):
        @topic("secret", permissions=[Nobody])
        async def secret(self, request: Request) -> Any:
            return None

    async with RouteClient(Secret) as client:
        statuses = [
            (await client.call("SUBSCRIBE", {"topic": name})).status for name in ("nowhere", "secret", "news", "news")
        ]
    assert statuses == [404, 401, 200, 409]


@shifted
async def test_a_heartbeat() -> None:
    class Beating(Calculator):
        route_heartbeat = Heartbeat(interval=25, timeout=10)

    async with RouteClient(Beating) as client:
        for _ in range(3):
            await advance(30)
            assert await client.receive() == {"jsonrpc": "2.0", "method": "rpc.ping"}
            await client.send_json({"jsonrpc": "2.0", "method": "rpc.pong"})
            await client.settle()
        assert client.closed is None


async def test_names_in_camel_case() -> None:
    class Camel(Calculator):
        route_dialect = JsonRpc(camelize=True)

        @route("see")
        async def see(self, request: Request) -> Any:
            assert request.payload == {"first_name": "Ada", "tags": [{"tag_id": "keep_this"}]}
            await self.socket.push("was_seen", request.payload)
            return request.payload

        @route("fails")
        async def fails(self, request: Request) -> Any:
            raise RoutesockError("No.", status=400, errors={"first_name": ["No."]})

    params = {"firstName": "Ada", "tags": [{"tagId": "keep_this"}]}
    async with RouteClient(Camel) as client:
        reply = await client.call("see", params)
        assert reply.payload == params
        assert (await client.expect_push("was_seen")).payload == params
        assert (await client.call("fails")).payload["errors"] == {"firstName": ["No."]}


async def test_completion_answers_no_notification() -> None:
    class Completing(Calculator):
        route_dialect = JsonRpc(completion=True)

    async with RouteClient(Completing) as client:
        await client.send("update", [1])
        assert (await client.call("sum", [1, 2])).payload == 3
        await client.refute_push()


@pytest.mark.parametrize("version", ["1.0", 2, 2.0, None, ["2.0"]])
def test_the_version_is_checked_and_the_id_is_repeated(version: Any) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        DIALECT.read({"jsonrpc": version, "method": "a", "id": 7})
    assert caught.value.id == 7


@pytest.mark.parametrize("id", [True, 1.5, 2**60, "i" * 129, [], {}])
def test_an_id_that_cannot_be_repeated_is_null(id: Any) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        DIALECT.read({"jsonrpc": "2.0", "id": id})
    assert caught.value.id is None


@given(ids, st.integers(200, 299), json_values)
def test_a_client_reads_the_reply_that_a_server_wrote(id: Any, status: int, payload: Any) -> None:
    frame = json.loads(json.dumps(DIALECT.reply(Request("a", id), status, payload, {})))
    read = DIALECT.incoming(frame)
    assert read is not None
    expected = 206 if status == 206 else 204 if payload is None else 200
    assert (read.id, read.status, read.payload) == (id, expected, payload)


@given(ids, st.integers(400, 599), json_values)
def test_a_client_reads_the_error_that_a_server_wrote(id: Any, status: int, payload: Any) -> None:
    frame = json.loads(json.dumps(DIALECT.reply(Request("a", id), status, payload, {})))
    read = DIALECT.incoming(frame)
    assert read is not None
    assert (read.id, read.status, read.payload) == (id, status, payload)


@given(ids | st.none(), json_values)
def test_a_server_reads_the_request_that_a_client_wrote(id: Any, payload: Any) -> None:
    frame: Any = DIALECT.read(json.loads(json.dumps(DIALECT.request("a.b", id, payload))))
    assert (frame.route, frame.id) == ("a.b", id)
    assert frame.payload == (payload if isinstance(payload, dict | list | None) else [payload])


@pytest.mark.parametrize(
    ("code", "status"),
    [(-32700, 400), (-32600, 400), (-32601, 404), (-32602, 422), (-32603, 500), (-32800, 499), (-32029, 429), (7, 500)],
)
def test_a_client_reads_errors_of_other_servers(code: int, status: int) -> None:
    read = DIALECT.incoming({"jsonrpc": "2.0", "error": {"code": code, "message": "No"}, "id": 1})
    assert read is not None
    assert (read.status, read.payload) == (status, {"title": "No", "detail": None})


@shifted
async def test_a_client_that_sends_batches_is_not_idle() -> None:
    class Limited(Calculator):
        route_idle_timeout = 60

    async with RouteClient(Limited) as client:
        for id in range(3):
            await advance(50)
            await client.send_json([{"jsonrpc": "2.0", "method": "sum", "params": [1, 2], "id": id}])
            assert json.loads(await client.receive()) == [{"jsonrpc": "2.0", "result": 3, "id": id}]
        await advance(61)
        await client.settle()
        assert client.closed is not None
