"""How many sockets a user and an address may have: who is counted, and that every count is given back."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
from channels.exceptions import DenyConnection, StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from routesock import Keys, Request, RouteMixin, route
from routesock._runtime import clients
from routesock._runtime.clients import ConnectionSlot, is_signed_in, take_slot
from routesock.testing import ConnectionClosed, RouteClient
from tests.takeover.driver import Socket, until

ALICE: Final = User(pk=1, username="alice")
BOB: Final = User(pk=2, username="bob")


def counts() -> dict[Any, int]:
    with clients._lock:
        clients._settle()
        return dict(clients._counts)


def per_user(limit: int) -> Any:
    return override_settings(ROUTESOCK={"MAX_SOCKETS_PER_USER": limit})


def per_address(limit: int) -> Any:
    return override_settings(ROUTESOCK={"MAX_SOCKETS_PER_ADDRESS": limit})


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test opens it closes, and then nobody is counted."""
    yield
    assert counts() == {}


def taken(scope: dict[str, Any]) -> ConnectionSlot:
    place = take_slot(scope)
    assert place is not None
    return place


def test_a_user_has_so_many_sockets_and_no_more() -> None:
    with per_user(2):
        places = [taken({"user": ALICE}) for _ in range(2)]
        assert take_slot({"user": ALICE}) is None
        others = taken({"user": BOB})
        places.pop().give_back()
        places.append(taken({"user": ALICE}))
        assert take_slot({"user": ALICE}) is None
    for place in (*places, others):
        place.give_back()


def test_a_user_is_known_by_primary_key() -> None:
    """Each socket loads an object of its own."""
    with per_user(1):
        place = taken({"user": ALICE})
        assert take_slot({"user": User(pk=1)}) is None
        place.give_back()


def test_an_address_has_so_many_sockets_and_no_more() -> None:
    """From whatever port, and whoever is signed in."""
    with per_address(2):
        places = [taken({"client": ["192.0.2.1", 1024 + port], "user": ALICE}) for port in range(2)]
        assert take_slot({"client": ["192.0.2.1", 2000], "user": BOB}) is None
        places.append(taken({"client": ["192.0.2.2", 2000], "user": ALICE}))
    for place in places:
        place.give_back()


@pytest.mark.parametrize("user", [AnonymousUser(), None, object(), User(username="unsaved")])
def test_who_is_not_signed_in_is_not_counted_as_a_user(user: Any) -> None:
    """Visitors have nothing in common but that they are none."""
    with per_user(1):
        assert all(take_slot({"user": user}) for _ in range(3))


def test_an_address_is_the_clients_and_not_the_proxys() -> None:
    """Where the setting says how many proxies there are."""

    def behind(address: str) -> dict[str, Any]:
        return {"client": ["192.0.2.9", 1], "headers": [(b"x-forwarded-for", f"198.51.100.1, {address}".encode())]}

    with override_settings(ROUTESOCK={"MAX_SOCKETS_PER_ADDRESS": 1, "NUM_PROXIES": 1}):
        places = [taken(behind("203.0.113.1")), taken(behind("203.0.113.2"))]
        assert take_slot(behind("203.0.113.1")) is None
    for place in places:
        place.give_back()


def test_an_ipv6_network_is_one_address() -> None:
    """One customer has all of a /64, as throttles and the lock of addresses count it."""
    with per_address(2):
        places = [taken({"client": [f"2001:db8:1:2::{number}", 1]}) for number in range(2)]
        assert take_slot({"client": ["2001:db8:1:2:3:4:5:6", 1]}) is None
        places.append(taken({"client": ["2001:db8:1:3::1", 1]}))
    for place in places:
        place.give_back()


@pytest.mark.parametrize("scope", [{}, {"client": None}])
def test_an_unknown_address_is_not_counted(scope: dict[str, Any]) -> None:
    """A server on a Unix socket has none to tell (ASGI: ``client`` is optional)."""
    with per_address(1):
        assert all(take_slot(scope) for _ in range(3))


