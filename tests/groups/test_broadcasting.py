"""Broadcasts from outside of sockets: from sync and async code, any thread, on commit, and to a user."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import login, logout
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ValidationError
from django.db import transaction
from django.test import override_settings

from routesock import (
    Event,
    Push,
    Request,
    RouteMixin,
    abroadcast,
    apush_to_user,
    broadcast,
    event,
    push_to_user,
    route,
    send_event,
)
from routesock._groups import hub
from routesock.auth._login import revocation
from routesock.exceptions import InvalidPush
from routesock.testing import RouteClient
from tests.layers.in_memory import CROSSING, Crossing


def _small(payload: Any) -> Any:
    if payload > 9:
        raise ValidationError("Too large.")
    return payload


small = Push("pushing.small", schema=_small)


class Room(RouteMixin, AsyncJsonWebsocketConsumer):
    route_pushes = [small]

    async def connect(self) -> None:
        await self.socket.join("room")
        await self.accept()

    @route("tell")
    async def tell(self, request: Request) -> None:
        await self.socket.broadcast("room", small, request.payload)

    @route("tell.name")
    async def tell_by_name(self, request: Request) -> None:
        await self.socket.broadcast("room", "pushing.small", request.payload)

    @event("told")
    async def on_told(self, event: Event) -> None:
        await self.socket.push("told", event.payload)

    @route("login")
    async def login(self, request: Request) -> None:
        user = await User.objects.aget(username=request.payload)
        await login(self.scope, user, backend="django.contrib.auth.backends.ModelBackend")

    @route("logout")
    async def logout(self, request: Request) -> None:
        await logout(self.scope)


class Other(Room):
    channel_layer_alias = "other"


LAYERS = {
    "in memory": {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    "crossing": {"default": CROSSING},
    "none": {},
}


@pytest.fixture(params=LAYERS)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[RouteClient]:
    with override_settings(CHANNEL_LAYERS=LAYERS[request.param]):
        async with RouteClient(Room) as client:
            yield client
    assert hub._hubs == {}


async def test_from_async_code(client: RouteClient) -> None:
    await abroadcast("room", "told", {"a": 1}, headers={"X": 1})
    push = await client.expect_push("told")
    assert (push.payload, push.headers) == ({"a": 1}, {"X": 1})


async def test_from_sync_code_that_async_code_calls(client: RouteClient) -> None:
    await sync_to_async(broadcast)("room", "told", 1)
    assert (await client.expect_push("told")).payload == 1


BLOCKING = pytest.mark.parametrize("call", [broadcast, push_to_user, send_event], ids=lambda call: call.__name__)

ON_COMMIT = pytest.mark.parametrize("on_commit", [False, True], ids=["at once", "on commit"])


def receiver_of(call: Callable[..., None]) -> Any:
    return User(pk=1) if call is push_to_user else "room"


@pytest.mark.parametrize("call", [broadcast, push_to_user])
async def test_where_a_loop_runs_the_error_says_what_to_write(call: Callable[..., None]) -> None:
    with pytest.raises(RuntimeError, match=rf"await a{call.__name__}\("):
        call(receiver_of(call), small, 10)  # whose payload is no longer validated


async def test_so_it_does_for_events() -> None:
    with pytest.raises(RuntimeError, match=r"await asend_event\("):
        send_event("room", "told")


@BLOCKING
async def test_a_transaction_belongs_to_sync_code(call: Callable[..., None]) -> None:
    with pytest.raises(RuntimeError, match="sync code"):
        call(receiver_of(call), "told", on_commit=True)


@BLOCKING
def test_a_database_is_named_for_a_commit_alone(call: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match="only on_commit=True waits"):
        call(receiver_of(call), "told", using="default")


@pytest.mark.django_db
@BLOCKING
@ON_COMMIT
def test_a_layer_that_is_not_there_is_an_error_to_the_sender(call: Callable[..., None], on_commit: bool) -> None:
    with override_settings(CHANNEL_LAYERS=LAYERS["in memory"]), pytest.raises(ValueError, match="has no 'defualt'"):
        call(receiver_of(call), "told", layer="defualt", on_commit=on_commit)


@pytest.mark.parametrize("layers", ["in memory", "none"])
async def test_from_a_thread_that_knows_of_no_loop(layers: str) -> None:
    with override_settings(CHANNEL_LAYERS=LAYERS[layers]):
        async with RouteClient(Room) as client:
            thread = threading.Thread(target=broadcast, args=("room", "told", 1))
            thread.start()
            assert (await client.expect_push("told")).payload == 1
            await asyncio.to_thread(thread.join)


async def test_to_the_sockets_of_several_loops() -> None:
    opened, told, end = threading.Event(), [], threading.Event()

    async def elsewhere() -> None:
        async with RouteClient(Room) as client:
            opened.set()
            told.append((await client.expect_push("told")).payload)
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    async with RouteClient(Room) as client:
        thread.start()
        await asyncio.to_thread(opened.wait)
        await abroadcast("room", "told", 1)
        assert (await client.expect_push("told")).payload == 1
        end.set()
        await asyncio.to_thread(thread.join)
    assert told == [1]
    assert hub._hubs == {}


def test_nobody_is_there() -> None:
    broadcast("room", "told", 1)


async def test_each_layer_is_a_world_of_its_own() -> None:
    both = dict.fromkeys(("default", "other"), LAYERS["in memory"]["default"])
    with override_settings(CHANNEL_LAYERS=both):
        async with RouteClient(Room) as here, RouteClient(Other) as there:
            await abroadcast("room", "told", "here")
            await abroadcast("room", "told", "there", layer="other")
            assert (await here.expect_push("told")).payload == "here"
            assert (await there.expect_push("told")).payload == "there"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("room", "PING"), ValueError, "reserved"),
        (("room", "told", object()), TypeError, "not JSON serializable"),
        (("room", "told", {"x": float("inf")}), ValueError, "JSON compliant"),
        (("room", "told", "x" * 1_000_000), ValueError, "over MAX_REPLY"),
        ((None, "told"), TypeError, "name must be a string"),
    ],
)
@ON_COMMIT
def test_what_cannot_be_sent(on_commit: bool, arguments: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        broadcast(*arguments, on_commit=on_commit)


async def test_a_declared_push_is_checked_wherever_it_is_sent(client: RouteClient) -> None:
    async def through_the_socket(*args: Any) -> None:
        await client.call("tell", args[2])

    async def through_the_socket_by_name(*args: Any) -> None:
        await client.call("tell.name", args[2])

    for call in (abroadcast, sync_to_async(broadcast), through_the_socket, through_the_socket_by_name):
        await call("room", small, 9)
        assert (await client.expect_push("pushing.small")).payload == 9
        with pytest.raises(InvalidPush):
            await call("room", small, 10)
    for on_commit in (False, True):
        with pytest.raises(InvalidPush):
            await sync_to_async(broadcast)("room", small, 10, on_commit=on_commit)
        with pytest.raises(InvalidPush):
            await sync_to_async(push_to_user)(User(pk=1), small, 10, on_commit=on_commit)
    with pytest.raises(InvalidPush):
        await apush_to_user(User(pk=1), small, 10)
    await client.refute_push()


async def test_a_name_belongs_to_consumers_and_has_no_schema_outside_of_them(client: RouteClient) -> None:
    """Two apps may use one name, and a view belongs to neither."""
    await abroadcast("room", "pushing.small", 10)
    assert (await client.expect_push("pushing.small")).payload == 10
    await sync_to_async(broadcast)("room", "pushing.small", 11)
    assert (await client.expect_push("pushing.small")).payload == 11


@pytest.fixture
def ada(transactional_db: None) -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def bob(transactional_db: None) -> User:
    return User.objects.create(username="bob")


@pytest.mark.django_db(transaction=True)
class TestOnCommit:
    def run(self, function: Callable[[], None], user: User | None = None) -> list[Any]:
        """The payloads that a client was sent while ``function`` ran in the thread of a view."""

        async def run() -> list[Any]:
            async with RouteClient(Room, as_user=user or AnonymousUser()) as client:
                await sync_to_async(function)()
                await client.settle()
                await abroadcast("room", "end")
                told = []
                while (push := await client.expect_push()).route != "end":
                    told.append(push.payload)
                return told

        return asyncio.run(run())

    def test_it_is_sent_when_the_transaction_is_committed(self) -> None:
        def view() -> None:
            payload = {"n": 1}
            with transaction.atomic():
                broadcast("room", "told", payload, on_commit=True)
                payload["n"] = 2  # too late
                broadcast("room", "told", "at once")

        assert self.run(view) == ["at once", {"n": 1}]

    @BLOCKING
    @pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
    def test_pushes_to_users_and_events_wait_too(self, ada: User, call: Callable[..., None], commits: bool) -> None:
        def view() -> None:
            with transaction.atomic():
                payload = ["later"]
                call(ada if call is push_to_user else "room", "told", payload, on_commit=True)
                payload.clear()  # too late
                broadcast("room", "told", "at once")
                transaction.set_rollback(not commits)

        assert self.run(view, ada) == ["at once", ["later"]][: 1 + commits]

    def test_and_not_when_it_is_rolled_back(self) -> None:
        def view() -> None:
            with transaction.atomic():
                broadcast("room", "told", "lost", on_commit=True)
                transaction.set_rollback(True)

        assert self.run(view) == []

    def test_without_a_transaction_it_is_sent_at_once(self) -> None:
        assert self.run(lambda: broadcast("room", "told", 1, on_commit=True)) == [1]

    def test_another_database_has_transactions_of_its_own(self) -> None:
        def view() -> None:
            with transaction.atomic(), pytest.raises(Exception, match="nowhere"):
                broadcast("room", "told", 1, using="nowhere", on_commit=True)

        assert self.run(view) == []

    def test_a_layer_that_fails_undoes_nothing(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fail(*args: Any) -> None:
            raise ConnectionError("down")

        monkeypatch.setattr(Crossing, "group_send", fail)
        with override_settings(CHANNEL_LAYERS=LAYERS["crossing"]), transaction.atomic():
            User.objects.create(username="ada")
            broadcast("room", "told", 1, on_commit=True)
        assert User.objects.filter(username="ada").exists()
        assert "Error calling broadcast(on_commit=True) in on_commit()" in caplog.text


@pytest.mark.usefixtures("transactional_db")
class TestUsers:
    @pytest.fixture(autouse=True)
    def received(self) -> None:
        """What the app connects in a project that has it installed."""
        revocation.connect_signals()

    @pytest.mark.parametrize("layers", LAYERS)
    @pytest.mark.parametrize("ends", [True, False])
    async def test_every_socket_of_a_user_and_no_other(self, ada: User, bob: User, layers: str, ends: bool) -> None:
        with override_settings(CHANNEL_LAYERS=LAYERS[layers], ROUTESOCK={"END_WITH_SESSION": ends}):
            async with (
                RouteClient(Room, as_user=ada) as one,
                RouteClient(Room, as_user=ada) as two,
                RouteClient(Room, as_user=bob) as other,
                RouteClient(Room, as_user=AnonymousUser()) as nobody,
            ):
                await apush_to_user(ada, "told", 1)
                await sync_to_async(push_to_user)(ada, "told", 2)
                for client in (one, two):
                    assert [(await client.expect_push("told")).payload for _ in range(2)] == [1, 2]
                for client in (other, nobody):
                    await client.refute_push()
        assert hub._hubs == {}

    @pytest.mark.parametrize("ends", [True, False])
    async def test_who_signs_in_and_out_over_the_socket(self, ada: User, bob: User, ends: bool) -> None:
        scope = {"user": AnonymousUser(), "session": SessionStore()}
        with override_settings(ROUTESOCK={"END_WITH_SESSION": ends}):
            await self.sign_in_and_out(RouteClient(Room, scope=scope), ada, bob)
        assert hub._hubs == {}

    async def sign_in_and_out(self, room: RouteClient, ada: User, bob: User) -> None:
        async with room as client:
            await client.call("login", "ada")
            await client.settle()
            await apush_to_user(ada, "told", 1)
            assert (await client.expect_push("told")).payload == 1
            await client.call("login", "bob")
            await client.settle()
            await apush_to_user(ada, "told", 2)
            await apush_to_user(bob, "told", 3)
            assert (await client.expect_push("told")).payload == 3
            await client.call("logout")
            await apush_to_user(bob, "told", 4)
            await client.refute_push()

    @pytest.mark.parametrize("user", [AnonymousUser(), User(username="new"), None, 1])
    async def test_only_a_saved_user_has_sockets(self, user: Any) -> None:
        with pytest.raises(ValueError, match="Only a saved user"):
            await apush_to_user(user, "told")


class OfChannels(RouteMixin, AsyncJsonWebsocketConsumer):
    """One that joins Channels' own groups."""

    groups = ["lobby"]

    @route("tell")
    async def tell(self, request: Request) -> None:
        await self.socket.broadcast("lobby", "told")

    @route("join")
    async def join(self, request: Request) -> None:
        await self.socket.join("lobby")


