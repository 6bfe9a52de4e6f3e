"""The generated TypeScript: what compilers accept and refuse, against values and the types of another generator."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from routesock._asyncapi.document import build
from routesock._asyncapi.validation import fits
from routesock._codegen.interfaces import pascal_case
from routesock._codegen.typescript import Types, in_comment, literal, quoted, typescript
from routesock.schemas import Described
from routesock.schemas.base import Mode
from tests.asyncapi import marshmallow_fields, zoo
from tests.asyncapi.libraries import ALL_PROBES, KINDS
from tests.asyncapi.libraries import adapter as library_adapter
from tests.asyncapi.probes import MARSHMALLOW
from tests.clients import generated
from tests.docs_pages import blocks_of
from tests.servers import ROOT

CLIENT = ROOT / "clients/typescript"

NODE = Path(__file__).parent / "node"

USES = Path(__file__).parent / "types" / "zoo.ts"

COMPILERS = {"typescript": ["*.ts"], "typescript-5.4": ["zoo.ts", "comparison.ts"]}
"""The newest and the oldest, with what each compiles; the oldest takes seconds for the kinds of fields."""

TYPES = """\
// With an index signature an object of other members alone fits a type whose members are all optional, as it does in
// the document; the compiler takes it for a mistake.
type Other = { [key: symbol]: unknown };
type Open<Type> = Type extends readonly unknown[] ? Type : Type extends object ? Type & Other : Type;
export type Fits<Value, Type extends { value?: unknown }> = [Value] extends [Open<Type["value"]>] ? true : false;
export type Same<One, Other> = [One] extends [Other] ? ([Other] extends [One] ? true : false) : false;
"""

OPTIONS: dict[str, Any] = {
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2022", "dom"],
    "types": [],
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "isolatedModules": True,
    "noEmit": True,
    "paths": {"routesock": [str(ROOT / "routesock/static/routesock/client.d.ts")]},
}

DOCUMENT = build(zoo.application)

EXAMPLE = ROOT / "example_project/frontend/ws.ts"

PAGE = ROOT / "docs/howto/typed-clients.rst"


def kinds() -> Iterator[tuple[str, Described]]:
    """Each kind of field of each library, for requests and for replies."""
    modes: tuple[Mode, ...] = ("load", "dump")
    for mode in modes:
        for kind in MARSHMALLOW:
            yield f"marshmallow {kind} {mode}", marshmallow_fields.adapter(kind).json_schema(mode)
        for library, kind in KINDS:
            yield f"{library} {kind} {mode}", library_adapter(library, kind).json_schema(mode)


def kinds_module() -> str:
    """A type for each kind, and a check that all values which fit its schema are assignable to it."""
    lines = ['import type { Fits } from "./helpers";']
    known: set[str] = set()
    for number, (name, described) in enumerate(kinds()):
        root = {"$defs": {key: definition.schema for key, definition in described.definitions.items()}}
        text = json.dumps([described.schema, root], sort_keys=True)
        if text in known:
            continue
        known.add(text)
        names = {f"#/$defs/{key}": f"K{number}{pascal_case(key)}" for key in described.definitions}
        types = Types(names.__getitem__)
        for key, definition in described.definitions.items():
            lines.append(f"export type {names[f'#/$defs/{key}']} = {types.of(definition.schema, '')};")
        lines.append(f"export type K{number} = {types.of(described.schema, '')};")
        values = (literal(probe) for probe in ALL_PROBES if fits({"value": probe}, described.schema, root))
        value = " | ".join(dict.fromkeys(values))
        if value:
            lines.append(f"true satisfies Fits<{value}, K{number}>; // {name}")
    return "\n".join(lines)


def other_generator() -> str:
    """The types that json-schema-to-typescript makes of the schemas in the document of the zoo."""
    text = json.dumps(DOCUMENT["components"]["schemas"]).replace("#/components/schemas/", "#/definitions/")
    # It takes a schema with nothing but a description for one of an object.
    definitions = json.loads(text, object_hook=lambda schema: {} if schema.keys() == {"description"} else schema)
    members = {name: {"$ref": f"#/definitions/{name}"} for name in definitions}
    schema = {
        "title": "Everything",
        "type": "object",
        "properties": members,
        "required": [*members],
        "additionalProperties": False,
        "definitions": definitions,
    }
    done = subprocess.run(
        [node(), "schemas.mjs"], cwd=NODE, input=json.dumps(schema), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def comparison() -> str:
    checks = (
        f'true satisfies Same<Everything["{name}"], generated.{pascal_case(name)}>;'
        for name in DOCUMENT["components"]["schemas"]
    )
    return "\n".join(
        [
            'import type { Same } from "./helpers";',
            'import type { Everything } from "./other";',
            'import type * as generated from "./zoo.generated";',
            *checks,
        ]
    )


def node() -> str:
    found = shutil.which("node")
    if found is None or not all((folder / "node_modules").is_dir() for folder in (CLIENT, NODE)):
        raise RuntimeError("These tests need Node.js and packages of npm: run .ci/node-clients.")
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all modules, so that each compiler runs once."""
    folder = tmp_path_factory.mktemp("types")
    files = {
        "helpers.ts": TYPES,
        "zoo.generated.ts": typescript(DOCUMENT),
        "hostile.generated.ts": typescript(build(generated.application)),
        "zoo.ts": USES.read_text(encoding="utf-8"),
        "kinds.ts": kinds_module(),
        "other.ts": other_generator(),
        "comparison.ts": comparison(),
    }
    files["ws.ts"] = EXAMPLE.read_text(encoding="utf-8")
    for number, block in enumerate(blocks_of(PAGE.read_text(encoding="utf-8"))):
        if block.language == "typescript":
            files[Path(block.caption).name or f"docs{number}.ts"] = block.text
    for compiler, include in COMPILERS.items():
        files[f"{compiler}.json"] = json.dumps({"compilerOptions": OPTIONS, "include": include})
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def compiled(folder: Path, compiler: str) -> str:
    """The errors that a compiler finds; empty if there are none."""
    tsc = CLIENT / "node_modules" / compiler / "bin/tsc"
    done = subprocess.run(
        [node(), tsc, "--pretty", "false", "-p", f"{compiler}.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode == 0) == (done.stdout == ""), done.stderr
    return done.stdout


@pytest.mark.node
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_compiler_accepts_the_types_and_refuses_wrong_uses(project: Path, compiler: str) -> None:
    assert compiled(project, compiler) == ""


def test_there_are_wrong_uses() -> None:
    assert USES.read_text(encoding="utf-8").count("@ts-expect-error") >= 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a */ b", "a *\\/ b"),
        ("<b>, </b>, <!-- and 1 < 2", "\\<b>, \\</b>, \\<!-- and 1 < 2"),
        ("@deprecated a@b.c {@link x}", "\\@deprecated a@b.c {\\@link x}"),
        ("one\r\ntwo\u2028three\x00", "one\ntwo\nthree"),
        ("\u202eback\ud800", " back"),
    ],
    ids=["plain", "end", "tags of HTML", "tags", "lines", "invisible"],
)
def test_a_text_stays_inside_its_comment(text: str, expected: str) -> None:
    assert in_comment(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a'b", '"a\'b"'),
        ('a"\\\n', '"a\\"\\\\\\n"'),
        ("</script><!--", '"<\\/script><\\!--"'),
        ("\u2028\x7f\ud800", '"\\u2028\\u007f\\ud800"'),
        ("ż\U0001f600\U000e0001", '"ż\U0001f600\\udb40\\udc01"'),
    ],
    ids=["quote", "escapes", "HTML", "invisible", "others"],
)
def test_a_name_stays_inside_its_quotes(text: str, expected: str) -> None:
    assert quoted(text) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "unknown"),
        (True, "unknown"),
        (False, "never"),
        ({"not": {}}, "never"),
        ({"enum": []}, "never"),
        ({"enum": ["a", 1, None, [1], {"b": True}]}, '"a" | 1 | null | [1] | { b: true }'),
        ({"const": {}}, "{ [member: string]: never }"),
        ({"type": ["integer", "null"]}, "number | null"),
        ({"type": "array"}, "unknown[]"),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "(string | null)[]"),
        ({"type": "array", "items": {"enum": ["a|b"]}}, '"a|b"[]'),
        (
            {"type": "array", "items": [{"type": "string"}, {"enum": [1, 2]}], "minItems": 1, "additionalItems": False},
            "[string, (1 | 2)?]",
        ),
        ({"type": "array", "items": [{"type": "string"}], "minItems": 1}, "[string, ...unknown[]]"),
        ({"type": "array", "items": [{"type": "string"}], "minItems": 1, "maxItems": 1}, "[string]"),
        ({"anyOf": [{"type": "string"}, {}]}, "unknown"),
        ({"oneOf": [{"type": "string"}, {"not": {}}]}, "string"),
        (
            {"type": ["string", "integer"], "allOf": [{"enum": ["a", 1]}, {}]},
            '(string | number) & ("a" | 1)',
        ),
        ({"type": "object"}, "{ [member: string]: unknown }"),
        ({"type": "object", "additionalProperties": False}, "{ [member: string]: never }"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "{ [member: string]: number }"),
        (
            {"type": "object", "properties": {"b": {}, "a-b": {}}, "required": ["b"]},
            '{\n  "a-b"?: unknown;\n  b: unknown;\n}',
        ),
        ({"type": "object", "required": ["a"]}, "{\n  a: unknown;\n}"),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "null"}},
            "{\n  a?: string;\n  [member: string]: null | string | undefined;\n}",
        ),
        (
            {"type": "object", "propertyNames": {"enum": ["b", "a"]}, "additionalProperties": {"type": "null"}},
            "{\n  a?: null;\n  b?: null;\n}",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"default": 1}}}}},
            "{\n  a?: {\n    /** @defaultValue 1 */\n    b?: unknown;\n  };\n}",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else json.dumps(value),
)
def test_the_type_of_a_schema(schema: Any, expected: str) -> None:
    assert Types(str).of(schema, "") == expected
