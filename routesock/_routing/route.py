"""The decorator `@route`, the marks that it and its siblings leave on methods, and collecting them from a class."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property, wraps
from types import FrameType, MappingProxyType
from typing import Any, ClassVar, Final, ParamSpec, TypeVar

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.utils.functional import Promise

from .._runtime.callables import is_async, is_bound, takes, yields
from ..dialects.base import MAX_ROUTE_CHARS
from ..exceptions import RouteSetupError
from ..permissions.base import Tree, as_permissions
from ..schemas import SchemaAdapter, as_schema, library_adapter
from ..throttling import Throttle
from ..typing import UNSET, Unset

_MARKS: Final = "__routesock_marks__"

_CHANNELS_NAMES: Final = frozenset(
    (*dir(AsyncJsonWebsocketConsumer), "scope", "channel_layer", "channel_name", "channel_receive", "base_send"),
)
"""Methods of Channels' consumers, and the attributes that their ``__call__`` sets on each instance."""

Handler = TypeVar("Handler", bound=Callable[..., Any])

M = TypeVar("M", bound="Mark")

P = ParamSpec("P")

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A declaration on the method ``attr``: the name that it handles, and options. Each decorator has a subclass."""

    noun: ClassVar[str]
    """What the method handles, which is also the name of the decorator."""
    argument: ClassVar[str]
    """The name of the method's parameter."""

    name: str
    attr: str = ""

    @classmethod
    def checked(cls, name: Any) -> str:
        """``name`` if it is valid. Raises :class:`RouteSetupError` otherwise."""
        raise NotImplementedError

    @classmethod
    def a(cls) -> str:
        """The noun with its article."""
        return f"{'an' if cls.noun[0] in 'aeio' else 'a'} {cls.noun}"


def marking(mark: Mark) -> Callable[[Handler], Handler]:
    """A decorator that adds ``mark`` to a method and returns the method itself."""
    decorator = f"@{mark.noun}({mark.name!r})"

    def decorate(handler: Handler) -> Handler:
        if isinstance(handler, type) or not (callable(handler) or isinstance(handler, classmethod)):
            raise RouteSetupError(f"{decorator} decorates a method, not {handler!r}.")
        marks: tuple[Mark, ...] = getattr(handler, _MARKS, ())
        for other in marks:
            if type(other) is not type(mark):
                raise RouteSetupError(
                    f"{decorator} decorates {handler.__qualname__}, which handles {other.a()} already, "
                    f"{other.name!r}. Write a method for each."
                )
            if other.name == mark.name:
                raise RouteSetupError(f"{decorator} decorates {handler.__qualname__} twice. Remove one.")
        setattr(handler, _MARKS, (mark, *marks))
        _remember(handler, mark)
        return handler

    return decorate


_DECLARED: Final = "__routesock_declared__"


def _remember(handler: Any, mark: Mark) -> None:
    """Note in the class body that is being executed that ``handler`` has ``mark``, if it is defined there.

    Nothing else knows of a handler that is lost before its class exists, as its name was given to something else.
    """
    name: str = getattr(handler, "__qualname__", "")
    owner = name.rpartition(".")[0]
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_qualname != owner:
        frame = frame.f_back
    if frame is not None and not frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # a class body, not a function
        frame.f_locals.setdefault(_DECLARED, []).append((handler, mark))


def _check_declared(base: type) -> None:
    """Check that the handlers that were defined in the body of ``base`` are on the class.

    Raises:
        RouteSetupError: Something else has the name of one.
    """
    present = {id(mark) for definition in vars(base).values() for mark in _marks_of([definition])}
    for handler, mark in vars(base).get(_DECLARED, ()):
        if id(mark) in present or handler.__name__ not in vars(base):
            continue
        other = vars(base)[handler.__name__]
        if other is None:
            continue
        where = f"{base.__name__}.{handler.__name__}"
        if getattr(_unwrapped(other), "__qualname__", None) == handler.__qualname__:
            raise RouteSetupError(
                f"{base.__name__} defines {handler.__name__} twice, so {mark.a()}, {mark.name!r}, is lost. "
                "Rename one of the methods."
            )
        raise RouteSetupError(
            f"{where} handles {mark.a()}, {mark.name!r}, and is replaced with {other!r}, which does not. "
            f"If that is a decorator above @{mark.noun}, use functools.wraps in it, or write @{mark.noun} above it."
        )


