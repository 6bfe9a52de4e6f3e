"""marshmallow's own rules behind ``schema=``."""

from __future__ import annotations

from collections import namedtuple
from decimal import Decimal
from typing import Any

import marshmallow
import pytest
from django.contrib.auth.models import User
from marshmallow import EXCLUDE, INCLUDE, Schema, fields, validate

from routesock._wire.codec import encode
from routesock.exceptions import Invalid, RouteSetupError
from routesock.schemas import as_schema

from .samples import PAYLOAD, NoteSchema


class Child(Schema):
    name = fields.Str(required=True)


class Parent(Schema):
    child = fields.Nested(Child)
    children = fields.List(fields.Nested(Child()))
    by_name = fields.Dict(keys=fields.Str(validate=validate.Length(max=3)), values=fields.Nested(Child))


class Tree(Schema):
    node = fields.Nested(lambda: Tree(), allow_none=True)
    nodes = fields.List(fields.Nested(lambda: Tree()))


def errors_of(schema: Any, payload: Any) -> Any:
    with pytest.raises(Invalid) as caught:
        as_schema(schema).load(payload)
    return caught.value.errors


@pytest.fixture
def native(settings: Any) -> None:
    settings.ROUTESOCK = {"VALIDATION_ERRORS": "native"}


def tree(levels: int, end: Any, field: str = "node") -> Any:
    for _ in range(levels):
        end = {field: end} if field == "node" else {field: [end]}
    return end


def test_errors_are_messages_by_path() -> None:
    """The path of a message has the names of the fields and the index of the item."""
    errors = errors_of(Parent, {"child": {}, "children": [{"name": "a"}, {"name": 1}], "x": 1})
    assert errors == {
        "child.name": ["Missing data for required field."],
        "children.1.name": ["Not a valid string."],
        "x": ["Unknown field."],
    }


@pytest.mark.usefixtures("native")
def test_native_errors_are_messages_by_field() -> None:
    """Errors are as marshmallow gives them; the index of a list's item becomes a string, as in any JSON."""
    errors = errors_of(Parent, {"child": {}, "children": [{"name": "a"}, {"name": 1}], "x": 1})
    assert errors == {
        "child": {"name": ["Missing data for required field."]},
        "children": {"1": {"name": ["Not a valid string."]}},
        "x": ["Unknown field."],
    }


def test_errors_of_keys_and_values_can_be_encoded() -> None:
    """A Dict field nests its messages by key, then by ``key`` and ``value``."""
    errors = errors_of(Parent, {"by_name": {"long name": {}}})
    assert set(errors) == {"by_name.long name.key", "by_name.long name.value.name"}
    encode(errors)


@pytest.mark.usefixtures("native")
def test_native_errors_of_keys_and_values_can_be_encoded() -> None:
    """A Dict field nests its messages by key, then by ``key`` and ``value``."""
    errors = errors_of(Parent, {"by_name": {"long name": {}}})
    assert set(errors["by_name"]["long name"]) == {"key", "value"}
    encode(errors)


def test_whole_payload_messages_have_one_path() -> None:
    """Messages that belong to no field have the path ``__all__``, those of a nested object the object's path."""
    assert errors_of(NoteSchema, None) == {"__all__": ["Invalid input type."]}
    assert errors_of(Parent, {"child": 5}) == {"child": ["Invalid input type."]}


@pytest.mark.usefixtures("native")
def test_native_whole_payload_messages_stand_under_schema() -> None:
    """Messages that belong to no field are where marshmallow puts them."""
    assert errors_of(NoteSchema, None) == {"_schema": ["Invalid input type."]}


def test_many_comes_from_the_instance() -> None:
    """``many=True`` loads and dumps lists, and refuses an object."""
    adapter = as_schema(Child(many=True))
    assert adapter.load([{"name": "a"}]) == [{"name": "a"}]
    assert adapter.dump([{"name": "a"}]) == [{"name": "a"}]
    assert errors_of(Child(many=True), {"name": "a"}) == {"__all__": ["Invalid input type."]}
    assert errors_of(Child(many=True), [{"name": "a"}, {}]) == {"1.name": ["Missing data for required field."]}


@pytest.mark.parametrize(
    "value", [[{"name": "a"}], [], (), {"a"}, User.objects.none()], ids=["list", "empty", "tuple", "set", "queryset"]
)
def test_several_objects_without_many_are_a_fault(value: Any) -> None:
    """marshmallow would find no field in a list, and dump ``{}``."""
    with pytest.raises(TypeError, match=r"^Child dumps one object, and the value is a \w+. Write Child\(many=True\).$"):
        as_schema(Child).dump(value)


