"""The trace that a request belongs to: which ``traceparent`` is read, and what stands in for one."""

from __future__ import annotations

import copy
import re
from typing import Any, Final

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from hypothesis import given
from hypothesis import strategies as st

from routesock import Request, RouteMixin, route
from routesock._wire.messages import parse_traceparent, trace_id_for
from routesock.testing import RouteClient

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = "b7ad6b7169203331"
VALID: Final = f"00-{TRACE}-{PARENT}-01"
OTHER: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
HEX: Final = "0123456789abcdef"


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=count, max_size=count)


def a_trace_id(text: Any) -> bool:
    return re.fullmatch("[0-9a-f]{32}", text) is not None and text != "0" * 32


traces = digits(32).filter(lambda text: text != "0" * 32)
parents = digits(16).filter(lambda text: text != "0" * 16)
later_versions = digits(2).filter(lambda text: text not in ("00", "ff"))
cases = st.sampled_from([str.lower, str.upper, str.title, str.swapcase])


class TestParse:
    @given(traces, parents, digits(2))
    def test_version_00_is_read(self, trace: str, parent: str, flags: str) -> None:
        assert parse_traceparent(f"00-{trace}-{parent}-{flags}") == trace

    @given(traces, parents, digits(2), st.text(min_size=1))
    def test_version_00_has_55_characters(self, trace: str, parent: str, flags: str, more: str) -> None:
        assert parse_traceparent(f"00-{trace}-{parent}-{flags}{more}") is None
        assert parse_traceparent(f"00-{trace}-{parent}-{flags}-{more}") is None
        assert parse_traceparent(f"00-{trace}-{parent}-{flags}-") is None

    @given(later_versions, traces, parents, digits(2), st.text())
    def test_a_later_version_may_go_on_behind_a_dash(
        self, version: str, trace: str, parent: str, flags: str, more: str
    ) -> None:
        """Section 3.2.4: what is known of it is used, what follows is not looked at."""
        assert parse_traceparent(f"{version}-{trace}-{parent}-{flags}") == trace
        assert parse_traceparent(f"{version}-{trace}-{parent}-{flags}-{more}") == trace

    @given(later_versions, traces, parents, digits(2), st.text(min_size=1).filter(lambda text: text[0] != "-"))
    def test_a_later_version_goes_on_behind_nothing_else(
        self, version: str, trace: str, parent: str, flags: str, more: str
    ) -> None:
        assert parse_traceparent(f"{version}-{trace}-{parent}-{flags}{more}") is None

    @given(st.sampled_from(["00", "01", "cc", "fe"]), traces, parents)
    def test_version_ff_and_ids_of_zeros_are_invalid(self, version: str, trace: str, parent: str) -> None:
        assert parse_traceparent(f"ff-{trace}-{parent}-01") is None
        assert parse_traceparent(f"{version}-{'0' * 32}-{parent}-01") is None
        assert parse_traceparent(f"{version}-{trace}-{'0' * 16}-01") is None

    @given(st.data())
    def test_one_wrong_character_makes_it_invalid(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(VALID) - 1))
        allowed = "-" if VALID[at] == "-" else HEX
        wrong = data.draw(st.characters().filter(lambda character: character not in allowed))
        assert parse_traceparent(VALID[:at] + wrong + VALID[at + 1 :]) is None

    @given(st.integers(0, len(VALID) - 1))
    def test_one_missing_character_makes_it_invalid(self, at: int) -> None:
        assert parse_traceparent(VALID[:at] + VALID[at + 1 :]) is None

    @pytest.mark.parametrize("text", ["", VALID.upper(), f" {VALID}", f"{VALID} ", f"{VALID}\n", f"{VALID},{VALID}"])
    def test_it_is_read_as_it_stands(self, text: str) -> None:
        """No other case, no white space, no list."""
        assert parse_traceparent(text) is None

    @given(st.text())
    def test_no_text_is_too_much(self, text: str) -> None:
        found = parse_traceparent(text)
        assert found is None or a_trace_id(found)


class TestTraceId:
    @given(cases)
    def test_the_name_of_the_header_is_in_any_case(self, spelt: Any) -> None:
        assert trace_id_for({spelt("traceparent"): VALID}, {}) == TRACE
        assert trace_id_for({}, {"headers": [(spelt("traceparent").encode(), VALID.encode())]}) == TRACE

    def test_that_of_the_request_comes_before_that_of_the_handshake(self) -> None:
        handshake = {"headers": [(b"host", b"testserver"), (b"traceparent", VALID.replace(TRACE, OTHER).encode())]}
        assert trace_id_for({"traceparent": VALID}, handshake) == TRACE
        assert trace_id_for({"tracestate": "x=1"}, handshake) == OTHER
        assert trace_id_for({"traceparent": "00-broken"}, handshake) == OTHER

    def test_of_two_headers_none_is_the_right_one(self) -> None:
        assert trace_id_for({"traceparent": VALID, "Traceparent": VALID}, {}) != TRACE
        assert trace_id_for({}, {"headers": [(b"traceparent", VALID.encode())] * 2}) != TRACE

    def test_without_a_header_each_request_has_one_of_its_own(self) -> None:
        made = {trace_id_for({}, {"headers": []}) for _ in range(100)}
        assert len(made) == 100
        assert all(map(a_trace_id, made))

    @pytest.mark.parametrize("headers", [None, [], [None], ["ab"], 7, "text", {"traceparent": 7}, {b"traceparent": []}])
    def test_what_is_no_headers_has_no_trace(self, headers: Any) -> None:
        """A dialect of the user's own, or a middleware in front of the consumer, may hand on anything."""
        assert a_trace_id(trace_id_for(headers, {"headers": headers}))

    @given(st.dictionaries(st.text() | cases.map(lambda spelt: spelt("traceparent")), st.text() | st.integers()))
    def test_whatever_the_client_sends_there_is_one(self, headers: dict[str, Any]) -> None:
        assert a_trace_id(trace_id_for(headers, {"headers": []}))


class Traced(RouteMixin, AsyncJsonWebsocketConsumer):
    @route("trace")
    async def trace(self, request: Request) -> list[str]:
        return [request.trace_id, request.trace_id, copy.copy(request).trace_id]


async def test_a_handler_reads_the_trace_of_its_request() -> None:
    async with RouteClient(Traced) as client:
        reply = await client.call("trace", headers={"TraceParent": VALID})
    assert reply.payload == [TRACE] * 3


async def test_the_handshake_is_the_parent_of_requests_that_name_none() -> None:
    async with RouteClient(Traced, headers={"traceparent": VALID}) as client:
        assert (await client.call("trace")).payload == [TRACE] * 3
        own = await client.call("trace", headers={"traceparent": VALID.replace(TRACE, OTHER)})
    assert own.payload == [OTHER] * 3


async def test_a_request_keeps_the_trace_that_was_made_for_it() -> None:
    async with RouteClient(Traced) as client:
        first, second = (await client.call("trace")).payload, (await client.call("trace")).payload
    assert len({*first}) == len({*second}) == 1
    assert first != second
