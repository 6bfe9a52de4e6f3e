"""Lists and closes the open sockets of all processes: a question through the channel layers, and their answers.

Each process with a socket is in one group of its channel layer. What is asked there is signed with ``SECRET_KEY``, so
that nothing else that is sent through the layer can close a socket. Tokens, headers, queries and payloads are in no
answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.core import signing

from .._compat import reaches_other_processes
from .._runtime import shutdown
from .._runtime.fair_timeout import FairTimeout
from .._runtime.layer_calls import call
from .._runtime.supervision import Guard, backoff, plain_task, reset_after_fork, safe_logger
from ..status import Ending
from . import hub
from .channel_reader import ChannelReader, new_channel
from .envelopes import Message

logger: Final = safe_logger("routesock.socket")

GROUP: Final = "routesock.processes"
"""The group of a channel layer that each process with a socket is in."""

QUESTION: Final = "routesock.census"

ANSWER: Final = "routesock.census.answer"

MAX_SOCKETS: Final = 1_000
"""Sockets that one process lists at most."""

MAX_PROCESSES: Final = 1_000
"""Answers that are read at most."""

MAX_ANSWERING: Final = 8
"""Questions that a process answers at a time. Further ones are ignored."""

SEND_LIMIT: Final = 5.0
"""Seconds for the channel layer to take an answer."""

IDLE_PAUSE: Final = 0.05
"""Seconds after a layer has given up waiting for a message, as redis-py does, before it is asked again."""

FIRST_RETRY: Final = 0.2

LAST_RETRY: Final = 5.0
"""Seconds at most between two tries to join the group."""

CLOSED_BY_OPERATOR: Final = "An operator has closed the connection."

FIELDS: Final = ("consumer", "user", "age", "groups", "queued", "bytes")
"""What a process says about each socket, in this order."""

_ANSWERING: Final = Guard("Answering an operator's question about sockets")


class Answer(NamedTuple):
    """What one process has answered."""

    process: str
    """The name of the process."""
    number: int
    """How many sockets it has, or how many it closes."""
    sockets: list[list[Any]]
    """The values of :data:`FIELDS` for at most :data:`MAX_SOCKETS` of them."""


_instance = secrets.token_hex(8)
"""Tells this process from others with the same name, and one that answers twice from two."""


# In the process that asks


async def acensus(timeout: float = 2.0) -> list[dict[str, Any]]:
    """List the open sockets of all processes, with what they have to do.

    Processes are asked through the channel layers, and each lists at most 1,000 of its sockets. A process answers if
    ``routesock`` is in its ``INSTALLED_APPS``, or its setting ``CENSUS`` is on.

    Args:
        timeout: Seconds to wait for the answers. It returns only then, since it cannot know how many processes there
            are; at once where no channel layer reaches other processes.

    Returns:
        A mapping for each socket, with ``process`` (machine and process id), ``consumer`` (its class), ``user`` (its
        primary key, ``None`` for anonymous users), ``age`` in seconds, ``groups`` (how many), ``queued`` (requests
        that wait) and ``bytes`` (of frames that wait for the client).

    Raises:
        Exception: What the channel layer raises.
    """
    return rows_of(await ask(timeout, "list"))


def census(timeout: float = 2.0) -> list[dict[str, Any]]:
    """List the open sockets of all processes from sync code; see :func:`acensus`.

    Args:
        timeout: Seconds to wait for the answers.

    Returns:
        A mapping for each socket.

    Raises:
        RuntimeError: An event loop runs in this thread.
        Exception: What the channel layer raises.
    """
    rows: list[dict[str, Any]] = async_to_sync(acensus)(timeout)
    return rows


def rows_of(answers: Iterable[Answer]) -> list[dict[str, Any]]:
    """The sockets in ``answers``, as :func:`acensus` returns them."""
    return [
        {"process": answer.process, **dict(zip(FIELDS, values, strict=True))}
        for answer in answers
        for values in answer.sockets
    ]


async def close_sockets(
    timeout: float, ending: Ending, *, user: str | None = None, address: str | None = None
) -> list[Answer]:
    """Have all processes close the sockets of a user, by primary key, or of an address. Returns how many each closes.

    Raises:
        Exception: What the channel layer raises.
    """
    return await ask(timeout, "close", user=user, address=address, ending=list(ending))


async def drain(timeout: float, process: str | None) -> list[Answer]:
    """Have a process, or all of them, drain: close its sockets and take no others. Returns how many each closes.

    Raises:
        Exception: What the channel layer raises.
    """
    return await ask(timeout, "drain", process=process)


async def reaches_others() -> bool:
    """Whether a channel layer of the project reaches other processes."""
    return bool([*_layers()])


async def ask(timeout: float, action: str, **arguments: Any) -> list[Answer]:
    """Ask all processes, this one included, and return what they answer within ``timeout`` seconds."""
    question = {"id": secrets.token_hex(16), "from": None, "action": action, **arguments}
    answers: dict[str, Answer] = {}
    if shutdown.socket_count():
        question["from"] = _instance  # so it does not answer itself once more
        own = _act(question)
        if own is not None:
            answers[_instance] = own
    await asyncio.gather(*(_ask(layer, question, timeout, answers) for layer in _layers()))
    return [*answers.values()]


def _layers() -> Iterator[Any]:
    for alias in getattr(settings, "CHANNEL_LAYERS", {}):
        layer = get_channel_layer(alias)
        if reaches_other_processes(layer):
            yield layer


async def _ask(layer: Any, question: dict[str, Any], timeout: float, answers: dict[str, Answer]) -> None:
    loop = asyncio.get_running_loop()
    channel = await new_channel(layer)
    reader = ChannelReader(layer, channel, loop)
    signed = signing.dumps({**question, "channel": channel}, salt=QUESTION)
    try:
        await call(layer, layer.group_send, GROUP, {"type": QUESTION, "question": signed}, limit=max(timeout, 1.0))
        with suppress(TimeoutError):
            async with FairTimeout(timeout):
                while len(answers) < MAX_PROCESSES:
                    message, failure = await reader.next(partial(layer.receive, channel))
                    if failure is None:
                        _add_answer(answers, question["id"], message)
                    elif any(cls.__name__ == "TimeoutError" for cls in type(failure).__mro__):
                        await asyncio.sleep(IDLE_PAUSE)
                    else:
                        raise failure
    finally:
        await reader.end()


def _add_answer(answers: dict[str, Answer], id: str, message: Any) -> None:
    """Add the answer in ``message``, unless the process has answered already, through another layer or loop."""
    try:
        if message["type"] != ANSWER or not secrets.compare_digest(message["id"], id):
            return
        sockets = [[*values] for values in islice(message["sockets"], MAX_SOCKETS) if len(values) == len(FIELDS)]
        answers.setdefault(str(message["instance"]), Answer(str(message["process"]), int(message["number"]), sockets))
    except (KeyError, TypeError, ValueError):
        logger.warning("An answer about open sockets cannot be read and was ignored.", exc_info=True)


# In the processes that answer


class _Presence:
    """Keeps one event loop in the group of processes: a member of its hub to which nothing is broadcast."""

    id: str | None = None

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._loop = asyncio.get_running_loop()
        self._hub: hub.Hub | None = None
        self._task = plain_task(self._join(), self._loop)

    def deliver(self, broadcast: Any) -> None:
        """Do nothing: the hub handles questions itself, whatever the group."""

    def skip(self, broadcast: Any) -> None:
        """Do nothing: the group has no history."""

    async def _join(self) -> None:
        for pause in backoff(FIRST_RETRY, LAST_RETRY):
            try:
                # Each time anew: a hub without members ends, as after a join that failed.
                self._hub = hub.hub_of(self._layer)
                await self._hub.join(GROUP, self)
                return
            except Exception:  # of a layer that fails, which others log
                logger.debug("The group of processes could not be joined.", exc_info=True)
            await asyncio.sleep(pause)

    def leave(self) -> None:
        """Leave the group. May be called in any thread."""
        with suppress(RuntimeError):  # the loop is closed, and the hub has gone with it
            self._loop.call_soon_threadsafe(self._begin_to_leave)

    def _begin_to_leave(self) -> None:
        self._task.cancel()
        task = plain_task(self._leave(), self._loop)
        _leaving.add(task)
        task.add_done_callback(_leaving.discard)

    async def _leave(self) -> None:
        await asyncio.wait({self._task})
        if self._hub is not None:
            await self._hub.leave(GROUP, self)


_leaving: Final[set[asyncio.Task[None]]] = set()
"""A loop keeps no reference to its tasks."""


def be_present(layer: Any) -> Callable[[], None]:
    """Answer what is asked through ``layer`` on the running loop, until the function that it returns is called."""
    if not reaches_other_processes(layer):
        return _do_nothing
    return _Presence(layer).leave


def _do_nothing() -> None:
    pass


_answering: Final[set[asyncio.Task[None]]] = set()


def _asked(layer: Any, message: Message) -> None:
    """Answer a question in the background. One that is not signed, or one too many, is ignored."""
    try:
        question = signing.loads(message["question"], salt=QUESTION)
    except Exception:  # anything may be in it: a page may choose what a careless project puts into its layer
        logger.warning("A question about open sockets was ignored, since its signature is not valid.")
        return
    if question["from"] == _instance:
        return
    if len(_answering) >= MAX_ANSWERING:
        logger.warning("A question about open sockets was ignored, since %d are being answered.", MAX_ANSWERING)
        return
    task = plain_task(_answer(layer, question), asyncio.get_running_loop())
    _answering.add(task)
    task.add_done_callback(_answering.discard)


async def _answer(layer: Any, question: Mapping[str, Any]) -> None:
    with _ANSWERING:
        answer = _act(question)
        if answer is not None:
            message = {
                "type": ANSWER,
                "id": question["id"],
                "instance": _instance,
                **answer._asdict(),
            }
            await call(layer, layer.send, question["channel"], message, limit=SEND_LIMIT)


def _act(question: Mapping[str, Any]) -> Answer | None:
    """Do what ``question`` asks this process for; ``None`` if it is for another one."""
    process = shutdown.process_name()
    if question["action"] == "close":
        return Answer(process, _close(question["user"], question["address"], Ending(*question["ending"])), [])
    if question["action"] == "drain":
        return Answer(process, shutdown.begin_drain(), []) if question["process"] in (None, process) else None
    reports = [report for report in (socket.report() for socket in shutdown.open_sockets()) if report is not None]
    rows = [[getattr(report, field) for field in FIELDS] for report in reports[:MAX_SOCKETS]]
    return Answer(process, len(reports), rows)


def _close(user: str | None, address: str | None, ending: Ending) -> int:
    number = 0
    for socket in shutdown.open_sockets():
        report = socket.report()
        if report is None:
            continue
        if (user is not None and report.user is not None and str(report.user) == user) or (
            address is not None and report.address == address
        ):
            socket.close_soon(ending)
            number += 1
    return number


hub.handlers[QUESTION] = _asked


@reset_after_fork
def _forget_all() -> None:
    global _instance
    _instance = secrets.token_hex(8)
    _answering.clear()
    _leaving.clear()
