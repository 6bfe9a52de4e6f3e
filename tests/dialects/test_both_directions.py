"""A server reads the requests that a client of the same dialect writes, and the client what the server writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routesock import Request
from routesock.dialects import Chanx, Dialect, Frame, ObservableSocket, Wsx
from routesock.dialects.base import checked_id
from routesock.testing import RouteClient

from . import chanx, wsx

DIALECTS = [ObservableSocket(), Chanx(), Wsx()]
CONTROL = {"ping", "pong", "authentication", "error", "subscribed", "unsubscribed", "close"}

dialects = st.sampled_from(DIALECTS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
routes = st.text(min_size=1).filter(
    lambda name: name.islower() and not name.startswith("socket.") and "complete" not in name and name not in CONTROL
)
ids = st.text(max_size=128)


def sent(frame: Any) -> Any:
    return json.loads(json.dumps(frame))


@given(dialect=dialects, route=routes, id=ids | st.none(), payload=json_values)
def test_a_server_reads_what_a_client_writes(dialect: Dialect, route: str, id: Any, payload: Any) -> None:
    frame = dialect.read(sent(dialect.request(route, id, payload)))
    assert isinstance(frame, Frame)
    assert (frame.route, checked_id(dialect, frame)) == (route, id)
    assert frame.payload == payload or (payload is None and frame.payload == {})


@given(dialect=dialects, route=routes, id=ids, payload=json_values)
def test_a_client_reads_the_replies_and_pushes_of_a_server(dialect: Dialect, route: str, id: str, payload: Any) -> None:
    read = dialect.incoming(sent(dialect.reply(Request(route, id), 200, payload, {})))
    assert read is not None
    assert (read.id, read.status, read.payload) == (id, 200, payload)
    assert read.route in (route, None)
    push = dialect.incoming(sent(dialect.push(route, payload)))
    assert push is not None
    assert (push.route, push.id, push.status, push.payload) == (route, None, None, payload)


@given(dialect=dialects, value=json_values)
def test_a_client_reads_any_value(dialect: Dialect, value: Any) -> None:
    assert dialect.incoming(value) is None or isinstance(value, dict)


@pytest.mark.parametrize("consumer", [chanx.Chat, wsx.Chat], ids=["chanx", "wsx"])
async def test_the_items_of_a_stream_have_no_status(consumer: type) -> None:
    async with RouteClient(consumer) as client:
        with pytest.raises(ValueError, match="has no status"):
            client.stream("items")
