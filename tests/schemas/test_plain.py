"""Plain functions as schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from asgiref.sync import async_to_sync
from django import forms
from django.core.exceptions import ValidationError

from routesock._wire.problems import error_of
from routesock.exceptions import Invalid, RouteSetupError
from routesock.schemas import as_schema

from .samples import NoteModel, NoteSerializer, NoteStruct, note


async def checked_later(payload: Any) -> Any:
    return payload


async def generated_later(payload: Any) -> AsyncIterator[Any]:
    yield payload


def generated(payload: Any) -> Iterator[Any]:
    yield payload


class Checker:
    def __call__(self, payload: Any) -> Any:
        return note(payload)


class LateChecker:
    async def __call__(self, payload: Any) -> Any:
        return payload


def refuse(exc: Exception) -> Any:
    def check(payload: Any) -> Any:
        raise exc

    return check


@pytest.mark.parametrize(
    "schema", [note, partial(note), Checker(), Checker().__call__], ids=["function", "partial", "instance", "method"]
)
def test_every_callable_but_a_class_is_a_function(schema: Any) -> None:
    """Functions, partials, bound methods and objects with ``__call__`` are called with the payload."""
    assert as_schema(schema).load({"title": "a"}) == {"title": "a", "tags": []}


def test_value_error_is_the_refusal() -> None:
    """The text of a ValueError goes to the client."""
    with pytest.raises(Invalid) as caught:
        as_schema(refuse(ValueError("Too short."))).load({})
    assert caught.value.errors == {"__all__": ["Too short."]}


@pytest.mark.parametrize("exc", [TypeError("x"), KeyError("x"), ValidationError("x"), LookupError()], ids=repr)
def test_other_errors_come_through(exc: Exception) -> None:
    """What else it raises is what it is when a handler raises it."""
    with pytest.raises(type(exc)) as caught:
        as_schema(refuse(exc)).load({})
    assert caught.value is exc


def test_pydantic_inside_a_function_does_not_show_the_input() -> None:
    """pydantic's error is a ValueError whose text holds the input: it is sent as the pydantic adapter sends it."""
    with pytest.raises(Invalid) as caught:
        as_schema(NoteModel.model_validate).load({"title": "a", "count": "secret"})
    assert list(caught.value.errors) == ["count"]
    assert "secret" not in str(caught.value.errors)


def test_msgspec_inside_a_function_is_a_refusal() -> None:
    """msgspec's error shows types and no input."""
    with pytest.raises(Invalid) as caught:
        as_schema(partial(msgspec.convert, type=NoteStruct)).load({"title": 5})
    assert caught.value.errors == {"title": ["Expected `str`, got `int`"]}


@pytest.mark.parametrize(
    "schema",
    [checked_later, partial(checked_later), LateChecker(), generated_later, generated],
    ids=["async function", "partial", "instance", "async generator", "generator"],
)
def test_what_does_not_run_when_called_is_refused(schema: Any) -> None:
    """An async function or a generator would let every payload through: refused at class creation, with a remedy."""
    with pytest.raises(RouteSetupError, match="hydrate="):
        as_schema(schema)


def test_wrapped_async_function_is_plain() -> None:
    """What makes a coroutine and waits for it itself is a plain function."""
    assert as_schema(async_to_sync(checked_later)).load(5) == 5


@pytest.mark.parametrize("awaitable", [checked_later, lambda payload: Awaitable()], ids=["coroutine", "other"])
def test_hidden_awaitable_is_a_fault(awaitable: Any) -> None:
    """What only turns out to be awaitable when called is no result: the payload was not checked."""
    with pytest.raises(TypeError, match="returned an awaitable"):
        as_schema(lambda payload: awaitable(payload)).load({})


class Awaitable:
    def __await__(self) -> Iterator[Any]:
        yield


def test_dump_calls_the_function() -> None:
    """Behind ``dehydrate=``, the function turns the result into JSON, and its ValueError is a fault."""
    assert as_schema(lambda value: {"n": value}).dump(5) == {"n": 5}
    with pytest.raises(ValueError, match=r"^no$"):
        as_schema(refuse(ValueError("no"))).dump(5)


class NoteForm(forms.Form):
    title = forms.CharField(max_length=5)


def checked_note(payload: Any) -> Any:
    form = NoteForm(payload)
    if not form.is_valid():
        raise ValidationError(form.errors.as_data())
    return form.cleaned_data


def test_form_that_validated_nothing_is_a_fault() -> None:
    """A function that only makes the form would permit everything; so would a DRF serializer."""
    for schema in (NoteForm, NoteSerializer):
        adapter = as_schema(lambda payload, schema=schema: schema(data=payload))
        with pytest.raises(TypeError, match="has validated nothing"):
            adapter.load({"title": "Too long"})


def test_form_that_has_validated_is_right() -> None:
    """Its errors are a refusal by field; what it has cleaned, or the form itself, is the payload."""
    adapter = as_schema(checked_note)
    assert adapter.load({"title": "Tea "}) == {"title": "Tea"}
    with pytest.raises(ValidationError) as caught:
        adapter.load({"title": "Too long"})
    error = error_of(caught.value)
    assert error is not None
    assert (error.status, list(error.errors)) == (422, ["title"])

    def valid(payload: Any) -> NoteForm:
        form = NoteForm(payload)
        assert form.is_valid()
        return form

    assert isinstance(as_schema(valid).load({"title": "Tea"}), NoteForm)
