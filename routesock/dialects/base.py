"""The base class of dialects, and what they read and write: frames, problems, and what a client reads."""

from __future__ import annotations

import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from .. import conf
from .._wire import codec
from .._wire.camel_case import to_camel_case, to_camel_case_errors, to_snake_case
from .._wire.messages import NO_HEADERS, Request, RequestId
from .._wire.problems import bounded
from ..exceptions import InvalidEnvelope, ParseError, RoutesockError, TooLarge

MAX_ID_CHARS: Final = 128
"""The maximum length of the id of a request."""

MAX_ROUTE_CHARS: Final = 128
"""The maximum length of the name of a route."""

MAX_ID_INTEGER: Final = 2**53
"""The largest integer id. JavaScript reads larger integers inexactly (ECMA-262, Number.MAX_SAFE_INTEGER + 1)."""


POSITION_HEADER: Final = "Position"
"""The header with the position behind a push or a reply, for a client that resumes there."""

RECOVERED_HEADER: Final = "Recovered"
"""The header of a reply to SUBSCRIBE: whether the client goes on where it was."""

ASK_PREFIX: Final = "@"
"""The first character of the ids with which the server asks, which keeps them apart from the ids of requests."""

TOPIC_HEADER: Final = "Topic"
"""The header of a push that came through a topic: the name that the client has subscribed to."""


class Frame(NamedTuple):
    """A client's message as a dialect reads it. No part is checked yet: a client may have sent anything.

    Args:
        route: The name of the route; ``PING``, ``CANCEL``, ``ANSWER``, ``AUTH`` and the like for the protocol's own
            frames.
        id: The id of the request, ``None`` if it has none. One that a reply could not repeat is refused with 400.
        payload: The payload, ``None`` if there is none.
        headers: The headers, ``None`` for none. Anything but an object is refused with 400.
        value: What the parts were taken from, such as the whole JSON object. It becomes ``request.frame``.
        status: The status of an ``ANSWER``, ``None`` if it has none, which means 200. Other frames need none.
    """

    route: Any
    id: Any = None
    payload: Any = None
    headers: Any = None
    value: Any = None
    status: Any = None


Decoded: TypeAlias = Frame | Sequence[Frame | InvalidEnvelope] | None
"""A frame, several in one message, or ``None`` for a message that is none of this dialect's."""


class Incoming(NamedTuple):
    """A frame from a server, as a client reads it. Pushes and heartbeats have no ``status``."""

    route: str | None
    id: RequestId
    status: int | None
    payload: Any
    headers: Mapping[str, Any]


class Problem(NamedTuple):
    """An error that goes to the client.

    Args:
        status: From 400 to 599.
        members: The members of the problem object (RFC 9457), which is the payload of an error in the default dialect.
        headers: The headers of the reply, such as ``Retry-After``.
        native: What a schema library has reported, in its own shape; ``None`` for an error of another origin.
    """

    status: int
    members: dict[str, Any]
    headers: Mapping[str, Any] = NO_HEADERS
    native: Any = None

    @property
    def code(self) -> str:
        """A short name of the error, for programs."""
        return str(self.members["code"])

    @property
    def title(self) -> str:
        """The name of the status."""
        return str(self.members["title"])

    @property
    def detail(self) -> str:
        """A sentence for people."""
        return str(self.members["detail"])

    @property
    def errors(self) -> Any:
        """The messages by field; ``None`` where there are none."""
        return self.members.get("errors")

    @property
    def native_errors(self) -> Any:
        """The messages in the shape of the schema library, cut to a bounded size; ``None`` where there are none.

        For dialects of protocols that show that shape to their clients.
        """
        return self.errors if self.native is None else bounded(self.native)


