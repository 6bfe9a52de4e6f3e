"""The test client in async tests, against consumers that speak the envelope by hand."""

from __future__ import annotations

import asyncio
import datetime
import json
import uuid
from typing import Any

import pytest
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.auth.models import AnonymousUser
from django.urls import path
from django.utils.functional import SimpleLazyObject

from routesock import RouteMixin, abroadcast, topic
from routesock.dialects import Keys
from routesock.testing import (
    ClientReply,
    ClientTimeout,
    Close,
    ConnectionClosed,
    ConnectionRefused,
    NoReply,
    RouteClient,
)
from tests.clock import simulated


class Broken(Exception):
    pass


class Plain(AsyncJsonWebsocketConsumer):
    """Answers requests as routesock would, one branch per action."""

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        route, id, payload = content["route"], content.get("uuid"), content.get("payload")
        match route:
            case "echo":
                await self.reply(id, route, payload)
            case "headers":
                await self.reply(id, route, content.get("headers"), headers={"Retry-After": 3})
            case "two-pushes":
                await self.push("first", {"n": 1})
                await self.push("second", {"n": 2})
                await self.reply(id, route, None)
            case "late":
                self.event = asyncio.Event()
                self.task = asyncio.create_task(self.answer_later(id))
            case "now":
                self.event.set()
            case "push":
                await self.push(payload["route"], payload["payload"])
            case "raw":
                await self.send(**payload)
            case "bytes":
                await self.send(bytes_data=b"\x00")
            case "fail":
                self.scope.get("routesock.on_error", lambda *args: None)(id, Broken("in the handler"))
                await self.reply(id, route, {"code": "internal_error"}, status=500)
            case "die":
                raise Broken("in the application")
            case "close":
                await self.close(4401, "gone")
            case "send-after-close":
                await self.close()
                await self.push("lost", None)
            case "PING":
                await self.send_json({"route": "PONG", "uuid": id, "payload": payload})
            case "CANCEL":
                await self.reply(id, "late", None, status=499)

    async def answer_later(self, id: Any) -> None:
        await self.event.wait()
        await self.reply(id, "late", None)

    async def reply(self, id: Any, route: str, payload: Any, status: int = 200, **more: Any) -> None:
        await self.send_json({"uuid": id, "route": route, "status": status, "payload": payload, **more})

    async def push(self, route: str, payload: Any) -> None:
        await self.send_json({"route": route, "payload": payload})


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    """An application without a thread, so that the shortest time-out is enough to connect; it never ends."""
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if "text" in message:
            scope["routesock.on_error"](json.loads(message["text"]).get("uuid"), Broken())


class Scoped(AsyncJsonWebsocketConsumer):
    """Hands the scope to the test."""

    seen: Any = None

    async def connect(self) -> None:
        type(self).seen = self.scope
        await self.accept()


def scope_of(*args: Any, **options: Any) -> Any:
    async def connect() -> Any:
        async with RouteClient(Scoped, *args, **options):
            return Scoped.seen

    return asyncio.run(connect())


async def test_a_call_returns_its_reply() -> None:
    """A reply has the status, payload, headers, route and id of the frame."""
    async with RouteClient(Plain) as client:
        reply = await client.call("echo", {"a": [1]}, id="mine")

    assert reply == ClientReply(200, {"a": [1]}, {}, "echo", "mine")
    assert reply.ok


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (204, True), (299, True), (300, False), (500, False), (None, False)]
)
def test_only_2xx_is_ok(status: int | None, ok: bool) -> None:
    """``ok`` says 2xx, and says no where there is no status."""
    assert ClientReply(status, None).ok is ok


async def test_headers_go_both_ways() -> None:
    """A call sends the headers it is given and returns those of the reply."""
    async with RouteClient(Plain) as client:
        reply = await client.call("headers", headers={"X-A": "1"})

    assert (reply.payload, reply.headers) == ({"X-A": "1"}, {"Retry-After": 3})