def test_nothing_is_counted_where_no_limit_is_set() -> None:
    assert all(take_slot({"user": ALICE, "client": ["192.0.2.1", 1]}) for _ in range(3))


def test_who_is_refused_for_one_reason_is_not_counted_for_the_other() -> None:
    with override_settings(ROUTESOCK={"MAX_SOCKETS_PER_USER": 1, "MAX_SOCKETS_PER_ADDRESS": 2}):
        first = taken({"user": ALICE, "client": ["192.0.2.1", 1]})
        for _ in range(5):
            assert take_slot({"user": ALICE, "client": ["192.0.2.1", 2]}) is None
        second = taken({"user": BOB, "client": ["192.0.2.1", 3]})
        assert take_slot({"client": ["192.0.2.1", 4]}) is None
    first.give_back()
    second.give_back()


def test_a_place_is_given_back_once() -> None:
    with per_user(1):
        first = taken({"user": ALICE})
        first.give_back()
        second = taken({"user": ALICE})
        first.give_back()
        assert take_slot({"user": ALICE}) is None
        second.give_back()


def test_what_was_counted_is_given_back_under_other_settings() -> None:
    with per_user(1):
        place = taken({"user": ALICE})
    place.give_back()


def test_loops_in_several_threads_lose_no_count() -> None:
    def come_and_go() -> None:
        for _ in range(2000):
            taken({"user": ALICE}).give_back()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    with per_user(1_000_000):
        place = taken({"user": ALICE})
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts() == {("user", 1): 1}
        place.give_back()


def test_a_socket_may_end_while_another_is_counted() -> None:
    """The garbage collector does not ask what its thread is doing."""

    class Ends:
        """An address that ends a socket whenever it is looked at."""

        def __init__(self, place: ConnectionSlot) -> None:
            self.place = place

        def __hash__(self) -> int:
            self.place.give_back()
            return 1

        def __eq__(self, other: object) -> bool:
            return self is other

    with override_settings(ROUTESOCK={"MAX_SOCKETS_PER_USER": 1, "MAX_SOCKETS_PER_ADDRESS": 1}):
        first = taken({"user": ALICE})
        second = taken({"client": [Ends(first), 1]})
        taken({"user": ALICE}).give_back()
    second.give_back()


class Sockets(RuleBasedStateMachine):
    """Sockets that open and end in any order, against a plain count."""

    opened = Bundle("opened")
    LIMITS: Final = {"MAX_SOCKETS_PER_USER": 2, "MAX_SOCKETS_PER_ADDRESS": 3}

    def __init__(self) -> None:
        super().__init__()
        self.users: Counter[Any] = Counter()
        self.addresses: Counter[str] = Counter()
        self.places: list[ConnectionSlot] = []

    @rule(target=opened, user=st.sampled_from([ALICE, BOB, AnonymousUser()]), address=st.sampled_from("abc"))
    def open(self, user: Any, address: str) -> tuple[ConnectionSlot | None, Any, str]:
        with override_settings(ROUTESOCK=self.LIMITS):
            place = take_slot({"user": user, "client": [address, 1]})
        full = (user.pk is not None and self.users[user.pk] == 2) or self.addresses[address] == 3
        assert (place is None) == full
        if place is not None:
            self.places.append(place)
            self.users[user.pk] += 1
            self.addresses[address] += 1
        return place, user.pk, address

    @rule(socket=consumes(opened), times=st.integers(1, 3))
    def end(self, socket: tuple[ConnectionSlot | None, Any, str], times: int) -> None:
        place, user, address = socket
        if place is not None:
            for _ in range(times):
                place.give_back()
            self.users[user] -= 1
            self.addresses[address] -= 1

    @invariant()
    def counts_are_those_of_open_sockets(self) -> None:
        expected = {("user", user): count for user, count in self.users.items() if user is not None and count}
        expected |= {("address", address): count for address, count in self.addresses.items() if count}
        assert counts() == expected

    def teardown(self) -> None:
        for place in self.places:
            place.give_back()
        assert counts() == {}


