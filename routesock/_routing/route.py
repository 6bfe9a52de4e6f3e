"""The decorator `@route`: its options, and the routes of a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from .._runtime.callables import yields
from ..exceptions import RouteSetupError
from ..permissions.base import Tree, as_permissions
from ..schemas import SchemaAdapter, as_schema
from ..throttling import Throttle
from ..typing import UNSET, Unset
from .arguments import (
    NO_ERRORS,
    checked_atomic,
    checked_dehydrate,
    checked_errors,
    checked_examples,
    checked_flag,
    checked_hook,
    checked_middleware,
    checked_name,
    checked_replies,
    checked_reply,
    checked_status,
    checked_tags,
    checked_text,
    checked_throttles,
    checked_timeout,
)
from .marks import Handler, Mark, collected, marking, naming_options

MAX_IDEMPOTENCY_TTL: Final = 30 * 86_400
"""Seconds for which the reply to an idempotent request is kept at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotent:
    """Options of a route whose requests never run twice, for ``idempotent=``.

    Args:
        ttl: Seconds for which the reply is kept under the key of the request: from 1 second to 30 days.
        required: Whether a request without the header ``Idempotency-Key`` is refused with 400. By default it runs.

    Raises:
        RouteSetupError: A value is not valid.
    """

    ttl: float = 86_400
    required: bool = False

    def __post_init__(self) -> None:
        if type(self.ttl) not in (int, float) or not 1 <= self.ttl <= MAX_IDEMPOTENCY_TTL:
            raise RouteSetupError(
                f"Idempotent(ttl=...) must be a number of seconds from 1 to {MAX_IDEMPOTENCY_TTL}; got {self.ttl!r}."
            )
        if type(self.required) is not bool:
            raise RouteSetupError(f"Idempotent(required=...) must be True or False; got {self.required!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Mark):
    """One route: its name, its handler, and its validated options."""

    noun: ClassVar[str] = "route"
    argument: ClassVar[str] = "request"

    permissions: tuple[Tree, ...] | Unset = UNSET
    throttles: tuple[Throttle, ...] | Unset = UNSET
    schema: SchemaAdapter | None = None
    hydrate: Callable[..., Any] | str | None = None
    dehydrate: Any = None
    status: int | None = None
    timeout: float | Unset | None = UNSET
    middleware: tuple[Callable[..., Any], ...] = ()
    atomic: bool | tuple[str, ...] | Unset = UNSET
    parallel: bool = False
    cancel_on_disconnect: bool = False
    public: bool = False
    idempotent: Idempotent | None = None
    replies: bool = True
    """Whether a success is answered. ``False`` for ``reply=None``."""
    streams: bool = False
    """Its handler yields. So it runs as if ``parallel=True`` and ``cancel_on_disconnect=True`` were set."""
    # From here on it is for documents and clients.
    summary: str = ""
    description: str = ""
    tags: tuple[str, ...] = field(default=(), hash=False)
    deprecated: bool = False
    reply: SchemaAdapter | None = None
    """The schema of the handler's result if ``dehydrate`` is not a schema; for a stream, of each item."""
    errors: Mapping[int, SchemaAdapter | str] = field(default_factory=lambda: NO_ERRORS, hash=False)
    """By status, the schema of the payload or a text that says when it is sent."""
    examples: tuple[Any, ...] = field(default=(), hash=False)
    """Payloads of requests; of a topic, names."""

    @classmethod
    def checked(cls, name: Any) -> str:
        return checked_name(name, '@route("chat.send")')


@naming_options
def route(
    name: str,
    *,
    permissions: Sequence[Any] | Unset = UNSET,
    throttle: str | Throttle | Sequence[str | Throttle] | Unset = UNSET,
    schema: Any = None,
    hydrate: Callable[..., Any] | str | None = None,
    dehydrate: Any = None,
    reply: Any = UNSET,
    errors: Mapping[int, Any] = NO_ERRORS,
    examples: Sequence[Any] = (),
    status: int | None = None,
    timeout: float | Unset | None = UNSET,
    middleware: Sequence[Callable[..., Any]] = (),
    atomic: bool | str | Sequence[str] | Unset = UNSET,
    parallel: bool = False,
    cancel_on_disconnect: bool = False,
    public: bool = False,
    idempotent: bool | Idempotent = False,
    summary: str = "",
    description: str = "",
    tags: Iterable[str] = (),
    deprecated: bool = False,
) -> Callable[[Handler], Handler]:
    """Mark a consumer's method as the handler of a route. The method itself stays as it is.

    The handler takes the :class:`~routesock.Request`. It returns a value (status 200), ``None`` (204) or a
    :class:`~routesock.Reply`, or raises an error with a status. A handler that yields, async or not, streams: each item
    is a reply with status 206, and a reply with status 200 follows the last. Stack decorators to give one handler
    several names.

    Args:
        name: The name that clients send, 1 to 128 characters, without the ``route_prefix`` of the class.
        permissions: A list of permissions, all of which have to permit; see
            :func:`~routesock.permissions.as_permission`. ``()`` allows everyone. The default is ``route_permissions``
            of the class, else the setting ``PERMISSIONS``, else everyone is allowed.
        throttle: How often the route may be called, such as ``"30/min"``: a rate, a :class:`~routesock.Throttle`, or a
            list of them, all of which have to permit. It applies in addition to ``route_throttle`` of the class; ``()``
            exempts the route from that, too.
        schema: Validates the client's payload and turns it into ``request.payload``, or refuses it with 422: a
            marshmallow Schema (class or instance), a pydantic model, a msgspec Struct, a DRF serializer, or a function.
        hydrate: Called with the request, and returns the new ``request.payload``, such as a model instance. A function
            or the name of a method, sync or async.
        dehydrate: Turns the handler's result into JSON, for 2xx replies: a schema, a function, or the name of a method.
        reply: ``None`` for a route that sends no success reply, such as one that answers through a group. Errors are
            answered all the same. For one request, return :data:`~routesock.NO_REPLY` instead. A schema describes the
            payload of success replies for documents and clients, where ``dehydrate=`` is a function or missing; for a
            stream, it describes each item. It changes no payload.
        errors: The errors that the handler and its hooks answer, for documents: by status, a text that says when it is
            sent, or the schema of its payload if that is no problem object. Statuses that follow from other options,
            such as 403 from ``permissions=``, need not be listed.
        examples: Payloads of requests, for documents: plain JSON that ``schema=`` accepts.
        status: The status of a plain result, 200 to 299 but not 206. The default is 200, and 204 for ``None``.
        timeout: Seconds that the handler may take before the client is answered 504, ``None`` for no limit; for a
            stream, the time between two items. The default is ``route_timeout`` of the class, else the setting
            ``TIMEOUT``.
        middleware: Functions ``async def m(request, call_next)``, called around the request inside the middleware of
            the class.
        atomic: Whether ``hydrate``, a sync handler and ``dehydrate`` run in one database transaction, which is rolled
            back if one of them raises or the reply has a status of 400 or more. ``True`` for the default database, an
            alias or a list of them for others, ``False`` for none. By default the ``ATOMIC_REQUESTS`` of each database
            decides.
        parallel: Whether requests of the route run in tasks of their own instead of one after the other with the other
            requests of the socket, each with a copy of the context. Streams always do.
        cancel_on_disconnect: Whether the handler is cancelled at once when the client leaves, instead of after
            ``route_disconnect_grace`` seconds. Streams always are.
        public: Whether the route may be called before the handshake, on a consumer behind a
            ``HandshakeMiddleware``: ``request.user`` is anonymous then, and ``connect()`` has not run yet.
        idempotent: Whether a client may send a request again without it running twice. A request with the header
            ``Idempotency-Key`` is answered with the reply to the first one of the same user with that key, for a day.
            :class:`~routesock.Idempotent` changes how long, or requires the header.
        summary: One line about the route, for documents. The default is the first sentence of the handler's docstring.
        description: More than the summary says. The default is the rest of the docstring.
        tags: Names that group routes.
        deprecated: Whether clients should stop using the route.

    Raises:
        RouteSetupError: An option cannot work.
    """
    declared = Route(
        name=Route.checked(name),
        permissions=UNSET if permissions is UNSET else as_permissions("permissions=", permissions),
        throttles=checked_throttles("throttle=", throttle),
        schema=None if schema is None else as_schema(schema),
        hydrate=checked_hook("hydrate", hydrate),
        dehydrate=checked_dehydrate(dehydrate),
        status=checked_status(status),
        timeout=checked_timeout("timeout", timeout),
        middleware=checked_middleware("middleware", middleware),
        atomic=checked_atomic(atomic),
        parallel=checked_flag("parallel", parallel),
        cancel_on_disconnect=checked_flag("cancel_on_disconnect", cancel_on_disconnect),
        public=checked_flag("public", public),
        idempotent=_checked_idempotent(idempotent, timeout, cancel_on_disconnect),
        replies=checked_replies(reply, dehydrate, status),
        summary=checked_text("summary=", summary),
        description=checked_text("description=", description),
        tags=checked_tags("tags=", tags),
        deprecated=checked_flag("deprecated", deprecated),
        reply=None if reply is UNSET or reply is None else checked_reply(reply, dehydrate),
        errors=checked_errors(errors),
        examples=checked_examples(examples),
    )
    return marking(declared)


def collect(cls: type) -> dict[str, Route]:
    """The routes of ``cls`` and its bases by their full names.

    Raises :class:`RouteSetupError` if two methods have one name, or a handler contradicts its options.
    """
    prefix = getattr(cls, "route_prefix", "")
    if not isinstance(prefix, str):
        raise RouteSetupError(f"{cls.__name__}.route_prefix must be a string, not {prefix!r}.")
    routes = collected(cls, Route, prefix)
    for name, route in routes.items():
        if yields(getattr(cls, route.attr)):
            if route.status is not None:
                raise RouteSetupError(
                    f"{cls.__name__}.{route.attr} yields: its items have status 206 and its end 200. Remove status=."
                )
            if not route.replies:
                raise RouteSetupError(
                    f"{cls.__name__}.{route.attr} yields: its items and their end are replies. Remove reply=None."
                )
            if route.idempotent is not None:
                raise RouteSetupError(
                    f"{cls.__name__}.{route.attr} yields, and the items of a stream are not kept. Remove idempotent=."
                )
            routes[name] = replace(route, streams=True)
    return routes


def _checked_idempotent(idempotent: Any, timeout: Any, cancel_on_disconnect: Any) -> Idempotent | None:
    if idempotent is False:
        return None
    if idempotent is not True and not isinstance(idempotent, Idempotent):
        raise RouteSetupError(f"idempotent= must be True, False or Idempotent(...); got {idempotent!r}.")
    if timeout is None:
        raise RouteSetupError(
            "With idempotent=, a request has to end: others with its key wait for that. Remove timeout=None."
        )
    if cancel_on_disconnect is True:
        raise RouteSetupError(
            "cancel_on_disconnect= ends a handler when its client leaves, and idempotent= is for clients that come "
            "back for the reply. Remove one of them."
        )
    return Idempotent() if idempotent is True else idempotent
