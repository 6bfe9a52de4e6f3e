from io import StringIO

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings

from chat.demo import PASSWORD, USERNAMES
from chat.models import Message


class SeedDemoTests(TestCase):
    @override_settings(DEBUG=True)
    def test_users_can_log_in(self):
        call_command("seed_demo", stdout=StringIO())
        for username in USERNAMES:
            assert authenticate(username=username, password=PASSWORD) is not None

    @override_settings(DEBUG=True)
    def test_second_run_changes_nothing(self):
        call_command("seed_demo", stdout=StringIO())
        before = [*User.objects.values()], [*Message.objects.values()]
        call_command("seed_demo", stdout=StringIO())
        assert ([*User.objects.values()], [*Message.objects.values()]) == before

    def test_public_password_stays_out_of_production(self):
        with self.assertRaisesMessage(CommandError, "runs under DEBUG only"):
            call_command("seed_demo", stdout=StringIO())
        assert not User.objects.exists()
