"""Broadcasts, pushes to a user and events from anywhere: `broadcast()` and its siblings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction

from .._routing.push import Push, aspoken, spoken
from .._wire.messages import NO_HEADERS
from ..auth._login import revocation
from .envelopes import Message, event_of, layer_group, message_of
from .hub import send


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
    raises, ``ValueError`` for a reserved name, a frame over ``MAX_REPLY`` bytes or an alias that is not there,
    :class:`~routesock.exceptions.InvalidPush` where the payload does not fit a declared push, what the layer raises,
    and ``TimeoutError`` for one that does not answer.
    """
    name, payload = await aspoken(route, payload)
    await send(_layer(layer), message_of(layer_group(group), name, payload, headers))


def broadcast(
    group: str,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """As :func:`abroadcast`, from sync code in any thread. ``RuntimeError`` where an event loop runs in this one."""
    _refuse_loop("broadcast", "await abroadcast(...)")
    _run(layer, message_of(layer_group(group), *spoken(route, payload), headers))


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

    The payload is spelt now. What the layer raises later is logged by Django, and undoes nothing. ``RuntimeError``
    where an event loop runs in this thread: no transaction does.
    """
    _refuse_loop("broadcast_on_commit", "call it in the sync code that has the transaction")
    _layer(layer)
    message = message_of(layer_group(group), *spoken(route, payload), headers)

    def deliver() -> None:  # no partial: Django logs the name of what fails
        _run(layer, message)

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
    await send(_layer(layer), message_of(_group_of(user), name, payload, headers))


def push_to_user(
    user: Any,
    route: str | Push,
    payload: Any = None,
    *,
    headers: Mapping[str, Any] = NO_HEADERS,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> None:
    """As :func:`apush_to_user`, from sync code in any thread. ``RuntimeError`` where an event loop runs in this one."""
    _refuse_loop("push_to_user", "await apush_to_user(...)")
    _run(layer, message_of(_group_of(user), *spoken(route, payload), headers))


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
    await send(_layer(layer), event_of(group, name, payload))


def send_event(group: str, name: str, payload: Any = None, *, layer: str = DEFAULT_CHANNEL_LAYER) -> None:
    """As :func:`asend_event`, from sync code in any thread. ``RuntimeError`` where an event loop runs in this one."""
    _refuse_loop("send_event", "await asend_event(...)")
    _run(layer, event_of(group, name, payload))


def _group_of(user: Any) -> str:
    name = revocation.name_of(user)
    if name is None:
        raise ValueError(f"Only a saved user has sockets; got {user!r}.")
    return revocation.group_of(name)


def _layer(alias: str) -> Any:
    """The channel layer; ``None`` in a project without any. ``ValueError`` for one that is not there: Channels would
    give none for it, and what is sent without a layer reaches nobody who has one.
    """
    aliases = getattr(settings, "CHANNEL_LAYERS", {})
    if aliases and alias not in (None, *aliases):  # None is the alias of consumers that want no layer
        raise ValueError(f"CHANNEL_LAYERS has no {alias!r}, but {', '.join(map(repr, aliases))}.")
    return get_channel_layer(alias)


def _refuse_loop(name: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{name}() blocks, and an event loop runs in this thread: {instead} instead.")


def _run(layer: str, message: Message) -> None:
    async_to_sync(send)(_layer(layer), message)
