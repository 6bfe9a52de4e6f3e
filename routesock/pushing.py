"""Broadcasts and events from outside of sockets: views, signals, tasks, management commands, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import get_channel_layer
from django.db import transaction

from . import logins, revocation
from .broadcasts import Message, event_of, message_of
from .groups import layer_group
from .hub import send
from .messages import NO_HEADERS
from .pushes import Push, aspoken, spoken


async def abroadcast(
    group: str,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """Send a frame to every socket in ``group``, in all processes: ``route``, ``payload``, and ``headers`` if any.

    ``group``
        What sockets have joined with ``self.socket.join``: any string.
    ``route``
        A name or a :class:`~routesock.Push`.
    ``payload``
        What ``DjangoJSONEncoder`` can spell, or what the schema of a declared push takes; spelt once, whatever the
        number of sockets.
    ``layer``
        The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.

    Returns when the channel layer has taken it; it brings it to each socket once, or not at all. Raises what encoding
    raises, ``ValueError`` for a reserved name or a frame over ``MAX_REPLY`` bytes,
    :class:`~routesock.exceptions.InvalidPush` where the payload does not fit a declared push, what the layer raises,
    and ``TimeoutError`` for one that does not answer.
    """
    name, payload = await aspoken(route, payload)
    await send(get_channel_layer(layer), message_of(layer_group(group), name, payload, headers))


def broadcast(
    group: str,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """As :func:`abroadcast`, from sync code in any thread. ``RuntimeError`` where an event loop runs in this one."""
    _run("broadcast", layer, message_of(layer_group(group), *spoken(route, payload), headers))


def broadcast_on_commit(
    group: str,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
    using: str | None = None,
) -> None:
    """As :func:`broadcast`, once the transaction on the database ``using`` is committed; at once where there is none.

    The payload is spelt now. What the layer raises later is logged by Django, and undoes nothing.
    """
    message = message_of(layer_group(group), *spoken(route, payload), headers)

    def deliver() -> None:  # no partial: Django logs the name of what fails
        _run("broadcast", layer, message)

    transaction.on_commit(deliver, using=using, robust=True)


async def apush_to_user(
    user: Any,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """As :func:`abroadcast`, to every socket that ``user``, a saved instance of a model, is signed in on."""
    name, payload = await aspoken(route, payload)
    await send(get_channel_layer(layer), message_of(_group_of(user), name, payload, headers))


def push_to_user(
    user: Any,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """As :func:`apush_to_user`, from sync code in any thread."""
    _run("push_to_user", layer, message_of(_group_of(user), *spoken(route, payload), headers))


async def asend_event(group: str, name: str, payload: Any = None, *, layer: str = DEFAULT_CHANNEL_LAYER) -> None:
    """Have the event ``name`` handled on every socket in ``group``, in all processes, whose consumer declares it.

    ``group``
        What sockets have joined with ``self.socket.join``: any string.
    ``name``
        As ``@event`` declares it, 1 to 128 characters. Consumers that do not declare it take no notice.
    ``payload``
        What ``DjangoJSONEncoder`` can spell; spelt once, whatever the number of sockets.
    ``layer``
        The alias in ``CHANNEL_LAYERS`` that the consumers use as their ``channel_layer_alias``.

    Returns when the channel layer has taken it, without waiting for the handlers; it brings it to each process once, or
    not at all. Raises what encoding raises, ``ValueError`` for another name or an event over ``MAX_REPLY`` bytes, what
    the layer raises, and ``TimeoutError`` for one that does not answer.
    """
    await send(get_channel_layer(layer), event_of(group, name, payload))


def send_event(group: str, name: str, payload: Any = None, *, layer: str = DEFAULT_CHANNEL_LAYER) -> None:
    """As :func:`asend_event`, from sync code in any thread. ``RuntimeError`` where an event loop runs in this one."""
    _run("send_event", layer, event_of(group, name, payload))


def _group_of(user: Any) -> str:
    name = logins.name_of(user)
    if name is None:
        raise ValueError(f"Only a saved user has sockets; got {user!r}.")
    return revocation.group_of(name)


def _run(name: str, layer: str, message: Message) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(send)(get_channel_layer(layer), message)
    else:
        raise RuntimeError(f"An event loop runs in this thread: await a{name}(...) instead of calling {name}(...).")
