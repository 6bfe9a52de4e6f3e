"""The gate in front of a consumer: what a client is told, what reaches whom, and when it is over."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth.models import AnonymousUser, User
from django.db.utils import OperationalError
from django.test import override_settings
from django.urls import path
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.authentication import TokenAuthentication
from rest_framework_simplejwt.authentication import JWTAuthentication

from routesock import Keys, Request, RouteMixin, RouteSetupError, abroadcast, route, topic
from routesock._groups import hub
from routesock._runtime import clients, shutdown
from routesock._runtime.timers import FAIR_SHARE, SECOND_LOOKS
from routesock.auth import Credentials, CredentialSource, HandshakeMiddleware, Identity, SessionKeyAuthentication
from routesock.auth._handshake import gatekeeper
from routesock.auth._handshake.attempts import SPREAD, AuthDeadline
from routesock.auth._handshake.inner_application import InnerApplication
from routesock.dialects import Frame
from routesock.exceptions import NotAuthenticated
from tests.clock import advance, shifted
from tests.takeover.driver import LIMIT, Socket, problems, turns, until

from .consumers import EVERY, PLAIN, ROUTED, router
from .tokens import Account, Once, by_name, jwt

ADDRESS = ("203.0.113.7", 1234)


def gate(app: Any = router, **options: Any) -> HandshakeMiddleware:
    return HandshakeMiddleware(app, **{"authenticators": [by_name], "lock": 0, **options})


def connected(app: Any, path: str = "/plain/", **scope: Any) -> Socket:
    log: list[Any] = []
    return Socket(app, path=path, **{"log": log, "client": ADDRESS, **scope})


def auth(socket: Socket, token: Any, uuid: Any = "a") -> None:
    socket.json({"route": "AUTH", "uuid": uuid, "payload": {"token": token}})


def codes(socket: Socket) -> list[tuple[Any, int, str]]:
    return [
        (frame["uuid"], frame["status"], frame["payload"]["code"])
        for frame in socket.frames
        if type(frame) is dict and frame.get("status", 200) >= 400
    ]


async def ended(socket: Socket) -> tuple[Any, int]:
    """The CLOSE notice and the code of the close."""
    await until(lambda: socket.closed or socket.done, "a close")
    assert socket.closed is not None
    notice = socket.frames[-1]
    assert notice["route"] == "CLOSE"
    return notice["payload"], socket.closed["code"]


EARLY = {
    "PING": '{"route": "PING", "uuid": 1}',
    "a request": '{"route": "me", "uuid": 1}',
    "no route": "{}",
    "no object": "[]",
    "no JSON": "{",
    "CANCEL": '{"route": "CANCEL", "uuid": 1}',
    "no token": '{"route": "AUTH", "uuid": 1}',
    "no id": '{"route": "AUTH", "uuid": [], "payload": {"token": "carol"}}',
}


@pytest.mark.parametrize("frame", EARLY.values(), ids=EARLY)
async def test_too_many_frames_that_bring_a_client_no_further_close_the_socket(frame: str) -> None:
    async with connected(gate()) as socket:
        socket.text(*[frame] * gatekeeper.MAX_EARLY)
        await socket.all_read()
        assert socket.closed is None
        socket.text(frame)
        notice, code = await ended(socket)
        assert (code, notice["reconnect"], notice["retry_after"]) == (4429, True, 30)
        assert notice["reason"] == "Too many frames came before AUTH."
        assert socket.log == []


@pytest.mark.parametrize(("seconds", "share"), [(0.0, FAIR_SHARE), (0.002, 3)])
async def test_a_flood_in_front_of_the_gate_leaves_turns_to_others(
    seconds: float, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight sockets whose server has all their frames already: each handles so many a turn, by number and by time."""
    times = count()
    monkeypatch.setattr(gatekeeper, "clock", lambda: next(times) * seconds)
    app = gate()
    sockets = [connected(app) for _ in range(8)]
    async with AsyncExitStack() as stack:
        for socket in sockets:
            await stack.enter_async_context(socket)
        for socket in sockets:
            socket.text(*[EARLY["PING"]] * gatekeeper.MAX_EARLY)
        left = [gatekeeper.MAX_EARLY] * 8
        while any(left):
            await asyncio.sleep(0)
            now = [socket.unread() for socket in sockets]
            assert max(before - after for before, after in zip(left, now, strict=True)) <= share
            left = now


# What is announced, and success


async def test_hello_says_what_is_expected() -> None:
    async with connected(gate(timeout=7, attempts=3)) as socket:
        assert socket.sent[0] == {"type": "websocket.accept", "subprotocol": None}
        (hello,) = await socket.read(1)
        assert hello == {"route": "HELLO", "payload": {"mode": "required", "attempts": 3, "timeout": 7}}
        assert socket.log == []


