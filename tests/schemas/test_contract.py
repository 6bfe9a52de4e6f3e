"""What every adapter keeps to, whichever library is behind it."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock import run_in_thread, run_on_loop
from routesock._wire.codec import encode
from routesock.exceptions import Invalid
from routesock.schemas import SchemaAdapter, as_schema

from .samples import PAYLOAD, SAMPLES, Sample, note

# JSON can spell half a surrogate pair and integers of thousands of digits.
texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(["\ud800", "1", "nan", "1e400"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 10**4299, 2**64])
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
names = texts | st.sampled_from([*PAYLOAD, "child", "self", "__class__", "data"])
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@pytest.fixture(params=SAMPLES, ids=lambda sample: sample.name, scope="module")
def sample(request: pytest.FixtureRequest) -> Sample:
    return request.param


@pytest.fixture(scope="module")
def adapter(sample: Sample) -> SchemaAdapter:
    return as_schema(sample.schema)


def value_of(loaded: Any, name: str) -> Any:
    """A field of what was loaded, which is a dict or an object, as the library has it."""
    return loaded[name] if isinstance(loaded, dict) else getattr(loaded, name)


def tags_of(loaded: Any) -> Any:
    return value_of(loaded, "tags")


def refusal(adapter: SchemaAdapter, payload: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        adapter.load(payload)
    return caught.value


def test_good_payload_loads(adapter: SchemaAdapter) -> None:
    """A payload that fits is loaded with its values."""
    loaded = adapter.load(PAYLOAD)
    assert [value_of(loaded, name) for name in ("title", "count", "tags")] == ["Tea", 3, ["hot", "green"]]


def test_load_leaves_the_payload_alone(adapter: SchemaAdapter) -> None:
    """What the client sent is the same after loading."""
    payload = copy.deepcopy(PAYLOAD)
    adapter.load(payload)
    assert payload == PAYLOAD


def test_loads_are_independent(adapter: SchemaAdapter) -> None:
    """Changing one result changes no other, nor the defaults of the next."""
    first, second = tags_of(adapter.load({"title": "a"})), tags_of(adapter.load({"title": "b"}))
    first.append("x")
    assert second == []
    assert tags_of(adapter.load({"title": "c"})) == []


@pytest.mark.parametrize(
    "payload", [{**PAYLOAD, "title": 5}, {**PAYLOAD, "title": {}}, {**PAYLOAD, "count": []}], ids=repr
)
def test_wrong_type_is_refused(sample: Sample, adapter: SchemaAdapter, payload: Any) -> None:
    """A field of the wrong type is the client's mistake."""
    if sample.name.startswith("DRF") and payload["title"] == 5:
        assert adapter.load(payload)["title"] == "5"  # its CharField takes numbers
    else:
        assert refusal(adapter, payload).errors


def test_missing_field_is_refused(adapter: SchemaAdapter) -> None:
    """A field that has no default must be there."""
    error = refusal(adapter, {"count": 1})
    assert error.status == 422
    assert "title" in json.dumps(error.errors)


@pytest.mark.parametrize("payload", [None, [], [1], "text", "", 5, 0.5, True, False, {}], ids=repr)
def test_anything_but_an_object_is_refused(adapter: SchemaAdapter, payload: Any) -> None:
    """What is no object, or an empty one, is the client's mistake, never a fault."""
    assert refusal(adapter, payload).errors


def test_unknown_fields_are_as_in_the_library(sample: Sample, adapter: SchemaAdapter) -> None:
    """A field that the schema does not have is refused or ignored, as the schema says."""
    payload = {**PAYLOAD, "extra": 1}
    if sample.unknown == "refused":
        assert "extra" in json.dumps(refusal(adapter, payload).errors)
    else:
        assert "extra" not in adapter.load(payload)


