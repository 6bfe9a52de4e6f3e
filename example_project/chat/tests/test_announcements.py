from contextlib import contextmanager

from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client, TestCase

from chat.consumers import ChatConsumer
from chat.models import Message
from routesock.testing import RouteClient


class AnnouncementTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create(username="alice")
        cls.bob = User.objects.create(username="bob")

    def setUp(self):
        self.client.force_login(self.alice)

    @contextmanager
    def window_in(self, room):
        with RouteClient(ChatConsumer, path="/ws/chat/", as_user=self.bob) as window:
            window.call("room.join", {"room": room})
            yield window

    def announce(self, **form):
        with self.captureOnCommitCallbacks(execute=True):
            return self.client.post("/announcements/", form)

    def test_every_window_in_the_room_shows_it(self):
        with self.window_in("lobby") as one, self.window_in("lobby") as other, self.window_in("attic") as elsewhere:
            assert self.announce(room="lobby", text=" We close at six. ").status_code == 204
            for window in (one, other):
                assert window.expect_push("announcement").payload == {"author": "alice", "text": "We close at six."}
            elsewhere.refute_push("announcement")

    def test_it_is_a_message_of_the_room(self):
        with self.window_in("lobby") as window:
            self.announce(room="lobby", text="We close at six.")
            pushed = window.expect_push("message").payload
        message = Message.objects.get(pk=pushed["id"])
        assert (message.author, message.room, message.text) == (self.alice, "lobby", "We close at six.")

    def test_what_is_rolled_back_is_not_announced(self):
        with self.window_in("lobby") as window:
            with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
                self.client.post("/announcements/", {"room": "lobby", "text": "We close at six."})
                transaction.set_rollback(True)
            window.refute_push("announcement")
        assert not Message.objects.exists()

    def test_text_and_a_proper_room_are_required(self):
        for form, fields in [
            ({"room": "lobby", "text": "  "}, {"text"}),
            ({"room": "lobby", "text": "x" * 501}, {"text"}),
            ({"room": "no room", "text": "Hello"}, {"room"}),
        ]:
            response = self.announce(**form)
            assert response.status_code == 422
            assert response.json()["errors"].keys() == fields
        assert not Message.objects.exists()

    def test_only_who_is_logged_in_announces(self):
        self.client.logout()
        assert self.announce(room="lobby", text="Hello").status_code == 403
        assert not Message.objects.exists()

    def test_a_foreign_page_cannot_announce(self):
        client = Client(enforce_csrf_checks=True)
        client.force_login(self.alice)
        assert client.post("/announcements/", {"room": "lobby", "text": "Hello"}).status_code == 403
        assert not Message.objects.exists()

    def test_the_page_has_the_form(self):
        self.assertContains(self.client.get("/rooms/lobby/"), 'action="/announcements/"')

    def test_the_command_says_that_it_reaches_nobody_without_redis(self):
        with self.assertRaisesMessage(CommandError, "does not reach other processes"):
            call_command("routesock_broadcast", "room:lobby", "announcement", '{"text": "We restart at noon."}')