async def test_payloads_may_hold_what_replies_may_hold() -> None:
    """Dates and UUIDs are encoded as routesock encodes them."""
    id = uuid.uuid4()
    async with RouteClient(Plain) as client:
        reply = await client.call("echo", {"day": datetime.date(2024, 2, 29), "id": id})

    assert reply.payload == {"day": "2024-02-29", "id": str(id)}


async def test_replies_are_matched_by_id() -> None:
    """Concurrent calls each get their own reply, in whatever order replies come."""
    async with RouteClient(Plain) as client:
        late = asyncio.create_task(client.call("late"))
        quick = await asyncio.gather(*(client.call("echo", n) for n in range(20)))
        assert not late.done()
        await client.send("now")

        assert (await late).route == "late"
        assert [reply.payload for reply in quick] == list(range(20))


async def test_frames_in_between_are_kept_for_their_readers() -> None:
    """A call leaves pushes alone, and an expected push leaves earlier ones alone."""
    async with RouteClient(Plain) as client:
        await client.call("two-pushes")

        assert (await client.expect_push("second")).payload == {"n": 2}
        assert (await client.expect_push()).route == "first"


async def test_a_dialect_without_statuses_is_matched_by_id_too() -> None:
    """Where there is no status a reply still finds its call, and pushes are still pushes."""

    class Statusless(AsyncJsonWebsocketConsumer):
        route_dialect = Keys(route="action", id="ref", payload=None, status=None)

        async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
            await self.send_json({"action": "news", "text": "hello"})
            await self.send_json({"action": content["action"], "ref": content["ref"], "sum": content["a"] + 1})

    async with RouteClient(Statusless) as client:
        reply = await client.call("add", {"a": 1})
        assert (reply.status, reply.payload) == (None, {"sum": 2})
        assert (await client.expect_push("news")).payload == {"text": "hello"}

    async with RouteClient(Statusless.as_asgi()) as client:
        assert (await client.call("add", {"a": 2})).payload == {"sum": 3}

    wrapped = URLRouter([path("ws/", Statusless.as_asgi())])
    async with RouteClient(wrapped, "/ws/", dialect=Statusless.route_dialect) as client:
        assert (await client.call("add", {"a": 3})).payload == {"sum": 4}


async def test_the_second_waiter_for_an_id_is_refused() -> None:
    """Two calls that wait for the same id could not distinguish their replies."""
    async with RouteClient(Plain) as client:
        first = asyncio.create_task(client.call("late", id=1))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="id 1"):
            await client.call("echo", id=1)
        await client.send("now")
        assert (await first).ok
        assert (await client.call("echo", id=1)).ok


async def test_a_reply_to_send_is_expected_by_its_id() -> None:
    """``send`` with an id waits for nothing; ``expect_reply`` finds the reply, come or yet to come."""
    async with RouteClient(Plain) as client:
        await client.send("late", id="slow")
        await client.call("echo")
        await client.send("now")
        assert (await client.expect_reply("slow")).ok


async def test_ping_returns_the_echo() -> None:
    """A PING is answered with its payload."""
    async with RouteClient(Plain) as client:
        assert await client.ping({"at": 1}) == {"at": 1}


async def test_cancel_names_the_request() -> None:
    """The one who waits for a cancelled request gets its 499."""
    async with RouteClient(Plain) as client:
        call = asyncio.create_task(client.call("late", id="x"))
        await asyncio.sleep(0)
        await client.cancel("x")
        assert (await call).status == 499


@simulated
async def test_no_reply_says_what_came_instead() -> None:
    """A missing reply is a failed assertion and a timeout, and lists the unread frames."""
    async with RouteClient(Plain) as client:
        await client.send("push", {"route": "news", "payload": {"text": "hello"}})
        await client.call("echo")
        with pytest.raises(NoReply, match=r"(?s)'late' \(id 'call-2'\) within 0\.01 s.*'text': 'hello'") as raised:
            await client.call("late", timeout=0.01)

        assert isinstance(raised.value, AssertionError | TimeoutError)
        assert isinstance(raised.value, TimeoutError)


