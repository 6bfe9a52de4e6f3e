"""A token in the request of the handshake: where it is looked for, what it opens, and that it goes no further."""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.security.websocket import OriginValidator
from django.contrib.auth.models import AnonymousUser, User
from django.db.utils import OperationalError
from rest_framework.authentication import BasicAuthentication, TokenAuthentication
from rest_framework_simplejwt.authentication import JWTAuthentication

from routesock import RouteSetupError
from routesock.auth import Credentials, CredentialSource, HandshakeMiddleware, SessionKeyAuthentication, TokenMiddleware
from routesock.auth._handshake.attempts import SPREAD
from tests.takeover.driver import Socket, turns, until

from .consumers import EVERY, router
from .tokens import FrameOnly, Once, QueryKey, by_name, jwt, key, session

Scope = dict[str, Any]


class Inside:
    """An application that keeps the scope which it gets."""

    def __init__(self) -> None:
        self.scope: Scope = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await receive()
        await send({"type": "websocket.accept"})
        await receive()


def sock(app: Any, path: str = "/plain/", **scope: Any) -> Socket:
    return Socket(app, path=path, **{"log": [], "client": ("203.0.113.7", 1), **scope})


def subprotocols(*names: str) -> Scope:
    header = ", ".join(names).encode()
    return {"subprotocols": [*names], "headers": [(b"host", b"x"), (b"sec-websocket-protocol", header)]}


def authorization(value: str) -> Scope:
    return {"headers": [(b"authorization", value.encode())]}


async def refused(socket: Socket) -> int:
    await until(lambda: socket.closed)
    assert socket.closed is not None
    assert socket.frames[-1]["payload"]["code"] == socket.closed["code"]
    assert socket.scope["log"] == []
    return int(socket.closed["code"])


# Where it is


@pytest.mark.parametrize("path", EVERY)
@pytest.mark.parametrize(
    "credentials",
    [
        subprotocols("bearer.carol", "chat"),
        subprotocols("chat", "base64url.bearer." + base64.urlsafe_b64encode(b"carol").decode().rstrip("=")),
        authorization("Bearer carol"),
        authorization("bearer  carol"),
        {"query_string": b"room=1&token=carol"},
    ],
    ids=["subprotocol", "encoded subprotocol", "header", "header in lower case", "query"],
)
async def test_a_good_token_signs_its_user_in(credentials: Scope, path: str) -> None:
    async with sock(TokenMiddleware(router, [by_name], query="token"), path, **credentials) as socket:
        await until(lambda: socket.log)
        assert socket.log == [("connect", "carol")]


@pytest.mark.parametrize(
    "credentials",
    [
        subprotocols("bearer.mallory", "chat"),
        subprotocols("bearer.", "chat"),
        subprotocols("base64url.bearer.!", "chat"),
        subprotocols("base64url.bearer._w", "chat"),
        authorization("Bearer mallory"),
        authorization("Bearer"),
        {"query_string": b"token=mallory"},
        {"query_string": b"token="},
    ],
)
async def test_a_token_that_is_not_good_is_closed_so_that_a_browser_can_tell(credentials: Scope) -> None:
    async with sock(TokenMiddleware(router, [by_name], query="token"), **credentials) as socket:
        assert await refused(socket) == 4401
        assert socket.sent[0]["subprotocol"] in (None, "chat")


async def test_wrong_tokens_lock_their_address() -> None:
    app = TokenMiddleware(router, [by_name], address_attempts=2, lock=30)
    for token, code in (("mallory", 4401), ("mallory", 4401), ("mallory", 4429), ("carol", 4429)):
        async with sock(app, **authorization(f"Bearer {token}")) as socket:
            assert await refused(socket) == code
    assert 0 < socket.frames[-1]["payload"]["retry_after"] <= 30 + SPREAD
    async with sock(app) as socket:  # which may be signed in otherwise
        await until(lambda: socket.log)
    async with sock(app, **authorization("Bearer carol"), client=("203.0.113.8", 1)) as socket:
        await until(lambda: socket.log)


async def test_a_locked_address_may_be_told_so_by_an_http_response() -> None:
    app = TokenMiddleware(router, [by_name], refuse="http", address_attempts=1)
    for status in (401, 429):
        async with sock(app, **authorization("Bearer x"), extensions={"websocket.http.response": {}}) as socket:
            await until(lambda: len(socket.sent) == 2)
            assert socket.sent[0]["status"] == status
    assert int(dict(socket.sent[0]["headers"])[b"retry-after"]) > 0


