"""What a key stands for, state by state, with the keys in memory and in Redis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import User
from django.contrib.sessions.backends.cache import SessionStore
from django.test import override_settings
from marshmallow import Schema, fields

from routesock import NO_REPLY, Idempotent, Reply, Request, RouteMixin, RoutesockError, route
from routesock._store.idempotency import Claimed, Keys, get_keys
from routesock.exceptions import Conflict, NotFound
from routesock.permissions import IsAuthenticated
from routesock.testing import ClientReply, RouteClient
from tests.throttling.redis_server import RedisServer, cache_at

ALICE = User(pk=1, username="alice")
BOB = User(pk=2, username="bob")

PROBLEMS = {
    "idempotency_key_invalid": 400,
    "idempotency_key_missing": 400,
    "idempotency_key_unusable": 400,
    "idempotency_in_progress": 409,
    "idempotency_unknown": 409,
    "idempotency_mismatch": 422,
}


HOUR = 3600.0


def pass_an_hour(request: Request) -> None:
    """Put the clocks of the running loop and of ``request`` forward, so that its deadline passes while it runs."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + HOUR  # type: ignore[method-assign]
    assert request.started is not None
    request.started -= HOUR


class Amount(Schema):
    amount = fields.Integer(required=True)


class Shop(RouteMixin, AsyncJsonWebsocketConsumer):
    """Its handlers count how often they ran. ``gate`` holds those back that wait."""

    ran: list[Any]
    gate: asyncio.Event
    entered: asyncio.Event
    result: Any = None

    async def answer(self, request: Request) -> Any:
        type(self).ran.append(request.payload)
        type(self).entered.set()
        result = type(self).result
        if isinstance(result, BaseException):
            raise result
        return {"run": len(type(self).ran)} if result is None else result

    @route("pay", idempotent=True)
    async def pay(self, request: Request) -> Any:
        return await self.answer(request)

    @route("refund", idempotent=True)
    async def refund(self, request: Request) -> Any:
        return await self.answer(request)

    @route("strict", idempotent=Idempotent(required=True))
    async def strict(self, request: Request) -> Any:
        return await self.answer(request)

    @route("checked", idempotent=True, schema=Amount)
    async def checked(self, request: Request) -> Any:
        return await self.answer(request)

    @route("loaded", idempotent=True, hydrate="load")
    async def loaded(self, request: Request) -> Any:
        return await self.answer(request)

    async def load(self, request: Request) -> Any:
        type(self).entered.set()
        if request.payload == "wait":
            await type(self).gate.wait()
        if request.payload == "missing":
            raise NotFound
        return request.payload

    @route("guarded", idempotent=True, permissions=[IsAuthenticated], throttle="2/h")
    async def guarded(self, request: Request) -> Any:
        return await self.answer(request)

    @route("slow", idempotent=True, timeout=60, parallel=True)
    async def slow(self, request: Request) -> Any:
        type(self).entered.set()
        answer = await self.answer(request)
        await type(self).gate.wait()
        return answer

    @route("hasty", idempotent=True, timeout=HOUR, parallel=True)
    async def hasty(self, request: Request) -> Any:
        type(self).ran.append(request.payload)
        pass_an_hour(request)
        await type(self).gate.wait()

    @route("stubborn", idempotent=True, timeout=HOUR, parallel=True)
    async def stubborn(self, request: Request) -> Any:
        type(self).ran.append(request.payload)
        pass_an_hour(request)
        try:
            await type(self).gate.wait()
        except asyncio.CancelledError:
            await type(self).gate.wait()
        return "late"

    @route("silent", idempotent=True, reply=None)
    async def silent(self, request: Request) -> None:
        await self.answer(request)

    @route("sync", idempotent=True)
    def sync(self, request: Request) -> Any:
        type(self).ran.append(request.payload)
        return {"run": len(type(self).ran)}

    @route("other")
    async def other(self, request: Request) -> Any:
        return await self.answer(request)


class Branch(Shop):
    """Another class, with the same routes."""


@dataclass
class Member:
    """A user of another kind."""

    pk: int
    is_authenticated: bool = True


@pytest.fixture
def shop() -> type[Shop]:
    Shop.ran, Shop.gate, Shop.entered, Shop.result = [], asyncio.Event(), asyncio.Event(), None
    return Shop


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)], autouse=True)
async def keys(request: pytest.FixtureRequest, shop: type[Shop]) -> AsyncIterator[Keys]:
    if request.param == "memory":
        yield await get_keys()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with override_settings(CACHES=cache_at(server.url), ROUTESOCK={"STORE_TIMEOUT": 20, "THROTTLE_TIMEOUT": 20}):
        keys = await get_keys()
        await keys.claim(Claimed("opened", "t" * 32, "f" * 32, 10), 1)  # deadlines do not wait for the connection
        yield keys