@pytest.mark.parametrize("path", EVERY)
async def test_a_good_token_connects_the_consumer_as_its_user(path: str) -> None:
    async with connected(gate(), path) as socket:
        auth(socket, "carol")
        reply = await socket.reply("a")
        assert (reply["route"], reply["status"], reply["payload"]) == ("AUTH", 200, {"expires": None, "ttl": None})
        await until(lambda: socket.log, "connect")
        assert socket.log == [("connect", "carol")]
        assert [message["type"] for message in socket.sent].count("websocket.accept") == 1
    assert socket.log[-1][0] == "disconnect"


async def test_the_scope_tells_who_it_is() -> None:
    seen: list[Any] = []
    carol = Account()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        await receive()

    async def who(credentials: Credentials) -> Identity:
        return Identity(carol, 4_000_000_000.5, {"sub": 7})

    async with connected(gate(app, authenticators=[who])) as socket:
        auth(socket, "x")
        await until(lambda: seen)
        (scope,) = seen
        assert scope["user"] is carol
        assert scope["auth"] == {"sub": 7}
        assert scope["routesock.identity"] == Identity(carol, 4_000_000_000.5, {"sub": 7})
        assert [
            await each(Credentials("x", CredentialSource.FRAME, scope)) for each in scope["routesock.authenticators"]
        ]
        assert (await socket.reply("a"))["payload"]["expires"] == 4_000_000_000.5
        assert "user" not in socket.scope


async def test_an_auth_without_uuid_is_not_answered_but_counts() -> None:
    async with connected(gate(), "/routed/") as socket:
        socket.json({"route": "AUTH", "payload": {"token": "carol"}})
        socket.request("me", 1)
        assert (await socket.reply(1))["payload"] == "carol"
        assert [frame.get("route") for frame in socket.frames] == ["HELLO", "me"]


@pytest.mark.parametrize("path", PLAIN)
async def test_frames_behind_auth_in_the_same_breath_keep_their_order(path: str) -> None:
    async with connected(gate(), path) as socket:
        auth(socket, "carol")
        socket.text(*map(str, range(50)))
        await until(lambda: len(socket.log) == 51, "all frames")
        assert socket.log == [("connect", "carol"), *(("receive", str(n)) for n in range(50))]


async def test_frames_behind_auth_wait_for_a_slow_authenticator() -> None:
    go = asyncio.Event()

    async def slow(credentials: Credentials) -> Any:
        await go.wait()
        return Account()

    async with connected(gate(authenticators=[slow]), "/routed/") as socket:
        auth(socket, "carol")
        socket.requests("me", 1, 2, 3)
        await turns()
        assert socket.log == []
        go.set()
        await socket.reply(3)
        assert socket.statuses() == [("a", 200), (1, 200), (2, 200), (3, 200)]


# What does not get through


@pytest.mark.parametrize("path", EVERY)
async def test_no_frame_reaches_a_consumer_before_success(path: str) -> None:
    """Nor is it connected, nor does it learn that the client has left."""
    async with connected(gate(), path) as socket:
        socket.json({"route": "me", "uuid": 1}, {"action": "x"}, {"route": "SUBSCRIBE", "uuid": "s"})
        await socket.read(4)
        assert codes(socket) == [
            (1, 401, "not_authenticated"),
            (None, 401, "not_authenticated"),
            ("s", 401, "not_authenticated"),
        ]
    assert socket.log == []


@pytest.mark.parametrize("path", EVERY)
async def test_frames_that_are_no_requests_are_refused_and_the_socket_lives(path: str) -> None:
    async with connected(gate(), path) as socket:
        socket.binary(b"\0\1")
        socket.text("", "{", "[1]", "NaN", '"x' + "x" * 70_000 + '"', '{"route": "me", "uuid": [1]}')
        socket.json({"route": "AUTH", "uuid": 1.5, "payload": {"token": "carol"}})
        await socket.read(9)
        assert codes(socket) == [
            (None, 400, "parse_error"),
            (None, 400, "parse_error"),
            (None, 400, "parse_error"),
            (None, 400, "invalid_envelope"),
            (None, 400, "parse_error"),
            (None, 413, "too_large"),
            (None, 400, "invalid_envelope"),
            (None, 400, "invalid_envelope"),
        ]
        assert socket.log == []
        auth(socket, "carol")
        assert (await socket.reply("a"))["status"] == 200


@pytest.mark.parametrize(
    "payload", [None, [], "carol", {}, {"token": None}, {"token": 7}, {"token": ""}, {"token": ["carol"]}]
)
async def test_an_auth_without_a_token_is_no_attempt(payload: Any) -> None:
    """A frame whose shape nobody expected killed django-wsx's sockets."""
    async with connected(gate(attempts=1)) as socket:
        socket.json({"route": "AUTH", "uuid": "x", "payload": payload})
        await socket.read(2)
        assert codes(socket) == [("x", 400, "invalid_envelope")]
        auth(socket, "carol")
        assert (await socket.reply("a"))["status"] == 200


