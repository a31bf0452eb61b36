"""The argument of every push route: an authorized request whose body has been read.

FastAPI resolves each dependency and each parameter of a route for every request, at 15 to 30 µs apiece. For a push that
was three quarters of the cost. Push routes therefore use a route class that passes one PushCall, and
`app.api.documentation` describes its headers and body in the OpenAPI document.
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
    """An authorized push request and its body.

    `answer` and `derived_id` are those of its Idempotency.
    """

    def __init__(self, request: Request, caller: str, headers: FirstHeaders, runtime: Runtime, body: bytes) -> None:
        """Raises InvalidMessage for an invalid Idempotency-Key."""
        super().__init__(request.scope, request.receive)
        self._first = headers
        self._body = body  # `Request.body` returns it, too
        idempotency = idempotency_of(request, caller, headers, body, runtime)
        self.answer = idempotency.answer
        self.derived_id = idempotency.message_id
        self.runtime = runtime
        self.publisher = runtime.publisher

    def parameter(self, name: str) -> str:
        """Return a parameter of the path."""
        value = self.path_params[name]
        assert isinstance(value, str)
        return value

    def content(self) -> Any:
        """Return the JSON value of a JSON body, and the text of any other.

        Raises InvalidMessage and UnsupportedMedia.
        """
        return parse_content(self._body, self._first.get(b"content-type") or "")

    def value(self) -> Any:
        """Return the body as JSON, whatever its content type: `curl -d` sends that of a form. Raises InvalidMessage."""
        return parse_json(self._body)


async def open_call(request: Request) -> PushCall:
    """Authorize a request, then read its body.

    Raises Unauthorized or Forbidden before the body is read, afterwards the errors of `read_body` and InvalidMessage.
    """
    runtime, headers = runtime_of(request), FirstHeaders(request)
    caller = await check_push_access(headers, runtime)
    return PushCall(
        request, caller, headers, runtime, await read_body(request, headers, runtime.api_limits.max_body_bytes)
    )


class PushRoute(APIRoute):
    """A route whose endpoint takes a PushCall and nothing else. Unauthorized requests do not reach the endpoint.

    The path is matched up to its last character. Starlette's pattern ignores a line break at the end: a push to
    `push_all_obj%0A` would be a broadcast, and a push to `bob%0A` would reach "bob".
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint without FastAPI's handling of parameters and dependencies, because a push has none.

        The middleware of the application turns exceptions into responses.
        """
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response: Response = await self.endpoint(await open_call(Request(scope, receive)))
        await response(scope, receive, send)
