"""Exceptions to what a client reads, and its size."""

from __future__ import annotations

import json
from typing import Any

import marshmallow
import pytest
from django.contrib.auth.models import User
from django.core import exceptions as django
from django.http import Http404
from django.urls.exceptions import Resolver404
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import exceptions as drf

from routesock import Request, exceptions
from routesock._wire.camel_case import to_camel_case
from routesock._wire.codec import encode
from routesock._wire.problems import MAX_ERRORS, MAX_ERRORS_SIZE, bounded, error_of, fitted, invalid
from routesock.dialects import Keys
from routesock.dialects.base import MAX_ID_CHARS, MAX_ROUTE_CHARS

ASTRAL = "\U0001f600"  # twelve bytes as JSON
MORE = f"{'x' * 64}-{{}}"


def problem_of(exc: BaseException) -> tuple[int, str, str, Any]:
    error = error_of(exc)
    assert error is not None
    problem = error.problem()
    encode(problem)
    return error.status, problem["code"], problem["detail"], problem.get("errors")


def subclass_of(exc: BaseException) -> BaseException:
    """The same exception, of a subclass made by the user."""
    cls = type(exc)
    made = cls.__new__(type("Custom", (cls,), {"__module__": "shop.errors"}))
    made.__dict__.update(exc.__dict__)
    made.args = exc.args
    return made


INVALID = "The payload is not valid."

CASES = {
    "own": (exceptions.Conflict("Taken."), 409, "conflict", "Taken.", None),
    "Http404": (Http404(), 404, "not_found", "Not found.", None),
    "Http404 message": (Http404("No such room."), 404, "not_found", "No such room.", None),
    "Http404 object": (Http404({"tried": ["/admin/"]}), 404, "not_found", "Not found.", None),
    "Http404 without text": (Http404(None), 404, "not_found", "Not found.", None),
    "Resolver404": (Resolver404({"tried": [], "path": "secret"}), 404, "not_found", "Not found.", None),
    "Resolver404 with text": (Resolver404("secret"), 404, "not_found", "Not found.", None),
    "PermissionDenied object": (
        django.PermissionDenied(User(username="secret")),
        403,
        "permission_denied",
        "You do not have permission to do this.",
        None,
    ),
    "Http404 lazy": (Http404(gettext_lazy("No such room.")), 404, "not_found", "No such room.", None),
    "ObjectDoesNotExist": (django.ObjectDoesNotExist("Room."), 404, "not_found", "Not found.", None),
    "DoesNotExist": (
        User.DoesNotExist("User matching query does not exist."),
        404,
        "not_found",
        "Not found.",
        None,
    ),
    "PermissionDenied": (
        django.PermissionDenied(),
        403,
        "permission_denied",
        "You do not have permission to do this.",
        None,
    ),
    "PermissionDenied message": (django.PermissionDenied("Members."), 403, "permission_denied", "Members.", None),
    "SuspiciousOperation": (
        django.SuspiciousOperation("Client did something odd to /srv/secret."),
        400,
        "bad_request",
        "The request could not be understood.",
        None,
    ),
    "ValidationError": (
        django.ValidationError("Not %(what)s.", params={"what": "so"}),
        422,
        "invalid",
        INVALID,
        {"__all__": ["Not so."]},
    ),
    "ValidationError list": (
        django.ValidationError(["One.", gettext_lazy("Two.")]),
        422,
        "invalid",
        INVALID,
        {"__all__": ["One.", "Two."]},
    ),
    "ValidationError dict": (
        django.ValidationError({"name": ["One.", "Two."], "age": "Three."}),
        422,
        "invalid",
        INVALID,
        {"name": ["One.", "Two."], "age": ["Three."]},
    ),
    "marshmallow": (
        marshmallow.ValidationError("Wrong."),
        422,
        "invalid",
        INVALID,
        {"__all__": ["Wrong."]},
    ),
    "marshmallow dict": (
        marshmallow.ValidationError({"items": {0: {"name": ["Wrong."]}}}),
        422,
        "invalid",
        INVALID,
        {"items.0.name": ["Wrong."]},
    ),
    "drf": (drf.APIException(), 500, "error", "A server error occurred.", None),
    "drf NotFound": (drf.NotFound("No room."), 404, "not_found", "No room.", None),
    "drf NotAuthenticated": (
        drf.NotAuthenticated(),
        401,
        "not_authenticated",
        "Authentication credentials were not provided.",
        None,
    ),
    "drf PermissionDenied": (drf.PermissionDenied("No.", code="muted"), 403, "muted", "No.", None),
    "drf ParseError": (drf.ParseError(), 400, "parse_error", "Malformed request.", None),
    "drf ValidationError": (
        drf.ValidationError("Wrong."),
        400,
        "invalid",
        "Invalid input.",
        {"__all__": ["Wrong."]},
    ),
    "drf ValidationError nested": (
        drf.ValidationError({"items": [{}, {"name": ["Wrong."]}], "age": "Old."}),
        400,
        "invalid",
        "Invalid input.",
        {"items.1.name": ["Wrong."], "age": ["Old."]},
    ),
}

