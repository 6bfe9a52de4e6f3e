"""Sphinx configuration."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

metadata = configparser.RawConfigParser()
metadata.read(ROOT / "setup.cfg", encoding="utf-8")

project = "routesock"
author = copyright = metadata["metadata"]["author"]
release = version = metadata["metadata"]["version"]

# autodoc imports the package, and some of its modules ask Django for models.
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "routesock"],
    USE_TZ=True,
)
django.setup()

extensions = ["sphinx.ext.autodoc"]
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False

# No inventories of other projects: the build needs no network. Names that only they could resolve are excused here;
# every other name has to lead somewhere.
nitpicky = True
EXTERNAL = "asgiref asyncio channels django marshmallow msgspec pydantic pytest rest_framework".split()
STANDARD = "collections contextlib contextvars datetime enum http json types typing".split()
BUILTINS = "None True False bool bytes dict float frozenset int list object set str tuple type".split()
TYPING = "Any Awaitable Callable ClassVar Final Iterable Iterator Mapping MutableMapping Sequence".split()
nitpick_ignore_regex = [
    (r"py:.*", rf"({'|'.join(EXTERNAL + STANDARD)})\..*"),
    (r"py:.*", "|".join(BUILTINS + TYPING)),
    (r"py:(class|exc)", r"[A-Z]\w*(Error|Exception)"),
    # Names in signatures that are no part of the reference.
    (r"py:class", r"(routesock\.typing\.)?Unset|routesock\.routing\.Handler|RequestId|AsyncConsumer|_pytest\..*"),
    # Short names in docstrings, which are resolved in the module that re-exports the class.
    (r"py:(class|func)", "BlockingRouteClient|Conversation|InvalidEnvelope|websocket_scope"),
    (r"py:class", r"routesock\.testing\.conversation\.Conversation"),
]

html_theme = "furo"
html_title = f"routesock {release}"
exclude_patterns = ["_build"]
