"""Push: declares what a server sends under a name, and checks a payload before it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from .._runtime import database
from .._wire.problems import error_of
from ..dialects import Dialect
from ..dialects.base import MAX_ROUTE_CHARS
from ..exceptions import Invalid, InvalidAnswer, InvalidPush, RouteSetupError
from ..schemas import SchemaAdapter, as_schema
from ..schemas.base import loader_of
from .arguments import RESERVED, checked_flag, checked_name, checked_tags, checked_text


@dataclass(frozen=True, repr=False)
class Push:
    """Declares a push: its name, and the schema of its payload.

    Declare it once, at the top of a module, and list it in ``route_pushes`` of the consumers that send it::

        chat_message = Push("chat.message", schema=MessageSchema, summary="A message of the room.")

        class ChatConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
            route_pushes = [chat_message]

    Wherever the name of a push is accepted, pass the object instead: the schema dumps the payload and validates it. On
    a consumer that lists the push, ``self.socket`` does the same for the name alone. A push is immutable, and equal to
    another one with the same arguments.

    Args:
        name: The route of the frame that clients receive, 1 to 128 characters.
        schema: Any schema that ``schema=`` of a route takes. Without it the payload is sent unchanged.
        answer: The schema of the client's answer, for a push that is sent with ``self.socket.ask()``.
        summary: One line about the push. This and the next three arguments are for documents and clients.
        description: More than the summary says.
        tags: Names that group pushes.
        deprecated: Whether clients should stop relying on the push.

    Raises:
        RouteSetupError: An argument cannot work.
    """

    name: str
    _: KW_ONLY
    schema: Any = field(default=None, hash=False)
    answer: Any = field(default=None, hash=False)
    summary: str = field(default="", hash=False)
    description: str = field(default="", hash=False)
    tags: Sequence[str] = field(default=(), hash=False)
    deprecated: bool = field(default=False, hash=False)
    _adapter: SchemaAdapter | None = field(init=False, compare=False)
    _answer: SchemaAdapter | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        checked_name(self.name, 'Push("chat.message")')
        checked_text("summary=", self.summary)
        checked_text("description=", self.description)
        checked_flag("deprecated", self.deprecated)
        object.__setattr__(self, "tags", checked_tags("tags=", self.tags))
        object.__setattr__(self, "_adapter", None if self.schema is None else as_schema(self.schema))
        object.__setattr__(self, "_answer", None if self.answer is None else as_schema(self.answer))

    def __repr__(self) -> str:
        return f"Push({self.name!r})" if self.schema is None else f"Push({self.name!r}, schema={_title(self.schema)})"


def _title(schema: Any) -> str:
    """The name of ``schema`` in code; of an instance, the name of its class."""
    name = getattr(schema, "__qualname__", None)
    return name if isinstance(name, str) else f"{type(schema).__qualname__}(...)"


Pushes = Mapping[str, Push]
"""Pushes by their names."""

NO_PUSHES: Final[Pushes] = MappingProxyType({})


def collect_pushes(cls: type) -> Pushes:
    """The pushes in ``route_pushes`` of ``cls`` and its bases; a class overrides those of its bases by name.

    Raises :class:`RouteSetupError` if the option is no list of pushes, or declares one name in two ways.
    """
    pushes: dict[str, Push] = {}
    for base in reversed(cls.__mro__):
        if "route_pushes" in vars(base):
            pushes.update(listed_pushes(f"{base.__name__}.route_pushes", vars(base)["route_pushes"]))
    return pushes


def check_asks(cls: type, pushes: Pushes, dialect: Dialect) -> None:
    """Raise :class:`RouteSetupError` if a push has an answer and ``dialect`` cannot ask for it."""
    asking = [push.name for push in pushes.values() if push.answer is not None]
    if asking and not dialect.can_ask:
        raise RouteSetupError(
            f"{cls.__name__}.route_pushes declares an answer to {asking[0]!r}, and {dialect!r} cannot ask: its frames "
            "have no ids, or it has no request(). Remove answer=, or choose another dialect."
        )


def listed_pushes(option: str, declared: Any) -> Pushes:
    """The pushes of a list by their names.

    Raises :class:`RouteSetupError` if ``declared`` is no list of pushes, or declares one name in two ways.
    """
    if not isinstance(declared, list | tuple) or not all(isinstance(push, Push) for push in declared):
        raise RouteSetupError(f'{option} must be a list of pushes, such as [Push("chat.message")]; got {declared!r}.')
    pushes: dict[str, Push] = {}
    for push in declared:
        other = pushes.setdefault(push.name, push)
        if other != push:
            raise RouteSetupError(
                f"{option} declares {push.name!r} in two ways: {other!r} and {push!r}. "
                "Remove one, or choose another name."
            )
    return pushes


def is_undeclared(route: str | Push, pushes: Pushes) -> TypeGuard[str]:
    """Whether ``route`` is a valid name that is not in ``pushes``: :func:`prepare` would change nothing."""
    return type(route) is str and route not in pushes and route not in RESERVED and 0 < len(route) <= MAX_ROUTE_CHARS


def prepare(route: str | Push, payload: Any, pushes: Pushes = NO_PUSHES) -> tuple[str, Any]:
    """The name of a push, and ``payload`` as the schema of its declaration dumps it.

    A schema in ``run_in_thread(...)`` and a DRF serializer may query the database.

    Args:
        route: A push, or a name that is looked up in ``pushes``.
        payload: What the schema takes; without a schema, what JSON can encode.
        pushes: The declarations by name.

    Raises:
        ValueError: A frame cannot have the name.
        TypeError: ``route`` is neither a push nor a name.
        InvalidPush: The schema refuses the payload.
    """
    push = _declared(route, pushes)
    return _dumped(push, payload) if isinstance(push, Push) else (push, payload)


async def aprepare(route: str | Push, payload: Any, pushes: Pushes = NO_PUSHES) -> tuple[str, Any]:
    """As :func:`prepare`, in the database thread if the schema runs there."""
    push = _declared(route, pushes)
    if not isinstance(push, Push):
        return push, payload
    if push._adapter is not None and push._adapter.runs_in_thread:
        prepared: tuple[str, Any] = await database.in_thread(_dumped, push, payload)
        return prepared
    return _dumped(push, payload)


def answer_schema(route: str | Push, pushes: Pushes, schema: Any) -> SchemaAdapter | None:
    """The adapter of the answer to ``route``: that of ``schema``, else that of the declaration, if it has one."""
    if schema is not None:
        try:
            return _as_schema(schema)
        except TypeError:  # it cannot be hashed, or it is no schema
            return as_schema(schema)
    push = pushes.get(route) if isinstance(route, str) else route
    return None if push is None else push._answer


_as_schema: Final = lru_cache(maxsize=128)(as_schema)
"""Keeps the adapters of schemas, which take long to make."""


async def load_answer(adapter: SchemaAdapter, payload: Any) -> Any:
    """``payload`` as the schema loads it, in the database thread if the schema runs there.

    Raises:
        InvalidAnswer: The schema refuses the payload.
    """
    load = loader_of(adapter)
    try:
        if adapter.runs_in_thread:
            return await database.in_thread(load, payload, None)
        return load(payload, None)
    except Exception as exc:
        error = error_of(exc)
        if error is None or error.errors is None:
            raise
        raise InvalidAnswer(error.errors) from exc


def _declared(route: str | Push, pushes: Pushes) -> Push | str:
    """The declaration of ``route``; the name itself where there is none, if a frame can have it."""
    if isinstance(route, Push):
        return route
    if not isinstance(route, str):
        raise TypeError(f"A push is given by its name or as a Push; got {route!r}.")
    push = pushes.get(route)
    if push is not None:
        return push
    if route in RESERVED:
        raise ValueError(f"The route {route!r} is reserved for the protocol.")
    if not 0 < len(route) <= MAX_ROUTE_CHARS:
        raise ValueError(f"A route's name must have 1 to {MAX_ROUTE_CHARS} characters; got {len(route)}.")
    return route


def _dumped(push: Push, payload: Any) -> tuple[str, Any]:
    if push._adapter is None:
        return push.name, payload
    try:
        return push.name, push._adapter.dump_checked(payload)
    except Invalid as exc:
        raise InvalidPush(push.name, exc.errors) from exc
