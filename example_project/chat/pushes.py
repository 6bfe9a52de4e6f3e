"""The pushes that the server sends to pages, and the groups that they go to."""

from routesock import Push

from .schemas import AnnouncementSchema, MessageSchema, TypingSchema

message_push = Push("message", schema=MessageSchema, summary="A message of the room, new or edited.")
announcement_push = Push("announcement", schema=AnnouncementSchema, summary="Everybody in the room should read this.")
typing_push = Push("typing", schema=TypingSchema, summary="Somebody else in the room is typing.")


def group_of(room):
    return f"room:{room}"
