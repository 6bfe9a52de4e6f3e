"""Writes the interfaces of consumers as Python, for :class:`routesock.client.Client`."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

from .._asyncapi.components import SCHEMAS
from .._asyncapi.validation import resolve
from .._routing.topic import Parameter
from .interfaces import (
    Document,
    Interface,
    Interfaces,
    Path,
    Route,
    Schema,
    Texts,
    interfaces_of,
    listed_names,
    own_keys,
    pascal_case,
)

_HEADER: Final = '''\
"""Written by "manage.py routesock_client python". Do not edit it: change the consumers and run the command again."""

# A route that is not here is an error, which no method of a subclass may do.
# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
# ruff: noqa
# fmt: off

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Literal, Never, NotRequired, TypeAlias, TypedDict, overload
from urllib.parse import quote

from routesock.client import Ask, Client, Items, Keys, Reply, Subscription
'''

_IMPORTED: Final = frozenset(
    """Awaitable Callable Mapping Any ClassVar Literal Never NotRequired TypeAlias TypedDict overload quote Ask Client
    Items Keys Reply Subscription""".split()
)

_CALL: Final = (
    "timeout: float | None = ...",
    "idempotent: bool | str = ...",
    "queue: bool = ...",
    "headers: Mapping[str, Any] = ...",
)

_STREAM: Final = ("timeout: float | None = ...", "queue: bool = ...", "headers: Mapping[str, Any] = ...")

_SINCE: Final = ("*", "since: str | None = None")

_SIMPLE: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "subscribe": (_SINCE, "topic, since=since"),
    "pushes": ((), "route"),
    "answer": (("handler: Any",), "route, handler"),
}
"""The methods that take no payload: their further parameters, and how they are passed on."""

_NOTIFY: Final = ("headers: Mapping[str, Any] = ...",)

_WIDTH: Final = 120

_NO_TEXTS: Final = Texts()


def python(document: Document) -> str:
    """Return the module with the clients of all consumers in ``document``."""
    return _Module(interfaces_of(document), document).text()


def quoted(text: str) -> str:
    """Return ``text`` as a string literal of Python, in characters that can be seen."""
    escaped = "".join(
        "\\" + char if char in '"\\' else char if char.isprintable() else _unicode_escape(char) for char in text
    )
    return f'"{escaped}"'


def _unicode_escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


@dataclass(frozen=True, slots=True)
class _Method:
    """An overload: its parameters behind ``self``, its result, and what it is about."""

    parameters: tuple[str, ...]
    result: str
    texts: Texts = _NO_TEXTS
    errors: str = ""


class _Module:
    def __init__(self, interfaces: Interfaces, document: Document) -> None:
        self._interfaces = interfaces
        taken = {*_IMPORTED, *(f"{consumer.name}Client" for consumer in interfaces.consumers)}
        names = {f"{SCHEMAS}{key}": _claimed(pascal_case(key), taken) for key in sorted(interfaces.schemas)}
        self._names = names
        self._types = Types(names.__getitem__, lambda name: _claimed(name, taken), lambda ref: resolve(ref, document))

    def text(self) -> str:
        clients = [self._client(consumer) for consumer in self._interfaces.consumers]
        for key, schema in self._interfaces.schemas.items():
            self._types.declare(self._names[f"{SCHEMAS}{key}"], schema)
        declared = self._types.declarations
        parts = [_HEADER, *(declared[name] for name in sorted(declared)), *clients]
        return "\n\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts)

    def _client(self, consumer: Interface) -> str:
        name = f"{consumer.name}Client"
        calls = [route for route in consumer.routes if not route.is_stream and route.reply is not None]
        streams = [route for route in consumer.routes if route.is_stream]
        notified = [route for route in consumer.routes if not route.is_stream]
        payloads = {route.name: self._payload(consumer, route) for route in consumer.routes}
        results = {
            route.name: self._types.of(route.reply, f"{consumer.name}{pascal_case(route.name)}Reply")
            for route in consumer.routes
            if route.reply is not None
        }

        def routes(some: Sequence[Route], result: Callable[[Route], str], options: Sequence[str]) -> list[_Method]:
            return [
                _Method(
                    (_literal_route(route.name), payloads[route.name], "*", *options),
                    result(route),
                    route.texts,
                    self._errors(route.errors),
                )
                for route in some
            ]

        lines = [f"class {name}(Client):", *_indented(docstring(consumer.texts, _served_at(consumer)))]
        lines += ["", *_indented(_places(consumer))]
        lines += _method("async def", "call", routes(calls, lambda route: results[route.name], _CALL))
        lines += _method("async def", "request", routes(calls, lambda route: "Reply", _CALL))
        lines += _method("def", "notify", routes(notified, lambda route: "bool", _NOTIFY))
        lines += _method("def", "stream", routes(streams, lambda route: f"Items[{results[route.name]}]", _STREAM))
        lines += _method("def", "subscribe", [*self._topics(consumer)])
        lines += _method("def", "pushes", [*self._pushes(consumer)])
        lines += _method("def", "answer", [*self._asks(consumer)])
        return "\n".join(lines)

    def _payload(self, consumer: Interface, route: Route) -> str:
        payload = self._types.of(route.payload, f"{consumer.name}{pascal_case(route.name)}Payload")
        return f"payload: {payload}{'' if route.needs_payload else ' = ...'}"

    def _topics(self, consumer: Interface) -> Iterator[_Method]:
        snapshots = {
            topic.name: self._types.of(topic.snapshot, f"{consumer.name}{pascal_case(topic.name)}Snapshot")
            for topic in consumer.topics
        }
        patterns = False
        for topic in consumer.topics:
            if any(isinstance(segment, Parameter) for segment in topic.pattern.segments):
                patterns = True
            else:
                parameter = f"topic: Literal[{quoted(topic.name)}]"
                result = f"Subscription[{snapshots[topic.name]}]"
                yield _Method((parameter, *_SINCE), result, topic.texts, self._errors(topic.errors))
        if patterns:  # a name that is only known to be a text may be that of any topic
            result = f"Subscription[{union(snapshots.values())}]"
            named = "\n".join(f"{topic.name} {self._errors(topic.errors)}".rstrip() for topic in consumer.topics)
            yield _Method(("topic: str", *_SINCE), result, Texts(summary=named))

    def _errors(self, errors: Mapping[int, Schema]) -> str:
        """Return the statuses of errors with the types of their payloads."""
        types = {status: self._types.of(schema, f"Error{status}") for status, schema in errors.items()}
        return f"Errors: {', '.join(f'{status} {type}' for status, type in types.items())}." if types else ""

    def _pushes(self, consumer: Interface) -> Iterator[_Method]:
        for push in consumer.pushes:
            payload = self._types.of(push.payload, f"{consumer.name}{pascal_case(push.name)}Push")
            yield _Method((_literal_route(push.name),), f"Items[{payload}]", push.texts)

    def _asks(self, consumer: Interface) -> Iterator[_Method]:
        for ask in consumer.asks:
            name = f"{consumer.name}{pascal_case(ask.name)}"
            payload, answer = self._types.of(ask.payload, f"{name}Ask"), self._types.of(ask.answer, f"{name}Answer")
            handler = f"handler: Callable[[Ask[{payload}]], {union((answer, f'Awaitable[{answer}]'))}]"
            yield _Method((_literal_route(ask.name), handler), "Callable[[], None]", ask.texts)


def _literal_route(name: str) -> str:
    return f"route: Literal[{quoted(name)}]"


def _claimed(name: str, taken: set[str]) -> str:
    name = f"T{name}" if not name or name[0].isdigit() else name
    while name in taken or keyword.iskeyword(name):
        name += "Data"
    taken.add(name)
    return name


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def _method(kind: str, name: str, overloads: Sequence[_Method]) -> list[str]:
    """Return a method with its overloads. Without any it cannot be called."""
    first = {"subscribe": "topic"}.get(name, "route")
    simple = _SIMPLE.get(name)
    further = () if simple is None else simple[0]
    lines: list[str] = []
    if not overloads:
        overloads = [_Method((f"{first}: Never", *further), "Any")]
    if len(overloads) > 1:
        for item in overloads:
            lines += [
                "",
                "@overload",
                *_signature(kind, name, item.parameters, item.result, docstring(item.texts, item.errors)),
            ]
        item = _Method((f"{first}: Any", *further), "Any")
    else:
        item = overloads[0]
    wait = "await " if kind.startswith("async") else ""
    if simple is not None:
        parameters, arguments = item.parameters, simple[1]
    elif len(overloads) > 1 or len(item.parameters) == 1:
        parameters, arguments = (
            (*item.parameters, "payload: Any = None", "**options: Any"),
            f"{first}, payload, **options",
        )
    else:
        return [*_indented(lines), *_indented(_with_options(kind, name, item))]
    body = [*docstring(item.texts, item.errors), f"return {wait}super().{name}({arguments})"]
    lines += ["", *_signature(kind, name, parameters, item.result, body)]
    return _indented(lines)


def _with_options(kind: str, name: str, item: _Method) -> list[str]:
    """Return a method of one route, with the options of the client by their names."""
    defaults = {"timeout": "None" if name == "stream" else "35.0", "idempotent": "False", "queue": "True"}
    options = [option.partition(":")[0] for option in item.parameters[3:]]
    parameters = [option.replace("...", defaults.get(option.partition(":")[0], "{}")) for option in item.parameters[3:]]
    payload = item.parameters[1].replace("= ...", "= None")
    if payload.endswith("= None") and not payload.startswith("payload: Any"):
        payload = payload.replace(" = None", " | None = None")
    passed = ", ".join(["route", "payload", *(f"{option}={option}" for option in options)])
    wait = "await " if kind.startswith("async") else ""
    cast = [f"found: {item.result} = {wait}super().{name}({passed})", "return found"]
    return [
        "",
        *_signature(
            kind,
            name,
            (item.parameters[0], payload, "*", *parameters),
            item.result,
            [*docstring(item.texts, item.errors), *cast],
        ),
    ]


def _signature(kind: str, name: str, parameters: Sequence[str], result: str, body: Sequence[str]) -> list[str]:
    head = f"{kind} {name}({', '.join(['self', *parameters])}) -> {result}:"
    if len(head) + 8 > _WIDTH:
        head = "\n".join([f"{kind} {name}(", *(f"    {item}," for item in ["self", *parameters]), f") -> {result}:"])
    if not body:
        return f"{head} ...".split("\n")
    return [*head.split("\n"), *_indented(body)]


# Where a consumer is


def _served_at(consumer: Interface) -> str:
    paths = ", ".join(path.template if path.template is not None else path.pattern for path in consumer.paths)
    return f"{consumer.consumer} at {paths}."


def _places(consumer: Interface) -> Iterator[str]:
    usable = [path for path in consumer.paths if path.template is not None]
    for path in usable:
        suffix = "" if len(consumer.paths) == 1 else f"_{'_'.join(re.findall(r'[A-Za-z0-9]+', str(path.template)))}"
        yield from _path(f"path{suffix}", path)
    if consumer.keys is None:
        yield "# Its frames have a format of their own: set the option `dialect`."
    else:
        found = ", ".join(
            f"{quoted(key)}: {'None' if value is None else quoted(value)}"
            for key, value in own_keys(consumer.keys).items()
        )
        yield f"keys: ClassVar[Keys] = {{{found}}}"


def _path(name: str, path: Path) -> Iterator[str]:
    template = str(path.template)
    if not path.parameters:
        yield f"{name}: ClassVar[str] = {quoted(_in_url(template))}"
        return
    parts = re.split(r"\{([^{}]+)\}", template)
    names = {key: f"{key}_" if keyword.iskeyword(key) else key for key in parts[1::2]}
    safe = {key: quoted("/" if path.parameters.get(key) == "path" else "") for key in names}
    values = [
        f"{quoted(_in_url(text))} + quote(str({names[key]}), safe={safe[key]})"
        for text, key in zip(parts[::2], parts[1::2], strict=False)
    ]
    types = ", ".join(
        f"{names[key]}: {'int' if path.parameters.get(key) == 'int' else 'str'}" for key in sorted(parts[1::2])
    )
    yield "@staticmethod"
    yield f"def {name}(*, {types}) -> str:"
    yield f"    return {' + '.join([*values, quoted(_in_url(parts[-1]))])}"
    yield ""


def _in_url(text: str) -> str:
    return quote(text, safe="/~!@$&'()*+,;=:")


# Docstrings


def docstring(texts: Texts, *notes: str) -> list[str]:
    """Return a docstring, line by line; an empty list if it would say nothing."""
    deprecated = "Deprecated." if texts.is_deprecated else ""
    paragraphs = map(_in_docstring, (texts.summary, texts.description, deprecated, *notes))
    lines = "\n\n".join(filter(None, paragraphs)).splitlines()
    if not lines:
        return []
    return [f'"""{lines[0]}"""'] if len(lines) == 1 else [f'"""{lines[0]}', *lines[1:], '"""']


def _in_docstring(text: str) -> str:
    lines = ["".join(char if char.isprintable() else " " for char in line).rstrip() for line in text.splitlines()]
    return "\n".join(lines).strip("\n").replace("\\", "\\\\").replace('"', '\\"')


# Schemas


class Types:
    """Writes schemas as types. Objects become a ``TypedDict``.

    Args:
        name: Returns the name of the type that a reference stands for.
        claim: Returns a name that no type has yet.
        target: Returns the schema that a reference leads to.
    """

    def __init__(
        self, name: Callable[[str], str], claim: Callable[[str], str], target: Callable[[str], Schema]
    ) -> None:
        self._name = name
        self._claim = claim
        self._target = target
        self.declarations: dict[str, str] = {}

    def of(self, schema: Any, hint: str) -> str:
        """Return the type of the values that ``schema`` accepts.

        Rules that a type cannot express, such as lengths and patterns, are left out.

        Args:
            schema: The schema.
            hint: The name for the type of an object that has none.
        """
        if isinstance(schema, bool):
            return "Any" if schema else "Never"
        if "$ref" in schema:
            return self._name(schema["$ref"])
        if schema.get("not", ...) in ({}, True):
            return "Never"
        if "const" in schema:
            return literals([schema["const"]])
        if "enum" in schema:
            return literals(schema["enum"])
        if "allOf" in schema:
            return self._all(schema, hint)
        alternatives = [part for keyword in ("anyOf", "oneOf") for part in schema.get(keyword, ())]
        if alternatives and not schema.get("properties"):
            found = union(self.of(part, f"{hint}{number}") for number, part in enumerate(alternatives, 1))
            if found != "Any":
                return found
        kinds = schema.get("type")
        if kinds is None:
            return "Any"
        return union(self._of_kind(kind, schema, hint) for kind in ([kinds] if isinstance(kinds, str) else kinds))

    def declare(self, name: str, schema: Schema) -> None:
        """Declare the type ``name``."""
        if not self._is_object(schema):
            self.declarations[name] = f"{name}: TypeAlias = {quoted(self.of(schema, f'{name}Value'))}"
            return
        properties = {**listed_names(schema), **schema.get("properties", {})}
        required = schema.get("required", ())
        properties |= {key: schema.get("additionalProperties", {}) for key in required if key not in properties}
        fields = []
        for key in sorted(properties):
            found = self.of(properties[key], f"{name}{pascal_case(key)}")
            fields.append((key, found if key in required else f"NotRequired[{found}]", _texts_of(properties[key])))
        self.declarations[name] = _typed_dict(name, fields, _texts_of(schema))

    def _is_object(self, schema: Schema) -> bool:
        """Whether ``schema`` is that of an object with members that it names."""
        named = bool(schema.get("properties") or schema.get("required") or listed_names(schema))
        return schema.get("type") == "object" and named and not schema.keys() & {"allOf", "enum", "const", "$ref"}

    def _all(self, schema: Schema, hint: str) -> str:
        """Return the type of ``allOf``: one object with the members of all parts, or the type of the first part."""
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        parts = [self._resolved(part) for part in (rest, *schema["allOf"])]
        objects = [part for part in parts if self._is_object(part)]
        if len(objects) > 1:
            merged = {
                "type": "object",
                "properties": {key: value for part in objects for key, value in part.get("properties", {}).items()},
                "required": sorted({*chain.from_iterable(part.get("required", ()) for part in objects)}),
            }
            return self.of(merged, hint)
        found = [self.of(part, hint) for part in (*schema["allOf"], rest)]
        return next((part for part in found if part != "Any"), "Any")

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._target(schema["$ref"])
        return schema

    def _of_kind(self, kind: str, schema: Schema, hint: str) -> str:
        if kind == "array":
            return self._array(schema, hint)
        if kind == "object":
            return self._object(schema, hint)
        return {"null": "None", "boolean": "bool", "integer": "int", "number": "float", "string": "str"}[kind]

    def _array(self, schema: Schema, hint: str) -> str:
        items = schema.get("items", {})
        if not isinstance(items, list | tuple):
            return f"list[{self.of(items, f'{hint}Item')}]"
        found = [self.of(item, f"{hint}Item{number}") for number, item in enumerate(items, 1)]
        if schema.get("maxItems", len(items) + 1) > len(items):
            found.append(self.of(schema.get("additionalItems", {}), f"{hint}Item"))
        return f"list[{union(found)}]"

    def _object(self, schema: Schema, hint: str) -> str:
        schema = {**schema, "type": "object"}
        if not self._is_object(schema):
            return f"dict[str, {self.of(schema.get('additionalProperties', {}), f'{hint}Value')}]"
        name = self._claim(hint)
        self.declarations[name] = ""  # it may be inside itself
        self.declare(name, schema)
        return name


def _texts_of(schema: Any) -> Texts:
    if not isinstance(schema, Mapping):
        return Texts()
    default = (
        f"Default: {json.dumps(schema['default'], ensure_ascii=False, sort_keys=True)}" if "default" in schema else ""
    )
    return Texts(
        summary=str(schema.get("description") or schema.get("title") or ""),
        description=default,
        is_deprecated=bool(schema.get("deprecated", False)),
    )


def _typed_dict(name: str, fields: Sequence[tuple[str, str, Texts]], texts: Texts) -> str:
    if any(not key.isidentifier() or keyword.iskeyword(key) or key.startswith("__") for key, *_ in fields):
        members = "".join(f"    {quoted(key)}: {_in_string(type)},\n" for key, type, _ in fields)
        comments = "".join(f"# {line}\n" for line in _in_docstring(texts.summary).splitlines())
        return f"{comments}{name} = TypedDict({quoted(name)}, {{\n{members}}})\n"
    lines = [*docstring(texts), *([""] if docstring(texts) else [])]
    for key, type, about in fields:
        lines += [f"{key}: {type}", *docstring(about)]
    return "\n".join([f"class {name}(TypedDict):", *_indented(lines)])


def _in_string(type: str) -> str:
    """Return ``type`` in quotes, since it may name a type that comes later. ``NotRequired`` is read at run time."""
    if type.startswith("NotRequired["):
        return f"NotRequired[{quoted(type.removeprefix('NotRequired[')[:-1])}]"
    return quoted(type)


def literals(values: Iterable[Any]) -> str:
    """Return the type that has these values, which are decoded JSON."""
    plain = [value for value in values if value is None or isinstance(value, str | bool | int)]
    found = [f"Literal[{', '.join(map(_literal, plain))}]"] if plain else []
    for value in values:
        if isinstance(value, float):
            found.append("float")
        elif isinstance(value, Mapping):
            found.append("dict[str, Any]")
        elif isinstance(value, list | tuple):
            found.append("list[Any]")
    return union(found)


def _literal(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


def union(types: Iterable[str]) -> str:
    """Return the union of ``types``; ``Never`` if there are none."""
    found = list(dict.fromkeys(types))
    if "Any" in found:
        return "Any"
    return " | ".join(type for type in found if type != "Never") or "Never"
