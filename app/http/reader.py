"""Read requests within limits.

uvicorn builds a request from the callbacks of the parser. These callbacks count, too, and stop the parser at a limit.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.http.limits import NEVER, HttpWatch

MAX_UNREAD_BYTES = 1_048_576  # of a body on the wire after its response; more closes the connection
LINE_EXTRA_BYTES = len("  HTTP/1.1")
HEADER_EXTRA_BYTES = len(": \r\n")
END_BYTES = len("\r\n\r\n")
NOTHING_PENDING = -1


class RefusedRequest(Exception):
    """A request beyond a limit or against RFC 9112. Raised in a callback, it stops the parser."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class HttpReader(HttpToolsProtocol):
    """The callbacks of the parser of a connection. `expires_tick` is the sweep in which the present state times out."""

    expires_tick: float = NEVER
    _stall_tick: float = NEVER
    """The sweep by which the peer must have read some of the response; NEVER unless writing is paused."""
    # State of the request that is being read
    _in_head = False
    _in_body = False
    _pending_bytes = NOTHING_PENDING
    """Bytes of a head after its first piece, or of chunk framing since the last content of a body."""
    _trailers = 0
    _body_bytes = 0
    _body_bytes_before = 0
    _body_tick = 0
    _body_waited = False
    _unread_bytes = 0
    _framing_bytes = 0
    """Bytes of chunk sizes, chunk extensions and trailers."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        watch: HttpWatch,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._watch = watch

    # Called by the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._pending_bytes = NOTHING_PENDING

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer, which ASGI cannot pass on
            self._trailers += 1
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = self.parser.get_http_version() != "1.0"  # RFC 9110 section 10.1.1
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._check_counts()
        if self._pending_bytes != NOTHING_PENDING:
            self._check_head_bytes()
        self._check_headers()
        if self.parser.should_upgrade():
            return  # handled once the parser has stopped
        super().on_headers_complete()
        self._in_body = True
        self._pending_bytes = NOTHING_PENDING
        self._trailers = self._body_bytes = self._body_bytes_before = self._framing_bytes = 0

    def _check_counts(self) -> None:
        """Check the request line and the number of headers. Called after each piece and at the end of the head."""
        watch = self._watch
        if len(self.url) > watch.safe_url_bytes and self._line_bytes > watch.limits.max_request_line_bytes:
            limit = watch.limits.max_request_line_bytes
            raise RefusedRequest(HTTPStatus.REQUEST_URI_TOO_LONG, f"the request line has more than {limit} bytes")
        if len(self.headers) > watch.max_headers:
            raise _too_large(f"the request has more than {watch.max_headers} headers")

    @property
    def _line_bytes(self) -> int:
        return len(self.parser.get_method()) + len(self.url) + LINE_EXTRA_BYTES

    def _check_head_bytes(self) -> None:
        header_bytes = sum(len(name) + len(value) + HEADER_EXTRA_BYTES for name, value in self.headers)
        limit = self._watch.limits.max_head_bytes
        if self._line_bytes + header_bytes + END_BYTES > limit:
            raise _too_large(f"the head of the request has more than {limit} bytes")

    def _check_headers(self) -> None:
        """Check what RFC 9112 requires in sections 3.2 and 6.1 beyond the checks of the parser."""
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, f"the request has {hosts} Host headers, 1 was expected")
        if b"transfer-encoding" in names:
            codings = b",".join(value for name, value in self.headers if name == b"transfer-encoding")
            if codings.strip().lower() != b"chunked":
                named = codings.decode("latin-1")[:64]
                raise RefusedRequest(HTTPStatus.BAD_REQUEST, f"Transfer-Encoding is {named!r}, not 'chunked'")

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        self._body_bytes += len(body)
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if not self._in_body:
            return  # an upgrade
        self._in_body = False
        cycle = self.cycle
        if cycle.response_complete:
            self._expect_request()
        else:
            self.expires_tick = self._stall_tick
            cycle.more_body = False
            cycle.message_event.set()

    @property
    def _body_bytes_left(self) -> int:
        """Bytes that are left of a body of known length. They hold no further request, so all can be parsed at once."""
        if not self._in_body:
            return 0
        length = next((value for name, value in self.headers if name == b"content-length"), b"0")
        return int(length) - self._body_bytes

    # Between pieces

    def _expect_more(self, size: int) -> None:
        """Count a piece of `size` bytes that did not complete its request. Raises RefusedRequest."""
        is_first = self._pending_bytes == NOTHING_PENDING
        if is_first:
            self._pending_bytes = 0
        elif self._in_head or self._body_bytes == self._body_bytes_before:
            self._pending_bytes += size
        else:
            self._pending_bytes = 0
        limit = self._watch.limits.max_head_bytes
        if self._in_body:
            if self._pending_bytes > limit or self._trailers > self._watch.max_headers:
                raise _too_large(f"chunk extensions and trailers have more than {limit} bytes, or are too many")
            if not is_first:  # the first piece has the head, and perhaps earlier requests
                self._check_body(size)
            self._expect_body(is_first)
            return
        self._check_counts()
        if self._pending_bytes > limit:
            raise _too_large(f"the head of the request has more than {limit} bytes")
        if is_first:
            self.expires_tick = self._watch.tick + self._watch.head_ticks

    def _check_body(self, size: int) -> None:
        """Check the framing of a piece of the body: chunks of one byte cost more than their content."""
        if self.cycle.response_complete:
            self._unread_bytes += size
            if self._unread_bytes > MAX_UNREAD_BYTES:
                raise RefusedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body continues after its response")
        self._framing_bytes += size - (self._body_bytes - self._body_bytes_before)
        if self._framing_bytes > self._watch.limits.max_head_bytes + self._body_bytes:
            raise RefusedRequest(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the chunks of the body have more framing than content"
            )

    def _expect_body(self, is_first: bool) -> None:
        """Set the timeout for more content: without any data, or below the minimum rate since the body began."""
        watch = self._watch
        if is_first:
            self._body_tick = watch.tick
        elif self._body_bytes == self._body_bytes_before:
            return
        self._body_bytes_before = self._body_bytes
        paid_ticks = self._body_bytes / (watch.limits.min_body_rate * watch.limits.tick_s)
        self.expires_tick = watch.body_ticks + min(watch.tick, self._body_tick + paid_ticks)

    def _restart_body_timeout(self, waits_for_application: bool) -> bool:
        """Give the peer the whole timeout again. Return whether the application, not the peer, delayed the body."""
        is_excused = waits_for_application or self._body_waited
        self._body_waited = waits_for_application
        self._body_tick = self._watch.tick
        self.expires_tick = self._watch.tick + (1 if waits_for_application else self._watch.body_ticks)
        return is_excused

    def _expect_request(self) -> None:
        self.expires_tick = self._watch.tick + self._watch.keep_alive_ticks


def _too_large(detail: str) -> RefusedRequest:
    return RefusedRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
