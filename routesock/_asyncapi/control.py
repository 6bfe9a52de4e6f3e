"""The payloads of the protocol's own frames as JSON Schema."""

from __future__ import annotations

from typing import Any, Final

from .. import conf
from .._pipeline.compiler import ConsumerPlan
from .security import Handshake

Schema = dict[str, Any]

NULL: Final[Schema] = {"type": "null"}

_SECONDS: Final[Schema] = {"type": "number"}


POSITION: Final[Schema] = {
    "type": "string",
    "pattern": "^[A-Za-z0-9_-]{1,22}:[0-9]{1,19}$",
    "description": "The position from which the client goes on: the last header Position that it has seen.",
}


def resume() -> Schema:
    """Return the payload of RESUME."""
    topics: Schema = {
        "type": "object",
        "description": "Positions by the names of topics.",
        "additionalProperties": {"type": "string"},
        "maxProperties": conf.get("MAX_SUBSCRIPTIONS"),
    }
    return {"type": "object", "properties": {"topics": topics}, "required": ["topics"]}


def resumed() -> Schema:
    """Return the payload of the reply to RESUME."""
    result: Schema = {
        "type": "object",
        "properties": {
            "status": {"type": "integer", "description": "The status of a reply to SUBSCRIBE."},
            "position": {"type": "string", "description": "The position of the client now."},
            "recovered": {"type": "boolean", "description": "Whether nothing is missing behind its position."},
            "payload": {"description": "The payload of a reply to SUBSCRIBE."},
        },
        "required": ["status", "payload"],
    }
    return {"type": "object", "additionalProperties": result}


def problem() -> Schema:
    """Return the schema of a problem object, the payload of errors."""
    errors: Schema = {"description": "Messages by field."}
    if conf.get("VALIDATION_ERRORS") == "native":
        errors["description"] = "Messages by field, in the shape of the schema library."
    return {
        "type": "object",
        "description": "An error (RFC 9457). It may have further members.",
        "properties": {
            "code": {"type": "string", "description": "A short name of the error, for programs."},
            "title": {"type": "string", "description": "The name of the status."},
            "detail": {"type": "string", "description": "A sentence for people."},
            "errors": errors,
            "retry_after": {
                "type": ["number", "string"],
                "description": "Seconds after which the client may try again.",
            },
        },
        "required": ["code", "title", "detail"],
    }


def close_notice() -> Schema:
    """Return the payload of CLOSE."""
    return {
        "type": "object",
        "properties": {
            "code": {"type": "integer", "description": "The code of the close frame that follows."},
            "reason": {"type": "string"},
            "reconnect": {"type": "boolean", "description": "Whether the client should connect again."},
            "retry_after": {"type": "number", "description": "Seconds to wait before that."},
        },
        "required": ["code", "reason", "reconnect"],
    }


def hello(plan: ConsumerPlan, handshake: Handshake | None) -> Schema:
    """Return the payload of HELLO."""
    limits: Schema = {
        "protocol": {"type": "integer", "description": "The version of the protocol."},
        "heartbeat": {
            "type": "object",
            "description": "When the server sends a PING, and how long it waits for a frame after that.",
            "properties": {"interval": _SECONDS, "timeout": _SECONDS},
            "required": ["interval", "timeout"],
        },
        "max_frame": {"type": "integer", "description": "The largest frame of a client in bytes."},
        "max_queued": {"type": "integer", "description": "How many requests may wait."},
    }
    terms: Schema = {
        "mode": {"enum": ["required", "optional"], "description": "Whether a client has to send AUTH."},
        "attempts": {"type": "integer", "description": "How many wrong tokens close the socket."},
        "timeout": {"type": "number", "description": "Seconds that a client has to authenticate."},
        "public": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The routes that are answered before that.",
        },
    }
    members = {**(limits if plan.hello else {}), **(terms if handshake is not None else {})}
    required = ["protocol", "max_frame", "max_queued"] if plan.hello else ["mode", "attempts", "timeout"]
    return {"type": "object", "properties": members, "required": required}


def token() -> Schema:
    """Return the payload of AUTH."""
    return {
        "type": "object",
        "properties": {"token": {"type": "string", "minLength": 1}},
        "required": ["token"],
    }


def expiry() -> Schema:
    """Return the payload of the answer to AUTH."""
    return {
        "type": "object",
        "properties": {
            "expires": {"type": ["number", "null"], "description": "When the login ends, in seconds since 1970."},
            "ttl": {"type": ["number", "null"], "description": "In how many seconds that is."},
        },
        "required": ["expires", "ttl"],
    }
