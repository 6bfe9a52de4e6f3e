from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView


class RoomView(LoginRequiredMixin, TemplateView):
    """The page; everything that is live in it comes over the socket."""

    template_name = "chat/room.html"
