"""Rules and kinds of marshmallow, msgspec and DRF that projects seldom use: the document accepts what they accept."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
import pytest
from django.contrib.auth.models import Group
from django.core.validators import DecimalValidator, RegexValidator
from marshmallow import Schema, fields, post_dump, validate
from msgspec import Struct, field
from rest_framework import serializers

from routesock._wire.codec import decode, encode
from routesock.exceptions import Invalid
from routesock.schemas import Described, SchemaAdapter
from routesock.schemas.marshmallow import MarshmallowAdapter
from routesock.schemas.msgspec import MsgspecAdapter
from routesock.schemas.rest_framework import RestFrameworkAdapter

from .validation import accepts


class Colour(enum.Enum):
    RED = "red"
    NONE = None


def failing(value: Any) -> None:
    raise TypeError("Not for this value.")


class Fails(validate.Range):
    pass


class Plucked(Schema):
    id = fields.Integer()
    secret = fields.Integer(load_only=True)
    shown = fields.Integer(dump_only=True)

    @post_dump
    def doubled(self, data: Any, **kwargs: Any) -> Any:
        return {"id": [data["id"]] * 2}


class Bare(fields.Field):
    pass


class Shapes(Struct):
    items: list[int] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)


class Dotted(Struct, tag=True):
    id: int


class Other(Struct, tag=True, array_like=True):
    id: int


