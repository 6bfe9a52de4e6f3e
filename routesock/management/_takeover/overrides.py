"""Finds what a consumer overrides of Channels, and says what becomes of it with the mixin in front."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from ...checks.guards import active_guards
from ...consumers import RouteMixin
from .dialect import Protocol, where
from .facts import Facts, Place
from .frames import DECODERS, calls
from .source import Method, Source


@dataclass(frozen=True, slots=True)
class Override:
    """A method or an attribute that the consumer has, and what it means for adopting routesock."""

    name: str
    place: Place | None
    """``None`` for one that a library defines."""
    origin: str
    """The class that has it."""
    sentences: tuple[str, ...]


_MEANING: Final = {
    "dispatch": (
        "It sees every frame but PING and CANCEL before routesock does.",
        "What an old handler raises still reaches it. What a route raises does not: routesock answers that itself.",
    ),
    "websocket_receive": ("It sees every frame but PING and CANCEL before routesock does.",),
    "receive": (
        "It gets every frame that names no route, also malformed, binary and empty ones.",
        "It does not get the frames of routes.",
    ),
    "receive_json": ("It gets the frames that name no route.", "It does not get the frames of routes."),
    "decode_json": ("It decodes the frames of routes, too. It is called on the event loop.",),
    "encode_json": ("It encodes every frame that routesock sends.",),
    "send_json": ("Every frame that routesock sends goes through it.",),
    "send": ("Every frame that routesock sends goes through it, as send(text_data=...).",),
    "close": ("Your own code calls it as before. Closes by routesock do not go through it.",),
    "__init_subclass__": ("It stays in use.",),
}

_PASSING: Final = {"dispatch", "websocket_receive"}
"""Methods that have to pass a frame on, or it reaches no route."""


def overrides_of(source: Source, facts: Facts) -> Iterator[Override]:
    """Yield what the class overrides, and what it means."""
    for name, sentences in _MEANING.items():
        for owner in source.overrides(name):
            method = source.method_of(owner, name)
            extra = () if method is None else tuple(_about(source, facts, method))
            yield Override(name, _place(method), owner.__name__, (*sentences, *extra))
    for method in source.methods():
        for name, place in _set_on_self(method):
            if name in _MEANING:
                text = (f"{method.name}() sets it on the consumer.", *_MEANING[name])
                if method.name != "__init__":
                    text = (
                        *text[:1],
                        "routesock looks overrides up when a socket opens. If that is over, it is too late.",
                    )
                yield Override(name, place, _owner(method), text)
            elif name == "socket":
                yield Override(name, place, _owner(method), _SOCKET)
    for base in source.own_bases():
        if "socket" in vars(base):
            yield Override("socket", None, base.__name__, _SOCKET)
    for name, guard in active_guards(source.cls):
        base = next(source.overrides(name))
        yield Override(name, None, base.__name__, (f"It does not guard routes. {guard.instead}",))


_SOCKET: Final = (
    "Your own attribute stays, so self.socket has no join() and push() of routesock's.",
    "In a route use request.socket for those.",
)


def _about(source: Source, facts: Facts, method: Method) -> Iterator[str]:
    if method.name in _PASSING:
        yield from _about_passing(method)
    if method.name in ("receive", "receive_json"):
        yield from _about_checks(facts, method)
    if method.name == "__init_subclass__" and not _calls_super(method):
        yield "It does not call super(). Errors in routes and options show when the class is first served."
    if method.name == "encode_json" and _overrides(source, "send_json"):
        yield "The class has send_json as well, so the size of replies has no bound."
    for decorator in method.node.decorator_list:
        name = ast.unparse(decorator)
        if method.name in ("receive", "receive_json") and name not in ("classmethod", "staticmethod"):
            yield f"What @{name} does (line {decorator.lineno}) is not done for the frames of routes."


def _about_passing(method: Method) -> Iterator[str]:
    passes = _calls_super(method) or any(
        ast.unparse(call.func) in ("self.receive", "self.websocket_receive") for _, call in calls(method.node)
    )
    if not passes:
        yield (
            "It never calls super() or self.receive(), so no frame reaches a route. "
            f"Call super().{method.name}(message) for frames that are not its own, before you write the first route."
        )
    elif _is_conditional(method):
        yield "It passes frames on under a condition. A frame that it does not pass on gets no reply."
    if any(isinstance(node, ast.Try) for node in ast.walk(method.node)) and method.name == "websocket_receive":
        yield "What an old handler raises still reaches its except clauses. What a route raises does not."


def _about_checks(facts: Facts, method: Method) -> Iterator[str]:
    """Yield the checks in front of the first statement that tells frames apart: they do not run for routes."""
    statements = method.node.body
    deciding = [index for index, statement in enumerate(statements) if _decides(facts, method, statement)]
    for statement in statements[: deciding[0]] if deciding else []:
        first = statement.lineno
        if any(name in DECODERS for name, _ in calls(statement)):
            continue
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.AsyncWith) and _leaves(statement):
            yield f"The check in line {first} does not run for routes. Move it before you move the first action."
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Await | ast.Call):
            call = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
            if isinstance(call, ast.Call) and ast.unparse(call.func) not in ("self.send", "self.send_json"):
                yield f"The call of {ast.unparse(call.func)}() in line {first} is not made for routes."


def _decides(facts: Facts, method: Method, statement: ast.stmt) -> bool:
    """Whether a statement tells frames apart, or passes a frame to a method that may do so."""
    places = [place for names in facts.names.values() for place in names.values()]
    places += [place for built in facts.built.values() for place in built.values()]
    if not places:  # otherwise the test of a key may be a check
        places += facts.presence.values()
    places += [*facts.followed, *facts.handed_on.values()]
    last = statement.end_lineno or statement.lineno
    return any(place.file == method.file and statement.lineno <= place.line <= last for place in places)


def _leaves(statement: ast.AST) -> bool:
    """Whether a statement may end the method, or the socket."""
    return any(isinstance(node, ast.Return | ast.Raise) for node in ast.walk(statement)) or any(
        name == "close" for name, _ in calls(statement)
    )


def _calls_super(method: Method) -> bool:
    return any(
        _is_super(call) or (name == method.name and ast.unparse(call.func) != f"self.{name}")
        for name, call in calls(method.node)
    )


def _is_super(call: ast.Call) -> bool:
    return "super()" in ast.unparse(call.func)


def _is_conditional(method: Method) -> bool:
    """Whether the call of ``super()`` is in a branch, or a branch in front of it leaves."""
    for statement in method.node.body:
        passes = any(_is_super(call) or "self.receive" in ast.unparse(call.func) for _, call in calls(statement))
        if passes:
            return any(isinstance(node, ast.If | ast.Match) for node in ast.walk(statement))
        if _leaves(statement):
            return True
    return False


def _overrides(source: Source, name: str) -> bool:
    return next(source.overrides(name), None) is not None


def _set_on_self(method: Method) -> Iterator[tuple[str, Place]]:
    """Yield the attributes that a method sets on its instance."""
    for node in ast.walk(method.node):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets if isinstance(node, ast.Assign | ast.AnnAssign) else []:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                yield target.attr, Place(method.file, target.lineno)


def _owner(method: Method) -> str:
    return "" if method.owner is None else method.owner.__name__


def _place(method: Method | None) -> Place | None:
    return None if method is None else Place(method.file, method.line)


# What happens to the class as a whole


def no_longer_called(source: Source, facts: Facts, protocol: Protocol) -> Iterator[str]:
    """Yield what the mixin alone takes over from the old code, and what routes will."""
    for name in ("PING", "CANCEL"):
        place = protocol.actions.get(name)
        if place is not None:
            yield f'Your branch for "{name}" ({where(place)}), since routesock answers {name} itself.'
    for name in ("receive", "receive_json"):
        if _overrides(source, name):
            yield f"{name}() with the frames of an action, once you have made a route of that, and all checks in it."
            return
    yield "Nothing with the mixin alone."


def changed(source: Source) -> Iterator[str]:
    """Yield what is different with the mixin alone, before the first route."""
    if issubclass(source.cls, AsyncJsonWebsocketConsumer | JsonWebsocketConsumer) and not _overrides(source, "receive"):
        yield (
            "Malformed JSON, binary and empty frames that your code does not handle are answered 400. "
            "They ended the socket."
        )
    yield (
        "An exception of your own code is logged and answered 500. It ended the socket. "
        'route_foreign_errors = "close" keeps that.'
    )
    yield "PING and CANCEL, in the dialect of the class, are answered by routesock, also while a handler is busy."


def unchanged(source: Source, protocol: Protocol) -> Iterator[str]:
    """Yield what the old code keeps."""
    yield "connect(), disconnect(), groups and the handlers of channel-layer messages stay as they are."
    if "ping" in protocol.actions:
        yield 'Your "ping" stays with your code. routesock\'s own is "PING".'
    threads = [place for method in source.methods() for place in _threads(method)]
    if threads:
        yield f"Your thread ({where(threads[0])}) may send to the client as before, also what belongs to a route."
    if getattr(source.cls, "_sync", False):
        yield "The consumer is sync: write routes as def, not as async def. They run in the database thread."


def _threads(method: Method) -> Iterator[Place]:
    for name, call in calls(method.node):
        if name in (
            "Thread",
            "ThreadPoolExecutor",
            "run_in_executor",
            "to_thread",
            "Timer",
            "run_coroutine_threadsafe",
        ):
            yield Place(method.file, call.lineno)


def clashing_options(source: Source) -> Iterator[str]:
    """Yield attributes ``route_*`` that keep the class from being created with the mixin."""
    options = {name for name in vars(RouteMixin) if name.startswith("route_")}
    for base in source.cls.__mro__:
        for name, value in vars(base).items():
            if not name.startswith("route_"):
                continue
            if name in options:
                yield f"{base.__name__}.{name} has the name of an option of routesock. Rename it."
            elif base is source.cls and not hasattr(type(value), "__get__"):
                yield f"{base.__name__}.{name} looks like an option of routesock and is none. Rename it."
