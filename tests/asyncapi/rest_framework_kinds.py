"""Kinds of DRF's fields: what its emitter of JSON Schema is probed with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from django.contrib.auth.models import Group
from django.core.validators import MinValueValidator
from rest_framework import serializers

from routesock.schemas.rest_framework import RestFrameworkAdapter


class Child(serializers.Serializer[Any]):
    """A child."""

    id = serializers.IntegerField()
    name = serializers.CharField(required=False, label="Name", help_text="Its name.")


class Tree(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, Any]:
        return {"id": serializers.IntegerField(default=0), "a": Tree(required=False, allow_null=True)}


class CheckedField(serializers.Serializer[Any]):
    id = serializers.IntegerField()

    def validate_id(self, value: int) -> int:
        if value % 2:
            raise serializers.ValidationError("Odd.")
        return value


class CheckedWhole(serializers.Serializer[Any]):
    id = serializers.IntegerField()

    def validate(self, attrs: Any) -> Any:
        raise serializers.ValidationError("Never.")


class GroupSerializer(serializers.ModelSerializer[Group]):
    class Meta:
        model = Group
        fields = ["name"]


class Own(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        return 1


class Renamed(serializers.IntegerField):
    pass


def odd(value: int) -> None:
    if value % 2 == 0:
        raise serializers.ValidationError("Even.")


REST_FRAMEWORK: Final[dict[str, Callable[[], Any]]] = {
    "BooleanField": lambda: serializers.BooleanField(),
    "BooleanField, null": lambda: serializers.BooleanField(allow_null=True),
    "CharField": lambda: serializers.CharField(),
    "CharField, blank": lambda: serializers.CharField(allow_blank=True),
    "CharField, blank, length": lambda: serializers.CharField(allow_blank=True, min_length=2),
    "CharField, null": lambda: serializers.CharField(allow_null=True),
    "CharField, length": lambda: serializers.CharField(min_length=2, max_length=3),
    "CharField, not trimmed": lambda: serializers.CharField(trim_whitespace=False, min_length=2),
    "EmailField": lambda: serializers.EmailField(),
    "RegexField": lambda: serializers.RegexField("^a"),
    "RegexField, digits": lambda: serializers.RegexField(r"^\d+$"),
    "RegexField, blank": lambda: serializers.RegexField("^ab", allow_blank=True),
    "SlugField": lambda: serializers.SlugField(),
    "SlugField, Unicode": lambda: serializers.SlugField(allow_unicode=True),
    "URLField": lambda: serializers.URLField(),
    "UUIDField": lambda: serializers.UUIDField(),
    "UUIDField, hex": lambda: serializers.UUIDField(format="hex"),
    "IPAddressField": lambda: serializers.IPAddressField(),
    "IPAddressField, IPv4": lambda: serializers.IPAddressField(protocol="IPv4"),
    "IPAddressField, IPv6": lambda: serializers.IPAddressField(protocol="ipv6"),
    "IntegerField": lambda: serializers.IntegerField(),
    "IntegerField, null": lambda: serializers.IntegerField(allow_null=True),
    "IntegerField, bounds": lambda: serializers.IntegerField(min_value=2, max_value=10),
    "IntegerField, validator": lambda: serializers.IntegerField(validators=[MinValueValidator(3)]),
    "IntegerField, default": lambda: serializers.IntegerField(default=3),
    "IntegerField, own validator": lambda: serializers.IntegerField(validators=[odd]),
    "IntegerField, subclass": lambda: Renamed(),
    "IntegerField, own": lambda: Own(),
    "FloatField": lambda: serializers.FloatField(),
    "FloatField, bounds": lambda: serializers.FloatField(min_value=1, max_value=4),
    "DecimalField": lambda: serializers.DecimalField(4, 2),
    "DecimalField, any": lambda: serializers.DecimalField(None, None),
    "DecimalField, max_digits": lambda: serializers.DecimalField(3, None),
    "DecimalField, places": lambda: serializers.DecimalField(None, 2),
    "DecimalField, fraction": lambda: serializers.DecimalField(2, 2),
    "DecimalField, positive": lambda: serializers.DecimalField(4, 2, min_value=0),
    "DecimalField, bounds": lambda: serializers.DecimalField(4, 2, min_value=1, max_value=3),
    "DecimalField, any, bounds": lambda: serializers.DecimalField(None, None, min_value=1),
    "DateTimeField": lambda: serializers.DateTimeField(),
    "DateTimeField, format": lambda: serializers.DateTimeField(format="%Y", input_formats=["%Y"]),
    "DateField": lambda: serializers.DateField(),
    "TimeField": lambda: serializers.TimeField(),
    "DurationField": lambda: serializers.DurationField(),
    "DurationField, bounds": lambda: serializers.DurationField(max_value=dt.timedelta(1)),
    "ChoiceField": lambda: serializers.ChoiceField(["a", "b"]),
    "ChoiceField, integers": lambda: serializers.ChoiceField([(1, "one"), (2, "two")]),
    "ChoiceField, blank": lambda: serializers.ChoiceField(["a"], allow_blank=True),
    "ChoiceField, groups": lambda: serializers.ChoiceField([("Group", [("a", "A")]), ("b", "B")]),
    "MultipleChoiceField": lambda: serializers.MultipleChoiceField(choices=["a", "b"], allow_empty=False),
    "ListField": lambda: serializers.ListField(child=serializers.IntegerField()),
    "ListField, any": lambda: serializers.ListField(),
    "ListField, length": lambda: serializers.ListField(child=serializers.IntegerField(), min_length=1, max_length=2),
    "DictField": lambda: serializers.DictField(child=serializers.IntegerField()),
    "DictField, not empty": lambda: serializers.DictField(child=serializers.IntegerField(), allow_empty=False),
    "HStoreField": lambda: serializers.HStoreField(),
    "JSONField": lambda: serializers.JSONField(),
    "JSONField, null": lambda: serializers.JSONField(allow_null=True),
    "Serializer": lambda: Child(),
    "Serializer, null": lambda: Child(allow_null=True),
    "Serializer, many": lambda: Child(many=True, allow_empty=False),
    "Serializer, recursive": lambda: Tree(),
    "Serializer, validate_": lambda: CheckedField(),
    "Serializer, validate": lambda: CheckedWhole(),
    "ModelSerializer": lambda: GroupSerializer(),
    "FileField": lambda: serializers.FileField(),
    "PrimaryKeyRelatedField": lambda: serializers.PrimaryKeyRelatedField(queryset=Group.objects.all()),
    "PrimaryKeyRelatedField, many": lambda: serializers.PrimaryKeyRelatedField(queryset=Group.objects.all(), many=True),
    "SlugRelatedField": lambda: serializers.SlugRelatedField("name", queryset=Group.objects.all()),
}
"""Each makes a new field: a field belongs to one serializer."""

INEXACT: Final = {
    "SlugField, Unicode": (r"pattern: \w",),
    "URLField": ("URLValidator",),
    "IntegerField, own validator": ("odd",),
    "IntegerField, own": ("Own.to_internal_value",),
    "DecimalField, bounds": ("minimum=1", "maximum=3"),
    "DateTimeField, format": ("input_formats",),
    "DurationField, bounds": ("MaxValueValidator",),
    "Serializer, validate_": ("validate_id",),
    "Serializer, validate": ("CheckedWhole.validate",),
    "ModelSerializer": ("UniqueValidator",),
    "PrimaryKeyRelatedField": ("PrimaryKeyRelatedField",),
    "PrimaryKeyRelatedField, many": ("PrimaryKeyRelatedField",),
    "SlugRelatedField": ("SlugRelatedField",),
}
"""The kinds that accept values that DRF refuses, and why."""


def adapter(kind: str) -> RestFrameworkAdapter:
    """The adapter of a serializer whose one field is of ``kind``."""
    whole = type("Whole", (serializers.Serializer,), {"value": REST_FRAMEWORK[kind](), "__module__": __name__})
    return RestFrameworkAdapter(whole())
