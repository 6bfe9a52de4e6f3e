"""Names the fix for common mistakes in handlers, for the log record and the reply of a 500."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from django.core.exceptions import SynchronousOnlyOperation

_NOT_JSON: Final = re.compile(r"Object of type (\w+) is not JSON serializable")

_AWAIT: Final = "A coroutine was used as a value. Write `await` in front of the call that returned it."

_RESPONSE: Final = (
    "A handler returns no HTTP response. Return the payload itself, or Reply(payload, status=...) for another status."
)

_VIEW_DECORATOR: Final = (
    "Decorators for views, such as login_required and permission_required, do not work on handlers. Write "
    "@route(..., permissions=[IsAuthenticated]) or permissions=[HasPerm(...)] instead."
)

_ATOMIC: Final = (
    "A transaction stays in one thread, so transaction.atomic() cannot be used in async code. Write the handler as "
    "`def`, or call a sync function with the whole transaction through database_sync_to_async."
)

_RELATION: Final = (
    "A related object was loaded from the database on the event loop, since an attribute was read. Load it with the "
    "query: select_related() or prefetch_related()."
)

_IN_DUMP: Final = (
    " Or wrap the schema, so that it runs in the database thread: dehydrate=run_in_thread(...). With a sync handler, "
    "`def`, it runs there by default."
)

_IN_LOAD: Final = (
    "The schema ran a query on the event loop. Wrap it, so that it runs in the database thread: "
    "schema=run_in_thread(...)."
)

_DUMP: Final = "dehydrate= ran a query on the event loop. Evaluate the QuerySet in the handler."

_QUERY: Final = (
    "A query ran on the event loop. Use the async methods of the ORM (aget(), acreate(), `async for`), call the code "
    "through database_sync_to_async, or write the handler as `def`. A function that is marked with @run_on_loop runs "
    "no query."
)


def cure_for(exc: BaseException) -> str | None:
    """Return how to fix the mistake behind ``exc``, in a sentence or two; ``None`` if it is no known one."""
    return next(filter(None, map(_cure, _causes(exc))), None)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """``exc``, the members of a group, and the exceptions that they were raised from."""
    waiting, seen = [exc], set[int]()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
        if current.__cause__ is not None:
            waiting.append(current.__cause__)


def _cure(exc: BaseException) -> str | None:
    if isinstance(exc, SynchronousOnlyOperation):
        return _cure_of_query(exc)
    if not isinstance(exc, AttributeError | TypeError):
        return None
    if [*_frames(exc)][-1:] == [_AUTH_DECORATORS]:
        return _VIEW_DECORATOR
    text = str(exc)
    if "'coroutine' object" in text:
        return _AWAIT
    found = _NOT_JSON.search(text)
    if found is None:
        return None
    name = found[1]
    if name == "coroutine":
        return _AWAIT
    if name.endswith("Response"):
        return _RESPONSE
    return (
        f"JSON cannot encode a {name}. Return dicts, lists, texts and numbers, or serialise the result with "
        "dehydrate=, which takes a schema or a function."
    )


_AUTH_DECORATORS: Final = "django.contrib.auth.decorators"


def _cure_of_query(exc: BaseException) -> str:
    frames = [*_frames(exc, with_functions=True)]
    modules = {name.partition(":")[0] for name in frames}
    if "django.db.transaction" in modules:
        return _ATOMIC
    of_schemas = [name.partition(":")[2] for name in frames if name.startswith("routesock.schemas.")]
    if "dump_checked" in of_schemas:  # a push, which no option of a route is about
        of_schemas = []
    dumps = "dump" in of_schemas
    if "django.db.models.fields.related_descriptors" in modules:
        return _RELATION + _IN_DUMP if dumps else _RELATION
    if dumps:
        return _DUMP + _IN_DUMP
    return _IN_LOAD if "load" in of_schemas else _QUERY


def _frames(exc: BaseException, *, with_functions: bool = False) -> Iterator[str]:
    """The modules in the traceback of ``exc``, outermost first; or ``module:function``."""
    trace = exc.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        module = frame.f_globals.get("__name__", "")
        yield f"{module}:{frame.f_code.co_name}" if with_functions else module
        trace = trace.tb_next
