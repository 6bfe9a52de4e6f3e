"""Sockets end with the login that they were opened with: by signals, by look-ups and by time."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from channels.auth import AuthMiddlewareStack, login, logout
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.contrib import auth
from django.contrib.auth import SESSION_KEY, update_session_auth_hash
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.middleware import SessionMiddleware
from django.contrib.sessions.models import Session
from django.core import signing
from django.db import OperationalError, connections, transaction
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from routesock import Request, RouteMixin, RouteSetupError, apush_to_user, middleware, route
from routesock._connection import connection
from routesock.auth import Credentials, HandshakeMiddleware, Identity
from routesock.auth._login import revocation, watcher
from routesock.testing import ClientTimeout, RouteClient
from tests.clock import advance, shifted
from tests.takeover.driver import turns, until

pytestmark = pytest.mark.django_db(transaction=True)

CLOSED = {"code": 4401, "reason": "You are no longer signed in.", "reconnect": False}

alogout: Any = getattr(auth, "alogout", None) or sync_to_async(auth.logout)  # Django 5.0 has it


def _valid_name(layer: Any) -> Any:
    """What a layer checks a group's name with; Channels 4.1 calls it otherwise."""
    return getattr(layer, "require_valid_group_name", None) or layer.valid_group_name


@pytest.fixture(autouse=True)
def received() -> Iterator[None]:
    """What the app connects in a project that has it installed."""
    revocation.connect_signals()
    yield
    user_logged_in.disconnect(dispatch_uid="routesock.logged_in")
    user_logged_out.disconnect(dispatch_uid="routesock.logged_out")
    post_save.disconnect(sender=User, dispatch_uid="routesock.saved")
    post_delete.disconnect(sender=User, dispatch_uid="routesock.deleted")


@pytest.fixture(autouse=True)
def nothing_is_left_over() -> Iterator[None]:
    yield
    assert revocation._listeners == {}