def naming_options(decorator: Callable[P, R]) -> Callable[P, R]:
    """Make ``decorator`` raise :class:`RouteSetupError` for an unknown option, with the nearest one."""
    options = [
        parameter.name
        for parameter in inspect.signature(decorator).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]

    @wraps(decorator)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for option in kwargs:
            if option not in options and option != "name":
                nearest = get_close_matches(option, options, n=1)
                listed = ", ".join(f"{name}=" for name in options)
                hint = f"Did you mean {nearest[0]}=?" if nearest else f"The options are {listed}."
                raise RouteSetupError(f"@{decorator.__name__} has no option {option}=. {hint}")
        return decorator(*args, **kwargs)

    return checked


def collected(cls: type, kind: type[M], prefix: str = "") -> dict[str, M]:
    """The marks of ``kind`` on the methods of ``cls`` and its bases, by their names with ``prefix`` in front.

    An override without marks keeps those of the method that it overrides, and ``None`` removes them. Raises
    :class:`RouteSetupError` if two methods have one name.
    """
    found: dict[str, M] = {}
    for attr, marks in _marked(cls):
        for mark in marks:
            if not isinstance(mark, kind):
                continue
            full = kind.checked(prefix + mark.name)
            if full in found:
                other = found[full].attr
                raise RouteSetupError(
                    f"Both {cls.__name__}.{other} and {cls.__name__}.{attr} handle the {kind.noun} {full!r}. "
                    f"Rename one, or remove an inherited one with `{other} = None`."
                )
            found[full] = replace(mark, name=full, attr=attr)
    return found


def _marked(cls: type) -> Iterator[tuple[str, tuple[Mark, ...]]]:
    """Each attribute of ``cls`` that has marks, those of its bases first, with the marks that apply."""
    seen: set[str] = set()
    for base in reversed(cls.__mro__):
        _check_declared(base)
        for attr in vars(base):
            if attr in seen:
                continue
            seen.add(attr)
            if marks := _marks_of(vars(owner)[attr] for owner in cls.__mro__ if attr in vars(owner)):
                _check_handler(cls, attr, type(marks[0]))
                yield attr, marks


def declarations(cls: type) -> list[str]:
    """Return what ``cls`` and its bases declare with decorators, such as ``"@route('chat.send')"``."""
    attrs = dict.fromkeys(attr for base in reversed(cls.__mro__) for attr in vars(base))
    found = [_marks_of(vars(owner)[attr] for owner in cls.__mro__ if attr in vars(owner)) for attr in attrs]
    return [f"@{mark.noun}({mark.name!r})" for marks in found for mark in marks]


def _marks_of(definitions: Iterable[Any]) -> tuple[Mark, ...]:
    """The marks of the first definition that has some, up to a ``None``; ``definitions`` are in MRO order."""
    for definition in definitions:
        if definition is None:
            break
        # From __dict__, so that a lazy object on a class is not evaluated by the search.
        marks: tuple[Mark, ...] = getattr(_unwrapped(definition), "__dict__", {}).get(_MARKS, ())
        if marks:
            return marks
    return ()


def _unwrapped(definition: Any) -> Any:
    """The function inside a builtin descriptor, which does not pass on the function's attributes."""
    kind = type(definition)  # isinstance() would ask a lazy object for its __class__
    if issubclass(kind, staticmethod | classmethod):
        return definition if _MARKS in vars(definition) else definition.__func__
    if issubclass(kind, property):
        return definition.fget
    if issubclass(kind, cached_property):
        return definition.func
    return definition


def _check_handler(cls: type, attr: str, kind: type[Mark]) -> None:
    handler = getattr(cls, attr)
    where = f"{cls.__name__}.{attr}"
    if not callable(handler):
        raise RouteSetupError(
            f"{where} overrides {kind.a()} with {handler!r}. Write a method, or None to remove the {kind.noun}."
        )
    if attr in _CHANNELS_NAMES or attr.startswith("websocket_"):
        raise RouteSetupError(f"{where} cannot be {kind.a()}: Channels uses the name {attr}. Rename the handler.")
    if not takes(handler, 1 if is_bound(cls, attr) else 2):
        raise RouteSetupError(
            f"{where}{inspect.signature(handler)} cannot be called as a handler. "
            f"Write `def {attr}(self, {kind.argument})`."
        )


NO_ERRORS: Final[Mapping[int, SchemaAdapter | str]] = MappingProxyType({})

RESERVED: Final = frozenset(
    (
        *("PING", "PONG", "CANCEL", "ANSWER", "CLOSE", "AUTH", "HELLO", "RESUME"),
        *("SUBSCRIBE", "UNSUBSCRIBE", "PRESENCE"),
    ),
)
"""Names that the protocol reserves."""


