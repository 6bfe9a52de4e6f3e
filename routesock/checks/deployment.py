"""System checks of the deployment: the ASGI application, channel layers, the throttle cache, the limits of daphne."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from channels.layers import InMemoryChannelLayer, channel_layers
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.cache import caches
from django.core.checks import CheckMessage, Error, Warning
from django.utils.version import get_version_tuple

from .. import conf
from .._store.opening import is_local, is_of_django_redis, store_alias
from ..throttling.cache import is_atomic
from .consumers import consumers, idempotent_plans
from .settings import Id, setting_if_valid, text_of


def check_application(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that ``ASGI_APPLICATION`` is set, through which the checks find the consumers; with ``--deploy`` only.

    A server is given the application itself, so nothing else notices that the setting is missing.
    """
    if getattr(settings, "ASGI_APPLICATION", None) is not None:
        return []
    names = ", ".join(cls.__name__ for cls in consumers())
    found = f"only those that other code has imported: {names}" if names else "no consumers"
    return [
        Warning(
            f"ASGI_APPLICATION is not set, so the checks find {found}.",
            hint=f'Set ASGI_APPLICATION = "{_likely_application()}", the dotted path of what your server runs.',
            id=Id.NO_APPLICATION,
        )
    ]


def _likely_application() -> str:
    """Return the dotted path of the application that ``startproject`` makes beside ``wsgi.py`` and ``urls.py``."""
    beside = getattr(settings, "WSGI_APPLICATION", None) or getattr(settings, "ROOT_URLCONF", None) or "config.urls"
    package = str(beside).removesuffix(".application").rpartition(".")[0]
    return f"{package}.asgi.application".lstrip(".")


def check_layers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the channel layer of each consumer exists, has groups, and does not fail when it is idle."""
    if not channel_layers.configs:
        return []
    return [message for alias, names in _aliases().items() for message in _check_layer(alias, names)]


def check_processes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the channel layers reach other processes; with ``check --deploy`` only."""
    return [message for alias, names in _aliases().items() for message in _check_process(alias, names)]


def _aliases() -> dict[str, str]:
    """Return the aliases of channel layers, and for each the names of the consumers that use it.

    Base classes of other consumers are left out, since projects may not serve them. Consumers with the alias ``None``
    are left out too, since Channels gives them no layer.
    """
    classes = consumers()
    bases = {base for cls in classes for base in cls.__mro__[1:]}
    aliases: dict[str, list[str]] = {}
    for cls in classes:
        alias = getattr(cls, "channel_layer_alias", None)
        if alias is not None and cls not in bases:
            aliases.setdefault(alias, []).append(cls.__name__)
    return {alias: ", ".join(names) for alias, names in aliases.items()}


def _check_layer(alias: str, names: str) -> Iterator[CheckMessage]:
    which = f"The channel layer {alias!r} of {names}"
    layers: Mapping[str, Any] = channel_layers.configs
    if alias not in layers:
        yield Error(
            f"{which} is not in CHANNEL_LAYERS. Broadcasts from other processes do not arrive, and code that uses "
            "self.channel_layer fails.",
            hint=f"Set channel_layer_alias to {next(iter(layers))!r}, or to None for no layer, or add {alias!r}.",
            id=Id.NO_SUCH_LAYER,
        )
        return
    try:
        layer = _create_layer(alias)
    except RuntimeError:  # some layers can be created only while an event loop runs
        return
    except Exception as exc:
        yield Error(
            f"{which} cannot be created ({text_of(exc)}).",
            hint='Check its dotted path in "BACKEND" and its arguments in "CONFIG", in the setting CHANNEL_LAYERS.',
            id=Id.NO_SUCH_LAYER,
        )
        return
    yield from _check_created(which, layer)


def _check_created(which: str, layer: Any) -> Iterator[CheckMessage]:
    if not _has_groups(layer):
        yield Warning(
            f"{which} has no groups. Broadcasts, events, pushes to users and logouts do not reach other processes.",
            hint="Use a layer with groups, such as channels_redis.core.RedisChannelLayer.",
            id=Id.NO_GROUPS,
        )
    if timeouts := _short_timeouts(layer):
        yield Warning(
            f"{which} waits {timeouts.read} s at a time for messages, but its connections to Redis time out after "
            f"{timeouts.socket} s. It fails whenever there are no messages.",
            hint=f'Set "hosts": [{{"address": ..., "socket_timeout": {2 * timeouts.read}}}] in its "CONFIG".',
            id=Id.SHORT_TIMEOUT,
        )


def _check_process(alias: str, names: str) -> Iterator[CheckMessage]:
    if not channel_layers.configs:
        problem = f"There is no channel layer for {names}"
    elif _is_in_memory(alias):
        problem = f"The channel layer {alias!r} of {names} does not reach other processes"
    else:
        return
    yield Warning(
        f"{problem}. Broadcasts, events, pushes to users and logouts stay in their process.",
        hint='Use "channels_redis.core.RedisChannelLayer" in CHANNEL_LAYERS, unless one process serves all sockets.',
        id=Id.ONE_PROCESS,
    )


def _create_layer(alias: str) -> Any:
    """Return a new layer, not that of the process, since forked processes would share it and its messages."""
    return channel_layers.make_backend(alias)


def _is_in_memory(alias: str) -> bool:
    try:
        return type(_create_layer(alias)) is InMemoryChannelLayer
    except Exception:  # check_layers() reports it
        return False


