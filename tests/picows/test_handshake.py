"""The opening handshake: what RFC 6455 section 4.2 requires of the request and of the response."""

import pytest

from app.picows.handshake import Handshake, read_handshake
from tests.frames import HANDSHAKE

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def refused(data: bytes) -> bytes:
    response = read_handshake(data)
    assert isinstance(response, bytes), response
    return response


def accepted(data: bytes) -> Handshake:
    handshake = read_handshake(data)
    assert isinstance(handshake, Handshake), handshake
    return handshake


def test_response_contains_the_accept_value_of_the_key() -> None:
    # the example of section 1.3
    response = accepted(HANDSHAKE).accept([(b"x-name", b"value")])

    assert response.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in response
    assert response.endswith(b"\r\nx-name: value\r\n\r\n")


def test_path_and_headers_are_kept_undecoded() -> None:
    handshake = accepted(HANDSHAKE.replace(b"/stomp-ws", b"/a%20b?c=%64").replace(b"Host", b"X-Name: \xfc\r\nHost"))

    assert handshake.path == b"/a%20b?c=%64"
    assert (b"x-name", b"\xfc") in handshake.headers


def test_subprotocols_may_come_in_several_headers() -> None:
    more = b"Sec-WebSocket-Protocol: v12.stomp,  v11.stomp\r\nsec-websocket-protocol: v10.stomp\r\n"

    assert accepted(HANDSHAKE.replace(KEY, KEY + more)).subprotocols == ["v12.stomp", "v11.stomp", "v10.stomp"]
    assert accepted(HANDSHAKE).subprotocols == []


@pytest.mark.parametrize("connection", [b"upgrade", b"keep-alive, Upgrade", b"UPGRADE,close"])
def test_connection_header_may_have_other_tokens_in_any_case(connection: bytes) -> None:
    accepted(HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: " + connection))


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket, h2c", b""])
def test_upgrade_to_another_protocol_gets_426(upgrade: bytes) -> None:
    response = refused(HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: " + upgrade))

    assert response.startswith(b"HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\n")


def test_connection_that_asks_for_no_upgrade_is_refused() -> None:
    assert refused(HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: close")).startswith(b"HTTP/1.1 426 ")


@pytest.mark.parametrize("line", [b"Sec-WebSocket-Version: 12\r\n", b"", b"Sec-WebSocket-Version: 13\r\n" * 2])
def test_other_websocket_versions_get_426_with_version_13(line: bytes) -> None:
    # section 4.4
    response = refused(HANDSHAKE.replace(b"Sec-WebSocket-Version: 13\r\n", line))

    assert response.startswith(b"HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        KEY * 2,
        b"Sec-WebSocket-Key: short\r\n",
        b"Sec-WebSocket-Key: \r\n",
        b"Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSBpcyBsb25nZXI=\r\n",
    ],
)
def test_key_of_another_size_is_refused(line: bytes) -> None:
    assert refused(HANDSHAKE.replace(KEY, line)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_length_of_the_path_is_limited() -> None:
    assert accepted(HANDSHAKE.replace(b"/stomp-ws", b"/" + b"a" * 8191)).path == b"/" + b"a" * 8191
    assert refused(HANDSHAKE.replace(b"/stomp-ws", b"/" + b"a" * 8192)).startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"CONNECT"])
def test_only_get_opens_a_websocket(method: bytes) -> None:
    # section 4.2.1
    response = refused(HANDSHAKE.replace(b"GET", method))

    assert response.startswith(b"HTTP/1.1 405 Method Not Allowed\r\nallow: GET\r\n")


@pytest.mark.parametrize("line", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_handshake_with_a_body_is_refused(line: bytes) -> None:
    assert refused(HANDSHAKE.replace(KEY, KEY + line)).startswith(b"HTTP/1.1 400 ")
    accepted(HANDSHAKE.replace(KEY, KEY + b"Content-Length: 0\r\n"))


@pytest.mark.parametrize("lines", [b"x: y\r\n" * 130, b"x: " + b"y" * 9000 + b"\r\n"])
def test_size_of_the_head_is_limited(lines: bytes) -> None:
    assert refused(HANDSHAKE.replace(KEY, KEY + lines)).startswith(b"HTTP/1.1 431 ")
