"""The test client together with routes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import Group, User
from django.test import TestCase

from routesock import Keys, Reply, Request, RouteMixin, route
from routesock.testing import ClientTimeout, RouteClient
from tests.clock import simulated


class Broken(Exception):
    pass


class Groups(RouteMixin, AsyncJsonWebsocketConsumer):
    groups = ("everyone",)
    event: asyncio.Event

    @route("names")
    def names(self, request: Request) -> list[str]:
        return list(Group.objects.order_by("name").values_list("name", flat=True))

    @route("create", status=201)
    async def create(self, request: Request) -> dict[str, Any]:
        group = await Group.objects.acreate(name=request.payload["name"])
        await self.channel_layer.group_send("everyone", {"type": "created", "name": group.name})
        return {"name": group.name}

    @route("whoami")
    async def whoami(self, request: Request) -> str:
        return str(request.user)

    @route("wait")
    async def wait(self, request: Request) -> Reply:
        Groups.event = asyncio.Event()
        await Groups.event.wait()
        return Reply("waited", headers={"x": "1"})

    @route("short", timeout=0.01)
    async def short(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("fail")
    async def fail(self, request: Request) -> None:
        raise Broken

    @route("unencodable")
    async def unencodable(self, request: Request) -> object:
        return object()

    async def created(self, event: dict[str, Any]) -> None:
        if event["name"] == "broken":
            raise Broken
        await self.send_json({"route": "created", "payload": {"name": event["name"]}})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        raise Broken


class Streams(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("names")
    def names(self, request: Request) -> Iterator[str]:
        yield from Group.objects.order_by("name").values_list("name", flat=True)

    @route("ticks")
    async def ticks(self, request: Request) -> AsyncIterator[int]:
        try:
            for number in itertools.count():
                yield number
        finally:
            self.scope["closed"].append(request.id)

    @route("fail")
    async def fail(self, request: Request) -> AsyncIterator[object]:
        yield 1
        raise Broken

    @route("unencodable")
    async def unencodable(self, request: Request) -> AsyncIterator[object]:
        yield 1
        yield object()

    @route("hang", timeout=0.01)
    async def hang(self, request: Request) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()


class SyncGroups(RouteMixin, JsonWebsocketConsumer):
    route_dialect = Keys(route="action", id="ref", payload=None, status=None)

    @route("create")
    def create(self, request: Request) -> dict[str, Any]:
        return {"created": Group.objects.create(name=request.payload["name"]).name}


class InTestCase(TestCase):
    """Routes inside the transaction of a ``TestCase``."""

    def test_a_sync_test(self) -> None:
        """Call, push and ORM in sync code."""
        user = User.objects.create_user("ada")
        with RouteClient(Groups, as_user=user) as client:
            reply = client.call("create", {"name": "a"})
            assert (reply.status, reply.payload, reply.route) == (201, {"name": "a"}, "create")
            assert client.expect_push("created", name="a").payload == {"name": "a"}
            assert client.call("names").payload == ["a"]
            assert client.call("whoami").payload == "ada"
            client.send("create", {"name": "b"})
            assert Group.objects.count() == 2

    def test_a_sync_consumer_with_a_dialect_of_its_own(self) -> None:
        """The client reads and writes the dialect of the class."""
        with RouteClient(SyncGroups) as client:
            assert client.call("create", {"name": "a"}).payload == {"created": "a"}
        assert Group.objects.get().name == "a"

    def test_two_sockets(self) -> None:
        """A push to a group reaches the other client."""
        with RouteClient(Groups) as one, RouteClient(Groups) as two:
            one.call("create", {"name": "a"})
            assert two.expect_push("created").payload == {"name": "a"}

    def test_a_stream_in_a_sync_test(self) -> None:
        """A sync generator reads what the transaction holds."""
        Group.objects.create(name="a")
        Group.objects.create(name="b")
        with RouteClient(Streams) as client:
            assert [reply.payload for reply in client.stream("names")] == ["a", "b", None]
            assert client.call("names").status == 200

    async def test_a_stream_in_an_async_test(self) -> None:
        """The same in async code."""
        await Group.objects.acreate(name="a")
        async with RouteClient(Streams) as client:
            assert [reply.status async for reply in client.stream("names")] == [206, 200]

    async def test_an_async_test(self) -> None:
        """The same in async code."""
        async with RouteClient(Groups) as client:
            assert (await client.call("create", {"name": "a"})).ok
            assert (await client.call("names")).payload == ["a"]
            await client.expect_push("created")
        assert await Group.objects.acount() == 1


def test_a_request_that_waits_goes_on_in_later_calls() -> None:
    """A request sent without waiting is answered in a later call; nothing runs between two calls."""
    with RouteClient(Groups) as client:
        client.send("wait", id="w")
        assert client.ping(1) == 1
        Groups.event.set()
        reply = client.expect_reply("w")
        assert (reply.payload, reply.headers) == ("waited", {"x": "1"})


def test_cancelled_and_late_requests() -> None:
    """A cancelled request is answered 499 and a late one 504."""
    with RouteClient(Groups) as client:
        client.send("wait", id="w")
        client.cancel("w")
        assert client.expect_reply("w").status == 499
        assert client.call("short").status == 504


async def test_a_failed_handler_is_raised_in_its_call() -> None:
    """The handler's own exception comes out of the call, and so does one of the encoder; the socket lives on."""
    async with RouteClient(Groups) as client:
        with pytest.raises(Broken):
            await client.call("fail")
        with pytest.raises(TypeError):
            await client.call("unencodable")
        assert (await client.call("whoami")).ok
        await client.refute_push()


