"""DRF's permissions on routes: what they read, what they say, and that they are DRF's."""

from __future__ import annotations

import asyncio
import operator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.contrib.auth.models import Group, Permission, User
from django.http import HttpRequest
from django.urls import path
from rest_framework import permissions as drf
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request as DRFRequest

from routesock import Request, RouteMixin, RouteSetupError, route
from routesock.permissions import AllowAny, BasePermission, IsAuthenticated, IsStaff
from routesock.permissions.rest_framework import RestFramework
from routesock.testing import RouteClient

from .samples import ALICE, STAFF, asked, guarded, status, unsaid

path_to: Any = path  # by its type, it takes views alone


async def statuses(*permissions: Any, **options: Any) -> list[int]:
    return [await status(guarded(*permissions, **options), user=user) for user in (None, ALICE, STAFF)]


OPEN, SIGNED_IN, STAFF_ONLY, CLOSED = [200, 200, 200], [401, 200, 200], [401, 403, 200], [401, 403, 403]


class Sees(drf.BasePermission):
    """Permits, and keeps what it was given."""

    seen: Any = None

    def has_permission(self, request: Any, view: Any) -> bool:
        Sees.seen = request, view
        return True


class Says(drf.BasePermission):
    """Answers whatever the payload says, for both questions."""

    message = "Not today."
    code = "not_today"

    def has_permission(self, request: Any, view: Any) -> Any:
        return request.data["general"]

    def has_object_permission(self, request: Any, view: Any, obj: Any) -> Any:
        return obj


