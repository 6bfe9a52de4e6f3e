"""Who is silent, idle or anonymous for too long: the rules, told by times alone, and sockets that they end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from routesock import Heartbeat, Request, RouteMixin, RouteSetupError, conf, route
from routesock._connection.liveness import IDLE, SILENT, Liveness
from routesock._runtime.timers import SECOND_LOOKS, Timer, running_timer
from routesock.status import ANONYMOUS, Ending
from routesock.testing import ConnectionRefused, RouteClient
from routesock.typing import UNSET
from tests.clock import Hours, advance, shifted

DEFAULT_GRACE: Final = conf.SETTINGS["DISCONNECT_GRACE"].default


class Talk:
    """A socket whose reading and client the test plays, under the timer."""

    def __init__(
        self, heartbeat: Heartbeat | None = None, *, idle: float | None = None, anonymous: float | None = None
    ) -> None:
        self.hours = Hours()
        loop: Any = self.hours
        self.pings: list[float] = []
        self.endings: list[tuple[float, Ending]] = []
        self.busy = False
        self.signed_in = False
        self.takes_pings = True
        self.liveness = Liveness(
            0,
            heartbeat,
            idle,
            anonymous,
            ping=self.ping,
            close=self.end,
            is_busy=lambda: self.busy,
            is_signed_in=lambda: self.signed_in,
        )
        self.liveness.begin(Timer(loop), 0)

    # What the rules ask

    def ping(self) -> None:
        self.pings.append(self.hours.now)
        if self.takes_pings:  # a little later, since sending takes a task
            self.hours.call_at(self.hours.now, lambda: self.liveness.pinged(self.hours.now))

    def end(self, ending: Ending) -> None:
        self.endings.append((self.hours.now, ending))

    # What the test does

    def open(self) -> Talk:
        self.liveness.accepted(self.hours.now)
        self.liveness.reading(self.hours.now)
        return self

    def frame(self, *, heartbeat: bool = False, held: float = 0) -> None:
        """A frame arrives; the socket is read again ``held`` seconds later."""
        self.liveness.heard(heartbeat=heartbeat)
        self.advance(held)
        self.liveness.reading(self.hours.now)

    def advance(self, seconds: float) -> None:
        self.hours.advance(seconds)


BEAT = Heartbeat(interval=25, timeout=10)


class TestHeartbeat:
    def test_a_silent_client_is_pinged_and_then_closed(self) -> None:
        talk = Talk(BEAT).open()
        talk.advance(34)
        assert talk.pings == [25]
        assert talk.endings == []
        talk.advance(60)
        assert talk.pings == [25]
        assert talk.endings == [(35, SILENT)]

    def test_the_client_may_come_back(self) -> None:
        assert (SILENT.code, SILENT.reconnect) == (4408, True)

    @pytest.mark.parametrize("heartbeat", [True, False])
    def test_a_client_that_answers_stays(self, heartbeat: bool) -> None:
        """With a PONG, or with anything else."""
        talk = Talk(BEAT).open()
        for _ in range(10):
            talk.advance(34)
            talk.frame(heartbeat=heartbeat)
        assert len(talk.pings) == 10
        assert talk.endings == []

    def test_a_client_that_talks_is_not_pinged(self) -> None:
        talk = Talk(BEAT).open()
        for _ in range(100):
            talk.advance(24)
            talk.frame()
        assert talk.pings == []

    def test_silence_begins_at_the_last_frame(self) -> None:
        talk = Talk(BEAT).open()
        talk.advance(20)
        talk.frame()
        talk.advance(24)
        assert talk.pings == []
        talk.advance(1)
        assert talk.pings == [45]
        talk.advance(60)
        assert talk.endings == [(55, SILENT)]

    def test_each_silence_has_its_own_ping(self) -> None:
        talk = Talk(BEAT).open()
        talk.advance(26)
        talk.frame()
        talk.advance(100)
        assert talk.pings == [25, 26 + 25]
        assert talk.endings == [(26 + 35, SILENT)]

    def test_a_socket_that_is_not_accepted_is_not_pinged(self) -> None:
        """Nor is its client silent: it cannot send anything yet."""
        talk = Talk(BEAT)
        talk.liveness.reading(0)  # connect() has returned and left that to a later event
        talk.advance(90)
        assert talk.pings == []
        talk.liveness.accepted(90)
        talk.advance(24)
        assert talk.pings == []
        talk.advance(100)
        assert talk.pings == [115]
        assert talk.endings == [(125, SILENT)]

    def test_time_in_which_nobody_reads_is_no_silence(self) -> None:
        """What holds the reading is the server's: a send that waits, a full queue."""
        talk = Talk(BEAT).open()
        talk.frame(held=1000)
        assert talk.pings == []
        talk.advance(24)
        assert talk.pings == []
        talk.advance(100)
        assert talk.pings == [1025]
        assert talk.endings == [(1035, SILENT)]

    def test_a_reading_that_is_held_up_after_the_ping_ends_nobody(self) -> None:
        talk = Talk(BEAT).open()
        talk.advance(30)
        talk.frame(held=1000)
        assert talk.endings == []

    def test_time_in_which_the_ping_itself_is_held_up_is_no_silence(self) -> None:
        """A client can only answer what reached it."""
        talk = Talk(BEAT).open()
        talk.takes_pings = False
        talk.advance(1000)
        assert talk.pings == [25]
        assert talk.endings == []
        talk.liveness.pinged(1000)
        talk.advance(9)
        assert talk.endings == []
        talk.advance(60)
        assert talk.endings[0][1] is SILENT

    def test_what_a_process_that_stood_still_finds_unread_is_life(self) -> None:
        """The time is over before the frame that came in it has been read."""
        talk = Talk(BEAT).open()
        talk.advance(30)
        talk.hours.now += 100  # nothing ran
        for handle in talk.hours.pending():
            talk.hours.scheduled.remove(handle)
            handle.callback()
        assert talk.endings == []
        talk.frame(heartbeat=True)
        talk.advance(24)
        assert talk.endings == []

    def test_there_are_turns_between_the_time_and_the_verdict(self) -> None:
        talk = Talk(BEAT).open()
        talk.advance(34)
        before = talk.hours.turns
        talk.advance(1)
        assert talk.hours.turns - before == SECOND_LOOKS + 1
        assert talk.endings == [(35, SILENT)]

    def test_each_verdict_has_its_turns(self) -> None:
        talk = Talk(BEAT).open()
        talk.advance(30)
        for _ in range(SECOND_LOOKS):
            assert talk.liveness.look(35) == 35
        talk.frame()
        talk.advance(34)
        before = talk.hours.turns
        talk.advance(1)
        assert talk.hours.turns - before == SECOND_LOOKS + 1
        assert talk.endings == [(65, SILENT)]