@pytest.mark.django_db(transaction=True)
async def test_failures_that_no_call_caused_are_raised_next() -> None:
    """A notification, a foreign frame and a channel-layer handler fail in whatever is waited for next."""
    async with RouteClient(Groups, timeout=60) as client:
        await client.send("fail")
        with pytest.raises(Broken):
            await client.receive()
        assert (await client.receive())["status"] == 500
        await client.send_json({"foreign": True})
        with pytest.raises(Broken):
            await client.expect_push("created")
        await client.call("create", {"name": "broken"})
        with pytest.raises(Broken):
            await client.expect_push("created")


def test_a_blocking_send_raises_what_it_caused() -> None:
    """In sync code the notification itself raises."""
    with RouteClient(Groups) as client:
        with pytest.raises(Broken):
            client.send("fail")
        with pytest.raises(Broken):
            client.send_json({"foreign": True})
        assert client.receive()["status"] == 500


async def test_replies_of_500_are_returned_on_request() -> None:
    """Without ``raise_exceptions`` the test sees what a client sees."""
    async with RouteClient(Groups, raise_exceptions=False) as client:
        reply = await client.call("fail")
        assert (reply.status, reply.payload["code"]) == (500, "internal_error")
        await client.send_json({"foreign": True})
        assert (await client.receive())["uuid"] is None


@simulated
async def test_a_handler_that_outlives_its_client_is_reported() -> None:
    """A handler that uses up the client's time-out after the disconnect fails the test."""
    with pytest.raises(ClientTimeout, match="did not end"):  # noqa: PT012
        async with RouteClient(Groups, timeout=0.5) as client:
            await client.send("wait")
            await client.ping()


async def test_leaving_a_stream_closes_its_generator() -> None:
    """Its ``finally`` blocks run, though it never waits by itself, and the client goes on."""
    closed: list[Any] = []
    async with RouteClient(Streams, scope={"closed": closed}) as client:
        async with aclosing(client.stream("ticks", id="t")) as stream:
            assert [(await anext(stream)).payload for _ in range(20)] == list(range(20))
        await client.settle()
        assert closed == ["t"]
        async for reply in client.stream("ticks", id="u"):
            if reply.payload == 20:
                await client.cancel("u")
        assert reply.status == 499
        async for _ in client.stream("ticks", id="v"):
            break
        assert await client.ping(1) == 1
    assert closed == ["t", "u", "v"]


def test_leaving_a_blocking_stream_closes_its_generator() -> None:
    """When the loop has ended with ``break``, it is done."""
    closed: list[Any] = []
    with RouteClient(Streams, scope={"closed": closed}) as client:
        for reply in client.stream("ticks", id="t"):
            if reply.payload == 20:
                break
        assert closed == ["t"]
        assert client.ping(1) == 1


async def test_the_end_of_a_stream_is_raised_or_read() -> None:
    """What its handler and its encoder raise is raised behind the items; a deadline is a reply."""
    async with RouteClient(Streams) as client:
        for route, error in (("fail", Broken), ("unencodable", TypeError)):
            stream = client.stream(route)
            assert (await anext(stream)).payload == 1
            with pytest.raises(error):
                await anext(stream)
            with pytest.raises(error):
                await client.call(route)
        assert [reply.status async for reply in client.stream("hang")] == [206, 504]
        assert (await client.call("hang")).status == 504
    async with RouteClient(Streams, raise_exceptions=False) as client:
        assert [reply.status async for reply in client.stream("fail")] == [206, 500]
