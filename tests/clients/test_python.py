"""The Python client against real servers: the same scenarios as ``node/scenarios.mjs``."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from routesock.client import Client, ConnectionLost, Push, RouteError, Snapshot, State
from tests.servers import ASGI_SERVERS, Server, pytest_runtest_makereport, run_server

__all__ = ["pytest_runtest_makereport"]

pytestmark = [pytest.mark.servers, pytest.mark.asyncio]

WITHIN = 30.0
"""Seconds to wait for something. No scenario comes near it."""

UNIQUE = itertools.count(1)


@pytest.fixture(scope="module")
def runs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("python-client") / "runs"
    path.touch()
    return path


@pytest.fixture(scope="module", params=ASGI_SERVERS)
def running(request: pytest.FixtureRequest, runs_file: Path) -> Iterator[Server]:
    with run_server(request.param, "tests.clients.asgi:application", RUNS_FILE=str(runs_file)) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """Runs at the end of each test, too, whatever that has done to it."""
    yield running
    running.resume()
    if not running.runs:
        running.start()


class FasterClock:
    """A clock that is so many times faster."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.start = time.monotonic()

    def now(self) -> float:
        return (time.monotonic() - self.start) * self.factor

    def call_later(self, delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay / self.factor, callback)


Open = Callable[..., Client]


@pytest_asyncio.fixture
async def connect(server: Server) -> AsyncIterator[Open]:
    """Opens clients, and closes them behind the test."""
    async with contextlib.AsyncExitStack() as stack:

        def connect(path: str = "/ws/", **options: Any) -> Client:
            client = Client(server.socket_url(path), connect_options={"proxy": None}, **options)
            client.connect()
            stack.push_async_exit(client)
            return client

        yield connect


async def reached(client: Client, *states: str) -> State:
    """Returns when the client is in one of these states."""
    found: asyncio.Future[State] = asyncio.get_running_loop().create_future()

    def look(state: State, why: object = None) -> None:
        if state in states and not found.done():
            found.set_result(state)

    off = client.on_state(look)
    look(client.state)
    try:
        async with asyncio.timeout(WITHIN):
            return await found
    finally:
        off()


async def eventually(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN):
        while not (await result if asyncio.iscoroutine(result := check()) else result):  # noqa: ASYNC110  (files, too)
            await asyncio.sleep(0.02)


async def test_a_call_waits_for_the_connection(connect: Open) -> None:
    client = connect()
    assert client.state == "connecting"
    assert await client.call("echo", {"text": "é☃"}) == {"text": "é☃"}
    with pytest.raises(RouteError, match="400"):  # half a surrogate pair is sent, and refused
        await client.call("echo", "\ud800")


async def test_a_reply_has_status_and_headers(connect: Open) -> None:
    reply = await connect().request("add", {"a": 1, "b": 2})
    assert (reply.status, reply.payload, reply.headers) == (201, 3, {"Location": "sum"})


async def test_errors_have_their_problem(connect: Open) -> None:
    client = connect()
    with pytest.raises(RouteError) as invalid:
        await client.call("add", {"a": 1})
    assert (invalid.value.status, invalid.value.problem["code"]) == (422, "invalid")
    assert [*invalid.value.problem["errors"]] == ["b"]
    with pytest.raises(RouteError, match="404"):
        await client.call("no-such")
    with pytest.raises(RouteError) as throttled:
        await client.call("throttled")
    assert (throttled.value.status, throttled.value.retry_after) == (429, 3)
    with pytest.raises(RouteError, match="413"):
        await client.call("echo", "x" * 70_000)


async def test_a_notification_runs_and_its_error_is_heard(connect: Open) -> None:
    errors: asyncio.Queue[RouteError] = asyncio.Queue()
    client = connect(on_error=errors.put_nowait)
    assert client.notify("add", {}) is False
    await client.wait_open()
    assert client.notify("add", {}) is True
    error = await errors.get()
    assert (error.route, error.status) == ("add", 422)


async def test_a_stream_gives_its_items_and_its_error(connect: Open) -> None:
    client = connect()
    assert [item async for item in client.stream("count", 5)] == [0, 1, 2, 3, 4]
    fails = client.stream("fails")
    assert await anext(fails) == 0
    with pytest.raises(RouteError, match="403"):
        await anext(fails)


async def test_leaving_a_stream_cancels_it_on_the_server(connect: Open) -> None:
    client = connect()
    token = f"break {next(UNIQUE)}"
    async with client.stream("ticks", token) as ticks:
        async for item in ticks:
            if item == 3:
                break

    async def cancelled() -> bool:
        return token in await client.call("cancelled")

    await eventually(cancelled)


