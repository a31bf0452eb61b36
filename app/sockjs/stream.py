"""Responses that carry the frames of a session."""

import asyncio
import contextlib
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.sockjs.protocol.frames import HEARTBEAT
from app.sockjs.protocol.receivers import Receiver
from app.sockjs.session import Source


class _Answer(Response):
    """A response that owns its source and releases it at the end, whatever ends it."""

    def __init__(
        self, source: Source, receiver: Receiver, callback: str, *, limit: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers={**headers, "Content-Type": receiver.content_type})
        del self.headers["Content-Length"]
        self.headers["X-Content-Type-Options"] = "nosniff"  # content of clients is never shown as a page
        self.headers["X-Accel-Buffering"] = "no"  # or nginx keeps frames until it has a page full
        self._source = source
        self._receiver = receiver
        self._callback = callback
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = asyncio.create_task(self._watch(receive))
        try:
            with contextlib.suppress(OSError):  # some servers say so that the client has gone
                await self._write(send)
        finally:
            self._source.release()
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch(self, receive: Receive) -> None:
        """A client that goes away says nothing; `receive` does, once the body of its request has been passed over."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._source.release()

    async def _write(self, send: Send) -> None:
        raise NotImplementedError

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    def _wrap(self, frame: bytes) -> bytes:
        return self._receiver.wrap(frame, self._callback)


class FrameAnswer(_Answer):
    """A response of one frame. If there is none, the client is told to come again, to another node if there is one."""

    async def _write(self, send: Send) -> None:
        frame = await self._source.next(self._limit)
        await self._source.finish()
        if frame is None:
            self.headers["Connection"] = "close"
        body = self._wrap(HEARTBEAT if frame is None else frame)
        self.headers["Content-Length"] = str(len(body))
        await self._start(send)
        await send({"type": "http.response.body", "body": body})


class StreamAnswer(_Answer):
    """A streaming response: one chunk for each frame. It ends after `limit` bytes, and the client comes again."""

    async def _write(self, send: Send) -> None:
        await self._start(send)
        await self._chunk(send, self._receiver.prelude(self._callback))
        left = self._limit
        while left > 0 and (frame := await self._source.next(left)) is not None:
            body = self._wrap(frame)
            left -= len(body)
            await self._chunk(send, body)
        await self._source.finish()
        await send({"type": "http.response.body", "body": b""})

    async def _chunk(self, send: Send, body: bytes) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": True})
