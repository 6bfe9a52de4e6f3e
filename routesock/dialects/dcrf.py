"""The dialect of djangochannelsrestframework (DCRF), which its client dcrf-client speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .._wire.messages import NO_HEADERS, Request, RequestId
from ..exceptions import InvalidEnvelope
from .base import TOPIC_HEADER, Dialect, Frame, Incoming, Problem
from .keys import id_in_head

_ENVELOPE: Final = frozenset({"action", "request_id"})
"""The keys of a request that are not part of its payload."""

_REQUEST_ID: Final = "request-id"
"""The header of a push that names the request which the push belongs to."""


class Dcrf(Dialect):
    """The frames of djangochannelsrestframework, for consumers that its clients talk to.

    A request is ``{"action": ..., "request_id": ...}``; its other keys are the payload. Replies, errors and pushes are
    ``{"errors": [], "data": ..., "action": ..., "response_status": ..., "request_id": ...}``. The errors are the
    messages by field if there are any, or else the ``detail`` of the problem; ``data`` is ``null`` then.

    A push has the status 200. To name the request that it belongs to, as the subscriptions of dcrf-client need it, push
    it with the header ``Request-Id``::

        await self.socket.push("update", data, headers={"Request-Id": request_id})

    A push that came through a topic has the name of it as ``topic``.

    Args:
        camelize: Whether the names in payloads are camelCase on the wire and snake_case in your code. Values stay as
            they are.
        completion: Whether a request without a ``request_id`` gets a success reply, too, with ``null`` as its
            ``request_id``.
    """

    id_name = "request_id"
    _reads_headers = False

    def read(self, value: Any) -> Frame:
        if not isinstance(value, dict):
            raise InvalidEnvelope("A request is a JSON object.")
        action, id = value.get("action"), value.get("request_id")
        if action == "ANSWER":
            return Frame(action, id, self.loaded(value.get("data")), None, value, value.get("response_status"))
        payload = {key: item for key, item in value.items() if key not in _ENVELOPE}
        return Frame(action, id, self.loaded(payload, action), None, value)

    def id_in_head(self, text: str) -> RequestId:
        return id_in_head(text, "request_id")

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        return _frame(request.route, request.id, status, self.dumped(payload), [])

    def error(self, problem: Problem, request: Request) -> Any:
        errors = problem.detail if problem.errors is None else self.dumped(problem.native_errors)
        return _frame(request.route, request.id, problem.status, None, errors if isinstance(errors, list) else [errors])

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        id = next((value for name, value in headers.items() if name.lower() == _REQUEST_ID), None)
        frame = _frame(route, id, 200, self.dumped(payload), [])
        if TOPIC_HEADER in headers:
            frame["topic"] = headers[TOPIC_HEADER]
        return frame

    def pong(self, request: Request) -> Any:
        return _frame("PONG", request.id, 200, self.dumped(request.payload), [])

    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        frame: dict[str, Any] = {"action": route}
        if id is not None:
            frame["request_id"] = id
        if payload is None:
            return frame
        if isinstance(payload, dict) and payload.keys().isdisjoint(_ENVELOPE):
            return {**frame, **payload}
        return {**frame, "data": payload}

    def answer(self, id: RequestId, status: int, payload: Any) -> Any:
        return {"action": "ANSWER", "request_id": id, "response_status": status, "data": payload}

    def incoming(self, value: Any) -> Incoming | None:
        if not isinstance(value, dict):
            return None
        if "request_id" in value and "response_status" not in value:  # a request, with which the server asks
            rest = {key: item for key, item in value.items() if key not in _ENVELOPE}
            payload = rest["data"] if rest.keys() == {"data"} else rest or None
            return Incoming(value.get("action"), value["request_id"], None, payload, NO_HEADERS)
        status, id, errors = value.get("response_status"), value.get("request_id"), value.get("errors")
        if value.get("action") == "PONG" or (id is None and status == 200 and not errors):
            status = None
        headers = {TOPIC_HEADER: value["topic"]} if "topic" in value else NO_HEADERS
        return Incoming(value.get("action"), id, status, errors or value.get("data"), headers)


def _frame(action: str, id: Any, status: int, data: Any, errors: list[Any]) -> dict[str, Any]:
    return {
        "errors": errors,
        "data": data,
        "action": action or None,
        "response_status": status,
        "request_id": id,
    }
