"""Database transactions around the sync work of a request: ``atomic=`` and the setting ``ATOMIC_REQUESTS``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, transaction

from .._routing.route import Route
from .._wire.messages import Reply, Request
from ..exceptions import RouteSetupError
from ..typing import UNSET
from .steps import Runs, Step

_OPT_OUT: Final = "_non_atomic_requests"
"""The attribute that Django's ``@transaction.non_atomic_requests`` gives a view: a set of aliases."""


def may_follow_settings(cls: type, route: Route) -> bool:
    """Whether ``ATOMIC_REQUESTS`` may apply to ``route``."""
    return route.atomic is UNSET and not route.streams and Runs.of(getattr(cls, route.attr)) is Runs.IN_THREAD


def aliases_of(cls: type, route: Route, atomic_requests: Sequence[str]) -> tuple[str, ...]:
    """Return the databases whose transactions surround ``route``. ``atomic_requests`` are those of the settings.

    Raises:
        RouteSetupError: The handler opts out of a transaction that ``atomic=`` asks for.
    """
    opted_out = getattr(getattr(cls, route.attr), _OPT_OUT, ())
    if route.atomic is UNSET:
        if not may_follow_settings(cls, route):
            return ()
        return tuple(alias for alias in atomic_requests if alias not in opted_out)
    aliases = (DEFAULT_DB_ALIAS,) if route.atomic is True else route.atomic or ()
    assert isinstance(aliases, tuple)
    if any(alias in opted_out for alias in aliases):
        raise RouteSetupError(
            f"{cls.__name__}.{route.attr}: atomic= asks for a transaction, and @non_atomic_requests for none. "
            "Remove one of them."
        )
    return aliases


def atomic_steps(
    cls: type, route: Route, aliases: Sequence[str], before: Sequence[Step], handler: Sequence[Step], after: list[Step]
) -> list[Step]:
    """Return the steps with ``hydrate``, the handler and ``dehydrate`` in one transaction on each of ``aliases``.

    Args:
        before: The steps from ``hydrate`` up to the handler.

    Raises:
        RouteSetupError: ``atomic=`` is set, and one of the steps does not run in the database thread.
    """
    if route.atomic is not UNSET:
        _check(cls, route, before, handler, after)
    outside, inside = [*before], [*handler]
    while outside and outside[-1].runs is not Runs.AWAITED:
        inside.insert(0, outside.pop())
    if after and after[0].runs is not Runs.AWAITED:
        inside, after = [*inside, *after], []
    return [*outside, _atomic(aliases, inside), *after]


def _atomic(aliases: Sequence[str], steps: Sequence[Step]) -> Step:
    calls = [step.call for step in steps]

    def run(request: Request, value: Any) -> Any:
        with ExitStack() as stack:
            for alias in aliases:
                stack.enter_context(transaction.atomic(using=alias))
            for call in calls:
                value = call(request, value)
            if isinstance(value, Reply) and value.status >= 400:
                for alias in aliases:
                    transaction.set_rollback(True, using=alias)
        return value

    return Step(Runs.IN_THREAD, run)


def _check(cls: type, route: Route, before: Sequence[Step], handler: Sequence[Step], after: Sequence[Step]) -> None:
    where = f"{cls.__name__}.{route.attr}"
    if route.streams:
        raise RouteSetupError(
            f"{where} yields, so with atomic= its transaction would stay open while the client reads. "
            "Remove atomic=, and write `with transaction.atomic():` around the queries for one item."
        )
    runs = Runs.of(getattr(cls, route.attr))
    if runs is Runs.AWAITED:
        raise RouteSetupError(
            f"{where} is async, and a transaction stays in one thread, so atomic= cannot surround it. Write `def "
            f"{route.attr}`, or remove atomic= and call a sync function that is decorated with @transaction.atomic "
            "through database_sync_to_async."
        )
    if runs is Runs.ON_LOOP:
        raise RouteSetupError(
            f"{where} is decorated with @run_on_loop, where no query may run. Remove that or atomic=."
        )
    if any(step.runs is Runs.AWAITED for step in (*before, *after)):
        raise RouteSetupError(
            f"{where}: atomic= puts hydrate=, the permissions for objects, the handler and dehydrate= into one "
            "transaction, which stays in one thread. Write all of them as `def`, or remove atomic=."
        )
