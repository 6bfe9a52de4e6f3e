"""How a request ends that its handler does not end: cancelled, too late, twice the same id."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import RouteMixin, route

from .driver import problems, turns, until
from .flavours import FLAVOURS, Gate, InThread, Mixed, OnLoop, connected


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_cancel_of_the_running_request(consumer: type, gate: Gate) -> None:
    """CANCEL of a running request is answered 499 at once; what the handler still gives is dropped, the next runs."""
    async with connected(consumer, gate) as socket:
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        socket.cancel(1)
        assert problems([await socket.reply(1)]) == [(499, "cancelled", 1)]
        socket.request("quick", 2)
        if consumer is OnLoop:
            await socket.reply(2)
        gate.open()
        await socket.reply(2)
        assert socket.statuses() == [(1, 499), (2, 200)]
    assert gate.passed == (0 if consumer is OnLoop else 1)  # a thread cannot be cancelled
    assert len(socket.disconnects) == 1


async def test_cancelled_thread_does_not_hold_the_order(gate: Gate) -> None:
    """When a sync handler was cancelled its thread runs on, while the order moves on without it."""
    async with connected(Mixed, gate) as socket:
        socket.requests("slow", 1)
        socket.request("on.loop", 2)
        await until(lambda: gate.waiting)
        socket.cancel(1)
        assert (await socket.reply(2))["status"] == 200
        gate.open()
        await until(lambda: gate.passed)
        assert socket.statuses() == [(1, 499), (2, 200)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_cancel_of_a_queued_request(consumer: type, gate: Gate) -> None:
    """CANCEL of a queued request is answered 499 at once, its handler never starts, the others keep their places."""
    async with connected(consumer, gate) as socket:
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        socket.requests("quick", 2, 3, 4)
        socket.cancel(3)
        assert problems([await socket.reply(3)]) == [(499, "cancelled", 3)]
        gate.open()
        await socket.reply(4)
        assert socket.statuses() == [(3, 499), (1, 200), (2, 200), (4, 200)]
        assert ("quick", 3) not in socket.log


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_cancel_of_nothing_is_ignored(consumer: type, gate: Gate) -> None:
    """A CANCEL with an unknown, ended, unreadable or absent uuid is ignored."""
    async with connected(consumer, gate) as socket:
        await socket.call("quick", 1)
        for uuid in (1, "1", "nobody", None, True, 1.0, [], {}, "x" * 1000):
            socket.cancel(uuid)
        socket.json({"route": "CANCEL"})
        await socket.call("quick", 2)
        assert socket.statuses() == [(1, 200), (2, 200)]


async def test_ids_of_two_kinds_are_two_ids(gate: Gate) -> None:
    """``1`` and ``"1"`` are different requests, to CANCEL as well."""
    async with connected(OnLoop, gate) as socket:
        socket.requests("slow", 1, "1")
        await until(lambda: gate.waiting)
        socket.cancel("1")
        assert (await socket.reply("1"))["status"] == 499
        gate.open()
        assert (await socket.reply(1))["status"] == 200


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_duplicate_of_a_running_or_queued_id(consumer: type, gate: Gate) -> None:
    """A uuid in flight is answered 409, the first request is untouched, and after its reply the uuid is free again."""
    async with connected(consumer, gate) as socket:
        socket.request("slow", "running")
        await until(lambda: gate.waiting)
        socket.requests("quick", "queued", "running", "queued")
        await socket.read(2)
        assert problems(socket.frames) == [(409, "duplicate_id", "running"), (409, "duplicate_id", "queued")]
        gate.open()
        await until(lambda: len(socket.replies("queued")) == 2)
        socket.requests("quick", "running", "queued")
        await socket.read(6)
        assert socket.statuses()[2:] == [("running", 200), ("queued", 200), ("running", 200), ("queued", 200)]


async def test_cancelled_id_is_free_at_once(gate: Gate) -> None:
    """After the 499 its uuid can be used again, while the first handler is still ending."""
    async with connected(OnLoop, gate) as socket:
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        socket.cancel(1)
        socket.request("quick", 1)
        await until(lambda: len(socket.replies(1)) == 2)
        assert socket.statuses() == [(1, 499), (1, 200)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_deadline(consumer: type, gate: Gate) -> None:
    """After its timeout a request is answered 504, its late result is dropped, and the next request runs."""
    async with connected(consumer, gate) as socket:
        socket.request("limited", 1)
        assert problems([await socket.reply(1)]) == [(504, "timeout", 1)]
        gate.open()
        await socket.call("quick", 2)
        await turns()
        assert socket.statuses() == [(1, 504), (2, 200)]


async def test_deadline_is_counted_from_the_start_of_the_handler(gate: Gate) -> None:
    """Requests that wait in the queue for longer than their timeout are handled all the same."""
    async with connected(OnLoop, gate) as socket:
        socket.requests("slow", 1)
        socket.request("limited", 2)
        await until(lambda: gate.waiting)
        await asyncio.sleep(0.1)  # twice the timeout of the queued request
        gate.open()
        assert (await socket.reply(2))["status"] == 200


@pytest.mark.parametrize("where", ["class", "setting", "route"])
async def test_where_a_deadline_comes_from(where: str, gate: Gate, settings: Any) -> None:
    """A route's timeout holds over that of the class, and that over the setting; ``None`` is no deadline."""
    if where == "setting":
        settings.ROUTESOCK = {"TIMEOUT": 0.05}
    elif where == "route":
        settings.ROUTESOCK = {"TIMEOUT": None}

    class Consumer(RouteMixin, AsyncJsonWebsocketConsumer):
        if where == "class":
            route_timeout = 0.05
        elif where == "route":
            route_timeout = None

        @route("wait", timeout=0.05) if where == "route" else route("wait")
        async def wait(self, request: Any) -> None:
            await self.scope["gate"].wait()

        @route("patient", timeout=None)
        async def patient(self, request: Any) -> None:
            await self.scope["gate"].wait()

    async with connected(Consumer, gate) as socket:
        socket.request("wait", 1)
        assert (await socket.reply(1))["status"] == 504
        socket.request("patient", 2)
        await asyncio.sleep(0.1)
        gate.open()
        assert (await socket.reply(2))["status"] == 204


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_handler_that_swallows_its_cancellation(how: str, gate: Gate) -> None:
    """It is answered once, what it returns is dropped, PING gets through, and the next request runs after it."""
    swallowed = asyncio.Event()

    class Consumer(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("stubborn", timeout=0.05 if how == "deadline" else 60)
        async def stubborn(self, request: Any) -> Any:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.set()
            await self.scope["gate"].wait()
            return "late"

        @route("next")
        async def next(self, request: Any) -> Any:
            async with asyncio.timeout(30):
                await asyncio.sleep(0)
            return self.scope["gate"].passed

    async with connected(Consumer, gate) as socket:
        socket.requests("stubborn", 1)
        socket.requests("next", 2)
        if how == "cancel":
            await socket.all_read()
            socket.cancel(1)
        assert (await socket.reply(1))["status"] == (499 if how == "cancel" else 504)
        await swallowed.wait()
        await socket.ping()
        assert not socket.replies(2)
        gate.open()
        assert (await socket.reply(2))["payload"] == 1
        assert len(socket.replies(1)) == 1


async def test_second_cancel_of_a_stubborn_handler_is_ignored(gate: Gate) -> None:
    """Once answered, a request cannot be cancelled again, nor does its deadline come."""
    async with connected(OnLoop, gate) as socket:
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        for _ in range(3):
            socket.cancel(1)
        await socket.ping()
        assert socket.statuses() == [(1, 499)]


async def test_finally_blocks_run_when_cancelled(gate: Gate) -> None:
    """A cancelled handler sees an ordinary ``CancelledError``: its ``finally`` blocks run, and they may wait."""

    class Consumer(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("tidy")
        async def tidy(self, request: Any) -> None:
            self.scope["log"].append("begun")
            try:
                async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                    group.create_task(asyncio.Event().wait())
            finally:
                await asyncio.sleep(0)
                self.scope["log"].append("tidied")

        @route("next")
        async def next(self, request: Any) -> None:
            self.scope["log"].append("next")

    async with connected(Consumer, gate) as socket:
        socket.requests("tidy", 1)
        socket.requests("next", 2)
        await until(lambda: socket.log)
        await socket.all_read()
        socket.cancel(1)
        await socket.reply(2)
        assert socket.log == ["begun", "tidied", "next"]
        assert socket.statuses() == [(1, 499), (2, 204)]


@pytest.mark.parametrize("consumer", FLAVOURS)
async def test_timeout_error_of_the_handler_is_no_deadline(consumer: type, gate: Gate) -> None:
    """A ``TimeoutError`` that user code raises is a 500 as any other exception, not a 504."""

    def fail(consumer: Any) -> None:
        raise TimeoutError("Mine.")

    async with connected(consumer, gate, fail=fail) as socket:
        assert problems([await socket.call("call", 1, "fail")]) == [(500, "internal_error", 1)]
        assert problems([await socket.call("call.later", 2, "fail")]) == [(500, "internal_error", 2)]


class Asyncio(RouteMixin, AsyncJsonWebsocketConsumer):
    """Handlers that use what asyncio has for cancelling."""

    @route("timeout")
    async def timeout(self, request: Any) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "not reached"

    @route("wait_for")
    async def wait_for(self, request: Any) -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            return "timed out"
        return "not reached"

    @route("group")
    async def group(self, request: Any) -> list[int]:
        async def double(number: int) -> int:
            await asyncio.sleep(0)
            return number * 2

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double(number)) for number in range(3)]
        return [task.result() for task in tasks]

    @route("group.fails")
    async def group_fails(self, request: Any) -> str:
        async def fail() -> None:
            await asyncio.sleep(0)
            raise ValueError("Child.")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()
        except* ValueError:
            pass
        await asyncio.sleep(0)
        return "caught"

    @route("cancelling")
    async def cancelling(self, request: Any) -> int:
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    @route("self.cancel")
    async def self_cancel(self, request: Any) -> str:
        task = asyncio.current_task()
        assert task is not None
        if request.payload == "soon":
            asyncio.get_running_loop().call_soon(task.cancel)
            return "not noticed"
        task.cancel()
        if request.payload == "wait":
            await asyncio.Event().wait()
        elif request.payload == "swallow":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "swallowed"
        return "not noticed"

    @route("queued")
    async def queued(self, request: Any) -> None:
        await asyncio.sleep(0)


