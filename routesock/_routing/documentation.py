"""Texts from docstrings and the pushes of an app, for the documents of a class.

Only the code that builds documents imports this module, so a server that has none pays nothing for it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple

from django.apps import apps
from django.utils.module_loading import module_has_submodule

from ..exceptions import RouteSetupError
from .push import Push, Pushes, collect_pushes
from .route import Route
from .topic import Topic, collect_topics


class Texts(NamedTuple):
    """A summary of one line, and a description, either of which may be empty."""

    summary: str
    description: str


def texts_of(cls: type, declared: Route | Topic | None = None) -> Texts:
    """Return the texts about ``cls``, or about a route or topic of it.

    What is declared comes first, with ``summary=``, ``description=`` and ``route_summary``. The default is the
    docstring of the handler, or of the class itself: its first sentence, and the rest. The ``route_summary`` of a base
    class comes last.
    """
    if declared is None:
        default = _split(vars(cls).get("__doc__"))
        summary = vars(cls).get("route_summary") or default.summary or getattr(cls, "route_summary", "")
        return Texts(str(summary), default.description)
    default = _split(_docstring(cls, declared.attr))
    options = declared.route if isinstance(declared, Topic) else declared
    return Texts(str(options.summary) or default.summary, str(options.description) or default.description)


def _docstring(cls: type, attr: str) -> str | None:
    """Return the docstring of the method ``attr``, which an override without one takes over from its base."""
    for base in cls.__mro__:
        definition = vars(base).get(attr)
        doc: str | None = getattr(getattr(definition, "__wrapped__", definition), "__doc__", None)
        if definition is not None and doc:
            return doc
    return None


_ENDS: Final = (".", "!", "?", ":")


def _split(doc: str | None) -> Texts:
    """Split a docstring behind its first sentence, or behind its first paragraph if no line there ends a sentence."""
    if not doc:
        return Texts("", "")
    lines = inspect.cleandoc(doc).splitlines()
    count = 0
    for line in lines:
        if not line.strip():
            break
        count += 1
        if line.rstrip().endswith(_ENDS):
            break
    return Texts(" ".join(line.strip() for line in lines[:count]), "\n".join(lines[count:]).strip())


def pushes_of(cls: type, mixin: type) -> Pushes:
    """Return the pushes that sockets of ``cls`` may be sent, as far as they are declared, sorted by name.

    They are those in ``route_pushes`` of the class and its bases, and in ``pushes=`` of its topics. If no class lists
    any, they are all pushes of the app that contains the class, since any module of it may send them.

    Args:
        cls: The consumer class.
        mixin: The class that declares the option.

    Raises:
        RouteSetupError: One name is declared in two ways.
    """
    listed = any("route_pushes" in vars(base) for base in cls.__mro__ if base is not mixin)
    pushes = dict(collect_pushes(cls) if listed else pushes_of_app(cls))
    for topic in collect_topics(cls):
        for push in topic.pushes:
            other = pushes.setdefault(push.name, push)
            if other != push:
                raise RouteSetupError(
                    f"{cls.__name__}.{topic.attr} declares the push {push.name!r} with {push!r}, and "
                    f"{'route_pushes' if listed else 'its app'} with {other!r}. Remove one, or choose another name."
                )
    return dict(sorted(pushes.items()))


def pushes_of_app(cls: type) -> Pushes:
    """Return the pushes that the modules of the app with ``cls`` declare or import, by their names.

    Each module of the app that is loaded counts, and its module ``pushes``, which is loaded if there is one. Tests do
    not count, so that a document is the same under a test runner. A class that is in no app has the pushes of its own
    package.

    Raises:
        RouteSetupError: One name is declared in two ways.
    """
    found: dict[str, tuple[Push, str]] = {}
    for name, module in _modules_of_app(cls):
        for value in tuple(vars(module).values()):
            for push in _pushes_in(value):
                other, where = found.setdefault(push.name, (push, name))
                if other != push:
                    raise RouteSetupError(
                        f"The push {push.name!r} is declared in two ways, in {where} and {name}. List those that "
                        f"{cls.__name__} sends: route_pushes = [...], or [] for none."
                    )
    return {name: push for name, (push, _) in found.items()}


def _modules_of_app(cls: type) -> Iterator[tuple[str, ModuleType]]:
    """Yield the loaded modules of the app with ``cls``, sorted by name."""
    config = apps.get_containing_app_config(cls.__module__)
    if config is not None:
        package = config.name
        if config.module is not None and module_has_submodule(config.module, "pushes"):
            import_module(f"{package}.pushes")
    else:
        package = cls.__module__.rpartition(".")[0] or cls.__module__
    for name, module in sorted(sys.modules.items()):
        is_inside = name == package or name.startswith(f"{package}.")
        if isinstance(module, ModuleType) and is_inside and (name == cls.__module__ or not _is_test(name)):
            yield name, module


def _is_test(module: str) -> bool:
    return any(part in ("tests", "conftest") or part.startswith("test_") for part in module.split("."))


def _pushes_in(value: Any, *, inside_class: bool = False) -> Iterator[Push]:
    """Yield ``value`` if it is a push, or the pushes in a list or a dict, on a class, or directly in a module."""
    kind = type(value)  # isinstance() would ask a lazy object for its __class__
    if issubclass(kind, Push):
        yield value
    elif issubclass(kind, list | tuple | set | frozenset):
        yield from (item for item in tuple(value) if issubclass(type(item), Push))
    elif issubclass(kind, dict):
        yield from (item for item in tuple(value.values()) if issubclass(type(item), Push))
    elif issubclass(kind, ModuleType):
        yield from (item for item in tuple(vars(value).values()) if issubclass(type(item), Push))
    elif issubclass(kind, type) and not inside_class:
        for item in tuple(vars(value).values()):
            yield from _pushes_in(item, inside_class=True)
