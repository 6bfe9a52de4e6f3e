"""``recheck=True``: permissions are asked again before each push, in order, and whoever is denied is unsubscribed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.core.exceptions import ObjectDoesNotExist
from django.test import override_settings

from routesock import (
    Event,
    Keys,
    Request,
    RouteMixin,
    RoutesockError,
    abroadcast,
    asend_event,
    delivery_counts,
    event,
    route,
    topic,
)
from routesock.exceptions import PermissionDenied, Throttled
from routesock.permissions import BasePermission
from tests.takeover.driver import Socket, turns, until


class MayRead(BasePermission):
    async def has_permission(self, request: Any) -> bool:
        state = request.scope["state"]
        state.asked.append(request.topic)
        if state.gate is not None:
            await state.gate.wait()
        if state.raises is not None:
            raise state.raises
        return bool(state.may)

    def has_object_permission(self, request: Any, obj: Any) -> bool:
        assert request.data == {"room_id": "5"}
        assert obj is request.payload
        return obj is not None and bool(obj["open"])


class State:
    """What the tests change while a socket is open."""

    def __init__(self) -> None:
        self.may = True
        self.gate: asyncio.Event | None = None
        self.raises: BaseException | None = None
        self.asked: list[Any] = []
        self.rooms: dict[str, Any] = {"5": {"open": True}}


def load(request: Request) -> Any:
    room = request.scope["state"].rooms.get(request.payload["room_id"])
    if room is None:
        raise ObjectDoesNotExist
    return room


class Watched(RouteMixin, AsyncJsonWebsocketConsumer):
    @topic("room.{room_id}", permissions=[MayRead], hydrate=load, recheck=True, unsubscribe="left")
    async def room(self, request: Request) -> str:
        if self.scope["hold"] is not None:
            self.scope["log"].append("handling")
            await self.scope["hold"].wait()
        return "snapshot"

    @topic("free.{room_id}")
    async def free(self, request: Request) -> None: ...

    @route("join")
    async def join(self, request: Request) -> None:
        await self.socket.join(request.payload)

    async def left(self, request: Request) -> None:
        self.scope["log"].append(("left", request.topic, request.payload, request.id))
        if self.scope["linger"] is not None:
            await self.scope["linger"].wait()
            self.scope["log"].append("lingered")

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append("disconnect")


class SyncWatched(RouteMixin, JsonWebsocketConsumer):
    @topic("room.{room_id}", permissions=[MayRead], hydrate=load, recheck=True, unsubscribe="left")
    def room(self, request: Request) -> str:
        return "snapshot"

    @route("join")
    def join(self, request: Request) -> None:
        self.socket.join(request.payload)

    def left(self, request: Request) -> None:
        self.scope["log"].append(("left", request.topic, request.payload, request.id))

    def disconnect(self, code: int) -> None:
        self.scope["log"].append("disconnect")


BOTH = pytest.mark.parametrize("consumer", [Watched, SyncWatched])


def socket(state: State, consumer: Any = Watched, **scope: Any) -> Socket:
    return Socket(consumer.as_asgi(), log=[], state=state, **{"hold": None, "linger": None, **scope})


async def subscribe(client: Socket, name: str = "room.5", uuid: Any = "s") -> None:
    assert (await client.call("SUBSCRIBE", uuid, {"topic": name}))["status"] in (200, 204)


def pushed(client: Socket) -> list[Any]:
    return [frame["payload"] for frame in client.frames if frame["route"] == "news"]


def endings(client: Socket) -> list[Any]:
    return [frame["payload"] for frame in client.frames if frame["route"] == "UNSUBSCRIBE" and "status" not in frame]


@BOTH
async def test_a_permission_that_is_gone_ends_the_subscription(consumer: type) -> None:
    state = State()
    async with socket(state, consumer) as client:
        await subscribe(client)
        await abroadcast("room.5", "news", 1)
        await until(lambda: pushed(client) == [1])
        state.may = False
        await abroadcast("room.5", "news", 2)
        await until(lambda: endings(client))
        state.may = True
        await abroadcast("room.5", "news", 3)
        await client.ping()
        assert pushed(client) == [1]
        assert endings(client) == [
            {
                "topic": "room.5",
                "code": "not_authenticated",
                "title": "Unauthorized",
                "detail": "Authentication is required.",
            }
        ]
        assert client.log == [("left", "room.5", {"open": True}, None)]
        assert (await client.call("UNSUBSCRIBE", 1, {"topic": "room.5"}))["status"] == 404
        await subscribe(client, uuid="again")
        await abroadcast("room.5", "news", 4)
        await until(lambda: pushed(client) == [1, 4])
    assert client.log[1:] == [("left", "room.5", {"open": True}, None), "disconnect"]


async def test_the_object_is_loaded_anew_for_its_permissions() -> None:
    state = State()
    async with socket(state) as client:
        await subscribe(client)
        state.rooms["5"] = {"open": False}
        await abroadcast("room.5", "news", 1)
        await until(lambda: endings(client))
        assert pushed(client) == []


async def test_an_object_that_is_gone_ends_the_subscription() -> None:
    state = State()
    async with socket(state) as client:
        await subscribe(client)
        state.rooms.clear()
        await abroadcast("room.5", "news", 1)
        await until(lambda: endings(client))
        assert endings(client)[0]["code"] == "not_found"


async def test_what_the_denial_says_is_told_and_cannot_name_another_topic() -> None:
    state = State()
    state_of_denial = PermissionDenied("The room is closed.", code="closed", topic="room.6", until="noon")
    async with socket(state) as client:
        await subscribe(client)
        state.raises = state_of_denial
        await abroadcast("room.5", "news", 1)
        await until(lambda: endings(client))
        assert endings(client) == [
            {
                "topic": "room.5",
                "until": "noon",
                "code": "closed",
                "title": "Forbidden",
                "detail": "The room is closed.",
            }
        ]


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("broken"),
        SystemExit(3),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        Throttled(wait=1),
        RoutesockError(status=503),
    ],
    ids=lambda raised: type(raised).__name__,
)
async def test_a_check_that_fails_suppresses_its_push_and_no_other(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    state = State()
    async with socket(state) as client:
        await subscribe(client)
        state.raises = raised
        await abroadcast("room.5", "news", 1)
        await until(lambda: caplog.records)
        state.raises = None
        await abroadcast("room.5", "news", 2)
        await until(lambda: pushed(client) == [2])
        assert endings(client) == []
    assert "Whether a push of the topic 'room.5' may be sent failed" in caplog.text
    assert [entry[0] for entry in client.log[:-1]] == ["left"]


async def test_a_check_that_hangs_fails_with_the_deadline(caplog: pytest.LogCaptureFixture) -> None:
    state = State()
    impatient = type("Impatient", (Watched,), {"route_timeout": 0.5})  # enough to subscribe on a busy machine
    async with socket(state, impatient) as client:
        await subscribe(client)
        state.gate = asyncio.Event()
        await abroadcast("room.5", "news", 1)
        await until(lambda: caplog.records)
        state.gate = None
        await abroadcast("room.5", "news", 2)
        await until(lambda: pushed(client) == [2])


async def test_pushes_keep_their_order_while_a_check_waits_and_other_topics_pass_them() -> None:
    state = State()
    async with socket(state) as client:
        await subscribe(client)
        await subscribe(client, "free.1", "f")
        state.gate = gate = asyncio.Event()
        for number in range(5):
            await abroadcast("room.5", "news", number)
            await turns(5)
        await abroadcast("free.1", "news", "free")
        await until(lambda: pushed(client) == ["free"])
        await client.ping()
        gate.set()
        await abroadcast("room.5", "news", 5)
        await until(lambda: len(pushed(client)) == 7)
        assert pushed(client)[1:] == [*range(6)]


async def test_no_push_is_sent_on_an_answer_from_before_it_came() -> None:
    state = State()
    async with socket(state) as client:
        await subscribe(client)
        state.gate = first = asyncio.Event()
        await abroadcast("room.5", "news", 1)
        await until(lambda: len(state.asked) == 2)
        await abroadcast("room.5", "news", 2)
        state.gate = asyncio.Event()
        first.set()
        await until(lambda: len(state.asked) == 3)
        assert pushed(client) == [1]
        state.may = False
        state.gate.set()
        await until(lambda: endings(client))
        assert pushed(client) == [1]


async def test_pushes_wait_for_the_handler_to_succeed() -> None:
    state, hold = State(), asyncio.Event()
    async with socket(state, hold=hold) as client:
        client.request("SUBSCRIBE", 1, {"topic": "room.5"})
        await until(lambda: client.log == ["handling"])
        await abroadcast("room.5", "news", 1)
        await turns()
        assert client.frames == []
        hold.set()
        await until(lambda: pushed(client) == [1])
        assert client.replies(1)[0]["payload"] == "snapshot"


async def test_they_do_not_wait_with_more_bytes_than_may_wait_for_a_client() -> None:
    state = State()
    with override_settings(ROUTESOCK={"MAX_OUTGOING_BYTES": 2000}):
        async with socket(state) as client:
            await subscribe(client)
            state.gate = asyncio.Event()
            for number in range(10):
                await abroadcast("room.5", "news", str(number) * 900)
            await turns()
            state.gate.set()
            await until(lambda: len(pushed(client)) == 2)
            await turns()
            assert len(pushed(client)) == 2


async def test_more_pushes_than_may_wait_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    state = State()
    before = delivery_counts().dropped
    with override_settings(ROUTESOCK={"MAX_OUTGOING": 3}):
        async with socket(state) as client:
            await subscribe(client)
            state.gate = asyncio.Event()
            await abroadcast("room.5", "news", 0)
            await until(lambda: len(state.asked) == 2)
            for number in range(1, 6):
                await abroadcast("room.5", "news", number)
            await turns()
            state.gate.set()
            await until(lambda: len(pushed(client)) == 4)
            assert pushed(client) == [0, 1, 2, 3]
            await until(lambda: caplog.records)
    assert [record.getMessage() for record in caplog.records] == [
        "2 pushes were dropped while the permissions of the topic were checked."
    ]
    assert delivery_counts().dropped == before + 2


@pytest.mark.parametrize("answer", [True, False])
async def test_an_unsubscribe_during_a_check_ends_all(answer: bool) -> None:
    state = State()
    async with socket(state) as client:
        await subscribe(client)
        state.gate = asyncio.Event()
        await abroadcast("room.5", "news", 1)
        await until(lambda: len(state.asked) == 2)
        state.may = answer
        assert (await client.call("UNSUBSCRIBE", 1, {"topic": "room.5"}))["status"] == 204
        state.gate.set()
        await client.ping()
        assert pushed(client) == []
        assert endings(client) == []
        assert [entry[0] for entry in client.log] == ["left"]


async def test_a_new_subscription_waits_for_the_hook_of_the_one_that_is_ended() -> None:
    state, linger = State(), asyncio.Event()
    async with socket(state, linger=linger) as client:
        await subscribe(client)
        state.may = False
        await abroadcast("room.5", "news", 1)
        await until(lambda: client.log)
        state.may = True
        client.request("SUBSCRIBE", 2, {"topic": "room.5"})
        await client.ping()
        assert client.replies(2) == []
        linger.set()
        assert (await client.reply(2))["status"] == 200
        client.scope["log"].append("subscribed")
    assert [entry if isinstance(entry, str) else entry[0] for entry in client.log] == [
        "left",
        "lingered",
        "subscribed",
        "left",
        "lingered",
        "disconnect",
    ]


async def test_a_socket_that_ends_gives_a_hook_that_runs_its_grace() -> None:
    state, linger = State(), asyncio.Event()
    async with socket(state, linger=linger) as client:
        await subscribe(client)
        state.may = False
        await abroadcast("room.5", "news", 1)
        await until(lambda: client.log)
        client.disconnect()
        await until(client.is_all_read)
        await turns()
        linger.set()
    assert [entry if isinstance(entry, str) else entry[0] for entry in client.log] == ["left", "lingered", "disconnect"]


async def test_a_socket_that_ends_during_a_check_calls_the_hook_once() -> None:
    state = State()
    async with socket(state) as client:
        await subscribe(client)
        state.gate = asyncio.Event()
        await abroadcast("room.5", "news", 1)
        await until(lambda: len(state.asked) == 2)
    assert [entry if isinstance(entry, str) else entry[0] for entry in client.log] == ["left", "disconnect"]


async def test_events_of_the_group_are_told_whatever_the_permissions_say() -> None:
    class Told(Watched):
        @event("happened")
        async def happened(self, event: Event) -> None:
            self.scope["log"].append(("told", event.payload))

    state = State()
    async with socket(state, Told) as client:
        await subscribe(client)
        state.may = False
        await asend_event("room.5", "happened", 1)
        await until(lambda: client.log == [("told", 1)])
        assert endings(client) == []


@BOTH
async def test_a_group_that_the_consumer_has_joined_is_checked_as_long_as_the_topic_lasts(consumer: type) -> None:
    state = State()
    async with socket(state, consumer) as client:
        await client.call("join", 1, "room.5")
        await subscribe(client)
        state.may = False
        await abroadcast("room.5", "news", 1)
        await until(lambda: endings(client))
        await abroadcast("room.5", "news", 2)
        await until(lambda: pushed(client) == [2])


class SlowToReply(Watched):
    async def encode_json(self, content: Any) -> str:
        if content.get("status") == 200:
            self.scope["log"].append("encoding")
            await self.scope["encode"].wait()
            raise ValueError("not this one")
        return await super().encode_json(content)  # type: ignore[no-any-return]


@pytest.mark.parametrize("lingers", [False, True])
async def test_a_reply_may_fail_while_the_permission_is_lost(lingers: bool) -> None:
    """Before the subscription has ended, or after that; the socket lives."""
    state = State()
    linger = asyncio.Event() if lingers else None
    async with socket(state, SlowToReply, encode=asyncio.Event(), linger=linger) as client:
        client.request("SUBSCRIBE", 1, {"topic": "room.5"})
        await until(lambda: "encoding" in client.log)
        state.may = False
        await abroadcast("room.5", "news", 1)
        await until(lambda: ("left", "room.5", {"open": True}, None) in client.log)
        await turns()
        client.scope["encode"].set()
        assert (await client.reply(1))["status"] == 500
        if linger is not None:
            linger.set()
        await until(lambda: any(frame["route"] == "UNSUBSCRIBE" for frame in client.frames))
        assert (await client.call("UNSUBSCRIBE", 2, {"topic": "room.5"}))["payload"]["code"] == "not_subscribed"


async def test_what_is_held_for_a_slow_client_is_no_way_around_a_check() -> None:
    class Early(Watched):
        async def connect(self) -> None:
            await self.accept()
            await self.socket.join("early")
            await abroadcast("early", "news", "early")
            await turns()

    state, hold = State(), asyncio.Event()
    hold.set()
    async with socket(state, Early, hold=hold) as client:
        client.writable.clear()
        client.request("SUBSCRIBE", 1, {"topic": "room.5"})
        await until(lambda: client.log == ["handling"])
        state.may = False
        await abroadcast("room.5", "news", 1)
        await turns()
        client.writable.set()
        await until(lambda: endings(client))
        assert pushed(client) == ["early"]


async def test_without_a_recheck_nothing_is_asked_again() -> None:
    class Trusting(RouteMixin, AsyncJsonWebsocketConsumer):
        @topic("room.{room_id}", permissions=[MayRead], hydrate=load)
        async def room(self, request: Request) -> None: ...

    state = State()
    async with socket(state, Trusting) as client:
        await subscribe(client)
        state.may = False
        await abroadcast("room.5", "news", 1)
        await until(lambda: pushed(client) == [1])
        assert state.asked == ["room.5"]


async def test_the_end_is_spelt_in_the_dialect_of_the_class() -> None:
    flat = type("Flat", (Watched,), {"route_dialect": Keys(route="action", id="ref", payload=None)})
    state = State()
    async with socket(state, flat) as client:
        client.json({"action": "SUBSCRIBE", "ref": 1, "topic": "room.5"})
        await client.read(1)
        state.may = False
        await abroadcast("room.5", "news", 1)
        await client.read(2)
        assert (client.frames[1]["action"], client.frames[1]["topic"]) == ("UNSUBSCRIBE", "room.5")
