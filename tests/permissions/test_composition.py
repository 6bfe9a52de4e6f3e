"""``&``, ``|`` and ``~`` mean what ``and``, ``or`` and ``not`` mean, for requests and for objects."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.permissions import IsAdminUser

from routesock import Request, RouteSetupError, run_on_loop
from routesock.permissions import BasePermission, HasPerm, IsAuthenticated, IsStaff
from routesock.permissions.rest_framework import RestFramework

from .samples import ALICE, STAFF, asked, guarded, status, unsaid


async def later(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def _plain(value: bool) -> Any:
    return lambda *args: value


def _asynchronous(value: bool) -> Any:
    async def answer(*args: Any) -> Any:
        return await later(value)

    return answer


WAYS: dict[str, Callable[[bool], Any]] = {
    "in the thread": _plain,
    "on the loop": lambda value: run_on_loop(_plain(value)),
    "async": _asynchronous,
    "a coroutine from the thread": lambda value: lambda *args: later(value),
    "a coroutine from the loop": lambda value: run_on_loop(lambda *args: later(value)),
}
"""How a function gives its answer."""


@dataclass(frozen=True)
class Leaf:
    """A permission with these answers: ``None`` where it leaves the method out."""

    general: bool | None
    on_object: bool | None
    way: str
    object_way: str
    form: str

    def permission(self) -> Any:
        if self.form == "function":
            return WAYS[self.way](self.general)
        methods = {}
        if self.general is not None:
            methods["has_permission"] = WAYS[self.way](self.general)
        if self.on_object is not None:
            methods["has_object_permission"] = WAYS[self.object_way](self.on_object)
        cls = type("Random", (BasePermission,), methods)
        return cls if self.form == "class" else cls()

    def value(self, *, hydrated: bool) -> bool:
        return self.general is not False and not (hydrated and self.on_object is False)


@dataclass(frozen=True)
class Both:
    one: Any
    other: Any

    def permission(self) -> Any:
        return self.one.permission() & self.other.permission()

    def value(self, *, hydrated: bool) -> bool:
        return self.one.value(hydrated=hydrated) and self.other.value(hydrated=hydrated)


@dataclass(frozen=True)
class Either:
    one: Any
    other: Any

    def permission(self) -> Any:
        return self.one.permission() | self.other.permission()

    def value(self, *, hydrated: bool) -> bool:
        return self.one.value(hydrated=hydrated) or self.other.value(hydrated=hydrated)


@dataclass(frozen=True)
class Negated:
    one: Any

    def permission(self) -> Any:
        return ~self.one.permission()

    def value(self, *, hydrated: bool) -> bool:
        return not self.one.value(hydrated=hydrated)


ways = st.sampled_from(tuple(WAYS))
methods = st.tuples(st.sampled_from((None, True, False)), st.sampled_from((None, True, False)))
classes = st.builds(
    lambda answers, *rest: Leaf(*answers, *rest),
    methods.filter(lambda answers: answers != (None, None)),
    ways,
    ways,
    st.sampled_from(("class", "instance")),
)
functions = st.builds(Leaf, st.booleans(), st.none(), ways, ways, st.just("function"))


def _composed(inner: Any) -> Any:
    # Functions have no operators of their own: at least one side is a permission or an expression.
    return (
        st.builds(Both, inner, inner | functions)
        | st.builds(Both, functions, inner)
        | st.builds(Either, inner, inner | functions)
        | st.builds(Either, functions, inner)
        | st.builds(Negated, inner)
    )


expressions = st.recursive(classes, _composed, max_leaves=8)


STATUS = {True: 200, False: 403}


@given(expression=st.lists(expressions, min_size=1, max_size=2))
@settings(max_examples=3 * settings().max_examples)
def test_request_with_an_object_is_permitted_where_the_expression_is_true(expression: list[Any]) -> None:
    """A permission is true of a request and an object if both of its methods permit, in each branch."""
    consumer = guarded(*[tree.permission() for tree in expression], hydrate=run_on_loop(lambda request: object()))
    expected = all(tree.value(hydrated=True) for tree in expression)
    assert asyncio.run(status(consumer, user=ALICE)) == STATUS[expected]


@given(expression=st.lists(expressions, min_size=1, max_size=2))
@settings(max_examples=3 * settings().max_examples)
def test_request_without_an_object_is_permitted_where_the_expression_is_true(expression: list[Any]) -> None:
    """Where nothing is loaded, what a permission would say about objects counts for nothing."""
    consumer = unsaid(route_permissions=[tree.permission() for tree in expression])
    expected = all(tree.value(hydrated=False) for tree in expression)
    assert asyncio.run(status(consumer, user=ALICE)) == STATUS[expected]


@given(expression=expressions)
@settings(max_examples=2 * settings().max_examples)
def test_nothing_is_loaded_where_no_object_could_be_permitted(expression: Any) -> None:
    """And whatever is loaded, some object could have been: ``objects`` stands for the best one."""
    loads: list[str] = []

    def load(request: Request) -> object:
        loads.append(request.route)
        return object()

    consumer = guarded(expression.permission(), hydrate=run_on_loop(load))
    reply = asyncio.run(asked(consumer, user=ALICE))
    assert bool(loads) == _possible(expression)
    assert reply.status == 200 or not expression.value(hydrated=True)


async def test_what_cannot_change_anything_is_not_asked() -> None:
    """Beside a branch that has to see the object, the request is judged once: when the object is there."""
    calls: list[str] = []

    class Counts(BasePermission):
        def has_permission(self, request: Request) -> bool:
            calls.append("asked")
            return False

    def load(request: Request) -> Any:
        calls.append("loaded")
        return {"owner": "alice"}

    assert await status(guarded(Counts | Owned, hydrate=load), user=ALICE) == 200
    assert calls == ["loaded", "asked"]


def _possible(tree: Any, *, negated: bool = False) -> bool:
    """Whether ``tree`` is true for any answers about an object."""
    if isinstance(tree, Negated):
        return _possible(tree.one, negated=not negated)
    if isinstance(tree, Leaf):
        about_request = tree.general is not False
        return (not about_request or tree.on_object is not None) if negated else about_request
    parts = [_possible(part, negated=negated) for part in (tree.one, tree.other)]
    return all(parts) if isinstance(tree, Both) != negated else any(parts)


class Owned(BasePermission):
    """The owner's alone."""

    def has_object_permission(self, request: Request, obj: Any) -> bool:
        return bool(obj["owner"] == request.user.username)


