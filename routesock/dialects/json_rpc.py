"""The dialect of JSON-RPC 2.0, with the control messages of rpc-websockets and of the Language Server Protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .._wire.messages import NO_HEADERS, Request, RequestId
from ..exceptions import InvalidEnvelope
from ..status import CLIENT_CLOSED_REQUEST, title_of
from .base import ASK_PREFIX, MAX_ID_CHARS, MAX_ID_INTEGER, TOPIC_HEADER, Dialect, Frame, Incoming, Problem

PARSE_ERROR: Final = -32700

INVALID_REQUEST: Final = -32600

METHOD_NOT_FOUND: Final = -32601

INVALID_PARAMS: Final = -32602

INTERNAL_ERROR: Final = -32603

SERVER_ERROR: Final = -32000
"""The first of the codes for other errors: the status 400. Those of 401 to 498 follow, downwards."""

REQUEST_CANCELLED: Final = -32800
"""The code that the Language Server Protocol gives a cancelled request."""

_MESSAGES: Final = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
}

_CODES: Final = {
    "parse_error": PARSE_ERROR,
    "invalid_envelope": INVALID_REQUEST,
    "unknown_route": METHOD_NOT_FOUND,
    "invalid": INVALID_PARAMS,
}
"""The codes of problems that JSON-RPC itself defines, whatever their status."""

_STATUSES: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    METHOD_NOT_FOUND: 404,
    INVALID_PARAMS: 422,
    INTERNAL_ERROR: 500,
    REQUEST_CANCELLED: CLIENT_CLOSED_REQUEST,
}

_CANCEL: Final = "$/cancelRequest"

_PROGRESS: Final = "$/progress"

_FROM_CLIENT: Final = {
    "rpc.ping": "PING",
    "rpc.pong": "PONG",
    "rpc.login": "AUTH",
    "rpc.on": "SUBSCRIBE",
    "rpc.off": "UNSUBSCRIBE",
    _CANCEL: "CANCEL",
}
"""The methods of a client that routesock itself handles, with their names in routesock."""

_TO_SERVER: Final = {name: method for method, name in _FROM_CLIENT.items()}

_FROM_SERVER: Final = {
    "rpc.ping": "PING",
    "rpc.hello": "HELLO",
    "rpc.close": "CLOSE",
    "rpc.unsubscribed": "UNSUBSCRIBE",
}
"""The notifications that routesock itself sends, with their names in routesock."""

_TO_CLIENT: Final = {name: method for method, name in _FROM_SERVER.items()}

_MALFORMED: Final = 0

_NEVER_ANSWERED: Final = ("CANCEL", "PONG")


class JsonRpc(Dialect):
    """JSON-RPC 2.0: a route is a method, ``request.payload`` are its params, by name (a dict) or by position (a list).

    A message without the member ``id`` is a notification and is never answered, not even with an error; errors are in
    the log. ``"id": null`` is a request. Batches are answered as the specification says.

    An error has the code that JSON-RPC defines for it: -32700 for a message that is not JSON, -32600 for one that is no
    request, -32601 for an unknown method, -32602 for params that a schema refuses, -32603 for a status of 500 or more.
    Other errors are server errors from -32000 downwards: 400 is -32000, 404 is -32004, 429 is -32029. A cancelled
    request has -32800, as in the Language Server Protocol. ``data`` is the problem object with its ``status``, and with
    ``headers`` where there are any. A push is a notification; one that came through a topic has the name of it in the
    member ``topic``, beside ``params``. ``self.socket.ask()`` sends a request, and the client a response.

    Args:
        camelize: Whether the names in params, results and error data are camelCase on the wire and snake_case in your
            code. Values stay as they are.
        completion: Has no effect, since JSON-RPC forbids answers to notifications. It is there because all dialects
            take it.
    """

    answers_without_id = True  # a request may have the id null; reply() and error() leave notifications unanswered
    _reads_headers = False

    def read(self, value: Any) -> Frame | Sequence[Frame | InvalidEnvelope]:
        if not isinstance(value, list):
            return self._read_one(value)
        if not value:
            raise InvalidEnvelope("A batch holds at least one request.")
        return [self._read_or_error(item) for item in value]

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        if _is_notification(request):
            return None
        payload = self.dumped(payload)
        if status >= 400:
            return _error(request, _code_of(status), title_of(status), {"status": status, "payload": payload}, headers)
        if status == 206:
            return _notification(_PROGRESS, {"token": request.id, "value": payload})
        if request.route in ("SUBSCRIBE", "UNSUBSCRIBE"):
            payload = _result_by_topic(request, payload)
        return {"jsonrpc": "2.0", "result": payload, "id": request.id}

    def error(self, problem: Problem, request: Request) -> Any:
        if _is_notification(request):
            return None
        data = {**self.dumped(problem.members), "status": problem.status}
        code = _CODES.get(problem.code, _code_of(problem.status))
        return _error(request, code, problem.title, data, problem.headers)

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        frame = _notification(_TO_CLIENT.get(route, route), self.dumped(payload))
        if TOPIC_HEADER in headers:
            frame["topic"] = headers[TOPIC_HEADER]
        return frame

    def pong(self, request: Request) -> Any:
        return self.reply(request, 200, request.payload, NO_HEADERS)

    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        if route == "CANCEL":
            return _notification(_CANCEL, {"id": id})
        if route in ("SUBSCRIBE", "UNSUBSCRIBE") and isinstance(payload, dict) and payload.keys() == {"topic"}:
            payload = [payload["topic"]]
        frame = _notification(_TO_SERVER.get(route, route), payload)
        return frame if id is None else {**frame, "id": id}

    def answer(self, id: RequestId, status: int, payload: Any) -> Any:
        if status < 400:
            return {"jsonrpc": "2.0", "result": payload, "id": id}
        data = {"status": status, "payload": payload}
        return {
            "jsonrpc": "2.0",
            "error": {"code": _code_of(status), "message": title_of(status), "data": data},
            "id": id,
        }

    def incoming(self, value: Any) -> Incoming | None:
        if not isinstance(value, dict):
            return None
        method, id = value.get("method"), value.get("id")
        if method == _PROGRESS:
            return Incoming(None, value["params"]["token"], 206, value["params"]["value"], NO_HEADERS)
        if method is not None:
            headers = {TOPIC_HEADER: value["topic"]} if "topic" in value else NO_HEADERS
            return Incoming(_FROM_SERVER.get(method, method), id, None, value.get("params"), headers)
        if "error" in value:
            return _incoming_error(id, value["error"])
        result = value["result"]
        return Incoming(None, id, 204 if result is None else 200, result, NO_HEADERS)

    def _read_one(self, value: Any) -> Frame:
        if not isinstance(value, dict):
            raise InvalidEnvelope("A request is a JSON object.")
        method, params = value.get("method"), value.get("params")
        if "method" not in value and _answers_ask(value):
            return self._read_answer(value)
        if value.get("jsonrpc") != "2.0":
            raise InvalidEnvelope('The member "jsonrpc" must be "2.0".', id=_readable_id(value))
        if type(method) is not str:
            raise InvalidEnvelope('The member "method" must be a string.', id=_readable_id(value))
        if params is not None and not isinstance(params, dict | list):
            raise InvalidEnvelope('The member "params" must be an array or an object.', id=_readable_id(value))
        route = _FROM_CLIENT.get(method, method)
        if route in _NEVER_ANSWERED:
            if "id" in value:
                raise InvalidEnvelope(f"{method} is a notification, so it has no id.", id=_readable_id(value))
            return Frame(route, params.get("id") if isinstance(params, dict) else None, None, None, value)
        if route in ("SUBSCRIBE", "UNSUBSCRIBE") and isinstance(params, list):
            params = {"topic": params[0] if len(params) == 1 else params}
        return Frame(route, value.get("id"), self.loaded(params, route), None, value)

    def _read_answer(self, value: dict[str, Any]) -> Frame:
        """Read the response to a request of the server. A malformed one has a status that no answer can have."""
        id = value["id"]
        if value.get("jsonrpc") != "2.0" or ("result" in value) is ("error" in value):
            return Frame("ANSWER", id, value=value, status=_MALFORMED)
        if "result" in value:
            return Frame("ANSWER", id, self.loaded(value["result"]), None, value, 200)
        try:
            refusal = _incoming_error(id, value["error"])
        except (LookupError, TypeError, AttributeError):
            return Frame("ANSWER", id, value=value, status=_MALFORMED)
        return Frame("ANSWER", id, self.loaded(refusal.payload), None, value, refusal.status)

    def _read_or_error(self, value: Any) -> Frame | InvalidEnvelope:
        try:
            return self._read_one(value)
        except InvalidEnvelope as error:
            return error


def _answers_ask(value: dict[str, Any]) -> bool:
    """Whether ``value`` is a response, well-formed or not, to a request of the server."""
    id = value.get("id")
    return isinstance(id, str) and id.startswith(ASK_PREFIX) and ("result" in value or "error" in value)


def _is_notification(request: Request) -> bool:
    """Whether ``request`` is a valid request without an id. A message that is no request is answered all the same."""
    return bool(request.route) and isinstance(request.frame, dict) and "id" not in request.frame


def _readable_id(value: dict[str, Any]) -> str | int | None:
    """Return the id of a message that is no valid request; ``None`` if it has none that an answer could repeat."""
    id = value.get("id")
    if type(id) is str:
        return id if len(id) <= MAX_ID_CHARS else None
    return id if type(id) is int and abs(id) <= MAX_ID_INTEGER else None


def _code_of(status: int) -> int:
    if status >= 500:
        return INTERNAL_ERROR
    return REQUEST_CANCELLED if status == CLIENT_CLOSED_REQUEST else SERVER_ERROR - (status - 400)


def _status_of(code: Any) -> int:
    if type(code) is int and SERVER_ERROR - 99 <= code <= SERVER_ERROR:
        return 400 + SERVER_ERROR - code
    return _STATUSES.get(code, 500) if type(code) is int else 500


def _error(request: Request, code: int, title: str, data: dict[str, Any], headers: Mapping[str, Any]) -> dict[str, Any]:
    if headers:
        data = {**data, "headers": dict(headers)}
    error = {"code": code, "message": _MESSAGES.get(code, title), "data": data}
    return {"jsonrpc": "2.0", "error": error, "id": request.id}


def _notification(method: str, payload: Any) -> dict[str, Any]:
    """Return a message without an id. A payload that is neither object nor array is sent as the only element of one."""
    frame: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if payload is None:
        return frame
    return {**frame, "params": payload if isinstance(payload, dict | list) else [payload]}


def _result_by_topic(request: Request, payload: Any) -> Any:
    """Return the result of ``rpc.on`` and ``rpc.off`` as rpc-websockets does: by topic, ``"ok"`` if there is no more.

    Those called by their names in routesock have the payload as their result.
    """
    frame = request.frame
    if not isinstance(frame, dict) or not isinstance(frame.get("params"), list):
        return payload
    (topic,) = frame["params"]
    return {topic: "ok" if payload is None else payload}


def _incoming_error(id: Any, error: Mapping[str, Any]) -> Incoming:
    code, data = error["code"], error.get("data")
    if not isinstance(data, dict):
        return Incoming(None, id, _status_of(code), {"title": error["message"], "detail": data}, NO_HEADERS)
    members = {name: value for name, value in data.items() if name not in ("status", "headers")}
    payload = members["payload"] if members.keys() == {"payload"} else members
    return Incoming(None, id, data.get("status", _status_of(code)), payload, data.get("headers", NO_HEADERS))
