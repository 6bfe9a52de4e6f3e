"""What the pages about deployment show: layers deliver, servers take the options, and numbers fit each other."""

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
from urllib.parse import urlsplit

import pytest
import yaml
from channels_redis.core import RedisChannelLayer
from channels_redis.utils import create_pool, decode_hosts
from django.core.cache import CacheHandler
from django.urls import resolve
from django.utils.module_loading import import_string
from uvicorn.main import main as uvicorn

from routesock import conf
from routesock._runtime.shutdown import CLOSE_LIMIT
from routesock.health import health_view
from routesock.throttling.redis import open_store
from tests.docs_pages import ROOT, blocks_of
from tests.servers import RedisServer, run_redis_server

PAGES = [ROOT / "docs" / "howto" / "deployment.rst", ROOT / "docs" / "reference" / "deployment.rst"]
PAGE = "".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCKS = [block for page in PAGES for block in blocks_of(page.read_text(encoding="utf-8"))]

CONTAINERS = [ROOT / "docs" / "howto" / f"deploy-{name}.rst" for name in ("compose", "kubernetes")]
FILES = ROOT / "docs" / "howto" / "deploy"

NGINX = ["nginx.conf", "compose-nginx.conf"]

# In a process of its own, since daphne installs an event loop where it is imported.
PARSE_WITH_DAPHNE = "import sys; from daphne.cli import CommandLineInterface as C; C().parser.parse_args(sys.argv[1:])"


def file(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


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
        command = shlex.split(line.removeprefix("$ "))
        if command and command[0] in ("uvicorn", "daphne", "gunicorn"):
            yield command
    yield shlex.split(unit()["Service"]["ExecStart"].replace("%i", "8001"))
    yield image_command()


def image_command() -> list[str]:
    [command] = re.findall(r"^CMD (\[.*\])$", file("Dockerfile"), re.MULTILINE)
    return list(json.loads(command))


def unit() -> RawConfigParser:
    parser = RawConfigParser()
    parser.optionxform = str
    parser.read_string(file("shop@.service"))
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


def longest_drain(command: list[str]) -> float:
    """Seconds from SIGTERM until the server has ended."""
    of_the_server = int(command[command.index("--timeout-graceful-shutdown") + 1])
    return float(conf.SETTINGS["DISCONNECT_GRACE"].default + CLOSE_LIMIT + of_the_server)


def test_nobody_kills_a_process_that_is_still_draining() -> None:
    service = unit()["Service"]
    longest = longest_drain(shlex.split(service["ExecStart"]))
    assert longest < int(service["TimeoutStopSec"])
    assert f"less than the {longest:.0f} s above" in PAGE


def test_a_server_takes_the_frames_that_are_answered() -> None:
    shown = [command[command.index("--ws-max-size") + 1] for command in commands() if "--ws-max-size" in command]
    assert len(shown) >= 3
    assert all(int(limit) > conf.SETTINGS["MAX_FRAME"].default for limit in shown)


def test_the_first_step_installs_what_the_page_uses() -> None:
    """Without ``websockets`` uvicorn refuses every handshake, and without django-redis there is no such cache."""
    lines = [line.split() for line in text_of("console").splitlines() if line.startswith("$ pip install ")]
    packages = {shlex.split(name)[0] for name in lines[0][3:]}
    assert packages == {"/path/to/routesock[redis]", "channels_redis", "uvicorn", "websockets"}


def test_the_unit_and_the_commands_read_one_environment() -> None:
    """A command with another ``SECRET_KEY`` reaches no process."""
    path = unit()["Service"]["EnvironmentFile"]
    assert f"$ set -a; . {path}; set +a" in text_of("console").splitlines()


def test_the_commands_of_a_walk_use_its_ports_and_its_redis() -> None:
    """They must not act on another Redis, or on another server, which may be at the port that is the default."""
    walk = (ROOT / "docs" / "howto" / "monitoring.rst").read_text(encoding="utf-8")
    shown = [line for block in blocks_of(walk) if block.language == "console" for line in block.text.splitlines()]
    commands = [line for line in shown if line.startswith("$ ")]
    variables, *rest = commands
    ports = re.findall(r"\w+=(\d+)", variables)
    assert len(ports) == 3
    assert not [line for line in rest if re.search(rf"(?<!PORT):({'|'.join(ports)})\b", line)]
    calls = [line for line in re.findall(r"redis-\w+[^`\n]*", walk) if line.startswith(("redis-cli", "redis-server"))]
    assert calls
    assert all("$REDIS_" in line for line in calls)


def directives(name: str) -> dict[str, str]:
    return dict(re.findall(r"^ *(\w+(?: (?:Upgrade|Connection|Host|X-\S+))?) +(\S.*);$", file(name), re.MULTILINE))


@pytest.mark.parametrize("name", NGINX)
def test_every_block_of_nginx_is_closed(name: str) -> None:
    depth = 0
    for line in file(name).splitlines():
        assert not line or line.rstrip().endswith(("{", "}", ";")), line
        depth += line.count("{") - line.count("}")
        assert depth >= 0
    assert depth == 0


@pytest.mark.parametrize("name", NGINX)
def test_nginx_passes_the_handshake_on_with_the_address_of_the_client(name: str) -> None:
    found = directives(name)
    assert found["proxy_http_version"] == "1.1"
    assert found["proxy_set_header Upgrade"] == "$http_upgrade"
    assert found["proxy_set_header Connection"] == "$connection_upgrade"
    assert found["proxy_set_header X-Forwarded-For"] == "$remote_addr"


def heartbeat() -> int:
    found = re.search(r"Heartbeat\(interval=(\d+), timeout=(\d+)\)", PAGE)
    assert found
    return int(found[1]) + int(found[2])


@pytest.mark.parametrize("name", NGINX)
def test_nginx_waits_for_longer_than_the_heartbeat(name: str) -> None:
    assert int(directives(name)["proxy_read_timeout"].removesuffix("s")) > heartbeat()


def test_every_file_is_shown_on_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, *CONTAINERS])
    assert {path.name for path in FILES.iterdir()} == set(re.findall(r"literalinclude:: deploy/(\S+)", pages))