class Dialect(ABC):
    """Base class of dialects: reads the frames of a client and writes those of the server.

    One instance serves all sockets of a class. :meth:`for_consumer` may return another one for each socket.

    The order of the calls is: :meth:`decode`, which calls :meth:`load` and :meth:`read`, then the handler, then
    :meth:`reply` or :meth:`error`, then :meth:`encode`. Override as little as you need: :meth:`read` and :meth:`reply`
    for another JSON shape, :meth:`load` and :meth:`encode` for another encoding, :meth:`decode` for anything else.

    Args:
        camelize: Whether the names in payloads are camelCase on the wire and snake_case in your code. Values stay as
            they are.
        completion: Whether a request without an id gets a success reply, too.
    """

    answers_without_id: bool = False
    """Whether a request without an id gets a success reply. Errors are always answered."""

    answers_auth: bool = False
    """Whether an AUTH without an id gets a success reply, too."""

    completes: bool = False
    """Whether :meth:`after_request`, :meth:`after_broadcast` and :meth:`after_event` are called."""

    integer_ids: bool = True
    """Whether the id of a request may be an integer."""

    id_name: str = "id"
    """The name of the id in messages to the client."""

    headers_name: str = "headers"
    """The name of the headers in messages to the client."""

    _camelize: bool = False

    _reads_headers: bool = True
    """Whether requests may have headers."""

    def __init__(self, *, camelize: bool = False, completion: bool = False) -> None:
        self._camelize = camelize
        if completion:
            self.answers_without_id = True

    # For each socket

    def for_consumer(self, consumer: Any) -> Dialect:
        """Return the dialect of one socket. It is called before ``connect()``; by default it returns this dialect.

        Args:
            consumer: The consumer, which has its ``scope`` by then. In front of ``HandshakeMiddleware`` there is none
                yet: the argument is an object with nothing but ``scope``.
        """
        return self

    # From the client

    def decode(self, message: Mapping[str, Any]) -> Decoded:
        """Return the frame in a message of the client.

        Args:
            message: The ASGI event ``websocket.receive``, with ``"text"`` or ``"bytes"``.

        Returns:
            The frame. ``None`` if the message is none of this dialect's: the consumer's own code gets it, or it is
            answered 400 where there is no such code. A list of frames is answered with one list of their replies.

        Raises:
            ParseError: The message cannot be decoded.
            InvalidEnvelope: It is no frame. A ``ValueError``, ``TypeError``, ``LookupError``, ``AttributeError``,
                ``struct.error`` or ``zlib.error`` means the same, so that you can unpack what the client sent without
                looking first. Any other exception is a 500 and is logged.
        """
        return self.read(self.load(message.get("text") or message.get("bytes") or ""))

    def load(self, data: str | bytes) -> Any:
        """Return the value that ``data`` encodes, as the inverse of :meth:`encode`. The default is strict JSON.

        Raises:
            ParseError: It encodes none.
        """
        if not isinstance(data, str) or not data:
            raise ParseError(f"A frame is one JSON text; this one is {'binary' if data else 'empty'}.")
        return codec.decode(data, conf.get("MAX_DEPTH"))

    @abstractmethod
    def read(self, value: Any) -> Decoded:
        """Return the frame that ``value`` is, a value of any type. What is returned or raised is as for :meth:`decode`.

        A class with its own ``decode_json`` passes what that returns.
        """

    def id_in_head(self, text: str) -> RequestId:
        """Return the id in the beginning of a text that is too large to decode, or that is no JSON.

        It must be cheap, and certain: a client takes the error for the reply to the request of that id. By default
        ``None``.
        """
        return None

    # To the client. What these return is encoded by encode(); None means that nothing is sent.

    @abstractmethod
    def reply(self, request: Request, status: int, payload: Any, headers: Mapping[str, Any]) -> Any:
        """Return the frame of a reply, of an item of a stream (status 206), or of an error, unless :meth:`error` does.

        Args:
            request: The request, with its ``consumer``. For a frame that is none ``route`` is ``""`` and ``id`` is
                ``None``; ``request.frame`` is what the client sent, if it could be read.
            status: The status of the reply.
            payload: The payload, ``None`` for a 204.
            headers: The headers of the reply.
        """

    def error(self, problem: Problem, request: Request) -> Any:
        """Return the frame of an error. By default a reply whose payload is the problem object."""
        return self.reply(request, problem.status, self.dumped_problem(problem), problem.headers)

    @abstractmethod
    def push(self, route: str, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        """Return the frame of a push: an unsolicited frame without id and status.

        The protocol's own pushes come through it as well: ``CLOSE``, ``PING``, ``HELLO`` and ``UNSUBSCRIBE``.
        """

    def pong(self, request: Request) -> Any:
        """Return the frame that answers a PING. By default a push of ``PONG`` with its payload."""
        return self.push("PONG", request.payload)

    def after_request(self, request: Request) -> Any:
        """Return a frame that follows the answer to a request, an error too, or comes in place of it.

        Called for each frame that could be read, where ``completes`` is set.
        """
        return None

    def after_broadcast(self, headers: Mapping[str, Any]) -> Any:
        """Return a frame that follows a push that came through a group. Called where ``completes`` is set.

        Args:
            headers: The headers of the push.
        """
        return None

    def after_event(self, name: str) -> Any:
        """Return a frame that follows what an ``@event`` method did. Called where ``completes`` is set.

        Args:
            name: The name of the event.
        """
        return None

    def encode(self, frame: Any) -> str | bytes:
        """Return ``frame`` as the text or the bytes of a message. By default JSON, as ``DjangoJSONEncoder`` writes it.

        A dialect that defines ``encode`` replaces the consumer's ``encode_json`` and ``send_json``.
        """
        return codec.encode(frame)

    # For clients, such as RouteClient

    def request(self, route: str, id: RequestId, payload: Any, headers: Mapping[str, Any] = NO_HEADERS) -> Any:
        """Return the frame of a request, as a client sends it. :class:`~routesock.testing.RouteClient` needs it.

        ``self.socket.ask()`` sends such a frame to the client, with an id such as ``"@1"``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no request(), which RouteClient needs to send requests.")

    @property
    def can_ask(self) -> bool:
        """Whether ``self.socket.ask()`` works: the dialect has a :meth:`request`, and its frames have ids."""
        return type(self).request is not Dialect.request

    def answer(self, id: RequestId, status: int, payload: Any) -> Any:
        """Return the frame with which a client answers what the server has asked; the inverse of :meth:`read`.

        By default a request of ``ANSWER``, without the status.
        """
        return self.request("ANSWER", id, payload)

    def incoming(self, value: Any) -> Incoming | None:
        """Read a value from a server, as a client does; ``None`` for one that is no frame.

        :class:`~routesock.testing.RouteClient` finds replies and pushes with it. Without it, the client has
        ``receive()`` alone.
        """
        return None

    # For subclasses

    def loaded(self, payload: Any, route: Any = None) -> Any:
        """Return ``payload``, from the client, with its names in snake_case if ``camelize`` is set.

        The payload of the ``route`` RESUME has the names of topics, and stays as it is.
        """
        return to_snake_case(payload) if self._camelize and route != "RESUME" else payload

    def dumped(self, payload: Any) -> Any:
        """Return ``payload``, for the client, with its names in camelCase if ``camelize`` is set."""
        return to_camel_case(payload) if self._camelize else payload

    def dumped_errors(self, errors: Any) -> Any:
        """Return the messages by field of an error, with the names of the fields as :meth:`dumped` converts them."""
        return to_camel_case_errors(errors) if self._camelize else errors

    def dumped_problem(self, problem: Problem) -> dict[str, Any]:
        """Return the problem object, with the names of the fields in ``errors`` as :meth:`dumped` converts them."""
        if not self._camelize or problem.errors is None:
            return problem.members
        return {**problem.members, "errors": self.dumped_errors(problem.errors)}


_NO_FRAME: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError, struct.error, zlib.error)
"""Exceptions raised by code that unpacks a value of an unexpected type."""


def read(dialect: Dialect, value: Any) -> Decoded:
    """Return what ``dialect`` reads in ``value``. Raises :class:`InvalidEnvelope` for a value that is no frame."""
    try:
        return dialect.read(value)
    except RoutesockError:
        raise
    except _NO_FRAME as exc:
        raise InvalidEnvelope from exc


def decode(dialect: Dialect, message: Mapping[str, Any]) -> Decoded:
    """Return what ``dialect`` decodes. Raises :class:`ParseError` or :class:`InvalidEnvelope` for what is no frame."""
    try:
        decoded = dialect.decode(message)
    except RoutesockError:
        raise
    except _NO_FRAME as exc:
        raise InvalidEnvelope from exc
    levels: int = conf.get("MAX_DEPTH")
    for frame in decoded if isinstance(decoded, list) else (decoded,):
        if isinstance(frame, Frame) and codec.deeper_than(levels, frame.payload):
            raise ParseError(f"The frame is nested deeper than {levels} levels.")
    return decoded


def decode_bounded(dialect: Dialect, message: Mapping[str, Any], limit: int) -> Decoded:
    """As :func:`decode`. Raises :class:`TooLarge` for a message of more than ``limit`` bytes."""
    if codec.size_of(message.get("text") or message.get("bytes")) > limit:
        raise TooLarge(f"A frame has at most {limit} bytes.", limit=limit)
    return decode(dialect, message)


def checked_id(dialect: Dialect, frame: Frame) -> RequestId:
    """Return the id of ``frame``. Raises :class:`InvalidEnvelope` for one that a reply could not repeat."""
    id = frame.id
    if id is None:
        return None
    # Not isinstance(): bool is an int, and 1.0 == 1, but clients could not match such ids with their replies.
    kind = type(id)
    if kind is str and len(id) <= MAX_ID_CHARS:
        return id  # type: ignore[no-any-return]
    if kind is int and dialect.integer_ids and -MAX_ID_INTEGER <= id <= MAX_ID_INTEGER:
        return id  # type: ignore[no-any-return]
    or_integer = " or an integer within ±2^53" if dialect.integer_ids else ""
    raise InvalidEnvelope(f"{dialect.id_name!r} must be a string of at most {MAX_ID_CHARS} characters{or_integer}.")


def checked_headers(dialect: Dialect, frame: Frame) -> Mapping[str, Any]:
    """Return the headers of ``frame``. Raises :class:`InvalidEnvelope` for anything but an object."""
    if frame.headers is None:
        return NO_HEADERS
    if isinstance(frame.headers, Mapping):
        return frame.headers
    raise InvalidEnvelope(f"{dialect.headers_name!r} must be an object.")


def dialect_for(dialect: Dialect, consumer: Any) -> Dialect:
    """Return the dialect of the socket of ``consumer``. Raises ``TypeError`` if ``for_consumer`` returns none."""
    chosen = dialect.for_consumer(consumer)
    if not isinstance(chosen, Dialect):
        raise TypeError(f"{type(dialect).__name__}.for_consumer() must return a Dialect; got {chosen!r}.")
    return chosen


def can_read_headers(dialect: Dialect) -> bool:
    """Whether requests may have headers in ``dialect``, or in one that it chooses for a socket."""
    kind = type(dialect)
    if dialect._reads_headers or kind.for_consumer is not Dialect.for_consumer:
        return True
    reader = next(cls for cls in kind.__mro__ if "read" in vars(cls))
    return not reader.__module__.startswith(f"{__package__}.")


def has_own_decode(dialect: Dialect) -> bool:
    """Whether ``dialect`` decodes messages itself, so that they need not be JSON."""
    kind = type(dialect)
    return kind.decode is not Dialect.decode or kind.load is not Dialect.load


def has_own_encode(dialect: Dialect) -> bool:
    """Whether ``dialect`` encodes frames itself, so that they need not be JSON."""
    return type(dialect).encode is not Dialect.encode
