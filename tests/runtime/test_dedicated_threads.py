"""Sockets of a consumer with ``route_dedicated_threads``: their own threads, bounded, and none left over."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Self

import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.transaction import atomic
from django.test import TestCase, TransactionTestCase, override_settings

from routesock import Request, RouteMixin, route, run_in_thread
from routesock._runtime import database
from routesock.testing import RouteClient
from tests.servers import ROOT, python_environment

with_database = pytest.mark.django_db(transaction=True, databases=["default", "files"])

ALIAS = "files"  # a database in memory is never closed, so one in a file


def query() -> int:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT 7")
        return int(cursor.fetchone()[0])


def shared(function: Callable[[], Any] = threading.get_ident) -> Any:
    """The result of ``function`` in the thread that sockets share."""
    return SyncToAsync.single_thread_executor.submit(function).result(30)


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("routesock-db")]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def nothing_is_left_over() -> Iterator[None]:
    assert own_threads() == []
    yield
    assert database._dedicated._used == []
    for thread in own_threads():
        thread.join(30)
        assert not thread.is_alive()


class Gate:
    """Where handlers in threads wait until a test lets them go on."""

    def __init__(self) -> None:
        self.inside: list[int] = []
        self._open = threading.Event()

    def wait(self) -> int:
        self.inside.append(threading.get_ident())
        assert self._open.wait(10)
        return threading.get_ident()

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


class Isolated(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dedicated_threads = True
    gate: Gate

    @route("thread")
    def thread(self, request: Request) -> int:
        return threading.get_ident()

    @route("async.thread")
    async def async_thread(self, request: Request) -> int:
        return await sync_to_async(threading.get_ident)()  # as Django's async ORM does

    @route("query")
    def query(self, request: Request) -> int:
        return query()

    @route("async.query")
    async def async_query(self, request: Request) -> int:
        return await sync_to_async(query)()

    @route("wait")
    def wait(self, request: Request) -> int:
        return self.gate.wait()

    @route("echo", hydrate="same", dehydrate="same")
    async def echo(self, request: Request) -> Any:
        return request.payload

    async def same(self, value: Any) -> Any:
        return value.payload if isinstance(value, Request) else value


class Shared(Isolated):
    route_dedicated_threads = False


@asynccontextmanager
async def clients(number: int, consumer: type[Any] = Isolated) -> AsyncIterator[list[RouteClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RouteClient(consumer, timeout=30)) for _ in range(number)]


async def thread_of(client: RouteClient) -> int:
    return int((await client.call("thread")).payload)


def by_hand(consumer: type[Any]) -> tuple[asyncio.Task[None], asyncio.Queue[Any]]:
    """A socket that begins to connect: its task, and what it sends."""
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    scope = {"type": "websocket", "path": "/", "headers": []}
    return asyncio.ensure_future(consumer.as_asgi()(scope, inbox.get, sent.put)), sent


# Where work runs


class Everywhere:
    """What all consumer code of a socket notes: the thread that it runs in, or that its sync work has."""

    groups = ("everyone",)
    seen: Counter[int]

    def note(self, *args: Any) -> Any:
        self.seen[threading.get_ident()] += 1
        return args[0] if args else None

    @route("parallel", parallel=True)
    def parallel(self, request: Request) -> Any:
        return self.note(request.payload)

    @route("stream")
    def stream(self, request: Request) -> Iterator[Any]:
        yield self.note("item")


def noted(value: Any) -> Any:
    Everywhere.seen[threading.get_ident()] += 1
    return value


class AsyncEverywhere(Everywhere, RouteMixin, AsyncJsonWebsocketConsumer):
    route_dedicated_threads = True

    async def connect(self) -> None:
        await sync_to_async(self.note)()
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await sync_to_async(self.note)()
        await self.send_json({"answer": "foreign"})

    async def told(self, event: Any) -> None:
        await sync_to_async(self.note)()
        await self.send_json({"answer": "told"})

    async def disconnect(self, code: int) -> None:
        await sync_to_async(self.note)()

    @route("all", schema=run_in_thread(noted), hydrate="loaded", dehydrate="note")
    async def all(self, request: Request) -> Any:
        await sync_to_async(self.note)()
        return request.payload

    def loaded(self, request: Request) -> Any:
        return self.note(request.payload)


class SyncEverywhere(Everywhere, RouteMixin, JsonWebsocketConsumer):
    route_dedicated_threads = True

    def connect(self) -> None:
        self.note()
        self.accept()

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.note()
        self.send_json({"answer": "foreign"})

    def told(self, event: Any) -> None:
        self.note()
        self.send_json({"answer": "told"})

    def disconnect(self, code: int) -> None:
        self.note()

    @route("all", schema=run_in_thread(noted), hydrate="loaded", dehydrate="note")
    def all(self, request: Request) -> Any:
        self.note()
        return request.payload

    def loaded(self, request: Request) -> Any:
        return self.note(request.payload)


@pytest.mark.parametrize("consumer", [AsyncEverywhere, SyncEverywhere])
async def test_all_sync_work_of_a_socket_runs_in_its_thread(consumer: type[Any]) -> None:
    Everywhere.seen = Counter()
    async with RouteClient(consumer, timeout=30) as client:
        assert (await client.call("all", {"a": 1})).payload == {"a": 1}
        assert (await client.call("parallel", 2)).payload == 2
        await client.send("stream", id=3)
        assert [(await client.receive())["status"] for _ in range(2)] == [206, 200]
        await client.send_json({"foreign": True})
        assert await client.receive() == {"answer": "foreign"}
        layer = get_channel_layer()
        assert layer is not None
        await layer.group_send("everyone", {"type": "told"})
        assert await client.receive() == {"answer": "told"}
        [thread] = own_threads()
    assert Everywhere.seen == {thread.ident: 10}  # connect, six in routes, a frame, an event, disconnect


async def test_without_the_option_sockets_share_the_one_thread() -> None:
    async with clients(2, Shared) as sockets:
        assert {await thread_of(client) for client in sockets} == {shared()}
        assert own_threads() == []


async def test_sync_work_of_as_many_sockets_as_there_are_threads_runs_at_once() -> None:
    barrier = threading.Barrier(8)

    class Meeting(Isolated):
        @route("meet")
        def meet(self, request: Request) -> int:
            barrier.wait(30)
            return threading.get_ident()

    async with clients(8, Meeting) as sockets:
        replies = await asyncio.gather(*(client.call("meet") for client in sockets))
        assert len({reply.payload for reply in replies}) == 8


async def test_there_are_no_more_threads_than_the_setting_allows() -> None:
    with override_settings(ROUTESOCK={"DB_THREADS": 2}), Gate() as Isolated.gate:
        async with clients(5) as sockets:
            waiting = [asyncio.ensure_future(client.call("wait")) for client in sockets]
            await until(lambda: len(Isolated.gate.inside) == 2)
            assert [(await client.ping(1)) for client in sockets] == [1] * 5  # by now all five have been read
            assert len(Isolated.gate.inside) == len(own_threads()) == 2
            Isolated.gate.open()
            idents = Counter([(await reply).payload for reply in waiting])
    assert sorted(idents.values()) == [2, 3]


async def test_a_socket_takes_the_thread_with_the_fewest_sockets() -> None:
    with override_settings(ROUTESOCK={"DB_THREADS": 2}):
        async with clients(4) as sockets:
            threads = {client: await thread_of(client) for client in sockets}
            assert sorted(Counter(threads.values()).values()) == [2, 2]
            left = threads[sockets[0]]
            for client in sockets:
                if threads[client] == left:
                    await client.disconnect()
            staying = [client for client in sockets if threads[client] != left]
            async with clients(2) as new:
                assert len({threads[client] for client in staying} | {await thread_of(client) for client in new}) == 2
                assert not {await thread_of(client) for client in new} & {threads[client] for client in staying}


async def test_a_socket_keeps_its_thread() -> None:
    async with clients(3) as sockets:
        before = [await thread_of(client) for client in sockets]
        await sockets[0].disconnect()
        async with clients(2):
            assert [await thread_of(client) for client in sockets[1:]] == before[1:]
            assert (await sockets[1].call("async.thread")).payload == before[1]


async def test_a_lower_setting_holds_for_the_sockets_that_open_from_then_on() -> None:
    async with clients(3) as old:
        with override_settings(ROUTESOCK={"DB_THREADS": 1}):
            async with clients(2) as new:
                assert len({await thread_of(client) for client in [*old, *new]}) == 3


async def test_a_number_of_threads_that_cannot_be_meant_is_named_when_a_socket_opens() -> None:
    with override_settings(ROUTESOCK={"DB_THREADS": 0}):
        with pytest.raises(ImproperlyConfigured, match=r"ROUTESOCK\['DB_THREADS'\] must be .*; got 0"):
            async with RouteClient(Isolated):
                pass
        async with RouteClient(Shared) as client:
            assert (await client.call("echo", 1)).payload == 1


@with_database
async def test_a_transaction_of_somebody_else_does_not_turn_isolation_off() -> None:
    """Such as that of a view in another thread."""
    transaction = atomic(ALIAS)
    shared(transaction.__enter__)
    try:
        async with RouteClient(Isolated) as client:
            assert await thread_of(client) != shared()
    finally:
        shared(partial(transaction.__exit__, None, None, None))


async def test_who_has_chosen_a_thread_already_keeps_it() -> None:
    executor = ThreadPoolExecutor(1)
    chosen = ThreadSensitiveContext()
    SyncToAsync.context_to_thread_executor[chosen] = executor

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async with chosen:
            await Isolated.as_asgi()(scope, receive, send)

    async with RouteClient(application, timeout=30) as client:
        assert await thread_of(client) == executor.submit(threading.get_ident).result(30)


# Routes that need no thread


async def test_a_route_without_sync_steps_makes_no_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    async with clients(1, Isolated) as (isolated,), clients(1, Shared) as (plain,):
        hops: list[Any] = []
        loop = asyncio.get_running_loop()
        original = loop.run_in_executor

        def counted(executor: Any, function: Any, *args: Any) -> Any:
            hops.append(executor)
            return original(executor, function, *args)

        monkeypatch.setattr(loop, "run_in_executor", counted)
        for client in (isolated, plain):
            assert (await client.call("echo", 5)).payload == 5
            assert await client.ping(1) == 1
        assert hops == []


# What is left


def in_own_thread(function: Callable[[], Any]) -> Any:
    """The result of ``function`` in the only isolated thread."""
    [thread] = database._dedicated._used
    return thread._worker.submit(function).result(30)


def own_connection(*, close_at: float | None = None) -> Any:
    """The connection of the only isolated thread, which it opens."""
    assert in_own_thread(query) == 7
    connection = in_own_thread(lambda: connections[ALIAS])
    connection.close_at = close_at
    return connection


@with_database
async def test_the_last_socket_of_a_thread_closes_its_connections_and_ends_it() -> None:
    with override_settings(ROUTESOCK={"DB_THREADS": 1}):
        async with clients(2) as (first, last):
            connection = own_connection()
            [thread] = own_threads()
            await first.disconnect()
            assert (await last.call("query")).payload == 7
            assert connection.connection is not None
        await until(lambda: not thread.is_alive())
    assert connection.connection is None


class Ending(Isolated):
    seen: list[str] = []

    async def connect(self) -> None:
        await sync_to_async(query)()
        match self.scope["path"]:
            case "/raises":
                raise KeyError("connect")
            case "/refuses":
                await self.close()
            case _:
                await self.accept()

    @route("end")
    async def end(self, request: Request) -> None:
        match request.payload:
            case "close":
                await self.close()
            case "stop":
                raise StopConsumer
            case "exit":
                raise SystemExit

    async def disconnect(self, code: int) -> None:
        await sync_to_async(query)()
        if self.scope["path"] == "/fails":
            raise KeyError("disconnect")


@with_database
@pytest.mark.parametrize("path", ["/raises", "/refuses", "/fails", "/"])
async def test_however_a_socket_ends_its_thread_is_given_back(path: str) -> None:
    client = RouteClient(Ending, path, timeout=30)
    with suppress(Exception):
        async with client:
            pass
    assert database._dedicated._used == []


@with_database
@pytest.mark.parametrize("payload", ["close", "stop", "exit"])
async def test_however_a_handler_ends_the_socket_its_thread_is_given_back(payload: str) -> None:
    with suppress(Exception):
        async with RouteClient(Ending, timeout=30, raise_exceptions=False) as client:
            await client.send("end", payload, id=1)
    assert database._dedicated._used == []


async def test_a_server_that_cancels_the_socket_gets_the_thread_back() -> None:
    task, sent = by_hand(Isolated)
    await asyncio.wait_for(sent.get(), 30)
    task.cancel()
    await asyncio.wait([task], timeout=30)
    assert database._dedicated._used == []


def test_a_socket_that_goes_away_with_its_loop_leaves_no_thread() -> None:
    """Its coroutine is closed, as at the end of a process that did not wait for it."""

    async def open_one() -> Any:
        task, sent = by_hand(Isolated)
        await asyncio.wait_for(sent.get(), 30)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(open_one())
    assert len(database._dedicated._used) == 1
    for left in asyncio.all_tasks(loop):
        left._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = left.get_coro()
        assert coroutine is not None
        coroutine.close()
    loop.close()
    del task, left, coroutine
    gc.collect()


AT_EXIT = """
import asyncio, atexit
import django
django.setup()
from tests.runtime.test_dedicated_threads import Isolated, by_hand

