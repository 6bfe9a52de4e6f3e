"""``run_on_loop`` and ``run_in_thread``: what they accept, and what they return."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from routesock import RouteSetupError, run_in_thread, run_on_loop
from routesock._pipeline.steps import Runs
from routesock.permissions import BasePermission
from routesock.schemas import as_schema

from .samples import NoteSchema, NoteSerializer

RUNS = {run_on_loop: Runs.ON_LOOP, run_in_thread: Runs.IN_THREAD}

both = pytest.mark.parametrize("place", RUNS, ids=lambda place: place.__name__)


@both
def test_a_function_is_marked_and_stays_the_same(place: Any) -> None:
    def function(value: Any) -> Any:
        return value

    assert place(function) is function
    assert Runs.of(function) is RUNS[place]
    assert as_schema(function).runs_in_thread is (place is run_in_thread)


@both
def test_the_last_decorator_holds(place: Any) -> None:
    other = run_on_loop if place is run_in_thread else run_in_thread
    assert Runs.of(place(other(lambda value: value))) is RUNS[place]


def test_without_a_mark_hooks_run_in_the_thread_and_schemas_on_the_loop() -> None:
    def function(value: Any) -> Any:
        return value

    assert Runs.of(function) is Runs.IN_THREAD
    assert not as_schema(function).runs_in_thread


@both
@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_static_and_class_methods_may_be_decorated_inside_or_outside(place: Any, kind: Any) -> None:
    class Consumer:
        outside = place(kind(lambda *args: None))
        inside = kind(place(lambda *args: None))

    assert Runs.of(Consumer.outside) is Runs.of(Consumer.inside) is RUNS[place]


@both
@pytest.mark.parametrize(
    ("function", "argument"),
    [(len, "text"), ("text".count, "t"), (partial(sorted, reverse=True), [3, 7])],
    ids=["builtin", "method", "partial"],
)
def test_a_callable_without_attributes_is_wrapped(place: Any, function: Any, argument: Any) -> None:
    placed = place(function)
    assert Runs.of(placed) is RUNS[place]
    assert placed(argument) == function(argument)


@both
@pytest.mark.parametrize("target", [BasePermission, int, "function", 5, None, {}], ids=repr)
def test_anything_else_is_refused(place: Any, target: Any) -> None:
    with pytest.raises(RouteSetupError, match=f"{place.__name__}.. takes a function, a method or a schema"):
        place(target)


def test_async_code_cannot_run_in_the_thread() -> None:
    async def function(value: Any) -> Any:
        return value

    with pytest.raises(RouteSetupError, match="async code runs on the event loop"):
        run_in_thread(function)
    assert Runs.of(run_on_loop(function)) is Runs.AWAITED


@both
def test_schemas_may_be_placed_again(place: Any) -> None:
    for schema in (NoteSchema, NoteSchema(), NoteSerializer):
        placed = as_schema(run_on_loop(run_in_thread(place(schema))))
        assert not placed.runs_in_thread
        assert repr(placed).startswith("run_on_loop(")
