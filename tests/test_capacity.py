"""How many messages a layer keeps for a hub."""

from __future__ import annotations

from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from routesock._compat import MIN_CAPACITY, ensure_capacity, hub_channel


async def test_redis_keeps_more_for_a_hub_than_for_a_socket() -> None:
    layer = RedisChannelLayer()
    channel = await layer.new_channel()
    hub = hub_channel(layer, await layer.new_channel())
    valid = getattr(layer, "require_valid_channel_name", None) or layer.valid_channel_name  # as Channels 4.1 calls it
    assert valid(hub)
    ensure_capacity(layer)
    ensure_capacity(layer)
    assert (layer.get_capacity(channel), layer.get_capacity(hub)) == (100, MIN_CAPACITY)
    assert len(layer.channel_capacity) == 1


@pytest.mark.parametrize(
    ("config", "capacity"),
    [({"capacity": 5000}, 5000), ({"capacity": 5}, MIN_CAPACITY), ({"channel_capacity": {"specific.*": 7}}, 7)],
)
async def test_what_the_settings_say_of_it_stays(config: dict[str, Any], capacity: int) -> None:
    layer = RedisChannelLayer(**config)
    ensure_capacity(layer)
    assert layer.get_capacity(hub_channel(layer, await layer.new_channel())) == capacity


async def test_a_name_of_somebody_elses_is_no_hub() -> None:
    layer = RedisChannelLayer()
    ensure_capacity(layer)
    for name in ("x.routesock", "specific.x!y.routesock.z", "specific.x!routesock"):
        assert layer.get_capacity(name) == 100


@pytest.mark.parametrize("make", [InMemoryChannelLayer, RedisPubSubChannelLayer, object])
async def test_other_layers_are_left_alone(make: Any) -> None:
    layer = make()
    ensure_capacity(layer)
    assert hub_channel(layer, "specific.x!y") == "specific.x!y"