WORKS = {
    "timeout": "timed out",
    "wait_for": "timed out",
    "group": [0, 2, 4],
    "group.fails": "caught",
    "cancelling": 0,
}


async def works_as_usual(socket: Any, number: int) -> None:
    """Check each of ``WORKS``, first after a request that makes this one queue up, then alone."""
    for name, expected in WORKS.items():
        socket.request("queued", None)
        assert (await socket.call(name, f"{number} {name} queued"))["payload"] == expected
        assert (await socket.call(name, f"{number} {name}"))["payload"] == expected


async def test_asyncio_works_as_usual_in_handlers(gate: Gate) -> None:
    """``asyncio.timeout``, ``wait_for`` and ``TaskGroup`` do in a handler what they do in a task."""
    async with connected(Asyncio, gate) as socket:
        await works_as_usual(socket, 1)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_asyncio_works_as_usual_after_a_cancelled_request(how: str, gate: Gate) -> None:
    """A request that was ended leaves nothing behind in the task that handles the next one."""
    # Its own deadline: that of all requests would be the next ones', too, which a busy machine may miss.
    headers = {"Request-Timeout": 0.05} if how == "deadline" else {}

    class Consumer(Asyncio):
        @route("wait")
        async def wait(self, request: Any) -> None:
            await self.scope["gate"].wait()

    async with connected(Consumer, gate) as socket:
        socket.json({"route": "wait", "uuid": "ended", "headers": headers})
        await until(lambda: gate.waiting)
        socket.requests("cancelling", "behind")
        if how == "cancel":
            socket.cancel("ended")
        await socket.reply("ended")
        assert (await socket.reply("behind"))["payload"] == 0
        await works_as_usual(socket, 1)


