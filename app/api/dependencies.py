"""Dependencies of the routes, as `Annotated` names."""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import ClientDisconnect, HTTPConnection

from app.auth.bearer import bearer_token
from app.errors import PayloadTooLarge, Unauthorized
from app.http.codings import inflate, require_known
from app.runtime.runtime import Runtime

MAX_LENGTH_DIGITS = 20  # of a content-length; a longer one is not parsed

api_key_scheme = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key of API_KEYS. Not needed in dev.")
bearer_scheme = HTTPBearer(auto_error=False, description="A JWT: of the user, or with the scope `push`.")

BearerDep = Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)]


def runtime_of(connection: HTTPConnection) -> Runtime:
    runtime = connection.app.state.runtime
    assert isinstance(runtime, Runtime), "the lifespan of the application has not begun"
    return runtime


async def get_runtime(connection: HTTPConnection) -> Runtime:
    return runtime_of(connection)


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]


class FirstHeaders:
    """The first header of each name, found in a quarter of the time that `request.headers` takes."""

    __slots__ = ("_values",)

    def __init__(self, request: Request) -> None:
        self._values: dict[bytes, bytes] = dict(reversed([*request.scope["headers"]]))

    def get(self, name: bytes) -> str | None:
        """Return the value of a header, or None; `name` is in lower case."""
        value = self._values.get(name)
        return None if value is None else value.decode("latin-1")


async def check_push_access(headers: FirstHeaders, runtime: Runtime) -> str:
    """Return the principal. Raises Unauthorized or Forbidden. An empty X-API-Key counts as missing."""
    return await runtime.access.check(
        api_key=headers.get(b"x-api-key") or None, authorization=headers.get(b"authorization")
    )


async def require_push_access(
    request: Request, runtime: RuntimeDep, api_key: Annotated[str | None, Security(api_key_scheme)], bearer: BearerDep
) -> None:
    """Require the right to push. `api_key` and `bearer` put the schemes into the OpenAPI document, no more.

    Raises Unauthorized or Forbidden.
    """
    await check_push_access(FirstHeaders(request), runtime)


PushAccess = Depends(require_push_access)


async def read_body(request: Request, headers: FirstHeaders, limit: int) -> bytes:
    """Return the decoded body, at most `limit` bytes. The request's own methods cannot read the body afterwards.

    `request.stream` would double the time. Raises PayloadTooLarge as soon as the limit is exceeded, UnsupportedCoding,
    InvalidMessage for a body that does not inflate, and ClientDisconnect.
    """
    codings: list[str] = []
    if headers.get(b"content-encoding") is not None:
        codings = request.headers.getlist("content-encoding")
        require_known(codings)
    announced = headers.get(b"content-length") or ""
    if announced.isdecimal() and len(announced) < MAX_LENGTH_DIGITS and int(announced) > limit:
        raise PayloadTooLarge(f"the body has {announced} bytes, at most {limit} are allowed")
    chunks, size, is_more = [], 0, True
    while is_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"the body has more than the {limit} bytes that are allowed")
        chunks.append(chunk)
        is_more = message.get("more_body", False)
    body = b"".join(chunks)
    return inflate(body, codings, limit) if codings else body


async def get_body(request: Request, runtime: RuntimeDep) -> bytes:
    return await read_body(request, FirstHeaders(request), runtime.api_limits.max_body_bytes)


BodyDep = Annotated[bytes, Depends(get_body)]


async def get_user(request: Request, runtime: RuntimeDep, bearer: BearerDep) -> str:
    """Return the id of the user that the token of the request names. Raises Unauthorized."""
    authorization = request.headers.get("authorization")
    if authorization is None:
        raise Unauthorized("the user's token is missing: expected the header Authorization: Bearer <token>")
    identity = await runtime.authenticator.authenticate(bearer_token(_as_sent(authorization)))
    return identity.user


def _as_sent(header: str) -> str:
    """Return a header as UTF-8: Starlette reads Latin-1, but a dev token must name the same user as in CONNECT."""
    try:
        return header if header.isascii() else header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


UserDep = Annotated[str, Depends(get_user)]
