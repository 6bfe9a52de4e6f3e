"""The generated Python: what type checkers accept and refuse, and that its client works."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from routesock._asyncapi.document import build
from routesock._asyncapi.validation import fits
from routesock._codegen.interfaces import Texts, pascal_case
from routesock._codegen.python import Types, docstring, python, quoted
from routesock.client import OutgoingFrame
from tests.asyncapi import zoo
from tests.asyncapi.libraries import ALL_PROBES
from tests.clients import generated
from tests.clients.test_generated_typescript import kinds
from tests.servers import ROOT

USES = Path(__file__).parent / "types" / "zoo_client.py"

EXPECTED = {
    number for number, line in enumerate(USES.read_text(encoding="utf-8").splitlines(), 1) if "  # error: " in line
}


def kinds_module() -> str:
    """A type for each kind of field, and a list of the values that fit its schema."""
    lines = ["from typing import *", ""]
    known: set[str] = set()
    for number, (name, described) in enumerate(kinds()):
        root = {"$defs": {key: definition.schema for key, definition in described.definitions.items()}}
        text = json.dumps([described.schema, root], sort_keys=True)
        if text in known:
            continue
        known.add(text)
        names = {f"#/$defs/{key}": f"K{number}{pascal_case(key)}" for key in described.definitions}
        taken = {*names.values()}

        def claim(wanted: str, taken: set[str] = taken) -> str:
            while wanted in taken:
                wanted += "_"
            taken.add(wanted)
            return wanted

        def target(reference: str, root: Any = root) -> Any:
            return root["$defs"][reference.removeprefix("#/$defs/")]

        types = Types(names.__getitem__, claim, target)
        for key, definition in described.definitions.items():
            types.declare(names[f"#/$defs/{key}"], definition.schema)
        whole = types.of(described.schema, f"K{number}Whole")
        lines += types.declarations.values()
        # A TypedDict takes no other members, which an open object may have.
        values = [probe for probe in ALL_PROBES if not isinstance(probe, dict)]
        fitting = [{"value": value} for value in values if fits({"value": value}, described.schema, root)]
        lines.append(f"v{number}: list[{whole}] = {as_sent(fitting)!r}  # {name}")
    return "\n".join(["from __future__ import annotations", *lines])


def as_sent(value: Any) -> Any:
    """``value`` with integers in place of floats without a fraction, which JSON does not tell apart."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    return {key: as_sent(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all modules and the client alone, so that each type checker runs once and reads little."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "routesock").mkdir()
    (folder / "routesock/__init__.py").touch()
    shutil.copytree(ROOT / "routesock/client", folder / "routesock/client")
    files = {
        "zoo_generated.py": python(build(zoo.application)),
        "hostile_generated.py": python(build(generated.application)),
        "zoo_client.py": USES.read_text(encoding="utf-8"),
        "kinds.py": kinds_module(),
        "pyrightconfig.json": json.dumps({"typeCheckingMode": "standard", "pythonVersion": "3.11"}),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


MODULES = ["zoo_generated.py", "hostile_generated.py", "zoo_client.py", "kinds.py"]

CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-version=3.11", *MODULES],
    "pyright": [sys.executable, "-m", "pyright", *MODULES],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_accept_the_client_and_refuse_wrong_uses(project: Path, checker: str) -> None:
    done = subprocess.run(CHECKERS[checker], cwd=project, capture_output=True, text=True, timeout=300)
    errors = re.findall(r"^\s*(?:\S*/)?(\w+\.py):(\d+).*\berror\b.*$", done.stdout, re.MULTILINE)
    assert {(file, int(line)) for file, line in errors} == {("zoo_client.py", line) for line in EXPECTED}, done.stdout
    assert done.returncode == 1, done.stderr


def test_there_are_wrong_uses() -> None:
    assert len(EXPECTED) >= 20


@pytest.fixture
def module(tmp_path: Path) -> ModuleType:
    """The generated client of the zoo, imported."""
    file = tmp_path / "zoo_generated.py"
    file.write_text(python(build(zoo.application)), encoding="utf-8")
    return imported(file)


def imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = found
    try:
        spec.loader.exec_module(found)
    finally:
        del sys.modules[file.stem]
    return found


def test_a_client_has_its_path_and_keys(module: ModuleType) -> None:
    assert module.FlatClient.path == "/flat/"
    assert module.NestedClient.path(pk=1, name="a b/c") == "/nested/1/a%20b%2Fc/"
    assert module.OwnDialectClient.path(rest="a b/c") == "/own/a%20b/c"
    assert module.FlatClient.keys == {"route": "action", "id": "request_id", "payload": None}
    assert module.ZooClient.keys == {}
    assert not hasattr(module.NoIdsClient, "path")


async def test_a_client_sends_frames_with_its_keys(module: ModuleType) -> None:
    frame = OutgoingFrame(route="item", id=1, payload={"id": 5})

    def sent(client: Any) -> Any:
        return json.loads(client._connection.dialect.encode(frame))

    assert sent(module.FlatClient("ws://localhost")) == {"action": "item", "request_id": 1, "id": 5}
    assert sent(module.FlatClient("ws://localhost", keys={})) == {"route": "item", "uuid": 1, "payload": {"id": 5}}


def test_texts_and_names_stay_what_they_are(tmp_path: Path) -> None:
    file = tmp_path / "hostile_generated.py"
    file.write_text(python(build(generated.application)), encoding="utf-8")
    module = imported(file)
    assert not hasattr(module, "leaked")
    assert module.OddInput.__required_keys__ == {"*/"}
    assert module.OddInput.__optional_keys__ == {'"\\', "class"}
    assert module.HostileClient.path(default="a/b") == "/hostile/%60$/*/a%2Fb/*/"


@pytest.mark.parametrize("text", ["plain", 'a"\\\n', "\u2028\ud800\U000e0001", "ż\U0001f600", "{0}", "'"], ids=ascii)
def test_a_name_stays_inside_its_quotes(text: str) -> None:
    literal = quoted(text)
    assert eval(literal) == text
    assert literal.isprintable()


@pytest.mark.parametrize("text", ['"""', 'a"', "a\\", '\\"""', "\x00\u202ea"], ids=ascii)
def test_a_text_stays_inside_its_docstring(text: str) -> None:
    source = "\n".join(docstring(Texts(summary=text, description=text)))
    assert eval(source).strip() == "\n\n".join([text.replace("\x00\u202e", "  ")] * 2).strip()


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, "Any"),
        (False, "Never"),
        ({"not": {}}, "Never"),
        ({"const": None}, "Literal[None]"),
        ({"enum": ["a", 1, True, 0.5, [1], {"b": 1}]}, 'Literal["a", 1, True] | float | list[Any] | dict[str, Any]'),
        ({"type": ["integer", "null"]}, "int | None"),
        ({"type": "array", "items": {"type": "string"}}, "list[str]"),
        ({"type": "array", "items": [{"type": "string"}], "maxItems": 1}, "list[str]"),
        ({"type": "array", "items": [{"type": "string"}], "additionalItems": {"type": "null"}}, "list[str | None]"),
        ({"type": "object"}, "dict[str, Any]"),
        ({"type": "object", "additionalProperties": False}, "dict[str, Never]"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "str | None"),
        ({"type": "string", "anyOf": [{"minLength": 1}]}, "str"),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, "str"),
        ({"allOf": [{"$ref": "A"}, {"type": "object", "properties": {"b": {}}, "required": ["b"]}]}, "Hint"),
        ({"type": "object", "properties": {"a": {"type": "object", "required": ["b"]}}}, "Hint"),
    ],
    ids=lambda value: "" if isinstance(value, str) else json.dumps(value),
)
def test_the_type_of_a_schema(schema: Any, expected: str) -> None:
    others = {"A": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    types = Types(str, str, others.__getitem__)
    assert types.of(schema, "Hint") == expected
    if expected == "Hint" and "allOf" in schema:
        assert types.declarations["Hint"] == "class Hint(TypedDict):\n    a: NotRequired[int]\n    b: Any"
    elif expected == "Hint":
        assert types.declarations["Hint"] == "class Hint(TypedDict):\n    a: NotRequired[HintA]"
        assert types.declarations["HintA"] == "class HintA(TypedDict):\n    b: Any"
