"""Writes the interfaces of consumers as TypeScript, for the client in ``clients/typescript``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from .._asyncapi.components import SCHEMAS
from .._routing.topic import Parameter, Pattern
from .interfaces import (
    Document,
    Interface,
    Interfaces,
    Path,
    Push,
    Route,
    Schema,
    Texts,
    Topic,
    interfaces_of,
    listed_names,
    own_keys,
    pascal_case,
)

_HEADER: Final = """\
// Written by "manage.py routesock_client typescript". Do not edit it: change the consumers and run the command again.
/* eslint-disable */
"""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")

_RESERVED: Final = frozenset(
    """arguments await break case catch class const continue debugger default delete do else enum eval export extends
    false finally for function if implements import in instanceof interface let new null package private protected
    public return static super switch this throw true try typeof undefined var void while with yield""".split()
)

_GLOBALS: Final = frozenset(("Array", "Record", "String", "Number", "Boolean", "Object", "Symbol", "Promise", "BigInt"))
"""Types that would be confusing to declare, though it is allowed."""

_WIDTH: Final = 120


def typescript(document: Document) -> str:
    """Return the module with the types of all consumers in ``document``."""
    return _Module(interfaces_of(document)).text()


def quoted(text: str) -> str:
    """Return ``text`` as a string literal of JavaScript, with nothing in it that ends the literal or a script."""
    escaped = "".join(map(_escaped, json.dumps(text, ensure_ascii=False)))
    return escaped.replace("</", "<\\/").replace("<!--", "<\\!--")


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))


def member(name: str) -> str:
    """Return ``name`` as the name of a property, in quotes if it needs them."""
    return name if _IDENTIFIER.fullmatch(name) else quoted(name)


class _Module:
    def __init__(self, interfaces: Interfaces) -> None:
        self._interfaces = interfaces
        taken = {*_GLOBALS, *(consumer.name for consumer in interfaces.consumers)}
        self._names: dict[str, str] = {}
        for key in sorted(interfaces.schemas):
            name = pascal_case(key)
            name = f"T{name}" if name[:1].isdigit() or not name else name
            self._names[f"{SCHEMAS}{key}"] = _claimed(name, taken, "Data")
        self._types = Types(self._names.__getitem__)

    def text(self) -> str:
        constants: set[str] = set()
        parts = [_HEADER]
        for consumer in self._interfaces.consumers:
            parts.append("".join(f"{line}\n" for line in self._interface(consumer)))
            name = _claimed(_camel_case(consumer.name), constants, "Consumer")
            parts.append("".join(f"{line}\n" for line in _constant(name, consumer)))
        for key, schema in self._interfaces.schemas.items():
            name = self._names[f"{SCHEMAS}{key}"]
            declared = f"export type {name} = {self._types.of(schema, '')};"
            parts.append("".join(f"{line}\n" for line in [*doc_of_schema(schema), declared]))
        return "\n".join(parts)

    def _interface(self, consumer: Interface) -> Iterator[str]:
        yield from doc(consumer.texts, [_served_at(consumer)])
        yield f"export interface {consumer.name} {{"
        yield from self._section("routes", [route for route in consumer.routes if not route.is_stream], self._route)
        yield from self._section("streams", [route for route in consumer.routes if route.is_stream], self._route)
        yield from self._section(
            "pushes", consumer.pushes, lambda push: f"{member(push.name)}: {self._types.of(push.payload, '    ')};"
        )
        yield from self._section("asks", consumer.asks, self._ask)
        yield from self._section("topics", consumer.topics, self._topic)
        yield "}"

    def _section(self, name: str, items: Sequence[Any], text: Callable[[Any], str]) -> Iterator[str]:
        if not items:
            yield f"  {name}: {{}};"
            return
        yield f"  {name}: {{"
        for item in items:
            notes = ["There is no reply: use `notify()`."] if getattr(item, "reply", ...) is None else []
            yield from (f"    {line}" for line in doc(item.texts, notes))
            yield f"    {text(item)}"
        yield "  };"

    def _route(self, route: Route) -> str:
        of = self._types.of
        payload = f"payload{'' if route.needs_payload else '?'}: {of(route.payload, '      ')}"
        result = f"{'item' if route.is_stream else 'reply'}: {_or_never(route.reply, of)}"
        return _entry(route.name, [payload, result, *self._errors(route.errors)])

    def _ask(self, ask: Push) -> str:
        of = self._types.of
        return _entry(ask.name, [f"payload: {of(ask.payload, '      ')}", f"answer: {_or_never(ask.answer, of)}"])

    def _topic(self, topic: Topic) -> str:
        members = [f"snapshot: {self._types.of(topic.snapshot, '      ')}"]
        if topic.pushes:
            members.append(f"push: {' | '.join(map(quoted, topic.pushes))}")
        name, except_ = names_of_topic(topic)
        if name != quoted(topic.name):
            members.insert(0, f"name: {name}")
        if except_:
            members.insert(1, f"except: {' | '.join(except_)}")
        return _entry(topic.name, [*members, *self._errors(topic.errors)])

    def _errors(self, errors: Mapping[int, Schema]) -> Iterator[str]:
        if errors:
            inside = (f"{status}: {self._types.of(schema, '      ')}" for status, schema in errors.items())
            yield f"errors: {{ {'; '.join(inside)} }}"


def _or_never(schema: Schema | None, of: Callable[[Schema, str], str]) -> str:
    return "never" if schema is None else of(schema, "      ")


def _entry(name: str, members: Sequence[str]) -> str:
    line = f"{member(name)}: {{ {'; '.join(members)} }};"
    if len(line) + 4 <= _WIDTH and "\n" not in line:
        return line
    return "\n".join([f"{member(name)}: {{", *(f"      {item};" for item in members), "    };"])


def _claimed(name: str, taken: set[str], suffix: str) -> str:
    """Return ``name``, or with ``suffix`` behind it if it is taken or reserved, and note it as taken."""
    while name in taken or name in _RESERVED:
        name += suffix
    taken.add(name)
    return name


def _camel_case(name: str) -> str:
    """Return ``name`` with its first word in lower case: ``httpChat`` for ``HTTPChat``."""
    capitals = re.match(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]+(?![a-z])|[A-Z]", name)
    return name if capitals is None else capitals[0].lower() + name[capitals.end() :]


# Constants: where a consumer is, and its keys


def _served_at(consumer: Interface) -> str:
    paths = ", ".join(path.template if path.template is not None else path.pattern for path in consumer.paths)
    return f"{consumer.consumer} at {paths}."


def _constant(name: str, consumer: Interface) -> Iterator[str]:
    usable = [path for path in consumer.paths if path.template is not None]
    members: list[str] = []
    if len(consumer.paths) > 1:
        inside = "".join(f"\n    {quoted(str(path.template))}: {_path(path)}," for path in usable)
        members.append(f"paths: {{{inside}\n  }}" if inside else "paths: {}")
    elif usable:
        members.append(f"path: {_path(usable[0])}")
    if consumer.keys is not None:
        members.append(f"keys: {_keys(consumer.keys)}")
    notes = [f"Where {consumer.consumer} is, and the keys of its frames."]
    if consumer.keys is None:
        notes = [f"Where {consumer.consumer} is. Its frames have a format of their own: set the option `dialect`."]
    if not usable or len(usable) < len(consumer.paths):
        notes.append("Write the path yourself for a URL pattern that is no template.")
    yield from doc(Texts(), notes)
    yield from f"export const {name} = {{\n{''.join(f'  {item},{chr(10)}' for item in members)}}} as const;".split("\n")


def _keys(keys: Mapping[str, Any]) -> str:
    own = own_keys(keys).items()
    found = [f"{key}: {'null' if value is None else quoted(value)}" for key, value in own]
    return f"{{ {', '.join(found)} }}" if found else "{}"


def _path(path: Path) -> str:
    template = str(path.template)
    if not path.parameters:
        return quoted(_in_url(template))
    parts = re.split(r"\{([^{}]+)\}", template)
    texts = [_in_template(_in_url(text)) for text in parts[::2]]
    values = [f"${{{_encoded(name, path.parameters.get(name, ''))}}}" for name in parts[1::2]]
    types = "; ".join(
        f"readonly {member(name)}: {_TYPES_OF_PARAMETERS.get(converter, 'string')}"
        for name, converter in sorted(path.parameters.items())
    )
    body = "".join(text + value for text, value in zip(texts, [*values, ""], strict=True))
    return f"(parameters: {{ {types} }}): string =>\n    `{body}`"


_TYPES_OF_PARAMETERS: Final = {"int": "number"}


def _encoded(name: str, converter: str) -> str:
    value = f"parameters.{name}" if _IDENTIFIER.fullmatch(name) else f"parameters[{quoted(name)}]"
    if converter == "path":
        return f'{value}.split("/").map(encodeURIComponent).join("/")'
    return f"encodeURIComponent({value})"


def _in_url(text: str) -> str:
    return quote(text, safe="/~!@$&'()*+,;=:")


def _in_template(text: str) -> str:
    """Return ``text`` for a template literal."""
    escaped = quoted(text)[1:-1].replace('\\"', '"').replace("`", "\\`")
    return escaped.replace("${", "\\${")


# Topics


def names_of_topic(topic: Topic) -> tuple[str, list[str]]:
    """Return the type of the names of ``topic``, and the types of those that it has not."""
    name = _name_type(topic.pattern)
    parameters = [index for index, part in enumerate(topic.pattern.segments) if isinstance(part, Parameter)]
    # A parameter has no dot, and `string` in a template has any.
    dotted = [_name_type(topic.pattern, dotted=index) for index in parameters]
    return name, [*dict.fromkeys([*map(_name_type, topic.others), *dotted])]


def _name_type(pattern: Pattern, dotted: int | None = None) -> str:
    if not any(isinstance(segment, Parameter) for segment in pattern.segments):
        return quoted(pattern.text)
    found = []
    for index, segment in enumerate(pattern.segments):
        if isinstance(segment, str):
            found.append(_in_template(segment))
        else:
            value = "${string}.${string}" if index == dotted else "${string}"
            found.append(f"{_in_template(segment.before)}{value}{_in_template(segment.after)}")
    return f"`{'.'.join(found)}`"


# Comments


def doc(texts: Texts, notes: Iterable[str] = (), tags: Iterable[str] = ()) -> list[str]:
    """Return a TSDoc comment, line by line; an empty list if it would say nothing."""
    paragraphs = map(in_comment, (texts.summary, texts.description, *notes))
    blocks = [*filter(None, paragraphs), *(["@deprecated"] if texts.is_deprecated else []), *tags]
    lines = "\n\n".join(blocks).splitlines()
    if not lines:
        return []
    if len(lines) == 1 and len(lines[0]) < _WIDTH - 16:
        return [f"/** {lines[0]} */"]
    return ["/**", *(f" * {line}".rstrip() for line in lines), " */"]


def doc_of_schema(schema: Schema) -> list[str]:
    """Return the comment of a type or a property."""
    texts = Texts(
        summary=str(schema.get("description") or schema.get("title") or ""),
        is_deprecated=bool(schema.get("deprecated", False)),
    )
    tags = [f"@defaultValue {_in_code(schema['default'])}"] if "default" in schema else []
    return doc(texts, tags=tags)


def _in_code(value: Any) -> str:
    return in_comment(json.dumps(value, ensure_ascii=False, sort_keys=True))


def in_comment(text: str) -> str:
    """Return ``text`` for a TSDoc comment: it can neither end the comment nor contain a tag."""
    lines = ["".join(char if char.isprintable() else " " for char in line).rstrip() for line in text.splitlines()]
    safe = "\n".join(lines).strip("\n").replace("*/", "*\\/")
    safe = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", safe)
    return re.sub(r"(?<!\w)@(?=\w)", r"\\@", safe)


# Schemas


class Types:
    """Writes schemas as types.

    Args:
        name: Returns the name of the type that a reference stands for.
    """

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name

    def of(self, schema: Any, indent: str) -> str:
        """Return the type of the values that ``schema`` accepts.

        Rules that a type cannot express, such as lengths and patterns, are left out.

        Args:
            schema: The schema.
            indent: What is in front of the line on which the type begins.
        """
        if isinstance(schema, bool):
            return "unknown" if schema else "never"
        if "$ref" in schema:
            return self._name(schema["$ref"])
        if schema.get("not", ...) in ({}, True):
            return "never"
        if "const" in schema:
            return literal(schema["const"])
        parts = [union(map(literal, schema["enum"])) if "enum" in schema else self._by_type(schema, indent)]
        alternatives = [schema[keyword] for keyword in ("anyOf", "oneOf") if keyword in schema]
        parts += [union(self.of(part, indent) for part in some) for some in alternatives]
        parts += [self.of(part, indent) for part in schema.get("allOf", ())]
        return _intersection(parts)

    def _by_type(self, schema: Schema, indent: str) -> str:
        kinds = schema.get("type")
        if kinds is None:
            return "unknown"
        return union(self._of_kind(kind, schema, indent) for kind in ([kinds] if isinstance(kinds, str) else kinds))

    def _of_kind(self, kind: str, schema: Schema, indent: str) -> str:
        if kind == "array":
            return self._array(schema, indent)
        if kind == "object":
            return self._object(schema, indent)
        return "number" if kind == "integer" else kind

    def _array(self, schema: Schema, indent: str) -> str:
        items = schema.get("items", {})
        if not isinstance(items, list | tuple):
            return f"{_in_parentheses(self.of(items, indent))}[]"
        needed = schema.get("minItems", 0)
        found = [
            self.of(item, indent) if index < needed else f"{_in_parentheses(self.of(item, indent))}?"
            for index, item in enumerate(items)
        ]
        rest = self.of(schema.get("additionalItems", {}), indent)
        if rest != "never" and schema.get("maxItems", len(items) + 1) > len(items):
            found.append(f"...{_in_parentheses(rest)}[]")
        return f"[{', '.join(found)}]"

    def _object(self, schema: Schema, indent: str) -> str:
        inner = f"{indent}  "
        properties = {**listed_names(schema), **schema.get("properties", {})}
        rest = schema.get("additionalProperties", {})
        required = schema.get("required", ())
        properties |= {name: rest for name in required if name not in properties}
        lines: list[str] = []
        types: list[str] = []
        for name in sorted(properties):
            part = properties[name]
            optional = "" if name in required else "?"
            types += [self.of(part, inner), *(["undefined"] if optional else [])]
            lines += doc_of_schema(part) if isinstance(part, Mapping) else []
            lines.append(f"{member(name)}{optional}: {types[-2 if optional else -1]};")
        # An object with other members fits, too. They are no part of the type, so that misspelt names are found.
        values = self.of(rest, inner)
        is_open = values != "never" and ("additionalProperties" in schema or not properties)
        if not lines or (is_open and not listed_names(schema)):
            lines.append(f"[member: string]: {union([values, *types])};")
        if lines[0].startswith("[") and "\n" not in lines[0]:
            return f"{{ {lines[0].removesuffix(';')} }}"
        return "{\n" + "".join(f"{inner}{line}\n" for line in lines) + f"{indent}}}"


def literal(value: Any) -> str:
    """Return the type that has ``value``, which is decoded JSON, as its only value."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        inside = "; ".join(f"{member(str(name))}: {literal(item)}" for name, item in sorted(value.items()))
        return f"{{ {inside} }}" if inside else "{ [member: string]: never }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value)


def union(types: Iterable[str]) -> str:
    """Return the union of ``types``; ``never`` if there are none."""
    found = list(dict.fromkeys(types))
    if "unknown" in found:
        return "unknown"
    some = [type for type in found if type != "never"]
    return " | ".join(_in_parentheses(type, "&") if len(some) > 1 else type for type in some) or "never"


def _intersection(types: Iterable[str]) -> str:
    some = [type for type in dict.fromkeys(types) if type != "unknown"]
    if len(some) < 2:
        return some[0] if some else "unknown"
    return " & ".join(_in_parentheses(type, "|") for type in some)


_LITERALS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/', re.DOTALL)
"""Strings and comments."""


def _in_parentheses(type: str, operators: str = "|&") -> str:
    """Return ``type``, in parentheses if one of ``operators`` joins its parts."""
    depth = 0
    for char in _LITERALS.sub("", type):
        if char in "{[(":
            depth += 1
        elif char in "}])":
            depth -= 1
        elif not depth and char in operators:
            return f"({type})"
    return type
