"""Handlers that yield: each item is a reply of its own, and one final reply ends the stream."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from . import db
from .messages import Reply, Request
from .routing import Route
from .steps import Runs, Step, settled, spelling

FAIR_SHARE: Final = 16
"""Items after which a stream lets others run, so that one that never waits cannot hold the loop."""

_END: Final = object()

Items = AsyncGenerator[Any, None]


def stream(cls: type, route: Route) -> Step:
    """The handler is iterated, and ``request.emit`` takes each item, spelt by ``dehydrate=``, and waits for its room.

    The step's result is the final reply. What ends it early closes the generator, whether that waits at a ``yield`` or
    anywhere else.
    """
    attr = route.attr
    handler = getattr(cls, attr)
    spell = spelling(cls, route)
    opened: Callable[[Request, Any], Items]
    if inspect.isasyncgenfunction(handler):
        opened = _as_it_is
    elif Runs.of(handler) is Runs.ON_LOOP:
        opened = partial(_pulled, _here, None)
    elif spell.runs is Runs.AWAITED:
        opened = partial(_pulled, db.in_thread, None)
    else:  # in the hop that pulls it
        opened, spell = partial(_pulled, db.in_thread, spell), Step(Runs.ON_LOOP, _as_it_is)

    async def run(request: Request, value: Any) -> Reply:
        emit = request.emit
        assert emit is not None
        emitted = 0
        # Looked up at each call, as every handler is.
        async with aclosing(opened(request, getattr(request.consumer, attr)(request))) as items:
            async for item in items:
                await emit(await _spelt(spell, request, item))
                emitted += 1
                if emitted % FAIR_SHARE == 0:
                    await asyncio.sleep(0)
        return Reply(None, 200)

    return Step(Runs.AWAITED, run)


async def _pulled(run: Callable[..., Awaitable[Any]], spell: Step | None, request: Request, items: Any) -> Items:
    """The items of a sync generator, each pulled, and spelt, by ``run``: here or in the database thread."""

    def pull() -> Any:
        item = next(items, _END)
        return item if spell is None or item is _END else _spelt_here(spell, request, item)

    try:
        while (item := await run(pull)) is not _END:
            yield item
    finally:
        # A thread that is still in the generator comes to its end first, whatever happens to this task meanwhile.
        await asyncio.shield(asyncio.ensure_future(run(items.close)))


async def _here(function: Callable[[], Any]) -> Any:
    return function()


def _as_it_is(request: Request, value: Any) -> Any:
    return value


async def _spelt(spell: Step, request: Request, item: Any) -> Any:
    if spell.runs is Runs.ON_LOOP:
        return _spelt_here(spell, request, item)
    if spell.runs is Runs.IN_THREAD:
        return await db.in_thread(_spelt_here, spell, request, item)
    return item if _is_plain_none(item) else await spell.call(request, item)


def _spelt_here(spell: Step, request: Request, item: Any) -> Any:
    return item if _is_plain_none(item) else settled(spell.call(request, item), spell.call)


def _is_plain_none(item: Any) -> bool:
    if isinstance(item, Reply):
        raise TypeError("A stream yielded a Reply, but an item has no status of its own: yield the payload.")
    return item is None