def _has_groups(layer: Any) -> bool:
    try:
        return "groups" in getattr(layer, "extensions", ())
    except Exception:  # the pub/sub layer of Redis has groups, but needs a running event loop to say so
        return True


class _Timeouts(NamedTuple):
    """Seconds after which the socket times out, and for which the layer waits for a message."""

    socket: float
    read: float


def _short_timeouts(layer: Any) -> _Timeouts | None:
    """Return the timeouts of channels_redis' core layer if its connections time out before it stops to wait.

    It creates connections but does not open them, since the default timeout depends on the version of redis-py.
    """
    try:
        connections = [layer.create_pool(index).make_connection() for index in range(len(layer.hosts))]
        timeouts = [each.socket_timeout for each in connections if each.socket_timeout is not None]
        found = _Timeouts(min(timeouts), layer.brpop_timeout)
        return found if found.socket <= found.read else None
    except Exception:  # another layer, or another client
        return None


def check_throttles(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that ``THROTTLE_CACHE`` is a cache with atomic counters, if a consumer has throttles."""
    alias = setting_if_valid("THROTTLE_CACHE")
    throttled = [cls.__name__ for cls in consumers() if cls._routesock.throttled]
    if alias is None or not throttled:
        return []
    try:
        backend = type(caches[alias])
    except Exception as exc:
        return [
            Error(
                f"ROUTESOCK['THROTTLE_CACHE']: the cache {alias!r} cannot be used ({text_of(exc)}). "
                f"Every call of a throttled route fails, in {', '.join(throttled)}.",
                hint="Use the name of a cache in CACHES.",
                id=Id.NO_SUCH_CACHE,
            )
        ]
    if is_atomic(backend):
        return []
    return [
        Warning(
            f"The cache {alias!r} ({backend.__qualname__}) has no atomic incr(). The throttles of "
            f"{', '.join(throttled)} may allow more calls than their rates.",
            hint="Set ROUTESOCK['THROTTLE_CACHE'] to a cache of django-redis, local memory or memcached.",
            id=Id.NOT_ATOMIC,
        )
    ]


def _uses_store() -> bool:
    """Whether the project uses the store, and the settings that name it are valid."""
    names = ("STORE", "THROTTLE_CACHE")
    own = conf.project_settings()
    is_used = "STORE" in own or own.get("HISTORY") or any(idempotent_plans(cls) for cls in consumers())
    return bool(is_used) and all(conf.SETTINGS[name].accepts(own[name]) for name in names if name in own)


def check_store(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the cache of ``STORE`` can be the store, if the project uses it."""
    if not _uses_store():
        return []
    alias = store_alias()
    try:
        backend = type(caches[alias])
    except Exception as exc:
        problem = f"the cache {alias!r} cannot be used ({text_of(exc)})"
    else:
        if is_local(backend) or is_of_django_redis(backend):
            return []
        problem = f"the cache {alias!r} ({backend.__qualname__}) cannot keep its data"
    return [
        Error(
            f"ROUTESOCK['STORE']: {problem}. What needs the store fails.",
            hint="Use a cache of django-redis, or of local memory if there is one process only.",
            id=Id.NO_STORE,
        )
    ]


def check_local_store(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the store reaches other processes where a channel layer does; with ``check --deploy`` only."""
    if not _uses_store() or check_store(app_configs):
        return []
    alias = store_alias()
    layers = [layer for layer in _aliases() if layer in channel_layers.configs and not _is_in_memory(layer)]
    if not layers or not is_local(type(caches[alias])):
        return []
    return [
        Warning(
            f"The channel layer {layers[0]!r} reaches other processes, but the store, the cache {alias!r}, is in the "
            "memory of each process.",
            hint="Set ROUTESOCK['STORE'] to a cache of django-redis.",
            id=Id.LOCAL_STORE,
        )
    ]


_MIB: Final = 1024 * 1024


def check_daphne(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that daphne, if it is installed as an app, limits frames, and that its limits are not below routesock's."""
    daphne = next((config.module for config in apps.get_app_configs() if config.name == "daphne"), None)
    version = getattr(daphne, "__version__", None)
    if version is None:
        return []
    if get_version_tuple(version) < (4, 2, 2):
        return [
            Warning(
                f"daphne {version} reads frames of any size into memory before routesock checks MAX_FRAME "
                "(CVE-2026-44545).",
                hint="Install daphne>=4.2.2.",
                id=Id.UNBOUNDED_DAPHNE,
            )
        ]
    return [
        *_check_limit("MAX_FRAME", "closes the socket for frames", "MESSAGE", "FRAME"),
        *_check_limit("MAX_REPLY", "does not send replies", "MESSAGE"),
    ]


def _check_limit(key: str, consequence: str, *kinds: str) -> Iterator[CheckMessage]:
    options = {f"DAPHNE_WEBSOCKET_MAX_{kind}_SIZE": f"--websocket-max-{kind.lower()}-size" for kind in kinds}
    limits = {option: getattr(settings, option, _MIB) for option in options}
    name = min((name for name in limits if limits[name]), key=lambda name: limits[name], default=None)
    value = setting_if_valid(key)
    if name is not None and value is not None and value > limits[name]:
        yield Warning(
            f"ROUTESOCK[{key!r}] is {value}, but daphne {consequence} of more than {limits[name]} bytes.",
            hint=f"Lower it, or raise {name} (runserver) and {options[name]} (the daphne command).",
            id=Id.OVER_DAPHNES_LIMIT,
        )