async def test_a_good_token_forgets_wrong_ones_and_an_outage_is_none() -> None:
    async def fails(credentials: Credentials) -> Any:
        raise OperationalError

    app = TokenMiddleware(router, [by_name], address_attempts=2)
    for token in ("mallory", "carol") * 3:
        async with sock(app, **authorization(f"Bearer {token}")) as socket:
            await until(lambda: socket.log or socket.closed)
    assert socket.log[0] == ("connect", "carol")
    app = TokenMiddleware(router, [fails], address_attempts=1)
    for _ in range(3):
        async with sock(app, **authorization("Bearer carol")) as socket:
            assert await refused(socket) == 4500


async def test_what_is_verified_when_the_address_is_locked_is_not_said() -> None:
    verify = asyncio.Event()

    async def slow(credentials: Credentials) -> Any:
        await verify.wait()
        return await by_name(credentials)

    app = TokenMiddleware(router, [slow], address_attempts=2)
    async with AsyncExitStack() as stack:
        sockets = [sock(app, **authorization(f"Bearer {token}")) for token in ("a", "b", "c", "carol")]
        for socket in sockets:
            socket.start()
            socket.feed({"type": "websocket.connect"})
            stack.push_async_exit(socket)
        await turns()
        verify.set()
        assert [await refused(socket) for socket in sockets] == [4401, 4401, 4429, 4429]


async def test_a_refusal_may_be_an_http_response() -> None:
    app = TokenMiddleware(router, [by_name, SessionKeyAuthentication()], refuse="http")
    extensions = {"websocket.http.response": {}}
    async with sock(app, **authorization("Bearer mallory"), extensions=extensions) as socket:
        await until(lambda: len(socket.sent) == 2)
        start, body = socket.sent
        assert (start["status"], dict(start["headers"])[b"www-authenticate"]) == (401, b"Bearer, Session")
        assert body["body"] == b"The token is not valid."
        assert socket.log == []
    async with sock(app, **authorization("Bearer mallory")) as socket:
        assert [message["type"] for message in socket.sent] == ["websocket.close"]


@pytest.mark.parametrize(
    "credentials",
    [{}, subprotocols("chat"), authorization("Digest x"), authorization(""), {"query_string": b"token=carol"}],
)
async def test_without_a_token_the_scope_stays_as_it_is(credentials: Scope) -> None:
    """A scheme that nobody knows, such as that of a proxy, is no token either."""
    inside = Inside()
    async with sock(TokenMiddleware(inside, [by_name]), **credentials) as socket:
        await until(lambda: inside.scope)
        assert inside.scope is socket.scope
        assert "user" not in inside.scope
    anonymous = AnonymousUser()
    async with sock(TokenMiddleware(inside, [by_name]), user=anonymous):
        assert inside.scope["user"] is anonymous


async def test_the_order_is_subprotocol_header_query() -> None:
    known = Once("a", "b", "c")
    app = TokenMiddleware(Inside(), [known], query="token")
    scopes = [
        {**subprotocols("bearer.a", "chat"), "query_string": b"token=c"},
        {**authorization("Bearer b"), "query_string": b"token=c"},
        {"query_string": b"token=c"},
    ]
    scopes[0]["headers"] = [*scopes[0]["headers"], *authorization("Bearer b")["headers"]]  # type: ignore[misc]
    for scope in scopes:
        async with sock(app, **scope):
            pass
    assert [(each.token, each.source) for each in known.seen] == [
        ("a", CredentialSource.SUBPROTOCOL),
        ("b", CredentialSource.HEADER),
        ("c", CredentialSource.QUERY),
    ]


async def test_a_wrong_token_is_not_made_good_by_another() -> None:
    scope = {**subprotocols("bearer.mallory", "chat"), "query_string": b"token=carol"}
    async with sock(TokenMiddleware(router, [by_name], query="token"), **scope) as socket:
        assert await refused(socket) == 4401


async def test_sources_can_be_switched_off() -> None:
    inside = Inside()
    app = TokenMiddleware(inside, [by_name], subprotocol_prefix=None, header=False)
    async with sock(app, **subprotocols("bearer.carol"), query_string=b"token=carol"):
        assert inside.scope["subprotocols"] == ["bearer.carol"]
        assert "user" not in inside.scope
    async with sock(app, **authorization("Bearer mallory")) as socket:
        assert socket.closed is None


async def test_a_prefix_of_ones_own() -> None:
    """That of Phoenix, say, whose clients encode their tokens."""
    inside = Inside()
    app = TokenMiddleware(inside, [by_name], subprotocol_prefix="bearer.phx.")
    async with sock(app, **subprotocols("phoenix", "base64url.bearer.phx.Y2Fyb2w")) as socket:
        assert inside.scope["user"].username == "carol"
        assert socket.sent[0]["subprotocol"] == "phoenix"


# That it goes no further