def test_several_objects_may_become_one_in_a_hook() -> None:
    """``pre_dump`` may make an object of a list, and a named tuple is an object."""

    class Counted(Schema):
        name = fields.String()

        @marshmallow.pre_dump
        def first(self, data: Any, **kwargs: Any) -> Any:
            return data[0]

    named = namedtuple("named", "name")("a")
    assert as_schema(Counted).dump([{"name": "a"}]) == as_schema(Child).dump(named) == {"name": "a"}


def test_partial_comes_from_the_instance() -> None:
    """``partial=True`` lets required fields be missing."""
    assert as_schema(NoteSchema(partial=True)).load({"count": 1}) == {"count": 1}


@pytest.mark.parametrize(("unknown", "loaded"), [(EXCLUDE, {"name": "a"}), (INCLUDE, {"name": "a", "x": 1})])
def test_unknown_comes_from_the_instance(unknown: Any, loaded: Any) -> None:
    """``unknown=`` of the instance decides, without it the schema's own ``Meta`` (refuse, by default)."""
    assert as_schema(Child(unknown=unknown)).load({"name": "a", "x": 1}) == loaded


def test_only_and_exclude_come_from_the_instance() -> None:
    """Fields that the instance leaves out are unknown when loaded, and not dumped."""
    assert errors_of(NoteSchema(only=("title",)), PAYLOAD).keys() == PAYLOAD.keys() - {"title"}
    assert as_schema(NoteSchema(exclude=("child", "when"))).dump(PAYLOAD).keys() == PAYLOAD.keys() - {"when"}


def test_class_is_instantiated_once() -> None:
    """A schema with a costly __init__ is made when the consumer's class is, not for each message."""
    made = []

    class Counted(Child):
        def __init__(self, **kwargs: Any) -> None:
            made.append(self)
            super().__init__(**kwargs)

    adapter = as_schema(Counted)
    adapter.load({"name": "a"})
    adapter.load({"name": "b"})
    assert len(made) == 1


def test_decimals_are_left_to_the_encoder() -> None:
    """A dumped Decimal is one, and the encoder spells it as text."""
    adapter = as_schema(Schema.from_dict({"price": fields.Decimal()}))
    assert encode(adapter.dump({"price": Decimal("1.50")})) == '{"price": "1.50"}'


def test_post_load_makes_the_payload() -> None:
    """What a hook returns is the payload."""

    class Made(Child):
        @marshmallow.post_load
        def make(self, data: Any, **kwargs: Any) -> Any:
            return ("made", data["name"])

    assert as_schema(Made).load({"name": "a"}) == ("made", "a")


def test_dump_raises_what_the_schema_raises() -> None:
    """A result that does not fit is the server's fault: no Invalid."""
    with pytest.raises(ValueError, match="invalid literal"):
        as_schema(NoteSchema).dump({"count": "many"})


def test_payload_as_deep_as_allowed_loads() -> None:
    """A schema that nests itself takes the 64 levels that a frame may have."""
    payload = tree(63, {})
    assert as_schema(Tree).load(payload) == payload
    payload = tree(31, {}, "nodes")
    assert as_schema(Tree).load(payload) == payload


def test_mistake_at_the_deepest_level_gives_a_small_refusal() -> None:
    """The path of a message counts for the size of the reply."""
    errors = errors_of(Tree, tree(63, 5))
    assert len(encode(errors)) <= 3_000
    deep = Schema.from_dict({"x" * 64: fields.Nested(lambda: deep())})
    for _ in range(62):
        deep = Schema.from_dict({"x" * 64: fields.Nested(deep)})
    payload: Any = 5
    for _ in range(62):
        payload = {"x" * 64: payload}
    assert errors_of(deep, payload) == {f"{'x' * 64}.{'x' * 63}": ["Invalid input type."]}


@pytest.mark.usefixtures("native")
def test_native_mistake_at_the_deepest_level_gives_a_small_refusal() -> None:
    """Where the nesting alone is too long, the number of messages is left."""
    deep = Schema.from_dict({"x" * 64: fields.Nested(lambda: deep())})
    for _ in range(62):
        deep = Schema.from_dict({"x" * 64: fields.Nested(deep)})
    payload: Any = 5
    for _ in range(63):
        payload = {"x" * 64: payload}
    assert errors_of(deep, payload) == {"...": ["1 more."]}


def test_running_out_of_stack_is_a_refusal() -> None:
    """A payload deeper than the stack has room for is refused; it is no fault of the server's."""
    assert errors_of(Tree, tree(400, {})) == {"__all__": ["Nested too deeply."]}


def test_endless_hook_is_a_fault() -> None:
    """A schema that calls itself without end does so for a flat payload too: that is no mistake of the client's."""

    def again(data: Any) -> Any:  # CPython 3.13.0 does not limit the depth of a function that takes **kwargs
        return again(data)

    class Endless(Child):
        @marshmallow.pre_load
        def begin(self, data: Any, **kwargs: Any) -> Any:
            return again(data)

    with pytest.raises(RecursionError):
        as_schema(Endless).load({"name": "a"})


