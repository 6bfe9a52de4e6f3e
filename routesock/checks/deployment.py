"""Checks of what consumers run on: channel layers, throttle stores, and daphne's limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from channels.layers import InMemoryChannelLayer, channel_layers
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.cache import caches
from django.core.checks import CheckMessage, Error, Warning
from django.utils.version import get_version_tuple

from ..throttling.cache import is_atomic
from .consumers import consumers
from .settings import Id, setting_if_valid, text_of


def check_layers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Each ``channel_layer_alias`` leads to a layer that has groups, and that may be idle."""
    if not channel_layers.configs:
        return []
    return [message for alias, names in _used().items() for message in _check_layer(alias, names)]


def check_processes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What is deployed uses no layer that reaches one process alone."""
    return [message for alias, names in _used().items() for message in _check_process(alias, names)]


def _used() -> dict[str, str]:
    """The aliases of layers, and by each the names of the consumers that have it.

    One that others derive from is left out: it may be there for them alone. So is one whose alias is ``None``, which
    gets no layer from Channels either.
    """
    classes = consumers()
    bases = {base for cls in classes for base in cls.__mro__[1:]}
    used: dict[str, list[str]] = {}
    for cls in classes:
        alias = getattr(cls, "channel_layer_alias", None)
        if alias is not None and cls not in bases:
            used.setdefault(alias, []).append(cls.__name__)
    return {alias: ", ".join(names) for alias, names in used.items()}


def _check_layer(alias: str, names: str) -> Iterator[CheckMessage]:
    which = f"The channel layer {alias!r} of {names}"
    layers: Mapping[str, Any] = channel_layers.configs
    if alias not in layers:
        yield Error(
            f"{which} is not in CHANNEL_LAYERS: what is sent in other processes does not arrive, and what uses "
            "self.channel_layer fails.",
            hint=f"Write channel_layer_alias = {next(iter(layers))!r}, or None for no layer; or add {alias!r}.",
            id=Id.NO_SUCH_LAYER,
        )
        return
    try:
        layer = _made(alias)
    except RuntimeError:  # perhaps it can be made where an event loop runs
        return
    except Exception as exc:
        yield Error(
            f"{which} cannot be made ({text_of(exc)}).",
            hint='Write its dotted path as "BACKEND" in CHANNEL_LAYERS, and what it takes as "CONFIG".',
            id=Id.NO_SUCH_LAYER,
        )
        return
    yield from _check_made(which, layer)


def _check_made(which: str, layer: Any) -> Iterator[CheckMessage]:
    if not _has_groups(layer):
        yield Warning(
            f"{which} has no groups: broadcasts, events, pushes to users and logouts do not leave their process.",
            hint="Use one that has, such as channels_redis.core.RedisChannelLayer.",
            id=Id.NO_GROUPS,
        )
    if limits := _early_end(layer):
        yield Warning(
            f"{which} waits {limits.waits} s at a time for messages, but its connections to Redis give up after "
            f"{limits.gives_up} s: it fails whenever nothing comes.",
            hint=f'Write "hosts": [{{"address": ..., "socket_timeout": {2 * limits.waits}}}] in its "CONFIG".',
            id=Id.SHORT_TIMEOUT,
        )


def _check_process(alias: str, names: str) -> Iterator[CheckMessage]:
    if not channel_layers.configs:
        which = f"There is no channel layer for {names}"
    elif _is_in_memory(alias):
        which = f"The channel layer {alias!r} of {names} reaches no other process"
    else:
        return
    yield Warning(
        f"{which}: broadcasts, events, pushes to users and logouts do not leave theirs.",
        hint='Write "BACKEND": "channels_redis.core.RedisChannelLayer" in CHANNEL_LAYERS, unless there is one process.',
        id=Id.ONE_PROCESS,
    )


def _made(alias: str) -> Any:
    """The layer, but none that is kept: what forks later would share it, and take its parent's messages."""
    return channel_layers.make_backend(alias)


