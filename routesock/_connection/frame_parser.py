"""Parses and classifies incoming frames."""

from __future__ import annotations

import json
from collections.abc import Container, Coroutine, Mapping
from typing import Any, Final

from django.core.exceptions import SynchronousOnlyOperation

from .. import conf
from .._pipeline.compiler import ConsumerPlan
from .._wire import codec
from .._wire.frames import Auth, Cancel, Decision, Ping, Refusal, Unanswered
from .._wire.messages import NO_HEADERS, Request, RequestId
from ..auth.authenticators import AUTHENTICATORS
from ..dialects import MAX_ID_CHARS, MAX_ROUTE_CHARS, Frame, plain_keys
from ..exceptions import DuplicateRequest, InvalidEnvelope, ParseError, TooLarge, UnknownRoute
from ..typing import UNSET

_CONTROL: Final = ("PING", "CANCEL")
"""Reserved names that are acted upon before anything else. PONG is one of them where the server sends PING."""

TIMEOUT_HEADER: Final = "request-timeout"
"""A client's shorter deadline, in seconds. Names of headers are compared without their case, as in HTTP."""

_LONGEST: Final = 10**9
"""Seconds. A client may send an integer that is larger than any float."""

_NOT_TEXT: Final = "A frame is one JSON text; this one is {}."


class _Waits(Exception):
    """A coroutine that had to end at once has suspended."""


class FrameParser:
    """Parses the frames of one socket. ``in_flight`` holds the ids of its requests that have no final reply yet."""

    __slots__ = (
        "_compiled", "_consumer", "_control_names", "_decoder_waits", "_dialect", "_has_own_code", "_in_flight",
        "_keys", "_max_depth", "_max_frame", "_plans",
    )  # fmt: skip

    def __init__(self, consumer: Any, compiled: ConsumerPlan, in_flight: Container[RequestId]) -> None:
        self._consumer = consumer
        self._compiled = compiled
        self._dialect = compiled.dialect
        self._keys = plain_keys(compiled.dialect)
        self._plans = compiled.plans
        self._in_flight = in_flight
        self._max_frame: int = conf.get("MAX_FRAME") if compiled.max_frame is UNSET else compiled.max_frame
        self._max_depth: int = conf.get("MAX_DEPTH")
        self._has_own_code = compiled.receive or compiled.receive_json
        self._decoder_waits = False
        self._control_names = _CONTROL if compiled.limits.heartbeat is None else (*_CONTROL, "PONG")
        if AUTHENTICATORS in consumer.scope:
            self._control_names = (*self._control_names, "AUTH")

    def frame(self, message: dict[str, Any]) -> Decision:
        """Decide about the frame in the ``websocket.receive`` event ``message``."""
        text = message.get("text")
        if not text:
            if self._compiled.receive:
                return Unanswered.FOREIGN
            return Refusal(ParseError(_NOT_TEXT.format("binary" if message.get("bytes") else "empty")))
        too_large = len(text) * 4 > self._max_frame and self.is_too_large(text)
        if too_large and not self._has_own_code:
            return Refusal(self._size_error())
        if self._compiled.decode:
            return self._control(text) or self._decoded(text, too_large=too_large)
        try:
            content = codec.decode(text, self._max_depth)
        except ParseError as error:
            return self._unparsed(text, error)
        if self._keys is not None and type(content) is dict and not too_large:
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
                return Request(name, id, get(payload_key), NO_HEADERS, self._consumer)
        return self.content(content, too_large=too_large)

    def content(self, content: Any, *, too_large: bool = False) -> Decision:
        """Decide about a frame with this decoded ``content``."""
        if not isinstance(content, dict):
            return self._foreign_or(Refusal(InvalidEnvelope("A request is a JSON object.")))
        name = self._dialect.route(content)
        if type(name) is not str or name not in self._plans:
            return self._unregistered(content, name)
        try:
            id = self._dialect.id(content)
            headers = self._dialect.headers(content)
        except InvalidEnvelope as error:
            return Refusal(error, name, error.id)
        if too_large:
            return Refusal(self._size_error(), name, id)
        if id is not None and id in self._in_flight:
            return Refusal(DuplicateRequest(), name, id)
        request = Request(name, id, self._dialect.payload(content), headers, self._consumer)
        if headers:
            try:
                request.timeout = _timeout_of(headers)
            except InvalidEnvelope as error:
                return Refusal(error, name, id)
        if id is None and self._plans[name].streams:
            return Refusal(InvalidEnvelope("A stream needs an id, to which its items belong."), name)
        return request

    def _decoded(self, text: str, *, too_large: bool) -> Decision:
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

    def _unregistered(self, frame: Frame, name: Any) -> Decision:
        reserved = self._reserved(frame, name)
        if reserved is not None:
            return reserved
        try:
            id = self._dialect.id(frame)
        except InvalidEnvelope as error:
            return self._foreign_or(Refusal(error, self._readable(name), error.id))
        if self._readable(name) is None:
            what = f"The request's route is a string of at most {MAX_ROUTE_CHARS} characters."
            return self._foreign_or(Refusal(InvalidEnvelope(what), None, id))
        return self._foreign_or(Refusal(UnknownRoute(), name, id))

    def _reserved(self, frame: Frame, name: Any) -> Decision | None:
        if name == "PING":
            try:
                return Ping(self._dialect.id(frame), self._dialect.payload(frame))
            except InvalidEnvelope as error:
                return Refusal(error, name, error.id)
        if name == "CANCEL":
            try:
                return Cancel(self._dialect.id(frame))
            except InvalidEnvelope:
                return Unanswered.IGNORED
        if name == "AUTH" and name in self._control_names:
            try:
                return Auth(self._dialect.id(frame), self._dialect.payload(frame))
            except InvalidEnvelope as error:
                return Refusal(error, name, error.id)
        if name == "PONG":
            if name in self._control_names:
                return Unanswered.PONG
            return None if self._has_own_code else Unanswered.IGNORED
        return None

    def _control(self, text: str) -> Decision | None:
        """Return the decision about a control frame, which comes before the consumer's own decoder."""
        if any(name in text for name in self._control_names):
            try:
                content = codec.decode(text, self._max_depth)
            except ParseError:
                return None
            if type(content) is dict:
                return self._reserved(content, self._dialect.route(content))
        return None

    def _unparsed(self, text: str, error: ParseError) -> Decision:
        """Decide about a frame that is not strict JSON. What Channels' ``decode_json`` still accepts is foreign."""
        if self._compiled.receive_json and not self._compiled.receive:
            try:
                content = json.loads(text)
            except (ValueError, RecursionError):
                return Refusal(error)
            name = self._dialect.route(content) if type(content) is dict else None
            is_answered = type(name) is str and (name in self._plans or name in self._control_names)
            return Refusal(error, name) if is_answered else Unanswered.FOREIGN
        return self._foreign_or(Refusal(error))

    def _foreign_or(self, refusal: Refusal) -> Decision:
        return Unanswered.FOREIGN if self._has_own_code else refusal

    def _size_error(self) -> TooLarge:
        return TooLarge(f"A frame has at most {self._max_frame} bytes.", limit=self._max_frame)

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


def _result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits. Raises :class:`_Waits` for one that does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise _Waits
