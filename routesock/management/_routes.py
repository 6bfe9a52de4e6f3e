"""The rows of ``routesock_routes``: each route, topic, push and event of a project, and its other applications."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from .._pipeline.effective import EffectiveRoute, effective_routes
from .._routing.documentation import pushes_of
from .._routing.event import collect_events
from .._routing.topic import Topic
from .._runtime.asgi_tree import Endpoint, leads_to, websocket_endpoints
from ..checks.consumers import consumers
from ..consumers import RouteMixin, refresh_plan


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the output.

    Attributes:
        path: Where it is served, as in the URL patterns, with a slash in front. A regular expression has none.
        consumer: The dotted path of the consumer class, or the name of another application.
        handler: The class and its method; of a push, the class alone.
        kind: One of :data:`KINDS`.
        name: The name of the route, push or event, or the pattern of the topic.
        schema: The schema of its payload, empty without one.
        permissions: What has to permit a request; ``None`` where nothing is declared, not even ``()``.
        throttle: The throttles of the class and its own.
        timeout: Seconds, or ``None`` for no limit.
        flags: Short words for further options.
        open: Whether every client may call it.
        on_purpose: Whether the route or its class says so, with ``()`` or ``AllowAny``.
    """

    path: str
    consumer: str
    handler: str
    kind: str
    name: str = ""
    schema: str = ""
    permissions: tuple[str, ...] | None = None
    throttle: tuple[str, ...] = ()
    timeout: float | None = None
    flags: tuple[str, ...] = ()
    open: bool = False
    on_purpose: bool = False


KINDS: Final = ("route", "topic", "push", "event", "consumer", "application")
"""The kinds of rows, in order. The last two are consumers without routes, and applications of other kinds."""


def project_rows(application: Any, path: str | None = None) -> list[Row]:
    """Return the rows of what ``application`` serves to WebSockets, sorted by path, kind and name.

    Args:
        application: The ASGI application.
        path: A path as in the rows, or one that a client may open. The rows of others are left out.

    Raises:
        RouteSetupError: A setting or the declaration of a push cannot work.
    """
    rows = [
        row
        for endpoint in websocket_endpoints(application)
        if path is None or path == path_of(endpoint) or leads_to(endpoint, path)
        for row in _rows_of(endpoint)
    ]
    return sorted(rows, key=lambda row: (row.path, row.consumer, KINDS.index(row.kind), row.name))


def path_of(endpoint: Endpoint) -> str:
    """The path of ``endpoint`` as rows have it."""
    return endpoint.path if endpoint.path.startswith("^") else f"/{endpoint.path}"


def hidden_consumers(application: Any) -> list[str]:
    """Return the consumers with routes that no path leads to, if some application cannot be looked into."""
    served = [endpoint.consumer for endpoint in websocket_endpoints(application)]
    if None not in served:
        return []
    return sorted(
        _dotted(cls)
        for cls in consumers()
        if cls._routesock.plans and not any(issubclass(consumer, cls) for consumer in served if consumer is not None)
    )


def _rows_of(endpoint: Endpoint) -> Iterator[Row]:
    path, cls = path_of(endpoint), endpoint.consumer
    if cls is None:
        name = getattr(endpoint.application, "__qualname__", type(endpoint.application).__qualname__)
        yield Row(path=path, consumer=name, handler=name, kind="application")
    elif not issubclass(cls, RouteMixin):
        yield Row(path=path, consumer=_dotted(cls), handler=cls.__name__, kind="consumer")
    else:
        refresh_plan(cls)
        for item in effective_routes(cls):
            yield _row_of(path, cls, item)
        for push in pushes_of(cls, RouteMixin).values():
            yield Row(
                path=path,
                consumer=_dotted(cls),
                handler=cls.__name__,
                kind="push",
                name=push.name,
                schema=_text(push._adapter),
                flags=_flags(deprecated=push.deprecated),
            )
        for name, event in collect_events(cls).items():
            handler = f"{cls.__name__}.{event.attr}"
            yield Row(
                path=path, consumer=_dotted(cls), handler=handler, kind="event", name=name, schema=_text(event.schema)
            )


def _row_of(path: str, cls: type, item: EffectiveRoute) -> Row:
    route, declared = item.route, item.declared
    atomic = "" if not item.databases else f"atomic={','.join(item.databases)}"
    flags = _flags(
        stream=route.streams,
        parallel=route.parallel and not route.streams,
        public=route.public,
        deprecated=route.deprecated,
        no_reply=not route.replies,
        cancel_on_disconnect=route.cancel_on_disconnect and not route.streams,
        idempotent=route.idempotent is not None,
        recheck=isinstance(declared, Topic) and declared.recheck,
        recover=isinstance(declared, Topic) and bool(declared.recover),
    )
    has_permissions = item.is_explicit or item.permissions
    return Row(
        path=path,
        consumer=_dotted(cls),
        handler=f"{cls.__name__}.{declared.attr}",
        kind="topic" if isinstance(declared, Topic) else "route",
        name=declared.name,
        schema=_text(route.schema),
        permissions=tuple(map(str, item.permissions)) if has_permissions else None,
        throttle=tuple(map(str, item.throttles)),
        timeout=item.timeout,
        flags=(*flags, atomic) if atomic else flags,
        open=item.is_open,
        on_purpose=item.is_open_on_purpose,
    )


def _dotted(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _text(schema: Any) -> str:
    return "" if schema is None else str(schema)


def _flags(**flags: bool) -> tuple[str, ...]:
    return tuple(name for name, is_set in flags.items() if is_set)


def as_json(rows: Iterable[Row]) -> str:
    """Return ``rows`` as a JSON array of objects."""
    return json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)


_COLUMNS: Final = ("PATH", "HANDLER", "KIND", "NAME", "SCHEMA", "PERMISSIONS", "THROTTLE", "TIMEOUT", "FLAGS")


def as_table(rows: Iterable[Row]) -> str:
    """Return ``rows`` as columns with a heading. ``-`` stands for nothing, ``()`` for permissions that are empty."""
    table = [_COLUMNS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def _cells(row: Row) -> Sequence[str]:
    is_called = row.kind in ("route", "topic")
    permissions = "-" if row.permissions is None else ", ".join(row.permissions) or "()"
    timeout = "-" if not is_called else "none" if row.timeout is None else f"{row.timeout:g} s"
    cells = (row.path, row.handler, row.kind, row.name, row.schema, permissions)
    return [cell or "-" for cell in (*cells, "; ".join(row.throttle), timeout, " ".join(row.flags))]
