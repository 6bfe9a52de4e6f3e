"""What permits a request and what denies it, what a denial says, and where permissions are asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.exceptions import ObjectDoesNotExist, SuspiciousOperation, ValidationError
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy
from marshmallow import Schema, fields
from marshmallow import ValidationError as MarshmallowError
from rest_framework import exceptions as drf

from routesock import Request, RouteMixin, exceptions, route, run_on_loop
from routesock._pipeline.permission_steps import PermissionFault
from routesock._runtime import database
from routesock.permissions import AllowAny, BasePermission, HasPerm, IsAuthenticated, IsStaff
from routesock.testing import ClientReply, RouteClient

from .samples import ALICE, STAFF, asked, guarded, handled, status


def body(reply: ClientReply) -> tuple[int, str, str]:
    return reply.status, reply.payload["code"], reply.payload["detail"]


async def true() -> Any:
    await asyncio.sleep(0)
    return True


async def one() -> Any:
    return 1


async def nothing() -> Any:
    return None


async def generator() -> AsyncIterator[bool]:
    yield True


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        return true().__await__()


ANSWERS: dict[str, tuple[Callable[[], Any], bool]] = {
    "True": (lambda: True, True),
    "False": (lambda: False, False),
    "None": (lambda: None, False),
    "1": (lambda: 1, False),
    "'True'": (lambda: "True", False),
    "an object": (object, False),
    "the type bool": (lambda: bool, False),
    "a coroutine of True": (true, True),
    "a coroutine of 1": (one, False),
    "a coroutine of None": (nothing, False),
    "an awaitable of True": (Later, True),
    "a coroutine function": (lambda: true, False),
    "an async generator": (generator, False),
}

FORMS: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "function": lambda answer: lambda request: answer(),
    "on the loop": lambda answer: run_on_loop(lambda request: answer()),
    "object with __call__": lambda answer: type("May", (), {"__call__": lambda self, request: answer()})(),
    "class": lambda answer: type("May", (BasePermission,), {"has_permission": lambda self, request: answer()}),
    "instance": lambda answer: type("May", (BasePermission,), {"has_permission": lambda self, request: answer()})(),
    "on the loop, class": lambda answer: type(
        "May", (BasePermission,), {"has_permission": run_on_loop(lambda self, request: answer())}
    ),
}


class TestOnlyTruePermits:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("name", ANSWERS)
    async def test_answer_of_a_plain_function(self, name: str, form: str) -> None:
        """What has to be awaited is awaited first; then nothing but ``True`` itself will do, nothing truthy."""
        answer, permits = ANSWERS[name]
        assert await status(guarded(FORMS[form](answer)), user=ALICE) == (200 if permits else 403)

    @pytest.mark.parametrize("name", ANSWERS)
    async def test_answer_of_a_method_of_the_consumer(self, name: str) -> None:
        """It is named, as hooks are."""
        answer, permits = ANSWERS[name]
        consumer = guarded("may_ask", may_ask=lambda self, request: answer())
        assert await status(consumer, user=ALICE) == (200 if permits else 403)

    @pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
    @pytest.mark.parametrize(("value", "expected"), [(True, 200), (False, 403), (None, 403), (1, 403), ([1], 403)])
    async def test_answer_of_an_async_function(self, value: Any, expected: int, base: type) -> None:
        """Function, method and class alike."""

        async def may(*args: Any) -> Any:
            await asyncio.sleep(0)
            return value

        cls = type("May", (BasePermission,), {"has_permission": may})
        for permission in (may, cls, cls(), "may"):
            assert await status(guarded(permission, may=may, base=base), user=ALICE) == expected

    async def test_all_of_a_list_have_to_permit(self) -> None:
        """And the first that does not ends it."""
        calls: list[str] = []

        def said(name: str, value: bool) -> Any:
            return lambda request: calls.append(name) or value

        consumer = guarded(said("a", True), said("b", False), said("c", True))
        assert await status(consumer, user=ALICE) == 403
        assert calls == ["a", "b"]

    async def test_each_check_has_an_instance_of_its_own(self) -> None:
        """What a permission keeps on ``self``, a message for example, is not seen by another socket's request."""
        seen: list[Any] = []

        class Keeps(BasePermission):
            def has_permission(self, request: Request) -> bool:
                seen.append(vars(self).copy())
                self.kept = request.payload
                return True

        consumer = guarded(Keeps)
        await asked(consumer, 1)
        await asked(consumer, 2)
        assert seen == [{}, {}]

    async def test_instance_is_shared(self) -> None:
        """One that was given as such."""

        class Keeps(BasePermission):
            kept = 0

            def has_permission(self, request: Request) -> bool:
                self.kept += 1
                return True

        permission = Keeps()
        consumer = guarded(permission)
        await asked(consumer)
        await asked(consumer)
        assert permission.kept == 2


