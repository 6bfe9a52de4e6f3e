"""What expressions in a method are known to be before the code runs."""

from __future__ import annotations

import ast
import inspect
from enum import Enum
from types import ModuleType
from typing import Any

from .facts import Key, Value
from .source import Method, Source


class Variables:
    """The variables of a method while it is read, and what its expressions are known to be.

    Args:
        values: The followed values, by the names of the variables.
        numbers: The parameters to which the call passes a number, for statuses.
    """

    def __init__(self, source: Source, method: Method, values: dict[str, Value], numbers: dict[str, int]) -> None:
        self._source = source
        self._method = method
        self.values = values
        self.numbers = numbers
        self.tables: dict[str, ast.Dict] = {}
        """The ``{...}`` that variables are."""

    def constant(self, node: ast.expr | None) -> Any:
        """Return the string, number or container that ``node`` is; ``None`` if it has no fixed value."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
                return -value
            case ast.Name() | ast.Attribute():
                found = self._static(node)
                return found.value if isinstance(found, Enum) else found
            case _:
                return None

    def _static(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id="self" | "cls"):
                return self._source.cls
            case ast.Name(id=name):
                if name in self.values or name in self.numbers or name in self._method.parameters():
                    return None
                return self._method.function.__globals__.get(name)
            case ast.Attribute(value=inner, attr=name):
                owner = self._static(inner)
                if isinstance(owner, Enum):
                    return owner.value if name == "value" else None
                if isinstance(owner, type) and issubclass(owner, Enum):
                    return owner.__members__.get(name)
                if isinstance(owner, ModuleType):
                    return vars(owner).get(name)
                return inspect.getattr_static(owner, name, None) if isinstance(owner, type) else None
            case _:
                return None

    def is_enum(self, node: ast.expr) -> bool:
        found = self._static(node)
        return isinstance(found, type) and issubclass(found, Enum)

    def names_in(self, node: ast.expr) -> list[Key] | None:
        """Return the names in a container; ``None`` if it has no fixed value."""
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            names = [self.constant(item) for item in node.elts]
        else:
            table = node if isinstance(node, ast.Dict) else self.table(node)
            if isinstance(table, ast.Dict):
                names = [self.constant(key) for key in table.keys]
            else:
                container = self.constant(node)
                if not isinstance(container, list | tuple | set | frozenset | dict):
                    return None
                names = [item.value if isinstance(item, Enum) else item for item in container]
                if isinstance(container, set | frozenset):
                    names.sort(key=str)
        if not all(isinstance(name, str | int) for name in names):
            return None
        return names

    def table(self, node: ast.expr) -> ast.Dict | None:
        """Return the ``{...}`` that was assigned to a variable of the method, or to an attribute in any method."""
        match node:
            case ast.Name(id=name):
                return self.tables.get(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                assigned = (
                    statement.value
                    for method in self._source.methods()
                    for statement in ast.walk(method.node)
                    if isinstance(statement, ast.Assign)
                    for target in statement.targets
                    if isinstance(target, ast.Attribute) and target.attr == name
                )
                return next((value for value in assigned if isinstance(value, ast.Dict)), None)
            case _:
                return None