async def open_one():
    task, sent = by_hand(Isolated)
    await sent.get()

loop = asyncio.new_event_loop()
loop.run_until_complete(open_one())

@atexit.register
def close():
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
        task.get_coro().close()
"""


def test_a_socket_that_goes_away_with_its_process_says_nothing() -> None:
    """By then no thread takes work any more."""
    environment = python_environment(ROOT, DJANGO_SETTINGS_MODULE="tests.settings")
    done = subprocess.run([sys.executable, "-c", AT_EXIT], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@with_database
async def test_a_thread_that_is_busy_when_its_socket_ends_closes_its_connections_when_it_is_not() -> None:
    """A thread cannot be stopped; what it opens late does not stay open."""
    opened: list[Any] = []

    class Late(Isolated):
        async def connect(self) -> None:
            await sync_to_async(self.late)()

        def late(self) -> None:
            self.gate.wait()
            query()
            opened.append(connections[ALIAS])

    with Gate() as Isolated.gate:
        task, _ = by_hand(Late)
        await until(lambda: Isolated.gate.inside)
        task.cancel()
        await asyncio.wait([task], timeout=30)
        assert task.done()
        [thread] = own_threads()
        assert database._dedicated._used == []
        assert opened == []
        Isolated.gate.open()
        await until(lambda: not thread.is_alive())
    assert [connection.connection for connection in opened] == [None]


async def test_a_task_of_the_user_that_outlives_its_socket_can_still_use_a_thread() -> None:
    go = asyncio.Event()
    tasks: list[asyncio.Task[int]] = []

    async def later() -> int:
        await go.wait()
        return await sync_to_async(threading.get_ident)()

    class Leaving(Isolated):
        @route("leave")
        async def leave(self, request: Request) -> None:
            tasks.append(asyncio.create_task(later()))

    async with RouteClient(Leaving, timeout=30) as client:
        assert (await client.call("leave")).status == 204
        await thread_of(client)
        [thread] = own_threads()
    await until(lambda: not thread.is_alive())
    go.set()
    assert await asyncio.wait_for(tasks[0], 30) != shared()


# Stale connections


@pytest.fixture
def shared_connection() -> Iterator[Any]:
    """The shared thread has a connection when the test begins, and none when it has ended."""
    shared(query)
    connection = shared(lambda: connections[ALIAS])
    connection.close_at = None
    yield connection
    shared(connection.close)


@with_database
@pytest.mark.parametrize("name", ["query", "async.query"])
async def test_an_isolated_socket_meets_no_connection_whose_time_has_passed(name: str) -> None:
    async with clients(1) as (client,):
        connection = own_connection(close_at=0.0)
        stale = connection.connection
        assert (await client.call(name)).payload == 7
        assert in_own_thread(lambda: connections[ALIAS].connection) is not stale


@with_database
@pytest.mark.parametrize("name", ["query", "async.query"])
async def test_an_isolated_socket_keeps_a_connection_that_is_not_due(name: str) -> None:
    async with clients(1) as (client,):
        connection = own_connection(close_at=time.monotonic() + 60)
        kept = connection.connection
        assert (await client.call(name)).payload == 7
        assert connection.connection is kept


@with_database
async def test_each_socket_looks_after_the_connections_of_its_own_thread(shared_connection: Any) -> None:
    async with clients(1, Shared) as (plain,), clients(1, Isolated) as (isolated,):
        own = own_connection(close_at=0.0)
        shared()  # what it was given to do before, for connections that other tests have left, is done
        shared_connection.close_at = 0.0

        assert (await isolated.call("echo", 1)).payload == 1
        in_own_thread(int)  # what it was given to do before is done
        assert own.connection is None
        shared()
        assert shared_connection.connection is not None

        assert own_connection(close_at=0.0) is own
        assert (await plain.call("echo", 1)).payload == 1
        shared()
        assert shared_connection.connection is None
        in_own_thread(int)
        assert own.connection is not None


@with_database
async def test_a_route_without_the_database_does_not_wait_for_its_busy_thread() -> None:
    with override_settings(ROUTESOCK={"DB_THREADS": 1}), Gate() as Isolated.gate:
        async with clients(2) as (busy, other):
            own_connection(close_at=0.0)
            waiting = asyncio.ensure_future(busy.call("wait"))
            await until(lambda: Isolated.gate.inside)
            for number in range(50):
                assert (await other.call("echo", number)).payload == number
            assert database._dedicated._used[0]._worker._work_queue.qsize() <= 1
            Isolated.gate.open()
            await waiting


# Tests of users


class Groups(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dedicated_threads = True

    @route("names")
    def names(self, request: Request) -> Any:
        return [threading.get_ident(), list(Group.objects.values_list("name", flat=True))]

    @route("async.names")
    async def async_names(self, request: Request) -> Any:
        names = [group.name async for group in Group.objects.all()]
        return [await sync_to_async(threading.get_ident)(), names]


class SyncGroups(RouteMixin, JsonWebsocketConsumer):
    route_dedicated_threads = True

    @route("names")
    def names(self, request: Request) -> Any:
        return [threading.get_ident(), list(Group.objects.values_list("name", flat=True))]


async def plainly(consumer: type[Any], name: str) -> Any:
    """What a route answers to Channels' own test client."""
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    assert (await communicator.connect())[0]
    await communicator.send_to(json.dumps({"route": name, "uuid": 1}))
    reply = json.loads(await communicator.receive_from())
    await communicator.disconnect()
    return reply["payload"]


