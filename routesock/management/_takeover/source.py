"""Imports a consumer class and reads the source of its methods."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, TypeAlias

CHANNELS: Final = ("channels.consumer", "channels.generic.websocket")
"""The modules of Channels' own consumers. What they define is no override."""

NOT_READ: Final = ("channels", "djangochannelsrestframework", "chanx", "wsx", "routesock")
"""Top-level packages whose methods are not searched for actions: routesock knows their protocols."""


class NotReadable(Exception):
    """The class cannot be imported, or it has no source. The message is for people."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a class, with its source."""

    owner: type | None
    """The class that defines it; ``None`` for a function of a module."""
    name: str
    function: Any
    """The plain function, without decorators that set ``__wrapped__``."""
    node: ast.FunctionDef | ast.AsyncFunctionDef
    file: Path

    @property
    def line(self) -> int:
        return self.node.lineno

    def parameters(self) -> list[str]:
        """Return the names of the parameters that a caller passes, without ``self`` or ``cls``."""
        arguments = self.node.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        if self.is_static:
            return names
        return names[1:]

    @property
    def is_static(self) -> bool:
        return self.owner is None or isinstance(vars(self.owner).get(self.name), staticmethod)


Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed module."""

    file: Path
    tree: ast.Module
    functions: dict[tuple[str, int], Function]
    """By their names and first lines, which are those of a decorator where there is one."""


@dataclass(frozen=True)
class Source:
    """A consumer class and the modules in which it and its bases are defined."""

    cls: type
    _modules: dict[str, Module | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.cls.__name__

    @cached_property
    def file(self) -> Path:
        """The file in which the class is defined."""
        found = self._module(self.cls.__module__)
        assert found is not None, "load() has checked that"
        return found.file

    @cached_property
    def definitions(self) -> list[ast.ClassDef]:
        """The class statements that may have made the class. More than one: the code decides between them."""
        return self._class_nodes(self.cls)

    def own_bases(self) -> Iterator[type]:
        """Yield the classes of the MRO that are neither Channels' own nor built in."""
        for base in self.cls.__mro__:
            if base.__module__ not in CHANNELS and base.__module__ not in ("builtins", "typing", "abc"):
                yield base

    def overrides(self, name: str) -> Iterator[type]:
        """Yield the classes that define ``name``, up to the first class of Channels that does."""
        for base in self.cls.__mro__:
            if name in vars(base):
                if base.__module__ in CHANNELS:
                    return
                if base is not object:
                    yield base

    def method(self, name: str, *, after: type | None = None) -> Method | None:
        """Return the method ``name``, as a lookup on the class (or by ``super()`` in ``after``) finds it.

        ``None`` if Channels or a library defines it, or if it has no source.
        """
        mro = self.cls.__mro__
        for base in mro[0 if after is None else mro.index(after) + 1 :]:
            if name in vars(base):
                return None if base.__module__.partition(".")[0] in NOT_READ else self.method_of(base, name)
        return None

    def method_of(self, owner: type, name: str) -> Method | None:
        """Return the method ``name`` that ``owner`` itself defines; ``None`` if it has no source."""
        function = inspect.unwrap(_function(vars(owner)[name]))
        if not isinstance(function, FunctionType):
            return None
        return self._method(owner, name, function)

    def function(self, function: Any) -> Method | None:
        """Return a function that is no method; ``None`` if it has no source or belongs to another project."""
        if not isinstance(function, FunctionType) or _top(function.__module__) != _top(self.cls.__module__):
            return None
        return self._method(None, function.__name__, function)

    def methods(self) -> Iterator[Method]:
        """Yield the methods of the class and of its bases that are neither Channels' nor a known library's."""
        seen = set()
        for base in self.own_bases():
            if _top(base.__module__) in NOT_READ:
                continue
            for name, value in vars(base).items():
                if name not in seen and isinstance(inspect.unwrap(_function(value)), FunctionType):
                    seen.add(name)
                    method = self.method_of(base, name)
                    if method is not None:
                        yield method

    def methods_named(self, prefix: str) -> list[Method]:
        """Return the methods whose names begin with ``prefix``."""
        return [method for method in self.methods() if method.name.startswith(prefix)]

    def _method(self, owner: type | None, name: str, function: FunctionType) -> Method | None:
        found = self._module(function.__module__)
        if found is None or Path(function.__code__.co_filename) != found.file:
            return None
        node = found.functions.get((function.__name__, function.__code__.co_firstlineno))
        return None if node is None else Method(owner, name, function, node, found.file)

    def _class_nodes(self, cls: type) -> list[ast.ClassDef]:
        found = self._module(cls.__module__)
        if found is None or "." in cls.__qualname__:
            return []
        nodes = [node for node in _outside_functions(found.tree) if node.name == cls.__qualname__]
        line = vars(cls).get("__firstlineno__")  # since Python 3.13
        if line is not None and len(nodes) > 1:
            return [node for node in nodes if line in (node.lineno, *(d.lineno for d in node.decorator_list))]
        return nodes

    def _module(self, name: str) -> Module | None:
        if name not in self._modules:
            self._modules[name] = _parsed(name)
        return self._modules[name]


