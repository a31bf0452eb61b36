"""What a push route is given: the request of someone who may push, read already.

FastAPI solves every dependency and every parameter of a route anew for each request, 15 to 30 µs apiece, and once more
for each place where it is needed. Here that was three quarters of what a push cost. So the routes of pushes are of a
class that hands them a request of its own, and `documentation` says what that reads.
"""

import re
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.content import parse_content, parse_json
from app.api.dependencies import FirstHeaders, check_push_access, read_body, runtime_of
from app.api.idempotency import idempotency_of
from app.runtime.runtime import Runtime


class PushCall(Request):
    """A request of someone who may push, with its body."""

    def __init__(self, request: Request, caller: str, headers: FirstHeaders, runtime: Runtime, body: bytes) -> None:
        """Raises InvalidMessage for an Idempotency-Key that cannot be one."""
        super().__init__(request.scope, request.receive)
        self._first = headers
        self._body = body  # what `body()` answers, too
        idempotency = idempotency_of(request, caller, headers, body, runtime)
        self.answer = idempotency.answer
        self.derived_id = idempotency.message_id
        self.runtime = runtime
        self.publisher = runtime.publisher

    def parameter(self, name: str) -> str:
        """Of the path."""
        value = self.path_params[name]
        assert isinstance(value, str)
        return value

    def content(self) -> Any:
        """The JSON value of a JSON body, and the text of any other. Raises InvalidMessage."""
        return parse_content(self._body, self._first.get(b"content-type") or "")

    def value(self) -> Any:
        """JSON whatever the content type says: `curl -d` calls everything a form. Raises InvalidMessage."""
        return parse_json(self._body)


async def open_call(request: Request) -> PushCall:
    """Raises Unauthorized or Forbidden before the body is read, then PayloadTooLarge and InvalidMessage."""
    runtime, headers = runtime_of(request), FirstHeaders(request)
    caller = await check_push_access(headers, runtime)
    return PushCall(
        request, caller, headers, runtime, await read_body(request, headers, runtime.api_limits.max_body_bytes)
    )


class PushRoute(APIRoute):
    """A route whose endpoint takes a PushCall. A caller without access is refused before it.

    Its path is matched to the last character. The pattern of Starlette ignores a line break at the end: a push to
    `push_all_obj%0A` would be a broadcast, one to `bob%0A` would reach "bob".
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint without what FastAPI does for parameters and dependencies, of which a push has none.

        What is raised here becomes a response in the middleware of the application.
        """
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response: Response = await self.endpoint(await open_call(Request(scope, receive)))
        await response(scope, receive, send)
