"""What documents say of pushes that are answered, and frames held against them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from marshmallow import Schema, fields

from routesock import Dialect, Keys, Push, RouteMixin, RouteSetupError, route
from routesock._asyncapi.document import build_endpoint
from routesock._asyncapi.validation import fits
from routesock._runtime.asgi_tree import Endpoint
from routesock.dialects import Dcrf, Frame, JsonRpc, Wsx
from routesock.testing import RouteClient

WAIT = 30.0


class Confirm(Schema):
    text = fields.String(required=True)


class Answer(Schema):
    delete_all = fields.Boolean(required=True)


CONFIRM = Push("confirm", schema=Confirm, answer=Answer)


def consumer_with(dialect: Dialect) -> Any:
    class Files(RouteMixin, AsyncJsonWebsocketConsumer):
        route_dialect = dialect
        route_pushes = (CONFIRM,)

        @route("delete")
        async def delete(self, request: Any) -> Any:
            return await self.socket.ask("confirm", {"text": "Really?"}, timeout=WAIT)

    return Files


DIALECTS = {
    "default": Keys(),
    "camel": Keys(camelize=True),
    "flat": Keys(payload=None),
    "renamed": Keys(route="type", id="n", payload="data", status="code"),
    "no headers": Keys(headers=None),
    "dcrf": Dcrf(),
}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
async def test_frames_that_ask_and_answer_fit_the_document(dialect: Dialect) -> None:
    consumer = consumer_with(dialect)
    document = build_endpoint(Endpoint("/", consumer))
    (operation,) = (each for each in document["operations"].values() if each["x-routesock-name"] == "confirm")
    assert operation["action"] == "send"
    channel = next(iter(document["channels"].values()))
    asked, answered = (
        channel["messages"][message["$ref"].rpartition("/")[2]]
        for message in (*operation["messages"], *operation["reply"]["messages"])
    )
    answer = dialect.answer("@1", 200, dialect.dumped({"delete_all": True}))
    assert fits(answer, answered["payload"], document)
    assert not fits(dialect.answer("@1", 200, {}), answered["payload"], document)
    assert not fits(dialect.answer("1", 200, {"delete_all": True}), answered["payload"], document)
    async with RouteClient(consumer, timeout=WAIT, documented=True) as client:
        await client.send("delete", id=1)
        frame = await client.receive()
        assert fits(frame, asked["payload"], document)
        await client.send_json(answer)
        assert (await client.expect_reply(1)).status == 200


@pytest.mark.parametrize("dialect", [JsonRpc(), Wsx()], ids=["json-rpc", "wsx"])
def test_dialects_whose_frames_no_document_has_declare_payloads(dialect: Dialect) -> None:
    document = build_endpoint(Endpoint("/", consumer_with(dialect)))
    (operation,) = (each for each in document["operations"].values() if each["x-routesock-name"] == "confirm")
    assert len(operation["reply"]["messages"]) == 1


class Unable(Dialect):
    def read(self, value: Any) -> Frame:
        return Frame(value["route"], value.get("id"), value.get("payload"))

    def reply(self, request: Any, status: int, payload: Any, headers: Any) -> Any:
        return {"id": request.id, "status": status, "payload": payload}

    def push(self, route: str, payload: Any, headers: Any = None) -> Any:
        return {"route": route, "payload": payload}


UNABLE = {"no ids": Keys(id=None), "no request": Unable()}


@pytest.mark.parametrize("dialect", UNABLE.values(), ids=UNABLE)
def test_an_answer_that_the_dialect_cannot_ask_for_is_an_error(dialect: Dialect) -> None:
    with pytest.raises(RouteSetupError, match=r"declares an answer to 'confirm', and .* cannot ask"):
        consumer_with(dialect)


@pytest.mark.parametrize("dialect", UNABLE.values(), ids=UNABLE)
async def test_asking_with_such_a_dialect_raises(dialect: Dialect) -> None:
    raised: list[str] = []

    class Asking(RouteMixin, AsyncJsonWebsocketConsumer):
        route_dialect = dialect

        @route("ask")
        async def ask(self, request: Any) -> None:
            with pytest.raises(RuntimeError, match="cannot ask") as info:
                await self.socket.ask("confirm")
            raised.append(str(info.value))

    async with RouteClient(Asking) as client:
        await client.send_json({"route": "ask"})
        await client.settle()
        await asyncio.sleep(0)
    assert len(raised) == 1


def test_the_schema_of_an_answer_has_to_be_one() -> None:
    with pytest.raises((RouteSetupError, TypeError)):
        Push("confirm", answer=object())
    assert Push("a", answer=Answer) != Push("a")
