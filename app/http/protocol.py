"""uvicorn's HTTP/1.1 with limits on size and time, and with fixes for old clients and proxies.

HttpReader reads requests, HttpWriter watches that responses are read. This module handles pipelining, upgrades and the
end of a connection.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

import httptools
from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http.admission import CountedHttpProtocol
from app.http.reader import RefusedRequest
from app.http.responses import problem, response
from app.http.upgrade import Headers, head_without_upgrade, websocket_headers
from app.http.versions import app_for_version
from app.http.writer import HttpWriter, ResponseTransport

MAX_HELD_BYTES = 65_536  # of pipelined requests, while one is running
LARGE_READ_BYTES = 65_536  # a read of this size lets other connections be read before this one


class HttpProtocol(CountedHttpProtocol, HttpWriter):
    """One connection. `watch` calls `expire` once `expires_tick` has come."""

    _held: bytes | memoryview = b""
    _running: RequestResponseCycle | None = None
    _refusal = b""  # the response to an invalid request, sent after the responses to earlier ones
    _is_stopped = False  # further input is discarded
    _has_eof = False  # the peer has shut down its side of the connection

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn declares it so
        super().connection_made(transport)
        self.expires_tick = self._watch.tick + self._watch.head_ticks
        self._watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        running = self._running
        if running is not None and not running.response_complete:  # uvicorn notifies the latest request only
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        self._forget()

    def _forget(self) -> None:
        """Break reference cycles, so that memory is freed without the garbage collector."""
        self._watch.remove(self)
        self.response_transport = None
        self.parser = None  # type: ignore[assignment]  # uvicorn does the same when a connection is lost
        self.cycle = None  # type: ignore[assignment]
        self._running = None
        self.pipeline.clear()
        self._held = b""

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn returns None, and closes
        """Keep the connection open while a response is due: the peer may still read (RFC 9293 section 3.6)."""
        self._has_eof = True
        if self._is_free:
            return False
        self._notify_disconnect()
        return not self.transport.is_closing()

    def _end_half_closed(self) -> None:
        if self._is_free:
            self.transport.close()
        else:
            self.expires_tick = self._watch.tick + 1

    def _notify_disconnect(self) -> None:
        """Close the connection if its application waits for a disconnect.

        TCP does not distinguish a peer that has closed from one that has shut down its side only. An application that
        waits clears the event that wakes it.
        """
        running = self._running
        assert running is not None
        self.expires_tick = self._watch.tick + 1
        if running.more_body:
            self.transport.close()
        elif not running.message_event.is_set():  # set: the application has not received the body yet
            running.message_event.set()
            self.loop.call_soon(self._close_if_awaited, running)

    def _close_if_awaited(self, running: RequestResponseCycle) -> None:
        if running.message_event.is_set():
            running.message_event.clear()
        elif not running.response_complete:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if len(data) <= self._watch.slice_bytes and not self._held and self._may_parse:
            self._parse(data)
        elif not self._is_stopped:
            self._held = b"".join((self._held, data)) if self._held else data
            self._parse_held()
            if len(data) >= LARGE_READ_BYTES:
                self._yield()

    def _yield(self) -> None:
        """Let the event loop read other connections. libuv would read this one up to 32 times while it has data."""
        if self.parser is not None and not self.flow.read_paused and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self.parser is not None and not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    @property
    def _may_parse(self) -> bool:
        """Whether the next bytes belong to the current request, or to one that can start."""
        cycle = self.cycle
        return not self._is_stopped and (cycle is None or cycle.response_complete or cycle.more_body)

    def _parse_held(self) -> None:
        while self._held and self._may_parse:
            held, size = memoryview(self._held), max(self._watch.slice_bytes, self._body_bytes_left)
            self._held = held[size:]
            self._parse(held[:size])
        if len(self._held) > MAX_HELD_BYTES:
            self.flow.pause_reading()

    def _parse(self, data: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._handle_upgrade(bytes(data[upgrade.args[0] :]))
        except HttpParserError as error:
            self._refuse_broken(error)
        else:
            if self._in_head or self._in_body:
                self._await_rest(len(data))

    def _await_rest(self, size: int) -> None:
        """Count a piece of `size` bytes that did not complete its request. Refuse the request beyond a limit."""
        try:
            self._expect_more(size)
        except RefusedRequest as refused:
            self._refuse(refused.status, refused.detail)

    def _refuse_broken(self, error: HttpParserError) -> None:
        cause = error.__context__
        if isinstance(cause, RefusedRequest):
            self._refuse(cause.status, cause.detail)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, f"the request is not valid HTTP: {str(cause or error)[:200]}")

    # Upgrades

    def _handle_upgrade(self, rest: bytes) -> None:
        """Open a WebSocket, or ignore the upgrade. `rest` is the data after the head."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            self._refuse(HTTPStatus.BAD_REQUEST, "CONNECT: this server is not a proxy")
        elif (
            self._is_free
            and self.ws_protocol_class
            and (headers := websocket_headers(method, version, self.headers)) is not None
        ):
            self._become_websocket(headers, rest)
        else:
            self._ignore_upgrade(head_without_upgrade(method, self.url, version, self.headers), rest)

    @property
    def _is_free(self) -> bool:
        return self._running is None or self._running.response_complete

    def _become_websocket(self, headers: Headers, rest: bytes) -> None:
        self.scope["method"] = "GET"
        self.scope["headers"] = headers
        rest += self._held
        self.handle_websocket_upgrade()
        self._forget()
        if rest and not self.transport.is_closing():
            cast(asyncio.Protocol, self.transport.get_protocol()).data_received(rest)

    def _ignore_upgrade(self, head: bytes, rest: bytes) -> None:
        """Parse the request again without its upgrade. The application gets the original headers."""
        headers = self.headers
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._parse(head)
        self.headers[:] = headers
        if rest and not self._is_stopped:
            self._held = rest + self._held
            self._parse_held()

    # Responses

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if self.response_transport is None:
            self.response_transport = ResponseTransport(self.transport, self._end)
        cycle.transport = cast(asyncio.Transport, self.response_transport)
        if (version := cycle.scope["http_version"]) != "1.1":
            app = app_for_version(version, app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Start the next request, or wait for one. Unlike uvicorn, set no timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or (self._is_stopped and not self._refusal):
            return
        self._unread_bytes = 0
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal:
            self._end(self._refusal)
        else:
            if not (self._in_head or self._in_body):
                self._expect_request()
            if self._held:
                self._parse_held()
            if self._has_eof:
                self._end_half_closed()

    # The end

    def _refuse(self, status: int, detail: str) -> None:
        """Send an error for the request that is being read, after the responses to earlier ones, and close."""
        self.logger.info("HTTP %d to %s: %s", status, self.client, detail)
        self._is_stopped = True
        self._held = b""
        headers, body = problem(status, detail)
        data = response(status, body, [*self.server_state.default_headers, *headers])
        if self._in_body and self.pipeline:
            self.pipeline.popleft()
        elif self._in_body and self._running is not None:
            data = b"" if self._running.response_started else data
            self._running.disconnected = True
            self._running.message_event.set()
            self._running = None
        if self._is_free:
            self._end(data)
        else:
            self._refusal, self.expires_tick = data, self._stall_tick

    def _end(self, data: bytes = b"") -> None:
        """Write `data`, and shut down this side of the connection, after a refusal or a last response.

        Closing at once would reset the connection if the peer is still sending, and a reset can overtake the response
        (RFC 9112 section 9.6).
        """
        self._is_stopped, self._refusal = True, b""
        self.expires_tick = self._watch.tick + self._watch.linger_ticks
        if self.transport.is_closing():
            return
        self.transport.write(data)
        self.flow.resume_reading()
        if not self._has_eof and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Called by the server, which then waits for its connections. A last response closes its connection at once.

        Bodies that have stalled, and responses that are not read, get a short timeout.
        """
        self._shorten_timeouts()
        if self.response_transport is not None:
            self.response_transport.close = self.transport.close
        super().shutdown()

    def expire(self) -> None:
        """Called by the watch when the timeout of the present state has passed."""
        if self._watch.tick >= self._stall_tick:
            self._check_reading()
        elif self._has_eof and not self._is_free and not self.transport.is_closing():
            self._notify_disconnect()
        elif self._is_stopped or self.transport.is_closing():
            self._abort_unless_sending()
        elif self._in_head:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT, f"the head took longer than {self._watch.limits.head_timeout_s:g} s"
            )
        elif not self._in_body:
            self.expires_tick = self._watch.tick + self._watch.linger_ticks
            self._is_unsent = True  # no further time for a response that is not read
            self.transport.close()
        elif not self._restart_body_timeout(self.flow.read_paused or self.cycle.waiting_for_100_continue):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time")