class Stranger:
    """What is neither a user nor an ``AnonymousUser``."""

    is_authenticated = "yes"
    is_staff = is_active = 1


USERS: dict[str, Any] = {
    "nobody": None,
    "AnonymousUser": AnonymousUser(),
    "a lazy AnonymousUser": SimpleLazyObject(AnonymousUser),
    "the class AnonymousUser": AnonymousUser,
    "the class User": User,
    "something truthy": Stranger(),
}


class TestWhoIsAsked:
    @pytest.mark.parametrize("name", USERS)
    @pytest.mark.parametrize("permission", [IsAuthenticated, IsStaff, IsAuthenticated | IsStaff])
    async def test_who_is_not_signed_in_is_denied_with_401(self, name: str, permission: Any) -> None:
        """Whatever stands in the scope: only a user that says ``True`` is one."""

        class Scoped(guarded(permission)):  # type: ignore[misc]
            async def connect(self) -> None:
                if USERS[name] is not None:
                    self.scope["user"] = USERS[name]
                await self.accept()

        reply = await asked(Scoped)
        assert body(reply) == (401, "not_authenticated", "Authentication is required.")

    @pytest.mark.parametrize("user", [ALICE, SimpleLazyObject(lambda: ALICE)], ids=["user", "lazy"])
    async def test_who_is_signed_in_is_authenticated(self, user: Any) -> None:
        """A lazy object is the user that it stands for."""
        assert await status(guarded(IsAuthenticated), user=user) == 200
        assert await status(guarded(IsStaff), user=user) == 403

    @pytest.mark.parametrize(("active", "expected"), [(True, 200), (False, 403)])
    async def test_staff_is_who_may_enter_the_admin(self, active: bool, expected: int) -> None:
        """As ``AdminSite.has_permission`` decides."""
        user = User(pk=3, username="c", is_staff=True, is_active=active)
        assert await status(guarded(IsStaff), user=user) == expected

    async def test_everybody_is_permitted_by_allow_any(self) -> None:
        """As with ``permissions=()``."""
        assert await status(guarded(AllowAny)) == await status(guarded()) == 200

    async def test_user_is_the_one_of_this_moment(self) -> None:
        """A socket that signs out is nobody from then on."""

        class Leaving(guarded(IsAuthenticated)):  # type: ignore[misc]
            @route("leave")
            async def leave(self, request: Request) -> None:
                self.scope["user"] = AnonymousUser()

        async with RouteClient(Leaving, as_user=ALICE) as client:
            assert [(await client.call(name)).status for name in ("ask", "leave", "ask")] == [200, 204, 401]


class Message(BasePermission):
    message = gettext_lazy("Members only.")
    code = "members_only"

    def has_permission(self, request: Request) -> bool:
        return False


class Dynamic(BasePermission):
    def has_permission(self, request: Request) -> bool:
        self.message = f"Not {request.payload}."
        return False


class Welcome(BasePermission):
    message = "You may."

    def has_permission(self, request: Request) -> bool:
        return True


class LaterWelcome(Welcome):
    async def has_permission(self, request: Request) -> bool:  # type: ignore[override]
        return True


