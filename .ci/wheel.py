"""Import every module of an installed routesock that has no optional library beside it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from pathlib import Path

# Each of these modules needs the library that it is named for, and nothing else may.
OPTIONAL = {
    "routesock.schemas.marshmallow": "marshmallow",
    "routesock.schemas.marshmallow_bare": "marshmallow",
    "routesock.schemas.msgspec": "msgspec",
    "routesock.schemas.pydantic": "pydantic",
    "routesock.schemas.rest_framework": "rest_framework",
    "routesock.permissions.rest_framework": "rest_framework",
    "routesock.auth.rest_framework": "rest_framework",
    "routesock.throttling.link": "redis",
    "routesock.throttling.redis": "redis",
    "routesock.throttling.redis_links": "redis",
    "routesock.pytest_plugin": "pytest",
}

for library in OPTIONAL.values():
    if importlib.util.find_spec(library):
        sys.exit(f"{library} is installed: a core dependency pulls it in, or this is not a bare environment")

import routesock  # noqa: E402  # before any settings exist, as in a user's own module

if routesock.__file__ is None:
    sys.exit("routesock has no __init__.py")
folder = Path(routesock.__file__).parent
if not (folder / "py.typed").is_file():
    sys.exit("the wheel has no py.typed")
if not (folder / "throttling" / "take.lua").is_file():
    sys.exit("the wheel has no take.lua")

files = importlib.metadata.files("routesock") or []
strangers = {file.parts[0] for file in files} - {"routesock"}
if strangers - {name for name in strangers if name.endswith(".dist-info")}:
    sys.exit(f"the wheel installs more than routesock: {sorted(strangers)}")

from django.conf import settings  # noqa: E402

settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "routesock"])

import django  # noqa: E402

django.setup()

from django.core.management import get_commands  # noqa: E402

if get_commands().get("routesock_broadcast") != "routesock":
    sys.exit("the wheel has no routesock_broadcast")

imported = 0
for module in pkgutil.walk_packages([str(folder)], "routesock."):
    if module.name not in OPTIONAL:
        importlib.import_module(module.name)
        imported += 1
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        if OPTIONAL[module.name] not in str(error):
            sys.exit(f"{module.name} without its library: {error!r} does not name {OPTIONAL[module.name]}")

plugins = {point.name: point.value for point in importlib.metadata.entry_points(group="pytest11")}
if plugins.get("routesock") != "routesock.pytest_plugin" or not importlib.util.find_spec("routesock.pytest_plugin"):
    sys.exit("the pytest plugin is not in the wheel")

print(f"wheel: {imported} modules import with the core dependencies alone")
