"""Documents made from pydantic, msgspec and DRF accept no more than the server, and all that it sends."""

from __future__ import annotations

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.docs_pages import ROOT

from .coercions_libraries import MSGSPEC, PYDANTIC, REST_FRAMEWORK
from .libraries import (
    ALL_PROBES,
    KINDS,
    LIBRARIES,
    adapter,
    as_sent,
    described,
    document_accepts,
    sent_back,
    server_accepts,
)
from .strategies import accepted

pytestmark = [
    pytest.mark.django_db,  # relations and unique validators of DRF query the database
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),  # for keys of enums, before 2.7
    pytest.mark.filterwarnings("ignore:__int__ returned non-int:DeprecationWarning"),  # ipaddress, for true
]

EXAMPLES = 200 if settings().max_examples >= 200 else 4

UNTRUE = "WithJsonSchema"
"""The kind that describes itself, and lies."""

EXACT = [(library, kind) for library, kind in KINDS if kind not in LIBRARIES[library].inexact]

LOADABLE = [pair for pair in EXACT if pair not in (("msgspec", "other class"), ("DRF", "FileField"))]


PYDANTIC_VERSION = tuple(map(int, pydantic.VERSION.split(".")[:2]))


def is_refused_by_earlier_releases(library: str, kind: str, value: object) -> bool:
    """Before 2.12, pydantic refuses integers of 19 digits or more where JSON has to be a float."""
    return (
        library == "pydantic"
        and PYDANTIC_VERSION < (2, 12)
        and kind.startswith("float")
        and type(value) is int
        and not -(10**18) < value < 10**18
    )


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_inexact_kinds_say_why(name: str) -> None:
    library = LIBRARIES[name]
    found = {kind: described(name, kind).inexact for kind in library.kinds}
    assert {kind: reasons for kind, reasons in found.items() if reasons} == library.inexact


@pytest.mark.repetitions
@pytest.mark.parametrize("library", LIBRARIES)
def test_no_probe_that_the_document_accepts_is_refused(library: str) -> None:
    assert [
        (kind, value)
        for name, kind in EXACT
        if name == library
        for value in ALL_PROBES
        if document_accepts(library, kind, value) and not server_accepts(library, kind, value)
        if not is_refused_by_earlier_releases(library, kind, value)
    ] == []


@pytest.mark.parametrize(("library", "kind"), LOADABLE)
def test_no_generated_value_is_refused(library: str, kind: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(st.data())
    def every_value_loads(data: st.DataObject) -> None:
        value = data.draw(strategy)
        if not is_refused_by_earlier_releases(library, kind, value):
            adapter(library, kind).load(as_sent(value))

    strategy = accepted(described(library, kind))
    every_value_loads()


@pytest.mark.parametrize(("library", "kind"), [pair for pair in KINDS if pair[1] != UNTRUE])
def test_what_is_dumped_fits_the_document(library: str, kind: str) -> None:
    unfit = []
    for value in filter(lambda value: server_accepts(library, kind, value), ALL_PROBES):
        try:
            dumped = sent_back(library, kind, value)
        except (TypeError, ValueError):  # not JSON, such as NaN: the client gets an error instead
            continue
        if not document_accepts(library, kind, dumped, "dump"):
            unfit.append((value, dumped))
    assert unfit == []


OLD = {
    name
    for name, is_old in (("pydantic", PYDANTIC_VERSION < (2, 12)), ("msgspec", msgspec.__version__.startswith("0.18")))
    if is_old
}
"""The libraries whose installed releases convert less than the newest ones."""

COERCIONS = {"pydantic": PYDANTIC, "msgspec": MSGSPEC, "DRF": REST_FRAMEWORK}


@pytest.mark.repetitions
@pytest.mark.parametrize("library", LIBRARIES)
def test_what_the_document_does_not_mention_is_a_coercion_that_is_documented(library: str) -> None:
    unmentioned = [
        (kind, value)
        for kind in LIBRARIES[library].kinds
        if kind != UNTRUE
        for value in ALL_PROBES
        if not document_accepts(library, kind, value) and server_accepts(library, kind, value)
    ]
    covered = {
        (index, coercion): [pair for pair in enumerate(unmentioned) if coercion.covers(*pair[1])]
        for index, coercion in enumerate(COERCIONS[library])
    }
    mentioned = {number for pairs in covered.values() for number, _ in pairs}
    assert [pair for number, pair in enumerate(unmentioned) if number not in mentioned] == []
    if library not in OLD:
        assert [coercion.text for (_, coercion), pairs in covered.items() if not pairs] == []
    page = " ".join((ROOT / "docs" / "howto" / "documents.rst").read_text().split())
    assert [coercion.text for coercion in COERCIONS[library] if coercion.text not in page] == []
