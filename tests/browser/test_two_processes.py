"""The example in two processes, under daphne and uvicorn, over each of the two channel layers of Redis."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from redis import Redis
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.servers import Server, connect, log_in, manage_example, receive, run_example, run_redis, send

from .conftest import PASSWORD, OpenPage, announce, announcements, joined, submit
from .visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.asyncio(loop_scope="package")]

LIMIT = 120
"""Messages that a user may send in a minute."""


@dataclass
class Site:
    """Two processes with the database, the layer and the cache in common."""

    one: Server
    other: Server
    shared: dict[str, str]
    """What their environments have in common."""


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """One Redis for this module."""
    with run_redis() as url:
        yield url


@pytest.fixture(scope="module", params=["core", "pubsub"])
def processes(request: pytest.FixtureRequest, demo_database: Callable[[], Path], redis_url: str) -> Iterator[Site]:
    shared = {"REDIS_URL": redis_url, "CHANNEL_LAYER": request.param}
    database = demo_database()
    with run_example("daphne", database, **shared) as one, run_example("uvicorn", database, **shared) as other:
        yield Site(one, other, shared)


@pytest.fixture
def one(processes: Site, redis_url: str) -> Server:
    """The process under daphne. What was counted before is forgotten."""
    with Redis.from_url(redis_url) as redis:
        redis.flushdb()
    return processes.one


@pytest.fixture
def other(processes: Site) -> Server:
    """The process under uvicorn."""
    return processes.other


async def test_each_window_shows_what_the_other_sends_and_that_it_types(
    one: Server, other: Server, open_page: OpenPage
) -> None:
    alice = await joined(await open_page(one, "alice", "shared"))
    bob = await joined(await open_page(other, "bob", "shared"))
    await bob.get_by_label("Message", exact=True).press_sequentially("H")
    await expect(alice.get_by_text("bob is typing…")).to_be_visible()
    await alice.get_by_label("Message", exact=True).press_sequentially("H")
    await expect(bob.get_by_text("alice is typing…")).to_be_visible()
    await submit(alice, "From under daphne")
    await expect(bob.get_by_role("log").get_by_role("listitem")).to_contain_text("From under daphne")
    await submit(bob, "From under uvicorn")
    for page in (alice, bob):
        lines = page.get_by_role("log").get_by_role("listitem")
        await expect(lines).to_contain_text(["From under daphne", "From under uvicorn"])


async def test_an_announcement_is_shown_in_the_windows_of_both_processes(
    one: Server, other: Server, open_page: OpenPage
) -> None:
    alice = await joined(await open_page(one, "alice", "news"))
    bob = await joined(await open_page(other, "bob", "news"))
    await announce(alice, "From a view under daphne")
    for page in (alice, bob):
        await expect(announcements(page)).to_contain_text(["From a view under daphne"])


async def test_the_command_is_shown_in_the_windows_of_both_processes(
    processes: Site, one: Server, other: Server, open_page: OpenPage
) -> None:
    alice = await joined(await open_page(one, "alice", "told"))
    bob = await joined(await open_page(other, "bob", "told"))
    command = ["routesock_broadcast", "room:told", "announcement", '{"text": "We restart at noon."}']
    await asyncio.to_thread(manage_example, *command, **processes.shared)
    for page in (alice, bob):
        await expect(announcements(page)).to_contain_text(["We restart at noon."])


@pytest.mark.parametrize("processes", ["pubsub"], indirect=True)  # the layer that keeps nothing for who is away
async def test_a_page_misses_nothing_while_its_server_is_killed_and_started_again(
    one: Server, other: Server, open_page: OpenPage
) -> None:
    received: list[dict[str, Any]] = []
    posted: list[str] = []

    async def watch(page: Page) -> None:
        page.on("websocket", lambda socket: socket.on("framereceived", lambda data: received.append(json.loads(data))))

    async def say(count: int) -> None:
        for _ in range(count):
            posted.append(f"Message {len(posted) + 1}")
            assert await statuses_of(speaker, 1, posted[-1]) == [201]

    alice = await joined(await open_page(one, "alice", "restart", before=watch))
    bob = Visitor(other)
    cookie = await asyncio.to_thread(bob.log_in, "bob", PASSWORD)
    async with connect(other, "/ws/chat/", cookie=cookie) as speaker:
        await send(speaker, {"action": "room.join", "request_id": 0, "room": "restart"})
        await say(3)
        await expect(alice.get_by_role("log").get_by_text("Message 3")).to_be_visible()
        await asyncio.gather(say(10), asyncio.to_thread(one.kill))
        await expect(alice.get_by_text("Connection lost. Reconnecting…")).to_be_visible()
        await say(51)  # more than the room's topic has in its snapshot
        posted.append("We are on fire")  # an announcement, which only those hear who are there
        await asyncio.to_thread(bob.visit, "/announcements/", {"room": "restart", "text": posted[-1]})
        await asyncio.gather(say(10), asyncio.to_thread(one.start))
        await alice.evaluate("dispatchEvent(new Event('online'))")  # wait no longer
        await say(3)
        await joined(alice)
        await say(1)

    lines = alice.get_by_role("log").get_by_role("listitem")
    await expect(lines).to_have_count(len(posted))
    assert await lines.locator("span").all_inner_texts() == posted
    await expect(announcements(alice)).to_contain_text(["We are on fire"])
    assert [frame["text"] for frame in received if frame["action"] == "message"] == posted
    subscribed = [frame for frame in received if frame["action"] == "SUBSCRIBE"]
    assert [(frame["status"], frame["headers"].get("Recovered")) for frame in subscribed] == [(200, None), (204, True)]


async def test_logging_out_in_one_window_closes_the_socket_of_the_other(
    one: Server, other: Server, chromium: Browser
) -> None:
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(f"{one.base_url}/accounts/login/")
    await page.get_by_label("Name").fill("bob")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await joined(page)
    elsewhere = await context.new_page()
    await elsewhere.goto(f"{other.base_url}/rooms/lobby/")  # cookies do not tell ports apart
    await joined(elsewhere)
    await page.get_by_role("button", name="Log out").click()
    await expect(elsewhere.locator("#connection")).to_have_text("You are no longer signed in.")
    await context.close()


async def test_a_logout_tells_the_sockets_of_its_session_in_both_processes(one: Server, other: Server) -> None:
    alice = Visitor(one)
    cookie = await asyncio.to_thread(alice.log_in, "alice", PASSWORD)
    again = await asyncio.to_thread(log_in, one, "alice", PASSWORD)
    async with (
        connect(one, "/ws/chat/", cookie=cookie) as here,
        connect(other, "/ws/chat/", cookie=cookie) as there,
        connect(other, "/ws/chat/", cookie=again) as stays,
    ):
        for socket in (here, there, stays):
            await send(socket, {"action": "whoami"})
            await receive(socket)
        await asyncio.to_thread(alice.log_out)
        for socket in (here, there):
            notice = await receive(socket, lambda frame: frame["action"] == "CLOSE")
            assert (notice["code"], notice["reconnect"]) == (4401, False)
            with pytest.raises(ConnectionClosed):
                await receive(socket)
            assert socket.close_code == 4401
        await send(stays, {"action": "PING", "request_id": 1})
        assert (await receive(stays))["action"] == "PONG"


async def test_a_user_has_one_limit_in_both_processes(one: Server, other: Server) -> None:
    cookie = await asyncio.to_thread(log_in, one, "alice", PASSWORD)
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(server, "/ws/chat/", cookie=cookie)) for server in (one, other)
        ]
        for number, socket in enumerate(sockets):
            await send(socket, {"action": "room.join", "request_id": 0, "room": f"limit-{number}"})
        statuses = await asyncio.gather(*(statuses_of(socket, LIMIT - 40) for socket in sockets))
    assert Counter(statuses[0] + statuses[1]) == {201: LIMIT, 429: LIMIT - 80}
    assert all(201 in each for each in statuses)


async def statuses_of(socket: ClientConnection, count: int, text: str = "") -> list[int]:
    found = []
    for number in range(1, count + 1):
        await send(socket, {"action": "message.send", "request_id": number, "text": text or f"{number}"})
        reply = await receive(socket, lambda frame, number=number: frame.get("request_id") == number)
        found.append(reply["status"])
    return found
