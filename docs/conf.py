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

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

# No inventories of other projects: the build needs no network. Names that only they could resolve are excused here;
# every other name has to lead somewhere.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:class", r"collections\.abc\..*|contextlib\..*|_pytest\..*|(channels\.consumer\.)?(As|S)yncConsumer"),
    (r"py:class", r"django\..*|opentelemetry\..*|prometheus_client\..*"),
    # Names in signatures that are no part of the reference.
    (r"py:class", r"routesock\.(typing\.Unset|_routing\.marks\.Handler|schemas\.running\.Function)|RequestId"),
    (r"py:class", r"routesock\.socket\.(SocketAttribute|_Untyped)"),
    (r"py:class", r"routesock\.client\._(client|types)\.(\w+_|Asked)"),  # type variables
]

html_theme = "furo"
html_title = f"routesock {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_dark_style = "github-dark"
html_logo = html_favicon = "_static/logo.svg"
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/routesock/routesock/",
    "source_branch": "main",
    "source_directory": "docs/",
    "top_of_page_buttons": ["view", "edit"],
    # The brand colours of the theme, with the contrast that WCAG AA asks for in both modes.
    "light_css_variables": {"color-brand-primary": "#1a5fb4", "color-brand-content": "#1a5fb4"},
    "dark_css_variables": {"color-brand-primary": "#82b4f0", "color-brand-content": "#82b4f0"},
}
# The scripts that make the pictures are no part of the site.
exclude_patterns = ["_build", "_static/*.py", "**/__pycache__"]
