"""What arrived at a client and has not been read yet: frames, and the failures of handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from routesock.dialects import Dialect
from routesock.messages import RequestId

from .frames import Frame, Push


class Inbox:
    """Frames in the order of their arrival, each until somebody takes it; replies that are waited for are claimed."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._frames: list[Frame] = []
        self._failures: list[tuple[RequestId, BaseException]] = []
        self._claimed: set[RequestId] = set()
        self._dropped: set[RequestId] = set()

    def deliver(self, data: str | bytes) -> None:
        """A frame arrived."""
        frame = Frame.of(data, self._dialect)
        if frame.id not in self._dropped:
            self._frames.append(frame)
        elif not frame.is_item:
            self._dropped.discard(frame.id)

    def fail(self, id: RequestId, error: BaseException) -> None:
        """The handler of that request failed (``None``: there is no such request)."""
        self._failures.append((id, error))

    def claim(self, id: str | int) -> None:
        """Keeps what answers that request, and its failure, until :meth:`release`. ``ValueError`` for the second."""
        if id in self._claimed:
            raise ValueError(f"Another call waits for the reply to id {id!r}; send the second one with send().")
        if id in self._dropped:
            raise ValueError(f"The stream of id {id!r} was left and has not ended yet; use another id.")
        self._claimed.add(id)

    def release(self, id: str | int) -> None:
        """Ends :meth:`claim`."""
        self._claimed.discard(id)

    @contextmanager
    def claimed(self, id: str | int) -> Iterator[None]:
        """:meth:`claim` for whoever is inside."""
        self.claim(id)
        try:
            yield
        finally:
            self.release(id)

    def take_next(self, id: str | int) -> Frame | None:
        """The next frame that answers that request: an item of its stream, or its reply."""
        return self._take(lambda frame: frame.id == id)

    def take_reply(self, id: str | int) -> Frame | None:
        """The reply to that request, with which its stream ends; the items before it are dropped then."""
        for index, frame in enumerate(self._frames):
            if frame.id == id and not frame.is_item:
                before = self._frames[:index]
                self._frames[: index + 1] = [frame for frame in before if frame.id != id]
                return frame
        return None

    def drop(self, id: str | int) -> bool:
        """Drops the rest of that stream, come or yet to come; ``False`` if its end was there already."""
        if self.take_reply(id) is not None:
            return False
        self._frames = [frame for frame in self._frames if frame.id != id]
        self._dropped.add(id)
        return True

    def drops(self, id: str | int) -> bool:
        """Whether :meth:`drop` still waits for the end of that stream."""
        return id in self._dropped

    def take_push(self, route: str | None, members: Mapping[str, Any]) -> Push | None:
        """The first push of that route (of any, for ``None``) whose payload has these members."""

        def fits(frame: Frame) -> bool:
            push = frame.push()
            return push is not None and route in (None, push.route) and _has(push.payload, members)

        frame = self._take(fits)
        return None if frame is None else frame.push()

    def take_any(self) -> Frame | None:
        """The first frame that is not claimed."""
        return self._take(lambda frame: frame.id not in self._claimed)

    def raise_failure(self, id: RequestId = None) -> None:
        """Raises the failure of that request; for ``None``, the first failure that is not claimed."""
        for index, (failed, error) in enumerate(self._failures):
            if failed == id if id is not None else failed not in self._claimed:
                del self._failures[index]
                raise error

    def summary(self) -> str:
        """What is there, for the message of an error."""
        if not self._frames:
            return "Nothing else arrived."
        shown = [f"  {frame.raw!r}"[:500] for frame in self._frames[:20]]
        if len(self._frames) > len(shown):
            shown.append(f"  and {len(self._frames) - len(shown)} more")
        return "\n".join(["Waiting to be read:", *shown])

    def _take(self, fits: Callable[[Frame], bool]) -> Frame | None:
        for index, frame in enumerate(self._frames):
            if fits(frame):
                return self._frames.pop(index)
        return None


def _has(payload: Any, members: Mapping[str, Any]) -> bool:
    if not members:
        return True
    return isinstance(payload, dict) and all(
        name in payload and payload[name] == value for name, value in members.items()
    )