CASES = [(Groups, "names"), (Groups, "async.names"), (SyncGroups, "names")]


class InTestCase(TestCase):
    """The transaction of the test is that of the consumer, as without the option."""

    def setUp(self) -> None:
        Group.objects.create(name="a")
        self.expected = [threading.get_ident(), ["a"]]

    def test_blocking_client(self) -> None:
        for consumer, name in CASES:
            with RouteClient(consumer) as client:
                assert client.call(name).payload == self.expected

    async def test_async_client(self) -> None:
        for consumer, name in CASES:
            async with RouteClient(consumer) as client:
                assert (await client.call(name)).payload == self.expected

    async def test_communicator(self) -> None:
        for consumer, name in CASES:
            assert await plainly(consumer, name) == self.expected

    def test_communicator_in_a_sync_test(self) -> None:
        for consumer, name in CASES:
            assert async_to_sync(plainly)(consumer, name) == self.expected

    def test_loop_of_the_tests_own(self) -> None:
        """Here sync work goes to the shared thread, where the transaction is not; and so it does without the option."""
        assert asyncio.run(self.thread()) == shared()

    async def thread(self) -> int:
        async with RouteClient(Isolated) as client:
            return await thread_of(client)


class InTransactionTestCase(TransactionTestCase):
    """A thread that waits for the loop goes on to do its sync work, since an async test relies on that."""

    async def test_async_client(self) -> None:
        await Group.objects.acreate(name="a")
        expected = [await sync_to_async(threading.get_ident)(), ["a"]]
        for consumer, name in CASES:
            async with RouteClient(consumer) as client:
                assert (await client.call(name)).payload == expected


@pytest.mark.django_db
async def test_off_where_a_fixture_holds_the_transaction_of_a_test_case() -> None:
    async with RouteClient(Isolated) as client:
        assert await thread_of(client) == shared()


@pytest.mark.django_db(transaction=True)
async def test_on_in_a_test_without_a_transaction() -> None:
    async with RouteClient(Isolated) as client:
        assert await thread_of(client) != shared()


@pytest.mark.django_db(databases=["default", "files"])
async def test_where_isolation_is_off_a_socket_looks_after_the_shared_thread(shared_connection: Any) -> None:
    async with RouteClient(Isolated) as client:
        shared_connection.close_at = 0.0
        assert (await client.call("echo", 1)).payload == 1
        shared()
        assert shared_connection.connection is None
