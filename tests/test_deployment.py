"""What the deployment page shows is right: layers deliver, servers take the options, and one number fits the other."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from copy import deepcopy
from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer
from channels_redis.utils import create_pool, decode_hosts
from django.core.cache import CacheHandler
from django.utils.module_loading import import_string
from uvicorn.main import main as uvicorn

from routesock import conf
from routesock._runtime.shutdown import CLOSE_LIMIT
from routesock.throttling.redis import open_store
from tests.docs_pages import ROOT, blocks_of
from tests.servers import RedisServer, run_redis_server

PAGE = (ROOT / "docs" / "howto" / "deployment.rst").read_text(encoding="utf-8")
BLOCKS = [*blocks_of(PAGE)]

# In a process of its own, since daphne installs an event loop where it is imported.
PARSE_WITH_DAPHNE = "import sys; from daphne.cli import CommandLineInterface as C; C().parser.parse_args(sys.argv[1:])"


def text_of(language: str) -> str:
    return "\n".join(block.text for block in BLOCKS if block.language == language)


def assigned(name: str) -> list[Any]:
    """What the blocks of the page assign to ``name``."""
    found = []
    for block in BLOCKS:
        if block.language == "python" and f"{name} = " in block.text:
            namespace: dict[str, Any] = {}
            exec(block.text, namespace)
            found.append(namespace[name])
    return found


LAYERS = [shown["default"] for shown in assigned("CHANNEL_LAYERS")]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with run_redis_server() as server:
        yield server


def at(layer: dict[str, Any], server: RedisServer) -> Any:
    """The layer that ``layer`` configures, with each of its hosts at a database of ``server``."""
    config = deepcopy(layer["CONFIG"])
    for number, host in enumerate(config["hosts"]):
        options = host if isinstance(host, dict) else {}
        kept = {name: value for name, value in options.items() if name == "socket_timeout"}
        config["hosts"][number] = {"address": f"redis://127.0.0.1:{server.port}/{number}", **kept}
    return import_string(layer["BACKEND"])(**config)


async def received(layer: Any, channel: str) -> Any:
    async with asyncio.timeout(10):
        return await layer.receive(channel)


@pytest.mark.servers
@pytest.mark.parametrize("layer", LAYERS, ids=range(len(LAYERS)))
async def test_every_layer_brings_broadcasts(layer: dict[str, Any], redis_server: RedisServer) -> None:
    sender, receiver = at(layer, redis_server), at(layer, redis_server)
    channels = [await receiver.new_channel() for _ in range(8)]
    for number, channel in enumerate(channels):
        await receiver.group_add(f"room.{number}", channel)
        await sender.group_send(f"room.{number}", {"type": "told", "number": number})
        assert await received(receiver, channel) == {"type": "told", "number": number}
    for each in (sender, receiver):
        await each.flush()


@pytest.mark.servers
async def test_what_is_over_the_capacity_is_dropped_and_logged_where_the_page_says(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    layer = RedisChannelLayer(hosts=[{"address": redis_server.url, "socket_timeout": 10}], capacity=2)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for number in range(3):
        await layer.group_send("room", {"type": "told", "number": number})
    records = [record for record in caplog.records if "over capacity" in record.getMessage()]
    assert [(record.name, record.levelname) for record in records] == [("channels_redis.core", "INFO")]
    assert [(await received(layer, channel))["number"] for _ in range(2)] == [0, 1]
    await layer.flush()


@pytest.mark.parametrize("layer", LAYERS, ids=range(len(LAYERS)))
def test_every_option_of_a_host_is_one_of_the_clients(layer: dict[str, Any]) -> None:
    for host in decode_hosts(layer["CONFIG"]["hosts"]):
        create_pool(host).make_connection()


def test_the_client_waits_for_longer_than_the_core_layer() -> None:
    core = [layer["CONFIG"] for layer in LAYERS if layer["BACKEND"].endswith(".core.RedisChannelLayer")]
    assert len(core) >= 3
    for config in core:
        for host in config["hosts"]:
            assert host["socket_timeout"] > RedisChannelLayer.brpop_timeout


def test_the_defaults_of_the_core_layer_are_those_of_its_source() -> None:
    documented = dict(re.findall(r"^   \* - ``(\w+)``\n     - ``(.+)``$", PAGE, re.MULTILINE))
    parameters = inspect.signature(RedisChannelLayer).parameters
    names = ["capacity", "expiry", "group_expiry", "prefix", "symmetric_encryption_keys"]
    assert {name: documented[name] for name in names} == {name: repr(parameters[name].default) for name in names}


def test_throttles_can_use_the_cache_for_them() -> None:
    [settings], [caches] = assigned("ROUTESOCK"), assigned("CACHES")
    assert all(conf.SETTINGS[name].accepts(value) for name, value in settings.items())
    open_store(CacheHandler(caches)[settings["THROTTLE_CACHE"]])


def commands() -> Iterator[list[str]]:
    """Everything on the page that starts a server."""
    for line in text_of("console").splitlines():
        yield shlex.split(line.removeprefix("$ "))
    yield shlex.split(unit()["Service"]["ExecStart"].replace("%i", "8001"))
    for command in re.findall(r"CMD (\[.*\])", PAGE):
        yield json.loads(command)


def unit() -> RawConfigParser:
    parser = RawConfigParser()
    parser.optionxform = str
    parser.read_string(text_of("ini"))
    return parser


def test_every_option_of_a_command_is_one_of_the_server() -> None:
    seen = set()
    for program, *arguments in commands():
        name = program.rpartition("/")[2]
        seen.add(name)
        if name == "uvicorn":
            uvicorn.make_context(name, arguments)
        elif name == "daphne":
            subprocess.run([sys.executable, "-c", PARSE_WITH_DAPHNE, *arguments], check=True)
    assert seen == {"uvicorn", "daphne", "gunicorn"}


def test_nobody_kills_a_process_that_is_still_draining() -> None:
    service = unit()["Service"]
    patience = re.search(r"--timeout-graceful-shutdown (\d+)", service["ExecStart"])
    assert patience
    longest = conf.SETTINGS["DISCONNECT_GRACE"].default + CLOSE_LIMIT + int(patience[1])
    assert longest < int(service["TimeoutStopSec"])
    assert f"less than the {longest:.0f} s above" in PAGE


def test_a_server_takes_the_frames_that_are_answered() -> None:
    assert all(int(limit) > conf.SETTINGS["MAX_FRAME"].default for limit in re.findall(r"--ws-max-size (\d+)", PAGE))


def directives() -> dict[str, str]:
    return dict(
        re.findall(r"^ *(\w+(?: (?:Upgrade|Connection|Host|X-\S+))?) +(\S.*);$", text_of("nginx"), re.MULTILINE)
    )


def test_nginx_passes_the_handshake_on_with_the_address_of_the_client() -> None:
    found = directives()
    assert found["proxy_http_version"] == "1.1"
    assert found["proxy_set_header Upgrade"] == "$http_upgrade"
    assert found["proxy_set_header Connection"] == "$connection_upgrade"
    assert found["proxy_set_header X-Forwarded-For"] == "$remote_addr"


def test_nginx_waits_for_longer_than_the_heartbeat() -> None:
    heartbeat = re.search(r"Heartbeat\(interval=(\d+), timeout=(\d+)\)", PAGE)
    assert heartbeat
    assert int(directives()["proxy_read_timeout"].removesuffix("s")) > int(heartbeat[1]) + int(heartbeat[2])
