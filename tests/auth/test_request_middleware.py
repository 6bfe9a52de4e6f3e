"""Django's own middleware over the handshake: what it finds, what the consumer finds after it, and its refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import URLRouter
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db import connection
from django.test import override_settings
from django.urls import path
from django.utils import translation

from routesock import Request, RouteMixin, RouteSetupError, route
from routesock.auth import HandshakeMiddleware, RequestMiddleware
from tests.takeover.driver import Socket, until

from . import middleware
from .consumers import router
from .tokens import Account, by_name, session

HERE = "tests.auth.middleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
LOCALE = "django.middleware.locale.LocaleMiddleware"
RESPONSE: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


def sock(app: Any, path: str = "/plain/", **scope: Any) -> Socket:
    return Socket(app, path=path, **{"log": [], "client": ("203.0.113.7", 1), **scope})


class Inside:
    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await receive()
        await send({"type": "websocket.accept", "headers": [(b"x-own", b"1")]})
        await receive()


async def inside(names: list[str], **scope: Any) -> tuple[dict[str, Any], Socket]:
    app = Inside()
    async with sock(RequestMiddleware(app, names), **scope) as socket:
        await until(lambda: socket.sent)
    return app.scope, socket


async def test_the_session_of_a_cookie_signs_its_user_in(alice: User) -> None:
    cookie = (b"cookie", f"sessionid={await session(alice)}".encode())
    scope, _ = await inside([SESSIONS, AUTH], headers=[cookie])
    assert type(scope["user"]) is User
    assert scope["user"] == alice
    assert isinstance(scope["session"], SessionBase)
    assert scope["routesock.request"].user == alice


@pytest.mark.parametrize("headers", [[], [(b"cookie", b"sessionid=no-such")], [(b"cookie", b"\xff;;=")]])
async def test_without_a_session_there_is_an_anonymous_user(headers: Any, transactional_db: None) -> None:
    """djwebsockets raised KeyError without a Cookie header, and with one its middleware never ran."""
    scope, _ = await inside([SESSIONS, AUTH], headers=headers)
    assert scope["user"].is_authenticated is False
    assert not isinstance(scope["user"], type)


async def test_a_session_whose_password_has_changed_signs_nobody_in(alice: User) -> None:
    cookie = (b"cookie", f"sessionid={await session(alice)}".encode())
    alice.set_password("looking glass")
    await alice.asave()
    scope, _ = await inside([SESSIONS, AUTH], headers=[cookie])
    assert scope["user"].is_authenticated is False


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["sync_only"], ["sync"]),
        (["async_only"], ["async"]),
        (["both"], ["both async"]),
        (["both", "sync_only", "async_only"], ["both async", "sync", "async"]),
        (["sync_only", "both", "async_only", "sync_only"], ["sync", "both async", "async", "sync"]),
        (["async_only", "NotUsed", "both", "sync_only"], ["async", "both sync", "sync"]),
    ],
)
async def test_middleware_of_either_kind_runs_in_order(names: list[str], steps: list[str]) -> None:
    middleware.DONE.clear()
    scope, _ = await inside([f"{HERE}.{name}" for name in names])
    found = [
        step.replace("both async", "both").replace("both sync", "both") for step in scope["routesock.request"].steps
    ]
    assert found == [step.replace("both async", "both").replace("both sync", "both") for step in steps]
    assert [*reversed(middleware.DONE)] == [step for step in steps if not step.startswith("both")]


async def test_what_a_middleware_puts_on_the_request_is_there_and_its_cookies_are_set() -> None:
    scope, socket = await inside([f"{HERE}.Tenant"], headers=[(b"x-tenant", b"acme")], user="somebody")
    assert scope["routesock.request"].tenant == "acme"
    assert scope["user"] == "somebody"
    assert socket.sent[0]["headers"] == [
        (b"x-own", b"1"),
        (b"set-cookie", b"seen=1; HttpOnly; Path=/"),
        (b"set-cookie", b"tenant=acme; Path=/"),
    ]


async def test_a_middleware_sees_who_is_signed_in_already() -> None:
    dave = Account("dave")
    scope, _ = await inside([f"{HERE}.Tenant"], user=dave)
    assert scope["routesock.request"].user is scope["user"] is dave


class Speaking(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("language")
    async def language(self, request: Request) -> str:
        return translation.get_language()

    @route("thread")
    def thread(self, request: Request) -> str:
        return translation.get_language()


class SpeakingSync(RouteMixin, JsonWebsocketConsumer):
    @route("language")
    def language(self, request: Request) -> str:
        return translation.get_language()

    @route("thread")
    def thread(self, request: Request) -> str:
        return translation.get_language()


@pytest.mark.parametrize("consumer", [Speaking, SpeakingSync])
async def test_the_language_of_the_handshake_is_that_of_the_handlers(consumer: Any) -> None:
    app = RequestMiddleware(URLRouter([path("", consumer.as_asgi())]), [LOCALE])
    with override_settings(LANGUAGE_CODE="en", ROOT_URLCONF="tests.auth.urls"):
        for header, language in ((b"de", "de"), (b"fr;q=0.9", "fr"), (b"de", "de")):
            async with sock(app, "/", headers=[(b"accept-language", header)]) as socket:
                assert (await socket.call("language", 1))["payload"] == language
                assert (await socket.call("thread", 2))["payload"] == language
    assert translation.get_language() != "de"


@pytest.mark.parametrize(
    ("answer", "status"),
    [("503", 503), ("302", 302), ("401", 401), ("missing", 404), ("denied", 403), ("suspicious", 400), ("late", 409)],
)
async def test_a_middleware_that_answers_refuses_the_socket_with_its_status(answer: str, status: int) -> None:
    query = f"answer={answer}".encode()
    async with sock(RequestMiddleware(router, [f"{HERE}.Answering"]), query_string=query) as socket:
        await until(lambda: socket.closed)
        assert socket.closed is not None
        assert socket.closed["code"] == socket.frames[0]["payload"]["code"] == 4000 + status
        assert socket.log == []
    app = RequestMiddleware(router, [f"{HERE}.Answering"], refuse="http")
    async with sock(app, query_string=query, **RESPONSE) as socket:
        assert socket.sent[0]["status"] == status
        assert socket.log == []
    async with sock(app, query_string=query) as socket:
        assert socket.sent[0]["type"] == "websocket.close"


async def test_the_response_itself_is_passed_on() -> None:
    app = RequestMiddleware(router, [f"{HERE}.Tenant", f"{HERE}.Answering"], refuse="http")
    async with sock(app, query_string=b"answer=503", **RESPONSE) as socket:
        await until(lambda: len(socket.sent) == 2)
        start, body = socket.sent
        assert (b"retry-after", b"9") in start["headers"]
        assert (b"set-cookie", b"seen=1; HttpOnly; Path=/") in start["headers"]
        assert body["body"] == b"down"
    async with sock(app, query_string=b"answer=template", **RESPONSE) as socket:
        await until(lambda: len(socket.sent) == 2)
        assert socket.sent[1]["body"] == b"a teapot"


async def test_a_middleware_that_fails_refuses_the_socket_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """djwebsockets swallowed it, and let its client in as nobody."""
    async with sock(RequestMiddleware(router, [f"{HERE}.Answering"]), query_string=b"answer=fault") as socket:
        await until(lambda: socket.closed)
        assert socket.closed is not None
        assert socket.closed["code"] == 4500
        assert "s3cr3t" not in str(socket.sent)
        assert socket.log == []
    assert "s3cr3t" in caplog.text


async def test_it_may_stand_outside_and_inside_a_handshake(alice: User) -> None:
    cookie = (b"cookie", f"sessionid={await session(alice)}".encode())
    names = [SESSIONS, AUTH]
    outside = RequestMiddleware(HandshakeMiddleware(router, authenticators=[by_name]), names)
    async with sock(outside, headers=[cookie]) as socket:
        await until(lambda: socket.log)
        assert socket.log == [("connect", "alice")]
    within = HandshakeMiddleware(RequestMiddleware(router, [f"{HERE}.Tenant"]), authenticators=[by_name])
    async with sock(within, "/routed/") as socket:
        assert (await socket.call("version", 1))["payload"][0] == "nobody"
        socket.json({"route": "AUTH", "payload": {"token": "carol"}})
        assert (await socket.call("me", 2))["payload"] == "carol"


async def test_odd_handshakes_are_no_errors() -> None:
    app = RequestMiddleware(router, ["django.middleware.common.CommonMiddleware"])
    for scope in (
        {"headers": [(b"host", b"a b")], "query_string": b"\xff\xfe=%ff"},
        {"headers": [(b"origin", b"http://[")]},
        {"headers": [(b"accept-language", b"\xff" * 50)]},
        {"path": "/nowhere/"},
        {"path": "/\udcff/"},
    ):
        path = scope.pop("path", "/plain/")
        async with sock(app, path, **scope) as socket:
            assert (socket.closed or socket.sent[0]).get("code", 0) != 4500  # type: ignore[union-attr]


async def test_other_connections_than_websockets_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await RequestMiddleware(app, [])({"type": "http"}, None, None)  # type: ignore[arg-type]
    assert seen == ["http"]


@pytest.mark.parametrize(
    ("names", "options"),
    [("a.b", {}), ([1], {}), ([], {"refuse": "no"}), ([f"{HERE}.Nothing"], {})],
)
def test_a_wrong_option_is_an_error_at_once(names: Any, options: dict[str, Any]) -> None:
    with pytest.raises(RouteSetupError):
        RequestMiddleware(router, names, **options)


def test_a_path_that_leads_nowhere_is_an_error_at_once() -> None:
    with pytest.raises(ImportError):
        RequestMiddleware(router, ["tests.auth.middleware.NoSuch"])


@pytest.fixture
def without_tenant() -> Iterator[None]:
    """The connection of the database thread has no tenant, before and after."""
    yield
    SyncToAsync.single_thread_executor.submit(lambda: setattr(connection, "tenant", None)).result(30)


@pytest.mark.usefixtures("without_tenant")
async def test_it_warns_once_about_what_a_middleware_leaves_on_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    app = RequestMiddleware(Inside(), [f"{HERE}.leave_tenant"])
    await _handshake(app)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "has left tenant on the database connection" in record.getMessage()
    assert "route_thread_context" in record.getMessage()
    await sync_to_async(setattr)(connection, "tenant", None)
    await _handshake(app)
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("without_tenant")
@pytest.mark.parametrize(
    "names", [["reset_tenant", "leave_tenant"], ["sync_only", "both"], ["async_only"]], ids=["reset", "sync", "async"]
)
async def test_it_does_not_warn_about_a_middleware_that_leaves_nothing(
    names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    await _handshake(RequestMiddleware(Inside(), [f"{HERE}.{name}" for name in names]))
    assert caplog.records == []


async def _handshake(app: Any) -> None:
    async with sock(app) as socket:
        await until(lambda: socket.sent)
