"""The decorator `@event`: handlers of application events, which server code sends to consumers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from .._runtime.callables import yields
from ..exceptions import RouteSetupError
from ..schemas import SchemaAdapter, as_schema
from .marks import Handler, Mark, collected, marking, naming_options

MAX_NAME_CHARS: Final = 128


class Event:
    """An event, as handlers receive it. Each handler gets its own object and may change it.

    Attributes:
        name: The name with which it was sent, and that ``@event`` declares.
        payload: The payload after a round trip through JSON, or the result of ``schema=``.
        group: The name of the group that it was sent to.
    """

    __slots__ = ("group", "name", "payload")

    def __init__(self, name: str, payload: Any = None, group: str = "") -> None:
        self.name: str = name
        self.payload: Any = payload
        self.group: str = group

    def __repr__(self) -> str:
        # Without the payload: an event ends up in logs and tracebacks.
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
            raise RouteSetupError(f'An event\'s name must be a string, as in @event("order.paid"); got {name!r}.')
        if len(name) > MAX_NAME_CHARS:
            raise RouteSetupError(
                f"An event's name has at most {MAX_NAME_CHARS} characters; {name[:20]!r}... is longer."
            )
        return name


@naming_options
def event(name: str, *, schema: Any = None) -> Callable[[Handler], Handler]:
    """Mark a consumer's method as the handler of events of this name. The method itself stays as it is.

    :func:`~routesock.send_event` calls it on every socket in a group, one after the other with the requests and the
    channel-layer messages of that socket. It takes the :class:`~routesock.Event`, is sync or async, and its return
    value is ignored. Stack decorators to handle several events.

    Args:
        name: The name that is sent, 1 to 128 characters. ``route_prefix`` does not apply.
        schema: Turns what was sent into ``event.payload``: any schema that a route takes. If it refuses the payload,
            that is logged as an error, and the handler is not called.

    Raises:
        RouteSetupError: The name or the schema cannot work.
    """
    return marking(EventMark(name=EventMark.checked(name), schema=None if schema is None else as_schema(schema)))


def collect_events(cls: type) -> dict[str, EventMark]:
    """The events that ``cls`` handles, by their names.

    Raises :class:`RouteSetupError` if two methods handle one name, or a handler yields.
    """
    events = collected(cls, EventMark)
    for mark in events.values():
        if yields(getattr(cls, mark.attr)):
            raise RouteSetupError(
                f"{cls.__name__}.{mark.attr} yields, but an event has no reply. "
                "Send frames with self.socket.push(), and return."
            )
    return events