def client_of(cls: Any = Shop, *, user: Any = ALICE, **scope: Any) -> RouteClient:
    return RouteClient(cls, as_user=user, scope=scope, timeout=20, raise_exceptions=False)


@pytest.fixture
async def client() -> AsyncIterator[RouteClient]:
    async with client_of() as client:
        yield client


async def call(client: RouteClient, name: str, payload: Any = None, key: Any = "k1", **headers: Any) -> ClientReply:
    return await client.call(name, payload, headers={"Idempotency-Key": key, **headers})


async def call_for_an_hour(client: RouteClient, name: str) -> ClientReply:
    """As ``call``, with a client that waits for another minute when the deadline has passed."""
    return await client.call(name, "a", headers={"Idempotency-Key": "k1"}, timeout=HOUR + 60)


async def settled(client: RouteClient, code: str = "idempotency_in_progress") -> ClientReply:
    """The first reply to the slow request that has another code."""
    async with asyncio.timeout(20):
        while True:
            reply = await call(client, "slow", "a")
            if shown(reply)[1] != code:
                return reply
            await asyncio.sleep(0.001)


def shown(reply: ClientReply) -> Any:
    """The status with the code of a problem, or with the payload; and whether the reply was kept."""
    payload = reply.payload.get("code", reply.payload) if isinstance(reply.payload, dict) else reply.payload
    if isinstance(payload, str) and payload in PROBLEMS:
        assert reply.status == PROBLEMS[payload]
        assert "Idempotent-Replayed" not in reply.headers
    return reply.status, payload, reply.headers.get("Idempotent-Replayed", False)


class TestUnknownKey:
    async def test_runs(self, client: RouteClient, shop: type[Shop]) -> None:
        reply = await call(client, "pay", "a")
        assert (reply.status, reply.payload, dict(reply.headers)) == (200, {"run": 1}, {})
        assert shop.ran == ["a"]

    @pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": None}, {"Other": "k1"}], ids=["none", "null", "other"])
    async def test_without_key_every_request_runs(
        self, client: RouteClient, shop: type[Shop], headers: Mapping[str, Any]
    ) -> None:
        for _ in range(2):
            assert (await client.call("pay", "a", headers=headers)).status == 200
        assert shop.ran == ["a", "a"]

    async def test_other_routes_ignore_keys(self, client: RouteClient, shop: type[Shop]) -> None:
        for key in ("k1", "k1", ""):
            assert shown(await call(client, "other", "a", key)) == (200, {"run": len(shop.ran)}, False)
        assert len(shop.ran) == 3

    @pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": None}], ids=["none", "null"])
    async def test_required_key(self, client: RouteClient, shop: type[Shop], headers: Mapping[str, Any]) -> None:
        assert shown(await client.call("strict", headers=headers)) == (400, "idempotency_key_missing", False)
        assert shop.ran == []
        assert shown(await call(client, "strict")) == (200, {"run": 1}, False)


ANSWERS: dict[str, Any] = {
    "payload": {"number": 7, "when": date(2026, 1, 2)},
    "null": Reply(None, 204),
    "text": "done",
    "created": Reply({"id": 7}, 201, {"Location": "/7"}),
    "own 404": Reply({"why": "gone"}, 404),
    "own 503": Reply(["later"], 503, {"Retry-After": 7}),
    "403": RoutesockError("Not yours.", status=403, code="not_yours", headers={"Why": 1}, further=[1]),
    "409": Conflict(errors={"seat": ["Taken."]}),
    "500": ValueError("secret"),
}


