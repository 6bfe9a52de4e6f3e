"""Topics that a client resumes: positions, replays, and what happens where a history has lost something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import override_settings

from routesock import RouteMixin, abroadcast, conf, route, topic
from routesock._groups import hub as hubs
from routesock._store.histories import MemoryHistories, Position, open_histories
from routesock._store.opening import StoreError, forget_stores
from routesock._wire.messages import NO_HEADERS
from routesock.dialects import Keys
from routesock.exceptions import NotFound, Unavailable
from routesock.permissions import BasePermission
from routesock.testing import RouteClient
from tests.takeover.driver import until

LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "resume"}}
HISTORY = {"room.{id}": {"size": 10, "ttl": 60}, "price.{symbol}": {"size": 1, "ttl": 60}}


class Rooms(RouteMixin, AsyncJsonWebsocketConsumer):
    called: list[str | None] = []
    fails = False

    @topic("room.{id}", permissions=(), recover=True)
    async def room(self, request: Any) -> dict[str, Any]:
        self.called.append(request.since)
        if request.payload["id"] == "none":
            raise NotFound
        return {"snapshot": request.payload["id"]}

    @topic("price.{symbol}", permissions=(), recover="last")
    async def price(self, request: Any) -> dict[str, Any]:
        return {}

    @topic("other.{id}", permissions=(), recover=True)
    async def other(self, request: Any) -> None: ...

    @route("say", permissions=())
    async def say(self, request: Any) -> None:
        await self.socket.broadcast(request.payload["to"], "said", request.payload["text"], exclude_self=True)


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    Rooms.called.clear()
    forget_stores()
    with override_settings(CACHES=LOCAL, ROUTESOCK={"HISTORY": HISTORY}):
        yield
    forget_stores()


async def memory() -> MemoryHistories:
    histories = await open_histories()
    assert isinstance(histories, MemoryHistories)
    return histories


async def say(*texts: Any, to: str = "room.5") -> None:
    for text in texts:
        await abroadcast(to, "said", text)


async def subscribe(client: Any, name: str = "room.5", since: str | None = None) -> Any:
    payload = {"topic": name} if since is None else {"topic": name, "since": since}
    return await client.call("SUBSCRIBE", payload)


async def pushes(client: Any, number: int) -> list[tuple[str, Any]]:
    got = [await client.expect_push() for _ in range(number)]
    return [(push.headers["Position"].partition(":")[2], push.payload) for push in got]


class TestFirstSubscription:
    async def test_reply_and_pushes_have_positions(self) -> None:
        """The reply has no ``Recovered`` without ``since``."""
        await say("earlier")
        async with RouteClient(Rooms, timeout=20) as client:
            reply = await subscribe(client)
            assert reply.payload == {"snapshot": "5"}
            epoch, _, offset = reply.headers["Position"].partition(":")
            assert (offset, "Recovered" in reply.headers) == ("1", False)
            await say("a", "b")
            first, second = await client.expect_push(), await client.expect_push()
            assert (first.route, first.payload, dict(first.headers)) == (
                "said", "a", {"Topic": "room.5", "Position": f"{epoch}:2"},
            )  # fmt: skip
            assert second.headers["Position"] == f"{epoch}:3"
        assert Rooms.called == [None]

    async def test_group_without_a_history(self) -> None:
        """The topic works without positions."""
        async with RouteClient(Rooms, timeout=20) as client:
            reply = await subscribe(client, "other.1", since="nonsense:1")
            assert dict(reply.headers) == {}
            await say("a", to="other.1")
            assert dict((await client.expect_push()).headers) == {"Topic": "other.1"}

    async def test_handler_that_fails_leaves_nothing(self) -> None:
        """Nothing follows the group any longer."""
        async with RouteClient(Rooms, timeout=20) as client:
            assert (await subscribe(client, "room.none")).status == 404
            assert not any(hub._streams for hub in hubs._hubs.values())
            await subscribe(client)
            assert any(hub._streams for hub in hubs._hubs.values())
            await client.call("UNSUBSCRIBE", {"topic": "room.5"})
            assert not any(hub._streams for hub in hubs._hubs.values())

    async def test_socket_that_ends_leaves_nothing(self) -> None:
        async with RouteClient(Rooms, timeout=20) as client:
            await subscribe(client)
        assert not any(hub._streams for hub in hubs._hubs.values())

    async def test_last_push_follows(self) -> None:
        """With ``recover="last"``, behind the reply, whose position is in front of it."""
        await say(1, 2, to="price.x")
        async with RouteClient(Rooms, timeout=20) as client:
            reply = await subscribe(client, "price.x")
            assert reply.headers["Position"].endswith(":1")
            assert await pushes(client, 1) == [("2", 2)]
            await client.call("UNSUBSCRIBE", {"topic": "price.x"})
            reply = await subscribe(client, "price.x", since=reply.headers["Position"])
            assert (reply.status, reply.headers["Recovered"]) == (204, True)
            assert await pushes(client, 1) == [("2", 2)]


class TestResuming:
    async def test_missed_pushes_follow_the_reply(self) -> None:
        """The reply has the client's own position, and the handler is not called."""
        async with RouteClient(Rooms, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
        await say("a", "b", "c")
        async with RouteClient(Rooms, timeout=20) as client:
            reply = await subscribe(client, since=since)
            assert (reply.status, reply.payload) == (204, None)
            assert dict(reply.headers) == {"Position": since, "Recovered": True}
            await say("d")
            assert await pushes(client, 4) == [("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")]
        assert Rooms.called == [None]

    async def test_nothing_missed(self) -> None:
        await say("a")
        async with RouteClient(Rooms, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
            await client.call("UNSUBSCRIBE", {"topic": "room.5"})
            reply = await subscribe(client, since=since)
            assert reply.headers == {"Position": since, "Recovered": True}
            await say("b")
            assert await pushes(client, 1) == [("2", "b")]

    @pytest.mark.parametrize("case", ["too many", "beyond the end", "another epoch", "expired", "too large"])
    async def test_pushes_that_are_gone(self, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The client gets a snapshot, its position, and no replay."""
        histories = await memory()
        now = [100.0]
        monkeypatch.setattr(histories, "_clock", lambda: now[0])
        async with RouteClient(Rooms, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
        await say(*range(11 if case == "too many" else 3))
        if case == "beyond the end":
            since = since.replace(":0", ":9223372036854775807")
        elif case == "another epoch":
            since = "aaaaaaaa:1"
        elif case == "expired":
            now[0] += 61
        elif case == "too large":
            monkeypatch.setattr(
                "routesock._connection.membership.follower.conf.get",
                lambda name, get=conf.get: 5 if name == "MAX_OUTGOING_BYTES" else get(name),
            )
        async with RouteClient(Rooms, timeout=20) as client:
            reply = await subscribe(client, since=since)
            assert (reply.status, reply.payload, reply.headers["Recovered"]) == (200, {"snapshot": "5"}, False)
            offset = int(reply.headers["Position"].partition(":")[2])
            assert offset == (11 if case == "too many" else 3)
            await say("x")
            assert await pushes(client, 1) == [(str(offset + 1), "x")]
        assert Rooms.called == [None, since]

    @pytest.mark.parametrize(
        "since",
        ["", "a", "a:", ":1", "a:b", "a:-1", "a:1 ", "a:1\n", "é:1", "a:\u0661", "a:9223372036854775808",
         f"{'a' * 23}:1", "a:00000000000000000001", 5, True, [], {}, ["a:1"], "a:1:2", "*:1"],
    )  # fmt: skip
    async def test_no_position(self, since: Any) -> None:
        """422, and no subscription."""
        async with RouteClient(Rooms, timeout=20) as client:
            reply = await subscribe(client, since=since)
            assert (reply.status, [*reply.payload["errors"]]) == (422, ["since"])
            assert (await subscribe(client)).status == 200

    async def test_own_broadcasts_are_left_out(self) -> None:
        """The positions go on behind them."""
        async with RouteClient(Rooms, timeout=20) as client:
            await subscribe(client)
            await client.call("say", {"to": "room.5", "text": "own"})
            await say("other")
            assert await pushes(client, 1) == [("2", "other")]


class TestLostHints:
    """A message of the channel layer is only a hint."""

    async def test_gap_is_read(self) -> None:
        """With the next message."""
        async with RouteClient(Rooms, timeout=20) as client:
            await subscribe(client)
            await (await memory()).append("routesock.group.room.5", '["said", "lost", {}]', None, 10, 60)
            await say("next")
            assert await pushes(client, 2) == [("1", "lost"), ("2", "next")]

    async def test_last_one_is_found_by_the_check(self) -> None:
        async with RouteClient(Rooms, timeout=20) as client:
            await subscribe(client)
            await (await memory()).append("routesock.group.room.5", '["said", "lost", {}]', None, 10, 60)
            await next(iter(hubs._hubs.values())).check_streams()
            assert await pushes(client, 1) == [("1", "lost")]

    async def test_history_that_was_set_back(self) -> None:
        """All clients are notified that they have to subscribe again."""
        async with RouteClient(Rooms, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
            await say("a", "b")
            await pushes(client, 2)
            history = (await memory())._filled["routesock.group.room.5"]
            history.top = 1
            history.entries.pop()
            await next(iter(hubs._hubs.values())).check_streams()
            ended = await client.expect_push()
            assert (ended.route, ended.payload["topic"], ended.payload["code"]) == (
                "UNSUBSCRIBE", "room.5", "history_lost",
            )  # fmt: skip
            assert 0 <= ended.payload["retry_after"] <= 5
            reply = await subscribe(client, since=since.replace(":0", ":2"))
            assert (reply.status, reply.headers["Recovered"]) == (200, False)
            assert reply.headers["Position"].split(":")[0] != since.split(":")[0]

    async def test_claim_of_a_client_renews_nothing(self) -> None:
        """Or anybody could cut off a room."""
        async with RouteClient(Rooms, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
            async with RouteClient(Rooms, timeout=20) as liar:
                reply = await subscribe(liar, since=since.replace(":0", ":99"))
                assert reply.headers == {"Position": since, "Recovered": False}
            await say("a")
            assert await pushes(client, 1) == [("1", "a")]


class Down(MemoryHistories):
    """A store that does not answer."""

    async def append(self, *args: Any) -> Any:
        raise StoreError("down")

    read = latest = append  # type: ignore[assignment]


class TestStoreThatIsDown:
    async def test_subscribing_works_without_a_position(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With ``since`` it is an honest ``Recovered: false``. A broadcast raises."""
        monkeypatch.setattr("routesock._connection.membership.follower.RETRY", 0.01)
        async with RouteClient(Rooms, timeout=20) as client:
            position = str(Position("a", 1))
            histories = await memory()
            monkeypatch.setattr(histories, "__class__", Down)
            reply = await subscribe(client)
            assert (reply.status, dict(reply.headers)) == (200, {})
            assert dict((await subscribe(client, "room.6", since=position)).headers) == {"Recovered": False}
            with pytest.raises(Unavailable):
                await say("a")
            monkeypatch.setattr(histories, "append", partial(MemoryHistories.append, histories))
            await say("b")
            assert dict((await client.expect_push("said")).headers) == {"Topic": "room.5"}
            # The store works again: the client has to come back, since nobody knows what it has missed.
            monkeypatch.setattr(histories, "__class__", MemoryHistories)
            assert (await client.expect_push("UNSUBSCRIBE", topic="room.5")).payload["code"] == "history_lost"
            assert "Position" in (await subscribe(client)).headers


class TestResumeFrame:
    async def test_many_topics_at_once(self) -> None:
        """Each has a result of its own."""
        async with RouteClient(Rooms, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
        await say("a")
        async with RouteClient(Rooms, timeout=20) as client:
            reply = await client.call(
                "RESUME",
                {"topics": {"room.5": since, "room.6": "x:1", "room.7": "bad", "nowhere": "x:1", "room.none": "x:1"}},
            )
            assert reply.status == 200
            assert reply.payload["room.5"] == {"status": 204, "position": since, "recovered": True, "payload": None}
            six = reply.payload["room.6"]
            assert (six["status"], six["recovered"], six["payload"]) == (200, False, {"snapshot": "6"})
            statuses = {name: result["status"] for name, result in reply.payload.items()}
            assert statuses == {"room.5": 204, "room.6": 200, "room.7": 422, "nowhere": 404, "room.none": 404}
            assert reply.payload["nowhere"]["payload"]["code"] == "unknown_topic"
            assert await pushes(client, 1) == [("1", "a")]
            await say("b", to="room.6")
            assert await pushes(client, 1) == [("1", "b")]

    async def test_one_topic_after_the_other(self) -> None:
        """In the order of the frame: no two handlers of a socket run at the same time, here as elsewhere."""
        log: list[str] = []

        class Ordered(RouteMixin, AsyncJsonWebsocketConsumer):
            @topic("room.{id}", permissions=(), recover=True)
            async def room(self, request: Any) -> None:
                log.append(f"begins {request.topic}")
                await asyncio.sleep(0)
                log.append(f"ends {request.topic}")

        names = ["room.3", "room.1", "room.2"]
        async with RouteClient(Ordered, timeout=20) as client:
            reply = await client.call("RESUME", {"topics": dict.fromkeys(names, "x:1")})
        assert [*reply.payload] == names
        assert log == [f"{what} {name}" for name in names for what in ("begins", "ends")]

    @pytest.mark.parametrize("payload", [None, [], {}, {"topics": []}, {"topics": {"room.5": 5}}, {"topics": None}])
    async def test_no_mapping(self, payload: Any) -> None:
        async with RouteClient(Rooms, timeout=20) as client:
            assert (await client.call("RESUME", payload)).status == 422

    async def test_bounds(self) -> None:
        """As many as a socket may have; none is fine."""
        async with RouteClient(Rooms, timeout=20) as client:
            assert (await client.call("RESUME", {"topics": {f"room.{n}": "x:1" for n in range(101)}})).status == 422
            reply = await client.call("RESUME", {"topics": {}})
            assert (reply.status, reply.payload) == (200, {})
            assert (await client.call("RESUME", {"topics": {f"room.{n}": "x:1" for n in range(100)}})).status == 200


async def test_pushes_come_behind_the_reply() -> None:
    """Those that were missed, too."""
    async with RouteClient(Rooms, timeout=20) as client:
        since = (await subscribe(client)).headers["Position"]
    await say(1, 2)
    async with RouteClient(Rooms, timeout=20) as client:
        for id, payload in enumerate(({"topic": "room.5", "since": since}, {"topic": "room.6"})):
            await client.send_json({"route": "SUBSCRIBE", "uuid": id, "payload": payload})
        frames = [await client.receive() for _ in range(4)]
    replies = [number for number, frame in enumerate(frames) if "uuid" in frame]
    assert [frame["payload"] for frame in frames if "uuid" not in frame] == [1, 2]
    assert replies[0] == 0
    await say(3)


async def test_nothing_is_lost_while_the_handler_runs() -> None:
    """What is said meanwhile follows the reply."""
    running, go_on = asyncio.Event(), asyncio.Event()

    class Slow(RouteMixin, AsyncJsonWebsocketConsumer):
        @topic("room.{id}", permissions=(), recover=True)
        async def room(self, request: Any) -> str:
            running.set()
            await go_on.wait()
            return "snapshot"

    async with RouteClient(Slow, timeout=20) as client:
        task = asyncio.create_task(subscribe(client))
        await running.wait()
        await say(*range(5))
        go_on.set()
        reply = await task
        assert reply.payload == "snapshot"
        assert await pushes(client, 5) == [(str(number + 1), number) for number in range(5)]


async def test_documents_describe_the_frames() -> None:
    """Each frame fits the document of the consumer."""
    async with RouteClient(Rooms, timeout=20, documented=True) as client:
        since = (await subscribe(client)).headers["Position"]
        await client.call("UNSUBSCRIBE", {"topic": "room.5"})
        assert (await subscribe(client, since=since)).status == 204
        await client.call("RESUME", {"topics": {"room.6": since, "nowhere": since}})
        history = (await memory())._empty["routesock.group.room.5"]
        history.epoch = "other"
        await next(iter(hubs._hubs.values())).check_streams()
        assert (await client.expect_push("UNSUBSCRIBE")).payload["code"] == "history_lost"


class Allowed(BasePermission):
    async def has_permission(self, request: Any) -> bool:
        return Prices.allowed


class Prices(RouteMixin, AsyncJsonWebsocketConsumer):
    allowed = True

    @topic("room.{id}", permissions=[Allowed], recover=True, recheck=True)
    async def room(self, request: Any) -> None: ...


class TestPermissions:
    @pytest.fixture(autouse=True)
    def allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Prices, "allowed", True)

    async def test_what_was_missed_is_not_sent_to_the_denied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are refused, also for a position that they had."""
        async with RouteClient(Prices, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
        await say("secret")
        monkeypatch.setattr(Prices, "allowed", False)
        async with RouteClient(Prices, timeout=20) as client:
            assert (await subscribe(client, since=since)).status == 401
            reply = await client.call("RESUME", {"topics": {"room.5": since}})
            assert reply.payload["room.5"]["status"] == 401
            await client.refute_push()

    async def test_permission_is_checked_before_a_replay(self) -> None:
        """And before each push."""
        async with RouteClient(Prices, timeout=20) as client:
            since = (await subscribe(client)).headers["Position"]
            await say("a", "b")
            assert await pushes(client, 2) == [("1", "a"), ("2", "b")]
        async with RouteClient(Prices, timeout=20) as client:
            await subscribe(client, since=since)
            assert await pushes(client, 2) == [("1", "a"), ("2", "b")]
            Prices.allowed = False
            await say("secret")
            ended = await client.expect_push()
            assert (ended.route, ended.payload["code"]) == ("UNSUBSCRIBE", "not_authenticated")

    async def test_check_that_fails_ends_the_subscription(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A push cannot be left out without a notice."""

        async def fail(self: Any, request: Any) -> bool:
            raise OSError("the database is gone")

        async with RouteClient(Prices, timeout=20, raise_exceptions=False) as client:
            await subscribe(client)
            monkeypatch.setattr(Allowed, "has_permission", fail)
            await say("a")
            assert (await client.expect_push("UNSUBSCRIBE")).payload["code"] == "history_lost"


class Encoded(Rooms):
    @classmethod
    async def encode_json(cls, content: Any) -> str:
        await asyncio.sleep(0)
        return json.dumps(content)


async def test_consumer_with_its_own_encoder() -> None:
    """Pushes stay in order, one after the other."""
    async with RouteClient(Encoded, timeout=20) as client:
        await subscribe(client)
        await say(*range(100))
        assert await pushes(client, 100) == [(str(number + 1), number) for number in range(100)]


class Choosy(Keys):
    """Sends nothing for the push 1, and cannot encode the pushes 2 and 4."""

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        if payload == 4:
            raise asyncio.CancelledError
        return None if payload == 1 else super().push(route, {2} if payload == 2 else payload, headers)


class Chosen(Rooms):
    route_dialect = Choosy()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Without the end of an outage of the store, which an earlier test may have left."""
    records = [record for record in caplog.records if record.name == "routesock.request"]
    return [record.getMessage().partition(" (")[0] for record in records]


async def test_push_that_cannot_be_sent_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Of those that were missed and of those that come. Each is logged."""
    async with RouteClient(Chosen, timeout=20, raise_exceptions=False) as client:
        since = (await subscribe(client)).headers["Position"]
        await say(*range(6))
        expected = [("1", 0), ("4", 3), ("6", 5)]
        assert await pushes(client, 3) == expected
    assert errors(caplog) == ["A push failed"] * 2
    caplog.clear()
    async with RouteClient(Chosen, timeout=20, raise_exceptions=False) as client:
        assert (await subscribe(client, since=since)).headers["Recovered"] is True
        assert await pushes(client, 3) == expected
    assert errors(caplog) == ["A push failed"] * 2


@pytest.mark.parametrize("consumer", [Rooms, Encoded], ids=["plain", "own encoder"])
async def test_subscription_that_ends_during_a_replay(consumer: Any) -> None:
    """What the server had not taken yet is not sent."""
    async with RouteClient(consumer, timeout=20) as client:
        since = (await subscribe(client)).headers["Position"]
    await say(*range(5))
    sent: list[str] = []
    is_read = asyncio.Semaphore(0)

    async def send(message: Any) -> None:
        sent.append(message.get("text", ""))
        if "said" in sent[-1]:
            await is_read.acquire()

    frames: asyncio.Queue[Any] = asyncio.Queue()

    def request(name: str, **payload: str) -> None:
        text = json.dumps({"route": name, "uuid": name, "payload": {"topic": "room.5", **payload}})
        frames.put_nowait({"type": "websocket.receive", "text": text})

    frames.put_nowait({"type": "websocket.connect"})
    request("SUBSCRIBE", since=since)
    scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": []}
    task = asyncio.create_task(consumer.as_asgi()(scope, frames.get, send))
    await until(lambda: any("said" in text for text in sent))
    request("UNSUBSCRIBE")
    await until(lambda: not any(hub._streams for hub in hubs._hubs.values()))
    for _ in range(5):
        is_read.release()
    await until(lambda: any('"UNSUBSCRIBE"' in text for text in sent))
    assert [json.loads(text)["payload"] for text in sent if "said" in text] == [0]
    frames.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await task


class TestSlowReaders:
    async def test_socket_is_closed_and_resumes(self) -> None:
        """Also where pushes of other groups would be dropped."""

        class Dropping(Rooms):
            route_overflow = "drop"

        sent: list[Any] = []
        unblocked = asyncio.Event()

        async def send(message: Any) -> None:
            sent.append(message)
            if "said" in message.get("text", ""):
                await unblocked.wait()

        frames: asyncio.Queue[Any] = asyncio.Queue()
        frames.put_nowait({"type": "websocket.connect"})
        subscribing = {"route": "SUBSCRIBE", "uuid": 1, "payload": {"topic": "room.5"}}
        frames.put_nowait({"type": "websocket.receive", "text": json.dumps(subscribing)})
        scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": []}
        application: Any = Dropping.as_asgi()
        task = asyncio.create_task(application(scope, frames.get, send))
        await until(lambda: any("SUBSCRIBE" in message.get("text", "") for message in sent))
        with override_settings(ROUTESOCK={"HISTORY": HISTORY}):
            await say(*range(conf.get("MAX_OUTGOING") + 10))
        unblocked.set()
        await until(lambda: any(message["type"] == "websocket.close" for message in sent))
        assert [message["code"] for message in sent if message["type"] == "websocket.close"] == [1013]
        notice = next(json.loads(message["text"]) for message in sent if "CLOSE" in message.get("text", ""))
        assert notice["payload"]["reconnect"] is True
        frames.put_nowait({"type": "websocket.disconnect", "code": 1013})
        await task
