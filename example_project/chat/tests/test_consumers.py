import asyncio
from unittest import mock

from django.contrib.auth.models import AnonymousUser, User
from django.test import TestCase

from chat.consumers import ChatConsumer
from chat.models import Message
from chat.pushes import group_of
from routesock import asend_event, route
from routesock.testing import ConnectionRefused, RouteClient


class ChatConsumerTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create(username="alice")
        cls.bob = User.objects.create(username="bob")
        cls.message = Message.objects.create(author=cls.alice, room="lobby", text="First")

    def client_of(self, user):
        return RouteClient(ChatConsumer, path="/ws/chat/", as_user=user)

    def test_sent_message_is_created(self):
        with self.client_of(self.alice) as alice:
            alice.call("room.join", {"room": "lobby"})
            reply = alice.call("message.send", {"text": " Hello "})
        assert reply.status == 201
        assert reply.payload["text"] == "Hello"
        message = Message.objects.get(pk=reply.payload["id"])
        assert (message.author, message.room, message.text) == (self.alice, "lobby", "Hello")

    def test_saved_message_is_answered_although_its_broadcast_fails(self):
        """Otherwise its author would send it once more."""
        for action, fields, status in [("message.send", {}, 201), ("message.edit", {"id": self.message.pk}, 200)]:
            with self.client_of(self.alice) as alice:
                alice.call("room.join", {"room": "lobby"})
                with (
                    mock.patch("routesock.socket.Socket.broadcast", side_effect=ConnectionError),
                    self.assertLogs("chat.consumers", "ERROR"),
                ):
                    reply = alice.call(action, {**fields, "text": "Hello"})
            assert reply.status == status
            assert Message.objects.get(pk=reply.payload["id"]).text == "Hello"

    def test_text_is_required(self):
        with self.client_of(self.alice) as alice:
            alice.call("room.join", {"room": "lobby"})
            reply = alice.call("message.send", {"text": "  "})
        assert reply.status == 422
        assert reply.payload["errors"] == {"text": ["Write between 1 and 500 characters."]}
        assert Message.objects.count() == 1

    def test_sending_and_listing_need_a_room(self):
        with self.client_of(self.alice) as alice:
            assert alice.call("message.send", {"text": "Hello"}).status == 409
            assert alice.call("message.list").status == 409

    def test_room_has_a_proper_name(self):
        with self.client_of(self.alice) as alice:
            reply = alice.call("room.join", {"room": "not a room"})
        assert reply.status == 422
        assert reply.payload["errors"] == {"room": ["No such room."]}

    def test_list_is_of_the_joined_room_and_oldest_first(self):
        Message.objects.create(author=self.bob, room="lobby", text="Second")
        Message.objects.create(author=self.bob, room="attic", text="Elsewhere")
        with self.client_of(self.alice) as alice:
            alice.call("room.join", {"room": "lobby"})
            reply = alice.call("message.list")
        assert reply.status == 200
        lines = [(message["author"], message["text"]) for message in reply.payload["messages"]]
        assert lines == [("alice", "First"), ("bob", "Second")]

    def test_author_edits_a_message(self):
        with self.client_of(self.alice) as alice:
            reply = alice.call("message.edit", {"id": self.message.pk, "text": "1st"})
        assert reply.status == 200
        assert reply.payload["text"] == "1st"
        self.message.refresh_from_db()
        assert self.message.text == "1st"

    def test_only_the_author_edits_a_message(self):
        with self.client_of(self.bob) as bob:
            reply = bob.call("message.edit", {"id": self.message.pk, "text": "Mine now"})
        assert reply.status == 403
        assert reply.payload["detail"] == "Only its author may edit a message."
        self.message.refresh_from_db()
        assert self.message.text == "First"

    def test_a_message_that_does_not_exist_cannot_be_edited(self):
        with self.client_of(self.alice) as alice:
            reply = alice.call("message.edit", {"id": 404, "text": "Anything"})
        assert reply.status == 404

    async def test_everybody_in_the_room_reads_a_message(self):
        async with self.client_of(self.alice) as alice, self.client_of(self.bob) as bob:
            await alice.call("room.join", {"room": "lobby"})
            await bob.call("room.join", {"room": "lobby"})
            sent = await alice.call("message.send", {"text": "Hello"})
            for client in (alice, bob):
                push = await client.expect_push("message")
                assert push.payload == sent.payload

    async def test_nobody_elsewhere_reads_it(self):
        async with self.client_of(self.alice) as alice, self.client_of(self.bob) as bob:
            await bob.call("room.join", {"room": "lobby"})
            await bob.call("room.join", {"room": "attic"})
            await alice.call("room.join", {"room": "lobby"})
            await alice.call("message.send", {"text": "Hello"})
            await bob.refute_push("message")

    async def test_joining_a_room_twice_is_being_in_it_once(self):
        async with self.client_of(self.alice) as alice:
            await alice.call("room.join", {"room": "lobby"})
            await alice.call("room.join", {"room": "lobby"})
            await alice.call("message.send", {"text": "Hello"})
            await alice.expect_push("message")
            await alice.refute_push("message")

    async def test_actions_not_taken_over_are_answered_as_before(self):
        async with self.client_of(self.alice) as alice:
            assert (await alice.call("whoami")).payload == {"username": "alice"}

    async def test_everybody_else_in_the_room_is_told_who_types(self):
        async with (
            self.client_of(self.alice) as alice,
            self.client_of(self.alice) as her_other_window,
            self.client_of(self.bob) as bob,
            self.client_of(self.bob) as bob_elsewhere,
        ):
            for client in (alice, her_other_window, bob):
                await client.call("room.join", {"room": "lobby"})
            await bob_elsewhere.call("room.join", {"room": "attic"})
            await alice.send("typing")
            assert (await bob.expect_push("typing")).payload == {"username": "alice"}
            for client in (alice, her_other_window, bob_elsewhere):
                await client.refute_push("typing")

    async def test_who_goes_to_another_room_is_not_told_there_who_types_in_this_one(self):
        let_go = asyncio.Event()

        class BusyConsumer(ChatConsumer):
            @route("wait")
            async def wait(self, request):
                await let_go.wait()

        async with RouteClient(BusyConsumer, path="/ws/chat/", as_user=self.alice) as alice:
            await alice.call("room.join", {"room": "lobby"})
            await alice.send("wait")
            await alice.send("room.join", {"room": "attic"})
            await alice.ping()  # both are read
            await asend_event(group_of("lobby"), "chat.typing", {"username": "bob"})
            let_go.set()
            await alice.call("whoami")
            await alice.refute_push("typing")

    async def test_anonymous_visitors_are_turned_away(self):
        with self.assertRaises(ConnectionRefused):
            async with self.client_of(AnonymousUser()):
                pass