class TestFinished:
    @pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
    async def test_same_reply(self, client: RouteClient, shop: type[Shop], answer: Any) -> None:
        """With the header, and without a second run. A 500 keeps its ``error_id``."""
        shop.result = answer
        first = await call(client, "pay", "a")
        async with client_of() as another:
            again = [await call(each, "pay", "a") for each in (client, another)]
        for reply in again:
            assert (reply.status, reply.payload) == (first.status, first.payload)
            assert dict(reply.headers) == {**first.headers, "Idempotent-Replayed": True}
        assert shop.ran == ["a"]
        if isinstance(answer, ValueError):
            assert first.payload["error_id"]

    async def test_order_of_names_and_case_of_header(self, client: RouteClient, shop: type[Shop]) -> None:
        await call(client, "pay", {"a": 1, "b": [1, {"c": 2, "d": 3}]})
        reply = await client.call("pay", {"b": [1, {"d": 3, "c": 2}], "a": 1}, headers={"iDEMPOTENCY-kEY": "k1"})
        assert shown(reply) == (200, {"run": 1}, True)

    async def test_routes_without_replies(self, client: RouteClient, shop: type[Shop]) -> None:
        """Nothing is sent either time."""
        for number in range(2):
            await client.send("silent", "a", headers={"Idempotency-Key": "k1"}, id=number)
        assert shown(await call(client, "pay", "b", "k2")) == (200, {"run": 2}, False)
        assert shop.ran == ["a", "b"]

    async def test_request_without_id(self, client: RouteClient, shop: type[Shop]) -> None:
        await client.send("pay", "a", headers={"Idempotency-Key": "k1"})
        assert shown(await call(client, "pay", "a")) == (200, {"run": 1}, True)

    async def test_no_reply(self, client: RouteClient, shop: type[Shop]) -> None:
        shop.result = NO_REPLY
        for number in range(2):
            await client.send("pay", "a", headers={"Idempotency-Key": "k1"}, id=number)
        await asyncio.wait_for(shop.entered.wait(), 20)
        shop.result = None
        assert shown(await call(client, "pay", "b", "k2")) == (200, {"run": 2}, False)
        assert shop.ran == ["a", "b"]

    async def test_sync_handler(self, client: RouteClient, shop: type[Shop]) -> None:
        assert shown(await call(client, "sync", "a")) == (200, {"run": 1}, False)
        assert shown(await call(client, "sync", "a")) == (200, {"run": 1}, True)

    async def test_reply_that_is_no_json(self, client: RouteClient, shop: type[Shop]) -> None:
        """The client was answered 500, so that is kept."""
        shop.result = Reply(object())
        first, second = await call(client, "pay", "a"), await call(client, "pay", "a")
        assert (first.status, second.status) == (500, 500)
        assert first.payload == second.payload
        assert shop.ran == ["a"]

    async def test_too_large_reply(self, client: RouteClient, shop: type[Shop]) -> None:
        shop.result = "x" * 1_000_001
        first, second = await call(client, "pay", "a"), await call(client, "pay", "a")
        assert (first.status, second.status) == (500, 500)
        assert first.payload == second.payload
        assert shop.ran == ["a"]

    async def test_handler_that_cancels_itself(self, client: RouteClient, shop: type[Shop]) -> None:
        """That is a 500, as any exception is."""
        shop.result = asyncio.CancelledError()
        first, second = await call(client, "pay", "a"), await call(client, "pay", "a")
        assert shown(first) == (500, "internal_error", False)
        assert shown(second) == (500, "internal_error", True)

    async def test_client_that_has_left(self, keys: Keys, shop: type[Shop]) -> None:
        """Its request ends within the grace period, and its reply waits for it."""
        async with client_of() as client:
            await client.send("slow", "a", headers={"Idempotency-Key": "k1"}, id=7)
            await asyncio.wait_for(shop.entered.wait(), 20)
            shop.gate.set()
        async with client_of() as client:
            assert shown(await call(client, "slow", "a")) == (200, {"run": 1}, True)
        assert shop.ran == ["a"]


class TestOtherRequest:
    @pytest.mark.parametrize(("name", "payload"), [("pay", "b"), ("pay", None), ("refund", "a")])
    @pytest.mark.parametrize("state", ["finished", "running", "unknown"])
    async def test_mismatch(self, client: RouteClient, shop: type[Shop], state: str, name: str, payload: Any) -> None:
        """Whatever became of the first one: the payload is compared first."""
        async with client_of() as first:
            if state == "finished":
                await call(first, "pay", "a")
            elif state == "running":
                await first.send("slow", "a", headers={"Idempotency-Key": "k1"}, id=7)
                await asyncio.wait_for(shop.entered.wait(), 20)
            else:
                await first.send("slow", "a", headers={"Idempotency-Key": "k1"}, id=7)
                await asyncio.wait_for(shop.entered.wait(), 20)
                await first.cancel(7)
                assert (await first.expect_reply(7)).status == 499
            assert shown(await call(client, name, payload)) == (422, "idempotency_mismatch", False)
            shop.gate.set()
        assert shop.ran == ["a"]


