"""Subscriptions, counted by the name of their topic, and sent again on each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ._calls import Calls, Lane, Options
from ._host import Alarm, Host, safely
from ._types import DEFAULT_TIMEOUT, ConnectionLost, Problem, Push, Reply, RouteError, members, seconds

OPTIONS: Final = Options(timeout=DEFAULT_TIMEOUT)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subscriber:
    """What a topic calls: with replies to SUBSCRIBE, with its pushes, and when the server refuses or ends it."""

    snapshot: Callable[[Reply], object]
    recovered: Callable[[], object]
    """Instead of ``snapshot`` where the server sends the pushes that were missed."""
    push: Callable[[Push], object]
    ended: Callable[[RouteError], object]


class Topic:
    """One topic and those who are subscribed to it."""

    def __init__(self, name: str, alarm: Alarm, since: str | None) -> None:
        self.name = name
        self.subscribers: list[Subscriber] = []
        self.snapshot: Reply | None = None
        """The reply to SUBSCRIBE on this connection, as long as no push has come since."""
        self.pending = False
        """Whether a SUBSCRIBE waits for its reply, or for another try."""
        self.tries = 0
        self.alarm = alarm
        self.since: Any = since
        """The last position received from the server. The next SUBSCRIBE resumes from it."""


class Topics:
    """The subscriptions of a client."""

    def __init__(self, host: Host, calls: Calls) -> None:
        self._host = host
        self._calls = calls
        self._topics: dict[str, Topic] = {}

    def subscribe(self, name: str, subscriber: Subscriber, since: str | None = None) -> Callable[[], None]:
        """Subscribes now and on each later connection. Returns a function that ends it, and may be called again."""
        known = self._topics.get(name)
        topic = known or Topic(name, Alarm(self._host.clock), since)
        topic.subscribers.append(subscriber)
        self._topics[name] = topic
        if topic.snapshot is not None:
            asyncio.get_running_loop().call_soon(self._repeat, topic, subscriber, topic.snapshot)
        else:
            if known is not None:
                topic.since = None  # the new one needs a snapshot, and all subscribers get it
            if self._host.ready and not topic.pending:
                if known is not None:
                    self._unsubscribe(name)
                self._request(topic)

        def end() -> None:
            if subscriber in topic.subscribers:
                topic.subscribers.remove(subscriber)
                if not topic.subscribers and self._remove(topic):
                    self._unsubscribe(name)

        return end

    def opened(self) -> None:
        """Subscribes everything again, since the connection is new."""
        topics = [*self._topics.values()]
        known = [topic for topic in topics if topic.since is not None]
        if len(known) > 1:
            self._resume(known)
        for topic in topics:
            if not topic.pending:
                self._request(topic)

    def lost(self) -> None:
        for topic in self._topics.values():
            topic.snapshot = None
            topic.pending = False
            topic.alarm.stop()

    def push(self, push: Push) -> None:
        for topic in [*self._topics.values()]:
            # A dialect of your own may not say which topic it is.
            if push.topic is None or push.topic == topic.name:
                topic.snapshot = None
            if push.topic == topic.name:
                if not topic.pending:  # before the reply these are pushes of a subscription that was ended
                    topic.since = push.headers.get("Position", topic.since)
                for subscriber in [*topic.subscribers]:
                    safely(subscriber.push, push)

    def ended(self, payload: Any) -> None:
        """The server has pushed an UNSUBSCRIBE."""
        problem = members(payload)
        topic = self._topics.get(problem.get("topic", ""))
        if topic is None:
            return
        if problem.get("code") == "history_lost":
            topic.since = None
            self._again(topic, seconds(problem.get("retry_after")) or 0)
        else:
            self._end(topic, problem, 403)

    def _request(self, topic: Topic) -> None:
        topic.pending = True
        since = topic.since
        self._calls.start(
            "SUBSCRIBE",
            {"topic": topic.name} if since is None else {"topic": topic.name, "since": since},
            OPTIONS,
            lambda reply: self._subscribed(topic, since, reply),
            lambda error: self._refused(topic, error),
            lane=Lane.FRONT,
        )

    def _resume(self, known: list[Topic]) -> None:
        """Goes on with topics whose positions are known, in one request."""
        positions = {topic.name: topic.since for topic in known}
        for topic in known:
            topic.pending = True

        def resumed(reply: Reply) -> None:
            for topic in known:
                self._resumed(topic, positions[topic.name], members(members(reply.payload).get(topic.name)))

        def failed(error: BaseException) -> None:
            if isinstance(error, ConnectionLost):
                return  # the next connection subscribes again
            # The server may not know RESUME any longer, or be too busy for all of them at once.
            for topic in known:
                if self._topics.get(topic.name) is topic:
                    self._request(topic)

        self._calls.start("RESUME", {"topics": positions}, OPTIONS, resumed, failed, lane=Lane.FRONT)

    def _resumed(self, topic: Topic, since: Any, result: Problem) -> None:
        """Takes the part of the reply to RESUME that is about ``topic``."""
        status, payload = result.get("status"), result.get("payload")
        if not isinstance(status, int):
            self._refused(topic, None)
        elif status < 400:
            names = {"position": "Position", "recovered": "Recovered"}
            headers = {header: result[name] for name, header in names.items() if name in result}
            self._subscribed(topic, since, Reply(status=status, payload=payload, headers=headers))
        else:
            self._refused(topic, RouteError("SUBSCRIBE", status, members(payload)))

    def _subscribed(self, topic: Topic, since: Any, reply: Reply) -> None:
        """Takes the reply to SUBSCRIBE. ``since``: the position that the request went on from."""
        if self._topics.get(topic.name) is topic:
            topic.pending = False
            topic.tries = 0
            is_recovered = reply.headers.get("Recovered") is True
            if is_recovered and since is not None and topic.since is None:
                self._unsubscribe(topic.name)
                self._request(topic)  # one who has subscribed in the meantime has no state
                return
            topic.since = reply.headers.get("Position")
            topic.snapshot = None if is_recovered else reply
            for subscriber in [*topic.subscribers]:
                if is_recovered:
                    safely(subscriber.recovered)
                else:
                    safely(subscriber.snapshot, reply)

    def _refused(self, topic: Topic, error: BaseException | None) -> None:
        """Takes what SUBSCRIBE has failed with; ``None`` if the server has not said it."""
        if self._topics.get(topic.name) is not topic or isinstance(error, ConnectionLost):
            return  # the next connection subscribes again
        status, wait = (error.status, error.retry_after) if isinstance(error, RouteError) else (504, None)
        if status == 409:
            topic.pending = False
        elif isinstance(error, RouteError) and status < 500 and status != 429:
            self._end(topic, error.problem, status)
        else:
            topic.tries += 1
            self._again(topic, max(self._host.backoff(topic.tries - 1), wait or 0))

    def _again(self, topic: Topic, delay: float) -> None:
        topic.pending = True
        topic.alarm.set(delay, lambda: self._request(topic))

    def _end(self, topic: Topic, problem: Problem, status: int) -> None:
        self._remove(topic)
        for subscriber in [*topic.subscribers]:
            safely(subscriber.ended, RouteError("SUBSCRIBE", status, problem))

    def _unsubscribe(self, name: str) -> None:
        if self._host.ready:
            # It fails only if there is no such subscription, or no connection.
            self._calls.start("UNSUBSCRIBE", {"topic": name}, OPTIONS, _ignore, _ignore, lane=Lane.FRONT)

    def _remove(self, topic: Topic) -> bool:
        """Forgets a topic, and returns whether it was there."""
        topic.alarm.stop()
        if self._topics.get(topic.name) is not topic:
            return False
        del self._topics[topic.name]
        return True

    @staticmethod
    def _repeat(topic: Topic, subscriber: Subscriber, snapshot: Reply) -> None:
        if subscriber in topic.subscribers:
            safely(subscriber.snapshot, snapshot)


def _ignore(outcome: Reply | BaseException) -> None:
    """Takes the outcome of a call that nothing depends on."""
