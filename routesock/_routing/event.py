"""Marking methods as handlers of application events: what the server's own code tells its sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from .._runtime.callables import yields
from ..exceptions import RouteSetupError
from ..schemas import SchemaAdapter, as_schema
from .route import Handler, Mark, collected, marking

MAX_NAME_CHARS: Final = 128


class Event:
    """What a handler of events takes.

    ``name``
        As it was sent, and as ``@event`` declares it.
    ``payload``
        What was sent, as JSON gives it back; after ``schema=`` what the schema made of it.
    ``group``
        The group that it was sent to, as its sender named it.

    Each handler gets an object of its own, so it may change what is in it.
    """

    __slots__ = ("group", "name", "payload")

    def __init__(self, name: str, payload: Any = None, group: str = "") -> None:
        self.name: str = name
        self.payload: Any = payload
        self.group: str = group

    def __repr__(self) -> str:
        # The payload stays out: an event ends up in logs and tracebacks.
        return f"<Event {self.name!r} in {self.group!r}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMark(Mark):
    """One event that a method handles."""

    noun: ClassVar[str] = "event"
    argument: ClassVar[str] = "event"

    schema: SchemaAdapter | None = None

    @classmethod
    def checked(cls, name: Any) -> str:
        if not isinstance(name, str) or not name:
            raise RouteSetupError(f'An event\'s name is a string, as in @event("order.paid"); got {name!r}.')
        if len(name) > MAX_NAME_CHARS:
            raise RouteSetupError(
                f"An event's name has at most {MAX_NAME_CHARS} characters; {name[:20]!r}... is longer."
            )
        return name


def event(name: str, *, schema: Any = None) -> Callable[[Handler], Handler]:
    """Mark a consumer's method as the handler of events of this name; the method itself stays as it is.

    It is called on each socket in the group that :func:`~routesock.send_event` names, in the order of that socket's
    requests and channel-layer messages. It takes the :class:`~routesock.Event`, is ``async`` or not, and what it
    returns is dropped. Stacked marks give one handler several events.

    :param name: What senders write, at most 128 characters. No ``route_prefix`` goes in front of it.
    :param schema: Turns what was sent into ``event.payload``: what ``schema=`` of a route takes. Where it refuses, that
        is logged as an error, and the handler is not called.

    Raises :class:`~routesock.exceptions.RouteSetupError` for a name or a schema that cannot work.
    """
    return marking(EventMark(name=EventMark.checked(name), schema=None if schema is None else as_schema(schema)))


def collect_events(cls: type) -> dict[str, EventMark]:
    """The events that ``cls`` handles, by their names.

    Raises :class:`RouteSetupError` if two methods claim one name, or a handler yields.
    """
    events = collected(cls, EventMark)
    for mark in events.values():
        if yields(getattr(cls, mark.attr)):
            raise RouteSetupError(
                f"{cls.__name__}.{mark.attr} yields, but an event has nobody to stream to. "
                "Send frames with self.socket.push, and return."
            )
    return events