class Refuses(drf.BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return False


class Waits(drf.BasePermission):
    """As those of asynchronous views."""

    async def has_permission(self, request: Any, view: Any) -> Any:
        await asyncio.sleep(0)
        return request.user.is_staff or None

    async def has_object_permission(self, request: Any, view: Any, obj: Any) -> Any:
        await asyncio.sleep(0)
        return bool(obj)


@pytest.mark.parametrize(
    ("permission", "expected"),
    [
        pytest.param(drf.AllowAny, OPEN, id="AllowAny"),
        pytest.param(drf.IsAuthenticated, SIGNED_IN, id="IsAuthenticated"),
        pytest.param(drf.IsAuthenticated(), SIGNED_IN, id="IsAuthenticated()"),
        pytest.param(drf.IsAdminUser, STAFF_ONLY, id="IsAdminUser"),
        pytest.param(drf.IsAuthenticatedOrReadOnly, SIGNED_IN, id="IsAuthenticatedOrReadOnly"),
        pytest.param(Refuses, CLOSED, id="Refuses"),
        pytest.param(Waits, STAFF_ONLY, id="Waits"),
        pytest.param(Waits(), STAFF_ONLY, id="Waits()"),
        pytest.param(drf.IsAuthenticated & drf.IsAdminUser, STAFF_ONLY, id="IsAuthenticated & IsAdminUser"),
        pytest.param(drf.IsAdminUser | drf.IsAuthenticated, SIGNED_IN, id="IsAdminUser | IsAuthenticated"),
        pytest.param((drf.IsAdminUser | drf.IsAuthenticated)(), SIGNED_IN, id="(IsAdminUser | IsAuthenticated)()"),
        pytest.param(~drf.IsAdminUser, [200, 200, 403], id="~IsAdminUser"),
        pytest.param((~drf.IsAdminUser)(), [200, 200, 403], id="(~IsAdminUser)()"),
        pytest.param(drf.IsAuthenticated & ~drf.IsAdminUser, [401, 200, 403], id="IsAuthenticated & ~IsAdminUser"),
        pytest.param(~Waits & drf.IsAuthenticated, [401, 200, 403], id="~Waits & IsAuthenticated"),
    ],
)
async def test_class_instance_and_composition_are_taken(permission: Any, expected: list[int]) -> None:
    """As they stand in ``permission_classes``; inside of our operators and of DRF's, beside ours and theirs."""
    assert await statuses(permission) == expected
    assert await statuses(AllowAny & permission) == expected
    assert await statuses(permission & AllowAny) == expected
    assert await statuses(RestFramework(permission)) == expected
    assert [
        await status(unsaid(route_permissions=[permission]), user=user) for user in (None, ALICE, STAFF)
    ] == expected


@pytest.mark.parametrize("general", [True, False, None, 1])
@pytest.mark.parametrize("on_object", [True, False, None, 1])
@pytest.mark.parametrize("negated", [False, True])
async def test_object_permission_is_asked(general: Any, on_object: Any, negated: bool) -> None:
    """With what hydrate loaded. ``~`` turns both questions, where DRF would turn each by itself."""
    consumer = guarded(~Says if negated else Says, hydrate=lambda request: request.payload["object"])
    reply = await asked(consumer, {"general": general, "object": on_object}, user=ALICE)
    permits = general is True and on_object is True
    assert reply.status == (200 if permits is not negated else 403)
    if reply.status == 403 and not negated:
        assert (reply.payload["code"], reply.payload["detail"]) == ("not_today", "Not today.")


@pytest.mark.parametrize("combine", [operator.or_, operator.and_])
async def test_negation_of_a_class_without_object_check_stays_right_for_objects(combine: Any) -> None:
    """DRF's own ``~`` denies every object there, since the method that nobody wrote says ``True``."""
    permission = combine(~drf.IsAdminUser, ~drf.IsAdminUser)
    assert await statuses(permission, hydrate=lambda request: 1) == [200, 200, 403]


async def test_async_object_permission_is_awaited() -> None:
    """A coroutine is truthy."""
    consumer = guarded(Waits, hydrate=lambda request: request.payload)
    assert [await status(consumer, obj, user=STAFF) for obj in (1, 0)] == [200, 403]


class Room(RouteMixin, AsyncJsonWebsocketConsumer):
    queryset = Group.objects.all()
    required_scopes = ["chat"]

    @route("message.edit", permissions=[Sees])
    async def edit_message(self, request: Request) -> None: ...


async def seen_by_a_permission(**options: Any) -> Any:
    application = URLRouter([path_to("rooms/<slug:room>/", Room.as_asgi())])
    async with RouteClient(application, "/rooms/general/?token=a%20b&x=%FF", **options) as client:
        assert (await client.call("message.edit", {"id": 7})).status == 204
    return Sees.seen


class TestRequest:
    async def test_it_is_drfs(self) -> None:
        """With Django's inside: whatever a permission reads on one of them is there."""
        request, view = await seen_by_a_permission()
        assert type(request) is DRFRequest
        assert isinstance(request._request, HttpRequest)
        assert view.request is request
        assert request.parser_context["view"] is view

    async def test_it_has_the_handshakes_headers_address_path_query_and_cookies(self) -> None:
        """By the names that Django gives them."""
        headers = {"X-Api-Key": "secret", "Cookie": "a=b"}
        request, _ = await seen_by_a_permission(headers=headers)
        assert (request.headers["X-Api-Key"], request.META["HTTP_X_API_KEY"]) == ("secret", "secret")
        assert request.COOKIES == {"a": "b"}
        assert (request.query_params["token"], request.GET["token"]) == ("a b", "a b")
        assert (request.path, request.META["REMOTE_ADDR"]) == ("/rooms/general/", "127.0.0.1")
        assert request.build_absolute_uri("/") == "http://testserver/"

    async def test_headers_of_a_frame_are_not_among_them(self) -> None:
        """A client could else write what only the server in front may."""
        async with RouteClient(Room, headers={"X-User": "alice"}) as client:
            frame = {"route": "message.edit", "uuid": 1, "headers": {"X-User": "eve", "Authorization": "x"}}
            await client.send_json(frame)
            await client.expect_reply(1)
        request, _ = Sees.seen
        assert (request.headers["X-User"], "Authorization" in request.headers) == ("alice", False)

    @pytest.mark.parametrize(("scheme", "secure"), [("wss", True), ("ws", False)])
    async def test_it_is_secure_where_the_socket_is(self, scheme: str, secure: bool) -> None:
        """``wss`` is ``https``."""

        class Schemed(Room):
            async def connect(self) -> None:
                self.scope["scheme"] = scheme
                await self.accept()

        async with RouteClient(Schemed) as client:
            await client.call("message.edit")
        assert Sees.seen[0].is_secure() is secure

    async def test_query_may_be_no_text(self) -> None:
        """A server hands on the bytes as they came."""

        class Odd(Room):
            async def connect(self) -> None:
                self.scope["query_string"] = b"x=\xff&y=1"
                await self.accept()

        async with RouteClient(Odd) as client:
            assert (await client.call("message.edit")).status == 204
        assert Sees.seen[0].query_params["y"] == "1"

    async def test_its_user_is_the_sockets(self) -> None:
        """An anonymous instance without one, and never one that DRF's authentication finds."""
        request, _ = await seen_by_a_permission(as_user=ALICE)
        assert (request.user, request._request.user) == (ALICE, ALICE)
        request, _ = await seen_by_a_permission()
        assert request.user.is_authenticated is False
        assert request.auth is None

    async def test_its_auth_and_session_are_the_scopes(self) -> None:
        """``scope["auth"]`` is where an authentication middleware leaves it."""

        class Scoped(Room):
            async def connect(self) -> None:
                self.scope |= {"auth": "token", "session": {"a": 1}}
                await self.accept()

        async with RouteClient(Scoped) as client:
            await client.call("message.edit")
        request, _ = Sees.seen
        assert (request.auth, request.session) == ("token", {"a": 1})

    async def test_its_data_is_the_payload(self) -> None:
        """Reading it as a form, which it is not, changes nothing."""
        request, _ = await seen_by_a_permission()
        assert (request.data, dict(request.POST), dict(request.FILES), request.data) == ({"id": 7}, {}, {}, {"id": 7})

    async def test_one_request_serves_all_permissions_of_a_message(self) -> None:
        """What one of them finds out and keeps there, the next one finds; the next message has another."""

        class Finds(drf.BasePermission):
            def has_permission(self, request: Any, view: Any) -> bool:
                assert not hasattr(request, "found")
                request.found = view.found = request.data
                return True

        class Uses(drf.BasePermission):
            def has_permission(self, request: Any, view: Any) -> bool:
                return bool(request.found == view.found)

            def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
                return bool(request.found == obj)

        async with RouteClient(guarded(Finds, Uses, hydrate=lambda request: request.payload)) as client:
            assert [(await client.call("ask", payload)).status for payload in (1, 2)] == [200, 200]

    async def test_two_sockets_have_two(self) -> None:
        """And each its own user."""
        consumer = guarded(drf.IsAdminUser)
        async with RouteClient(consumer, as_user=ALICE) as alice, RouteClient(consumer, as_user=STAFF) as staff:
            replies = await asyncio.gather(*(client.call("ask") for client in (alice, staff, alice, staff)))
        assert [reply.status for reply in replies] == [403, 200, 403, 200]


class TestView:
    async def test_it_has_the_url_and_the_action(self) -> None:
        """As in a viewset, the action is the name of the method."""
        _, view = await seen_by_a_permission()
        assert (view.args, view.kwargs, view.action) == ((), {"room": "general"}, "edit_message")
        async with RouteClient(Room) as client:
            await client.call("message.edit")
        assert (Sees.seen[1].args, Sees.seen[1].kwargs) == ((), {})

    async def test_all_else_is_the_consumers(self) -> None:
        """What permissions of third parties look for on a view stands on the class."""
        _, view = await seen_by_a_permission()
        assert (view.queryset, view.required_scopes) == (Room.queryset, ["chat"])
        assert getattr(view, "get_queryset", None) is None


class TestMethod:
    @pytest.mark.parametrize(
        ("permission", "expected"),
        [
            (drf.IsAuthenticatedOrReadOnly, SIGNED_IN),
            (RestFramework(drf.IsAuthenticatedOrReadOnly, method="GET"), OPEN),
            (RestFramework(drf.IsAuthenticatedOrReadOnly, method="DELETE"), SIGNED_IN),
            (RestFramework(drf.IsAdminUser | drf.IsAuthenticatedOrReadOnly, method="GET"), OPEN),
            (~RestFramework(drf.IsAuthenticatedOrReadOnly, method="GET"), CLOSED),
            (RestFramework(drf.IsAuthenticatedOrReadOnly, method="GET") & drf.IsAuthenticatedOrReadOnly, SIGNED_IN),
        ],
    )
    async def test_method_is_post_unless_the_route_says_so(self, permission: Any, expected: list[int]) -> None:
        """Nothing counts as safe by itself, and each permission reads its own."""
        assert await statuses(permission) == expected

    @pytest.mark.django_db
    @pytest.mark.parametrize(("method", "codename"), [("POST", "add_group"), ("PATCH", "change_group")])
    def test_model_permissions_go_by_it(self, method: str, codename: str) -> None:
        """The model is that of the consumer's ``queryset``; a permission that is taken away is missed at once."""
        bob = User.objects.create_user("bob")
        permission = RestFramework(drf.DjangoModelPermissions, method=method)
        with RouteClient(guarded(permission, queryset=Group.objects.all()), as_user=bob) as client:
            assert client.call("ask").status == 403
            bob.user_permissions.add(Permission.objects.get(codename=codename))
            assert client.call("ask").status == 200
            bob.user_permissions.clear()
            assert client.call("ask").status == 403

    @pytest.mark.django_db
    def test_object_permissions_are_asked_of_the_backends(self) -> None:
        """Django's own has none for objects, whatever the user has in general."""
        bob = User.objects.create_user("bob")
        bob.user_permissions.add(Permission.objects.get(codename="change_group"))
        permission = RestFramework(drf.DjangoObjectPermissions, method="PUT")
        consumer = guarded(permission, queryset=Group.objects.all(), hydrate=lambda request: Group(pk=1))
        with RouteClient(consumer, as_user=bob) as client:
            assert client.call("ask").status == 403

    @pytest.mark.parametrize("method", ["get", "", None, 5])
    def test_name_of_no_method_is_refused(self, method: Any) -> None:
        """DRF compares it as it is."""
        with pytest.raises(RouteSetupError, match='such as "GET"'):
            RestFramework(drf.AllowAny, method=method)

    @pytest.mark.parametrize("permission", [None, IsAuthenticated, "auth.add_user", object])
    def test_what_is_not_drfs_is_refused(self, permission: Any) -> None:
        """It would not read the method."""
        with pytest.raises(RouteSetupError, match="is no DRF permission"):
            guarded(RestFramework(permission))


async def test_our_own_may_stand_in_drfs_operators() -> None:
    """``DRF & ours`` is DRF's to put together."""

    class Odd(BasePermission):
        async def has_permission(self, request: Request) -> bool:
            return bool(request.payload % 2)

    for permission in (drf.IsAuthenticated & Odd, drf.IsAuthenticated & ~Odd | drf.IsAuthenticated & Odd & Odd):
        consumer = guarded(permission)
        assert (await asked(consumer, 1, user=ALICE)).status == 200
        assert (await asked(consumer, 1)).status == 401
    assert await statuses(drf.IsAdminUser | IsStaff) == STAFF_ONLY


class XOR:
    """An operator of a third party."""

    def __init__(self, one: Any, other: Any) -> None:
        self.one, self.other = one, other

    def has_permission(self, request: Any, view: Any) -> bool:
        return bool(self.one.has_permission(request, view) != self.other.has_permission(request, view))


async def test_operator_that_nobody_knows_is_asked_as_it_is() -> None:
    """With DRF's arguments."""
    holder = drf.OperandHolder(XOR, drf.IsAuthenticated, drf.IsAdminUser)
    assert await statuses(holder) == [401, 200, 403]


async def test_message_of_one_request_is_not_anothers() -> None:
    """A class is instantiated for each check, as DRF does."""

    class Told(drf.BasePermission):
        def has_permission(self, request: Any, view: Any) -> bool:
            self.message = f"Not {request.data}." if request.data else None
            return False

    consumer = guarded(Told)
    assert (await asked(consumer, 7, user=ALICE)).payload["detail"] == "Not 7."
    assert (await asked(consumer, None, user=ALICE)).payload["detail"] == "You do not have permission to do this."


async def test_error_that_a_permission_raises_is_the_reply() -> None:
    """With DRF's own status, text and code."""

    class Raises(drf.BasePermission):
        def has_permission(self, request: Any, view: Any) -> bool:
            raise NotAuthenticated("Token expired.", code="expired")

    reply = await asked(guarded(drf.AllowAny & ~Raises), user=ALICE)
    assert (reply.status, reply.payload["code"], reply.payload["detail"]) == (401, "expired", "Token expired.")


async def test_view_without_what_a_permission_needs_denies() -> None:
    """It is a fault of the consumer, which has to have a ``queryset``."""
    reply = await asked(guarded(drf.DjangoModelPermissions), user=ALICE, raise_exceptions=False)
    assert reply.status == 500
