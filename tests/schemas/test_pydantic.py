"""pydantic's own rules behind ``schema=``."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any

import pydantic
import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from routesock._wire.codec import encode
from routesock.exceptions import Invalid, RouteSetupError
from routesock.schemas import as_schema

from .samples import PAYLOAD, WHEN, NoteDataclass, NoteModel


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    number: int = 0
    when: dt.datetime | None = None
    id: uuid.UUID | None = None
    names: set[str] = set()


class Tree(BaseModel):
    node: Tree | None = None


class Out(BaseModel):
    id: int
    price: Decimal


async def later(value: Any) -> Any:
    return value


def errors_of(schema: Any, payload: Any) -> Any:
    with pytest.raises(Invalid) as caught:
        as_schema(schema).load(payload)
    return caught.value.errors


@pytest.fixture
def native(settings: Any) -> None:
    settings.ROUTESOCK = {"VALIDATION_ERRORS": "native"}


def test_load_gives_the_model() -> None:
    """The payload is an instance, with its texts parsed."""
    note = as_schema(NoteModel).load(PAYLOAD)
    assert isinstance(note, NoteModel)
    assert note.when == WHEN
    assert isinstance(as_schema(NoteDataclass).load(PAYLOAD), NoteDataclass)


def test_errors_are_messages_by_path() -> None:
    """Each message is under the path that is in ``loc``; messages of the whole payload are under ``__all__``."""
    errors = errors_of(NoteModel, {"title": "a", "tags": ["x", {"password": "secret"}], "count": "many"})
    assert errors == {
        "count": ["Input should be a valid integer, unable to parse string as an integer"],
        "tags.1": ["Input should be a valid string"],
    }
    assert errors_of(NoteModel, 5).keys() == {"__all__"}


@pytest.mark.usefixtures("native")
def test_native_errors_are_a_list_of_type_loc_msg() -> None:
    """Errors are what ``errors()`` gives, without the input, which may be a password, and without ctx and url."""
    errors = errors_of(NoteModel, {"title": "a", "tags": ["x", {"password": "secret"}], "count": "many"})
    assert errors == [
        {
            "type": "int_parsing",
            "loc": ["count"],
            "msg": "Input should be a valid integer, unable to parse string as an integer",
        },
        {"type": "string_type", "loc": ["tags", 1], "msg": "Input should be a valid string"},
    ]


@pytest.mark.usefixtures("native")
def test_twenty_whole_errors_are_kept() -> None:
    """An entry is kept or left out as one; the rest is counted in one entry more."""
    errors = errors_of(NoteModel, {"title": "a", **{f"field{number}": 1 for number in range(5_000)}})
    assert errors[:20] == [
        {"type": "extra_forbidden", "loc": [f"field{number}"], "msg": "Extra inputs are not permitted"}
        for number in range(20)
    ]
    assert errors[20:] == [{"type": "too_many_errors", "loc": [], "msg": "4980 more."}]


def test_strict_model_reads_json() -> None:
    """A strict model takes what JSON can spell: text for a datetime, a list for a set; but no text for an int."""
    id = uuid.uuid4()
    strict = as_schema(Strict).load({"number": 1, "when": PAYLOAD["when"], "id": str(id), "names": ["a"]})
    assert strict == Strict(number=1, when=WHEN, id=id, names={"a"})
    assert errors_of(Strict, {"number": "1"}).keys() == {"number"}


def test_lax_model_converts() -> None:
    """Without ``strict``, pydantic's own conversions hold."""
    assert as_schema(NoteModel).load({"title": "a", "count": "3"}).count == 3


@pytest.mark.parametrize("schema", [list[Out], pydantic.TypeAdapter(list[Out])], ids=["list", "TypeAdapter"])
def test_lists_of_models(schema: Any) -> None:
    """``list[Model]`` is a schema for lists, in both directions."""
    adapter = as_schema(schema)
    assert adapter.load([{"id": 1, "price": "1.5"}]) == [Out(id=1, price=Decimal("1.5"))]
    assert adapter.dump([SimpleNamespace(id=1, price=Decimal("1.5"))]) == [{"id": 1, "price": "1.5"}]
    assert errors_of(schema, [{"id": 1, "price": 1}, {}]).keys() >= {"1.id"}


@pytest.mark.parametrize(
    "value",
    [Out(id=1, price=Decimal("1.5")), {"id": 1, "price": "1.5"}, SimpleNamespace(id=1, price=Decimal("1.5"), x=1)],
    ids=["model", "dict", "object"],
)
def test_dump_takes_what_has_the_fields(value: Any) -> None:
    """An instance, a dict, or any object with the attributes; the dump holds the model's fields and nothing else."""
    assert as_schema(Out).dump(value) == {"id": 1, "price": "1.5"}


def test_dump_raises_what_pydantic_raises() -> None:
    """A result that does not fit is the server's fault: no Invalid."""
    with pytest.raises(pydantic.ValidationError):
        as_schema(Out).dump({"id": "x"})


def test_dumped_datetimes_are_text() -> None:
    """As with ``model_dump(mode="json")``."""
    assert as_schema(NoteModel).dump(NoteModel(title="a", when=WHEN))["when"] == "2024-05-06T07:08:09Z"


def test_payload_as_deep_as_allowed_loads() -> None:
    """A model that nests itself takes the 64 levels that a frame may have, and refuses a mistake at the last."""
    payload: Any = {}
    wrong: Any = 5
    for _ in range(63):
        payload, wrong = {"node": payload}, {"node": wrong}
    assert as_schema(Tree).dump(as_schema(Tree).load(payload))
    assert len(encode(errors_of(Tree, wrong))) <= 3_000


class LateField(BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    async def later(cls, name: str) -> str:
        return name


class LateModel(BaseModel):
    name: str

    @pydantic.model_validator(mode="before")
    @classmethod
    async def later(cls, data: Any) -> Any:
        return data


class LateSerializer(BaseModel):
    name: str

    @pydantic.field_serializer("name")
    async def later(self, name: str) -> str:
        return name


class LateAnnotated(BaseModel):
    name: Annotated[str, AfterValidator(later)]


@pytest.mark.parametrize("late", [LateField, LateModel, LateSerializer, LateAnnotated])
@pytest.mark.parametrize(
    "around", [lambda late: late, lambda late: pydantic.create_model("Outer", x=(list[late], ...))]
)
def test_async_validators_are_refused(late: Any, around: Any) -> None:
    """pydantic never awaits: an async validator or serializer, nested ones included, is an error at class creation."""
    with pytest.raises(RouteSetupError, match="later is async"):
        as_schema(around(late))


def test_messages_of_own_validators_are_sent() -> None:
    """The text of a ValueError in a validator is a message for the client, its context is not."""

    class Short(BaseModel):
        name: Annotated[str, Field(max_length=3), AfterValidator(lambda name: 1 / 0 if name == "0" else name)]

        @pydantic.field_validator("name")
        @classmethod
        def no_a(cls, name: str) -> str:
            if name == "a":
                raise ValueError("No a.")
            return name

    assert errors_of(Short, {"name": "a"}) == {"name": ["Value error, No a."]}
    with pytest.raises(ZeroDivisionError):
        as_schema(Short).load({"name": "0"})
