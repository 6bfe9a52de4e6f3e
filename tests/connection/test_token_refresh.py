"""AUTH on an open socket: a new token for the same user, or nothing changes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User
from django.db.utils import OperationalError
from django.test import override_settings

from routesock import Request, RouteMixin, route
from routesock._connection import token_refresh
from routesock._wire.frames import Auth
from routesock.auth._handshake.attempts import LOCKOUT, Lockout
from routesock.auth.authenticators import Credentials, CredentialSource, Identity
from routesock.exceptions import NotAuthenticated
from routesock.testing import RouteClient
from tests.clock import advance, shifted
from tests.takeover.driver import Socket as RawSocket
from tests.takeover.driver import turns


class Who(RouteMixin, AsyncJsonWebsocketConsumer):
    route_disconnect_grace = 0.0

    @route("who")
    async def who(self, request: Request) -> Any:
        return [request.user.username, self.scope.get("auth")]

    @route("wait")
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()


ADA, GRACE = User(pk=1, username="ada"), User(pk=2, username="grace")


class Tokens:
    """An authenticator of the tokens ``<user>-<seconds>``."""

    def __init__(self) -> None:
        self.asked: list[Credentials] = []
        self.held = asyncio.Event()
        self.held.set()

    async def __call__(self, credentials: Credentials) -> Identity | None:
        self.asked.append(credentials)
        await self.held.wait()
        name, _, seconds = credentials.token.partition("-")
        if name == "bad":
            raise NotAuthenticated("This token was withdrawn.")
        if name == "broken":
            raise ZeroDivisionError
        user = {"ada": User(pk=1, username="ada"), "grace": GRACE}.get(name)
        return None if user is None else Identity(user, time.time() + float(seconds), credentials.token)


async def somebody_elses(credentials: Credentials) -> None:
    """An authenticator that leaves each token to the next one."""


def socket(tokens: Any, cls: type[Any] = Who, scope: Any = None, **options: Any) -> RouteClient:
    identity = Identity(ADA, time.time() + 60, "first")
    scope = {
        "auth": "first",
        "routesock.identity": identity,
        "routesock.authenticators": (somebody_elses, tokens),
        **(scope or {}),
    }
    return RouteClient(cls, as_user=ADA, scope=scope, timeout=30, **options)


async def auth(client: RouteClient, token: Any) -> Any:
    return await client.call("AUTH", {"token": token})


@shifted
async def test_a_new_token_of_the_same_user_puts_the_end_off() -> None:
    tokens = Tokens()
    async with socket(tokens) as client:
        await advance(50)
        reply = await auth(client, "ada-300")
        assert reply.status == 200
        assert 290 < reply.payload["expires"] - time.time() < 310
        assert (await client.call("who")).payload == ["ada", "ada-300"]
        await advance(200)
        assert (await client.call("who")).status == 200
        await advance(100)
        assert (await client.expect_close()).code == 4401
    (credentials,) = tokens.asked
    assert (credentials.token, credentials.source) == ("ada-300", CredentialSource.FRAME)


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("grace-300", 401, "not_authenticated"),
        ("bad-1", 401, "not_authenticated"),
        ("unknown-1", 401, "not_authenticated"),
        ("ada--1", 401, "not_authenticated"),
        ("", 400, "invalid_envelope"),
        (7, 400, "invalid_envelope"),
        (None, 400, "invalid_envelope"),
    ],
)
async def test_anything_else_changes_nothing(token: Any, status: int, code: str) -> None:
    async with socket(Tokens()) as client:
        reply = await auth(client, token)
        assert (reply.status, reply.payload["code"]) == (status, code)
        assert (await client.call("who")).payload == ["ada", "first"]


@pytest.mark.parametrize("payload", [None, "ada-300", ["ada-300"], {}])
async def test_a_payload_without_a_token(payload: Any) -> None:
    async with socket(Tokens()) as client:
        assert (await client.call("AUTH", payload)).status == 400


async def test_an_authenticator_that_fails_is_a_500() -> None:
    async with socket(Tokens(), raise_exceptions=False) as client:
        assert (await auth(client, "broken-1")).status == 500
        assert (await client.call("who")).payload == ["ada", "first"]


@pytest.mark.parametrize("failure", [SystemExit, asyncio.CancelledError, GeneratorExit])
async def test_whatever_it_raises(failure: type[BaseException]) -> None:
    async def fail(credentials: Credentials) -> None:
        raise failure

    async with socket(fail, raise_exceptions=False) as client:
        assert (await auth(client, "x")).status == 500
        assert (await client.call("who")).payload == ["ada", "first"]


@pytest.mark.parametrize("hangs", [True, False])
async def test_an_authenticator_that_takes_too_long(hangs: bool) -> None:
    async def late(credentials: Credentials) -> None:
        if not hangs:
            raise TimeoutError
        await asyncio.Event().wait()

    with override_settings(ROUTESOCK={"TIMEOUT": 0.05}):
        async with socket(late) as client:
            assert (await auth(client, "x")).status == 504
            assert (await client.call("who")).payload == ["ada", "first"]


class Kept(Who):
    route_ends_with_session = False


@shifted
async def test_a_token_that_expires_in_place_of_one_that_does_not() -> None:
    scope = {"routesock.identity": Identity(ADA, None, "first"), "routesock.authenticators": (Tokens(),)}
    async with RouteClient(Kept, as_user=ADA, scope=scope, timeout=30) as client:
        assert (await auth(client, "ada-300")).status == 200
        await advance(301)
        assert (await client.expect_close()).code == 4401


async def test_it_is_not_behind_a_busy_handler_and_nothing_is_behind_it() -> None:
    tokens = Tokens()
    tokens.held.clear()
    async with socket(tokens) as client:
        await client.send("AUTH", {"token": "ada-300"}, id="a")
        assert (await client.call("who")).payload == ["ada", "first"]
        await client.send("wait", id="w")
        tokens.held.set()
        assert (await client.expect_reply("a")).status == 200


@shifted
async def test_one_at_a_time() -> None:
    tokens = Tokens()
    tokens.held.clear()
    async with socket(tokens) as client:
        await client.send("AUTH", {"token": "ada-300"}, id="a")
        assert (await auth(client, "ada-400")).status == 429
        tokens.held.set()
        assert (await client.expect_reply("a")).status == 200
        await advance(token_refresh.INTERVAL)
        assert (await auth(client, "ada-400")).status == 200


@shifted
async def test_a_token_that_was_just_replaced_is_not_replaced_again() -> None:
    """Each success costs a look at the login; one a second is plenty."""
    tokens = Tokens()
    async with socket(tokens) as client:
        assert (await auth(client, "ada-300")).status == 200
        reply = await auth(client, "ada-400")
        assert (reply.status, reply.payload["code"], reply.headers["Retry-After"]) == (429, "throttled", 1)
        assert len(tokens.asked) == 1
        await advance(token_refresh.INTERVAL)
        assert (await auth(client, "ada-400")).status == 200


@pytest.mark.parametrize("token", ["ada-300", "bad-1", ""])
async def test_a_client_that_does_not_read_its_answers_is_not_read(token: str) -> None:
    """Nothing is kept for each AUTH: neither a task nor an answer."""
    scope = {"user": ADA, "routesock.authenticators": (Tokens(),)}
    async with RawSocket(Who.as_asgi(), **scope) as client:
        before = len(asyncio.all_tasks())
        client.writable.clear()
        client.text(*[json.dumps({"route": "AUTH", "uuid": n, "payload": {"token": token}}) for n in range(1000)])
        await turns(200)
        assert client.unread() > 990
        assert len(asyncio.all_tasks()) - before <= 2
        client.writable.set()


@shifted
async def test_without_an_id_only_a_refusal_is_answered() -> None:
    async with socket(Tokens()) as client:
        await client.send("AUTH", {"token": "ada-300"})
        await client.settle()
        assert (await client.call("who")).payload == ["ada", "ada-300"]
        await advance(token_refresh.INTERVAL)
        await client.send("AUTH", {"token": "bad-1"})
        reply = await client.receive()
        assert (reply["route"], reply["uuid"], reply["status"]) == ("AUTH", None, 401)


async def test_whoever_tries_tokens_loses_the_socket() -> None:
    async with socket(Tokens()) as client:
        for number in range(token_refresh.MAX_REFUSED):
            assert (await auth(client, f"guess-{number}")).status == 401
        assert (await client.receive())["payload"]["reason"] == "Too many tokens were refused."
        assert (await client.expect_close()).code == 4401


async def test_an_anonymous_socket_does_not_become_somebodys() -> None:
    async with RouteClient(Who, scope={"routesock.authenticators": (Tokens(),)}) as client:
        replies = [await auth(client, token) for token in ("ada-300", "bad-1", "unknown-1")]
    assert {reply.status for reply in replies} == {401}
    assert {reply.payload["detail"] for reply in replies} == {token_refresh.WRONG}


@shifted
async def test_guesses_on_an_open_socket_count_for_its_address() -> None:
    """One lock for every way in: sockets that are open anonymously have no more guesses than the gate gives."""
    lockout = Lockout(3, 30)
    scope = {"routesock.authenticators": (Tokens(),), LOCKOUT: lockout, "client": ("203.0.113.7", 1)}
    for expected in (401, 401, 401, 429):
        async with RouteClient(Who, scope=scope) as client:
            reply = await auth(client, "ada-300")
            assert reply.status == expected
    assert 0 < lockout.locked_for("203.0.113.7") <= reply.headers["Retry-After"]
    async with socket(Tokens(), scope={LOCKOUT: lockout, "client": ("203.0.113.7", 1)}) as client:
        assert (await auth(client, "ada-300")).status == 429
    lockout.succeed("203.0.113.7")
    lockout.fail("203.0.113.7")
    async with socket(Tokens(), scope={LOCKOUT: lockout, "client": ("203.0.113.7", 1)}) as client:
        assert (await auth(client, "ada-300")).status == 200
    assert len(lockout) == 0


async def test_what_is_verified_when_the_address_is_locked_is_not_said() -> None:
    lockout = Lockout(1, 30)
    for token in ("ada-300", "bad-1"):
        tokens = Tokens()
        tokens.held.clear()
        lockout.succeed("203.0.113.7")
        async with socket(tokens, scope={LOCKOUT: lockout, "client": ("203.0.113.7", 1)}) as client:
            await client.send("AUTH", {"token": token}, id="a")
            await client.settle()
            lockout.fail("203.0.113.7")
            tokens.held.set()
            assert (await client.expect_reply("a")).status == 429
            assert (await client.call("who")).payload == ["ada", "first"]


@shifted
async def test_an_authenticator_that_fails_is_asked_once_a_second_and_closes_the_socket() -> None:
    """What costs a traceback is bounded. An outage of the database is not the token's fault."""
    down: list[Exception] = [OperationalError("down")] * token_refresh.MAX_REFUSED

    async def fails(credentials: Credentials) -> None:
        raise down.pop() if down else ZeroDivisionError

    async with socket(fails, raise_exceptions=False) as client:
        for _ in range(2 * token_refresh.MAX_REFUSED - 1):
            assert (await auth(client, "x")).status == 500
            assert (await auth(client, "x")).status == 429
            await advance(token_refresh.INTERVAL)
        assert (await auth(client, "x")).status == 500
        assert (await client.receive())["payload"]["reason"] == "Too many tokens were refused."
        assert (await client.expect_close()).code == 4401


