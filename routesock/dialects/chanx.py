"""The dialect of chanx: frames with an action and a payload, and an envelope with the ref and the topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .._wire import codec
from .._wire.messages import NO_HEADERS, Request, RequestId
from ..exceptions import InvalidEnvelope
from ..status import title_of
from .base import ASK_PREFIX, Dialect, Frame, Incoming, Problem

_VERSION: Final = 1
"""The version of the envelope, which frames with a ``ref`` or a ``topic`` have."""

_MAX_TOPIC_CHARS: Final = 128

_MAX_ERRORS_BYTES: Final = 3_000
"""Bytes of a list of errors, so that an error's frame stays below 4 KiB."""

_REQUESTS: Final = {"ping": "PING", "pong": "PONG", "authentication": "AUTH"}
"""The actions of a client that are the protocol's own, wherever they are sent."""

_TOPIC_REQUESTS: Final = {"subscribe": "SUBSCRIBE", "unsubscribe": "UNSUBSCRIBE"}
"""The same, of frames with a topic."""

_ACTIONS: Final = {
    "PING": "ping", "PONG": "pong", "AUTH": "authentication", "CLOSE": "close",
    "SUBSCRIBE": "subscribed", "UNSUBSCRIBE": "unsubscribed",
}  # fmt: skip
"""The actions of the server that are the protocol's own, by routesock's names."""

_NAMES: Final = {action: name for name, action in _ACTIONS.items()}

_COMPLETE: Final = frozenset({"complete", "group_complete", "event_complete"})

_NOT_SUBSCRIBED: Final = "not_subscribed"

_STATUSES: Final = {"unauthorized": 403, "unknown_topic": 404, _NOT_SUBSCRIBED: 404}
"""The statuses that a client reads from the reason of a topic's error."""

_TOO_MANY: Final = "too_many_errors"

_WHOLE: Final = frozenset({"_schema", "__all__", "non_field_errors", "..."})
"""Names under which schema libraries put the errors of a whole object."""


