"""``@topic``: what may be declared, and what SUBSCRIBE and UNSUBSCRIBE do on async and sync consumers."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import User
from django.http import Http404
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import Schema, fields

from routesock import Keys, Reply, Request, RouteMixin, RouteSetupError, abroadcast, checks, route, topic
from routesock.permissions import BasePermission, IsAuthenticated
from routesock.signals import request_finished
from routesock.testing import RouteClient, forget_throttles
from tests.takeover.driver import Socket, turns, until


class RoomParams(Schema):
    room_id = fields.Integer(required=True)


class Member(BasePermission):
    message = "You are no member."

    def has_object_permission(self, request: Any, obj: Any) -> bool:
        return obj != {"room": 13}


def load_room(request: Request) -> Any:
    if request.payload["room_id"] == 404:
        raise Http404
    return {"room": request.payload["room_id"]}


async def only_small(request: Request, call_next: Any) -> Any:
    if request.payload["room_id"].isdigit() and int(request.payload["room_id"]) > 1000:
        return Reply({"reason": "large"}, status=409)
    return await call_next(request)


room_topic = topic(
    "room.{room_id}",
    schema=RoomParams,
    hydrate=load_room,
    permissions=[Member],
    middleware=[only_small],
    dehydrate=lambda result: {**result, "spelt": True},
    unsubscribe="left",
)


class Rooms(RouteMixin, AsyncJsonWebsocketConsumer):
    @room_topic
    async def room(self, request: Request) -> Any:
        self.note("room", request)
        if request.payload == {"room": 500}:
            raise ValueError("broken")
        if request.payload == {"room": 12}:
            return {"not": object()}
        return {"snapshot": request.payload}

    @topic("room.all")
    async def all_rooms(self, request: Request) -> str:
        return "all"

    @topic("raw.{a}.x-{b}")
    @topic("raw")
    async def raw(self, request: Request) -> Any:
        return [request.payload, request.data, request.topic, request.route]

    @topic("nothing")
    async def nothing(self, request: Request) -> None:
        return None

    @topic("refused")
    async def refused(self, request: Request) -> Reply:
        return Reply("no", status=423)

    @topic("slow", timeout=0.02)
    async def slow(self, request: Request) -> str:
        self.scope["log"].append(("slow", request.topic))
        await asyncio.sleep(30)
        return "never"

    @topic("stubborn.{how}", timeout=0.02)
    async def stubborn(self, request: Request) -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.scope["log"].append(("swallowed", request.topic))
        return "all the same"

    @topic("members", permissions=[IsAuthenticated])
    async def members(self, request: Request) -> str:
        return "in"

    def left(self, request: Request) -> None:
        self.note("left", request)

    def note(self, what: str, request: Request) -> None:
        self.scope["log"].append((what, request.route, request.topic, request.payload, request.data))

    @route("groups")
    async def groups_now(self, request: Request) -> list[str]:
        return sorted(self.socket.groups)

    @route("join")
    async def join(self, request: Request) -> None:
        await self.socket.join(request.payload)

    @route("leave")
    async def leave(self, request: Request) -> None:
        await self.socket.leave(request.payload)

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


class SyncRooms(RouteMixin, JsonWebsocketConsumer):
    @room_topic
    def room(self, request: Request) -> Any:
        self.note("room", request)
        if request.payload == {"room": 500}:
            raise ValueError("broken")
        if request.payload == {"room": 12}:
            return {"not": object()}
        return {"snapshot": request.payload}

    @topic("nothing")
    def nothing(self, request: Request) -> None:
        return None

    @topic("members", permissions=[IsAuthenticated])
    def members(self, request: Request) -> str:
        return "in"

    def left(self, request: Request) -> None:
        self.note("left", request)

    def note(self, what: str, request: Request) -> None:
        self.scope["log"].append((what, request.route, request.topic, request.payload, request.data))

    @route("groups")
    def groups_now(self, request: Request) -> list[str]:
        return sorted(self.socket.groups)

    @route("join")
    def join(self, request: Request) -> None:
        self.socket.join(request.payload)

    @route("leave")
    def leave(self, request: Request) -> None:
        self.socket.leave(request.payload)

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


class GuardedRooms(Rooms):
    """Every frame passes through the consumer's own code."""

    async def dispatch(self, message: Any) -> None:
        await super().dispatch(message)


