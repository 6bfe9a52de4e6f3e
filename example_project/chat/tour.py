"""A stream, a topic and an error with its own schema, which the chat does not need. Its page is ``tour.html``."""

import asyncio

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.cache import cache
from marshmallow import Schema, fields, validate

from routesock import Push, Reply, RouteMixin, route, topic
from routesock.permissions import IsAuthenticated

ANSWERS = ["yes", "no"]
STORY = (
    "There was a page that polled its server every five seconds. The server answered politely that there was nothing "
    "new, seventeen thousand times a day. Then it was given a socket, and both of them slept until something happened."
)


class PollSchema(Schema):
    poll = fields.String(required=True, validate=validate.Regexp(r"[a-z]{1,20}\Z"))


class VoteSchema(PollSchema):
    answer = fields.String(required=True, validate=validate.OneOf(ANSWERS, error="Answer yes or no."))


class CountsSchema(Schema):
    yes = fields.Integer(required=True)
    no = fields.Integer(required=True)


class VotedSchema(Schema):
    """The error of a second vote."""

    detail = fields.String(required=True)
    answer = fields.String(required=True, validate=validate.OneOf(ANSWERS))


class WordSchema(Schema):
    word = fields.String(required=True)


counts_push = Push("poll.counts", schema=CountsSchema, summary="Somebody has voted.")


async def counts_of(poll):
    return {answer: await cache.aget(f"poll:{poll}:{answer}", 0) for answer in ANSWERS}


class TourConsumer(RouteMixin, AsyncJsonWebsocketConsumer):
    """A story, and polls."""

    route_permissions = [IsAuthenticated]
    route_pushes = [counts_push]

    @route("story.tell", reply=WordSchema)
    async def tell(self, request):
        """Tell a story, word by word. A CANCEL ends it."""
        for word in STORY.split():
            yield {"word": word}
            await asyncio.sleep(0.15)

    @topic("poll.{poll}", schema=PollSchema, reply=CountsSchema, pushes=[counts_push], examples=["poll.tea"])
    async def poll(self, request):
        """Follow a poll."""
        return await counts_of(request.payload["poll"])

    @route("poll.vote", schema=VoteSchema, reply=CountsSchema, errors={409: VotedSchema}, throttle="60/min")
    async def vote(self, request):
        """Vote once."""
        poll, answer = request.payload["poll"], request.payload["answer"]
        key = f"poll:{poll}:by:{request.user.pk}"
        if not await cache.aadd(key, answer, timeout=None):
            before = await cache.aget(key)
            return Reply({"detail": "You have voted already.", "answer": before}, status=409)
        for count in ANSWERS:
            await cache.aadd(f"poll:{poll}:{count}", 0, timeout=None)
        await cache.aincr(f"poll:{poll}:{answer}")
        counts = await counts_of(poll)
        await self.socket.broadcast(f"poll.{poll}", counts_push, counts)
        return counts
