"""Errors as `application/problem+json` (RFC 9457), for every route and for unknown paths and methods."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.errors import (
    Forbidden,
    IdConflict,
    InboxFull,
    InProgress,
    InvalidMessage,
    NotFound,
    PayloadTooLarge,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnsupportedCoding,
    UnsupportedMedia,
)
from app.http.codings import ACCEPTED

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:stomp-notify:problem:"

logger = logging.getLogger(__name__)


class FieldError(BaseModel):
    loc: list[str | int] = Field(description="where in the request", examples=[["body", "ttl_ms"]])
    msg: str = Field(description="what was wrong, and what was expected")


class Problem(BaseModel):
    """A problem as in RFC 9457. `title` is the same for every occurrence of a `type`; `detail` is about this one."""

    type: str = Field(examples=[TYPE_PREFIX + "inbox-full"])
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


def problem_of(error: ServiceError) -> dict[str, Any]:
    """Return the problem document of an error."""
    problem: dict[str, Any] = {
        "type": TYPE_PREFIX + error.slug,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if isinstance(error, InvalidMessage) and error.errors:
        problem["errors"] = list(error.errors)
    return problem


def responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Return the value of `responses=` for a route that raises these errors.

    `model` is not used, because it would also promise `application/json`. `default` prevents FastAPI's own 422.
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    documented: dict[int | str, dict[str, Any]] = {
        "default": {"description": "Any other problem", "content": {MEDIA_TYPE: {"schema": schema}}}
    }
    for error in errors:
        kinds = documented.setdefault(error.status, {"description": ""})
        kinds["description"] = ", or ".join(filter(None, (kinds["description"], error.title)))
        example = {"type": TYPE_PREFIX + error.slug, "title": error.title, "status": error.status, "detail": "…"}
        kinds["content"] = {MEDIA_TYPE: {"schema": schema, "example": example}}
    return documented


GUARDED = (Unauthorized, Forbidden)
PUSH_ERRORS = (
    *GUARDED,
    InProgress,
    PayloadTooLarge,
    UnsupportedMedia,
    InvalidMessage,
    IdConflict,
    InboxFull,
    Unavailable,
)
USER_ERRORS = (Unauthorized, InvalidMessage, Unavailable)
QUERY_ERRORS = (*GUARDED, NotFound)


def install(app: FastAPI) -> None:
    """Turn every exception that leaves a route into a problem response."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_disconnect)
    app.add_exception_handler(Exception, _on_defect)


async def _on_service_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return response_of(error)


def response_of(error: ServiceError) -> Response:
    """Return the problem response of an error, with the headers that belong to it."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, PayloadTooLarge):
        headers["Connection"] = "close"  # the rest of the body is not read
    if isinstance(error, UnsupportedCoding):
        headers["Accept-Encoding"] = ACCEPTED
    return _response(problem_of(error), headers)


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors: list[dict[str, object]] = [{"loc": list(item["loc"]), "msg": item["msg"]} for item in error.errors()]
    where = ".".join(map(str, error.errors()[0]["loc"]))
    return _response(problem_of(InvalidMessage(f"{where}: {errors[0]['msg']}", errors=errors)))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Return the problem of an error that the framework raises itself: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = f"{request.method} {request.url.path}: {error.detail}"
    problem = {"type": "about:blank", "title": title, "status": error.status_code, "detail": detail}
    return _response(problem, _with_head(error.headers))


def _with_head(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Add HEAD to `Allow` where GET is allowed (see `app.api.head`)."""
    headers = dict(headers or {})
    allowed = headers.get("Allow", "")
    if "GET" in allowed and "HEAD" not in allowed:
        headers["Allow"] = f"{allowed}, HEAD"
    return headers


async def _on_client_disconnect(request: Request, _: Exception) -> Response:
    """Return 400 for a client that disconnected in its body: it must not count as a defect of the service."""
    return await _on_http_exception(request, HTTPException(400, "the body is not complete"))


async def _on_defect(_: Request, error: Exception) -> Response:
    return _response(problem_of(ServiceError("the service failed to handle this request; its log has the cause")))


def _response(problem: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(problem), problem["status"], headers, MEDIA_TYPE)
