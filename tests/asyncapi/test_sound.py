"""What a document accepts, the server accepts."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .marshmallow_fields import adapter, described, document_accepts, one_number, server_accepts
from .probes import MARSHMALLOW, PROBES
from .strategies import accepted

EXAMPLES = 200 if settings().max_examples >= 200 else 6
"""Run ``pytest tests/asyncapi/test_sound.py --hypothesis-profile=deep`` for all of them."""

EXACT = [kind for kind in MARSHMALLOW if not described(kind).inexact]


def test_few_kinds_of_fields_are_inexact() -> None:
    inexact = {kind: described(kind).inexact for kind in MARSHMALLOW if kind not in EXACT}
    assert inexact == {
        "String, Regexp, flags": ("pattern: re.IGNORECASE",),
        "String, Predicate": ("Predicate",),
        "DateTime, rfc": ("format: rfc",),
        "Date, format": ("format: %d/%m/%Y",),
        "Url": ("URL",),
    }


@pytest.mark.parametrize("kind", EXACT)
def test_no_probe_that_the_document_accepts_is_refused(kind: str) -> None:
    assert [
        value for value in PROBES if document_accepts(kind, value) and not server_accepts(kind, one_number(value))
    ] == []


@pytest.mark.parametrize("kind", EXACT)
def test_no_generated_value_is_refused(kind: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(st.data())
    def every_value_loads(data: st.DataObject) -> None:
        value = data.draw(strategy)
        adapter(kind).load(one_number(value))

    strategy = accepted(described(kind))
    every_value_loads()
