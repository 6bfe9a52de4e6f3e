"""The test client reads streams, of consumers that write the frames by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import Keys, Request
from routesock.dialects import Incoming
from routesock.testing import ClientReply, ConnectionClosed, NoReply, RouteClient
from tests.clock import simulated


class Broken(Exception):
    pass


class Streaming(AsyncJsonWebsocketConsumer):
    """Streams as routesock would; ``scope["seen"]`` gets what it is asked."""

    async def connect(self) -> None:
        self.streams: dict[Any, asyncio.Task[None]] = {}
        await self.accept()

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        route, id, payload = content["route"], content.get("uuid"), content.get("payload")
        self.scope.get("seen", []).append((route, id, payload, content.get("headers")))
        match route:
            case "count":
                for number in range(payload):
                    await self.answer(id, 206, number)
                await self.answer(id, 200, None)
            case "ticks":
                self.streams[id] = asyncio.create_task(self.ticks(id))
            case "deaf":
                await self.answer(id, 206, "first")
            case "end":
                await self.answer(payload, 206, "second")
                await self.answer(payload, 200, None)
            case "fail":
                await self.answer(id, 206, "first")
                self.scope.get("routesock.on_error", lambda *args: None)(id, Broken("in the handler"))
                await self.answer(id, 500, {"code": "internal_error"})
            case "close":
                await self.answer(id, 206, "first")
                await self.close(4403)
            case "die":
                await self.answer(id, 206, "first")
                raise Broken("in the application")
            case "refused":
                await self.answer(id, 422, {"code": "invalid"})
            case "CANCEL":
                if (stream := self.streams.pop(id, None)) is not None:
                    stream.cancel()
            case "news":
                await self.send_json({"route": "news", "payload": payload})
            case _:
                await self.answer(id, 200, payload)

    async def ticks(self, id: Any) -> None:
        number = 0
        try:
            while True:
                await self.answer(id, 206, number)
                number += 1
                await asyncio.sleep(0.001)
        finally:
            await asyncio.sleep(0)
            await self.answer(id, 499, {"code": "cancelled"})

    async def answer(self, id: Any, status: int, payload: Any) -> None:
        await self.send_json({"uuid": id, "route": "r", "status": status, "payload": payload})

    async def disconnect(self, code: int) -> None:
        for stream in self.streams.values():
            stream.cancel()
        await asyncio.gather(*self.streams.values(), return_exceptions=True)


async def first_of(replies: AsyncIterator[ClientReply]) -> Any:
    async for reply in replies:
        return reply.payload
    return None


async def last_of(replies: AsyncIterator[ClientReply]) -> ClientReply:
    return [reply async for reply in replies][-1]


async def failing(replies: AsyncIterator[ClientReply]) -> None:
    async for _ in replies:
        raise KeyError


def failing_blocking(replies: Iterator[ClientReply]) -> None:
    for _ in replies:
        raise KeyError


async def nothing_is_left(client: RouteClient) -> None:
    """Neither after the application has done all that it was asked to do."""
    await client.call("echo")
    await client.settle()
    with pytest.raises(NoReply, match="Nothing else arrived"):
        await client.expect_reply("never", timeout=0)


async def test_a_stream_gives_each_frame_and_its_end_last() -> None:
    """Items have the status 206; the last reply is the one that ends them."""
    async with RouteClient(Streaming) as client:
        replies = [reply async for reply in client.stream("count", 3, id="mine")]

    assert replies[:-1] == [ClientReply(206, number, {}, "r", "mine") for number in range(3)]
    assert replies[-1] == ClientReply(200, None, {}, "r", "mine")


async def test_a_stream_begins_when_its_first_frame_is_asked_for() -> None:
    """Then the request is sent with payload, headers and id, which is made up unless it is given."""
    seen: list[Any] = []
    async with RouteClient(Streaming, scope={"seen": seen}) as client:
        closed = client.stream("count", 3)
        await closed.aclose()
        assert [reply async for reply in closed] == []
        stream = client.stream("count", 1, headers={"X-A": "1"}, id=7)
        await client.call("echo")
        assert (await anext(stream)).payload == 0
        assert [reply.status async for reply in stream] == [200]
        assert [reply.status async for reply in stream] == []
        assert [reply.status async for reply in client.stream("count", 0)] == [200]

    assert seen[1:] == [("count", 7, 1, {"X-A": "1"}), ("count", "call-3", 0, None)]


async def test_a_reply_without_items_is_a_stream_too() -> None:
    """Of a request that was refused, and of a route that does not stream."""
    async with RouteClient(Streaming) as client:
        assert [reply.status async for reply in client.stream("refused")] == [422]
        assert [reply.payload async for reply in client.stream("echo", 1)] == [1]


async def test_streams_take_nothing_but_their_own() -> None:
    """Two streams at once, with calls, pushes and frames that are read as they are among them."""
    async with (
        RouteClient(Streaming) as client,
        aclosing(client.stream("ticks")) as one,
        aclosing(client.stream("ticks")) as two,
    ):
        for number in range(3):
            assert (await anext(one)).payload == number
            assert (await client.call("echo", number)).payload == number
            assert (await anext(two)).payload == number
        await client.send("news", 1)
        await client.send("news", 2)
        assert (await client.expect_push("news")).payload == 1
        assert await client.receive() == {"route": "news", "payload": 2}


async def test_a_second_reader_of_an_id_is_refused() -> None:
    """As with two calls: they could not distinguish their frames."""
    async with RouteClient(Streaming) as client:
        stream = client.stream("ticks", id=1)
        await anext(stream)
        with pytest.raises(ValueError, match="id 1"):
            await client.call("echo", id=1)
        with pytest.raises(ValueError, match="id 1"):
            await anext(client.stream("ticks", id=1))
        await stream.aclose()
        assert (await client.call("echo", id=1)).ok


async def test_a_call_returns_the_end_of_a_stream() -> None:
    """Who does not ask for the items gets the reply that ends them, and nothing is left of them."""
    async with RouteClient(Streaming) as client:
        assert await client.call("count", 3, id=1) == ClientReply(200, None, {}, "r", 1)
        await client.send("count", 3, id=2)
        assert (await client.expect_reply(2)).status == 200
        await client.send("ticks", id=3)
        await client.cancel(3)
        assert (await client.expect_reply(3)).status == 499
        await nothing_is_left(client)


@simulated
async def test_a_stream_without_an_end_is_no_reply() -> None:
    """The items are in the message, and still there to be read."""
    async with RouteClient(Streaming) as client:
        with pytest.raises(NoReply, match=r"(?s)No reply to 'deaf'.*'status': 206, 'payload': 'first'"):
            await client.call("deaf", timeout=0.05)
        assert (await client.receive())["payload"] == "first"


async def test_replies_to_one_id_are_all_seen() -> None:
    """A second final reply is not swallowed with the items."""
    async with RouteClient(Streaming) as client:
        await client.send("count", 1, id="twice")
        await client.send("count", 1, id="twice")
        assert (await client.expect_reply("twice")).ok
        assert (await client.expect_reply("twice")).ok


@simulated
async def test_each_wait_of_a_stream_has_its_time() -> None:
    """A time-out says what was waited for, and the stream can be read on."""
    async with RouteClient(Streaming) as client:
        stream = client.stream("deaf", id="d", timeout=0.05)
        assert (await anext(stream)).payload == "first"
        with pytest.raises(NoReply, match=r"No further frame of 'deaf' \(id 'd'\) within 0\.05 s\. Nothing else"):
            await anext(stream)
        await client.send("end", "d")
        assert [reply.status async for reply in stream] == [206, 200]


async def test_a_failed_handler_is_raised_behind_the_items() -> None:
    """In the place of its 500, after what it had sent before; the stream is over then."""
    async with RouteClient(Streaming) as client:
        stream = client.stream("fail")
        assert (await anext(stream)).payload == "first"
        with pytest.raises(Broken, match="in the handler"):
            await anext(stream)
        assert [reply async for reply in stream] == []
        with pytest.raises(Broken, match="in the handler"):
            await client.call("fail")
        await nothing_is_left(client)

    async with RouteClient(Streaming, raise_exceptions=False) as client:
        assert [reply.status async for reply in client.stream("fail")] == [206, 500]


async def test_a_failure_that_no_call_has_caused_is_raised_by_the_first_frame() -> None:
    """Such a request is not sent, and its id is free again."""
    seen: list[Any] = []
    async with RouteClient(Streaming, scope={"seen": seen}) as client:
        await client.send("fail")
        await client.call("echo")
        with pytest.raises(Broken):
            await anext(client.stream("count", 1, id=1))
        assert [name for name, *_ in seen] == ["fail", "echo"]
        assert (await client.call("echo", id=1)).ok


@pytest.mark.parametrize(("route", "error"), [("close", ConnectionClosed), ("die", Broken)])
async def test_the_end_of_the_socket_ends_a_stream(route: str, error: type[Exception]) -> None:
    """With what ended it, behind the items; leaving it then raises the application's own exception only."""
    async with RouteClient(Streaming, timeout=60) as client:
        stream = client.stream(route)
        assert (await anext(stream)).payload == "first"
        with pytest.raises(error):
            await anext(stream)
        if error is ConnectionClosed:
            await stream.aclose()
            assert [reply async for reply in stream] == []


