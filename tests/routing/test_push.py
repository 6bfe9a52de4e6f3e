"""Declared pushes: the declaration, what it lets through, and that nothing else is sent."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import json
import pickle
import threading
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from types import FunctionType, SimpleNamespace
from typing import Annotated, Any

import marshmallow
import msgspec
import pydantic
import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError as DjangoValidationError
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import fields, validate
from rest_framework import serializers
from rest_framework.validators import UniqueValidator

from routesock import Push, Request, RouteMixin, route, run_in_thread
from routesock._routing.arguments import RESERVED
from routesock._routing.push import aprepare, collect_pushes, prepare
from routesock._wire.codec import encode
from routesock.exceptions import InvalidPush, NotFound, RouteSetupError
from routesock.schemas import SchemaAdapter, as_schema
from routesock.testing import RouteClient
from tests.schemas.samples import PAYLOAD, SAMPLES, WHEN, NoteModel, NoteSchema, NoteStruct, Sample

VALUE = {**PAYLOAD, "when": WHEN}


@pytest.fixture(params=SAMPLES, ids=lambda sample: sample.name)
def sample(request: pytest.FixtureRequest) -> Sample:
    return request.param


def sent(schema: Any, value: Any) -> Any:
    return as_schema(schema).dump_checked(value)


def refusal(schema: Any, value: Any) -> Any:
    """The errors with which a push of ``value`` is refused."""
    with pytest.raises(InvalidPush) as caught:
        prepare(Push("refused", schema=schema), value)
    return caught.value.errors


def setup_error(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(RouteSetupError) as caught:
        Push(*args, **kwargs)
    return str(caught.value)


class TestDeclaration:
    @pytest.mark.parametrize("name", ["", None, 5, b"chat"])
    def test_a_name_is_a_text(self, name: Any) -> None:
        assert 'as in Push("chat.message")' in setup_error(name)

    def test_a_name_is_not_too_long(self) -> None:
        assert Push("x" * 128).name == "x" * 128
        assert "at most 128" in setup_error("x" * 129)

    @pytest.mark.parametrize("name", sorted(RESERVED))
    def test_a_name_is_not_reserved(self, name: str) -> None:
        assert f"Write '{name.lower()}'" in setup_error(name)

    def test_what_is_no_schema_is_refused(self) -> None:
        assert "is not a schema" in setup_error("a", schema={"text": str})

    def test_it_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            Push("a").name = "b"  # type: ignore[misc]

    def test_equal_arguments_make_equal_pushes(self) -> None:
        """A module that is imported under two names declares its pushes twice."""
        first = Push("a", schema=NoteSchema, tags=["x"])
        second = Push("a", schema=NoteSchema, tags=("x",))
        assert first == second
        assert len({first, second}) == 1
        assert first != Push("b", schema=NoteSchema)

    def test_it_is_hashed_whatever_its_schema_is(self) -> None:
        class Unhashable:
            __hash__ = None  # type: ignore[assignment]

            def __call__(self, value: Any) -> Any: ...

        push = Push("a", schema=Unhashable())
        assert {push: 1}[push] == 1

    def test_two_apps_may_use_one_name(self) -> None:
        """A declaration belongs to the consumers that list it, and to no other."""
        notes, news = Push("a", schema=NoteSchema), Push("a", schema=NoteModel)
        assert notes != news
        assert collect_pushes(consumer(notes)) == {"a": notes}
        assert collect_pushes(consumer(news)) == {"a": news}

    def test_repr_says_what_it_is(self) -> None:
        assert repr(Push("a")) == "Push('a')"
        assert repr(Push("b", schema=NoteSchema)) == "Push('b', schema=NoteSchema)"
        assert repr(Push("c", schema=NoteSchema())) == "Push('c', schema=NoteSchema(...))"

    def test_it_can_be_copied(self) -> None:
        push = Push("a", schema=NoteStruct)
        assert copy.copy(push) == push

    def test_the_documents_are_kept(self) -> None:
        push = Push("a", summary="One.", description="More.", tags="chat", deprecated=True)
        assert (push.summary, push.description, push.tags, push.deprecated) == ("One.", "More.", ("chat",), True)


def consumer(*pushes: Any, bases: Any = (RouteMixin, AsyncJsonWebsocketConsumer)) -> Any:
    return type("Chat", bases, {"route_pushes": pushes})


class TestClass:
    """``route_pushes`` of a consumer, and of its bases."""

    def test_without_it_there_are_none(self) -> None:
        assert collect_pushes(type("Chat", (RouteMixin, AsyncJsonWebsocketConsumer), {})) == {}

    def test_it_may_be_a_list_or_a_tuple(self) -> None:
        push = Push("a")
        assert collect_pushes(type("Chat", (), {"route_pushes": [push]})) == {"a": push}
        assert collect_pushes(type("Chat", (), {"route_pushes": (push,)})) == {"a": push}

    def test_a_class_adds_to_its_bases_and_overrides_them(self) -> None:
        first, second, other = Push("a"), Push("a", schema=NoteSchema), Push("b")
        base = consumer(first, other)
        assert collect_pushes(consumer(second, bases=(base,))) == {"a": second, "b": other}
        assert collect_pushes(type("Chat", (base,), {})) == {"a": first, "b": other}

    def test_a_mixin_in_front_of_the_consumer_brings_its_own(self) -> None:
        first, second = Push("a"), Push("b")
        mixin = type("Mixin", (), {"route_pushes": [first]})
        assert collect_pushes(type("Chat", (mixin, consumer(second)), {})) == {"a": first, "b": second}

    def test_an_equal_push_may_be_listed_twice(self) -> None:
        assert collect_pushes(consumer(Push("a"), Push("a"))) == {"a": Push("a")}

    @pytest.mark.parametrize("other", [{}, {"schema": NoteModel}, {"schema": NoteSchema, "deprecated": True}], ids=repr)
    def test_two_declarations_of_one_name_are_refused(self, other: Any) -> None:
        with pytest.raises(RouteSetupError) as caught:
            consumer(Push("a", schema=NoteSchema), Push("a", **other))
        assert "Chat.route_pushes declares 'a' in two ways: Push('a', schema=NoteSchema) and" in str(caught.value)
        assert "choose another name" in str(caught.value)

    @pytest.mark.parametrize("value", [Push("a"), "a", ["a"], None, [None], {"a": Push("a")}, {Push("a")}], ids=repr)
    def test_anything_but_a_list_of_pushes_is_refused(self, value: Any) -> None:
        with pytest.raises(RouteSetupError, match=r"Chat\.route_pushes must be a list of pushes, such as"):
            type("Chat", (RouteMixin, AsyncJsonWebsocketConsumer), {"route_pushes": value})


class TestPrepare:
    def test_an_undeclared_name_takes_anything(self) -> None:
        value = object()
        assert prepare("plain", value) == ("plain", value)

    def test_a_push_without_a_schema_takes_anything(self) -> None:
        value = object()
        push = Push("plain")
        assert prepare(push, value) == ("plain", value) == prepare("plain", value, {"plain": push})

    def test_a_name_is_looked_up(self) -> None:
        push = Push("a", schema=NoteSchema)
        assert prepare("a", VALUE, {"a": push}) == prepare(push, VALUE) == ("a", {**PAYLOAD})
        with pytest.raises(InvalidPush):
            prepare("a", {}, {"a": push})

    def test_an_object_is_not_looked_up(self) -> None:
        """It may be that of another app."""
        value = object()
        assert prepare(Push("a"), value, {"a": Push("a", schema=NoteSchema)}) == ("a", value)

    def test_a_member_of_an_enum_may_be_the_name(self) -> None:
        class Names(enum.StrEnum):
            A = "a"

        with pytest.raises(InvalidPush):
            prepare(Names.A, {}, {"a": Push("a", schema=NoteSchema)})

    @pytest.mark.parametrize("name", sorted(RESERVED))
    def test_a_reserved_name_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="is reserved for the protocol"):
            prepare(name, None)

    @pytest.mark.parametrize("name", ["", "x" * 129])
    def test_a_name_has_a_length(self, name: str) -> None:
        with pytest.raises(ValueError, match="1 to 128 characters"):
            prepare(name, None)

    @pytest.mark.parametrize("name", [None, 5, b"a", ["a"], NoteSchema], ids=repr)
    def test_anything_else_is_no_route(self, name: Any) -> None:
        with pytest.raises(TypeError, match="by its name or as a Push"):
            prepare(name, None)

    def test_the_error_says_which_push_and_why(self) -> None:
        with pytest.raises(InvalidPush) as caught:
            prepare(Push("chat.message", schema=NoteSchema), {})
        assert isinstance(caught.value, ValueError)
        assert caught.value.push == "chat.message"
        assert caught.value.errors == {"title": ["Missing data for required field."]}
        assert "'chat.message'" in str(caught.value)
        assert "Missing data" in str(caught.value)

    def test_the_error_crosses_processes(self) -> None:
        """A task queue pickles what a task raises."""
        error = pickle.loads(pickle.dumps(InvalidPush("a", {"b": ["c"]})))
        assert (error.push, error.errors) == ("a", {"b": ["c"]})

    async def test_a_schema_runs_where_it_says(self) -> None:
        def where(value: Any) -> str:
            return "loop" if threading.current_thread() is loop_thread else "thread"

        loop_thread = threading.current_thread()
        in_thread = Push("b", schema=run_in_thread(partial(where)))
        assert await aprepare(Push("a", schema=where), None) == ("a", "loop")
        assert await aprepare(in_thread, None) == ("b", "thread")
        assert await aprepare("b", None, {"b": in_thread}) == ("b", "thread")
        assert await aprepare("plain", None) == ("plain", None)

    async def test_the_thread_hands_back_the_refusal(self) -> None:
        with pytest.raises(InvalidPush, match="Missing data"):
            await aprepare(Push("a", schema=run_in_thread(NoteSchema)), {})


@dataclass
class Note:
    title: Any = "Tea"
    count: Any = 3
    tags: Any = ("hot", "green")
    when: Any = WHEN
    ratio: Any = 0.5
    child: Any = None


class TestEveryLibrary:
    def test_a_dict_is_sent_as_the_schema_dumps_it(self, sample: Sample) -> None:
        if sample.name == "plain function":
            assert sent(sample.schema, PAYLOAD) == PAYLOAD
        else:
            assert sent(sample.schema, VALUE) == as_schema(sample.schema).dump(VALUE)

    def test_a_dict_of_json_is_sent(self, sample: Sample) -> None:
        """What is spelt already, as documented, is as good as what is not. Only marshmallow cannot dump such texts."""
        if sample.name.startswith("marshmallow"):
            assert "'str' object" in str(refusal(sample.schema, PAYLOAD))
        else:
            assert json.loads(encode(sent(sample.schema, PAYLOAD)))["title"] == "Tea"

    def test_an_object_is_sent(self, sample: Sample) -> None:
        if sample.name in ("plain function", "pydantic dataclass"):
            assert refusal(sample.schema, Note())  # it takes nothing but a dict, and the latter its own instances
            return
        note = Note(tags=["hot", "green"])
        dumped = json.loads(encode(sent(sample.schema, note)))
        assert {key: dumped[key] for key in ("title", "count", "tags", "ratio")} == {
            key: PAYLOAD[key] for key in ("title", "count", "tags", "ratio")
        }

    def test_what_was_loaded_is_sent(self, sample: Sample) -> None:
        loaded = as_schema(sample.schema).load(PAYLOAD)
        assert json.loads(encode(sent(sample.schema, loaded)))["title"] == "Tea"

    def test_a_missing_field_is_refused(self, sample: Sample) -> None:
        assert "title" in json.dumps(refusal(sample.schema, {"count": 1}))

    @pytest.mark.parametrize("wrong", [{"title": None}, {"count": "many"}, {"count": []}, {"tags": 5}], ids=repr)
    def test_a_wrong_type_is_refused(self, sample: Sample, wrong: Any) -> None:
        assert refusal(sample.schema, {**PAYLOAD, "when": WHEN, **wrong})

    @pytest.mark.parametrize("value", [None, 5, "text", [], [VALUE], True], ids=repr)
    def test_what_is_no_object_is_refused(self, sample: Sample, value: Any) -> None:
        assert refusal(sample.schema, value)

    def test_the_value_is_left_alone(self, sample: Sample) -> None:
        value = copy.deepcopy(VALUE)
        sent(sample.schema, value)
        assert value == VALUE

    def test_the_mark_for_the_database_changes_nothing(self, sample: Sample) -> None:
        # A function is marked itself, and other tests use it.
        schema = partial(sample.schema) if isinstance(sample.schema, FunctionType) else sample.schema
        assert sent(run_in_thread(schema), VALUE) == sent(sample.schema, VALUE)
        refusal(run_in_thread(schema), {})

    @given(
        title=st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=8),
        count=st.integers(-(2**53), 2**53),
        tags=st.lists(st.sampled_from(["a", "b"]), max_size=3),
        when=st.none() | st.integers(0, 2**31).map(lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC)),
        ratio=st.none() | st.floats(-1e12, 1e12),
    )
    @pytest.mark.parametrize("each", SAMPLES, ids=lambda sample: sample.name)
    def test_whatever_is_valid_is_sent(self, each: Sample, **values: Any) -> None:
        """No value of the right type is refused, and what is sent can be loaded again."""
        if not values["ratio"]:
            values["ratio"] = None
        dumped = json.loads(encode(sent(each.schema, values)))
        assert (dumped["title"], dumped["count"], dumped["tags"]) == (values["title"], values["count"], values["tags"])
        as_schema(each.schema).load(dumped)


def test_an_adapter_that_looks_at_nothing_dumps() -> None:
    """One that a project wrote for a library of its own, before there were pushes."""

    class Own(SchemaAdapter):
        def load(self, payload: Any) -> Any:
            raise AssertionError("A push loads nothing.")

        def dump(self, value: Any) -> Any:
            return [value]

    assert prepare(Push("a", schema=Own()), 1) == ("a", [1])


class Person(marshmallow.Schema):
    id = fields.Int(dump_only=True)
    name = fields.Str(required=True, data_key="fullName", validate=validate.Length(1, 5))
    password = fields.Str(required=True, load_only=True)
    seen = fields.DateTime(dump_only=True)
    level = fields.Int(attribute="rank", validate=validate.Range(1, 9))

    @marshmallow.post_load
    def make(self, data: Any, **kwargs: Any) -> Any:
        raise AssertionError("Nothing is built from what is sent.")


class Team(marshmallow.Schema):
    boss = fields.Nested(Person)
    people = fields.List(fields.Nested(Person))
    by_name = fields.Dict(keys=fields.Str(), values=fields.Nested(Person))
    pair = fields.Tuple((fields.Nested(Person), fields.Int()))
    ids = fields.Pluck(Person, "id", many=True)
    parent = fields.Nested(lambda: Team(), allow_none=True)


ANN = {"id": 1, "name": "Ann", "rank": 3, "seen": None}


class TestMarshmallow:
    def test_fields_for_one_way_are_no_mistake(self) -> None:
        """What clients only read is not unknown, and what they only write is not missed."""
        assert sent(Person, ANN) == {"id": 1, "fullName": "Ann", "level": 3, "seen": None}

    def test_errors_have_the_names_of_the_wire(self) -> None:
        value = {"name": "", "rank": 10}
        assert refusal(Person, value).keys() == {"fullName", "level"}

    def test_a_field_that_is_only_read_has_its_type(self) -> None:
        with pytest.raises(InvalidPush, match="ValueError"):
            prepare(Push("a", schema=Person), {**ANN, "id": "one"})

    def test_nested_schemas_are_looked_at_the_same_way(self) -> None:
        value = {
            "boss": ANN,
            "people": [ANN],
            "by_name": {"ann": ANN},
            "pair": (ANN, 1),
            "ids": [ANN],
            "parent": {"boss": ANN},
        }
        assert sent(Team, value)["parent"]["boss"]["fullName"] == "Ann"
        bad = {**ANN, "name": "Too long"}
        message = ["Length must be between 1 and 5."]
        assert refusal(Team, {"parent": {"boss": bad}}) == {"parent.boss.fullName": message}
        assert refusal(Team, {"people": [ANN, bad]}) == {"people.1.fullName": message}
        assert refusal(Team, {"by_name": {"a": bad}}) == {"by_name.a.value.fullName": message}
        assert refusal(Team, {"pair": (bad, 1)}) == {"pair.0.fullName": message}

    def test_many(self) -> None:
        schema = Person(many=True)
        assert len(sent(schema, [ANN, ANN])) == 2
        assert len(sent(schema, iter([ANN, ANN]))) == 2
        assert refusal(schema, [ANN, {}]) == {"1.fullName": ["Missing data for required field."]}
        assert refusal(schema, ANN) == {"__all__": ["Invalid input type."]}

    def test_options_of_the_instance_hold(self) -> None:
        assert sent(Person(partial=True), {"id": 1}) == {"id": 1}
        assert sent(Person(only=("id",)), ANN) == {"id": 1}
        assert sent(Person(unknown=marshmallow.RAISE), ANN)["id"] == 1

    def test_hooks_after_a_dump_make_what_they_like(self) -> None:
        """The fields are looked at before; so an envelope is no mistake, and a wrong field is one in it, too."""

        class Enveloped(marshmallow.Schema):
            text = fields.Str(required=True, allow_none=True)

            @marshmallow.pre_load
            def unwrap(self, data: Any, **kwargs: Any) -> Any:
                raise AssertionError("This is for what clients send.")

            @marshmallow.post_dump
            def wrap(self, data: Any, **kwargs: Any) -> Any:
                return {"data": {key: value for key, value in data.items() if value is not None}}

        class Outer(marshmallow.Schema):
            inner = fields.Nested(Enveloped)

        assert sent(Enveloped, {"text": None}) == {"data": {}}
        assert sent(Enveloped(many=True), iter([{"text": "a"}])) == [{"data": {"text": "a"}}]
        assert sent(Outer, {"inner": {"text": "a"}}) == {"inner": {"data": {"text": "a"}}}
        assert refusal(Enveloped, {}).keys() == {"text"}
        assert refusal(Outer, {"inner": {}}) == {"inner.text": ["Missing data for required field."]}

    def test_hooks_before_a_dump_run(self) -> None:
        class Doubled(marshmallow.Schema):
            number = fields.Int(required=True)

            @marshmallow.pre_dump
            def make(self, value: Any, **kwargs: Any) -> Any:
                return {"number": 2 * value}

        assert sent(Doubled, 4) == {"number": 8}

    def test_fields_that_dump_another_form_are_left_alone(self) -> None:
        class Money(fields.Decimal):
            def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
                return f"{value} EUR"

        class Bill(marshmallow.Schema):
            total = Money(required=True)
            lines = fields.List(Money())
            shouted = fields.Function(lambda bill: "X", deserialize=lambda text: 1 / 0)
            size = fields.Method("size_of")

            def size_of(self, bill: Any) -> int | None:
                return None

        value = {"total": Decimal(5), "lines": [Decimal(2)]}
        assert sent(Bill, value) == {"total": "5 EUR", "lines": ["2 EUR"], "shouted": "X", "size": None}

    def test_a_boolean_is_one_whatever_words_clients_have_for_it(self) -> None:
        schema = marshmallow.Schema.from_dict({"ready": fields.Bool(truthy={"ja"}, falsy={"nein"})})
        assert [sent(schema, {"ready": ready}) for ready in (True, False)] == [{"ready": True}, {"ready": False}]

    def test_rules_of_the_schema_hold(self) -> None:
        class Span(marshmallow.Schema):
            start = fields.Date(required=True)
            end = fields.Date(required=True)

            @marshmallow.validates_schema
            def in_order(self, data: Any, **kwargs: Any) -> None:
                if data["end"] < data["start"]:
                    raise marshmallow.ValidationError("It ends before it starts.", "end")

        day = dt.date(2024, 5, 6)
        assert sent(Span, {"start": day, "end": day}) == {"start": "2024-05-06", "end": "2024-05-06"}
        assert refusal(Span, {"start": day, "end": day.replace(day=1)}).keys() == {"end"}

    def test_a_rule_that_needs_what_is_not_sent_is_not_asked(self) -> None:
        """One about a password, or about the object that a load builds from a nested schema."""

        class Point(marshmallow.Schema):
            x = fields.Int(validate=validate.Range(max=5))

            @marshmallow.post_load
            def make(self, data: Any, **kwargs: Any) -> Any:
                return SimpleNamespace(**data)

        class Shape(marshmallow.Schema):
            point = fields.Nested(Point)

            @marshmallow.validates_schema
            def check(self, data: Any, **kwargs: Any) -> None:
                assert data["point"].x >= 0

        class Account(marshmallow.Schema):
            password = fields.Str(load_only=True)

            @marshmallow.validates_schema
            def check(self, data: Any, **kwargs: Any) -> None:
                if "password" not in data:
                    raise marshmallow.ValidationError("Say a password.")

        assert sent(Shape, {"point": {"x": 1}}) == {"point": {"x": 1}}
        assert refusal(Shape, {"point": {"x": 6}}).keys() == {"point.x"}
        assert sent(Account, {}) == {}

    def test_handlers_of_clients_mistakes_are_not_called(self) -> None:
        class Own(marshmallow.Schema):
            text = fields.Str(required=True)

            def handle_error(self, *args: Any, **kwargs: Any) -> None:
                raise NotFound

        assert refusal(Own, {}).keys() == {"text"}

    def test_schemas_stay_as_they_were(self) -> None:
        """The same instance goes on to load for a route."""
        schema = Team()
        sent(schema, {"boss": ANN})
        with pytest.raises(marshmallow.ValidationError) as caught:
            schema.load({"boss": {"id": 1, "fullName": "Ann"}})
        assert caught.value.normalized_messages() == {
            "boss": {"id": ["Unknown field."], "password": ["Missing data for required field."]}
        }


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", populate_by_name=True)

    name: str = pydantic.Field(alias="fullName", max_length=5)
    level: Annotated[int, pydantic.Field(ge=1)] = 1
    day: dt.date = dt.date(2024, 5, 6)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def shouted(self) -> str:
        return self.name.upper()

    @pydantic.field_serializer("day")
    def spell_day(self, day: dt.date) -> str:
        return f"{day:%d.%m.%Y}"


class TestPydantic:
    @pytest.mark.parametrize("value", [{"fullName": "Ann"}, {"name": "Ann"}, SimpleNamespace(name="Ann")], ids=repr)
    def test_names_and_computed_fields_are_no_mistake(self, value: Any) -> None:
        assert sent(Aliased, value) == {"name": "Ann", "level": 1, "day": "06.05.2024", "shouted": "ANN"}

    def test_an_instance_is_sent(self) -> None:
        assert sent(Aliased, Aliased(name="Ann"))["name"] == "Ann"
        assert sent(list[Aliased], [Aliased(name="Ann"), {"name": "Bob"}])[1]["name"] == "Bob"

    @pytest.mark.parametrize("wrong", [{"name": "Too long"}, {"level": 0}, {"level": "x"}, {"more": 1}], ids=repr)
    def test_what_the_model_refuses_is_not_sent(self, wrong: Any) -> None:
        assert refusal(Aliased, {"name": "Ann", **wrong}).keys() == wrong.keys()

    def test_an_instance_that_was_broken_is_refused(self) -> None:
        """As far as pydantic tells: before 2.8 it only warned."""
        note = NoteModel(title="Tea")
        note.count = "many"  # type: ignore[assignment]
        if tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 8):
            with pytest.warns(UserWarning, match="Expected `int`"):
                sent(NoteModel, note)
        else:
            assert "Expected `int`" in str(refusal(NoteModel, note))

    def test_a_strict_model_takes_values_of_python_and_of_json(self) -> None:
        class Strict(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(strict=True)
            when: dt.datetime
            count: int = 0

        spelt = {"when": "2024-05-06T07:08:09Z", "count": 1}
        assert sent(Strict, {"when": WHEN, "count": 1}) == sent(Strict, spelt) == spelt
        assert refusal(Strict, {**spelt, "count": "1"})
        assert refusal(Strict, {"when": object()})


class Renamed(msgspec.Struct, rename="camel", tag="person", forbid_unknown_fields=True):
    full_name: Annotated[str, msgspec.Meta(max_length=5)]
    level: Annotated[int, msgspec.Meta(ge=1)] = 1
    blob: bytes = b""


class TestMsgspec:
    def test_an_instance_is_sent_by_the_names_of_the_wire(self) -> None:
        assert sent(Renamed, Renamed("Ann", blob=b"a")) == {
            "type": "person", "fullName": "Ann", "level": 1, "blob": "YQ=="
        }  # fmt: skip

    @pytest.mark.parametrize("value", [Renamed("Ann", level=0), Renamed("Too long"), Renamed(5)], ids=repr)  # type: ignore[arg-type]
    def test_an_instance_that_does_not_fit_is_refused(self, value: Any) -> None:
        """A Struct looks at nothing when it is made."""
        assert refusal(Renamed, value)

    def test_many(self) -> None:
        assert sent(list[NoteStruct], [NoteStruct("a"), {"title": "b"}])[1]["title"] == "b"
        assert refusal(list[NoteStruct], [{}])


class Upper(serializers.CharField):
    def to_representation(self, value: Any) -> Any:
        return {"text": value}


class OfRequest(serializers.Field[Any, Any, Any, Any]):
    def to_representation(self, value: Any) -> Any:
        return value

    def to_internal_value(self, data: Any) -> Any:
        return self.context["request"].user


class Account(serializers.Serializer[Any]):
    id = serializers.IntegerField(read_only=True, max_value=100)
    name = serializers.CharField(max_length=5, validators=[UniqueValidator(User.objects.all(), lookup="broken")])
    password = serializers.CharField(write_only=True)
    day = serializers.DateField(format="%d.%m.%Y", required=False)
    month = serializers.DateField(input_formats=["%m/%Y"], required=False)
    odd = Upper(required=False)
    own = OfRequest(required=False)
    seen = serializers.DateTimeField(read_only=True)
    size = serializers.SerializerMethodField()
    levels = serializers.ListField(child=serializers.IntegerField(max_value=9), max_length=2, required=False)
    marks = serializers.DictField(child=serializers.IntegerField(max_value=9), allow_empty=False, required=False)

    def get_size(self, value: Any) -> Any:
        return object

    def validate(self, attrs: Any) -> Any:
        raise AssertionError("It is for what clients send.")

    validate_name = validate


class Company(serializers.Serializer[Any]):
    boss = Account()
    people = Account(many=True, required=False, max_length=2)


BOB = {"id": 1, "name": "Bob", "seen": None}


class TestRestFramework:
    def test_fields_for_one_way_are_no_mistake(self) -> None:
        assert sent(Account, BOB) == {**BOB, "size": object}

    def test_forms_that_only_go_out_are_left_alone(self) -> None:
        day = dt.date(2024, 5, 6)
        dumped = sent(Account, {**BOB, "day": day, "month": day, "odd": "a", "own": 1})
        assert (dumped["day"], dumped["month"], dumped["odd"]) == ("06.05.2024", "2024-05-06", {"text": "a"})

    @pytest.mark.parametrize(
        ("wrong", "errors"),
        [
            ({"name": "Too long"}, {"name": ["Ensure this field has no more than 5 characters."]}),
            ({"name": None}, {"name": ["This field may not be null."]}),
            ({"id": 101}, {"id": ["Ensure this value is less than or equal to 100."]}),
            ({"levels": [1, 10]}, {"levels.1": ["Ensure this value is less than or equal to 9."]}),
            ({"levels": [1, 2, 3]}, {"levels": ["Ensure this field has no more than 2 elements."]}),
            ({"marks": {"a": 10}}, {"marks.a": ["Ensure this value is less than or equal to 9."]}),
            ({"marks": {}}, {"marks": ["This dictionary may not be empty."]}),
        ],
        ids=repr,
    )
    def test_what_a_field_refuses_is_not_sent(self, wrong: Any, errors: Any) -> None:
        """Its own validators are asked, but not whether the name is unique, which this database could not answer."""
        assert refusal(Account, {**BOB, **wrong}) == errors
        assert refusal(Company, {"boss": {**BOB, **wrong}}) == {
            f"boss.{path}": messages for path, messages in errors.items()
        }

    def test_lists_of_serializers(self) -> None:
        assert len(sent(Account(many=True), [BOB, BOB])) == 2
        assert refusal(Account(many=True), [BOB, {**BOB, "id": 101}]).keys() == {"1.id"}
        assert refusal(Company, {"boss": BOB, "people": [BOB] * 3}) == {
            "people": ["Ensure this field has no more than 2 elements."]
        }

    def test_code_of_fields_refuses_with_any_validation_error(self) -> None:
        class Coded(serializers.Field[Any, Any, Any, Any]):
            def to_representation(self, value: Any) -> Any:
                if value == "out":
                    raise serializers.ValidationError({"code": ["Out."]})
                return value

            def to_internal_value(self, data: Any) -> Any:
                raise DjangoValidationError("In.")

        class Coupon(serializers.Serializer[Any]):
            code = Coded()

        assert refusal(Coupon, {"code": "out"}) == {"code": ["Out."]}
        assert refusal(Coupon, {"code": "in"}) == {"code": ["In."]}

    def test_a_list_that_is_too_short_is_refused(self) -> None:
        assert refusal(Account(many=True, min_length=2), [BOB]) == {
            "__all__": ["Ensure this field has at least 2 elements."]
        }

    def test_a_representation_of_its_own_is_sent_as_it_is(self) -> None:
        class Own(Account):
            def to_representation(self, instance: Any) -> Any:
                return {"name": "Much too long"}

        assert sent(Own, BOB) == {"name": "Much too long"}

    @pytest.mark.django_db
    def test_an_object_that_is_in_the_database_is_sent(self) -> None:
        """That its name is taken, by itself, is no mistake, and no query asks for it."""

        class GroupSerializer(serializers.ModelSerializer[Group]):
            class Meta:
                model = Group
                fields = ("id", "name", "permissions")

        group = Group.objects.create(name="staff")
        assert sent(GroupSerializer, group) == {"id": group.pk, "name": "staff", "permissions": []}
        group.name = "x" * 151
        assert refusal(GroupSerializer, group).keys() == {"name"}


class TestPlainFunctions:
    def test_what_it_returns_is_sent(self) -> None:
        assert sent(lambda value: {"text": value.upper()}, "a") == {"text": "A"}

    @pytest.mark.parametrize(
        ("error", "errors"),
        [
            (ValueError("No."), {"__all__": ["No."]}),
            (DjangoValidationError({"text": ["No."]}), {"text": ["No."]}),
            (marshmallow.ValidationError({"text": ["No."]}), {"text": ["No."]}),
            (serializers.ValidationError({"text": ["No."]}), {"text": ["No."]}),
        ],
        ids=repr,
    )
    def test_validation_errors_are_its_refusal(self, error: Exception, errors: Any) -> None:
        def refuse(value: Any) -> Any:
            raise error

        assert refusal(refuse, 1) == errors

    @pytest.mark.parametrize("error", [TypeError, KeyError, NotFound, ZeroDivisionError])
    def test_other_errors_are_its_own(self, error: type[Exception]) -> None:
        def fail(value: Any) -> Any:
            raise error

        with pytest.raises(error):
            prepare(Push("a", schema=fail), 1)


class Room(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("say")
    async def say(self, request: Request) -> None:
        await self.socket.push(request.payload["name"], request.payload["value"])

    @route("say.group")
    async def say_to_group(self, request: Request) -> None:
        await self.socket.join("note room")
        await self.socket.broadcast("note room", request.payload["name"], request.payload["value"])

    @route("say.object")
    async def say_object(self, request: Request) -> None:
        await self.socket.push(Push("note", schema=NoteSchema), request.payload, headers={"a": 1})


class SyncRoom(RouteMixin, JsonWebsocketConsumer):
    @route("say")
    def say(self, request: Request) -> None:
        self.socket.push(request.payload["name"], request.payload["value"])

    @route("say.group")
    def say_to_group(self, request: Request) -> None:
        self.socket.join("note room")
        self.socket.broadcast("note room", request.payload["name"], request.payload["value"])


class IsolatedRoom(SyncRoom):
    route_dedicated_threads = True


@pytest.mark.parametrize("consumer", [Room, SyncRoom, IsolatedRoom])
@pytest.mark.parametrize("mark", [lambda schema: schema, run_in_thread], ids=["loop", "thread"])
class TestSocket:
    """A name that the consumer lists stands for the declaration, in pushes and in broadcasts."""

    def room(self, consumer: Any, mark: Any) -> Any:
        return type("Room", (consumer,), {"route_pushes": [Push("note", schema=mark(NoteSchema))]})

    async def test_what_fits_is_sent(self, consumer: Any, mark: Any) -> None:
        async with RouteClient(self.room(consumer, mark)) as client:
            for route in ("say", "say.group"):
                await client.call(route, {"name": "note", "value": {"title": "Tea"}})
                assert (await client.expect_push("note")).payload == {"title": "Tea"}

    async def test_what_does_not_fit_is_a_fault_and_not_sent(self, consumer: Any, mark: Any) -> None:
        async with RouteClient(self.room(consumer, mark), raise_exceptions=False) as client:
            for route in ("say", "say.group"):
                assert (await client.call(route, {"name": "note", "value": {}})).status == 500
                await client.refute_push()
                assert (await client.call(route, {"name": "plain", "value": {}})).status == 204
                await client.expect_push("plain")

    async def test_a_name_of_another_consumer_is_sent_as_it_is(self, consumer: Any, mark: Any) -> None:
        self.room(consumer, mark)
        async with RouteClient(consumer) as client:
            await client.call("say", {"name": "note", "value": {}})
            assert (await client.expect_push("note")).payload == {}


async def test_a_socket_takes_the_object() -> None:
    async with RouteClient(Room) as client:
        await client.call("say.object", {"title": "Tea"})
        push = await client.expect_push("note")
        assert (push.payload, push.headers) == ({"title": "Tea"}, {"a": 1})
