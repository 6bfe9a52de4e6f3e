"""Keeps pytest out of the example where it runs with the settings of another project, as the library's own suite does.

That suite runs these tests with ``manage.py test``; so does everybody else, or with
``DJANGO_SETTINGS_MODULE=config.settings pytest``.
"""

from django.conf import settings

collect_ignore = [] if settings.SETTINGS_MODULE == "config.settings" else ["chat"]