async def test_ping_is_answered_and_cancel_and_pong_are_not() -> None:
    async with connected(gate()) as socket:
        socket.json({"route": "CANCEL", "uuid": 1}, {"route": "PONG"}, {"route": "PING", "uuid": [], "payload": 1})
        socket.json({"route": "PING", "uuid": 2, "payload": {"sent": 1}})
        frames = await socket.read(3)
        assert problems(frames[1:2]) == [(400, "invalid_envelope", None)]
        assert frames[2] == {"route": "PONG", "uuid": 2, "payload": {"sent": 1}}
        assert socket.log == []


@given(
    st.lists(
        st.one_of(
            st.text(max_size=40),
            st.binary(max_size=20),
            st.fixed_dictionaries(
                {},
                optional={
                    "route": st.sampled_from(["AUTH", "PING", "CANCEL", "PONG", "version", "me", "__init__", 1]),
                    "uuid": st.one_of(
                        st.none(), st.integers(), st.text(max_size=5), st.booleans(), st.lists(st.none())
                    ),
                    "payload": st.one_of(
                        st.none(), st.dictionaries(st.sampled_from(["token", "x"]), st.text(max_size=4))
                    ),
                },
            ),
        ),
        max_size=8,
    )
)
async def test_whatever_comes_nothing_passes_without_a_token(frames: list[Any]) -> None:
    """And it costs no socket that its attempts allow."""
    socket = connected(gate(attempts=1000), "/routed/")
    async with socket:
        for frame in frames:
            if isinstance(frame, dict):
                socket.json(frame)
            elif isinstance(frame, str):
                socket.text(frame)
            else:
                socket.binary(frame)
        await socket.ping("last")
        assert not [entry for entry in socket.log if entry[0] != "version"]
        assert socket.closed is None
    assert not [entry for entry in socket.log if entry[0] != "version"]


# Wrong tokens


async def test_wrong_tokens_are_counted_and_the_last_closes_the_socket() -> None:
    async with connected(gate(attempts=3)) as socket:
        for uuid in "abc":
            auth(socket, "mallory", uuid)
        auth(socket, "carol", "late")
        assert await ended(socket) == (
            {"code": 4401, "reason": "Too many wrong tokens.", "reconnect": False},
            4401,
        )
        assert codes(socket) == [(uuid, 401, "not_authenticated") for uuid in "abc"]
        assert [frame["payload"]["attempts_left"] for frame in socket.frames[1:-1]] == [2, 1, 0]
        assert await socket.ending() is None
        assert not socket.replies("late")
        assert socket.log == []


async def test_a_good_token_after_a_wrong_one_gets_in() -> None:
    async with connected(gate()) as socket:
        auth(socket, "mallory", 1)
        auth(socket, "carol", 2)
        assert (await socket.reply(2))["status"] == 200


async def test_no_reply_tells_one_wrong_token_from_another() -> None:
    async def telling(credentials: Credentials) -> Any:
        if credentials.token == "expired":
            raise NotAuthenticated("It expired yesterday, dear alice.")
        return AnonymousUser() if credentials.token == "anonymous" else None

    async with connected(gate(authenticators=[telling], attempts=9)) as socket:
        for token in ("expired", "unknown", "anonymous"):
            auth(socket, token, token)
        frames = await socket.read(4)
        assert {frame["payload"]["detail"] for frame in frames[1:]} == {"The token is not valid."}


async def test_failures_lock_the_address_for_all_its_sockets() -> None:
    app = gate(address_attempts=2, lock=30)
    async with connected(app) as waiting, connected(app, client=("203.0.113.8", 1)) as elsewhere:
        async with connected(app) as socket:
            auth(socket, "mallory", 1)
            auth(socket, "mallory", 2)
            assert (await ended(socket))[1] == 4401
        async with connected(app) as next_one:
            notice, code = await ended(next_one)
            assert (code, notice["code"], notice["reconnect"]) == (4429, 4429, True)
            assert 0 < notice["retry_after"] <= 30 + SPREAD
            assert len(next_one.frames) == 1
        auth(waiting, "carol")  # it was open before
        assert (await ended(waiting))[1] == 4429
        auth(elsewhere, "carol")
        assert (await elsewhere.reply("a"))["status"] == 200
    assert waiting.log == next_one.log == []


async def test_failures_of_several_sockets_count_for_their_address() -> None:
    """Who opens a new socket for each try gets no more of them."""
    app = gate(address_attempts=2, lock=30)
    async with connected(app) as first:
        auth(first, "mallory")
        await first.reply("a")
    async with connected(app) as second:
        auth(second, "mallory")
        assert (await ended(second))[1] == 4401
    async with connected(app) as third:
        assert (await ended(third))[1] == 4429


async def test_an_optional_handshake_lets_a_locked_address_in_but_not_try() -> None:
    app = gate(mode="optional", attempts=1, address_attempts=1, lock=30)
    async with connected(app) as socket:
        auth(socket, "mallory")
        assert (await ended(socket))[1] == 4401
    async with connected(app) as visitor:
        visitor.text("hello")
        await until(lambda: len(visitor.log) == 2)
    async with connected(app) as second:
        auth(second, "carol")
        assert (await ended(second))[1] == 4429


