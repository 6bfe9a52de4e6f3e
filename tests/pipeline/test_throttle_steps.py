"""Throttles of routes, of classes and of sockets: who is counted with whom, where, and what it costs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import marshmallow
import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from routesock import Reply, Request, RouteMixin, RouteSetupError, Throttle, route, run_on_loop
from routesock._store.opening import StoreError
from routesock.exceptions import Conflict, Throttled
from routesock.testing import ConnectionClosed, RouteClient, forget_throttles
from routesock.throttling import stores
from routesock.throttling.base import ALLOWED, Bucket, Decision
from routesock.throttling.stores import MonitoredStore

ALICE = User(pk=1, username="alice")
BOB = User(pk=2, username="bob")


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """No test meets the calls of another."""
    forget_throttles()


def consumer(**attributes: Any) -> Any:
    """A class with these attributes, and with a route ``go`` whose ``throttle=`` is that one of them."""
    throttle = attributes.pop("throttle", ())
    body = {"go": route("go", throttle=throttle)(answer_of("go")), **attributes}
    return type("Limited", (RouteMixin, AsyncJsonWebsocketConsumer), body)


def answer_of(name: str) -> Any:
    async def handler(self: Any, request: Request) -> Any:
        return "done"

    handler.__name__ = handler.__qualname__ = name
    return handler


async def statuses(client: RouteClient, *names: str, payload: Any = None) -> list[int]:
    return [(await client.call(name, payload)).status for name in names]


async def passed(cls: Any, *scopes: Mapping[str, Any], name: str = "go", **options: Any) -> list[bool]:
    """Whether one call of a new socket for each of ``scopes`` passes."""
    found = []
    for scope in scopes:
        async with RouteClient(cls, scope=scope, **options) as client:
            found.append((await client.call(name)).status == 200)
    return found


class TestDeclaration:
    @pytest.mark.parametrize(
        "throttle",
        ["2/h", ["2/h"], ("2/h",), Throttle("2/h"), [Throttle("2/h"), "2/min"]],
        ids=repr,
    )
    async def test_rate_or_throttle_or_list(self, throttle: Any) -> None:
        """All mean the same."""
        async with RouteClient(consumer(throttle=throttle)) as client:
            assert await statuses(client, "go", "go", "go") == [200, 200, 429]

    @pytest.mark.parametrize("throttle", ["2/hours", 2, None, {"2/h"}, ["2/h", None], [["2/h"]], Throttle], ids=repr)
    def test_anything_else_is_refused_when_the_class_is_made(self, throttle: Any) -> None:
        """By the decorator already, with what to write."""
        with pytest.raises(RouteSetupError, match=r"30/min|2/day"):
            route("go", throttle=throttle)

    @pytest.mark.parametrize("option", ["route_throttle", "route_connection_throttle"])
    def test_options_of_the_class_are_checked_then(self, option: str) -> None:
        """And named."""
        with pytest.raises(RouteSetupError, match=f"Limited.{option}"):
            consumer(**{option: 5})
        with pytest.raises(RouteSetupError, match="is not a rate"):
            consumer(**{option: "5/x"})

    @pytest.mark.parametrize("hook", [lambda: "a", lambda one, two: "a"])
    @pytest.mark.parametrize("option", ["scope", "cost"])
    def test_function_that_cannot_be_called_with_a_request_is_refused(self, option: str, hook: Any) -> None:
        """When the class is made."""
        throttle = Throttle("2/h", **{option: hook})
        with pytest.raises(RouteSetupError, match=rf"Limited\.go: {option}="):
            consumer(throttle=throttle)

    def test_generator_is_no_answer(self) -> None:
        def yielding(request: Request) -> Iterator[str]:
            yield "a"

        with pytest.raises(RouteSetupError, match=r"Write `def scope\(request\)`"):
            consumer(throttle=Throttle("2/h", scope=yielding))

    def test_a_socket_is_not_counted_by_itself(self) -> None:
        """It would always be the first."""
        with pytest.raises(RouteSetupError, match="route_connection_throttle"):
            consumer(route_connection_throttle=Throttle("2/h", scope="socket"))

    def test_handler_stays_what_it_was(self) -> None:
        """And a route without a throttle has no step more than before."""
        assert consumer()._routesock.throttled is False
        plans = consumer(throttle="2/h", other=route("other")(answer_of("other")))._routesock.plans
        assert len(plans["go"].calls) == len(plans["other"].calls) + 1


class TestCommon:
    """``route_throttle``: all routes of the class together."""

    def cls(self, **own: Any) -> Any:
        return consumer(
            route_throttle="3/h",
            throttle=own.get("go", "2/h"),
            other=route("other")(answer_of("other")),
            free=route("free", throttle=())(answer_of("free")),
            also_free=route("also_free", throttle=[])(answer_of("also_free")),
        )

    async def test_it_counts_all_routes_together(self) -> None:
        """Beside what each route has of its own."""
        async with RouteClient(self.cls()) as client:
            assert await statuses(client, "go", "go", "go", "other", "other") == [200, 200, 429, 200, 429]

    async def test_call_that_the_route_refuses_costs_the_class_nothing(self) -> None:
        """All or nothing."""
        async with RouteClient(self.cls()) as client:
            assert await statuses(client, *["go"] * 10) == [200, 200, *[429] * 8]
            assert await statuses(client, "other", "other") == [200, 429]

    async def test_call_that_the_class_refuses_costs_the_route_nothing(self) -> None:
        cls = self.cls(go=Throttle("2/h", cost=run_on_loop(lambda request: request.payload)))
        async with RouteClient(cls) as client:
            assert await statuses(client, "other", "other", "other") == [200] * 3
            assert await statuses(client, "go", payload=1) == [429]
            assert await statuses(client, "go", payload=0) == [429]  # the class counts it as one

    async def test_empty_throttle_of_a_route_opens_it(self) -> None:
        """On purpose, over the default of the class."""
        async with RouteClient(self.cls()) as client:
            assert await statuses(client, *["free"] * 5, *["also_free"] * 5) == [200] * 10
            assert await statuses(client, *["other"] * 4) == [200, 200, 200, 429]

    async def test_subclass_counts_by_itself(self) -> None:
        """And may have another rate."""
        base = self.cls()
        derived = type("Derived", (base,), {"route_throttle": "1/h"})
        inheriting = type("Inheriting", (base,), {})
        for cls, count in ((base, 3), (derived, 1), (inheriting, 3)):
            async with RouteClient(cls) as client:
                assert (await statuses(client, *["other"] * 5)).count(200) == count


class TestWho:
    async def test_user_is_counted_over_all_sockets(self) -> None:
        """By primary key, from wherever."""
        scopes = [
            {"user": ALICE, "client": ["192.0.2.1", 1]},
            {"user": User(pk=1), "client": ["192.0.2.2", 1]},
            {"user": SimpleLazyObject(lambda: ALICE), "client": ["192.0.2.3", 1]},
            {"user": BOB, "client": ["192.0.2.1", 1]},
        ]
        assert await passed(consumer(throttle="1/h"), *scopes) == [True, False, False, True]

    async def test_addresses_do_not_meet(self) -> None:
        """There is no one bucket for all who are not signed in, whom one visitor could lock out."""
        scopes = [{"client": [f"192.0.2.{number}", 1], "user": AnonymousUser()} for number in (1, 2, 1, 3)]
        assert await passed(consumer(throttle="1/h"), *scopes) == [True, True, False, True]

    async def test_addresses_of_one_customer_are_one(self) -> None:
        """Who has an IPv6 address has 2**64 of them; an IPv4 address may be spelt as one, too."""
        addresses = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.1"]
        scopes = [{"client": [address, 1]} for address in addresses]
        assert await passed(consumer(throttle="1/h"), *scopes) == [True, False, True, True, False]

    @pytest.mark.parametrize(
        "user",
        [None, AnonymousUser(), AnonymousUser, User, User(), "alice", object()],
        ids=["none", "instance", "class", "model", "unsaved", "text", "object"],
    )
    async def test_who_is_not_signed_in_is_counted_by_address(self, user: Any) -> None:
        """Also where the scope says nothing, or a class where an instance belongs, or a user without a key."""
        scopes = [{"client": ["192.0.2.1", 1], "user": user}, {"client": ["192.0.2.1", 2]}]
        assert await passed(consumer(throttle="1/h"), *scopes) == [True, False]

    async def test_clients_without_an_address_do_not_meet(self) -> None:
        """Behind a socket in the file system, each counts for itself."""
        assert await passed(consumer(throttle="1/h"), {"client": None}, {"client": None}, {}) == [True, True, True]

    async def test_user_and_address_of_one_text_do_not_meet(self) -> None:
        """Kinds are told apart."""
        user = User(pk=1)
        user.pk = "192.0.2.1"
        throttle = Throttle("1/h", scope="user")
        assert await passed(consumer(throttle=throttle), {"user": user}, {"client": ["192.0.2.1", 1]}) == [True, True]

    async def test_scope_ip_counts_users_of_an_address_together(self) -> None:
        scopes = [{"client": ["192.0.2.1", 1], "user": user} for user in (ALICE, BOB)]
        assert await passed(consumer(throttle=Throttle("1/h", scope="ip")), *scopes) == [True, False]

    async def test_scope_socket_counts_each_socket(self) -> None:
        cls = consumer(throttle=Throttle("1/h", scope="socket"))
        async with RouteClient(cls, as_user=ALICE) as one, RouteClient(cls, as_user=ALICE) as other:
            assert await statuses(one, "go", "go") == [200, 429]
            assert await statuses(other, "go", "go") == [200, 429]

    @pytest.mark.parametrize(
        ("proxies", "expected"), [(0, [True, False]), (1, [True, True]), (2, [True, False])], ids=str
    )
    async def test_address_behind_proxies(self, proxies: int, expected: list[bool]) -> None:
        """As many as the setting says are believed."""
        found: list[bool] = []
        cls = consumer(throttle="1/h")
        with override_settings(ROUTESOCK={"NUM_PROXIES": proxies}):
            for forwarded in ("198.51.100.1, 203.0.113.1", "198.51.100.1, 203.0.113.2"):
                found += await passed(cls, {}, headers={"X-Forwarded-For": forwarded})
        assert found == expected

    async def test_user_who_signs_in_is_counted_as_such_from_then_on(self) -> None:
        """On the same socket: the scope is asked at each call."""

        async def sign_in(self: Any, request: Request) -> None:
            self.scope["user"] = ALICE

        cls = consumer(throttle="1/h", sign_in=route("sign_in", throttle=())(sign_in))
        async with RouteClient(cls, scope={"client": ["192.0.2.1", 1]}) as client:
            assert await statuses(client, "go", "go", "sign_in", "go", "go") == [200, 429, 204, 200, 429]

    async def test_function_says_who(self) -> None:
        """Sync in the database thread or on the loop, or async; of what the request has."""

        def by_payload(request: Request) -> str:
            return str(request.payload)

        async def by_payload_async(request: Request) -> int:
            return int(request.payload)

        for scope in (by_payload, run_on_loop(lambda request: request.payload), by_payload_async):
            forget_throttles()
            async with RouteClient(consumer(throttle=Throttle("1/h", scope=scope))) as client:
                assert [(await client.call("go", payload)).status for payload in (1, 1, 2)] == [200, 429, 200]

    @pytest.mark.parametrize("answer", [None, True, 1.5, b"a", ("a",), pytest.param(object(), id="object()")], ids=repr)
    async def test_function_that_names_nobody_is_a_fault(self, answer: Any) -> None:
        """And never one bucket for all, nor a call that is not counted."""
        cls = consumer(throttle=Throttle("1/h", scope=run_on_loop(lambda request: answer)))
        async with RouteClient(cls, raise_exceptions=False) as client:
            assert await statuses(client, "go") == [500]

    async def test_coroutine_of_a_plain_function_is_a_fault(self) -> None:
        """It would be true, and nobody would ever run it."""

        async def who(request: Request) -> str:
            return "a"

        cls = consumer(throttle=Throttle("1/h", scope=run_on_loop(lambda request: who(request))))
        async with RouteClient(cls, raise_exceptions=False) as client:
            assert await statuses(client, "go") == [500]

    async def test_function_may_refuse(self) -> None:
        """As any hook."""

        async def who(request: Request) -> str:
            raise Conflict

        async with RouteClient(consumer(throttle=Throttle("1/h", scope=who))) as client:
            assert await statuses(client, "go") == [409]


class TestCost:
    async def test_call_counts_for_so_many(self) -> None:
        async with RouteClient(consumer(throttle=Throttle("5/h", cost=2))) as client:
            assert await statuses(client, "go", "go", "go") == [200, 200, 429]

    async def test_function_says_how_many(self) -> None:
        """0 is always let through; what is more than the rate never is, so there is nothing to wait for."""

        async def cost(request: Request) -> int:
            return int(request.payload)

        async with RouteClient(consumer(throttle=Throttle("5/h", cost=cost, burst=4))) as client:
            replies = [await client.call("go", payload) for payload in (3, 5, 1, 1, 0)]
        assert [reply.status for reply in replies] == [200, 429, 200, 429, 200]
        assert "Retry-After" not in replies[1].headers
        assert replies[3].headers["Retry-After"] > 0

    @pytest.mark.parametrize("answer", [None, True, -1, 1.0, "1"], ids=repr)
    async def test_function_that_says_no_number_is_a_fault(self, answer: Any) -> None:
        cls = consumer(throttle=Throttle("5/h", cost=run_on_loop(lambda request: answer)))
        async with RouteClient(cls, raise_exceptions=False) as client:
            assert await statuses(client, "go") == [500]

    async def test_several_functions_are_asked_in_their_order(self) -> None:
        """Each throttle gets its own answers."""
        asked: list[str] = []

        def asking(name: str, answer: Any) -> Callable[[Request], Any]:
            def ask(request: Request) -> Any:
                asked.append(name)
                return answer

            return ask

        throttles = [
            Throttle("5/h", scope=asking("a", "x"), cost=asking("b", 1)),
            Throttle("4/h", cost=run_on_loop(asking("c", 2))),
            Throttle("9/h", scope=asking("d", "y")),
        ]
        async with RouteClient(consumer(throttle=throttles)) as client:
            assert await statuses(client, "go", "go", "go") == [200, 200, 429]
        assert asked == ["a", "b", "c", "d"] * 3


class TestBurst:
    async def test_burst_comes_at_once_and_the_rest_evenly(self) -> None:
        """Five of a hundred now, then five in each twentieth part of the period."""
        async with RouteClient(consumer(throttle=Throttle("100/100h", burst=5))) as client:
            replies = [await client.call("go") for _ in range(7)]
        assert [reply.status for reply in replies] == [200] * 5 + [429] * 2
        assert replies[5].headers["Retry-After"] <= 5 * 3600


class Numbers(marshmallow.Schema):
    number = marshmallow.fields.Integer(required=True)


class TestPlace:
    """Where in a request's way it is counted."""

    async def test_refused_caller_learns_nothing_of_the_schema(self) -> None:
        """Nor is a hook of the route called."""
        hydrated: list[Any] = []

        @run_on_loop
        def hydrate(request: Request) -> Any:
            hydrated.append(request.payload)
            return request.payload

        cls = type(
            "Limited",
            (RouteMixin, AsyncJsonWebsocketConsumer),
            {"go": route("go", throttle="2/h", schema=Numbers, hydrate=hydrate)(answer_of("go"))},
        )
        async with RouteClient(cls) as client:
            assert (await client.call("go", {"number": 1})).payload == "done"
            assert (await client.call("go", {"nonsense": 1})).status == 422  # and it counts
            reply = await client.call("go", {"nonsense": 1})
        assert (reply.status, "errors" in reply.payload) == (429, False)
        assert hydrated == [{"number": 1}]

    async def test_middleware_sees_a_refused_call(self) -> None:
        seen: list[Any] = []

        async def middleware(request: Request, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except Throttled as exc:
                seen.append((request.payload, exc.status))
                raise

        cls = consumer(throttle="1/h", route_middleware=[middleware])
        async with RouteClient(cls) as client:
            assert [(await client.call("go", payload)).status for payload in (1, 2)] == [200, 429]
        assert seen == [(2, 429)]

    async def test_heartbeat_and_foreign_frames_are_not_counted(self) -> None:
        """PING is answered before any throttle, and what names no route is the consumer's own."""

        async def receive_json(self: Any, content: Any, **kwargs: Any) -> None:
            await self.send_json({"own": content})

        cls = consumer(throttle="1/h", route_throttle="1/h", receive_json=receive_json)
        async with RouteClient(cls) as client:
            assert await statuses(client, "go", "go") == [200, 429]
            for _ in range(3):
                await client.send_json({"route": "PING", "uuid": 1})
                assert (await client.receive())["route"] == "PONG"
                await client.send_json({"route": "other"})
                assert await client.receive() == {"own": {"route": "other"}}

    async def test_notification_is_counted_and_its_refusal_sent(self) -> None:
        """With no uuid, as every error of one."""
        async with RouteClient(consumer(throttle="1/h")) as client:
            for _ in range(2):
                await client.send_json({"route": "go"})
            reply = await client.receive()
        assert (reply["uuid"], reply["status"]) == (None, 429)

    async def test_sync_consumers_and_streams(self) -> None:
        """Are throttled alike."""

        def handler(self: Any, request: Request) -> str:
            return "answer"

        async def stream(self: Any, request: Request) -> Any:
            yield 1
            yield 2

        sync = type("Sync", (RouteMixin, JsonWebsocketConsumer), {"go": route("go", throttle="1/h")(handler)})
        async with RouteClient(sync) as client:
            assert await statuses(client, "go", "go") == [200, 429]
        with override_settings(ROUTESOCK={"THROTTLE_HEADERS": True}):
            async with RouteClient(consumer(stream=route("stream", throttle="1/h")(stream))) as client:
                for expected in ([206, 206, 200], [429]):
                    await client.send_json({"route": "stream", "uuid": 1})
                    frames = [await client.receive() for _ in expected]
                    assert [frame["status"] for frame in frames] == expected
                    assert frames[-1]["headers"]["RateLimit"].startswith('"1/h";r=0')

    async def test_parallel_calls_get_what_there_is(self) -> None:
        """However many run at a time."""
        cls = consumer(other=route("other", throttle="5/h", parallel=True)(answer_of("other")))
        async with RouteClient(cls) as client:
            replies = await asyncio.gather(*(client.call("other") for _ in range(12)))
        assert sorted(reply.status for reply in replies) == [200] * 5 + [429] * 7


class TestReply:
    async def test_refusal_says_when_to_come_back(self) -> None:
        """In whole seconds, rounded up."""
        async with RouteClient(consumer(throttle="1/h")) as client:
            await client.call("go")
            reply = await client.call("go")
        assert (reply.status, reply.payload["code"]) == (429, "throttled")
        assert reply.headers == {"Retry-After": 3600}
        assert type(reply.headers["Retry-After"]) is int

    async def test_headers_tell_what_is_left_where_the_setting_says_so(self) -> None:
        """On replies and on refusals; beside the handler's own."""

        async def own(self: Any, request: Request) -> Reply:
            return Reply("made", status=201, headers={"Own": 1})

        cls = consumer(throttle=["2/h", Throttle("9/10m", scope="ip")], own=route("own", throttle="2/h")(own))
        with override_settings(ROUTESOCK={"THROTTLE_HEADERS": True}):
            async with RouteClient(cls) as client:
                replies = [await client.call("go") for _ in range(3)]
                made = await client.call("own")
        policy = '"2/h";q=2;w=3600, "9/10m ip";q=9;w=600'
        assert {reply.headers["RateLimit-Policy"] for reply in replies} == {policy}
        left = [re.sub(r"t=\d+", "t", reply.headers["RateLimit"]) for reply in replies]
        assert left == [
            '"2/h";r=1;t, "9/10m ip";r=8;t',
            '"2/h";r=0;t, "9/10m ip";r=7;t',
            '"2/h";r=0;t, "9/10m ip";r=7;t',
        ]
        assert "Retry-After" in replies[2].headers
        assert made.status == 201
        assert made.headers == {"Own": 1, "RateLimit-Policy": '"2/h";q=2;w=3600', "RateLimit": '"2/h";r=1;t=3600'}

    async def test_headers_are_off_as_it_comes(self) -> None:
        """A client that is used to replies without headers gets none."""
        async with RouteClient(consumer(throttle="2/h")) as client:
            await client.send_json({"route": "go", "uuid": 1})
            assert await client.receive() == {"uuid": 1, "route": "go", "status": 200, "payload": "done"}

    async def test_headers_survive_a_middleware_that_answers_itself(self) -> None:
        """Though it has no way to know what is left; nothing fails."""

        async def middleware(request: Request, call_next: Any) -> Any:
            return "of the middleware"

        with override_settings(ROUTESOCK={"THROTTLE_HEADERS": True}):
            async with RouteClient(consumer(throttle="2/h", route_middleware=[middleware])) as client:
                assert (await client.call("go")).payload == "of the middleware"


class TestConnections:
    def cls(self, **attributes: Any) -> Any:
        return consumer(route_connection_throttle="2/h", **attributes)

    async def opened(self, cls: Any, **options: Any) -> bool:
        async with RouteClient(cls, **options) as client:
            return await answers(client)

    async def test_sockets_of_a_caller_are_counted(self) -> None:
        """Those of another are not, and what they do then is another matter."""
        cls = self.cls()
        assert [await self.opened(cls) for _ in range(4)] == [True, True, False, False]
        assert await self.opened(cls, scope={"client": ["192.0.2.7", 1]})
        assert await self.opened(cls, as_user=ALICE)

    async def test_refused_socket_is_told_why_and_when_to_come_back(self) -> None:
        """It is accepted, since a browser could not tell otherwise; no code of the consumer's runs."""
        ran: list[str] = []

        async def connect(self: Any) -> None:
            ran.append("connect")
            await self.accept()

        async def disconnect(self: Any, code: int) -> None:
            ran.append("disconnect")

        cls = self.cls(connect=connect, disconnect=disconnect)
        for _ in range(2):
            assert await self.opened(cls)
        ran.clear()
        async with RouteClient(cls, subprotocols=["chat"]) as client:
            assert (await client.expect_close()).code == 4429
        assert ran == []

    async def test_notice_says_it_too(self) -> None:
        """Some servers drop the reason of a close."""
        cls = self.cls()
        frames = [await raw(cls) for _ in range(3)][2]
        assert [frame["type"] for frame in frames] == ["websocket.accept", "websocket.send", "websocket.close"]
        assert frames[1]["text"] == (
            '{"route": "CLOSE", "payload": {"code": 4429, "reason": "Too many requests.", '
            '"reconnect": true, "retry_after": 3600}}'
        )
        assert frames[2]["code"] == 4429

    async def test_function_sees_the_scope(self) -> None:
        """In a request without a route."""

        async def by_path(request: Request) -> str:
            assert (request.route, request.payload, request.id) == ("", None, None)
            return str(request.scope["path"])

        cls = consumer(route_connection_throttle=Throttle("1/h", scope=by_path))
        found = []
        for path in ("/a/", "/a/", "/b/"):
            async with RouteClient(cls, path) as client:
                found.append(await answers(client))
        assert found == [True, False, True]

    async def test_function_that_fails_lets_nobody_in(self, caplog: pytest.LogCaptureFixture) -> None:
        """And ends nothing but that socket, even if it means to exit."""

        @run_on_loop
        def fails(request: Request) -> str:
            raise SystemExit

        frames = await raw(consumer(route_connection_throttle=Throttle("1/h", scope=fails)))
        assert frames[-1]["code"] == 4500
        assert "SystemExit" in caplog.text

    async def test_store_that_cannot_decide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the same policy as for calls."""
        failing(monkeypatch)
        assert await self.opened(self.cls())
        with override_settings(ROUTESOCK={"THROTTLE_FAIL": "closed"}):
            assert (await raw(self.cls()))[-1]["code"] == 4503


async def answers(client: RouteClient) -> bool:
    """Whether the socket is served."""
    try:
        await client.ping()
    except ConnectionClosed:
        return False
    return True


async def raw(cls: Any) -> list[dict[str, Any]]:
    """What one socket of ``cls`` sends until it waits for its client."""
    frames: list[dict[str, Any]] = []
    events = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])

    async def receive() -> dict[str, Any]:
        return next(events)

    async def send(frame: dict[str, Any]) -> None:
        frames.append(frame)

    scope = {"type": "websocket", "path": "/", "headers": [], "client": ["192.0.2.1", 1], "subprotocols": []}
    await cls.as_asgi()(scope, receive, send)
    return frames


class Failing:
    async def take(self, buckets: Sequence[Bucket], timeout: float, *, quotas: bool) -> Decision:
        raise StoreError("down")

    def close(self) -> None: ...


def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have a store that cannot decide."""
    store = Failing()

    async def get_store(alias: str) -> MonitoredStore:
        return MonitoredStore(store)

    monkeypatch.setattr("routesock._pipeline.throttle_steps.get_store", get_store)
    return store


class TestOutage:
    async def test_calls_pass_or_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the setting says."""
        failing(monkeypatch)
        async with RouteClient(consumer(throttle="1/h")) as client:
            assert await statuses(client, "go", "go") == [200, 200]
        with override_settings(ROUTESOCK={"THROTTLE_FAIL": "closed"}):
            async with RouteClient(consumer(throttle="1/h")) as client:
                reply = await client.call("go")
        assert (reply.status, reply.payload["code"], reply.headers) == (503, "unavailable", {"Retry-After": 1})

    async def test_full_store_is_no_outage(self, caplog: pytest.LogCaptureFixture) -> None:
        """New callers share one limit: nobody is let through since others have filled the store."""
        from routesock.throttling import stores

        cls = consumer(throttle="1/h")
        scopes = [{"client": [f"192.0.2.{number}", 1]} for number in range(4)]
        with override_settings(
            CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "small"}}
        ):
            stores._memory_stores["small"] = stores.MemoryStore(max_logs=2)
            try:
                assert await passed(cls, *scopes, *scopes) == [True, True, False, False] + [False] * 4
            finally:
                del stores._memory_stores["small"]
        assert caplog.text.count("new ones share one limit") == 1

    async def test_deadline_begins_when_the_handler_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the store took is not held against it."""
        started: list[float | None] = []

        async def slow(self: Any, request: Request) -> None:
            started.append(request.started)

        async def quick(self: Any, request: Request) -> None:
            started.append(request.started)

        cls = consumer(slow=route("slow", throttle="5/h")(slow), quick=route("quick")(quick))
        store = failing(monkeypatch)

        async def take(buckets: Any, timeout: float, *, quotas: bool) -> Decision:
            return ALLOWED

        store.take = take
        async with RouteClient(cls) as client:
            assert await statuses(client, "slow", "quick") == [204, 204]
        assert started[0] is not None
        assert started[1] is None


class TestSettings:
    async def test_are_those_of_the_first_throttled_call_of_a_socket(self) -> None:
        """An open socket keeps them."""
        cls = consumer(throttle="5/h", other=route("other")(answer_of("other")))
        with override_settings(ROUTESOCK={"THROTTLE_HEADERS": True}):
            async with RouteClient(cls) as client:
                with override_settings(ROUTESOCK={}):
                    assert (await client.call("other")).headers == {}
                assert (await client.call("go")).headers != {}
                with override_settings(ROUTESOCK={}):
                    assert (await client.call("go")).headers != {}

    async def test_cache_that_does_not_exist_is_a_fault(self) -> None:
        """Found by a system check; until then nothing passes uncounted."""
        with override_settings(ROUTESOCK={"THROTTLE_CACHE": "nowhere"}):
            async with RouteClient(consumer(throttle="1/h"), raise_exceptions=False) as client:
                assert await statuses(client, "go", "go") == [500, 500]


@pytest.mark.parametrize("name", ["*", "connect", "class", "connection", "a|0", "route:a"])
async def test_no_name_of_a_route_meets_another_window(name: str) -> None:
    """A route has windows of its own, whatever it is called: names are for projects to choose."""

    class Named(RouteMixin, AsyncJsonWebsocketConsumer):
        route_throttle = "5/h"
        route_connection_throttle = "5/h"

        @route(name, throttle="5/h")
        async def named(self, request: Request) -> str:
            return "done"

        @route("a", throttle="5/h")
        async def other(self, request: Request) -> None: ...

    client = {"client": ["192.0.2.1", 1]}
    assert await passed(Named, client, client, name=name) == [True, True]
    store: Any = (await stores.get_store("default")).memory
    used = [log.used for logs in store._windows.values() for log in logs.values()]
    assert sorted(used) == [2, 2, 2]  # those of the class, of new sockets and of the route
