"""The kinds of fields of pydantic, msgspec and DRF, and how to load and dump with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from routesock._wire.codec import decode, encode
from routesock.schemas import Described, SchemaAdapter
from routesock.schemas.base import Mode

from . import msgspec_kinds, pydantic_kinds, rest_framework_kinds
from .probes import PROBES
from .validation import validator

MORE_PROBES: tuple[Any, ...] = (
    *(2**64, 10**30, -(10**30), 9999, 1e-300, 0.1, 12.345),
    *(
        "+1",
        ".5",
        "5.",
        "0.5",
        "0.55",
        "00012",
        "1e400",
        "inf",
        "-Infinity",
        "0x1",
        "\x00",
        "\x1ca",
        "\x85",
        " a ",
        "\n",
    ),
    *(
        "P1D",
        "-P1D",
        "P1W",
        "P1Y2M",
        "PT1.5S",
        "P1DT2H3M4S",
        "P",
        "PT",
        "P1.5D",
        "p1d",
        "P99999999999D",
        "1 day",
        "15:30",
    ),
    *("1 02:03:04", "-1 22:00:00", "2024-02-29T10:20:30.123456789Z", "2024-02-29t10:20:30z", "2024-02-29T10:20Z"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2024-02-29T10:20:30+24:00", "2024-02-30T10:20:30"),
    *("YQ==", "YWI=", "YWJj", "YWJjZA==", "_-==", "////", "Y", "{12345678-1234-5678-1234-567812345678}"),
    *("12345678-1234-1678-1234-567812345678", "12345678-1234-4678-9234-567812345678", "::ffff:1.2.3.4", "1::2::3"),
    *("a@b", "a@localhost", "a@x.test", "a..b@c.de", '"a b"@c.de', "a@b.c1", "a@b.c-d", "A@B.CO", "Ann <a@b.co>"),
    *("http://", "http:a", "http://[::1", "postgres://u:p@h/db", "[1]", "[a", "/nonexistent"),
    *([True], ["1"], [1, 1], ["a", "a"], ["b", 2], ["2024-02-29"], ["2024-02-29", "2024-02-30"], [{"id": 1}, {}]),
    *({"a": None}, {"a": 1, "b": 2}, {"ab": 1}, {"10": 1}, {"01": 1}, {"1.0": 1}, {"2024-02-29": 1}, {"red": 1}),
    *({"a": "x"}, {"a": "y"}, {"a": "y", "id": 2}, {"a": "z"}, {"a": {"id": 1}}, {"a": " "}, {"a": "ab"}),
    *({"id": 2, "more": "x"}, {"more": [1]}, {"more": ["x"]}, {"type": "Tagged", "id": 1}, {"type": "x", "id": 1}),
    *({"first": 1}, {"first": 1, "second": "b"}, {"id": 1, "when": "2024-02-29T10:20:30Z"}, {"id": 1, "a": {"a": 1}}),
)


@dataclass(frozen=True)
class Library:
    """A library with its kinds of fields.

    Args:
        name: Its name.
        kinds: The kinds.
        inexact: Those that are marked, and why.
        adapter: Makes the adapter of an object whose member ``value`` is of a kind.
    """

    name: str
    kinds: Mapping[str, Any]
    inexact: Mapping[str, tuple[str, ...]]
    adapter: Callable[[str], SchemaAdapter]


LIBRARIES = {
    library.name: library
    for library in (
        Library("pydantic", pydantic_kinds.PYDANTIC, pydantic_kinds.INEXACT, pydantic_kinds.adapter),
        Library("msgspec", msgspec_kinds.MSGSPEC, msgspec_kinds.INEXACT, msgspec_kinds.adapter),
        Library(
            "DRF",
            rest_framework_kinds.REST_FRAMEWORK,
            rest_framework_kinds.INEXACT,
            rest_framework_kinds.adapter,
        ),
    )
}

KINDS = [(library, kind) for library in LIBRARIES for kind in LIBRARIES[library].kinds]

ALL_PROBES = (*PROBES, *MORE_PROBES)

adapter = cache(lambda library, kind: LIBRARIES[library].adapter(kind))


@cache
def described(library: str, kind: str, mode: Mode = "load") -> Described:
    found: Described = adapter(library, kind).json_schema(mode)
    return found


@cache
def _validator(library: str, kind: str, mode: Mode) -> Any:
    return validator(described(library, kind, mode))


def document_accepts(library: str, kind: str, value: Any, mode: Mode = "load") -> bool:
    return bool(_validator(library, kind, mode).is_valid({"value": value}))


def load(library: str, kind: str, value: Any) -> Any:
    return adapter(library, kind).load({"value": as_sent(value)})


def server_accepts(library: str, kind: str, value: Any) -> bool:
    try:
        load(library, kind, value)
    except Exception:  # also faults of the library, such as DRF's for a DecimalField without max_digits
        return False
    return True


def sent_back(library: str, kind: str, value: Any) -> Any:
    """What a client receives for the result of loading ``value``."""
    return decode(encode(adapter(library, kind).dump(load(library, kind, value))), 64)["value"]


def as_sent(value: Any) -> Any:
    """``value`` as JavaScript sends it: 1.0 is 1, but 1e300 is 1e300."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    return {key: as_sent(item) for key, item in value.items()} if isinstance(value, dict) else value