@simulated
async def test_a_timeout_leaves_the_application_alone() -> None:
    """After a time-out the same socket answers, and the late reply is an ordinary frame."""
    async with RouteClient(Plain) as client:
        with pytest.raises(NoReply, match="Nothing else arrived"):
            await client.call("late", id="slow", timeout=0.05)
        with pytest.raises(ClientTimeout, match="No push of 'news'"):
            await client.expect_push("news", timeout=0.01)
        with pytest.raises(ClientTimeout, match="No frame"):
            await client.receive(timeout=0.01)
        with pytest.raises(ClientTimeout, match="No close"):
            await client.expect_close(timeout=0.01)

        assert (await client.call("echo")).ok
        await client.send("now")
        assert (await client.receive())["uuid"] == "slow"


async def test_a_long_list_of_arrivals_is_cut() -> None:
    """The message of a time-out stays readable whatever the application sent."""
    async with RouteClient(Plain) as client:
        for _ in range(25):
            await client.send("push", {"route": "news", "payload": "x" * 1000})
        await client.call("echo")
        with pytest.raises(NoReply, match="and 5 more") as raised:
            await client.call("late", timeout=0)

    assert len(str(raised.value)) < 12_000


@simulated
async def test_a_push_is_expected_by_members_of_its_payload() -> None:
    """Members given to ``expect_push`` have to be in the payload, with these values."""
    async with RouteClient(Plain) as client:
        for payload in (None, {"n": 1}, {"n": 2, "more": True}):
            await client.send("push", {"route": "news", "payload": payload})

        assert (await client.expect_push("news", n=2)).payload == {"n": 2, "more": True}
        with pytest.raises(ClientTimeout, match=r"with \{'n': 3\}"):
            await client.expect_push("news", n=3, timeout=0.01)
        with pytest.raises(ClientTimeout):
            await client.expect_push("news", missing=None, timeout=0.01)


async def test_refute_push_shows_the_push() -> None:
    """A push that was not to come fails the test, whether it is there already or on its way."""
    async with RouteClient(Plain) as client:
        await client.refute_push("news", within=0)
        await client.send("push", {"route": "news", "payload": "hello"})
        await client.refute_push("other", within=0)
        with pytest.raises(AssertionError, match="hello"):
            await client.refute_push("news", within=0.5)
        await client.refute_push(within=0)


async def test_a_closed_socket_sends_no_push() -> None:
    """After a close there is nothing to wait for."""
    async with RouteClient(Plain) as client:
        await client.send("close")
        await client.refute_push(within=60)


async def test_frames_come_as_they_are() -> None:
    """``receive`` gives a JSON object as a dict, other text as it is, and bytes."""
    async with RouteClient(Plain) as client:
        await client.send_text(json.dumps({"route": "raw", "payload": {"text_data": "[1]"}}))
        await client.send_json({"route": "raw", "payload": {"text_data": "no json"}})
        await client.send("bytes")
        await client.send("push", {"route": "news", "payload": 1})

        assert [await client.receive() for _ in range(4)] == [
            "[1]",
            "no json",
            b"\x00",
            {"route": "news", "payload": 1},
        ]


async def test_only_the_id_that_was_sent_matches() -> None:
    """``true`` and ``1.0`` are no replies to request 1, and ids that cannot be one break nothing."""
    async with RouteClient(Plain) as client:
        for id in ("true", "1.0", "[1]", "{}"):
            text = f'{{"route": "r", "uuid": {id}, "status": 200}}'
            await client.send("raw", {"text_data": text})
        with pytest.raises(NoReply):
            await client.expect_reply(1, timeout=0.05)
        for _ in range(4):
            await client.receive()


