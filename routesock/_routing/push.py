"""Declared pushes: what a server sends under a name, checked before it is sent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, TypeGuard

from .._runtime import database
from ..dialects import MAX_ROUTE_CHARS
from ..exceptions import Invalid, InvalidPush, RouteSetupError
from ..schemas import SchemaAdapter, as_schema
from .route import RESERVED, checked_name


@dataclass(frozen=True, repr=False)
class Push:
    """A push that is declared: its name, and the schema of its payload.

    Declare it once, at the top of a module::

        chat_message = Push("chat.message", schema=MessageSchema, summary="Somebody wrote.")

    From then on what is pushed or broadcast under the name, or with the object in its place, is dumped by the schema,
    and has to fit it. Under a name that nobody declared the payload is sent as it is.

    :param name: What clients read as the route, at most 128 characters.
    :param schema: What ``schema=`` of a route takes. Without it the payload is sent as it is.
    :param summary: One line about the push. This and the next three are kept for documents; nothing reads them yet.
    :param description: More than the summary says.
    :param tags: Names that group pushes.
    :param deprecated: Whether clients should stop relying on the push.

    It cannot be changed, and equals one that was declared with the same arguments. Raises
    :class:`~routesock.exceptions.RouteSetupError` for an argument that cannot work, and where the name is declared
    otherwise already.
    """

    name: str
    _: KW_ONLY
    schema: Any = field(default=None, hash=False)
    summary: str = field(default="", hash=False)
    description: str = field(default="", hash=False)
    tags: Sequence[str] = field(default=(), hash=False)
    deprecated: bool = field(default=False, hash=False)
    _adapter: SchemaAdapter | None = field(init=False, compare=False)
    _place: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        checked_name(self.name, 'Push("chat.message")')
        caller = sys._getframe(2)  # behind __init__, which the decorator writes
        settled = {
            "tags": (self.tags,) if isinstance(self.tags, str) else tuple(self.tags),
            "_adapter": None if self.schema is None else as_schema(self.schema),
            "_place": f"{caller.f_code.co_filename}:{caller.f_lineno}",
        }
        for attr, value in settled.items():
            object.__setattr__(self, attr, value)
        _declare(self)

    def __repr__(self) -> str:
        return f"Push({self.name!r})" if self.schema is None else f"Push({self.name!r}, schema={_title(self.schema)})"


_pushes: Final[dict[str, Push]] = {}


def _declare(push: Push) -> None:
    other = _pushes.get(push.name)
    if other is not None and other != push and not _again(push, other):
        raise RouteSetupError(
            f"{push!r} is declared otherwise already: {other!r}, at {other._place}. Import that one, or choose another "
            "name."
        )
    _pushes[push.name] = push


def _again(push: Push, other: Push) -> bool:
    """Whether both are one declaration, in a module that ran twice and made its classes anew."""
    return push._place == other._place and _title(push.schema) == _title(other.schema)


def _title(schema: Any) -> str:
    """What ``schema`` is called in code; of an instance, its class."""
    name = getattr(schema, "__qualname__", None)
    return name if isinstance(name, str) else f"{type(schema).__qualname__}(...)"


def is_plain(route: str | Push) -> TypeGuard[str]:
    """Whether ``route`` is a name that frames can have and nobody declared: :func:`spoken` would change nothing."""
    return type(route) is str and route not in _pushes and route not in RESERVED and 0 < len(route) <= MAX_ROUTE_CHARS


def spoken(route: str | Push, payload: Any) -> tuple[str, Any]:
    """The name of the route, and ``payload`` as its declaration spells it.

    Raises ``ValueError`` for a name that no frame can have, ``TypeError`` for what is no name, and
    :class:`~routesock.exceptions.InvalidPush` where the payload does not fit. A schema in ``run_in_thread(...)`` and a
    DRF serializer may query the database.
    """
    found = _found(route)
    return _spoken(found, payload) if isinstance(found, Push) else (found, payload)


async def aspoken(route: str | Push, payload: Any) -> tuple[str, Any]:
    """As :func:`spoken`, in the database thread where the schema may query the database."""
    found = _found(route)
    if not isinstance(found, Push):
        return found, payload
    if _blocks(found):
        spelt: tuple[str, Any] = await database.in_thread(_spoken, found, payload)
        return spelt
    return _spoken(found, payload)


def _found(route: str | Push) -> Push | str:
    """The declaration of ``route``; the name itself where there is none, if frames can have it."""
    if isinstance(route, Push):
        return route
    if not isinstance(route, str):
        raise TypeError(f"A push has a name, or is a Push; got {route!r}.")
    push = _pushes.get(route)
    if push is not None:
        return push
    if route in RESERVED:
        raise ValueError(f"The route {route!r} is reserved for the protocol.")
    if not 0 < len(route) <= MAX_ROUTE_CHARS:
        raise ValueError(f"A route's name has 1 to {MAX_ROUTE_CHARS} characters; got {len(route)}.")
    return route


def _blocks(push: Push) -> bool:
    return push._adapter is not None and push._adapter.runs_in_thread


def _spoken(push: Push, payload: Any) -> tuple[str, Any]:
    if push._adapter is None:
        return push.name, payload
    try:
        return push.name, push._adapter.dump_checked(payload)
    except Invalid as exc:
        raise InvalidPush(push.name, exc.errors) from exc
