"""Parses and classifies incoming frames."""

from __future__ import annotations

import json
from collections.abc import Container, Coroutine, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation

from .. import conf
from .._pipeline.compiler import ConsumerPlan
from .._wire import codec
from .._wire.frames import Answer, Auth, Batch, Cancel, Decision, Ping, Refusal, Unanswered
from .._wire.messages import NO_HEADERS, ReplyBatch, Request, RequestId, request_with
from ..auth.authenticators import AUTHENTICATORS
from ..dialects import Frame
from ..dialects.base import (
    MAX_ID_CHARS,
    MAX_ROUTE_CHARS,
    Decoded,
    checked_headers,
    checked_id,
    decode,
    has_own_decode,
    read,
)
from ..dialects.keys import plain_keys
from ..exceptions import DuplicateRequest, InvalidEnvelope, ParseError, RoutesockError, TooLarge, UnknownRoute
from ..typing import UNSET

_CONTROL: Final = ("PING", "CANCEL")
"""Reserved names that are acted upon before anything else. PONG is one of them where the server sends PING, ANSWER
where the client has been asked."""

TIMEOUT_HEADER: Final = "request-timeout"
"""A client's shorter deadline, in seconds. Names of headers are compared without their case, as in HTTP."""

_NO_ANSWER: Final = Answer(None, 200, None)

_LONGEST: Final = 10**9
"""Seconds. A client may send an integer that is larger than any float."""

_NOT_TEXT: Final = "A frame is one JSON text; this one is {}."


class _Waits(Exception):
    """A coroutine that had to end at once has suspended."""


