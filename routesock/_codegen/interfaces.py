"""The interfaces of consumers as the generators of typed clients read them from an AsyncAPI document."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from .._asyncapi.components import SCHEMAS, references_in
from .._asyncapi.topics import pattern_of
from .._asyncapi.validation import fits, resolve
from .._routing.topic import Pattern
from ..schemas._json_schema.draft7 import INEXACT, NOTHING

Schema = Mapping[str, Any]

Document = Mapping[str, Any]

_ANNOTATIONS: Final = frozenset(("title", "description", "default", "examples", "deprecated", INEXACT))

_NULL: Final[Schema] = {"type": "null"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What people read about a part."""

    summary: str = ""
    description: str = ""
    is_deprecated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Where a consumer is.

    Attributes:
        template: The path with ``{name}`` for each parameter; ``None`` if it has no such form.
        pattern: The URL pattern, where there is no template.
        parameters: The names of the parameters, and their converters; an empty one is a regular expression.
    """

    template: str | None
    pattern: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route.

    Attributes:
        payload: What a client sends.
        needs_payload: Whether a request without a payload is refused.
        reply: The payload of a reply; ``None`` if there is none. For a stream, that of an item.
        is_stream: Whether it streams.
        errors: The payloads of errors by status, those that the document names.
    """

    name: str
    texts: Texts
    payload: Schema
    needs_payload: bool
    reply: Schema | None
    is_stream: bool
    errors: Mapping[int, Schema]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic.

    Attributes:
        pattern: The pattern of its names.
        others: The more specific topics that take some of these names.
        snapshot: The payload of the reply to SUBSCRIBE.
        pushes: The names of its pushes; empty if any push may come through it.
        errors: As those of a route.
    """

    name: str
    texts: Texts
    pattern: Pattern
    others: tuple[Pattern, ...]
    snapshot: Schema
    pushes: tuple[str, ...]
    errors: Mapping[int, Schema]


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A push, or what the server asks.

    Attributes:
        answer: The payload of the client's answer; ``None`` for a push.
    """

    name: str
    texts: Texts
    payload: Schema
    answer: Schema | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One consumer class.

    Attributes:
        name: The name of its types: that of the class without ``Consumer``.
        consumer: The name of the class.
        keys: The keys of frames; ``None`` for a dialect that has other frames.
    """

    name: str
    consumer: str
    texts: Texts
    paths: tuple[Path, ...]
    keys: Mapping[str, Any] | None
    routes: tuple[Route, ...]
    topics: tuple[Topic, ...]
    pushes: tuple[Push, ...]
    asks: tuple[Push, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interfaces:
    """All consumers of a document, and the schemas that they refer to by name."""

    consumers: tuple[Interface, ...]
    schemas: Mapping[str, Schema]


def interfaces_of(document: Document) -> Interfaces:
    """Return the interfaces in ``document``, sorted by name.

    One class at several paths is one interface. Two classes with one name get the path behind their name.
    """
    by_class: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    built: dict[str, _Channel] = {}
    for key in sorted(document["channels"]):
        built[key] = _Channel(document, key)
        by_class[built[key].consumer][built[key].content].append(key)
    found: dict[str, Interface] = {}
    for consumer in sorted(by_class):
        groups = by_class[consumer].values()
        for keys in groups:
            name = consumer.removesuffix("Consumer") or consumer
            name = name[0].upper() + name[1:]
            if len(groups) > 1:
                name += pascal_case(keys[0])
            while name in found:
                name += "_"
            found[name] = built[keys[0]].interface(name, [built[key].path for key in keys])
    consumers = tuple(found[name] for name in sorted(found))
    return Interfaces(consumers=consumers, schemas=_reachable(consumers, document))


def pascal_case(text: str) -> str:
    """Return the letters and digits of ``text``, each word with a capital."""
    words = re.findall(r"[^\W_]+", text)
    return "".join(word[0].upper() + word[1:] for word in words)


class _Channel:
    """Reads one channel of a document."""

    def __init__(self, document: Document, key: str) -> None:
        self._document = document
        self._channel: Mapping[str, Any] = document["channels"][key]
        self.consumer: str = self._channel["title"]
        self.path = _path_of(self._channel)
        dialect = self._channel["x-routesock-dialect"]
        self._keys: Mapping[str, Any] | None = dialect if isinstance(dialect, Mapping) and "route" in dialect else None
        reference = {"$ref": f"#/channels/{key}"}
        by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for operation in document["operations"].values():
            if operation["channel"] == reference:
                by_kind[operation["x-routesock-kind"]].append(operation)
        self._routes = tuple(sorted(map(self._route, by_kind["route"]), key=_name_of))
        self._topics = tuple(sorted(map(self._topic, by_kind["subscribe"]), key=_name_of))
        pushes = sorted(map(self._push, by_kind["push"]), key=_name_of)
        self._pushes = tuple(push for push in pushes if push.answer is None)
        self._asks = tuple(push for push in pushes if push.answer is not None)

    @property
    def content(self) -> str:
        """What is the same for one class at several paths."""
        texts = self._channel.get("summary"), self._channel.get("description")
        topics = [(topic.name, topic.texts, topic.snapshot, topic.pushes, topic.errors) for topic in self._topics]
        parts = [*texts, self._keys, self._routes, topics, self._pushes, self._asks]
        return json.dumps(parts, sort_keys=True, default=repr)

    def interface(self, name: str, paths: Iterable[Path]) -> Interface:
        return Interface(
            name=name,
            consumer=self.consumer,
            texts=_texts_of(self._channel),
            paths=tuple(paths),
            keys=self._keys,
            routes=self._routes,
            topics=self._topics,
            pushes=self._pushes,
            asks=self._asks,
        )

    def _messages(self, operation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        for message in chain(operation["messages"], operation.get("reply", {}).get("messages", ())):
            yield resolve(message["$ref"], self._document)

    def _parts(self, operation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """Return the messages of ``operation`` but its errors, by what they are.

        Of two replies the first counts: the second one of SUBSCRIBE is the one without a snapshot.
        """
        parts: dict[str, Mapping[str, Any]] = {}
        for message in self._messages(operation):
            parts.setdefault(message["x-routesock-part"], message)
        parts.pop("error", None)
        return parts

    def _errors(self, operation: Mapping[str, Any]) -> dict[int, Schema]:
        found = {
            int(status): message.get("x-routesock-payload", {})
            for message in self._messages(operation)
            if message["x-routesock-part"] == "error"
            for status in message.get("x-routesock-statuses", {})
        }
        return dict(sorted(found.items()))

    def _route(self, operation: Mapping[str, Any]) -> Route:
        parts = self._parts(operation)
        request = parts["request"]
        reply = parts.get("item", parts.get("reply"))
        payload = request.get("x-routesock-payload", {})
        is_spread = self._keys is not None and self._keys["payload"] is None
        return Route(
            name=operation["x-routesock-name"],
            texts=_texts_of(operation),
            payload=self._spreadable(payload) if is_spread else payload,
            needs_payload=not self._accepts_absence(operation["x-routesock-name"], request),
            reply=None if reply is None else reply.get("x-routesock-payload", {}),
            is_stream="item" in parts,
            errors=self._errors(operation),
        )

    def _accepts_absence(self, name: str, request: Mapping[str, Any]) -> bool:
        """Whether a request without a payload fits the document."""
        if self._keys is None:
            payload = request.get("x-routesock-payload", {})
            return fits(None, payload, self._document) or fits({}, payload, self._document)
        frames: list[dict[str, Any]] = [{self._keys["route"]: name}]
        if self._keys["id"] is not None:
            frames += [{**frames[0], self._keys["id"]: id} for id in (1, "1")]
        return any(fits(frame, request["payload"], self._document) for frame in frames)

    def _spreadable(self, schema: Schema) -> Schema:
        """Return the part of ``schema`` that can be spread over a frame: objects."""
        target = schema
        while "$ref" in target:
            target = resolve(target["$ref"], self._document)
        if not target.keys() - _ANNOTATIONS:
            return {"type": "object"}
        for keyword in ("anyOf", "oneOf"):
            if keyword in target and not target.keys() - _ANNOTATIONS - {keyword}:
                parts = [part for part in map(self._spreadable, target[keyword]) if part != NOTHING]
                return NOTHING if not parts else parts[0] if len(parts) == 1 else {"anyOf": parts}
        kinds = target.get("type")
        if isinstance(kinds, list) and "object" in kinds:
            return {**target, "type": "object"}
        return schema if kinds in ("object", None) else NOTHING

    def _topic(self, operation: Mapping[str, Any]) -> Topic:
        parts = self._parts(operation)
        names: Mapping[str, Any] = parts["request"]["x-routesock-payload"]["properties"]["topic"]
        excluded = names.get("not", {})
        taken = {part["pattern"] for part in excluded.get("anyOf", [excluded]) if part}
        topics = {pattern.text: pattern for pattern in map(Pattern, self._topic_names())}
        reply = parts.get("reply")
        return Topic(
            name=operation["x-routesock-name"],
            texts=_texts_of(operation),
            pattern=topics[operation["x-routesock-topic"]],
            others=tuple(topics[name] for name in sorted(topics) if pattern_of(topics[name]) in taken),
            snapshot=_NULL if reply is None else reply.get("x-routesock-payload", {}),
            pushes=tuple(operation.get("x-routesock-pushes", ())),
            errors=self._errors(operation),
        )

    def _topic_names(self) -> Iterator[str]:
        for operation in self._document["operations"].values():
            channel = resolve(operation["channel"]["$ref"], self._document)
            if channel is self._channel and operation["x-routesock-kind"] == "subscribe":
                yield operation["x-routesock-topic"]

    def _push(self, operation: Mapping[str, Any]) -> Push:
        parts = self._parts(operation)
        answer = parts.get("answer")
        return Push(
            name=operation["x-routesock-name"],
            texts=_texts_of(operation),
            payload=parts["push"].get("x-routesock-payload", {}),
            answer=None if answer is None else answer.get("x-routesock-payload", {}),
        )


def _name_of(part: Route | Topic | Push) -> str:
    return part.name


def _texts_of(part: Mapping[str, Any]) -> Texts:
    return Texts(
        summary=part.get("summary", ""),
        description=part.get("description", ""),
        is_deprecated=part.get("x-routesock-deprecated", False),
    )


def _path_of(channel: Mapping[str, Any]) -> Path:
    return Path(
        template=channel["address"],
        pattern=channel.get("x-routesock-pattern", ""),
        parameters={
            name: parameter.get("x-routesock-converter", "")
            for name, parameter in channel.get("parameters", {}).items()
        },
    )


def _reachable(consumers: Iterable[Interface], document: Document) -> dict[str, Schema]:
    """Return the schemas that ``consumers`` refer to, directly or through others, by their names."""
    waiting = [schema for consumer in consumers for schema in schemas_in(consumer)]
    found: dict[str, Schema] = {}
    while waiting:
        for reference in references_in(waiting.pop()):
            name = reference.removeprefix(SCHEMAS)
            if name not in found:
                found[name] = resolve(reference, document)
                waiting.append(found[name])
    return dict(sorted(found.items()))


def schemas_in(consumer: Interface) -> Iterator[Schema]:
    """Yield the schemas of all payloads of ``consumer``."""
    for route in consumer.routes:
        yield route.payload
        if route.reply is not None:
            yield route.reply
        yield from route.errors.values()
    for topic in consumer.topics:
        yield topic.snapshot
        yield from topic.errors.values()
    for push in (*consumer.pushes, *consumer.asks):
        yield push.payload
        if push.answer is not None:
            yield push.answer


def listed_names(schema: Schema) -> dict[str, Any]:
    """Return the properties of an object whose schema lists all names that it may have."""
    names = schema.get("propertyNames", {})
    listed = names.get("enum", ()) if isinstance(names, Mapping) else ()
    values = schema.get("additionalProperties", {})
    return {name: values for name in listed if isinstance(name, str)} if values is not False else {}


_DEFAULT_KEYS: Final = {"route": "route", "id": "uuid", "payload": "payload", "status": "status", "topic": "topic"}
"""The keys of the clients, but that of headers, which depends on ``payload``."""


def own_keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``keys`` that are not the default of the clients."""
    defaults = {**_DEFAULT_KEYS, "headers": None if keys["payload"] is None else "headers"}
    order = ("route", "id", "payload", "status", "headers", "topic")
    return {key: keys[key] for key in order if keys[key] != defaults[key]}