class TestRunning:
    async def test_in_progress(self, client: RouteClient, shop: type[Shop]) -> None:
        """With the time to wait, on this socket and on others. The reply is there afterwards."""
        async with client_of() as another:
            await client.send("slow", "a", headers={"Idempotency-Key": "k1"}, id=7)
            await asyncio.wait_for(shop.entered.wait(), 20)
            for each in (client, another):
                reply = await call(each, "slow", "a")
                assert shown(reply) == (409, "idempotency_in_progress", False)
                assert (reply.headers["Retry-After"], reply.payload["retry_after"]) == (1, 1)
            shop.gate.set()
            assert shown(await settled(another)) == (200, {"run": 1}, True)
        assert shop.ran == ["a"]

    async def test_at_once(self, client: RouteClient, shop: type[Shop]) -> None:
        """Of many at the same time one runs."""
        statuses = []
        for reply in asyncio.as_completed([call(client, "slow", "a") for _ in range(10)]):
            statuses.append((await reply).status)
            if len(statuses) == 9:
                shop.gate.set()
        assert statuses == [409] * 9 + [200]
        assert shop.ran == ["a"]


class TestUnknownEnd:
    async def test_deadline(self, client: RouteClient, shop: type[Shop]) -> None:
        assert (await call_for_an_hour(client, "hasty")).status == 504
        for _ in range(2):
            assert shown(await call(client, "hasty", "a")) == (409, "idempotency_unknown", False)
        assert shop.ran == ["a"]

    async def test_handler_that_ignores_its_cancellation(self, client: RouteClient, shop: type[Shop]) -> None:
        """It is unknown at once, and stays so."""
        assert (await call_for_an_hour(client, "stubborn")).status == 504
        assert shown(await call(client, "stubborn", "a")) == (409, "idempotency_unknown", False)
        shop.gate.set()
        await client.call("other")
        assert shown(await call(client, "stubborn", "a")) == (409, "idempotency_unknown", False)

    async def test_cancelled(self, client: RouteClient, shop: type[Shop]) -> None:
        await client.send("slow", "a", headers={"Idempotency-Key": "k1"}, id=7)
        await asyncio.wait_for(shop.entered.wait(), 20)
        await client.cancel(7)
        assert (await client.expect_reply(7)).status == 499
        assert shown(await call(client, "slow", "a")) == (409, "idempotency_unknown", False)
        assert shop.ran == ["a"]

    async def test_cut_off_at_the_disconnect(self, shop: type[Shop]) -> None:
        class Hurried(Shop):
            route_disconnect_grace = 0

        async with client_of(Hurried) as client:
            Hurried.ran, Hurried.gate, Hurried.entered = shop.ran, shop.gate, shop.entered
            await client.send("slow", "a", headers={"Idempotency-Key": "k1"}, id=7)
            await asyncio.wait_for(shop.entered.wait(), 20)
        async with client_of(Hurried) as client:
            assert shown(await call(client, "slow", "a")) == (409, "idempotency_unknown", False)
        assert shop.ran == ["a"]

    async def test_killed(self, client: RouteClient, keys: Keys, shop: type[Shop], monkeypatch: Any) -> None:
        """Its claim ends after the timeout, the grace period and 10 seconds."""
        leases = []

        async def claim(claimed: Claimed, lease: float) -> Any:
            leases.append(lease)
            return await original(claimed, 0.001)

        original = keys.claim
        monkeypatch.setattr("routesock._pipeline.idempotency.get_keys", answering(keys))
        monkeypatch.setattr(keys, "claim", claim, raising=False)
        await client.send("slow", "a", headers={"Idempotency-Key": "k1"}, id=7)
        await asyncio.wait_for(shop.entered.wait(), 20)
        assert shown(await settled(client)) == (409, "idempotency_unknown", False)
        assert set(leases) == {75}
        shop.gate.set()
        assert shown(await settled(client, "idempotency_unknown")) == (200, {"run": 1}, True)
        assert shop.ran == ["a"]


def answering(value: Any) -> Callable[[], Any]:
    async def answer() -> Any:
        return value

    return answer


