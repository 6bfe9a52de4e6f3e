"""DCRF's frames beyond the transcripts: a demultiplexer in front, pushes, options, and any payload."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock import Reply, Request, abroadcast, route, topic
from routesock.auth import HandshakeMiddleware
from routesock.dialects import Dcrf, Keys, Problem
from routesock.exceptions import RoutesockError
from routesock.testing import RouteClient

from .application import Streams, Todos, who
from .dcrf import Users

DIALECT = Dcrf()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
ids = st.text(max_size=128) | st.integers(-(2**53), 2**53)


@pytest.fixture(autouse=True)
def no_todos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Todos, "todos", {1: {"pk": 1, "title": "Read"}})


def frame_of(stream: str, **payload: Any) -> dict[str, Any]:
    return {"stream": stream, "payload": payload}


async def test_the_consumers_behind_a_demultiplexer_answer_in_their_streams() -> None:
    async with RouteClient(Streams.as_asgi()) as client:
        await client.send_json(frame_of("todos", action="retrieve", pk=1, request_id=1))
        assert await client.receive() == frame_of(
            "todos",
            errors=[],
            data={"pk": 1, "title": "Read"},
            action="retrieve",
            response_status=200,
            request_id=1,
        )
        await client.send_json(frame_of("legacy", action="list", request_id=1))
        assert (await client.receive())["payload"]["data"] == "legacy"


async def test_each_subscription_gets_its_own_push() -> None:
    async with RouteClient(Todos) as client:
        for id in ("a", "b"):
            assert (await client.call("subscribe_instance", {"pk": 1}, id=id)).status == 201
        await client.send("patch", {"pk": 1, "data": {"title": "Write"}}, id="c")
        frames = [await client.receive() for _ in range(3)]
    assert {(frame["action"], frame["request_id"], frame["response_status"]) for frame in frames} == {
        ("patch", "c", 200), ("update", "a", 200), ("update", "b", 200),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["Request-Id", "request-id", "REQUEST-ID"])
def test_the_name_of_a_header_has_no_case(name: str) -> None:
    assert DIALECT.push("update", 1, {"Other": 2, name: "a"})["request_id"] == "a"
    assert DIALECT.push("update", 1, {"Other": 2})["request_id"] is None


async def test_an_id_in_front_of_a_frame_that_cannot_be_read_is_repeated() -> None:
    async with RouteClient(Users) as client:
        for text in ('{"request_id": 7, "action": NaN}', '{"action": "echo", "request_id": 7, "x": "' + "x" * 70_000):
            await client.send_text(text)
            frame = await client.receive()
            assert (frame["request_id"], frame["response_status"] in (400, 413)) == (7, True)


async def test_bad_json_does_not_cost_the_socket() -> None:
    async with RouteClient(Users) as client:
        await client.send_text("{")
        frame = await client.receive()
        assert (frame["response_status"], frame["errors"]) == (400, ["The frame is not valid JSON."])
        assert (await client.call("retrieve", {"pk": 1})).status == 200


@pytest.mark.parametrize(
    ("errors", "sent"),
    [
        ({"name": ["No."]}, [{"name": ["No."]}]),
        ([{"loc": ["name"], "msg": "No."}], [{"loc": ["name"], "msg": "No."}]),
        ("No.", ["No."]),
        (None, ["The detail."]),
    ],
)
def test_errors_are_a_list(errors: Any, sent: Any) -> None:
    members = {"code": "c", "title": "t", "detail": "The detail."}
    if errors is not None:
        members["errors"] = errors
    assert DIALECT.error(Problem(422, members), Request("create", 1)) == {
        "errors": sent, "data": None, "action": "create", "response_status": 422, "request_id": 1,
    }  # fmt: skip


async def test_a_notification_that_fails_is_answered_without_an_id() -> None:
    async with RouteClient(Users) as client:
        await client.send("retrieve", {"pk": 7})
        frame = await client.receive()
    assert (frame["action"], frame["request_id"], frame["response_status"]) == ("retrieve", None, 404)


async def test_completion_answers_a_notification_once() -> None:
    class Completing(Users):
        route_dialect = Dcrf(completion=True)

    async with RouteClient(Completing) as client:
        await client.send("retrieve", {"pk": 1})
        await client.send("delete", {"pk": 2})
        frames = [await client.receive() for _ in range(2)]
        assert [(frame["action"], frame["request_id"], frame["response_status"]) for frame in frames] == [
            ("retrieve", None, 200), ("delete", None, 204),
        ]  # fmt: skip
        await client.refute_push()

    async with RouteClient(Users) as client:
        await client.send("retrieve", {"pk": 1})
        await client.send("retrieve", {"pk": 2}, id=1)
        assert (await client.receive())["request_id"] == 1


async def test_names_in_camel_case() -> None:
    class Camel(Users):
        route_dialect = Dcrf(camelize=True)

        @route("see")
        async def see(self, request: Request) -> Any:
            assert request.payload == {"first_name": "Ada", "tags": [{"tag_id": "keep_this"}]}
            await self.socket.push("was_seen", request.payload)
            return request.payload

        @route("fails")
        async def fails(self, request: Request) -> Any:
            raise RoutesockError("No.", status=400, errors={"first_name": ["No."]})

    payload = {"firstName": "Ada", "tags": [{"tagId": "keep_this"}]}
    async with RouteClient(Camel) as client:
        await client.send_json({"action": "see", "request_id": 1, **payload})
        push, reply = await client.receive(), await client.receive()
        assert (push["action"], push["data"]) == ("was_seen", payload)
        assert (reply["action"], reply["response_status"], reply["data"]) == ("see", 200, payload)
        assert (await client.call("fails")).payload == [{"firstName": ["No."]}]


async def test_the_test_client_pings_cancels_and_reads_streams() -> None:
    class More(Users):
        @route("count")
        async def count(self, request: Request) -> Any:
            for number in range(request.payload["to"]):
                yield number

        @route("wait")
        async def wait(self, request: Request) -> Any:
            await asyncio.Event().wait()

        @topic("news")
        async def news(self, request: Request) -> Any:
            return Reply("Rain", status=200)

    async with RouteClient(More) as client:
        assert await client.ping({"sent": 1}) == {"sent": 1}
        frames = [(frame.status, frame.payload) async for frame in client.stream("count", {"to": 2})]
        assert frames == [(206, 0), (206, 1), (200, None)]
        await client.send("wait", id=1)
        await client.cancel(1)
        assert (await client.expect_reply(1)).status == 499
        assert (await client.call("SUBSCRIBE", {"topic": "news"})).payload == "Rain"
        await abroadcast("news", "headline", "Sun")
        push = await client.expect_push("headline")
        assert (push.payload, push.headers) == ("Sun", {"Topic": "news"})


async def test_the_handshake_and_the_close_notice() -> None:
    class Closing(Users):
        @route("shut")
        async def shut(self, request: Request) -> Any:
            await self.socket.close(403, "We are closed.")

    application = HandshakeMiddleware(Closing.as_asgi(), authenticators=[who], lock=0)
    async with RouteClient(application, dialect=DIALECT) as client:
        hello = await client.receive()
        assert (hello["action"], hello["data"]["mode"], hello["response_status"]) == ("HELLO", "required", 200)
        assert (await client.call("retrieve", {"pk": 1})).status == 401
        assert (await client.call("AUTH", {"token": "ada's token"})).payload == {"expires": None, "ttl": None}
        await client.send("shut")
        push = await client.expect_push("CLOSE")
        assert push.payload == {"code": 4403, "reason": "We are closed.", "reconnect": False}
        assert (await client.expect_close()).code == 4403


def test_a_payload_that_is_no_object_is_data() -> None:
    """As clients of DCRF send it. So is one with a key of the frame itself."""
    assert DIALECT.request("a", 1, [1]) == {"action": "a", "request_id": 1, "data": [1]}
    assert DIALECT.request("a", 1, {"action": 1}) == {"action": "a", "request_id": 1, "data": {"action": 1}}


def test_another_server_may_send_anything() -> None:
    for value in ([], 1, None, "text"):
        assert DIALECT.incoming(value) is None
    assert DIALECT.incoming({}) == Keys(status=None).incoming({})


@given(ids, st.integers(200, 599), json_values)
def test_a_client_reads_the_reply_that_a_server_wrote(id: Any, status: int, payload: Any) -> None:
    read = DIALECT.incoming(json.loads(json.dumps(DIALECT.reply(Request("a.b", id), status, payload, {}))))
    assert read is not None
    assert (read.route, read.id, read.status, read.payload) == ("a.b", id, status, payload)


@given(ids | st.none(), json_values)
def test_a_server_reads_the_request_that_a_client_wrote(id: Any, payload: Any) -> None:
    frame = DIALECT.read(json.loads(json.dumps(DIALECT.request("a.b", id, payload))))
    assert (frame.route, frame.id) == ("a.b", id)
    if payload is None:
        assert frame.payload == {}
    elif isinstance(payload, dict) and not payload.keys() & {"action", "request_id"}:
        assert frame.payload == payload
    else:
        assert frame.payload == {"data": payload}