class TestIdle:
    def test_a_client_that_sends_nothing_is_closed(self) -> None:
        talk = Talk(idle=60).open()
        talk.advance(59)
        assert talk.endings == []
        talk.advance(100)
        assert talk.endings == [(60, IDLE)]

    def test_the_client_is_told_not_to_come_back_at_once(self) -> None:
        assert (IDLE.code, IDLE.reconnect) == (4408, False)

    def test_a_frame_begins_the_time_anew(self) -> None:
        talk = Talk(idle=60).open()
        for _ in range(10):
            talk.advance(59)
            talk.frame()
        assert talk.endings == []
        talk.advance(100)
        assert talk.endings == [(650, IDLE)]

    def test_heartbeats_do_not(self) -> None:
        """They say that the client is there, not that it does anything."""
        talk = Talk(BEAT, idle=60).open()
        for _ in range(100):
            talk.advance(1)
            talk.frame(heartbeat=True)
        assert talk.endings == [(60, IDLE)]

    def test_a_socket_is_not_idle_while_something_runs_for_it(self) -> None:
        talk = Talk(idle=60).open()
        talk.busy = True
        talk.advance(1000)
        assert talk.endings == []
        talk.busy = False
        talk.advance(60)
        assert [ending for _, ending in talk.endings] == [IDLE]

    def test_nor_while_nobody_reads(self) -> None:
        talk = Talk(idle=60).open()
        talk.frame(held=1000)
        talk.advance(59)
        assert talk.endings == []

    def test_nor_before_it_is_accepted(self) -> None:
        talk = Talk(idle=60)
        talk.advance(1000)
        talk.open()
        talk.advance(59)
        assert talk.endings == []
        talk.advance(1)
        assert talk.endings == [(1060, IDLE)]


