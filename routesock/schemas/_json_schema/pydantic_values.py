"""Numbers, texts and dates of pydantic's core schemas as JSON Schema, and the types that are functions of pydantic."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Flag
from functools import partial
from typing import Any, Final, TypeAlias

from pydantic.version import VERSION

from . import texts
from .draft7 import Schema, inexact
from .parts import BOUNDS, LARGEST, any_of, bounds, enum, flags, given, integers, lengths
from .regex import ecma

Core: TypeAlias = Mapping[str, Any]

_REFUSED_DOMAINS: Final = ("arpa", "invalid", "local", "localhost", "onion", "test")
"""Those that the email-validator package refuses."""

_FIRST_RELEASES: Final = str(VERSION) in ("2.0", "2.0.1", "2.0.2")
"""Whether this is a release in which the length of a text is that of its UTF-8, which JSON Schema cannot say."""

_ONLY_RUST: Final = re.compile(r"\[\[|&&|--|~~|\\[zpPhHRuUx]|\(\?[a-zA-Z]*[-UxRu]|\\[<>]|\\b\{")
"""Syntax that Rust's regular expressions read differently from Python's."""

_DURATION: Final = (
    r"[+-]?P(?=[0-9T])([0-9]{1,4}Y)?([0-9]{1,4}M)?([0-9]{1,5}W)?([0-9]{1,8}D)?"
    r"(T(?=[0-9])([0-9]{1,5}H)?([0-9]{1,7}M)?([0-9]{1,8}(\.[0-9]{1,9})?S)?)?"
)
"""ISO 8601, within what a ``timedelta`` can hold."""

_DUMPED_DURATION: Final = r"-?P([0-9]+Y)?([0-9]+M)?([0-9]+D)?(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9.]+S)?)?"

_UNSIGNED: Final = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?"


def value(core: Core, config: Mapping[str, Any], *, loads: bool) -> Schema | None:
    """Describe ``core`` if it is the schema of a single value, such as a number or a text.

    Args:
        core: A core schema.
        config: The configuration of the class around it.
        loads: Whether for what is loaded, or for what is dumped.
    """
    describe = (_LOADED if loads else _DUMPED).get(core["type"]) or _BOTH.get(core["type"])
    return describe(core, config) if describe else None


def _int(core: Core, config: Mapping[str, Any]) -> Schema:
    return integers({"type": "integer", **bounds(core)})


def _float(core: Core, config: Mapping[str, Any]) -> Schema:
    finite = not core.get("allow_inf_nan", config.get("allow_inf_nan", True))
    step = core.get("multiple_of")
    # Larger numbers overflow in the division, and are refused.
    largest = 1.7e308 if step is None else 1e307 * min(1, step)
    limits = {"minimum": -largest, "maximum": largest} if finite or step is not None else {}
    schema = {"type": "number", **limits, **bounds(core)}
    return inexact(schema, *given(core, "multiple_of")) if _FIRST_RELEASES else schema  # refuse negative multiples


def _decimal(core: Core, config: Mapping[str, Any]) -> Schema:
    limits = bounds(core)
    digits, places = core.get("max_digits"), core.get("decimal_places")
    if digits is None and places is None:
        number = {"type": "number", **limits}
        infinite = core.get("allow_inf_nan", config.get("allow_inf_nan", False))
        allowed = f"({texts.NUMBER}|{texts.NOT_A_NUMBER})" if infinite else texts.NUMBER
        return number if limits else any_of(number, texts.text(allowed))
    schema = texts.text(texts.digits(digits, places, limits, zeros=True))
    if _FIRST_RELEASES and digits == places:
        schema["not"] = {"pattern": "^[^1-9]*$"}  # they refuse 0.0
    if not limits or limits in ({"minimum": 0}, {"exclusiveMinimum": 0}):
        return schema
    return inexact(schema, *given(core, *BOUNDS, "multiple_of"))


def _dumped_decimal(core: Core, config: Mapping[str, Any]) -> Schema:
    infinite = core.get("allow_inf_nan", config.get("allow_inf_nan", False))
    return {"type": "string"} if infinite else texts.text(texts.DUMPED_NUMBER)


def _complex(core: Core, config: Mapping[str, Any]) -> Schema:
    real, imaginary = f"[+-]?{_UNSIGNED}", f"[+-]{_UNSIGNED}j"
    number = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
    return any_of(number, texts.text(f"({real}|{real}j|{real}{imaginary})"))


def _fraction(core: Core, config: Mapping[str, Any]) -> Schema:
    number = {"type": "number", **bounds(core)}
    return number if bounds(core) else any_of(number, texts.text("[+-]?[0-9]+(/[0-9]*[1-9][0-9]*)?"))


def _str(core: Core, config: Mapping[str, Any]) -> Schema:
    schema, patterns, reasons = _text(core, config)
    trims = core.get("strip_whitespace", config.get("str_strip_whitespace"))
    if trims and (patterns or "minLength" in schema):
        patterns.append(texts.TRIMMED)
    if core.get("ascii_only"):
        patterns.append(r"^[\x00-\x7f]*$")
    return inexact({**schema, **texts.all_of(*patterns)}, *reasons)


def _dumped_str(core: Core, config: Mapping[str, Any]) -> Schema:
    # The translation of a pattern refuses some texts that Rust's or Python's accepts.
    return _text(core, config)[0]


def _dumped_float(core: Core, config: Mapping[str, Any]) -> Schema:
    return {"type": "number", **{key: limit for key, limit in bounds(core).items() if key != "multipleOf"}}


def _text(core: Core, config: Mapping[str, Any]) -> tuple[Schema, list[str], list[str]]:
    """The schema of a text without patterns, its patterns, and what they do not say."""
    options = {key: core.get(key, config.get(f"str_{key}")) for key in ("min_length", "max_length")}
    limits = lengths(options, "Length")
    if _FIRST_RELEASES and limits:
        return {"type": "string"}, [], given(options, "min_length", "max_length")
    schema: Schema = {"type": "string", **limits}
    given_pattern = core.get("pattern")
    if given_pattern is None:
        return schema, [], []
    source = given_pattern.pattern if isinstance(given_pattern, re.Pattern) else str(given_pattern)
    if not isinstance(given_pattern, re.Pattern) and _ONLY_RUST.search(source):
        return schema, [], [f"pattern: {source}"]
    try:
        translated = ecma(given_pattern)
    except re.error:
        return schema, [], [f"pattern: {source}"]
    return schema, [translated.pattern] if translated.pattern is not None else [], [*translated.inexact]


def _bytes(core: Core, config: Mapping[str, Any]) -> Schema:
    least, most = core.get("min_length"), core.get("max_length")
    encoding = config.get("val_json_bytes", "utf8")
    if encoding == "hex":
        return texts.text(f"([0-9a-fA-F]{{2}}){{{least or 0},{'' if most is None else most}}}")
    if encoding == "base64":
        return texts.base64("_-", least, most)
    # The lengths are those of UTF-8, where a character may take four bytes.
    return inexact({"type": "string", **lengths(core, "Length")}, *given(core, "max_length"))


def _url(core: Core, config: Mapping[str, Any]) -> Schema:
    schema = {"type": "string", "format": "uri", **lengths({"min_length": 1, **core}, "Length")}
    return inexact(schema, "Url")


def _dated(core: Core, schema: Schema) -> Schema:
    return inexact(schema, *given(core, "gt", "ge", "lt", "le", "now_op"))


def _datetime(core: Core, config: Mapping[str, Any]) -> Schema:
    naive = core.get("tz_constraint") == "naive"
    return _dated(core, texts.naive_datetime() if naive else texts.aware_datetime())


def _time(core: Core, config: Mapping[str, Any]) -> Schema:
    zone = {"aware": True, "naive": False}.get(core.get("tz_constraint", ""))
    return _dated(core, texts.time(tz=zone, seconds=False))


def _dumped_datetime(core: Core) -> Schema:
    zones = {"aware": texts.aware_datetime, "naive": texts.naive_datetime}
    return zones.get(core.get("tz_constraint", ""), texts.any_datetime)()


def _dumped_date(describe: Callable[[Core], Schema], core: Core, config: Mapping[str, Any]) -> Schema:
    """A text, or a number where the configuration says so."""
    formats = {config.get("ser_json_temporal", "iso8601"), config.get("ser_json_timedelta", "iso8601")}
    return describe(core) if formats == {"iso8601"} else any_of(describe(core), {"type": "number"})


def _dumped_enum(core: Core, config: Mapping[str, Any]) -> Schema:
    return {"type": "integer"} if issubclass(core["cls"], Flag) else enum(core["members"])


_Described: TypeAlias = Callable[[Core, Mapping[str, Any]], Schema]

_BOTH: Final[dict[str, _Described]] = {
    "any": lambda core, config: {},
    "none": lambda core, config: {"type": "null"},
    "bool": lambda core, config: {"type": "boolean"},
    "literal": lambda core, config: enum(core["expected"]),
}

_LOADED: Final[dict[str, _Described]] = {
    "int": _int,
    "float": _float,
    "decimal": _decimal,
    "complex": _complex,
    "fraction": _fraction,
    "str": _str,
    "bytes": _bytes,
    "uuid": lambda core, config: texts.uuid(core.get("version")),
    "url": _url,
    "multi-host-url": lambda core, config: inexact({"type": "string", "minLength": 1}, "MultiHostUrl"),
    "date": lambda core, config: _dated(core, texts.date()),
    "datetime": _datetime,
    "time": _time,
    "timedelta": lambda core, config: _dated(core, texts.text(_DURATION)),
    "enum": lambda core, config: flags(core["cls"]) if issubclass(core["cls"], Flag) else enum(core["members"]),
    "is-instance": lambda core, config: {"not": {}},
    "is-subclass": lambda core, config: {"not": {}},
    "callable": lambda core, config: {"not": {}},
}

_DUMPED: Final[dict[str, _Described]] = {
    "int": lambda core, config: {"type": "integer", **bounds(core)},
    "float": _dumped_float,
    "decimal": _dumped_decimal,
    "str": _dumped_str,
    "uuid": lambda core, config: texts.uuid(),
    **dict.fromkeys(("complex", "fraction", "bytes", "url", "multi-host-url"), lambda core, config: {"type": "string"}),
    "date": partial(_dumped_date, lambda core: texts.date()),
    "datetime": partial(_dumped_date, _dumped_datetime),
    "time": partial(_dumped_date, lambda core: texts.time()),
    "timedelta": partial(_dumped_date, lambda core: texts.text(_DUMPED_DURATION)),
    "enum": _dumped_enum,
    **dict.fromkeys(("is-instance", "is-subclass", "callable"), lambda core, config: {}),
}

_PASS: Final = frozenset(
    (
        *(
            "OrderedDict",
            "Counter",
            "SecretStr",
            "SecretBytes",
            "wrap_val",
            "path_validator",
            "init_private_attributes",
        ),
        *("sequence_validator", "deque_validator", "dequeue_validator", "defaultdict_validator"),
    )
)
"""Functions of pydantic that accept what the schema inside them accepts."""

_ENCODERS: Final = {"Base64Encoder": "+/", "Base64UrlEncoder": "_-"}

_ADDRESS: Final = re.compile(r"ip_v([46])_(address|network|interface)_validator|IPv([46])(Address|Network|Interface)")


def of_function(name: str, function: Any, schema: Schema) -> Schema:
    """Return the schema of the values that a pydantic validator function accepts.

    Args:
        name: Its name, with that of its class.
        function: The function, a partial of it, or a bound method.
        schema: What the schema inside it accepts.
    """
    address = _ADDRESS.fullmatch(name)
    if address:
        version, kind = int(address[1] or address[3]), (address[2] or address[4]).lower()
        described = texts.ip(version) if kind == "address" else texts.ip_interface(version)
        return inexact(described, f"IPv{version}Network") if kind == "network" else described
    if name in _PASS:
        return schema
    length = re.fullmatch("(min|max)_length_validator", name)
    if length and isinstance(function, partial):
        what = {"string": "Length", "array": "Items", "object": "Properties"}.get(schema.get("type", ""))
        return {**schema, **lengths(function.keywords, what)} if what else inexact(schema, name)
    return _of_method(name, getattr(function, "__self__", None), function, schema)


def _of_method(name: str, owner: Any, function: Any, schema: Schema) -> Schema:
    match name:
        case "EmailStr._validate" | "EmailStr.validate" | "NameEmail._validate":
            return texts.email(*_REFUSED_DOMAINS)
        case "PathType.validate_file" | "PathType.validate_directory" | "PathType.validate_new":
            return inexact(schema, name.rpartition("_")[2])
        case "IPvAnyAddress._validate":
            return any_of(texts.ip(4), texts.ip(6))
        case "IPvAnyInterface._validate":
            return any_of(texts.ip_interface(4), texts.ip_interface(6))
        case "IPvAnyNetwork._validate":
            return inexact(any_of(texts.ip_interface(4), texts.ip_interface(6)), "IPvAnyNetwork")
        case "ByteSize._validate":
            return _byte_size(owner)
        case "UuidVersion.validate":
            return texts.uuid(owner.uuid_version)
        case "uuid_validator":
            return texts.uuid()
        case "to_enum":
            cls = _variables(function)["enum_type"]
            return flags(cls) if issubclass(cls, Flag) else enum(cls)
        case "DecimalValidator.validate":
            return _decimal(_attributes(owner), {})
        case "_SecretFieldValidator.validate":
            return {**schema, **lengths(_attributes(owner), "Length")}
        case "EncodedBytes.decode" if getattr(owner.encoder, "__name__", "") in _ENCODERS:
            return texts.base64(_ENCODERS[owner.encoder.__name__])
        case "EncodedStr.decode_str" if getattr(owner.encoder, "__name__", "") in _ENCODERS:
            return inexact(texts.base64(_ENCODERS[owner.encoder.__name__]), "a text in Base64")
        case "import_string":
            return inexact({}, "ImportString")
        case "pattern_either_validator" | "pattern_str_validator":
            return inexact({"type": "string"}, "Pattern")
        case "val_func":
            return inexact(schema, "Predicate")
        case _:
            return inexact(schema, name)


def _attributes(owner: Any) -> dict[str, Any]:
    """The attributes of ``owner``, whose class may have ``__slots__``."""
    return {name: getattr(owner, name) for name in dir(owner) if not name.startswith("_")}


def _variables(function: Any) -> dict[str, Any]:
    """The variables around an inner function."""
    return {
        name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True)
    }


def _byte_size(cls: Any) -> Schema:
    units = "|".join(sorted(texts.either_case(unit) for unit in cls.byte_sizes))
    size = texts.text(rf"[0-9]{{1,9}}(\.[0-9]{{1,6}})? ?({units})?")
    return any_of(integers({"type": "integer", "minimum": 0}), size)
