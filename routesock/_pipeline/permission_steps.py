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
    """A permission raised an exception that neither permits nor denies; answered as a 500."""


class PermissionCheck(NamedTuple):
    """One permission check, ``call(make(), request, obj)``, and what follows each answer: a check or the decision.

    If ``explains`` is true and the answer denies the request, the permission's ``message`` is the reason.
    """

    runs: Runs
    make: Callable[[], Any]
    call: Callable[[Any, Request, Any], Any]
    explains: bool
    yes: CheckOrDecision
    no: CheckOrDecision


CheckOrDecision: TypeAlias = PermissionCheck | bool


def check_steps(first: CheckOrDecision) -> list[Step]:
    """Return the step that runs the checks from ``first`` on; no step if every client is permitted."""
    if first is True:
        return []
    places = _where_checks_run(first)
    if Runs.AWAITED in places:
        return [Step(Runs.AWAITED, _decide_in_turn(first))]
    return [Step(Runs.IN_THREAD if Runs.IN_THREAD in places else Runs.ON_LOOP, _decide_together(first))]


def _where_checks_run(first: CheckOrDecision) -> set[Runs]:
    """Return where the checks from ``first`` on run."""
    seen: dict[int, PermissionCheck] = {}  # by id(): several checks may lead to the same one
    ahead = [first]
    while ahead:
        target = ahead.pop()
        if isinstance(target, PermissionCheck) and id(target) not in seen:
            seen[id(target)] = target
            ahead += target.yes, target.no
    return {check.runs for check in seen.values()}


def _decide_together(first: CheckOrDecision) -> Callable[[Request, Any], None]:
    """Run all checks in one place. In the thread, the result of a plain function may still be awaitable."""

    def decide(request: Request, value: Any) -> None:
        target, permission, explains = first, None, False
        try:
            while type(target) is PermissionCheck:
                _, make, call, explains, yes, no = target
                permission = make()
                answer = call(permission, request, request.payload)
                if answer is not True and answer is not False and isawaitable(answer):
                    answer = async_to_sync(_result_of)(answer)
                target = yes if answer is True else no
        except Exception as exc:
            _raise_fault(exc)
            raise
        if target is not True:
            raise _denial(request, permission if explains else None)

    return decide


def _decide_in_turn(first: CheckOrDecision) -> Callable[[Request, Any], Any]:
    """Run each check where it belongs."""

    async def decide(request: Request, value: Any) -> None:
        target, permission, explains = first, None, False
        try:
            while type(target) is PermissionCheck:
                runs, make, call, explains, yes, no = target
                permission = make()
                if runs is Runs.IN_THREAD:
                    answer = await database.in_thread(call, permission, request, request.payload)
                else:
                    answer = call(permission, request, request.payload)
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
    """Return a 401 for anonymous users, else a 403 with the reason that ``permission`` gives."""
    if request.user.is_authenticated is not True:
        return NotAuthenticated()
    message, code = getattr(permission, "message", None), getattr(permission, "code", None)
    return PermissionDenied(None if message is None else str(message), code=None if code is None else str(code))


def _raise_fault(exc: Exception) -> None:
    """Hide ``exc`` from the client if it comes from a lookup or validation inside a permission."""
    if isinstance(exc, RoutesockError) or problems.error_of(exc) is None:
        return
    if not any(f"{cls.__module__}.{cls.__qualname__}" in _DENIALS for cls in type(exc).__mro__):
        raise PermissionFault(f"A permission raised {type(exc).__name__}: {exc}") from exc


def permission_steps(cls: type, route: Route) -> tuple[list[Step], list[Step]]:
    """Return the permission steps of ``route`` before its schema, and those after its ``hydrate``.

    Raises:
        RouteSetupError: A permission cannot be called, or names a method that ``cls`` does not have.
    """
    general: list[Step] = []
    on_object: list[Step] = []
    compiler = _Compiler(cls, route)
    for permission in () if route.permissions is UNSET else route.permissions:
        for conjunct in conjuncts_of(permission):
            general += check_steps(compiler.general(conjunct, yes=True, no=False))
            if route.hydrate is not None and any(map(_looks_at_objects, leaves_of(conjunct))):
                on_object += check_steps(compiler.on_object(conjunct))
    return general, on_object


def object_permissions(route: Route) -> Iterator[Leaf]:
    """Iterate over the permissions of ``route`` that check objects."""
    return (leaf for leaf in _leaves(route) if isinstance(leaf, Leaf) and leaf.on_object is not None)


def permission_functions(route: Route) -> Iterator[Callable[..., Any] | str]:
    """Iterate over the functions and method names among the permissions of ``route``."""
    return (leaf.function for leaf in _leaves(route) if isinstance(leaf, Hook))