class TestAnonymous:
    def test_a_client_that_does_not_sign_in_is_closed(self) -> None:
        talk = Talk(anonymous=10).open()
        talk.advance(9)
        talk.frame()
        assert talk.endings == []
        talk.advance(100)
        assert talk.endings == [(10, ANONYMOUS)]

    def test_the_client_is_told_not_to_come_back_as_it_is(self) -> None:
        assert (ANONYMOUS.code, ANONYMOUS.reconnect) == (4401, False)

    def test_a_client_that_signs_in_later_stays(self) -> None:
        talk = Talk(anonymous=10).open()
        talk.advance(9)
        talk.signed_in = True
        talk.advance(1000)
        assert talk.endings == []
        assert talk.hours.pending() == []

    def test_the_time_is_looked_at_once(self) -> None:
        """Whoever signs out later is a matter of the application."""
        talk = Talk(Heartbeat(5, 5), anonymous=10).open()
        talk.signed_in = True
        talk.advance(8)
        talk.frame()
        talk.advance(4)
        talk.signed_in = False
        talk.advance(5)
        assert talk.endings == []

    def test_it_begins_when_the_socket_is_accepted(self) -> None:
        """The client is not charged for what connect() takes."""
        talk = Talk(anonymous=10)
        talk.advance(9)
        talk.open()
        talk.advance(9)
        assert talk.endings == []
        talk.advance(1)
        assert talk.endings == [(19, ANONYMOUS)]

    def test_a_connect_that_does_not_come_to_an_end_is_ended(self) -> None:
        talk = Talk(anonymous=10)
        talk.advance(100)
        assert talk.endings == [(10, ANONYMOUS)]

    def test_it_does_not_wait_for_what_runs(self) -> None:
        """A client could keep itself busy."""
        talk = Talk(anonymous=10).open()
        talk.busy = True
        talk.advance(100)
        assert talk.endings == [(10, ANONYMOUS)]


def test_a_socket_without_limits_is_never_looked_at() -> None:
    assert Talk().open().hours.scheduled == []


def test_a_socket_that_is_closing_is_not_looked_at() -> None:
    talk = Talk(BEAT).open()
    talk.liveness.stop()
    talk.advance(1000)
    assert (talk.pings, talk.endings) == ([], [])
    assert talk.hours.pending() == []


def test_a_socket_is_ended_once() -> None:
    talk = Talk(BEAT, idle=35, anonymous=35).open()
    talk.advance(1000)
    assert talk.endings == [(35, ANONYMOUS)]
    assert talk.hours.pending() == []


seconds = st.integers(1, 100)


@given(
    frames=st.lists(st.tuples(seconds, st.booleans(), st.one_of(st.just(0), seconds)), max_size=30),
    interval=seconds,
    timeout=seconds,
    idle=st.one_of(st.none(), seconds),
)
def test_whoever_says_something_in_time_stays(
    frames: list[tuple[int, bool, int]], interval: int, timeout: int, idle: int | None
) -> None:
    """A client is closed when it has been silent, or idle, for exactly its time of being read; never before or after.

    Frames come after a gap; then the reading may be held up for some seconds.
    """
    talk = Talk(Heartbeat(interval, timeout), idle=idle).open()
    now = idle_since = 0
    expected: tuple[float, Ending] | None = None

    def verdict(until: int) -> tuple[float, Ending] | None:
        ends = [(now + interval + timeout, SILENT), *([] if idle is None else [(idle_since + idle, IDLE)])]
        time, ending = min(ends, key=lambda end: end[0])
        return (time, ending) if time <= until else None

    for gap, heartbeat, held in frames:
        expected = verdict(now + gap)
        if expected is not None:
            break
        talk.advance(gap)
        held = 0 if heartbeat else held
        talk.frame(heartbeat=heartbeat, held=held)
        now += gap + held
        if not heartbeat:
            idle_since = now
    talk.advance(2 * 100 + max(interval + timeout, idle or 0))
    expected = expected or verdict(now + 10_000)
    assert talk.endings == [expected]


