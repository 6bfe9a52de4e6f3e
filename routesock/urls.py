"""The URLs of the documents: ``path("ws-docs/", include("routesock.urls"))``."""

from __future__ import annotations

from django.urls import URLPattern, path

from . import views

app_name = "routesock"

urlpatterns: list[URLPattern] = [
    path("", views.docs, name="docs"),
    path("asyncapi.json", views.asyncapi_json, name="asyncapi-json"),
    path("asyncapi.yaml", views.asyncapi_yaml, name="asyncapi-yaml"),
]
