"""The views of the documents: who may see them, their headers, and the page without JavaScript."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import reverse
from django.utils.html import escape

from tests.asyncapi import zoo

pytestmark = pytest.mark.django_db

PAGE = "/ws-docs/"
URLS = [PAGE, f"{PAGE}asyncapi.json", f"{PAGE}asyncapi.yaml"]

HEADERS = {
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self' ws://testserver; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


@pytest.fixture(autouse=True)
def site() -> Iterator[None]:
    with override_settings(
        ROOT_URLCONF="tests.docs_page.urls",
        ASGI_APPLICATION=f"{zoo.__name__}.small",
        LOGIN_URL="login",
        STATIC_URL="/static/",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
    ):
        yield


def client_of(who: str, **defaults: Any) -> Client:
    client = Client(**defaults)
    if who != "anonymous":
        client.force_login(User.objects.create(username=who, is_staff=who == "staff", is_active=who != "inactive"))
    return client


def test_the_urls_have_names() -> None:
    assert [reverse(f"routesock:{name}") for name in ("docs", "asyncapi-json", "asyncapi-yaml")] == URLS


LOGIN = 302

ACCESS = [
    ("staff", False, {"anonymous": LOGIN, "user": 404, "staff": 200}),
    ("staff", True, {"anonymous": 200, "user": 200, "staff": 200}),
    ("debug", False, {"anonymous": 404, "user": 404, "staff": 404}),
    ("debug", True, {"anonymous": 200, "user": 200, "staff": 200}),
    ("public", False, {"anonymous": 200, "user": 200, "staff": 200}),
    ("public", True, {"anonymous": 200, "user": 200, "staff": 200}),
]


@pytest.mark.parametrize(
    ("access", "debug", "who", "status"),
    [(access, debug, who, status) for access, debug, row in ACCESS for who, status in row.items()],
)
def test_who_may_see_the_documents(access: str, debug: bool, who: str, status: int) -> None:
    with override_settings(DEBUG=debug, ROUTESOCK={"DOCS_ACCESS": access}):
        client = client_of(who)
        for url in URLS:
            response = client.get(url)
            assert response.status_code == status, url
            if status == LOGIN:
                assert response["Location"] == f"/login/?next={url}"
            if status != 404:
                assert {name: response[name] for name in HEADERS} == HEADERS


def test_staff_is_the_default() -> None:
    assert client_of("user").get(PAGE).status_code == 404
    assert client_of("staff").get(PAGE).status_code == 200


def test_without_a_user_on_the_request_everyone_is_anonymous() -> None:
    with override_settings(MIDDLEWARE=[]):
        assert Client().get(PAGE).status_code == LOGIN
    with override_settings(MIDDLEWARE=[], ROUTESOCK={"DOCS_ACCESS": "public"}):
        assert Client().get(PAGE).status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
@pytest.mark.parametrize("url", URLS)
def test_other_methods_are_refused(method: str, url: str) -> None:
    assert getattr(client_of("staff"), method)(url).status_code == 405


@pytest.mark.parametrize("url", URLS)
def test_head_has_the_headers_alone(url: str) -> None:
    response = client_of("staff").head(url)
    assert (response.status_code, response.content) == (200, b"")
    assert {name: response[name] for name in HEADERS} == HEADERS


# A function as DOCS_ACCESS


def alice_alone(request: HttpRequest) -> bool:
    return bool(request.user.is_authenticated and request.user.get_username() == "alice")


async def coroutine(request: HttpRequest) -> bool:
    return False


def generator(request: HttpRequest) -> Iterator[bool]:
    yield False


async def async_generator(request: HttpRequest) -> AsyncIterator[bool]:
    yield False


class Instance:
    def __init__(self, request: HttpRequest) -> None: ...


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=403)


def awaitable(request: HttpRequest) -> Any:
    return coroutine(request)


def two(request: HttpRequest, other: Any) -> bool:
    return True


text = "no function"


def test_a_function_decides_under_debug_as_well() -> None:
    for debug in (False, True):
        with override_settings(DEBUG=debug, ROUTESOCK={"DOCS_ACCESS": f"{__name__}.alice_alone"}):
            assert Client().get(PAGE).status_code == LOGIN
            staff = User.objects.create(username=f"staff-{debug}", is_staff=True)
            client = Client()
            client.force_login(staff)
            assert client.get(PAGE).status_code == 404
    with override_settings(ROUTESOCK={"DOCS_ACCESS": f"{__name__}.alice_alone"}):
        assert client_of("alice").get(PAGE).status_code == 200


@pytest.mark.parametrize("name", ["coroutine", "generator", "async_generator", "Instance", "view", "two", "text"])
def test_a_function_that_would_let_everyone_in_is_an_error(name: str) -> None:
    with (
        override_settings(ROUTESOCK={"DOCS_ACCESS": f"{__name__}.{name}"}),
        pytest.raises(ImproperlyConfigured, match="def allowed"),
    ):
        client_of("anonymous").get(PAGE)


def test_a_path_that_leads_nowhere_is_an_error() -> None:
    with override_settings(ROUTESOCK={"DOCS_ACCESS": f"{__name__}.missing"}), pytest.raises(ImportError):
        Client().get(PAGE)


# Headers and files


def test_the_policy_names_the_origin_of_static_files() -> None:
    with override_settings(STATIC_URL="https://cdn.example.com/static/"):
        response = client_of("staff").get(PAGE, secure=True)
    policy = response["Content-Security-Policy"]
    assert "script-src 'self' https://cdn.example.com;" in policy
    assert "style-src 'self' https://cdn.example.com;" in policy
    assert "connect-src 'self' wss://testserver;" in policy
    assert 'src="https://cdn.example.com/static/routesock/docs.js"' in response.content.decode()


def test_the_page_has_no_code_of_its_own() -> None:
    content = client_of("staff").get(PAGE).content.decode().lower()
    assert content.count("<script") == 1
    assert "<style" not in content
    assert " style=" not in content
    assert " onclick=" not in content


def test_json_and_yaml_say_the_same() -> None:
    client = client_of("staff")
    as_json, as_yaml = (client.get(url) for url in URLS[1:])
    assert as_json["Content-Type"] == "application/json"
    assert as_yaml["Content-Type"] == "application/yaml"
    assert json.loads(as_json.content) == yaml.safe_load(as_yaml.content)
    assert json.loads(as_json.content)["servers"] == {"server": {"host": "testserver", "protocol": "ws"}}


def test_a_file_that_is_known_is_not_sent_again() -> None:
    client = client_of("staff")
    for url in URLS[1:]:
        first = client.get(url)
        again = client.get(url, headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again["Cache-Control"] == "no-store"
        assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_without_pyyaml_there_is_no_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routesock.views._has_yaml", lambda: False)
    client = client_of("staff")
    assert client.get(URLS[2]).status_code == 404
    assert "asyncapi.yaml" not in client.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("playground", "debug", "expected"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_the_playground_is_on_under_debug_or_by_its_setting(playground: Any, debug: bool, expected: bool) -> None:
    with override_settings(DEBUG=debug, ROUTESOCK={"PLAYGROUND": playground}):
        content = client_of("staff").get(PAGE).content.decode()
    assert ("data-playground" in content) is expected


def test_a_wrong_setting_is_an_error() -> None:
    with override_settings(ROUTESOCK={"PLAYGROUND": "yes"}), pytest.raises(ImproperlyConfigured):
        client_of("staff").get(PAGE)


# Without JavaScript


def test_the_page_lists_everything_without_javascript() -> None:
    client = client_of("staff")
    with override_settings(ASGI_APPLICATION=f"{zoo.__name__}.application"):
        document = json.loads(client.get(URLS[1]).content)
        content = client.get(PAGE).content.decode()
    for channel in document["channels"].values():
        assert escape(channel["address"] or channel["x-routesock-pattern"]) in content
    for key, operation in document["operations"].items():
        if operation["x-routesock-kind"] in ("route", "subscribe", "push", "control"):
            assert f'id="{key}"' in content
            assert escape(operation["x-routesock-name"]) in content
    for text in ("required", "at most 50", "IsAuthenticated", "100/min", "30 s", "410", "moved_to", "array of"):
        assert text in content
    assert "Plain" in content


def test_texts_in_the_page_are_escaped() -> None:
    docs = {"title": zoo.SCRIPT, "version": zoo.SCRIPT, "description": zoo.SCRIPT}
    with override_settings(ASGI_APPLICATION=f"{zoo.__name__}.application", ROUTESOCK={"DOCS": docs}):
        content = client_of("staff").get(PAGE).content.decode()
    assert "<script>alert" not in content
    assert content.count("&lt;script&gt;alert") > 30
