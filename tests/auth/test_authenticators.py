"""What makes a user of a token, and whose tokens are refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.utils.functional import SimpleLazyObject
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import APIException
from rest_framework_simplejwt.authentication import JWTAuthentication

from routesock import RouteSetupError
from routesock._runtime.asgi_tree import consumer_at
from routesock._runtime.clients import customer_of
from routesock.auth import Credentials, CredentialSource, Identity, SessionKeyAuthentication, as_authenticator
from routesock.auth._handshake.attempts import SPREAD, Lockout, retry_after
from routesock.auth.authenticators import authenticate, verify
from routesock.auth.request_middleware import build_request
from routesock.exceptions import NotAuthenticated

from .consumers import Plain, Routed, router
from .tokens import Account, by_name, jwt, key, session

SCOPE: dict[str, Any] = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}


def framed(token: str) -> Credentials:
    return Credentials(token, CredentialSource.FRAME, SCOPE)


async def who(authenticator: Any, token: str) -> Any:
    """The user of ``token``, or ``None`` for one that is refused."""
    try:
        identity = await authenticate([as_authenticator(authenticator)], framed(token))
    except NotAuthenticated:
        return None
    return None if identity is None else identity.user


async def test_drfs_own_token(alice: User) -> None:
    assert await who(TokenAuthentication, await key(alice)) == alice
    assert await who(TokenAuthentication, "0" * 40) is None
    await Token.objects.all().adelete()
    assert await who(TokenAuthentication, "0" * 40) is None


async def test_json_web_tokens(alice: User) -> None:
    assert await who(JWTAuthentication, jwt(alice)) == alice
    assert await who(JWTAuthentication, jwt(alice, seconds=-1)) is None
    assert await who(JWTAuthentication, jwt(alice)[:-2]) is None
    assert await who(JWTAuthentication, "a b") is None


async def test_a_tokens_claim_says_when_it_ends(alice: User) -> None:
    identity = await authenticate([as_authenticator(JWTAuthentication)], framed(jwt(alice, seconds=60)))
    assert identity is not None
    assert identity.expires is not None
    assert 50 < identity.expires - time.time() <= 60


async def test_a_users_deactivation_ends_all_its_tokens(alice: User) -> None:
    tokens = {
        JWTAuthentication: jwt(alice),
        TokenAuthentication: await key(alice),
        SessionKeyAuthentication(): await session(alice),
    }
    await User.objects.aupdate(is_active=False)
    for authenticator, token in tokens.items():
        assert await who(authenticator, token) is None


async def test_a_session_of_before_the_password_change_is_refused(alice: User) -> None:
    """django_sockets reads the user's id out of the session and asks for nothing more."""
    token = await session(alice)
    assert await who(SessionKeyAuthentication(), token) == alice
    alice.set_password("looking glass")
    await alice.asave()
    assert await who(SessionKeyAuthentication(), token) is None


async def test_a_session_after_logout_is_refused(alice: User) -> None:
    token = await session(alice)
    await database_sync_to_async(SessionStore(token).flush)()
    assert await who(SessionKeyAuthentication(), token) is None


@pytest.mark.parametrize("token", ["\0", "../etc", "ä" * 32, "a" * 5000, "x" * 32])
async def test_what_is_no_session_key_is_refused(token: str, transactional_db: None) -> None:
    assert await who(SessionKeyAuthentication(), token) is None


async def test_the_class_of_anonymous_users_is_nobody() -> None:
    """Its ``is_authenticated`` is a property, so it is truthy: with djangochannelsrestframework that was a way in."""
    for user in (AnonymousUser, AnonymousUser(), None, "carol", object()):
        with pytest.raises(NotAuthenticated):
            await verify(Identity(user))


async def test_a_user_who_may_not_sign_in_is_refused_whatever_an_authenticator_says() -> None:
    account = Account()
    account.is_active = False
    with pytest.raises(NotAuthenticated):
        await verify(Identity(account))


@pytest.mark.parametrize("expires", [0, -1.0, float("nan"), float("inf"), pytest.param(time.time() - 1, id="past")])
async def test_an_identity_whose_time_is_over_is_refused(expires: float) -> None:
    with pytest.raises(NotAuthenticated):
        await verify(Identity(Account(), expires))


async def test_a_lazy_user_is_a_real_one_afterwards() -> None:
    """Channels' AuthMiddleware puts another user into a lazy one."""
    account = Account()
    assert (await verify(Identity(SimpleLazyObject(lambda: account)))).user is account


async def test_the_next_authenticator_may_know_a_token_that_one_refuses(alice: User) -> None:
    """A frame says no scheme, by which DRF would tell them apart."""
    both = [as_authenticator(TokenAuthentication), as_authenticator(JWTAuthentication), as_authenticator(by_name)]
    for token, name in ((jwt(alice), "alice"), (await key(alice), "alice"), ("carol", "carol")):
        identity = await authenticate(both, framed(token))
        assert identity is not None
        assert identity.user.username == name
    with pytest.raises(NotAuthenticated):
        await authenticate(both, framed("mallory"))


async def test_an_async_drf_class_is_awaited() -> None:
    class Later(BaseAuthentication):  # type: ignore[misc, unused-ignore]
        async def authenticate(self, request: Any) -> Any:
            return Account(), None

    assert (await who(Later, "x")).username == "carol"


async def test_what_drf_calls_a_fault_of_the_server_is_no_wrong_token() -> None:
    class Down(BaseAuthentication):  # type: ignore[misc, unused-ignore]
        def authenticate(self, request: Any) -> Any:
            raise APIException

    with pytest.raises(APIException):
        await authenticate([as_authenticator(Down)], framed("x"))


