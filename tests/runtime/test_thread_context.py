"""``route_thread_context``: a context manager around each piece of sync work of a socket, in its thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from routesock import Request, RouteMixin, RouteSetupError, Throttle, route
from routesock._runtime import database
from routesock.testing import RouteClient

entered = threading.local()

variable: ContextVar[str | None] = ContextVar("variable", default=None)

log: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


def now() -> Any:
    return getattr(entered, "by", None)


@contextmanager
def entering(consumer: Any) -> Iterator[None]:
    entered.by, token = consumer.scope.get("name", "a socket"), variable.set("inside")
    log.append(f"enter {threading.current_thread() is threading.main_thread()}")
    try:
        yield
    except BaseException as exc:
        log.append(type(exc).__name__)
        raise
    finally:
        variable.reset(token)
        del entered.by


class Entering(RouteMixin, AsyncJsonWebsocketConsumer):
    route_thread_context = entering

    @route("sync")
    def in_sync(self, request: Request) -> Any:
        return [now(), variable.get()]

    @route("async")
    async def in_async(self, request: Request) -> Any:
        inside = await sync_to_async(lambda: [now(), variable.get()])()
        return [*inside, variable.get()]

    @route("raise")
    def in_error(self, request: Request) -> None:
        raise StopIteration

    @route("async.raise")
    async def in_async_error(self, request: Request) -> None:
        await database_sync_to_async(int)("no number")

    @route("task")
    async def in_task(self, request: Request) -> Any:
        return await asyncio.create_task(sync_to_async(now)())

    @route("insensitive")
    async def in_other_thread(self, request: Request) -> Any:
        return await sync_to_async(now, thread_sensitive=False)()


async def test_sync_work_runs_inside_it() -> None:
    async with RouteClient(Entering) as client:
        assert (await client.call("sync")).payload == ["a socket", "inside"]
        assert (await client.call("async")).payload == ["a socket", "inside", None]
        assert (await client.call("task")).payload == "a socket"
    assert await sync_to_async(now)() is None
    assert log == ["enter False"] * 3


async def test_work_outside_of_the_database_thread_does_not() -> None:
    async with RouteClient(Entering) as client:
        assert (await client.call("insensitive")).payload is None


@pytest.mark.parametrize(("name", "exception"), [("raise", "StopIteration"), ("async.raise", "ValueError")])
async def test_it_sees_what_the_work_raises(name: str, exception: str) -> None:
    """Else ``transaction.atomic()`` inside it would commit what a failed handler has done."""
    async with RouteClient(Entering, raise_exceptions=False) as client:
        assert (await client.call(name)).status == 500
    assert log == ["enter False", exception]


async def test_work_does_not_run_where_it_cannot_be_entered() -> None:
    ran: list[str] = []

    @contextmanager
    def failing(consumer: Any) -> Iterator[None]:
        raise RuntimeError("no such tenant")
        yield

    class Failing(RouteMixin, AsyncJsonWebsocketConsumer):
        route_thread_context = failing

        @route("sync")
        def in_sync(self, request: Request) -> None:
            ran.append("sync")

        @route("async")
        async def in_async(self, request: Request) -> None:
            await sync_to_async(ran.append)("async")

    async with RouteClient(Failing, raise_exceptions=False) as client:
        assert [(await client.call(name)).status for name in ("sync", "async")] == [500, 500]
    assert ran == []


async def test_it_is_called_with_the_consumer_as_it_is_then() -> None:
    class Naming(Entering):
        @route("name")
        async def name(self, request: Request) -> None:
            self.scope["name"] = request.payload

    async with RouteClient(Naming) as client:
        await client.call("name", "another name")
        assert (await client.call("sync")).payload == ["another name", "inside"]


async def test_a_method_will_do_and_connect_and_disconnect_run_inside_it() -> None:
    seen: list[Any] = []

    class Sync(RouteMixin, JsonWebsocketConsumer):
        @contextmanager
        def route_thread_context(self) -> Iterator[None]:
            with entering(self):
                yield

        def connect(self) -> None:
            seen.append(now())
            self.accept()

        def disconnect(self, code: int) -> None:
            seen.append(now())

        def receive_json(self, content: Any, **kwargs: Any) -> None:
            seen.append(now())

    async with RouteClient(Sync) as client:
        await client.send({"command": "legacy"})
        await client.ping()
    assert seen == ["a socket"] * 3


async def test_hooks_of_a_throttle_for_new_sockets_run_inside_it() -> None:
    seen: list[Any] = []

    def scope(request: Request) -> str:
        seen.append(now())
        return "all"

    class Throttled(RouteMixin, AsyncJsonWebsocketConsumer):
        route_thread_context = entering
        route_connection_throttle = Throttle("9/s", scope=scope)

    async with RouteClient(Throttled):
        assert seen == ["a socket"]


class Dedicated(Entering):
    route_dedicated_threads = True

    @route("thread")
    async def thread(self, request: Request) -> Any:
        return await sync_to_async(lambda: [now(), threading.current_thread().name])()


async def test_it_goes_with_dedicated_threads() -> None:
    async with RouteClient(Dedicated) as client:
        name, thread = (await client.call("thread")).payload
        assert name == "a socket"
        assert thread.startswith("routesock-db")
    assert database._dedicated._used == []


@pytest.mark.parametrize("consumer", [Entering, Dedicated])
async def test_a_thread_that_was_assigned_outside_of_the_consumer_is_used(consumer: type[Any]) -> None:
    outside: list[int] = []

    class Here(consumer):  # type: ignore[misc]
        @route("ident")
        def ident(self, request: Request) -> Any:
            return [now(), threading.get_ident() == outside[0]]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async with ThreadSensitiveContext():
            outside.append(await sync_to_async(threading.get_ident)())
            await Here.as_asgi()(scope, receive, send)

    async with RouteClient(application) as client:
        assert (await client.call("ident")).payload == ["a socket", True]


async def test_a_task_that_outlives_the_socket_still_runs_inside_it() -> None:
    release = asyncio.Event()

    async def later() -> Any:
        await release.wait()
        return await sync_to_async(now)()

    tasks: list[asyncio.Task[Any]] = []

    class Starting(RouteMixin, AsyncJsonWebsocketConsumer):
        route_thread_context = entering

        @route("start")
        async def start(self, request: Request) -> None:
            tasks.append(asyncio.create_task(later()))

    async with RouteClient(Starting) as client:
        await client.call("start")
    release.set()
    assert await tasks[0] == "a socket"


async def test_nothing_keeps_the_consumer_of_a_socket_that_has_ended() -> None:
    consumers: list[weakref.ref[Any]] = []

    class Kept(Entering):
        async def connect(self) -> None:
            consumers.append(weakref.ref(self))
            await self.accept()

    async with RouteClient(Kept) as client:
        await client.call("async")
    del client
    gc.collect()
    assert [consumer() for consumer in consumers] == [None]


async def test_a_context_can_be_set_for_a_while() -> None:
    with database.thread_context(partial(entering, type("Consumer", (), {"scope": {}})())):
        assert await sync_to_async(now)() == "a socket"
    assert await sync_to_async(now)() is None


@asynccontextmanager
async def async_manager(consumer: Any) -> AsyncIterator[None]:
    yield


def generator(consumer: Any) -> Iterator[None]:
    yield


@contextmanager
def without_consumer() -> Iterator[None]:
    yield


async def coroutine(consumer: Any) -> None: ...


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (async_manager, "Write `@contextmanager` above `def async_manager(consumer)`."),
        (generator, "route_thread_context yields. Write `@contextmanager` above `def generator(consumer)`."),
        (coroutine, "Write `@contextmanager` above `def coroutine(consumer)`."),
        (without_consumer, "cannot be called with the consumer. Write `def without_consumer(consumer)`."),
        ("tenant", "Write `@contextmanager` above `def context(consumer)`."),
    ],
    ids=["async", "generator", "coroutine", "no-argument", "text"],
)
def test_what_cannot_be_entered_in_a_thread_is_an_error(value: Any, message: str) -> None:
    with pytest.raises(RouteSetupError) as caught:
        type("Chat", (RouteMixin, AsyncJsonWebsocketConsumer), {"route_thread_context": value})
    assert message in str(caught.value)
