"""Collects the schemas of a document under ``components/schemas``, and gives them their names."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .._wire.camel_case import to_camel_case
from ..schemas import SchemaAdapter
from ..schemas.base import Definition, Mode
from .names import Keys, digits_of, slug

_SUFFIX: Final = re.compile(r"(?<=.)(?:Schema|Serializer|Model)$")

_BY_MODE: Final[dict[Mode, str]] = {"load": "Input", "dump": "Output"}

_REFERENCE: Final = "#/$defs/"

_PENDING: Final = "#/pending/"
"""Refers to a schema by its number, until all are collected and have a name."""

SCHEMAS: Final = "#/components/schemas/"


def mapped(schema: Any, change: Callable[[str], str]) -> Any:
    """Return ``schema`` with ``change`` applied to each reference in it."""
    if isinstance(schema, str):  # most parts are
        return schema
    if isinstance(schema, dict) or isinstance(schema, Mapping):  # noqa: SIM101  (a dict is found sooner)
        return {
            name: change(value) if name == "$ref" and isinstance(value, str) else mapped(value, change)
            for name, value in schema.items()
        }
    return [mapped(item, change) for item in schema] if isinstance(schema, list | tuple) else schema


def camelized(schema: Any) -> Any:
    """Return ``schema`` with the names of properties in camelCase, as ``camelize=True`` sends them."""
    if not isinstance(schema, Mapping):
        return [camelized(item) for item in schema] if isinstance(schema, list | tuple) else schema
    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "properties":
            result[keyword] = to_camel_case(dict.fromkeys(value))
            result[keyword] = dict(zip(result[keyword], map(camelized, value.values()), strict=True))
        elif keyword == "required":
            result[keyword] = [*to_camel_case(dict.fromkeys(value))]
        elif keyword in ("default", "const", "examples", "enum"):
            result[keyword] = to_camel_case(value)
        else:
            result[keyword] = camelized(value)
    return result


@dataclass
class _Entry:
    """One schema of one class, for one mode."""

    definition: Definition
    mode: Mode
    camelize: bool
    number: int = 0
    schema: Any = None
    name: str = ""

    @property
    def family(self) -> tuple[str, str, str, bool]:
        """The parts that the schemas of both modes share."""
        return (self.definition.module, self.definition.name, self.definition.variant, self.camelize)


class Components:
    """The schemas of one document.

    :meth:`add` returns schemas with preliminary references. When all are added, :meth:`finish` gives names to them, and
    :meth:`resolved` puts the names in.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._adapters: dict[tuple[int, Mode, bool], Any] = {}
        self._by_content: dict[str, int] = {}
        self._kept: list[Any] = []  # so that no id is used twice
        self._own: dict[str, Any] = {}

    def own(self, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return a reference to a schema of routesock itself."""
        self._own.setdefault(name, dict(schema))
        return {"$ref": f"{_PENDING}{name}"}

    def add(self, adapter: SchemaAdapter, mode: Mode, *, camelize: bool = False) -> dict[str, Any]:
        """Return the schema of ``adapter``."""
        key = (id(adapter), mode, camelize)
        if key not in self._adapters:
            self._kept.append(adapter)
            self._adapters[key] = self._described(adapter, mode, camelize=camelize)
        found: dict[str, Any] = self._adapters[key]
        return found

    def _described(self, adapter: SchemaAdapter, mode: Mode, *, camelize: bool) -> Any:
        described = adapter.json_schema(mode)
        numbers: dict[str, int] = {}
        for key, content in _contents(described.definitions).items():
            is_renamed = camelize and any(camelized(part) != part for part in content)
            identity = json.dumps([content, mode, is_renamed], sort_keys=True, default=str)
            if identity not in self._by_content:
                self._by_content[identity] = len(self._entries)
                self._entries.append(_Entry(described.definitions[key], mode, is_renamed, len(self._entries)))
            numbers[key] = self._by_content[identity]

        def changed(reference: str) -> str:
            return f"{_PENDING}{numbers[reference.removeprefix(_REFERENCE)]}"

        def taken(schema: Any) -> Any:
            result = mapped(schema, changed)
            return camelized(result) if camelize else result

        for key, number in numbers.items():
            if self._entries[number].schema is None:
                self._entries[number].schema = taken(described.definitions[key].schema)
        return taken(described.schema)

    def target(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what ``schema`` is: what it refers to if it is a reference."""
        seen: set[str] = set()
        while "$ref" in schema and schema["$ref"] not in seen:
            reference = schema["$ref"]
            seen.add(reference)
            name = reference.removeprefix(_PENDING)
            beside = {member: value for member, value in schema.items() if member != "$ref"}
            schema = {**(self._own[name] if name in self._own else self._entries[int(name)].schema), **beside}
        return {} if "$ref" in schema else schema  # a class that is nothing but itself

    def finish(self) -> None:
        """Give a name to each schema. Nothing is added any longer."""
        pairs = self._agreeing()
        by_family: dict[tuple[str, str, str, bool], list[_Entry]] = defaultdict(list)
        for entry in self._entries:
            by_family[entry.family].append(entry)
        bases: dict[str, set[tuple[str, str, str, bool]]] = defaultdict(set)
        for family in by_family:
            bases[_base(family)].add(family)
        keys = Keys()
        for name in self._own:
            keys.claim(name)
        for family in sorted(by_family):
            base = _base(family)
            others = bases[base]
            if len(others) > 1 and len({_base(other, whole=True) for other in others}) == len(others):
                base = _base(family, whole=True)
            elif len(others) > 1 or base in self._own:
                base = f"{slug(family[0])}.{base}"
            self._name(by_family[family], base, pairs, keys)

    def _name(self, entries: list[_Entry], base: str, pairs: dict[int, int], keys: Keys) -> None:
        groups: list[list[_Entry]] = []
        for entry in sorted(entries, key=lambda entry: (_BY_MODE[entry.mode], _text(entry.schema))):
            partner = pairs.get(entry.number)
            for group in groups:
                if partner is not None and any(other.number == partner for other in group):
                    group.append(entry)
                    break
            else:
                groups.append([entry])
        for group in groups:
            suffix = _BY_MODE[group[0].mode] if len(groups) > 1 else ""
            key = keys.claim(f"{base}{suffix} {_text(group[0].schema)}", key=f"{base}{suffix}")
            for entry in group:
                entry.name = key

    def _agreeing(self) -> dict[int, int]:
        """Return the pairs of numbers whose schemas are the same in both modes, with all that they refer to."""
        candidates: dict[int, int] = {}
        waiting: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for number, entry in enumerate(self._entries):
            others = waiting[(*entry.family, "dump" if entry.mode == "load" else "load")]
            if others:
                other = others.pop(0)
                candidates[number], candidates[other] = other, number
            else:
                waiting[(*entry.family, entry.mode)].append(number)

        def canonical(number: int) -> str:
            def name(reference: str) -> str:
                part = reference.removeprefix(_PENDING)
                if part in self._own:
                    return part
                return str(min(int(part), candidates.get(int(part), int(part))))

            return _text(mapped(self._entries[number].schema, name))

        while True:
            apart = [number for number, other in candidates.items() if canonical(number) != canonical(other)]
            if not apart:
                return candidates
            for number in apart:
                candidates.pop(number, None)

    def resolved(self, value: Any) -> Any:
        """Return ``value`` with references to the names."""

        def name(reference: str) -> str:
            if not reference.startswith(_PENDING):
                return reference
            part = reference.removeprefix(_PENDING)
            return SCHEMAS + (part if part in self._own else self._entries[int(part)].name)

        return mapped(value, name)

    def schemas(self, document: Any) -> dict[str, Any]:
        """Return the schemas that ``document``, which is resolved, refers to, by their names."""
        everything = {entry.name: self.resolved(entry.schema) for entry in self._entries}
        everything |= {name: self.resolved(schema) for name, schema in self._own.items()}
        needed: dict[str, Any] = {}
        waiting = [document]
        while waiting:
            for reference in references_in(waiting.pop()):
                name = reference.removeprefix(SCHEMAS)
                if reference.startswith(SCHEMAS) and name not in needed:
                    needed[name] = everything[name]
                    waiting.append(everything[name])
        return dict(sorted(needed.items()))


def references_in(value: Any) -> Iterator[str]:
    """Yield the references in ``value``, at any depth."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference
        for item in value.values():
            if isinstance(item, dict | list | tuple):
                yield from references_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, dict | list | tuple):
                yield from references_in(item)


def _contents(definitions: Mapping[str, Definition]) -> dict[str, Any]:
    """Return what each definition is, with all that it refers to: equal for two that are the same in all parts."""

    def content(key: str) -> Any:
        reached: dict[str, Any] = {}
        waiting = [key]
        while waiting:
            current = waiting.pop(0)
            if current in reached:
                continue
            definition = definitions[current]
            reached[current] = [definition.module, definition.name, definition.variant, definition.schema]
            waiting += [ref.removeprefix(_REFERENCE) for ref in references_in(definition.schema)]
        order = {name: str(index) for index, name in enumerate(reached)}
        return [mapped(part, lambda ref: order[ref.removeprefix(_REFERENCE)]) for part in reached.values()]

    return {key: content(key) for key in definitions}


def _base(family: tuple[str, str, str, bool], *, whole: bool = False) -> str:
    """Return the name of a class in documents: without ``Schema`` unless ``whole``, and with its variant behind it."""
    _, name, variant, camelize = family
    name = name.rpartition(".")[2]
    base = slug(name if whole else _SUFFIX.sub("", name))
    if variant:
        base = f"{base}-{slug(re.sub('[^A-Za-z0-9]+', '_', variant).strip('_'))}"
        if len(base) > _LONGEST:
            base = f"{base[:_LONGEST]}-{digits_of(base)}"
    return f"{base}-camelCase" if camelize else base


_LONGEST: Final = 64


def _text(schema: Any) -> str:
    return json.dumps(schema, sort_keys=True, default=str)
