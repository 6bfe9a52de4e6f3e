"""Broadcasts on their way: what channel layers make of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from routesock._groups.envelopes import Broadcast, layer_group, message_of
from routesock.dialects import Keys

DEFAULT = Keys()
RENAMED = Keys(route="r", payload="p")
TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["msg:1", "PING", "CLOSE", "type", "group", "data", "from", "seq", "except", "__asgi_channel__", "routesock.push"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)
LAYERS: dict[str, Any] = {
    "core": RedisChannelLayer(),
    "core, as JSON": RedisChannelLayer(serializer_format="json"),
    "pub/sub": RedisPubSubChannelLayer(),
    "pub/sub, as JSON": RedisPubSubChannelLayer(serializer_format="json"),
}


@pytest.mark.parametrize("layer", LAYERS)
@given(payload=JSON, headers=st.dictionaries(TEXTS, JSON, max_size=3), group=TEXTS)
def test_what_looks_like_anything_arrives_as_it_was_sent(
    layer: str, payload: Any, headers: dict[str, Any], group: str
) -> None:
    message = message_of(layer_group(group), "news", payload, headers, excluded="me")
    crossed = LAYERS[layer].deserialize(LAYERS[layer].serialize({**message, "from": "a.1", "seq": 1}))
    assert {key: crossed[key] for key in message} == message
    broadcast = Broadcast(crossed)
    assert (broadcast.group, broadcast.excluded) == (layer_group(group), "me")
    expected = {"route": "news", "payload": payload, **({"headers": headers} if headers else {})}
    assert json.loads(broadcast.data(DEFAULT)) == broadcast.frame(DEFAULT) == expected
    assert json.loads(broadcast.data(RENAMED)) == broadcast.frame(RENAMED)
    assert broadcast.frame(RENAMED)["p"] == payload