@pytest.mark.parametrize("yields", [False, True], ids=["send returns", "send waits"])
@pytest.mark.parametrize("how", ["wait", "swallow", "return"])
async def test_handler_that_cancels_its_own_task(how: str, yields: bool, gate: Gate) -> None:
    """It is answered once (500, or what it returned), the socket lives, and the next handlers notice nothing of it."""
    async with connected(Asyncio, gate) as socket:
        socket.yields = yields
        for number in range(3):
            reply = await socket.call("self.cancel", number, how)
            assert reply["status"] == (500 if how == "wait" else 200)
            assert (await socket.call("cancelling", f"after {number}"))["payload"] == 0
        await works_as_usual(socket, 1)


# A cancellation that comes while a reply is being written takes it: what a server has sent by then is not known.
@pytest.mark.parametrize(("how", "yields"), [("return", False), ("return", True), ("soon", False)])
async def test_pipelined_handlers_that_cancel_their_own_task(yields: bool, how: str, gate: Gate) -> None:
    """However many do so in a row, wherever the reader then is, each is answered and the socket lives."""
    async with connected(Asyncio, gate) as socket:
        socket.yields = yields
        for number in range(40):
            socket.request("self.cancel", number, how)
        await socket.read(40)
        await socket.ping()
        assert socket.statuses() == [(number, 200) for number in range(40)]


async def test_sync_handlers_deadline_on_a_sync_consumer_with_its_own_encoder(gate: Gate) -> None:
    """A deadline is answered, exactly once, also where the reply needs the thread that the late handler holds."""

    class Consumer(InThread):
        @classmethod
        def encode_json(cls, content: Any) -> str:
            return super().encode_json(content)

    async with connected(Consumer, gate) as socket:
        socket.request("limited", 1)
        await until(lambda: gate.waiting)
        await asyncio.sleep(0.1)  # twice the timeout
        gate.open()
        assert (await socket.reply(1))["status"] == 504
        assert (await socket.call("quick", 2))["status"] == 200


async def test_refusals_reach_the_client_where_the_encoder_needs_the_thread(gate: Gate) -> None:
    """PING, CANCEL and refusals behind a busy sync handler are not lost where a sync ``encode_json`` spells them."""

    class Consumer(InThread):
        @classmethod
        def encode_json(cls, content: Any) -> str:
            return super().encode_json(content)

    async with connected(Consumer, gate) as socket:
        socket.request("slow", 1)
        await until(lambda: gate.waiting)
        socket.text('{"route": "quick", "uuid": true}')
        socket.json({"route": "PING", "uuid": "p"})
        socket.requests("quick", 2)
        await asyncio.sleep(0.02)
        gate.open()
        await socket.reply(2)
        assert sorted(socket.statuses(), key=repr) == [(1, 200), (2, 200), (None, 400)]
        assert {"route": "PONG", "uuid": "p", "payload": None} in socket.frames
