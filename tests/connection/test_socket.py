"""``self.socket``: pushes, closes with a notice, and a name that gives way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from routesock import Keys, Request, RouteMixin, route
from routesock._runtime.closing import cut_reason
from routesock.socket import AsyncRequest, SyncRequest, socket_of
from routesock.testing import RouteClient
from tests.takeover.driver import Socket, turns, until


class Door(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("push")
    async def push(self, request: Request) -> str:
        await self.socket.push(*request.payload["args"], **request.payload.get("kwargs", {}))
        return "pushed"

    @route("push.object")
    async def push_object(self, request: Request) -> str:
        with pytest.raises(TypeError, match="not JSON serializable"):
            await self.socket.push("object", object())
        with pytest.raises(ValueError, match="over MAX_REPLY"):
            await self.socket.push("large", "x" * 1_000_001)
        return "raised"

    @route("close")
    async def close_it(self, request: Request) -> str:
        await self.socket.close(*request.payload["args"], **request.payload.get("kwargs", {}))
        await self.socket.close(500, "once more")
        await self.socket.push("late")
        return "closed"

    @route("slow")
    async def slow(self, request: Request) -> None:
        await asyncio.sleep(0.01)
        self.scope["log"].append(("slow", "ended"))

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))


class SyncDoor(RouteMixin, JsonWebsocketConsumer):
    @route("push")
    def push(self, request: Request) -> str:
        self.socket.push(*request.payload["args"], **request.payload.get("kwargs", {}))
        return "pushed"

    @route("close")
    def close_it(self, request: Request) -> str:
        self.socket.close(*request.payload["args"], **request.payload.get("kwargs", {}))
        self.socket.close(500, "once more")
        self.socket.push("late")
        return "closed"

    def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))


class OwnSend(Door):
    """Overrides both methods through which Channels sends a frame."""

    async def encode_json(self, content: Any) -> str:
        return (await super().encode_json(content)).upper()

    async def send(self, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
        await super().send(f"[{text_data}]", bytes_data, close)


class SyncOwnSend(SyncDoor):
    def send(self, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
        super().send(f"[{text_data}]", bytes_data, close)


BOTH = pytest.mark.parametrize("consumer", [Door, SyncDoor])


def socket(consumer: type) -> Socket:
    return Socket(consumer.as_asgi(), log=[])  # type: ignore[attr-defined]


@BOTH
async def test_a_push_has_neither_id_nor_status(consumer: type) -> None:
    async with socket(consumer) as client:
        await client.call("push", 1, {"args": ["news", {"a": [1]}]})
        await client.call("push", 2, {"args": ["news"], "kwargs": {"headers": {"X": 1}}})
        assert [frame for frame in client.frames if "status" not in frame] == [
            {"route": "news", "payload": {"a": [1]}},
            {"route": "news", "headers": {"X": 1}, "payload": None},
        ]


async def test_a_push_is_spelt_in_the_dialect_of_the_class() -> None:
    class Action(Door):
        route_dialect = Keys(route="action", id="ref", payload=None)

    async with socket(Action) as client:
        client.json({"action": "push", "ref": 1, "args": ["news", {"a": 1}]})
        await client.read(2)
        assert client.frames[0] == {"action": "news", "a": 1}


async def test_a_push_goes_through_what_the_consumer_overrides() -> None:
    async with socket(OwnSend) as client:
        client.request("push", 1, {"args": ["news"]})
        await until(lambda: len(client.texts) == 2)
        assert client.texts[0] == '[{"ROUTE": "NEWS", "PAYLOAD": NULL}]'
    async with socket(SyncOwnSend) as client:
        client.request("push", 1, {"args": ["news"]})
        await until(lambda: len(client.texts) == 2)
        assert client.texts[0] == '[{"route": "news", "payload": null}]'


async def test_what_cannot_be_pushed_raises_to_its_caller() -> None:
    async with socket(Door) as client:
        assert (await client.call("push.object", 1))["payload"] == "raised"


@BOTH
@pytest.mark.parametrize("name", ["PING", "CLOSE", "PONG"])
async def test_a_reserved_name_is_not_pushed(consumer: type, name: str) -> None:
    async with RouteClient(consumer, scope={"log": []}) as client:
        with pytest.raises(ValueError, match=f"{name}' is reserved for the protocol"):
            await client.call("push", {"args": [name]})


async def test_nothing_is_dispatched_once_a_close_has_begun() -> None:
    """Not even while the notice of it waits for a client that does not read."""

    class Refusing(Door):
        @route("refuse", parallel=True)
        async def refuse(self, request: Request) -> None:
            await self.socket.close(403)

        @route("order")
        async def order(self, request: Request) -> None:
            self.scope["log"].append(("ran", "order"))

        @route("beside", parallel=True)
        async def beside(self, request: Request) -> None:
            self.scope["log"].append(("ran", "beside"))

    async with socket(Refusing) as client:
        client.writable.clear()
        client.request("refuse", 1)
        await turns()
        client.requests("order", 2)
        client.requests("beside", 3)
        await turns()
        client.writable.set()
        await client.ending()
    assert client.log == [("disconnect", 4403)]
    assert [frame["route"] for frame in client.frames] == ["CLOSE"]


class Sending(Door):
    async def connect(self) -> None:
        self.scope["consumers"].append(self)
        await self.accept()

    @route("send")
    async def send_it(self, request: Request) -> None:
        await self.send_json(1)

    @route("send.once", cancel_on_disconnect=True)
    async def send_it_once(self, request: Request) -> None:
        await self.send_json(1)


@pytest.mark.parametrize("name", ["send", "send.once"])
async def test_a_socket_that_ends_waits_for_its_handlers_and_not_for_its_client(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that waits in ``send()`` holds the reading, which must not begin again when that handler ends."""
    monkeypatch.setattr("routesock._runtime.closing.CLOSE_WAIT", 0.01)
    consumers: list[Any] = []
    ending = type("Ending", (Sending,), {"route_disconnect_grace": 60})
    client = Socket(ending.as_asgi(), log=[], consumers=consumers)
    async with client:
        monkeypatch.setattr(client, "disconnect", lambda code=1000: None)  # the server says nothing of the client
        client.writable.clear()
        client.request(name, 1)
        await turns()
        await consumers[0].socket.close(503)
        await turns()
        client.writable.set()
        assert await client.ending() is None
    assert client.log == [("disconnect", 4503)]
    assert caplog.records == []


