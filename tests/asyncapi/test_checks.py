"""The checks of a document: each refuses what it has to, and says what and where."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from routesock import RouteSetupError
from routesock._asyncapi.document import build
from routesock._asyncapi.validity import RULES, InvalidDocumentError, check, excludes
from tests.asyncapi import zoo

DOCUMENT = build(zoo.application)

CHANNEL = "nested.pk.name"


def message(document: Any, key: str) -> Any:
    return document["channels"][CHANNEL]["messages"][key]


def operation(document: Any, name: str) -> Any:
    return document["operations"][f"{CHANNEL}.{name}"]


def unknown_operation_member(document: Any) -> None:
    operation(document, "tree")["deprecated"] = True


def unknown_parameter_member(document: Any) -> None:
    document["channels"][CHANNEL]["parameters"]["pk"]["schema"] = {"type": "integer"}


def dangling_reference(document: Any) -> None:
    message(document, "tree.request")["payload"]["properties"]["payload"] = {"$ref": "#/$defs/Tree"}


def example_that_breaks_its_schema(document: Any) -> None:
    message(document, "tree.request")["examples"][0]["payload"]["payload"]["name"] = 5


def reply_that_is_a_component(document: Any) -> None:
    document["components"]["messages"] = {"reply": message(document, "tree.reply")}
    operation(document, "tree")["reply"]["messages"][0] = {"$ref": "#/components/messages/reply"}


def odd_key(document: Any) -> None:
    document["components"]["schemas"]["Żółw & Co"] = {"type": "string"}


def undeclared_parameter(document: Any) -> None:
    document["channels"][CHANNEL]["address"] = "/nested/{pk}/{name}/{more}/"


def django_path(document: Any) -> None:
    document["channels"][CHANNEL] |= {"address": "/nested/<int:pk>/", "parameters": {}}


def default_of_another_type(document: Any) -> None:
    document["components"]["schemas"]["Tree"]["properties"]["name"]["default"] = None


# The nine of the official tools' sixteen variants that are wrong, and further ones.
WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "unknown member of an operation": (unknown_operation_member, "operation has no member 'deprecated'"),
    "unknown member of a parameter": (unknown_parameter_member, "parameter has no member 'schema'"),
    "dangling reference": (dangling_reference, "#/$defs/Tree leads nowhere"),
    "example": (example_that_breaks_its_schema, "/payload/name: is not of the type string"),
    "reply outside the channel": (reply_that_is_a_component, "is no message of #/channels/nested.pk.name"),
    "key": (odd_key, "'Żółw & Co'"),
    "undeclared parameter": (undeclared_parameter, "'more', which is not declared"),
    "Django path": (django_path, "'/nested/<int:pk>/' is no path"),
    "default": (default_of_another_type, "/components/schemas/Tree/properties/name/default"),
}


def parameter_without_braces(document: Any) -> None:
    document["channels"][CHANNEL]["address"] = "/nested/{pk}/"


def boolean_property(document: Any) -> None:
    document["components"]["schemas"]["Tree"]["properties"]["name"] = True


def odd_keyword(document: Any) -> None:
    document["components"]["schemas"]["Tree"]["patternProperties"] = {}


def neither_address_nor_pattern(document: Any) -> None:
    document["channels"][CHANNEL] |= {"address": None, "parameters": {}}


def two_replies_of_one_status(document: Any) -> None:
    message(document, "tree.error")["payload"]["properties"]["status"] = {"type": "integer", "minimum": 200}


def operation_of_another_channel(document: Any) -> None:
    operation(document, "tree")["messages"] = [{"$ref": "#/channels/flat/messages/tree.request"}]


MORE: dict[str, tuple[Callable[[Any], None], str]] = {
    "parameter that the address lacks": (parameter_without_braces, "'name' is not in the address"),
    "boolean property": (boolean_property, "write an object in place of True"),
    "keyword": (odd_keyword, "'patternProperties' is no keyword"),
    "no address": (neither_address_nor_pattern, "neither an address nor a pattern"),
    "replies that are alike": (two_replies_of_one_status, "a frame may fit both"),
    "message of another channel": (operation_of_another_channel, "is no message of"),
}


def test_there_are_seven_rules_and_nine_wrong_documents() -> None:
    assert (len(RULES), len(WRONG)) == (7, 9)


@pytest.mark.parametrize("name", [*WRONG, *MORE])
def test_a_wrong_document_is_refused(name: str) -> None:
    change, text = (WRONG | MORE)[name]
    document = copy.deepcopy(DOCUMENT)
    check(document)
    change(document)
    with pytest.raises(InvalidDocumentError) as caught:
        check(document)
    assert text in str(caught.value)
    assert str(caught.value).startswith(("#/", "/"))
    assert isinstance(caught.value, RouteSetupError)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"const": 1}, {"const": 2}, True),
        ({"const": 1}, {"enum": [1, 2]}, False),
        ({"const": 206}, {"type": "integer", "minimum": 400}, True),
        ({"type": "string"}, {"type": ["integer", "null"]}, True),
        ({"type": "integer"}, {"type": "number"}, False),
        ({}, {"type": "number"}, False),
        ({"anyOf": [{"const": 1}, {"const": 2}]}, {"const": 3}, True),
        ({"anyOf": [{"const": 1}, {"const": 3}]}, {"const": 3}, False),
        ({"not": {}}, {}, True),
        ({"const": 410}, {"type": "integer", "not": {"enum": [410]}}, True),
        ({"required": ["a"]}, {"not": {"anyOf": [{"required": ["a"]}]}}, True),
        ({"properties": {}, "additionalProperties": False}, {"required": ["a"]}, True),
        ({"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"a": {"const": 2}}}, False),
        (
            {"properties": {"a": {"const": 1}}, "required": ["a"]},
            {"properties": {"a": {"const": 2}}, "required": ["a"]},
            True,
        ),
    ],
)
def test_whether_two_schemas_exclude_each_other(one: Any, other: Any, expected: bool) -> None:
    assert excludes(one, other, {}) is expected
    assert excludes(other, one, {}) is expected
