"""Conversations of the peers, from both sides: routesock serves them, and the client's half of a dialect reads them."""

from __future__ import annotations

import pytest

from . import chanx, dcrf, json_rpc, observable_socket, wsx
from .transcripts import Suite, Transcript, check_client, is_same, names_are_unique, serve

SUITES = [observable_socket.SUITE, chanx.SUITE, wsx.SUITE, dcrf.SUITE, json_rpc.SUITE]

each = pytest.mark.parametrize(
    ("suite", "transcript"),
    [
        pytest.param(suite, transcript, id=f"{suite.name}-{transcript.name}")
        for suite in (*SUITES, chanx.COMPLETING)
        for transcript in suite.transcripts
    ],
)


@each
async def test_the_server_answers_as_the_peer_does(suite: Suite, transcript: Transcript) -> None:
    await serve(suite, transcript)


@each
def test_the_client_writes_and_reads_what_the_peer_does(suite: Suite, transcript: Transcript) -> None:
    check_client(suite, transcript)


def test_each_transcript_has_a_name_of_its_own() -> None:
    assert names_are_unique(SUITES)


def test_a_transcript_is_compared_strictly() -> None:
    """But for the keys that may be added, the order of a list and ``"..."``."""
    added = frozenset({"data"})
    assert is_same({"a": [1, {"b": "..."}]}, {"a": [{"b": 7}, 1], "data": 1}, added)
    assert not is_same({"a": 1}, {"a": True}, added)
    assert not is_same({"a": 1}, {"a": 1, "other": 1}, added)
    assert not is_same({"a": 1, "b": 1}, {"a": 1}, added)
    assert not is_same([1, 1], [1, 2], added)
    assert not is_same([1], [1, 1], added)
