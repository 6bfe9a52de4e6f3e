from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.views.generic import FormView, TemplateView

from routesock import broadcast

from .forms import AnnouncementForm
from .pushes import announcement_push, group_of, message_push


class RoomView(LoginRequiredMixin, TemplateView):
    """The page; everything that is live in it comes over the socket."""

    template_name = "chat/room.html"


class TourView(LoginRequiredMixin, TemplateView):
    """A stream, a cancel, a topic and a typed error."""

    template_name = "chat/tour.html"


class AnnounceView(LoginRequiredMixin, FormView):
    """Saves a message of the room, and has every window in it show that as an announcement."""

    http_method_names = ["post"]
    raise_exception = True  # 403: the page posts by fetch(), which would follow a redirect to the login page
    form_class = AnnouncementForm

    def form_valid(self, form):
        form.instance.author = self.request.user
        with transaction.atomic():
            message = form.save()
            broadcast(group_of(message.room), message_push, message, on_commit=True)
            broadcast(group_of(message.room), announcement_push, message, on_commit=True)
        return HttpResponse(status=204)

    def form_invalid(self, form):
        return JsonResponse({"errors": {name: [*messages] for name, messages in form.errors.items()}}, status=422)
