"""Builds the AsyncAPI document of a project."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.signals import setting_changed
from django.utils import translation

from .. import conf
from .._runtime.asgi_tree import Endpoint, leads_to, load_application, websocket_endpoints
from ..consumers import RouteMixin
from ..exceptions import RouteSetupError
from .addresses import Address, address_of
from .channel import ChannelBuilder
from .components import Components
from .names import Keys, slug, without_empty
from .security import security_of
from .validity import check, drop_unfit_values

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

SPECS: Final = ("3.0.0", "3.1.0")

DEFAULT_SERVER: Final = "ws://localhost:8000"

Document = dict[str, Any]

_cache: dict[tuple[Any, ...], Document] = {}


def project_document(
    *,
    servers: Sequence[str] | Mapping[str, str] = (),
    replace_servers: bool = False,
    path: str | None = None,
    spec: str = SPECS[0],
) -> Document:
    """Return the document of the project's ASGI application. Do not change it.

    It is built once in a process, and under ``DEBUG`` for each call.

    Args:
        servers: URLs for a project that names none in ``DOCS``, such as that of the current request.
        replace_servers: Whether ``servers`` come before those in ``DOCS``.
        path: Only what is served at this path.
        spec: The version of AsyncAPI, one of :data:`SPECS`.

    Raises:
        RouteSetupError: A declaration cannot work.
        InvalidDocumentError: The document would break a rule, such as an example that its schema refuses.
    """
    own = conf.docs()["servers"]
    chosen = (servers or own if replace_servers else own or servers) or [DEFAULT_SERVER]
    key = (json.dumps(chosen), path, spec)
    if settings.DEBUG or key not in _cache:
        found = build(load_application(), servers=chosen, path=path, spec=spec)
        if settings.DEBUG:
            return found
        if len(_cache) >= _MOST_CACHED:  # a client chooses the Host header
            _cache.clear()
        _cache[key] = found
    return _cache[key]


_MOST_CACHED: Final = 16


def clear_cache(**kwargs: Any) -> None:
    """Forget the documents that were built."""
    _cache.clear()


setting_changed.connect(clear_cache, dispatch_uid="routesock.asyncapi")


def build(
    application: Any,
    *,
    servers: Sequence[str] | Mapping[str, str] = (DEFAULT_SERVER,),
    path: str | None = None,
    spec: str = SPECS[0],
) -> Document:
    """Build the document of an ASGI ``application``, and check it. The arguments are as for :func:`project_document`.

    Texts are in the language of the setting ``LANGUAGE_CODE``, whatever the current one is.
    """
    return _checked(_endpoints(application, path), servers, spec, public=conf.get("DOCS_ACCESS") == "public")


def build_endpoint(endpoint: Endpoint) -> Document:
    """Build the document of one endpoint, with all that is left out of public documents. Raises as :func:`build`."""
    return _checked([(endpoint, address_of(endpoint.patterns))], (DEFAULT_SERVER,), SPECS[0], public=False)


def _checked(
    endpoints: list[tuple[Endpoint, Address]], servers: Sequence[str] | Mapping[str, str], spec: str, *, public: bool
) -> Document:
    with translation.override(settings.LANGUAGE_CODE):
        document = _built(endpoints, servers, spec, public)
    drop_unfit_values(document)
    check(document)
    return document


def _built(
    endpoints: list[tuple[Endpoint, Address]], servers: Sequence[str] | Mapping[str, str], spec: str, public: bool
) -> Document:
    components = Components()
    schemes: dict[str, Any] = {}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    undocumented: list[dict[str, Any]] = []
    channel_keys, operation_keys = Keys(), Keys()
    for endpoint, address in endpoints:
        consumer = endpoint.consumer
        if consumer is None or not issubclass(consumer, RouteMixin):
            undocumented.append(_undocumented(endpoint, address))
            continue
        key = channel_keys.claim(address.pattern, key=_channel_key(address))
        security = security_of(endpoint)
        builder = ChannelBuilder(
            key,
            endpoint,
            address,
            components,
            security,
            operation_keys,
            public=public,
        )
        channels[key] = builder.build()
        operations |= builder.operations
        schemes |= security.request
        schemes |= security.frame
    components.finish()
    names, urls = _servers(servers)
    content = components.resolved({"channels": channels, "operations": operations})
    return {
        "asyncapi": spec,
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": dict(zip(names, map(_server, urls), strict=True)),
        "channels": dict(sorted(content["channels"].items())),
        "operations": dict(sorted(content["operations"].items())),
        "components": without_empty(
            {"schemas": components.schemas(content), "securitySchemes": dict(sorted(schemes.items()))}
        ),
    } | without_empty({"x-routesock-undocumented": undocumented})


def _endpoints(application: Any, path: str | None) -> list[tuple[Endpoint, Address]]:
    """Return the endpoints with their addresses, sorted. A pattern that occurs twice is served by its first one."""
    found: dict[str, tuple[Endpoint, Address]] = {}
    for endpoint in websocket_endpoints(application):
        address = address_of(endpoint.patterns)
        if path is None or path == address.template or leads_to(endpoint, path):
            found.setdefault(address.pattern, (endpoint, address))
    return [found[pattern] for pattern in sorted(found)]


def _channel_key(address: Address) -> str:
    text = address.pattern if address.template is None else address.template
    return slug(".".join(part for part in text.replace("{", "").replace("}", "").split("/") if part) or "root")


def _undocumented(endpoint: Endpoint, address: Address) -> dict[str, Any]:
    found = endpoint.consumer or endpoint.application
    title = getattr(found, "__name__", type(found).__name__)
    pattern = address.pattern if address.template is None else ""
    return {"address": address.template, **without_empty({"title": title, "x-routesock-pattern": pattern})}


def _info() -> dict[str, Any]:
    docs = conf.docs()
    contact, license = docs["contact"], docs["license"]
    return without_empty(
        {
            "title": str(docs["title"]),
            "version": str(docs["version"]),
            "description": str(docs["description"]),
            "termsOfService": docs["terms"],
            "contact": None if contact is None else {name: str(text) for name, text in sorted(contact.items())},
            "license": None if license is None else {name: str(text) for name, text in sorted(license.items())},
        }
    )


def _servers(servers: Sequence[str] | Mapping[str, str]) -> tuple[list[str], list[str]]:
    if isinstance(servers, Mapping):
        keys = Keys()
        return [keys.claim(str(name)) for name in servers], [*servers.values()]
    names = [f"server{number}" if number > 1 else "server" for number in range(1, len(servers) + 1)]
    return names, [*servers]


def _server(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {"host": parts.netloc, "protocol": parts.scheme} | without_empty({"pathname": parts.path.rstrip("/")})


def as_json(document: Mapping[str, Any]) -> str:
    """Return ``document`` as JSON with a newline at its end. Half a surrogate pair is escaped: UTF-8 has none."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_yaml(document: Mapping[str, Any]) -> str:
    """Return ``document`` as YAML.

    Raises:
        RouteSetupError: PyYAML is not installed.
    """
    plain = json.loads(as_json(document))  # so that there are no aliases
    text: str = _yaml().safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    return text


def from_yaml(text: str) -> Any:
    """Return what ``text`` holds. Raises ``ValueError`` for a text that is no YAML, and as :func:`as_yaml`."""
    yaml = _yaml()
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ValueError(str(exc)) from exc


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as exc:
        raise RouteSetupError("YAML needs PyYAML. Install it with: pip install 'routesock[documents]'") from exc
    return yaml
