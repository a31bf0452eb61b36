"""uvicorn's HTTP, for what it does not know of old clients and of proxies.

HTTP/1.0 has no chunks: a response without a length ends with its connection (RFC 9112 section 6.3). WebSockets of the
drafts 7 to 12 differ from those of RFC 6455 in the head of the request alone.
"""

import sys
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.transports.http_admission import CountedHttpProtocol

NOT_ALLOWED = b"HTTP/1.1 405 Method Not Allowed\r\nallow: GET\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
DRAFT_VERSIONS = (b"7", b"8")

Headers = list[tuple[bytes, bytes]]


class HttpProtocol(CountedHttpProtocol):
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        if self.scope["method"] != "GET":
            self.transport.write(NOT_ALLOWED)
            self.transport.close()
            return
        self.scope["headers"] = as_rfc6455(self.headers)
        super().handle_websocket_upgrade()
        # They hold each other, and a connection that was idle before is old: the collector looks at the old rarely.
        self.parser = None  # type: ignore[assignment]  # as uvicorn does it itself when a connection is lost


def as_rfc6455(headers: Headers) -> Headers:
    """Of a handshake: drafts have another version, and a name of their own for the origin."""
    if not any(name == b"sec-websocket-version" and value in DRAFT_VERSIONS for name, value in headers):
        return headers
    replaced = {b"sec-websocket-version"}
    if any(name == b"sec-websocket-origin" for name, _ in headers):
        replaced.add(b"origin")
    others = [(name, value) for name, value in headers if name not in replaced]
    renamed = [(b"origin" if name == b"sec-websocket-origin" else name, value) for name, value in others]
    return [*renamed, (b"sec-websocket-version", b"13")]


def without_chunks(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """The end of the body is the end of the connection, unless the response says its length."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_plain(message: Message) -> None:
            if message["type"] == "http.response.start":
                has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                if not has_length:
                    cycle.chunked_encoding = False
                    cycle.expected_content_length = sys.maxsize
            elif cycle.expected_content_length > sys.maxsize // 2 and not message.get("more_body", False):
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plain)

    return respond
