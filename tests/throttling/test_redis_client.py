"""The pipelined Redis client: replies, broken connections, timeouts and reconnects."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ResponseError

from routesock._store import redis
from routesock._store.opening import StoreError
from routesock._store.redis import PipelinedClient, RedisServers
from routesock.throttling.redis import RedisStore
from tests.servers import HOST
from tests.takeover.driver import turns, until
from tests.throttling.model import window

Behaviour = Callable[["FakeRedis", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class FakeRedis:
    """A server that answers the handshake of redis-py, and then behaves as the test wants."""

    def __init__(self, behaves: Behaviour) -> None:
        self.behaves = behaves
        self.connections = 0
        self.asked: list[list[bytes]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.behaves(self, reader, writer)
        except (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[bytes]:
        """Read the next command other than ``CLIENT``."""
        while True:
            count = int((await reader.readuntil(b"\r\n"))[1:])
            words = []
            for _ in range(count):
                size = int((await reader.readuntil(b"\r\n"))[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            if words[0] != b"CLIENT":
                self.asked.append(words)
                return words
            writer.write(b"+OK\r\n")


@asynccontextmanager
async def fake(behaves: Behaviour) -> AsyncIterator[tuple[FakeRedis, PipelinedClient]]:
    redis = FakeRedis(behaves)
    async with await asyncio.start_server(redis.serve, HOST, 0) as server:
        redis.port = server.sockets[0].getsockname()[1]

        async def open() -> Connection:
            connection = Connection(
                host=HOST,
                port=redis.port,
                protocol=2,
                socket_timeout=None,
                socket_connect_timeout=None,
                retry=Retry(NoBackoff(), 0),
            )
            await connection.connect()
            return connection

        client = PipelinedClient(open)
        yield redis, client
        client.disconnect()
        await asyncio.sleep(0.01)  # for the server to see it


async def echo(redis: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        words = await redis.command(reader, writer)
        writer.write(b"$%d\r\n%b\r\n" % (len(words[-1]), words[-1]))


async def silent(redis: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await redis.command(reader, writer)


async def leaving(redis: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await redis.command(reader, writer)


async def babbling(redis: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await redis.command(reader, writer)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()


async def talkative(redis: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await redis.command(reader, writer)
    writer.write(b":1\r\n:2\r\n")
    await reader.read()


class Recorded:
    """A connection of redis-py that records what is sent in one go, and reads the replies of the test."""

    def __init__(self) -> None:
        self.is_connected = True
        self.fails = False
        self.sent: list[str] = []
        self.replies: asyncio.Queue[Any] = asyncio.Queue()

    async def client(self) -> PipelinedClient:
        """Return a client that is connected."""

        async def open() -> Any:
            return self

        client = PipelinedClient(open)
        await self.alone(client)
        return client

    async def alone(self, client: PipelinedClient) -> None:
        """Send one command and answer it."""
        self.sent.clear()
        call = asyncio.create_task(client.execute("ECHO", "alone"))
        await until(lambda: self.sent)
        self.replies.put_nowait(b"alone")
        assert await call == b"alone"
        assert self.sent == ["ECHO alone"]
        self.sent.clear()

    def pack_command(self, *command: Any) -> list[bytes]:
        return [" ".join(map(str, command)).encode(), b";"]

    async def send_command(self, *command: Any, check_health: bool) -> None:
        self.sent.append(" ".join(map(str, command)))

    async def send_packed_command(self, commands: bytes, check_health: bool) -> None:
        if self.fails:
            raise ConnectionError("reset")
        self.sent.append(commands.decode())

    async def read_response(self) -> Any:
        reply = await self.replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def disconnect(self, nowait: bool) -> None:
        self.is_connected = False


class TestManyCalls:
    async def test_commands_of_one_turn_are_sent_together(self) -> None:
        """The first of them at once, so that one alone does not wait. All are in order."""
        connection = Recorded()
        client = await connection.client()
        for _ in range(2):
            calls = [asyncio.create_task(client.execute("ECHO", number)) for number in range(4)]
            await asyncio.sleep(0)
            assert connection.sent == ["ECHO 0"]
            calls.append(asyncio.create_task(client.execute("ECHO", 4)))  # in the next turn, behind them
            await turns(5)
            assert connection.sent == ["ECHO 0", "ECHO 1;ECHO 2;ECHO 3;ECHO 4;"]
            for number in range(5):
                connection.replies.put_nowait(number)
            assert await asyncio.gather(*calls) == [*range(5)]
            connection.sent.clear()
        await connection.alone(client)
        client.disconnect()

    async def test_slow_server_has_a_bounded_queue(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Commands beyond the bound are sent when replies come, also to commands whose callers have given up."""
        monkeypatch.setattr(redis, "MAX_UNANSWERED", 4)
        answering = asyncio.Event()

        async def slow(server: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                words = await server.command(reader, writer)
                if len(server.asked) == 4:
                    await answering.wait()
                writer.write(b"$%d\r\n%b\r\n" % (len(words[-1]), words[-1]))

        async with fake(slow) as (server, client):
            assert await client.execute("ECHO", "first") == b"first"
            calls = [asyncio.create_task(client.execute("ECHO", number)) for number in range(1_000)]
            await until(lambda: len(server.asked) == 4)
            for call in calls[:990]:
                call.cancel()
            answering.set()
            assert await asyncio.gather(*calls[990:]) == [b"%d" % number for number in range(990, 1_000)]
        assert len(server.asked) <= 4 + 4 + 10  # what was answered, what was on its way, and those that still wait

    async def test_calls_that_wait_when_the_connection_breaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They fail, as those that were sent."""
        monkeypatch.setattr(redis, "MAX_UNANSWERED", 4)
        async with fake(leaving) as (_, client):
            calls = await asyncio.gather(*(client.execute("ECHO", n) for n in range(50)), return_exceptions=True)
        assert {type(call) for call in calls} == {ConnectionError}


class TestReplies:
    async def test_each_command_gets_its_own_reply(self) -> None:
        """All commands are pipelined over one connection."""
        async with fake(echo) as (redis, client):
            answers = await asyncio.gather(*(client.execute("ECHO", number) for number in range(100)))
        assert answers == [b"%d" % number for number in range(100)]
        assert redis.connections == 1

    async def test_cancelled_command_does_not_affect_others(self) -> None:
        """Its reply is read and discarded."""
        async with fake(echo) as (redis, client):
            tasks = [asyncio.create_task(client.execute("ECHO", number)) for number in range(10)]
            await asyncio.sleep(0)
            tasks[0].cancel()  # which had the connection opened
            tasks[5].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [answers[number] for number in (1, 4, 6, 9)] == [b"1", b"4", b"6", b"9"]
            assert await client.execute("ECHO", "later") == b"later"
        assert redis.connections == 1

    async def test_error_reply_fails_one_command_only(self) -> None:
        """The connection stays open."""

        async def sometimes(redis: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                words = await redis.command(reader, writer)
                writer.write(b"-ERR no\r\n" if words[-1] == b"bad" else b"+yes\r\n")

        async with fake(sometimes) as (redis, client):
            answers = await asyncio.gather(*map(client.execute, ("good", "bad", "good")), return_exceptions=True)
        assert [answers[0], answers[2]] == [b"yes", b"yes"]
        assert isinstance(answers[1], ResponseError)
        assert redis.connections == 1


class TestFailures:
    @pytest.mark.parametrize("behaves", [leaving, babbling])
    async def test_connection_that_breaks_is_replaced(self, behaves: Behaviour) -> None:
        """All pending commands fail, and the next command opens a new connection."""
        async with fake(behaves) as (redis, client):
            first = await asyncio.gather(client.execute("a"), client.execute("b"), return_exceptions=True)
            assert all(isinstance(answer, Exception) for answer in first)
            redis.behaves = echo
            assert await client.execute("ECHO", "again") == b"again"
        assert redis.connections == 2

    @pytest.mark.parametrize(
        "reply",
        [
            "READONLY You can't write against a read only replica.",
            "ERR Error running script (call to f_0): @user_script:1: -READONLY You can't write. ",
        ],
        ids=["command", "script before Redis 7"],
    )
    async def test_server_that_has_become_a_replica(self, reply: str) -> None:
        """The next command opens a new connection, which may reach the primary."""

        async def demoted(redis: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await redis.command(reader, writer)
            writer.write(f"-{reply}\r\n".encode())
            await reader.read()

        async with fake(demoted) as (redis, client):
            with pytest.raises(ResponseError, match=r"READONLY|read only"):
                await client.execute("SET", "a", "b")
            redis.behaves = echo
            assert await client.execute("ECHO", "again") == b"again"
        assert redis.connections == 2

    async def test_unexpected_reply_closes_the_connection(self) -> None:
        """It would otherwise be taken as the reply to the next command."""
        async with fake(talkative) as (redis, client):
            assert await client.execute("a") == 1
            await asyncio.sleep(0.05)
            redis.behaves = echo
            assert await client.execute("ECHO", "own") == b"own"
        assert redis.connections == 2

    async def test_disconnected_connection_is_not_used_again(self) -> None:
        """Pending commands fail at once."""
        async with fake(silent) as (redis, client):
            waiting = asyncio.create_task(client.execute("a"))
            await until(lambda: bool(redis.asked))
            client.disconnect()
            with pytest.raises(ConnectionError):
                await waiting
            redis.behaves = echo
            assert await client.execute("ECHO", "again") == b"again"

    async def test_failure_to_connect_fails_all_waiting_commands(self) -> None:
        """The next command tries again; there are no attempts in the background."""
        tries = 0

        async def refuse() -> Connection:
            nonlocal tries
            tries += 1
            await asyncio.sleep(0)
            raise ConnectionError("refused")

        client = PipelinedClient(refuse)
        answers = await asyncio.gather(client.execute("a"), client.execute("b"), return_exceptions=True)
        assert [str(answer) for answer in answers] == ["refused"] * 2
        assert tries == 1
        with pytest.raises(ConnectionError):
            await client.execute("c")
        assert tries == 2

    async def test_failure_to_connect_after_cancellation_is_not_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """asyncio would log an exception that was never retrieved."""

        async def refuse() -> Connection:
            await asyncio.sleep(0.01)
            raise ConnectionError("refused")

        task = asyncio.create_task(PipelinedClient(refuse).execute("a"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.05)
        assert caplog.records == []

    async def test_command_that_cannot_be_sent_leaves_no_pending_reply(self, caplog: pytest.LogCaptureFixture) -> None:
        """asyncio would log the exception of a future that nothing awaits."""

        class Broken:
            is_connected = True

            def __init__(self) -> None:
                self.gone = asyncio.Event()

            async def send_command(self, *command: Any, check_health: bool) -> None:
                self.gone.set()
                raise ConnectionError("reset")

            async def read_response(self) -> Any:
                await self.gone.wait()
                raise ConnectionError("reset")

            async def disconnect(self, nowait: bool) -> None:
                self.is_connected = False

        async def open() -> Any:
            return Broken()

        with pytest.raises(ConnectionError):
            await PipelinedClient(open).execute("a")
        await asyncio.sleep(0.01)
        gc.collect()
        assert caplog.records == []

    async def test_connection_that_breaks_before_the_rest_of_a_turn_is_sent(self) -> None:
        """Nothing is sent over a connection that redis-py would make anew, whose replies nothing reads."""
        connection = Recorded()
        client = await connection.client()
        calls = [asyncio.create_task(client.execute("ECHO", number)) for number in range(3)]
        await asyncio.sleep(0)
        connection.is_connected = False
        connection.replies.put_nowait(ConnectionError("reset"))
        assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} == {ConnectionError}
        assert connection.sent == ["ECHO 0"]

    async def test_rest_of_a_turn_that_cannot_be_sent(self) -> None:
        """All commands that wait fail, and the connection is closed."""
        connection = Recorded()
        client = await connection.client()
        connection.fails = True
        calls = (client.execute("ECHO", number) for number in range(3))
        assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} == {ConnectionError}
        assert not connection.is_connected

    async def test_connecting_has_its_own_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is longer than the timeout of a call."""
        monkeypatch.setattr(redis, "CONNECT_TIMEOUT", 0.01)
        with pytest.raises(TimeoutError):
            await PipelinedClient(asyncio.Event().wait).execute("a")  # type: ignore[arg-type]


class TestStore:
    """How the Redis store uses its client."""

    def store(self, client: PipelinedClient) -> RedisStore:
        return RedisStore(RedisServers("shop", {"": client}, lambda key: ""))

    @pytest.fixture
    def buckets(self) -> list[Any]:
        return [(window(5), "a", 1)]

    async def test_failed_command_is_retried_once(self, buckets: list[Any]) -> None:
        """The connection may have been idle while the server restarted; redis-py itself would try ten times."""
        async with fake(leaving) as (redis, client):
            with pytest.raises(StoreError, match="ConnectionError"):
                await self.store(client).take(buckets, 5, quotas=False)
        assert (redis.connections, len(redis.asked)) == (2, 2)

    async def test_silent_connection_is_closed(self, buckets: list[Any]) -> None:
        """The server may no longer know the connection."""
        async with fake(silent) as (redis, client):
            with pytest.raises(StoreError, match=r"0\.05 s"):
                await self.store(client).take(buckets, 0.05, quotas=False)
            redis.behaves = echo
            assert await client.execute("ECHO", "again") == b"again"
        assert redis.connections == 2

    async def test_slow_connection_is_kept(self, buckets: list[Any]) -> None:
        """A late reply does not close a connection that has received other replies since."""
        hold = asyncio.Event()

        async def slow(redis: FakeRedis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                words = await redis.command(reader, writer)
                if words[0] != b"ECHO":
                    await hold.wait()
                writer.write(b"+yes\r\n")

        async with fake(slow) as (redis, client):
            first = asyncio.create_task(client.execute("ECHO"))
            late = asyncio.create_task(self.store(client).take(buckets, 0.2, quotas=False))
            assert await first == b"yes"
            with pytest.raises(StoreError):
                await late
            following = asyncio.create_task(client.execute("ECHO", "next"))
            hold.set()
            assert await following == b"yes"
        assert redis.connections == 1
