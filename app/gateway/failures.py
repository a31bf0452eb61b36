"""Maps an error to what the client is told: a reason of the registry, and whether the session goes on."""

from dataclasses import dataclass, field

from pydantic_core import to_json

from app.disconnects import BAD_REQUEST, INTERNAL_ERROR, RATE_LIMITED, TOO_BIG, DisconnectReason
from app.errors import ServiceError, Unavailable
from app.gateway.routing import Rejected
from app.hub.publication import Publication
from app.messages.destinations import USER_ERRORS
from app.stomp.errors import FrameTooLarge, ProtocolError

DEFECT = "the frame could not be handled because of an internal error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """`title` is the `message` header of an ERROR, `detail` its body.

    `ends`: the session has to end. Otherwise it goes on where the client can be told on `/user/queue/errors`.
    `must_be_told`: without that queue the session ends also for a client that asked for no receipt.
    """

    reason: DisconnectReason
    title: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)
    ends: bool = False
    must_be_told: bool = False


def failure_of(error: BaseException, *, is_connected: bool) -> Failure:
    """Return what a client is told about an error. An unexpected one is a defect, most likely of the application."""
    if isinstance(error, Rejected):
        return Failure(
            reason=error.reason,
            title=error.title,
            detail=error.detail,
            ends=not is_connected,
            must_be_told=error.must_be_told,
        )
    if isinstance(error, ProtocolError):
        return Failure(
            reason=_violation(error, is_connected=is_connected),
            title=error.message,
            detail=error.detail,
            headers=error.headers,
            ends=True,
        )
    if isinstance(error, ServiceError):
        return Failure(reason=error.disconnect, title=error.title, detail=error.detail, ends=True)
    return Failure(reason=INTERNAL_ERROR, title=ServiceError.title, detail=DEFECT, ends=not is_connected)


def _violation(error: ProtocolError, *, is_connected: bool) -> DisconnectReason:
    """Return the reason for a violation. A CONNECT that is too large would be so at the next attempt, too."""
    return TOO_BIG if isinstance(error, FrameTooLarge) and is_connected else BAD_REQUEST


def rejected_by_service(error: ServiceError) -> Rejected:
    """Turn what the service refused to a SEND into an error that the session survives, with the same reason."""
    must_be_told = isinstance(error, Unavailable)  # the frame was in order, and its sender takes it for sent
    return Rejected(error.detail, reason=error.disconnect, title=error.title, must_be_told=must_be_told)


def too_fast(frames_per_s: float, inbound_patience_s: float) -> Failure:
    """Return the failure of a client that exceeded the rate for longer than is tolerated."""
    detail = f"for {inbound_patience_s:g} s the client has been sending more than {frames_per_s:g} frames a second"
    return Failure(reason=RATE_LIMITED, title="rate limit", detail=detail, ends=True)


def told(failure: Failure, receipt: str | None, message_id: str) -> Publication:
    """Return the message for `/user/queue/errors`; its `code` and `reason` are those of the registry."""
    body = {"detail": failure.detail, "code": failure.reason.code, "reason": failure.reason.text}
    if receipt is not None:
        body["receipt"] = receipt
    return Publication(message_id=message_id, destination=USER_ERRORS, body=to_json(body))
