"""The settings of the tests, with the channel layer that the environment names."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": os.environ["CHANNEL_LAYER"],
        "CONFIG": {
            # A client that gives up after a second, as redis-py 8 does after five: also on a receive() that is idle.
            "hosts": [
                {
                    "address": os.environ["REDIS_URL"],
                    "socket_timeout": int(os.environ.get("SOCKET_TIMEOUT", "1")),
                    **({"max_connections": int(os.environ["POOL"])} if "POOL" in os.environ else {}),
                }
            ],
            **({"capacity": int(os.environ["CAPACITY"])} if "CAPACITY" in os.environ else {}),
            **({"group_expiry": int(os.environ["GROUP_EXPIRY"])} if "GROUP_EXPIRY" in os.environ else {}),
        },
    }
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"routesock": {"handlers": ["console"], "level": "INFO"}},
}