async def test_without_authenticators_it_is_what_it_was() -> None:
    async with RouteClient(Who, as_user=ADA) as client:
        assert (await auth(client, "ada-300")).payload["code"] == "unknown_route"


class Foreign(Who):
    seen: list[Any]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"foreign": content})


async def test_without_authenticators_it_is_the_consumers_own() -> None:
    async with RouteClient(Foreign, as_user=ADA) as client:
        await client.send("AUTH", {"token": "x"})
        assert (await client.receive())["foreign"]["payload"] == {"token": "x"}


class Decoding(Who):
    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        return await super().decode_json(text_data)


class Waiting(Who):
    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        await asyncio.sleep(0)
        return await super().decode_json(text_data)


class Dispatching(Who):
    async def dispatch(self, message: Any) -> None:
        await super().dispatch(message)


@pytest.mark.parametrize("cls", [Foreign, Decoding, Waiting, Dispatching])
async def test_whatever_the_consumer_overrides(cls: type[Any]) -> None:
    async with socket(Tokens(), cls) as client:
        assert (await auth(client, "ada-300")).status == 200


def test_no_token_is_printed() -> None:
    assert "secret" not in repr(Auth(Request("AUTH", 1, {"token": "secret"})))


async def test_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with socket(Tokens(), raise_exceptions=False) as client:
        for token in ("ada-300", "bad-1", "broken-1"):
            await auth(client, token)
    text = "".join(record.getMessage() for record in caplog.records if record.name.startswith("routesock"))
    assert not any(token in text for token in ("ada-300", "bad-1", "broken-1"))