async def test_bytes_are_sent_as_bytes() -> None:
    """A binary frame reaches the consumer as one."""

    class Echo(AsyncWebsocketConsumer):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.send(text_data=text_data, bytes_data=bytes_data)

    async with RouteClient(Echo) as client:
        await client.send_bytes(b"\xff")
        await client.send_text("")
        assert [await client.receive(), await client.receive()] == [b"\xff", ""]


async def test_a_close_is_expected_with_code_and_reason() -> None:
    """``expect_close`` returns what the application closed with, and ``closed`` keeps it."""
    async with RouteClient(Plain) as client:
        assert client.closed is None
        await client.send("close")
        assert await client.expect_close() == Close(4401, "gone")
        assert client.closed == (4401, "gone")


async def test_a_close_ends_what_waits() -> None:
    """A call whose reply can no longer arrive fails at once, and so does one on a closed socket."""
    async with RouteClient(Plain, timeout=60) as client:
        for _ in range(2):
            with pytest.raises(ConnectionClosed, match=r"closed the socket \(code 4401, 'gone'\)") as raised:
                await client.call("close")
            assert (raised.value.code, raised.value.reason) == (4401, "gone")


async def test_an_application_that_returns_has_closed() -> None:
    """An application that ends without a close is a closed socket, code 1006, as with a real server."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async with RouteClient(application, timeout=60) as client:
        with pytest.raises(ConnectionClosed, match="1006"):
            await client.call("echo")


async def test_a_failed_handler_is_raised_in_its_call() -> None:
    """The exception behind a 500 is raised by the call that caused it and by no other."""
    async with RouteClient(Plain) as client:
        good, failed = await asyncio.gather(client.call("echo"), client.call("fail", id="f"), return_exceptions=True)
        assert isinstance(failed, Broken)
        assert isinstance(good, ClientReply)
        assert (await client.call("echo", id="f")).ok


async def test_a_failed_handler_without_a_call_is_raised_next() -> None:
    """The failure of a notification is raised in a call that waits, else in the next call, else in the disconnect."""
    async with RouteClient(Plain, timeout=60) as client:
        await client.send("fail")
        with pytest.raises(Broken):
            await client.expect_push("news")

        await client.send("fail")
        assert (await client.call("echo")).ok
        with pytest.raises(Broken):
            await client.call("echo")

    client = RouteClient(Plain)
    await client.connect()
    await client.send("fail")
    with pytest.raises(Broken):
        await client.disconnect()


@simulated
async def test_a_failure_without_a_reply_beats_the_timeout() -> None:
    """Where the 500 itself is lost, the call still raises the exception and not that nothing came."""
    client = RouteClient(accepting, timeout=0.1)
    await client.connect()
    with pytest.raises(Broken):
        await client.call("any")
    await client.send("any")
    with pytest.raises(Broken):
        await client.expect_reply("another")
    with pytest.raises(ClientTimeout):
        await client.disconnect()


async def test_replies_of_500_are_returned_on_request() -> None:
    """``raise_exceptions=False`` returns the reply instead."""
    async with RouteClient(Plain, raise_exceptions=False) as client:
        assert (await client.call("fail")).status == 500


async def test_a_dead_application_is_raised_in_pending_and_later_calls() -> None:
    """What the application died of is raised by every call, and not once more by the disconnect."""
    async with RouteClient(Plain, timeout=60) as client:
        waiting = asyncio.create_task(client.expect_push("news"))
        with pytest.raises(Broken):
            await client.call("die")
        with pytest.raises(Broken):
            await waiting
        with pytest.raises(Broken):
            await client.call("echo")
        with pytest.raises(Broken):
            await client.refute_push(within=0)


async def test_a_dead_application_is_raised_by_the_disconnect() -> None:
    """An exception that no call has raised is raised when the block ends."""
    with pytest.raises(Broken):
        async with RouteClient(Plain) as client:
            await client.send("die")


async def test_the_tests_own_failure_comes_first() -> None:
    """An exception inside the block is not replaced by what the application raises afterwards, which is noted on it."""
    with pytest.raises(KeyError) as raised:  # noqa: PT012
        async with RouteClient(Plain) as client:
            await client.send("die")
            raise KeyError

    assert raised.value.__notes__ == ["The application failed as well: Broken('in the application')"]


async def test_a_handler_that_raises_a_timeout_is_no_timeout_of_the_client() -> None:
    """A ``TimeoutError`` of the application is raised as it is."""

    class Slow(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
            raise TimeoutError("of the application")

    async with RouteClient(Slow) as client:
        with pytest.raises(TimeoutError, match="of the application"):
            await client.call("any")


async def test_a_refusal_says_code_and_reason() -> None:
    """A close instead of an accept is an error with the close code."""

    class Refusing(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.close(4403, "members only")

    with pytest.raises(ConnectionRefused, match=r"refused the connection \(code 4403, 'members only'\)") as raised:
        async with RouteClient(Refusing):
            raise AssertionError("not reached")
    assert (raised.value.code, raised.value.reason) == (4403, "members only")


async def test_a_denied_connection_is_refused() -> None:
    """Channels' ``DenyConnection`` is a refusal too."""

    class Denying(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            raise DenyConnection

    with pytest.raises(ConnectionRefused):
        await RouteClient(Denying).connect()


async def test_an_exception_in_connect_is_raised_by_connect() -> None:
    """So is the exception of a router that knows no such path."""

    class Failing(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            raise Broken

    with pytest.raises(Broken):
        await RouteClient(Failing).connect()
    with pytest.raises(ValueError, match="No route found"):
        await RouteClient(URLRouter([]), "/nowhere/").connect()


@simulated
async def test_a_connect_that_takes_too_long_is_ended() -> None:
    """Neither a time-out nor a cancelled test leaves the application behind."""

    class Endless(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await asyncio.Event().wait()

    tasks = asyncio.all_tasks()
    with pytest.raises(ClientTimeout, match=r"did not accept the connection within 0\.01 s"):
        await RouteClient(Endless, timeout=0.01).connect()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await RouteClient(Endless, timeout=60).connect()
    assert asyncio.all_tasks() == tasks


async def test_leaving_disconnects_and_awaits_the_application() -> None:
    """At the end of the block ``disconnect()`` has run, with code 1000, and no task is left."""
    codes = []

    class Leaving(Plain):
        async def disconnect(self, code: int) -> None:
            await asyncio.sleep(0)
            codes.append(code)

    tasks = asyncio.all_tasks()
    async with RouteClient(Leaving) as client:
        assert client.connected
    async with RouteClient(Leaving) as client:
        await client.disconnect(1001)
    async with RouteClient(Leaving) as client:
        await client.send("close")
        await client.expect_close()

    assert not client.connected
    assert codes == [1000, 1001, 4401]
    assert asyncio.all_tasks() == tasks


@simulated
async def test_an_application_that_does_not_end_is_cancelled() -> None:
    """A handler that still runs a ``timeout`` after the disconnect is cancelled, and the test hears of it."""
    tasks = asyncio.all_tasks()
    with pytest.raises(ClientTimeout, match=r"did not end within 0\.01 s"):
        async with RouteClient(accepting, timeout=0.01):
            pass
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), RouteClient(accepting, timeout=60):
            pass
    assert asyncio.all_tasks() == tasks


async def test_what_is_sent_to_a_client_that_left_is_dropped() -> None:
    """A push that races with the disconnect is no error, as with real servers."""

    class Talkative(Plain):
        async def disconnect(self, code: int) -> None:
            await self.push("bye", None)

    async with RouteClient(Talkative) as client:
        assert (await client.call("echo")).ok


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "websocket.send", "text": "early"}, "websocket.send"),
        ({"type": "http.response.start"}, "http.response.start"),
    ],
)
async def test_messages_that_servers_refuse_are_refused(message: dict[str, Any], error: str) -> None:
    """What a real server would not accept from an application raises in the application."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(message)

    with pytest.raises(RuntimeError, match=error):
        await RouteClient(application).connect()


async def test_nothing_is_sent_after_a_close() -> None:
    """A frame after the application's own close raises in the application, as uvicorn does."""
    with pytest.raises(RuntimeError, match=r"after its websocket\.close"):  # noqa: PT012
        async with RouteClient(Plain) as client:
            await client.send("send-after-close")
            await client.expect_close()


