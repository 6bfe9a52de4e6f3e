"""marshmallow schemas as JSON Schema.

It reads the fields of an instance, as ``load`` and ``dump`` do, so that ``only``, ``Meta`` and ``on_bind_field`` count.
A class of fields that is not marshmallow's own says what it accepts in ``json_schema``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from marshmallow import RAISE, Schema, fields, missing

from ..base import Described, Mode, defines
from . import patterns
from .draft7 import INEXACT, NOTHING, Definitions, inexact
from .draft7 import Schema as JSONSchema
from .marshmallow_fields import NOT_NULL, SIMPLE, Form, finite, or_null
from .marshmallow_validators import Rules, is_built_in, jsonable, named, ordered

_LOAD_METHODS: Final = (
    *("deserialize", "_deserialize", "_validate", "_validate_missing", "_validated", "_format_num", "num_type"),
    *("DESERIALIZATION_FUNCS", "DESERIALIZATION_CLASS", "_make_object_from_format", "mapping_type"),
    *("_test_collection", "_load", "schema"),
)
_DUMP_METHODS: Final = (
    *("serialize", "_serialize", "_format_num", "_to_string", "num_type", "SERIALIZATION_FUNCS", "mapping_type"),
    "schema",
)
_SCHEMA_METHODS: Final = {
    "load": ("load", "_do_load", "_deserialize", "_invoke_field_validators", "_invoke_load_processors"),
    "dump": ("dump", "_serialize", "get_attribute", "_invoke_dump_processors"),
}
_SCHEMA_HOOKS: Final = {"load": ("pre_load", "validates_schema", "post_load"), "dump": ("post_dump",)}


def json_schema(schema: Schema, mode: Mode) -> Described:
    """Describe what ``schema`` loads or dumps."""
    definitions = Definitions()
    return definitions.described(Describer(definitions, mode).schema(schema, schema.unknown, schema.partial))


class Describer:
    """Describes schemas and their fields for one mode."""

    def __init__(self, definitions: Definitions, mode: Mode) -> None:
        self._definitions = definitions
        self._mode: Mode = mode
        self._loads = mode == "load"

    def schema(self, schema: Any, unknown: str, partial: Any) -> JSONSchema:
        """A reference to the definition of ``schema``, or a list of them."""
        if partial is not None and not isinstance(partial, bool):
            partial = frozenset(partial)
        identity = (type(schema), _options(schema), unknown, partial if self._loads else None)
        name, module = type(schema).__name__, type(schema).__module__
        variant = _variant(schema, unknown, partial if self._loads else None)
        one = self._definitions.named(
            name, module, variant, lambda: self._object(schema, unknown, partial), identity=identity
        )
        return {"type": "array", "items": one} if schema.many else one

    def _object(self, schema: Any, unknown: str, partial: Any) -> JSONSchema:
        cls = type(schema)
        own = [name for name in _SCHEMA_METHODS[self._mode] if not is_built_in(defines(cls, name))]
        hooks = [name for tag in _SCHEMA_HOOKS[self._mode] for name in _hooks(schema, tag)]
        if not self._loads and (own or hooks):
            return inexact({}, *own, *hooks)
        found: JSONSchema = {"type": "object"} | self._properties(schema, partial)
        if unknown == RAISE:
            found["additionalProperties"] = False
        return inexact(found, *own, *hooks)

    def _properties(self, schema: Any, partial: Any) -> JSONSchema:
        checked = _checked_fields(schema) if self._loads else {}
        properties: dict[str, JSONSchema] = {}
        required = []
        for name, field in _in_order(schema, schema.load_fields if self._loads else schema.dump_fields):
            key = field.data_key if field.data_key is not None else name
            part = inexact(self.field(field, _inside(partial, name)), *checked.get(name, ()))
            # Two fields may load the same key.
            properties[key] = {"allOf": [properties[key], part]} if key in properties else part
            if self._is_required(field, name, partial):
                required.append(key)
        found: JSONSchema = {"properties": properties}
        if required:
            found["required"] = list(dict.fromkeys(required))
        return found

    def _is_required(self, field: Any, name: str, partial: Any) -> bool:
        if not self._loads:
            return field.required or field.dump_only or field.dump_default is not missing
        skipped = name in partial if isinstance(partial, frozenset) else partial is True
        return field.required and not skipped and not _is_never_missing(field)

    def field(self, field: Any, partial: Any = None, *, null: bool | None = None) -> JSONSchema:
        """Return the schema of what ``field`` accepts or dumps. ``null`` overrides whether that includes null."""
        if "json_schema" in field.metadata:
            found = dict(field.metadata["json_schema"])
        else:
            found = self._with_rules(field, partial)
        if null is None:
            null = field.allow_none or (not self._loads and (field.dump_only or field.dump_default is None))
        if null and found:
            found = or_null(found)
        found |= _texts(field.metadata)
        if self._loads and "default" not in found:
            found |= _default(field)
        return found

    def _with_rules(self, field: Any, partial: Any) -> JSONSchema:
        own = own_methods(field, self._mode)
        described = getattr(type(field), "json_schema", None)
        if described is not None:
            form = Form(dict(field.json_schema(self._mode) if callable(described) else described), "own")
        elif own:
            form = Form(inexact({"type": list(NOT_NULL)} if self._loads else {}, type(field).__name__), "own")
        else:
            form = self._form(field, partial)
        rules = Rules(form.schema, form.kind, field, strict=self._loads, item=form.item)
        for validator in field.validators:
            rules.add(validator)
        if self._loads:
            hooks = [*(getattr(field, "pre_load", None) or ()), *(getattr(field, "post_load", None) or ())]
            return inexact(rules.schema, *map(named, hooks))
        return rules.schema

    def _form(self, field: Any, partial: Any) -> Form:
        for cls in type(field).__mro__:
            if cls in SIMPLE:
                return SIMPLE[cls](field, self._loads)
            describe = _COMPOUND.get(cls)
            if describe is not None:
                return self._unless_broken(field) or describe(self, field, partial)
        return Form({"type": list(NOT_NULL)}, "any")

    def _unless_broken(self, field: Any) -> Form | None:
        """The schema of a ``Nested`` whose own one cannot be made, as for an unknown name; ``None`` if it can."""
        try:
            getattr(field, "schema", None)
        except Exception as exc:  # load() raises it, too
            return Form(inexact({"type": list(NOT_NULL)} if self._loads else {}, f"{type(exc).__name__}: {exc}"), "own")
        return None

    def nested(self, field: Any, partial: Any) -> Form:
        schema = field.schema
        unknown = field.unknown or schema.unknown
        found = self.schema(schema, unknown, schema.partial if partial is None else partial)
        if field.many and not schema.many:
            found = {"type": "array", "items": found}
        return Form(found, "array" if schema.many or field.many else "own")

    def pluck(self, field: Any, partial: Any) -> Form:
        schema = field.schema
        inner = (schema.load_fields if self._loads else schema.dump_fields).get(field.field_name)
        hooks = [name for tag in _SCHEMA_HOOKS[self._mode] for name in _hooks(schema, tag)]
        if inner is None:
            one: JSONSchema = dict(NOTHING)
        elif hooks and not self._loads:
            one = inexact({}, *hooks)
        else:
            checked = _checked_fields(schema).get(field.field_name, []) if self._loads else []
            null = None if field.many or not self._loads else False
            one = inexact(self.field(inner, null=null), *hooks, *checked)
            one.pop("default", None)
        return Form({"type": "array", "items": one}, "array") if field.many else Form(one, "own")

    def list(self, field: Any, partial: Any) -> Form:
        item = "other" if own_methods(field.inner, self._mode) else self._form(field.inner, partial).kind
        return Form({"type": "array", "items": self.item(field.inner, partial)}, "array", item)

    def tuple(self, field: Any, partial: Any) -> Form:
        parts = [self.item(part, partial) for part in field.tuple_fields]
        size = len(parts)
        found: JSONSchema = {"type": "array", "minItems": size, "maxItems": size}
        return Form(found | ({"items": parts} if parts else {}), "array")

    def dict(self, field: Any, partial: Any) -> Form:
        found: JSONSchema = {"type": "object"}
        if field.key_field is not None:
            keys = self._key(field.key_field)
            if keys != {"type": "string"}:
                found["propertyNames"] = keys
        if field.value_field is not None:
            found["additionalProperties"] = self.item(field.value_field, partial)
        return Form(found, "object")

    def item(self, field: Any, partial: Any) -> JSONSchema:
        """The schema of the items of a list or dict. An item is never missing, so its default never applies."""
        found = self.field(field, partial)
        if "default" not in field.metadata.get("json_schema", ()):
            found.pop("default", None)
        return found

    def _key(self, field: Any) -> JSONSchema:
        """The schema of the keys of a dict. JSON keys are strings."""
        found = self.field(field, null=False)
        found.pop("default", None)
        if not self._loads:
            return found if found.get("type") == "string" else {"type": "string"}
        if found.get("type") == "string" or found == NOTHING:
            return found
        if found.get("type") == list(NOT_NULL):
            return {**found, "type": "string"}
        built_in = not own_methods(field, "load") and not hasattr(type(field), "json_schema")
        if built_in and isinstance(field, fields.Boolean):
            texts = [value for value in ordered({*field.truthy, *field.falsy}) if isinstance(value, str)]
            return finite(texts)
        if built_in and isinstance(field, fields.Integer) and field.strict:
            return dict(NOTHING)
        if built_in and isinstance(field, fields.Integer | fields.Float) and not field.validators:
            whole = isinstance(field, fields.Integer)
            return {"type": "string", "pattern": patterns.INTEGER if whole else patterns.NUMBER}
        reasons = found.get(INEXACT) or [f"{type(field).__name__} as a key"]
        return inexact({"type": "string"}, *reasons)


def own_methods(field: Any, mode: Mode) -> list[str]:
    """The methods and attributes that decide what ``field`` accepts or dumps, and that are not marshmallow's own."""
    cls = type(field)
    names = _LOAD_METHODS if mode == "load" else _DUMP_METHODS
    return [name for name in names if hasattr(cls, name) and not is_built_in(defines(cls, name))]


