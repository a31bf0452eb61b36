"""The HTTP protocol without a socket: each piece of a request arrives exactly as it was cut."""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, overload

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.http.limits import HttpLimits, HttpWatch
from app.http.protocol import HttpProtocol
from app.server.server import server_config
from app.settings import Settings

MakeProtocol = Callable[[Config], asyncio.Protocol]


class Wire(asyncio.Transport):
    """A transport that records writes. Its peer closes once this side has shut down."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 1234), "sockname": ("192.0.2.1", 80)})
        self.written = b""
        self.unsent = 0
        self.is_paused = False
        self._is_closing = False
        self.protocol: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closing:
            self.written += data

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self.protocol
        return protocol


def ours(watch: HttpWatch | None = None) -> MakeProtocol:
    chosen = HttpWatch(HttpLimits()) if watch is None else watch  # a watch without connections is falsy
    return lambda config: HttpProtocol(config, ServerState(), {}, watch=chosen)


def with_h11(config: Config) -> asyncio.Protocol:
    return H11Protocol(config, ServerState(), {})


W = TypeVar("W", bound="Wire")


@overload
def connect(make: MakeProtocol, app: ASGIApp, ws_transport: str = "picows") -> Wire: ...


@overload
def connect(make: MakeProtocol, app: ASGIApp, ws_transport: str = "picows", *, wire: W) -> W: ...


def connect(make: MakeProtocol, app: ASGIApp, ws_transport: str = "picows", *, wire: Wire | None = None) -> Wire:
    config = copy(_loaded_config(ws_transport))
    config.loaded_app = app
    wire = wire or Wire()
    wire.protocol = make(config)
    wire.protocol.connection_made(wire)
    return wire


@cache
def _loaded_config(ws_transport: str) -> Config:
    config = server_config(Recorder(), Settings.model_validate({"ws_transport": ws_transport}))
    config.load()
    return config


async def send(wire: Wire, pieces: Iterable[bytes]) -> None:
    """Deliver each piece on its own, and let the application run before the next."""
    for piece in pieces:
        if not wire.is_closing():
            wire.protocol.data_received(piece)
            await settle()


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def hang_up(wire: Wire, error: Exception | None = None) -> None:
    if not wire.is_closing():
        wire.close()
    await settle()


def cuts(request: bytes) -> Iterator[Sequence[bytes]]:
    """Yield the data whole, then in two pieces for every cut, then as single bytes."""
    yield [request]
    for at in range(1, len(request)):
        yield [request[:at], request[at:]]
    yield [request[at : at + 1] for at in range(len(request))]


@dataclass(frozen=True)
class Seen:
    """A request as the application sees it."""

    method: str
    path: str
    query: str
    body: bytes


class Recorder:
    """Records each request and responds with its body. `/early` gets its response before the body is read."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            self.scopes.append(scope)
            await receive()
            return
        body, is_more = b"", scope["path"] != "/early"
        while is_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            is_more = message["more_body"]
        self.scopes.append(scope)
        self.seen.append(Seen(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), body))
        answer = json.dumps([scope["method"], scope["path"], len(body)]).encode()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def statuses(written: bytes) -> list[int]:
    """Return the status of each response. Bodies must not look like a status line."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", written)]