class TestCompose:
    @pytest.fixture
    def services(self) -> dict[str, Any]:
        return dict(yaml.safe_load(file("compose.yaml"))["services"])

    def test_two_processes_have_the_time_that_a_drain_takes(self, services: dict[str, Any]) -> None:
        processes = [service for name, service in services.items() if name.startswith("web-")]
        assert len(processes) == 2
        for service in processes:
            assert longest_drain(image_command()) < int(service["stop_grace_period"].removesuffix("s"))

    def test_the_health_check_is_python_that_calls_the_health_view(self, services: dict[str, Any]) -> None:
        kind, program, option, code = services["web-1"]["healthcheck"]["test"]
        assert (kind, program, option) == ("CMD", "python", "-c")
        compile(code, "compose.yaml", "exec")
        url = urlsplit(re.findall(r"urlopen\('([^']+)'", code)[0])
        assert url.port == int(image_command()[image_command().index("--port") + 1])
        assert resolve(url.path, "tests.test_health").func is health_view
        assert url.hostname in services["web-1"]["environment"]["ALLOWED_HOSTS"].split(",")

    def test_nginx_reaches_every_process(self, services: dict[str, Any]) -> None:
        upstream = re.findall(r"^ +server (\S+):8000;$", file("compose-nginx.conf"), re.MULTILINE)
        assert upstream == [name for name in services if name.startswith("web-")] == [*services["nginx"]["depends_on"]]
        [volume] = services["nginx"]["volumes"]
        assert (FILES / volume.split(":")[0]).is_file()

    def test_redis_evicts_nothing(self, services: dict[str, Any]) -> None:
        command = services["redis"]["command"]
        assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


class TestKubernetes:
    @pytest.fixture
    def kinds(self) -> dict[str, dict[str, Any]]:
        return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(file("kubernetes.yaml"))}

    @pytest.fixture
    def pod(self, kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
        return dict(kinds["Deployment"]["spec"]["template"]["spec"])

    def test_each_selects_the_pods_of_the_deployment(self, kinds: dict[str, dict[str, Any]]) -> None:
        assert set(kinds) == {"Deployment", "Service", "Ingress", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
        labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
        assert kinds["Deployment"]["spec"]["selector"]["matchLabels"] == labels
        assert kinds["Service"]["spec"]["selector"] == labels
        assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
        name = kinds["Deployment"]["metadata"]["name"]
        assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name

    def test_the_probes_call_the_health_view(self, pod: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> None:
        [container] = pod["containers"]
        paths = {}
        for probe in ("readinessProbe", "livenessProbe"):
            get = container[probe]["httpGet"]
            url = urlsplit(get["path"])
            assert resolve(url.path, "tests.test_health").func is health_view
            assert get["port"] in [port["name"] for port in container["ports"]]
            assert get["httpHeaders"][0]["value"] == kinds["Ingress"]["spec"]["rules"][0]["host"]
            paths[probe] = url.query
        assert paths == {"readinessProbe": "", "livenessProbe": "live=1"}

    def test_a_pod_is_not_killed_while_it_drains(self, pod: dict[str, Any]) -> None:
        [container] = pod["containers"]
        program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        assert program == "sleep"
        longest = int(seconds) + longest_drain(image_command())
        page = CONTAINERS[1].read_text(encoding="utf-8")
        assert f"That is {longest:.0f} s." in page
        raised = re.search(r"a ``route_disconnect_grace`` of up to (\d+)", page)
        assert raised
        longer = int(raised[1]) - conf.SETTINGS["DISCONNECT_GRACE"].default
        assert longest + longer < pod["terminationGracePeriodSeconds"]

    def test_a_rollout_keeps_as_many_pods_as_before(self, kinds: dict[str, dict[str, Any]]) -> None:
        assert kinds["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0

    def test_the_ingress_waits_for_longer_than_the_heartbeat(self, kinds: dict[str, dict[str, Any]]) -> None:
        annotations = kinds["Ingress"]["metadata"]["annotations"]
        assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) > heartbeat()
        backend = kinds["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["name"] == kinds["Service"]["metadata"]["name"]
        assert backend["port"]["name"] in [port["name"] for port in kinds["Service"]["spec"]["ports"]]

    def test_the_autoscaler_reads_a_metric_of_routesock(self, kinds: dict[str, dict[str, Any]]) -> None:
        [metric] = kinds["HorizontalPodAutoscaler"]["spec"]["metrics"]
        name = metric["pods"]["metric"]["name"]
        assert f"* - ``{name}``" in (ROOT / "docs" / "reference" / "monitoring.rst").read_text(encoding="utf-8")
        [rule] = yaml.safe_load(file("prometheus-adapter.yaml"))["rules"]["custom"]
        assert rule["seriesQuery"].startswith(f"{name}{{")
        spec = kinds["HorizontalPodAutoscaler"]["spec"]
        assert spec["minReplicas"] <= kinds["Deployment"]["spec"]["replicas"] <= spec["maxReplicas"]
