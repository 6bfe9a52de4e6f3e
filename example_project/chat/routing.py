from django.conf import settings
from django.urls import path
from django.utils.module_loading import import_string

ChatConsumer = import_string(settings.CHAT_CONSUMER)

websocket_urlpatterns = [
    path("ws/chat/", ChatConsumer.as_asgi()),
]