async def test_cancelling_a_task_cancels_its_call_on_the_server(connect: Open) -> None:
    client = connect()
    seconds = 1000 + next(UNIQUE)
    task = asyncio.create_task(client.call("wait", seconds))

    async def waits() -> bool:
        return seconds in await client.call("waiting")

    await eventually(waits)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def cancelled() -> bool:
        return seconds in await client.call("cancelled")

    await eventually(cancelled)


async def test_a_timeout_is_the_servers_too(connect: Open) -> None:
    client = connect()
    assert await client.call("headers", timeout=5) == {"Request-Timeout": 5}
    # The server's 504 and the client's timer are due at the same time.
    with pytest.raises((TimeoutError, RouteError)) as late:
        await client.call("wait", 60, timeout=0.1)
    assert isinstance(late.value, TimeoutError) or late.value.status == 504


async def test_a_topic_gives_its_snapshot_and_its_pushes_until_the_server_ends_it(connect: Open) -> None:
    client = connect()
    topic = f"room.{next(UNIQUE)}"
    async with client.subscribe(topic) as room:
        assert room.snapshot == {"room": topic}
        await client.call("say", {"room": topic, "text": "Hello"})
        push = await anext(room)
        assert (push.payload, push.headers) == ("Hello", {"Topic": topic})
        await client.call("close.room", topic)
        await client.call("say", {"room": topic, "text": "Hello"})
        assert [item async for item in room] == []
        assert room.ended is not None
        assert room.ended["code"] == "not_authenticated"
    with pytest.raises(RouteError, match="SUBSCRIBE: 401"):
        async with client.subscribe(topic):
            pass


async def test_a_close_with_a_verdict_is_final(connect: Open) -> None:
    client = connect()
    with pytest.raises(ConnectionLost) as lost:
        await client.call("close", {"with": 403})
    assert lost.value.sent
    assert await reached(client, "closed", "waiting") == "closed"
    assert client.why is not None
    assert (client.why.code, client.why.reconnect) == (4403, False)
    with pytest.raises(ConnectionLost) as unsent:
        await client.call("echo")
    assert not unsent.value.sent
    assert await client.connect().call("echo", 1) == 1


async def test_a_close_without_a_notice_is_not_final(connect: Open) -> None:
    client = connect()
    for code in (1000, 4000):
        with contextlib.suppress(ConnectionLost):
            await client.call("drop", {"with": code})
        await eventually(lambda code=code: client.why is not None and client.why.code == code)
        assert client.state != "closed"
        assert await client.call("echo", 1) == 1


async def test_a_path_that_is_not_served_is_tried_again(connect: Open) -> None:
    client = connect("/nowhere/")
    assert await reached(client, "closed", "waiting") == "waiting"
    assert client.why is not None
    assert client.why.cause is not None


async def test_a_wrong_token_is_replaced_once(connect: Open) -> None:
    refusals = []

    async def token(refused: bool) -> str:
        refusals.append(refused)
        return "carol" if refused else "wrong"

    assert await connect("/handshake/", token=token).call("me") == "carol"
    assert refusals == [False, True]
    assert await connect("/handshake/", token="carol").call("me") == "carol"
    for same in ("wrong", lambda refused: "wrong"):
        client = connect("/handshake/", token=same)
        assert await reached(client, "closed") == "closed"
        assert client.why is not None
        assert client.why.code == 4401


async def test_a_token_is_refreshed_before_it_ends(connect: Open) -> None:
    tokens: list[bool] = []

    def token(refused: bool) -> str:
        tokens.append(refused)
        return "carol-5"

    client = connect("/handshake/", token=token, clock=FasterClock(2.5))  # long before it ends for the server
    states: list[str] = []
    client.on_state(lambda state, why: states.append(state))
    await eventually(lambda: len(tokens) >= 3)
    assert await client.call("me") == "carol"
    assert states == ["authenticating", "open"]


async def test_a_token_as_a_subprotocol(connect: Open) -> None:
    assert await connect("/token/", auth="subprotocol", token="dave").call("me") == "dave"
    refused = connect("/token/", auth="subprotocol", token="wrong")
    assert await reached(refused, "closed") == "closed"


async def test_other_dialects(connect: Open) -> None:
    flat = connect("/flat/", keys={"route": "action", "id": "request_id", "payload": None})
    assert await flat.call("echo", {"text": "a"}) == {"text": "a"}
    topic = f"room.flat-{next(UNIQUE)}"
    async with flat.subscribe(topic) as room:
        assert room.snapshot == {"room": topic}
    without_ids = connect("/no-ids/", keys={"id": None})
    assert await asyncio.gather(*(without_ids.call("echo", n) for n in range(20))) == [*range(20)]
    with pytest.raises(RouteError) as camel:
        await connect("/camel/").call("throttled")
    assert camel.value.retry_after == 3


