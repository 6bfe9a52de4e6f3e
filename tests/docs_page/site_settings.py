"""Settings of the site that the tests of the page look at: the example with more consumers, and without DEBUG."""

from config.settings import *  # noqa: F403

DEBUG = False
ASGI_APPLICATION = "tests.docs_page.site.application"
ROUTESOCK = {
    "PLAYGROUND": True,
    "DOCS": {"title": "Test site", "description": "Of everything, a bit.\n\n<script>alert('title')</script>"},
}