async def test_a_good_token_forgets_the_wrong_ones_of_its_address() -> None:
    """An office with two expired tokens is not locked out, nor one whose users sign in again."""
    app = gate(address_attempts=3, lock=30)
    for _ in range(3):
        async with connected(app) as socket:
            auth(socket, "mallory", 1)
            auth(socket, "carol", 2)
            assert (await socket.reply(2))["status"] == 200


async def test_an_address_has_no_more_attempts_with_many_sockets_at_once() -> None:
    """Their tokens are being verified at the same time. What comes back after the lock is not said, good ones too."""
    verify = asyncio.Event()

    async def slow(credentials: Credentials) -> Any:
        await verify.wait()
        return Account() if credentials.token == "carol" else None

    app = gate(authenticators=[slow], address_attempts=3, lock=30)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connected(app)) for _ in range(10)]
        for number, socket in enumerate(sockets):
            auth(socket, "mallory" if number < 9 else "carol")
        await turns()
        verify.set()
        for socket in sockets[3:]:
            assert (await ended(socket))[1] == 4429
            assert not socket.replies("a")
        assert [socket.statuses() for socket in sockets[:3]] == [[("a", 401)]] * 3


async def test_an_outage_is_no_attempt_and_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(credentials: Credentials) -> Any:
        raise OperationalError("the database is down")

    app = gate(authenticators=[fails], attempts=1, address_attempts=1, lock=30)
    async with connected(app) as socket:
        for number in range(gatekeeper.MAX_EARLY + 1):
            auth(socket, "carol", number)
        assert (await ended(socket))[1] == 4429
        assert {status for _, status in socket.statuses()} == {500}
    async with connected(app) as socket:
        await socket.ping("not locked")


