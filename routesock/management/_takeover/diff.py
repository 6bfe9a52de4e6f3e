"""Writes the first step of adopting routesock as a unified diff: the import, the mixin, and the dialect."""

from __future__ import annotations

import ast
import difflib
import io
import re
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import routesock

from .dialect import Suggestion
from .source import Source


class NoDiff(Exception):
    """The first step cannot be written as a diff. The message says why, for people."""


@dataclass(frozen=True, slots=True)
class Diff:
    """A unified diff, and the folder in which ``git apply`` takes it."""

    text: str
    folder: Path


def diff_of(source: Source, suggestion: Suggestion | None, *, cwd: Path) -> Diff:
    """Return the diff of the first step.

    Raises:
        NoDiff: It cannot be written.
    """
    node = _definition(source)
    file = source.file.resolve()
    folder = _folder(file, cwd.resolve())
    before = _text(file)
    bom = "\ufeff" if before.startswith("\ufeff") else ""
    after = bom + with_mixin(before.removeprefix(bom), node, suggestion, _other_names(source))
    path = file.relative_to(folder).as_posix()
    return Diff(_unified(before, after, path), folder)


def _definition(source: Source) -> ast.ClassDef:
    name = source.cls.__qualname__
    if "<locals>" in name:
        raise NoDiff(f"{name} is defined in a function. Write RouteMixin in front of its bases yourself.")
    if "." in name:
        raise NoDiff(f"{name} is defined in another class. Write RouteMixin in front of its bases yourself.")
    if not source.definitions:
        raise NoDiff(f"{source.file.name} has no statement `class {name}`, so something else makes the class.")
    if len(source.definitions) > 1:
        raise NoDiff(f"{source.file.name} has several statements `class {name}`. Which of them is used cannot be seen.")
    if not source.definitions[0].bases:
        raise NoDiff(f"The statement `class {name}` has no bases, so something else, such as a decorator, adds them.")
    if {"site-packages", "dist-packages"} & set(source.file.parts):
        raise NoDiff(
            f"{name} belongs to an installed package. Write `class Own(RouteMixin, {name})` in your project instead."
        )
    return source.definitions[0]


def _folder(file: Path, cwd: Path) -> Path:
    """Return the root of the git work tree that has ``file``; without one the current folder."""
    for parent in file.parents:
        if (parent / ".git").exists():
            return parent
    if cwd in file.parents:
        return cwd
    raise NoDiff(f"{file} is in no git work tree and not under {cwd}. Run the command in a folder above the file.")


def _text(file: Path) -> str:
    data = file.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text = data.decode(encoding.removesuffix("-sig"))
    if not text.isascii() and encoding not in ("utf-8", "utf-8-sig"):
        raise NoDiff(f"{file.name} is not in UTF-8 but in {encoding}, and a diff of it would not fit.")
    if "\r" in text.replace("\r\n", ""):
        raise NoDiff(f"{file.name} has line ends that git does not know (a carriage return alone).")
    return text


def _other_names(source: Source) -> frozenset[str]:
    """Return the names in the module that are not routesock's."""
    module = vars(sys.modules[source.cls.__module__])
    own = {**vars(routesock.dialects), **{name: getattr(routesock, name) for name in routesock.__all__}}
    return frozenset(name for name, value in module.items() if own.get(name) is not value)


def with_mixin(
    text: str, node: ast.ClassDef, suggestion: Suggestion | None, taken: frozenset[str] = frozenset()
) -> str:
    """Return the module ``text`` with the mixin in front of the bases of ``node``, which is a class statement in it.

    Args:
        taken: Names of the module that mean something else than in routesock.
    """
    return _Edit(text, node, suggestion, taken).result()


