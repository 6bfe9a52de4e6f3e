"""The Python client answers what the server asks."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from routesock.client import Ask, RouteError
from tests.clients.world import World, settle

pytestmark = pytest.mark.asyncio


def ask(id: str, payload: Any = None) -> dict[str, Any]:
    return {"route": "confirm", "uuid": id, "payload": payload, "headers": {"Timeout": 10}}


async def test_a_handler_answers() -> None:
    world = World()
    ws = await world.open()
    seen: list[Ask[Any]] = []

    def handler(asked: Ask[Any]) -> Any:
        seen.append(asked)
        return asked.payload

    world.client.answer("confirm", handler)
    await ws.receive(ask("@1", {"text": "?"}))
    assert seen == [Ask(route="confirm", payload={"text": "?"}, headers={"Timeout": 10})]
    assert ws.take() == [{"route": "ANSWER", "uuid": "@1", "status": 200, "payload": {"text": "?"}}]
    world.client.close()


async def test_an_async_handler_answers_and_refuses() -> None:
    world = World()
    ws = await world.open()

    async def handler(asked: Ask[Any]) -> Any:
        await asyncio.sleep(0)
        if asked.payload:
            raise RouteError("confirm", 409, {"code": "no"})

    world.client.answer("confirm", handler)
    await ws.receive(ask("@1"), ask("@2", 1))
    assert ws.take() == [
        {"route": "ANSWER", "uuid": "@1", "status": 200},
        {"route": "ANSWER", "uuid": "@2", "status": 409, "payload": {"code": "no"}},
    ]
    world.client.close()


async def test_a_handler_that_fails_is_logged_and_refuses(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    ws = await world.open()
    world.client.answer("confirm", lambda push: 1 / 0)
    with caplog.at_level(logging.ERROR, "routesock.client"):
        await ws.receive(ask("@1"))
    assert ws.take() == [{"route": "ANSWER", "uuid": "@1", "status": 500}]
    assert "ZeroDivisionError" in caplog.text
    world.client.close()


async def test_one_handler_at_a_time_and_pushes_go_to_listeners() -> None:
    world = World()
    ws = await world.open()
    heard: list[Any] = []
    world.client.on("confirm", lambda push: heard.append(push.payload))
    off = world.client.answer("confirm", lambda push: True)
    with pytest.raises(ValueError, match="'confirm' has a handler already"):
        world.client.answer("confirm", lambda push: False)
    await ws.receive({"route": "confirm", "payload": 1}, ask("@1", 2))
    assert (heard, len(ws.take())) == ([1], 1)
    off()
    off()
    await ws.receive(ask("@2", 3))
    assert (heard, ws.take()) == ([1, 3], [])
    world.client.close()


async def test_no_answer_goes_over_another_connection() -> None:
    world = World()
    ws = await world.open()
    waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def handler(asked: Ask[Any]) -> bool:
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            return False

    world.client.answer("confirm", handler)
    await ws.receive(ask("@1"))
    await ws.drop()
    await world.clock.advance(1)
    await world.ws.accept()
    waiting.set_result(True)
    await settle()
    assert world.ws is not ws
    assert world.ws.take() == []
    world.client.close()