def _leaves(route: Route) -> Iterator[Leaf | Hook]:
    for permission in () if route.permissions is UNSET else route.permissions:
        yield from leaves_of(permission)


def check_objects(cls: type, route: Route) -> None:
    """Raise :class:`RouteSetupError` if a permission of ``route`` checks objects only and the route loads none."""
    for leaf in () if route.hydrate is not None else object_permissions(route):
        if leaf.general is None:
            raise RouteSetupError(
                f"{cls.__name__}.{route.attr}: {leaf.name} checks objects only, and without hydrate= there is no "
                "object, so it would permit every client. Add hydrate= to the route or has_permission() to the class."
            )


def _looks_at_objects(leaf: Leaf | Hook) -> bool:
    return isinstance(leaf, Leaf) and leaf.on_object is not None


class _Compiler:
    """Compiles the permissions of one route."""

    def __init__(self, cls: type, route: Route) -> None:
        self._cls = cls
        self._route = route

    def general(
        self, tree: Tree, yes: CheckOrDecision, no: CheckOrDecision, *, negated: bool = False
    ) -> CheckOrDecision:
        """Compile the checks before the schema. They deny a request that no object could make ``tree`` permit."""
        if isinstance(tree, Expression):
            return self._expression(self.general, tree, yes, no, negated)
        if isinstance(tree, Hook):
            return self._hook(tree, yes, no, negated)
        if negated and _looks_at_objects(tree) and self._route.hydrate is not None:
            return no  # only known once the object is loaded
        return self._leaf("has_permission", tree.general, tree, yes, no, negated)

    def on_object(self, tree: Tree) -> CheckOrDecision:
        """Compile the checks after ``hydrate``."""
        if isinstance(tree, Leaf):  # its general permission was checked before
            return self._leaf("has_object_permission", tree.on_object, tree, yes=True, no=False, negated=False)
        return self._both(tree, yes=True, no=False)

    def _both(self, tree: Tree, yes: CheckOrDecision, no: CheckOrDecision, *, negated: bool = False) -> CheckOrDecision:
        """Compile the checks of request and object: inside an expression, each branch has to answer both."""
        if isinstance(tree, Expression):
            return self._expression(self._both, tree, yes, no, negated)
        if isinstance(tree, Hook):
            return self._hook(tree, yes, no, negated)
        yes = self._leaf("has_object_permission", tree.on_object, tree, yes, no, negated)
        return self._leaf("has_permission", tree.general, tree, yes, no, negated)

    def _expression(
        self,
        compiled: Callable[..., CheckOrDecision],
        tree: Expression,
        yes: CheckOrDecision,
        no: CheckOrDecision,
        negated: bool,
    ) -> CheckOrDecision:
        if isinstance(tree, Not):
            return compiled(tree.operands[0], no, yes, negated=not negated)
        for operand in reversed(tree.operands):
            if isinstance(tree, And):
                yes = compiled(operand, yes, no, negated=negated)
            else:
                no = compiled(operand, yes, no, negated=negated)
        return yes if isinstance(tree, And) else no

    def _leaf(
        self, name: str, function: Any, leaf: Leaf, yes: CheckOrDecision, no: CheckOrDecision, negated: bool
    ) -> CheckOrDecision:
        """Compile a check of the method ``name`` of ``leaf``. ``function`` is the override, ``None`` without one."""
        if function is None or yes is no:
            return yes
        make = leaf.maker(self._route.attr)
        call, arguments = _METHODS[name]
        if not takes(getattr(make(), name), len(arguments)):
            raise RouteSetupError(
                f"{leaf.name}.{name}{inspect.signature(function)} cannot be called as a permission. "
                f"Write `def {name}(self, {', '.join(arguments)})`."
            )
        runs = Runs.ON_LOOP if function in AT_ONCE else _await_on_loop(Runs.of(function))
        return PermissionCheck(runs, make, call, not negated, yes, no)

    def _hook(self, hook: Hook, yes: CheckOrDecision, no: CheckOrDecision, negated: bool) -> CheckOrDecision:
        if yes is no:
            return yes
        function = hook.function
        if not isinstance(function, str) and (yields(function) or not takes(function, 1)):
            raise RouteSetupError(
                f"{self._cls.__name__}.{self._route.attr}: permissions={function!r} cannot be called as a permission. "
                "Write `def may(request)` that returns True or False. For a method, pass its name."
            )
        bound = hook_of(self._cls, self._route, "permissions", function)

        def call(permission: Any, request: Request, obj: Any) -> Any:
            return bound(request, request)

        return PermissionCheck(_await_on_loop(Runs.of(bound)), _nothing, call, False, yes, no)


def _await_on_loop(runs: Runs) -> Runs:
    """Treat a user's function on the loop as async: even a plain one may return an awaitable."""
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
"""Each method's call, and its parameters."""
