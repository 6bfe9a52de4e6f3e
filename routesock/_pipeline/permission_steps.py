"""Steps that check permissions, compiled from the tree that a route declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from inspect import isawaitable
from typing import Any, Final, NamedTuple, TypeAlias

from asgiref.sync import async_to_sync

from .._routing.route import Route
from .._runtime import database
from .._runtime.callables import takes, yields
from .._wire import problems
from .._wire.messages import Request
from ..exceptions import NotAuthenticated, PermissionDenied, RouteSetupError, RoutesockError
from ..permissions.base import AT_ONCE, And, Expression, Hook, Leaf, Not, Tree, conjuncts_of, leaves_of
from ..typing import UNSET
from .steps import Runs, Step, hook_of

_DENIALS: Final = frozenset(
    (
        # By name, as in problems.py.
        "django.core.exceptions.PermissionDenied",
        "django.http.response.Http404",
        "rest_framework.exceptions.APIException",
    )
)


class PermissionFault(Exception):
    """A permission raised what would be a client's error from a handler, but decides nothing here: a 500."""


class Question(NamedTuple):
    """``ask(make(), request, obj)``, and what comes after each answer: another question, or the decision.

    ``explains``: where its answer denies, the message of what was asked is the reason.
    """

    runs: Runs
    make: Callable[[], Any]
    ask: Callable[[Any, Request, Any], Any]
    explains: bool
    yes: Target
    no: Target


Target: TypeAlias = Question | bool


def asking(first: Target) -> list[Step]:
    """The step that asks ``first`` and what follows from it; none if everybody is permitted."""
    if first is True:
        return []
    places = _places(first)
    if Runs.AWAITED in places:
        return [Step(Runs.AWAITED, _one_by_one(first))]
    return [Step(Runs.IN_THREAD if Runs.IN_THREAD in places else Runs.ON_LOOP, _in_one_go(first))]


def _places(first: Target) -> set[Runs]:
    """Where the questions from ``first`` on run."""
    seen: dict[int, Question] = {}  # by id(): several lead to the same one
    ahead = [first]
    while ahead:
        target = ahead.pop()
        if isinstance(target, Question) and id(target) not in seen:
            seen[id(target)] = target
            ahead += target.yes, target.no
    return {question.runs for question in seen.values()}


def _in_one_go(first: Target) -> Callable[[Request, Any], None]:
    """All questions where the step runs; in the thread, what a plain function returned may have to be awaited."""

    def decide(request: Request, value: Any) -> None:
        target, permission, explains = first, None, False
        try:
            while type(target) is Question:
                _, make, ask, explains, yes, no = target
                permission = make()
                answer = ask(permission, request, request.payload)
                if answer is not True and answer is not False and isawaitable(answer):
                    answer = async_to_sync(_result_of)(answer)
                target = yes if answer is True else no
        except Exception as exc:
            _raise_fault(exc)
            raise
        if target is not True:
            raise _denial(request, permission if explains else None)

    return decide


def _one_by_one(first: Target) -> Callable[[Request, Any], Any]:
    """Each question where it runs."""

    async def decide(request: Request, value: Any) -> None:
        target, permission, explains = first, None, False
        try:
            while type(target) is Question:
                runs, make, ask, explains, yes, no = target
                permission = make()
                if runs is Runs.IN_THREAD:
                    answer = await database.in_thread(ask, permission, request, request.payload)
                else:
                    answer = ask(permission, request, request.payload)
                if answer is not True and answer is not False and isawaitable(answer):
                    answer = await answer
                target = yes if answer is True else no
        except Exception as exc:
            _raise_fault(exc)
            raise
        if target is not True:
            raise _denial(request, permission if explains else None)

    return decide


async def _result_of(awaitable: Any) -> Any:
    return await awaitable


def _denial(request: Request, permission: Any) -> RoutesockError:
    """401 for somebody who is not signed in, else 403 with the reason that ``permission`` gives."""
    if request.user.is_authenticated is not True:
        return NotAuthenticated()
    message, code = getattr(permission, "message", None), getattr(permission, "code", None)
    return PermissionDenied(None if message is None else str(message), code=None if code is None else str(code))


def _raise_fault(exc: Exception) -> None:
    """Hide ``exc`` if the client would read of a lookup or a validation that failed while a permission was asked."""
    if isinstance(exc, RoutesockError) or problems.error_of(exc) is None:
        return
    if not any(f"{cls.__module__}.{cls.__qualname__}" in _DENIALS for cls in type(exc).__mro__):
        raise PermissionFault(f"A permission raised {type(exc).__name__}: {exc}") from exc


def permission_steps(cls: type, route: Route) -> tuple[list[Step], list[Step]]:
    """The steps of ``route`` in front of its schema, and those behind its ``hydrate``.

    Raises :class:`RouteSetupError` for a function that cannot be asked, or a method that ``cls`` does not have.
    """
    general: list[Step] = []
    on_object: list[Step] = []
    compiler = _Compiler(cls, route)
    for permission in () if route.permissions is UNSET else route.permissions:
        for conjunct in conjuncts_of(permission):
            general += asking(compiler.general(conjunct, yes=True, no=False))
            if route.hydrate is not None and any(map(_looks_at_objects, leaves_of(conjunct))):
                on_object += asking(compiler.on_object(conjunct))
    return general, on_object


