"""The header Idempotency-Key of the push routes."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response

from app.api.dependencies import FirstHeaders
from app.errors import InvalidMessage
from app.runtime import Runtime

KEY_HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
REPLAYED = {"Idempotency-Replay": "true"}


class Idempotency:
    """Without a key it just answers. The keys of different callers do not meet."""

    def __init__(self, runtime: Runtime, key: str | None, fingerprint: str) -> None:
        self._runtime = runtime
        self._key = key
        self._fingerprint = fingerprint

    async def answer(self, action: Callable[[], Awaitable[tuple[dict[str, Any], bool]]]) -> Response:
        """`action` answers a JSON object, and whether it is that of an earlier push."""
        if self._key is None:
            value, replayed = await action()
            return _json(to_json(value), replayed)

        same_id = False

        async def run() -> str:
            nonlocal same_id
            value, same_id = await action()
            return to_json(value).decode()

        text, same_key = await self._runtime.idempotency.run(self._key, self._fingerprint, run)
        return _json(text.encode(), same_key or same_id)


def idempotency_of(request: Request, headers: FirstHeaders, body: bytes, runtime: Runtime) -> Idempotency:
    """Raises InvalidMessage for a key that cannot be one."""
    key = headers.get(b"idempotency-key")
    if key is None:
        return Idempotency(runtime, None, "")
    if not (key.isprintable() and 0 < len(key) <= MAX_KEY_LENGTH):
        problem = f"{KEY_HEADER} has 1 to {MAX_KEY_LENGTH} printable characters"
        raise InvalidMessage(problem, errors=[{"loc": ["header", KEY_HEADER], "msg": problem}])
    caller = headers.get(b"x-api-key") or headers.get(b"authorization") or ""
    content_type = headers.get(b"content-type") or ""
    return Idempotency(runtime, _digest(caller, key), _digest(request.method, request.url.path, content_type, body))


def _digest(*parts: str | bytes) -> str:
    """64 hexadecimal digits; the length before each part keeps their borders."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()


def _json(body: bytes, replayed: bool) -> Response:
    return Response(body, headers=REPLAYED if replayed else None, media_type="application/json")