def load(path: str) -> Source:
    """Import the class at ``path``, ``package.module.Class`` or ``package.module:Class``.

    Raises:
        NotReadable: There is no such class, or its source cannot be read.
    """
    value = _imported(path)
    if not isinstance(value, type):
        consumer = getattr(value, "consumer_class", None)
        hint = f" It serves {_dotted(consumer)}: pass that path." if isinstance(consumer, type) else ""
        raise NotReadable(f"{path} is not a class, but of the type {type(value).__name__}.{hint}")
    if value.__module__ == "builtins" or _parsed(value.__module__) is None:
        raise NotReadable(f"The source of {path} cannot be read: {value.__module__} has no Python file.")
    return Source(value)


def _imported(path: str) -> Any:
    module_path, colon, attributes = path.partition(":")
    parts = module_path.split(".")
    names = attributes.split(".") if colon else []
    if not colon:
        if len(parts) < 2:
            raise NotReadable(f"{path!r} is not the path of a class. Write package.module.ClassName.")
        # The last part is the class. A nested class has several: the longest path that is a module is the module.
        while len(parts) > 1:
            names.insert(0, parts.pop())
            if _is_module(".".join(parts)):
                break
    module_path = ".".join(parts)
    if not module_path or not all(name.isidentifier() for name in (*parts, *names)) or not names:
        raise NotReadable(f"{path!r} is not the path of a class. Write package.module.ClassName.")
    try:
        value: Any = importlib.import_module(module_path)
    except (Exception, SystemExit) as exc:  # the module is the project's own code, which may raise anything
        raise NotReadable(f"{module_path} cannot be imported: {type(exc).__name__}: {exc}") from exc
    for name in names:
        if not hasattr(value, name):
            kind = "module" if isinstance(value, ModuleType) else "class"
            raise NotReadable(f"The {kind} {getattr(value, '__name__', value)} has no attribute {name!r}.")
        value = getattr(value, name)
    return value


def _is_module(path: str) -> bool:
    """Return whether ``path`` is a module. Importing it may still fail."""
    if path in sys.modules:
        return True
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:
        return False
    except (Exception, SystemExit) as exc:  # of a package that find_spec() imports
        raise NotReadable(f"{path.rpartition('.')[0]} cannot be imported: {type(exc).__name__}: {exc}") from exc


def _parsed(module: str) -> Module | None:
    loaded = sys.modules.get(module)
    file = None if loaded is None else getattr(loaded, "__file__", None)
    if file is None or not file.endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):  # deleted, or changed since the import
        return None
    functions = {
        (node.name, min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])): node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return Module(Path(file), tree, functions)


def _function(value: Any) -> Any:
    """Return the function in an attribute of a class: a method may be a descriptor or a ``SyncToAsync`` object."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    return getattr(value, "func", value)


def _outside_functions(tree: ast.AST) -> Iterator[ast.ClassDef]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _outside_functions(node)


def _dotted(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _top(module: str) -> str:
    return module.partition(".")[0]