WRONG_TOKENS = ["\0", "a\nb", "\u20ac", "x" * 60_000, "Ä" * 300, "a b", "'", "../../etc/passwd", "-1"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("token", WRONG_TOKENS, ids=ascii)
async def test_whatever_a_client_writes_as_a_token_is_wrong_and_no_failure(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    classes = [JWTAuthentication, TokenAuthentication, SessionKeyAuthentication()]
    async with connected(gate(authenticators=classes)) as socket:
        auth(socket, token)
        assert (await socket.reply("a"))["status"] == 401
    assert "Traceback" not in caplog.text


async def test_half_a_surrogate_pair_in_a_token_is_a_parse_error(caplog: pytest.LogCaptureFixture) -> None:
    """As in every frame: no authenticator sees it."""
    async with connected(gate()) as socket:
        auth(socket, "\ud800")
        await until(lambda: bool(socket.statuses()), "an answer")
        assert socket.statuses() == [(None, 400)]
    assert "Traceback" not in caplog.text


async def test_an_authenticator_that_fails_lets_nobody_in_and_counts_as_an_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = [True]

    async def fails(credentials: Credentials) -> Any:
        if broken:
            broken.clear()
            raise RuntimeError("the database is down")
        return Account()

    async with connected(gate(authenticators=[fails], attempts=2)) as socket:
        auth(socket, "carol", 1)
        assert (await socket.reply(1))["status"] == 500
        assert "database" not in json.dumps(socket.frames)
        auth(socket, "carol", 2)
        assert (await socket.reply(2))["status"] == 200
    assert "the database is down" in caplog.text
    async with connected(gate(authenticators=[fails], attempts=1)) as socket:
        broken.append(True)
        auth(socket, "carol", 1)
        assert (await ended(socket))[1] == 4401
        assert socket.statuses() == [(1, 500)]


async def test_no_token_gets_into_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def fails(credentials: Credentials) -> Any:
        raise RuntimeError(f"{credentials}")

    async with connected(gate(authenticators=[fails, by_name])) as socket:
        auth(socket, "s3cr3t")
        await socket.reply("a")
    async with connected(gate()) as socket:
        auth(socket, "s3cr3t")
        auth(socket, "s3cr3t", "b")
        await ended(socket)
    assert "s3cr3t" not in caplog.text
    refused = [record for record in caplog.records if record.name == "routesock.auth"]
    assert {record.levelname for record in refused} == {"WARNING"}
    assert {record.routesock_client for record in refused} == {"203.0.113.7"}
    assert all("The token is not valid." in record.getMessage() for record in refused[1:])


# Time


@pytest.mark.parametrize("path", ["/plain/", "/routed/"])
async def test_a_client_that_says_nothing_is_closed(path: str) -> None:
    """Not at its next message, which never comes: django-wsx kept such a socket for ever."""
    async with connected(gate(timeout=0.05), path) as socket:
        assert await ended(socket) == (
            {"code": 4401, "reason": "The client did not authenticate in time.", "reconnect": False},
            4401,
        )
        assert await socket.ending() is None
        assert socket.log == []


async def test_a_client_that_talks_of_other_things_is_closed_too() -> None:
    async with connected(gate(timeout=0.1), "/routed/") as socket:
        while socket.closed is None and not socket.done:
            socket.json({"route": "PING"}, {"route": "version", "uuid": None})
            await asyncio.sleep(0.01)
        assert (await ended(socket))[1] == 4401
        assert await socket.ending() is None
    assert not socket.disconnects


async def test_an_authenticator_that_hangs_ends_with_the_time() -> None:
    async def hangs(credentials: Credentials) -> Any:
        await asyncio.Event().wait()

    async with connected(gate(authenticators=[hangs], timeout=0.05)) as socket:
        auth(socket, "carol")
        assert (await ended(socket))[1] == 4401
        assert await socket.ending() is None


async def test_a_client_that_does_not_read_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routesock._runtime.closing.CLOSE_WAIT", 0.05)
    socket = connected(gate(timeout=0.05))
    async with socket:
        socket.writable.clear()
        socket.json({"route": "PING"})
        assert await socket.ending() is None


class Clock:
    def __init__(self) -> None:
        self.rescheduled: list[float] = []

    def expired(self) -> bool:
        return bool(self.rescheduled)

    def reschedule(self, when: float) -> None:
        self.rescheduled.append(when)


def test_a_frame_that_came_in_time_is_looked_for_a_few_times() -> None:
    clock: Any = Clock()
    patience = AuthDeadline(clock, 20, lambda: False)
    for _ in range(SECOND_LOOKS):
        assert patience.look(100) == 100
    assert patience.look(100) is None
    assert clock.rescheduled


def test_a_token_that_is_being_verified_has_the_same_time_again_and_no_more() -> None:
    clock: Any = Clock()
    patience = AuthDeadline(clock, 20, lambda: True)
    assert patience.look(100) == 120
    for _ in range(SECOND_LOOKS):
        assert patience.look(120) == 120
    assert patience.look(120) is None


async def test_a_client_that_leaves_first_leaves_nothing() -> None:
    """No alarm, no task, and no consumer that was never connected."""
    from routesock._runtime.timers import running_timer

    before = len(running_timer())
    async with connected(gate(), "/routed/") as socket:
        await socket.read(1)
    assert socket.log == []
    assert len(running_timer()) <= before + 1


@pytest.mark.parametrize("path", EVERY)
async def test_a_server_that_stops_ends_it(path: str) -> None:
    socket = connected(gate(), path)
    async with socket:
        socket.request("version", 1)
        await socket.read(2)
        socket.stop()
        assert isinstance(await socket.ending(), asyncio.CancelledError)


# Public routes


@pytest.mark.parametrize("path", ROUTED)
async def test_a_public_route_is_answered_before_authentication(path: str) -> None:
    async with connected(gate(), path) as socket:
        (hello,) = await socket.read(1)
        assert hello["payload"]["public"] == ["version"]
        reply = await socket.call("version", 1)
        assert (reply["status"], reply["payload"][:2]) == (200, ["nobody", False])
        assert (await socket.call("me", 2))["status"] == 401
        assert not [entry for entry in socket.log if entry[0] == "connect"]
    assert not socket.disconnects


async def test_one_instance_serves_before_and_after() -> None:
    async with connected(gate(), "/routed/") as socket:
        assert (await socket.call("version", 1))["payload"] == ["nobody", False, "waiting"]
        auth(socket, "carol")
        assert (await socket.call("version", 2))["payload"] == ["carol", True, "connected"]
        assert (await socket.call("me", 3))["payload"] == "carol"
        seen = [entry for entry in socket.log if entry[0] == "version"]
        assert len(seen) == 2
        assert seen[0] == seen[1]
    assert [entry[0] for entry in socket.log] == ["version", "connect", "version", "me", "disconnect"]


async def test_public_requests_and_those_behind_auth_keep_their_order() -> None:
    async with connected(gate(), "/routed/") as socket:
        for n in range(30):
            socket.request("version", n)
        auth(socket, "carol")
        for n in range(30, 60):
            socket.request("me", n)
        await socket.reply(59)
        order = [uuid for uuid, _ in socket.statuses() if uuid != "a"]
        assert order == list(range(60))
        assert all(status == 200 for _, status in socket.statuses())
        assert all(socket.replies(n)[0]["payload"] == ["nobody", False, "waiting"] for n in range(30))


async def test_a_public_name_is_public_at_its_own_path_only() -> None:
    async with connected(gate(), "/plain/") as socket:
        assert (await socket.call("version", 1))["status"] == 401
    assert socket.log == []


async def test_public_routes_are_found_behind_other_middleware() -> None:
    app = gate(ProtocolTypeRouter({"websocket": AuthMiddlewareStack(router)}))
    async with connected(app, "/routed/") as socket:
        (hello,) = await socket.read(1)
        assert hello["payload"]["public"] == ["version"]


async def test_a_wrong_token_after_a_public_route_ends_all() -> None:
    async with connected(gate(attempts=1), "/routed/") as socket:
        await socket.call("version", 1)
        auth(socket, "mallory")
        socket.request("version", 2)
        assert (await ended(socket))[1] == 4401
        assert await socket.ending() is None
        assert not socket.replies(2)
        assert not socket.disconnects


class Public(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("stop", public=True)
    async def stop(self, request: Request) -> None:
        await self.socket.close(410, "Gone.")

    @route("exit", public=True)
    async def exit(self, request: Request) -> None:
        raise SystemExit

    @route("wait", public=True)
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()


async def test_a_public_route_may_close_the_socket() -> None:
    async with connected(gate(URLRouter([path("", Public.as_asgi())])), "/") as socket:
        socket.request("stop", 1)
        notice, code = await ended(socket)
        assert (notice["reason"], code) == ("Gone.", 4410)
        assert await socket.ending() is None


async def test_an_application_that_ends_at_the_gate_leaves_nobody_waiting() -> None:
    """However much its client has sent it, and whoever comes through at that moment."""

    class Stops(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("stop", public=True)
        async def stop(self, request: Request) -> None:
            raise StopConsumer

    async with connected(gate(URLRouter([path("", Stops.as_asgi())])), "/") as socket:
        socket.requests("stop", *range(200))
        auth(socket, "carol")
        await turns()
        socket.disconnect()
        assert await socket.ending() is None


async def test_a_consumer_that_is_busy_is_connected_in_its_turn() -> None:
    """Behind the public request that it has not read yet, and in front of what its client sends next."""
    ready = asyncio.Event()
    got: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await ready.wait()
        got.extend([(await receive())["n"] for _ in range(3)])

    async def receive() -> Any:
        return {"n": 3}

    behind = InnerApplication(inner, {}, receive, Once(), Keys(), ())
    await behind.pass_on({"n": 1})
    behind.gate.is_open = True
    proceeding = asyncio.create_task(behind.run([{"n": 2}]))
    await turns()
    ready.set()
    await asyncio.wait_for(proceeding, LIMIT)
    assert got == [1, 2, 3]


async def test_nobody_waits_for_a_consumer_that_has_ended() -> None:
    ready = asyncio.Event()

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await ready.wait()

    behind = InnerApplication(inner, {}, Once(), Once(), Keys(), ())
    await behind.pass_on({"n": 1})
    proceeding = asyncio.create_task(behind.run([{"n": 2}]))
    await turns()
    ready.set()
    await asyncio.wait_for(proceeding, LIMIT)


async def test_nothing_is_sent_behind_the_close() -> None:
    class Farewell(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("wait", public=True)
        async def wait(self, request: Request) -> None:
            await asyncio.sleep(0.1)
            await self.send_json({"late": True})

    async with connected(gate(URLRouter([path("", Farewell.as_asgi())]), timeout=0.05), "/") as socket:
        socket.request("wait", 1)
        assert (await ended(socket))[1] == 4401
        assert await socket.ending() is None
        assert socket.late == []


async def test_a_dialect_that_fails_costs_no_socket() -> None:
    class Broken(Keys):
        def read(self, value: Any) -> Frame | None:
            if value.get("uuid") == "break":
                raise RuntimeError("a bug")
            return super().read(value)

    async with connected(gate(dialect=Broken())) as socket:
        socket.request("me", "break")
        socket.json({"route": "AUTH", "uuid": "break", "payload": {"token": "carol"}})
        auth(socket, "carol")
        assert (await socket.reply("a"))["status"] == 200
        assert [status for _, status in socket.statuses()] == [500, 500, 200]


async def test_a_public_request_can_be_cancelled() -> None:
    async with connected(gate(URLRouter([path("", Public.as_asgi())])), "/") as socket:
        socket.request("wait", 1)
        socket.cancel(1)
        assert (await socket.reply(1))["status"] == 499
        assert (await socket.call("exit", 2))["status"] == 500


@pytest.mark.parametrize("public", [False, True])
@shifted
async def test_a_login_at_the_gate_ends_with_its_token(public: bool) -> None:
    """Also where the consumer was there before, as nobody."""

    async def soon(credentials: Credentials) -> Identity:
        return Identity(Account(), time.time() + 10)

    async with connected(gate(authenticators=[soon]), "/routed/") as socket:
        if public:
            await socket.call("version", 1)
        auth(socket, "carol")
        assert (await socket.call("me", 2))["payload"] == "carol"
        await advance(10)
        assert (await ended(socket))[1] == 4401


@shifted
async def test_an_auth_on_the_open_socket_is_looked_at_as_strictly() -> None:
    carol = Account()

    async def who(credentials: Credentials) -> Identity:
        return Identity(carol, time.time() - 1 if credentials.token == "expired" else None)

    async with connected(gate(authenticators=[who]), "/routed/") as socket:
        auth(socket, "good", 1)
        auth(socket, "good", 2)
        assert (await socket.reply(2))["status"] == 200
        await advance(1)
        auth(socket, "expired", 3)
        assert (await socket.reply(3))["status"] == 401
        carol.is_active = False
        auth(socket, "good", 4)
        assert (await socket.reply(4))["status"] == 401


async def test_a_user_has_no_more_sockets_through_a_public_route() -> None:
    with override_settings(ROUTESOCK={"MAX_SOCKETS_PER_USER": 1}):
        app = gate()
        async with connected(app, "/routed/") as first:
            auth(first, "carol")
            await first.call("me", 1)
            async with connected(app, "/routed/") as second:
                await second.call("version", 1)
                auth(second, "carol")
                assert (await ended(second))[1] == 4429
                assert await second.ending() is None
                assert not [entry for entry in second.log if entry[0] != "version"]
    with clients._lock:
        clients._settle()
    assert not clients._counts


async def test_sockets_that_wait_count_for_their_address() -> None:
    with override_settings(ROUTESOCK={"MAX_SOCKETS_PER_ADDRESS": 1}):
        app = gate()
        async with connected(app, "/routed/") as first:
            await first.read(1)
            async with connected(app, "/routed/") as second:
                assert (await ended(second))[1] == 4429
            assert (await first.call("version", 0))["status"] == 200
            auth(first, "carol")
            assert (await first.call("me", 1))["payload"] == "carol"
    with clients._lock:
        clients._settle()
    assert not clients._counts


# The other modes


@pytest.mark.parametrize("path", EVERY)
async def test_an_optional_handshake_lets_the_first_other_frame_through(path: str) -> None:
    async with connected(gate(mode="optional"), path) as socket:
        (hello,) = await socket.read(1)
        assert hello["payload"]["mode"] == "optional"
        assert socket.log == []
        socket.request("me", 1)
        await until(lambda: socket.log and socket.is_idle())
        assert socket.log[0] == ("connect", "nobody")
        await until(lambda: len(socket.log) > 1 or socket.replies(1))


async def test_an_optional_handshake_hands_over_frames_of_any_kind() -> None:
    for frame in ({"bytes": b"\0"}, {"text": "no json"}):
        async with connected(gate(mode="optional")) as socket:
            socket.feed({"type": "websocket.receive", **frame})
            await until(lambda socket=socket: len(socket.log) == 2)
            assert socket.log == [("connect", "nobody"), ("receive", *frame.values())]


async def test_an_optional_handshake_takes_an_auth() -> None:
    async with connected(gate(mode="optional"), "/routed/") as socket:
        await socket.ping()
        auth(socket, "carol")
        assert (await socket.call("me", 1))["payload"] == "carol"


async def test_a_listener_is_connected_when_the_time_of_an_optional_handshake_is_over() -> None:
    async with connected(gate(mode="optional", timeout=0.05)) as socket:
        await until(lambda: socket.log)
        assert socket.log == [("connect", "nobody")]
        assert socket.closed is None


async def test_a_disabled_handshake_is_none() -> None:
    async with connected(gate(mode="disabled", authenticators=())) as socket:
        assert socket.frames == []
        assert socket.log == [("connect", "nobody")]


@pytest.mark.parametrize("mode", ["required", "optional"])
async def test_who_is_signed_in_already_passes_as_without_a_handshake(mode: str) -> None:
    async with connected(gate(mode=mode), user=Account("dave"), subprotocols=["v1"]) as socket:
        assert socket.sent == [{"type": "websocket.accept", "subprotocol": None}]
        assert socket.log == [("connect", "dave")]


# Around it


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("path", ["/plain/", "/routed/"])
async def test_it_works_under_and_over_channels_own_stack(alice: User, outside: bool, path: str) -> None:
    """django-wsx asked for a key of the scope that only its router set, further in."""
    options: Any = {"authenticators": [JWTAuthentication], "lock": 0}
    app: Any = (
        HandshakeMiddleware(AuthMiddlewareStack(router), **options)
        if outside
        else AuthMiddlewareStack(HandshakeMiddleware(router, **options))
    )
    async with connected(app, path) as socket:
        await socket.read(1)
        auth(socket, jwt(alice))
        await until(lambda: socket.log)
        assert socket.log == [("connect", "alice")]
    async with connected(app, "/routed/") as socket:
        assert (await socket.call("version", 1))["payload"][0] == "nobody"
        auth(socket, jwt(alice))
        assert (await socket.call("me", 2))["payload"] == "alice"


async def test_an_unknown_path_is_closed_not_an_error() -> None:
    async with connected(gate(), "/nowhere/") as socket:
        auth(socket, "carol")
        notice, code = await ended(socket)
        assert (notice["code"], code) == (4404, 4404)
        assert await socket.ending() is None


async def test_an_error_of_the_application_is_still_the_servers() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("mine")

    async with connected(gate(app)) as socket:
        auth(socket, "carol")
        assert isinstance(await socket.ending(), RuntimeError)


@pytest.mark.parametrize("origin", [b"http://[", b"http://a:99999999", b"http://a:b"])
async def test_an_origin_that_is_no_url_is_refused(origin: bytes) -> None:
    async with connected(gate(), headers=[(b"origin", origin)]) as socket:
        assert socket.closed is not None
        assert socket.log == []


@pytest.mark.parametrize("path", ["/denying/", "/routed-denying/"])
async def test_a_consumer_that_refuses_is_told_with_a_close(path: str) -> None:
    async with connected(gate(), path, extensions={"websocket.http.response": {}}) as socket:
        auth(socket, "carol")
        notice, code = await ended(socket)
        assert (notice["code"], notice["reconnect"], code) == (4403, False, 4403)


async def test_an_address_cannot_write_control_characters_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A server may take it from ``X-Forwarded-For``."""
    caplog.set_level(logging.INFO)
    async with connected(gate(), client=("1.2.3.4\x1b[2J\nforged", 1)) as socket:
        auth(socket, "s3cr3t")
        await socket.reply("a")
    assert r"(Gatekeeper, anonymous, 1.2.3.4\x1b[2J\nforged, origin None, frame)" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize(("path", "code"), [("/close/", 4401), ("/reject/", 4403)])
async def test_a_close_before_accept_behind_the_gate_is_one_close(path: str, code: int) -> None:
    async with connected(gate(), path, extensions={"websocket.http.response": {}}) as socket:
        auth(socket, "carol")
        notice, closed = await ended(socket)
        assert notice["code"] == closed == code
        assert [frame["route"] for frame in socket.frames] == ["HELLO", "AUTH", "CLOSE"]


@pytest.mark.parametrize(
    ("spoken", "offered", "chosen"),
    [((), [], None), ((), ["a", "b"], "a"), (("b", "a"), ["a", "b"], "b"), (("c",), ["a"], None), (("c",), [], None)]
    + [((), [token, "a"], "a") for token in ("bearer.carol", "base64url.bearer.Y2Fyb2w", "eyJhbGciOi.J9.x", "x" * 65)]
    + [((), ["Bearer.carol"], None), ((), ["tokens"], "tokens"), (("bearer.v1",), ["bearer.v1"], "bearer.v1")],
)
async def test_the_subprotocol_is_chosen_at_the_gate(spoken: Any, offered: list[str], chosen: str | None) -> None:
    async with connected(gate(subprotocols=spoken), subprotocols=offered) as socket:
        assert socket.sent[0]["subprotocol"] == chosen


class Spelt(RouteMixin, AsyncJsonWebsocketConsumer):
    route_dialect = Keys(route="action", id="ref", payload="data")

    @route("open", public=True)
    async def open(self, request: Request) -> str:
        return "yes"


async def test_the_gate_speaks_as_the_consumer_does() -> None:
    async with connected(gate(URLRouter([path("", Spelt.as_asgi())])), "/") as socket:
        socket.json({"action": "open", "ref": 1}, {"action": "AUTH", "ref": 2, "data": {"token": "carol"}})
        frames = await socket.read(3)
        assert frames[0]["action"] == "HELLO"
        assert {(frame["ref"], frame["status"]) for frame in frames[1:]} == {(1, 200), (2, 200)}


async def test_other_connections_than_websockets_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await gate(app)({"type": "http"}, None, None)  # type: ignore[arg-type]
    assert seen == ["http"]


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "on"},
        {"timeout": 0},
        {"timeout": None},
        {"attempts": 0},
        {"attempts": True},
        {"lock": -1},
        {"lock": float("inf")},
        {"address_attempts": 0},
        {"address_attempts": 1.5},
        {"subprotocols": "v1"},
        {"dialect": "keys"},
        {"authenticators": []},
        {"authenticators": by_name},
        {"authenticators": [lambda credentials: None]},
        {"authenticators": [Once]},
        {"authenticators": ["dotted.path"]},
    ],
)
def test_a_wrong_option_is_an_error_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(RouteSetupError):
        gate(**options)


# The end of the process


async def test_a_client_that_waits_is_told_to_come_back_when_the_process_ends() -> None:
    async with connected(gate()) as socket:
        await socket.read(1)
        await shutdown.sockets().drain()
        notice, code = await ended(socket)
        assert (notice["reconnect"], notice["retry_after"] >= 1, code) == (True, True, 1012)
        assert await socket.ending() is None
        assert socket.log == []


class Subscribed(RouteMixin, AsyncJsonWebsocketConsumer):
    @topic("news")
    async def news(self, request: Request) -> str:
        return "so far"

    @route("join", public=True)
    async def join(self, request: Request) -> None:
        await self.socket.join("news")


async def test_nobody_subscribes_before_the_handshake() -> None:
    async with connected(gate(Subscribed.as_asgi())) as socket:
        socket.json({"route": "SUBSCRIBE", "uuid": 1, "payload": {"topic": "news"}})
        await until(lambda: codes(socket))
        assert codes(socket) == [(1, 401, "not_authenticated")]
        auth(socket, "carol")
        assert (await socket.reply("a"))["status"] == 200
        assert (await socket.call("SUBSCRIBE", 2, {"topic": "news"}))["payload"] == "so far"
    assert hub._hubs == {}


async def test_what_a_public_route_has_joined_is_heard_after_the_handshake() -> None:
    async with connected(gate(Subscribed.as_asgi())) as socket:
        assert (await socket.call("join", 1))["status"] == 204
        await abroadcast("news", "told", 1)
        await turns()
        assert [frame for frame in socket.frames if frame["route"] == "told"] == []
        auth(socket, "carol")
        await until(lambda: {"route": "told", "payload": 1} in socket.frames)
    assert hub._hubs == {}
