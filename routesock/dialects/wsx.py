"""The dialect of django-wsx: frames with an action and data, and replies that are ``ok`` or have an error."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from .. import exceptions
from .._wire.messages import NO_HEADERS, Request, RequestId
from ..exceptions import InvalidEnvelope, RoutesockError
from ..status import title_of
from .base import MAX_ID_CHARS, Dialect, Frame, Incoming, Problem

_ACTIONS: Final = {
    "HELLO": "socket.handshake", "AUTH": "socket.authorize", "PING": "socket.ping", "PONG": "socket.pong",
    "CANCEL": "socket.cancel", "CLOSE": "socket.close", "SUBSCRIBE": "socket.subscribe",
    "UNSUBSCRIBE": "socket.unsubscribe", "ANSWER": "socket.answer",
}  # fmt: skip
"""The actions of the protocol's own frames. django-wsx itself has the first two."""

_NAMES: Final = {action: name for name, action in _ACTIONS.items()}

_AUTHORIZED: Final = "socket.authorized"

_CODES: Final = {
    401: "not_authenticated", 403: "permission_denied", 404: "not_found", 422: "validation_error", 429: "throttled",
}  # fmt: skip

_STATUSES: Final = {code: status for status, code in _CODES.items()} | {"bad_request": 400, "server_error": 500}

_STANDARD: Final = frozenset({"code", "title", "detail", "errors", "retry_after"})

_OWN_CODES: Final = frozenset(
    cls.code for cls in vars(exceptions).values() if isinstance(cls, type) and issubclass(cls, RoutesockError)
)
"""The codes of routesock's exceptions, in place of which a client of django-wsx gets one that it knows."""


class Wsx(Dialect):
    """The dialect of django-wsx: ``{"id": ..., "action": ..., "data": ...}``.

    A request without an id gets no success reply. An error has no id then. ``trace_id`` is repeated.

    Args:
        camelize: Whether the names in ``data`` are camelCase on the wire and snake_case in your code.
        completion: Changes nothing: django-wsx has no frame for it.
    """

    answers_auth = True
    _reads_headers = False

    def __init__(self, *, camelize: bool = False, completion: bool = False) -> None:
        super().__init__(camelize=camelize)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'camelize=True' if self._camelize else ''})"

    # From the client

    def read(self, value: Any) -> Frame:
        if not isinstance(value, dict):
            raise InvalidEnvelope("A message is a JSON object.")
        action, data = value.get("action"), value.get("data")
        if isinstance(action, str):
            action = _NAMES.get(action, action)
        if action == "ANSWER":
            return Frame(action, value.get("id"), self.loaded(data), None, value, value.get("status"))
        return Frame(action, value.get("id"), {} if data is None else self.loaded(data, action), None, value)

    # To the client

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        if status >= 400:
            return self._error(request, status, payload, headers)
        if request.route == "AUTH":
            expiry = {name: value for name, value in payload.items() if value is not None}
            data = {"authenticated": True, "via": "authorize", **expiry}
            return {"action": _AUTHORIZED, "data": data, "trace_id": _trace_id(request)}
        return {"id": request.id, "ok": True, "data": self.dumped(payload), "trace_id": _trace_id(request)}

    def error(self, problem: Problem, request: Request) -> Any:
        return self._error(request, problem.status, problem.members, problem.headers)

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        if route == "HELLO":
            return {"action": _ACTIONS[route], "data": _handshake(payload), "trace_id": uuid.uuid4().hex}
        return {"action": _ACTIONS.get(route, route), "data": self.dumped(payload)}

    def pong(self, request: Request) -> Any:
        frame: dict[str, Any] = {} if request.id is None else {"id": request.id}
        data = self.dumped(request.payload)
        return {**frame, "action": _ACTIONS["PONG"], "data": data, "trace_id": _trace_id(request)}

    # For clients

    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        frame: dict[str, Any] = {} if id is None else {"id": id}
        frame["action"] = _ACTIONS.get(route, route)
        return frame if payload is None else {**frame, "data": payload}

    def answer(self, id: RequestId, status: int, payload: Any) -> Any:
        return {"id": id, "action": _ACTIONS["ANSWER"], "status": status, "data": payload}

    def incoming(self, value: Any) -> Incoming | None:
        if not isinstance(value, dict):
            return None
        id, action = value.get("id"), value.get("action")
        if "ok" not in value:
            if not isinstance(action, str):
                return None
            name = "AUTH" if action == _AUTHORIZED else _NAMES.get(action, action)
            return Incoming(name, id, None, value.get("data"), NO_HEADERS)
        if value["ok"] is True:
            return Incoming(None, id, 200, value.get("data"), NO_HEADERS)
        error = value["error"]
        return Incoming(None, id, _STATUSES.get(error["code"]), error, NO_HEADERS)

    def _error(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> dict[str, Any]:
        detail, fields, extra = _parts(status, payload)
        wait = headers.get("Retry-After")
        if wait is not None:
            extra["wait"] = wait
        error: dict[str, Any] = {"code": "validation_error" if fields else _code_of(status), "detail": detail}
        if fields:
            fields = self.dumped_errors(fields)
            error["fields"] = fields if isinstance(fields, dict) else _by_name(fields)
        if extra:
            error["extra"] = self.dumped(extra)
        frame: dict[str, Any] = {"ok": False, "error": error}
        if request.id is not None:
            frame["id"] = request.id
        return {**frame, "trace_id": _trace_id(request)}


def _parts(status: int, payload: Any) -> tuple[str, Any, dict[str, Any]]:
    """Return the detail, the fields and the extra members of an error with this payload."""
    if not isinstance(payload, dict):
        return title_of(status), None, {} if payload is None else {"data": payload}
    extra = {name: value for name, value in payload.items() if name not in _STANDARD}
    if payload.get("code", "internal_error") not in _OWN_CODES:
        extra["code"] = payload["code"]
    detail = payload.get("detail")
    return (detail if isinstance(detail, str) else title_of(status)), payload.get("errors"), extra


def _code_of(status: int) -> str:
    return _CODES.get(status) or ("bad_request" if status < 500 else "server_error")


def _by_name(errors: Any) -> dict[str, Any]:
    """Return a list of errors as messages by field: those of pydantic by their location, others under one name."""
    fields: dict[str, Any] = {}
    for error in errors if isinstance(errors, list | tuple) else [errors]:
        is_entry = isinstance(error, dict) and isinstance(error.get("msg"), str)
        location = [str(part) for part in error.get("loc") or ()] if is_entry else []
        fields.setdefault(".".join(location) or "non_field_errors", []).append(error["msg"] if is_entry else error)
    return fields


def _handshake(hello: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "authorize": _ACTIONS["AUTH"],
        "attempts": hello["attempts"],
        "lock_seconds": hello["timeout"],  # how long the gate stays open for another attempt
        "timeout_seconds": hello["timeout"],
        "allow_unauth": hello.get("public", []),
        "mode": hello["mode"],
    }


def _trace_id(request: Request) -> Any:
    """Return the trace id that the client sent, if it is short enough to be repeated; else that of the request."""
    frame = request.frame
    given = frame.get("trace_id") if isinstance(frame, dict) else None
    return given if isinstance(given, str) and 0 < len(given) <= MAX_ID_CHARS else request.trace_id