class Talk(RouteMixin, AsyncJsonWebsocketConsumer):
    left: list[int]

    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload

    @route("wait")
    async def wait(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("beside", parallel=True)
    async def beside(self, request: Request) -> None:
        await asyncio.Event().wait()

    @route("login")
    async def log_in(self, request: Request) -> None:
        await login(self.scope, await User.objects.aget(username=request.payload))

    @route("logout", parallel=True)
    async def log_out(self, request: Request) -> None:
        await logout(self.scope)


class Checked(Talk):
    route_revalidate_interval = 10


class Kept(Talk):
    route_ends_with_session = False


class Browser:
    """A user who is logged in over HTTP."""

    def __init__(self, user: User) -> None:
        self.client = Client()
        self.client.force_login(user)

    @property
    def key(self) -> str:
        return self.client.cookies["sessionid"].value

    def socket(self, cls: type[Any] = Talk, **options: Any) -> RouteClient:
        headers = {"cookie": f"sessionid={self.key}"}
        return RouteClient(AuthMiddlewareStack(cls.as_asgi()), headers=headers, timeout=30, **options)


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada", password="first")


@pytest.fixture
def browser(user: User) -> Browser:
    return Browser(user)


@pytest.fixture
def other(user: User) -> Browser:
    """The same user elsewhere."""
    return Browser(user)


async def expect_end(client: RouteClient, payload: Any = CLOSED) -> None:
    notice = await client.receive()
    assert notice == {"route": "CLOSE", "payload": payload}
    assert (await client.expect_close()).code == 4401


async def stays(client: RouteClient) -> None:
    """Nothing that is under way ends it: look-ups are answered first, since they have the same thread."""
    for _ in range(3):
        await sync_to_async(int)()
        await turns()
    assert (await client.call("echo", 1)).payload == 1


def token_socket(user: Any, cls: type[Any] = Talk, *, auth: Any = "token", expires: float | None = None) -> RouteClient:
    identity = Identity(user, expires, auth)
    return RouteClient(cls, as_user=user, scope={"auth": auth, "routesock.identity": identity}, timeout=30)


class TestLogout:
    async def test_the_sockets_of_the_session_end_and_those_of_others_stay(
        self, browser: Browser, other: Browser
    ) -> None:
        async with browser.socket() as first, browser.socket() as second, other.socket() as elsewhere:
            await sync_to_async(browser.client.logout)()
            await expect_end(first)
            await expect_end(second)
            await stays(elsewhere)

    async def test_what_is_in_flight_is_answered_401_once_each(self, browser: Browser) -> None:
        async with browser.socket() as client:
            ids = ["running", "queued", "beside"]
            for id, name in zip(ids, ["wait", "echo", "beside"], strict=True):
                await client.send(name, id=id)
            await client.settle()
            await sync_to_async(browser.client.logout)()
            replies = [await client.receive() for _ in ids]
            assert sorted(reply["uuid"] for reply in replies) == sorted(ids)
            assert {(reply["status"], reply["payload"]["code"]) for reply in replies} == {(401, "not_authenticated")}
            await expect_end(client)

    async def test_disconnect_runs_once_and_last(self, browser: Browser) -> None:
        seen: list[Any] = []

        class Leaving(Talk):
            @route("wait")
            async def wait(self, request: Request) -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    seen.append("handler")

            async def disconnect(self, code: int) -> None:
                seen.append(code)

        async with browser.socket(Leaving) as client:
            await client.send("wait", id=1)
            await client.settle()
            await sync_to_async(browser.client.logout)()
            assert (await client.receive())["status"] == 401
            await expect_end(client)
        assert seen == ["handler", 4401]

    async def test_nothing_runs_for_frames_behind_it(self, browser: Browser) -> None:
        seen: list[Any] = []

        class Counted(Talk):
            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                seen.append(content)

            @route("count")
            async def count(self, request: Request) -> None:
                seen.append(request.payload)

        async with browser.socket(Counted) as client:
            await sync_to_async(browser.client.logout)()
            feed = client._connected().application.feed
            for _ in range(20):  # as a server does that had read them before the close
                feed({"type": "websocket.receive", "text": '{"route": "count"}'})
                feed({"type": "websocket.receive", "text": "{}"})
            await expect_end(client)
        assert seen == []

    async def test_nothing_runs_of_what_waited(self, browser: Browser) -> None:
        """Nor of requests without an id, which are answered 401 all the same."""
        seen: list[Any] = []

        class Counted(Talk):
            @route("count")
            async def count(self, request: Request) -> None:
                seen.append(request.payload)

        async with browser.socket(Counted) as client:
            await client.send("wait", id=1)
            await client.send("count")
            await client.settle()
            await sync_to_async(browser.client.logout)()
            replies = [await client.receive() for _ in range(2)]
            assert {(reply["uuid"], reply["status"]) for reply in replies} == {(1, 401), (None, 401)}
            await expect_end(client)
        assert seen == []

    async def test_a_handler_whose_client_has_left_keeps_its_grace(self, browser: Browser) -> None:
        seen: list[str] = []
        go = asyncio.Event()

        class Saving(Talk):
            @route("save")
            async def save(self, request: Request) -> None:
                await go.wait()
                seen.append("saved")

            async def disconnect(self, code: int) -> None:
                seen.append(f"disconnect {code}")

        async with browser.socket(Saving) as client:
            await client.send("save", id=1)
            await client.settle()
            leaving = asyncio.ensure_future(client.disconnect(1001))
            await asyncio.sleep(0.01)
            await sync_to_async(browser.client.logout)()
            await asyncio.sleep(0.05)
            go.set()
            await leaving
        assert seen == ["saved", "disconnect 1001"]

    async def test_from_an_async_view(self, browser: Browser, user: User) -> None:
        async def auser() -> User:
            return user

        async with browser.socket() as client:
            request: Any = SimpleNamespace(auser=auser, user=user, session=await sync_to_async(session_of)(browser))
            await alogout(request)
            await expect_end(client)

    async def test_on_a_running_loop(self, browser: Browser, user: User) -> None:
        """Where sessions are in a cache, async code may log out without a thread."""
        session = await sync_to_async(session_of)(browser)
        async with browser.socket() as client:
            user_logged_out.send(User, request=SimpleNamespace(session=session), user=user)
            await expect_end(client)

    async def test_over_the_socket_itself(self, browser: Browser, other: Browser) -> None:
        """Channels' ``logout()`` tells of no session."""
        async with browser.socket() as client, other.socket() as elsewhere:
            assert (await client.call("logout")).status == 204  # a route that logs out is answered itself
            await expect_end(client)
            await stays(elsewhere)

    async def test_one_that_signed_in_over_the_socket(self, user: User) -> None:
        app = AuthMiddlewareStack(Talk.as_asgi())
        async with RouteClient(app, timeout=30) as client:
            assert (await client.call("login", "ada")).status == 204
            await until(lambda: revocation._listeners)
            await sync_to_async(user.delete)()
            await expect_end(client)

    @shifted
    async def test_nor_need_its_session_be_saved(self, user: User) -> None:
        app = AuthMiddlewareStack(Checked.as_asgi())
        async with RouteClient(app, timeout=30) as client:
            assert (await client.call("login", "ada")).status == 204
            await advance(10)
            await stays(client)
            user.set_password("second")
            await User.objects.aupdate(password=user.password)
            await advance(10)
            await expect_end(client)

    async def test_a_token_is_not_logged_out_by_a_browser(self, browser: Browser, user: User) -> None:
        async with token_socket(user) as client:
            await sync_to_async(browser.client.logout)()
            await stays(client)

    async def test_a_session_that_is_the_token_is(self, browser: Browser, user: User) -> None:
        session = await sync_to_async(session_of)(browser)
        identity = Identity(user, None, session)
        scope = {"session": session, "auth": session, "routesock.identity": identity}
        async with RouteClient(Talk, as_user=user, scope=scope, timeout=30) as client:
            await sync_to_async(browser.client.logout)()
            await expect_end(client)

    async def test_it_is_told_when_it_is_committed(self, browser: Browser) -> None:
        async with browser.socket() as client:
            reached = asyncio.Event()
            done = asyncio.Event()

            def view() -> None:
                with transaction.atomic():
                    browser.client.logout()
                    loop.call_soon_threadsafe(reached.set)
                    asyncio.run_coroutine_threadsafe(done.wait(), loop).result(30)

            loop = asyncio.get_running_loop()
            logging_out = asyncio.ensure_future(asyncio.to_thread(in_own_thread, view))
            await reached.wait()
            assert (await client.call("echo", 1)).payload == 1
            done.set()
            await expect_end(client)
            await logging_out

    async def test_one_that_is_rolled_back_ends_nothing(self, browser: Browser, user: User) -> None:
        def view() -> None:
            with transaction.atomic():
                user.is_active = False
                user.save()
                transaction.set_rollback(True)

        async with browser.socket() as client:
            await sync_to_async(view)()
            await stays(client)

    async def test_a_sync_consumer(self, browser: Browser) -> None:
        left: list[int] = []

        class Blocking(RouteMixin, JsonWebsocketConsumer):
            def disconnect(self, code: int) -> None:
                left.append(code)

        async with browser.socket(Blocking) as client:
            await sync_to_async(browser.client.logout)()
            await expect_end(client)
        assert left == [4401]

    async def test_during_connect_the_handshake_is_refused(self, browser: Browser) -> None:
        entered, go = asyncio.Event(), asyncio.Event()

        class Slow(Talk):
            route_disconnect_grace = 0

            async def connect(self) -> None:
                entered.set()
                await go.wait()
                await self.accept()

        client = browser.socket(Slow)
        connecting = asyncio.ensure_future(client.connect())
        await entered.wait()
        await sync_to_async(browser.client.logout)()
        with pytest.raises(Exception, match="refused"):
            await connecting


class TestSaves:
    async def test_a_deactivated_user(self, browser: Browser, user: User) -> None:
        user.is_active = False
        async with browser.socket() as client, token_socket(user) as by_token:
            await user.asave()
            await expect_end(client)
            await expect_end(by_token)

    async def test_a_deleted_user(self, browser: Browser, user: User) -> None:
        async with browser.socket() as client, token_socket(user) as by_token:
            await user.adelete()
            await expect_end(client)
            await expect_end(by_token)

    async def test_a_log_handler_that_raises_keeps_no_socket_open(self, browser: Browser, user: User) -> None:
        class Broken(logging.Handler):
            def handle(self, record: logging.LogRecord) -> bool:
                raise ConnectionError("The log server is down.")

        handler, logger = Broken(), logging.getLogger("routesock.socket")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            async with browser.socket() as client, token_socket(user) as by_token:
                await user.adelete()
                await expect_end(client)
                await expect_end(by_token)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)

    async def test_a_new_password_ends_sessions_and_no_tokens(self, browser: Browser, user: User) -> None:
        async with browser.socket() as client, token_socket(user) as by_token:
            user.set_password("second")
            await user.asave()
            await expect_end(client)
            await stays(by_token)

    async def test_a_password_changed_elsewhere_does_not_end_the_session_in_the_store(
        self, browser: Browser, user: User
    ) -> None:
        """The request that changes it may be about to give it the new hash."""
        async with browser.socket() as client:
            user.set_password("second")
            await user.asave()
            await expect_end(client)
        assert await Session.objects.filter(session_key=browser.key).aexists()

    async def test_any_other_change_costs_no_query(
        self, browser: Browser, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watcher, "session_holds", pytest.fail)
        async with browser.socket() as client:
            user.first_name = "Ada"
            await user.asave()
            await stays(client)

    def test_saves_of_other_fields_are_not_told_at_all(self, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(revocation, "publish", lambda *args, **kwargs: told.append(args))
        told: list[Any] = []
        user.save(update_fields=["last_login", "first_name"])
        User.objects.create_user("grace")
        assert told == []
        user.save(update_fields=["is_active", "first_name"])
        assert len(told) == 1

    def test_a_failure_of_ours_does_not_reach_the_save(
        self, user: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(revocation, "stamp_of", lambda user: 1 / 0)
        user.first_name = "Ada"
        user.save()
        assert User.objects.get().first_name == "Ada"
        assert "could not be notified" in caplog.text

    async def test_another_user(self, browser: Browser) -> None:
        async with browser.socket() as client:
            other = await User.objects.acreate(username="grace")
            other.is_active = False
            await other.asave()
            await other.adelete()
            await stays(client)


def session_of(browser: Browser) -> Any:
    session = browser.client.session
    assert SESSION_KEY in session  # which reads it
    return session


def in_own_thread(view: Callable[[], None]) -> None:
    """As a WSGI server calls a view."""
    try:
        view()
    finally:
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None:  # Django itself leaves one to a database in memory open
                connection.connection.close()


class TestChangedKeys:
    """``update_session_auth_hash`` gives the session in which a password was changed another key."""

    @staticmethod
    def change_in(request: HttpRequest, *, keeps_session: bool = True) -> None:
        user = User.objects.get(pk=request.session[SESSION_KEY])
        request.user = user
        user.set_password("second")
        user.save()
        if keeps_session:
            update_session_auth_hash(request, user)

    @staticmethod
    def change_password(browser: Browser, *, keeps_session: bool = True) -> None:
        def view(request: HttpRequest) -> HttpResponse:
            TestChangedKeys.change_in(request, keeps_session=keeps_session)
            return HttpResponse()

        request = HttpRequest()
        request.COOKIES["sessionid"] = browser.key
        response = middleware.KeepSocketsMiddleware(SessionMiddleware(view))(request)
        if keeps_session:
            browser.client.cookies["sessionid"] = response.cookies["sessionid"].value

    async def test_its_sockets_stay_and_others_end(self, browser: Browser, other: Browser) -> None:
        before = browser.key
        async with browser.socket(Checked) as client, other.socket() as elsewhere:
            await sync_to_async(self.change_password)(browser)
            assert browser.key != before
            await expect_end(elsewhere)
            await stays(client)

    @shifted
    async def test_and_go_on_staying(self, browser: Browser) -> None:
        async with browser.socket(Checked) as client:
            await sync_to_async(self.change_password)(browser)
            for _ in range(3):
                await advance(20)
                await stays(client)

    async def test_they_end_with_the_new_key(self, browser: Browser) -> None:
        async with browser.socket() as client:
            await sync_to_async(self.change_password)(browser)
            await stays(client)
            await sync_to_async(browser.client.logout)()
            await expect_end(client)

    async def test_a_look_that_began_under_the_old_key_says_nothing(
        self, browser: Browser, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looking, go = asyncio.Event(), asyncio.Event()
        in_thread = watcher.database.in_thread

        async def held(question: Any, *args: Any) -> bool:
            if question is not watcher.session_holds:
                return bool(await in_thread(question, *args))
            looking.set()
            await go.wait()
            return False

        name = revocation.name_of(user)
        assert name is not None
        async with browser.socket() as client:
            monkeypatch.setattr(watcher, "database", SimpleNamespace(in_thread=held))
            revocation.publish(name, {"event": "check"})
            await looking.wait()
            await sync_to_async(self.change_password)(browser)
            go.set()
            await stays(client)

    @shifted
    async def test_they_end_when_the_session_with_the_new_key_is_deleted(self, browser: Browser) -> None:
        async with browser.socket(Checked) as client:
            await sync_to_async(self.change_password)(browser)
            await stays(client)
            await Session.objects.all().adelete()
            await advance(10)
            await expect_end(client)

    async def test_the_new_key_is_encrypted(self, browser: Browser, layer: Any) -> None:
        sent: list[str] = []

        async def group_send(group: str, message: Any) -> None:
            sent.append(message["event"])

        layer.group_send = group_send
        await sync_to_async(self.change_password)(browser)
        moved = [event for event in (signing.loads(text, salt=revocation.TYPE) for text in sent) if "key" in event]
        assert [revocation.unseal(event["key"], event["to"]) for event in moved] == [browser.key]
        assert browser.key not in str(moved)

    async def test_and_with_the_next_password(self, browser: Browser, user: User) -> None:
        async with browser.socket() as client:
            await sync_to_async(self.change_password)(browser)
            await stays(client)
            user.set_password("third")
            await user.asave()
            await expect_end(client)

    async def test_a_view_that_forgets_its_session_ends_its_sockets_too(self, browser: Browser) -> None:
        async with browser.socket() as client:
            await sync_to_async(self.change_password)(browser, keeps_session=False)
            await expect_end(client)

    async def test_an_async_view(self, browser: Browser, user: User) -> None:
        async def view(request: HttpRequest) -> HttpResponse:
            user.set_password("second")
            await user.asave()
            request.user = user
            await sync_to_async(request.session.get)(SESSION_KEY)
            await sync_to_async(update_session_auth_hash)(request, user)
            return HttpResponse()

        request = HttpRequest()
        request.COOKIES["sessionid"] = browser.key
        async with browser.socket() as client:
            await middleware.KeepSocketsMiddleware(SessionMiddleware(view))(request)
            await stays(client)

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_in_a_stack_of_sync_and_async_middleware(self, browser: Browser, user: User, is_async: bool) -> None:
        """Django adapts no middleware that is both sync and async, so it has to say so."""

        def change(request: HttpRequest) -> HttpResponse:
            self.change_in(request)
            return HttpResponse()

        async def achange(request: HttpRequest) -> HttpResponse:
            return await sync_to_async(change)(request)

        made = middleware.KeepSocketsMiddleware(achange if is_async else change)
        assert (type(made).sync_capable, type(made).async_capable) == (True, True)
        assert iscoroutinefunction(made) is is_async
        urls = (path("change/", achange if is_async else change),)
        client: Any = AsyncClient() if is_async else Client()
        client.cookies["sessionid"] = browser.key
        with override_settings(
            ROOT_URLCONF=urls,
            MIDDLEWARE=[
                "routesock.middleware.KeepSocketsMiddleware",
                "django.contrib.sessions.middleware.SessionMiddleware",
            ],
        ):
            async with browser.socket() as socket:
                response = await (client.get("/change/") if is_async else sync_to_async(client.get)("/change/"))
                assert response.status_code == 200
                assert response.cookies["sessionid"].value != browser.key
                await stays(socket)

    async def test_a_view_that_raises_is_followed_too(self, browser: Browser) -> None:
        def view(request: HttpRequest) -> HttpResponse:
            self.change_in(request)
            raise LookupError("after the change")

        request = HttpRequest()
        request.COOKIES["sessionid"] = browser.key

        def call() -> None:
            SessionMiddleware(lambda request: HttpResponse()).process_request(request)
            middleware.KeepSocketsMiddleware(view)(request)

        async with browser.socket() as client:
            with pytest.raises(LookupError, match="after the change"):
                await sync_to_async(call)()
            await stays(client)
        assert revocation.current_session_request.get() is None

    async def test_a_request_without_a_session_tells_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(revocation, "publish", pytest.fail)
        response = HttpResponse()
        assert middleware.KeepSocketsMiddleware(lambda request: response)(HttpRequest()) is response


class TestLookingUp:
    @shifted
    async def test_what_no_signal_tells_is_found(self, browser: Browser, user: User) -> None:
        async with browser.socket(Checked) as client, token_socket(user, Checked) as by_token:
            await advance(10)
            await stays(client)
            await User.objects.aupdate(is_active=False)
            await advance(10)
            await expect_end(client)
            await expect_end(by_token)

    @shifted
    async def test_a_session_that_was_deleted_is_found(self, browser: Browser) -> None:
        async with browser.socket(Checked) as client:
            await Session.objects.all().adelete()
            await advance(10)
            await expect_end(client)

    @shifted
    async def test_a_session_that_the_handshake_has_written_to_is_found_too(self, browser: Browser, user: User) -> None:
        """A middleware that notes something in the session leaves it modified, and saves it."""
        session = await sync_to_async(session_of)(browser)
        session["seen"] = True
        await sync_to_async(session.save)()
        async with RouteClient(Checked, as_user=user, scope={"session": session}, timeout=30) as client:
            await stays(client)
            await Session.objects.all().adelete()
            await advance(10)
            await expect_end(client)

    @pytest.mark.parametrize("stored", [True, False])
    async def test_a_client_that_repeats_auth_does_not_outrun_a_look_up(
        self, user: User, stored: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a token that says itself who it is, AUTH succeeds also after the user was deactivated."""
        rows = [
            Session(session_key=f"k{number}", session_data="", expire_date="2100-01-01T00:00:00+00:00")
            for number in range(2)
        ]
        await Session.objects.abulk_create(rows)
        looking, go = asyncio.Event(), asyncio.Event()
        in_thread = watcher.database.in_thread

        async def held(question: Any, *args: Any) -> Any:
            answer = await in_thread(question, *args)
            looking.set()
            await go.wait()
            return answer

        async def stateless(credentials: Credentials) -> Identity:
            return Identity(User(pk=user.pk, username="ada"), time.time() + 60, rows[1] if stored else "claims")

        identity = Identity(user, time.time() + 60, rows[0])
        scope = {"routesock.identity": identity, "routesock.authenticators": (stateless,)}
        async with RouteClient(Talk, as_user=user, scope=scope, timeout=30) as client:
            monkeypatch.setattr(watcher, "database", SimpleNamespace(in_thread=held))
            user.is_active = False
            await user.asave()
            await looking.wait()
            assert (await client.call("AUTH", {"token": "again"})).status == 200
            go.set()
            await expect_end(client)

    async def test_a_save_during_a_look_up_is_looked_up_too(self, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may have read the row before that."""
        looking, go = asyncio.Event(), asyncio.Event()
        in_thread = watcher.database.in_thread

        async def held(question: Any, *args: Any) -> Any:
            answer = await in_thread(question, *args)
            looking.set()
            await go.wait()
            return answer

        name = revocation.name_of(user)
        assert name is not None
        async with token_socket(user) as client:
            monkeypatch.setattr(watcher, "database", SimpleNamespace(in_thread=held))
            revocation.publish(name, {"event": "check"})
            await looking.wait()
            user.is_active = False
            await user.asave()
            await asyncio.sleep(0.01)
            go.set()
            async with asyncio.timeout(watcher.AGAIN / 2):
                await expect_end(client)

    @shifted
    async def test_nothing_is_looked_up_unless_asked_for(self, browser: Browser) -> None:
        async with browser.socket() as client:
            await User.objects.aupdate(is_active=False)
            await advance(10_000)
            await stays(client)

    @shifted
    async def test_a_deleted_token_is_found(self, user: User) -> None:
        """DRF's ``Token`` is an instance of a model; any will do."""
        token = await Session.objects.acreate(session_key="k", session_data="", expire_date="2100-01-01T00:00:00+00:00")
        async with token_socket(user, Checked, auth=token) as client:
            await advance(10)
            await stays(client)
            await Session.objects.all().adelete()
            await advance(10)
            await expect_end(client)

    @shifted
    async def test_a_database_that_fails_ends_nothing_and_is_asked_again(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*args: Any) -> bool:
            raise OperationalError("down")

        async with browser.socket(Checked) as client:
            with monkeypatch.context() as patched:
                patched.setattr(watcher, "session_holds", fail)
                for _ in range(4):
                    await advance(10)
                    await stays(client)
            told = [record for record in caplog.records if "cannot be looked up" in record.getMessage()]
            assert len(told) == 1
            await Session.objects.all().adelete()
            await advance(watcher.RETRY)
            await expect_end(client)

    @shifted
    async def test_one_look_at_a_time(self, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[float] = []

        async def endless(*args: Any) -> bool:
            asked.append(asyncio.get_running_loop().time())
            await asyncio.Event().wait()
            return True

        async with browser.socket(Checked) as client:
            monkeypatch.setattr(watcher.database, "in_thread", endless)
            for _ in range(5):
                await advance(10)
            assert len(asked) == 1
            assert (await client.call("echo", 1)).payload == 1

    @shifted
    async def test_a_user_put_into_the_scope_is_followed_from_the_next_look_on(self, user: User) -> None:
        consumers: list[Any] = []

        class Known(Checked):
            async def connect(self) -> None:
                consumers.append(self)
                await self.accept()

        async with RouteClient(Known, timeout=30) as client:
            await advance(10)
            consumers[0].scope["user"] = user
            await advance(10)
            await sync_to_async(user.delete)()
            await expect_end(client)

    @shifted
    async def test_a_signal_is_looked_up_twice(self, browser: Browser, user: User) -> None:
        """The first look may have read a replica that lags behind."""
        name = revocation.name_of(user)
        assert name is not None
        async with browser.socket() as client:
            revocation.publish(name, {"event": "check"})
            await stays(client)
            await Session.objects.all().adelete()
            await advance(watcher.AGAIN)
            await expect_end(client)

    def test_a_cache_of_sessions_that_is_down_says_nothing(self, user: User) -> None:
        with override_settings(
            SESSION_ENGINE="django.contrib.sessions.backends.cache",
            CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "s"}},
        ):
            session = Browser(user).client.session
            assert watcher.session_holds(user, session)
        with (
            override_settings(
                SESSION_ENGINE="django.contrib.sessions.backends.cache",
                CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
            ),
            pytest.raises(watcher.SessionsUnavailable),
        ):
            watcher.session_holds(user, session)
        with override_settings(
            SESSION_ENGINE="django.contrib.sessions.backends.cache",
            CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "t"}},
        ):
            assert not watcher.session_holds(user, session)

    def test_what_is_no_model_is_not_looked_up(self) -> None:
        assert watcher.token_holds(SimpleNamespace(pk=1), None)


class TestExpiry:
    @shifted
    async def test_a_socket_ends_with_its_token(self, user: User) -> None:
        async with token_socket(user, expires=time.time() + 60) as client:
            await advance(40)
            await client.send("wait", id=1)
            await advance(18)
            with pytest.raises(ClientTimeout):
                await client.receive(timeout=0.01)
            await advance(3)
            assert (await client.receive())["status"] == 401
            await expect_end(client, {**CLOSED, "reason": "Your token has expired."})

    @shifted
    async def test_also_where_sockets_do_not_end_with_their_session(self, user: User) -> None:
        async with token_socket(user, Kept, expires=time.time() + 60) as client:
            await advance(61)
            await expect_end(client, {**CLOSED, "reason": "Your token has expired."})

    @shifted
    async def test_a_user_that_no_database_knows(self) -> None:
        user = SimpleNamespace(is_authenticated=True, pk=7)
        async with token_socket(user, expires=time.time() + 60) as client:
            await advance(61)
            await expect_end(client, {**CLOSED, "reason": "Your token has expired."})

    @shifted
    async def test_a_token_without_end(self, user: User) -> None:
        async with token_socket(user) as client:
            await advance(1_000_000)
            await stays(client)


class TestGate:
    """Behind a handshake the login comes later than the consumer."""

    @pytest.mark.parametrize("early", [True, False])
    async def test_whoever_comes_through_is_followed(self, layer: Any, user: User, early: bool) -> None:
        class Open(Talk):
            @route("hello", public=True)
            async def hello(self, request: Request) -> str:
                return request.user.username

        async def who(credentials: Credentials) -> Identity:
            return Identity(user, None, credentials.token)

        app = HandshakeMiddleware(Open.as_asgi(), authenticators=[who])
        async with RouteClient(app, timeout=30) as client:
            await client.expect_push("HELLO")
            if early:
                assert (await client.call("hello")).payload == ""
            assert (await client.call("AUTH", {"token": "t"})).status == 200
            assert (await client.call("hello")).payload == "ada"
            name = revocation.name_of(user)
            assert name is not None
            assert revocation.group_of(name) in layer.groups
            await client.send("wait", id=1)
            await user.adelete()
            assert (await client.receive())["status"] == 401
            await expect_end(client)


class TestOptions:
    async def test_the_class_turns_it_off(self, browser: Browser) -> None:
        async with browser.socket(Kept) as client:
            await sync_to_async(browser.client.logout)()
            await stays(client)

    async def test_the_setting_turns_it_off_and_the_class_on(self, browser: Browser) -> None:
        class Ending(Talk):
            route_ends_with_session = True

        with override_settings(ROUTESOCK={"END_WITH_SESSION": False}):
            async with browser.socket() as client, browser.socket(Ending) as ending:
                await sync_to_async(browser.client.logout)()
                await expect_end(ending)
                await stays(client)

    @pytest.mark.parametrize(
        ("option", "value"),
        [("route_ends_with_session", 1), ("route_revalidate_interval", 0), ("route_revalidate_interval", "60")],
    )
    def test_a_value_that_cannot_be_meant(self, option: str, value: Any) -> None:
        with pytest.raises(RouteSetupError, match=option):
            type("Wrong", (RouteMixin, AsyncJsonWebsocketConsumer), {option: value})

    async def test_an_anonymous_socket_is_not_followed(self) -> None:
        async with RouteClient(Talk, as_user=AnonymousUser()) as client:
            assert (await client.call("echo", 1)).payload == 1
            assert revocation._listeners == {}


class Crossing(InMemoryChannelLayer):
    """As one that reaches other processes."""

    fails = 0

    async def group_add(self, group: str, channel: str) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError("down")
        await super().group_add(group, channel)


@pytest.fixture
def layer() -> Iterator[Any]:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": f"{__name__}.Crossing"}}):
        yield get_channel_layer()


class TestLayer:
    async def test_a_socket_is_in_the_group_of_its_user_before_connect_and_leaves_it(
        self, layer: Any, browser: Browser, user: User
    ) -> None:
        seen: list[Any] = []

        class Looking(Talk):
            async def connect(self) -> None:
                seen.append({group: len(members) for group, members in layer.groups.items()})
                await self.accept()

        name = revocation.name_of(user)
        assert name is not None
        async with browser.socket(Looking):
            assert seen == [{revocation.group_of(name): 1}]
        assert not any(layer.groups.values())

    @pytest.mark.parametrize("event", [{"event": "deleted"}, {"event": "check"}])
    async def test_a_message_of_ours_is_not_behind_a_busy_handler_nor_the_consumers(
        self, layer: Any, browser: Browser, user: User, event: Any
    ) -> None:
        channels: list[str] = []

        class Busy(Talk):
            route_disconnect_grace = 0.1

            async def connect(self) -> None:
                channels.append(self.channel_name)
                await super().connect()

            async def dispatch(self, message: Any) -> None:
                assert message["type"] != revocation.TYPE
                await super().dispatch(message)

            async def news(self, event: Any) -> None:
                busy.set()
                await asyncio.Event().wait()

        busy = asyncio.Event()
        name = revocation.name_of(user)
        assert name is not None
        async with browser.socket(Busy) as client:
            await layer.send(channels[0], {"type": "news"})
            await busy.wait()  # what comes first, a frame or a message, is up to the layer
            await client.send("echo", id=1)
            await client.settle()
            await Session.objects.all().adelete()
            signed = signing.dumps({**event, "user": name}, salt=revocation.TYPE)
            await revocation._send(name, {"type": revocation.TYPE, "event": signed})
            assert (await client.receive())["status"] == 401
            await expect_end(client)

    @pytest.mark.parametrize(
        "content",
        [{}, {"event": None}, {"event": "deleted"}, {"event": {"event": "deleted"}}, {"event": "a:b:c"}, {"user": 1}],
    )
    async def test_a_message_that_is_not_ours_does_nothing(
        self, layer: Any, browser: Browser, user: User, content: Any
    ) -> None:
        name = revocation.name_of(user)
        assert name is not None
        async with browser.socket() as client:
            await layer.group_send(revocation.group_of(name), {"user": name, **content, "type": revocation.TYPE})
            await stays(client)

    async def test_nor_does_one_about_somebody_else(self, layer: Any, browser: Browser, user: User) -> None:
        name = revocation.name_of(user)
        assert name is not None
        signed = signing.dumps({"event": "deleted", "user": "auth.user:0"}, salt=revocation.TYPE)
        async with browser.socket() as client:
            await layer.group_send(revocation.group_of(name), {"type": revocation.TYPE, "event": signed})
            await stays(client)

    async def test_a_socket_whose_session_was_deleted_from_its_scope_costs_only_itself(
        self, layer: Any, browser: Browser, user: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The event comes from another process, so the hub's reader calls the listeners."""

        class Careless(Talk):
            @route("forget")
            async def forget(self, request: Request) -> None:
                del self.scope["session"]

        name = revocation.name_of(user)
        assert name is not None
        event = {"event": "saved", "active": True, "stamp": "another", "except": None, "user": name}
        message = {"type": revocation.TYPE, "event": signing.dumps(event, salt=revocation.TYPE)}
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(browser.socket()) for _ in range(2)]
            careless = await stack.enter_async_context(browser.socket(Careless))
            sockets += [await stack.enter_async_context(browser.socket()) for _ in range(2)]
            assert (await careless.call("forget")).status == 204
            await Session.objects.all().adelete()
            await revocation._send(name, message)
            for client in sockets:
                await expect_end(client)
            await apush_to_user(user, "news", 1)
            assert (await careless.expect_push("news")).payload == 1
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert record.getMessage() == "Notifying a socket that a login may have ended failed."
        assert record.exc_info is not None
        assert record.exc_info[0] is KeyError

    @pytest.mark.parametrize("exc", [ValueError("x"), SystemExit(3), asyncio.CancelledError()], ids=type)
    async def test_a_listener_that_raises_costs_only_itself(
        self, exc: BaseException, layer: Any, browser: Browser, user: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Of a change in this process, where each listener is called on its loop."""

        class Failing:
            scope: Any = {}
            session = None
            logs_out = False
            loop = asyncio.get_running_loop()

            def notify(self, event: Any) -> None:
                raise exc

        name = revocation.name_of(user)
        assert name is not None
        failing = Failing()
        async with browser.socket() as client, browser.socket() as other:
            revocation.listen(name, failing)
            try:
                revocation.publish(name, {"event": "deleted"})
                await expect_end(client)
                await expect_end(other)
            finally:
                revocation.stop_listening(name, failing)
        failures = [record for record in caplog.records if record.levelname == "ERROR"]
        assert {record.getMessage() for record in failures} == {
            "Notifying a socket that a login may have ended failed."
        }

    async def test_a_socket_that_cannot_follow_a_login_costs_only_itself(
        self, user: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``signed_in`` is called on each socket of the process."""
        signed_in, tried = connection.Connection.signed_in, []

        def failing(self: Any, user: object) -> None:
            tried.append(self)
            if len(tried) == 1:
                raise SystemExit
            signed_in(self, user)

        monkeypatch.setattr(connection.Connection, "signed_in", failing)
        async with RouteClient(Talk), RouteClient(Talk), RouteClient(Talk):
            await sync_to_async(user_logged_in.send)(User, request=None, user=user)
        assert len({*tried}) == 3
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    async def test_a_layer_that_fails_keeps_no_other_layer_from_being_used(
        self, user: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        backend = {"BACKEND": f"{__name__}.Crossing"}
        broken = {"BACKEND": f"{__name__}.Missing"}
        with override_settings(CHANNEL_LAYERS={"first": broken, "default": broken, "last": backend}):
            sent: list[str] = []
            layer: Any = get_channel_layer("last")

            async def group_send(group: str, message: Any) -> None:
                sent.append(group)

            layer.group_send = group_send
            await revocation._send("auth.user:1", {"type": revocation.TYPE})
        assert sent == [revocation.group_of("auth.user:1")]
        assert ["'first'" in record.getMessage() for record in caplog.records] == [True, False]

    async def test_a_layer_that_is_down_does_not_keep_a_socket_from_opening(
        self, layer: Any, browser: Browser, user: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        layer.fails = 3
        async with browser.socket() as client:
            assert (await client.call("echo", 1)).payload == 1
            await until(lambda: any(layer.groups.values()))
        assert sum("cannot be reached" in record.getMessage() for record in caplog.records) == 1

    async def test_a_layer_that_is_down_keeps_nobody_from_logging_out(
        self, layer: Any, browser: Browser, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*args: Any) -> None:
            raise ConnectionError("down")

        async with browser.socket() as client:
            monkeypatch.setattr(layer, "group_send", fail)
            await sync_to_async(browser.client.logout)()
            await expect_end(client)  # which is of this process
        assert "Notifying other processes" in caplog.text

    async def test_a_layer_that_hangs_keeps_nobody_for_long(
        self, layer: Any, browser: Browser, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hang(*args: Any) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(layer, "group_send", hang)
        monkeypatch.setattr(layer, "group_add", hang)
        monkeypatch.setattr(revocation, "SEND_WAIT", 0.05)
        monkeypatch.setattr(connection, "JOIN_WAIT", 0.05)
        async with browser.socket() as client:
            await sync_to_async(browser.client.logout)()
            await expect_end(client)
        assert "Notifying other processes" in caplog.text

    async def test_without_a_layer(self, browser: Browser) -> None:
        with override_settings(CHANNEL_LAYERS={}):
            async with browser.socket() as client:
                await sync_to_async(browser.client.logout)()
                await expect_end(client)

    @pytest.mark.parametrize("pk", [1, "x" * 300, "żółw 🐢", "a.b/c"])
    def test_a_group_has_a_name_that_channels_takes(self, pk: Any) -> None:
        name = revocation.name_of(User(pk=pk))
        assert name is not None
        assert _valid_name(InMemoryChannelLayer())(revocation.group_of(name))


def test_sealed_keys() -> None:
    sealed = revocation.seal("k" * 32)
    assert sealed != revocation.seal("k" * 32)
    expected = revocation.digest("k" * 32)
    assert revocation.unseal(sealed, expected) == "k" * 32
    assert revocation.unseal(sealed, revocation.digest("other")) is None
    assert revocation.unseal(None, expected) is None
    assert revocation.seal("k" * 65) is None
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["older", settings.SECRET_KEY]):
        assert revocation.unseal(sealed, expected) == "k" * 32


def test_what_is_thrown_away_with_its_loop_is_not_kept(user: User) -> None:
    async def leave_open() -> Any:
        client = RouteClient(Talk, as_user=user)
        await client.connect()
        return client

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(leave_open())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()
    loop.close()
    del client
    gc.collect()
    assert revocation._listeners == {}
