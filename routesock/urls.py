"""The URLs of the documents: ``path("ws-docs/", include("routesock.urls"))``."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "routesock"

urlpatterns = [
    path("", views.docs, name="docs"),
    path("asyncapi.json", views.asyncapi_json, name="asyncapi-json"),
    path("asyncapi.yaml", views.asyncapi_yaml, name="asyncapi-yaml"),
]
