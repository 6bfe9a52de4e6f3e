"""Stale connections are closed in front of the database thread's next work, and no message waits for that."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import connections

from routesock import Event, Request, RouteMixin, asend_event, event, route
from routesock._runtime import database
from routesock.testing import RouteClient

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "files"])

ALIAS = "files"  # a database in memory is never closed, so one in a file


@pytest.fixture(autouse=True)
def open_connection() -> Iterator[None]:
    """The database thread has a connection when the test begins, and none when it has ended."""
    in_database_thread(forget_age)
    make_due(close_at=None)
    yield
    in_database_thread(lambda: connections[ALIAS].close())


def forget_age() -> None:
    """Make no connection due that an earlier test opened in this thread: one in memory is due for ever."""
    for connection in connections.all(initialized_only=True):
        connection.close_at = None


def query() -> int:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT 7")
        return int(cursor.fetchone()[0])


def driver_connection() -> Any:
    return in_database_thread(lambda: connections[ALIAS].connection)


def is_due() -> bool:
    return bool(in_database_thread(lambda: database.is_due(connections[ALIAS], time.monotonic())))  # type: ignore[arg-type]


def in_database_thread(function: Any) -> Any:
    """As a server's ORM work runs: on asgiref's one thread for thread-sensitive code."""
    return SyncToAsync.single_thread_executor.submit(function).result()


def make_due(**state: Any) -> Any:
    """Bring the thread's connection into ``state``; gives the connection of the driver."""

    def change() -> Any:
        wrapper = connections[ALIAS]
        wrapper.ensure_connection()
        for name, value in state.items():
            setattr(wrapper, name, value)
        return wrapper.connection

    return in_database_thread(change)


class Users(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("query")
    async def query(self, request: Request) -> int:
        return await sync_to_async(query)()  # as Django's async ORM does

    @route("sync.query")
    def query_in_thread(self, request: Request) -> int:
        return query()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


@pytest.mark.parametrize("name", ["query", "sync.query"])
async def test_a_route_never_meets_a_connection_whose_time_has_passed(name: str) -> None:
    stale = make_due(close_at=0.0)
    async with RouteClient(Users, timeout=30) as client:
        assert (await client.call(name)).status == 200
    assert driver_connection() is not stale


async def test_nor_does_the_handler_of_an_event() -> None:
    met: list[Any] = []

    def connection_met() -> Any:
        query()
        return connections[ALIAS].connection

    class Told(RouteMixin, AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            await self.socket.join("all")

        @event("told")
        async def told(self, event: Event) -> None:
            met.append(await sync_to_async(connection_met)())

    async with RouteClient(Told) as client:
        await client.ping()
        stale = make_due(close_at=0.0)
        await asend_event("all", "told")
        async with asyncio.timeout(30):
            while not met:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert met[0] is not stale


@pytest.mark.parametrize("name", ["query", "sync.query"])
async def test_a_route_keeps_a_connection_that_is_not_due(name: str) -> None:
    kept = make_due(close_at=time.monotonic() + 60, errors_occurred=False)
    async with RouteClient(Users, timeout=30) as client:
        assert (await client.call(name)).status == 200
    assert driver_connection() is kept


async def test_a_connection_without_an_end_is_not_due() -> None:
    make_due(close_at=None)
    assert not is_due()


@pytest.mark.parametrize("state", [{"close_at": 0.0}, {"errors_occurred": True}])
async def test_what_close_old_connections_would_look_at_is_due(state: dict[str, Any]) -> None:
    make_due(**state)
    assert is_due()


async def test_a_connection_with_health_checks_is_looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    options = in_database_thread(lambda: connections[ALIAS].settings_dict)
    monkeypatch.setitem(options, "CONN_HEALTH_CHECKS", True)
    assert is_due()


async def test_a_connection_in_a_transaction_is_left_alone() -> None:
    make_due(close_at=0.0, in_atomic_block=True)
    assert not is_due()
    make_due(in_atomic_block=False)


async def test_a_closed_connection_is_not_due() -> None:
    make_due(close_at=0.0)
    in_database_thread(lambda: connections[ALIAS].close())
    assert not is_due()


async def test_a_route_without_the_database_does_not_wait_for_the_thread() -> None:
    make_due(close_at=0.0)
    started, release = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait(30)

    async with RouteClient(Users, timeout=30) as client:
        blocked = asyncio.ensure_future(sync_to_async(block)())
        await asyncio.get_running_loop().run_in_executor(None, started.wait, 5)
        try:
            for number in range(50):
                assert (await client.call("echo", number)).payload == number
            assert not blocked.done()
            assert SyncToAsync.single_thread_executor._work_queue.qsize() <= 1
        finally:
            release.set()
            await blocked


def test_connections_of_other_threads_are_left_to_them() -> None:
    make_due(close_at=0.0)
    database.refresh()  # by now it is known which thread is the one
    in_database_thread(lambda: None)
    connections[ALIAS].ensure_connection()  # of the test's own thread
    connections[ALIAS].close_at = 0.0
    try:
        done = database._shared._cleaning
        database.refresh()
        assert database._shared._cleaning is done
    finally:
        connections[ALIAS].close()


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError("x")])
async def test_whatever_a_function_raises_in_the_thread_comes_back(exc: BaseException) -> None:
    with pytest.raises(type(exc)) as raised:
        await database.in_thread(raising(exc))
    assert raised.value is exc


