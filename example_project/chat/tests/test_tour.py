from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.test import TestCase

from chat.tour import STORY, TourConsumer
from routesock.testing import RouteClient


class TourTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice", password="wonderland")
        cls.bob = User.objects.create(username="bob")

    def setUp(self):
        cache.clear()
        self.addCleanup(cache.clear)

    def client_of(self, user):
        return RouteClient(TourConsumer, path="/ws/tour/", as_user=user)

    def test_page_is_for_users(self):
        self.assertRedirects(self.client.get("/tour/"), "/accounts/login/?next=/tour/")
        self.client.force_login(self.alice)
        self.assertContains(self.client.get("/tour/"), "A stream, and its end")

    async def test_story_is_told_word_by_word(self):
        async with self.client_of(self.alice) as alice:
            words = []
            async for reply in alice.stream("story.tell"):
                words.append(reply.payload["word"])
                if len(words) == 3:
                    break
        assert words == STORY.split()[:3]

    async def test_everybody_who_follows_a_poll_reads_its_counts(self):
        async with self.client_of(self.alice) as alice, self.client_of(self.bob) as bob:
            snapshot = await bob.call("SUBSCRIBE", {"topic": "poll.tea"})
            assert snapshot.payload == {"yes": 0, "no": 0}
            reply = await alice.call("poll.vote", {"poll": "tea", "answer": "yes"})
            assert (reply.status, reply.payload) == (200, {"yes": 1, "no": 0})
            assert (await bob.expect_push("poll.counts")).payload == {"yes": 1, "no": 0}

    async def test_second_vote_says_what_the_first_was(self):
        async with self.client_of(self.alice) as alice:
            await alice.call("poll.vote", {"poll": "tea", "answer": "yes"})
            reply = await alice.call("poll.vote", {"poll": "tea", "answer": "no"})
            assert (reply.status, reply.payload["answer"]) == (409, "yes")
            other = await alice.call("poll.vote", {"poll": "cake", "answer": "no"})
            assert other.payload == {"yes": 0, "no": 1}

    async def test_maybe_is_no_answer(self):
        async with self.client_of(self.alice) as alice:
            reply = await alice.call("poll.vote", {"poll": "tea", "answer": "maybe"})
        assert (reply.status, reply.payload["errors"]) == (422, {"answer": ["Answer yes or no."]})

    async def test_anonymous_visitors_have_no_vote(self):
        async with self.client_of(AnonymousUser()) as visitor:
            assert (await visitor.call("poll.vote", {"poll": "tea", "answer": "yes"})).status == 401
