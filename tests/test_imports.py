"""What importing routesock needs, and what it brings along."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "routesock"
MODULES: Final = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py")
)
ADAPTERS: Final = {
    **{f"routesock.schemas.{library}": library for library in ("marshmallow", "msgspec", "pydantic", "rest_framework")},
    "routesock.schemas._json_schema.marshmallow": "marshmallow",
    "routesock.schemas._json_schema.marshmallow_fields": "marshmallow",
    "routesock.schemas._json_schema.marshmallow_validators": "marshmallow",
    "routesock.schemas._json_schema.msgspec": "msgspec",
    "routesock.schemas._json_schema.pydantic": "pydantic",
    "routesock.schemas._json_schema.pydantic_values": "pydantic",
    "routesock.schemas._json_schema.rest_framework": "rest_framework",
    "routesock.permissions.rest_framework": "rest_framework",
    "routesock.auth.rest_framework": "rest_framework",
    "routesock.metrics": "prometheus_client",
    "routesock.tracing.otel": "opentelemetry",
    "routesock._store.redis": "redis",
    "routesock.client._transport": "websockets",
}
OF_THE_REGISTRY: Final = {"routesock.models", "routesock.admin"}
"""Django imports them, when the app registry is ready: see ``tests/test_admin.py``."""

OPTIONAL: Final = {*ADAPTERS.values(), "daphne", "uvicorn", "twisted", "channels_redis", "django_redis"}
SETUP: Final = "from django.conf import settings; settings.configure()\n"
TESTING: Final = {"pytest", "_pytest", "pytest_asyncio", "pytest_django"}


FORKS: Final = """
import json, os, sys, traceback
from routesock import *

