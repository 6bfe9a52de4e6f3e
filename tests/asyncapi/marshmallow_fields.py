"""Loads values with the kinds of fields in :mod:`.probes`."""

from __future__ import annotations

from functools import cache
from typing import Any

from marshmallow import Schema

from routesock.exceptions import Invalid
from routesock.schemas import Described
from routesock.schemas.marshmallow import MarshmallowAdapter

from .probes import MARSHMALLOW
from .validation import validator


@cache
def adapter(kind: str) -> MarshmallowAdapter:
    """The adapter of a schema whose one field is of ``kind``."""
    field = MARSHMALLOW[kind]()
    field.required = True
    return MarshmallowAdapter(Schema.from_dict({"value": field})())


@cache
def described(kind: str) -> Described:
    return adapter(kind).json_schema("load")


@cache
def _validator(kind: str) -> Any:
    return validator(described(kind))


def document_accepts(kind: str, value: Any) -> bool:
    return bool(_validator(kind).is_valid({"value": value}))


def server_accepts(kind: str, value: Any) -> bool:
    try:
        adapter(kind).load({"value": value})
    except Invalid:
        return False
    return True


def one_number(value: Any) -> Any:
    """``value`` as JavaScript sends it: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [one_number(item) for item in value]
    if isinstance(value, dict):
        return {key: one_number(item) for key, item in value.items()}
    return value