def _hooks(schema: Any, tag: str) -> list[str]:
    """The names of the methods that ``schema`` runs as ``tag``. marshmallow 3 and 4 store them differently."""
    found = [
        hook if isinstance(hook, str) else hook[0]
        for key, hooks in schema._hooks.items()
        if tag == (key[0] if isinstance(key, tuple) else key)
        for hook in hooks
    ]
    return list(dict.fromkeys(found))


def _checked_fields(schema: Any) -> dict[str, list[str]]:
    """The ``@validates`` methods by the names of their fields."""
    found: dict[str, list[str]] = {}
    for method in _hooks(schema, "validates"):
        config = getattr(schema, method).__marshmallow_hook__["validates"]
        each = [config] if isinstance(config, Mapping) else [options for _, options in config]
        for options in each:
            for name in options.get("field_names") or (options["field_name"],):
                found.setdefault(name, []).append(method)
    return found


def _in_order(schema: Any, wanted: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """``wanted`` in the order of their declaration, which ``only`` may change."""
    declared = {name: position for position, name in enumerate(schema.declared_fields)}
    return sorted(wanted.items(), key=lambda item: (declared.get(item[0], len(declared)), item[0]))


def _is_never_missing(field: Any) -> bool:
    """Whether ``field`` may be missing though it is required: a ``Constant``, since marshmallow 4."""
    return isinstance(field, fields.Constant) and "_validate_missing" in vars(fields.Constant)


def _inside(partial: Any, name: str) -> Any:
    """The value of ``partial`` inside the field ``name``."""
    if not isinstance(partial, frozenset):
        return partial
    return frozenset(path.removeprefix(f"{name}.") for path in partial if path.startswith(f"{name}."))


def _options(schema: Any) -> Any:
    """The attributes that distinguish ``schema`` from other instances of its class."""
    return tuple(
        (name, field.dump_only, field.load_only, *(_frozen(getattr(field, key, None)) for key in ("only", "exclude")))
        for name, field in _in_order(schema, schema.fields)
    )


def _frozen(names: Any) -> Any:
    return frozenset(names) if names is not None else None


def _variant(schema: Any, unknown: str, partial: Any) -> str:
    """Describe how the schema differs from an instance of its class without arguments."""
    cls = type(schema)
    texts = []
    if set(schema.fields) != set(schema.declared_fields) - set(schema.opts.exclude):
        left_out = [name for name in schema.declared_fields if name not in schema.fields]
        names = [name for name, _ in _in_order(schema, schema.fields)]
        shorter = len(left_out) < len(names)
        texts.append(f"exclude: {', '.join(left_out)}" if shorter else f"only: {', '.join(names)}")
    for name, field in _in_order(schema, schema.fields):
        declared = cls._declared_fields.get(name)
        for option in ("only", "exclude"):
            chosen = set(getattr(field, option, None) or ())
            if chosen and chosen != set(getattr(declared, option, None) or ()):
                texts.append(f"{name} {option}: {', '.join(sorted(chosen))}")
    for option in ("load_only", "dump_only"):
        extra = set(getattr(schema, option)) - set(getattr(schema.opts, option))
        if extra:
            texts.append(f"{option}: {', '.join(sorted(extra))}")
    if unknown != schema.opts.unknown:
        texts.append(f"unknown: {unknown}")
    if partial:
        texts.append("partial" if partial is True else f"partial: {', '.join(sorted(partial))}")
    return "; ".join(texts)


def _texts(metadata: Any) -> JSONSchema:
    """The parts of ``metadata`` for readers."""
    found: JSONSchema = {key: str(metadata[key]) for key in ("title", "description") if (metadata or {}).get(key)}
    if (metadata or {}).get("deprecated"):
        found["deprecated"] = True
    examples = list((metadata or {}).get("examples") or ())
    if "example" in (metadata or {}):
        examples = [metadata["example"]]
    if examples:
        found["examples"] = [jsonable(example) for example in examples]
    return found


def _default(field: Any) -> JSONSchema:
    default = field.load_default
    if default is missing or callable(default) or own_methods(field, "load") or own_methods(field, "dump"):
        return {}
    if default is None:
        return {"default": None} if field.allow_none else {}
    if isinstance(field, fields.Nested | fields.Method | fields.Function):
        return {}
    try:
        written = jsonable(field._serialize(default, field.name or "", None))
        field.deserialize(written)
    except Exception:  # a default that the field itself would refuse
        return {}
    return {"default": written}


_COMPOUND: Final[dict[type, Callable[[Describer, Any, Any], Form]]] = {
    fields.Pluck: Describer.pluck,
    fields.Nested: Describer.nested,
    fields.List: Describer.list,
    fields.Tuple: Describer.tuple,
    fields.Mapping: Describer.dict,
}
