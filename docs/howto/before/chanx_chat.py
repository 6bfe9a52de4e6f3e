from typing import Literal

from chanx.channels.websocket import AsyncJsonWebsocketConsumer
from chanx.core.decorators import ws_handler
from chanx.core.topic import Topic
from chanx.messages.base import BaseMessage
from chanx.messages.incoming import PingMessage
from chanx.messages.outgoing import PongMessage
from pydantic import BaseModel


class Text(BaseModel):
    text: str


class Shout(BaseMessage):
    action: Literal["shout"] = "shout"
    payload: Text


class Shouted(BaseMessage):
    action: Literal["shouted"] = "shouted"
    payload: Text


class Say(BaseMessage):
    action: Literal["say"] = "say"
    payload: Text


class Said(BaseMessage):
    action: Literal["said"] = "said"
    payload: Text


class RoomTopic(Topic):
    pattern = "room:{name}"
    passthrough_events = [Said]

    async def authorize(self, name):
        return name != "staff"

    @ws_handler(summary="Say something in the room.")
    async def say(self, message: Say) -> None:
        await self.broadcast(self.topic, Said(payload=message.payload))


class ChatConsumer(AsyncJsonWebsocketConsumer):
    topics = [RoomTopic]

    @ws_handler
    async def ping(self, message: PingMessage) -> PongMessage:
        return PongMessage()

    @ws_handler(summary="Answer in capitals.")
    async def shout(self, message: Shout) -> Shouted:
        return Shouted(payload=Text(text=message.payload.text.upper()))
