"""The test client in sync tests: blocking calls, and ORM work in the test's own thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.contrib.auth.models import AnonymousUser, Group, User
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django.utils.functional import SimpleLazyObject

from routesock.testing import BlockingRouteClient, ClientTimeout, ConnectionRefused, NoReply, RouteClient
from routesock.testing.blocking import WaitingThread


class Broken(Exception):
    pass


class Async(AsyncJsonWebsocketConsumer):
    """An async consumer with ORM work of every kind."""

    thread: threading.Thread | None = None

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        payload: Any = content.get("payload")
        match content["route"]:
            case "sync-orm":
                payload = await database_sync_to_async(self.names)()
            case "async-orm":
                payload = [group.name async for group in Group.objects.order_by("name")]
            case "create":
                await Group.objects.acreate(name=payload)
                await Group.objects.acreate(name=payload + "2")
            case "create-later":
                self.go = asyncio.Event()
                self.later = asyncio.create_task(self.create_later(payload))
            case "go":
                self.go.set()
            case "endless":
                self.later = asyncio.create_task(self.count_forever())
            case "bounce":
                payload = await sync_to_async(async_to_sync(self.names_async))()
            case "user":
                payload = str(self.scope["user"])
            case "sleep":
                await asyncio.sleep(payload)
            case "block":
                await sync_to_async(time.sleep)(payload)
            case "fail":
                raise Broken
            case "push":
                await self.send_json({"route": "news", "payload": payload})
        await self.send_json(
            {"uuid": content.get("uuid"), "route": content["route"], "status": 200, "payload": payload}
        )

    def names(self) -> list[str]:
        type(self).thread = threading.current_thread()
        return list(Group.objects.order_by("name").values_list("name", flat=True))

    async def names_async(self) -> list[str]:
        return await sync_to_async(self.names)()

    async def create_later(self, name: str) -> None:
        await self.go.wait()
        await Group.objects.acreate(name=name)
        await self.send_json({"route": "created", "payload": name})

    async def count_forever(self) -> None:
        try:
            while True:
                await Group.objects.acount()
        finally:
            await Group.objects.acreate(name="ended")

    async def disconnect(self, code: int) -> None:
        if later := getattr(self, "later", None):
            later.cancel()
            await asyncio.wait([later])

    async def news(self, event: dict[str, Any]) -> None:
        await self.send_json({"route": "news", "payload": event["payload"]})


class Sync(JsonWebsocketConsumer):
    """A sync consumer."""

    groups = ("everyone",)

    def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        Group.objects.create(name=content["payload"])
        names = list(Group.objects.order_by("name").values_list("name", flat=True))
        self.send_json({"uuid": content.get("uuid"), "route": content["route"], "status": 200, "payload": names})

    def news(self, event: dict[str, Any]) -> None:
        self.send_json({"route": "news", "payload": event["payload"]})


@contextmanager
def interrupted(client: BlockingRouteClient, moment: str) -> Iterator[None]:
    """Ctrl-C before or after the loop has run the next call."""
    assert client._thread is not None
    work = client._thread._work

    def interrupt(done: Future[Any]) -> None:
        del work.work_until
        if moment == "after":
            wait([done])
        raise KeyboardInterrupt

    work.work_until = interrupt
    yield


class InTestCase(TestCase):
    """Inside a transaction that is never committed."""

    user: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.user = User.objects.create_user("ada")
        Group.objects.create(name="a")

    def test_sync_orm_sees_the_transaction(self) -> None:
        """``database_sync_to_async`` work runs in the test's thread, on its connection."""
        Group.objects.create(name="b")
        with RouteClient(Async) as client:
            assert client.call("sync-orm").payload == ["a", "b"]
        assert Async.thread is threading.current_thread()

    def test_async_orm_sees_the_transaction(self) -> None:
        """So does the async ORM, and what it writes the test sees."""
        with RouteClient(Async) as client:
            assert client.call("create", "b").ok
            assert client.call("async-orm").payload == ["a", "b", "b2"]
        assert Group.objects.count() == 3

    def test_a_sync_consumer_sees_the_transaction(self) -> None:
        """A sync consumer runs in the test's thread as a whole."""
        with RouteClient(Sync) as client:
            assert client.call("create", "b").payload == ["a", "b"]
        assert Group.objects.count() == 2

    def test_async_and_sync_may_nest(self) -> None:
        """``async_to_sync`` inside sync work, with more sync work below it, ends in the same thread."""
        with RouteClient(Async) as client:
            assert client.call("bounce").payload == ["a"]
        assert Async.thread is threading.current_thread()

    def test_a_notification_is_handled_when_send_returns(self) -> None:
        """``send`` lets the application run as far as it goes, over several queries."""
        with RouteClient(Async) as client:
            client.send("create", "b")
            assert Group.objects.count() == 3

    def test_a_handler_that_still_runs_goes_on_in_the_next_call(self) -> None:
        """Work that begins after a call's reply is neither lost nor stuck."""
        with RouteClient(Async) as client:
            assert client.call("create-later", "late").ok
            assert client.call("go").ok
            assert client.expect_push("created").payload == "late"
        assert Group.objects.filter(name="late").exists()

    def test_an_application_that_never_rests_is_put_on_hold(self) -> None:
        """Endless background queries take no longer than the time-out, and end with the client."""
        with RouteClient(Async, timeout=0.5) as client:
            assert client.call("endless").ok
            assert client.call("sync-orm").ok
        assert Group.objects.filter(name="ended").exists()

    def test_as_user_signs_in_under_the_auth_middleware(self) -> None:
        """The user stays in the scope below ``AuthMiddlewareStack``, a lazy one too."""
        app = AuthMiddlewareStack(Async.as_asgi())
        for user in (self.user, SimpleLazyObject(lambda: self.user)):
            with RouteClient(app, as_user=user) as client:
                assert client.call("user").payload == "ada"
        for nobody in (AnonymousUser(), None):
            with RouteClient(app, as_user=nobody) as client:
                assert client.call("user").payload == "AnonymousUser"

    def test_a_session_cookie_signs_in_too(self) -> None:
        """The cookies of Django's own test client are good for the middleware."""
        self.client.force_login(self.user)
        cookie = self.client.cookies.output(header="", sep=";").strip()
        with RouteClient(AuthMiddlewareStack(Async.as_asgi()), headers={"cookie": cookie}) as client:
            assert client.call("user").payload == "ada"

    def test_two_clients_talk_through_the_channel_layer(self) -> None:
        """What one client's handler sends to a group arrives at the other, each in its own loop."""

        class Sending(Async):
            async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
                await self.channel_layer.group_send("everyone", {"type": "news", "payload": 1})
                await super().receive_json(content)

        with RouteClient(Sync) as reader, RouteClient(Sending) as writer:
            assert writer.call("echo").ok
            assert reader.expect_push("news").payload == 1

    def test_async_to_sync_works_between_calls(self) -> None:
        """The test may use ``async_to_sync`` itself, to send to a group for example."""
        with RouteClient(Sync) as client:
            client.call("create", "b")
            layer = get_channel_layer()
            assert layer is not None
            async_to_sync(layer.group_send)("everyone", {"type": "news", "payload": 2})
            assert async_to_sync(sync_to_async(Group.objects.count))() == 2
            assert client.expect_push("news").payload == 2

    async def test_async_tests_see_the_transaction(self) -> None:
        """``async with`` in an async test of a ``TestCase`` works on the same connection."""
        await Group.objects.acreate(name="b")
        async with RouteClient(Async) as client:
            assert (await client.call("sync-orm")).payload == ["a", "b"]
            assert (await client.call("async-orm")).payload == ["a", "b"]
            await client.call("create", "c")
        async with RouteClient(Sync) as client:
            assert (await client.call("create", "d")).payload == ["a", "b", "c", "c2", "d"]
        async with RouteClient(AuthMiddlewareStack(Async.as_asgi()), as_user=self.user) as client:
            assert (await client.call("user")).payload == "ada"
        assert await Group.objects.acount() == 5


