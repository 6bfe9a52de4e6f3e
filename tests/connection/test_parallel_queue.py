"""Requests beside the order: how many run, how many wait, and that each is answered once whatever happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import ContextVar
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from routesock import Request, RouteMixin, RouteSetupError, route
from tests.takeover.driver import Socket, turns, until

mine: ContextVar[str] = ContextVar("mine", default="nobody's")


class Parallel(RouteMixin, AsyncJsonWebsocketConsumer):
    """``gates`` hold the handlers of a payload until a test opens them."""

    async def connect(self) -> None:
        self.gates: dict[Any, asyncio.Event] = self.scope["gates"]
        self.running: list[Any] = self.scope["running"]
        mine.set("connect's")
        await self.accept()

    async def pass_gate(self, request: Request) -> Any:
        self.running.append(request.payload)
        try:
            await self.gates.setdefault(request.payload, asyncio.Event()).wait()
        finally:
            self.running.remove(request.payload)
        return request.payload

    @route("beside", parallel=True)
    async def beside(self, request: Request) -> Any:
        return await self.pass_gate(request)

    @route("beside.once", parallel=True, cancel_on_disconnect=True)
    async def beside_once(self, request: Request) -> Any:
        return await self.pass_gate(request)

    @route("ordered")
    async def ordered(self, request: Request) -> Any:
        return await self.pass_gate(request)

    @route("mine", parallel=True)
    async def whose(self, request: Request) -> str:
        before = mine.get()
        mine.set(request.payload)
        await asyncio.sleep(0)
        return f"{before} {mine.get()}"

    @route("exit", parallel=True)
    async def exit(self, request: Request) -> None:
        raise SystemExit(3)

    @route("at.once", parallel=True)
    async def at_once(self, request: Request) -> Any:
        return request.payload

    @route("late", parallel=True, timeout=0.02)
    async def late(self, request: Request) -> None:
        await asyncio.sleep(60)

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", [*self.running]))


class Guarded(Parallel):
    async def websocket_receive(self, message: dict[str, Any]) -> None:
        self.scope["log"].append(("guard", message["text"]))
        await super().websocket_receive(message)


def socket(consumer: type = Parallel) -> Socket:
    return Socket(consumer.as_asgi(), gates={}, running=[], log=[])  # type: ignore[attr-defined]


async def open_gate(socket: Socket, name: Any) -> None:
    socket.scope["gates"].setdefault(name, asyncio.Event()).set()
    await turns()


@pytest.mark.parametrize("consumer", [Parallel, Guarded])
async def test_parallel_requests_pass_the_order_and_each_other(consumer: type) -> None:
    async with socket(consumer) as client:
        client.request("ordered", 1, "slow")
        client.request("beside", 2, "a")
        client.request("beside", 3, "b")
        await until(lambda: client.scope["running"] == ["slow", "a", "b"])
        await open_gate(client, "b")
        await open_gate(client, "a")
        await open_gate(client, "slow")
        assert client.statuses() == [(3, 200), (2, 200), (1, 200)]


async def test_no_more_run_than_the_class_allows_and_the_rest_in_their_order() -> None:
    class Two(Parallel):
        route_concurrency = 2

    async with socket(Two) as client:
        client.requests("beside", *range(5))
        await until(lambda: len(client.scope["running"]) == 2)
        await turns()
        assert client.scope["running"] == [True, True]
        await open_gate(client, True)
        await client.read(5)
        assert client.statuses() == [(number, 200) for number in range(5)]


async def test_the_setting_bounds_where_the_class_says_nothing() -> None:
    with override_settings(ROUTESOCK={"CONCURRENCY": 3}):
        async with socket() as client:
            client.requests("beside", *range(8))
            await until(lambda: len(client.scope["running"]) == 3)
            await turns()
            assert len(client.scope["running"]) == 3
            await open_gate(client, True)
            await client.read(8)


async def test_what_finds_no_room_is_refused_and_the_rest_is_answered() -> None:
    with override_settings(ROUTESOCK={"CONCURRENCY": 2, "MAX_QUEUED": 3}):
        async with socket() as client:
            client.requests("beside", *range(10))
            await client.read(5)
            assert client.statuses() == [(number, 429) for number in range(5, 10)]
            await client.ping()
            await open_gate(client, True)
            await until(lambda: len(client.statuses()) == 10)
            assert sorted(client.statuses()[5:]) == [(number, 200) for number in range(5)]


async def test_requests_of_the_order_and_beside_it_share_the_room() -> None:
    with override_settings(ROUTESOCK={"CONCURRENCY": 1, "MAX_QUEUED": 2}):
        async with socket() as client:
            client.request("ordered", "o1", "slow")
            client.request("ordered", "o2", "slow")
            client.request("beside", "b1", "held")
            client.request("beside", "b2", "held")
            await until(lambda: len(client.scope["running"]) == 2)
            client.request("ordered", "o3", "slow")
            client.request("beside", "b3", "held")
            await client.read(2)
            assert client.statuses() == [("o3", 429), ("b3", 429)]
            await open_gate(client, "held")
            await open_gate(client, "slow")
            await client.read(6)


async def test_quick_ones_in_any_number_are_all_answered() -> None:
    with override_settings(ROUTESOCK={"CONCURRENCY": 2, "MAX_QUEUED": 4}):
        async with socket() as client:
            client.requests("at.once", *range(2000))
            await until(lambda: len(client.texts) == 2000)
            assert Counter(status for _, status in client.statuses()) == {200: 2000}
            assert {uuid for uuid, _ in client.statuses()} == {*range(2000)}


async def test_each_has_a_copy_of_the_context_that_connect_left() -> None:
    async with socket() as client:
        client.request("mine", 1, "first's")
        client.request("mine", 2, "second's")
        await client.read(2)
        assert [frame["payload"] for frame in client.frames] == ["connect's first's", "connect's second's"]


@pytest.mark.parametrize("consumer", [Parallel, Guarded])
async def test_cancel_deadline_duplicate_and_fault(consumer: type) -> None:
    """As in the order: one reply each, and the slot is free again."""

    class One(consumer):  # type: ignore[misc, valid-type]
        route_concurrency = 1

    async with socket(One) as client:
        client.request("beside", "running", "gate")
        client.request("beside", "queued", "gate")
        await until(lambda: client.scope["running"])
        client.request("at.once", "running")
        client.request("at.once", "queued")
        client.cancel("queued")
        client.cancel("running")
        await until(lambda: len(client.statuses()) == 4)
        assert sorted(client.statuses()) == [("queued", 409), ("queued", 499), ("running", 409), ("running", 499)]
        await until(lambda: not client.scope["running"])
        client.request("late", "late")
        client.request("exit", "exit")
        client.request("at.once", "last")
        await until(lambda: len(client.statuses()) == 7)
        assert client.statuses()[4:] == [("late", 504), ("exit", 500), ("last", 200)]


async def test_one_cancelled_before_its_first_step_frees_its_slot() -> None:
    class One(Parallel):
        route_concurrency = 1

    async with socket(One) as client:
        for number in range(5):
            client.request("beside", number, "gate")
            client.cancel(number)
        client.request("at.once", "last")
        await client.read(6)
        assert client.statuses() == [*((number, 499) for number in range(5)), ("last", 200)]
        assert client.scope["running"] == []


async def test_what_runs_has_a_grace_and_what_waits_never_starts() -> None:
    class One(Parallel):
        route_concurrency = 1

    client = socket(One)
    async with client:
        client.request("beside", 1, "first")
        client.request("beside", 2, "second")
        await until(lambda: client.scope["running"])
        client.disconnect()
        await until(client.is_all_read)
        await turns()
        assert not client.disconnects
        await open_gate(client, "first")
        await client.ending()
    assert client.disconnects == [("disconnect", [])]
    assert "second" not in client.scope["gates"]
    assert client.late == []


async def test_cancel_on_disconnect_waits_for_nothing() -> None:
    client = socket()
    async with client:
        client.request("beside.once", 1, "never")
        await until(lambda: client.scope["running"])
        client.disconnect()
        await client.ending()
    assert client.disconnects == [("disconnect", [])]


async def test_cancel_on_disconnect_holds_for_the_ordered_request_too() -> None:
    class Once(Parallel):
        @route("ordered.once", cancel_on_disconnect=True)
        async def ordered_once(self, request: Request) -> Any:
            return await self.pass_gate(request)

    client = socket(Once)
    async with client:
        client.request("ordered.once", 1, "never")
        await until(lambda: client.scope["running"])
        client.disconnect()
        await client.ending()
    assert client.disconnects == [("disconnect", [])]


async def test_a_grace_that_is_over_ends_them_all() -> None:
    class Hasty(Parallel):
        route_disconnect_grace = 0.01

    client = socket(Hasty)
    async with client:
        client.request("ordered", 1, "never")
        client.requests("beside", 2, 3)
        await until(lambda: len(client.scope["running"]) == 3)
        client.disconnect()
        await client.ending()
    assert client.disconnects == [("disconnect", [])]


async def test_one_that_waits_in_send_does_not_hold_the_reading_for_another() -> None:
    """A parallel handler's frame waits for the client while the ordered handler begins to wait for something else."""
    async with socket() as client:
        client.request("beside", 1, "a")
        await until(lambda: client.scope["running"])
        client.writable.clear()
        await open_gate(client, "a")
        client.request("ordered", 2, "b")
        client.request("beside", 3, "c")
        await until(lambda: client.scope["running"] == ["b", "c"])
        client.writable.set()
        await open_gate(client, "b")
        await open_gate(client, "c")
        await client.read(3)