def _is_in_memory(alias: str) -> bool:
    try:
        return type(_made(alias)) is InMemoryChannelLayer
    except Exception:  # which check_layers() tells
        return False


def _has_groups(layer: Any) -> bool:
    try:
        return "groups" in getattr(layer, "extensions", ())
    except Exception:  # the pub/sub layer of Redis says it where an event loop runs, and has them
        return True


class _Limits(NamedTuple):
    """Seconds."""

    gives_up: float
    waits: float


def _early_end(layer: Any) -> _Limits | None:
    """How soon the connections of Redis' core layer give up on an answer, if that is no later than the layer does.

    Connections are made for that, but not opened: what is not configured depends on the version of redis-py.
    """
    try:
        connections = [layer.create_pool(index).make_connection() for index in range(len(layer.hosts))]
        limits = [each.socket_timeout for each in connections if each.socket_timeout is not None]
        found = _Limits(min(limits), layer.brpop_timeout)
        return found if found.gives_up <= found.waits else None
    except Exception:  # of another layer, or of another client
        return None


def check_throttles(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Where anything is throttled, ``THROTTLE_CACHE`` names a cache that can count."""
    alias = setting_if_valid("THROTTLE_CACHE")
    throttled = [cls.__name__ for cls in consumers() if cls._routesock.throttled]
    if alias is None or not throttled:
        return []
    try:
        backend = type(caches[alias])
    except Exception as exc:
        return [
            Error(
                f"ROUTESOCK['THROTTLE_CACHE']: there is no cache {alias!r} ({text_of(exc)}). "
                f"Every call of a throttled route fails: {', '.join(throttled)}.",
                hint="Write the name of one in CACHES that works.",
                id=Id.NO_SUCH_CACHE,
            )
        ]
    if is_atomic(backend):
        return []
    return [
        Warning(
            f"The cache {alias!r}, by which {', '.join(throttled)} is throttled, has no atomic incr() "
            f"({backend.__qualname__}): more calls may be let through than the rates say.",
            hint="Use django-redis, local memory, or memcached; ROUTESOCK['THROTTLE_CACHE'] names the cache.",
            id=Id.NOT_ATOMIC,
        )
    ]


_MIB: Final = 1024 * 1024


def check_daphne(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """daphne, if it is the project's server, bounds frames, and not below what routesock allows."""
    daphne = next((config.module for config in apps.get_app_configs() if config.name == "daphne"), None)
    version = getattr(daphne, "__version__", None)
    if version is None:
        return []
    if get_version_tuple(version) < (4, 2, 2):
        return [
            Warning(
                f"daphne {version} takes frames of any size into memory before MAX_FRAME is asked (CVE-2026-44545).",
                hint="Install daphne>=4.2.2.",
                id=Id.UNBOUNDED_DAPHNE,
            )
        ]
    return [
        *_check_limit("MAX_FRAME", "and closes the socket at a larger frame", "MESSAGE", "FRAME"),
        *_check_limit("MAX_REPLY", "and refuses to send a larger reply", "MESSAGE"),
    ]


def _check_limit(key: str, consequence: str, *kinds: str) -> Iterator[CheckMessage]:
    options = {f"DAPHNE_WEBSOCKET_MAX_{kind}_SIZE": f"--websocket-max-{kind.lower()}-size" for kind in kinds}
    limits = {option: getattr(settings, option, _MIB) for option in options}
    name = min((name for name in limits if limits[name]), key=lambda name: limits[name], default=None)
    value = setting_if_valid(key)
    if name is not None and value is not None and value > limits[name]:
        yield Warning(
            f"ROUTESOCK[{key!r}] is {value}, but daphne stops at {limits[name]} bytes {consequence}.",
            hint=f"Lower it, or raise {name} (runserver) and {options[name]} (the daphne command).",
            id=Id.OVER_DAPHNES_LIMIT,
        )