class Chanx(Dialect):
    """The dialect of chanx and of the clients that it generates: ``{"action": ..., "payload": ...}``.

    A request may have a ``ref``, a string, which its answer repeats. With or without one it is answered, unless its
    handler returns ``None`` (204). A ``topic`` is repeated as well.

    Args:
        reply_actions: The action of the reply by the route's name, such as ``{"chat.send": "chat.sent"}``. By default a
            reply has the action of its request. A handler overrides both with the header ``action`` of a ``Reply``.
        camelize: Whether the names in payloads are camelCase on the wire and snake_case in your code.
        completion: Whether ``complete`` follows each message, ``group_complete`` each push through a group, and
            ``event_complete`` each event, as with ``SEND_COMPLETION`` of chanx.

    Raises:
        TypeError: If ``reply_actions`` is not a mapping of strings to strings.
    """

    answers_without_id = True
    integer_ids = False
    id_name = "ref"
    _reads_headers = False

    def __init__(
        self, *, reply_actions: Mapping[str, str] = NO_HEADERS, camelize: bool = False, completion: bool = False
    ) -> None:
        super().__init__(camelize=camelize)
        self._reply_actions = dict(reply_actions)
        if not all(isinstance(part, str) for pair in self._reply_actions.items() for part in pair):
            raise TypeError(f"reply_actions= must map names of routes to actions; got {reply_actions!r}.")
        self.completes = completion

    def __repr__(self) -> str:
        options = {"reply_actions": self._reply_actions, "camelize": self._camelize, "completion": self.completes}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in options.items() if value)})"

    # From the client

    def read(self, value: Any) -> Frame:
        if not isinstance(value, dict):
            raise InvalidEnvelope("A message is a JSON object.")
        action, topic, ref = value.get("action"), value.get("topic"), value.get("ref")
        payload = self.loaded(value.get("payload"), action)
        if topic is not None and not _is_topic(topic):
            raise InvalidEnvelope(f"'topic' must be a string of at most {_MAX_TOPIC_CHARS} characters.")
        if isinstance(action, str):
            if topic is not None and action in _TOPIC_REQUESTS:
                return Frame(_TOPIC_REQUESTS[action], ref, {"topic": topic}, None, value)
            action = _REQUESTS.get(action, action)
        return Frame(action, ref, payload, None, value, value.get("status") if action == "ANSWER" else None)

    # To the client

    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        name = request.route
        if status >= 400:
            return _answer(request, "error", self.dumped(payload))
        if name == "AUTH":
            expiry = {member: value for member, value in payload.items() if value is not None}
            return _answer(request, "authentication", _authentication(status, {"detail": "OK", **expiry}))
        if name in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return _answer(request, _ACTIONS[name], self.dumped(payload))
        if status == 204 or _ends_stream(request, status, payload):
            return None
        action = self._reply_actions.get(name, name)
        action = next((str(value) for header, value in headers.items() if header.lower() == "action"), action)
        return _answer(request, action, self.dumped(payload), headers)

    def error(self, problem: Problem, request: Request) -> Any:
        name, code = request.route, problem.code
        if name == "AUTH" and code != "unknown_route" and not _is_ref_refused(request):
            return _answer(request, "authentication", _authentication(problem.status, _without(problem.members)))
        if (name, code) in (("SUBSCRIBE", "already_subscribed"), ("UNSUBSCRIBE", _NOT_SUBSCRIBED)):
            return _answer(request, _ACTIONS[name], None)
        payload: Any = {"detail": problem.detail}
        if problem.errors is not None:
            payload = _bounded([*_entries(self.dumped_errors(problem.native_errors), [name, "payload"])])
        elif code == "parse_error":
            payload = [_entry("json_invalid", [], problem.detail)]
        elif code == "unknown_route":
            payload = [_entry("union_tag_invalid", [], problem.detail)]
        elif code == "invalid_envelope":
            payload = [_envelope_error(request.frame, problem.detail)]
        elif name in ("SUBSCRIBE", "UNSUBSCRIBE") or code == _NOT_SUBSCRIBED:
            payload = _topic_error(problem)
        return _answer(request, "error", payload)

    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        if route == "HELLO":
            return {"action": "authentication", "payload": _authentication(401, payload)}
        if route == "UNSUBSCRIBE":
            problem = Problem(401 if payload.get("code") == "not_authenticated" else 403, payload)
            frame = {"action": "unsubscribed", "payload": _topic_error(problem), "version": _VERSION}
            return {**frame, "topic": payload.get("topic")}
        return _frame(_ACTIONS.get(route, route), self.dumped(payload), _envelope(headers))

    def pong(self, request: Request) -> Any:
        return _answer(request, "pong", None)

    # With completion=True

    def after_request(self, request: Request) -> Any:
        if request.route in ("AUTH", "SUBSCRIBE", "UNSUBSCRIBE") or not _has_envelope(request):
            return None
        return _answer(request, "complete", None)

    def after_broadcast(self, headers: Mapping[str, Any]) -> Any:
        envelope = _envelope(headers)
        return _frame("event_complete" if "topic" in envelope else "group_complete", None, envelope)

    def after_event(self, name: str) -> Any:
        return {"action": "event_complete", "payload": None}

    # For clients

    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        envelope = _envelope(headers)
        if route in ("SUBSCRIBE", "UNSUBSCRIBE"):
            envelope["topic"], payload = payload["topic"], None
            route = route.lower()
        if id is not None:
            envelope["ref"] = str(id)
        return _frame(_ACTIONS.get(route, route), payload, envelope)

    def answer(self, id: RequestId, status: int, payload: Any) -> Any:
        return {"action": "ANSWER", "payload": payload, "version": _VERSION, "ref": id, "status": status}

    def incoming(self, value: Any) -> Incoming | None:
        if not isinstance(value, dict) or not isinstance(value.get("action"), str):
            return None
        action, payload, ref = value["action"], value.get("payload"), value.get("ref")
        headers = {name: value[name] for name in ("topic", "seq") if name in value}
        if action == "authentication":
            return _read_authentication(payload, ref)
        if action in _COMPLETE:  # it answers nothing: the reply, if there is one, has come before
            return Incoming(action, None, None, payload, headers)
        name = _NAMES.get(action, action)
        if name == "UNSUBSCRIBE" and ref is None:
            return Incoming(name, None, None, {**(payload or {}), "topic": value.get("topic")}, headers)
        if ref is None or name == "PONG":
            return Incoming(name, ref, None, payload, headers)
        if isinstance(ref, str) and ref.startswith(ASK_PREFIX):  # the server asks
            return Incoming(name, ref, None, payload, headers)
        return Incoming(name, ref, _status_of(payload) if action == "error" else 200, payload, headers)


def _is_topic(topic: Any) -> bool:
    return isinstance(topic, str) and len(topic) <= _MAX_TOPIC_CHARS


