"""The consumer as the team ran it for years, kept to compare with what became of it.

diff -u chat/legacy.py chat/takeover.py
diff -u chat/takeover.py chat/consumers.py
"""

import re

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .models import Message


class ChatConsumer(AsyncJsonWebsocketConsumer):
    room = None

    async def connect(self):
        self.user = self.scope["user"]
        if self.user.is_authenticated:
            await self.accept()
        else:
            await self.close()

    async def disconnect(self, code):
        await self.leave_room()

    async def receive_json(self, content):
        action = content.get("action")

        if action == "PING":
            await self.send_json({"action": "PONG", "request_id": content.get("request_id")})

        elif action == "whoami":
            await self.answer(content, 200, username=self.user.username)

        elif action == "typing":
            if self.room is not None:
                await self.send_room(self.room, "chat.typing", username=self.user.username)

        elif action == "room.join":
            room = content.get("room")
            if not isinstance(room, str) or not re.fullmatch(r"[-a-zA-Z0-9_]{1,50}", room):
                await self.answer(content, 422, errors={"room": ["No such room."]})
                return
            await self.join_room(room)
            await self.answer(content, 200, room=room)

        elif action == "message.list":
            if self.room is None:
                await self.answer(content, 409, detail="Join a room first.")
                return
            messages = [self.dump(message) async for message in self.recent_messages()]
            await self.answer(content, 200, messages=messages[::-1])

        elif action == "message.send":
            if self.room is None:
                await self.answer(content, 409, detail="Join a room first.")
                return
            text = content.get("text")
            if not isinstance(text, str) or not 1 <= len(text.strip()) <= 500:
                await self.answer(content, 422, errors={"text": ["Write between 1 and 500 characters."]})
                return
            message = await Message.objects.acreate(author=self.user, room=self.room, text=text.strip())
            await self.send_room(message.room, "chat.message", message=self.dump(message))
            await self.answer(content, 201, **self.dump(message))

        elif action == "message.edit":
            text = content.get("text")
            if not isinstance(text, str) or not 1 <= len(text.strip()) <= 500:
                await self.answer(content, 422, errors={"text": ["Write between 1 and 500 characters."]})
                return
            try:
                message = await Message.objects.select_related("author").aget(pk=content.get("id"))
            except Message.DoesNotExist:
                await self.answer(content, 404, detail="Not found.")
                return
            if message.author != self.user:
                await self.answer(content, 403, detail="Only its author may edit a message.")
                return
            message.text = text.strip()
            await message.asave(update_fields=["text"])
            await self.send_room(message.room, "chat.message", message=self.dump(message))
            await self.answer(content, 200, **self.dump(message))

        else:
            await self.answer(content, 404, detail=f"There is no action {action!r}.")

    async def answer(self, content, status, **fields):
        frame = {"action": content.get("action"), "request_id": content.get("request_id"), "status": status}
        await self.send_json({**frame, **fields})

    def dump(self, message):
        return {
            "id": message.pk,
            "author": message.author.username,
            "text": message.text,
            "created_at": message.created_at.isoformat(),
        }

    def recent_messages(self):
        return Message.objects.filter(room=self.room).select_related("author").order_by("-pk")[:50]

    async def join_room(self, room):
        await self.leave_room()
        self.room = room
        await self.channel_layer.group_add(f"chat.{room}", self.channel_name)

    async def leave_room(self):
        if self.room is not None:
            await self.channel_layer.group_discard(f"chat.{self.room}", self.channel_name)
            self.room = None

    async def send_room(self, room, type, **event):
        await self.channel_layer.group_send(f"chat.{room}", {"type": type, **event})

    async def chat_message(self, event):
        await self.send_json({"action": "message", **event["message"]})

    async def chat_typing(self, event):
        if event["username"] != self.user.username:
            await self.send_json({"action": "typing", "username": event["username"]})