def test_thousands_of_unknown_fields_give_a_small_refusal(sample: Sample, adapter: SchemaAdapter) -> None:
    """The reply does not grow with what the client sends."""
    payload = {**PAYLOAD, **{f"field-{number}-{'x' * 40}": 1 for number in range(5_000)}}
    if sample.unknown == "refused":
        assert len(encode(refusal(adapter, payload).problem())) < 3_200


def test_dumped_value_is_strict_json(adapter: SchemaAdapter) -> None:
    """What was loaded can be dumped, encoded, and loaded again."""
    loaded = adapter.load(PAYLOAD)
    dumped = json.loads(encode(adapter.dump(loaded)))
    assert {name: dumped[name] for name in ("title", "count", "tags", "ratio")} == {
        name: PAYLOAD[name] for name in ("title", "count", "tags", "ratio")
    }
    assert adapter.load({name: value for name, value in dumped.items() if value is not None}) == loaded


def test_dump_gives_builtins(adapter: SchemaAdapter) -> None:
    """A dialect that spreads the payload needs a dict, and no subclass of it."""
    assert type(adapter.dump(adapter.load(PAYLOAD))) is dict


@given(payload=json_values)
def test_any_json_is_loaded_or_refused(sample: Sample, adapter: SchemaAdapter, payload: Any) -> None:
    """Whatever JSON a client sends: a value, or a refusal with small errors that can be encoded. Nothing else."""
    try:
        adapter.load(payload)
    except Invalid as error:
        errors = error.errors
    else:
        return
    assert errors
    assert len(encode(errors)) <= 3_000


@given(fields=st.dictionaries(st.sampled_from([*PAYLOAD, "child"]), json_values))
def test_any_json_in_the_fields_is_loaded_or_refused(sample: Sample, adapter: SchemaAdapter, fields: Any) -> None:
    """As above, one level down: every field takes or refuses every value."""
    try:
        loaded = adapter.load({"title": "Tea", **fields})
    except Invalid as error:
        encode(error.errors)
    else:
        assert loaded is not None


def test_adapter_is_shared_by_threads(adapter: SchemaAdapter) -> None:
    """Sockets share an adapter: no call sees another's payload."""
    with ThreadPoolExecutor(8) as pool:
        loaded = pool.map(adapter.load, [{**PAYLOAD, "count": count} for count in range(200)])
        dumped = pool.map(adapter.dump, loaded)
    assert [item["count"] for item in dumped] == list(range(200))


def test_where_a_schema_runs_by_default(sample: Sample, adapter: SchemaAdapter) -> None:
    """Only DRF's serializers run in the database thread by default."""
    assert adapter.runs_in_thread is sample.in_thread


@pytest.mark.parametrize("place", [run_in_thread, run_on_loop])
def test_where_a_schema_runs_changes_nothing_else(sample: Sample, adapter: SchemaAdapter, place: Any) -> None:
    """``run_in_thread(schema)`` and ``run_on_loop(schema)`` load and dump as the schema does."""
    # A function is marked itself, so each test marks another one.
    schema = partial(sample.schema) if sample.schema is note else sample.schema
    placed = as_schema(place(schema))
    assert placed.runs_in_thread is (place is run_in_thread)
    assert placed.load(PAYLOAD) == adapter.load(PAYLOAD)
    assert placed.dump(adapter.load(PAYLOAD)) == adapter.dump(adapter.load(PAYLOAD))
    assert sample.schema is note or f"{place.__name__}(" in repr(placed)


def test_adapter_is_resolved_to_itself(adapter: SchemaAdapter) -> None:
    """An adapter that is there already is taken as it is."""
    assert as_schema(adapter) is adapter


def test_repr_names_the_adapter(adapter: SchemaAdapter) -> None:
    """In a log or a debugger, an adapter says what it is."""
    assert "Adapter(" in repr(adapter)


def test_refusal_has_the_configured_status(adapter: SchemaAdapter, settings: Any) -> None:
    """``VALIDATION_STATUS`` is read when the refusal is made."""
    settings.ROUTESOCK = {"VALIDATION_STATUS": 400}
    assert refusal(adapter, None).status == 400
