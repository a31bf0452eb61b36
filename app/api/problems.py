"""Errors as `application/problem+json` (RFC 9457), for every route and for what no route takes."""

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
    """RFC 9457: `title` is the same for every occurrence of a `type`, `detail` speaks of this one."""

    type: str = Field(examples=[TYPE_PREFIX + "inbox-full"])
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


def problem_of(error: ServiceError) -> dict[str, Any]:
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
    """For `responses=` of a route: what it answers when it does not do what it was asked.

    Without `model`, which would promise `application/json` as well; `default` keeps FastAPI's own 422 away.
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
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_disconnect)
    app.add_exception_handler(Exception, _on_defect)


async def _on_service_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return response_of(error)


def response_of(error: ServiceError) -> Response:
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
    """What the framework refuses by itself: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = f"{request.method} {request.url.path}: {error.detail}"
    problem = {"type": "about:blank", "title": title, "status": error.status_code, "detail": detail}
    return _response(problem, _with_head(error.headers))


def _with_head(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Where GET is allowed, HEAD is (see `head`)."""
    headers = dict(headers or {})
    allowed = headers.get("Allow", "")
    if "GET" in allowed and "HEAD" not in allowed:
        headers["Allow"] = f"{allowed}, HEAD"
    return headers


async def _on_client_disconnect(request: Request, _: Exception) -> Response:
    """Respond to a client that closed its connection in the middle of its body. The response is not read."""
    return await _on_http_exception(request, HTTPException(400, "the body is not complete"))


async def _on_defect(_: Request, error: Exception) -> Response:
    return _response(problem_of(ServiceError("the service failed; the operators have been told")))


def _response(problem: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(problem), problem["status"], headers, MEDIA_TYPE)