MAX_IDEMPOTENCY_TTL: Final = 30 * 86_400
"""Seconds for which the reply to an idempotent request is kept at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotent:
    """How requests of a route with ``idempotent=`` are kept from running twice.

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
    """What the handler returns, where ``dehydrate`` is no schema; for a stream, each item."""
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
        status=_checked_status(status),
        timeout=checked_timeout("timeout", timeout),
        middleware=checked_middleware("middleware", middleware),
        atomic=_checked_atomic(atomic),
        parallel=checked_flag("parallel", parallel),
        cancel_on_disconnect=checked_flag("cancel_on_disconnect", cancel_on_disconnect),
        public=checked_flag("public", public),
        idempotent=_checked_idempotent(idempotent, timeout, cancel_on_disconnect),
        replies=_checked_replies(reply, dehydrate, status),
        summary=checked_text("summary=", summary),
        description=checked_text("description=", description),
        tags=checked_tags("tags=", tags),
        deprecated=checked_flag("deprecated", deprecated),
        reply=None if reply is UNSET or reply is None else checked_reply(reply, dehydrate),
        errors=checked_errors(errors),
        examples=_checked_examples(examples),
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


def checked_name(name: Any, example: str) -> str:
    """``name`` if it can be the route of a frame: not empty, not too long, not reserved.

    ``example`` shows in the message how a name is given.
    """
    if not isinstance(name, str) or not name:
        raise RouteSetupError(f"A route's name must be a string, as in {example}; got {name!r}.")
    if len(name) > MAX_ROUTE_CHARS:
        raise RouteSetupError(f"A route's name has at most {MAX_ROUTE_CHARS} characters; {name[:20]!r}... is longer.")
    if name in RESERVED:
        raise RouteSetupError(f"The route name {name!r} is reserved for the protocol. Write {name.lower()!r}.")
    return name


def checked_dehydrate(dehydrate: Any) -> SchemaAdapter | Callable[..., Any] | str | None:
    return library_adapter(dehydrate) or checked_hook("dehydrate", dehydrate)


def checked_hook(option: str, hook: Any) -> Callable[..., Any] | str | None:
    if hook is None or (isinstance(hook, str) and hook.isidentifier()):
        return hook
    if not callable(hook):
        raise RouteSetupError(f"{option}= must be a function or the name of a method; got {hook!r}.")
    if yields(hook):
        raise RouteSetupError(f"{option}={hook!r} yields. Return the result instead.")
    if not takes(hook, 1):
        raise RouteSetupError(
            f"{option}={hook!r} cannot be called with one argument. For a method, pass its name: "
            f"{option}={getattr(hook, '__name__', 'name')!r}."
        )
    function: Callable[..., Any] = hook
    return function


def _checked_status(status: Any) -> int | None:
    if status is None:
        return None
    if isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 299 and status != 206:
        return int(status)
    raise RouteSetupError(
        f"status= must be a success status, 200 to 299 except 206, which marks items of a stream; got {status!r}."
    )


def _checked_replies(reply: Any, dehydrate: Any, status: Any) -> bool:
    """Return whether a success is answered."""
    if reply is not None:
        return True
    for option, value in (("dehydrate", dehydrate), ("status", status)):
        if value is not None:
            raise RouteSetupError(
                f"A route with reply=None sends no success reply, so nothing reads {option}=. Remove it."
            )
    return False


def checked_reply(reply: Any, dehydrate: Any) -> SchemaAdapter:
    """The adapter of the schema ``reply``, which describes payloads that ``dehydrate`` does not."""
    adapter = library_adapter(reply)
    if adapter is None:
        raise RouteSetupError(
            f"reply= must be a schema of what the handler returns, such as a marshmallow Schema; got {reply!r}. "
            "A function that turns the result into JSON is dehydrate=, and reply=None means that no success is "
            "answered."
        )
    if library_adapter(dehydrate) is not None:
        raise RouteSetupError("dehydrate= is a schema, which describes the reply already. Remove reply=.")
    return adapter


