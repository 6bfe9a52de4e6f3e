"""Broadcasts from outside of sockets: views, signals, tasks, management commands, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import get_channel_layer
from django.db import transaction

from . import logins, revocation
from .broadcasts import Message, message_of
from .groups import layer_group
from .hub import send
from .messages import NO_HEADERS


async def abroadcast(
    group: str,
    route: str,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """Send a frame to every socket in ``group``, in all processes: ``route``, ``payload``, and ``headers`` if any.

    ``group``
        What sockets have joined with ``self.socket.join``: any string.
    ``payload``
        What ``DjangoJSONEncoder`` can spell; spelt once, whatever the number of sockets.
    ``layer``
        The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.

    Returns when the channel layer has taken it; it brings it to each socket once, or not at all. Raises what encoding
    raises, ``ValueError`` for a reserved route or a frame over ``MAX_REPLY`` bytes, what the layer raises, and
    ``TimeoutError`` for one that does not answer.
    """
    await send(get_channel_layer(layer), _message(group, route, payload, headers))


def broadcast(
    group: str,
    route: str,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """As :func:`abroadcast`, from sync code in any thread. ``RuntimeError`` where an event loop runs in this one."""
    _run("broadcast", layer, _message(group, route, payload, headers))


def broadcast_on_commit(
    group: str,
    route: str,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
    using: str | None = None,
) -> None:
    """As :func:`broadcast`, once the transaction on the database ``using`` is committed; at once where there is none.

    The payload is spelt now. What the layer raises later is logged by Django, and undoes nothing.
    """
    message = _message(group, route, payload, headers)

    def deliver() -> None:  # no partial: Django logs the name of what fails
        _run("broadcast", layer, message)

    transaction.on_commit(deliver, using=using, robust=True)


async def apush_to_user(
    user: Any,
    route: str,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """As :func:`abroadcast`, to every socket that ``user``, a saved instance of a model, is signed in on."""
    await send(get_channel_layer(layer), _message_to(user, route, payload, headers))


def push_to_user(
    user: Any,
    route: str,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """As :func:`apush_to_user`, from sync code in any thread."""
    _run("push_to_user", layer, _message_to(user, route, payload, headers))


def _message(group: str, route: str, payload: Any, headers: Mapping[str, Any]) -> Message:
    return message_of(layer_group(group), route, payload, headers)


def _message_to(user: Any, route: str, payload: Any, headers: Mapping[str, Any]) -> Message:
    name = logins.name_of(user)
    if name is None:
        raise ValueError(f"Only a saved user has sockets; got {user!r}.")
    return message_of(revocation.group_of(name), route, payload, headers)


def _run(name: str, layer: str, message: Message) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(send)(get_channel_layer(layer), message)
    else:
        raise RuntimeError(f"An event loop runs in this thread: await a{name}(...) instead of calling {name}(...).")
