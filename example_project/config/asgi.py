"""The ASGI application: nothing in here knows of routesock."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()

from chat.routing import websocket_urlpatterns  # noqa: E402  (it imports models, which need Django set up)

application = ProtocolTypeRouter(
    {
        # Static files come from here only so that plain "daphne" and "uvicorn" show the page; a site has a web server.
        "http": ASGIStaticFilesHandler(django_application),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
