"""The consumer of ``legacy.py``, taken over by routes one action at a time; its groups are as they were.

diff -u chat/legacy.py chat/takeover.py
"""

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import Keys, RouteMixin, route
from routesock.exceptions import Conflict
from routesock.permissions import IsAuthenticated

from .models import Message
from .permissions import IsAuthor
from .schemas import EditSchema, JoinSchema, MessageListSchema, MessageSchema, SendSchema


async def load_message(request):
    # Message.DoesNotExist needs no care here: the client reads it as 404.
    return await Message.objects.select_related("author").aget(pk=request.payload["id"])


class ChatConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    # Today's page sends frames of this shape, and stays as it is.
    route_dialect = Keys(route="action", id="request_id", payload=None)
    route_permissions = [IsAuthenticated]

    room = None

    async def connect(self):
        self.user = self.scope["user"]
        if self.user.is_authenticated:
            await self.accept()
        else:
            await self.close()

    async def disconnect(self, code):
        await self.leave_room()

    @route("room.join", schema=JoinSchema)
    async def join(self, request):
        await self.join_room(request.payload["room"])
        return {"room": self.room}

    @route("message.list", dehydrate=MessageListSchema(), errors={409: "Join a room first."})
    async def list_messages(self, request):
        self.check_joined()
        messages = [message async for message in self.recent_messages()]
        return {"messages": messages[::-1]}

    @route(
        "message.send",
        schema=SendSchema,
        dehydrate=MessageSchema(),
        status=201,
        throttle="120/min",
        errors={409: "Join a room first."},
    )
    async def send_message(self, request):
        self.check_joined()
        message = await Message.objects.acreate(author=self.user, room=self.room, text=request.payload["text"])
        await self.send_room(message.room, "chat.message", message=self.dump(message))
        return message

    @route("message.edit", schema=EditSchema, hydrate=load_message, permissions=[IsAuthor], dehydrate=MessageSchema())
    async def edit_message(self, request):
        message = request.payload
        message.text = request.data["text"]
        await message.asave(update_fields=["text"])
        await self.send_room(message.room, "chat.message", message=self.dump(message))
        return message

    async def receive_json(self, content):
        """Handles the actions that have no route yet, and answers those that do not exist."""
        action = content.get("action")

        if action == "whoami":
            await self.answer(content, 200, username=self.user.username)

        elif action == "typing":
            if self.room is not None:
                await self.send_room(self.room, "chat.typing", username=self.user.username)

        else:
            await self.answer(content, 404, detail=f"There is no action {action!r}.")

    async def answer(self, content, status, **fields):
        frame = {"action": content.get("action"), "request_id": content.get("request_id"), "status": status}
        await self.send_json({**frame, **fields})

    def check_joined(self):
        if self.room is None:
            raise Conflict("Join a room first.")

    def dump(self, message):
        return MessageSchema().dump(message)

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
