"""The channel of an endpoint: its messages and operations."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from .. import conf
from .._pipeline.compiler import ConsumerPlan
from .._pipeline.effective import EffectiveRoute, effective_routes
from .._routing.documentation import pushes_of, texts_of
from .._routing.push import Push
from .._routing.route import Route
from .._routing.topic import RESUME, SUBSCRIBE, UNSUBSCRIBE, Topic
from .._runtime.asgi_tree import Endpoint
from ..consumers import RouteMixin, refresh_plan
from ..exceptions import NotAuthenticated, NotFound, PermissionDenied, Throttled
from ..schemas import SchemaAdapter
from ..status import title_of
from . import control
from .addresses import Address
from .components import Components, camelized
from .envelopes import Envelope, Schema, envelope_of
from .names import Keys, reference, slug, without_empty
from .security import Security
from .topics import topic_names

_ANY_ERROR: Final = {"type": "integer", "minimum": 400, "maximum": 599}


class ChannelBuilder:
    """Builds the channel of one consumer at one path.

    Args:
        key: The key of the channel.
        endpoint: Where the consumer is.
        address: The same, as a template.
        components: The schemas of the document.
        security: What the middleware accepts.
        operation_keys: The keys of the operations of the whole document.
        public: Whether the document is for everyone, and says nothing about permissions and throttles.
    """

    def __init__(
        self,
        key: str,
        endpoint: Endpoint,
        address: Address,
        components: Components,
        security: Security,
        operation_keys: Keys,
        *,
        public: bool,
    ) -> None:
        cls: Any = endpoint.consumer
        refresh_plan(cls)
        self._key = key
        self._cls = cls
        self._address = address
        self._components = components
        self._security = security
        self._public = public
        self._plan: ConsumerPlan = cls._routesock
        self._envelope: Envelope = envelope_of(self._plan.dialect, components.target)
        self._message_keys = Keys()
        self._operation_keys = operation_keys
        self._messages: dict[str, Any] = {}
        self._restricted: frozenset[str] = frozenset()
        """The routes with permissions."""
        self._routes: list[str] = []
        """The names that answers may have. The error of the channel has others."""
        self.operations: dict[str, Any] = {}

    def build(self) -> dict[str, Any]:
        """Return the channel. Then :attr:`operations` has its operations."""
        effective = effective_routes(self._cls)
        self._restricted = frozenset(item.route.name for item in effective if item.permissions)
        topics = [item.declared for item in effective if isinstance(item.declared, Topic)]
        for item in effective:
            if isinstance(item.declared, Topic):
                self._topic(item, item.declared, topics)
            else:
                self._route(item)
        for push in pushes_of(self._cls, RouteMixin).values():
            self._push(push, [topic for topic in topics if push.name in {each.name for each in topic.pushes}])
        self._control(topics)
        texts = texts_of(self._cls)
        limits = self._plan.connection_info()
        return without_empty(
            {
                "title": self._cls.__name__,
                "summary": texts.summary,
                "description": texts.description,
                "parameters": dict(sorted(self._address.parameters.items())),
                "messages": dict(sorted(self._messages.items())),
                "bindings": {"ws": self._binding()},
                "x-routesock-dialect": self._envelope.description,
                "x-routesock-foreign": True if self._plan.receive or self._plan.receive_json else None,
                "x-routesock-limits": {name: limits[name] for name in sorted(limits)},
                "x-routesock-pattern": self._address.pattern if self._address.template is None else "",
            }
        ) | {"address": self._address.template}

    def _binding(self) -> dict[str, Any]:
        binding: dict[str, Any] = {"method": "GET", "bindingVersion": "0.1.0"}
        if self._security.query:
            names = {name: {"type": "string"} for name in self._security.query}
            binding["query"] = {"type": "object", "properties": names}
        return binding

    # Parts

    def _message(
        self,
        key: str,
        part: str,
        name: str,
        schema: Schema,
        *,
        payload: Schema | None = None,
        has_id: bool = True,
        title: str = "",
        examples: Sequence[Any] = (),
        statuses: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Add a message and return the reference to it."""
        claimed = self._message_keys.claim(f"{name} {part}", key=key)
        self._messages[claimed] = without_empty(
            {
                "name": name,
                "title": title,
                "contentType": "application/json",
                "correlationId": self._envelope.correlation if has_id else None,
                "examples": list(examples),
                "x-routesock-part": part,
                "x-routesock-statuses": statuses,
            }
        ) | {"payload": schema}
        if payload is not None:
            self._messages[claimed]["x-routesock-payload"] = payload
        return reference("channels", self._key, "messages", claimed)

    def _operation(
        self,
        key: str,
        name: str,
        kind: str,
        action: str,
        messages: Sequence[Mapping[str, str]],
        replies: Sequence[Mapping[str, str]] = (),
        **further: Any,
    ) -> None:
        channel = reference("channels", self._key)
        claimed = self._operation_keys.claim(f"{self._key} {kind} {name}", key=f"{self._key}.{key}")
        self.operations[claimed] = without_empty(
            {
                "action": action,
                "channel": channel,
                "messages": list(messages),
                "reply": {"channel": channel, "messages": list(replies)} if replies else None,
                "x-routesock-kind": kind,
                "x-routesock-name": name,
                **further,
            }
        )

    def _schema(self, schema: Schema) -> Schema:
        """Return a schema of routesock itself as it is on the wire."""
        found: Schema = camelized(schema) if self._envelope.camelize else schema
        return found

    def _problem(self) -> Schema:
        camelize = self._envelope.camelize
        return self._components.own("ProblemCamelCase" if camelize else "Problem", self._schema(control.problem()))

    def _of(self, adapter: SchemaAdapter | None, mode: Any) -> Schema:
        if adapter is None:
            return {}
        return self._components.add(adapter, mode, camelize=self._envelope.camelize)

    # Routes and topics

    def _route(self, item: EffectiveRoute) -> None:
        route = item.route
        key = slug(route.name)
        self._routes.append(route.name)
        payload = self._of(route.schema, "load")
        texts = texts_of(self._cls, route)
        request = self._message(
            f"{key}.request",
            "request",
            route.name,
            self._envelope.request(route.name, payload, needs_id=route.streams),
            payload=payload,
            title=f"{route.name}: request",
            examples=self._examples(route.name, route.examples, needs_id=route.streams),
        )
        replies = [*self._replies(key, route.name, route), *self._errors(key, route.name, route)]
        self._operation(key, route.name, "route", "receive", [request], replies, **self._options(item, texts))

    def _topic(self, item: EffectiveRoute, topic: Topic, topics: Sequence[Topic]) -> None:
        schema = topic.route.schema
        parameters = None if schema is None else self._components.add(schema, "load")  # never in camelCase
        names = topic_names(topic, topics, parameters, self._components.target)
        payload: Schema = {"type": "object", "properties": {"topic": names}, "required": ["topic"]}
        resumed: Schema = {**payload, "properties": {"topic": names, "since": self._schema(control.POSITION)}}
        texts = texts_of(self._cls, topic)
        options = self._options(item, texts)
        # UNSUBSCRIBE needs no permission: a client can only end its own subscriptions.
        shared: dict[str, Any] = {name: options[name] for name in ("tags", "x-routesock-deprecated") if name in options}
        for verb in (SUBSCRIBE, UNSUBSCRIBE):
            key = f"{verb}.{slug(topic.name)}"
            if verb not in self._routes:
                self._routes.append(verb)
            request = self._message(
                f"{key}.request",
                "request",
                verb,
                self._envelope.request(verb, resumed if topic.recover and verb == SUBSCRIBE else payload),
                payload=resumed if topic.recover and verb == SUBSCRIBE else payload,
                title=f"{verb} {topic.name}: request",
                examples=self._examples(verb, [{"topic": name} for name in topic.route.examples]),
            )
            if verb == SUBSCRIBE:
                replies = [*self._replies(key, verb, topic.route), *self._errors(key, verb, topic.route)]
                if topic.recover and 204 not in self._statuses_of_success(topic.route):
                    resumes = self._envelope.reply(verb, [204], control.NULL)
                    title = f"{verb} {topic.name}: resumed"
                    replies.append(
                        self._message(f"{key}.resumed", "reply", verb, resumes, payload=control.NULL, title=title)
                    )
                further = options | {"x-routesock-pushes": sorted(push.name for push in topic.pushes)}
            else:
                done = self._envelope.reply(verb, [204], control.NULL)
                replies = [
                    self._message(f"{key}.reply", "reply", verb, done, title=f"{verb} {topic.name}: reply"),
                    *self._errors(key, verb, None),
                ]
                further = {"summary": f"End the subscription to {topic.name}.", **shared}
            self._operation(
                key,
                topic.name,
                verb.lower(),
                "receive",
                [request],
                replies,
                **further,
                **{"x-routesock-topic": topic.name},
            )

    def _replies(self, key: str, name: str, route: Route) -> Iterable[dict[str, str]]:
        adapter = route.dehydrate if isinstance(route.dehydrate, SchemaAdapter) else route.reply
        payload = self._of(adapter, "dump")
        title = self._title(key, name)
        if route.streams:
            yield self._message(
                f"{key}.item",
                "item",
                name,
                self._envelope.reply(name, [206], payload),
                payload=payload,
                title=f"{title}: item",
            )
            end = self._envelope.reply(name, [200], control.NULL)
            yield self._message(f"{key}.end", "end", name, end, payload=control.NULL, title=f"{title}: end")
        elif route.replies:
            statuses, payload = self._success(route, adapter, payload)
            yield self._message(
                f"{key}.reply",
                "reply",
                name,
                self._envelope.reply(name, statuses, payload),
                payload=payload,
                title=f"{title}: reply",
            )

    def _statuses_of_success(self, route: Route) -> list[int]:
        adapter = route.dehydrate if isinstance(route.dehydrate, SchemaAdapter) else route.reply
        return self._success(route, adapter, {})[0]

    def _success(self, route: Route, adapter: SchemaAdapter | None, payload: Schema) -> tuple[list[int], Schema]:
        """Return the statuses of a success, and its payload."""
        answer = _returns(getattr(self._cls, route.attr))
        if route.status == 204 or (route.status is None and answer == "none" and adapter is None):
            return [204], control.NULL
        if route.status is not None:
            return [route.status], _or_null(payload) if answer == "optional" and adapter is not None else payload
        if adapter is None:
            return [200, 204], payload
        return ([200, 204], _or_null(payload)) if answer == "optional" else ([200], payload)

    def _errors(self, key: str, name: str, route: Route | None) -> Iterable[dict[str, str]]:
        declared = {} if route is None else route.errors
        own = {status: value for status, value in declared.items() if isinstance(value, SchemaAdapter)}
        payload = self._problem()
        status: Schema = {**_ANY_ERROR, "not": {"enum": sorted(own)}} if own else dict(_ANY_ERROR)
        title = self._title(key, name)
        yield self._message(
            f"{key}.error",
            "error",
            name,
            self._envelope.error({"const": name}, status, payload),
            payload=payload,
            title=f"{title}: error",
            statuses=self._statuses(route),
        )
        for number, adapter in sorted(own.items()):
            described = self._of(adapter, "dump")
            yield self._message(
                f"{key}.error.{number}",
                "error",
                name,
                self._envelope.reply(name, [number], described),
                payload=described,
                title=f"{title}: error {number}",
                statuses={str(number): title_of(number)},
            )

    def _title(self, key: str, name: str) -> str:
        return f"{name} {key.partition('.')[2]}" if name in (SUBSCRIBE, UNSUBSCRIBE) else name

    def _statuses(self, route: Route | None) -> dict[str, str]:
        """Return the statuses that follow from the options of a route, with the texts of ``errors=``."""
        found: dict[int, str] = {}
        if route is None:
            return {}
        if not self._public:
            if route.name in self._restricted:
                found[401], found[403] = NotAuthenticated.detail, PermissionDenied.detail
            if self._is_throttled(route):
                found[429] = Throttled.detail
        if route.hydrate is not None:
            found[404] = NotFound.detail
        if route.schema is not None:
            found[conf.get("VALIDATION_STATUS")] = "The payload is not valid."
        for status, text in route.errors.items():
            if not isinstance(text, SchemaAdapter):
                found[status] = str(text)
        return {str(status): found[status] for status in sorted(found)}

    def _is_throttled(self, route: Route) -> bool:
        return route.throttles != () and bool(
            getattr(self._cls, "route_throttle", ()) or isinstance(route.throttles, tuple)
        )

    def _options(self, item: EffectiveRoute, texts: Any) -> dict[str, Any]:
        route = item.route
        keys = self._security.keys_for(item)
        options = {
            "title": item.declared.name,
            "summary": texts.summary,
            "description": texts.description,
            "tags": [{"name": tag} for tag in dict.fromkeys(route.tags)],
            "security": [reference("components", "securitySchemes", key) for key in keys],
            "x-routesock-deprecated": route.deprecated or None,
            "x-routesock-parallel": (route.parallel or route.streams) or None,
            "x-routesock-public": route.public or None,
            "x-routesock-timeout": item.timeout,
        }
        if not self._public:
            options["x-routesock-permissions"] = [str(tree) for tree in item.permissions]
            options["x-routesock-throttles"] = [str(throttle) for throttle in item.throttles]
        return without_empty(options)

    def _examples(self, name: str, payloads: Iterable[Any], *, needs_id: bool = False) -> list[dict[str, Any]]:
        if not self._envelope.is_exact:
            return [{"payload": payload} for payload in payloads]
        dialect = self._plan.dialect
        return [
            {"payload": dialect.request(name, number if dialect.integer_ids else str(number), dialect.dumped(payload))}
            for number, payload in zip(_count(), payloads, strict=False)
        ]

    # Pushes and the protocol's own frames

    def _push(self, push: Push, topics: Sequence[Topic]) -> None:
        key = f"{slug(push.name)}.push"
        payload = self._of(push._adapter, "dump")
        asks = push._answer is not None
        if asks:
            schema = self._envelope.ask(push.name, payload)
        else:
            schema = self._envelope.push(push.name, payload, by_topic=bool(self._plan.topics))
        message = self._message(
            key, "push", push.name, schema, payload=payload, has_id=asks, title=f"{push.name}: push"
        )
        further: dict[str, Any] = {
            "title": push.name,
            "summary": str(push.summary),
            "description": str(push.description),
            "tags": [{"name": tag} for tag in dict.fromkeys(push.tags)],
            "x-routesock-deprecated": push.deprecated or None,
            "x-routesock-topics": sorted(topic.name for topic in topics),
        }
        replies = [] if push._answer is None else [self._answer(push, push._answer)]
        self._operation(key, push.name, "push", "send", [message], replies, **further)

    def _answer(self, push: Push, adapter: SchemaAdapter) -> dict[str, str]:
        """Return the message with which the client answers ``push``."""
        payload = self._of(adapter, "load")
        schema = self._envelope.answer(payload)
        key = f"{slug(push.name)}.answer"
        return self._message(key, "answer", "ANSWER", schema, payload=payload, title=f"{push.name}: answer")

    def _control(self, topics: Sequence[Topic]) -> None:
        envelope = self._envelope
        self._routes.append("PING")
        ping = self._frame("PING.request", "request", "PING", envelope.request("PING", {}), {})
        pong = self._frame("PONG.reply", "reply", "PONG", envelope.pong({}), {})
        self._operation(
            "PING",
            "PING",
            "control",
            "receive",
            [ping],
            [pong, *self._errors("PING", "PING", None)],
            summary="Ask whether the server is there. It answers with the same id and payload.",
        )
        if envelope.id_key is not None or not envelope.is_exact:
            payload: Schema = {}
            cancel = self._frame("CANCEL.request", "request", "CANCEL", envelope.request("CANCEL", payload), payload)
            self._operation(
                "CANCEL",
                "CANCEL",
                "control",
                "receive",
                [cancel],
                summary="Cancel the request with this id, which is then answered with the status 499.",
            )
        if self._security.takes_auth:
            self._auth()
        self._sent("CLOSE", control.close_notice(), "The server is about to close the socket.")
        if self._plan.hello or self._security.handshake is not None:
            hello = control.hello(self._plan, self._security.handshake)
            self._sent("HELLO", hello, "The first frame: what the client has to know of the connection.")
        if self._plan.limits.heartbeat is not None:
            answer = self._frame("PONG.request", "request", "PONG", envelope.request("PONG", {}), {})
            summary = "The server asks whether the client is there, which answers with any frame."
            self._sent("PING", control.NULL, summary, [answer])
        if any(topic.recover for topic in topics):
            self._resume()
        if any(topic.recheck or topic.recover for topic in topics):
            ended = control.problem()
            ended["properties"]["topic"] = {"type": "string", "description": "The topic."}
            ended["required"] = [*ended["required"], "topic"]
            self._sent(UNSUBSCRIBE, ended, "The server has ended a subscription.")
        self._outside()

    def _resume(self) -> None:
        envelope = self._envelope
        self._routes.append(RESUME)
        topics, results = control.resume(), control.resumed()
        request = self._frame(f"{RESUME}.request", "request", RESUME, envelope.request(RESUME, topics), topics)
        reply = self._frame(f"{RESUME}.reply", "reply", RESUME, envelope.reply(RESUME, [200], results), results)
        self._operation(
            RESUME,
            RESUME,
            "control",
            "receive",
            [request],
            [reply, *self._errors(RESUME, RESUME, None)],
            summary="Subscribe to several topics at once, each from a position.",
        )

    def _auth(self) -> None:
        envelope = self._envelope
        self._routes.append("AUTH")
        token, expiry = self._schema(control.token()), self._schema(control.expiry())
        request = self._frame("AUTH.request", "request", "AUTH", envelope.request("AUTH", token), token)
        reply = self._frame("AUTH.reply", "reply", "AUTH", envelope.reply("AUTH", [200], expiry), expiry)
        self._operation(
            "AUTH",
            "AUTH",
            "control",
            "receive",
            [request],
            [reply, *self._errors("AUTH", "AUTH", None)],
            summary="Authenticate, or replace a token that is about to expire.",
        )

    def _frame(self, key: str, part: str, name: str, schema: Schema, payload: Schema) -> dict[str, str]:
        return self._message(key, part, name, schema, payload=payload, title=f"{name}: {part}")

    def _sent(self, name: str, payload: Schema, summary: str, replies: Sequence[Mapping[str, str]] = ()) -> None:
        payload = self._schema(payload)
        schema = self._envelope.push(name, payload)
        message = self._message(
            f"{name}.push", "push", name, schema, payload=payload, has_id=False, title=f"{name}: push"
        )
        self._operation(f"{name}.push", name, "control", "send", [message], replies, summary=summary)

    def _outside(self) -> None:
        """Add the error of frames that name no route of the channel."""
        payload = self._problem()
        known = sorted(set(self._routes))
        route: Schema = {"type": ["string", "null"], "not": {"enum": known}}
        schema = self._envelope.error(route, dict(_ANY_ERROR), payload)
        message = self._message("error", "error", "error", schema, payload=payload, title="Error outside of routes")
        self._operation(
            "error",
            "error",
            "error",
            "send",
            [message],
            summary="An error about a frame that names no route: an unknown one, or a frame that cannot be read.",
        )


def _count() -> Iterable[int]:
    number = 0
    while True:
        number += 1
        yield number


def _or_null(payload: Schema) -> Schema:
    return {"anyOf": [payload, control.NULL]} if payload else payload


def _returns(handler: Any) -> str:
    """Return what the annotation of a handler says: ``"none"``, ``"optional"``, or ``"value"`` for anything else."""
    annotation = inspect.signature(handler).return_annotation
    if isinstance(annotation, str):
        parts = annotation.replace("Optional[", "None | ").replace("]", "").replace("[", " | ").split("|")
        kinds = {part.strip() for part in parts}
        return "none" if annotation.strip() == "None" else "optional" if "None" in kinds else "value"
    if annotation is None:
        return "none"
    return "optional" if type(None) in getattr(annotation, "__args__", ()) else "value"
