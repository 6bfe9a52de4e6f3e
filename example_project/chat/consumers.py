"""The consumer of ``takeover.py``, with routesock's groups, pushes and events instead of hand-written ones.

diff -u chat/takeover.py chat/consumers.py
"""

import logging

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from routesock import Keys, RouteMixin, asend_event, event, route, topic
from routesock.exceptions import Conflict
from routesock.permissions import IsAuthenticated

from .models import Message
from .permissions import IsAuthor
from .pushes import announcement_push, group_of, message_push, typing_push
from .schemas import EditSchema, JoinSchema, MessageListSchema, MessageSchema, SendSchema, TypingSchema

logger = logging.getLogger(__name__)


async def load_message(request):
    # Message.DoesNotExist needs no care here: the client reads it as 404.
    return await Message.objects.select_related("author").aget(pk=request.payload["id"])


NOT_JOINED = {409: "The socket has joined no room yet."}


class ChatConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    """Rooms in which users talk."""

    # The frames that the page has always sent, with headers for the positions of its room.
    route_dialect = Keys(route="action", id="request_id", payload=None, headers="headers")
    route_permissions = [IsAuthenticated]
    route_pushes = [message_push, announcement_push, typing_push]

    room = None

    async def connect(self):
        self.user = self.scope["user"]
        if self.user.is_authenticated:
            await self.accept()
        else:
            await self.close()

    @topic("room:{room}", schema=JoinSchema, dehydrate=MessageListSchema(), recover=True, examples=["room:lobby"])
    async def follow(self, request):
        """Follow a room. A page that comes back gets what it has missed, or else the last 50 messages again."""
        return {"messages": await self.recent_messages(request.payload["room"])}

    @route("room.join", schema=JoinSchema, reply=JoinSchema, examples=[{"room": "lobby"}])
    async def join(self, request):
        """Enter a room, and leave the one before."""
        room = request.payload["room"]
        await self.socket.join(group_of(room))
        if self.room not in (None, room):
            await self.socket.leave(group_of(self.room))
        self.room = room
        return {"room": room}

    @route("message.list", dehydrate=MessageListSchema(), errors=NOT_JOINED)
    async def list_messages(self, request):
        """List the last 50 messages of the room, the oldest first."""
        self.check_joined()
        return {"messages": await self.recent_messages(self.room)}

    @route(
        "message.send",
        schema=SendSchema,
        dehydrate=MessageSchema(),
        status=201,
        throttle="120/min",
        errors=NOT_JOINED,
        examples=[{"text": "Hello"}],
    )
    async def send_message(self, request):
        """Send a message to everyone in the room."""
        self.check_joined()
        message = await Message.objects.acreate(author=self.user, room=self.room, text=request.payload["text"])
        await self.tell_room(message)
        return message

    @route("message.edit", schema=EditSchema, hydrate=load_message, permissions=[IsAuthor], dehydrate=MessageSchema())
    async def edit_message(self, request):
        """Change the text of a message of one's own."""
        message = request.payload
        message.text = request.data["text"]
        await message.asave(update_fields=["text"])
        await self.tell_room(message)
        return message

    async def receive_json(self, content):
        """Handles the actions that have no route yet, and answers those that do not exist."""
        action = content.get("action")

        if action == "whoami":
            await self.answer(content, 200, username=self.user.username)

        elif action == "typing":
            if self.room is not None:
                await asend_event(group_of(self.room), "chat.typing", {"username": self.user.username})

        else:
            await self.answer(content, 404, detail=f"There is no action {action!r}.")

    async def answer(self, content, status, **fields):
        frame = {"action": content.get("action"), "request_id": content.get("request_id"), "status": status}
        await self.send_json({**frame, **fields})

    async def tell_room(self, message):
        try:
            await self.socket.broadcast(group_of(message.room), message_push, message)
        except Exception:
            # The message is saved: its author must not send it again, and the others see it when they load the page.
            logger.exception("Message %s was saved, but its room was not notified.", message.pk)

    def check_joined(self):
        if self.room is None:
            raise Conflict("Join a room first.")

    async def recent_messages(self, room):
        messages = Message.objects.filter(room=room).select_related("author").order_by("-pk")[:50]
        return [message async for message in messages][::-1]

    @event("chat.typing", schema=TypingSchema)
    async def chat_typing(self, event):
        # The socket may have gone to another room while the event waited for its turn.
        is_here = event.group == group_of(self.room)
        if is_here and event.payload["username"] != self.user.username:
            await self.socket.push(typing_push, event.payload)
