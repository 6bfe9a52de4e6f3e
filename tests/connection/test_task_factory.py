"""A process may have a task factory of its own: sockets work the same with any."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User

from routesock import Request, RouteMixin, asend_event, event, route, topic
from routesock.auth import Credentials, HandshakeMiddleware
from routesock.testing import RouteClient

TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="")


def without_context(loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any) -> asyncio.Task[Any]:
    """As factories of Python 3.10 are: they do not know ``context``."""
    if kwargs.get("context") is not None:
        raise TypeError("context")
    return asyncio.Task(coroutine, loop=loop)


class NamedFuture(asyncio.Future[Any]):
    """The loop of Python 3.13.0 names what its factory returns."""

    def set_name(self, name: str | None) -> None:
        pass


def not_a_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any) -> asyncio.Future[Any]:
    """A factory may return any future."""
    task = asyncio.Task(coroutine, loop=loop, **kwargs)
    future = NamedFuture(loop=loop)

    def copy(task: asyncio.Task[Any]) -> None:
        if future.cancelled():
            return
        if task.cancelled():
            future.cancel()
        elif (exc := task.exception()) is not None:
            future.set_exception(exc)
        else:
            future.set_result(task.result())

    task.add_done_callback(copy)
    return future


FACTORIES = {"without context": without_context, "no task": not_a_task}
if hasattr(asyncio, "eager_task_factory"):  # Python 3.12
    FACTORIES["eager"] = asyncio.eager_task_factory


class Everything(RouteMixin, AsyncJsonWebsocketConsumer):
    seen: list[Any]

    async def connect(self) -> None:
        TENANT.set("acme")
        await self.accept()
        await self.socket.join("room")

    async def disconnect(self, code: int) -> None:
        type(self).seen.append(("disconnect", TENANT.get()))

    @route("version", public=True)
    async def version(self, request: Request) -> int:
        return 1

    @route("who")
    async def who(self, request: Request) -> Any:
        await asyncio.sleep(0)
        return [request.user.username, TENANT.get()]

    @route("beside", parallel=True)
    async def beside(self, request: Request) -> Any:
        await asyncio.sleep(0)
        return TENANT.get()

    @route("numbers")
    async def numbers(self, request: Request) -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    @route("wait")
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()

    @topic("news.{name}")
    async def news(self, request: Request) -> None: ...

    @event("counted")
    async def counted(self, event: Any) -> None:
        await self.socket.push("counted", event.payload)


async def by_name(credentials: Credentials) -> Any:
    return User(pk=1, username=credentials.token)


async def everything(consumer: type[Everything]) -> None:
    app = HandshakeMiddleware(consumer.as_asgi(), authenticators=[by_name])
    async with RouteClient(app, timeout=30) as client:
        assert (await client.receive())["route"] == "HELLO"
        assert (await client.call("version")).payload == 1
        assert (await client.call("AUTH", {"token": "ada"})).status == 200
        assert (await client.call("who")).payload == ["ada", "acme"]
        replies = await asyncio.gather(*(client.call("beside") for _ in range(3)))
        assert [reply.payload for reply in replies] == ["acme"] * 3
        assert [item.payload async for item in client.stream("numbers")] == [0, 1, 2, None]
        assert (await client.call("SUBSCRIBE", {"topic": "news.a"})).status == 204
        await asend_event("room", "counted", 7)
        assert (await client.receive())["payload"] == 7
        await client.send("wait", id="w")
        await client.settle()
        await client.send("CANCEL", id="w")
        assert (await client.expect_reply("w")).status == 499
        assert (await client.call("AUTH", {"token": "ada"})).status == 200
        await client.send("wait", id="last")
        await client.settle()
    assert consumer.seen == [("disconnect", "acme")]


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_sockets_work_with_any_task_factory(factory: Callable[..., Any]) -> None:
    class Own(Everything):
        seen: list[Any] = []
        route_disconnect_grace = 0.0

    async def run() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        await everything(Own)

    asyncio.run(run())
