"""Dialects: how frames are encoded, without losing any payload."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock import Keys, Request
from routesock.dialects import Frame
from routesock.dialects.base import checked_headers, checked_id
from routesock.exceptions import InvalidEnvelope

ENVELOPE = Keys()
FLAT = Keys(route="action", id="request_id", payload=None)
DIALECTS = [
    ENVELOPE,
    FLAT,
    Keys(route="type", id="ref", payload="data", status="code", headers=None),
    Keys(payload=None, headers="headers"),
]

WIRE_KEYS = ["route", "uuid", "payload", "status", "headers", "action", "request_id", "data"]
names = st.text() | st.sampled_from(WIRE_KEYS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)
ids = st.none() | st.text(max_size=128) | st.integers(-(2**53), 2**53)
headers = st.dictionaries(st.text(min_size=1), st.text(), max_size=3)
dialects = st.sampled_from(DIALECTS)


def test_the_default_envelope() -> None:
    assert ENVELOPE.reply(Request("chat.send", "c1"), 201, {"id": 1}, {}) == {
        "uuid": "c1",
        "route": "chat.send",
        "status": 201,
        "payload": {"id": 1},
    }
    assert ENVELOPE.reply(Request("chat.send", 1), 429, None, {"Retry-After": 2})["headers"] == {"Retry-After": 2}
    assert ENVELOPE.push("chat.message", [1]) == {"route": "chat.message", "payload": [1]}
    assert ENVELOPE.pong(Request("PING", "h")) == {"route": "PONG", "uuid": "h", "payload": None}
    assert ENVELOPE.request("chat.send", None, 1) == {"route": "chat.send", "payload": 1}


def test_a_payload_without_a_key_is_the_rest_of_the_object() -> None:
    frame = {"action": "chat.send", "request_id": 7, "text": "x", "uuid": "mine", "headers": 1, "status": 2}
    payload = {"text": "x", "uuid": "mine", "headers": 1, "status": 2}
    assert FLAT.read(frame) == ("chat.send", 7, payload, None, frame, None)
    assert FLAT.reply(Request("chat.send", 7), 200, {"text": "x"}, {"h": 1}) == {
        "request_id": 7,
        "action": "chat.send",
        "status": 200,
        "text": "x",
    }


@pytest.mark.parametrize("payload", [None, 1, "x", [], {"status": 1}, {"action": 1}, {"payload": 1}, {"request_id": 1}])
def test_a_payload_that_cannot_be_spread_stands_under_payload(payload: Any) -> None:
    assert FLAT.reply(Request("a", 1), 200, payload, {})["payload"] == payload
    assert FLAT.push("a", payload) == {"action": "a", "payload": payload}


@given(dialects, ids, st.integers(200, 599), json_values, headers)
def test_a_client_reads_the_reply_that_a_server_wrote(
    dialect: Keys, id: Any, status: int, payload: Any, headers: dict[str, str]
) -> None:
    frame = json.loads(json.dumps(dialect.reply(Request("a.b", id), status, payload, headers)))
    read = dialect.incoming(frame)
    assert read is not None
    assert (read.route, read.id, read.status, read.payload) == ("a.b", id, status, payload)
    assert read.headers == ({} if dialect._headers is None else headers)


@given(dialects, ids, json_values, headers)
def test_a_server_reads_the_request_that_a_client_wrote(
    dialect: Keys, id: Any, payload: Any, headers: dict[str, str]
) -> None:
    frame = json.loads(json.dumps(dialect.request("a.b", id, payload, headers)))
    read = dialect.read(frame)
    assert read is not None
    assert (read.route, read.id) == ("a.b", id)
    assert (read.headers or {}) == ({} if dialect._headers is None else headers)
    own = {dialect._route, dialect._id, dialect._headers}
    if dialect._payload is not None:
        assert read.payload == payload
    elif isinstance(payload, dict) and own.isdisjoint(payload) and not str(id).startswith("@"):
        assert read.payload == payload  # a status or a "payload" among its members included


@pytest.mark.parametrize("id", ["u" * 129, 2**53 + 1, -(2**53) - 1, True, False, 1.0, [], {}])
def test_an_id_that_cannot_be_echoed_is_refused(id: Any) -> None:
    with pytest.raises(InvalidEnvelope, match="'uuid' must be a string"):
        checked_id(ENVELOPE, Frame("a", id))


@pytest.mark.parametrize("headers", [[], "x", 1, True])
def test_headers_are_an_object(headers: Any) -> None:
    with pytest.raises(InvalidEnvelope, match="'headers' must be an object"):
        checked_headers(ENVELOPE, Frame("a", headers=headers))


def test_a_request_may_leave_out_everything_but_its_route() -> None:
    assert ENVELOPE.read({"headers": None}) == (None, None, None, None, {"headers": None}, None)


def test_a_dialect_without_a_status_sends_none() -> None:
    dialect = Keys(status=None)
    assert dialect.reply(Request("a", 1), 404, 2, {}) == {"uuid": 1, "route": "a", "payload": 2}
    read = dialect.incoming({"uuid": 1, "route": "a", "status": 404, "payload": 2})
    assert read is not None
    assert read.status is None


@pytest.mark.parametrize(
    "options",
    [
        {"id": "route"},
        {"payload": "uuid"},
        {"status": "payload"},
        {"headers": "status"},
        {"route": 1},
        {"route": "payload", "payload": None},
    ],
)
def test_each_part_has_its_own_key(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be different strings"):
        Keys(**options)


def test_its_repr_is_how_to_make_it() -> None:
    assert repr(FLAT) == "Keys(route='action', id='request_id', payload=None, status='status', headers=None)"
    assert repr(eval(repr(FLAT))) == repr(FLAT)