async def test_the_subprotocol_is_chosen_without_the_token() -> None:
    inside = Inside()
    async with sock(TokenMiddleware(inside, [by_name]), **subprotocols("bearer.carol", "v2", "v1")) as socket:
        assert socket.sent[0]["subprotocol"] == "v2"
        assert inside.scope["subprotocols"] == ["v2", "v1"]
        assert inside.scope["headers"] == [(b"host", b"x"), (b"sec-websocket-protocol", b"v2, v1")]


async def test_a_consumer_chooses_for_itself() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][-1]})
        await receive()

    async with sock(TokenMiddleware(app, [by_name]), **subprotocols("bearer.carol", "v2", "v1")) as socket:
        assert socket.sent[0]["subprotocol"] == "v1"


async def test_a_token_alone_is_never_echoed() -> None:
    """django_sockets sends the token back as the subprotocol."""
    inside = Inside()
    async with sock(TokenMiddleware(inside, [by_name]), **subprotocols("bearer.carol")) as socket:
        assert socket.sent[0].get("subprotocol") is None
        assert inside.scope["subprotocols"] == []
        assert inside.scope["headers"] == [(b"host", b"x")]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (b"token=carol", b""),
        (b"a=1&token=carol&b=%20", b"a=1&b=%20"),
        (b"token=carol&token=mallory&a", b"a"),
        (b"%74oken=carol", b""),
        (b"token=c%61rol&x=\xff", b"x=\xff"),
    ],
)
async def test_the_query_string_loses_the_token_and_nothing_else(query: bytes, left: bytes) -> None:
    """In the server's own scope, which its access log is written from."""
    inside = Inside()
    async with sock(TokenMiddleware(inside, [by_name], query="token"), query_string=query) as socket:
        assert inside.scope["user"].username == "carol"
        assert inside.scope["query_string"] == socket.scope["query_string"] == left


async def test_no_token_gets_into_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def fails(credentials: Credentials) -> Any:
        raise RuntimeError(credentials)

    for refuse in ("close", "http"):
        for authenticator in (by_name, fails, JWTAuthentication):
            app = TokenMiddleware(router, [authenticator], query="token", refuse=refuse)
            async with sock(app, query_string=b"token=s3cr3t"):
                pass
    assert "s3cr3t" not in caplog.text
    assert "Authentication failed" in caplog.text


async def test_an_authenticator_that_fails_refuses_the_socket() -> None:
    async def fails(credentials: Credentials) -> Any:
        raise RuntimeError("the database is down")

    async with sock(TokenMiddleware(router, [fails]), **authorization("Bearer carol")) as socket:
        assert await refused(socket) == 4500
        assert "database" not in str(socket.sent)


# DRF's classes


@pytest.mark.parametrize("where", ["subprotocol", "header", "query"])
@pytest.mark.parametrize("kind", ["jwt", "key", "session"])
async def test_tokens_of_the_libraries(alice: User, kind: str, where: str) -> None:
    scheme, token = {
        "jwt": ("Bearer", jwt(alice)),
        "key": ("Token", await key(alice)),
        "session": ("Session", await session(alice)),
    }[kind]
    inside = Inside()
    authenticators = [TokenAuthentication, JWTAuthentication(), SessionKeyAuthentication()]
    app = TokenMiddleware(inside, authenticators, query="token")
    scopes = {
        "subprotocol": subprotocols(f"bearer.{token}", "chat"),
        "header": authorization(f"{scheme} {token}"),
        "query": {"query_string": f"token={token}".encode()},
    }
    async with sock(app, **scopes[where]):
        assert inside.scope["user"] == alice
        identity = inside.scope["routesock.identity"]
        assert (identity.expires is not None) is (kind == "jwt")
        assert identity.auth is inside.scope["auth"]
        assert ("session" in inside.scope) is (kind == "session")


@pytest.mark.parametrize(
    ("classes", "value"),
    [
        ([JWTAuthentication], "Bearer expired"),
        ([JWTAuthentication], "Bearer"),
        ([JWTAuthentication], "Bearer a b"),
        ([TokenAuthentication], "Token 0123"),
        ([TokenAuthentication, JWTAuthentication], "Token 0123"),
        ([BasicAuthentication], "Basic !"),
        ([JWTAuthentication, by_name], "Bearer mallory"),
    ],
)
async def test_what_drf_refuses_is_refused(alice: User, classes: list[Any], value: str) -> None:
    value = value.replace("expired", jwt(alice, seconds=-1))
    async with sock(TokenMiddleware(router, classes), **authorization(value)) as socket:
        assert await refused(socket) == 4401


async def test_who_is_not_drfs_may_be_somebody_elses(alice: User) -> None:
    async with sock(TokenMiddleware(router, [JWTAuthentication, by_name]), **authorization("Bearer carol")) as socket:
        await until(lambda: socket.log)
        assert socket.log == [("connect", "carol")]