def no(request: Request) -> bool:
    return False


STANDARD = "You do not have permission to do this."


class TestDenial:
    @pytest.mark.parametrize(
        ("permission", "code", "detail"),
        [
            (no, "permission_denied", STANDARD),
            (Message, "members_only", "Members only."),
            (Message(), "members_only", "Members only."),
            (Dynamic, "permission_denied", "Not 7."),
            (IsAuthenticated & Message, "members_only", "Members only."),
            (IsStaff | Message, "members_only", "Members only."),
            (Message | IsStaff, "permission_denied", STANDARD),
            (~IsAuthenticated, "permission_denied", STANDARD),
            (~Welcome(), "permission_denied", STANDARD),
            (~LaterWelcome(), "permission_denied", STANDARD),
            (Message | ~Welcome, "permission_denied", STANDARD),
            (~~Message(), "members_only", "Members only."),
            (~(~Message() | IsStaff), "members_only", "Members only."),
        ],
    )
    async def test_reason_is_that_of_the_permission_asked_last(self, permission: Any, code: str, detail: str) -> None:
        """Of one that permitted, and is negated, there is none to tell."""
        assert body(await asked(guarded(permission), 7, user=ALICE)) == (403, code, detail)

    async def test_somebody_who_is_not_signed_in_is_told_to_sign_in(self) -> None:
        """As in DRF: the reason concerns those who have."""
        assert body(await asked(guarded(Message))) == (401, "not_authenticated", "Authentication is required.")

    async def test_notification_is_denied_with_an_error(self) -> None:
        """It has no id, and its handler does not run."""
        handled.clear()
        async with RouteClient(guarded(no), as_user=ALICE) as client:
            await client.send_json({"route": "ask"})
            frame = await client.receive()
        assert (frame["uuid"], frame["status"], handled) == (None, 403, [])


class LookedUp(ObjectDoesNotExist):
    pass


RAISED: list[tuple[BaseException, int, str]] = [
    (exceptions.NotAuthenticated(), 401, "not_authenticated"),
    (exceptions.PermissionDenied("No.", code="no"), 403, "no"),
    (exceptions.NotFound(), 404, "not_found"),
    (exceptions.Throttled(wait=3), 429, "throttled"),
    (DjangoPermissionDenied("No."), 403, "permission_denied"),
    (Http404(), 404, "not_found"),
    (drf.NotAuthenticated(), 401, "not_authenticated"),
    (drf.AuthenticationFailed(), 401, "authentication_failed"),
    (drf.PermissionDenied(), 403, "permission_denied"),
    (drf.MethodNotAllowed("POST"), 405, "method_not_allowed"),
    (ZeroDivisionError(), 500, "internal_error"),
    (KeyError("room"), 500, "internal_error"),
    (StopIteration(), 500, "internal_error"),
    (SystemExit(), 500, "internal_error"),
    (LookedUp("Room matching query does not exist."), 500, "internal_error"),
    (ValidationError({"room": "No UUID."}), 500, "internal_error"),
    (MarshmallowError({"room": ["No UUID."]}), 500, "internal_error"),
    (SuspiciousOperation(), 500, "internal_error"),
]


class TestRaising:
    @pytest.mark.parametrize("form", ["on the loop", "in the thread", "negated", "async"])
    @pytest.mark.parametrize(("error", "expected", "code"), RAISED, ids=lambda value: type(value).__name__)
    async def test_what_a_permission_raises_denies(
        self, error: BaseException, expected: int, code: str, form: str
    ) -> None:
        """Errors that speak of permission are the reply; a lookup or a validation that failed is a fault of ours."""

        def may(request: Request) -> bool:
            raise error

        async def amay(request: Request) -> bool:
            raise error

        permission: Any = {
            "on the loop": run_on_loop(lambda request: may(request)),
            "in the thread": may,
            "negated": ~FunctionPermission(may),
            "async": amay,
        }[form]
        reply = await asked(guarded(permission), user=ALICE, raise_exceptions=False)
        assert (reply.status, reply.payload["code"]) == (expected, code)

    async def test_fault_is_raised_in_the_test_that_asked(self) -> None:
        """With what happened as its cause."""

        def may(request: Request) -> bool:
            raise LookedUp("no room")

        with pytest.raises(PermissionFault, match="LookedUp: no room") as caught:
            await asked(guarded(may), user=ALICE)
        assert isinstance(caught.value.__cause__, LookedUp)


