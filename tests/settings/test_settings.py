"""Settings: their names and defaults, what they refuse, and what they keep to themselves."""

import re
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import ConfigurationError
from app.main import create_app
from app.runtime.configuration import connections_of, limit_options
from app.settings import Settings
from app.settings.groups import GROUPS
from app.settings.reference import env_example, markdown

ROOT = Path(__file__).parents[2]
DERIVED = {"log_format", "log_ack_events", "ack_max_retry_count", "allowed_origins", "allow_client_topic_send"}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the test run: neither in the environment nor in a .env."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_page_and_example_are_what_the_settings_say() -> None:
    for file, text in (("docs/settings.md", markdown()), (".env.example", env_example())):
        assert (ROOT / file).read_text() == text, f"run `make docs`: {file} differs"


def test_each_setting_has_a_group_and_a_description() -> None:
    names = [name for group in GROUPS for name in group.model_fields]
    assert len(names) == len(set(names))
    assert set(names) == set(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


def test_example_is_read_as_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE):
        field = Settings.model_fields[name.lower()]
        if value:
            monkeypatch.setenv(name, value)
            assert getattr(Settings(), name.lower()) == field.default, name


def test_defaults_of_dev() -> None:
    settings = Settings()

    assert (settings.app_env, settings.host, settings.port) == ("dev", "127.0.0.1", 2025)
    assert (settings.ack_check_wait_ms, settings.ack_retry_interval_ms, settings.ack_message_ttl_ms) == (
        5000,
        5000,
        60000,
    )
    assert settings.ack_max_retry_count == 12
    assert (settings.max_sessions_per_user, settings.jwt_user_claim) == (10, "sub")
    assert (settings.heartbeat_send_ms, settings.heartbeat_receive_ms) == (10000, 10000)
    assert settings.allowed_origins == ("*",)
    assert (settings.log_level, settings.log_format, settings.log_ack_events) == ("INFO", "text", True)
    assert settings.allow_client_topic_send


def test_limits_of_the_contract() -> None:
    settings = Settings()

    assert settings.max_connect_frame_bytes == 64 * 1024
    assert settings.max_frame_bytes == 256 * 1024
    assert (settings.max_frame_headers, settings.max_header_bytes) == (64, 8 * 1024)
    assert settings.max_subscriptions_per_session == 128
    assert settings.connect_timeout_ms == 10_000
    assert (settings.inbound_frames_per_s, settings.inbound_burst) == (100, 200)
    assert (settings.outbox_max_frames, settings.outbox_max_bytes) == (1000, 1024 * 1024)
    assert settings.inbox_max_messages == 300
    assert settings.http_max_body_bytes == 512 * 1024
    assert (settings.http_max_request_line_bytes, settings.http_max_head_bytes) == (8 * 1024, 64 * 1024)
    assert settings.http_max_headers == 100
    assert (settings.http_head_timeout_ms, settings.http_body_timeout_ms) == (10_000, 10_000)
    assert (settings.http_min_body_bytes_per_s, settings.http_keep_alive_ms) == (1024, 75_000)
    assert settings.max_batch_items == 1000


def test_defaults_of_prod() -> None:
    settings = Settings(app_env="prod")

    assert (settings.log_format, settings.log_ack_events) == ("json", False)
    assert settings.allowed_origins == ()
    assert not settings.allow_client_topic_send


@pytest.mark.parametrize("env", ["dev", "prod"])
def test_what_is_said_wins_over_what_follows(env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "APP_ENV": env,
        "LOG_FORMAT": "json",
        "LOG_ACK_EVENTS": "false",
        "ALLOW_CLIENT_TOPIC_SEND": "true",
        "ALLOWED_ORIGINS": " https://a.example , ,https://b.example",
        "ACK_MAX_RETRY_COUNT": "0",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)

    settings = Settings()

    assert (settings.log_format, settings.log_ack_events, settings.ack_max_retry_count) == ("json", False, 0)
    assert settings.allow_client_topic_send is True
    assert settings.allowed_origins == ("https://a.example", "https://b.example")


def test_retries_follow_from_time_to_live_and_interval() -> None:
    assert Settings(ack_message_ttl_ms=10_000, ack_retry_interval_ms=3000).ack_max_retry_count == 3
    assert Settings(ack_message_ttl_ms=1000, ack_retry_interval_ms=3000).ack_max_retry_count == 0


def test_environment_wins_over_the_file_and_empty_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=1000\nHOST=10.0.0.1\nJWT_ISSUER=\nSOMETHING_ELSE=1\nAPI_KEYS=a,b\n")
    monkeypatch.setenv("PORT", "3000")
    monkeypatch.setenv("HOST", "")

    settings = Settings()

    assert (settings.port, settings.host) == (3000, "10.0.0.1")
    assert settings.jwt_issuer is None
    assert settings.api_keys == ("a", "b")


