"""Each change of a declaration changes the document; an order that means nothing does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.test import override_settings
from django.urls import path
from marshmallow import Schema, fields, validate

from routesock import Heartbeat, Keys, Push, Request, RouteMixin, route, topic
from routesock._asyncapi.document import build
from routesock._asyncapi.validation import canonical
from routesock.permissions import IsAuthenticated, IsStaff

paths: Any = path


def schema(name: str = "Save", **members: Any) -> Any:
    return type(f"{name}Schema", (Schema,), {"text": fields.String(required=True), **members})


def declaration() -> dict[str, Any]:
    """What is declared: each mutation changes one part of it."""
    return {
        "path": "ws/<int:pk>/",
        "doc": "A consumer.",
        "name": "save",
        "schema": schema(),
        "dehydrate": schema("Saved"),
        "route": {"permissions": [IsAuthenticated], "summary": "Save it.", "errors": {409: "Not now."}, "tags": ["a"]},
        "topic": "room.{id}",
        "push": {"name": "saved", "schema": schema("Told"), "summary": "Saved."},
        "options": {"route_dialect": Keys()},
        "middleware": AuthMiddlewareStack,
    }


def application_of(declared: dict[str, Any], *, reverse: bool = False) -> Any:
    async def save(self: Any, request: Request) -> Any: ...

    async def load(self: Any, request: Request) -> Any: ...

    async def room(self: Any, request: Request) -> Any: ...

    save.__doc__ = None
    members = {
        "save": route(
            declared["name"], schema=declared["schema"], dehydrate=declared["dehydrate"](), **declared["route"]
        )(save),
        "load": route("load", **{"parallel": False, **declared.get("load", {})})(load),
        "room": topic(declared["topic"])(room),
        "route_pushes": [Push(**declared["push"]), Push("other")],
        **declared["options"],
    }
    if reverse:
        members = dict(reversed(members.items()))
        members["route_pushes"] = members["route_pushes"][::-1]
    attributes = {"__module__": __name__, "__doc__": declared["doc"], **members}
    cls: Any = type("Store", (RouteMixin, AsyncJsonWebsocketConsumer), attributes)
    other: Any = type("Other", (RouteMixin, AsyncJsonWebsocketConsumer), {"__module__": __name__, "route_pushes": []})
    urls = [paths(declared["path"], cls.as_asgi()), paths("other/", other.as_asgi())]
    return declared["middleware"](URLRouter(urls[::-1] if reverse else urls))


def document_of(declared: dict[str, Any], *, reverse: bool = False) -> str:
    return canonical(build(application_of(declared, reverse=reverse)))


def put(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(declared: dict[str, Any]) -> None:
        for key in keys[:-1]:
            declared = declared.setdefault(key, {})
        declared[keys[-1]] = value

    return change


MUTATIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "path": put("path", value="ws/<slug:pk>/"),
    "name of a parameter": put("path", value="ws/<int:id>/"),
    "docstring of the class": put("doc", value="Another."),
    "name of a route": put("name", value="store"),
    "field": put("schema", value=schema(more=fields.Integer())),
    "required": put("schema", value=schema(text=fields.String())),
    "type": put("schema", value=schema(text=fields.Integer(required=True))),
    "rule": put("schema", value=schema(text=fields.String(required=True, validate=validate.Length(max=3)))),
    "null": put("schema", value=schema(text=fields.String(required=True, allow_none=True))),
    "reply": put("dehydrate", value=schema("Saved", more=fields.Integer())),
    "status": put("route", "status", value=201),
    "permissions": put("route", "permissions", value=[IsStaff]),
    "throttle": put("route", "throttle", value="5/min"),
    "timeout": put("route", "timeout", value=3),
    "error": put("route", "errors", value={410: "Gone."}),
    "text of an error": put("route", "errors", value={409: "Later."}),
    "summary": put("route", "summary", value="Store it."),
    "tag": put("route", "tags", value=["b"]),
    "deprecated": put("route", "deprecated", value=True),
    "example": put("route", "examples", value=[{"text": "a"}]),
    "parallel": put("load", "parallel", value=True),
    "no reply": put("load", "reply", value=None),
    "topic": put("topic", value="room.{id}.news"),
    "name of a push": put("push", "name", value="stored"),
    "schema of a push": put("push", "schema", value=schema("Told", more=fields.Integer())),
    "summary of a push": put("push", "summary", value="Stored."),
    "dialect": put("options", "route_dialect", value=Keys(id="id")),
    "prefix": put("options", "route_prefix", value="v1."),
    "heartbeat": put("options", "route_heartbeat", value=Heartbeat()),
    "hello": put("options", "route_hello", value=True),
    "size of frames": put("options", "route_max_frame", value=10),
    "throttle of the class": put("options", "route_throttle", value="9/min"),
    "middleware": put("middleware", value=lambda inner: inner),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_change_of_a_declaration_changes_the_document(name: str) -> None:
    declared = declaration()
    MUTATIONS[name](declared)
    assert document_of(declared) != document_of(declaration())


@pytest.mark.parametrize(
    "settings",
    [
        {"TIMEOUT": 3},
        {"VALIDATION_STATUS": 400},
        {"PERMISSIONS": ["routesock.permissions.IsStaff"]},
        {"DOCS": {"title": "A"}},
    ],
    ids=str,
)
def test_a_change_of_the_settings_changes_the_document(settings: dict[str, Any]) -> None:
    before = document_of(declaration())
    with override_settings(ROUTESOCK=settings):
        assert document_of(declaration()) != before


def test_the_order_of_methods_and_keys_does_not_matter() -> None:
    assert document_of(declaration(), reverse=True) == document_of(declaration())


def test_the_order_of_fields_does_not_matter() -> None:
    one = {**declaration(), "schema": schema(a=fields.Integer(), b=fields.Integer())}
    other = {**declaration(), "schema": schema(b=fields.Integer(), a=fields.Integer())}
    assert document_of(one) == document_of(other)