class TestGroupsOfChannels:
    """A group that was joined with ``group_add`` gets no broadcast, even of the same name."""

    @pytest.fixture(autouse=True)
    def _anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "_warned", set())

    async def test_debug_names_the_group_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """By whichever way it is sent to."""
        with override_settings(DEBUG=True):
            async with RouteClient(OfChannels) as client:
                await client.call("tell")
                await client.call("tell")
                await abroadcast("lobby", "told")
                await client.refute_push()
        messages = [record.getMessage() for record in caplog.records if "lobby" in record.getMessage()]
        assert len(messages) == 1
        assert messages[0].startswith("A message to the group 'lobby' reaches no socket of this process.")
        assert "`await self.socket.join('lobby')`" in messages[0]

    @pytest.mark.parametrize("debug", [True, False])
    async def test_nothing_is_said_otherwise(self, debug: bool, caplog: pytest.LogCaptureFixture) -> None:
        """Of a group that sockets have joined as well, of one that nothing has joined, and without DEBUG."""
        with override_settings(DEBUG=debug):
            async with RouteClient(OfChannels) as client:
                await abroadcast("nowhere", "told")
                if debug:
                    await client.call("join")
                await client.call("tell")
        assert not [record for record in caplog.records if "reaches no socket" in record.getMessage()]
