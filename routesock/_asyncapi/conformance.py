"""Holds the frames that a server sends against the document of its consumer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from logging import Logger, getLogger
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.signals import setting_changed

from .._runtime.asgi_tree import Endpoint, leads_to, load_application, websocket_endpoints
from ..consumers import RouteMixin
from ..exceptions import DuplicateRequest
from .document import build_endpoint
from .validation import Fault, fault_in, fits, resolve

Send = Callable[[Any], Awaitable[None]]

logger: Final[Logger] = getLogger("routesock.documents")

_OF_ROUTESOCK: Final = frozenset((400, 401, 403, 408, 413, 429, 499))
"""Errors that routesock, or a middleware of the project, answers to any route without a declaration."""

_OF_TOPICS: Final = frozenset((404, 409, 422))
"""Errors that routesock answers to SUBSCRIBE: an unknown name, a name twice, parameters that are not valid."""

_AROUND: Final = frozenset(("AUTH", "HELLO"))
"""Frames of the middleware around a consumer."""


class Misfit(NamedTuple):
    """A frame that its document does not allow.

    Attributes:
        route: The name of the route or the push; ``None`` for a frame without one.
        pointer: A JSON pointer into the frame.
        reason: What is wrong there.
    """

    route: str | None
    pointer: str
    reason: str

    def __str__(self) -> str:
        return f"A frame of {self.route!r} does not fit its document at {self.pointer or '/'}: {self.reason}."


class Conformance:
    """The messages that a server may send on one channel.

    Args:
        endpoint: The consumer, and what is around it.
        alone: Whether what is around the consumer is not known, so that frames of middleware are not looked at.

    Raises:
        RouteSetupError: A declaration cannot work.
        InvalidDocumentError: The document would break a rule.
    """

    def __init__(self, endpoint: Endpoint, *, alone: bool = False) -> None:
        self._document = build_endpoint(endpoint)
        (channel,) = self._document["channels"].values()
        self._ignored = _AROUND if alone else frozenset()
        self._is_foreign: bool = channel.get("x-routesock-foreign", False)
        self._messages: dict[str, list[tuple[str, Any]]] = {}
        dialect = channel["x-routesock-dialect"]
        self._is_known = dialect != "custom"
        if self._is_known:
            self._is_dcrf = is_dcrf = "dcrf" in dialect
            self._route: str = "action" if is_dcrf else dialect["route"]
            self._status: str | None = "response_status" if is_dcrf else dialect["status"]
            self._id: str | None = "request_id" if is_dcrf else dialect["id"]
            self._payload: str | None = None if is_dcrf else dialect["payload"]
        for operation in self._document["operations"].values():
            is_push = operation["action"] == "send"
            sent = operation["messages"] if is_push else operation.get("reply", {}).get("messages", ())
            for message in (resolve(each["$ref"], self._document) for each in sent):
                self._messages.setdefault(message["name"], []).append((operation["x-routesock-kind"], message))

    def misfit(self, data: str | bytes) -> Misfit | None:
        """Return what is wrong with a frame; ``None`` if nothing is, or if the document says nothing about it.

        It says nothing about frames without a route, which the consumer's own code sends, about other routes of a
        consumer that has such code, and about dialects with methods of the project.
        """
        if not self._is_known:
            return None
        try:
            frame = json.loads(data)
        except ValueError:
            return None
        if not isinstance(frame, dict) or self._route not in frame or frame[self._route] in self._ignored:
            return None
        route = frame[self._route]
        candidates = self._messages.get(route, []) if isinstance(route, str) and route != "error" else []
        if not candidates:
            return self._misfit_outside(frame, route)
        for _, message in candidates:
            if fits(frame, message["payload"], self._document):
                return self._undeclared_status(frame, route, [kind for kind, _ in candidates], message)
        return self._closest(frame, route, [message for _, message in candidates])

    def _misfit_outside(self, frame: dict[str, Any], route: Any) -> Misfit | None:
        """Check a frame whose name is not in the document: an error about a frame that names no route, or nothing."""
        if self._is_foreign:
            return None
        outside = [message for kind, message in self._messages["error"] if kind == "error"]
        fault = fault_in(frame, outside[0]["payload"], self._document)
        if fault is None:
            return None
        if self._answers(frame):
            name = "route or push" if self._is_dcrf else "route"  # its pushes have a status and an id, too
            return Misfit(route, fault.pointer, f"{fault.reason}, and no {name} of this name is declared")
        return Misfit(route, f"/{self._route}", "no push of this name is declared")

    def _answers(self, frame: dict[str, Any]) -> bool:
        return any(key is not None and key in frame for key in (self._status, self._id))

    def _undeclared_status(
        self, frame: dict[str, Any], route: str, kinds: list[str], message: dict[str, Any]
    ) -> Misfit | None:
        if message["x-routesock-part"] != "error" or self._status is None:
            return None
        status = frame[self._status]
        declared = {
            int(number)
            for _, each in self._messages[route]
            for number in each.get("x-routesock-statuses", ())
            if each["x-routesock-part"] == "error"
        } | _OF_ROUTESOCK
        if "subscribe" in kinds or "unsubscribe" in kinds:
            declared |= _OF_TOPICS
        if status >= 500 or status in declared or set(kinds) == {"control"}:
            return None
        if status == DuplicateRequest.status and self._may_refuse_id(frame):
            return None
        return Misfit(route, f"/{self._status}", f"the status {status} is not declared; add it to errors=")

    def _may_refuse_id(self, frame: dict[str, Any]) -> bool:
        """Whether ``frame``, a 409, may be the reply to a request whose id is in use. Any route answers it."""
        if self._is_dcrf:  # it does not send the code of an error
            return True
        problem = frame if self._payload is None else frame.get(self._payload)
        return isinstance(problem, dict) and problem.get("code") == DuplicateRequest.code

    def _closest(self, frame: dict[str, Any], route: str, messages: list[dict[str, Any]]) -> Misfit:
        """Return the fault of the message that was most likely meant."""
        found: list[tuple[str, Fault]] = []
        same_kind = [each for each in messages if (each["x-routesock-part"] == "push") is not self._answers(frame)]
        if not same_kind:
            if self._answers(frame):
                return Misfit(route, f"/{self._status or self._id}", "it is a push, and no route of this name answers")
            return Misfit(route, f"/{self._route}", "no push of this name is declared")
        for message in same_kind:
            if not self._has_status(message["payload"], frame):
                continue
            fault = fault_in(frame, message["payload"], self._document)
            assert fault is not None
            found.append((message["x-routesock-part"], fault))
        if not found:
            return Misfit(route, f"/{self._status}", f"the status {frame.get(self._status or '')!r} is not declared")
        part, fault = max(found, key=lambda each: each[1].pointer.count("/"))
        reason = fault.reason
        if part == "error":
            reason = f"{reason}; an error that is no problem object has to be declared with a schema in errors="
        return Misfit(route, fault.pointer, reason)

    def _has_status(self, schema: dict[str, Any], frame: dict[str, Any]) -> bool:
        """Whether ``schema`` is for the status of ``frame``, as far as it says so."""
        properties = schema.get("properties", {})
        if self._status is None or self._status not in properties or self._status not in frame:
            return True
        return fits(frame[self._status], properties[self._status], self._document)


class _Checks:
    """The messages that a consumer class may send at each of its paths, built when a socket first connects there.

    A class that the project's application does not serve is documented alone. Where a document cannot be built, that is
    logged once, and nothing is checked.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._endpoints: list[Endpoint] = []
        self._built: dict[str, Conformance | None] = {}
        if getattr(settings, "ASGI_APPLICATION", None) is not None:
            self._endpoints = [each for each in websocket_endpoints(load_application()) if each.consumer is consumer]

    def at(self, path: str) -> Conformance | None:
        """Return the checks of a socket at ``path``."""
        found = sorted(self._endpoints, key=lambda each: not leads_to(each, path))
        endpoint = found[0] if found else Endpoint("", self._consumer)
        if endpoint.path not in self._built:
            self._built[endpoint.path] = None
            self._built[endpoint.path] = Conformance(endpoint, alone=not found)
        return self._built[endpoint.path]


