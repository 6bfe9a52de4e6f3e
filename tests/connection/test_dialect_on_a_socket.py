"""What a dialect decides on a socket: what a frame is, whether it is answered, and how an error looks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from marshmallow import Schema, fields

from routesock import NO_REPLY, Keys, Reply, Request, RouteMixin, RouteSetupError, abroadcast, route
from routesock.dialects import Dialect, Frame, Problem
from routesock.dialects.base import Decoded
from routesock.exceptions import InvalidEnvelope
from routesock.signals import request_finished
from routesock.testing import RouteClient


class NameSchema(Schema):
    first_name = fields.Str(required=True)


class Routes(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("none")
    async def none(self, request: Request) -> None:
        return None

    @route("fail")
    async def fail(self, request: Request) -> None:
        raise ValueError("a bug")

    @route("items")
    async def items(self, request: Request) -> Any:
        yield 1
        yield 2

    @route("name", schema=NameSchema)
    async def name(self, request: Request) -> Any:
        return request.payload

    @route("silent", reply=None)
    async def silent(self, request: Request) -> Any:
        if request.payload == "refuse":
            return Reply({"code": "teapot"}, 418)
        if request.payload == "raise":
            raise InvalidEnvelope("Not like this.")
        return request.payload

    @route("sometimes")
    async def sometimes(self, request: Request) -> Any:
        return NO_REPLY if request.payload else "answered"


async def settled(client: RouteClient) -> None:
    """Wait until the application has done all that it can: on the loop, and in the one thread of all sync work."""
    for _ in range(8):
        await client.settle()
        await sync_to_async(lambda: None)()
    await client.settle()


async def conversation(consumer: type, *frames: Any, then: Any = None) -> list[Any]:
    """Send ``frames`` and return what comes back until nothing more does."""
    received: list[Any] = []
    async with RouteClient(consumer, raise_exceptions=False) as client:
        for frame in frames:
            if isinstance(frame, bytes):
                await client.send_bytes(frame)
            else:
                await client.send_text(frame if isinstance(frame, str) else json.dumps(frame))
            await settled(client)
        while True:
            try:
                received.append(await client.receive(timeout=0.001))
            except TimeoutError:
                return received


# Ids


class WithoutIds(Routes):
    route_dialect = Keys(route="action", id=None, payload="data")


async def test_without_ids_every_request_is_answered() -> None:
    assert await conversation(
        WithoutIds, {"action": "echo", "data": 1, "uuid": 7}, {"action": "none"}, {"action": "x"}, {"action": "PING"}
    ) == [
        {"action": "echo", "status": 200, "data": 1},
        {"action": "none", "status": 204, "data": None},
        {
            "action": "x",
            "status": 404,
            "data": {"code": "unknown_route", "title": "Not Found", "detail": "There is no such route."},
        },
        {"action": "PONG", "data": None},
    ]


async def test_without_ids_a_stream_sends_its_items() -> None:
    replies = await conversation(WithoutIds, {"action": "items"})
    assert [(reply["status"], reply["data"]) for reply in replies] == [(206, 1), (206, 2), (200, None)]


async def test_completion_answers_a_request_without_an_id() -> None:
    class Complete(Routes):
        route_dialect = Keys(completion=True)

    assert await conversation(Complete, {"route": "none"}, {"route": "echo", "uuid": 1, "payload": 2}) == [
        {"uuid": None, "route": "none", "status": 204, "payload": None},
        {"uuid": 1, "route": "echo", "status": 200, "payload": 2},
    ]


async def test_an_unknown_route_names_those_that_are_near_under_debug(settings: Any) -> None:
    frame = {"route": "ecko", "uuid": 1}
    [reply] = await conversation(Routes, frame)
    assert reply["payload"]["detail"] == "There is no such route."
    settings.DEBUG = True
    [reply] = await conversation(Routes, frame)
    assert reply["payload"]["detail"] == "There is no such route. Did you mean 'echo'?"


# Sending nothing


@pytest.mark.parametrize("dialect", [Keys(), Keys(completion=True), Keys(status=None)], ids=repr)
async def test_a_success_is_not_answered_where_the_route_or_the_handler_says_so(dialect: Keys) -> None:
    class Silent(Routes):
        route_dialect = dialect

    frames = [("silent", 1, 1), ("sometimes", 2, True), ("silent", 3, "refuse"), ("silent", 4, "raise")]
    frames += [("sometimes", 5, False), ("silent", None, 1), ("sometimes", None, True)]
    replies = await conversation(
        Silent, *({"route": name, "uuid": id, "payload": payload} for name, id, payload in frames)
    )
    assert [reply["uuid"] for reply in replies] == [3, 4, 5]
    assert [reply["payload"]["code"] for reply in replies[:2]] == ["teapot", "invalid_envelope"]


async def test_a_request_without_a_reply_is_finished_once() -> None:
    seen: list[tuple[str, int | None]] = []

    def receive(sender: Any, route: str, status: int | None, **kwargs: Any) -> None:
        seen.append((route, status))

    request_finished.connect(receive)
    try:
        await conversation(Routes, {"route": "silent", "uuid": 1}, {"route": "sometimes", "uuid": 2, "payload": 1})
    finally:
        request_finished.disconnect(receive)
    assert seen == [("silent", 204), ("sometimes", 204)]


async def test_no_reply_keeps_its_meaning_behind_a_throttle_and_a_middleware() -> None:
    async def passes(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    class Limited(RouteMixin, AsyncJsonWebsocketConsumer):
        route_middleware = [passes]

        @route("quiet", throttle="100/min", dehydrate=lambda value: {"never": value})
        async def quiet(self, request: Request) -> Any:
            return NO_REPLY

        @route("silent", throttle="100/min", reply=None)
        async def silent(self, request: Request) -> Any:
            return 1

    assert await conversation(Limited, {"route": "quiet", "uuid": 1}, {"route": "silent", "uuid": 2}) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reply": None, "status": 201}, "nothing reads status="),
        ({"reply": None, "dehydrate": str}, "nothing reads dehydrate="),
    ],
)
def test_options_that_contradict_a_missing_reply_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RouteSetupError, match=message):
        route("a", **options)


def test_a_stream_is_made_of_replies() -> None:
    with pytest.raises(RouteSetupError, match=r"Remove reply=None\."):

        class Stream(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("items", reply=None)
            async def items(self, request: Request) -> Any:
                yield 1


# Errors


async def test_an_error_has_the_shape_that_the_dialect_gives_it() -> None:
    seen: list[tuple[Problem, Request]] = []

    def as_old(problem: Problem, request: Request) -> Any:
        seen.append((problem, request))
        return [7, problem.code, request.frame["echo"] if request.frame else None]

    class OldErrors(Routes):
        route_dialect = Keys(route="action", id=None, payload="data", error=as_old)

    replies = await conversation(
        OldErrors,
        {"action": "fail", "echo": 1},
        {"action": "unknown", "echo": 2},
        {"action": "name", "data": {}, "echo": 3},
        {"action": 5, "echo": 4},
        "no JSON",
        [],
        b"\x00",
    )
    assert [json.loads(reply) for reply in replies] == [
        [7, "internal_error", 1],
        [7, "unknown_route", 2],
        [7, "invalid", 3],
        [7, "invalid_envelope", 4],
        [7, "parse_error", None],
        [7, "invalid_envelope", None],
        [7, "parse_error", None],
    ]
    assert all(isinstance(request.consumer, OldErrors) for _, request in seen)
    problem = seen[2][0]
    assert (problem.status, problem.title) == (422, "Unprocessable Content")
    assert problem.detail
    assert set(problem.errors) == {"first_name"}


async def test_an_error_is_never_called_with_a_made_up_problem_and_is_cut_with_a_real_one() -> None:
    """A dialect that reads ``detail`` must not fail on a problem that only measures the size."""
    seen: list[Problem] = []

    def as_old(problem: Problem, request: Request) -> Any:
        seen.append(problem)
        return {"text": problem.members["detail"], "all": problem.members}

    class Long(RouteMixin, AsyncJsonWebsocketConsumer):
        route_dialect = Keys(error=as_old)

        @route("long")
        async def long(self, request: Request) -> None:
            raise InvalidEnvelope("x" * 5000)

        @route("short")
        async def short(self, request: Request) -> None:
            raise InvalidEnvelope("Short.")

    replies = await conversation(Long, {"route": "short", "uuid": 1}, {"route": "long", "uuid": 2})
    assert replies[0]["text"] == "Short."
    assert len(seen) == 3
    assert all(problem.code == "invalid_envelope" for problem in seen)
    assert set(replies[1]["text"]) == {"x"}
    assert len(json.dumps(replies[1])) <= 4096


@pytest.mark.parametrize("frame", [{"route": "unknown", "uuid": 1}, "no JSON", {"route": "fail", "uuid": 1}, b"\x00"])
async def test_a_dialect_may_decline_to_encode_an_error(frame: Any) -> None:
    class Quiet(Routes):
        route_dialect = Keys(error=lambda problem, request: None)

    assert await conversation(Quiet, frame, {"route": "echo", "uuid": 2, "payload": 3}) == [
        {"uuid": 2, "route": "echo", "status": 200, "payload": 3}
    ]


# What a frame is


class Array(Dialect):
    """``[id, name, payload]``; an answer is ``[id, status, payload]``."""

    def read(self, value: Any) -> Frame | None:
        if isinstance(value, dict):
            return None
        id, name, payload = value
        return Frame(name, id, payload, value=value)

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        return [request.id, status, payload]

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = {}) -> Any:
        return [route, payload]


class Arrays(Routes):
    route_dialect = Array()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"old code": content})


async def test_an_array_is_a_frame() -> None:
    replies = await conversation(Arrays, [1, "echo", "x"], {"a": 1}, [True, "echo", 1], [2, "unknown", 3], [], "[1]")
    received = [json.loads(reply) if isinstance(reply, str) else reply for reply in replies]
    assert received == [
        [1, 200, "x"],
        {"old code": {"a": 1}},
        [None, 400, received[2][2]],
        {"old code": [2, "unknown", 3]},
        {"old code": []},
        {"old code": [1]},
    ]
    assert received[2][2]["code"] == "invalid_envelope"


class Binary(Array):
    """Frames are bytes: one for the id, one for the name's length, the name, and the payload as text."""

    def decode(self, message: Mapping[str, Any]) -> Decoded:
        data = message.get("bytes")
        if data is None:
            return None
        id, length = data[0], data[1]
        return Frame(data[2 : 2 + length].decode(), id, data[2 + length :].decode())

    def encode(self, frame: Any) -> bytes:
        return repr(frame).encode()