NATIVE = {
    "marshmallow": (marshmallow.ValidationError("Wrong."), {"_schema": ["Wrong."]}),
    "marshmallow dict": (
        marshmallow.ValidationError({"items": {0: {"name": ["Wrong."]}}}),
        {"items": {"0": {"name": ["Wrong."]}}},
    ),
    "drf": (drf.ValidationError("Wrong."), ["Wrong."]),
    "drf nested": (
        drf.ValidationError({"items": [{}, {"name": ["Wrong."]}], "age": "Old."}),
        {"items": [{}, {"name": ["Wrong."]}], "age": "Old."},
    ),
}


@pytest.mark.parametrize("of", [lambda exc: exc, subclass_of], ids=["itself", "subclass"])
@pytest.mark.parametrize(("exc", "status", "code", "detail", "errors"), CASES.values(), ids=CASES)
def test_error_of(of: Any, exc: Any, status: int, code: str, detail: str, errors: Any) -> None:
    """Each exception, and any subclass of it, becomes its status with what the client may know."""
    assert problem_of(of(exc)) == (status, code, detail, errors)


@pytest.mark.parametrize(("exc", "errors"), NATIVE.values(), ids=NATIVE)
def test_native_errors_have_the_shape_of_the_library(settings: Any, exc: Exception, errors: Any) -> None:
    """With ``VALIDATION_ERRORS = "native"`` the library's own shape is sent."""
    settings.ROUTESOCK = {"VALIDATION_ERRORS": "native"}
    assert problem_of(exc)[3] == errors


FLAT = {
    "text": ("Wrong.", {"__all__": ["Wrong."]}),
    "texts": (["One.", "Two."], {"__all__": ["One.", "Two."]}),
    "nothing": ({}, {}),
    "objects in a list": ({"items": [{}, {"name": ["x"]}]}, {"items.1.name": ["x"]}),
    "lists in a list": ([["x"], ["y", "z"]], {"0": ["x"], "1": ["y", "z"]}),
    "text beside an object": ({"a": ["x", {"b": "y"}]}, {"a": ["x"], "a.1.b": ["y"]}),
    "numbers": ({1: {2: [3, None]}}, {"1.2": ["3", "None"]}),
    "whole of an object": ({"a": {"_schema": ["x"], "__all__": ["y"]}}, {"a": ["x", "y"]}),
    "entries": (
        [{"type": "t", "loc": ["a", 0], "msg": "x"}, {"type": "u", "loc": ["a", 0], "msg": "y"}],
        {"a.0": ["x", "y"]},
    ),
    "entry without a path": ([{"type": "t", "loc": [], "msg": "x"}], {"__all__": ["x"]}),
    "field called msg": ({"msg": "x"}, {"msg": ["x"]}),
    "dots": ({"a.b": ["x"], "a": {"b": ["y"]}, "a\\": {"b": ["z"]}}, {"a\\.b": ["x"], "a.b": ["y"], "a\\\\.b": ["z"]}),
}