class TestNotBegun:
    """What is refused in front of the handler is not kept, and the key may be used again."""

    async def test_schema(self, client: RouteClient, shop: type[Shop]) -> None:
        assert (await call(client, "checked", {"amount": "much"})).payload["code"] == "invalid"
        assert shown(await call(client, "checked", {"amount": 7})) == (200, {"run": 1}, False)
        assert shop.ran == [{"amount": 7}]

    async def test_hydrate(self, client: RouteClient, shop: type[Shop]) -> None:
        for _ in range(2):
            assert shown(await call(client, "loaded", "missing")) == (404, "not_found", False)
        assert shown(await call(client, "loaded", "there")) == (200, {"run": 1}, False)

    async def test_cancelled_while_hydrating(self, client: RouteClient, shop: type[Shop]) -> None:
        await client.send("loaded", "wait", headers={"Idempotency-Key": "k1"}, id=7)
        await asyncio.wait_for(shop.entered.wait(), 20)
        await client.cancel(7)
        assert (await client.expect_reply(7)).status == 499
        assert shown(await call(client, "loaded", "there")) == (200, {"run": 1}, False)

    async def test_permissions_and_throttles_come_first(self, client: RouteClient, shop: type[Shop]) -> None:
        """A replay has to be permitted, and counts."""
        async with client_of(user=None, session=SessionStore("session1")) as anonymous:
            assert shown(await call(anonymous, "guarded", "a")) == (401, "not_authenticated", False)
        assert shown(await call(client, "guarded", "a")) == (200, {"run": 1}, False)
        assert shown(await call(client, "guarded", "a")) == (200, {"run": 1}, True)
        assert shown(await call(client, "guarded", "a")) == (429, "throttled", False)
        assert shown(await call(client, "guarded", "a", "")) == (429, "throttled", False)

    async def test_cancelled_before_its_thread_is_free(self, shop: type[Shop]) -> None:
        """The handler does not run later, so that the request may be sent again."""
        blocked, entered, ran = threading.Event(), threading.Event(), []

        class Busy(RouteMixin, JsonWebsocketConsumer):
            @route("block", parallel=True)
            def block(self, request: Request) -> None:
                entered.set()
                assert blocked.wait(20)

            @route("pay", idempotent=True, parallel=True)
            def pay(self, request: Request) -> str:
                ran.append(request.payload)
                return "paid"

        async with client_of(Busy) as client:
            await client.send("block", id=6)
            assert await asyncio.to_thread(entered.wait, 20)
            await client.send("pay", "a", headers={"Idempotency-Key": "k1"}, id=7)
            assert shown(await call(client, "pay", "a")) == (409, "idempotency_in_progress", False)
            await client.cancel(7)
            assert (await client.expect_reply(7)).status == 499
            blocked.set()
            assert shown(await call(client, "pay", "a")) == (200, "paid", False)
        assert ran == ["a"]


class TestScope:
    async def test_users_sessions_and_classes_are_apart(self, shop: type[Shop]) -> None:
        owners: list[Any] = [
            client_of(user=ALICE),
            client_of(user=BOB),
            client_of(user=Member(1)),
            client_of(user=None, session=SessionStore("session1")),
            client_of(user=None, session=SessionStore("session2")),
            client_of(Branch, user=ALICE),
        ]
        for number, each in enumerate(owners, 1):
            async with each as client:
                assert shown(await call(client, "pay", "a")) == (200, {"run": number}, False)
                assert shown(await call(client, "pay", "a")) == (200, {"run": number}, True)

    @pytest.mark.parametrize("scope", [{}, {"session": SessionStore()}], ids=["nothing", "unsaved session"])
    async def test_neither_user_nor_session(self, shop: type[Shop], scope: Any) -> None:
        async with client_of(user=None, **scope) as client:
            assert shown(await call(client, "pay", "a")) == (400, "idempotency_key_unusable", False)
            assert (await client.call("pay", "a")).status == 200
        assert shop.ran == ["a"]


KEYS: dict[str, Any] = {
    "empty": "",
    "256 characters": "k" * 256,
    "control character": "a\n",
    "delete": "a\x7f",
    "null character": "\0",
    "umlaut": "schl\u00fcssel",
    "emoji": "\U0001f511",
    "number": 7,
    "bool": True,
    "list": ["k1"],
    "object": {"k": 1},
}


class TestKeys:
    @pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
    async def test_invalid(self, client: RouteClient, shop: type[Shop], key: Any) -> None:
        assert shown(await call(client, "pay", "a", key)) == (400, "idempotency_key_invalid", False)
        assert shop.ran == []

    @pytest.mark.parametrize("key", ["k", "k" * 255, " ", "~", "{a}:*", "1", '"'])
    async def test_valid(self, client: RouteClient, shop: type[Shop], key: str) -> None:
        assert shown(await call(client, "pay", "a", key)) == (200, {"run": 1}, False)
        assert shown(await call(client, "pay", "a", key)) == (200, {"run": 1}, True)
