"""Ordinary views: nothing here knows of sockets."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import auth
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

alogout: Any = getattr(auth, "alogout", None) or sync_to_async(auth.logout)  # Django 5.0 has it


def sign_up(request: HttpRequest, name: str) -> HttpResponse:
    """Logs in, as a new user if there is none of that name."""
    user, created = User.objects.get_or_create(username=name)
    if created:
        user.set_password("first")
        user.save()
    login(request, user)
    return HttpResponse()


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


@transaction.non_atomic_requests
async def log_out_async(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse()


def change_password(request: HttpRequest) -> HttpResponse:
    user = User.objects.get(pk=request.user.pk)
    user.set_password("second")
    user.save()
    update_session_auth_hash(request, user)
    return HttpResponse()


def deactivate(request: HttpRequest, name: str) -> HttpResponse:
    user = User.objects.get(username=name)
    user.is_active = False
    user.save()
    return HttpResponse()


def delete(request: HttpRequest, name: str) -> HttpResponse:
    User.objects.get(username=name).delete()
    return HttpResponse()


def update(request: HttpRequest, name: str) -> HttpResponse:
    User.objects.filter(username=name).update(is_active=False)
    return HttpResponse()


urlpatterns = [
    path("sign-up/<name>/", sign_up),
    path("log-out/", log_out),
    path("log-out/async/", log_out_async),
    path("password/", change_password),
    path("deactivate/<name>/", deactivate),
    path("delete/<name>/", delete),
    path("update/<name>/", update),
]
