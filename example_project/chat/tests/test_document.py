from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.test import SimpleTestCase


class DocumentTests(SimpleTestCase):
    def test_committed_document_is_that_of_the_code(self):
        # It raises if they differ. Then write it anew: manage.py routesock_asyncapi -o asyncapi.json
        call_command("routesock_asyncapi", check=str(Path(settings.BASE_DIR) / "asyncapi.json"))

    def test_committed_types_are_those_of_the_code(self):
        # Then write them anew: manage.py routesock_client typescript -o frontend/ws.ts
        file = str(Path(settings.BASE_DIR) / "frontend" / "ws.ts")
        call_command("routesock_client", "typescript", output=file, check=True)
