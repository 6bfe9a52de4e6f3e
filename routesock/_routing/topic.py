"""The decorator `@topic`, and the patterns of topic names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

from .._runtime.callables import yields
from ..exceptions import RouteSetupError
from ..permissions.base import as_permissions
from ..schemas import as_schema
from ..throttling import Throttle
from ..typing import UNSET, Unset
from .arguments import (
    NO_ERRORS,
    checked_dehydrate,
    checked_errors,
    checked_flag,
    checked_hook,
    checked_middleware,
    checked_reply,
    checked_tags,
    checked_text,
    checked_throttles,
    checked_timeout,
)
from .marks import Handler, Mark, collected, marking, naming_options
from .push import Push, listed_pushes
from .route import Route

MAX_TOPIC_CHARS: Final = 128

_PARAMETER: Final = re.compile(r"([^{}]*)\{([^{}]*)\}([^{}]*)")


class Parameter(NamedTuple):
    """A segment with a parameter, which matches one or more characters between two texts."""

    before: str
    name: str
    after: str


Segment: TypeAlias = str | Parameter


class Pattern:
    """The pattern of a topic's names: segments with dots between them, each with at most one ``{parameter}``.

    A parameter matches one or more characters, but no dot. So the time to match a name grows only with its length.
    Raises :class:`RouteSetupError` for any other pattern.
    """

    __slots__ = ("segments", "text")

    def __init__(self, text: Any) -> None:
        if not isinstance(text, str) or not text:
            raise RouteSetupError(f'A topic\'s name must be a string, as in @topic("room.{{room_id}}"); got {text!r}.')
        if len(text) > MAX_TOPIC_CHARS:
            raise RouteSetupError(
                f"A topic's name has at most {MAX_TOPIC_CHARS} characters; {text[:20]!r}... is longer."
            )
        self.text = text
        self.segments: tuple[Segment, ...] = tuple(_segment(text, part) for part in text.split("."))
        names = [segment.name for segment in self.segments if isinstance(segment, Parameter)]
        if len(names) > len(set(names)):
            raise RouteSetupError(f"The topic {text!r} has two parameters of one name. Rename one.")

    def __repr__(self) -> str:
        return repr(self.text)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The pattern without the names of its parameters: equal for two patterns that match the same names."""
        return tuple(s if isinstance(s, str) else (s.before, s.after) for s in self.segments)

    @property
    def rank(self) -> tuple[Any, ...]:
        """The sort key of patterns: of two that match a name, the one with the lower rank takes precedence.

        At the first segment in which they differ, a text comes before a parameter, and a parameter with more text
        around it, or with more in front of it, before one with less.
        """
        return tuple(
            (0,) if isinstance(s, str) else (1, -len(s.before + s.after), -len(s.before)) for s in self.segments
        )

    def match(self, parts: Sequence[str]) -> dict[str, str] | None:
        """The parameters in the name whose segments are ``parts``; ``None`` if the pattern does not match it."""
        if len(parts) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for segment, part in zip(self.segments, parts, strict=True):
            if isinstance(segment, str):
                if part != segment:
                    return None
                continue
            before, name, after = segment
            if not part.startswith(before) or not part.endswith(after) or len(part) <= len(before) + len(after):
                return None
            found[name] = part[len(before) : len(part) - len(after)]
        return found


def _segment(text: str, part: str) -> Segment:
    if not part:
        raise RouteSetupError(f"The topic {text!r} has an empty segment: write a text or a parameter between two dots.")
    if "{" not in part and "}" not in part:
        return part
    found = _PARAMETER.fullmatch(part)
    if found is None:
        raise RouteSetupError(
            f"The topic {text!r}: {part!r} is no segment. A segment has at most one parameter, as in room-{{room_id}}; "
            "write a dot between two."
        )
    before, name, after = found.groups()
    if not name.isidentifier():
        raise RouteSetupError(f"The topic {text!r}: a parameter has the name of a variable, as in {{room_id}}.")
    return Parameter(before, name, after)


SUBSCRIBE: Final = "SUBSCRIBE"

UNSUBSCRIBE: Final = "UNSUBSCRIBE"

RESUME: Final = "RESUME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic(Mark):
    """One topic: the pattern of its names, its handler, and its validated options."""

    noun: ClassVar[str] = "topic"
    argument: ClassVar[str] = "request"

    pattern: Pattern
    route: Route
    """The handling of SUBSCRIBE, as a route."""
    unsubscribe: Callable[..., Any] | str | None
    recheck: bool
    recover: bool | str
    """Whether clients resume it: ``False``, ``True`` or ``"last"``."""
    pushes: tuple[Push, ...] = field(default=(), hash=False)
    """The pushes that subscribers receive, for documents."""

    @classmethod
    def checked(cls, name: Any) -> str:
        return Pattern(name).text