for line in sys.stdin:
    if (child := os.fork()) == 0:
        try:
            exec(json.loads(line), {"__name__": "__main__"})
            result = sorted(sys.modules)
        except BaseException:
            result = traceback.format_exc()
        print(json.dumps(result), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
"""Runs each line of its input in a process of its own, where nothing but the names of routesock is imported so far."""

ImportedBy = Callable[[str], set[str]]


@pytest.fixture(scope="module")
def imported_by() -> Iterator[ImportedBy]:
    """Runs code where warnings are errors and Django has no settings; gives the top-level packages imported then.

    Every code imports routesock, which takes half a second: so this is done once, and the rest in forks.
    """
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-W", "error", "-c", FORKS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as python:
        assert python.stdin is not None
        assert python.stdout is not None
        reading, writing = python.stdout, python.stdin

        def imported(code: str) -> set[str]:
            print(json.dumps(code), file=writing, flush=True)
            modules = json.loads(reading.readline())
            assert isinstance(modules, list), modules
            return {name.partition(".")[0] for name in modules}

        yield imported


@cache
def third_party(module: Path) -> frozenset[str]:
    """The top-level packages of others that ``module`` imports anywhere in its code."""
    return frozenset(_imported_by(module))


def _imported_by(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "routesock":
                yield top


@cache
def declared() -> dict[str, set[str]]:
    """The distributions that setup.cfg names, by ``install_requires`` or extra."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    sections = {"install_requires": config["options"]["install_requires"], **config["options.extras_require"]}
    return {section: {_name_of(line) for line in lines.split("\n") if line} for section, lines in sections.items()}


def _name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return found[0].lower().replace("_", "-")


@cache
def distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def distributions_of(package: str) -> set[str]:
    return {name.lower().replace("_", "-") for name in distributions().get(package, [package])}


class TestBareImport:
    def test_routesock_needs_no_settings(self, imported_by: ImportedBy) -> None:
        """A consumers module may be imported before Django is set up."""
        assert "routesock" in imported_by("from routesock import *")

    def test_class_with_routes_needs_no_settings(self, imported_by: ImportedBy) -> None:
        """Neither does declaring one: settings are read when a socket opens."""
        imported_by(
            "from channels.generic.websocket import AsyncJsonWebsocketConsumer\n"
            "from routesock import *\n"
            "class Chat(RouteMixin, AsyncJsonWebsocketConsumer):\n"
            "    @route('send', schema=lambda payload: payload)\n"
            "    async def send_message(self, request): ...\n"
        )

    def test_no_optional_library_is_imported(self, imported_by: ImportedBy) -> None:
        """One that is installed for something else costs nothing."""
        assert imported_by("from routesock import *") & (OPTIONAL | TESTING) == set()

    @pytest.mark.parametrize("module", ["routesock.testing", "routesock.pytest_plugin"])
    def test_testing_kit_needs_no_server(self, imported_by: ImportedBy, module: str) -> None:
        """Unlike ``channels.testing``, which imports daphne and with it Twisted."""
        assert imported_by(f"import {module}") & OPTIONAL == set()

    def test_the_client_needs_neither_django_nor_channels(self) -> None:
        """It runs in scripts and services that have no settings. In a process of its own, where nothing is imported."""
        code = "import json, sys, routesock.client; print(json.dumps(sorted(sys.modules)))"
        done = subprocess.run([sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, check=True, cwd=ROOT)
        imported = {name.partition(".")[0] for name in json.loads(done.stdout)}
        assert imported & {"django", "channels", "asgiref", *OPTIONAL} == {"websockets"}

    def test_names_are_imported_when_they_are_used(self) -> None:
        """``import routesock`` alone is cheap, and yet its modules can be reached through it."""
        code = (
            "import sys, routesock\n"
            "assert 'django' not in sys.modules\n"
            "assert set(routesock.__all__) <= set(dir(routesock))\n"
            "assert routesock.exceptions.NotFound.status == 404\n"
            "assert routesock.route is sys.modules['routesock._routing.route'].route\n"
            "assert not hasattr(routesock, 'no_such_name')\n"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)

    def test_testing_kit_needs_no_pytest(self, imported_by: ImportedBy) -> None:
        """Django's own test runner does."""
        assert imported_by("import routesock.testing") & TESTING == set()

    def test_every_module_can_be_imported_by_itself(self, imported_by: ImportedBy) -> None:
        """No module relies on what another one has imported; with settings, as DRF's adapter needs them.

        Python imports the package of a module in front of it: what that has imported has passed with it.
        """
        imported_by(
            f"{SETUP}import importlib, sys\n"
            "names = lambda: {name for name in sys.modules if name.startswith('routesock')}\n"
            "loaded = {'': set()}\n"
            f"for module in {[module for module in MODULES if module not in OF_THE_REGISTRY]}:\n"
            "    there = loaded[module.rpartition('.')[0]]\n"
            "    if module not in there:\n"
            "        for name in names(): del sys.modules[name]\n"
            "        importlib.import_module(module)\n"
            "        there = names()\n"
            "    loaded[module] = there\n"
        )

    @pytest.mark.parametrize(("module", "library"), ADAPTERS.items())
    def test_adapter_imports_its_library_alone(self, imported_by: ImportedBy, module: str, library: str) -> None:
        """A project that uses one library does not load the others, unless that library does (redis-py, for traces)."""
        setup = SETUP if library == "rest_framework" else ""
        libraries = set(ADAPTERS.values())
        brought = imported_by(f"import {library}") & libraries if library == "redis" else set()
        assert imported_by(f"{setup}import {module}") & libraries == {library} | brought


class TestDeclarations:
    @pytest.mark.parametrize("module", MODULES)
    def test_every_import_is_declared(self, module: str) -> None:
        """What a module imports stands in setup.cfg, in an extra if it is optional."""
        path = ROOT.joinpath(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        everything = set().union(*declared().values())
        undeclared = {package for package in third_party(file) if not distributions_of(package) & everything}
        assert undeclared == set()

    def test_only_adapters_and_the_plugin_import_what_is_optional(self) -> None:
        """Without any extra, everything else can be imported."""
        required = declared()["install_requires"]
        optional = {
            module
            for module in MODULES
            for path in [ROOT.joinpath(*module.split("."))]
            for package in third_party(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
            if not distributions_of(package) & required
        }
        # A document imports PyYAML when it is written as YAML.
        assert optional <= {*ADAPTERS, "routesock.pytest_plugin", "routesock._asyncapi.document"}

    def test_requirements_are_used(self) -> None:
        """A dependency that nothing imports would be installed for nothing."""
        used = {package for path in PACKAGE.rglob("*.py") for package in third_party(path)}
        assert declared()["install_requires"] <= set().union(*map(distributions_of, used))
