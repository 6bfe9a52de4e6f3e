"""Ways in which other packages' permissions were found open, or closed to those who may; each is shut here."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import AnonymousUser, Group
from marshmallow import Schema, fields
from rest_framework import permissions as drf

from routesock import Request, RouteMixin, route
from routesock.permissions import BasePermission, IsAuthenticated, IsStaff
from routesock.permissions.rest_framework import RestFramework
from routesock.testing import ClientTimeout, RouteClient

from .samples import ALICE, STAFF, asked, guarded, handled, status, unsaid


class Secret(Schema):
    launch_code = fields.Integer(required=True)


async def test_empty_list_of_a_route_replaces_that_of_its_class() -> None:
    """Elsewhere an empty list was falsy, so the default held."""
    assert await status(guarded(route_permissions=[IsStaff])) == 200


async def test_refused_caller_cannot_read_the_schema_off_its_errors() -> None:
    """Elsewhere payloads were validated first."""
    reply = await asked(guarded(IsStaff, schema=Secret), {"launch": 1}, user=ALICE)
    assert reply.payload.keys() == {"code", "title", "detail"}


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
async def test_permitted_caller_is_answered_and_the_denied_one_too(base: type) -> None:
    """Elsewhere whoever was permitted got no reply, and the handler did not run."""
    consumer = guarded(IsStaff, base=base)
    assert (await asked(consumer, user=STAFF)).payload == "answered"
    assert (await asked(consumer, user=ALICE)).status == 403


async def refuse(*args: Any) -> bool:
    return False


class Refusing:
    async def __call__(self, request: Request) -> bool:
        return False


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
@pytest.mark.parametrize(
    "permission",
    [
        refuse,
        lambda request: refuse(request),
        Refusing(),
        partial(refuse, 1),
        partial(lambda _, request: refuse(request), 1),
        "refuse",
        type("Refuse", (BasePermission,), {"has_permission": refuse}),
        type("Refuse", (BasePermission,), {"has_permission": lambda self, request: refuse(request)}),
        type("Refuse", (drf.BasePermission,), {"has_permission": refuse}),
    ],
    ids=["function", "lambda", "instance", "partial", "partial-lambda", "name", "class", "class-lambda", "drf"],
)
async def test_coroutine_of_a_check_is_never_taken_for_its_answer(permission: Any, base: type) -> None:
    """Elsewhere a coroutine was true, on sync consumers always, on async ones where a lambda or an object gave it."""
    consumer = guarded(permission, base=base, refuse=lambda self, request: refuse(request))
    assert await status(consumer, user=STAFF) == 403


async def test_scope_without_a_user_is_nobody() -> None:
    """Elsewhere it was a ``KeyError`` at the connection."""
    assert await status(guarded(IsAuthenticated)) == 401
    assert await status(guarded(~IsAuthenticated)) == 200


@pytest.mark.parametrize("permission", [IsAuthenticated, drf.IsAuthenticated, drf.IsAdminUser])
async def test_the_class_of_anonymous_users_is_not_signed_in(permission: Any) -> None:
    """Elsewhere it was the default user, and its ``is_authenticated`` a property, so true."""

    class Careless(guarded(permission)):  # type: ignore[misc]
        async def connect(self) -> None:
            self.scope["user"] = AnonymousUser
            await self.accept()

    assert await status(Careless) == 401


class DenyObject(BasePermission):
    def has_object_permission(self, request: Request, obj: Any) -> bool:
        return False


class DenyObjectOfDRF(drf.BasePermission):
    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        return False


@pytest.mark.django_db
@pytest.mark.parametrize("permission", [DenyObject, DenyObjectOfDRF])
@pytest.mark.parametrize(
    "load",
    [
        lambda request: Group.objects.all(),
        lambda request: Group.objects,
        lambda request: Group.objects.filter(pk=0).first(),
        lambda request: list(Group.objects.all()),
        lambda request: 0,
    ],
)
def test_whatever_was_loaded_is_judged(permission: Any, load: Any) -> None:
    """Elsewhere the check was skipped for everything but a queryset's object."""
    with RouteClient(guarded(permission, hydrate=load), as_user=ALICE) as client:
        assert client.call("ask").status == 403


