"""One schema, said in every library: what the contract suite runs on.

``title`` is a text, ``count`` an integer (0 unless given), ``tags`` a list of texts, ``when`` a datetime or nothing,
and ``ratio`` a float; ``child`` nests the schema in itself, where the library can do so.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import marshmallow
import msgspec
import pydantic
from marshmallow import fields
from rest_framework import serializers

PAYLOAD = {
    "title": "Tea",
    "count": 3,
    "tags": ["hot", "green"],
    "when": "2024-05-06T07:08:09+00:00",
    "ratio": 0.5,
}
WHEN = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


class NoteSchema(marshmallow.Schema):
    title = fields.Str(required=True)
    count = fields.Int(load_default=0)
    tags = fields.List(fields.Str(), load_default=list)
    when = fields.AwareDateTime(allow_none=True, load_default=None)
    ratio = fields.Float(allow_none=True, load_default=None)
    child = fields.Nested(lambda: NoteSchema(), allow_none=True)


class NoteModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    title: str
    count: int = 0
    tags: list[str] = []
    when: dt.datetime | None = None
    ratio: float | None = None
    child: NoteModel | None = None


@pydantic.dataclasses.dataclass(config=pydantic.ConfigDict(extra="forbid"))
class NoteDataclass:
    title: str
    count: int = 0
    tags: list[str] = pydantic.Field(default_factory=list)
    when: dt.datetime | None = None
    ratio: float | None = None


class NoteStruct(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    count: int = 0
    tags: list[str] = []
    when: dt.datetime | None = None
    ratio: float | None = None
    child: NoteStruct | None = None


class ChildSerializer(serializers.Serializer[Any]):
    title = serializers.CharField()


class NoteSerializer(serializers.Serializer[Any]):
    title = serializers.CharField()
    count = serializers.IntegerField(default=0)
    tags = serializers.ListField(child=serializers.CharField(), default=list)
    when = serializers.DateTimeField(allow_null=True, default=None)
    ratio = serializers.FloatField(allow_null=True, default=None)
    child = ChildSerializer(required=False, allow_null=True)


def note(payload: Any) -> Any:
    if not isinstance(payload, dict) or not isinstance(payload.get("title"), str):
        raise ValueError("A note has a title.")
    if not isinstance(payload.get("count", 0), int) or isinstance(payload.get("count"), bool):
        raise ValueError("The count is a number.")
    if not isinstance(payload.get("tags", []), list):
        raise ValueError("The tags are a list.")
    if unknown := payload.keys() - PAYLOAD.keys():
        raise ValueError(f"Unknown: {', '.join(sorted(unknown))}.")
    return {**payload, "tags": [*payload.get("tags", ())]}


@dataclass(frozen=True)
class Sample:
    """A schema and what its library does where libraries differ: ``"refused"`` or ``"ignored"`` for unknown fields."""

    name: str
    schema: Any
    unknown: str = "refused"
    in_thread: bool = False


SAMPLES = [
    Sample("marshmallow class", NoteSchema),
    Sample("marshmallow instance", NoteSchema()),
    Sample("marshmallow from_dict", marshmallow.Schema.from_dict({**NoteSchema._declared_fields})),
    Sample("marshmallow exclude", NoteSchema(unknown=marshmallow.EXCLUDE), unknown="ignored"),
    Sample("pydantic model", NoteModel),
    Sample("pydantic dataclass", NoteDataclass),
    Sample("pydantic TypeAdapter", pydantic.TypeAdapter(NoteModel)),
    Sample("msgspec Struct", NoteStruct),
    Sample("DRF class", NoteSerializer, unknown="ignored", in_thread=True),
    Sample("DRF instance", NoteSerializer(), unknown="ignored", in_thread=True),
    Sample("plain function", note),
]
