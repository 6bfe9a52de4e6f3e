from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from chat.demo import PASSWORD, STAFF, USERNAMES
from chat.models import Message

LINES = [
    ("alice", "Good morning! Is the deploy done?"),
    ("bob", "Since ten. The socket stayed open, no one noticed."),
    ("alice", "Then let us take over the next action."),
]


class Command(BaseCommand):
    help = "Creates the users of the demonstration and a few messages; a second run changes nothing."

    @transaction.atomic
    def handle(self, *args, **options):
        if not settings.DEBUG:
            raise CommandError("The password of the demo users is public: seed_demo runs under DEBUG only.")
        User = get_user_model()
        users = {}
        for username in USERNAMES:
            user, created = User.objects.get_or_create(username=username)
            if created:
                user.set_password(PASSWORD)
                user.is_staff = username in STAFF
                user.save()
            users[username] = user
        if not Message.objects.exists():
            for username, text in LINES:
                Message.objects.create(author=users[username], room="lobby", text=text)
        self.stdout.write(f"Log in as {' or '.join(USERNAMES)}, password {PASSWORD}.")
