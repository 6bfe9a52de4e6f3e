"""SIGTERM to real servers, with sockets that are idle, busy, and busy for too long."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.servers import ANSWER_WITHIN, HOST, ROOT, Server, connect, free_port, python_environment, send

pytestmark = pytest.mark.servers


class Kind(NamedTuple):
    command: tuple[str, ...]
    status: int
    """With which the server ends on SIGTERM, whatever it serves."""
    code: int
    """What its close frame says in place of 1012."""


SERVERS: Final = {
    "daphne": Kind(("daphne", "--bind", HOST), 0, 4503),
    "uvicorn-websockets-sansio": Kind(("uvicorn", "--ws", "websockets-sansio"), -signal.SIGTERM, 1012),
    "uvicorn-websockets": Kind(("uvicorn", "--ws", "websockets"), -signal.SIGTERM, 1012),
}


@contextmanager
def run(kind: Kind) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", *kind.command, "--port", f"{port}", "tests.shutdown.asgi:application"]
    with closing(Server(command, port=port, env=python_environment(ROOT), cwd=ROOT)) as server:
        server.start()
        yield server


class Heard(NamedTuple):
    """What a client has got: its frames, and the close with which they ended."""

    frames: list[Any]
    code: int | None
    reason: str


async def hear(connection: ClientConnection) -> Heard:
    frames = []
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            while True:
                frames.append(json.loads(await connection.recv()))
    except ConnectionClosed:
        return Heard(frames, connection.close_code, connection.close_reason or "")


class Story(NamedTuple):
    """What the clients of one server heard, by what they were doing when it was told to end."""

    heard: dict[str, Heard]
    order: list[str]
    status: int
    kind: Kind
    output: str


async def drained(server: Server, kind: Kind, release: Path) -> Story:
    order: list[str] = []

    async def listen(name: str) -> tuple[str, Heard]:
        heard = await hear(sockets[name])
        order.append(name)
        return name, heard

    sockets = {name: await connect(server, f"/told/{name}/") for name in ("idle", "busy", "stuck")}
    sockets["sync"] = await connect(server, "/sync/")
    await send(sockets["busy"], {"route": "held", "uuid": 1, "payload": str(release)})
    await send(sockets["busy"], {"route": "sleep", "uuid": 2, "payload": 0.0})
    await send(sockets["stuck"], {"route": "sleep", "uuid": 1, "payload": 60})
    for name in ("busy", "stuck"):  # which says that what came before is running, or in the queue
        await send(sockets[name], {"route": "PING", "uuid": 0})
        await sockets[name].recv()
    server.terminate()
    async with asyncio.TaskGroup() as listening:
        tasks = [listening.create_task(listen(name)) for name in sockets]
        await sockets["idle"].wait_closed()
        sockets["late"] = await connect(server, "/told/late/", subprotocols=["chat"])
        await send(sockets["stuck"], {"route": "sleep", "uuid": 3, "payload": 0.0})
        tasks.append(listening.create_task(listen("late")))
        await asyncio.to_thread(release.touch)
    status = await asyncio.to_thread(server.ended)
    return Story(dict(task.result() for task in tasks), order, status, kind, server.output())


@pytest.fixture(scope="module", params=SERVERS)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    kind = SERVERS[request.param]
    with run(kind) as server:
        yield asyncio.run(drained(server, kind, tmp_path_factory.mktemp("story") / "release"))


SOCKETS: Final = ("idle", "sync", "busy", "stuck", "late")


def replies(heard: Heard) -> list[tuple[int, int]]:
    return [(frame["uuid"], frame["status"]) for frame in heard.frames if "status" in frame]


class TestSigterm:
    @pytest.mark.parametrize("name", SOCKETS)
    def test_last_frame_is_the_notice_and_the_close_says_restart(self, story: Story, name: str) -> None:
        heard = story.heard[name]
        notice = heard.frames[-1]
        assert notice["route"] == "CLOSE"
        retry_after = notice["payload"].pop("retry_after")
        assert 1.0 <= retry_after <= 2.0
        assert notice["payload"] == {"code": 1012, "reason": "The server restarts.", "reconnect": True}
        assert heard.code == story.kind.code

    def test_idle_socket_waits_for_no_other(self, story: Story) -> None:
        assert story.order.index("idle") < story.order.index("busy") < story.order.index("stuck")

    def test_running_request_is_answered_and_a_queued_one_is_refused(self, story: Story) -> None:
        assert sorted(replies(story.heard["busy"])) == [(1, 200), (2, 503)]

    def test_request_that_outlasts_the_grace_is_refused_and_so_is_one_that_comes_meanwhile(self, story: Story) -> None:
        assert replies(story.heard["stuck"]) == [(3, 503), (1, 503)]
        assert all(frame["headers"]["Retry-After"] in (1, 2) for frame in story.heard["stuck"].frames[:-1])

    def test_late_socket_is_turned_away_without_its_connect(self, story: Story) -> None:
        assert [frame["route"] for frame in story.heard["late"].frames] == ["CLOSE"]
        assert "connected stuck" in story.output
        assert "connected late" not in story.output

    def test_disconnect_ran_once_for_every_socket_that_had_connected(self, story: Story) -> None:
        for name in ("idle", "sync", "busy", "stuck"):
            assert story.output.count(f"disconnected {name} 1012") == 1
        assert "disconnected late" not in story.output

    def test_server_ends_as_it_always_does(self, story: Story) -> None:
        assert story.status == story.kind.status
        assert "Traceback" not in story.output


@pytest.mark.parametrize("name", ["daphne", "uvicorn-websockets-sansio"])
async def test_second_sigterm_hurries(name: str) -> None:
    """The grace of these sockets is a minute."""
    kind = SERVERS[name]
    with run(kind) as server:
        idle, busy = await connect(server, "/patient/idle/"), await connect(server, "/patient/busy/")
        await send(busy, {"route": "sleep", "uuid": 1, "payload": 60})
        await send(busy, {"route": "PING", "uuid": 0})
        await busy.recv()
        server.terminate()
        await hear(idle)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(server.ended, within=1.0)
        server.terminate()
        heard = await hear(busy)
        assert heard.code == kind.code
        assert replies(heard) == [(1, 503)]
        assert await asyncio.to_thread(server.ended) == kind.status
        assert "disconnected busy 1012" in server.output()