def _envelope(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of the envelope that the headers of a push name."""
    return {name.lower(): value for name, value in headers.items() if name.lower() in ("topic", "seq")}


def _frame(action: str, payload: Any, envelope: Mapping[str, Any]) -> dict[str, Any]:
    frame = {"action": action, "payload": payload}
    return {**frame, "version": _VERSION, **envelope} if envelope else frame


def _answer(request: Request, action: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> dict[str, Any]:
    """Return an answer to ``request``, with its topic and its ref."""
    envelope = _envelope(headers)
    frame = request.frame
    if isinstance(frame, dict) and _is_topic(frame.get("topic")):
        envelope["topic"] = frame["topic"]
    if request.id is not None:
        envelope["ref"] = request.id
    return _frame(action, payload, envelope)


def _authentication(status: int, data: Any) -> dict[str, Any]:
    return {"status_code": status, "status_text": title_of(status), "data": data}


def _read_authentication(payload: Any, ref: RequestId) -> Incoming:
    data = payload["data"]
    if ref is None and isinstance(data, dict) and "mode" in data:
        return Incoming("HELLO", None, None, data, NO_HEADERS)
    return Incoming("AUTH", ref, payload["status_code"], data, NO_HEADERS)


def _without(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``data`` holds of a problem object: DRF has no code and no title there."""
    return {name: value for name, value in members.items() if name not in ("code", "title")}


def _topic_error(problem: Problem) -> dict[str, Any]:
    if problem.status in (401, 403):
        return {"reason": "unauthorized", "detail": problem.detail}
    if problem.status == 404:
        reason = _NOT_SUBSCRIBED if problem.code == _NOT_SUBSCRIBED else "unknown_topic"
        return {"reason": reason, "detail": problem.detail}
    return {"detail": problem.detail}


def _entry(kind: str, location: list[Any], message: str) -> dict[str, Any]:
    return {"type": kind, "loc": location, "msg": message}


def _entries(errors: Any, where: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield an error in pydantic's form for each of the messages in ``errors``."""
    if isinstance(errors, dict) and isinstance(errors.get("msg"), str):
        kind = str(errors.get("type", "value_error"))
        yield _entry(kind, [] if kind == _TOO_MANY else [*where, *(errors.get("loc") or ())], errors["msg"])
    elif isinstance(errors, dict):
        for name, value in errors.items():
            yield from _entries(value, where if name in _WHOLE else [*where, name])
    elif isinstance(errors, list | tuple):
        for index, value in enumerate(errors):
            is_item = isinstance(value, dict) and not isinstance(value.get("msg"), str)
            yield from _entries(value, [*where, index] if is_item else where)
    else:
        yield _entry("value_error", where, str(errors))


def _envelope_error(frame: Any, detail: str) -> dict[str, Any]:
    if not isinstance(frame, dict):
        return _entry("model_type", [], detail)
    if frame.get("ref") is not None and not isinstance(frame["ref"], str):
        return _entry("string_type", ["ref"], detail)
    if frame.get("topic") is not None and not _is_topic(frame["topic"]):
        return _entry("string_type", ["topic"], detail)
    return _entry("union_tag_not_found", [], detail)


def _is_ref_refused(request: Request) -> bool:
    """Whether the frame has a ref that cannot be one, which chanx finds before it looks at the action."""
    frame = request.frame
    return request.id is None and isinstance(frame, dict) and frame.get("ref") is not None


def _has_envelope(request: Request) -> bool:
    """Whether the frame has an envelope. Otherwise chanx gives up before it handles the message."""
    frame = request.frame
    if not isinstance(frame, dict):
        return False
    ref, topic = frame.get("ref"), frame.get("topic")
    return (ref is None or isinstance(ref, str)) and (topic is None or _is_topic(topic))


def _bounded(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = list(entries)
    while kept and len(codec.encode(kept)) > _MAX_ERRORS_BYTES:
        kept.pop()
    if len(kept) < len(entries):
        kept.append(_entry(_TOO_MANY, [], f"{len(entries) - len(kept)} more."))
    return kept


def _ends_stream(request: Request, status: int, payload: Any) -> bool:
    """Whether this is the end of a stream, which in chanx has no frame but ``complete``."""
    return status == 200 and payload is None and request.emit is not None


def _status_of(payload: Any) -> int | None:
    """Return the status of an error that a client reads; ``None`` if its frame does not tell."""
    if isinstance(payload, list):
        return 422
    return _STATUSES.get(payload.get("reason", "")) if isinstance(payload, dict) else None