async def test_a_drf_class_reads_the_request_as_it_was() -> None:
    """Its query, its headers and its address: chanx builds a request without them."""
    QueryKey.seen.clear()
    scope = {"query_string": b"key=carol", "headers": [(b"x-team", b"blue"), (b"cookie", b"a=1")]}
    async with sock(TokenMiddleware(router, [QueryKey]), **scope) as socket:
        await until(lambda: socket.log)
        assert socket.log == [("connect", "carol")]
    assert QueryKey.seen == [("203.0.113.7", "blue", {"a": "1"})]
    async with sock(TokenMiddleware(router, [QueryKey]), query_string=b"key=mallory") as socket:
        assert await refused(socket) == 4401


async def test_a_class_for_the_handshake_is_left_out() -> None:
    app = TokenMiddleware(router, [FrameOnly, by_name])
    async with sock(app, **authorization("Bearer carol")) as socket:
        assert socket.log
    async with sock(TokenMiddleware(router, [FrameOnly]), **subprotocols("bearer.carol", "chat")) as socket:
        assert await refused(socket) == 4401
    async with sock(HandshakeMiddleware(router, authenticators=[FrameOnly], lock=0)) as socket:
        socket.json({"route": "AUTH", "uuid": 1, "payload": {"token": "carol"}})
        assert (await socket.reply(1))["payload"]["expires"] == 4_000_000_000


async def test_sync_authenticators_do_not_hold_the_loop(alice: User) -> None:
    import threading

    seen: list[Any] = []

    class Where(TokenAuthentication):  # type: ignore[misc, unused-ignore]
        def authenticate(self, request: Any) -> Any:
            seen.append(threading.current_thread())
            return super().authenticate(request)

    async with sock(TokenMiddleware(Inside(), [Where]), **authorization(f"Token {await key(alice)}")):
        pass
    assert seen[0] is not threading.main_thread()


# Among others


async def test_over_channels_own_stack_the_token_counts(alice: User) -> None:
    """And so does it under it."""
    cookie = (b"cookie", f"sessionid={await session(alice)}".encode())
    for app in (
        TokenMiddleware(AuthMiddlewareStack(router), [by_name]),
        AuthMiddlewareStack(TokenMiddleware(router, [by_name])),
    ):
        async with sock(app, headers=[cookie, (b"authorization", b"Bearer carol")]) as socket:
            await until(lambda socket=socket: socket.log)
            assert socket.log == [("connect", "carol")]
        async with sock(app, headers=[cookie]) as socket:
            await until(lambda socket=socket: socket.log)
            assert socket.log == [("connect", "alice")]


async def test_a_token_spares_the_handshake() -> None:
    app = TokenMiddleware(HandshakeMiddleware(router, authenticators=[by_name]), [by_name])
    async with sock(app, **authorization("Bearer carol")) as socket:
        await until(lambda: socket.log)
        assert socket.frames == []
    async with sock(app) as socket:
        assert (await socket.read(1))[0]["route"] == "HELLO"


@pytest.mark.parametrize("extension", [{"websocket.http.response": {}}, {}])
async def test_an_unknown_path_is_404(extension: Scope) -> None:
    async with sock(TokenMiddleware(router, [by_name]), "/nowhere/", extensions=extension) as socket:
        assert socket.sent[0].get("status", 404) == 404
        assert socket.sent[0]["type"] == ("websocket.http.response.start" if extension else "websocket.close")


async def test_an_origin_that_is_no_url_is_403() -> None:
    app = TokenMiddleware(OriginValidator(router, ["example.com"]), [by_name])
    async with sock(app, headers=[(b"origin", b"http://[")], extensions={"websocket.http.response": {}}) as socket:
        assert socket.sent[0]["status"] == 403


async def test_an_error_of_the_application_stays_one() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("mine")

    async with sock(TokenMiddleware(app, [by_name])) as socket:
        assert isinstance(await socket.ending(), ValueError)


async def test_nothing_runs_for_a_refused_socket() -> None:
    """Not even what it sends in the same breath: on stock Channels, 3 of 3 frames behind a refusal ran."""
    app = TokenMiddleware(router, [by_name])
    socket = sock(app, "/routed/", **authorization("Bearer mallory"))
    async with socket:
        socket.requests("version", *range(20))
        assert await refused(socket) == 4401
        assert await socket.ending() is None
    assert socket.log == []


async def test_other_connections_than_websockets_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await TokenMiddleware(app, [by_name])({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


@pytest.mark.parametrize(
    "options",
    [{"subprotocol_prefix": ""}, {"subprotocol_prefix": 1}, {"query": ""}, {"query": True}, {"refuse": "silently"}],
)
def test_a_wrong_option_is_an_error_at_once(options: Scope) -> None:
    with pytest.raises(RouteSetupError):
        TokenMiddleware(router, [by_name], **options)
