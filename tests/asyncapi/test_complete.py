"""What the server accepts and a document does not mention is in a closed list."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.docs_pages import ROOT

from . import coercions
from .marshmallow_fields import document_accepts, server_accepts
from .probes import MARSHMALLOW, PROBES


@cache  # and not at import: each worker of pytest-xdist imports this file
def unmentioned() -> list[tuple[str, Any]]:
    """The kinds and values that the server accepts, and the documents do not mention."""
    return [
        (kind, value)
        for kind in MARSHMALLOW
        for value in PROBES
        if server_accepts(kind, value) and not document_accepts(kind, value)
    ]


def test_what_the_document_does_not_mention_is_a_coercion() -> None:
    assert [
        (kind, value)
        for kind, value in unmentioned()
        if not any(coercion.covers(kind, value) for coercion in coercions.MARSHMALLOW)
    ] == []


@pytest.mark.parametrize("coercion", coercions.MARSHMALLOW, ids=lambda coercion: coercion.text)
def test_each_coercion_happens_and_is_documented(coercion: coercions.Coercion) -> None:
    assert any(coercion.covers(kind, value) for kind, value in unmentioned())
    assert coercion.text in " ".join((ROOT / "docs" / "howto" / "documents.rst").read_text().split())