async def test_a_ping_of_the_server_is_answered(connect: Open) -> None:
    """The consumer closes a client that does not answer one within 2 s."""
    client = connect("/watched/")
    await client.wait_open()
    states: list[str] = []
    client.on_state(lambda state, why: states.append(state))
    await asyncio.sleep(3)
    assert await client.call("echo", 1) == 1
    assert states == []


async def test_a_server_that_hangs_is_found(connect: Open, server: Server) -> None:
    client = connect(clock=FasterClock(50))
    await client.call("echo")
    server.pause()
    with pytest.raises(ConnectionLost) as lost:
        await client.call("echo", timeout=None)
    assert lost.value.sent
    server.resume()
    assert await connect().call("echo", 1) == 1


async def test_1000_calls_at_once(connect: Open) -> None:
    parallel, ordered = connect(), connect()
    await asyncio.gather(parallel.wait_open(), ordered.wait_open())
    calls = [parallel.request("wait", 0.03) for _ in range(1_000)]
    others = [ordered.request("ordered", 0.03) for _ in range(200)]
    replies = await asyncio.gather(*calls, *others)
    assert [reply.status for reply in replies] == [200] * 1_200


async def test_a_restart_is_announced_and_survived(connect: Open, server: Server) -> None:
    client = connect()
    topic = f"room.restart-{next(UNIQUE)}"
    async with client.subscribe(topic) as room:
        lost = asyncio.create_task(reached(client, "waiting"))
        await asyncio.to_thread(server.stop)
        await lost
        assert client.why is not None
        # On a busy machine daphne may end before it has written the notice.
        assert client.why.code == 1006 or (client.why.code == 1012 and client.why.reconnect and client.why.retry_after)
        offline = asyncio.create_task(client.call("echo", "offline"))
        await asyncio.to_thread(server.start)
        assert await offline == "offline"
        assert await anext(room) == Snapshot(payload={"room": topic})


async def test_topics_with_a_history_miss_nothing_over_a_reconnect(connect: Open) -> None:
    client = connect(clock=FasterClock(0.001))  # connect() ends the wait, and no timer does
    other = connect()
    topic, second = f"log.{next(UNIQUE)}", f"log.{next(UNIQUE)}"
    async with asyncio.timeout(WITHIN), client.subscribe(topic) as log, client.subscribe(second) as others:
        assert (log.snapshot, others.snapshot) == ({"log": topic}, {"log": second})
        await client.call("say", {"room": topic, "text": "1"})
        items = [await anext(log)]
        lost = asyncio.create_task(reached(client, "waiting"))
        with contextlib.suppress(ConnectionLost):
            await client.call("drop", {"with": 1000})
        await lost
        for text in ("2", "3", "4"):
            await other.call("say", {"room": topic, "text": text})
            await other.call("say", {"room": second, "text": text})
        client.connect()
        await client.call("say", {"room": topic, "text": "5"})
        items += [await anext(log) for _ in range(4)]
        assert [(type(item), item.payload) for item in items] == [(Push, text) for text in "12345"]
        items = [await anext(others) for _ in range(3)]
        assert [(type(item), item.payload) for item in items] == [(Push, text) for text in "234"]


async def test_calls_in_flight_at_a_crash_settle_once_and_run_once(
    connect: Open, server: Server, runs_file: Path
) -> None:
    client = connect()
    await client.call("echo")
    prefix = f"crash-{next(UNIQUE)}-"
    numbers = itertools.count(1)
    outcomes: dict[str, Any] = {}

    async def record(name: str) -> None:
        try:
            outcome: Any = await client.call("record", name, timeout=60)
        except ConnectionLost as error:
            outcome = error.sent
        assert name not in outcomes, "settled twice"
        outcomes[name] = outcome

    def runs() -> list[str]:
        return [run for run in runs_file.read_text().split("\n") if run.startswith(prefix)]

    names = [f"{prefix}{next(numbers)}" for _ in range(20)]
    calls = [asyncio.create_task(record(name)) for name in names]
    await eventually(lambda first=names[0]: first in runs())
    server.kill()
    await reached(client, "waiting")
    queued = f"{prefix}{next(numbers)}"
    calls.append(asyncio.create_task(record(queued)))
    await asyncio.to_thread(server.start)
    client.connect()
    await asyncio.gather(*calls)
    assert outcomes[queued] == queued
    assert len(outcomes) == next(numbers) - 1, "never settled"
    assert len(set(runs())) == len(runs()), "something ran twice"
    for name, outcome in outcomes.items():
        assert outcome is True or (outcome == name and name in runs())


async def test_an_idempotent_call_survives_a_crash(connect: Open, server: Server) -> None:
    client = connect()
    call = asyncio.create_task(client.call("wait", 1, idempotent=True))
    await client.call("echo")
    server.kill()
    await asyncio.to_thread(server.start)
    assert await call == 1