@pytest.mark.parametrize("data", [{}, {"text": None}, {"text": "a", "bytes": b"b"}, {"text": b"a"}])
async def test_a_frame_holds_text_or_bytes(data: dict[str, Any]) -> None:
    """A frame with neither, with both or with the wrong type is no frame."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", **data})

    async with RouteClient(application) as client:
        with pytest.raises(TypeError, match=r"websocket\.send"):
            await client.receive()


async def test_a_client_that_is_not_connected_says_so() -> None:
    """Every method needs a connection, and there is one at a time."""
    client = RouteClient(Plain)
    for use in (client.call("echo"), client.expect_push(), client.receive(), client.send_text("")):
        with pytest.raises(RuntimeError, match="not connected"):
            await use
    assert client.closed is None
    client.raise_failures()
    await client.disconnect()
    async with client:
        with pytest.raises(RuntimeError, match="already"):
            await client.connect()


async def test_a_client_may_connect_again() -> None:
    """A second connection starts with an empty inbox."""
    client = RouteClient(Plain)
    async with client:
        await client.call("two-pushes")
    async with client:
        await client.refute_push(within=0)


async def test_with_is_refused_in_async_code() -> None:
    """The blocking client would block the loop, so it says what to write instead."""
    with pytest.raises(RuntimeError, match="async with"), RouteClient(Plain):
        raise AssertionError("not reached")


async def test_the_subprotocol_is_that_of_the_accept() -> None:
    """The client offers subprotocols and knows the chosen one, and the headers of the accept."""

    class Choosing(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept(self.scope["subprotocols"][1], headers=[(b"x-served-by", b"1")])

    async with RouteClient(Choosing, subprotocols=["a", "b"]) as client:
        assert client.subprotocol == "b"
        assert client.accept_headers == [(b"x-served-by", b"1")]


async def test_context_variables_of_the_test_stay_with_the_test() -> None:
    """An application begins with an empty context, as behind a server."""
    from django.utils import timezone

    class Zoned(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
            await self.send_json({**content, "status": 200, "payload": timezone.get_current_timezone_name()})

    with timezone.override("Asia/Tokyo"):
        async with RouteClient(Zoned) as client:
            assert (await client.call("zone")).payload != "Asia/Tokyo"


def test_the_scope_is_that_of_a_handshake() -> None:
    """Path and query string are taken apart; client, server and headers are those of a browser."""
    scope = scope_of("/ws/caf%C3%A9/ü/?a=1&b=%20")

    assert (scope["type"], scope["path"]) == ("websocket", "/ws/café/ü/")
    assert (scope["raw_path"], scope["query_string"]) == (b"/ws/caf%C3%A9/%C3%BC/", b"a=1&b=%20")
    assert scope["headers"] == [(b"host", b"testserver"), (b"origin", b"http://testserver")]
    assert (scope["client"][0], scope["server"]) == ("127.0.0.1", ("testserver", 80))
    assert "user" not in scope


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere", "X-A": b"1", "host": None},
        [("Origin", "https://elsewhere"), (b"x-a", "1"), ("host", None)],
    ],
)
def test_headers_are_pairs_or_a_mapping_of_text_or_bytes(headers: Any) -> None:
    """Given headers replace the defaults, and ``None`` removes one."""
    assert scope_of(headers=headers)["headers"] == [(b"origin", b"https://elsewhere"), (b"x-a", b"1")]


def test_given_keys_of_the_scope_win() -> None:
    """``scope=`` adds keys and replaces the default ones."""
    scope = scope_of(scope={"url_route": {"kwargs": {"pk": 1}}, "client": None})
    assert (scope["url_route"], scope["client"]) == ({"kwargs": {"pk": 1}}, None)


def test_an_origin_validator_lets_the_client_in(settings: Any) -> None:
    """The default origin is one that Django's test settings allow."""
    settings.ALLOWED_HOSTS = ["testserver"]
    validated = AllowedHostsOriginValidator(Plain.as_asgi())

    async def call(**options: Any) -> ClientReply:
        async with RouteClient(validated, **options) as client:
            return await client.call("echo")

    assert asyncio.run(call()).ok
    with pytest.raises(ConnectionRefused):
        asyncio.run(call(headers={"origin": "http://elsewhere"}))


