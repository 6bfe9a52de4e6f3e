"""Whose word counts: that of the route, of the class, of the settings; and what is said where nobody has one."""

from __future__ import annotations

from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from routesock import Request, RouteMixin, RouteSetupError, route
from routesock.permissions import AllowAny, BasePermission, IsAuthenticated, IsStaff
from routesock.testing import RouteClient

from .samples import ALICE, STAFF, asked, guarded, status, unsaid


def settings(*names: str) -> Any:
    return override_settings(ROUTESOCK={"PERMISSIONS": names})


def here(name: str) -> str:
    return f"{__name__}.{name}"


def never(request: Request) -> bool:
    return False


def two(request: Request, obj: Any) -> bool:
    return True


either = IsStaff | "auth.add_user"

nobody = IsStaff() & ~IsStaff()


async def statuses(consumer: Any) -> list[int]:
    return [await status(consumer, user=user) for user in (None, ALICE, STAFF)]


OPEN, SIGNED_IN, STAFF_ONLY, CLOSED = [200, 200, 200], [401, 200, 200], [401, 403, 200], [401, 403, 403]


class TestWhoseWordCounts:
    @pytest.mark.parametrize(
        ("of_route", "of_class", "of_settings", "expected"),
        [
            (None, None, (), OPEN),
            (None, None, ("routesock.permissions.IsStaff",), STAFF_ONLY),
            (None, [IsAuthenticated], (), SIGNED_IN),
            (None, [IsAuthenticated], ("routesock.permissions.IsStaff",), SIGNED_IN),
            (None, (), ("routesock.permissions.IsStaff",), OPEN),
            (None, [], ("routesock.permissions.IsStaff",), OPEN),
            ([IsStaff], None, (), STAFF_ONLY),
            ([IsStaff], [IsAuthenticated], (here("never"),), STAFF_ONLY),
            ([IsAuthenticated], [IsStaff], (here("never"),), SIGNED_IN),
            ([], [IsStaff], (here("never"),), OPEN),
            ((), [IsStaff], (here("never"),), OPEN),
            ([AllowAny], [IsStaff], (here("never"),), OPEN),
        ],
    )
    async def test_route_comes_before_class_before_settings(
        self, of_route: Any, of_class: Any, of_settings: Any, expected: list[int]
    ) -> None:
        """One word replaces the next, and an empty list is a word, too."""
        options = {} if of_class is None else {"route_permissions": of_class}
        consumer = unsaid(**options) if of_route is None else guarded(*of_route, **options)
        with settings(*of_settings):
            assert await statuses(consumer) == expected

    async def test_subclass_has_the_word_of_its_base_unless_it_has_one(self) -> None:
        """As with every attribute; a mixin's counts by its place."""

        class Members:
            route_permissions = [IsAuthenticated]

        closed = unsaid(route_permissions=[IsStaff])
        assert await statuses(type("Same", (closed,), {})) == STAFF_ONLY
        assert await statuses(type("Wider", (closed,), {"route_permissions": [IsAuthenticated]})) == SIGNED_IN
        assert await statuses(type("Mixed", (Members, closed), {})) == SIGNED_IN
        assert await statuses(type("Open", (closed,), {"route_permissions": ()})) == OPEN

    async def test_override_of_a_handler_keeps_its_permissions(self) -> None:
        """One without a mark of its own; a mark of its own says it anew."""

        class Base(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("ask", permissions=[IsStaff])
            async def ask(self, request: Request) -> None:
                raise AssertionError

        class Same(Base):
            async def ask(self, request: Request) -> None:
                raise AssertionError

        class Anew(Base):
            @route("ask")
            async def ask(self, request: Request) -> None: ...

        assert await status(Same, user=ALICE) == 403
        async with RouteClient(Anew) as client:
            assert (await client.call("ask")).status == 204

    async def test_stacked_routes_have_their_own(self) -> None:
        """Two names of one handler are two routes."""

        class Stacked(RouteMixin, AsyncJsonWebsocketConsumer):
            @route("open", permissions=())
            @route("closed", permissions=[IsStaff])
            async def ask(self, request: Request) -> None: ...

        async with RouteClient(Stacked, as_user=ALICE) as client:
            assert [(await client.call(name)).status for name in ("open", "closed")] == [204, 403]


class TestSettings:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["routesock.permissions.IsAuthenticated"], SIGNED_IN),
            (["routesock.permissions.IsAuthenticated", here("never")], CLOSED),
            (["rest_framework.permissions.IsAdminUser"], STAFF_ONLY),
            ([here("nobody")], CLOSED),
            ([here("never")], CLOSED),
        ],
    )
    async def test_names_are_those_of_anything_that_permits(self, names: list[str], expected: list[int]) -> None:
        """Classes, instances, expressions, functions, DRF's."""
        with settings(*names):
            assert await statuses(unsaid()) == expected

    @pytest.mark.django_db
    @pytest.mark.parametrize("name", ["auth.add_user", here("either")])
    def test_permission_of_djangos_may_be_named(self, name: str) -> None:
        """A name with one dot is one, and needs nothing that could be imported."""
        with settings(name), RouteClient(unsaid(), as_user=ALICE) as client:
            assert client.call("ask").status == 403

    async def test_settings_are_read_when_a_socket_opens(self) -> None:
        """The next one has what they say then, and an open one keeps what it has."""
        consumer = unsaid()
        async with RouteClient(consumer) as client:
            with settings("routesock.permissions.IsStaff"):
                assert (await client.call("ask")).status == 200
                assert await status(consumer) == 401
            with settings("routesock.permissions.IsAuthenticated"):
                assert await statuses(consumer) == SIGNED_IN
            assert await status(consumer) == 200

    async def test_plans_are_compiled_once_for_the_same_settings(self) -> None:
        """Not for each socket."""
        consumer = unsaid()
        with settings("routesock.permissions.IsStaff"):
            plans = consumer._routesock.current_plans()
            await status(consumer)
            assert consumer._routesock.current_plans() is plans
        assert consumer._routesock.current_plans() is consumer._routesock.plans

    @pytest.mark.parametrize("options", [{"route_permissions": ()}, {"route_permissions": [IsStaff]}])
    async def test_class_with_its_own_word_does_not_ask_the_settings(self, options: Any) -> None:
        """Not even for their names."""
        with settings("nowhere.at.all"):
            assert unsaid(**options)._routesock.current_plans() is not None
            assert await status(unsaid(**options), user=STAFF) == 200

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nowhere.at.all", r"'nowhere\.at\.all' cannot be imported \(ModuleNotFoundError"),
            (here("nothing"), "cannot be imported"),
            ("IsStaff", "cannot be imported"),
            ("", "cannot be imported"),
            (".add_user", "app_label.codename"),
            (here("OPEN"), "is not a permission"),
            (here("two"), "cannot be called as a permission"),
        ],
    )
    async def test_name_that_cannot_work_opens_no_socket(self, name: str, message: str) -> None:
        """Rather than to leave the routes open."""
        with settings(name), pytest.raises(RouteSetupError, match=message):
            await asked(unsaid())

    async def test_setting_of_a_wrong_type_opens_no_socket(self) -> None:
        """One string is no list."""
        with (
            override_settings(ROUTESOCK={"PERMISSIONS": "routesock.permissions.IsStaff"}),
            pytest.raises(ImproperlyConfigured, match="PERMISSIONS"),
        ):
            await asked(unsaid())


class Owned(BasePermission):
    def has_object_permission(self, request: Request, obj: Any) -> bool:
        return False


async def test_permission_for_objects_counts_where_objects_are_loaded() -> None:
    """A default may hold for routes of both kinds, as in DRF; a system check names those without objects."""
    options: Any = {"route_permissions": [IsAuthenticated, Owned]}
    assert await statuses(unsaid(**options)) == SIGNED_IN
    assert await statuses(unsaid(**options, hydrate=lambda request: 1)) == CLOSED
