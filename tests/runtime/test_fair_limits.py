"""Limits around code that is not routesock's: a process that was itself late does not reach them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User

from routesock import Request, RouteMixin, abroadcast, conf, route, topic
from routesock._connection.tasks import CANCEL_WAIT
from routesock._runtime.closing import CLOSE_WAIT, within_close_wait
from routesock._runtime.fair_timeout import FairTimeout
from routesock.auth.authenticators import Credentials, Identity
from routesock.permissions import BasePermission
from tests.clock import advance, shifted
from tests.takeover.driver import Socket, until

LATE = 3
"""The event loop continues after that many times the limit."""


class Checked(BasePermission):
    async def has_permission(self, request: Any) -> bool:
        request.scope["checks"].append(request.topic)
        if len(request.scope["checks"]) > 1:
            await request.scope["go"].wait()
        return True


class Waiting(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0.0

    @route("tidy")
    async def tidy(self, request: Request) -> None:
        self.scope["log"].append("started")
        try:
            await asyncio.Event().wait()
        finally:
            self.scope["log"].append("tidying")
            await self.scope["go"].wait()
            self.scope["log"].append("tidied")

    @topic("room", unsubscribe="left")
    async def room(self, request: Request) -> None: ...

    async def left(self, request: Request) -> None:
        self.scope["log"].append("leaving")
        await self.scope["go"].wait()
        self.scope["log"].append("left")

    @topic("checked", permissions=[Checked], recheck=True)
    async def checked(self, request: Request) -> None: ...

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append("disconnect")


def socket(**scope: Any) -> Socket:
    return Socket(Waiting.as_asgi(), log=[], checks=[], go=asyncio.Event(), **scope)


@shifted
async def test_without_a_limit() -> None:
    """``FairTimeout(None)`` waits for any time."""
    go = asyncio.Event()
    async with FairTimeout(None):
        asyncio.get_running_loop().call_later(3600, go.set)
        await advance(3600)
        assert go.is_set()


@shifted
async def test_close_wait() -> None:
    """A client that reads gets the whole CLOSE notice."""
    go = asyncio.Event()
    sent = []

    async def send() -> None:
        await go.wait()
        sent.append("notice")

    closing = asyncio.create_task(within_close_wait(send()))
    await asyncio.sleep(0)
    await advance(LATE * CLOSE_WAIT)
    go.set()
    await closing
    assert sent == ["notice"]


@shifted
async def test_cancel_wait(caplog: pytest.LogCaptureFixture) -> None:
    """``disconnect()`` waits for the ``finally`` block of a handler."""
    async with socket() as client:
        client.request("tidy", 1)
        await until(lambda: client.log)
        client.disconnect()
        await until(lambda: client.log == ["started", "tidying"])
        await advance(LATE * CANCEL_WAIT)
        client.scope["go"].set()
    assert client.log == ["started", "tidying", "tidied", "disconnect"]
    assert "does not end when it is cancelled" not in caplog.text


@shifted
async def test_hook_of_a_subscription(caplog: pytest.LogCaptureFixture) -> None:
    async with socket() as client:
        assert (await client.call("SUBSCRIBE", 1, {"topic": "room"}))["status"] == 204
        client.disconnect()
        await until(lambda: client.log)
        await advance(LATE * CANCEL_WAIT)
        client.scope["go"].set()
    assert client.log == ["leaving", "left", "disconnect"]
    assert caplog.text == ""


@shifted
async def test_recheck_of_a_subscription(caplog: pytest.LogCaptureFixture) -> None:
    """The push is sent, and the permission has not failed."""
    async with socket() as client:
        assert (await client.call("SUBSCRIBE", 1, {"topic": "checked"}))["status"] == 204
        await abroadcast("checked", "news", "payload")
        await until(lambda: len(client.scope["checks"]) == 2)
        await advance(LATE * conf.get("TIMEOUT"))
        client.scope["go"].set()
        assert (await client.read(2))[1]["payload"] == "payload"
    assert caplog.text == ""


@shifted
async def test_token_refresh() -> None:
    """A token that is verified in time is good."""
    asked, ada = [], User(pk=1, username="ada")
    go = asyncio.Event()

    async def verify(credentials: Credentials) -> Identity:
        asked.append(credentials.token)
        await go.wait()
        return Identity(ada, time.time() + 3600, credentials.token)

    identity = Identity(ada, time.time() + 3600, "first")
    scope = {"user": ada, "auth": "first", "routesock.identity": identity, "routesock.authenticators": (verify,)}
    async with socket(**scope) as client:
        client.request("AUTH", 1, {"token": "second"})
        await until(lambda: asked)
        await advance(LATE * conf.get("TIMEOUT"))
        go.set()
        assert (await client.reply(1))["status"] == 200
