"""What can go wrong with a request, in words for its sender.

ServiceError
├── InvalidMessage      422, ERROR and 4501: the content cannot be taken as it is
├── PayloadTooLarge     413, ERROR and 1009
├── UnsupportedMedia    415 and 4501: a charset
│   └── UnsupportedCoding   415 and 4501: a content coding
├── Unauthorized        401, ERROR and 4510
├── Forbidden           403, ERROR and 4507
├── NotFound            404 and 4501
├── IdConflict          422 and 4501: an id that stands for another message already
├── InProgress          409 and 1013, to be tried again
├── InboxFull           429 and 1013, to be tried again
├── SessionLimit        429, ERROR and 4504
└── Unavailable         503 and 1013, to be tried again

ConfigurationError      the service refuses to start
"""

from collections.abc import Sequence
from typing import ClassVar

from app.disconnects import (
    BAD_REQUEST,
    BAD_TOKEN,
    FORBIDDEN,
    INTERNAL_ERROR,
    SESSION_LIMIT,
    TOO_BIG,
    TRY_AGAIN,
    DisconnectReason,
)


class ServiceError(Exception):
    """An expected failure, with all its wire forms.

    `slug` names the kind (the last part of the problem `type` of RFC 9457), `title` is the same for every
    occurrence and the `message` header of a STOMP ERROR, `detail` is one sentence about this occurrence.
    `is_final`: nothing was done, and the same request would be refused again; any other failure may pass.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    disconnect: ClassVar[DisconnectReason] = INTERNAL_ERROR
    is_final: ClassVar[bool] = False

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class InvalidMessage(ServiceError):
    """`errors` lists what was wrong where: `{"loc": ["data"], "msg": "Field required"}`."""

    status, slug, title = 422, "invalid-message", "The message cannot be accepted as it is"
    is_final = True
    disconnect = BAD_REQUEST

    def __init__(self, detail: str, *, errors: Sequence[dict[str, object]] = ()) -> None:
        super().__init__(detail)
        self.errors = errors


class PayloadTooLarge(ServiceError):
    status, slug, title = 413, "too-large", "The request is too large"
    is_final = True
    disconnect = TOO_BIG


class UnsupportedMedia(ServiceError):
    status, slug, title = 415, "unsupported-media", "The form of the body is not supported"
    is_final = True
    disconnect = BAD_REQUEST


class UnsupportedCoding(UnsupportedMedia):
    """Its answer says which codings are accepted (RFC 9110 section 12.5.3)."""


class Unauthorized(ServiceError):
    status, slug, title = 401, "unauthorized", "The token is illegal"
    is_final = True
    disconnect = BAD_TOKEN


class Forbidden(ServiceError):
    status, slug, title = 403, "forbidden", "Not allowed"
    is_final = True
    disconnect = FORBIDDEN


class NotFound(ServiceError):
    status, slug, title = 404, "not-found", "Not found"
    is_final = True
    disconnect = BAD_REQUEST


class IdConflict(ServiceError):
    status, slug, title = 422, "id-conflict", "The id stands for another message already"
    is_final = True
    disconnect = BAD_REQUEST


class InProgress(ServiceError):
    status, slug, title = 409, "in-progress", "The same request is under way"
    disconnect = TRY_AGAIN


class InboxFull(ServiceError):
    status, slug, title = 429, "inbox-full", "The inbox of the receiver is full"
    disconnect = TRY_AGAIN


class SessionLimit(ServiceError):
    status, slug, title = 429, "session-limit", "The user connect stomp exceed max limit"
    disconnect = SESSION_LIMIT


class Unavailable(ServiceError):
    status, slug, title = 503, "unavailable", "The service cannot do this now"
    disconnect = TRY_AGAIN


class ConfigurationError(Exception):
    """The settings do not allow a start; the text names the settings to change."""