@BOTH
async def test_a_close_is_announced_and_ends_the_socket(consumer: type) -> None:
    client = socket(consumer)
    async with client:
        client.request("close", 1, {"args": [403, "go away"]})
        client.request("push", 2, {"args": ["news"]})
        await client.ending()
    assert client.sent[1:] == [
        {
            "type": "websocket.send",
            "text": '{"route": "CLOSE", "payload": {"code": 4403, "reason": "go away", "reconnect": false}}',
        },
        {"type": "websocket.close", "code": 4403, "reason": "go away"},
    ]
    assert client.late == []
    assert client.disconnects == [("disconnect", 4403)]


@pytest.mark.parametrize(
    ("args", "kwargs", "payload"),
    [
        ([503], {}, {"code": 4503, "reason": "", "reconnect": True}),
        ([429, "no"], {"retry_after": 7}, {"reconnect": True, "retry_after": 7, "code": 4429, "reason": "no"}),
        ([408], {}, {"code": 4408, "reason": "", "reconnect": True}),
        ([401], {}, {"code": 4401, "reason": "", "reconnect": False}),
        ([401], {"reconnect": True}, {"code": 4401, "reason": "", "reconnect": True}),
        ([500], {"reconnect": False}, {"code": 4500, "reason": "", "reconnect": False}),
    ],
)  # fmt: skip
async def test_the_notice_says_whether_to_come_back(args: Any, kwargs: Any, payload: Any) -> None:
    client = socket(Door)
    async with client:
        client.request("close", 1, {"args": args, "kwargs": kwargs})
        await client.ending()
    assert client.frames == [{"route": "CLOSE", "payload": payload}]


