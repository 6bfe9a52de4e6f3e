"""What may stand in ``permissions=``, and what is said about the rest, when the class is created."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django import forms
from rest_framework import permissions as drf
from rest_framework import serializers

from routesock import Request, RouteSetupError, route
from routesock.permissions import AllowAny, BasePermission, HasPerm, IsAuthenticated

from .samples import ALICE, guarded, status, unsaid


class Neither(BasePermission):
    """Overrides nothing."""

    def has_permision(self, request: Request) -> bool:
        return False


class NeitherOfDRF(drf.BasePermission):
    pass


class Arguments(BasePermission):
    def __init__(self, level: int) -> None:
        self.level = level

    def has_permission(self, request: Request) -> bool:
        return self.level > 1


class OnObjects(BasePermission):
    def has_object_permission(self, request: Request, obj: Any) -> bool:
        return True


class OnObjectsOfDRF(drf.BasePermission):
    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        return True


class LikeDRF(BasePermission):
    def has_permission(self, request: Request, view: Any) -> bool:  # type: ignore[override]
        return True


class LikeDRFOnObjects(BasePermission):
    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:  # type: ignore[override]
        return True


class Duck:
    def has_permission(self, request: Request) -> bool:
        return True


class Called(Duck):
    def __call__(self, request: Request) -> bool:
        return True


def two(request: Request, obj: Any) -> bool:
    return True


def none() -> bool:
    return True


def yields(request: Request) -> Iterator[bool]:
    yield True


@pytest.mark.parametrize(
    ("permission", "message"),
    [
        (None, "None is not a permission"),
        (True, "True is not a permission"),
        (5, "5 is not a permission"),
        ("", "'' is not a permission"),
        ("two words", "'two words' is not a permission"),
        ([IsAuthenticated], "is not a permission"),
        (forms.Form, "is not a permission"),
        (serializers.Serializer, "is not a permission"),
        (dict, "is not a permission"),
        (Duck, "is not a permission"),
        (Duck(), "is not a permission"),
        (Called(), "is not a permission"),
        ("chat.", "app_label.codename"),
        (".add_message", "app_label.codename"),
        (HasPerm, r"Give an instance, HasPerm\(\.\.\.\)"),
        (Arguments, r"Give an instance, Arguments\(\.\.\.\)"),
        (Neither, "overrides neither has_permission nor has_object_permission"),
        (Neither(), "overrides neither"),
        (BasePermission, "overrides neither"),
        (NeitherOfDRF, "overrides neither"),
        (drf.BasePermission(), "overrides neither"),
        (IsAuthenticated & Neither, "overrides neither"),
        (
            LikeDRF,
            r"LikeDRF\.has_permission\(self, request: .*, view: .*\).* cannot be called as a permission. Write `def",
        ),
        (IsAuthenticated | ~LikeDRF(), "cannot be called as a permission"),
        ("nowhere", "permissions='nowhere' is not a method of the class"),
        ("two", "is a method that cannot be called as a hook. Write `def two\\(self, request\\)`"),
        ("yields", "cannot be called as a hook"),
        (two, "cannot be called as a permission. Write `def may\\(request\\)`"),
        (none, "cannot be called as a permission"),
        (yields, "cannot be called as a permission"),
        (OnObjects, r"Guarded\.ask: OnObjects checks objects only, and without hydrate= there is no"),
        (OnObjects(), "checks objects only"),
        (AllowAny & (IsAuthenticated | ~OnObjects()), "checks objects only"),
        (OnObjectsOfDRF, "OnObjectsOfDRF checks objects only"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__) if not isinstance(value, str) else value[:20],
)
def test_what_cannot_permit_is_refused(permission: Any, message: str) -> None:
    """With what to write instead."""
    with pytest.raises(RouteSetupError, match=message):
        guarded(permission, two=lambda self, request, obj: True, yields=yields)


@pytest.mark.parametrize("permissions", [None, IsAuthenticated, "auth.add_user", {IsAuthenticated}, 5, two])
def test_anything_but_a_list_is_refused(permissions: Any) -> None:
    """A single permission would read as well, but a string is one and a sequence, too."""
    with pytest.raises(RouteSetupError, match=r"permissions= must be a list of permissions"):
        route("ask", permissions=permissions)
    with pytest.raises(RouteSetupError, match=r"Guarded\.route_permissions must be a list of permissions"):
        unsaid(route_permissions=permissions)


def test_permission_without_a_name_for_it_is_refused() -> None:
    """``HasPerm()`` would permit everybody."""
    for perms in ((), ("add_message",), ("chat.add_message", None), ("chat.add_message", "")):
        with pytest.raises(RouteSetupError):
            HasPerm(*perms)  # type: ignore[arg-type]


def test_permission_of_objects_with_drfs_arguments_is_refused() -> None:
    """There is no view."""
    with pytest.raises(RouteSetupError, match=r"Write `def has_object_permission\(self, request, obj\)`"):
        guarded(LikeDRFOnObjects, hydrate=lambda request: 1)


async def test_codename_may_have_dots() -> None:
    """Django splits at the first."""
    seen: list[str] = []

    class Seen:
        is_authenticated = True

        def has_perm(self, perm: str) -> bool:
            seen.append(perm)
            return True

    assert await status(guarded("chat.add.message"), user=Seen()) == 200
    assert seen == ["chat.add.message"]


async def test_instance_may_have_arguments() -> None:
    """A class that needs them is given as an instance."""
    assert await status(guarded(Arguments(2)), user=ALICE) == 200
    assert await status(guarded(Arguments(1)), user=ALICE) == 403


async def test_subclass_inherits_what_it_does_not_override() -> None:
    """Both methods count, wherever they come from."""

    class Owner(IsAuthenticated):
        def has_object_permission(self, request: Request, obj: Any) -> bool:
            return bool(obj == 1)

    consumer = guarded(Owner, hydrate=lambda request: request.payload)
    assert [await status(consumer, payload, user=user) for user in (None, ALICE) for payload in (1, 2)] == [
        401, 401, 200, 403,
    ]  # fmt: skip


async def test_method_of_a_subclass_is_asked() -> None:
    """A named method is looked up on the consumer, as hooks are; static ones, too."""
    consumer = guarded("may_ask", may_ask=lambda self, request: False)
    assert await status(consumer, user=ALICE) == 403
    assert await status(type("Open", (consumer,), {"may_ask": lambda self, request: True}), user=ALICE) == 200
    assert await status(guarded("may_ask", may_ask=staticmethod(lambda request: True)), user=ALICE) == 200


def test_no_library_is_imported_on_a_guess() -> None:
    """Resolving our own, or refusing what is none, imports no DRF."""
    code = (
        "from django.conf import settings; settings.configure()\n"
        "from routesock.permissions import IsStaff, as_permission\n"
        "as_permission(~IsStaff | 'a.b' | print)\n"
        "try: as_permission(object())\n"
        "except TypeError: pass\n"
        "import sys; assert 'rest_framework' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
