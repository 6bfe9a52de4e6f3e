"""The phases of a socket, the stages of a job, and a socket's end: once, however many causes come together."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from itertools import permutations, product
from typing import Any, Final

import pytest
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from hypothesis import given
from hypothesis import strategies as st

from routesock import Request, RouteMixin, route
from routesock._connection.queue.jobs import STAGES, Job, JobSource, ReplyStatus, Stage
from routesock._connection.state import TRANSITIONS, Phase, SocketState
from routesock._runtime import closing
from routesock.exceptions import NotAuthenticated, SocketEnded, Unavailable
from routesock.signals import request_finished, socket_opened
from routesock.status import ending_for
from tests.takeover.driver import Socket, turns, until

PAIRS: Final = [*product(Phase, Phase)]


def at(phase: Phase) -> SocketState:
    """A state that has come to ``phase`` by the shortest way."""
    ways: dict[Phase, list[Phase]] = {Phase.OPENING: []}
    for before in Phase:
        for after in sorted(TRANSITIONS[before]):
            ways.setdefault(after, [*ways[before], after])
    state = SocketState()
    for step in ways[phase]:
        state.advance(step)
    return state


class TestPhases:
    @pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda phase: phase.name)
    def test_only_what_the_table_has_is_legal(self, before: Phase, after: Phase) -> None:
        state = at(before)
        if after in TRANSITIONS[before]:
            state.advance(after)
            assert state.phase is after
        else:
            with pytest.raises(AssertionError, match=f"does not go from {before.name} to {after.name}"):
                state.advance(after)
            assert state.phase is before

    def test_phases_only_go_forward_and_all_of_them_are_reached(self) -> None:
        assert all(after > before for before in Phase for after in TRANSITIONS[before])
        assert {at(phase).phase for phase in Phase} == {*Phase}
        assert [phase for phase in Phase if not TRANSITIONS[phase]] == [Phase.ENDED]

    def test_what_each_phase_allows(self) -> None:
        allowed = {
            phase: (state.may_dispatch, not state.is_closing, not state.is_gone, state.may_join)
            for phase, state in ((phase, at(phase)) for phase in Phase)
        }
        assert allowed == {
            Phase.OPENING: (True, True, True, True),
            Phase.OPEN: (True, True, True, True),
            Phase.DRAINING: (False, True, True, True),
            Phase.CLOSING: (False, False, True, True),
            Phase.GONE: (False, False, False, True),
            Phase.DISCONNECTING: (False, False, False, True),
            Phase.ENDED: (False, False, False, False),
        }

    @given(st.lists(st.sampled_from(["answer", "drain", "sign out", *Phase])))
    def test_whatever_happens_nothing_that_was_forbidden_is_allowed_again(self, steps: list[Any]) -> None:
        state = SocketState()
        seen = [state.phase]
        for step in steps:
            if step == "answer":
                state.answer_handshake()
            elif step == "drain":
                state.drain(Unavailable())
            elif step == "sign out":
                state.drain(NotAuthenticated())
            elif step in TRANSITIONS[state.phase]:
                state.advance(step)
            seen.append(state.phase)
            assert state.may_dispatch == (state.phase < Phase.DRAINING)
            assert state.is_closing == (state.phase >= Phase.CLOSING)
        assert seen == sorted(seen)

    def test_an_accept_while_the_socket_drains_is_noted(self) -> None:
        state = SocketState()
        state.drain(Unavailable())
        state.answer_handshake()
        assert state.handshake_done
        assert state.phase is Phase.DRAINING

    def test_the_last_error_is_that_of_a_draining_socket(self) -> None:
        state = at(Phase.OPEN)
        errors = [Unavailable(), NotAuthenticated()]
        for error in errors:
            state.drain(error)
        assert state.refusal is errors[1]

    def test_disconnect_is_due_once_connect_has_returned_and_not_twice(self) -> None:
        state = SocketState()
        assert not state.must_disconnect
        state.connected = True
        assert state.must_disconnect
        state.disconnected = True
        assert not state.must_disconnect


class Nowhere(JobSource):
    async def read(self) -> None:
        raise NotImplementedError


async def job() -> Job:
    task = asyncio.current_task()
    assert task is not None
    return Job(Nowhere(1, SocketState()), {"type": "websocket.receive"}, None, task)


class TestJobs:
    @pytest.mark.parametrize(("before", "after"), [*product(Stage, Stage)], ids=lambda stage: stage.name)
    async def test_only_what_the_table_has_is_legal(self, before: Stage, after: Stage) -> None:
        one = await job()
        one.stage = before
        if after in STAGES[before]:
            one.advance(after)
            assert one.stage is after
        else:
            with pytest.raises(AssertionError, match=f"does not go from {before.name} to {after.name}"):
                one.advance(after)
            assert one.stage is before

    @pytest.mark.parametrize("first", [ReplyStatus.SENT, ReplyStatus.DROPPED], ids=lambda reply: reply.name)
    @pytest.mark.parametrize("second", ReplyStatus, ids=lambda reply: reply.name)
    async def test_a_reply_is_decided_once(self, first: ReplyStatus, second: ReplyStatus) -> None:
        one = await job()
        one.decide(first)
        with pytest.raises(AssertionError, match=f"{first.name} does not become {second.name}"):
            one.decide(second)
        assert one.reply is first

    async def test_a_reply_that_comes_before_the_code_is_done_is_a_cancellation(self) -> None:
        one = await job()
        assert not one.is_cancelled
        one.advance(Stage.RUNNING)
        one.decide(ReplyStatus.SENT)
        assert one.is_cancelled
        one.advance(Stage.DONE)
        assert not one.is_cancelled


class Room(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0.01

    async def connect(self) -> None:
        self.scope["consumers"].append(self)
        await self.accept()
        await self.socket.join("room")

    async def disconnect(self, code: int) -> None:
        self.scope["log"].append(("disconnect", code))
        await asyncio.sleep(0)

    @route("wait")
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("wait.beside", parallel=True)
    async def wait_beside(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("stop", parallel=True)
    async def stop(self, request: Request) -> None:
        raise StopConsumer

    async def stop_it(self, message: Any) -> None:
        raise StopConsumer

    async def fail(self, message: Any) -> None:
        raise LookupError("in a channel-layer handler")


def _close(client: Socket, connection: Any) -> None:
    connection._tasks.start(connection.close(ending_for(403, "Not here.")))


CAUSES: Final[dict[str, Callable[[Socket, Any], None]]] = {
    "the client leaves": lambda client, connection: client.disconnect(1001),
    "close": _close,
    "sign out": lambda client, connection: connection.sign_out(ending_for(401, "Signed out.")),
    "drain": lambda client, connection: connection.drain(1.0),
    "overflow": lambda client, connection: connection._overflow(),
    "StopConsumer": lambda client, connection: connection.stop(None),
    "failure": lambda client, connection: connection.stop(LookupError("a failure")),
    "the server stops": lambda client, connection: client.stop(),
}


class TestEnd:
    @pytest.mark.parametrize("pause", [0, 1, 4])
    @pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
    @pytest.mark.parametrize("causes", [*permutations(CAUSES, 2)], ids=" then ".join)
    async def test_two_causes_are_one_end(self, causes: tuple[str, str], busy: bool, pause: int) -> None:
        await self.end_by(causes, busy=busy, pause=pause)

    @pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
    @pytest.mark.parametrize("last", CAUSES)
    async def test_all_causes_at_once_are_one_end(self, last: str, busy: bool) -> None:
        await self.end_by((*(name for name in CAUSES if name != last), last), busy=busy, pause=0)

    async def end_by(self, causes: tuple[str, ...], *, busy: bool, pause: int) -> None:
        consumers: list[Any] = []
        client = Socket(Room.as_asgi(), log=[], consumers=consumers)
        async with client:
            await turns()
            connection = consumers[0]._routesock_connection
            member = connection.member()
            assert member.groups == {"room"}
            if busy:
                client.request("wait", 1)
                client.request("wait.beside", 2)
                await turns()
            for cause in causes:
                CAUSES[cause](client, connection)
                await turns(pause)
            await client.ending()
        assert len(client.disconnects) == 1
        assert len([message for message in client.sent if message["type"] == "websocket.close"]) <= 1
        assert connection._state.phase is Phase.ENDED
        assert member.groups == frozenset()

    async def test_all_who_wait_for_the_end_wait_for_the_same(self) -> None:
        consumers: list[Any] = []
        client = Socket(Room.as_asgi(), log=[], consumers=consumers)
        async with client:
            await turns()
            connection = consumers[0]._routesock_connection
            ends = [asyncio.create_task(connection.end()) for _ in range(3)]
            await turns(1)
            client.disconnect()
            await asyncio.gather(*ends)
            await connection.end()
            assert client.disconnects == [("disconnect", 1006)]
            assert await client.ending() is None
        assert client.disconnects == [("disconnect", 1006)]

    async def test_nothing_of_an_ended_socket_is_left_to_the_garbage_collector(self) -> None:
        consumers: list[Any] = []
        client = Socket(Room.as_asgi(), log=[], consumers=consumers)
        async with client:
            await client.call("wait.unknown", 1)
        gone = weakref.ref(consumers.pop())
        gc.disable()
        try:
            del client
            assert gone() is None
        finally:
            gc.enable()

    async def test_a_consumer_that_is_kept_answers_as_before(self) -> None:
        """What is sent raises, what cannot be sent raises the same as before, and no group is joined."""
        consumers: list[Any] = []
        async with Socket(Room.as_asgi(), log=[], consumers=consumers) as client:
            await turns()
        (consumer,) = consumers
        sent = len(client.sent)
        with pytest.raises(SocketEnded):
            await consumer.socket.push("news", 1)
        with pytest.raises(SocketEnded):
            await consumer.send_json({"late": True})
        await consumer.socket.join("room")
        await consumer.socket.leave("room")
        await consumer.socket.close(403)
        await consumer.socket.broadcast("room", "news", exclude_self=True)
        assert consumer.socket.groups == frozenset()
        with pytest.raises(TypeError, match="serializable"):
            await consumer.socket.push("news", object())
        with pytest.raises(ValueError, match="HTTP status"):
            await consumer.socket.close(4403)
        assert consumer.channel_name == consumer._routesock_connection.membership.channel
        assert len(client.sent) == sent
        assert client.late == []

    @pytest.mark.parametrize("begin", ["drain", "sign out"])
    async def test_a_cancel_for_a_request_whose_refusal_waits_does_not_answer_it_twice(self, begin: str) -> None:
        """The client is slow, so the refusals of what is queued take a while."""
        consumers: list[Any] = []
        client = Socket(Room.as_asgi(), log=[], consumers=consumers)
        async with client:
            await turns()
            client.requests("wait", 1, 2, 3)
            await turns()
            client.writable.clear()
            CAUSES[begin](client, consumers[0]._routesock_connection)
            await turns()
            client.cancel(3)
            await turns()
            client.writable.set()
            assert await client.ending() is None
        assert sorted(uuid for uuid, _ in client.statuses()) == [1, 2, 3]

    async def test_every_queued_request_is_finished_although_the_client_does_not_read_the_refusals(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(closing, "CLOSE_WAIT", 0.02)
        consumers: list[Any] = []
        finished: list[Any] = []

        def note(request: Request, **kwargs: Any) -> None:
            finished.append(request.id)

        request_finished.connect(note)
        try:
            client = Socket(Room.as_asgi(), log=[], consumers=consumers)
            async with client:
                await turns()
                client.requests("wait", 1, 2, 3)
                await turns()
                client.writable.clear()
                CAUSES["sign out"](client, consumers[0]._routesock_connection)
                assert await client.ending() is None
        finally:
            request_finished.disconnect(note)
        assert sorted(finished) == [1, 2, 3]

    async def test_an_accept_that_returns_after_the_end_does_not_open_the_socket(self) -> None:
        """A task of the consumer's own sends it, to a client that does not read and then leaves."""
        opened: list[Any] = []
        tasks: list[asyncio.Task[None]] = []

        class Late(Room):
            async def connect(self) -> None:
                tasks.append(asyncio.create_task(self.accept()))

        def note(**kwargs: Any) -> None:
            opened.append(kwargs["consumer"])

        socket_opened.connect(note)
        try:
            client = Socket(Late.as_asgi(), log=[], consumers=[])
            client.writable.clear()
            client.start()
            client.feed({"type": "websocket.connect"})
            await turns()
            client.disconnect()
            await until(lambda: client.done)
            client.writable.set()
            await tasks[0]
            assert await client.ending() is None
        finally:
            socket_opened.disconnect(note)
        assert opened == []
        assert len(client.disconnects) == 1

    async def test_a_failure_in_the_moment_in_which_the_server_stops_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        consumers: list[Any] = []
        client = Socket(Room.as_asgi(), log=[], consumers=consumers)
        async with client:
            await turns()
            client.stop()
            consumers[0]._routesock_connection.stop(LookupError("a failure"))
            assert isinstance(await client.ending(), asyncio.CancelledError)
        assert [record.getMessage() for record in caplog.records] == ["A socket that had ended failed once more."]