async def test_drfs_sessions_use_the_user_of_the_scope(alice: User) -> None:
    credentials = Credentials("", CredentialSource.REQUEST, {**SCOPE, "user": alice})
    identity = await authenticate([as_authenticator(SessionAuthentication)], credentials)
    assert identity is not None
    assert identity.user == alice


@pytest.mark.parametrize("wrong", ["x", 7, None, object(), Account, lambda credentials: None, time.time])
def test_what_is_no_authenticator_is_an_error_at_once(wrong: Any) -> None:
    with pytest.raises(RouteSetupError, match="is not an authenticator"):
        as_authenticator(wrong)


def test_credentials_do_not_show_their_token() -> None:
    assert "s3cr3t" not in repr(framed("s3cr3t"))


# The request of the handshake


@given(
    st.binary(max_size=30),
    st.lists(st.tuples(st.sampled_from([b"cookie", b"Host", b"x-a", b"x_b", b"content-type"]), st.binary(max_size=20))),
)
def test_any_handshake_makes_a_request(query: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    request = build_request({**SCOPE, "query_string": query, "headers": headers})
    assert isinstance(request.GET.dict(), dict)
    assert isinstance(request.COOKIES, dict)


def test_a_request_has_what_the_handshake_had() -> None:
    request = build_request(
        {
            **SCOPE,
            "path": "/ws/room/",
            "scheme": "wss",
            "query_string": b"a=1&a=2",
            "headers": [(b"Host", b"example.com"), (b"cookie", b"b=3"), (b"x-c", b"4")],
            "client": ("203.0.113.7", 1),
        }
    )
    assert (request.method, request.path, request.is_secure()) == ("GET", "/ws/room/", True)
    assert request.GET.getlist("a") == ["1", "2"]
    assert request.META["QUERY_STRING"] == "a=1&a=2"
    assert request.META["REMOTE_ADDR"] == "203.0.113.7"
    assert (request.META["HTTP_HOST"], request.headers["X-C"], request.COOKIES) == ("example.com", "4", {"b": "3"})


# Which consumer is at a path


@pytest.mark.parametrize(
    ("path", "consumer"), [("/routed/", Routed), ("/plain/", Plain), ("/routed/x", None), ("/", None), ("", None)]
)
def test_the_consumer_of_a_path_is_found(path: str, consumer: Any) -> None:
    assert consumer_at(router, {"path": path}) is consumer
    assert consumer_at(router, {"path": f"/root{path}", "root_path": "/root"}) is consumer


def test_what_cannot_be_looked_into_has_no_consumer() -> None:
    class Itself:
        def __init__(self) -> None:
            self.inner: Any = self

        async def __call__(self, *args: Any) -> None: ...

    assert consumer_at(Itself(), {"path": "/"}) is None
    assert consumer_at(None, {"path": "/"}) is None


# How often


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_so_many_failures_lock_an_address_for_so_long() -> None:
    clock = Clock()
    attempts = Lockout(2, 20, clock=clock)
    attempts.fail("a")
    assert attempts.locked_for("a") == 0
    attempts.fail("a")
    assert attempts.locked_for("a") == 20
    assert attempts.locked_for("b") == 0
    clock.now += 19
    assert attempts.locked_for("a") == 1
    clock.now += 1
    assert attempts.locked_for("a") == 0
    attempts.fail("a")  # one is forgotten, the other is not
    assert attempts.locked_for("a") == 20
    clock.now += 40
    attempts.fail("a")
    assert attempts.locked_for("a") == 0


def test_failures_are_forgotten_one_by_one() -> None:
    clock = Clock()
    attempts = Lockout(3, 20, clock=clock)
    for pause in (0, 10, 10, 20, 20, 10):
        clock.now += pause
        assert attempts.locked_for("a") == 0
        attempts.fail("a")
    assert attempts.locked_for("a") == 10


def test_a_success_forgets_them_all() -> None:
    attempts = Lockout(2, 20)
    attempts.fail("a")
    attempts.fail("b")
    attempts.succeed("a")
    attempts.succeed(None)
    attempts.fail("a")
    attempts.fail("b")
    assert attempts.locked_for("a") == 0 < attempts.locked_for("b")


def test_clients_of_a_locked_address_do_not_come_back_together() -> None:
    assert len({retry_after(20) for _ in range(100)}) > 10
    assert all(20 < retry_after(20) <= 20 + SPREAD for _ in range(100))


def test_an_address_that_is_not_known_is_never_locked() -> None:
    attempts = Lockout(1, 20)
    attempts.fail(None)
    assert attempts.locked_for(None) == 0
    assert len(attempts) == 0


def test_no_lock_remembers_nothing() -> None:
    attempts = Lockout(1, 0)
    attempts.fail("a")
    assert (attempts.locked_for("a"), len(attempts)) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 30)), max_size=80))
def test_memory_is_bounded_whoever_tries(failures: list[tuple[int, float]]) -> None:
    clock = Clock()
    attempts = Lockout(2, 20, clock=clock, max_addresses=10)
    for address, pause in failures:
        clock.now += pause
        attempts.fail(str(address))
        assert len(attempts) <= 10
        assert all(until > clock.now for until in [*attempts._failures.values()][:1])


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("203.0.113.7", 1), "203.0.113.7"),
        (("2001:db8:1:2:3::4", 1), "2001:db8:1:2::"),
        (("2001:db8:1:2:ffff::4", 1), "2001:db8:1:2::"),
        (("::ffff:203.0.113.7", 1), "203.0.113.7"),
        (("unix", 0), "unix"),
        (None, None),
        (("", 0), None),
        (("fe80::1%eth0", 1), "fe80::"),
    ],
)
def test_the_address_of_a_client(client: Any, address: str | None) -> None:
    """Of IPv6 the network of one customer, who has 2 ** 64 addresses there."""
    assert customer_of({"client": client}) == address
