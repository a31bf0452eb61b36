"""Trusted proxies, and the clients that they report."""

import time
import tracemalloc

import pytest

from app.connections.proxies import TrustedProxies, parse_prefix
from app.errors import ConfigurationError

PROXIES = TrustedProxies(("10.0.0.0/8", "192.0.2.7", "2001:db8:f::/48"))
NEAR = "203.0.113.9"  # not a proxy


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("10.1.2.3", True),
        ("192.0.2.7", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8:f::5", True),
        ("192.0.2.8", False),
        ("2001:db8:e::5", False),
        ("localhost", False),
        (None, False),
        ("", False),
    ],
)
def test_addresses_and_networks_are_trusted(host: str | None, trusted: bool) -> None:
    assert PROXIES.trusts(host) is trusted


def test_peer_on_a_unix_socket_is_trusted_by_the_entry_unix() -> None:
    assert TrustedProxies(("unix",)).trusts(None)
    assert not TrustedProxies(("unix",)).trusts("127.0.0.1")
    assert bool(TrustedProxies(("unix",)))
    assert not TrustedProxies()


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "*", "proxy.example", "10.0.0.0/33", "1.2.3"])
def test_error_names_an_entry_that_is_neither_address_nor_network(entry: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"TRUSTED_PROXIES: .* was found; an address, a network such as"
    ) as caught:
        TrustedProxies((entry,))
    assert entry in str(caught.value)


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([NEAR], (NEAR, 0)),
        ([f"{NEAR}:4711"], (NEAR, 4711)),
        (["[2001:db8::1]:80"], ("2001:db8::1", 80)),
        (["::ffff:203.0.113.9"], (NEAR, 0)),
        ([f"1.1.1.1, {NEAR}, 10.0.0.2"], (NEAR, 0)),  # hops before an untrusted address are not trusted
        ([f"1.1.1.1, {NEAR}", "10.0.0.2 , 192.0.2.7"], (NEAR, 0)),
        (["10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0)),  # the client is inside of the trusted network
        (["1.1.1.1, unknown"], None),
        (["garbage"], None),
        ([""], None),
        ([" , "], None),
        ([], None),
    ],
)
def test_client_is_the_last_that_is_not_a_proxy(values: list[str], client: tuple[str, int] | None) -> None:
    assert PROXIES.client_of(values, []) == client


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["for=203.0.113.9"], (NEAR, 0)),
        (['For="203.0.113.9:4711";proto=https;by=10.0.0.2'], (NEAR, 4711)),
        (['for="[2001:db8::1]:80"'], ("2001:db8::1", 80)),
        (["for=1.1.1.1, for=203.0.113.9, for=10.0.0.2"], (NEAR, 0)),
        (["for=1.1.1.1", "for=203.0.113.9;host=a.example"], (NEAR, 0)),
        (['for="1.1.1.1, for=2.2.2.2";host="x\\"y", for=203.0.113.9'], (NEAR, 0)),
        (['for="1.1.1.1, for=203.0.113.9'], (NEAR, 0)),  # the client's quote is never closed
        (['for=6.6.6.6;x="', 'for="203.0.113.9:4711"'], (NEAR, 4711)),
        (['for=6.6.6.6;x=", for="203.0.113.9:4711"'], None),  # the client's quote ends where the proxy's begins
        (["for=6.6.6.6;x y, for=10.0.0.2"], None),
        (["for=203.0.113.9;; ,"], (NEAR, 0)),
        (["for=unknown"], None),
        (["for=_secret"], None),
        (["proto=https"], None),
        (["for=1.1.1.1, proto=https"], None),
        ([","], None),
    ],
)
def test_forwarded_of_rfc_7239(values: list[str], client: tuple[str, int] | None) -> None:
    assert PROXIES.client_of([], values) == client


@pytest.mark.parametrize(
    "text", ["a", '"', '\\"', '""', "a=", 'a="', 'a="\\"', "a;", "for=a,", "for=10.0.0.1,", ",", " ", "=;"]
)
@pytest.mark.parametrize("start", ["", '"'])
def test_header_as_long_as_a_head_is_read_in_milliseconds(start: str, text: str) -> None:
    def measure(size: int) -> float:
        value = start + text * (size // len(text))
        began_s = time.process_time()
        PROXIES.client_of([value], [value])
        return time.process_time() - began_s

    assert min(measure(65_536) for _ in range(3)) < 0.5  # quadratic time would be 7 s or more


def test_long_hosts_are_not_cached() -> None:
    proxies = TrustedProxies(("10.0.0.0/8",))
    tracemalloc.start()
    for number in range(200):
        assert proxies.client_of([], [f"for={number}" + "x" * 60_000]) is None
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept_bytes < 1_000_000


def test_headers_that_disagree_are_not_trusted() -> None:
    assert PROXIES.client_of([NEAR], ["for=203.0.113.9"]) == (NEAR, 0)
    assert PROXIES.client_of([NEAR], ["for=1.1.1.1"]) is None


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("/notify", "/notify"),
        ("/notify/", "/notify"),
        ("/a/b-c/d.e_f~%20", "/a/b-c/d.e_f~%20"),
        ("/", None),
        ("", None),
        ("notify", None),
        ("//evil.example", None),
        ("/a//b", None),
        ("/a?b", None),
        ("/a b", None),
        ("/a\\b", None),
        ("https://evil.example/a", None),
        ("/" + "a" * 256, None),
    ],
)
def test_prefix_is_a_path_that_cannot_lead_to_another_host(text: str, prefix: str | None) -> None:
    assert parse_prefix(text) == prefix
