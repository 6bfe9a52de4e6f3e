"""The server asks: what a handler gets, and what becomes of frames that answer nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, JsonWebsocketConsumer
from django.test import override_settings

from routesock import Push, RouteMixin, route
from routesock._runtime import counters, shutdown
from routesock.exceptions import AskRefused, InvalidAnswer, NoAnswer, TooManyAsks
from routesock.testing import Ask, ClientReply, RouteClient

WAIT = 30.0
"""Seconds: longer than a busy machine takes, so that a test which fails says why."""


def is_bool(payload: Any) -> bool:
    if type(payload) is not bool:
        raise ValueError("Yes or no.")
    return payload


class Consumer(RouteMixin, AsyncJsonWebsocketConsumer):
    route_pushes = (Push("sure", schema=lambda text: {"text": text}, answer=is_bool),)

    @route("delete")
    async def delete(self, request: Any) -> Any:
        try:
            return {"answer": await self.socket.ask("confirm", request.payload, timeout=WAIT)}
        except AskRefused as refused:
            return {"status": refused.status, "payload": refused.payload}
        except NoAnswer:
            return "no answer"

    @route("later")
    async def later(self, request: Any) -> Any:
        return request.payload

    @route("impatient")
    async def impatient(self, request: Any) -> Any:
        return await self.socket.ask("confirm", timeout=0.01)

    @route("declared")
    async def declared(self, request: Any) -> Any:
        return await self.socket.ask("sure", "Really?", timeout=WAIT)

    @route("checked")
    async def checked(self, request: Any) -> Any:
        return await self.socket.ask("confirm", schema=is_bool, timeout=WAIT)

    @route("bare")
    async def bare(self, request: Any) -> Any:
        return await self.socket.ask("confirm", timeout=WAIT)

    @route("many")
    async def many(self, request: Any) -> Any:
        asks = (self.socket.ask("confirm", number, timeout=WAIT) for number in range(request.payload))
        answers = await asyncio.gather(*asks, return_exceptions=True)
        return [answer if isinstance(answer, int) else type(answer).__name__ for answer in answers]

    @route("wrong")
    async def wrong(self, request: Any) -> Any:
        found = []
        for timeout in (0, -1, None, "1", True, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="timeout"):
                await self.socket.ask("confirm", timeout=timeout)  # type: ignore[arg-type]
            found.append(str(timeout))
        with pytest.raises(ValueError, match="reserved"):
            await self.socket.ask("ANSWER")
        with pytest.raises(TypeError):
            await self.socket.ask("confirm", object())
        with pytest.raises(TypeError):
            await self.socket.ask("confirm", schema=object())
        return found


def client_of(consumer: Any = Consumer, **options: Any) -> RouteClient:
    return RouteClient(consumer, timeout=WAIT, **options)


def call(client: RouteClient, name: str, payload: Any = None) -> asyncio.Task[ClientReply]:
    return asyncio.create_task(client.call(name, payload))


async def test_an_ordered_handler_asks_and_goes_on_with_the_answer() -> None:
    async with client_of() as client:
        await client.send("delete", {"text": "Delete 7 files?"}, id=1)
        await client.send("later", "behind", id=2)
        assert await client.receive() == {
            "route": "confirm", "uuid": "@1", "payload": {"text": "Delete 7 files?"}, "headers": {"Timeout": WAIT},
        }  # fmt: skip
        await client.send_json({"route": "ANSWER", "uuid": "@1", "status": 200, "payload": True})
        first, second = await client.receive(), await client.receive()
        assert (first["uuid"], first["payload"]) == (1, {"answer": True})
        assert (second["uuid"], second["payload"]) == (2, "behind")  # it kept its place


async def test_answers_find_their_asks_in_any_order() -> None:
    async with client_of() as client:
        calls = call(client, "many", 3)
        asks = [await client.expect_ask("confirm") for _ in range(3)]
        assert [ask.id for ask in asks] == ["@1", "@2", "@3"]
        for ask in reversed(asks):
            await client.answer(ask, ask.payload * 10)
        assert (await calls).payload == [0, 10, 20]


@pytest.mark.parametrize("status", [None, 200, 201, 204, 299])
async def test_a_status_of_success_answers(status: int | None) -> None:
    async with client_of() as client:
        calls = call(client, "delete")
        ask = await client.expect_ask()
        await client.send_json({"route": "ANSWER", "uuid": ask.id, "status": status, "payload": [1]})
        assert (await calls).payload == {"answer": [1]}


@pytest.mark.parametrize("status", [400, 403, 499, 500, 599])
async def test_an_error_refuses(status: int) -> None:
    async with client_of() as client:
        calls = call(client, "delete")
        await client.answer(await client.expect_ask(), {"reason": "No."}, status=status)
        assert (await calls).payload == {"status": status, "payload": {"reason": "No."}}


MALFORMED: dict[str, Any] = {
    "an informational status": {"status": 100},
    "a redirect": {"status": 300},
    "a status below all": {"status": 0},
    "a status above all": {"status": 600},
    "a negative status": {"status": -200},
    "a status in words": {"status": "200"},
    "a status that is a float": {"status": 200.0},
    "a status that is a bool": {"status": True},
    "a status that is a list": {"status": [200]},
    "headers that are no object": {"headers": "x"},
    "headers that are a list": {"headers": []},
    "no id": {"uuid": None},
    "another id": {"uuid": "@2"},
    "an id that is a number": {"uuid": 1},
    "an id that is a bool": {"uuid": True},
    "an id that is a list": {"uuid": ["@1"]},
    "an id that is an object": {"uuid": {"@1": "@1"}},
    "an id without its sign": {"uuid": "1"},
    "a long id": {"uuid": "@" + "1" * 500},
}


@pytest.mark.parametrize("wrong", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_answer_is_dropped_and_the_ask_goes_on(wrong: dict[str, Any]) -> None:
    before = counters.dropped_answers()
    async with client_of() as client:
        calls = call(client, "delete")
        await client.expect_ask()
        await client.send_json({"route": "ANSWER", "uuid": "@1", "status": 200, "payload": False} | wrong)
        assert await client.ping("alive") == "alive"
        assert counters.dropped_answers() == before + 1
        await client.send_json({"route": "ANSWER", "uuid": "@1", "payload": True})
        assert (await calls).payload == {"answer": True}
        await client.refute_push()
    assert counters.dropped_answers() == before + 1


async def test_a_second_answer_and_a_late_one_are_dropped() -> None:
    before = counters.dropped_answers()
    async with client_of() as client:
        calls = call(client, "delete")
        ask = await client.expect_ask()
        await client.answer(ask, 1)
        await client.answer(ask, 2)
        assert (await calls).payload == {"answer": 1}
        reply = await client.call("impatient")
        assert (reply.status, reply.payload["code"]) == (408, "no_answer")
        await client.answer(await client.expect_ask())
        assert await client.ping("alive") == "alive"
    assert counters.dropped_answers() == before + 2


async def test_an_answer_on_a_socket_that_asks_nothing_is_dropped() -> None:
    before = counters.dropped_answers()
    async with client_of() as client:
        await client.answer("@1", True)
        assert await client.ping("alive") == "alive"
        assert await client.call("later", 5) == ClientReply(200, 5, {}, "later", "call-2")
    assert counters.dropped_answers() == before + 1


async def test_the_schema_of_the_declaration_checks_the_answer() -> None:
    async with client_of() as client:
        calls = call(client, "declared")
        ask = await client.expect_ask("sure", text="Really?")
        await client.answer(ask, True)
        assert (await calls).payload is True
        calls = call(client, "declared")
        await client.answer(await client.expect_ask(), "perhaps")
        reply = await calls
        assert (reply.status, reply.payload["code"]) == (422, "invalid_answer")
        assert reply.payload["errors"] == {"__all__": ["Yes or no."]}


async def test_a_schema_of_the_call_checks_the_answer() -> None:
    async with client_of() as client:
        calls = call(client, "checked")
        await client.answer(await client.expect_ask(), 1)
        assert (await calls).payload["code"] == "invalid_answer"


async def test_a_refusal_that_nothing_catches_is_the_reply() -> None:
    async with client_of() as client:
        calls = call(client, "bare")
        await client.answer(await client.expect_ask(), "no", status=423)
        reply = await calls
        assert (reply.status, reply.payload["code"]) == (423, "ask_refused")


async def test_no_more_asks_wait_than_the_limit_allows() -> None:
    async with client_of() as client:
        calls = call(client, "many", 18)
        asks = [await client.expect_ask() for _ in range(16)]
        for ask in asks:
            await client.answer(ask, 0)
        assert (await calls).payload == [0] * 16 + ["TooManyAsks"] * 2
        with override_settings(ROUTESOCK={"MAX_ASKS": 1}):
            async with client_of() as other:
                calls = call(other, "many", 2)
                await other.answer(await other.expect_ask(), 7)
                assert (await calls).payload == [7, "TooManyAsks"]


async def test_what_cannot_be_asked_raises_and_nothing_is_sent() -> None:
    async with client_of() as client:
        assert len((await client.call("wrong")).payload) == 7
        await client.refute_push()


async def test_a_cancelled_request_stops_waiting() -> None:
    before = counters.dropped_answers()
    async with client_of() as client:
        await client.send("delete", id=1)
        ask = await client.expect_ask()
        await client.cancel(1)
        assert (await client.receive())["status"] == 499
        await client.answer(ask, True)
        assert await client.ping("alive") == "alive"
    assert counters.dropped_answers() == before + 1


async def test_the_wait_is_part_of_the_deadline() -> None:
    class Hurried(Consumer):
        route_timeout = 0.05

    async with client_of(Hurried) as client:
        reply = await client.call("bare")
        assert reply.status == 504


async def test_a_disconnect_ends_the_wait() -> None:
    ended: list[str] = []

    class Leaving(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("ask")
        async def ask(self, request: Any) -> None:
            for _ in range(2):  # the second is not even sent
                try:
                    await self.socket.ask("confirm", timeout=1000)
                except NoAnswer as exc:
                    ended.append(type(exc).__name__)

        async def disconnect(self, code: int) -> None:
            with pytest.raises(NoAnswer):
                await self.socket.ask("confirm", timeout=1000)
            ended.append("disconnect")

    async with client_of(Leaving) as client:
        await client.send("ask", id=1)
        await client.expect_ask()
    assert ended == ["NoAnswer", "NoAnswer", "disconnect"]


async def test_a_drain_ends_the_wait_and_the_handler_is_answered() -> None:
    async with client_of() as client:
        calls = call(client, "delete")
        await client.expect_ask()
        for socket in shutdown.sockets():
            socket.drain(1.0)
        reply = await calls
        assert (reply.status, reply.payload) == (200, "no answer")
        assert (await client.expect_close()).code == 1012


async def test_a_close_by_the_server_ends_the_wait() -> None:
    ended: list[type] = []

    class Closing(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("ask")
        async def ask(self, request: Any) -> None:
            try:
                await self.socket.ask("confirm", timeout=1000)
            except NoAnswer as exc:
                ended.append(type(exc))

        @route("close", parallel=True)
        async def end(self, request: Any) -> None:
            await self.socket.close(403)

    async with client_of(Closing) as client:
        await client.send("ask", id=1)
        await client.expect_ask()
        await client.send("close", id=2)
        assert (await client.expect_close()).code == 4403
    assert ended == [NoAnswer]


async def test_connect_asks_once_it_has_accepted() -> None:
    class Early(RouteMixin, AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            with pytest.raises(RuntimeError, match="accept"):
                await self.socket.ask("who")
            await self.accept()
            self.name = await self.socket.ask("who", timeout=WAIT)

        @route("name")
        async def tell(self, request: Any) -> Any:
            return self.name

    async with client_of(Early) as client:
        await client.send("name", id=1)
        await client.answer(await client.expect_ask("who"), "Ann")
        assert (await client.expect_reply(1)).payload == "Ann"


async def test_the_consumers_own_code_keeps_frames_of_that_name_until_it_asks() -> None:
    got: list[Any] = []

    class Own(RouteMixin, AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            got.append(content)

        @classmethod
        async def decode_json(cls, text_data: str) -> Any:
            got.append("decoded")
            return await super().decode_json(text_data)

        @route("behind")
        async def behind(self, request: Any) -> None: ...

        @route("ask")
        async def ask(self, request: Any) -> Any:
            return await self.socket.ask("confirm", timeout=WAIT)

    frame = {"route": "ANSWER", "uuid": "@1", "payload": 1}
    async with client_of(Own) as client:
        await client.send_json(frame)
        await client.call("behind")
        assert [each for each in got if each != "decoded"] == [frame]
        got.clear()
        calls = call(client, "ask")
        await client.answer(await client.expect_ask(), 2)
        assert (await calls).payload == 2
        await client.answer("@1", 3)
        await client.call("behind")
    assert got == ["decoded", "decoded"]  # the calls of routes


async def test_a_plain_consumer_of_channels_has_answers_too() -> None:
    class Plain(RouteMixin, AsyncWebsocketConsumer):
        @route("ask")
        async def ask(self, request: Any) -> Any:
            return await self.socket.ask("confirm", timeout=WAIT)

    async with client_of(Plain) as client:
        calls = call(client, "ask")
        await client.answer(await client.expect_ask(), "yes")
        assert (await calls).payload == "yes"


async def test_a_consumer_with_its_own_dispatch_has_answers_too() -> None:
    class Dispatching(RouteMixin, AsyncJsonWebsocketConsumer):
        async def dispatch(self, message: Any) -> None:
            await super().dispatch(message)

        @route("ask")
        async def ask(self, request: Any) -> Any:
            return await self.socket.ask("confirm", timeout=WAIT)

    async with client_of(Dispatching) as client:
        calls = call(client, "ask")
        await client.answer(await client.expect_ask(), "yes")
        assert (await calls).payload == "yes"


async def test_the_client_of_a_test_answers_by_itself() -> None:
    def refuse(payload: Any) -> Any:
        raise AskRefused(409)

    async with client_of() as client:
        client.on_ask("confirm", lambda payload: payload["text"].upper())
        assert (await client.call("delete", {"text": "ok?"})).payload == {"answer": "OK?"}
        client.on_ask("confirm", refuse)
        assert (await client.call("delete")).payload["status"] == 409


async def test_a_frame_that_asks_is_no_push() -> None:
    async with client_of() as client:
        await client.send("delete", 1, id=1)
        await client.refute_push()
        assert await client.expect_ask() == Ask("confirm", 1, {"Timeout": WAIT}, "@1")


class Sync(RouteMixin, JsonWebsocketConsumer):
    @route("ask")
    def ask(self, request: Any) -> Any:
        return self.socket.ask("confirm", request.payload, timeout=WAIT, schema=is_bool)

    @route("leave")
    def leave(self, request: Any) -> Any:
        try:
            return self.socket.ask("confirm", timeout=1000)
        finally:
            left.append("left")


left: list[str] = []


class Dedicated(Sync):
    route_dedicated_threads = True


async def test_sync_code_does_not_ask_in_the_shared_thread() -> None:
    async with client_of(Sync) as client:
        with pytest.raises(RuntimeError, match="route_dedicated_threads"):
            await client.call("ask")
        await client.refute_push()


async def test_sync_code_asks_in_a_dedicated_thread() -> None:
    async with client_of(Dedicated) as client:
        calls = call(client, "ask")
        await client.answer(await client.expect_ask(), True)
        assert (await calls).payload is True


@pytest.mark.parametrize("end", ["cancel", "disconnect"])
async def test_a_thread_does_not_wait_for_a_request_that_has_ended(end: str) -> None:
    left.clear()
    async with client_of(Dedicated) as client:
        await client.send("leave", id=1)
        await client.expect_ask()
        if end == "cancel":
            await client.cancel(1)
            assert (await client.expect_reply(1)).status == 499
            client.on_ask("confirm", lambda payload: True)
            assert (await client.call("ask")).payload is True  # in the same thread
    assert left == ["left"]


def test_sync_code_asks_a_blocking_client() -> None:
    with client_of(Dedicated) as client:
        client.on_ask("confirm", lambda payload: True)
        assert client.call("ask").payload is True


def test_a_blocking_client_answers() -> None:
    with client_of() as client:
        client.send("delete", {"text": "?"}, id=1)
        client.answer(client.expect_ask("confirm", text="?"), "yes")
        assert client.expect_reply(1).payload == {"answer": "yes"}


def test_all_errors_can_be_caught() -> None:
    assert issubclass(NoAnswer, TimeoutError)
    refused = AskRefused(418, {"a": 1})
    assert (refused.status, refused.payload) == (418, {"a": 1})
    assert InvalidAnswer({"a": ["b"]}).errors == {"a": ["b"]}
    assert TooManyAsks().status == 429