class FrameParser:
    """Parses the frames of one socket. ``in_flight`` holds the ids of its requests that have no final reply yet."""

    __slots__ = (
        "_compiled",
        "_consumer",
        "_control_names",
        "_decoder_waits",
        "_decodes",
        "_dialect",
        "_has_own_code",
        "_in_flight",
        "_is_plain",
        "_keys",
        "_max_depth",
        "_max_frame",
        "_plans",
    )  # fmt: skip

    def __init__(self, consumer: Any, compiled: ConsumerPlan, in_flight: Container[RequestId]) -> None:
        self._consumer = consumer
        self._compiled = compiled
        self._dialect = dialect = compiled.dialect
        self._decodes = has_own_decode(dialect)
        keys = plain_keys(dialect)
        self._is_plain = keys is not None
        self._keys = None if compiled.decode else keys
        """The keys of a frame that no code of the project reads in front of routesock."""
        self._plans = compiled.plans
        self._in_flight = in_flight
        self._max_frame: int = conf.get("MAX_FRAME") if compiled.max_frame is UNSET else compiled.max_frame
        self._max_depth: int = conf.get("MAX_DEPTH")
        self._has_own_code = compiled.receive or compiled.receive_json
        self._decoder_waits = False
        self._control_names = _CONTROL if compiled.limits.heartbeat is None else (*_CONTROL, "PONG")
        if AUTHENTICATORS in consumer.scope:
            self._control_names = (*self._control_names, "AUTH")

    def frame(self, message: dict[str, Any]) -> Decision | Batch:
        """Decide about the frame in the ``websocket.receive`` event ``message``, or about each of several."""
        text = message.get("text")
        if self._keys is None or not text or len(text) * 4 > self._max_frame:  # which is too large in UTF-8 at most
            return self._other_frame(message)
        try:
            content = codec.decode(text, self._max_depth)
        except ParseError as error:
            return self._unparsed(text, error)
        if type(content) is dict:
            route_key, id_key, payload_key, headers_key = self._keys
            get = content.get
            name, id = get(route_key), get(id_key)
            if (
                type(name) is str
                and type(id) is str
                and len(id) <= MAX_ID_CHARS
                and get(headers_key) is None
                and name in self._plans
                and id not in self._in_flight
            ):  # as nearly every frame; content() returns the same, in several times as many calls
                return request_with(name, id, get(payload_key), NO_HEADERS, self._consumer, content)
        return self.content(content)

    def _other_frame(self, message: dict[str, Any]) -> Decision | Batch:
        """Decide about a frame that is large, or of another dialect than the plain one, or not for routesock alone."""
        if self._decodes:
            return self._decoded_by_dialect(message)
        text = message.get("text")
        if not text:
            if self._compiled.receive:
                return Unanswered.FOREIGN
            return Refusal(ParseError(_NOT_TEXT.format("binary" if message.get("bytes") else "empty")))
        too_large = len(text) * 4 > self._max_frame and self.is_too_large(text)
        if too_large and not self._has_own_code:
            return Refusal(self._size_error(), None, self._id_in_head(text))
        if self._compiled.decode:
            return self._control(text) or self._decoded(text, too_large=too_large)
        try:
            content = codec.decode(text, self._max_depth)
        except ParseError as error:
            return self._unparsed(text, error)
        return self.content(content, too_large=too_large)

    def content(self, content: Any, *, too_large: bool = False) -> Decision | Batch:
        """Decide about a frame with this decoded ``content``."""
        try:
            return self._decide(read(self._dialect, content), too_large=too_large)
        except InvalidEnvelope as error:
            about = self._about(Frame(None, value=content), None, error.id)
            return self._foreign_or(Refusal(error, None, error.id, about))

    def _decoded_by_dialect(self, message: dict[str, Any]) -> Decision | Batch:
        """Decide about a message that need not be JSON."""
        data = message.get("text") or message.get("bytes")
        too_large = codec.size_of(data) > self._max_frame
        if too_large and not self._has_own_code:
            return Refusal(self._size_error())
        try:
            decoded = decode(self._dialect, message)
        except InvalidEnvelope as error:
            return self._not_decoded(data, Refusal(error, None, error.id))
        except ParseError as error:
            return self._not_decoded(data, Refusal(error))
        if decoded is None:
            return self._not_decoded(data, Refusal(InvalidEnvelope()))
        return self._decide(decoded, too_large=too_large)

    def _not_decoded(self, data: str | bytes | None, refusal: Refusal) -> Decision:
        """Decide about a message that the dialect does not decode. It is foreign if the consumer's own code can."""
        if self._compiled.receive:
            return Unanswered.FOREIGN
        if self._compiled.receive_json and isinstance(data, str):
            try:
                json.loads(data)
            except (ValueError, RecursionError):
                return refusal
            return Unanswered.FOREIGN
        return refusal

    def _decide(self, decoded: Decoded, *, too_large: bool) -> Decision | Batch:
        if decoded is None:
            return self._foreign_or(Refusal(InvalidEnvelope()))
        if isinstance(decoded, Frame):
            return self._of(decoded, too_large=too_large)
        if len(decoded) > self._max_batch():
            what = f"A message holds at most {self._max_batch()} requests."
            return self._foreign_or(Refusal(InvalidEnvelope(what)))
        return self._batch(decoded, too_large=too_large)

    def _batch(self, frames: Sequence[Frame | InvalidEnvelope], *, too_large: bool) -> Decision | Batch:
        """Decide about each of several frames. Those that are answered are answered together."""
        decisions = [self._of_batch(frame, too_large=too_large) for frame in frames]
        if all(decision is Unanswered.FOREIGN for decision in decisions):
            return Unanswered.FOREIGN
        replies = ReplyBatch(len(frames))
        taken: set[RequestId] = set()
        batch: Batch = []
        for frame, decision in zip(frames, decisions, strict=True):
            if type(decision) is Request and decision.id is not None:
                if decision.id in taken:
                    decision = Refusal(DuplicateRequest(), decision.route, decision.id, decision)
                else:
                    taken.add(decision.id)
            answered = _answered_by(decision)
            if answered is not None:
                answered._batch = replies
            else:  # a control frame, or one for the consumer's own code
                replies.finish_one()
            value = frame.value if isinstance(frame, Frame) else None
            batch.append(({"type": "websocket.receive", "text": codec.encode(value)}, decision))
        return batch

    def _of_batch(self, frame: Frame | InvalidEnvelope, *, too_large: bool) -> Decision:
        if isinstance(frame, Frame):
            return self._of(frame, too_large=too_large)
        return self._foreign_or(Refusal(frame, None, frame.id, self._about(Frame(None), None, frame.id)))

    def _of(self, frame: Frame, *, too_large: bool) -> Decision:
        """Decide about one frame."""
        name = frame.route
        if type(name) is not str or name not in self._plans:
            return self._unregistered(frame)
        try:
            id = checked_id(self._dialect, frame)
        except InvalidEnvelope as error:
            return Refusal(error, name, None, self._about(frame, name))
        request = request_with(name, id, frame.payload, NO_HEADERS, self._consumer, frame.value)
        try:
            request.headers = checked_headers(self._dialect, frame)
            self._check(request, too_large=too_large)
            if request.headers:
                request.timeout = _timeout_of(request.headers)
        except RoutesockError as error:
            return Refusal(error, name, id, request)
        return request

    def _check(self, request: Request, *, too_large: bool) -> None:
        """Raise the error that answers ``request`` if it cannot run."""
        id = request.id
        if too_large:
            raise self._size_error()
        if id is not None and id in self._in_flight:
            raise DuplicateRequest
        if id is None and self._plans[request.route].streams and not self._dialect.answers_without_id:
            raise InvalidEnvelope("A stream needs an id, to which its items belong.")

    def _about(self, frame: Frame, name: str | None = None, id: RequestId = None) -> Request:
        """Return what the dialect gets for an answer to ``frame``, which is no request of a route."""
        return request_with(name or "", id, frame.payload, NO_HEADERS, self._consumer, frame.value)

    def _decoded(self, text: str, *, too_large: bool) -> Decision | Batch:
        """Decide with the consumer's own ``decode_json``, here and now unless it waits."""
        if self._decoder_waits:
            return Unanswered.UNDECODED
        try:
            content = self._consumer.decode_json(text)
            if not self._compiled.sync:
                content = _result_of(content)
        except RecursionError:
            return self.undecodable()
        except (_Waits, SynchronousOnlyOperation, RuntimeError):
            # It waits, or it must not run on the loop, or its `finally` waits, too.
            self._decoder_waits = True
            return Unanswered.UNDECODED
        except BaseException:  # whatever it raises, it does not accept the frame
            return self.undecodable()
        return self.content(content, too_large=too_large)

    def undecodable(self) -> Decision:
        """Decide about a frame that the consumer's own ``decode_json`` does not accept."""
        return Unanswered.FOREIGN if self._compiled.receive else Refusal(ParseError())

    def is_too_large(self, text: str) -> bool:
        """Whether ``text`` has more bytes in UTF-8 than a frame may have."""
        return len(text) > self._max_frame or codec.size_of(text) > self._max_frame

    def _unregistered(self, frame: Frame) -> Decision:
        name = frame.route
        reserved = self._reserved(frame)
        if reserved is not None:
            return reserved
        readable = self._readable(name)
        try:
            id = checked_id(self._dialect, frame)
        except InvalidEnvelope as error:
            return self._foreign_or(Refusal(error, readable, None, self._about(frame, readable)))
        if readable is None:
            what = f"The request's route is a string of at most {MAX_ROUTE_CHARS} characters."
            return self._foreign_or(Refusal(InvalidEnvelope(what), None, id, self._about(frame, None, id)))
        return self._foreign_or(Refusal(self._unknown(readable), readable, id, self._about(frame, readable, id)))

    def _unknown(self, name: str) -> UnknownRoute:
        """Return the error for a name that is no route. Under ``DEBUG`` it says which routes have similar names."""
        nearest = get_close_matches(name, self._plans) if settings.DEBUG else []
        if not nearest:
            return UnknownRoute()
        return UnknownRoute(f"{UnknownRoute.detail} Did you mean {' or '.join(map(repr, nearest))}?")

    def _reserved(self, frame: Frame) -> Decision | None:
        name = frame.route
        if name == "PONG":
            if name in self._control_names:
                return Unanswered.PONG
            return None if self._has_own_code else Unanswered.IGNORED
        if name == "ANSWER":
            return None if self._has_own_code and name not in self._control_names else self._answer(frame)
        if name not in ("PING", "CANCEL") and (name != "AUTH" or name not in self._control_names):
            return None
        try:
            id = checked_id(self._dialect, frame)
        except InvalidEnvelope as error:
            if name == "CANCEL":
                return Unanswered.IGNORED
            return Refusal(error, name, None, self._about(frame, name))
        if name == "CANCEL":
            return Cancel(id)
        request = self._about(frame, name, id)
        return Ping(request) if name == "PING" else Auth(request)

    def expect_answers(self) -> None:
        """Read an ANSWER in front of the consumer's own code from now on, since the client is about to be asked."""
        self._control_names = (*self._control_names, "ANSWER")

    def _answer(self, frame: Frame) -> Answer:
        status = 200 if frame.status is None else frame.status
        try:
            id = checked_id(self._dialect, frame)
            checked_headers(self._dialect, frame)
        except InvalidEnvelope:
            return _NO_ANSWER
        if type(status) is int and (200 <= status <= 299 or 400 <= status <= 599):
            return Answer(id, status, frame.payload)
        return _NO_ANSWER

    def _control(self, text: str) -> Decision | None:
        """Return the decision about a control frame, which comes before the consumer's own decoder."""
        # A dialect other than the plain one may have other words for them.
        if not self._is_plain or any(name in text for name in self._control_names):
            frame = self._read_or_none(text)
            return None if frame is None else self._reserved(frame)
        return None

    def _read_or_none(self, text: str) -> Frame | None:
        try:
            frame = read(self._dialect, codec.decode(text, self._max_depth))
        except (ParseError, InvalidEnvelope):
            return None
        return frame if isinstance(frame, Frame) else None

    def _unparsed(self, text: str, error: ParseError) -> Decision:
        """Decide about a frame that is not strict JSON. What Channels' ``decode_json`` still accepts is foreign."""
        if self._compiled.receive_json and not self._compiled.receive:
            try:
                frame = read(self._dialect, json.loads(text))
            except InvalidEnvelope:
                return Unanswered.FOREIGN
            except (ValueError, RecursionError):
                return Refusal(error, None, self._id_in_head(text))
            name = frame.route if isinstance(frame, Frame) else None
            is_answered = type(name) is str and (name in self._plans or name in self._control_names)
            return Refusal(error, name, self._id_in_head(text)) if is_answered else Unanswered.FOREIGN
        return self._foreign_or(Refusal(error, None, self._id_in_head(text)))

    def _id_in_head(self, text: str) -> RequestId:
        """Return the id of a request that is refused unread; ``None`` if it is that of another one in flight."""
        id = self._dialect.id_in_head(text)
        return None if id in self._in_flight else id

    def _foreign_or(self, refusal: Refusal) -> Decision:
        return Unanswered.FOREIGN if self._has_own_code else refusal

    def _size_error(self) -> TooLarge:
        return TooLarge(f"A frame has at most {self._max_frame} bytes.", limit=self._max_frame)

    def _max_batch(self) -> int:
        return conf.get("MAX_QUEUED")  # type: ignore[no-any-return]

    @staticmethod
    def _readable(name: Any) -> str | None:
        return name if type(name) is str and 0 < len(name) <= MAX_ROUTE_CHARS else None


def _timeout_of(headers: Mapping[str, Any]) -> float | None:
    seconds = next((value for name, value in headers.items() if name.lower() == TIMEOUT_HEADER), None)
    if seconds is None:
        return None
    if type(seconds) in (int, float) and seconds > 0:
        return float(min(seconds, _LONGEST))
    raise InvalidEnvelope("The header Request-Timeout is a positive number of seconds.")


def _answered_by(decision: Decision) -> Request | None:
    """Return what the dialect gets when ``decision`` is answered; ``None`` if it is not answered by routesock."""
    if isinstance(decision, Request):
        return decision
    if isinstance(decision, Refusal):
        return decision.about
    return decision.request if isinstance(decision, Ping | Auth) else None


def _result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits. Raises :class:`_Waits` for one that does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise _Waits
