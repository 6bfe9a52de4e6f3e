"""The documents at a URL of their own, and a login that redirects can name."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def login(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError


urlpatterns = [
    path("ws-docs/", include("routesock.urls")),
    path("login/", login, name="login"),
]