def checked_errors(errors: Any) -> Mapping[int, SchemaAdapter | str]:
    """``errors`` with adapters in place of schemas, by ascending status."""
    example = 'such as errors={409: "Join a room first."}'
    if not isinstance(errors, Mapping):
        raise RouteSetupError(f"errors= must be a dict from a status to a text or a schema, {example}; got {errors!r}.")
    checked: dict[int, SchemaAdapter | str] = {}
    for status, value in errors.items():
        if not isinstance(status, int) or isinstance(status, bool) or not 400 <= status <= 599:
            raise RouteSetupError(f"A status in errors= must be an integer from 400 to 599, {example}; got {status!r}.")
        described = value if isinstance(value, str | Promise) and value else library_adapter(value)
        if described is None:
            raise RouteSetupError(
                f"errors= must have a text that says when {int(status)} is sent, {example}, or the schema of its "
                f"payload; got {value!r}."
            )
        checked[int(status)] = described  # type: ignore[assignment]  # a lazy translation is a text to all its readers
    return MappingProxyType(dict(sorted(checked.items()))) if checked else NO_ERRORS


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


def _checked_examples(examples: Any) -> tuple[Any, ...]:
    """Copies of ``examples``, each a payload in plain JSON."""
    if not isinstance(examples, list | tuple):
        raise RouteSetupError(
            f'examples= must be a list of payloads of requests, such as [{{"text": "Hello"}}]; got {examples!r}.'
        )
    return tuple(_json_copy(example) for example in examples)


def _json_copy(example: Any) -> Any:
    try:
        text = json.dumps(example, allow_nan=False, ensure_ascii=False)
        text.encode()  # half a surrogate pair cannot be sent
    except (TypeError, ValueError, RecursionError) as exc:
        raise RouteSetupError(
            f"examples= must have payloads as a client sends them, in plain JSON; got {example!r} ({exc})."
        ) from exc
    return json.loads(text)


def checked_text(option: str, text: Any) -> str:
    """``text`` if it is a string or a lazy translation, which is evaluated when documents are built."""
    if isinstance(text, str | Promise):
        return text  # type: ignore[return-value]
    raise RouteSetupError(f"{option} must be a string; got {text!r}.")


def checked_tags(option: str, tags: Any) -> tuple[str, ...]:
    """``tags`` as a tuple; one tag may be given as a string."""
    names = (tags,) if isinstance(tags, str) else tags
    if isinstance(names, Iterable):
        names = tuple(names)
        if all(isinstance(name, str) and name for name in names):
            return names
    raise RouteSetupError(f'{option} must be a list of names, such as ["chat"]; got {tags!r}.')


def _checked_atomic(atomic: Any) -> bool | tuple[str, ...] | Unset:
    if isinstance(atomic, bool | Unset):
        return atomic
    aliases = (atomic,) if isinstance(atomic, str) else atomic
    if isinstance(aliases, list | tuple) and aliases and all(isinstance(alias, str) and alias for alias in aliases):
        return tuple(aliases)
    raise RouteSetupError(
        f"atomic= must be True, False, or the alias of a database, or a list of them; got {atomic!r}."
    )


def checked_flag(option: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise RouteSetupError(f"{option}= must be True or False; got {value!r}.")


def checked_throttles(option: str, throttle: Any) -> tuple[Throttle, ...] | Unset:
    """The throttles of a rate, a :class:`Throttle`, or a list of them; :data:`UNSET` stays."""
    if isinstance(throttle, Unset):
        return UNSET
    items = throttle if isinstance(throttle, list | tuple) else [throttle]
    for item in items:
        if not isinstance(item, str | Throttle):
            raise RouteSetupError(
                f'{option} must be a rate such as "30/min", a Throttle, or a list of them; got {item!r}.'
            )
    return tuple(item if isinstance(item, Throttle) else Throttle(item) for item in items)


def checked_timeout(option: str, seconds: Any) -> float | Unset | None:
    """``seconds`` as a deadline: a positive number, ``None`` for none, or :data:`UNSET`."""
    if seconds is None or seconds is UNSET:
        return seconds
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
        return float(seconds)
    raise RouteSetupError(f"{option} must be a positive number of seconds, or None for none; got {seconds!r}.")


def checked_middleware(option: str, middleware: Any) -> tuple[Callable[..., Any], ...]:
    """``middleware`` as a tuple of functions ``async def m(request, call_next)``."""
    if not isinstance(middleware, list | tuple):  # an iterator would be empty for a subclass, and a set has no order
        raise RouteSetupError(f"{option} must be a list of functions; got {middleware!r}.")
    for function in middleware:
        if not is_middleware(function):
            raise RouteSetupError(f"{option}: write {function!r} as `async def m(request, call_next)`.")
    return tuple(middleware)


def is_middleware(function: Any) -> bool:
    """Whether ``function`` can be called as ``async def m(request, call_next)``."""
    return is_async(function) and takes(function, 2)