@pytest.mark.django_db
def test_object_that_is_not_found_is_permitted_to_nobody() -> None:
    """Elsewhere the error of the lookup was swallowed, and the request let through."""
    handled.clear()
    consumer = guarded(DenyObject, hydrate=lambda request: Group.objects.get(pk=request.payload))
    with RouteClient(consumer, as_user=ALICE) as client:
        assert client.call("ask", 404).status == 404
    assert handled == []


async def test_denial_is_followed_by_nothing() -> None:
    """Elsewhere the client read of the refusal, and then the data."""
    handled.clear()
    async with RouteClient(guarded(IsStaff), as_user=ALICE) as client:
        await client.send("ask", id=1)
        assert (await client.receive())["status"] == 403
        with pytest.raises(ClientTimeout):
            await client.receive(timeout=0.02)
    assert handled == []


@pytest.mark.parametrize("payload", [{"self": 1, "consumer": 1, "request": 1, "obj": 1, "scope": 1}, [1], None, "x", 7])
async def test_keys_of_a_client_are_nobodys_arguments(payload: Any) -> None:
    """Elsewhere a client's ``{"consumer": 1}`` was a keyword twice, and ended the socket."""
    consumer = guarded(IsAuthenticated, drf.IsAuthenticated, lambda request: request.payload == payload)
    assert (await asked(consumer, payload, user=ALICE)).status == 200


async def test_drf_permission_reads_headers_by_djangos_names() -> None:
    """Elsewhere they stood under the names of the wire."""

    class HasKey(drf.BasePermission):
        def has_permission(self, request: Any, view: Any) -> bool:
            return bool(request.META.get("HTTP_X_API_KEY") == request.headers.get("x-api-key") == "secret")

    assert (await asked(guarded(HasKey), headers={"x-api-key": "secret"})).status == 200
    assert (await asked(guarded(HasKey))).status == 401


async def test_reading_may_be_safe() -> None:
    """Elsewhere the method was made up of the action's name, so that ``IsAuthenticatedOrReadOnly`` refused to read."""
    assert await status(guarded(RestFramework(drf.IsAuthenticatedOrReadOnly, method="GET"))) == 200
    assert await status(guarded(drf.IsAuthenticatedOrReadOnly)) == 401


async def test_operators_remember_object_checks() -> None:
    """Elsewhere ``A & B`` had none, whatever its operands had."""
    for permission in (IsAuthenticated & DenyObject, DenyObject | IsStaff, ~DenyObject & DenyObject):
        assert await status(guarded(permission, hydrate=lambda request: 1), user=ALICE) == 403


async def test_permission_that_returns_nothing_denies() -> None:
    """Elsewhere the base class did."""

    class Forgot(BasePermission):
        def has_permission(self, request: Request) -> Any:
            request.user.is_authenticated  # noqa: B018

    assert await status(guarded(Forgot), user=ALICE) == 403


async def test_two_sockets_are_asked_about_their_own_users() -> None:
    """Elsewhere one instance answered for all."""
    seen: list[str] = []

    async def slow(request: Request) -> bool:
        name = request.user.username
        await asyncio.sleep(0)
        seen.append(name)
        return bool(name == request.user.username == request.payload)

    consumer = unsaid(route_permissions=[slow])
    async with RouteClient(consumer, as_user=ALICE) as alice, RouteClient(consumer, as_user=STAFF) as staff:
        calls = [client.call("ask", name) for client in (alice, staff) for name in ("alice", "staff")]
        replies = await asyncio.gather(*calls)
    assert [reply.status for reply in replies] == [200, 403, 403, 200]
    assert sorted(seen) == ["alice", "alice", "staff", "staff"]


async def test_failing_permission_ends_neither_the_socket_nor_the_check() -> None:
    """Elsewhere an error in a check was the end of the socket."""

    class Failing(RouteMixin, AsyncJsonWebsocketConsumer):
        @route("ask", permissions=[lambda request: request.payload["room"] == 1])
        async def ask(self, request: Request) -> str:
            return "answered"

    async with RouteClient(Failing, as_user=ALICE, raise_exceptions=False) as client:
        payloads = (None, [], {"room": 1}, {}, {"room": 2})
        assert [(await client.call("ask", payload)).status for payload in payloads] == [500, 500, 200, 500, 403]