@pytest.mark.parametrize(("errors", "flat"), FLAT.values(), ids=FLAT)
def test_flat_errors_are_lists_of_texts_by_path(errors: Any, flat: Any) -> None:
    """Names and indices are joined with dots; a dot within a name has a backslash in front."""
    assert invalid(errors).errors == flat
    assert invalid(invalid(errors).errors).errors == flat


def test_flat_errors_count_the_rest() -> None:
    """Twenty messages are kept, and of paths that begin alike the first."""
    assert invalid({"a": [{"b": ["x"]}] * 30}).errors == {
        **{f"a.{index}.b": ["x"] for index in range(20)},
        "...": ["10 more."],
    }
    assert invalid({"x" * 70: ["a"], "x" * 80: ["b"]}).errors == {"x" * 64: ["a"], "...": ["1 more."]}


def test_paths_are_converted_name_by_name() -> None:
    """A dialect with ``camelize=True`` converts each name of a path; ordinary keys with dots stay as they are."""
    errors = invalid({"child_list": [{"first_name": ["x"], "odd.first_name": ["y"]}]}).errors
    assert to_camel_case({"errors": errors, "a.first_name": 1}) == {
        "errors": {"childList.0.firstName": ["x"], "childList.0.odd\\.firstName": ["y"]},
        "a.first_name": 1,
    }


def test_flat_path_is_cut() -> None:
    """Each name is cut to 64 characters, and the path to 128 and to 512 bytes."""
    errors: Any = ["x"]
    for _ in range(5):
        errors = {"n" * 99: errors}
    assert invalid(errors).errors == {f"{'n' * 64}.{'n' * 63}": ["x"]}
    ((path, messages),) = invalid({ASTRAL * 90: {ASTRAL * 90: [ASTRAL * 300]}}).errors.items()
    assert len(encode(path)) <= 512
    assert messages == [ASTRAL * 200]


@pytest.mark.parametrize(
    "exc", [ValueError("x"), KeyError("x"), drf.ErrorDetail, SystemExit(), BaseException()], ids=repr
)
def test_anything_else_is_a_fault(exc: Any) -> None:
    """What is not known is not told."""
    assert error_of(exc) is None


@pytest.mark.parametrize(("wait", "header"), [(0.2, 1), (1, 1), (1.5, 2), (59.001, 60)])
def test_wait_is_rounded_up(wait: float, header: int) -> None:
    """A client that comes back after ``Retry-After`` seconds is not too early."""
    error = error_of(drf.Throttled(wait))
    assert error is not None
    assert (error.status, error.code, error.headers) == (429, "throttled", {"Retry-After": header})


def test_throttled_without_wait_has_no_header() -> None:
    """Nobody knows when: nothing is said."""
    error = error_of(drf.Throttled())
    assert error is not None
    assert error.headers == {}


def test_invalid_has_the_configured_status(settings: Any) -> None:
    """``VALIDATION_STATUS`` holds for what Django and marshmallow raise, too."""
    settings.ROUTESOCK = {"VALIDATION_STATUS": 400}
    assert invalid({}).status == 400
    assert problem_of(django.ValidationError("x"))[0] == 400


def test_small_errors_are_kept_as_they_are() -> None:
    """Keys become strings, and nothing else changes."""
    errors = {"a": ["x", "y"], 1: {"b": [True, None, 5]}, "c": [{}, {"d": ["z"]}]}
    assert bounded(errors) == {"a": ["x", "y"], "1": {"b": [True, None, 5]}, "c": [{}, {"d": ["z"]}]}
    assert bounded("x") == "x"
    assert bounded({}) == {}
    assert bounded([]) == []


