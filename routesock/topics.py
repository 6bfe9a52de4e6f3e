"""Marking methods as topics, to which clients subscribe, and finding the marks when a class is created."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from .callables import yields
from .exceptions import RouteSetupError
from .marks import Handler, Mark, collected, marking
from .patterns import Pattern
from .permissions.resolve import resolve_all
from .routing import (
    Route,
    checked_dehydrate,
    checked_flag,
    checked_hook,
    checked_middleware,
    checked_throttles,
    checked_timeout,
)
from .schemas import resolve
from .throttling import Throttle
from .typing import UNSET, Unset

SUBSCRIBE: Final = "SUBSCRIBE"
UNSUBSCRIBE: Final = "UNSUBSCRIBE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic(Mark):
    """One topic: which names it has, and what is done when a client subscribes and when that ends."""

    noun: ClassVar[str] = "topic"
    argument: ClassVar[str] = "request"

    pattern: Pattern
    route: Route
    """A SUBSCRIBE, as if it were a route."""
    unsubscribe: Callable[..., Any] | str | None
    recheck: bool

    @classmethod
    def checked(cls, name: Any) -> str:
        return Pattern(name).text


def topic(
    name: str,
    *,
    permissions: Sequence[Any] | Unset = UNSET,
    throttle: str | Throttle | Sequence[str | Throttle] | Unset = UNSET,
    schema: Any = None,
    hydrate: Callable[..., Any] | str | None = None,
    dehydrate: Any = None,
    timeout: float | Unset | None = UNSET,
    middleware: Sequence[Callable[..., Any]] = (),
    unsubscribe: Callable[..., Any] | str | None = None,
    recheck: bool = False,
) -> Callable[[Handler], Handler]:
    """Mark a consumer's method as the handler of subscriptions to a topic; the method itself stays as it is.

    A client sends SUBSCRIBE with the name of a topic, and the socket joins the group of that name: what is broadcast to
    it is pushed to the client until it sends UNSUBSCRIBE, or leaves. The handler takes the
    :class:`~routesock.Request` and returns the payload of the reply, such as what there is so far. If it raises, or the
    reply is an error for any other reason, there is no subscription. The socket has joined the group before the handler
    runs, so that nothing is lost between the two; a push may come before the reply.

    The options that :func:`routesock.route` has too mean the same. In place of a payload there are the parameters of
    the name: to ``"room.{room_id}"`` and a client that asks for ``room.5``, ``{"room_id": "5"}``, always strings.
    ``request.topic`` is the whole name.

    :param name: Segments with a dot between two of them, at most 128 characters. A segment may have one
        ``{parameter}``, which stands for one character or more, but for no dot. Of several topics that a name belongs
        to, the one is meant that has a text where another has a parameter, looked at from the left. ``route_prefix``
        does not stand in front of it.
    :param unsubscribe: Called with a request that has the handler's ``payload``, ``data`` and ``topic``, when the
        subscription ends: at an UNSUBSCRIBE, when a permission is gone, and when the socket ends, before
        ``disconnect()``. A function or the name of a method, sync or async.
    :param recheck: Whether the permissions, with the schema and ``hydrate=``, are asked again before each push. Who is
        denied is not sent the push, and is unsubscribed.

    Raises :class:`~routesock.exceptions.RouteSetupError` for an option that cannot work.
    """
    pattern = Pattern(name)
    declared = Topic(
        name=pattern.text,
        pattern=pattern,
        route=Route(
            name=f"{SUBSCRIBE} {name}",
            permissions=UNSET if permissions is UNSET else resolve_all("permissions=", permissions),
            throttles=checked_throttles("throttle=", throttle),
            schema=None if schema is None else resolve(schema),
            hydrate=checked_hook("hydrate", hydrate),
            dehydrate=checked_dehydrate(dehydrate),
            timeout=checked_timeout("timeout", timeout),
            middleware=checked_middleware("middleware", middleware),
        ),
        unsubscribe=checked_hook("unsubscribe", unsubscribe),
        recheck=checked_flag("recheck", recheck),
    )
    if recheck and declared.route.permissions == ():
        raise RouteSetupError(
            f"@topic({name!r}): recheck=True asks the permissions again, and permissions=() has none."
        )
    return marking(declared)


def collect_topics(cls: type) -> tuple[Topic, ...]:
    """The topics of ``cls``, found as its routes are.

    Raises :class:`RouteSetupError` if two of them match the same names.
    """
    topics: dict[tuple[Any, ...], Topic] = {}
    for mark in collected(cls, Topic).values():
        if yields(getattr(cls, mark.attr)):
            raise RouteSetupError(
                f"{cls.__name__}.{mark.attr} yields, but a topic has one reply. Return what there is so far, and send "
                "the rest with self.socket.broadcast()."
            )
        other = topics.setdefault(mark.pattern.shape, replace(mark, route=replace(mark.route, attr=mark.attr)))
        if other.pattern is not mark.pattern:
            raise RouteSetupError(
                f"Both {cls.__name__}.{other.attr} and {cls.__name__}.{mark.attr} claim the topic {mark.pattern!r}. "
                f"Rename one, or remove an inherited one with `{other.attr} = None`."
            )
    return tuple(topics.values())