class FunctionPermission(BasePermission):
    def __init__(self, function: Callable[[Request], bool]) -> None:
        self._function = function

    def has_permission(self, request: Request) -> bool:
        return self._function(request)


class Strict(Schema):
    number = fields.Integer(required=True)


def loaded(request: Request) -> Any:
    handled.append("hydrate")
    return request.payload


class TestPlace:
    async def test_denied_caller_learns_nothing_of_the_schema(self) -> None:
        """The payload is not looked at."""
        consumer = guarded(IsAuthenticated, schema=Strict, hydrate=loaded)
        for payload in (None, {}, {"number": "x"}, {"number": 1}):
            assert (await asked(consumer, payload)).status == 401
        assert (await asked(consumer, {"number": "x"}, user=ALICE)).status == 422

    async def test_permission_sees_the_payload_as_the_client_sent_it(self) -> None:
        """Which may be anything."""
        seen: list[Any] = []
        consumer = guarded(lambda request: seen.append(request.payload) or True, schema=Strict)
        await asked(consumer, {"number": "7"})
        await asked(consumer, [1])
        assert seen == [{"number": "7"}, [1]]

    async def test_middleware_sees_a_denied_request(self) -> None:
        """It surrounds the permissions, too."""
        seen: list[Any] = []

        async def middleware(request: Request, call_next: Any) -> Any:
            try:
                return await call_next(request)
            except exceptions.RoutesockError as exc:
                seen.append(exc.status)
                raise

        assert await status(guarded(IsAuthenticated, route_middleware=[middleware])) == 401
        assert seen == [401]

    async def test_stream_does_not_start_for_a_denied_request(self) -> None:
        """Its one reply is the error; without hydrate, and with what hydrate loaded."""
        started: list[Any] = []

        class Odd(BasePermission):
            def has_object_permission(self, request: Request, obj: Any) -> bool:
                return bool(obj % 2)

        class Streaming(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("count", permissions=[IsAuthenticated])
            async def count(self, request: Request) -> Any:
                started.append(request.route)
                yield 1

            @route("count.object", permissions=[Odd], hydrate=lambda request: request.payload)
            def count_object(self, request: Request) -> Any:
                started.append(request.route)
                yield request.payload

        async with RouteClient(Streaming) as client:
            assert (await client.call("count")).status == 401
        async with RouteClient(Streaming, as_user=ALICE) as client:
            assert (await client.call("count.object", 2)).status == 403
            assert started == []
            assert [reply.status async for reply in client.stream("count.object", 3)] == [206, 200]
            assert [reply.status async for reply in client.stream("count")] == [206, 200]

    async def test_parallel_route_is_guarded(self) -> None:
        """Permissions are a matter of the route, not of the order."""

        class Parallel(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("ask", permissions=[IsAuthenticated], parallel=True)
            async def ask(self, request: Request) -> None:
                raise AssertionError

        assert await status(Parallel) == 401

    async def test_permission_that_hangs_ends_with_the_deadline(self) -> None:
        """As a schema or hydrate that does."""

        async def hangs(request: Request) -> bool:
            await asyncio.sleep(60)
            return True

        for permission in (hangs, lambda request: hangs(request), run_on_loop(lambda request: hangs(request))):
            assert (await asked(guarded(permission, route_timeout=0.01), user=ALICE)).status == 504


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each function that was taken to the database thread."""
    taken: list[Any] = []
    original = database._in_thread

    async def counted(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        taken.append(function)
        return await original(function, args)

    monkeypatch.setattr(database, "_in_thread", counted)
    return taken


def here() -> int:
    return threading.get_ident()


class TestThread:
    async def test_own_permissions_need_no_hop(self, hops: list[Any]) -> None:
        """Neither alone nor together, whatever they say."""
        for permission in (AllowAny, IsAuthenticated, IsStaff, IsStaff | ~IsAuthenticated | AllowAny):
            for user in (None, ALICE, STAFF):
                await asked(guarded(permission, IsAuthenticated), user=user)
        assert hops == []

    async def test_sync_permission_runs_in_the_database_thread(self) -> None:
        """Unless it is marked as one that never waits; an async one runs on the loop."""
        places: dict[str, int] = {}

        def sync(request: Request) -> bool:
            places["sync"] = here()
            return True

        @run_on_loop
        def marked(request: Request) -> bool:
            places["marked"] = here()
            return True

        async def asynchronous(request: Request) -> bool:
            places["async"] = here()
            return True

        class Method(BasePermission):
            def has_permission(self, request: Request) -> bool:
                places["class"] = here()
                return True

            @run_on_loop
            def has_object_permission(self, request: Request, obj: Any) -> bool:
                places["marked in class"] = here()
                return True

        consumer = guarded(sync, marked, asynchronous, Method, hydrate=run_on_loop(lambda request: 1))
        assert await status(consumer) == 200
        on_loop = {name for name, place in places.items() if place == here()}
        assert (on_loop, {*places} - on_loop) == ({"marked", "async", "marked in class"}, {"sync", "class"})

    async def test_sync_permissions_share_one_hop_with_the_sync_steps_behind(self, hops: list[Any]) -> None:
        """A denial ends it there."""

        class Owner(BasePermission):
            def has_permission(self, request: Request) -> bool:
                return bool(request.payload)

            def has_object_permission(self, request: Request, obj: Any) -> bool:
                return bool(obj == request.data)

        class Sync(RouteMixin, AsyncJsonWebsocketConsumer):
            @route(
                "ask",
                permissions=[IsAuthenticated, lambda request: True, Owner, IsAuthenticated],
                hydrate=loaded,
                dehydrate=lambda value: value,
            )
            def ask(self, request: Request) -> Any:
                handled.append(request.payload)
                return request.payload

        handled.clear()
        async with RouteClient(Sync, as_user=ALICE) as client:
            assert (await client.call("ask", 1)).status == 200
            assert (len(hops), handled) == (1, ["hydrate", 1])
            assert (await client.call("ask", 0)).status == 403
            assert (len(hops), handled) == (2, ["hydrate", 1])

    async def test_who_is_not_signed_in_costs_no_hop_where_that_is_asked_first(self, hops: list[Any]) -> None:
        """What can be decided on the loop is."""
        assert await status(guarded(IsAuthenticated, "auth.add_user")) == 401
        assert hops == []

    async def test_mixed_expression_asks_each_where_it_runs(self, hops: list[Any]) -> None:
        """And none that cannot change anything."""

        async def never(request: Request) -> bool:
            return False

        def sync(request: Request) -> bool:
            return True

        assert await status(guarded(IsAuthenticated | FunctionPermission(sync) | never), user=ALICE) == 200
        assert hops == []
        assert await status(guarded(~IsAuthenticated | FunctionPermission(sync) | never), user=ALICE) == 200
        assert len(hops) == 1

    @pytest.mark.parametrize("isolated", [False, True])
    async def test_coroutine_of_a_plain_function_may_use_the_database(self, isolated: bool) -> None:
        """The thread that waits for it lets it in."""
        places: list[int] = []

        async def later(request: Request) -> bool:
            places.append(await database_sync_to_async(here)())
            return bool(request.payload)

        def may(request: Request) -> Any:
            places.append(here())
            return later(request)

        consumer = guarded(may, route_dedicated_threads=isolated)
        assert [await status(consumer, payload, user=ALICE) for payload in (True, False)] == [200, 403]
        assert here() not in places
        assert places[0] == places[1]


@pytest.mark.django_db
class TestHasPerm:
    @pytest.fixture
    def bob(self) -> User:
        return User.objects.create_user("bob")

    def ask(self, user: Any, *permissions: Any) -> int:
        with RouteClient(guarded(*permissions), as_user=user) as client:
            return client.call("ask").status

    def test_permission_of_the_user_or_of_a_group_permits(self, bob: User) -> None:
        """A string says the same as the class."""
        group = Group.objects.create(name="editors")
        group.permissions.add(Permission.objects.get(codename="add_user"))
        bob.groups.add(group)
        bob.user_permissions.add(Permission.objects.get(codename="change_user"))
        both = HasPerm("auth.add_user", "auth.change_user")
        for permission in ("auth.add_user", HasPerm("auth.change_user"), both, IsStaff | both):
            assert self.ask(bob, permission) == 200
        for permission in ("auth.delete_user", HasPerm("auth.add_user", "auth.delete_user"), ~both):
            assert self.ask(bob, permission) == 403

    def test_anonymous_and_inactive_users_have_none(self, bob: User) -> None:
        """A superuser has all, while active."""
        bob.is_superuser = True
        assert self.ask(bob, "auth.add_user") == 200
        assert self.ask(SimpleLazyObject(lambda: bob), "auth.add_user") == 200
        bob.is_active = False
        assert self.ask(bob, "auth.add_user") == 403
        assert self.ask(None, "auth.add_user") == 401

    def test_permission_that_is_taken_away_is_missed_at_the_next_request(self, bob: User) -> None:
        """And one that is given is noticed: the socket's user keeps nothing."""
        permission = Permission.objects.get(codename="add_user")
        with RouteClient(guarded("auth.add_user"), as_user=bob) as client:
            answers = [client.call("ask").status]
            bob.user_permissions.add(permission)
            answers.append(client.call("ask").status)
            bob.user_permissions.remove(permission)
            answers.append(client.call("ask").status)
        assert answers == [403, 200, 403]
        assert not [name for name in vars(bob) if name.endswith("_perm_cache")]

    def test_lazy_user_is_asked_anew_too(self, bob: User) -> None:
        """Such as the one that Channels' middleware puts into the scope, or one that nobody has looked up yet."""
        permission = Permission.objects.get(codename="add_user")
        for lazy in (SimpleLazyObject(lambda: bob), SimpleLazyObject(lambda: User.objects.get(pk=bob.pk))):

            class Lazy(guarded("auth.add_user")):  # type: ignore[misc]
                user = lazy

                async def connect(self) -> None:
                    self.scope["user"] = self.user
                    await self.accept()

            with RouteClient(Lazy) as client:
                answers = [client.call("ask").status]
                bob.user_permissions.add(permission)
                answers.append(client.call("ask").status)
                bob.user_permissions.clear()
                answers.append(client.call("ask").status)
            assert answers == [403, 200, 403]

    def test_what_the_user_remembers_does_not_count(self, bob: User) -> None:
        """A handler may have asked before, and Django keeps the answer."""
        assert not bob.has_perm("auth.add_user")
        User.objects.get(pk=bob.pk).user_permissions.add(Permission.objects.get(codename="add_user"))
        assert not bob.has_perm("auth.add_user")
        assert self.ask(bob, "auth.add_user") == 200
        assert not bob.has_perm("auth.add_user")

    def test_user_that_is_no_model_is_asked_as_it_is(self) -> None:
        """That of a token, for example."""
        user = SimpleNamespace(is_authenticated=True, has_perm=lambda perm: perm == "auth.add_user")
        assert self.ask(user, "auth.add_user") == 200
        assert self.ask(user, "auth.change_user") == 403
        assert self.ask(SimpleNamespace(is_authenticated=True, has_perm=lambda perm: 1), "auth.add_user") == 403
