"""Common mistakes in handlers: the log, and the reply under DEBUG, name the fix."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from marshmallow import Schema, ValidationError, fields, validates_schema

from routesock import Push, Request, RouteMixin, route
from routesock._runtime.cures import cure_for
from routesock.testing import RouteClient


class GroupSchema(Schema):
    name = fields.Str()


class PermissionSchema(Schema):
    model = fields.Function(lambda permission: permission.content_type.model)


class ExistsSchema(Schema):
    name = fields.Str()

    @validates_schema
    def check(self, data: Any, **kwargs: Any) -> None:
        if Group.objects.filter(**data).exists():
            raise ValidationError("There is one.")


@dataclasses.dataclass
class Point:
    x: int = 0


async def name_of(request: Request) -> str:
    return "a"


class Faulty(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("query")
    async def query(self, request: Request) -> Any:
        return Group.objects.count()

    @route("atomic")
    async def atomic(self, request: Request) -> Any:
        with transaction.atomic():
            return 1

    @route("atomic.decorator")
    @transaction.atomic
    async def atomic_decorator(self, request: Request) -> Any:
        return 1

    @route("queryset", dehydrate=GroupSchema(many=True))
    async def queryset(self, request: Request) -> Any:
        return Group.objects.all()

    @route("relation", dehydrate=PermissionSchema)
    async def relation(self, request: Request) -> Any:
        return Permission(content_type_id=1)

    @route("relation.handler")
    async def relation_in_handler(self, request: Request) -> Any:
        return Permission(content_type_id=1).content_type.model

    @route("schema", schema=ExistsSchema)
    async def schema(self, request: Request) -> Any:
        return 1

    @route("await.result")
    async def await_result(self, request: Request) -> Any:
        return name_of(request)

    @route("await.inside")
    async def await_inside(self, request: Request) -> Any:
        return {"name": name_of(request)}

    @route("await.attribute")
    async def await_attribute(self, request: Request) -> Any:
        return name_of(request).title()  # type: ignore[attr-defined]

    @route("await.dehydrate", dehydrate=GroupSchema)
    async def await_dehydrate(self, request: Request) -> Any:
        return name_of(request)

    @route("response")
    async def response(self, request: Request) -> Any:
        return HttpResponse("a")

    @route("response.json")
    def json_response(self, request: Request) -> Any:
        return JsonResponse({})

    @route("login")
    @login_required  # type: ignore[arg-type]
    def login(self, request: Request) -> Any:
        return 1

    @route("login.async")
    @login_required  # type: ignore[arg-type]
    async def login_async(self, request: Request) -> Any:
        return 1

    @route("login.method")
    @method_decorator(login_required)
    def login_method(self, request: Request) -> Any:
        raise LookupError("nothing that a decorator is about")

    @route("model")
    async def model(self, request: Request) -> Any:
        return Group(name="a")

    @route("plain.queryset")
    def plain_queryset(self, request: Request) -> Any:
        return {"groups": Group.objects.all()}

    @route("dataclass")
    async def dataclass(self, request: Request) -> Any:
        return [Point()]

    @route("group")
    async def group(self, request: Request) -> Any:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.query(request))

    @route("other")
    async def other(self, request: Request) -> Any:
        raise TypeError("something else")


CURES = {
    "query": "database_sync_to_async",
    "group": "database_sync_to_async",
    "atomic": "transaction.atomic()",
    "atomic.decorator": "with it, write `def`",
    "queryset": "dehydrate=run_in_thread(...)",
    "relation": "select_related()",
    "relation.handler": "select_related()",
    "schema": "schema=run_in_thread(...)",
    "await.result": "`await`",
    "await.inside": "`await`",
    "await.attribute": "`await`",
    "await.dehydrate": "`await`",
    "response": "Reply(payload, status=...)",
    "response.json": "Reply(payload, status=...)",
    "login": "permissions=[IsAuthenticated]",
    "login.async": "permissions=[IsAuthenticated]",
    "model": "JSON cannot encode a Group.",
    "plain.queryset": "JSON cannot encode a QuerySet.",
    "dataclass": "JSON cannot encode a Point.",
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("name", CURES)
async def test_a_common_mistake_names_its_fix(name: str, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, and under DEBUG in the reply as well."""
    settings.DEBUG = True
    async with RouteClient(Faulty, as_user=User(pk=1), raise_exceptions=False) as client:
        reply = await client.call(name, {"name": "a"})
    assert reply.status == 500
    assert CURES[name] in reply.payload.get("hint", "") + reply.payload["detail"]
    assert CURES[name] in caplog.text


async def test_a_client_sees_no_hint_without_debug(caplog: pytest.LogCaptureFixture) -> None:
    async with RouteClient(Faulty, raise_exceptions=False) as client:
        assert "hint" not in (await client.call("query")).payload
    assert "database_sync_to_async" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("name", ["other", "login.method"])
async def test_any_other_exception_has_no_hint(name: str, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nor has one of a handler whose decorator has worked."""
    settings.DEBUG = True
    async with RouteClient(Faulty, as_user=User(pk=1), raise_exceptions=False) as client:
        assert "hint" not in (await client.call(name)).payload
    assert caplog.records[-1].getMessage().endswith(").")


def test_a_push_names_no_option_of_a_route() -> None:
    class Lazy(Schema):
        count = fields.Function(lambda value: raise_query())

    def raise_query() -> None:
        raise SynchronousOnlyOperation("You cannot call this from an async context.")

    push = Push("lazy", schema=Lazy)
    with pytest.raises(SynchronousOnlyOperation) as caught:
        push._adapter.dump_checked({})  # type: ignore[union-attr]
    assert "dehydrate=" not in (cure_for(caught.value) or "")


def test_an_exception_that_causes_itself_is_looked_at_once() -> None:
    error = LookupError()
    error.__cause__ = error
    assert cure_for(error) is None
