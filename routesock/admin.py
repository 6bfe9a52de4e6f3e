"""The page "Open sockets" of Django's admin: lists the sockets of all processes, and closes them."""

from __future__ import annotations

from logging import INFO
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path

from ._groups.census import CLOSED_BY_OPERATOR, ask, close_sockets, rows_of
from ._runtime.instrumentation import counted, printable
from ._runtime.supervision import safe_logger
from .models import OpenSocket
from .status import Ending

logger: Final = safe_logger("routesock.socket")

TIMEOUT: Final = 2.0
"""Seconds to wait for the processes."""

MAX_ROWS: Final = 1_000
"""Sockets that the page shows."""


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[OpenSocket]
else:
    _ModelAdmin = admin.ModelAdmin


@admin.register(OpenSocket)
class OpenSocketAdmin(_ModelAdmin):
    """Shows the open sockets to staff with ``routesock.view_sockets``, and closes them with ``close_sockets``."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.changelist_view)  # it checks the CSRF token
        return [path("", view, name="routesock_opensocket_changelist")]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user: Any = request.user
        return bool(user.has_perm("routesock.view_sockets"))

    def has_close_permission(self, request: HttpRequest) -> bool:
        """Whether the visitor may close sockets."""
        user: Any = request.user
        return bool(user.has_perm("routesock.close_sockets"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """List the open sockets; close some on a POST."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            self._close(request)
            return HttpResponseRedirect(request.path)
        response: HttpResponseBase = TemplateResponse(
            request, "routesock/open_sockets.html", {**self._context(request), **(extra_context or {})}
        )
        response["Cache-Control"] = "no-store"
        assert isinstance(response, HttpResponse)
        return response

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        answers: list[Any] = []
        try:
            answers = async_to_sync(ask)(TIMEOUT, "list")
        except Exception as exc:  # layers raise exceptions of their own libraries
            self._report_failure(request, exc)
        rows = rows_of(answers)
        return {
            **self.admin_site.each_context(request),
            "title": "Open sockets",
            "opts": OpenSocket._meta,
            "rows": rows[:MAX_ROWS],
            "number": sum(answer.number for answer in answers),
            "processes": len(answers),
            "may_close": self.has_close_permission(request),
        }

    def _close(self, request: HttpRequest) -> None:
        if not self.has_close_permission(request):
            raise PermissionDenied
        user, address = request.POST.get("user") or None, request.POST.get("address", "").strip() or None
        if (user is None) == (address is None):
            messages.error(request, "Name a user or an address.")
            return
        whose = f"the user {printable(user)}" if address is None else f"the address {printable(address)}"
        ending = Ending(4401, CLOSED_BY_OPERATOR, reconnect=False)
        try:
            answers = async_to_sync(close_sockets)(TIMEOUT, ending, user=user, address=address)
        except Exception as exc:  # layers raise exceptions of their own libraries
            self._report_failure(request, exc)
            return
        closed = counted(sum(answer.number for answer in answers), "socket")
        logger.log(INFO, "The user %s has closed %s of %s in the admin.", printable(request.user.pk), closed, whose)
        messages.success(request, f"Closed {closed} of {whose}.")

    def _report_failure(self, request: HttpRequest, exc: Exception) -> None:
        logger.warning("The processes could not be asked for their sockets.", exc_info=exc)
        messages.error(request, f"The processes could not be asked: {type(exc).__name__}.")
