from django.contrib.auth.models import User
from django.test import TestCase

from chat.demo import PASSWORD


class PageTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.alice = User.objects.create_user("alice", password=PASSWORD)

    def test_room_asks_to_log_in(self):
        response = self.client.get("/rooms/lobby/")
        self.assertRedirects(response, "/accounts/login/?next=/rooms/lobby/")

    def test_login_leads_to_the_lobby(self):
        response = self.client.post("/accounts/login/", {"username": "alice", "password": PASSWORD}, follow=True)
        assert response.redirect_chain[-1][0] == "/rooms/lobby/"
        self.assertContains(response, 'data-room="lobby"')

    def test_wrong_password_is_said(self):
        response = self.client.post("/accounts/login/", {"username": "alice", "password": "wrong"})
        self.assertContains(response, "do not match")

    def test_logout_leads_back_to_the_login_page(self):
        self.client.force_login(self.alice)
        response = self.client.post("/accounts/logout/")
        self.assertRedirects(response, "/accounts/login/")
