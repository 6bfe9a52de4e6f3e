"""msgspec's own rules behind ``schema=``."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from routesock.exceptions import Invalid, RouteSetupError
from routesock.schemas import as_schema

from .samples import PAYLOAD, WHEN, NoteStruct


class Out(msgspec.Struct):
    id: int
    by_id: dict[int, str] = {}


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str


class Tree(msgspec.Struct):
    node: Tree | None = None


class Short(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        if len(self.name) > 3:
            raise ValueError("Too long.")


class Endless(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        self.__post_init__()


class Late(msgspec.Struct):
    name: str

    async def __post_init__(self) -> None:
        pass


def errors_of(schema: Any, payload: Any) -> Any:
    with pytest.raises(Invalid) as caught:
        as_schema(schema).load(payload)
    return caught.value.errors


def test_load_gives_the_struct() -> None:
    """The payload is an instance, with its texts parsed."""
    note = as_schema(NoteStruct).load(PAYLOAD)
    assert isinstance(note, NoteStruct)
    assert note.when == WHEN


def test_load_is_strict() -> None:
    """As where msgspec reads the JSON itself: no text for an integer."""
    assert errors_of(NoteStruct, {"title": "a", "count": "3"}) == {"count": ["Expected `int`, got `str`"]}


class Places(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Short] = []
    by_name: dict[str, Short] = {}
    by_id: dict[int, str] = {}
    dotted: int = msgspec.field(default=0, name="a`.b[0]")


@pytest.mark.parametrize(
    ("payload", "path", "message"),
    [
        ({"items": [{"name": "a"}, {"name": 5}]}, "items.1.name", "Expected `str`, got `int`"),
        ({"items": [{}]}, "items.0.name", "Object missing required field `name`"),
        ({"more": 1}, "more", "Object contains unknown field `more`"),
        ({"items": [{"name": "long name"}]}, "items.0", "Too long."),
        ({"by_name": {"a": {"name": 5}}}, "by_name.*.name", "Expected `str`, got `int`"),
        ({"by_id": {"a": "x"}}, "by_id", "Expected `int`, got `str`"),
        (5, "__all__", "Expected `object`, got `int`"),
        ({"a`.b[0]": "x"}, "a`.b.0", "Expected `int`, got `str`"),
    ],
    ids=["item", "missing", "unknown", "post_init", "value", "key", "whole", "dotted"],
)
def test_messages_have_the_path_that_msgspec_names(payload: Any, path: str, message: str) -> None:
    """The one message of msgspec is under its path; a key that msgspec does not name is ``*``."""
    assert errors_of(Places, payload) == {path: [message]}


def test_native_errors_are_one_text(settings: Any) -> None:
    """msgspec's own text names the place."""
    settings.ROUTESOCK = {"VALIDATION_ERRORS": "native"}
    assert errors_of(NoteStruct, {"title": "a", "count": "3"}) == {
        "_schema": ["Expected `int`, got `str` - at `$.count`"]
    }


def test_message_of_post_init_is_sent() -> None:
    """msgspec makes a refusal of a ValueError in ``__post_init__``."""
    assert errors_of(Short, {"name": "long name"}) == {"__all__": ["Too long."]}


def test_half_a_surrogate_pair_is_refused() -> None:
    """JSON can spell it, msgspec cannot read it: a refusal, no fault."""
    assert errors_of(NoteStruct, {"title": "a", "\ud800": 1}) == {"__all__": ["A text is not valid Unicode."]}


def test_async_post_init_is_refused() -> None:
    """msgspec never awaits."""
    with pytest.raises(RouteSetupError, match=r"^Late\.__post_init__ is async"):
        as_schema(Late)


def test_lists_of_structs() -> None:
    """``list[Struct]`` is a schema for lists, in both directions."""
    adapter = as_schema(list[Out])
    assert adapter.load([{"id": 1}]) == [Out(1)]
    assert adapter.dump([Out(1), SimpleNamespace(id=2, by_id={})]) == [{"id": 1, "by_id": {}}, {"id": 2, "by_id": {}}]
    assert errors_of(list[Out], {"id": 1}) == {"__all__": ["Expected `array`, got `object`"]}


@pytest.mark.parametrize(
    "value", [Out(1, {2: "b"}), {"id": 1, "by_id": {2: "b"}}, SimpleNamespace(id=1, by_id={2: "b"})]
)
def test_dump_takes_what_has_the_fields(value: Any) -> None:
    """An instance, a dict, or any object with the attributes; keys become text, as JSON has them."""
    assert as_schema(Out).dump(value) == {"id": 1, "by_id": {"2": "b"}}


def test_keys_of_json_are_text() -> None:
    """A dict with integer keys is read from JSON's text keys."""
    assert as_schema(Out).load({"id": 1, "by_id": {"2": "b"}}) == Out(1, {2: "b"})


def test_renamed_fields() -> None:
    """A Struct's own renaming holds on the wire."""
    assert as_schema(Renamed).dump(as_schema(Renamed).load({"firstName": "a"})) == {"firstName": "a"}


def test_dump_raises_what_msgspec_raises() -> None:
    """A result that does not fit is the server's fault: no Invalid."""
    with pytest.raises(msgspec.ValidationError):
        as_schema(Out).dump({"id": "x"})


def test_payload_as_deep_as_allowed_loads() -> None:
    """A Struct that nests itself takes the 64 levels that a frame may have."""
    payload: Any = {}
    for _ in range(63):
        payload = {"node": payload}
    assert as_schema(Tree).load(payload)


def test_payload_deeper_than_the_stack_is_a_refusal() -> None:
    """Where the stack ends differs between Pythons; a frame never comes near it."""
    payload: Any = {}
    for _ in range(2_000):
        payload = {"node": payload}
    with suppress(Invalid):
        assert as_schema(Tree).load(payload)


def test_endless_post_init_is_a_fault() -> None:
    """Running out of stack on a flat payload is no mistake of the client's."""
    with pytest.raises(RecursionError):
        as_schema(Endless).load({"name": "a"})