async def later(*args: Any, **kwargs: Any) -> None:
    return None


def method_of(decorator: Any) -> type[Schema]:
    async def hook(self: Any, data: Any, **kwargs: Any) -> Any:
        return data

    return type("Late", (Schema,), {"name": fields.Str(), "hook": decorator(hook)})


LATE = {
    "pre_load": method_of(marshmallow.pre_load),
    "post_load": method_of(marshmallow.post_load),
    "pre_dump": method_of(marshmallow.pre_dump),
    "post_dump": method_of(marshmallow.post_dump),
    "validates": method_of(marshmallow.validates("name")),
    "validates_schema": method_of(marshmallow.validates_schema),
    "handle_error": type("Late", (Schema,), {"handle_error": later}),
    "validator": Schema.from_dict({"name": fields.Str(validate=later)}),
    "validators": Schema.from_dict({"name": fields.Str(validate=[validate.Length(max=3), later])}),
    "Function": Schema.from_dict({"name": fields.Function(later)}),
    "Function load": Schema.from_dict({"name": fields.Function(deserialize=later)}),
    "Method": type("Late", (Schema,), {"name": fields.Method("get_name"), "get_name": later}),
    "Method load": type("Late", (Schema,), {"name": fields.Method(deserialize="read_name"), "read_name": later}),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
@pytest.mark.parametrize(
    "around",
    [
        lambda late: late,
        lambda late: late(),
        lambda late: type("Sub", (late,), {}),
        lambda late: Schema.from_dict({"x": fields.Nested(late)}),
        lambda late: Schema.from_dict({"x": fields.Nested(lambda: late())}),
        lambda late: Schema.from_dict({"x": fields.List(fields.Nested(late))}),
        lambda late: Schema.from_dict({"x": fields.Dict(values=fields.Nested(late))}),
        lambda late: Schema.from_dict({"x": fields.Tuple((fields.Int(), fields.Nested(late)))}),
        lambda late: Schema.from_dict({"x": fields.Nested(Schema.from_dict({"y": fields.Nested(late)}))}),
    ],
    ids=["class", "instance", "subclass", "nested", "lambda", "list", "dict", "tuple", "twice"],
)
def test_async_hooks_are_refused(late: Any, around: Any) -> None:
    """marshmallow never awaits: an async hook or validator, at any level, is an error when the class is created."""
    with pytest.raises(RouteSetupError, match=r"\w+\.\w+.* is async"):
        as_schema(around(late))


def test_error_names_schema_and_hook() -> None:
    """One knows where to look."""
    with pytest.raises(RouteSetupError, match=r"^Late\.hook is async.*hydrate="):
        as_schema(LATE["post_load"])


def test_async_helpers_are_allowed() -> None:
    """A method that marshmallow does not call may be async."""
    assert as_schema(type("Helped", (Child,), {"refresh": later})).load({"name": "a"}) == {"name": "a"}


def test_nested_schema_may_be_defined_later() -> None:
    """A schema named by a string is resolved by marshmallow when it is used."""
    adapter = as_schema(Schema.from_dict({"x": fields.Nested("DefinedLaterSchema")}))

    class DefinedLaterSchema(Child):
        pass

    assert adapter.load({"x": {"name": "a"}}) == {"x": {"name": "a"}}


class Comment(Schema):
    text = fields.Str(required=True)
    parent = fields.Nested("Comment", allow_none=True)
    replies = fields.List(fields.Nested(lambda: Comment()))


def test_a_schema_that_nests_itself_causes_no_warning_at_any_depth() -> None:
    """marshmallow 3.24 to 3.26 warn of the context that they themselves hand to it: an error with ``-W error``."""
    value: dict[str, Any] = {"text": "first"}
    for _ in range(4):
        value = {"text": "next", "parent": value, "replies": [value]}
    schema = Comment()
    adapter = as_schema(schema)
    assert adapter.load(value) == value
    assert type(schema.fields["parent"]) is fields.Nested  # no later message pays for that
    assert adapter.dump(value) == value
    assert as_schema(Comment).dump_checked(value) == value
    assert as_schema(Comment(many=True)).dump_checked([value]) == [value]


def test_field_hooks_are_looked_at() -> None:
    """marshmallow 4 has hooks of a single field; to marshmallow 3 the same word is metadata, which it warns of."""
    if "pre_load" in fields.Field.__init__.__annotations__:
        with pytest.raises(RouteSetupError, match=r"name: later is async"):
            as_schema(Schema.from_dict({"name": fields.Str(pre_load=later)}))
    else:
        with pytest.warns(DeprecationWarning, match="metadata"):
            schema = Schema.from_dict({"name": fields.Str(pre_load=later)})
        assert as_schema(schema).load({"name": "a"}) == {"name": "a"}
