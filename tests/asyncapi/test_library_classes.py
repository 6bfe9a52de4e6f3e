"""How documents describe the classes of pydantic, msgspec and DRF: names, notes, and what is in replies."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model
from rest_framework import serializers

from routesock.schemas import Described, as_schema

from . import msgspec_kinds, pydantic_kinds, rest_framework_kinds
from .validation import accepts

INTEGER = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}


def described(schema: Any, mode: Any = "load") -> Described:
    return as_schema(schema).json_schema(mode)


def of_class(schema: Any, name: str, mode: Any = "load") -> Any:
    return described(schema, mode).definitions[name].schema


CHILDREN = [pydantic_kinds.Child, msgspec_kinds.Child, rest_framework_kinds.Child]


@pytest.mark.parametrize("schema", CHILDREN, ids=["pydantic", "msgspec", "DRF"])
def test_a_class_is_a_definition_with_its_texts(schema: Any) -> None:
    found = described(schema)
    assert found.schema == {"$ref": "#/$defs/Child"}
    definition = found.definitions["Child"]
    assert (definition.name, definition.module, definition.variant) == ("Child", schema.__module__, "")
    assert definition.schema["description"] == "A child."
    assert definition.schema["required"] == ["id"]
    assert definition.schema["properties"]["id"] == INTEGER
    name = definition.schema["properties"]["name"]
    assert (name["title"], name["description"]) == ("Name", "Its name.")


@pytest.mark.parametrize("schema", CHILDREN[:2], ids=["pydantic", "msgspec"])
def test_defaults_and_examples_are_for_requests_and_fields_with_defaults_are_always_in_replies(schema: Any) -> None:
    assert of_class(schema, "Child")["properties"]["name"]["default"] == "n"
    assert of_class(schema, "Child")["properties"]["name"]["examples"] == ["n"]
    assert of_class(schema, "Child", "dump")["required"] == ["id", "name"]
    assert "default" not in of_class(schema, "Child", "dump")["properties"]["name"]


@pytest.mark.parametrize(
    "schema", [list[pydantic_kinds.Child], list[msgspec_kinds.Child], rest_framework_kinds.Child(many=True)]
)
def test_a_list_refers_to_its_class(schema: Any) -> None:
    assert described(schema).schema == {"type": "array", "items": {"$ref": "#/$defs/Child"}}


@pytest.mark.parametrize(
    "schema", [pydantic_kinds.Tree, msgspec_kinds.Tree, rest_framework_kinds.Tree], ids=["pydantic", "msgspec", "DRF"]
)
def test_a_class_may_refer_to_itself(schema: Any) -> None:
    found = described(schema)
    assert list(found.definitions) == ["Tree"]
    assert accepts(found, {"id": 1, "a": {"id": 2, "a": None}})
    assert not accepts(found, {"id": 1, "a": {"id": "2"}})


@pytest.mark.parametrize("box", [pydantic_kinds.Box, msgspec_kinds.Box], ids=["pydantic", "msgspec"])
def test_the_arguments_of_a_generic_class_are_its_variant(box: Any) -> None:
    fields = {"one": box[int], "two": box[str]}
    if box is pydantic_kinds.Box:
        Both: Any = create_model("Both", **{name: (kind, ...) for name, kind in fields.items()})
    else:
        Both = msgspec.defstruct("Both", [*fields.items()])
    variants = {(part.name, part.variant) for part in described(Both).definitions.values()}
    assert variants == {("Both", ""), ("Box", "int"), ("Box", "str")}


def test_a_validator_marks_its_field_and_a_hook_the_whole_class() -> None:
    found = of_class(pydantic_kinds.Checked, "Checked")
    assert found["properties"]["id"]["x-routesock-inexact"] == ["Checked.even"]
    assert of_class(msgspec_kinds.Checked, "Checked")["x-routesock-inexact"] == ["__post_init__"]
    found = of_class(rest_framework_kinds.CheckedField, "CheckedField")
    assert found["x-routesock-inexact"] == ["validate_id"]


def test_replies_of_pydantic_have_the_names_that_it_dumps() -> None:
    class ByAlias(BaseModel):
        model_config = ConfigDict(serialize_by_alias=True)

        inner: int = Field(alias="outer")

    plain = of_class(pydantic_kinds.ByAlias, "ByAlias", "dump")
    assert list(plain["properties"]) == list(as_schema(pydantic_kinds.ByAlias).dump({"id": 1})) == ["more"]
    by_alias = of_class(ByAlias, "ByAlias", "dump")
    assert list(by_alias["properties"]) == list(as_schema(ByAlias).dump({"outer": 1}))


def test_serializers_and_computed_fields_of_pydantic_are_in_replies() -> None:
    found = of_class(pydantic_kinds.WithSerializers, "WithSerializers", "dump")
    assert found["properties"] == {"id": {"type": "string"}, "name": {}}
    found = of_class(pydantic_kinds.WithComputed, "WithComputed", "dump")
    assert found["properties"]["twice"] == {"type": "integer"}
    assert "hidden" not in of_class(pydantic_kinds.WithSecret, "WithSecret", "dump")["properties"]


def test_other_names_of_a_field_are_refused_where_unknown_ones_are_allowed() -> None:
    found = described(pydantic_kinds.ByAlias)
    assert accepts(found, {"id": 1, "other": "x"})
    assert not accepts(found, {"more": "x"})


def test_json_schema_extra_adds_examples_and_nothing_else() -> None:
    class Example(BaseModel):
        model_config = ConfigDict(json_schema_extra={"examples": [{"a": 1}], "additionalProperties": False})

        a: Annotated[int, Field(json_schema_extra={"example": 5, "type": "string"})]

    found = of_class(Example, "Example")
    assert found["examples"] == [{"a": 1}]
    assert "additionalProperties" not in found
    assert found["properties"]["a"] == {**INTEGER, "examples": [5]}


def test_the_tag_of_a_struct_is_required_in_a_union_alone() -> None:
    assert accepts(described(msgspec_kinds.Tagged), {"id": 1})
    union = described(msgspec.defstruct("Union", [("value", msgspec_kinds.Cat | msgspec_kinds.Dog)]))
    assert accepts(union, {"value": {"a": "y"}})
    assert not accepts(union, {"value": {"id": 1}})


def test_replies_of_msgspec_miss_what_it_leaves_out() -> None:
    assert "required" not in of_class(msgspec_kinds.Sparse, "Sparse", "dump")
    assert "required" not in of_class(msgspec_kinds.Unset, "Unset", "dump")


def test_read_only_and_write_only_fields_of_drf_are_on_one_side() -> None:
    class Account(serializers.Serializer[Any]):
        id = serializers.IntegerField(read_only=True)
        password = serializers.CharField(write_only=True)
        kind = serializers.HiddenField(default="user")

    assert list(of_class(Account, "Account")["properties"]) == ["password"]
    reply = of_class(Account, "Account", "dump")
    assert reply["properties"] == {"id": {"type": ["integer", "null"]}}
    assert reply["required"] == ["id"]


def test_a_partial_serializer_is_a_variant_that_requires_nothing() -> None:
    found = described(rest_framework_kinds.Child(partial=True))
    definition = found.definitions["Child"]
    assert definition.variant == "partial"
    assert "required" not in definition.schema


def test_the_type_of_a_primary_key_is_known() -> None:
    class Member(serializers.Serializer[Any]):
        group = rest_framework_kinds.REST_FRAMEWORK["PrimaryKeyRelatedField"]()

    found = of_class(Member, "Member")["properties"]["group"]
    assert found == {**INTEGER, "x-routesock-inexact": ["PrimaryKeyRelatedField"]}


def test_adapters_import_no_emitter_before_a_document_is_made() -> None:
    code = (
        "import sys, routesock.schemas.pydantic, routesock.schemas.msgspec\n"
        "print([name for name in sys.modules if 'routesock.schemas._json' in name])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
