"""What a push route is given: one dependency that has done what all of them need.

FastAPI solves every dependency and every parameter of a route anew for each request, 15 to 30 µs apiece, and once more
for each place where it is needed. Here that was three quarters of what a push cost. So the push routes have this one,
which reads the request itself, and `documentation` says what it reads.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from app.api.dependencies import FirstHeaders, check_push_access, read_body, runtime_of
from app.api.idempotency import idempotency_of
from app.api.intake import Intake, parse_content, parse_json
from app.runtime import Runtime


class PushCall:
    """A request of someone who may push, with its body."""

    def __init__(self, request: Request, headers: FirstHeaders, runtime: Runtime, body: bytes) -> None:
        """Raises InvalidMessage for an Idempotency-Key that cannot be one."""
        self._request = request
        self._headers = headers
        self._body = body
        self._idempotency = idempotency_of(request, headers, body, runtime)
        self.runtime = runtime
        self.intake = Intake(runtime)

    def parameter(self, name: str) -> str:
        """Of the path."""
        value = self._request.path_params[name]
        assert isinstance(value, str)
        return value

    def content(self) -> Any:
        """The JSON value of a JSON body, and the text of any other. Raises InvalidMessage."""
        return parse_content(self._body, self._headers.get(b"content-type") or "")

    def json(self) -> Any:
        """JSON whatever the content type says: `curl -d` calls everything a form. Raises InvalidMessage."""
        return parse_json(self._body)

    async def answer(self, action: Callable[[], Awaitable[tuple[dict[str, Any], bool]]]) -> Response:
        """As `Idempotency.answer`."""
        return await self._idempotency.answer(action)


async def get_call(request: Request) -> PushCall:
    """Raises Unauthorized or Forbidden before the body is read, then PayloadTooLarge and InvalidMessage."""
    runtime, headers = runtime_of(request), FirstHeaders(request)
    await check_push_access(headers, runtime)
    return PushCall(request, headers, runtime, await read_body(request, headers, runtime.push.max_body_bytes))


CallDep = Annotated[PushCall, Depends(get_call)]
