"""A plain HTTP client that shows what a library hides."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

TIMEOUT_S = 60.0


@dataclass
class Reply:
    """A response. Header names are in lower case. `body` is empty unless the response has a content-length."""

    status: int
    version: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


class Exchange:
    """One connection, closed by `async with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.reader: StreamReader
        self.writer: StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        version: str = "1.1",
    ) -> None:
        fields = {"Host": "sockjs.test"} | dict(headers or {})
        if body is not None or method == "POST":
            fields.setdefault("Content-Length", str(len(body or b"")))
        lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.writer.write("\r\n".join(lines).encode() + (body or b""))

    async def head(self, timeout_s: float = TIMEOUT_S) -> Reply:
        async with asyncio.timeout(timeout_s):
            version, status, *_ = (await self.reader.readline()).decode().split(" ")
            reply = Reply(int(status), version.removeprefix("HTTP/"))
            while line := (await self.reader.readline()).strip():
                name, _, value = line.decode("latin-1").partition(": ")
                assert name.lower() not in reply.headers, f"{name} is repeated"
                reply.headers[name.lower()] = value
        return reply

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        version: str = "1.1",
    ) -> Reply:
        """Send a request and return the response, with its body if it has a content-length."""
        await self.send(method, path, headers, body, version)
        reply = await self.head()
        if method != "HEAD" and reply.status != 304:
            reply.body = await self.exactly(int(reply.headers.get("content-length", "0")))
        return reply

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readexactly(size)

    async def chunk(self, timeout_s: float = TIMEOUT_S) -> bytes:
        """Return the next chunk, empty for the last."""
        async with asyncio.timeout(timeout_s):
            size = int(await self.reader.readline(), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def rest(self) -> bytes:
        """Return everything until the server closes the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.read()


class Base:
    """A base URL. Each request has its own connection."""

    def __init__(self, port: int, path: str) -> None:
        self.port = port
        self.path = path

    async def request(
        self, method: str, path: str = "", headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        async with Exchange(self.port) as exchange:
            return await exchange.request(method, self.path + path, headers, body)

    async def get(self, path: str = "", **headers: str) -> Reply:
        return await self.request("GET", path, named(headers))

    async def post(self, path: str, body: bytes | str = b"", **headers: str) -> Reply:
        data = body.encode() if isinstance(body, str) else body
        return await self.request("POST", path, named(headers), data)

    async def options(self, path: str, **headers: str) -> Reply:
        return await self.request("OPTIONS", path, named(headers))


def named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