@pytest.mark.parametrize("status", [99, 600, 4403, "403", None, 403.0])
async def test_a_close_has_an_http_status(status: Any) -> None:
    async with RouteClient(Door, scope={"log": []}) as client:
        with pytest.raises(ValueError, match="The status must be an HTTP status, such as 403; got"):
            await client.call("close", {"args": [status]})


async def test_a_request_that_runs_beside_has_its_grace() -> None:
    class Beside(Door):
        @route("slow.beside", parallel=True)
        async def slow_beside(self, request: Request) -> None:
            await self.slow(request)

    client = socket(Beside)
    async with client:
        client.request("slow.beside", 1)
        client.request("close", 2, {"args": [403]})
        await client.ending()
    assert client.log == [("slow", "ended"), ("disconnect", 4403)]
    assert client.statuses() == []


async def test_a_refusal_in_connect_needs_no_notice() -> None:
    """Nothing can be sent before the accept: servers make it an HTTP 403."""

    class Refusing(Door):
        async def connect(self) -> None:
            await self.socket.close(401)

    client = socket(Refusing)
    async with client:
        await client.ending()
    assert client.sent == [{"type": "websocket.close", "code": 4401, "reason": ""}]


async def test_an_accepted_socket_can_be_closed_in_connect() -> None:
    class Leaving(Door):
        async def connect(self) -> None:
            await self.accept()
            await self.socket.close(401)

    client = socket(Leaving)
    async with client:
        await client.ending()
    assert [message["type"] for message in client.sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert client.disconnects == [("disconnect", 4401)]


@given(reason=st.text())
def test_a_reason_fits_into_a_close_frame(reason: str) -> None:
    """RFC 6455, section 5.5: 125 bytes, two of them the code's."""
    cut = cut_reason(reason)
    assert len(cut.encode()) <= 123
    if len(reason.encode("utf-8", "replace")) <= 123:
        assert cut.encode() == reason.encode("utf-8", "replace")


async def test_a_consumers_own_attribute_of_that_name_stays() -> None:
    class Own(AsyncJsonWebsocketConsumer):
        socket = "class's"

    class Inheriting(RouteMixin, Own):
        @route("own")
        async def own(self, request: Request) -> Any:
            return self.socket

    class Setting(Inheriting):
        async def connect(self) -> None:
            self.socket = "connect's"
            await self.accept()

    class Defining(RouteMixin, AsyncJsonWebsocketConsumer):
        def socket(self) -> str:
            return "method's"

        @route("own")
        async def own(self, request: Request) -> Any:
            return self.socket()

    for consumer, expected in ((Inheriting, "class's"), (Setting, "connect's"), (Defining, "method's")):
        async with RouteClient(consumer) as client:
            assert (await client.call("own")).payload == expected


def test_a_consumer_that_serves_nobody_has_no_socket() -> None:
    with pytest.raises(AttributeError, match="Door has no socket: it is not connected"):
        _ = Door().socket


async def test_pushes_of_a_handler_that_goes_on_after_the_client_left_raise_nothing() -> None:
    class Telling(Door):
        @route("tell")
        async def tell(self, request: Request) -> None:
            await asyncio.sleep(0.01)
            await self.socket.push("told")
            self.scope["log"].append(("tell", "ended"))

    client = socket(Telling)
    async with client:
        client.request("tell", 1)
        await turns()
        client.disconnect()
        await client.ending()
    assert client.log[0] == ("tell", "ended")


TIMES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.lists(st.none()),
)