BAD: list[tuple[str, Any]] = [
    ("app_env", "test"),
    ("app_env", "PROD "),
    ("host", " , "),
    ("port", 65536),
    ("port", -1),
    ("port", "http"),
    ("log_level", "LOUD"),
    ("log_format", "xml"),
    ("log_ack_events", "maybe"),
    ("ack_check_wait_ms", 0),
    ("ack_retry_interval_ms", 0),
    ("ack_message_ttl_ms", -5),
    ("ack_max_retry_count", -1),
    ("max_message_ttl_ms", 0),
    ("heartbeat_send_ms", -1),
    ("heartbeat_receive_ms", "10s"),
    ("workers", 0),
    ("max_sessions_per_user", 0),
    *((name, 0) for name in Settings.model_fields if name.startswith(("max_", "inbound_", "outbox_", "inbox_"))),
    *((name, 0) for name in Settings.model_fields if name.startswith("http_")),
    ("delivery_log_size", 0),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**{name: value})

    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize("name", ["jwt_secret", "api_keys"])
def test_secrets_stay_out_of_sight(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = "very-secret-value-1234567890-abcdef"
    monkeypatch.setenv(name.upper(), value)
    settings = Settings()
    assert getattr(settings, name)

    assert value not in repr(settings)
    assert value not in str(settings)


@pytest.mark.parametrize(
    ("env", "hosts"),
    [
        ({}, ("127.0.0.1",)),
        ({"HOST": " 10.0.0.1, ::1 ,,10.0.0.1"}, ("10.0.0.1", "::1")),
        ({"HOST": "*"}, ("*",)),
        ({"UDS": "/run/notify.sock"}, ()),
        ({"UDS": "/run/notify.sock", "HOST": "127.0.0.1"}, ("127.0.0.1",)),
    ],
)
def test_unix_socket_takes_the_place_of_a_host_that_is_not_set(
    env: dict[str, str], hosts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    assert Settings().hosts == hosts


@pytest.mark.parametrize(
    ("open_files", "connections"),
    [(64, 32), (200, 100), (256, 128), (1024, 896), (20_000, 19_000), (1_048_576, 1_047_576), (-1, sys.maxsize)],
)
def test_connections_leave_files_for_other_things(open_files: int, connections: int) -> None:
    assert connections_of(open_files) == connections


def test_connections_are_no_more_than_files_allow(caplog: pytest.LogCaptureFixture) -> None:
    allowed = connections_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    assert limit_options(Settings()).connections == allowed
    assert limit_options(Settings()).by_files
    assert limit_options(Settings(max_connections=5)).connections == 5
    assert not limit_options(Settings(max_connections=5)).by_files
    assert caplog.messages == []
    too_many = limit_options(Settings(max_connections=allowed + 1))
    assert (too_many.connections, too_many.by_files) == (allowed, True)
    assert f"MAX_CONNECTIONS={allowed + 1} is more than RLIMIT_NOFILE allows" in caplog.text


PROD = {"app_env": "prod", "jwt_secret": "s" * 32, "api_keys": ("k" * 16,)}


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({"jwt_secret": None}, ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL"]),
        ({"api_keys": ()}, ["API_KEYS"]),
        ({"jwt_secret": None, "api_keys": ()}, ["JWT_SECRET", "API_KEYS"]),
        ({"jwt_secret": "short"}, ["JWT_SECRET"]),
        ({"api_keys": ("k" * 16, "schlüssel-mit-umlaut")}, ["API_KEYS", "2"]),
        ({"jwt_public_key": "no pem"}, ["JWT_PUBLIC_KEY"]),
        ({"jwt_jwks_url": "ftp://x"}, ["JWT_JWKS_URL"]),
        ({"jwt_algorithms": ("RS256",)}, ["JWT_ALGORITHMS"]),
        ({"jwt_algorithms": ("none",)}, ["JWT_ALGORITHMS"]),
        ({"redis_url": "http://:nosecret@x"}, ["REDIS_URL", "redis+cluster://"]),
        ({"workers": 2}, ["WORKERS", "REDIS_URL"]),
        ({"trusted_proxies": ("10.0.0.0/33",)}, ["TRUSTED_PROXIES", "10.0.0.0/33"]),
        ({"root_path": "notify"}, ["ROOT_PATH", "'notify'"]),
        ({"root_path": "//evil.example"}, ["ROOT_PATH"]),
        ({"enable_local_ack": False}, ["ENABLE_LOCAL_ACK", "REDIS_URL"]),
    ],
)
def test_service_refuses_to_start_and_names_what_is_wrong(missing: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_app(Settings(**PROD | missing))

    for name in named:
        assert name in str(caught.value)
    for secret in ("s" * 32, "k" * 16, "schlüssel", "no pem"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"jwt_algorithms": ("HS512",), "jwt_secret": "s" * 64},
        {"jwt_secret": None, "jwt_jwks_url": "https://provider.invalid/keys"},
    ],
)
def test_service_starts_with_what_prod_needs(extra: dict[str, Any]) -> None:
    assert create_app(Settings(**PROD | extra)).title == "stomp-notify"


def test_dev_needs_nothing_but_refuses_what_cannot_be_used() -> None:
    create_app(Settings())
    with pytest.raises(ConfigurationError, match="JWT_PUBLIC_KEY"):
        create_app(Settings(jwt_public_key="garbage"))