class _Edit:
    """Collects insertions into a module, by line and column."""

    def __init__(self, text: str, node: ast.ClassDef, suggestion: Suggestion | None, taken: frozenset[str]) -> None:
        self._lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        self._eol = "\r\n" if self._lines and self._lines[0].endswith("\r\n") else "\n"
        self._tree = ast.parse(text)
        self._node = node
        self._first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        self._suggestion = suggestion
        self._taken = taken
        self._tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        self._insertions: list[tuple[int, int, str]] = []

    def result(self) -> str:
        names = self._import()
        self._bases(names["RouteMixin"])
        if self._suggestion is not None:
            rename = re.compile(r"\b(" + "|".join(names) + r")\b")
            self._option(rename.sub(lambda match: names[match[0]], self._suggestion.expression))
            if self._suggestion.definition:
                self._dialect_class(rename.sub(lambda match: names[match[0]], self._suggestion.definition))
        lines = [*self._lines]
        numbered = [(line, column, index, text) for index, (line, column, text) in enumerate(self._insertions)]
        for line, column, _, inserted in sorted(numbered, reverse=True):  # the last first, so that positions stay
            if line > len(lines) and not lines[-1].endswith("\n"):
                lines[-1] += self._eol
                lines.append(inserted.removesuffix(self._eol))
            elif line > len(lines):
                lines.append(inserted)
            else:
                lines[line - 1] = lines[line - 1][:column] + inserted + lines[line - 1][column:]
        return "".join(lines)

    def _insert(self, line: int, *new: str) -> None:
        """Insert lines in front of a line."""
        self._insertions.append((line, 0, "".join(text + self._eol for text in new)))

    # The import

    def _import(self) -> dict[str, str]:
        """Import what the class needs; returns how the module calls each name."""
        wanted = {("routesock", "RouteMixin"), *(self._suggestion.imports if self._suggestion else ())}
        names: dict[str, str] = {}
        missing: dict[str, list[str]] = {}
        for module, name in sorted(wanted):
            known = self._imported(module, name)
            names[name] = known or (f"Routesock{name}" if name in self._taken else name)
            if known is None:
                missing.setdefault(module, []).append(name if names[name] == name else f"{name} as {names[name]}")
        statements = []
        for module, found in sorted(missing.items()):
            known_import = self._import_of(module)
            if known_import is None:
                statements.append(f"from {module} import {', '.join(found)}")
            else:
                self._extend(known_import, found)
        if statements:
            self._insert_imports(statements)
        return names

    def _import_of(self, module: str) -> ast.ImportFrom | None:
        """Return the statement ``from module import ...`` of the module, if it can be extended."""
        for statement in self._imports():
            if not isinstance(statement, ast.ImportFrom) or statement.level or statement.module != module:
                continue
            if statement.names[0].name != "*":
                return statement
        return None

    def _extend(self, statement: ast.ImportFrom, found: list[str]) -> None:
        """Add names to an import, in their order."""
        for name in found:
            before = next((alias for alias in statement.names if alias.name > name), None)
            alias = statement.names[-1] if before is None else before
            line = alias.lineno if before is not None else alias.end_lineno or alias.lineno
            offset = alias.col_offset if before is not None else alias.end_col_offset
            column = _characters(self._lines, line, offset)
            start = self._lines[alias.lineno - 1][: _characters(self._lines, alias.lineno, alias.col_offset)]
            is_alone = not start.strip()  # one name on each line
            if before is None:
                self._insertions.append((line, column, f",{self._eol}{start}{name}" if is_alone else f", {name}"))
            elif is_alone:
                self._insert(line, f"{start}{name},")
            else:
                self._insertions.append((line, column, f"{name}, "))

    def _imported(self, module: str, name: str) -> str | None:
        """Return how the module already calls ``name``; ``None`` if it does not import it."""
        for statement in self._imports():
            if isinstance(statement, ast.ImportFrom) and statement.module == module and not statement.level:
                for alias in statement.names:
                    if alias.name == name and (alias.asname or name) not in self._taken:
                        return alias.asname or name
                    if alias.name == "*" and module == "routesock" and name not in self._taken:
                        return name
        return None

    def _imports(self) -> list[ast.Import | ast.ImportFrom]:
        """Return the imports at the top level of the module that stand in front of the class."""
        return [
            statement
            for statement in self._tree.body
            if isinstance(statement, ast.Import | ast.ImportFrom) and statement.lineno < self._first
        ]

    def _insert_imports(self, statements: list[str]) -> None:
        imports = [found for found in self._imports() if getattr(found, "module", None) != "__future__"]
        if imports:
            after = self._line_after(self._neighbour(imports))
            self._insert(after, *statements)
            return
        head = [found for found in self._tree.body if _is_docstring(found) or isinstance(found, ast.ImportFrom)]
        head = [found for found in head if found.lineno < self._first]
        if head:
            after = self._line_after(head[-1])
            self._insert(after, "", *statements, *([""] if self._text_at(after) else []))
            return
        first = self._after_comments()
        self._insert(first, *statements, "")

    def _neighbour(self, imports: list[ast.Import | ast.ImportFrom]) -> ast.stmt:
        """Return the import behind which routesock's goes, in the block with Channels' own if there is one."""
        own = [statement for statement in imports if _top(statement) == "routesock"]
        if own:
            return own[-1]
        block: list[ast.Import | ast.ImportFrom] = []
        for statement in imports:
            if block and statement.lineno > (block[-1].end_lineno or 0) + 1:
                if any(_top(found) == "channels" for found in block):
                    break
                block = []
            block.append(statement)
        if not any(_top(found) == "channels" for found in block):
            return imports[-1]
        fitting = [found for found in block if isinstance(found, ast.Import) or "" < _module(found) < "routesock"]
        return fitting[-1]

    def _after_comments(self) -> int:
        """Return the first line that is not a comment, such as a line ``#!`` or one with the encoding."""
        line = 1
        while self._text_at(line).startswith("#"):
            line += 1
        return line

    def _text_at(self, line: int) -> str:
        return self._lines[line - 1].strip() if line <= len(self._lines) else ""

    def _line_after(self, statement: ast.stmt) -> int:
        """Return the line after the logical line in which ``statement`` ends."""
        end = (statement.end_lineno or statement.lineno, 0)
        return next(token.end[0] + 1 for token in self._tokens if token.type == tokenize.NEWLINE and token.end >= end)

    # The class

    def _header(self) -> tuple[list[tokenize.TokenInfo], tokenize.TokenInfo]:
        """Return the tokens of the class statement from its name on, and the colon that ends its header."""
        start = next(
            index
            for index, token in enumerate(self._tokens)
            if token.start[0] == self._node.lineno and token.string == "class"
        )
        depth = 0
        for index in range(start, len(self._tokens)):
            text = self._tokens[index].string
            depth += (text in _OPENING) - (text in _CLOSING)
            if text == ":" and depth == 0:
                return self._tokens[start + 1 : index], self._tokens[index]
        raise AssertionError("A class statement has a colon.")

    def _bases(self, mixin: str) -> None:
        tokens, _ = self._header()
        depth, start = 0, 0
        while tokens[start].string != "(" or depth:  # "[" begins the type parameters of Python 3.12
            depth += (tokens[start].string == "[") - (tokens[start].string == "]")
            start += 1
        first = next(token for token in tokens[start + 1 :] if token.type not in (tokenize.NL, tokenize.COMMENT))
        line, column = first.start
        if line > tokens[start].start[0]:
            indent = self._lines[line - 1][:column]
            self._insert(line, f"{indent}{mixin},")
        else:
            self._insertions.append((line, column, f"{mixin}, "))

    def _option(self, expression: str) -> None:
        """Set ``route_dialect``, behind the docstring if there is one."""
        option = f"route_dialect = {expression}"
        _, colon = self._header()
        body = self._node.body
        first = min([body[0].lineno, *(d.lineno for d in getattr(body[0], "decorator_list", ()))])
        has_docstring = _is_docstring(body[0])
        if first == colon.start[0]:  # class Room(Consumer): pass
            if has_docstring:
                end = (body[0].end_lineno or 0, _characters(self._lines, body[0].end_lineno, body[0].end_col_offset))
                self._insertions.append((*end, f"; {option}"))
            else:
                column = _characters(self._lines, body[0].lineno, body[0].col_offset)
                self._insertions.append((first, column, f"{option}; "))
            return
        column = _characters(self._lines, body[0].lineno, body[0].col_offset)
        indent = self._lines[body[0].lineno - 1][:column]
        if has_docstring:
            after = self._line_after(body[0])
            self._insert(after, "", indent + option)
            return
        line = colon.start[0] + 1
        is_compound = isinstance(body[0], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        self._insert(line, indent + option, *([""] if is_compound and self._text_at(line) else []))

    def _dialect_class(self, definition: str) -> None:
        indent = re.match(r"\s*", self._lines[self._first - 1])
        assert indent is not None
        lines = [indent[0] + line if line else "" for line in definition.splitlines()]
        self._insert(self._first, *lines, "", "")


_OPENING: Final = ("(", "[", "{")
_CLOSING: Final = (")", "]", "}")


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _top(statement: ast.Import | ast.ImportFrom) -> str:
    return _module(statement).partition(".")[0]


def _module(statement: ast.Import | ast.ImportFrom) -> str:
    """Return the module that is imported; ``""`` for a relative import."""
    if isinstance(statement, ast.Import):
        return statement.names[0].name
    return "" if statement.level else statement.module or ""


def _characters(lines: list[str], line: int | None, offset: int | None) -> int:
    """Return the column that ``offset``, in bytes of UTF-8, is in a line."""
    assert line is not None
    return len(lines[line - 1].encode()[:offset].decode())


def _unified(before: str, after: str, path: str) -> str:
    was, becomes = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (before, after))
    old, new = (_quoted(f"{side}/{path}") for side in "ab")
    tab = "\t" if " " in path else ""  # as git ends a name with a space
    return f"diff --git {old} {new}\n" + "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(was, becomes, old + tab, new + tab)
    )


def _quoted(path: str) -> str:
    """Return ``path`` as git writes it: in quotes, with escapes, if it has characters that need them."""
    if re.fullmatch(r"[\w./@+,=~ -]*", path, re.ASCII):
        return path
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in path.encode()
    )
    return f'"{escaped}"'