@given(value=TIMES, name=st.sampled_from(["Request-Timeout", "request-timeout", "REQUEST-TIMEOUT"]))
def test_a_clients_deadline_is_a_positive_number_of_seconds(value: Any, name: str) -> None:
    """``null`` is none at all; whatever else it sends is a 400 with its id, before anything runs."""

    async def status() -> Any:
        async with RouteClient(Quick) as client:
            return (await client.call("waiting", headers={name: value})).status

    valid = value is None or (type(value) in (int, float) and value > 0)
    with override_settings(ROUTESOCK={"TIMEOUT": None}):
        assert asyncio.run(status()) in ({204, 504} if valid else {400})


class Quick(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("quick")
    async def quick(self, request: Request) -> str:
        return "quick"

    @route("waiting")
    async def waiting(self, request: Request) -> None:
        await asyncio.sleep(0)

    @route("hang")
    async def hang(self, request: Request) -> None:
        await asyncio.sleep(60)

    @route("hang.briefly", timeout=0.02)
    async def hang_briefly(self, request: Request) -> None:
        await asyncio.sleep(60)


async def test_a_client_may_have_less_patience_than_the_route() -> None:
    async with RouteClient(Quick) as client:
        assert (await client.call("hang", headers={"Request-Timeout": 0.02})).status == 504


async def test_and_has_a_deadline_where_the_route_has_none() -> None:
    with override_settings(ROUTESOCK={"TIMEOUT": None}):
        async with RouteClient(Quick) as client:
            assert (await client.call("hang", headers={"Request-Timeout": 0.02})).status == 504


async def test_but_never_more() -> None:
    async with RouteClient(Quick) as client:
        assert (await client.call("hang.briefly", headers={"Request-Timeout": 30})).status == 504


class Terminal(RouteMixin, AsyncJsonWebsocketConsumer):
    """A consumer whose class has an attribute of that name."""

    socket: Any = "/dev/pts/1"

    async def connect(self) -> None:
        await self.accept()
        await socket_of(self).join("terminals")

    @route("push")
    async def push(self, request: Request) -> Any:
        await request.socket.push("pushed", self.socket)
        return [*request.socket.groups, type(socket_of(self)).__name__]


class SyncTerminal(RouteMixin, JsonWebsocketConsumer):
    def __init__(self) -> None:
        super().__init__()
        self.socket = "/dev/pts/1"  # type: ignore[assignment]

    @route("push")
    def push(self, request: SyncRequest) -> Any:
        request.socket.join("terminals")
        request.socket.push("pushed", self.socket)
        return [*request.socket.groups, type(request.socket).__name__]


class TestSocketOf:
    """``request.socket`` and ``socket_of(consumer)``, for classes that use the name themselves."""

    @pytest.mark.parametrize(("consumer", "kind"), [(Terminal, "Socket"), (SyncTerminal, "SyncSocket")])
    async def test_an_attribute_of_the_consumer_does_not_hide_the_socket(self, consumer: type, kind: str) -> None:
        async with RouteClient(consumer) as client:
            reply = await client.call("push")
            assert reply.payload == ["terminals", kind]
            assert (await client.expect_push("pushed")).payload == "/dev/pts/1"

    async def test_elsewhere_it_is_self_socket(self) -> None:
        class Plain(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("same")
            async def same(self, request: Request) -> bool:
                return request.socket is self.socket is socket_of(self)

        async with RouteClient(Plain) as client:
            assert (await client.call("same")).payload is True

    def test_without_a_connection_there_is_none(self) -> None:
        for request in (Request("a"), Request("a", consumer=Terminal())):
            with pytest.raises(AttributeError, match="its consumer is not connected"):
                request.socket  # noqa: B018
        with pytest.raises(AttributeError, match="Terminal has no socket: it is not connected"):
            socket_of(Terminal())

    def test_annotations_for_type_checkers_are_the_request(self) -> None:
        """A test may make one by either name."""
        assert AsyncRequest is SyncRequest is Request
