"""Suites whose sockets are never disconnected: under ``-W error`` they stay as green as with plain Channels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

SUITE: Final = """
import asyncio

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.testing import WebsocketCommunicator

from routesock import RouteMixin, route


class Grouped(RouteMixin, AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add("g", self.channel_name)
        await self.socket.join("room")
        await self.accept()

    async def receive_json(self, content):
        await self.send_json(content)


class Sync(RouteMixin, JsonWebsocketConsumer):
    def receive_json(self, content):
        self.send_json(content)


class Waiting(Grouped):
    async def receive_json(self, content):
        await asyncio.Event().wait()


class Routed(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("wait")
    async def wait(self, request):
        await asyncio.Event().wait()

    @route("beside", parallel=True)
    async def beside(self, request):
        await asyncio.Event().wait()


CONSUMERS = [Grouped, Sync, Waiting, Routed]


async def leave_open(cls):
    client = WebsocketCommunicator(cls.as_asgi(), "/")
    assert (await client.connect())[0]
    for name in ("wait", "wait", "beside"):
        await client.send_json_to({"route": name, "uuid": None})
    if cls in (Grouped, Sync):  # a thread that still sends would wait for this loop for ever
        for _ in range(3):
            await client.receive_json_from(timeout=30)
    await asyncio.sleep(0.01)


@pytest.mark.asyncio
@pytest.mark.parametrize("cls", CONSUMERS)
async def test_with_pytest_asyncio(cls):
    await leave_open(cls)


@pytest.mark.parametrize("cls", CONSUMERS)
def test_with_run(cls):
    asyncio.run(leave_open(cls))


@pytest.mark.parametrize("cls", CONSUMERS)
def test_with_a_loop_that_is_closed(cls):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_open(cls))
    loop.close()
"""


def test_sockets_that_are_left_open_cost_no_warning(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    options = ["-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:cacheprovider", "--ds=tests.settings"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    output = result.stdout + result.stderr
    assert "12 passed" in output, output
    assert "Warning" not in output, output