async def test_a_break_cancels_the_request() -> None:
    """At once, so in front of the next request; what still comes is dropped."""
    seen: list[Any] = []
    async with RouteClient(Streaming, scope={"seen": seen}) as client:
        async for reply in client.stream("ticks", id="t"):
            if reply.payload == 2:
                break
        with pytest.raises(ValueError, match="'t' was left"):
            await client.call("echo", id="t")
        await nothing_is_left(client)
        assert (await client.call("echo", id="t")).ok

    assert [(name, id) for name, id, *_ in seen] == [("ticks", "t"), ("CANCEL", "t"), ("echo", "call-1"), ("echo", "t")]


async def test_a_failure_in_the_loop_leaves_the_stream() -> None:
    """The test's own exception comes out, and the next call finds nothing of the stream."""
    seen: list[Any] = []
    async with RouteClient(Streaming, scope={"seen": seen}) as client:
        with pytest.raises(KeyError):
            await failing(client.stream("ticks", id="t"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(last_of(client.stream("deaf", id="d", timeout=60)), 0.01)
        await client.send("end", "d")
        await nothing_is_left(client)
    assert {("CANCEL", "t"), ("CANCEL", "d")} <= {(name, id) for name, id, *_ in seen}


async def test_closing_a_stream_waits_for_its_end() -> None:
    """``aclose`` sends a CANCEL, and returns when the reply to it has come; nothing more comes of the stream."""
    seen: list[Any] = []
    async with RouteClient(Streaming, scope={"seen": seen}) as client:
        async with aclosing(client.stream("ticks", id="t")) as stream:
            await anext(stream)
        assert (await client.call("echo", id="t")).ok
        assert [reply async for reply in stream] == []
        await stream.aclose()
        await nothing_is_left(client)
    assert [name for name, *_ in seen] == ["ticks", "CANCEL", "echo", "echo"]


async def test_a_stream_that_has_ended_is_not_cancelled() -> None:
    """Neither where the end was read, nor where it only has arrived."""
    seen: list[Any] = []
    async with RouteClient(Streaming, scope={"seen": seen}) as client:
        async with aclosing(client.stream("count", 1)) as stream:
            assert [reply.status async for reply in stream] == [206, 200]
        assert await first_of(client.stream("count", 2)) == 0
        async with aclosing(client.stream("count", 2)) as stream:
            await anext(stream)
        await nothing_is_left(client)
    assert [name for name, *_ in seen] == [*["count"] * 3, "echo"]


@simulated
async def test_closing_a_stream_that_does_not_end_says_so() -> None:
    """What comes after that is dropped nevertheless."""
    async with RouteClient(Streaming) as client:
        stream = client.stream("deaf", id="d", timeout=0.05)
        await anext(stream)
        with pytest.raises(NoReply, match=r"No end of 'deaf' \(id 'd'\)"):
            await stream.aclose()
        await client.send("end", "d")
        await nothing_is_left(client)


async def test_a_handler_that_fails_while_it_is_left_is_raised() -> None:
    """By ``aclose``; after a ``break`` by the next call."""
    async with RouteClient(Streaming) as client:
        stream = client.stream("fail")
        await anext(stream)
        with pytest.raises(Broken):
            await stream.aclose()
        assert await first_of(client.stream("fail")) == "first"
        with pytest.raises(Broken):
            await client.call("echo")


async def test_a_stream_is_not_left_from_another_thread() -> None:
    """The application is written to in the thread of its loop only, wherever the last reference goes."""
    seen: list[Any] = []
    async with RouteClient(Streaming, scope={"seen": seen}) as client:
        held = [client.stream("deaf")]
        await anext(held[0])
        await asyncio.to_thread(held.clear)
        await client.call("echo")
    assert [name for name, *_ in seen] == ["deaf", "echo"]


async def test_a_stream_belongs_to_its_connection() -> None:
    """After the disconnect it brings nothing, and leaving it sends nothing to the next one."""
    seen: list[Any] = []
    client = RouteClient(Streaming, scope={"seen": seen})
    with pytest.raises(RuntimeError, match="not connected"):
        client.stream("ticks")
    async with client:
        stream = client.stream("deaf")
        await anext(stream)
    async with client:
        with pytest.raises(ConnectionClosed):
            await anext(stream)
        await stream.aclose()
        assert (await client.call("echo")).ok
    assert [name for name, *_ in seen] == ["deaf", "echo"]


class Wrapped(Keys):
    """Its status stands one level deeper."""

    def reply(self, *parts: Any) -> dict[str, Any]:
        return {"answer": super().reply(*parts)}

    def incoming(self, value: dict[str, Any]) -> Incoming | None:
        return super().incoming(value["answer"])


class Spelt(Streaming):
    """Streams in the dialect of its class."""

    route_dialect: Keys

    async def answer(self, id: Any, status: int, payload: Any) -> None:
        await self.send_json(self.route_dialect.reply(Request("r", id), status, payload, {}))


async def test_any_dialect_with_a_status_has_streams() -> None:
    """However it spells them."""

    class Deep(Spelt):
        route_dialect = Wrapped()

    async with RouteClient(Deep) as client:
        assert [reply.status async for reply in client.stream("count", 2)] == [206, 206, 200]
        assert (await client.call("count", 2)).status == 200


class Statusless(Spelt):
    route_dialect = Keys(status=None)


async def test_a_dialect_without_a_status_has_no_streams() -> None:
    """An item looks like the end there: ``stream`` says so before anything is sent, and a call takes the first."""
    seen: list[Any] = []
    async with RouteClient(Statusless, scope={"seen": seen}) as client:
        with pytest.raises(ValueError, match=r"Keys\(.*status=None.*\) has no status.* Use send\(\)"):
            client.stream("count", 2)
        assert not seen
        assert (await client.call("count", 1, id=1)).payload == 0
        assert (await client.expect_reply(1)).payload is None


# The blocking client


def test_a_blocking_stream_is_a_generator() -> None:
    """It gives what the other one gives."""
    with RouteClient(Streaming) as client:
        assert [reply.status for reply in client.stream("count", 2)] == [206, 206, 200]
        assert client.call("count", 2, id=1) == ClientReply(200, None, {}, "r", 1)
        stream = client.stream("deaf", id="d")
        assert next(stream).payload == "first"
        client.send("end", "d")
        assert [reply.payload for reply in stream] == ["second", None]


def test_a_dialect_without_a_status_has_no_blocking_streams() -> None:
    """``stream`` says so, not the first frame."""
    with RouteClient(Statusless) as client, pytest.raises(ValueError, match="has no status"):
        client.stream("count", 2)


def test_a_blocking_stream_is_left_at_once() -> None:
    """By a ``break`` and by ``close``: the request is cancelled, and the application has run on when they return."""
    seen: list[Any] = []
    with RouteClient(Streaming, scope={"seen": seen}) as client:
        for reply in client.stream("ticks", id="t"):
            if reply.payload == 2:
                break
        assert seen[1:] == [("CANCEL", "t", None, None)]
        with closing(client.stream("ticks", id="t")) as stream:
            next(stream)
        assert client.call("echo", id="t").ok
        client.stream("ticks").close()
        with pytest.raises(KeyError):
            failing_blocking(client.stream("ticks"))
        with pytest.raises(NoReply, match="Nothing else arrived"):
            client.expect_reply("never", timeout=0)
    assert [name for name, *_ in seen] == ["ticks", "CANCEL", "ticks", "CANCEL", "echo", "ticks", "CANCEL"]


def test_a_timeout_leaves_a_blocking_stream() -> None:
    """An exception ends a generator, so the request is cancelled."""
    seen: list[Any] = []
    with RouteClient(Streaming, scope={"seen": seen}) as client:
        stream = client.stream("deaf", id="d", timeout=0.05)
        next(stream)
        with pytest.raises(NoReply, match="No further frame of 'deaf'"):
            next(stream)
        assert list(stream) == []
        client.send("end", "d")
        with pytest.raises(NoReply, match="Nothing else arrived"):
            client.expect_reply("never", timeout=0)
    assert [name for name, *_ in seen] == ["deaf", "CANCEL", "end"]


def test_a_failed_handler_is_raised_by_a_blocking_stream() -> None:
    """Behind the items, in the place of its 500; after a ``break`` by the next call."""
    with RouteClient(Streaming) as client:
        stream = client.stream("fail")
        assert next(stream).payload == "first"
        with pytest.raises(Broken):
            next(stream)
        for _ in client.stream("fail"):
            break
        with pytest.raises(Broken):
            client.call("echo")


def test_a_blocking_stream_ends_with_its_client() -> None:
    """What is left of it after the block can be let go, and brings nothing."""
    with RouteClient(Streaming) as client:
        left, read = client.stream("ticks"), client.stream("ticks")
        assert next(left).payload == next(read).payload == 0
    left.close()
    with pytest.raises(RuntimeError, match="not connected"):
        next(read)
