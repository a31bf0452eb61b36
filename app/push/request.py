"""The fields of a push, the same for REST and Python."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import InvalidMessage
from app.messages.ids import MESSAGE_ID_PATTERN
from app.messages.types import STRING_MSG


class PushRequest(BaseModel):
    """A message to push to one user, or to all who are online."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"receiver": "test1", "type": "STRING_MSG", "data": {"order": 4711, "state": "shipped"}}
        },
    )

    receiver: str | None = Field(description="user id of the receiver; null is a broadcast to all who are online")
    type: str = Field(STRING_MSG, description="a registered message type")
    data: Any = Field(description="a text or any other JSON value that fits the type")
    id: str | None = Field(
        None,
        description="the caller's own id: a push with an id that was pushed before sends nothing; "
        "ids that start with `ntk_` are refused",
        json_schema_extra={"pattern": MESSAGE_ID_PATTERN},
    )
    ttl_ms: int | None = Field(
        None, gt=0, strict=True, description="how long the message waits for its receiver; default: ACK_MESSAGE_TTL_MS"
    )
    persist: bool = Field(False, strict=True, description="store it in the history before it is sent")
    ack: bool = Field(
        True, strict=True, description="false: sent once to each session and never again, or stored until there is one"
    )


_validate = PushRequest.__pydantic_validator__.validate_python  # what model_validate calls, in half the time


def read_push(value: Any, *, within: tuple[str, ...] = ()) -> PushRequest:
    """Validate a dict. Raises InvalidMessage with the path of each bad field; the paths begin with `within`."""
    try:
        request: PushRequest = _validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        errors: list[dict[str, object]] = [{"loc": [*within, *item["loc"]], "msg": item["msg"]} for item in details]
        where = ".".join(map(str, details[0]["loc"])) or "the body"
        raise InvalidMessage(f"{where}: {details[0]['msg']}", errors=errors) from None
    return request