class GuardedSyncRooms(SyncRooms):
    def websocket_receive(self, message: Any) -> None:
        super().websocket_receive(message)


ALL = pytest.mark.parametrize("consumer", [Rooms, SyncRooms, GuardedRooms, GuardedSyncRooms])
BOTH = pytest.mark.parametrize("consumer", [Rooms, SyncRooms])


def socket(consumer: Any, **scope: Any) -> Socket:
    return Socket(consumer.as_asgi(), log=[], **scope)


async def subscribe(client: Socket, name: Any, uuid: Any = "s") -> tuple[int, Any]:
    return await answer(client, "SUBSCRIBE", {"topic": name}, uuid)


async def unsubscribe(client: Socket, name: Any, uuid: Any = "u") -> tuple[int, Any]:
    return await answer(client, "UNSUBSCRIBE", {"topic": name}, uuid)


async def answer(client: Socket, name: str, payload: Any, uuid: Any = "a") -> tuple[int, Any]:
    """Status of the reply, and its payload, or the code of an error."""
    before = len(client.replies(uuid))
    client.request(name, uuid, payload)
    await until(lambda: len(client.replies(uuid)) > before, f"a reply to {name}")
    reply = client.replies(uuid)[-1]
    assert reply["route"] == name
    is_problem = type(reply["payload"]) is dict and "code" in reply["payload"]
    return reply["status"], reply["payload"]["code"] if is_problem else reply["payload"]


def pushes(client: Socket) -> list[Any]:
    return [frame["payload"] for frame in client.frames if "uuid" not in frame]


async def groups(client: Socket) -> Any:
    return (await answer(client, "groups", None, "g"))[1]


# Requests


@ALL
async def test_a_client_is_sent_what_is_broadcast_to_its_topic_until_it_unsubscribes(consumer: type) -> None:
    async with socket(consumer) as client:
        await abroadcast("room.5", "news", 0)
        assert await subscribe(client, "room.5") == (200, {"snapshot": {"room": 5}, "spelt": True})
        await abroadcast("room.5", "news", 1)
        await abroadcast("room.6", "news", 2)
        assert await unsubscribe(client, "room.5") == (204, None)
        await abroadcast("room.5", "news", 3)
        assert await subscribe(client, "room.5") == (200, {"snapshot": {"room": 5}, "spelt": True})
        await abroadcast("room.5", "news", 4)
        await until(lambda: len(pushes(client)) == 2)
        assert pushes(client) == [1, 4]


@ALL
async def test_the_hook_gets_what_the_handler_got(consumer: type) -> None:
    async with socket(consumer) as client:
        await subscribe(client, "room.5")
        await unsubscribe(client, "room.5")
        got = ("room.5", {"room": 5}, {"room_id": 5})
        assert client.log == [("room", "SUBSCRIBE", *got), ("left", "UNSUBSCRIBE", *got)]


@BOTH
async def test_a_handler_that_returns_none_is_a_204(consumer: type) -> None:
    async with socket(consumer) as client:
        assert await subscribe(client, "nothing") == (204, None)
        assert await groups(client) == ["nothing"]


async def test_without_a_schema_the_payload_is_the_parameters() -> None:
    async with socket(Rooms) as client:
        parameters = {"a": "5", "b": "é "}
        assert await subscribe(client, "raw.5.x-é ") == (200, [parameters, parameters, "raw.5.x-é ", "SUBSCRIBE"])
        assert await subscribe(client, "raw") == (200, [{}, {}, "raw", "SUBSCRIBE"])


