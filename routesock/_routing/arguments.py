"""Checks of the arguments of `@route` and its siblings: each returns the value, or raises an error with a hint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from django.utils.functional import Promise

from .._runtime.callables import is_async, takes, yields
from ..dialects.base import MAX_ROUTE_CHARS
from ..exceptions import RouteSetupError
from ..schemas import SchemaAdapter, library_adapter
from ..throttling import Throttle
from ..typing import UNSET, Unset

NO_ERRORS: Final[Mapping[int, SchemaAdapter | str]] = MappingProxyType({})

RESERVED: Final = frozenset(
    (
        *("PING", "PONG", "CANCEL", "ANSWER", "CLOSE", "AUTH", "HELLO", "RESUME"),
        *("SUBSCRIBE", "UNSUBSCRIBE", "PRESENCE"),
    ),
)
"""Names that the protocol reserves."""


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


def checked_status(status: Any) -> int | None:
    if status is None:
        return None
    if isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 299 and status != 206:
        return int(status)
    raise RouteSetupError(
        f"status= must be a success status, 200 to 299 except 206, which marks items of a stream; got {status!r}."
    )


def checked_replies(reply: Any, dehydrate: Any, status: Any) -> bool:
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


def checked_examples(examples: Any) -> tuple[Any, ...]:
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


def checked_atomic(atomic: Any) -> bool | tuple[str, ...] | Unset:
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
