"""A login that ends in one process ends its sockets in another."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.servers import ANSWER_WITHIN, connect, receive, send

from .conftest import Browser, Project

pytestmark = pytest.mark.servers

NOTICE = {"code": 4401, "reason": "You are no longer signed in.", "reconnect": False}


async def frames_until_the_end(connection: ClientConnection) -> list[Any]:
    """What is still sent, and the close code."""
    frames: list[Any] = []
    async with asyncio.timeout(ANSWER_WITHIN):
        with suppress(ConnectionClosed):
            while True:
                frames.append(json.loads(await connection.recv()))
    return [*frames, connection.close_code]


async def ends(connection: ClientConnection) -> None:
    assert await frames_until_the_end(connection) == [{"route": "CLOSE", "payload": NOTICE}, 4401]


async def answers(connection: ClientConnection) -> None:
    await send(connection, {"route": "echo", "uuid": 1, "payload": "x"})
    assert (await receive(connection))["payload"] == "x"


def opened(project: Project, browser: Browser, path: str = "/talk/") -> Any:
    return connect(project.sockets, path, cookie=browser.cookie)


async def visit(browser: Browser, path: str) -> None:
    await asyncio.to_thread(browser.visit, path)


@pytest.mark.parametrize("path", ["/talk/", "/blocking/"])
@pytest.mark.parametrize("view", ["log-out", "log-out/async"])
async def test_a_logout_ends_the_sockets_of_its_session(project: Project, path: str, view: str) -> None:
    browser, elsewhere = project.browser("ada"), project.browser("ada")
    async with opened(project, browser, path) as ended, opened(project, elsewhere) as other:
        await answers(ended)
        await answers(other)
        await visit(browser, view)
        await ends(ended)
        await answers(other)


async def test_what_is_in_flight_is_answered_once_each_before_the_notice(project: Project) -> None:
    browser = project.browser("ada")
    async with opened(project, browser) as connection:
        for number in range(5):
            await send(connection, {"route": "wait", "uuid": number})
        await send(connection, {"route": "PING", "uuid": "p"})
        await receive(connection)  # so they have been read
        await visit(browser, "log-out")
        *replies, notice, code = await frames_until_the_end(connection)
        assert sorted(reply["uuid"] for reply in replies) == [0, 1, 2, 3, 4]
        assert {(reply["status"], reply["payload"]["code"]) for reply in replies} == {(401, "not_authenticated")}
        assert (notice["payload"], code) == (NOTICE, 4401)


async def test_the_session_that_changes_the_password_keeps_its_sockets(project: Project) -> None:
    browser, elsewhere = project.browser("grace"), project.browser("grace")
    async with (
        opened(project, browser) as kept,
        opened(project, browser, "/checked/") as checked,
        opened(project, elsewhere) as ended,
    ):
        for connection in (kept, checked, ended):
            await answers(connection)
        await visit(browser, "password")
        await ends(ended)
        await answers(kept)
        await asyncio.sleep(1.5)  # a look-up or two
        await answers(checked)
        await visit(browser, "log-out")
        await ends(kept)
        await ends(checked)


@pytest.mark.parametrize("view", ["deactivate", "delete"])
async def test_a_user_who_is_no_more(project: Project, view: str) -> None:
    browser, admin = project.browser(view), project.browser("admin")
    async with opened(project, browser) as ended, opened(project, admin) as other:
        await answers(ended)
        await visit(admin, f"{view}/{view}")
        await ends(ended)
        await answers(other)


async def test_an_update_without_signals_is_found_by_looking(project: Project) -> None:
    browser, admin = project.browser("updated"), project.browser("admin")
    async with opened(project, browser, "/checked/") as ended, opened(project, browser) as unchecked:
        await answers(ended)
        await visit(admin, "update/updated")
        await ends(ended)
        await answers(unchecked)


async def test_a_logout_reaches_all_sockets_of_its_session(project: Project) -> None:
    browser = project.browser("many")
    connections = [await opened(project, browser) for _ in range(50)]
    for connection in connections:
        await answers(connection)
    await visit(browser, "log-out")
    await asyncio.gather(*(ends(connection) for connection in connections))
