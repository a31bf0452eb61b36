"""The back end of a product: it pushes, asks what became of it, and has patience."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from tests.service import Server

T = TypeVar("T")

PUSH = "/vh-stomp-wsend"


class Backend:
    """Every call asserts that it was answered with success, except `post`."""

    def __init__(self, server: Server, http: httpx.AsyncClient) -> None:
        self.server = server
        self.http = http

    async def post(self, path: str, **content: Any) -> httpx.Response:
        """`path` behind `/vh-stomp-wsend`."""
        return await self.http.post(PUSH + path, **content)

    async def push(self, receiver: str, text: str = "hello") -> str:
        """The id."""
        message_id: str = (await self._push(f"/push_all_obj/{receiver}", content=text))["id"]
        return message_id

    async def push_msg(self, **fields: Any) -> dict[str, Any]:
        return await self._push("/push_msg", json={"type": "STRING_MSG"} | fields)

    async def broadcast(self, text: str) -> dict[str, Any]:
        return await self._push("/push_all_obj", content=text)

    async def push_topic(self, topic: str, text: str) -> dict[str, Any]:
        return await self._push(f"/push_topic/{topic}", content=text)

    async def push_batch(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        answer = await self._push("/push_batch", json=items)
        results: list[dict[str, Any]] = answer["results"]
        assert len(results) == len(items)
        return results

    async def _push(self, path: str, **content: Any) -> dict[str, Any]:
        response = await self.post(path, **content)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def status(self, message_id: str) -> dict[str, Any]:
        response = await self.http.get(f"{PUSH}/push_status/{message_id}")
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def becomes(self, message_id: str, status: str) -> dict[str, Any]:
        """Waits until push_status says so."""
        return await eventually(lambda: self.status(message_id), lambda answer: bool(answer["status"] == status))

    async def sessions(self, user: str = "") -> list[dict[str, Any]]:
        """Of one user, or all."""
        response = await self.http.get(f"/api/sessions/{user}".rstrip("/"))
        assert response.status_code == 200, response.text
        items: list[dict[str, Any]] = response.json()["items"]
        return items

    async def unacknowledged(self, user: str) -> int:
        """Of all sessions of a user together: what would be sent again."""
        return sum(session["unacknowledged"] for session in await self.sessions(user))

    async def has_sessions(self, user: str, count: int) -> list[dict[str, Any]]:
        """Waits until it is so many."""
        return await eventually(lambda: self.sessions(user), lambda items: len(items) == count)

    async def logged(self, line: str) -> None:
        """Waits until the log of the server has it."""

        async def log() -> str:
            return self.server.log()

        await eventually(log, lambda text: line in text)


@asynccontextmanager
async def open_backend(server: Server) -> AsyncIterator[Backend]:
    async with httpx.AsyncClient(base_url=server.url, verify=False, timeout=30) as http:
        yield Backend(server, http)


async def eventually(read: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], timeout_s: float = 60.0) -> T:
    """Reads until the value is wanted; the error shows the value that was not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not wanted(value := await read()):
        assert loop.time() < deadline, f"not in {timeout_s} s, at last: {value}"
        await asyncio.sleep(0.02)
    return value