TestSockets = Sockets.TestCase
TestSockets.settings = hypothesis_settings(stateful_step_count=30)


class Undecided:
    @property
    def is_authenticated(self) -> bool:
        raise RuntimeError("no database here")


@pytest.mark.parametrize(
    ("user", "expected"), [(ALICE, True), (AnonymousUser(), False), (None, False), (object(), False)]
)
def test_who_is_signed_in(user: Any, expected: bool) -> None:
    assert is_signed_in({"user": user}) is expected
    assert is_signed_in({}) is False


def test_a_user_who_cannot_say_is_not_signed_in(caplog: pytest.LogCaptureFixture) -> None:
    """A limit that cannot be looked at must not be none."""
    assert is_signed_in({"user": Undecided()}) is False
    assert "no database here" in caplog.text


class Counted(RouteMixin, AsyncJsonWebsocketConsumer):
    connects = 0

    async def connect(self) -> None:
        type(self).connects += 1
        await self.accept()

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


class CountedInThread(RouteMixin, JsonWebsocketConsumer):
    connects = 0

    def connect(self) -> None:
        type(self).connects += 1
        self.accept()

    @route("echo")
    def echo(self, request: Request) -> Any:
        return request.payload


class Spelling(Counted):
    """Its frames are spelt by code that needs what ``connect()`` has not set, and by a dialect of its own."""

    route_dialect = Keys(route="action", payload="data")

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        return json.dumps({"spelt": content})


@pytest.mark.parametrize("consumer", [Counted, CountedInThread])
async def test_one_too_many_is_told_and_closed_and_the_consumer_does_not_notice(consumer: Any) -> None:
    consumer.connects = 0
    with per_address(2):
        async with RouteClient(consumer) as first, RouteClient(consumer):
            async with RouteClient(consumer) as third:
                notice = (await third.expect_push("CLOSE")).payload
                assert await third.expect_close() == (4429, notice["reason"])
            assert (notice["code"], notice["reconnect"], notice["retry_after"]) == (4429, True, 30)
            assert consumer.connects == 2
            assert (await first.call("echo", 1)).payload == 1
        async with RouteClient(consumer) as again:
            assert (await again.call("echo", 1)).payload == 1
    assert consumer.connects == 3


async def test_users_are_counted_over_all_consumers() -> None:
    with per_user(1):
        async with RouteClient(Counted, as_user=ALICE), RouteClient(Spelling, as_user=ALICE) as second:
            assert (await second.expect_close()).code == 4429
        async with RouteClient(Counted), RouteClient(Counted):
            pass


async def test_the_notice_is_spelt_as_the_consumer_spells_frames() -> None:
    with per_address(1):
        async with RouteClient(Counted), RouteClient(Spelling) as second:
            notice = (await second.receive())["spelt"]
            assert (notice["action"], notice["data"]["code"]) == ("CLOSE", 4429)


async def test_the_first_subprotocol_is_chosen_for_one_too_many() -> None:
    """A browser fails a handshake that chooses none of those that it offered, and then nobody reads the notice."""
    with per_address(1):
        async with RouteClient(Counted):
            async with RouteClient(Counted, subprotocols=["v2", "v1"]) as second:
                assert second.subprotocol == "v2"
            async with RouteClient(Counted) as second:
                assert second.subprotocol is None
            async with RouteClient(Counted, scope={"subprotocols": None}) as second:
                assert second.subprotocol is None


async def test_frames_of_one_too_many_reach_nobody() -> None:
    seen: list[Any] = []

    class Foreign(Counted):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            seen.append(content)

    with per_address(1):
        async with RouteClient(Counted):
            client = RouteClient(Foreign)
            await client.connect()
            with suppress(ConnectionClosed):
                await client.send_json({"foreign": 1})
                await client.send("echo", id=1)
            await client.settle()
            await client.disconnect()
    assert seen == []


