"""The views of the documents: the page that shows them, and the AsyncAPI document as JSON and as YAML."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template import Context, Engine, Template
from django.templatetags.static import static
from django.urls import get_script_prefix
from django.utils.cache import get_conditional_response
from django.utils.module_loading import import_string
from django.views.decorators.http import require_safe

from . import conf
from ._asyncapi.document import Document, as_json, as_yaml, project_document
from ._asyncapi.outline import outline
from ._runtime.callables import is_predicate

View = Callable[[HttpRequest], HttpResponse]

SCRIPT: Final = "routesock/docs.js"
STYLES: Final = "routesock/docs.css"


def _guarded(view: View) -> Callable[[HttpRequest], HttpResponseBase]:
    """Let ``view`` answer GET and HEAD, to those who may read the documents. Nothing of it is cached or indexed."""

    @require_safe
    @functools.wraps(view)
    def guarded(request: HttpRequest) -> HttpResponseBase:
        response = view(request) if _may_read(request) else _refusal(request)
        response["Cache-Control"] = "no-store"
        response["X-Robots-Tag"] = "noindex"
        response["X-Frame-Options"] = "DENY"
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = _content_security_policy(request)
        return response

    return guarded


# Access


def _may_read(request: HttpRequest) -> bool:
    access = conf.get("DOCS_ACCESS")
    if access == "public":
        return True
    if access == "debug":
        return bool(settings.DEBUG)
    if access == "staff":
        user = getattr(request, "user", None)
        return bool(settings.DEBUG or (user is not None and user.is_active and user.is_staff))
    return _allows(access, request)


def _allows(path: str, request: HttpRequest) -> bool:
    """Call the function of ``DOCS_ACCESS``. Anything but a bool is an error: a coroutine would be true for everyone."""
    function = import_string(path)
    if is_predicate(function):
        allowed = function(request)
        if isinstance(allowed, bool):
            return allowed
    raise ImproperlyConfigured(
        f"ROUTESOCK['DOCS_ACCESS'] must be the dotted path of a function `def allowed(request)` that returns a bool; "
        f"{path!r} is not."
    )


def _refusal(request: HttpRequest) -> HttpResponse:
    """Redirect anonymous users to the login, if that can help them. For all others there is no such page."""
    user = getattr(request, "user", None)
    is_anonymous = user is None or not user.is_authenticated
    if is_anonymous and conf.get("DOCS_ACCESS") != "debug" and apps.is_installed("django.contrib.auth"):
        from django.contrib.auth.views import redirect_to_login  # it imports the models of django.contrib.auth

        return redirect_to_login(request.get_full_path())
    raise Http404


def _content_security_policy(request: HttpRequest) -> str:
    sockets = f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}"
    origins = _static_origins(request)
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(("script-src 'self'", *origins)),
            " ".join(("style-src 'self'", *origins)),
            "img-src 'self' data:",
            f"connect-src 'self' {sockets}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _static_origins(request: HttpRequest) -> Sequence[str]:
    """Return the origin of the static files, if it is not that of the page."""
    parts = urlsplit(static(SCRIPT))
    return [f"{parts.scheme or request.scheme}://{parts.netloc}"] if parts.netloc else []


# Views


@_guarded
def docs(request: HttpRequest) -> HttpResponse:
    """Show the documents, and call routes if ``PLAYGROUND`` is on."""
    playground = conf.get("PLAYGROUND")
    document = _document(request)
    context = {
        "title": document["info"]["title"],
        "script": static(SCRIPT),
        "styles": static(STYLES),
        "prefix": get_script_prefix().rstrip("/"),
        "playground": settings.DEBUG if playground is None else playground,
        "has_yaml": _has_yaml(),
        "info": document["info"],
        "channels": outline(document),
        "undocumented": document.get("x-routesock-undocumented", ()),
    }
    return HttpResponse(_template().render(Context(context)))


@_guarded
def asyncapi_json(request: HttpRequest) -> HttpResponse:
    """Return the AsyncAPI document as JSON."""
    return _file(request, as_json(_document(request)), "application/json")


@_guarded
def asyncapi_yaml(request: HttpRequest) -> HttpResponse:
    """Return the AsyncAPI document as YAML. Without PyYAML there is none."""
    if not _has_yaml():
        raise Http404("YAML needs PyYAML. Install it with: pip install 'routesock[documents]'")
    return _file(request, as_yaml(_document(request)), "application/yaml")


def _document(request: HttpRequest) -> Document:
    return project_document(servers=[f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}"])


def _file(request: HttpRequest, text: str, content_type: str) -> HttpResponse:
    content = text.encode()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    response = HttpResponse(content, content_type=content_type)
    response["ETag"] = etag
    found = get_conditional_response(request, etag=etag, response=response)
    assert found is not None
    return found


def _has_yaml() -> bool:
    return importlib.util.find_spec("yaml") is not None


@functools.cache
def _template() -> Template:
    """Return the template. It has a separate engine, so it does not depend on ``TEMPLATES``."""
    folder = Path(__file__).parent / "templates"
    return Engine(dirs=[str(folder)]).get_template("routesock/docs.html")
