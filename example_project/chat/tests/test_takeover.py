"""The page reads what it read from the consumer as it was before the routes."""

from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import TestCase

from chat import consumers, legacy, takeover
from chat.models import Message

PUSH = "the push that the room gets"


class TakeoverTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create(username="alice")
        cls.bob = bob = User.objects.create(username="bob")
        cls.own = Message.objects.create(author=cls.alice, room="lobby", text="Mine")
        cls.other = Message.objects.create(author=bob, room="lobby", text="Yours")

    async def connect(self, consumer_class, user=None):
        communicator = WebsocketCommunicator(consumer_class.as_asgi(), "/ws/chat/")
        communicator.scope["user"] = user or self.alice
        connected, _ = await communicator.connect()
        assert connected
        return communicator

    async def conversation(self, consumer_class, sent):
        """All that the client reads up to the reply to the last of the frames that it sends.

        ``PUSH`` waits for one more frame: a push comes behind the reply, but perhaps not before the client goes on.
        """
        communicator = await self.connect(consumer_class)
        read = []
        for request_id, frame in enumerate(sent):
            if frame is PUSH:
                read.append(await communicator.receive_json_from())
                continue
            await communicator.send_json_to({"request_id": request_id, **frame})
            while not read or read[-1].get("request_id") != request_id:
                read.append(await communicator.receive_json_from())
        await communicator.disconnect()
        return read

    async def test_conversations_are_the_same(self):
        join = {"action": "room.join", "room": "lobby"}
        conversations = {
            "heartbeat": [{"action": "PING"}],
            "join": [join],
            "join nowhere": [{"action": "room.join", "room": "no room"}],
            "list": [join, {"action": "message.list"}],
            "list before joining": [{"action": "message.list"}],
            "send": [join, {"action": "message.send", "text": " Hello "}, PUSH, {"action": "whoami"}],
            "send a field too many": [join, {"action": "message.send", "text": "Hello", "colour": "red"}],
            "send before joining": [{"action": "message.send", "text": "Hello"}],
            "send nothing": [join, {"action": "message.send", "text": "  "}],
            "send too much": [join, {"action": "message.send", "text": "x" * 501}],
            "edit": [join, {"action": "message.edit", "id": self.own.pk, "text": "Edited"}, PUSH, {"action": "whoami"}],
            "edit another's": [{"action": "message.edit", "id": self.other.pk, "text": "Edited"}],
            "edit what is not there": [{"action": "message.edit", "id": 404, "text": "Edited"}],
            "not taken over": [{"action": "whoami"}],
            "no such action": [{"action": "message.burn"}],
        }
        for name, sent in conversations.items():
            before = await self.conversation(legacy.ChatConsumer, sent)
            for old in before:
                if "created_at" in old:  # a message that this very conversation made
                    del old["created_at"], old["id"]
            for module in (takeover, consumers):
                with self.subTest(name, module=module.__name__):
                    after = await self.conversation(module.ChatConsumer, sent)
                    # Errors say more than they did: a code and a title.
                    assert [
                        {key: new.get(key) for key in old} for old, new in zip(before, after, strict=True)
                    ] == before

    async def pushed(self, consumer_class):
        """What bob is sent while alice edits a message and types, as text."""
        alice, bob = [await self.connect(consumer_class, user) for user in (self.alice, self.bob)]
        for communicator in (alice, bob):
            await communicator.send_json_to({"action": "room.join", "request_id": 0, "room": "lobby"})
            await communicator.receive_json_from()
        await alice.send_json_to({"action": "message.edit", "id": self.own.pk, "text": "Edited"})
        frames = [await bob.receive_from()]
        await alice.send_json_to({"action": "typing"})
        frames.append(await bob.receive_from())
        for communicator in (alice, bob):
            await communicator.disconnect()
        return frames

    async def test_pushes_are_the_same(self):
        before = await self.pushed(legacy.ChatConsumer)
        for module in (takeover, consumers):
            with self.subTest(module.__name__):
                assert await self.pushed(module.ChatConsumer) == before

    async def test_a_frame_that_the_old_code_cannot_stand_ended_the_socket(self):
        communicator = await self.connect(legacy.ChatConsumer)
        await communicator.send_json_to(["not", "an", "object"])
        with self.assertRaises(AttributeError):
            await communicator.receive_json_from()

    async def test_a_frame_that_the_old_code_cannot_stand_is_a_logged_500_now(self):
        communicator = await self.connect(consumers.ChatConsumer)
        with self.assertLogs("routesock", "ERROR"):
            await communicator.send_json_to(["not", "an", "object"])
            assert (await communicator.receive_json_from())["status"] == 500
        await communicator.send_json_to({"action": "PING", "request_id": 1})
        assert (await communicator.receive_json_from())["action"] == "PONG"
        await communicator.disconnect()
