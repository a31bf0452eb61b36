"""The header Idempotency-Key of the push routes."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response

from app.api.dependencies import FirstHeaders
from app.errors import InvalidMessage
from app.messages.ids import derived_id
from app.notifications.idempotency import Result
from app.runtime.runtime import Runtime

KEY_HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
REPLAYED = {"Idempotency-Replay": "true"}


class Answer(NamedTuple):
    """The JSON object of a response. `replayed`: an earlier push had this result. `final`: as in `Result`."""

    value: dict[str, Any]
    replayed: bool = False
    final: bool = True


class Idempotency:
    """Runs a request once per caller and key; without a key, every time."""

    def __init__(self, runtime: Runtime, caller: str, key: str | None, fingerprint: str) -> None:
        self._runtime = runtime
        self._caller = caller
        self._key = key
        self._fingerprint = fingerprint

    def message_id(self, item: int = 0) -> str | None:
        """Return the id for a message without an id of its own; None without a key. `item`: position in a batch."""
        return None if self._key is None else derived_id(self._caller, self._key, item)

    async def answer(self, action: Callable[[], Awaitable[Answer]]) -> Response:
        """Run `action`, unless a request with this key has a final answer: then return that answer."""
        if self._key is None:
            answer = await action()
            return _json(to_json(answer.value), answer.replayed)

        same_id = False

        async def run() -> Result:
            nonlocal same_id
            value, same_id, is_final = await action()
            return Result(to_json(value).decode(), is_final)

        row = _digest(self._caller, self._key)
        text, same_key = await self._runtime.idempotency.run(row, self._fingerprint, run)
        return _json(text.encode(), same_key or same_id)


def idempotency_of(request: Request, caller: str, headers: FirstHeaders, body: bytes, runtime: Runtime) -> Idempotency:
    """Read the header Idempotency-Key. `caller` is a principal. Raises InvalidMessage for an invalid key."""
    key = headers.get(b"idempotency-key")
    if key is None:
        return Idempotency(runtime, caller, None, "")
    if not (key.isprintable() and 0 < len(key) <= MAX_KEY_LENGTH):
        problem = f"{KEY_HEADER} is invalid: 1 to {MAX_KEY_LENGTH} printable characters were expected"
        raise InvalidMessage(problem, errors=[{"loc": ["header", KEY_HEADER], "msg": problem}])
    content_type = headers.get(b"content-type") or ""
    return Idempotency(runtime, caller, key, _digest(request.method, request.url.path, content_type, body))


def _digest(*parts: str | bytes) -> str:
    """Return 64 hexadecimal digits. Each part is preceded by its length, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()


def _json(body: bytes, replayed: bool) -> Response:
    return Response(body, headers=REPLAYED if replayed else None, media_type="application/json")
