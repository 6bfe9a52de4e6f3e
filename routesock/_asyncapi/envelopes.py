"""The frames of a dialect as JSON Schema: what surrounds the payload of a request, a reply, an error and a push."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from ..dialects import Dcrf, Dialect, Keys
from ..dialects.base import ASK_PREFIX, MAX_ID_CHARS, MAX_ID_INTEGER
from ..dialects.keys import ObservableSocket
from ..schemas._json_schema.draft7 import INEXACT, NOTHING
from .names import pointer_part

Schema: TypeAlias = dict[str, Any]

Target: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Returns what a schema is, in place of a reference."""

ANNOTATIONS: Final = frozenset(("title", "description", "default", "examples", "deprecated", INEXACT))

_FLAT_PAYLOAD: Final = "payload"

_HEADERS: Final[Schema] = {
    "type": "object",
    "properties": {"Request-Timeout": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds."}},
    "propertyNames": {
        "anyOf": [
            {"const": "Request-Timeout"},
            {"not": {"pattern": "^[Rr][Ee][Qq][Uu][Ee][Ss][Tt]-[Tt][Ii][Mm][Ee][Oo][Uu][Tt]$"}},
        ]
    },
}

_IN: Final = ("read", "load", "decode", "loaded", "for_consumer")
_OUT: Final = ("reply", "error", "push", "pong", "encode", "dumped", "dumped_problem", "dumped_errors")


class Envelope:
    """The frames of a dialect that is not known: they are payloads only.

    Args:
        dialect: The dialect.
        target: Resolves references.
    """

    is_exact: bool = False
    """Whether the schemas describe whole frames."""

    error_has_problem: bool = True
    """Whether the payload of an error is a problem object, or another schema is documented for it."""

    status_key: str | None = None
    id_key: str | None = None

    def __init__(self, dialect: Dialect, target: Target) -> None:
        self.dialect = dialect
        self.target = target

    @property
    def description(self) -> Any:
        """The value of ``x-routesock-dialect``."""
        return "custom"

    @property
    def camelize(self) -> bool:
        """Whether names in payloads are camelCase on the wire."""
        return self.is_exact and self.dialect._camelize

    @property
    def correlation(self) -> Schema | None:
        """Where the id of a request is."""
        if self.id_key is None:
            return None
        return {"location": f"$message.payload#/{pointer_part(self.id_key)}"}

    def request(self, route: str, payload: Schema, *, needs_id: bool = False) -> Schema:
        """Return the schema of a request."""
        return payload

    def reply(self, route: str, statuses: Sequence[int], payload: Schema) -> Schema:
        """Return the schema of a reply with one of these statuses."""
        return payload

    def error(self, route: Schema, status: Schema, payload: Schema) -> Schema:
        """Return the schema of an error. ``route`` and ``status`` are schemas of their members."""
        return payload

    def push(self, route: str, payload: Schema, *, by_topic: bool = False) -> Schema:
        """Return the schema of a push. ``by_topic`` is whether it may come through a topic."""
        return payload

    def pong(self, payload: Schema) -> Schema:
        """Return the schema of the answer to a PING."""
        return self.push("PONG", payload)

    def ask(self, route: str, payload: Schema) -> Schema:
        """Return the schema of a frame with which the server asks."""
        return payload

    def answer(self, payload: Schema) -> Schema:
        """Return the schema of the client's answer to it, with a status of success."""
        return payload

    def _may_lack_id(self, statuses: Sequence[int]) -> bool:
        """Whether a reply with one of these statuses answers requests without an id, too. All errors do."""
        return self.dialect.answers_without_id or statuses[0] >= 400

    def _id(self, *, nullable: bool) -> Schema:
        kinds = ["string", *(["integer"] if self.dialect.integer_ids else []), *(["null"] if nullable else [])]
        found: Schema = {"type": kinds[0] if len(kinds) == 1 else kinds, "maxLength": MAX_ID_CHARS}
        if self.dialect.integer_ids:
            found |= {"minimum": -MAX_ID_INTEGER, "maximum": MAX_ID_INTEGER}
        return found


class KeysEnvelope(Envelope):
    """The frames of :class:`~routesock.Keys`."""

    is_exact = True
    dialect: Keys

    def __init__(self, dialect: Keys, target: Target) -> None:
        super().__init__(dialect, target)
        self.status_key = dialect._status
        self.id_key = dialect._id
        self._out = dialect._reserved

    @property
    def description(self) -> Any:
        dialect = self.dialect
        return {
            "route": dialect._route,
            "id": dialect._id,
            "payload": dialect._payload,
            "status": dialect._status,
            "headers": dialect._headers,
            "topic": dialect._topic,
            "camelize": dialect._camelize,
            "completion": dialect.answers_without_id,
            **({} if dialect._error is None else {"error": "custom"}),
        }

    def request(self, route: str, payload: Schema, *, needs_id: bool = False) -> Schema:
        dialect = self.dialect
        members: dict[str, Schema] = {dialect._route: {"const": route}}
        required = [dialect._route]
        if dialect._id is not None:
            needs_id = needs_id and not dialect.answers_without_id
            members[dialect._id] = self._id(nullable=not needs_id)
            required += [dialect._id] if needs_id else []
        if dialect._headers is not None:
            members[dialect._headers] = dict(_HEADERS)
        if dialect._payload is None:
            return flat(payload, members, required, self.target, frozenset(members), nested_key=None)
        members[dialect._payload] = payload
        if not accepts_null(payload, self.target):
            required.append(dialect._payload)
        return _object(members, required)

    def reply(self, route: str, statuses: Sequence[int], payload: Schema) -> Schema:
        status: Schema = {"const": statuses[0]} if len(statuses) == 1 else {"enum": [*statuses]}
        found = self._answer({"const": route}, status, payload, nullable=self._may_lack_id(statuses))
        if self.status_key is None and not _is_null(payload):
            return {**found, "not": self._looks_like_problem()}
        return found

    def error(self, route: Schema, status: Schema, payload: Schema) -> Schema:
        if self.dialect._error is not None:
            return self._own_error()
        return self._answer(route, status, payload, nullable=True)

    def push(self, route: str, payload: Schema, *, by_topic: bool = False) -> Schema:
        dialect = self.dialect
        members: dict[str, Schema] = {dialect._route: {"const": route}}
        if dialect._headers is not None:
            members[dialect._headers] = {"type": "object"}
        optional: Schema = {}
        if dialect._headers is None and by_topic:
            optional[dialect._topic] = {"type": "string", "description": "The topic that the push came through."}
        found = self._with_payload(members | optional, [dialect._route], payload, maybe_taken=frozenset(optional))
        absent = [{"required": [key]} for key in (self.status_key, self.id_key) if key is not None]
        if route == "PING" and self.id_key is not None:
            absent = [{"required": [self.id_key]}]
        return {**found, "not": {"anyOf": absent}} if absent else found

    def pong(self, payload: Schema) -> Schema:
        dialect = self.dialect
        members: dict[str, Schema] = {dialect._route: {"const": "PONG"}}
        if dialect._id is not None:
            members[dialect._id] = self._id(nullable=True)
        return self._with_payload(members, [*members], payload)

    def ask(self, route: str, payload: Schema) -> Schema:
        dialect = self.dialect
        assert dialect._id is not None, "Without ids, a declared answer is an error."
        members: dict[str, Schema] = {dialect._route: {"const": route}, dialect._id: _ask_id()}
        required = [*members]
        if dialect._headers is not None:
            members[dialect._headers] = {"type": "object", "properties": {"Timeout": _TIMEOUT}}
        return self._with_payload(members, required, payload)

    def answer(self, payload: Schema) -> Schema:
        dialect = self.dialect
        assert dialect._id is not None
        members: dict[str, Schema] = {dialect._route: {"const": "ANSWER"}, dialect._id: _ask_id()}
        required = [*members]
        if dialect._status is not None:
            members[dialect._status] = dict(_SUCCESS)
        if dialect._headers is not None:
            members[dialect._headers] = {"type": "object"}
        return self._with_payload(members, required, payload)

    def _answer(self, route: Schema, status: Schema, payload: Schema, *, nullable: bool) -> Schema:
        dialect = self.dialect
        members: dict[str, Schema] = {}
        if dialect._id is not None:
            members[dialect._id] = self._id(nullable=nullable)
        members[dialect._route] = route
        if dialect._status is not None:
            members[dialect._status] = status
        required = [*members]
        if dialect._headers is not None:
            members[dialect._headers] = {"type": "object"}
        return self._with_payload(members, required, payload)

    def _with_payload(
        self,
        members: dict[str, Schema],
        required: list[str],
        payload: Schema,
        maybe_taken: frozenset[str] = frozenset(),
    ) -> Schema:
        key = self.dialect._payload
        if key is not None:
            return _object({**members, key: payload}, [*required, key])
        return flat(
            payload, members, required, self.target, self._out, nested_key=_FLAT_PAYLOAD, maybe_taken=maybe_taken
        )

    def _own_error(self) -> Schema:
        """Return the schema of an error that a function of the project makes: anything but a success."""
        if self.status_key is None:
            return {}
        return {
            "not": {
                "type": "object",
                "required": [self.status_key],
                "properties": {self.status_key: {"type": "integer", "maximum": 399}},
            }
        }

    def _looks_like_problem(self) -> Schema:
        """Return the schema of frames whose payload is a problem object, where no status tells."""
        members = {"type": "object", "required": ["code", "title", "detail"]}
        key = self.dialect._payload
        return members if key is None else {"type": "object", "required": [key], "properties": {key: members}}


class DcrfEnvelope(Envelope):
    """The frames of :class:`~routesock.dialects.Dcrf`."""

    is_exact = True
    error_has_problem = False
    status_key = "response_status"
    id_key = "request_id"

    @property
    def description(self) -> Any:
        return {"dcrf": {"camelize": self.dialect._camelize, "completion": self.dialect.answers_without_id}}

    def request(self, route: str, payload: Schema, *, needs_id: bool = False) -> Schema:
        needs_id = needs_id and not self.dialect.answers_without_id
        members: dict[str, Schema] = {"action": {"const": route}, "request_id": self._id(nullable=not needs_id)}
        required = ["action", "request_id"] if needs_id else ["action"]
        return flat(payload, members, required, self.target, frozenset(members), nested_key=None)

    def reply(self, route: str, statuses: Sequence[int], payload: Schema) -> Schema:
        status: Schema = {"const": statuses[0]} if len(statuses) == 1 else {"enum": [*statuses]}
        return self._frame({"const": route}, status, payload, self._id(nullable=self._may_lack_id(statuses)))

    def error(self, route: Schema, status: Schema, payload: Schema) -> Schema:
        errors = {"type": "array", "description": "Messages by field if there are any, or else one text."}
        return self._frame(route, status, {"type": "null"}, self._id(nullable=True), errors)

    def push(self, route: str, payload: Schema, *, by_topic: bool = False) -> Schema:
        found = self._frame({"const": route}, {"const": 200}, payload, {})
        if by_topic:
            found["properties"]["topic"] = {"type": "string", "description": "The topic that the push came through."}
        return found

    def pong(self, payload: Schema) -> Schema:
        return self._frame({"const": "PONG"}, {"const": 200}, payload, self._id(nullable=True))

    def ask(self, route: str, payload: Schema) -> Schema:
        members: dict[str, Schema] = {"action": {"const": route}, "request_id": _ask_id()}
        return flat(payload, members, [*members], self.target, frozenset(members), nested_key="data")

    def answer(self, payload: Schema) -> Schema:
        members: dict[str, Schema] = {"action": {"const": "ANSWER"}, "request_id": _ask_id(), "data": payload}
        return _object({**members, "response_status": dict(_SUCCESS)}, [*members])

    def _frame(self, action: Schema, status: Schema, data: Schema, id: Schema, errors: Schema | None = None) -> Schema:
        members: dict[str, Schema] = {
            "action": action,
            "errors": {"type": "array", "maxItems": 0} if errors is None else errors,
            "data": data,
            "response_status": status,
            "request_id": id,
        }
        return _object(members, [*members])


def envelope_of(dialect: Dialect, target: Target) -> Envelope:
    """Return the frames of ``dialect``; of one whose methods the project overrides, payloads only."""
    for base, kind in _KNOWN:
        if isinstance(dialect, base):
            own = any(getattr(type(dialect), name) is not getattr(base, name) for name in (*_IN, *_OUT))
            return Envelope(dialect, target) if own else kind(dialect, target)
    return Envelope(dialect, target)


_KNOWN: Final[Sequence[tuple[Any, Any]]] = (
    (ObservableSocket, KeysEnvelope),
    (Keys, KeysEnvelope),
    (Dcrf, DcrfEnvelope),
)


_TIMEOUT: Final[Schema] = {"type": "number", "description": "Seconds for which the server waits."}

_SUCCESS: Final[Schema] = {"type": "integer", "minimum": 200, "maximum": 299}


def _ask_id() -> Schema:
    return {"type": "string", "pattern": f"^{ASK_PREFIX}[0-9]+$"}


def _object(members: dict[str, Schema], required: Sequence[str]) -> Schema:
    return {"type": "object", "properties": members, "required": [*required]}


def _is_null(payload: Mapping[str, Any]) -> bool:
    return payload.get("type") == "null"


def accepts_null(payload: Mapping[str, Any], target: Target) -> bool:
    """Whether ``payload`` accepts null, so that it may be left out; ``False`` where that is not certain."""
    schema = target(payload)
    if any(keyword in schema for keyword in ("not", "allOf", "const")):
        return schema.get("const", ...) is None and "not" not in schema and "allOf" not in schema
    if "enum" in schema and None not in schema["enum"]:
        return False
    kinds = schema.get("type", "null")
    if "null" not in ([kinds] if isinstance(kinds, str) else kinds):
        return False
    if "oneOf" in schema:
        return False
    return "anyOf" not in schema or any(accepts_null(part, target) for part in schema["anyOf"])


_OF_OBJECTS: Final = (
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
)

_SPREAD: Final = "payload is spread over its frame"
"""The reason of a part of a schema that cannot be said of a frame."""


def flat(
    payload: Mapping[str, Any],
    members: Mapping[str, Schema],
    required: Sequence[str],
    target: Target,
    taken: frozenset[str],
    *,
    nested_key: str | None,
    maybe_taken: frozenset[str] = frozenset(),
) -> Schema:
    """Return the schema of a frame over which a payload is spread.

    ``allOf`` of the frame and the payload would refuse each frame where the payload allows no other properties, so
    their properties are merged.

    Args:
        payload: The schema of the payload.
        members: The other members of the frame.
        required: Those that a frame always has.
        target: Resolves references.
        taken: Names that the payload cannot have in a frame.
        nested_key: Where a payload goes that cannot be spread; ``None``: there is no such payload.
        maybe_taken: Names that it cannot have in some frames.
    """

    def spread(part: Mapping[str, Any]) -> Schema:
        return flat(part, members, required, target, taken, nested_key=nested_key, maybe_taken=maybe_taken)

    def nested(part: Mapping[str, Any]) -> Schema:
        if nested_key is None:
            return {**NOTHING, INEXACT: [_SPREAD]}
        return _object({**members, nested_key: dict(part)}, [*required, nested_key])

    schema = target(payload)
    annotations = {name: value for name, value in schema.items() if name in (INEXACT,)}
    rules = {name: value for name, value in schema.items() if name not in ANNOTATIONS}
    if not rules:  # anything
        return {**_object(dict(members), required), **annotations}
    for keyword in ("anyOf", "oneOf"):
        if rules.keys() == {keyword}:
            parts = [found for part in rules[keyword] if not _is_nothing(found := spread(part))]
            return {"anyOf": parts, **annotations} if parts else {**NOTHING}
    kinds = rules.get("type")
    if isinstance(kinds, list) and "object" in kinds:
        others = [kind for kind in kinds if kind != "object"]
        as_object = spread({**schema, "type": "object"})
        if nested_key is None or not others:
            return as_object
        rest = {name: value for name, value in schema.items() if name not in _OF_OBJECTS}
        return {"anyOf": [as_object, nested({**rest, "type": others[0] if len(others) == 1 else others})]}
    if kinds == "object":
        return _merged(schema, members, required, taken, maybe_taken, nested, into_frame=nested_key is not None)
    if kinds is None and nested_key is not None:
        return {**_object(dict(members), required), **annotations}
    if kinds is None:
        return {**_object(dict(members), required), INEXACT: [*schema.get(INEXACT, ()), _SPREAD]}
    return nested(payload)


def _is_nothing(schema: Mapping[str, Any]) -> bool:
    return schema.get("not") == {}


def _merged(
    schema: Mapping[str, Any],
    members: Mapping[str, Schema],
    required: Sequence[str],
    taken: frozenset[str],
    maybe_taken: frozenset[str],
    nested: Callable[[Mapping[str, Any]], Schema],
    *,
    into_frame: bool,
) -> Schema:
    """Return the schema of a frame with the properties of a payload that is an object."""
    own: Mapping[str, Any] = schema.get("properties", {})
    needed: Sequence[str] = schema.get("required", ())
    if into_frame and any(name in taken for name in needed):
        return nested(schema)
    if not into_frame and any(name in taken for name in needed):
        return {**NOTHING, INEXACT: [_SPREAD]}
    result: Schema = {
        "type": "object",
        "properties": {**members, **{name: part for name, part in own.items() if name not in taken}},
        "required": [*required, *(name for name in needed if name not in required)],
    }
    reasons = [*schema.get(INEXACT, ())]
    if "additionalProperties" in schema:
        result["additionalProperties"] = schema["additionalProperties"]
    if "propertyNames" in schema:
        result["propertyNames"] = {"anyOf": [{"enum": [*members]}, schema["propertyNames"]]}
    rest = schema.keys() - {*ANNOTATIONS, *_OF_OBJECTS, "type"} | (schema.keys() & {"minProperties", "maxProperties"})
    if rest:
        reasons.append(_SPREAD)
    if reasons:
        result[INEXACT] = list(dict.fromkeys(reasons))
    clashes = (taken | maybe_taken) & own.keys()
    if not into_frame or not clashes:
        return result
    result["properties"] |= {name: own[name] for name in clashes & maybe_taken if name not in taken}
    return {"anyOf": [result, nested(schema)]}
