"""What may stand behind ``schema=``, and what is said about the rest."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from django import forms
from marshmallow import fields

from routesock.exceptions import RouteSetupError
from routesock.schemas import SchemaAdapter, as_schema, library_adapter

from .samples import NoteModel, NoteSerializer, NoteStruct, note


class Upper(SchemaAdapter):
    def load(self, payload: Any) -> Any:
        return payload.upper()

    def dump(self, value: Any) -> Any:
        return value.lower()


class NoteForm(forms.Form):
    title = forms.CharField()


@dataclass
class Stored:
    title: Any


def test_own_adapter_is_taken_as_it_is() -> None:
    """A library that routesock does not know needs a subclass of SchemaAdapter, nothing more."""
    adapter = as_schema(Upper())
    assert (adapter.load("a"), adapter.dump("A"), adapter.runs_in_thread) == ("A", "a", False)


@pytest.mark.parametrize(
    "schema",
    [None, 5, "NoteSchema", ["title"], pytest.param(object(), id="object()"), list[int], Annotated[int, 1]],
    ids=repr,
)
def test_anything_else_is_refused(schema: Any) -> None:
    """What is not a schema is an error when the class is created, which names it and what is accepted."""
    with pytest.raises(RouteSetupError, match="is not a schema") as caught:
        as_schema(schema)
    assert repr(schema) in str(caught.value)
    assert "marshmallow Schema" in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "hint"),
    [
        (NoteModel(title="x"), "Did you mean the class, NoteModel?"),
        (NoteStruct(title="x"), "Did you mean the class, NoteStruct?"),
        ({"title": fields.Str()}, r"Did you mean marshmallow's Schema\.from_dict"),
        ("NoteSchema", "Give the object, not its name"),
        (Upper, r"Did you mean an instance, Upper\("),
        (NoteForm, r"A form validates nothing before its is_valid\(\) is called. Write a function"),
        (NoteForm(), r"A form validates nothing before its is_valid\(\) is called. Write a function"),
        (Stored, r"Did you mean a function"),
        (NoteSerializer(data={}), "is bound to an instance or to data"),
        (NoteSerializer(object()), "is bound to an instance or to data"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_likely_mistakes_get_a_hint(schema: Any, hint: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(RouteSetupError, match=hint):
        as_schema(schema)


def test_library_adapter_leaves_functions_alone() -> None:
    """Where a callable means something else than a schema, only a library's schemas are found."""
    assert library_adapter(note) is None
    assert library_adapter(NoteModel) is not None


def test_no_library_is_imported_on_a_guess() -> None:
    """Resolving a plain function, or refusing what is none, imports no schema library."""
    code = """
import sys
from routesock.exceptions import RouteSetupError
from routesock.schemas import as_schema
as_schema(lambda payload: payload)
try:
    as_schema(5)
except RouteSetupError:
    pass
print([name for name in ("marshmallow", "pydantic", "msgspec", "rest_framework") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