class Open(BasePermission):
    """For members, of what is public."""

    def has_permission(self, request: Request) -> bool:
        return bool(request.payload["member"])

    def has_object_permission(self, request: Request, obj: Any) -> bool:
        return bool(obj["public"])


@pytest.mark.parametrize("member", [True, False])
@pytest.mark.parametrize("public", [True, False])
@pytest.mark.parametrize("owner", ["alice", "bob"])
@pytest.mark.parametrize(
    ("permission", "truth"),
    [
        (Owned, lambda own, visible: own),
        (Open, lambda own, visible: visible),
        (~Owned, lambda own, visible: not own),
        (~Open, lambda own, visible: not visible),
        (Owned & Open, lambda own, visible: own and visible),
        (Owned | Open, lambda own, visible: own or visible),
        (~(Owned | Open), lambda own, visible: not (own or visible)),
        (~Owned & Open, lambda own, visible: not own and visible),
        (IsAuthenticated & ~(IsStaff | ~Open), lambda own, visible: visible),
    ],
)
async def test_object_is_judged_by_each_branch_for_itself(
    permission: Any, truth: Callable[[bool, bool], bool], owner: str, public: bool, member: bool
) -> None:
    """A branch whose general permission denies the request does not permit its object, and ``~`` turns both."""
    payload = {"owner": owner, "public": public, "member": member}
    consumer = guarded(permission, hydrate=lambda request: request.payload)
    assert await status(consumer, payload, user=ALICE) == STATUS[truth(owner == "alice", member and public)]


def may(request: Request) -> bool:
    return bool(request.payload)


@pytest.mark.parametrize(
    "expression",
    [
        lambda: IsStaff | "may",
        lambda: "may" | IsStaff,
        lambda: may | IsStaff(),
        lambda: IsStaff() | may,
        lambda: (IsStaff | IsStaff()) | may,
        lambda: may | (IsStaff | IsStaff),
        lambda: ~(~IsStaff & ~FromFunction()),
        lambda: ~~IsStaff | may,
        lambda: may & ~IsStaff | IsStaff & may | IsStaff,
    ],
)
async def test_anything_may_stand_beside_a_permission(expression: Callable[[], Any]) -> None:
    """A function, the name of a method, a class, an instance, on either side."""
    consumer = guarded(expression(), may=lambda self, request: may(request))
    answers = [await status(consumer, payload, user=user) for user in (ALICE, STAFF) for payload in (True, False)]
    assert answers == [200, 403, 200, 200]


class FromFunction(BasePermission):
    def has_permission(self, request: Request) -> bool:
        return may(request)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(IsStaff(), id="IsStaff()"), IsStaff | IsAuthenticated, ~IsStaff, RestFramework(IsAdminUser)],
    ids=repr,
)
def test_pythons_own_words_are_refused(kind: Any) -> None:
    """``IsStaff() and IsOwner()`` would be ``IsOwner()``, and ``not IsStaff()`` nothing at all."""
    for wrong in (lambda: kind and may, lambda: kind or may, lambda: not kind):
        with pytest.raises(TypeError, match="Write & for `and`"):
            wrong()


def test_class_is_true_as_every_class_is() -> None:
    """Tools that document or mock classes ask; ``not`` of one is found when the route is declared."""
    assert bool(IsStaff) is True
    with pytest.raises(RouteSetupError, match=r"False is not a permission\. Write ~ for `not`"):
        guarded(not IsStaff)


def test_nonsense_inside_of_an_expression_is_found_when_the_route_is_declared() -> None:
    """As outside of one."""
    with pytest.raises(RouteSetupError, match="5 is not a permission"):
        guarded(IsStaff | (IsAuthenticated & 5))


def test_expression_reads_as_it_was_written() -> None:
    """In the error that refuses ``and``, for example."""
    assert repr(~(HasPerm("a.b") | "may") & "c.d") == "(~(HasPerm('a.b') | 'may') & 'c.d')"


async def test_long_expression_is_no_work() -> None:
    """Its parts are compiled once each, however often they lead to each other."""
    either: Any = reduce(operator.or_, [IsStaff] * 100)
    both: Any = reduce(operator.and_, [either | ~either] * 10)
    assert await status(guarded(~both | both), user=ALICE) == 200
