"""The page "Open sockets" of the admin: who sees it, what it shows, and what it closes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any, Final

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import clear_url_caches, path

from routesock import Request, RouteMixin, route
from routesock._groups import census
from routesock.testing import RouteClient

pytestmark = pytest.mark.django_db

SITE: Final = {
    "ROOT_URLCONF": "tests.test_admin",
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
}

urlpatterns: list[Any] = []

URL: Final = "/admin/routesock/opensocket/"


class Chat(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("echo")
    async def echo(self, request: Request) -> Any:
        return request.payload


@pytest.fixture(autouse=True)
def site(settings: Any) -> Iterator[None]:
    """A project with the admin and with routesock in its ``INSTALLED_APPS``."""
    installed = [*settings.INSTALLED_APPS, "django.contrib.admin", "django.contrib.messages", "routesock"]
    with override_settings(**SITE, INSTALLED_APPS=installed):
        from routesock.admin import OpenSocketAdmin
        from routesock.models import OpenSocket

        own = admin.AdminSite()
        own.register(OpenSocket, OpenSocketAdmin)
        urlpatterns[:] = [path("admin/", own.urls)]
        clear_url_caches()
        create_permissions(apps.get_app_config("routesock"), verbosity=0)
        yield
        urlpatterns.clear()
    clear_url_caches()


@pytest.fixture
def staff() -> User:
    return User.objects.create_user("staff", is_staff=True)


def visitor(user: User, *permissions: str, csrf: bool = False) -> Client:
    for permission in permissions:
        user.user_permissions.add(Permission.objects.get(codename=permission))
    client = Client(enforce_csrf_checks=csrf)
    client.force_login(user)
    return client


def apps_in(client: Client) -> list[str]:
    """The names of routesock's pages that the admin shows to ``client``, in a page that needs no table."""
    context = client.get("/admin/password_change/").context
    return [str(model["name"]) for app in context["available_apps"] for model in app["models"]]


ALICE: Final = SimpleNamespace(pk=7, is_authenticated=True)


def test_the_model_has_two_permissions_and_no_table() -> None:
    names = set(Permission.objects.filter(content_type__app_label="routesock").values_list("codename", flat=True))
    assert names == {"view_sockets", "close_sockets"}


def test_no_migration_is_wanted() -> None:
    out = StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=out)
    assert "No changes detected" in out.getvalue()


@pytest.mark.parametrize("options", [[], ["--all"]], ids=["default-manager", "base-manager"])
def test_data_can_be_dumped(options: list[str]) -> None:
    out = StringIO()
    call_command("dumpdata", "routesock", *options, stdout=out)
    assert out.getvalue().strip() == "[]"


def test_the_model_is_registered_with_the_admin() -> None:
    from routesock.models import OpenSocket

    assert admin.site.is_registered(OpenSocket)
    assert str(OpenSocket()) == "An open socket"


@pytest.mark.parametrize("permissions", [[], ["close_sockets"]], ids=["none", "close-alone"])
def test_staff_need_the_permission(staff: User, permissions: list[str]) -> None:
    client = visitor(staff, *permissions)
    assert client.get(URL).status_code == 403
    assert client.post(URL, {"user": "7"}).status_code == 403
    assert not apps_in(client)


def test_others_are_sent_to_the_login() -> None:
    response = Client().get(URL)
    assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={URL}")


def test_the_page_lists_sockets(staff: User) -> None:
    client = visitor(staff, "view_sockets")
    assert "There are none." in client.get(URL).content.decode()
    with RouteClient(Chat, "/ws/?token=secret", as_user=ALICE, headers={"Cookie": "secret"}):
        response = client.get(URL)
    text = response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert "1 in 1 process." in text
    assert "<td>Chat</td><td>7</td>" in text
    assert "secret" not in text
    assert "Close all sockets of this user" not in text
    assert apps_in(client) == ["Open sockets"]


def test_no_more_rows_than_so_many_are_shown(staff: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routesock.admin.MAX_ROWS", 1)
    with RouteClient(Chat), RouteClient(Chat):
        text = visitor(staff, "view_sockets").get(URL).content.decode()
    assert "2 in 1 process, 1 of them listed." in text


def test_viewers_cannot_close(staff: User) -> None:
    with RouteClient(Chat, as_user=ALICE) as socket:
        assert visitor(staff, "view_sockets").post(URL, {"user": "7"}).status_code == 403
        assert socket.call("echo", 1).payload == 1


def test_a_post_needs_the_token(staff: User) -> None:
    client = visitor(staff, "view_sockets", "close_sockets", csrf=True)
    with RouteClient(Chat, as_user=ALICE) as socket:
        assert client.post(URL, {"user": "7"}).status_code == 403
        assert socket.call("echo", 1).payload == 1
        client.get(URL)
        token = client.cookies["csrftoken"].value
        assert client.post(URL, {"user": "7", "csrfmiddlewaretoken": token}).status_code == 302
        assert socket.expect_close().code == 4401


def test_buttons_close_the_sockets_of_a_user(staff: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "routesock.socket")
    client = visitor(staff, "view_sockets", "close_sockets")
    with RouteClient(Chat, as_user=ALICE) as socket, RouteClient(Chat) as other:
        assert '<input type="hidden" name="user" value="7">' in client.get(URL).content.decode()
        response = client.post(URL, {"user": "7"}, follow=True)
        assert socket.expect_close().code == 4401
        assert other.call("echo", 1).payload == 1
    assert "Closed 1 socket of the user &#x27;7&#x27;." in response.content.decode()
    assert f"The user '{staff.pk}' has closed 1 socket of the user '7' in the admin." in caplog.text


def test_the_form_closes_those_of_an_address(staff: User) -> None:
    client = visitor(staff, "view_sockets", "close_sockets")
    with RouteClient(Chat, scope={"client": ["203.0.113.9", 1]}) as socket:
        client.post(URL, {"address": " 203.0.113.9 "})
        assert socket.expect_close().code == 4401


@pytest.mark.parametrize("data", [{}, {"user": "7", "address": "203.0.113.9"}], ids=["neither", "both"])
def test_one_of_the_two_has_to_be_named(staff: User, data: dict[str, str]) -> None:
    response = visitor(staff, "view_sockets", "close_sockets").post(URL, data, follow=True)
    assert "Name a user or an address." in response.content.decode()


def test_a_layer_that_fails_is_a_message(staff: User, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("secret.internal:6379 is down")

    monkeypatch.setattr("routesock.admin.ask", fail)
    monkeypatch.setattr(census, "ask", fail)
    client = visitor(staff, "view_sockets", "close_sockets")
    text = client.post(URL, {"user": "7"}, follow=True).content.decode()
    assert text.count("The processes could not be asked: ConnectionError.") == 2
    assert "secret" not in text
