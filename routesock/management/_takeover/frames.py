"""Follows the frames of a client through the code of a consumer: what it reads in them, and what it compares.

The code is read, not run. A value is followed through assignments, ``get()``, ``match``, and calls of other methods of
the consumer. What is not followed leaves no fact, so a report about the facts has to say what is missing.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import replace
from textwrap import shorten
from typing import Any, Final

from .facts import Facts, Key, Kind, Place, Value
from .source import Method, Source
from .variables import Variables

ENTRIES: Final[dict[str, dict[str, Value]]] = {
    "dispatch": {"message": Value(Kind.MESSAGE)},
    "websocket_receive": {"message": Value(Kind.MESSAGE)},
    "receive": {"text_data": Value(Kind.TEXT), "bytes_data": Value(Kind.BYTES)},
    "receive_json": {"content": Value(Kind.FRAME)},
}
"""The methods that Channels calls with a frame, and what their parameters are, in their order."""


def read_frames(source: Source) -> Facts:
    """Return what the methods of a consumer do with frames."""
    facts = Facts()
    reading = _Reading(source, facts)
    for name, parameters in ENTRIES.items():
        method = source.method(name)
        if method is not None:
            reading.call(method, list(parameters.values()), {})
    return facts


DECODERS: Final = frozenset({"loads", "unpackb", "decode_json"})
_SAME: Final = frozenset({"copy", "strip", "lstrip", "rstrip"})
_CHANGES: Final = frozenset({"lower", "upper", "casefold", "replace", "title", "removeprefix", "removesuffix"})
_TEXT_READS: Final = frozenset({"startswith", "endswith", "split", "partition", "removeprefix", "rsplit", "rpartition"})
_STATUS_KEYS: Final = ("status", "status_code", "response_status")


class _Reading:
    """Reads methods, each once for each set of arguments."""

    def __init__(self, source: Source, facts: Facts) -> None:
        self.source = source
        self.facts = facts
        self._results: dict[Any, Value | None] = {}

    def call(
        self,
        method: Method,
        positional: list[Value | None],
        named: dict[str, Value],
        numbers: dict[str, int] | None = None,
    ) -> Value | None:
        """Read ``method`` as called with these arguments; returns what it returns, if that is a followed value."""
        parameters = method.parameters()
        env = {name: value for name, value in zip(parameters, positional, strict=False) if value is not None}
        rest = method.node.args.kwarg
        env |= {name: value for name, value in named.items() if name in parameters or (rest and name == rest.arg)}
        numbers = {name: number for name, number in (numbers or {}).items() if name in parameters}
        key = (method.owner, method.name, tuple(sorted(env.items(), key=str)), tuple(sorted(numbers.items())))
        if key not in self._results:
            self._results[key] = None  # a recursive call adds nothing
            if method not in self.facts.methods:
                self.facts.methods.append(method)
            for value in env.values():
                if value.kind is Kind.FRAME and value.path:
                    self.facts.reads.setdefault(value.path, Place(method.file, method.line))
            reader = _MethodReader(self, method, Variables(self.source, method, env, numbers))
            reader.read()
            self._results[key] = reader.returned
        return self._results[key]


class _MethodReader(ast.NodeVisitor):
    """Reads the statements of one method in their order."""

    def __init__(self, reading: _Reading, method: Method, variables: Variables) -> None:
        self._reading = reading
        self._source = reading.source
        self._facts = reading.facts
        self._method = method
        self._variables = variables
        self._handlers: dict[str, list[Method]] = {}
        """The methods that a variable may be, since it comes from a table or from ``getattr()``."""
        self.returned: Value | None = None

    def read(self) -> None:
        for statement in self._method.node.body:
            self.visit(statement)

    def _place(self, node: ast.AST) -> Place:
        return Place(self._method.file, getattr(node, "lineno", self._method.line))

    # Statements

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._assign(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self._assign(node.target, node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self._assign(node.target, node.value)

    def visit_Return(self, node: ast.Return) -> None:
        self.generic_visit(node)
        if node.value is not None:
            self.returned = self._value(node.value) or self.returned

    def visit_For(self, node: ast.For) -> None:
        self._loop(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self._loop(node)

    def _loop(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        value = self._value(node.iter)
        if value == Value(Kind.FRAME) and isinstance(node.target, ast.Name):
            self._facts.batches.append(self._place(node.iter))
            self._variables.values[node.target.id] = Value(Kind.FRAME)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        value = self._value(node.subject)
        for case in node.cases:
            if value is not None and value.kind is Kind.FRAME:
                self._match(value, case.pattern)
            for statement in (*([case.guard] if case.guard else []), *case.body):
                self.visit(statement)

    def _match(self, value: Value, pattern: ast.pattern) -> None:
        match pattern:
            case ast.MatchValue(value=node):
                self._compared(value, node, pattern)
            case ast.MatchOr(patterns=patterns):
                for inner in patterns:
                    self._match(value, inner)
            case ast.MatchAs(pattern=inner, name=name):
                if inner is not None:
                    self._match(value, inner)
                if name is not None:
                    self._variables.values[name] = value
            case ast.MatchMapping(keys=keys, patterns=patterns):
                for key, inner in zip(keys, patterns, strict=True):
                    part = self._part(value, key)
                    if part is None:
                        continue
                    self._read(part, pattern)
                    if isinstance(inner, ast.MatchAs) and inner.pattern is None and not value.path:
                        self._facts.presence.setdefault(str(part.path[-1]), self._place(pattern))
                    self._match(part, inner)
            case ast.MatchSequence(patterns=patterns):
                if not value.path:
                    self._facts.arrays.append(self._place(pattern))
                for index, inner in enumerate(patterns):
                    part = replace(value, path=(*value.path, index))
                    self._read(part, pattern)
                    self._match(part, inner)
            case _:
                pass

    def _assign(self, target: ast.expr, node: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            if isinstance(node, ast.Tuple | ast.List) and len(node.elts) == len(target.elts):
                for inner, expression in zip(target.elts, node.elts, strict=True):
                    self._assign(inner, expression)
                return
            value = self._value(node)
            if value is not None and value.kind is Kind.FRAME:
                if not value.path:
                    self._facts.arrays.append(self._place(node))
                for index, inner in enumerate(target.elts):
                    if isinstance(inner, ast.Name):
                        part = replace(value, path=(*value.path, index))
                        self._read(part, node)
                        self._variables.values[inner.id] = part
            return
        name = target.id if isinstance(target, ast.Name) else None
        if name is None:
            return
        value = self._value(node)
        if value is not None:
            self._variables.values[name] = value
        else:
            self._variables.values.pop(name, None)
        if isinstance(node, ast.Dict):
            self._variables.tables[name] = node
        self._handlers[name] = self._looked_up_methods(node)

    # Expressions

    def visit_Compare(self, node: ast.Compare) -> None:
        self.generic_visit(node)
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, node.comparators, strict=False):
            if isinstance(operator, ast.In | ast.NotIn):
                self._contained(left, right, node)
            elif isinstance(operator, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
                for one, other in ((left, right), (right, left)):
                    value = self._value(one)
                    if value is not None:
                        self._compared(value, other, node)

    def _compared(self, value: Value, node: ast.expr, where: ast.AST) -> None:
        if value.kind is Kind.TEXT:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
                self._facts.text.append(self._place(where))
            return
        if value.kind is not Kind.FRAME or not value.path or (isinstance(node, ast.Constant) and node.value is None):
            return
        constant = self._variables.constant(node)
        if isinstance(constant, str | int) and not isinstance(constant, bool):
            self._name(value, constant, where)
        elif constant is None and isinstance(node, ast.Name | ast.Attribute) and self._value(node) is None:
            self._facts.unknown.setdefault(value.path, []).append(self._place(where))

    def _contained(self, left: ast.expr, right: ast.expr, where: ast.AST) -> None:
        container = self._value(right)
        if container is not None and container.kind is Kind.FRAME:
            key = self._variables.constant(left)
            if isinstance(key, str) and not container.path:
                self._facts.presence.setdefault(key, self._place(where))
            return
        value = self._value(left)
        if value is None or value.kind is not Kind.FRAME or not value.path:
            return
        names = self._variables.names_in(right)
        if names is None:
            self._facts.unknown.setdefault(value.path, []).append(self._place(where))
        for name in names or ():
            self._name(value, name, where)

    def _name(self, value: Value, name: Key, where: ast.AST) -> None:
        self._facts.names.setdefault(value.path, {}).setdefault(name, self._place(where))
        if value.changed:
            self._facts.changed.setdefault(value.path, self._place(where))

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.generic_visit(node)
        value = self._value(node)
        if value is not None:
            self._read(value, node)
        base = self._value(node.value)
        if base is not None:
            if base.kind is Kind.TEXT:
                self._facts.text.append(self._place(node))
            elif base.kind is Kind.BYTES:
                self._facts.binary.append(self._place(node))
            elif base == Value(Kind.FRAME) and isinstance(self._variables.constant(node.slice), int):
                self._facts.arrays.append(self._place(node))
        self._looked_up(node.value, node.slice, node)

    def _looked_up(self, table: ast.expr, key: ast.expr, where: ast.AST) -> None:
        """Note the names in a table of handlers, ``{"say": self.say}[action]``."""
        value = self._value(key)
        if value is None or value.kind is not Kind.FRAME or not value.path or self._value(table) is not None:
            return
        names = self._variables.names_in(table)
        if names is None:
            self._facts.unknown.setdefault(value.path, []).append(self._place(where))
        for name in names or ():
            self._name(value, name, where)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute):
            self._method_call(node, function)
        elif isinstance(function, ast.Name) and function.id == "getattr" and len(node.args) > 1:
            built = self._value(node.args[1])
            if built is not None and built.path and built.kind in (Kind.NAME, Kind.FRAME):
                self._facts.built.setdefault(built.path, {}).setdefault(built.prefix, self._place(node))
        elif isinstance(function, ast.Name) and function.id == "isinstance" and node.args:
            value = self._value(node.args[0])
            if value == Value(Kind.FRAME) and _mentions(node.args[1:], "list", "tuple"):
                self._facts.batches.append(self._place(node))
        self.generic_visit(node)
        result = self._called(node)
        if result is not None:
            self._read(result, node)

    def _method_call(self, node: ast.Call, function: ast.Attribute) -> None:
        base = self._value(function.value)
        if base is None:
            if function.attr == "get" and node.args:
                self._looked_up(function.value, node.args[0], node)
            return
        if base.kind is Kind.TEXT and function.attr in _TEXT_READS:
            self._facts.text.append(self._place(node))
        if base.kind is Kind.FRAME and base.path and function.attr == "startswith" and node.args:
            prefix = self._variables.constant(node.args[0])
            if isinstance(prefix, str):
                self._facts.prefixes.setdefault(base.path, {}).setdefault(prefix, self._place(node))

    def visit_Dict(self, node: ast.Dict) -> None:
        self.generic_visit(node)
        echoes = False
        for key, member in zip(node.keys, node.values, strict=True):
            value = self._value(member)
            if key is None:
                if value == Value(Kind.FRAME):
                    self._facts.spreads.append(self._place(node))
                continue
            name = self._variables.constant(key)
            if not isinstance(name, str):
                continue
            if value is not None and value.kind is Kind.FRAME and value.path:
                echoes = True
                self._facts.echoes.setdefault((name, value.path), self._place(node))
            if name == "jsonrpc":
                self._facts.json_rpc.append(self._place(node))
        for key, member in zip(node.keys, node.values, strict=True):
            name = None if key is None else self._variables.constant(key)
            if echoes and name in _STATUS_KEYS and self._is_status(member):
                self._facts.statuses.setdefault(str(name), self._place(node))

    def _is_status(self, node: ast.expr) -> bool:
        number = self._variables.numbers.get(node.id) if isinstance(node, ast.Name) else self._variables.constant(node)
        return isinstance(number, int) and 100 <= number <= 599

    # What an expression is

    def _value(self, node: ast.expr | None) -> Value | None:
        match node:
            case ast.Name(id=name):
                return self._variables.values.get(name)
            case ast.Await(value=inner) | ast.NamedExpr(value=inner) | ast.Starred(value=inner):
                return self._value(inner)
            case ast.Subscript(value=base, slice=key):
                return self._part(self._value(base), key)
            case ast.Call():
                return self._called(node)
            case ast.BoolOp(values=values):
                return next((value for value in map(self._value, values) if value is not None), None)
            case ast.IfExp(body=one, orelse=other):
                return self._value(one) or self._value(other)
            case ast.JoinedStr() | ast.BinOp():
                return self._built(node)
            case _:
                return None

    def _part(self, base: Value | None, key: ast.expr) -> Value | None:
        name = self._variables.constant(key)
        if base is None or isinstance(name, bool) or not isinstance(name, str | int):
            return None
        if base.kind is Kind.MESSAGE:
            return {"text": Value(Kind.TEXT), "bytes": Value(Kind.BYTES)}.get(str(name))
        if base.kind is Kind.FRAME:
            return replace(base, path=(*base.path, name), changed=False)
        return None

    def _called(self, node: ast.Call) -> Value | None:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        first = self._value(node.args[0]) if node.args else None
        if name in DECODERS and first is not None:
            if first.kind is Kind.BYTES:
                self._facts.binary.append(self._place(node))
            return Value(Kind.FRAME) if first.kind in (Kind.TEXT, Kind.BYTES) else None
        if (
            name in ("str", "dict", "copy", "deepcopy")
            and first is not None
            and not isinstance(function, ast.Attribute)
        ):
            return first
        if isinstance(function, ast.Attribute):
            base = self._value(function.value)
            if base is not None:
                return self._of_method(base, function.attr, node)
        elif first is not None and len(node.args) == 1 and self._variables.is_enum(function):
            return first
        return self._followed(node)

    def _of_method(self, base: Value, attr: str, node: ast.Call) -> Value | None:
        if attr in ("get", "pop", "setdefault") and node.args:
            part = self._part(base, node.args[0])
            if part is not None and part.kind is Kind.FRAME and len(node.args) > 1:
                default = self._variables.constant(node.args[1])
                if isinstance(default, str | int) and default:
                    self._facts.defaults.setdefault(part.path, self._place(node))
            return part
        if attr in _SAME:
            return base
        if attr in _CHANGES and base.kind in (Kind.FRAME, Kind.NAME):
            return replace(base, changed=True)
        if attr == "decode" and base.kind is Kind.BYTES:
            self._facts.binary.append(self._place(node))
            return Value(Kind.TEXT)
        return None

    def _built(self, node: ast.expr) -> Value | None:
        """Return the name of a method that is built from a part of the frame: ``f"on_{action}"``."""
        parts = [value for inner in ast.iter_child_nodes(node) if (value := self._inner(inner)) is not None]
        if len(parts) != 1 or parts[0].kind is not Kind.FRAME or not parts[0].path:
            return None
        first = node.values[0] if isinstance(node, ast.JoinedStr) else getattr(node, "left", None)
        text = self._variables.constant(first) if isinstance(first, ast.expr) else None
        prefix = text.partition("%")[0].partition("{")[0] if isinstance(text, str) else ""
        return Value(Kind.NAME, parts[0].path, prefix)

    def _inner(self, node: ast.AST) -> Value | None:
        if isinstance(node, ast.FormattedValue):
            return self._value(node.value)
        return self._value(node) if isinstance(node, ast.expr) else None

    # Calls of other methods

    def _followed(self, node: ast.Call) -> Value | None:
        """Read the method that ``node`` calls with a part of a frame; returns what that returns."""
        positional = [self._value(argument) for argument in node.args]
        named = {
            word.arg: value for word in node.keywords if word.arg and (value := self._value(word.value)) is not None
        }
        function, is_wrapped = node.func, False
        if isinstance(function, ast.Call) and function.args:  # database_sync_to_async(self.save)(content)
            function, is_wrapped = function.args[0], True
        spread = any(word.arg is None and self._value(word.value) == Value(Kind.FRAME) for word in node.keywords)
        if not named and not spread and not any(positional):
            return None
        method = self._target(function)
        targets = self._looked_up_methods(function) if method is None else [method]
        if method is None and node.args and isinstance(node.args[0], ast.Name) and node.args[0].id == "self":
            positional = positional[1:]  # functions in a table of the class body take the consumer
        results = [
            self._reading.call(
                found, positional, (_spread(found) if spread else {}) | named, self._numbers_in(node, found)
            )
            for found in targets
        ]
        if targets:
            self._facts.followed.append(self._place(node))
            return results[0] if method is not None else None
        if self._hands_on(
            function, is_wrapped, [*positional, *named.values(), *([Value(Kind.FRAME)] if spread else [])]
        ):
            self._facts.handed_on.setdefault(shorten(ast.unparse(function), 40), self._place(node))
        return None

    def _looked_up_methods(self, node: ast.expr) -> list[Method]:
        """Return the methods that ``node`` may be: one of a table, or one whose name is built from the frame."""
        match node:
            case ast.Name(id=name):
                return self._handlers.get(name, [])
            case (
                ast.Subscript(value=table, slice=key)
                | ast.Call(func=ast.Attribute(value=table, attr="get"), args=[key, *_])
            ) if self._value(key) is not None and self._value(table) is None:
                return list(self._methods_in(table))
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id="self"), name, *_]):
                built = self._value(name)
                return self._source.methods_named(built.prefix) if built is not None and built.prefix else []
            case _:
                return []

    def _methods_in(self, table: ast.expr) -> Iterator[Method]:
        node = table if isinstance(table, ast.Dict) else self._variables.table(table)
        if isinstance(node, ast.Dict):
            found = [self._target(value) for value in node.values]
        else:
            container = self._variables.constant(table)
            values = container.values() if isinstance(container, dict) else ()
            found = [self._source.method(getattr(value, "__name__", "")) for value in values]
        yield from (method for method in found if method is not None)

    def _numbers_in(self, node: ast.Call, method: Method) -> dict[str, int]:
        numbers = {}
        arguments = [*zip(method.parameters(), node.args, strict=False), *((w.arg, w.value) for w in node.keywords)]
        for name, argument in arguments:
            number = self._variables.constant(argument)
            if name is not None and isinstance(number, int) and not isinstance(number, bool):
                numbers[name] = number
        return numbers

    def _target(self, function: ast.expr) -> Method | None:
        match function:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                return self._source.method(name)
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if self._method.owner is not None:
                return self._source.method(name, after=self._method.owner)
            case ast.Name(id=name) if name not in self._variables.values:
                return self._source.function(self._method.function.__globals__.get(name))
            case _:
                return None

    def _hands_on(self, function: ast.expr, is_wrapped: bool, values: list[Value | None]) -> bool:
        """Whether a whole frame goes to code that is not read, and that may decide by it."""
        if not any(value in (Value(Kind.FRAME), Value(Kind.TEXT)) for value in values):
            return False
        match function:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
                return False  # Channels' own method
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return name not in ("send", "send_json", "encode_json", "decode_json", "receive", "receive_json")
            case ast.Attribute(value=ast.Name(id=name)) if name in ("logger", "logging", "log", "json"):
                return False
            case ast.Name(id=name):
                return is_wrapped or name not in _BUILTINS
            case _:
                return True

    def _read(self, value: Value, where: ast.AST) -> None:
        if value.kind is Kind.FRAME and value.path:
            self._facts.reads.setdefault(value.path, self._place(where))


_BUILTINS: Final = frozenset(vars(builtins))


def _spread(method: Method) -> dict[str, Value]:
    """Return the arguments that ``**frame`` passes to a method."""
    arguments: dict[str, Value] = {name: Value(Kind.FRAME, (name,)) for name in method.parameters()}
    if method.node.args.kwarg is not None:
        arguments[method.node.args.kwarg.arg] = Value(Kind.FRAME)
    return arguments


def _mentions(nodes: list[ast.expr], *names: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id in names for root in nodes for node in ast.walk(root))


def calls(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls in ``node`` with the last part of what they call: ``close`` for ``self.close()``."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            function = inner.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            yield name, inner