def test_twenty_messages_are_kept_and_the_rest_counted() -> None:
    """The count stands at the top, wherever the messages were left out."""
    errors = bounded({"a": {f"f{number}": ["x"] for number in range(5_000)}, "b": ["y", "z"]})
    assert len(errors["a"]) == 20
    assert "b" not in errors
    assert errors["..."] == ["4982 more."]


@pytest.mark.parametrize(
    ("errors", "last"),
    [
        (["x"] * 30, "10 more."),
        ([{"a": ["x"]}] * 30, {"...": ["10 more."]}),
        ([{"type": "t", "loc": ["a"], "msg": "x"}] * 30, {"type": "too_many_errors", "loc": [], "msg": "10 more."}),
    ],
    ids=["texts", "objects", "entries"],
)
def test_lists_are_counted_in_their_own_form(errors: Any, last: Any) -> None:
    """A client that reads the items of a list finds the count in an item like the others."""
    assert bounded(errors) == [*errors[:20], last]


def test_thousands_of_good_items_leave_the_count() -> None:
    """Where the list alone is too long to say by position which item is wrong, the number of messages is left."""
    assert bounded([{}] * 5_000 + [{"a": ["x"]}]) == [{"...": ["1 more."]}]
    assert bounded([{}] * 500 + [{"a": ["x"]}])[-1] == {"a": ["x"]}


def test_cut_names_do_not_replace_each_other() -> None:
    """Of two long names that begin alike, the first is kept and the second counted."""
    assert bounded({"x" * 70: ["a"], "x" * 80: ["b"]}) == {"x" * 64: ["a"], "...": ["1 more."]}


def test_long_texts_are_cut() -> None:
    """Names to 64 characters, messages to 200."""
    assert bounded({"n" * 99: ["m" * 999]}) == {"n" * 64: ["m" * 200]}
    assert bounded([{"msg": "m" * 999, "loc": ["n" * 999, 3]}]) == [{"msg": "m" * 200, "loc": ["n" * 200, 3]}]


def test_huge_integers_do_not_raise() -> None:
    """An integer that JavaScript cannot hold is a text."""
    assert bounded([2**64]) == [str(2**64)]


def test_cutting_twice_counts_right() -> None:
    """What was cut and is cut again counts all that was left out."""
    errors = {f"field{number}": ["Wrong."] for number in range(100)}
    again = bounded(bounded(errors), 200)
    assert again["..."] == [f"{100 - (len(again) - 1)} more."]
    entries = [{"type": "t", "loc": [number], "msg": "x"} for number in range(100)]
    assert bounded(bounded(entries), 100)[-1]["msg"] == "99 more."


names = st.text(st.characters(exclude_categories=()), max_size=80) | st.integers() | st.just(ASTRAL * 70)
messages = st.text(max_size=300) | st.integers() | st.none() | st.booleans() | st.floats() | st.just(ASTRAL * 300)
entries = st.fixed_dictionaries({"type": names, "loc": st.lists(names, max_size=40), "msg": messages.map(str)})
any_errors = st.recursive(
    messages | entries,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(names, inner, max_size=30),
    max_leaves=60,
)


@given(errors=any_errors)
def test_bounded_errors_are_small_strict_json(errors: Any) -> None:
    """Whatever a library says: strict JSON with text keys, of at most 3,000 bytes."""
    text = encode(bounded(errors))
    assert len(text) <= MAX_ERRORS_SIZE
    json.loads(text, parse_constant=pytest.fail)


@given(errors=any_errors)
def test_any_errors_become_flat_and_stay_within_the_bounds(errors: Any) -> None:
    """Any nesting gives texts by path: at most 20, of at most 3,000 bytes, and flattening it again changes nothing."""
    flat = invalid(errors).errors
    assert all(type(messages) is list and all(isinstance(text, str) for text in messages) for messages in flat.values())
    assert sum(map(len, flat.values())) <= MAX_ERRORS + 1
    text = encode(flat)
    assert len(text) <= MAX_ERRORS_SIZE
    json.loads(text, parse_constant=pytest.fail)
    assert invalid(flat).errors == flat


