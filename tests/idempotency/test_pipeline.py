"""Idempotent routes and what else a request passes: middleware, transactions, and every kind of exception."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.db import IntegrityError, connections, transaction
from django.http import Http404
from django.test import override_settings

from routesock import NO_REPLY, Reply, Request, RouteMixin, RouteSetupError, RoutesockError, route
from routesock.exceptions import Conflict, Invalid, NotFound, Unavailable
from routesock.testing import ClientReply, RouteClient, forget_throttles

REPLAYED = {"Idempotent-Replayed": True}


def client_of(cls: Any) -> RouteClient:
    return RouteClient(cls, as_user=User(pk=1), timeout=20, raise_exceptions=False)


async def call(client: RouteClient, name: str = "pay", payload: Any = None, key: str = "k1") -> ClientReply:
    return await client.call(name, payload, headers={"Idempotency-Key": key})


def as_sent(reply: ClientReply) -> Any:
    return reply.status, reply.payload, dict(reply.headers)


def ran_of(request: Request) -> list[Any]:
    """The payloads that the consumer of ``request`` has seen so far."""
    return vars(type(request.consumer))["ran"]  # type: ignore[no-any-return]


class TestMiddleware:
    """What is kept is the reply outside of all middleware. Middleware runs for a replay, but cannot change it."""

    @pytest.fixture
    def shop(self) -> Callable[..., Any]:
        def make(*middleware: Any, own: Any = (), handler: Any = None) -> Any:
            class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
                route_middleware = middleware
                ran: list[Any] = []

                @route("pay", idempotent=True, middleware=own, schema=lambda payload: payload)
                async def pay(self, request: Request) -> Any:
                    self.ran.append(request.payload)
                    return len(self.ran) if handler is None else await handler(request)

            return Shop

        return make

    async def test_changes_the_reply(self, shop: Callable[..., Any]) -> None:
        calls: list[str] = []

        async def outer(request: Request, call_next: Any) -> Any:
            calls.append("outer")
            reply = await call_next(request)
            return Reply([reply.payload], 201, {**reply.headers, "Took": len(calls)})

        async def inner(request: Request, call_next: Any) -> Any:
            calls.append("inner")
            return [await call_next(request) is not None]

        cls = shop(outer, own=[inner])
        async with client_of(cls) as client:
            assert as_sent(await call(client)) == (201, [[True]], {"Took": 2})
            assert as_sent(await call(client)) == (201, [[True]], {"Took": 2, **REPLAYED})
        assert calls == ["outer", "inner"] * 2
        assert cls.ran == [None]

    async def test_of_the_setting(self, shop: Callable[..., Any]) -> None:
        cls = shop()
        with override_settings(ROUTESOCK={"MIDDLEWARE": [f"{__name__}.doubled"]}):
            async with client_of(cls) as client:
                assert [as_sent(await call(client)) for _ in range(2)] == [(200, 2, {}), (200, 2, REPLAYED)]

    async def test_answers_in_place_of_the_handler(self, shop: Callable[..., Any]) -> None:
        """Nothing was begun, so nothing is kept."""
        closed = [True]

        async def opening_hours(request: Request, call_next: Any) -> Any:
            return Reply("closed", 409) if closed else await call_next(request)

        cls = shop(opening_hours)
        async with client_of(cls) as client:
            assert as_sent(await call(client)) == (409, "closed", {})
            closed.clear()
            assert as_sent(await call(client)) == (200, 1, {})
            closed.append(True)
            assert as_sent(await call(client)) == (409, "closed", {})

    @pytest.mark.parametrize("error", [NotFound(), ValueError("secret")], ids=["refusal", "error"])
    async def test_raises_before_the_handler(self, shop: Callable[..., Any], error: Exception) -> None:
        errors = [error]

        async def failing(request: Request, call_next: Any) -> Any:
            if errors:
                raise errors.pop()
            return await call_next(request)

        cls = shop(failing)
        async with client_of(cls) as client:
            assert (await call(client)).status in (404, 500)
            assert as_sent(await call(client)) == (200, 1, {})

    @pytest.mark.parametrize("error", [NotFound(), ValueError("secret")], ids=["refusal", "error"])
    async def test_raises_behind_the_handler(self, shop: Callable[..., Any], error: Exception) -> None:
        """The client was answered so, though the handler has succeeded."""

        async def failing(request: Request, call_next: Any) -> Any:
            await call_next(request)
            raise error

        cls = shop(failing)
        async with client_of(cls) as client:
            first = await call(client)
            assert first.status in (404, 500)
            assert as_sent(await call(client)) == (first.status, first.payload, REPLAYED)
        assert cls.ran == [None]

    async def test_catches_an_error_of_the_handler(self, shop: Callable[..., Any]) -> None:
        async def catching(request: Request, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except ValueError:
                return Reply("caught", 503, {"Retry-After": 1})

        async def failing(request: Request) -> Any:
            raise ValueError

        cls = shop(catching, handler=failing)
        async with client_of(cls) as client:
            assert as_sent(await call(client)) == (503, "caught", {"Retry-After": 1})
            assert as_sent(await call(client)) == (503, "caught", {"Retry-After": 1, **REPLAYED})
        assert cls.ran == [None]

    async def test_catches_a_refusal_in_front_of_the_handler(self, shop: Callable[..., Any]) -> None:
        """It is not kept, as no other refusal is."""
        refusals: list[RoutesockError] = [Invalid()]

        async def catching(request: Request, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except RoutesockError as error:
                return {"refused": error.status}

        def schema(payload: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return payload

        class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("pay", idempotent=True, middleware=[catching], schema=schema)
            async def pay(self, request: Request) -> Any:
                return "paid"

        async with client_of(Shop) as client:
            assert as_sent(await call(client)) == (200, {"refused": 422}, {})
            assert as_sent(await call(client)) == (200, "paid", {})
            assert as_sent(await call(client)) == (200, "paid", REPLAYED)
            # What it makes of a mismatch is its own affair; the request does not run.
            assert as_sent(await call(client, payload=1)) == (200, {"refused": 422}, {})

    async def test_changes_the_payload(self, shop: Callable[..., Any]) -> None:
        """Payloads are compared as the client has sent them."""
        times: list[int] = []

        async def stamping(request: Request, call_next: Any) -> Any:
            times.append(0)
            request.payload["time"] = len(times)
            request.payload = {**request.payload, "again": len(times)}
            return await call_next(request)

        cls = shop(stamping)
        async with client_of(cls) as client:
            assert as_sent(await call(client, payload={"a": 1})) == (200, 1, {})
            assert as_sent(await call(client, payload={"a": 1})) == (200, 1, REPLAYED)
            assert (await call(client, payload={"a": 2})).payload["code"] == "idempotency_mismatch"
        assert cls.ran == [{"a": 1, "time": 1, "again": 1}]

    async def test_passes_another_request_on(self, shop: Callable[..., Any]) -> None:
        """The outcome belongs to the request that the client has sent."""

        async def copying(request: Request, call_next: Any) -> Any:
            other = copy.copy(request)
            other.payload = "copied"
            return await call_next(other)

        async def handler(request: Request) -> Any:
            if ran_of(request) == ["copied"]:
                raise Conflict
            return "paid"

        cls = shop(copying, handler=handler)
        async with client_of(cls) as client:
            first = await call(client, payload={"a": 1})
            assert first.status == 409
            assert as_sent(await call(client, payload={"a": 1})) == (409, first.payload, REPLAYED)
            assert (await call(client, payload={"a": 2})).payload["code"] == "idempotency_mismatch"
        assert cls.ran == ["copied"]

    async def test_a_replay_has_the_headers_of_throttles(self, shop: Callable[..., Any]) -> None:
        async def copying(request: Request, call_next: Any) -> Any:
            return await call_next(copy.copy(request))

        cls = shop(copying)
        cls.route_throttle = "9/min"
        with override_settings(ROUTESOCK={"THROTTLE_HEADERS": True}):
            async with client_of(cls) as client:
                first, replay = await call(client), await call(client)
        forget_throttles()
        assert [reply.headers["RateLimit"].split(";")[1] for reply in (first, replay)] == ["r=8", "r=7"]

    async def test_another_request_is_cancelled(self, shop: Callable[..., Any]) -> None:
        entered = asyncio.Event()

        async def copying(request: Request, call_next: Any) -> Any:
            return await call_next(copy.copy(request))

        async def handler(request: Request) -> None:
            entered.set()
            await asyncio.Event().wait()

        cls = shop(copying, handler=handler)
        async with client_of(cls) as client:
            await client.send("pay", headers={"Idempotency-Key": "k1"}, id=7)
            await asyncio.wait_for(entered.wait(), 20)
            await client.cancel(7)
            assert (await client.expect_reply(7)).status == 499
            assert (await call(client)).payload["code"] == "idempotency_unknown"
        assert cls.ran == [None]

    async def test_gives_the_key(self, shop: Callable[..., Any]) -> None:
        """As for clients that have another name for it."""

        async def renaming(request: Request, call_next: Any) -> Any:
            request.headers = {"Idempotency-Key": request.headers["X-Key"]}
            request.payload = {"changed": request.headers["Idempotency-Key"]}
            return await call_next(request)

        cls = shop(renaming)
        async with client_of(cls) as client:
            replies = [await client.call("pay", payload, headers={"X-Key": "a"}) for payload in ("x", "x", "y")]
        assert [reply.status for reply in replies] == [200, 200, 422]
        assert dict(replies[1].headers) == REPLAYED

    async def test_calls_the_handler_twice(self, shop: Callable[..., Any]) -> None:
        """It has asked for that. A second request does not."""

        async def trying_again(request: Request, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except ValueError:
                return await call_next(request)

        async def handler(request: Request) -> Any:
            ran = len(ran_of(request))
            if ran == 1:
                raise ValueError
            return ran

        cls = shop(trying_again, handler=handler)
        async with client_of(cls) as client:
            assert [as_sent(await call(client)) for _ in range(2)] == [(200, 2, {}), (200, 2, REPLAYED)]
        assert cls.ran == [None, None]

    async def test_limits_the_time(self, shop: Callable[..., Any]) -> None:
        """Its answer is the final one, so it is kept."""

        entered = asyncio.Event()

        async def limited(request: Request, call_next: Any) -> Any:
            task = asyncio.ensure_future(call_next(request))
            if cls.ran:
                return await task
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return Reply("too slow", 503)

        async def handler(request: Request) -> None:
            entered.set()
            await asyncio.Event().wait()

        cls = shop(limited, handler=handler)
        async with client_of(cls) as client:
            assert as_sent(await call(client)) == (503, "too slow", {})
            assert as_sent(await asyncio.wait_for(call(client), 20)) == (503, "too slow", REPLAYED)
        assert cls.ran == [None]

    async def test_handler_that_opens_another_socket(self, shop: Callable[..., Any]) -> None:
        """The requests of that one have keys and payloads of their own."""

        async def plain(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        async def asking(request: Request) -> Any:
            async with client_of(other) as client:
                return [(await call(client, payload=payload, key="k2")).status for payload in ("a", "a", "b")]

        other, cls = shop(), shop(plain, handler=asking)
        async with client_of(cls) as client:
            assert as_sent(await call(client)) == (200, [200, 200, 422], {})
        assert other.ran == ["a"]

    async def test_leaves_the_handler_behind(self, shop: Callable[..., Any]) -> None:
        """The request is answered before the handler begins, and then it does not begin."""
        tasks: list[asyncio.Task[Any]] = []

        async def hasty(request: Request, call_next: Any) -> Any:
            if tasks:
                return await call_next(request)
            tasks.append(asyncio.ensure_future(call_next(request)))
            return Reply("later", 202)

        cls = shop(hasty)
        async with client_of(cls) as client:
            assert as_sent(await call(client)) == (202, "later", {})
            await asyncio.wait(tasks, timeout=20)
            reply = await call(client)
            assert reply.status == 200
        assert len(cls.ran) == 1


async def doubled(request: Request, call_next: Any) -> Any:
    reply = await call_next(request)
    return Reply(reply.payload * 2, headers=reply.headers)


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("It has no text.")


class Status(Exception):
    """Looks like an error of routesock, and is none."""

    status = "nonsense"
    code = object()


ERRORS: dict[str, tuple[Callable[[], BaseException], int]] = {
    "routesock": (lambda: RoutesockError("No.", status=418, code="teapot"), 418),
    "unavailable": (lambda: Unavailable("Later.", wait=3), 503),
    "404": (Http404, 404),
    "403": (PermissionDenied, 403),
    "validation": (lambda: ValidationError({"amount": "Too much."}), 422),
    "suspicious": (lambda: SuspiciousOperation("a trick"), 400),
    "value": (lambda: ValueError("secret"), 500),
    "integrity": (lambda: IntegrityError("UNIQUE"), 500),
    "timeout": (TimeoutError, 500),
    "cancelled": (asyncio.CancelledError, 500),
    "stop iteration": (StopAsyncIteration, 500),
    "stop consumer": (StopConsumer, 500),
    "group": (lambda: ExceptionGroup("several", [ValueError("a"), NotFound()]), 500),
    "exit": (lambda: SystemExit(3), 500),
    "interrupt": (KeyboardInterrupt, 500),
    "generator exit": (GeneratorExit, 500),
    "memory": (MemoryError, 500),
    "mute": (Mute, 500),
    "odd": (Status, 500),
}


class TestExceptions:
    @pytest.mark.parametrize(("error", "status"), ERRORS.values(), ids=ERRORS.keys())
    @pytest.mark.parametrize("kind", ["async", "sync"])
    async def test_each_is_kept(self, kind: str, error: Callable[[], BaseException], status: int) -> None:
        """With its status, and its ``error_id`` if it is a 500. The socket goes on."""
        ran = []

        class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("async", idempotent=True)
            async def in_loop(self, request: Request) -> None:
                ran.append(1)
                raise error()

            @route("sync", idempotent=True)
            def in_thread(self, request: Request) -> None:
                ran.append(1)
                raise error()

        async with client_of(Shop) as client:
            first = await call(client, kind)
            second = await call(client, kind)
        assert first.status == status
        assert (second.status, second.payload) == (first.status, first.payload)
        assert dict(second.headers) == {**first.headers, **REPLAYED}
        assert (status == 500) is ("error_id" in first.payload)
        assert ran == [1]


class PayOnce(RouteMixin, JsonWebsocketConsumer):
    """Its handlers add a group in a transaction."""

    ran: list[str]

    def add(self, request: Request) -> str:
        self.ran.append(request.route)
        return Group.objects.create(name=f"group {len(self.ran)}").name

    @route("pay", idempotent=True, atomic=True)
    def pay(self, request: Request) -> str:
        return self.add(request)

    @route("error", idempotent=True, atomic=True)
    def error(self, request: Request) -> None:
        self.add(request)
        raise ValueError("secret")

    @route("conflict", idempotent=True, atomic=True)
    def conflict(self, request: Request) -> Any:
        return Reply(self.add(request), 409)

    @route("at.commit", idempotent=True, atomic=True)
    def fails_at_the_commit(self, request: Request) -> str:
        name = self.add(request)
        connection = transaction.get_connection()
        connection.run_on_commit = []

        def fail() -> None:
            connection.commit = original
            raise IntegrityError("a deferred constraint")

        original, connection.commit = connection.commit, fail
        return name

    @route("after.commit", idempotent=True, atomic=True)
    def fails_after_the_commit(self, request: Request) -> str:
        def fail() -> None:
            raise ValueError("secret")

        transaction.on_commit(fail)
        return self.add(request)

    @route("dehydrate", idempotent=True, atomic=True, dehydrate="fail")
    def cannot_be_serialised(self, request: Request) -> str:
        return self.add(request)

    @route("no.json", idempotent=True, atomic=True)
    def cannot_be_encoded(self, request: Request) -> Any:
        return {self.add(request): object()}

    @route("hydrate", idempotent=True, atomic=True, hydrate="load")
    def hydrated(self, request: Request) -> str:
        return self.add(request)

    @route("setting", idempotent=True)
    def by_the_setting(self, request: Request) -> None:
        self.add(request)
        raise NotFound

    def fail(self, value: Any) -> Any:
        raise LookupError

    def load(self, request: Request) -> Any:
        Group.objects.create(name="loaded")
        if request.payload == "missing":
            raise NotFound
        return request.payload


async def groups() -> list[str]:
    return [group.name async for group in Group.objects.order_by("pk")]


@pytest.mark.django_db(transaction=True)
class TestTransactions:
    @pytest.fixture
    async def client(self) -> AsyncIterator[RouteClient]:
        PayOnce.ran = []
        async with client_of(PayOnce) as client:
            yield client

    async def test_commits_once(self, client: RouteClient) -> None:
        assert [as_sent(await call(client)) for _ in range(2)] == [(200, "group 1", {}), (200, "group 1", REPLAYED)]
        assert await groups() == ["group 1"]

    @pytest.mark.parametrize(
        ("name", "status", "rows"),
        [
            ("error", 500, []),
            ("conflict", 409, []),
            ("at.commit", 500, []),
            ("dehydrate", 500, []),
            ("after.commit", 500, ["group 1"]),
            ("no.json", 500, ["group 1"]),
        ],
    )
    async def test_outcome_is_kept_whatever_the_transaction_does(
        self, client: RouteClient, name: str, status: int, rows: list[str]
    ) -> None:
        """Also where it was rolled back: the client was answered so, and decides what it does next."""
        first, second = await call(client, name), await call(client, name)
        assert first.status == status
        assert as_sent(second) == (first.status, first.payload, {**first.headers, **REPLAYED})
        assert PayOnce.ran == [name]
        assert await groups() == rows
        assert (await call(client, "pay", key="k2")).status == 200

    async def test_refused_within_the_transaction(self, client: RouteClient) -> None:
        """``hydrate`` is in it. Its refusal is rolled back, and is not kept."""
        assert (await call(client, "hydrate", "missing")).status == 404
        assert await groups() == []
        assert as_sent(await call(client, "hydrate", "there")) == (200, "group 1", {})
        assert await groups() == ["loaded", "group 1"]

    async def test_setting(self, client: RouteClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
        async with client_of(PayOnce) as client:
            first, second = await call(client, "setting"), await call(client, "setting")
        assert (first.status, as_sent(second)) == (404, (404, first.payload, REPLAYED))
        assert PayOnce.ran == ["setting"]
        assert await groups() == []

    async def test_cancelled_in_the_thread(self) -> None:
        """The thread goes on and commits; the client was told nothing of it, so the end counts as unknown."""
        entered, go_on = threading.Event(), threading.Event()

        class Slow(RouteMixin, JsonWebsocketConsumer):
            @route("pay", idempotent=True, atomic=True, parallel=True)
            def pay(self, request: Request) -> None:
                Group.objects.create(name="late")
                entered.set()
                assert go_on.wait(20)

        async with client_of(Slow) as client:
            await client.send("pay", headers={"Idempotency-Key": "k1"}, id=7)
            assert await asyncio.to_thread(entered.wait, 20)
            await client.cancel(7)
            assert (await client.expect_reply(7)).status == 499
            assert (await call(client)).payload["code"] == "idempotency_unknown"
            go_on.set()
        assert await groups() == ["late"]
        async with client_of(Slow) as client:
            assert (await call(client)).payload["code"] == "idempotency_unknown"


class TestStreams:
    """A stream cannot be idempotent, however it came to its options. It ignores keys."""

    def test_override_of_an_idempotent_route(self) -> None:
        class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("pay", idempotent=True)
            async def pay(self, request: Request) -> Any:
                return "paid"

        with pytest.raises(RouteSetupError, match=r"Streaming\.pay yields.*Remove idempotent="):

            class Streaming(Shop):
                async def pay(self, request: Request) -> AsyncIterator[int]:  # type: ignore[override]
                    yield 1

    async def test_runs_each_time(self) -> None:
        class Ticker(RouteMixin, AsyncJsonWebsocketConsumer):
            ran = 0

            @route("ticks")
            async def ticks(self, request: Request) -> AsyncIterator[int]:
                type(self).ran += 1
                yield self.ran

        async with client_of(Ticker) as client:
            for number in (1, 2):
                stream = client.stream("ticks", headers={"Idempotency-Key": "k1"})
                assert [reply.payload async for reply in stream] == [number, None]


class TestNoReply:
    async def test_middleware_without_a_reply(self) -> None:
        ran = []

        async def silent(request: Request, call_next: Any) -> Any:
            await call_next(request)
            return NO_REPLY

        class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("pay", idempotent=True, middleware=[silent])
            async def pay(self, request: Request) -> Any:
                ran.append(1)
                return "paid"

            @route("last")
            async def last(self, request: Request) -> Any:
                return len(ran)

        async with client_of(Shop) as client:
            for number in range(2):
                await client.send("pay", headers={"Idempotency-Key": "k1"}, id=number)
            assert (await client.call("last")).payload == 1