def test_a_lazy_user_is_unwrapped() -> None:
    """``request.user`` is signed in as the user it stands for, evaluated or not."""
    user = AnonymousUser()
    lazy = SimpleLazyObject(lambda: user)
    assert scope_of(as_user=lazy)["user"] is user
    assert scope_of(as_user=lazy)["user"] is user


class Rooms(RouteMixin, AsyncJsonWebsocketConsumer):
    @topic("room.{id}", permissions=(), recover=True)
    async def room(self, request: Any) -> str:
        return f"room {request.payload['id']}"

    @topic("plain", permissions=())
    async def plain(self, request: Any) -> None: ...


@pytest.fixture
def history(settings: Any) -> None:
    settings.ROUTESOCK = {"HISTORY": {"room.{id}": {"size": 2, "ttl": 60}}}


@pytest.mark.usefixtures("history")
class TestTopics:
    async def test_a_client_that_comes_back_gets_what_it_has_missed(self) -> None:
        async with RouteClient(Rooms) as client:
            reply = await client.subscribe("room.back")
            assert (reply.status, reply.payload, reply.recovered) == (200, "room back", None)
            assert reply.position is not None
            await abroadcast("room.back", "said", 1)
            push = await client.expect_push("said")
            assert push.position not in (None, reply.position)
        await abroadcast("room.back", "said", 2)
        async with RouteClient(Rooms) as client:
            reply = await client.subscribe("room.back", since=push.position)
            assert (reply.status, reply.payload, reply.recovered) == (204, None, True)
            assert reply.position == push.position
            assert (await client.expect_push("said")).payload == 2
            assert (await client.subscribe("room.back")).status == 409

    async def test_too_much_was_missed(self) -> None:
        async with RouteClient(Rooms) as client:
            since = (await client.subscribe("room.long")).position
        for number in range(3):
            await abroadcast("room.long", "said", number)
        async with RouteClient(Rooms) as client:
            reply = await client.subscribe("room.long", since=since)
            assert (reply.status, reply.payload, reply.recovered) == (200, "room long", False)
            await client.refute_push("said")

    async def test_a_topic_without_a_history(self) -> None:
        async with RouteClient(Rooms) as client:
            reply = await client.subscribe("plain")
            assert (reply.status, reply.position, reply.recovered) == (204, None, None)
            await abroadcast("plain", "said", 1)
            assert (await client.expect_push("said")).position is None
            assert (await client.unsubscribe("plain")).status == 204
            await abroadcast("plain", "said", 2)
            await client.refute_push("said")
            assert (await client.unsubscribe("plain")).status == 404

    async def test_errors_are_replies(self) -> None:
        async with RouteClient(Rooms) as client:
            assert (await client.subscribe("nowhere")).status == 404
            assert (await client.subscribe("room.5", since="no position")).payload["errors"].keys() == {"since"}