@naming_options
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
    recover: bool | str = False,
    pushes: Sequence[Push] = (),
    reply: Any = UNSET,
    errors: Mapping[int, Any] = NO_ERRORS,
    examples: Sequence[str] = (),
    summary: str = "",
    description: str = "",
    tags: Iterable[str] = (),
    deprecated: bool = False,
) -> Callable[[Handler], Handler]:
    """Mark a consumer's method as the handler of subscriptions to a topic. The method itself stays as it is.

    A client sends SUBSCRIBE with the name of a topic, and the socket joins the group of that name: what is broadcast to
    the group is pushed to the client until it sends UNSUBSCRIBE or leaves. The handler takes the
    :class:`~routesock.Request` and returns the payload of the reply, such as a snapshot. If it raises, or the reply is
    an error for any other reason, there is no subscription. The socket joins the group before the handler runs, so no
    push is lost in between; a push may arrive before the reply.

    The options that :func:`routesock.route` has, too, have the same meaning. The payload is a dict of the parameters in
    the name: for ``"room.{room_id}"`` and a client that subscribes to ``room.5``, ``{"room_id": "5"}``. The values are
    always strings. ``request.topic`` is the whole name.

    Args:
        name: Segments with dots between them, 1 to 128 characters. A segment may have one ``{parameter}``, which
            matches one or more characters, but no dot. If a name matches several topics, the first segment in which
            they differ decides: a text takes precedence over a parameter. ``route_prefix`` does not apply.
        permissions: As that of a route.
        throttle: As that of a route.
        schema: Validates the parameters in the name; as that of a route.
        hydrate: As that of a route.
        dehydrate: As that of a route.
        timeout: Seconds; as that of a route.
        middleware: As that of a route.
        unsubscribe: Called with a request that has the handler's ``payload``, ``data`` and ``topic`` when the
            subscription ends: after an UNSUBSCRIBE, when ``recheck=True`` denies a push, and when the socket ends,
            before ``disconnect()``. A function or the name of a method, sync or async.
        recheck: Whether the schema, ``hydrate=`` and the permissions run again before each push. If they deny it, it is
            not sent, and the subscription ends.
        recover: Whether a client that comes back gets what it has missed. A pattern in the setting ``HISTORY`` has to
            match the names of the topic, and the dialect has to have headers. With ``"last"`` the newest push follows
            each SUBSCRIBE that does not go on where the client had been. On such a topic, pushes come after the reply.
        pushes: The pushes that subscribers are sent, for documents. List those that the consumer sends by their name in
            ``route_pushes``, too.
        reply: The schema of what the handler returns, for documents; as that of a route. It cannot be ``None``, since
            each SUBSCRIBE is answered.
        errors: As those of a route.
        examples: Names of topics that the pattern matches, for documents.
        summary: As that of a route.
        description: As that of a route.
        tags: As those of a route.
        deprecated: Whether clients should stop subscribing to the topic.

    Raises:
        RouteSetupError: An option cannot work.
    """
    pattern = Pattern(name)
    declared = Topic(
        name=pattern.text,
        pattern=pattern,
        route=Route(
            name=f"{SUBSCRIBE} {name}",
            permissions=UNSET if permissions is UNSET else as_permissions("permissions=", permissions),
            throttles=checked_throttles("throttle=", throttle),
            schema=None if schema is None else as_schema(schema),
            hydrate=checked_hook("hydrate", hydrate),
            dehydrate=checked_dehydrate(dehydrate),
            timeout=checked_timeout("timeout", timeout),
            middleware=checked_middleware("middleware", middleware),
            summary=checked_text("summary=", summary),
            description=checked_text("description=", description),
            tags=checked_tags("tags=", tags),
            deprecated=checked_flag("deprecated", deprecated),
            reply=None if reply is UNSET else checked_reply(reply, dehydrate),
            errors=checked_errors(errors),
            examples=_checked_examples(pattern, examples),
        ),
        unsubscribe=checked_hook("unsubscribe", unsubscribe),
        recheck=checked_flag("recheck", recheck),
        recover=_checked_recover(name, recover),
        pushes=tuple(listed_pushes("pushes=", pushes).values()),
    )
    if recheck and declared.route.permissions == ():
        raise RouteSetupError(f"@topic({name!r}): recheck=True checks permissions again, and permissions=() has none.")
    return marking(declared)


def _checked_recover(name: Any, recover: Any) -> bool | str:
    if type(recover) is bool or recover == "last":
        return recover  # type: ignore[no-any-return]
    raise RouteSetupError(f'@topic({name!r}): recover= must be True, False or "last"; got {recover!r}.')


def _checked_examples(pattern: Pattern, examples: Any) -> tuple[str, ...]:
    """``examples`` if each is the name of a topic that ``pattern`` matches."""
    if not isinstance(examples, list | tuple):
        raise RouteSetupError(f'examples= must be a list of names of topics, such as ["room.5"]; got {examples!r}.')
    for name in examples:
        if not isinstance(name, str) or len(name) > MAX_TOPIC_CHARS or pattern.match(name.split(".")) is None:
            raise RouteSetupError(
                f"examples= must have names that {pattern.text!r} matches, with at most {MAX_TOPIC_CHARS} characters; "
                f"got {name!r}."
            )
    return tuple(examples)


def collect_topics(cls: type) -> tuple[Topic, ...]:
    """The topics of ``cls`` and its bases.

    Raises :class:`RouteSetupError` if two of them match the same names.
    """
    topics: dict[tuple[Any, ...], Topic] = {}
    for mark in collected(cls, Topic).values():
        if yields(getattr(cls, mark.attr)):
            raise RouteSetupError(
                f"{cls.__name__}.{mark.attr} yields, but a topic has one reply. Return a snapshot, and send updates "
                "with self.socket.broadcast()."
            )
        other = topics.setdefault(mark.pattern.shape, replace(mark, route=replace(mark.route, attr=mark.attr)))
        if other.pattern is not mark.pattern:
            raise RouteSetupError(
                f"Both {cls.__name__}.{other.attr} and {cls.__name__}.{mark.attr} handle the topic {mark.pattern!r}. "
                f"Rename one, or remove an inherited one with `{other.attr} = None`."
            )
    return tuple(topics.values())