class Ending(Counted):
    """Ends in every way there is."""

    gate: asyncio.Event

    async def connect(self) -> None:
        match self.scope.get("how"):
            case "raises":
                raise ZeroDivisionError
            case "closes":
                await self.close()
            case "denies":
                raise DenyConnection
            case "hangs":
                await asyncio.Event().wait()
            case _:
                await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content["how"]:
            case "closes":
                await self.close()
            case "stops":
                raise StopConsumer
            case "raises":
                raise ZeroDivisionError
            case "cancels":
                raise asyncio.CancelledError
            case "hangs":
                await asyncio.Event().wait()

    async def disconnect(self, code: int) -> None:
        if self.scope.get("how") == "disconnect raises":
            raise ZeroDivisionError


def full() -> Any:
    return override_settings(
        ROUTESOCK={"MAX_SOCKETS_PER_USER": 1, "MAX_SOCKETS_PER_ADDRESS": 1, "DISCONNECT_GRACE": 0.01}
    )


def socket_of_alice(**scope: Any) -> Socket:
    return Socket(Ending.as_asgi(), **{"user": ALICE, "client": ("192.0.2.1", 5000), "log": [], **scope})


@pytest.mark.parametrize("how", ["raises", "closes", "denies"])
async def test_a_socket_that_does_not_open_is_not_counted(how: str) -> None:
    with full():
        async with socket_of_alice(how=how) as socket:
            await socket.ending()
            assert counts() == {}


@pytest.mark.parametrize("how", ["closes", "stops", "raises", "cancels", "hangs", "disconnect raises"])
@pytest.mark.parametrize("then", ["leaves", "stopped"])
async def test_a_socket_that_has_ended_is_not_counted(how: str, then: str) -> None:
    """However it ends, and if the server stops it meanwhile."""
    with full():
        async with socket_of_alice(how=how if how.startswith("disconnect") else None) as socket:
            assert sorted(kind for kind, _ in counts()) == ["address", "user"]
            socket.json({"how": how})
            await until(socket.is_all_read)
            if then == "stopped":
                socket.stop()
            else:
                socket.disconnect()
            await socket.ending()
            assert counts() == {}


async def test_a_socket_that_is_stopped_while_it_connects_is_not_counted() -> None:
    with full():
        socket = socket_of_alice(how="hangs")
        socket.start()
        socket.feed({"type": "websocket.connect"})
        await until(counts)
        socket.stop()
        await socket.ending()
        assert counts() == {}


async def test_a_socket_without_a_channel_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer may be down when a socket opens."""

    async def fail(self: Any, prefix: str = "") -> str:
        raise ConnectionRefusedError

    monkeypatch.setattr(InMemoryChannelLayer, "new_channel", fail)
    with full():
        socket = socket_of_alice()
        socket.start()
        assert isinstance(await socket.ending(), ConnectionRefusedError)
        assert counts() == {}


async def test_one_too_many_is_not_counted_however_it_ends() -> None:
    with full():
        async with socket_of_alice() as first:
            async with socket_of_alice() as second:
                await second.ending()
            stopped = socket_of_alice()
            stopped.writable.clear()
            stopped.start()
            stopped.feed({"type": "websocket.connect"})
            await until(stopped.is_all_read)
            stopped.stop()
            await stopped.ending()
            assert set(counts().values()) == {1}
            first.disconnect()
            await first.ending()
            assert counts() == {}


def test_sockets_that_are_thrown_away_with_their_loop_are_not_counted() -> None:
    """As a test's are that failed, or those of a server that did not wait for them."""

    async def leave_open() -> Any:
        client = RouteClient(Counted)
        await client.connect()
        assert counts()
        return client

    with per_address(1):
        loop = asyncio.new_event_loop()
        client = loop.run_until_complete(leave_open())
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            coroutine.close()
        loop.close()
        assert counts() == {}
        del client
