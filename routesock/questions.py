"""What a request's permissions are asked while it runs, one question after the other until it is decided."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Final, NamedTuple, TypeAlias

from asgiref.sync import async_to_sync

from . import db, problems
from .exceptions import NotAuthenticated, PermissionDenied, RoutesockError
from .messages import Request
from .steps import Runs, Step

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
                    answer = await db.in_thread(ask, permission, request, request.payload)
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
