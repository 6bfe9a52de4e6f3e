"""Broadcasts, pushes to a user and events from views, tasks and commands: `broadcast()` and its variants."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction

from .._routing.push import Push, aprepare, prepare
from .._wire.messages import NO_HEADERS
from ..auth._login import revocation
from .envelopes import Message, event_of, layer_group, message_of
from .hub import publish, send


async def abroadcast(
    group: str,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """Send a frame to every socket in ``group``, in all processes.

    Returns when the channel layer has accepted it, which delivers it to each socket once, or not at all.

    Args:
        group: The name of a group that sockets have joined with ``self.socket.join``: any string.
        route: A :class:`~routesock.Push`, or a name. Under a name the payload is sent without a schema, since a name
            belongs to the consumers that list it in ``route_pushes``.
        payload: What ``DjangoJSONEncoder`` can encode, or what the schema of the push takes. It is encoded once.
        headers: The frame has the key ``headers`` if there are any.
        layer: The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.

    Raises:
        InvalidPush: The schema of the push refuses the payload. Nothing was sent.
        ValueError: The name is reserved, the frame has more than ``MAX_REPLY`` bytes, or ``CHANNEL_LAYERS`` lacks the
            alias.
        TypeError: The payload cannot be encoded.
        TimeoutError: The channel layer does not answer.
        Unavailable: A pattern of ``HISTORY`` matches the group, and the store does not answer. Nothing was sent.
    """
    name, payload = await aprepare(route, payload)
    await publish(_layer(layer), group, message_of(layer_group(group), name, payload, headers))


def broadcast(
    group: str,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
    on_commit: bool = False,
    using: str | None = None,
) -> None:
    """Send a frame to every socket in ``group`` from sync code; see :func:`abroadcast`.

    Args:
        group: The name of a group that sockets have joined with ``self.socket.join``: any string.
        route: A :class:`~routesock.Push`, or a name.
        payload: What ``DjangoJSONEncoder`` can encode, or what the schema of the push takes. It is encoded at once,
            with ``on_commit=True`` too.
        headers: The frame has the key ``headers`` if there are any.
        layer: The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.
        on_commit: Send it when the current transaction is committed, and not at all if it is rolled back; at once where
            there is no transaction. What the layer raises then is logged by Django, and undoes nothing.
        using: The alias of the database whose transaction ``on_commit=True`` waits for; by default ``"default"``.

    Raises:
        RuntimeError: An event loop runs in this thread.
        Exception: What :func:`abroadcast` raises.
    """
    _refuse_loop("broadcast", "abroadcast", on_commit)
    message = message_of(layer_group(group), *prepare(route, payload), headers)
    _deliver("broadcast", message, layer, on_commit, using, kept_as=group)


async def apush_to_user(
    user: Any,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """Send a frame to every socket on which ``user`` is signed in, in all processes.

    Args:
        user: A saved instance of the user model.
        route: As that of :func:`abroadcast`, like the arguments below.
        payload: What ``DjangoJSONEncoder`` can encode, or what the schema of the push takes.
        headers: The frame has the key ``headers`` if there are any.
        layer: The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.

    Raises:
        ValueError: ``user`` is no saved user.
        Exception: What :func:`abroadcast` raises.
    """
    name, payload = await aprepare(route, payload)
    await send(_layer(layer), message_of(_group_of(user), name, payload, headers))


def push_to_user(
    user: Any,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
    on_commit: bool = False,
    using: str | None = None,
) -> None:
    """Send a frame to every socket on which ``user`` is signed in, from sync code; see :func:`apush_to_user`.

    Args:
        user: A saved instance of the user model.
        route: As that of :func:`broadcast`, like the arguments below.
        payload: What ``DjangoJSONEncoder`` can encode, or what the schema of the push takes.
        headers: The frame has the key ``headers`` if there are any.
        layer: The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.
        on_commit: Send it when the current transaction is committed, as with :func:`broadcast`.
        using: The alias of the database whose transaction ``on_commit=True`` waits for; by default ``"default"``.

    Raises:
        RuntimeError: An event loop runs in this thread.
        Exception: What :func:`apush_to_user` raises.
    """
    _refuse_loop("push_to_user", "apush_to_user", on_commit)
    message = message_of(_group_of(user), *prepare(route, payload), headers)
    _deliver("push_to_user", message, layer, on_commit, using)


async def asend_event(group: str, name: str, payload: Any = None, *, layer: str = DEFAULT_CHANNEL_LAYER) -> None:
    """Run the ``@event`` handlers of this name on every socket in ``group``, in all processes.

    Returns when the channel layer has accepted the event, without waiting for the handlers. The layer delivers it to
    each process once, or not at all. Consumers without a handler of this name ignore it.

    Args:
        group: The name of a group that sockets have joined with ``self.socket.join``: any string.
        name: The name that ``@event`` declares, 1 to 128 characters.
        payload: What ``DjangoJSONEncoder`` can encode. It is encoded once.
        layer: The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.

    Raises:
        ValueError: The name cannot be that of an event, the event has more than ``MAX_REPLY`` bytes, or
            ``CHANNEL_LAYERS`` lacks the alias.
        TypeError: The payload cannot be encoded.
        TimeoutError: The channel layer does not answer.
    """
    await send(_layer(layer), event_of(group, name, payload))


def send_event(
    group: str,
    name: str,
    payload: Any = None,
    *,
    layer: str = DEFAULT_CHANNEL_LAYER,
    on_commit: bool = False,
    using: str | None = None,
) -> None:
    """Run the ``@event`` handlers of this name on every socket in ``group``, from sync code; see :func:`asend_event`.

    Args:
        group: The name of a group that sockets have joined with ``self.socket.join``: any string.
        name: The name that ``@event`` declares, 1 to 128 characters.
        payload: What ``DjangoJSONEncoder`` can encode. It is encoded at once, with ``on_commit=True`` too.
        layer: The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.
        on_commit: Send it when the current transaction is committed, as with :func:`broadcast`.
        using: The alias of the database whose transaction ``on_commit=True`` waits for; by default ``"default"``.

    Raises:
        RuntimeError: An event loop runs in this thread.
        Exception: What :func:`asend_event` raises.
    """
    _refuse_loop("send_event", "asend_event", on_commit)
    _deliver("send_event", event_of(group, name, payload), layer, on_commit, using)


def _group_of(user: Any) -> str:
    name = revocation.name_of(user)
    if name is None:
        raise ValueError(f"Only a saved user has sockets; got {user!r}.")
    return revocation.group_of(name)


def _layer(alias: str) -> Any:
    """The channel layer with this alias; ``None`` in a project without any.

    ``ValueError`` for an alias that does not exist. Channels would return ``None`` for it, and what is sent without a
    layer reaches only the sockets without one.
    """
    aliases = getattr(settings, "CHANNEL_LAYERS", {})
    if aliases and alias not in (None, *aliases):  # None is the alias of consumers that want no layer
        raise ValueError(f"CHANNEL_LAYERS has no {alias!r}, but {', '.join(map(repr, aliases))}.")
    return get_channel_layer(alias)


def _refuse_loop(name: str, in_async_code: str, on_commit: bool) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    instead = "call it in the sync code that has the transaction" if on_commit else f"write await {in_async_code}(...)"
    raise RuntimeError(f"{name}() blocks, and an event loop runs in this thread: {instead} instead.")


def _deliver(
    name: str, message: Message, layer: str, on_commit: bool, using: str | None, *, kept_as: str | None = None
) -> None:
    channel_layer = _layer(layer)  # an alias that does not exist is an error of the caller, not of the commit

    def deliver() -> None:
        async_to_sync(_send)(channel_layer, message, kept_as)

    if on_commit:
        deliver.__qualname__ = f"{name}(on_commit=True)"  # Django logs it if the layer fails
        transaction.on_commit(deliver, using=using, robust=True)
    elif using is not None:
        raise ValueError(f"{name}(using={using!r}) names a database, and only on_commit=True waits for one.")
    else:
        deliver()


async def _send(layer: Any, message: Message, kept_as: str | None) -> None:
    await (send(layer, message) if kept_as is None else publish(layer, kept_as, message))