class Limited(RouteMixin, AsyncJsonWebsocketConsumer):
    route_idle_timeout = 60

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("wait", timeout=None)
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("beside", timeout=None, parallel=True)
    async def beside(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("stream", timeout=None)
    async def stream(self, request: Request) -> Any:
        yield 1
        await asyncio.Event().wait()

    @route("sign-in")
    async def sign_in(self, request: Request) -> None:
        self.scope["user"] = User(pk=1)


class Nobody(Limited):
    route_idle_timeout = None
    route_anonymous_timeout = 10


async def ending_of(client: RouteClient) -> dict[str, Any]:
    """What the notice says, which the close says, too."""
    notice: dict[str, Any] = (await client.expect_push("CLOSE")).payload
    assert await client.expect_close() == (notice["code"], notice["reason"])
    return notice


@shifted
async def test_an_idle_socket_is_told_and_closed() -> None:
    async with RouteClient(Limited) as client:
        await advance(59)
        assert (await client.call("echo", 1)).payload == 1
        await advance(50)
        await client.ping()
        assert client.closed is None
        await advance(11)
        notice = await ending_of(client)
    assert (notice["code"], notice["reconnect"]) == (4408, False)


@pytest.mark.parametrize("name", ["wait", "beside", "stream"])
@shifted
async def test_a_socket_whose_request_runs_is_not_idle(name: str) -> None:
    """In the order, beside it, or as a stream."""
    async with RouteClient(Limited) as client:
        await client.send(name, id=1)
        await client.settle()
        await advance(59)
        await advance(59)
        await advance(59)
        assert client.closed is None
        await client.cancel(1)
        await client.settle()
        await advance(61)
        assert (await ending_of(client))["code"] == 4408


@shifted
async def test_the_settings_hold_where_the_class_says_nothing() -> None:
    class Silent(Limited):
        route_idle_timeout = UNSET

    with override_settings(ROUTESOCK={"IDLE_TIMEOUT": 5, "ANONYMOUS_TIMEOUT": 100}):
        async with RouteClient(Silent) as client:
            await advance(6)
            assert (await ending_of(client))["code"] == 4408
        async with RouteClient(Limited) as client:
            await advance(59)
            assert client.closed is None
        async with RouteClient(Nobody) as client:
            await advance(11)
            assert (await ending_of(client))["code"] == 4401
    with override_settings(ROUTESOCK={"ANONYMOUS_TIMEOUT": 5}):
        async with RouteClient(Limited) as client:
            await advance(6)
            assert (await ending_of(client))["code"] == 4401


@shifted
async def test_a_class_may_have_no_limit_where_the_settings_have_one() -> None:
    class Free(Limited):
        route_idle_timeout = None
        route_anonymous_timeout = None

    with override_settings(ROUTESOCK={"IDLE_TIMEOUT": 5, "ANONYMOUS_TIMEOUT": 5}):
        async with RouteClient(Free) as client:
            await advance(1000)
            assert client.closed is None
            assert len(running_timer()) == 0


@shifted
async def test_nobody_signs_in() -> None:
    async with RouteClient(Nobody) as client:
        await advance(9)
        assert client.closed is None
        await advance(2)
        notice = await ending_of(client)
    assert (notice["code"], notice["reconnect"]) == (4401, False)


@shifted
async def test_the_log_tells_why_a_socket_was_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "routesock.socket")
    async with RouteClient(Nobody) as client:
        await advance(11)
        await ending_of(client)
    assert [record.getMessage() for record in caplog.records] == [
        "A socket is closed with 4401: The client did not authenticate in time. (Nobody, anonymous, 127.0.0.1)"
    ]


@shifted
async def test_whoever_is_signed_in_stays() -> None:
    async with RouteClient(Nobody, as_user=User(pk=1)) as client:
        await advance(1000)
        assert client.closed is None


@shifted
async def test_so_does_whoever_signs_in_over_the_socket() -> None:
    async with RouteClient(Nobody) as client:
        await advance(9)
        assert (await client.call("sign-in")).status == 204
        await advance(1000)
        assert client.closed is None


class Hanging(Nobody):
    async def connect(self) -> None:
        self.scope["hangs"].set()
        await asyncio.Event().wait()


@shifted
async def test_a_connect_that_does_not_come_to_an_end_is_refused() -> None:
    """And ``disconnect()`` does not run for it, since ``connect()`` has not returned."""
    hangs = asyncio.Event()
    client = RouteClient(Hanging, scope={"hangs": hangs}, timeout=1000)
    connecting = asyncio.create_task(client.connect())
    await hangs.wait()
    await advance(9)
    assert not connecting.done()
    await advance(2)
    await advance(DEFAULT_GRACE)
    with pytest.raises(ConnectionRefused):
        await connecting


@shifted
async def test_a_signed_in_user_may_wait_for_connect() -> None:
    """It is not on the user's account that it takes so long."""
    hangs = asyncio.Event()
    client = RouteClient(Hanging, as_user=User(pk=1), scope={"hangs": hangs}, timeout=1000)
    connecting = asyncio.create_task(client.connect())
    await hangs.wait()
    await advance(500)
    assert not connecting.done()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting


@pytest.mark.parametrize("option", ["route_idle_timeout", "route_anonymous_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, "60", True])
def test_a_limit_that_cannot_be_meant_is_named_when_the_class_is_created(option: str, seconds: Any) -> None:
    with pytest.raises(
        RouteSetupError, match=rf"Wrong\.{option} must be a positive number of seconds, or None for none"
    ):
        type("Wrong", (RouteMixin, AsyncJsonWebsocketConsumer), {option: seconds})
