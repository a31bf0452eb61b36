"""Requests of other versions than HTTP/1.1.

HTTP/1.0 has no chunks: a response without a length ends with its connection (RFC 9112 section 6.3).
"""

import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http.responses import problem


def app_for_version(version: str, app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """Wrap `app` for a request of HTTP/1.0. Return an application that refuses any other version."""
    return _without_chunks(app, cycle) if version == "1.0" else _refuse


# 400 and not 505: no input of a client causes a 5xx.
async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    headers, body = problem(400, f"the request is of HTTP/{scope['http_version']}, 1.0 or 1.1 was expected")
    await send({"type": "http.response.start", "status": 400, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})


def _without_chunks(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """End the body with the connection, unless the response has a content-length."""

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