_checks: dict[Any, _Checks | None] = {}


def _forget(**kwargs: Any) -> None:
    _checks.clear()


setting_changed.connect(_forget, dispatch_uid="routesock.conformance")


def _conformance(consumer: Any, path: str) -> Conformance | None:
    try:
        if consumer not in _checks:
            _checks[consumer] = None
            _checks[consumer] = _Checks(consumer)
        checks = _checks[consumer]
        return None if checks is None else checks.at(path)
    except Exception:
        logger.exception("The frames of %s are not checked: its document cannot be built.", consumer.__name__)
        return None


def checked_send(consumer: Any, send: Send) -> Send:
    """Return ``send`` for the socket of ``consumer`` with a check: a frame that its document refuses is logged."""
    conformance = _conformance(type(consumer), consumer.scope.get("path", ""))
    if conformance is None:
        return send

    async def send_checked(message: Any) -> None:
        if message["type"] == "websocket.send":
            found = conformance.misfit(data_of(message))
            if found is not None:
                logger.error("%s", found, extra={"route": found.route, "pointer": found.pointer})
        await send(message)

    return send_checked


def data_of(message: Any) -> str | bytes:
    """Return what a ``websocket.send`` carries."""
    text: str | None = message.get("text")
    data: str | bytes = message.get("bytes") or b"" if text is None else text
    return data


def conformance_at(application: Any, path: str) -> Conformance | None:
    """Return what ``application`` may send at ``path``; ``None`` if no consumer with routes is found there.

    Raises:
        RouteSetupError: A declaration cannot work.
        InvalidDocumentError: The document would break a rule.
    """
    found = [each for each in websocket_endpoints(application) if leads_to(each, path)]
    if not found or found[0].consumer is None or not issubclass(found[0].consumer, RouteMixin):
        return None
    return Conformance(found[0])
