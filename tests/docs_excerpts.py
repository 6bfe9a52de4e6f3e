"""Changes files as the blocks of a tutorial say: with a diff, or with an excerpt of a Python module."""

from __future__ import annotations

import ast
import re
from typing import Any


def patched(file: str, diff: str) -> str:
    """``file`` with the hunks of ``diff``, whose old lines have to be in the file once."""
    for hunk in filter(None, re.split(r"^@@.*\n", diff, flags=re.MULTILINE)):
        lines = [line if line.strip() else " \n" for line in hunk.splitlines(keepends=True)]
        old, new = ("".join(line[1:] for line in lines if line[0] in f" {mark}") for mark in "-+")
        assert file.count(old) == 1, f"This is in the file {file.count(old)} times:\n{old}\n{file}"
        file = file.replace(old, new)
    return file


def merged(file: str, excerpt: str) -> str:
    """``file``, a Python module, with the statements of ``excerpt``.

    A function, a class or an assignment replaces the one of its name, except that a class keeps the members that the
    excerpt does not have. A new statement goes in front of the one that follows it in the excerpt, or to the end. An
    import replaces that from the same module, or goes below the other imports.
    """
    statements = ast.parse(excerpt).body
    for number, statement in enumerate(statements):
        text = source_of(excerpt, statement)
        body = ast.parse(file).body
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports = [line for line in body if isinstance(line, ast.Import | ast.ImportFrom)]
            same = [line for line in imports if module_of(line) == module_of(statement)]
            if same:
                file = spliced(file, same[0].lineno - 1, text, until=same[0].end_lineno)
            else:
                file = spliced(file, imports[-1].end_lineno if imports else 0, text)
            continue
        there = named(body, name_of(statement))
        if there is None:
            below = next(filter(None, (named(body, name_of(other)) for other in statements[number:])), None)
            file = spliced(f"{file.rstrip()}\n", start_of(below) - 1, f"{text}\n\n") if below else f"{file}\n\n{text}"
        elif isinstance(statement, ast.ClassDef) and isinstance(there, ast.ClassDef):
            file = with_members(file, there, excerpt, statement)
        else:
            file = spliced(file, start_of(there) - 1, text, until=there.end_lineno)
    return file


def with_members(file: str, there: ast.ClassDef, excerpt: str, given: ast.ClassDef) -> str:
    """``file`` with the header and the members of a class of the excerpt."""
    header = excerpt.splitlines(keepends=True)[given.lineno - 1]
    name = given.name
    file = spliced(file, there.lineno - 1, header, until=there.lineno)
    for member in given.body:
        cls: Any = named(ast.parse(file).body, name)
        old, text = named(cls.body, name_of(member)), source_of(excerpt, member)
        if old is not None:
            file = spliced(file, start_of(old) - 1, text, until=old.end_lineno)
        elif isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
            file = spliced(file, cls.end_lineno, f"\n{text}")
        else:
            file = spliced(file, cls.lineno, text)
    return file


def module_of(statement: ast.Import | ast.ImportFrom) -> tuple[str | None, ...]:
    """What an import imports, or imports from."""
    if isinstance(statement, ast.ImportFrom):
        return (statement.module, str(statement.level))
    return tuple(name.name for name in statement.names)


def name_of(statement: ast.stmt) -> str | None:
    """The name that a statement defines."""
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return getattr(statement, "name", None)


def named(body: list[ast.stmt], name: str | None) -> ast.stmt | None:
    """The statement that defines ``name``."""
    return next((statement for statement in body if name and name_of(statement) == name), None)


def start_of(statement: ast.stmt) -> int:
    """The number of the first line of a statement, which may be that of a decorator."""
    return min([statement.lineno, *(line.lineno for line in getattr(statement, "decorator_list", []))])


def source_of(module: str, statement: ast.stmt) -> str:
    """The lines of a statement."""
    return "".join(module.splitlines(keepends=True)[start_of(statement) - 1 : statement.end_lineno])


def spliced(text: str, line: int | None, inserted: str, *, until: int | None = None) -> str:
    """``text`` with ``inserted`` below the line of that number, in place of those up to ``until``."""
    assert line is not None
    lines = text.splitlines(keepends=True)
    lines[line : until if until is not None else line] = [inserted]
    return "".join(lines)
