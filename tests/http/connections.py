"""Requests, an application with a gate, and a watch that tests sweep by hand."""

import asyncio

from starlette.types import Receive, Scope, Send

from app.http.limits import HttpLimits, HttpWatch
from tests.http.wire import Wire, settle

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


EARLY = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


HALF_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX"


HALF_BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx"


BROKEN = b"NONSENSE\r\n\r\n"


class Gate:
    """An application that responds once its gate is open. `/streaming` starts its response before that."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started: list[str] = []
        self.disconnected: list[str] = []
        self.close = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started.append(scope["path"])
        headers = [(b"connection", b"close")] if self.close else []
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        is_streaming = scope["path"] == "/streaming"
        if is_streaming:
            await send(start)
        waiting = asyncio.create_task(self.open.wait())
        hearing = asyncio.create_task(self._hear(scope["path"], receive))
        await asyncio.wait((waiting, hearing), return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, hearing):
            task.cancel()
        if not is_streaming:
            await send(start)
        await send({"type": "http.response.body", "body": b"ok"})

    async def _hear(self, path: str, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnected.append(path)


def watch(**limits: float) -> HttpWatch:
    return HttpWatch(HttpLimits(**limits))  # type: ignore[arg-type]  # numbers of both kinds


async def sweep(clock: HttpWatch, seconds: float) -> None:
    for _ in range(clock.ticks(seconds)):
        clock.sweep()
        await settle()


class SlowWire(Wire):
    """A transport whose peer does not close after this side has shut down."""

    has_ended = False

    def write_eof(self) -> None:
        self.has_ended = True


def read(wire: Wire, unsent: int) -> None:
    wire.unsent = unsent
    if not unsent:
        wire.protocol.resume_writing()


class Worker:
    """An application that reads the body, then waits for its gate, and does not wait for a disconnect."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        await self.open.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def shut_down(wire: Wire) -> None:
    """Deliver EOF as a transport does: it closes unless the protocol keeps it open."""
    if not wire.protocol.eof_received():
        wire.close()
