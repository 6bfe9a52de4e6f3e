"""The client that chanx generates from an AsyncAPI document, against routesock under uvicorn."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ANSWER_WITHIN, HOST, Server, run_server

DOCUMENT = Path(__file__).with_name("chat.asyncapi.json")

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with run_server("uvicorn", "tests.dialects.chanx_server:application") as server:
        yield server


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The generated package."""
    folder = tmp_path_factory.mktemp("chanx")
    command = [Path(sys.executable).with_name("chanx"), "generate-client", "--schema", DOCUMENT]
    subprocess.run(
        [*map(str, command), "--output", str(folder / "chat_client"), "--no-format", "--no-readme"],
        check=True,
        capture_output=True,
    )
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("chat_client.chat")
    finally:
        sys.path.remove(str(folder))


def module(generated: Any, name: str) -> Any:
    return importlib.import_module(f"{generated.__package__.partition('.')[0]}.{name}")


@asynccontextmanager
async def connected(generated: Any, server: Server) -> AsyncIterator[tuple[Any, asyncio.Queue[Any]]]:
    """A client, and the messages that its handlers got."""
    messages: asyncio.Queue[Any] = asyncio.Queue()
    is_open = asyncio.Event()

    class Client(generated.ChatClient):  # type: ignore[misc, name-defined]
        async def send_init_message(self) -> None:
            is_open.set()

        async def handle_message(self, message: Any) -> None:
            messages.put_nowait(message)

        async def handle_invalid_message(self, invalid_message: Any) -> None:
            messages.put_nowait(("invalid", invalid_message))

        async def handle_websocket_connection_error(self, e: Exception) -> None:
            raise e

    client = Client(f"{HOST}:{server.port}")
    running = asyncio.create_task(client.handle())
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            await is_open.wait()
            yield client, messages
            await client.disconnect()
            await running
    finally:
        running.cancel()


async def test_messages_and_their_answers(generated: Any, server: Server) -> None:
    send, sent, text = (
        getattr(module(generated, "shared.messages"), name) for name in ("SendMessage", "SentMessage", "Text")
    )
    async with connected(generated, server) as (client, messages):
        await client.send_message(generated.PingMessage())
        assert await messages.get() == generated.PongMessage()
        await client.send_message(send(payload=text(text="hello")))
        assert await messages.get() == sent(payload=text(text="hello"))
        await client.send_message(generated.CastMessage(payload=text(text="to all")))
        assert await messages.get() == generated.CastMessage(payload=text(text="to all"))


async def test_errors(generated: Any, server: Server) -> None:
    error = generated.ErrorMessage
    async with connected(generated, server) as (client, messages):
        await client.send_json({"action": "chat.send", "payload": {"text": 1}})
        read = await messages.get()
        assert type(read) is error
        assert [entry["loc"] for entry in read.payload] == [["chat.send", "payload", "text"]]
        await client.send_raw("no json")
        read = await messages.get()
        assert type(read) is error
        assert [entry["type"] for entry in read.payload] == ["json_invalid"]
        await client.send_message(generated.PingMessage())
        assert await messages.get() == generated.PongMessage()


async def test_topics(generated: Any, server: Server) -> None:
    rooms = module(generated, "chat_room_topic")
    send, sent, text = (
        getattr(module(generated, "shared.messages"), name) for name in ("SendMessage", "SentMessage", "Text")
    )
    async with connected(generated, server) as (client, messages):
        room = client.room_topic(1)
        news: asyncio.Queue[Any] = asyncio.Queue()
        room.handle_message = news.put
        assert (await room.subscribe()).action == "subscribed"
        assert (await room.subscribe()).action == "subscribed"
        assert await room.request(send(payload=text(text="hello"))) == sent(payload=text(text="hello"))
        assert await news.get() == rooms.NewsMessage(payload=text(text="hello"))
        assert (await room.unsubscribe()).action == "unsubscribed"
        assert await room.request(send(payload=text(text="to none"))) == sent(payload=text(text="to none"))

        refused = await client.room_topic(9).subscribe()
        assert (refused.action, refused.payload["reason"]) == ("error", "unauthorized")
        client.handles.clear()
        await client.send_message(generated.PingMessage())
        assert await messages.get() == generated.PongMessage()
        assert news.empty()