@given(errors=st.dictionaries(st.text("abc", max_size=5), st.lists(st.text("abc", max_size=5), min_size=1, max_size=5)))
def test_nothing_is_left_out_uncounted(errors: Any) -> None:
    """The messages kept and those counted are all there were."""
    kept = bounded(errors)
    rest = int(kept.pop("...", ["0 more."])[0].split()[0])
    count = sum(map(len, kept.values()))
    assert count + rest == sum(map(len, errors.values()))
    assert count == min(MAX_ERRORS, count + rest)


@pytest.mark.parametrize("status", [400, 422, 431])
@pytest.mark.parametrize("character", ["x", ASTRAL, "\x00"])
@pytest.mark.parametrize(
    "errors",
    [
        {MORE.format(number): ["Unknown field."] for number in range(5_000)},
        {f"{ASTRAL * 60}{number}": [ASTRAL * 300] for number in range(5_000)},
        [{"type": "extra_forbidden", "loc": [ASTRAL * 99], "msg": "Extra inputs"}] * 5_000,
        ["\x00" * 300] * 5_000,
        ASTRAL * 300,
    ],
    ids=["names", "astral", "entries", "control", "text"],
)
def test_whole_error_reply_fits_four_kib(status: int, character: str, errors: Any) -> None:
    """With the longest id and route there can be, a fitted problem keeps the reply within 4096 bytes."""
    error = exceptions.Invalid(ASTRAL * 500, status=status, errors=bounded(errors), hint="x" * 5_000)
    route, id = character * MAX_ROUTE_CHARS, character * MAX_ID_CHARS
    room = 4_096 - len(encode(Keys().reply(Request(route, id), status, {}, {})))
    problem = fitted(error.problem(), room)
    assert len(encode(Keys().reply(Request(route, id), status, problem, {}))) <= 4_096
    assert problem["code"] == "invalid"
    assert problem["errors"]


def test_reply_with_plain_id_and_route_fits_without_help() -> None:
    """Bounded errors alone keep a reply within 4096 bytes where id and route are ASCII."""
    errors = {f"{ASTRAL * 60}{number}": [ASTRAL * 300] for number in range(5_000)}
    frame = Keys().reply(Request("r" * MAX_ROUTE_CHARS, "u" * MAX_ID_CHARS), 422, invalid(errors).problem(), {})
    assert len(encode(frame)) <= 4_096


def test_problem_that_fits_is_left_alone() -> None:
    """Nothing is cut without need."""
    problem = exceptions.Conflict("Taken.", hint="x").problem()
    assert fitted(problem, 400) is problem


def test_problem_without_errors_is_cut_too() -> None:
    """A long detail, with what a client sent in it, is cut; extra members go."""
    problem = exceptions.NotFound("x" * 5_000, hint="y").problem()
    assert fitted(problem, 1_000) == {"code": "not_found", "title": "Not Found", "detail": "x" * 200}


def group(*members: BaseException) -> BaseException:
    return BaseExceptionGroup("unhandled errors in a TaskGroup", members)


def test_group_whose_members_have_one_status_is_the_first_of_them() -> None:
    """As ``asyncio.TaskGroup`` raises it, nested or not."""
    members = (exceptions.NotFound("No room."), Http404("No user."), group(User.DoesNotExist("secret")))
    assert problem_of(group(*members)) == (404, "not_found", "No room.", None)


@pytest.mark.parametrize(
    "members",
    [
        (exceptions.NotFound(), exceptions.Conflict()),
        (exceptions.NotFound(), LookupError("secret")),
        (LookupError("secret"), exceptions.NotFound()),
        (exceptions.NotFound(), KeyboardInterrupt()),
    ],
    ids=["two statuses", "a fault", "a fault first", "an exit"],
)
def test_any_other_group_is_a_fault(members: tuple[BaseException, ...]) -> None:
    """A fault must not hide behind an error."""
    assert error_of(group(*members)) is None
