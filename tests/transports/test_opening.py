"""Allowed origins of WebSockets."""

import pytest

from app.transports.opening import WebSocketOptions


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "service.test", True),
        ("https://shop.example", "service.test", True),
        ("http://shop.example", "service.test", False),
        ("https://shop.example:8443", "service.test", False),
        ("https://evil.shop.example", "service.test", False),
        ("https://service.test", "service.test", True),
        ("http://service.test:2025", "service.test:2025", True),
        ("http://service.test:2026", "service.test:2025", False),
        ("https://service.test.evil.example", "service.test", False),
        ("https://evil.example/service.test", "service.test", False),
        ("https://service.test@evil.example", "service.test", False),
        ("null", "service.test", False),
        ("null", "", False),
        ("null", None, False),
        ("", "", False),
        ("http://[", "service.test", False),
        ("http://[::1]:2025", "[::1]:2025", True),
        ("\0", "service.test", False),
    ],
)
def test_origin_must_be_listed_or_the_service_itself(origin: str | None, host: str | None, allowed: bool) -> None:
    options = WebSocketOptions(allowed_origins=("https://shop.example",))

    assert options.allows(origin, host) is allowed
    assert WebSocketOptions(allowed_origins=("*",)).allows(origin, host)
