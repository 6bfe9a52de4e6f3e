"""pydantic's core schemas as JSON Schema: what a ``TypeAdapter`` accepts in JSON mode, and what it dumps.

The JSON Schema of pydantic describes types. This one describes the validators, all of which are in the core schema.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from ..base import Described, Mode
from .draft7 import Definitions, Schema, inexact, normalised, nullable
from .parts import annotated, any_of, enum, lengths, property_names
from .pydantic_values import Core, of_function, value

_TRUSTED: Final = frozenset({"pydantic", "pydantic_core", "collections", "ipaddress"})
"""The libraries whose functions :func:`of_function` knows."""

_ANYTHING: Final = TypeAdapter[Any](Any)

_CONSTRAINTS: Final = frozenset(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format minItems maxItems "
    "minProperties maxProperties allOf".split()
)


def describe(adapter: TypeAdapter[Any], mode: Mode) -> Described:
    """Describe what ``adapter`` accepts in JSON mode, or what it dumps."""
    walk = _Walk(loads=mode == "load")
    return walk.found.described(walk.schema(adapter.core_schema))


class _Class(NamedTuple):
    """The class whose fields are described."""

    config: Mapping[str, Any] = {}
    fields: Mapping[str, Any] = {}


class _Walk:
    """One pass over a core schema. Methods are named after the types of core schemas that they describe."""

    def __init__(self, *, loads: bool) -> None:
        self.loads = loads
        self.found = Definitions()
        self._cores: dict[str, Core] = {}
        self._classes = [_Class()]

    @property
    def config(self) -> Mapping[str, Any]:
        return self._classes[-1].config

    def schema(self, core: Core) -> Schema:
        """Describe ``core``. A class becomes a definition, and the result refers to it."""
        ref = core.get("ref")
        if ref is None:
            return self._described(core)
        self._cores[ref] = core
        name, module, variant = _name_of(core, ref)
        return self.found.named(name, module, variant, partial(self._described, core), identity=ref)

    def _described(self, core: Core) -> Schema:
        if not self.loads and "serialization" in core:
            serialised = self._serialised(core)
            if serialised is not None:
                return serialised
        override = _override(core)
        if override is not None:
            return self._overridden(core, override)
        method: Callable[[Core], Schema] | None = getattr(self, "_" + core["type"].replace("-", "_"), None)
        if method is not None:
            return method(core)
        described = value(core, self.config, loads=self.loads)
        return inexact({}, f"pydantic's {core['type']}") if described is None else described

    def _overridden(self, core: Core, override: str) -> Schema:
        """The schema that a project gives itself, such as with ``WithJsonSchema``. It cannot be verified."""
        with suppress(Exception):  # the code of the project
            inner: Any = {key: item for key, item in core.items() if key != "ref"}
            mode: Any = "validation" if self.loads else "serialization"
            return inexact(normalised(GenerateJsonSchema().generate(inner, mode), _no_reference), override)
        return inexact({}, override)

    def _serialised(self, core: Core) -> Schema | None:
        """The schema of a serializer's result; ``None`` for pydantic's own, which follow from the value's type."""
        given = core["serialization"]
        if given["type"] in ("to-string", "format"):
            return {"type": "string"}
        if given["type"] == "model":
            return self.schema(given["schema"])
        if not given["type"].startswith("function") or _owner(given["function"])[0] in _TRUSTED:
            return None
        result = self.schema(given["return_schema"]) if given.get("return_schema") else {}
        unless_none = str(given.get("when_used", "")).endswith("unless-none")
        return nullable(result) if unless_none and _may_be_none(core) else result

    # Choices

    def _nullable(self, core: Core) -> Schema:
        return nullable(self.schema(core["schema"]))

    def _union(self, core: Core) -> Schema:
        return any_of(*(self.schema(choice[0] if isinstance(choice, tuple) else choice) for choice in core["choices"]))

    def _tagged_union(self, core: Core) -> Schema:
        tags: dict[int, tuple[Core, list[Any]]] = {}
        for tag, choice in core["choices"].items():
            while not isinstance(choice, dict):  # the tag of another one, before pydantic 2.6
                choice = core["choices"][choice]
            tags.setdefault(id(choice), (choice, []))[1].append(tag)
        if self.loads and not callable(core["discriminator"]):
            return any_of(*(self._tagged(choice, found, core["discriminator"]) for choice, found in tags.values()))
        schema = any_of(*(self.schema(choice) for choice, _ in tags.values()))
        return inexact(schema, "discriminator") if self.loads else schema

    def _tagged(self, choice: Core, tags: list[Any], discriminator: Any) -> Schema:
        """A choice whose tag is one of ``tags``. The tag is required here, also where it has a default."""
        paths = [discriminator] if isinstance(discriminator, str) else discriminator
        names = {path if isinstance(path, str) else path[0] for path in paths}
        schema = self.schema(choice)
        for name, field, needed in self._fields(choice):
            key = self._names(name, field)[0]
            if key in names:
                return schema if needed else {"allOf": [schema, {"required": [key], "properties": {key: enum(tags)}}]}
        return inexact(schema, "discriminator")

    def _fields(self, core: Core) -> list[tuple[str, Core, bool]]:
        """The fields of a class: the name, the core schema, and whether a client has to send it."""
        match core["type"]:
            case "model-fields":
                return [(name, field, field["schema"]["type"] != "default") for name, field in core["fields"].items()]
            case "dataclass-args":
                return [(field["name"], field, field["schema"]["type"] != "default") for field in core["fields"]]
            case "typed-dict":
                total = core.get("total", True)
                return [(name, field, field.get("required", total)) for name, field in core["fields"].items()]
            case "definition-ref":
                return self._fields(self._cores[core["schema_ref"]])
            case _:
                return self._fields(core["schema"]) if isinstance(core.get("schema"), dict) else []

    # Containers

    def _list(self, core: Core) -> Schema:
        items = self.schema(core["items_schema"]) if core.get("items_schema") else {}
        return {"type": "array", **({"items": items} if items else {}), **lengths(core, "Items")}

    _deque = _generator = _tuple_variable = _list

    def _set(self, core: Core) -> Schema:
        schema = self._list(core)
        if not self.loads or schema.get("minItems", 0) < 2:
            return schema
        schema["uniqueItems"] = True  # duplicates are accepted, but count once
        exact = core.get("items_schema", {}).get("type") in ("int", "str", "enum", "literal", "bool")
        return schema if exact else inexact(schema, f"min_length={schema['minItems']}")

    _frozenset = _set

    def _tuple(self, core: Core) -> Schema:
        items = [self.schema(item) for item in core["items_schema"]]
        variadic = core.get("variadic_item_index")
        if variadic is None:
            return _array(items, len(items))
        if len(items) == 1:
            return {"type": "array", "items": items[0], **lengths(core, "Items")}
        first, rest = items[:variadic], items[variadic]
        if variadic < len(items) - 1:
            return inexact({"type": "array", "items": first, "minItems": len(items) - 1}, "items after the last *")
        return {"type": "array", "items": first, "additionalItems": rest, "minItems": variadic}

    def _tuple_positional(self, core: Core) -> Schema:  # before pydantic 2.6
        items = [self.schema(item) for item in core["items_schema"]]
        if core.get("extras_schema"):
            rest = self.schema(core["extras_schema"])
            return {"type": "array", "items": items, "additionalItems": rest, "minItems": len(items)}
        return _array(items, len(items))

    def _dict(self, core: Core) -> Schema:
        values = self.schema(core["values_schema"]) if core.get("values_schema") else {}
        schema: Schema = {"type": "object", **({"additionalProperties": values} if values else {})}
        if self.loads and core.get("keys_schema"):
            schema |= property_names(self._inner(core["keys_schema"]))
        return {**schema, **lengths(core, "Properties")}

    _ordered_dict = _counter = _frozendict = _dict

    def _inner(self, core: Core) -> Schema:
        """Describe ``core``, without a reference if it is a class."""
        while core["type"] == "definition-ref":
            core = self._cores[core["schema_ref"]]
        return self._described(core)

    # Classes

    def _model(self, core: Core) -> Schema:
        cls = core["cls"]
        reasons = [f"{cls.__qualname__}.__init__"] if core.get("custom_init") else []
        if core.get("post_init") and getattr(cls.model_post_init, "__name__", "") != "init_private_attributes":
            reasons.append(core["post_init"])
        return self._class(core, cls.model_config, cls.model_fields, reasons)

    def _dataclass(self, core: Core) -> Schema:
        cls = core["cls"]
        options = getattr(cls, "__pydantic_config__", None) or {}
        fields = getattr(cls, "__pydantic_fields__", {})
        return self._class(core, options, fields, ["__post_init__"] if core.get("post_init") else [])

    def _class(self, core: Core, options: Mapping[str, Any], fields: Mapping[str, Any], reasons: list[str]) -> Schema:
        self._classes.append(_Class(core.get("config") or {}, fields))
        try:
            schema = self.schema(core["schema"])
        finally:
            self._classes.pop()
        notes: Schema = {"title": options["title"]} if options.get("title") else {}
        text = _documentation(core["cls"])
        if text:
            notes["description"] = text
        if self.loads:
            notes |= _examples(options.get("json_schema_extra"))
            schema = inexact(schema, *reasons)
        return annotated(schema, notes)

    def _model_fields(self, core: Core) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        others: set[str] = set()
        reasons: list[str] = []
        for name, field, needed in self._fields(core):
            if not self._is_described(field):
                others |= {name} if self.loads else set()
                continue
            key, spare = self._names(name, field)
            others |= spare
            if key is None:
                reasons.append(f"{name}: AliasPath")
                continue
            properties[key] = annotated(self.schema(field["schema"]), self._notes(name, field))
            if needed or (not self.loads and field["type"] != "typed-dict-field"):
                required += [key] if field.get("serialization_exclude_if") is None or self.loads else []
        if not self.loads:
            for field in core.get("computed_fields", ()):
                name = field["property_name"]
                key = field.get("alias", name) if self.config.get("serialize_by_alias") else name
                properties[key] = self.schema(field["return_schema"])
                required += [key] if field.get("serialization_exclude_if") is None else []
        schema: Schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        schema |= self._extras(core)
        others -= properties.keys()
        if self.loads and others and schema.get("additionalProperties") is not False:
            # Other names for the same fields: the server validates them, and nothing here says how.
            schema["not"] = {"anyOf": [{"required": [name]} for name in sorted(others)]}
        return inexact(schema, *reasons)

    _dataclass_args = _model_fields

    def _typed_dict(self, core: Core) -> Schema:
        self._classes.append(_Class(core.get("config") or {}))
        try:
            return self._model_fields(core)
        finally:
            self._classes.pop()

    def _is_described(self, field: Core) -> bool:
        if self.loads:
            return field.get("init", True) is not False
        return not (field.get("serialization_exclude") or field.get("init_only"))

    def _notes(self, name: str, field: Core) -> Schema:
        """The title, the description and the examples of a field."""
        info = self._classes[-1].fields.get(name)
        metadata = field.get("metadata") or {}
        notes: Schema = {**(metadata.get("pydantic_js_updates") or {}), **_examples(metadata.get("pydantic_js_extra"))}
        if info is not None:
            notes |= {key: getattr(info, key, None) for key in ("title", "description", "examples")}
            notes |= _examples(info.json_schema_extra)
            notes["deprecated"] = bool(getattr(info, "deprecated", False))
        if not self.loads:
            notes.pop("examples", None)  # they are those of what clients send
        return {key: notes[key] for key in ("title", "description", "deprecated", "examples") if notes.get(key)}

    def _names(self, name: str, field: Core) -> tuple[str | None, set[str]]:
        """The name of a field in JSON, and other names for it; ``None`` where it has no name, but paths."""
        config = self.config
        if not self.loads:
            return (field.get("serialization_alias", name) if config.get("serialize_by_alias") else name), set()
        alias = field.get("validation_alias")
        if alias is None or not config.get("validate_by_alias", True):
            return name, set()
        paths = [[alias]] if isinstance(alias, str) else alias if isinstance(alias[0], list) else [alias]
        by_name = config.get("validate_by_name", config.get("populate_by_name", False))
        names = [path[0] for path in paths if len(path) == 1] + ([name] if by_name else [])
        begun = {path[0] for path in paths if len(path) > 1}
        return (names[0], {*names[1:], *begun}) if names else (None, begun)

    def _extras(self, core: Core) -> Schema:
        behaviour = core.get("extra_behavior", self.config.get("extra_fields_behavior", "ignore"))
        if behaviour == "forbid":
            return {"additionalProperties": False}
        if behaviour == "allow" and core.get("extras_schema"):
            extras = self.schema(core["extras_schema"])
            return {"additionalProperties": extras} if extras else {}
        return {}

    def _named_tuple(self, core: Core) -> Schema:
        fields = {field["name"]: self.schema(field["schema"]) for field in core["fields"]}
        return self._tuple_of(fields, sum(field["schema"]["type"] != "default" for field in core["fields"]))

    def _call(self, core: Core) -> Schema:
        cls: Any = core["function"]
        if not (isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")):
            return inexact({}, _owner(cls)[1]) if self.loads else {}
        fields = core["arguments_schema"]["arguments_schema"]  # of a NamedTuple, before pydantic 2.14
        items = {field["name"]: self.schema(field["schema"]) for field in fields}
        return self._tuple_of(items, sum(field["schema"]["type"] != "default" for field in fields))

    def _tuple_of(self, fields: dict[str, Schema], needed: int) -> Schema:
        """A ``NamedTuple``, of which the first ``needed`` fields have no default. An object is accepted, too."""
        if not self.loads:
            return _array([*fields.values()], len(fields))
        required = {"required": [*fields][:needed]} if needed else {}
        by_name = {"type": "object", "properties": fields, **required, "additionalProperties": False}
        return any_of(_array([*fields.values()], needed), by_name)

    # Wrappers

    def _default(self, core: Core) -> Schema:
        schema = self.schema(core["schema"])
        if "default" not in core or not self.loads:
            return schema
        with suppress(Exception):  # a value of any class
            return annotated(schema, {"default": _ANYTHING.dump_python(core["default"], mode="json")})
        return schema

    def _definitions(self, core: Core) -> Schema:
        self._cores |= {definition["ref"]: definition for definition in core["definitions"]}
        return self.schema(core["schema"])

    def _definition_ref(self, core: Core) -> Schema:
        return self.schema(self._cores[core["schema_ref"]])

    def _custom_error(self, core: Core) -> Schema:
        return self.schema(core["schema"])

    def _json_or_python(self, core: Core) -> Schema:
        return self.schema(core["json_schema"])

    def _lax_or_strict(self, core: Core) -> Schema:
        strict = core.get("strict", self.config.get("strict", False))
        return self.schema(core["strict_schema" if strict else "lax_schema"])

    def _json(self, core: Core) -> Schema:
        if self.loads:
            return inexact({"type": "string"}, "Json")
        return self.schema(core["schema"]) if core.get("schema") else {}

    def _chain(self, core: Core) -> Schema:
        if not self.loads:
            return self.schema(core["steps"][-1])
        first, *others = core["steps"]
        schema = self.schema(first)
        for step in others:
            known = step["type"].startswith("function")
            schema = self._validated(step, schema) if known else inexact(schema, f"pydantic's {step['type']}")
        return schema

    # Functions

    def _function_plain(self, core: Core) -> Schema:
        return self._validated(core, {})

    def _function_after(self, core: Core) -> Schema:
        return self._validated(core, self.schema(core["schema"]))

    _function_wrap = _function_after

    def _function_before(self, core: Core) -> Schema:
        schema = self.schema(core["schema"])
        return self._validated(core, schema) if self.loads else schema

    def _validated(self, core: Core, schema: Schema) -> Schema:
        """``schema`` with a validator. It may refuse more, and what it returns may break the constraints."""
        function = core["function"]["function"] if isinstance(core["function"], dict) else core["function"]
        library, name = _owner(function)
        if self.loads:
            return of_function(name, function, schema) if library in _TRUSTED else inexact(schema, name)
        if name == "to_enum":
            described = of_function(name, function, schema)
            return {"type": "integer"} if "maximum" in described else described  # a Flag
        if name == "ByteSize._validate":
            return {"type": "integer"}
        plain = {key: item for key, item in schema.items() if key not in _CONSTRAINTS}
        return {"type": "string"} if library in _TRUSTED and not plain else plain


def _array(items: list[Schema], needed: int) -> Schema:
    """An array of as many ``items``, of which the first ones are needed."""
    return {"type": "array", **({"items": items} if items else {}), "minItems": needed, "maxItems": len(items)}


def _no_reference(ref: str) -> Schema:
    raise LookupError(f"{ref} is defined elsewhere.")


def _name_of(core: Core, ref: str) -> tuple[str, str, str]:
    """The name, the module and the variant of the class that ``core`` describes."""
    cls = _class_of(core)
    if cls is None:
        module, _, name = ref.partition(":")[0].rpartition(".")
        return name, module, ""
    generic = getattr(cls, "__pydantic_generic_metadata__", None) or {}
    if not generic.get("origin"):
        return cls.__name__, cls.__module__, ""
    arguments = ", ".join(getattr(argument, "__name__", str(argument)) for argument in generic["args"])
    return generic["origin"].__name__, cls.__module__, arguments


def _class_of(core: Core) -> type | None:
    while isinstance(core, dict) and "cls" not in core:
        core = core.get("schema")  # type: ignore[assignment]
    return core["cls"] if isinstance(core, dict) else None


def _owner(function: Any) -> tuple[str, str]:
    """The library of a function, and its name with that of its class."""
    function = getattr(function, "func", function)  # of a partial
    function = getattr(function, "__func__", function)  # of a method
    named = function if hasattr(function, "__qualname__") else type(function)
    name = named.__qualname__.rpartition("<locals>.")[2]
    module = getattr(named, "__module__", None) or "builtins"  # a method of C, such as str.upper, has none
    return str(module).partition(".")[0], name


def _override(core: Core) -> str | None:
    """The function of the project that changes the JSON Schema of ``core``, if there is one."""
    metadata = core.get("metadata") or {}
    for key in ("pydantic_js_functions", "pydantic_js_annotation_functions"):
        for function in metadata.get(key, ()):
            library, name = _owner(function)
            if library not in _TRUSTED or name.startswith("WithJsonSchema."):
                return name.partition(".__get_pydantic_json_schema__")[0]
    return None


def _may_be_none(core: Core) -> bool:
    return core["type"] == "nullable" or (core["type"] == "default" and _may_be_none(core["schema"]))


def _examples(extra: Any) -> Schema:
    """The examples in ``json_schema_extra``. Other keywords there might say what is not true."""
    if not isinstance(extra, dict):
        return {}
    if isinstance(extra.get("examples"), list):
        return {"examples": extra["examples"]}
    return {"examples": [extra["example"]]} if "example" in extra else {}


def _documentation(cls: type) -> str:
    """The docstring of a class, but for those that are made from its fields."""
    text = vars(cls).get("__doc__") or ""
    return "" if cls is BaseModel or text.startswith(f"{cls.__name__}(") else inspect.cleandoc(text)
