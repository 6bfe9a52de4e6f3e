"""Finds the session settings and tenants that code leaves on database connections."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

from django.db import connections

_SET: Final = re.compile(
    r"\s*SET\s+(?:SESSION\s+(?!CHARACTERISTICS\b))?(?!LOCAL\b|CONSTRAINTS\b|TRANSACTION\b|SESSION\b)"
    r"(?P<name>[\w.]+)\s*(?:=|\bTO\b|\s)\s*(?P<value>\w*)",
    re.IGNORECASE,
)

_RESET: Final = re.compile(r"\s*(?:RESET|DISCARD)\s+(?P<name>[\w.]+)", re.IGNORECASE)

_SET_CONFIG: Final = re.compile(
    r"\bset_config\s*\(\s*'(?P<name>[\w.]+)'\s*,[^,]*,(?!\s*'?(?:t|on|yes|1))", re.IGNORECASE
)
"""Unless its third argument is true, which makes it a ``SET LOCAL``."""

_TENANT: Final = ("schema_name", "tenant")
"""Attributes by which the backends of django-tenants and its relatives know the tenant of a connection."""


_SETS_PATH: Final = ("search_path_set_schemas", "search_path_set")
"""Attributes by which these backends know that they have set the ``search_path``: of the tenant, before each query."""


def _schema_of(tenant: Any) -> Any:
    """Return the schema of a tenant, or ``tenant`` itself if it is none. Two ``FakeTenant`` are never equal."""
    return getattr(tenant, "schema_name", tenant)


class ConnectionLeftovers:
    """The changes that the code inside :meth:`watch` left on its thread's connections; false if there are none.

    Found are the statements ``SET`` (but not ``SET LOCAL``) and ``set_config`` that go through Django's cursors, and
    the tenant of django-tenants. A thread-local variable is not found. Costs no query.
    """

    def __init__(self) -> None:
        self._names: dict[str, None] = {}  # a set that keeps the order
        self._tenants: dict[tuple[str, str], Any] = {}

    def __bool__(self) -> bool:
        return bool(self._names)

    def __str__(self) -> str:
        return ", ".join(self._names)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the connections of this thread. May be entered several times, one after the other."""
        with ExitStack() as stack:
            for alias in connections:
                connection = connections[alias]
                stack.enter_context(connection.execute_wrapper(partial(self._execute, connection)))
                for name in _TENANT:
                    self._tenants.setdefault((alias, name), _schema_of(getattr(connection, name, None)))
            yield
        for name in _TENANT:
            self._names.pop(name, None)
        for (alias, name), before in self._tenants.items():
            if _schema_of(getattr(connections[alias], name, None)) != before:
                self._names[name] = None

    def _execute(
        self,
        connection: Any,
        execute: Callable[..., Any],
        sql: Any,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        result = execute(sql, params, many, context)
        self._note(str(sql))
        if any(hasattr(connection, name) for name in _SETS_PATH):
            self._names.pop("search_path", None)
        return result

    def _note(self, sql: str) -> None:
        if (found := _RESET.match(sql)) is not None:
            if found["name"].lower() == "all":
                self._names.clear()
            self._names.pop(found["name"].lower(), None)
        elif (found := _SET.match(sql)) is not None:
            name = found["name"].lower()
            if found["value"].lower() in ("default", "none"):
                self._names.pop(name, None)
            else:
                self._names[name] = None
        elif (found := _SET_CONFIG.search(sql)) is not None:
            self._names[found["name"].lower()] = None
