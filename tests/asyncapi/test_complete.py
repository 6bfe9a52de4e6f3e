"""What the server accepts and a document does not mention is in a closed list."""

from __future__ import annotations

import pytest

from tests.docs_pages import ROOT

from . import coercions
from .marshmallow_fields import document_accepts, server_accepts
from .probes import MARSHMALLOW, PROBES

UNMENTIONED = [
    (kind, value)
    for kind in MARSHMALLOW
    for value in PROBES
    if server_accepts(kind, value) and not document_accepts(kind, value)
]


def test_what_the_document_does_not_mention_is_a_coercion() -> None:
    assert [
        (kind, value)
        for kind, value in UNMENTIONED
        if not any(coercion.covers(kind, value) for coercion in coercions.MARSHMALLOW)
    ] == []


@pytest.mark.parametrize("coercion", coercions.MARSHMALLOW, ids=lambda coercion: coercion.text)
def test_each_coercion_happens_and_is_documented(coercion: coercions.Coercion) -> None:
    assert any(coercion.covers(kind, value) for kind, value in UNMENTIONED)
    assert coercion.text in " ".join((ROOT / "docs" / "documents.rst").read_text().split())
