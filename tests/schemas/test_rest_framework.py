"""DRF's own rules behind ``schema=``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from rest_framework import serializers

from routesock._wire.codec import encode
from routesock.exceptions import Invalid, RouteSetupError
from routesock.schemas import as_schema

from .samples import PAYLOAD, WHEN, NoteSerializer


class GroupSerializer(serializers.ModelSerializer[Group]):
    class Meta:
        model = Group
        fields = ("id", "name")


class NameSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=3)


class Listed(NameSerializer):
    class Meta:
        list_serializer_class = serializers.ListSerializer


class Tree(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, Any]:
        return {"node": Tree(required=False)}


def errors_of(schema: Any, payload: Any) -> Any:
    with pytest.raises(Invalid) as caught:
        as_schema(schema).load(payload)
    return caught.value.errors


def test_load_gives_validated_data() -> None:
    """The payload is ``validated_data``, with its texts parsed."""
    assert as_schema(NoteSerializer).load(PAYLOAD)["when"] == WHEN


def test_whole_payload_messages_have_one_path(settings: Any) -> None:
    """Messages that belong to no field have the path ``__all__``, whatever ``NON_FIELD_ERRORS_KEY`` is."""
    assert errors_of(NoteSerializer, []).keys() == {"__all__"}
    settings.REST_FRAMEWORK = {"NON_FIELD_ERRORS_KEY": "object"}
    assert errors_of(NoteSerializer, []).keys() == {"__all__"}


def test_native_errors_are_as_in_drf(settings: Any) -> None:
    """Messages by field; those that belong to no field under ``non_field_errors``."""
    settings.ROUTESOCK = {"VALIDATION_ERRORS": "native"}
    assert errors_of(NoteSerializer, {"count": "x"}) == {
        "title": ["This field is required."],
        "count": ["A valid integer is required."],
    }
    assert errors_of(NoteSerializer, []).keys() == {"non_field_errors"}


@pytest.mark.parametrize("schema", [NameSerializer(many=True), Listed(many=True, max_length=2)], ids=["many", "listed"])
def test_many_comes_from_the_instance(schema: Any) -> None:
    """``many=True`` loads and dumps lists, and the errors say which item is wrong."""
    adapter = as_schema(schema)
    assert adapter.load([{"name": "a"}]) == [{"name": "a"}]
    assert adapter.dump([SimpleNamespace(name="a")]) == [{"name": "a"}]
    assert type(adapter.dump([])) is list
    # DRF before 3.18 gave a list, with an empty object for each good item.
    message = "Ensure this field has no more than 3 characters."
    assert errors_of(schema, [{"name": "a"}, {"name": "long"}]) == {"1.name": [message]}
    assert errors_of(schema, {}).keys() == {"__all__"}


def test_options_of_a_list_hold_for_each_message() -> None:
    """Nothing that the instance was made with is lost."""
    errors = errors_of(Listed(many=True, max_length=2), [{"name": "a"}] * 3)
    assert errors == {"__all__": ["Ensure this field has no more than 2 elements."]}


def test_partial_and_context_come_from_the_instance() -> None:
    """Options of the instance hold for each message; the context is the very object, never a copy."""
    lock = threading.Lock()  # cannot be copied

    class Contextual(NameSerializer):
        required = serializers.CharField()

        def validate_name(self, name: str) -> Any:
            return self.context["lock"]

    schema = Contextual(partial=True, context={"lock": lock})
    assert as_schema(schema).load({"name": "a"}) == {"name": lock}
    assert as_schema(Contextual(many=True, partial=True, context={"lock": lock})).load([{"name": "a"}]) == [
        {"name": lock}
    ]


def test_each_message_has_its_own_serializer() -> None:
    """A serializer is bound to its data: two messages at once never share one."""
    both = threading.Barrier(2)

    class Slow(NameSerializer):
        def validate(self, attrs: Any) -> Any:
            both.wait(30)
            return {**attrs, "initial": self.initial_data["name"]}

    with ThreadPoolExecutor(2) as pool:
        loaded = list(pool.map(as_schema(Slow()).load, [{"name": "a"}, {"name": "b"}]))
    assert loaded == [{"name": "a", "initial": "a"}, {"name": "b", "initial": "b"}]


@pytest.mark.django_db
def test_model_serializers() -> None:
    """A ModelSerializer asks the database for what must be unique, and dumps a model."""
    group = Group.objects.create(name="staff")
    assert as_schema(GroupSerializer).dump(group) == {"id": group.pk, "name": "staff"}
    assert as_schema(GroupSerializer(many=True)).dump(Group.objects.all()) == [{"id": group.pk, "name": "staff"}]
    assert errors_of(GroupSerializer, {"name": "staff"}) == {"name": ["group with this name already exists."]}
    assert as_schema(GroupSerializer).load({"name": "guests"}) == {"name": "guests"}


def test_dump_raises_what_drf_raises() -> None:
    """A result that does not fit is the server's fault: no Invalid."""
    with pytest.raises(AttributeError):
        as_schema(NameSerializer).dump(object())


def test_base_serializer_dumps_what_it_gives() -> None:
    """A BaseSerializer's representation need not be an object."""

    class Name(serializers.BaseSerializer[Any]):
        def to_representation(self, instance: Any) -> Any:
            return instance.name

    assert as_schema(Name).dump(SimpleNamespace(name="a")) == "a"


def test_nesting_ends_in_a_refusal() -> None:
    """A serializer that nests itself takes 64 levels or refuses them."""
    payload: Any = {}
    for _ in range(63):
        payload = {"node": payload}
    assert as_schema(Tree).load(payload) == payload
    for _ in range(3_000):
        payload = {"node": payload}
    assert errors_of(Tree, payload) == {"__all__": ["Nested too deeply."]}


def test_endless_validation_is_a_fault() -> None:
    """Running out of stack on a flat payload is no mistake of the client's."""

    class Endless(NameSerializer):
        def validate(self, attrs: Any) -> Any:
            return self.validate(attrs)

    with pytest.raises(RecursionError):
        as_schema(Endless).load({"name": "a"})


@pytest.mark.parametrize("name", ["validate", "validate_name", "to_internal_value", "to_representation", "get_extra"])
@pytest.mark.parametrize("many", [False, True])
def test_async_methods_are_refused(name: str, many: bool) -> None:
    """DRF never awaits: an async method that it calls is an error when the class is created."""

    async def later(self: Any, value: Any) -> Any:
        return value

    late = type("Late", (NameSerializer,), {name: later})
    with pytest.raises(RouteSetupError, match=rf"^Late\.{name} is async"):
        as_schema(late(many=True) if many else late)


def test_errors_can_be_encoded() -> None:
    """DRF's messages are strings of its own type, some of them lazily translated."""
    assert encode(errors_of(NoteSerializer, {"tags": {"a": 1}, "when": "x"}))