async def test_a_stop_iteration_in_the_thread_does_not_hang_the_caller() -> None:
    """Nor can a coroutine raise it (PEP 479): it arrives as the cause of a RuntimeError."""
    with pytest.raises(RuntimeError) as raised:
        await database.in_thread(raising(StopIteration("x")))
    assert isinstance(raised.value.__cause__, StopIteration)


def raising(exc: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise exc

    return fail


async def test_a_cancelled_caller_goes_on_while_the_thread_runs_to_its_end() -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(30)
        ended.set()

    task = asyncio.ensure_future(database.in_thread(work))
    await asyncio.get_running_loop().run_in_executor(None, started.wait, 5)
    task.cancel()
    await asyncio.wait([task], timeout=30)
    assert task.cancelled()
    assert not ended.is_set()
    release.set()
    await sync_to_async(ended.wait)(5)
    assert ended.is_set()


# Work that spans several hops


class Spanning(Users):
    entered: asyncio.Event
    release: asyncio.Event

    @route("hops")
    async def hops(self, request: Request) -> bool:
        """Whether all hops meet one connection, though another request runs between two of them."""
        before = await sync_to_async(connection_now)()
        self.entered.set()
        await self.release.wait()
        return await sync_to_async(connection_now)() is before

    @route("hops.parallel", parallel=True)
    async def hops_in_parallel(self, request: Request) -> bool:
        return await self.hops(request)

    @route("stream")
    def stream(self, request: Request) -> Iterator[int]:
        for _ in range(3):
            yield id(connection_now())


def connection_now() -> Any:
    query()
    return connections[ALIAS].connection


@pytest.fixture
def short_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are to be closed behind each piece of work, as by default."""
    settings = in_database_thread(lambda: connections[ALIAS].settings_dict)
    monkeypatch.setitem(settings, "CONN_MAX_AGE", 0)
    in_database_thread(lambda: connections[ALIAS].close())


@pytest.mark.usefixtures("short_lived")
@pytest.mark.parametrize("name", ["hops", "hops.parallel"])
@pytest.mark.parametrize("other", ["query", "sync.query"])
async def test_no_request_closes_a_connection_between_two_hops_of_another(name: str, other: str) -> None:
    Spanning.entered, Spanning.release = asyncio.Event(), asyncio.Event()
    async with RouteClient(Spanning, timeout=30) as client, RouteClient(Users, timeout=30) as others:
        call = asyncio.ensure_future(client.call(name))
        await Spanning.entered.wait()
        for _ in range(3):
            assert (await others.call(other)).status == 200
        Spanning.release.set()
        assert (await call).payload is True
    await settled()
    assert driver_connection() is None


@pytest.mark.usefixtures("short_lived")
async def test_a_stream_keeps_its_connection_over_all_items() -> None:
    async with RouteClient(Spanning, timeout=30) as client, RouteClient(Users, timeout=30) as others:
        met = []
        async for item in client.stream("stream"):
            if item.status == 206:
                met.append(item.payload)
            await others.call("sync.query")
        assert len(met) == 3
        assert len(set(met)) == 1


@pytest.mark.usefixtures("short_lived")
async def test_a_broken_connection_is_closed_all_the_same() -> None:
    Spanning.entered, Spanning.release = asyncio.Event(), asyncio.Event()
    async with RouteClient(Spanning, timeout=30) as client, RouteClient(Users, timeout=30) as others:
        call = asyncio.ensure_future(client.call("hops"))
        await Spanning.entered.wait()
        in_database_thread(lambda: connections[ALIAS].connection.close())
        in_database_thread(lambda: setattr(connections[ALIAS], "errors_occurred", True))
        assert (await others.call("sync.query")).status == 200
        Spanning.release.set()
        assert (await call).payload is False


async def settled() -> None:
    """Return when the database thread has done what was submitted to it."""
    await asyncio.wrap_future(SyncToAsync.single_thread_executor.submit(int))


def test_ages_are_put_off_as_long_as_somebody_holds_them() -> None:
    ages, wrapper = database.Ages(), connections[ALIAS]
    wrapper.close_at = 1.0
    ages.add(wrapper)  # type: ignore[arg-type]
    assert wrapper.close_at == 1.0
    ages.hold()
    ages.hold()
    assert wrapper.close_at is None
    wrapper.close_at = 2.0  # it was opened again
    ages.add(wrapper)  # type: ignore[arg-type]
    assert wrapper.close_at is None
    assert not ages.release()
    assert wrapper.close_at is None
    assert ages.release()
    assert wrapper.close_at == 2.0
    wrapper.close_at = None
    ages.hold()
    assert ages.release()
    assert wrapper.close_at is None


def test_a_connection_that_is_being_opened_is_not_closed_under_the_work_that_holds_it() -> None:
    """Until it is open its age is not put off, so a frame that arrives in between finds it due."""

    def open_while_a_frame_arrives() -> Any:
        wrapper = connections[ALIAS]
        wrapper.close()
        initialise = wrapper.init_connection_state

        def initialise_while_a_frame_arrives() -> None:
            initialise()
            assert database.is_due(wrapper, time.monotonic())
            database.refresh()

        wrapper.init_connection_state = initialise_while_a_frame_arrives  # type: ignore[method-assign]
        try:
            wrapper.ensure_connection()
        finally:
            del wrapper.init_connection_state
        return wrapper.connection

    database._shared.hold()
    try:
        opened = in_database_thread(open_while_a_frame_arrives)
        assert driver_connection() is opened
    finally:
        database._shared.release()
    assert driver_connection() is None