class SyncParallel(RouteMixin, JsonWebsocketConsumer):
    @route("beside", parallel=True)
    def beside(self, request: Request) -> Any:
        self.send_json({"seen": request.payload})
        return request.payload


async def test_on_a_sync_consumer_they_run_in_its_thread() -> None:
    async with socket(SyncParallel) as client:
        client.requests("beside", *range(20))
        await client.read(40)
        assert {uuid for uuid, _ in client.statuses()} == {*range(20)}


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", True, None])
def test_a_bound_is_a_count(count: Any) -> None:
    with pytest.raises(RouteSetupError, match="route_concurrency must be a positive number of requests"):
        type("Chat", (RouteMixin, AsyncJsonWebsocketConsumer), {"route_concurrency": count})


STEP = st.sampled_from(["ordered", "beside", "late", "exit", "at.once", "cancel", "ping", "open", "duplicate"])


@given(steps=st.lists(STEP, max_size=40), leaves=st.booleans())
def test_every_request_gets_exactly_one_final_reply(steps: list[str], leaves: bool) -> None:
    """Whatever a client sends, and whatever comes first: its handler's end, a CANCEL, a deadline or a refusal."""
    asyncio.run(answered_once(steps, leaves))


async def answered_once(steps: list[str], leaves: bool) -> None:
    with override_settings(ROUTESOCK={"CONCURRENCY": 2, "MAX_QUEUED": 3, "DISCONNECT_GRACE": 0}):
        client = socket()
        async with client:
            sent: list[Any] = []
            for number, step in enumerate(steps):
                if step == "cancel" and sent:
                    client.cancel(sent[number % len(sent)])
                elif step == "ping":
                    client.json({"route": "PING", "uuid": "ping"})
                elif step == "open":
                    await open_gate(client, "gate")
                elif step == "duplicate" and sent:
                    sent.append(sent[-1])
                    client.request("beside", sent[-1], "gate")
                elif step in ("ordered", "beside", "late", "exit", "at.once"):
                    sent.append(number)
                    client.request(step, number, "gate")
            if leaves:
                return
            await open_gate(client, "gate")
            await until(lambda: len(client.statuses()) >= len(sent))
            await turns()
            assert Counter(uuid for uuid, _ in client.statuses()) == Counter(sent)
