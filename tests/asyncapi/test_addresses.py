"""URL patterns as addresses."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import path, re_path, register_converter
from django.urls.converters import REGISTERED_CONVERTERS

from routesock._asyncapi.addresses import address_of


class Year:
    """A year with four digits.

    And more.
    """

    regex = "[0-9]{4}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


if "year4" not in REGISTERED_CONVERTERS:
    register_converter(Year, "year4")


def view(request: Any) -> Any: ...


def template(*patterns: Any) -> str | None:
    return address_of([pattern.pattern for pattern in patterns]).template


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (path("", view), "/"),
        (path("ws/chat/", view), "/ws/chat/"),
        (path("ws/<room>/", view), "/ws/{room}/"),
        (path("ws/<int:pk>/<uuid:id>", view), "/ws/{pk}/{id}"),
        (path("ws/<year4:year>/", view), "/ws/{year}/"),
        (path("ws/{odd}/", view), None),
        (re_path(r"^ws/chat/$", view), "/ws/chat/"),
        (re_path(r"ws/chat/(?P<room_name>\w+)/$", view), "/ws/chat/{room_name}/"),
        (re_path(r"\Aws/(?P<a>[)(\]]+)/(?P<b>(x|y(z)))\Z", view), "/ws/{a}/{b}"),
        (re_path(r"^ws/a\.b\-c/$", view), "/ws/a.b-c/"),
        (re_path(r"^ws/(\d+)/$", view), None),
        (re_path(r"^ws/?$", view), None),
        (re_path(r"^ws/(?P<a>x)?$", view), None),
        (re_path(r"^ws/(?P<a>x){2}$", view), None),
        (re_path(r"^ws/\d$", view), None),
        (re_path(r"^ws/a|b$", view), None),
        (re_path(r"^ws/[ab]$", view), None),
        (re_path(r"^ws/.*$", view), None),
        (re_path(r"^ws/\{a\}$", view), None),
    ],
)
def test_template(pattern: Any, expected: str | None) -> None:
    assert template(pattern) == expected
    assert address_of([pattern.pattern]).pattern == str(pattern.pattern)


def test_patterns_of_routers_inside_each_other() -> None:
    assert template(path("ws/<int:pk>/", view), re_path(r"^x/(?P<a>\d+)$", view)) == "/ws/{pk}/x/{a}"
    assert template(path("ws/<int:pk>/", view), path("<int:pk>/", view)) is None


def test_parameters_say_what_a_converter_takes() -> None:
    found = address_of([path("<int:pk>/<year4:year>/", view).pattern]).parameters
    assert found == {
        "pk": {
            "description": "An integer, 0 or greater, in decimal digits.",
            "examples": ["1"],
            "x-routesock-converter": "int",
        },
        "year": {
            "description": "A year with four digits.",
            "x-routesock-converter": "year4",
            "x-routesock-pattern": "[0-9]{4}",
        },
    }