FAMILIES: list[Any] = [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer]


@pytest.mark.parametrize("base", FAMILIES, ids=lambda base: base.__name__)
@pytest.mark.parametrize("owns_send", [False, True], ids=["", "own send"])
async def test_a_frame_may_be_binary(base: Any, owns_send: bool) -> None:
    def echo(self: Any, request: Request) -> Any:
        return request.payload

    namespace: dict[str, Any] = {"route_dialect": Binary(), "echo": route("echo")(echo)}
    sent: list[Any] = []
    if owns_send:
        if issubclass(base, AsyncWebsocketConsumer):

            async def send(self: Any, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
                sent.append(bytes_data)
                await base.send(self, text_data, bytes_data, close)

            namespace["send"] = send
        else:

            def send_now(self: Any, text_data: Any = None, bytes_data: Any = None, close: Any = False) -> None:
                sent.append(bytes_data)
                base.send(self, text_data, bytes_data, close)

            namespace["send"] = send_now
    consumer = type("BinaryConsumer", (RouteMixin, base), namespace)
    replies = await conversation(consumer, b"\x05\x04echoabc", b"\x06", b"\x07\x01\xff", "text", b"")
    assert replies.count(b"[5, 200, 'abc']") == 1
    assert [b"invalid_envelope" in reply for reply in replies].count(True) == 4
    assert sorted(sent) == (sorted(replies) if owns_send else [])


async def test_a_binary_broadcast_is_encoded_once_and_sent_as_bytes() -> None:
    encoded: list[Any] = []

    class Counting(Binary):
        def encode(self, frame: Any) -> bytes:
            encoded.append(frame)
            return super().encode(frame)

    class Room(RouteMixin, AsyncWebsocketConsumer):
        route_dialect = Counting()

        async def connect(self) -> None:
            await self.accept()
            await self.socket.join("room")

    async with RouteClient(Room) as one, RouteClient(Room) as two:
        await abroadcast("room", "news", 1)
        assert [await client.receive() for client in (one, two)] == [b"['news', 1]"] * 2
    assert encoded == [["news", 1]]


async def test_what_is_no_frame_of_the_dialect_goes_to_the_old_code_untouched() -> None:
    class Old(Routes):
        route_dialect = Binary()

        async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
            await self.send(text_data=f"old {text_data or str(bytes_data)}")

    assert await conversation(Old, "plain text", b"\x01", b"\x05\x04echoabc") == [
        "old plain text",
        "old b'\\x01'",
        b"[5, 200, 'abc']",
    ]


async def test_frames_that_are_too_large_or_too_deep_are_refused(settings: Any) -> None:
    settings.ROUTESOCK = {"MAX_FRAME": 100, "MAX_DEPTH": 2}

    class Lenient(Array):
        def decode(self, message: Mapping[str, Any]) -> Decoded:
            return self.read(json.loads(message["text"]))

    class Consumer(Routes):
        route_dialect = Lenient()

    replies = await conversation(Consumer, [1, "echo", "x" * 200], [2, "echo", [[[1]]]], [3, "echo", [[1]]])
    received = [json.loads(reply) for reply in replies]
    assert [reply[1] for reply in received] == [413, 400, 200]


class Tutorial(Keys):
    """The frame of the Channels tutorial has no action, only a key."""

    def read(self, value: Any) -> Frame | None:
        return Frame("message", payload=value) if isinstance(value, dict) and "message" in value else None


async def test_the_presence_of_a_key_may_name_the_route() -> None:
    class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
        route_dialect = Tutorial()

        @route("message", reply=None)
        async def message(self, request: Request) -> None:
            await self.send_json({"message": request.payload["message"]})

    first, *others = await conversation(Chat, {"message": "hi"}, {"other": 1}, [], 5, '"message"', "null")
    assert first == {"message": "hi"}
    assert [reply["status"] for reply in others] == [400] * 5


# For each socket


async def test_a_dialect_may_depend_on_the_socket() -> None:
    class ByPath(Keys):
        def for_consumer(self, consumer: Any) -> Dialect:
            return Keys(route=consumer.scope["path"].strip("/"))

    class Consumer(Routes):
        route_dialect = ByPath()

    for key in ("action", "command"):
        async with RouteClient(Consumer, f"/{key}/") as client:
            await client.send_json({key: "echo", "uuid": 1, "payload": 2})
            assert await client.receive() == {key: "echo", "uuid": 1, "status": 200, "payload": 2}


async def test_a_dialect_of_a_socket_must_be_one() -> None:
    class Wrong(Keys):
        def for_consumer(self, consumer: Any) -> Dialect:
            return "Keys"  # type: ignore[return-value]

    class Consumer(Routes):
        route_dialect = Wrong()

    with pytest.raises(TypeError, match=r"Wrong\.for_consumer\(\) must return a Dialect; got 'Keys'"):
        async with RouteClient(Consumer):
            pass


# Several requests in one message


class Batches(Keys):
    def read(self, value: Any) -> Any:
        if not isinstance(value, list):
            return super().read(value)
        if not value:
            raise InvalidEnvelope("An empty batch.")
        return [super(Batches, self).read(part) if isinstance(part, dict) else InvalidEnvelope() for part in value]


class Batch(Routes):
    route_dialect = Batches()


def request(name: str, id: Any = None, payload: Any = None) -> dict[str, Any]:
    return {"route": name, "uuid": id, "payload": payload}


async def test_a_batch_is_answered_with_one_list() -> None:
    batch = [
        request("echo", 1, "a"),
        request("echo", None, "a notification"),
        5,
        request("unknown", 2),
        request("fail", 3),
        request("echo", 1, "the same id"),
        request("silent", 4),
        request("PING", 5, "p"),
        request("CANCEL", 9),
    ]
    [answer] = await conversation(Batch, batch)
    replies = json.loads(answer)
    assert {(reply["uuid"], reply.get("status")) for reply in replies} == {
        (1, 200), (1, 409), (None, 400), (2, 404), (3, 500), (5, None),
    }  # fmt: skip
    assert len(replies) == 6


async def test_a_frame_that_is_no_request_is_answered_with_the_id_that_the_dialect_found() -> None:
    class Finding(Batches):
        def read(self, value: Any) -> Any:
            error = InvalidEnvelope("It has no route.", id=7)
            if isinstance(value, list):
                return [error]
            raise error

    class Consumer(Routes):
        route_dialect = Finding()

    alone, batch = await conversation(Consumer, {}, [{}])
    assert (alone["uuid"], alone["status"]) == (7, 400)
    assert [(reply["uuid"], reply["status"]) for reply in json.loads(batch)] == [(7, 400)]


async def test_a_batch_without_replies_is_not_answered() -> None:
    assert await conversation(Batch, [request("echo"), request("silent", 1)]) == []
    [refused] = await conversation(Batch, [])
    assert refused["status"] == 400


async def test_a_batch_has_a_bound_in_number_and_in_bytes(settings: Any) -> None:
    settings.ROUTESOCK = {"MAX_QUEUED": 8, "MAX_REPLY": 3000}
    [refused] = await conversation(Batch, [request("echo", id) for id in range(9)])
    assert refused["status"] == 400
    [answer] = await conversation(Batch, [request("echo", id, "x" * 1100) for id in range(3)])
    replies = json.loads(answer)
    assert [(reply["uuid"], reply["status"]) for reply in replies] == [(0, 200), (1, 200), (2, 500)]
    assert len(answer) <= 3000


async def test_requests_of_a_batch_can_be_cancelled_and_time_out() -> None:
    class Waiting(Batch):
        @route("wait", parallel=True)
        async def wait(self, request: Request) -> None:
            await asyncio.sleep(60)

        @route("late", parallel=True, timeout=0.01)
        async def late(self, request: Request) -> None:
            await asyncio.sleep(60)

    async with RouteClient(Waiting) as client:
        await client.send_json([request("wait", 1), request("late", 2)])
        await client.settle()
        await client.send_json(request("CANCEL", 1))
        answer = await client.receive(timeout=30)
        assert {(reply["uuid"], reply["status"]) for reply in json.loads(answer)} == {(1, 499), (2, 504)}


async def test_foreign_parts_of_a_batch_go_to_the_old_code_alone() -> None:
    class Old(Batch):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json({"old": content})

    assert await conversation(Old, [{"a": 1}, request("echo", 1, 2)]) == [
        {"old": {"a": 1}},
        '[{"uuid": 1, "route": "echo", "status": 200, "payload": 2}]',
    ]
    [whole] = await conversation(Old, [{"a": 1}, {"b": 2}])
    assert whole == {"old": [{"a": 1}, {"b": 2}]}


async def test_a_batch_passes_the_consumers_own_dispatch_part_by_part() -> None:
    seen: list[Any] = []

    class Own(Batch):
        async def websocket_receive(self, message: Any) -> None:
            seen.append(json.loads(message["text"]))
            await super().websocket_receive(message)

    [answer] = await conversation(Own, [request("echo", 1, 1), request("echo", 2, 2)])
    assert seen == [request("echo", 1, 1), request("echo", 2, 2)]
    assert [reply["payload"] for reply in json.loads(answer)] == [1, 2]


# The consumer's own code


class Failing(Routes):
    route_foreign_errors = "close"

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        raise ValueError("the old code")


async def test_an_exception_of_the_old_code_may_end_the_socket() -> None:
    client = RouteClient(Failing)
    await client.connect()
    await client.send_json({"old": 1})
    await settled(client)
    with pytest.raises(ValueError, match="the old code"):
        await client.disconnect()


async def test_an_exception_of_a_route_does_not() -> None:
    replies = await conversation(Failing, {"route": "fail", "uuid": 1}, {"route": "none", "uuid": 2})
    assert [reply["status"] for reply in replies] == [500, 204]


def test_what_happens_after_an_exception_is_one_of_two_words() -> None:
    with pytest.raises(RouteSetupError, match="route_foreign_errors must be 'reply' or 'close'; got 'ignore'"):

        class Wrong(Routes):
            route_foreign_errors = "ignore"


class Boundary(RouteMixin, AsyncJsonWebsocketConsumer):
    """Its ``dispatch`` is the place where the old code handles what goes wrong."""

    catches: type[BaseException] = Exception

    async def dispatch(self, message: Any) -> None:
        try:
            await super().dispatch(message)
        except self.catches as exc:
            await self.send_json({"boundary": type(exc).__name__})

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


class SyncBoundary(RouteMixin, JsonWebsocketConsumer):
    catches: type[BaseException] = Exception

    async def dispatch(self, message: Any) -> None:
        try:
            await super().dispatch(message)
        except self.catches as exc:
            await database_sync_to_async(self.send_json)({"boundary": type(exc).__name__})

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


@pytest.mark.parametrize("consumer", [Boundary, SyncBoundary])
async def test_an_own_dispatch_sees_what_channels_raises(consumer: type) -> None:
    frames = ("no JSON", b"\x00", "", {"route": "echo", "uuid": 1, "payload": 2})
    assert await conversation(consumer, *frames) == [
        {"boundary": "JSONDecodeError"},
        {"boundary": "ValueError"},
        {"boundary": "ValueError"},
        {"uuid": 1, "route": "echo", "status": 200, "payload": 2},
    ]


@pytest.mark.parametrize("base", [Boundary, SyncBoundary])
async def test_what_an_own_dispatch_lets_out_is_answered_400(base: Any, caplog: pytest.LogCaptureFixture) -> None:
    consumer = type("LetsOut", (base,), {"catches": KeyError})
    replies = await conversation(consumer, "no JSON", b"\x00", "", '{"route": "echo", "payload": NaN}', "[NaN]")
    assert [reply["status"] for reply in replies] == [400] * 5
    assert {reply["payload"]["code"] for reply in replies} == {"parse_error"}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_route_that_cannot_be_reached_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(RouteMixin, AsyncJsonWebsocketConsumer):
        async def websocket_receive(self, message: Any) -> None:
            await self.send_json({"own": True})

        @route("echo")
        async def echo(self, request: Request) -> Any:
            return request.payload

    for _ in range(2):
        await conversation(Deaf, {"route": "echo", "uuid": 1}, {"route": "echo", "uuid": 2}, {"foreign": 1})
    [record] = [record for record in caplog.records if "cannot be reached" in record.message]
    assert "Deaf.websocket_receive did not pass on a request of the route 'echo'" in record.message
    assert "`await super().websocket_receive(message)`" in record.message


async def test_a_filter_that_passes_frames_on_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Filter(RouteMixin, AsyncJsonWebsocketConsumer):
        async def websocket_receive(self, message: Any) -> None:
            if "drop" not in message["text"]:
                await super().websocket_receive(message)

        @route("echo")
        async def echo(self, request: Request) -> Any:
            return request.payload

    await conversation(Filter, {"route": "echo", "uuid": 1}, {"route": "echo", "uuid": "drop"})
    assert not [record for record in caplog.records if "cannot be reached" in record.message]