def object_permissions(route: Route) -> Iterator[Leaf]:
    """The permissions of ``route`` with a word about objects."""
    return (leaf for leaf in _leaves(route) if isinstance(leaf, Leaf) and leaf.on_object is not None)


def functions_asked(route: Route) -> Iterator[Callable[..., Any] | str]:
    """Functions, and names of methods, among the permissions of ``route``."""
    return (leaf.function for leaf in _leaves(route) if isinstance(leaf, Hook))


def _leaves(route: Route) -> Iterator[Leaf | Hook]:
    for permission in () if route.permissions is UNSET else route.permissions:
        yield from leaves_of(permission)


def check_objects(cls: type, route: Route) -> None:
    """Raise :class:`RouteSetupError` if ``route`` names a permission that would permit everybody there."""
    for leaf in () if route.hydrate is not None else object_permissions(route):
        if leaf.general is None:
            raise RouteSetupError(
                f"{cls.__name__}.{route.attr}: {leaf.name} looks at objects alone, and without hydrate= there is none. "
                "It would permit everybody: give the route a hydrate=, or the permission a has_permission."
            )


def _looks_at_objects(leaf: Leaf | Hook) -> bool:
    return isinstance(leaf, Leaf) and leaf.on_object is not None


class _Compiler:
    """Compiles the permissions of one route."""

    def __init__(self, cls: type, route: Route) -> None:
        self._cls = cls
        self._route = route

    def general(self, tree: Tree, yes: Target, no: Target, *, negated: bool = False) -> Target:
        """The questions in front of the schema. They deny where no object could make ``tree`` permit any more."""
        if isinstance(tree, Expression):
            return self._expression(self.general, tree, yes, no, negated)
        if isinstance(tree, Hook):
            return self._hook(tree, yes, no, negated)
        if negated and _looks_at_objects(tree) and self._route.hydrate is not None:
            return no  # whether it permits is only known once the object is there
        return self._leaf("has_permission", tree.general, tree, yes, no, negated)

    def on_object(self, tree: Tree) -> Target:
        """The questions behind ``hydrate``."""
        if isinstance(tree, Leaf):  # its general permission was asked already
            return self._leaf("has_object_permission", tree.on_object, tree, yes=True, no=False, negated=False)
        return self._both(tree, yes=True, no=False)

    def _both(self, tree: Tree, yes: Target, no: Target, *, negated: bool = False) -> Target:
        """The questions about the request and the object: inside of an expression, each branch has to answer both."""
        if isinstance(tree, Expression):
            return self._expression(self._both, tree, yes, no, negated)
        if isinstance(tree, Hook):
            return self._hook(tree, yes, no, negated)
        yes = self._leaf("has_object_permission", tree.on_object, tree, yes, no, negated)
        return self._leaf("has_permission", tree.general, tree, yes, no, negated)

    def _expression(
        self, compiled: Callable[..., Target], tree: Expression, yes: Target, no: Target, negated: bool
    ) -> Target:
        if isinstance(tree, Not):
            return compiled(tree.operands[0], no, yes, negated=not negated)
        for operand in reversed(tree.operands):
            if isinstance(tree, And):
                yes = compiled(operand, yes, no, negated=negated)
            else:
                no = compiled(operand, yes, no, negated=negated)
        return yes if isinstance(tree, And) else no

    def _leaf(self, name: str, function: Any, leaf: Leaf, yes: Target, no: Target, negated: bool) -> Target:
        """Ask the method ``name`` of ``leaf``; ``function`` is how it was written, ``None`` if it was not."""
        if function is None or yes is no:
            return yes
        make = leaf.maker(self._route.attr)
        ask, arguments = _METHODS[name]
        if not takes(getattr(make(), name), len(arguments)):
            raise RouteSetupError(
                f"{leaf.name}.{name}{inspect.signature(function)} cannot be asked. "
                f"Write `def {name}(self, {', '.join(arguments)})`."
            )
        runs = Runs.ON_LOOP if function in AT_ONCE else _careful(Runs.of(function))
        return Question(runs, make, ask, not negated, yes, no)

    def _hook(self, hook: Hook, yes: Target, no: Target, negated: bool) -> Target:
        if yes is no:
            return yes
        function = hook.function
        if not isinstance(function, str) and (yields(function) or not takes(function, 1)):
            raise RouteSetupError(
                f"{self._cls.__name__}.{self._route.attr}: permissions={function!r} cannot be asked. Write it as "
                "`def may(request)` that returns True or False; of a method, give the name."
            )
        call = hook_of(self._cls, self._route, "permissions", function)

        def ask(permission: Any, request: Request, obj: Any) -> Any:
            return call(request, request)

        return Question(_careful(Runs.of(call)), _nothing, ask, False, yes, no)


def _careful(runs: Runs) -> Runs:
    """On the loop, a user's plain function may still return what has to be awaited."""
    return Runs.AWAITED if runs is Runs.ON_LOOP else runs


def _nothing() -> None:
    return None


def _general(permission: Any, request: Request, obj: Any) -> Any:
    return permission.has_permission(request)


def _on_object(permission: Any, request: Request, obj: Any) -> Any:
    return permission.has_object_permission(request, obj)


_METHODS: Final = {
    "has_permission": (_general, ("request",)),
    "has_object_permission": (_on_object, ("request", "obj")),
}
"""How each is asked, and what it takes."""