async def test_a_text_wins_over_a_parameter() -> None:
    async with socket(Rooms) as client:
        assert await subscribe(client, "room.all") == (200, "all")


@ALL
async def test_what_cannot_be_subscribed_to_says_why(consumer: type) -> None:
    async with socket(consumer) as client:
        assert await subscribe(client, "rooms.5") == (404, "unknown_topic")
        assert await subscribe(client, "room") == (404, "unknown_topic")
        assert await subscribe(client, "room.x") == (422, "invalid")
        assert await subscribe(client, "room.404") == (404, "not_found")
        assert await subscribe(client, "room.13") == (401, "not_authenticated")
        assert await subscribe(client, "room.2000") == (409, {"reason": "large"})
        assert await subscribe(client, "room.500") == (500, "internal_error")
        assert await subscribe(client, "room.12") == (500, "internal_error")
        assert await subscribe(client, "members") == (401, "not_authenticated")
        assert await unsubscribe(client, "room.5") == (404, "not_subscribed")
        assert await unsubscribe(client, "room.500") == (404, "not_subscribed")
        assert await unsubscribe(client, "room.12") == (404, "not_subscribed")
        assert await groups(client) == []
        assert [entry for entry in client.log if entry[0] == "left"] == []


async def test_a_schema_that_refuses_the_parameters_says_so_by_field() -> None:
    async with socket(Rooms) as client:
        client.request("SUBSCRIBE", 1, {"topic": "room.x"})
        assert (await client.reply(1))["payload"]["errors"] == {"room_id": ["Not a valid integer."]}


@BOTH
async def test_a_user_without_the_permission_is_403(consumer: type) -> None:
    user = User(pk=1, username="alice")
    async with socket(consumer, user=user) as client:
        assert await subscribe(client, "members") == (200, "in")
        client.request("SUBSCRIBE", 1, {"topic": "room.13"})
        reply = await client.reply(1)
        assert (reply["status"], reply["payload"]["detail"]) == (403, "You are no member.")


@BOTH
async def test_a_second_subscription_is_409_and_the_first_stays(consumer: type) -> None:
    async with socket(consumer) as client:
        await subscribe(client, "room.5")
        assert await subscribe(client, "room.5") == (409, "already_subscribed")
        await abroadcast("room.5", "news", 1)
        await until(lambda: pushes(client) == [1])
        assert await unsubscribe(client, "room.5") == (204, None)
        assert await unsubscribe(client, "room.5") == (404, "not_subscribed")
        assert [entry[0] for entry in client.log] == ["room", "left"]


async def test_a_socket_has_at_most_so_many_subscriptions() -> None:
    with override_settings(ROUTESOCK={"MAX_SUBSCRIPTIONS": 2}):
        async with socket(Rooms) as client:
            await subscribe(client, "room.1")
            assert (await subscribe(client, "room.500"))[0] == 500
            await subscribe(client, "room.2")
            client.request("SUBSCRIBE", 1, {"topic": "room.3"})
            reply = await client.reply(1)
            assert (reply["status"], reply["payload"]["code"]) == (429, "too_many_subscriptions")
            assert reply["payload"]["limit"] == 2
            await unsubscribe(client, "room.1")
            assert (await subscribe(client, "room.3"))[0] == 200


@pytest.mark.parametrize(
    "payload", [None, 5, "room.5", [], ["room.5"], {}, {"topic": None}, {"topic": 5}, {"topic": ["room.5"]}, True]
)
@pytest.mark.parametrize("name", ["SUBSCRIBE", "UNSUBSCRIBE"])
async def test_a_payload_without_a_name_is_422(name: str, payload: Any) -> None:
    async with socket(Rooms) as client:
        client.request(name, 1, payload)
        reply = await client.reply(1)
        assert (reply["status"], list(reply["payload"]["errors"])) == (422, ["topic"])


