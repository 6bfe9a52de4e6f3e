"""Asks and answers in each dialect: the frames, and what a server makes of answers of every shape."""

from __future__ import annotations

from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import Dialect, Keys, RouteMixin, route
from routesock._runtime import counters
from routesock.dialects import Chanx, Dcrf, JsonRpc, ObservableSocket, Wsx
from routesock.exceptions import AskRefused
from routesock.testing import RouteClient

WAIT = 30.0


def consumer_with(dialect: Dialect) -> Any:
    class Asking(RouteMixin, AsyncJsonWebsocketConsumer):
        route_dialect = dialect

        @route("ask")
        async def ask(self, request: Any) -> Any:
            try:
                return {"got": await self.socket.ask("confirm", {"file_name": "a"}, timeout=WAIT)}
            except AskRefused as refused:
                return {"status": refused.status, "said": refused.payload}

    return Asking


DIALECTS = {
    "keys": Keys(),
    "camel": Keys(camelize=True),
    "flat": Keys(payload=None),
    "other keys": Keys(route="type", id="n", payload="data", status="code", headers="meta"),
    "observable": ObservableSocket(),
    "dcrf": Dcrf(),
    "json-rpc": JsonRpc(),
    "chanx": Chanx(),
    "wsx": Wsx(),
}


@pytest.mark.parametrize("payload", [True, None, 7, "yes", [1, 2], {"a": 1}], ids=repr)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
async def test_an_answer_comes_back(dialect: Dialect, payload: Any) -> None:
    async with RouteClient(consumer_with(dialect), timeout=WAIT) as client:
        await client.send("ask", {}, id="1")
        ask = await client.expect_ask("confirm")
        assert ask.id == "@1"
        assert ask.payload == dialect.dumped({"file_name": "a"})
        await client.answer(ask, payload)
        assert (await client.expect_reply("1")).payload == {"got": payload}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
async def test_a_refusal_comes_back(dialect: Dialect) -> None:
    async with RouteClient(consumer_with(dialect), timeout=WAIT) as client:
        await client.send("ask", {}, id="1")
        await client.answer(await client.expect_ask("confirm"), {"why": "no"}, status=423)
        assert (await client.expect_reply("1")).payload == {"status": 423, "said": {"why": "no"}}


async def test_names_in_an_answer_are_converted() -> None:
    async with RouteClient(consumer_with(Keys(camelize=True)), timeout=WAIT) as client:
        await client.send("ask", id=1)
        await client.answer(await client.expect_ask(), {"deleteAll": 1})
        assert (await client.expect_reply(1)).payload == {"got": {"deleteAll": 1}}  # as delete_all in the handler


async def test_a_dialect_without_a_status_has_answers_only() -> None:
    async with RouteClient(consumer_with(Keys(status=None)), timeout=WAIT) as client:
        await client.send("ask", id=1)
        await client.answer(await client.expect_ask(), "x", status=500)
        assert (await client.expect_reply(1)).payload == {"got": "x"}


async def test_a_dialect_of_the_project_answers_by_its_requests() -> None:
    class Own(Keys):
        def read(self, value: Any) -> Any:
            return super().read(value)

    async with RouteClient(consumer_with(Own()), timeout=WAIT) as client:
        await client.send("ask", id=1)
        await client.answer(await client.expect_ask(), "x")
        assert (await client.expect_reply(1)).payload == {"got": "x"}


RESPONSES: dict[str, Any] = {
    "both members": {"jsonrpc": "2.0", "id": "@1", "result": 1, "error": {"code": 1, "message": ""}},
    "another version": {"jsonrpc": "1.0", "id": "@1", "result": 1},
    "no version": {"id": "@1", "result": 1},
    "an error that is a text": {"jsonrpc": "2.0", "id": "@1", "error": "no"},
    "an error that is null": {"jsonrpc": "2.0", "id": "@1", "error": None},
    "an error without a code": {"jsonrpc": "2.0", "id": "@1", "error": {"message": "x"}},
    "a status that is no error": {
        "jsonrpc": "2.0", "id": "@1", "error": {"code": 1, "message": "x", "data": {"status": 200.5}},
    },
    "an unknown id": {"jsonrpc": "2.0", "id": "@9", "result": 1},
}  # fmt: skip


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
async def test_a_malformed_response_is_dropped(response: dict[str, Any]) -> None:
    before = counters.dropped_answers()
    async with RouteClient(consumer_with(JsonRpc()), timeout=WAIT) as client:
        await client.send("ask", id="1")
        ask = await client.expect_ask()
        await client.send_json(response)
        assert await client.ping([1]) == [1]
        assert counters.dropped_answers() == before + 1
        await client.answer(ask, 5)
        assert (await client.expect_reply("1")).payload == {"got": 5}


async def test_an_error_of_another_library_refuses() -> None:
    async with RouteClient(consumer_with(JsonRpc()), timeout=WAIT) as client:
        await client.send("ask", id="1")
        await client.expect_ask()
        await client.send_json({"jsonrpc": "2.0", "id": "@1", "error": {"code": -32601, "message": "Method not found"}})
        reply = await client.expect_reply("1")
        assert reply.payload == {"status": 404, "said": {"title": "Method not found", "detail": None}}


async def test_a_response_to_nothing_of_the_servers_is_no_request() -> None:
    async with RouteClient(consumer_with(JsonRpc()), timeout=WAIT) as client:
        await client.send_json({"jsonrpc": "2.0", "id": "7", "result": 1})
        assert (await client.receive())["error"]["code"] == -32600
