"""Parse, format and group client addresses."""

import pytest

from app.connections.addresses import format_client, host_of, limit_key, split_port


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("what:ever", "what:ever"),
        (None, ""),
        ("", ""),
    ],
)
def test_limits_count_ipv6_by_network(host: str | None, key: str) -> None:
    assert limit_key(host) == key


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:4711", ("192.0.2.1", 4711)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("192.0.2.1:", ("192.0.2.1", 0)),
        ("192.0.2.1:999999999999999", ("192.0.2.1", 0)),
        ("_hidden", ("_hidden", 0)),
        ("[broken", ("broken", 0)),
    ],
)
def test_port_is_separated(text: str, parts: tuple[str, int]) -> None:
    assert split_port(text) == parts


@pytest.mark.parametrize(
    ("client", "text", "host"),
    [
        (("192.0.2.1", 80), "192.0.2.1:80", "192.0.2.1"),
        (("192.0.2.1", 0), "192.0.2.1", "192.0.2.1"),
        (("2001:db8::1", 80), "[2001:db8::1]:80", "2001:db8::1"),
        (("2001:db8::1", 0), "[2001:db8::1]", "2001:db8::1"),
        (None, None, None),
    ],
)
def test_client_is_formatted_with_its_port_if_known(
    client: tuple[str, int] | None, text: str | None, host: str | None
) -> None:
    assert format_client(client) == text
    assert host_of(text) == host