@pytest.mark.parametrize("name", ["SUBSCRIBE", "UNSUBSCRIBE"])
async def test_a_name_has_at_most_128_characters(name: str) -> None:
    async with socket(Rooms) as client:
        assert (await answer(client, name, {"topic": "raw." + "x" * 125}))[0] == 422
        assert (await answer(client, name, {"topic": "raw." + "x" * 124}))[0] == 404
        assert (await answer(client, "SUBSCRIBE", {"topic": "raw.1.x-" + "y" * 120}))[0] == 200


NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=140)


@given(NAMES | st.sampled_from(["raw.\x00.x-\U0001f600", "raw.1.x-"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_is_answered_and_joins_no_other_group(name: str) -> None:
    async def run() -> None:
        async with socket(Rooms) as client:
            status, _ = await answer(client, "SUBSCRIBE", {"topic": name})
            assert status in (200, 204, 401, 404, 422, 423, 504)
            assert await groups(client) == ([name] if status in (200, 204) else [])

    asyncio.run(run())


@BOTH
async def test_the_keys_of_a_client_are_no_parameters(consumer: type) -> None:
    async with socket(consumer) as client:
        payload = {"topic": "room.5", "room_id": 13, "self": 1, "request": 2, "permissions": []}
        assert await answer(client, "SUBSCRIBE", payload) == (200, {"snapshot": {"room": 5}, "spelt": True})


@ALL
async def test_a_notification_subscribes_without_a_reply(consumer: type) -> None:
    async with socket(consumer) as client:
        client.json({"route": "SUBSCRIBE", "payload": {"topic": "nothing"}})
        assert await groups(client) == ["nothing"]
        client.json({"route": "UNSUBSCRIBE", "payload": {"topic": "nothing"}})
        assert await groups(client) == []
        assert [frame["uuid"] for frame in client.frames] == ["g", "g"]


@ALL
async def test_requests_behind_a_subscription_are_answered_behind_it(consumer: type) -> None:
    async with socket(consumer) as client:
        client.request("SUBSCRIBE", 1, {"topic": "room.5"})
        client.request("groups", 2)
        client.request("UNSUBSCRIBE", 3, {"topic": "room.5"})
        client.request("groups", 4)
        client.request("SUBSCRIBE", 5, {"topic": "room.5"})
        await client.reply(5)
        assert client.statuses() == [(1, 200), (2, 200), (3, 204), (4, 200), (5, 200)]
        assert client.replies(2)[0]["payload"] == ["room.5"]
        assert client.replies(4)[0]["payload"] == []


async def test_an_id_in_flight_is_refused() -> None:
    async with socket(Rooms) as client:
        client.request("SUBSCRIBE", 1, {"topic": "slow"})
        await until(lambda: client.log)
        client.request("SUBSCRIBE", 1, {"topic": "room.5"})
        await until(lambda: len(client.replies(1)) == 2)
        assert [(reply["status"], reply["payload"]["code"]) for reply in client.replies(1)] == [
            (409, "duplicate_id"),
            (504, "timeout"),
        ]


@BOTH
async def test_the_testing_kit_subscribes(consumer: type) -> None:
    async with RouteClient(consumer, scope={"log": []}) as client:
        assert (await client.call("SUBSCRIBE", {"topic": "room.5"})).payload == {
            "snapshot": {"room": 5},
            "spelt": True,
        }
        await abroadcast("room.5", "news", {"text": "Hello"})
        assert (await client.receive()) == {
            "route": "news",
            "headers": {"Topic": "room.5"},
            "payload": {"text": "Hello"},
        }
        assert (await client.call("UNSUBSCRIBE", {"topic": "room.5"})).status == 204


async def test_another_dialect_names_the_topic_in_its_payload() -> None:
    class Flat(Rooms):
        route_dialect = Keys(route="action", id="ref", payload=None)

    async with socket(Flat) as client:
        client.json({"action": "SUBSCRIBE", "ref": 1, "topic": "room.5"})
        await client.read(1)
        assert client.frames[0]["snapshot"] == {"room": 5}


# The group, while a handler runs and after it has failed


class Waiting(Rooms):
    @topic("waiting.{how}", timeout=None)
    async def waiting(self, request: Request) -> str:
        self.scope["log"].append(("waits", request.topic))
        await self.scope["go"].wait()
        if request.payload["how"] == "fails":
            raise ValueError
        return "snapshot"


async def test_a_push_between_the_snapshot_and_the_reply_is_not_lost() -> None:
    go = asyncio.Event()
    async with socket(Waiting, go=go) as client:
        client.request("SUBSCRIBE", 1, {"topic": "waiting.x"})
        await until(lambda: client.log)
        await abroadcast("waiting.x", "news", "early")
        await until(lambda: pushes(client) == ["early"])
        assert client.replies(1) == []
        go.set()
        assert (await client.reply(1))["payload"] == "snapshot"


async def test_a_socket_whose_handler_fails_has_left_the_group() -> None:
    go = asyncio.Event()
    async with socket(Waiting, go=go) as client:
        client.request("SUBSCRIBE", 1, {"topic": "waiting.fails"})
        await until(lambda: client.log)
        go.set()
        assert (await client.reply(1))["status"] == 500
        await abroadcast("waiting.fails", "news", 1)
        assert await groups(client) == []
        assert pushes(client) == []


@pytest.mark.parametrize("consumer", [Waiting, type("Guarded", (Waiting, GuardedRooms), {})])
async def test_a_socket_whose_client_cancels_has_left_the_group(consumer: type) -> None:
    async with socket(consumer, go=asyncio.Event()) as client:
        client.request("SUBSCRIBE", 1, {"topic": "waiting.x"})
        await until(lambda: client.log)
        client.cancel(1)
        assert (await client.reply(1))["status"] == 499
        assert await groups(client) == []
        assert await unsubscribe(client, "waiting.x") == (404, "not_subscribed")


@pytest.mark.parametrize("consumer", [Rooms, GuardedRooms])
async def test_the_deadline_is_that_of_the_topic_and_the_group_is_left(consumer: type) -> None:
    async with socket(consumer) as client:
        assert await subscribe(client, "slow") == (504, "timeout")
        assert await groups(client) == []


@pytest.mark.parametrize("consumer", [Rooms, GuardedRooms])
async def test_the_deadline_is_that_of_the_topic_where_it_had_to_wait_for_its_turn(consumer: type) -> None:
    async with socket(consumer) as client:
        client.request("SUBSCRIBE", 1, {"topic": "slow"})
        client.request("SUBSCRIBE", 2, {"topic": "slow"})
        assert (await client.reply(1))["status"] == 504
        assert (await client.reply(2))["status"] == 504


@pytest.mark.parametrize("consumer", [Rooms, GuardedRooms])
async def test_a_handler_that_takes_no_notice_of_its_deadline_subscribes_nobody(consumer: type) -> None:
    async with socket(consumer) as client:
        assert await subscribe(client, "stubborn.x") == (504, "timeout")
        assert await groups(client) == []
        assert client.log == [("swallowed", "stubborn.x")]


class Blocking(SyncRooms):
    @topic("blocking", unsubscribe="left")
    def blocking(self, request: Request) -> str:
        self.scope["log"].append(("blocks", request.topic))
        self.scope["go"].wait(30)
        self.scope["log"].append(("ended", request.topic))
        return "too late"


@pytest.mark.parametrize("consumer", [Blocking, type("GuardedBlocking", (Blocking, GuardedSyncRooms), {})])
async def test_a_thread_that_ends_after_the_client_has_cancelled_subscribes_nobody(consumer: type) -> None:
    go = threading.Event()
    async with socket(consumer, go=go) as client:
        client.request("SUBSCRIBE", 1, {"topic": "blocking"})
        await until(lambda: client.log)
        client.cancel(1)
        assert (await client.reply(1))["status"] == 499
        go.set()
        await until(lambda: len(client.log) == 2)
        await until(lambda: client.is_idle())
        assert await groups(client) == []
        assert await unsubscribe(client, "blocking") == (404, "not_subscribed")
    assert [entry[0] for entry in client.log] == ["blocks", "ended"]


async def test_a_refusal_that_the_handler_returns_subscribes_nobody() -> None:
    async with socket(Rooms) as client:
        assert await subscribe(client, "refused") == (423, "no")
        assert await groups(client) == []


async def test_a_result_that_dehydrate_refuses_subscribes_nobody() -> None:
    class Undumpable(Rooms):
        @topic("dump", dehydrate=lambda result: 1 / 0, unsubscribe="left")
        async def dump(self, request: Request) -> int:
            return 1

    async with socket(Undumpable) as client:
        assert await subscribe(client, "dump") == (500, "internal_error")
        assert await groups(client) == []
    assert client.log == []


async def test_who_is_denied_never_joins() -> None:
    seen: list[frozenset[str]] = []

    class Looking(Rooms):
        @topic("looked.at", permissions=["may"])
        async def looked(self, request: Request) -> None:
            seen.append(self.socket.groups)

        def may(self, request: Request) -> bool:
            seen.append(self.socket.groups)
            return bool(self.scope["may"])

    async with socket(Looking, may=False) as client:
        assert (await subscribe(client, "looked.at"))[0] == 401
        client.scope["may"] = True
        assert (await subscribe(client, "looked.at"))[0] == 204
    assert seen == [frozenset(), frozenset(), frozenset({"looked.at"})]


# The consumer's own memberships


@BOTH
async def test_a_group_that_the_consumer_has_joined_stays_after_an_unsubscribe(consumer: type) -> None:
    async with socket(consumer) as client:
        await client.call("join", 1, "room.5")
        await subscribe(client, "room.5")
        await abroadcast("room.5", "news", 1)
        await until(lambda: pushes(client) == [1])  # once
        await unsubscribe(client, "room.5")
        await abroadcast("room.5", "news", 2)
        await until(lambda: pushes(client) == [1, 2])
        await client.call("leave", 2, "room.5")
        assert await groups(client) == []


@BOTH
async def test_a_topic_stays_where_the_consumer_leaves_the_group(consumer: type) -> None:
    async with socket(consumer) as client:
        await subscribe(client, "room.5")
        await client.call("join", 1, "room.5")
        await client.call("leave", 2, "room.5")
        await client.call("leave", 3, "room.5")
        assert await groups(client) == ["room.5"]
        await abroadcast("room.5", "news", 1)
        await until(lambda: pushes(client) == [1])
        assert await unsubscribe(client, "room.5") == (204, None)
        assert await groups(client) == []


# Options of the class and the settings


async def test_the_permissions_of_the_class_and_of_the_settings_hold() -> None:
    class Closed(Rooms):
        route_permissions = [IsAuthenticated]

    async with socket(Closed) as client:
        assert await subscribe(client, "nothing") == (401, "not_authenticated")
    with override_settings(ROUTESOCK={"PERMISSIONS": ["routesock.permissions.IsAuthenticated"]}):
        async with socket(Rooms) as client:
            assert await subscribe(client, "nothing") == (401, "not_authenticated")
    async with socket(Rooms) as client:
        assert await subscribe(client, "nothing") == (204, None)


async def test_throttles_of_the_topic_and_of_the_class_hold() -> None:
    class Limited(Rooms):
        route_throttle = "4/min"

        @topic("limited.{name}", throttle="2/min")
        async def limited(self, request: Request) -> str:
            return "in"

    forget_throttles()
    async with socket(Limited) as client:
        assert [(await subscribe(client, f"limited.{n}"))[0] for n in range(3)] == [200, 200, 429]
        assert (await subscribe(client, "nothing"))[0] == 204
        assert await answer(client, "echo", 1) == (200, 1)
        assert (await subscribe(client, "room.all"))[0] == 429
        assert (await unsubscribe(client, "nothing"))[0] == 204
    forget_throttles()


async def test_the_prefix_of_routes_is_none_of_topics() -> None:
    class Prefixed(Rooms):
        route_prefix = "chat."

    async with socket(Prefixed) as client:
        assert (await subscribe(client, "room.5"))[0] == 200


async def test_middleware_of_settings_and_class_is_around_the_handler() -> None:
    seen: list[Any] = []

    async def noted(request: Request, call_next: Any) -> Any:
        seen.append((request.route, request.topic, request.payload))
        return await call_next(request)

    class Noted(Rooms):
        route_middleware = [noted]

    async with socket(Noted) as client:
        await subscribe(client, "raw.1.x-2")
        await unsubscribe(client, "raw.1.x-2")
    assert seen == [("SUBSCRIBE", "raw.1.x-2", {"a": "1", "b": "2"})]


async def test_signals_and_the_log_tell_of_subscriptions(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []

    def receiver(**kwargs: Any) -> None:
        told.append((kwargs["route"], kwargs["status"], kwargs["request"].topic))

    request_finished.connect(receiver)
    try:
        with caplog.at_level(logging.INFO, "routesock.request"):
            async with socket(Rooms) as client:
                await subscribe(client, "room.all")
                await subscribe(client, "x" * 128)
    finally:
        request_finished.disconnect(receiver)
    assert told == [("SUBSCRIBE", 200, "room.all"), ("SUBSCRIBE", 404, None)]
    assert [record.routesock_route for record in caplog.records] == ["SUBSCRIBE"] * 2  # type: ignore[attr-defined]


async def test_a_class_without_topics_answers_as_it_did() -> None:
    class Plain(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("echo")
        async def echo(self, request: Request) -> Any:
            return request.payload

    class Legacy(Plain):
        async def receive_json(self, content: Any) -> None:
            await self.send_json({"legacy": content["route"]})

    async with socket(Plain) as client:
        for name in ("SUBSCRIBE", "UNSUBSCRIBE"):
            assert await answer(client, name, {"topic": "room.5"}) == (404, "unknown_route")
    async with socket(Legacy) as client:
        client.json({"route": "SUBSCRIBE"}, {"route": "UNSUBSCRIBE"})
        assert await client.read(2) == [{"legacy": "SUBSCRIBE"}, {"legacy": "UNSUBSCRIBE"}]


async def test_other_requests_have_no_topic() -> None:
    assert Request("echo").topic is None


async def test_no_channel_layer_message_calls_the_handler_of_a_topic() -> None:
    assert "room" in Rooms._routesock.handlers
    assert "room" in SyncRooms._routesock.handlers


# Declarations


def refusal(declare: Callable[[], Any]) -> str:
    with pytest.raises(RouteSetupError) as refused:
        declare()
    return str(refused.value)


def with_topic(**options: Any) -> Any:
    async def handler(self: Any, request: Any) -> None: ...

    name = options.pop("name", "room.{room_id}")
    base = options.pop("base", AsyncJsonWebsocketConsumer)
    return type("Chat", (RouteMixin, base), {"handler": topic(name, **options)(options.pop("handler", handler))})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": 5}, "A topic's name must be a string"),
        ({"name": "a..b"}, "empty segment"),
        ({"permissions": IsAuthenticated}, "permissions= must be a list of permissions"),
        ({"permissions": ["may"]}, "is not a method"),
        ({"permissions": (), "recheck": True}, "permissions=() has none"),
        ({"throttle": 5}, "throttle= must be a rate"),
        ({"schema": 5}, "5"),
        ({"hydrate": 5}, "hydrate= must be a function"),
        ({"hydrate": "missing"}, "is not a method"),
        ({"dehydrate": 5}, "dehydrate= must be a function"),
        ({"timeout": 0}, "timeout must be a positive number"),
        ({"middleware": [len]}, "async def m(request, call_next)"),
        ({"unsubscribe": 5}, "unsubscribe= must be a function"),
        ({"unsubscribe": "missing"}, "unsubscribe='missing' is not a method"),
        ({"unsubscribe": lambda: None}, "cannot be called with one argument"),
        ({"recheck": 1}, "recheck= must be True or False"),
        ({"permissions": [Member]}, "checks objects only"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], says: str) -> None:
    assert says in refusal(lambda: with_topic(**options))


def test_a_handler_that_yields_is_refused() -> None:
    class Streaming:
        @topic("room")
        async def handler(self, request: Any) -> Any:
            yield 1

    assert "yields, but a topic has one reply" in refusal(
        lambda: type("Chat", (Streaming, RouteMixin, AsyncJsonWebsocketConsumer), {})
    )


@pytest.mark.parametrize("wrong", [5, None, type("Handler", (), {}), property(lambda self: None)])
def test_what_is_no_method_is_refused(wrong: Any) -> None:
    assert "@topic('room') decorates a method" in refusal(lambda: topic("room")(wrong))


def test_a_handler_takes_a_request() -> None:
    class Bare:
        @topic("room")
        async def handler(self) -> None: ...

    assert "cannot be called as a handler" in refusal(
        lambda: type("Chat", (Bare, RouteMixin, AsyncJsonWebsocketConsumer), {})
    )


def test_a_name_of_channels_is_no_handler() -> None:
    def declare() -> Any:
        async def connect(self: Any, request: Any) -> None: ...

        return type("Chat", (RouteMixin, AsyncJsonWebsocketConsumer), {"connect": topic("room")(connect)})

    assert "Chat.connect cannot be a topic" in refusal(declare)


def test_two_topics_of_one_shape_are_refused() -> None:
    class Twice:
        @topic("room.{a}")
        async def one(self, request: Any) -> None: ...

        @topic("room.{b}")
        async def other(self, request: Any) -> None: ...

    message = refusal(lambda: type("Chat", (Twice, RouteMixin, AsyncJsonWebsocketConsumer), {}))
    assert message.startswith("Both Chat.one and Chat.other handle the topic 'room.{b}'.")


def test_topics_are_inherited_overridden_and_removed() -> None:
    class Child(Rooms):
        async def room(self, request: Request) -> str:
            return "overridden"

        raw = None  # type: ignore[assignment]

    patterns = {topic.pattern.text: topic.route.attr for topic in Child._routesock.topics}
    assert patterns["room.{room_id}"] == "room"
    assert "raw" not in patterns
    assert "overrides a topic with 5" in refusal(lambda: type("Chat", (Rooms,), {"room": 5}))


def test_a_method_answers_a_route_or_a_topic() -> None:
    def both() -> Any:
        @route("both")
        @topic("both")
        async def handler(self: Any, request: Any) -> None: ...

    assert "handles a topic already, 'both'. Write a method for each." in refusal(both)


def test_the_system_checks_know_topics() -> None:
    class OnSync(RouteMixin, JsonWebsocketConsumer):
        @topic("room", unsubscribe="left", permissions=[IsAuthenticated])
        async def room(self, request: Request) -> None: ...

        @topic("open")
        def open_room(self, request: Request) -> None: ...

        async def left(self, request: Request) -> None: ...

    gc.collect()  # classes that other tests have failed to make
    messages = [str(message.msg) for message in checks.check_consumers(None) if message.obj is OnSync]
    assert sum("OnSync.room is async on a sync consumer" in text for text in messages) == 1
    assert sum("OnSync.left is async on a sync consumer" in text for text in messages) == 1
    assert sum("everyone may call 'SUBSCRIBE open'" in text for text in messages) == 1


async def test_turns_leave_no_task_of_a_subscription() -> None:
    async with socket(Rooms) as client:
        before = len(asyncio.all_tasks())
        await subscribe(client, "room.5")
        await turns()
        assert len(asyncio.all_tasks()) == before
