"""What a frame says beyond its answer: which topic, which request, when to try again, how long a login lasts."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from hypothesis import example, given
from hypothesis import strategies as st

from routesock import Keys, Request, RouteMixin, abroadcast, route, topic
from routesock.auth.authenticators import Identity, expiry_of
from routesock.exceptions import RoutesockError, Throttled
from routesock.testing import RouteClient


class Room(RouteMixin, AsyncJsonWebsocketConsumer):
    @topic("room.{number}")
    async def room(self, request: Request) -> None:
        return None

    @route("join")
    async def join(self, request: Request) -> None:
        await self.socket.join(request.payload)

    @route("busy")
    async def busy(self, request: Request) -> None:
        raise Throttled(wait=1.2)


class FlatRoom(Room):
    route_dialect = Keys(payload=None)


class OwnSend(Room):
    async def send_json(self, content: Any, close: bool = False) -> None:
        await super().send_json({**content, "own": True}, close)


@pytest.mark.parametrize("consumer", [Room, OwnSend])
async def test_a_push_through_a_topic_names_it(consumer: type) -> None:
    async with RouteClient(consumer) as subscribed, RouteClient(consumer) as joined:
        await subscribed.call("SUBSCRIBE", {"topic": "room.5"})
        await joined.call("join", "room.5")
        await abroadcast("room.5", "said", "Hello", headers={"Version": 2})
        assert (await subscribed.expect_push("said")).headers == {"Version": 2, "Topic": "room.5"}
        assert (await joined.expect_push("said")).headers == {"Version": 2}
        await subscribed.call("UNSUBSCRIBE", {"topic": "room.5"})
        await subscribed.call("join", "room.5")
        await abroadcast("room.5", "said", "Again")
        assert (await subscribed.expect_push("said")).headers == {}


async def test_a_dialect_without_headers_has_a_key_for_the_topic() -> None:
    async with RouteClient(FlatRoom) as client:
        await client.send_json({"route": "SUBSCRIBE", "uuid": 1, "topic": "room.5"})
        assert (await client.receive())["status"] == 204
        await abroadcast("room.5", "said", {"text": "Hello"})
        assert await client.receive() == {"route": "said", "topic": "room.5", "text": "Hello"}
        await abroadcast("room.5", "said", {"topic": "another"})
        assert await client.receive() == {"route": "said", "topic": "room.5", "payload": {"topic": "another"}}


async def test_a_problem_says_when_to_try_again() -> None:
    async with RouteClient(FlatRoom) as client:
        await client.send_json({"route": "busy", "uuid": 1})
        reply = await client.receive()
        assert (reply["status"], reply["retry_after"]) == (429, 2)
    assert "retry_after" not in RoutesockError("no hurry").problem()


def test_the_end_of_a_login_is_given_in_seconds_as_well() -> None:
    """The clock of a client may be wrong by minutes."""
    assert expiry_of(Identity(user=None)) == {"expires": None, "ttl": None}
    expiry = expiry_of(Identity(user=None, expires=time.time() + 60))
    assert expiry["ttl"] is not None
    assert 0 < expiry["ttl"] <= 60
    assert expiry_of(Identity(user=None, expires=time.time() - 5))["ttl"] == 0


# The id of a frame that is not read


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ('{"uuid": "a", "route": NaN}', "a"),
        ('{"uuid": 7', None),
        ('{"uuid": 7, ', 7),
        (' { "route" : "x" , "uuid" : -3 , "payload": [', -3),
        ('{"status": 200, "headers": null, "uuid": "b", "payload": ', "b"),
        ('{"payload": {"uuid": 1}, "uuid": 2, ', None),
        ('[{"uuid": 1}', None),
        ('{"uuid": true, ', None),
        ('{"uuid": 1.5, ', None),
        ('{"uuid": "a\\"b", ', None),
        ('{"uuid": "' + "u" * 129 + '", ', None),
        ('{"uuid": 99999999999999999999, ', None),
        ('{"route": "' + "r" * 600 + '", "uuid": 1, ', None),
    ],
)
def test_the_id_is_read_from_the_head_where_that_is_certain(text: str, id: Any) -> None:
    assert Keys().id_in_head(text) == id
    assert Keys(id=None).id_in_head(text) is None


@given(
    members=st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8)),
    rest=st.text(max_size=8),
)
@example(members={"uuid": "x"}, rest="")
@example(members={"a": "b", "uuid": 5}, rest="}")
def test_an_id_from_the_head_is_that_of_the_object(members: dict[str, Any], rest: str) -> None:
    text = json.dumps({**members, "payload": 0})
    for broken in (text, text[:-1], text[:-1] + rest):
        assert Keys().id_in_head(broken) in (None, members.get("uuid"))


async def test_an_unread_frame_is_refused_with_its_id_unless_that_is_in_flight(settings: Any) -> None:
    settings.ROUTESOCK = {"MAX_FRAME": 200}

    class Waiting(Room):
        @route("wait")
        async def wait(self, request: Request) -> None:
            await self.scope["go"].wait()

    go = asyncio.Event()
    async with RouteClient(Waiting, scope={"go": go}) as client:
        await client.send("wait", id="taken")
        await client.settle()
        for text in ('{"uuid": %s, "route": NaN}', '{"uuid": %s, "payload": "' + "x" * 300 + '"}'):
            for id, echoed in (('"taken"', None), ('"free"', "free")):
                await client.send_text(text % id)
                reply = await client.receive()
                assert (reply["uuid"], reply["status"]) == (echoed, 413 if "xxx" in text else 400)
        go.set()
        assert (await client.expect_reply("taken")).status == 204
