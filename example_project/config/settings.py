"""Settings of the example: SQLite and one process as it stands, any number of processes where ``REDIS_URL`` is set."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# A demonstration on one's own machine: the key is public, and so are the users' passwords.
DEBUG = True
SECRET_KEY = "example-project-not-a-secret"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "daphne",  # first: it replaces runserver by one that speaks WebSocket
    "channels",
    "routesock",
    "chat",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE_PATH", BASE_DIR / "db.sqlite3"),
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# What several processes have to share: the channel layer, the cache, in which throttled calls are counted, and the
# sessions, which are in the database. CHANNEL_LAYER chooses between the two layers of Redis.
REDIS_URL = os.environ.get("REDIS_URL")
LAYERS = {
    "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    "core": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": 10}], "prefix": "chat", "capacity": 1000},
    },
    "pubsub": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "chat"},
    },
}
CHANNEL_LAYERS = {"default": LAYERS[os.environ.get("CHANNEL_LAYER", "core" if REDIS_URL else "memory")]}
if REDIS_URL:
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "chat"}}
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

# Django's default shows neither requests, nor the begin of a drain, nor messages that a full channel layer drops.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "routesock": {"handlers": ["console"], "level": "INFO", "propagate": False},
        "channels_redis": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}

# "chat.legacy.ChatConsumer" runs the same page on the consumer as it was before routesock, "chat.takeover.ChatConsumer"
# on the one whose actions are routes and whose groups are as they were.
CHAT_CONSUMER = os.environ.get("CHAT_CONSUMER", "chat.consumers.ChatConsumer")

ROUTESOCK = {
    "TIMEOUT": 10.0,
    # As by default under DEBUG, which is off in tests: there it finds frames that do not fit their document.
    "CHECK_REPLIES": True,
    # The pushes to a room that a page gets that was away. They are in the cache: with Redis they outlive the processes.
    "HISTORY": {"room:{room}": {"size": 100, "ttl": 600}},
}
