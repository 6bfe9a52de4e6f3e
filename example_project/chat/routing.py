from django.conf import settings
from django.urls import path
from django.utils.module_loading import import_string

from .tour import TourConsumer

ChatConsumer = import_string(settings.CHAT_CONSUMER)

websocket_urlpatterns = [
    path("ws/chat/", ChatConsumer.as_asgi()),
    path("ws/tour/", TourConsumer.as_asgi()),
]
