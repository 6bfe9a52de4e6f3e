"""Django middleware of every make."""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied, SuspiciousOperation
from django.db import connection
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template.response import SimpleTemplateResponse
from django.utils.decorators import async_only_middleware, sync_and_async_middleware, sync_only_middleware

DONE: list[str] = []


@sync_only_middleware
def sync_only(get_response: Any) -> Any:
    def middleware(request: Any) -> Any:
        request.steps = [*getattr(request, "steps", ()), "sync"]
        response = get_response(request)
        DONE.append("sync")
        return response

    return middleware


@async_only_middleware
def async_only(get_response: Any) -> Any:
    async def middleware(request: Any) -> Any:
        request.steps = [*getattr(request, "steps", ()), "async"]
        response = await get_response(request)
        DONE.append("async")
        return response

    return middleware


@sync_and_async_middleware
def both(get_response: Any) -> Any:
    if iscoroutinefunction(get_response):

        async def middleware(request: Any) -> Any:
            request.steps = [*getattr(request, "steps", ()), "both async"]
            return await get_response(request)

    else:

        def middleware(request: Any) -> Any:
            request.steps = [*getattr(request, "steps", ()), "both sync"]
            return get_response(request)

    return middleware


class Tenant:
    """A class in the old way, that knows nothing of async."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.tenant = request.headers.get("X-Tenant", "nobody's")
        response = self.get_response(request)
        response.set_cookie("seen", "1", httponly=True)
        response.set_cookie("tenant", request.tenant)
        return response


class NotUsed:
    def __init__(self, get_response: Any) -> None:
        raise MiddlewareNotUsed


class Nothing:
    def __new__(cls, get_response: Any) -> Any:
        return None


class Answering:
    """Answers itself, as the query asks."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: Any) -> Any:
        what = request.GET.get("answer", "")
        if what in RAISED:
            raise RAISED[what]
        if what == "302":
            return HttpResponseRedirect("/login/")
        if what == "template":
            return Rendered(status=418)
        if what == "late":
            await self.get_response(request)
            return HttpResponse("no", status=409)
        if what:
            return HttpResponse(b"down", status=int(what), headers={"Retry-After": "9"})
        return await self.get_response(request)


class Rendered(SimpleTemplateResponse):
    def __init__(self, status: int) -> None:
        super().__init__("none.html", status=status)

    @property
    def rendered_content(self) -> str:
        return "a teapot"


RAISED: dict[str, Exception] = {
    "missing": Http404("x"),
    "denied": PermissionDenied("x"),
    "suspicious": SuspiciousOperation("x"),
    "fault": RuntimeError("s3cr3t"),
}


@sync_only_middleware
def leave_tenant(get_response: Any) -> Any:
    """As ``TenantMainMiddleware`` of django-tenants."""

    def middleware(request: Any) -> Any:
        connection.tenant = "a"
        return get_response(request)

    return middleware


@sync_only_middleware
def reset_tenant(get_response: Any) -> Any:
    def middleware(request: Any) -> Any:
        response = get_response(request)
        connection.tenant = None
        return response

    return middleware
