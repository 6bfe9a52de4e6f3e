"""Makes the database of the servers, and prints the tokens that are in it."""

from __future__ import annotations

import json

import django

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from rest_framework.authtoken.models import Token  # noqa: E402

from .tokens import jwt, key, session  # noqa: E402


def main() -> None:
    call_command("migrate", verbosity=0)
    alice, gone = (User.objects.create_user(name, password="x") for name in ("alice", "gone"))
    left = async_to_sync(session)(alice)
    SessionStore(left).flush()
    old = async_to_sync(key)(gone)
    Token.objects.all().delete()
    tokens = {
        "jwt": {"good": jwt(alice, seconds=3600), "bad": jwt(alice)[:-3] + "xyz", "over": jwt(alice, seconds=-1)},
        "key": {"good": async_to_sync(key)(alice), "bad": "0" * 40, "over": old},
        "session": {"good": async_to_sync(session)(alice), "bad": "x" * 32, "over": left},
        "own": {"good": "carol", "bad": "mallory", "over": "expired"},
    }
    tokens["inactive"] = {"jwt": jwt(gone), "key": async_to_sync(key)(gone), "session": async_to_sync(session)(gone)}
    User.objects.filter(username="gone").update(is_active=False)
    print(json.dumps(tokens))  # noqa: T201


main()