class InTransactionTestCase(TransactionTestCase):
    """Outside of a transaction, where Channels closes connections around each event."""

    def test_orm_works(self) -> None:
        """Rows written on either side are seen on the other."""
        Group.objects.create(name="a")
        with RouteClient(Async) as client:
            client.send("create", "b")
            assert client.call("sync-orm").payload == ["a", "b", "b2"]
        with RouteClient(Sync) as client:
            assert client.call("create", "c").payload == ["a", "b", "b2", "c"]
        assert Group.objects.count() == 4


class WithoutDatabase(SimpleTestCase):
    """What needs no database needs none here either."""

    def test_the_methods_of_the_client_block(self) -> None:
        """Each method of the async client is there, blocking."""
        with RouteClient(Echo, subprotocols=["v1"]) as client:
            assert client.connected
            assert (client.subprotocol, client.accept_headers, client.closed) == ("v1", [], None)
            assert client.call("echo", 1, headers={"a": 1}, id=7).payload == 1
            assert client.ping(5) == 5
            client.send("echo", 2, id="later")
            assert client.expect_reply("later").payload == 2
            client.cancel("x")
            assert client.expect_reply("x").route == "CANCEL"
            client.send_json({"no": "route"})
            assert client.receive() == {"no": "route"}
            client.send_text('{"route": "news"}')
            assert client.expect_push("news").payload is None
            client.refute_push(within=0)
            client.send_bytes(b"close")
            assert client.expect_close() == (4400, "bytes")
            assert client.closed == (4400, "bytes")

    def test_every_method_is_there(self) -> None:
        """The blocking client lacks nothing that the async one has."""
        public = {name for name in dir(RouteClient(Echo)) if not name.startswith("_")}
        assert public - set(dir(BlockingRouteClient)) == {"settle", "raise_failures"}

    def test_a_push_that_comes_over_threads_is_refuted_without_waiting(self) -> None:
        """The check comes after the application has run as far as it goes, sync work included."""

        class Hopping(AsyncJsonWebsocketConsumer):
            async def connect(self) -> None:
                await self.accept()
                self.task = asyncio.create_task(self.hop())

            async def hop(self) -> None:
                for _ in range(5):
                    await sync_to_async(time.sleep)(0.001)
                await self.send_json({"route": "news", "payload": None})

        with RouteClient(Hopping) as client, pytest.raises(AssertionError, match="Unexpected push"):
            client.refute_push("news", within=0)

    def test_timeouts_leave_the_application_alone(self) -> None:
        """As in async code; a sync handler runs to its end first, since it has the test's thread."""
        with RouteClient(Async) as client:
            with pytest.raises(NoReply):
                client.call("sleep", 0.3, id="x", timeout=0.01)
            assert client.expect_reply("x").ok
            with pytest.raises(NoReply):
                client.call("block", 0.3, id="y", timeout=0.01)
            assert client.expect_reply("y").ok
            with pytest.raises(ClientTimeout):
                client.expect_push("news", timeout=0.01)
            client.send("push", 1)
            assert client.expect_push("news").payload == 1

    def test_a_dead_application_is_raised_where_it_died(self) -> None:
        """``send`` itself raises what the notification killed; the disconnect does not once more."""
        with RouteClient(Async) as client, pytest.raises(Broken):
            client.send("fail")
        with RouteClient(Async) as client, pytest.raises(Broken):
            client.call("fail")

    def test_the_tests_own_failure_comes_first(self) -> None:
        """An exception inside the block is not replaced by what the disconnect raises."""

        class Failing(Async):
            async def disconnect(self, code: int) -> None:
                raise Broken

        with pytest.raises(KeyError) as raised, RouteClient(Failing):
            raise KeyError
        assert raised.value.__notes__ == ["The application failed as well: Broken()"]
        with pytest.raises(Broken), RouteClient(Failing):
            pass

    def test_nothing_is_left_behind(self) -> None:
        """Loop, thread and tasks end with the block, a stray task of the application too, and after a refusal."""
        stray: list[asyncio.Task[None]] = []

        class Straying(AsyncJsonWebsocketConsumer):
            async def connect(self) -> None:
                stray.append(asyncio.create_task(self.wait()))
                await (self.accept() if self.scope["path"] == "/" else self.close())

            async def wait(self) -> None:
                await asyncio.Event().wait()

        threads = set(threading.enumerate())
        client = RouteClient(Straying)
        with client:
            pass
        with client as again:
            again.refute_push(within=0)
        with pytest.raises(ConnectionRefused), RouteClient(Straying, "/no/"):
            raise AssertionError("not reached")
        assert [task.cancelled() for task in stray] == [True] * 3
        assert set(threading.enumerate()) <= threads  # those of other tests may have ended meanwhile

    def test_a_client_that_is_not_connected_says_so(self) -> None:
        """After the block the methods raise, and a second disconnect does nothing."""
        outer = RouteClient(Echo)
        with outer as client:
            with pytest.raises(RuntimeError, match="already"):
                client.connect()
            with client:
                assert client.ping() is None
        client.disconnect()
        with pytest.raises(RuntimeError, match="not connected"):
            client.ping()
        outer.__exit__(None, None, None)

    def test_an_interrupt_ends_the_call(self) -> None:
        """Ctrl-C in a waiting call cancels it, and the client can still be used."""
        with RouteClient(Echo, timeout=60) as client:
            for call, moment in ((client.expect_push, "before"), (partial(client.refute_push, within=0), "after")):
                with interrupted(client, moment), pytest.raises(KeyboardInterrupt):
                    call()
                assert client.ping() is None

    def test_an_interrupt_in_the_application_ends_the_call(self) -> None:
        """Ctrl-C while the application's sync work runs comes out of the call."""

        def interrupt() -> None:
            raise KeyboardInterrupt

        class Interrupted(AsyncJsonWebsocketConsumer):
            async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
                await sync_to_async(interrupt)()

        with pytest.raises(KeyboardInterrupt), RouteClient(Interrupted, timeout=60) as client:
            client.call("any")


def test_cancelled_work_is_not_done() -> None:
    """What was cancelled while it waited for the thread never runs, and what came after it does."""
    done: list[int] = []
    work = WaitingThread()
    work.open()
    work.submit(done.append, 1).cancel()
    work.submit(done.append, 2)
    assert not work.is_idle_since(0)
    last = work.submit(done.append, 3)
    work.work_until(last)
    assert done == [2, 3]
    assert work.is_idle_since(3)


class Echo(AsyncJsonWebsocketConsumer):
    """Sends every frame back, as a reply where it has an id."""

    async def connect(self) -> None:
        await self.accept("v1" if self.scope["subprotocols"] else None)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        if bytes_data is not None:
            await self.close(4400, bytes_data and "bytes")
        else:
            await super().receive(text_data=text_data)

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        await self.send_json(content)
