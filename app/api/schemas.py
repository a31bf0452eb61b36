"""What the push routes take and answer."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.problems import Problem
from app.delivery.status import Status
from app.messages.ids import MESSAGE_ID_PATTERN
from app.messages.types import STRING_MSG

UNANSWERED: Any = Field([], description="nodes that did not answer in time: what they know is missing here")


class PushRequest(BaseModel):
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


class PushResult(BaseModel):
    """`sent`: sessions of this node have it; `stored`: it waits in the inbox for the next session."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "ntf_018f2a6b3c400000a1b2c3d4e5f60718",
                "receiver": "test1",
                "status": "sent",
                "sessions": 2,
            }
        }
    )

    id: str = Field(description="of the message; the path of push_status takes it")
    receiver: str | None
    status: Literal["sent", "stored"]
    sessions: int = Field(description="sessions of this node that got the message at once")
    unreached: list[str] = Field(
        [],
        description="nodes that may not have heard a broadcast or topic push, because they were not connected to "
        "Redis; absent if all heard it",
    )


class PushFailure(BaseModel):
    error: Problem


class BatchResult(BaseModel):
    results: list[PushResult | PushFailure] = Field(description="one for each item, in the order of the items")


class SessionStatus(BaseModel):
    session: str
    sent: int = Field(description="time of the latest sending, ms since 1970")
    attempts: int = Field(description="sendings to this session")
    acked_at: int | None = Field(description="ms since 1970")


class PushStatus(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "ntf_018f2a6b3c400000a1b2c3d4e5f60718",
                "receiver": "test1",
                "type": "STRING_MSG",
                "created": 1_700_000_000_000,
                "status": "delivered",
                "sessions": [
                    {
                        "session": "9f86d081884c7d65",
                        "sent": 1_700_000_000_002,
                        "attempts": 1,
                        "acked_at": 1_700_000_000_040,
                    }
                ],
            }
        }
    )

    id: str
    receiver: str | None
    type: str
    created: int = Field(description="ms since 1970")
    status: Status = Field(
        description="`delivered`: a device acknowledged it; `unknown`: the nodes that could tell are gone"
    )
    sessions: list[SessionStatus] = Field([], description="the latest sessions that it was sent to")
    unanswered: list[str] = UNANSWERED


class SessionInfo(BaseModel):
    session: str
    user: str
    client_id: str | None = Field(None, description="the device, if it named itself at CONNECT")
    node: str = Field(description="that has the session", examples=["notify-7c9d-0a1b2c3d"])
    transport: str = Field(examples=["websocket"])
    version: str = Field(description="of STOMP", examples=["1.2"])
    remote: str | None = Field(description="address of the client")
    connected_at: int = Field(description="ms since 1970")
    subscriptions: list[str] = Field(description="destinations", examples=[["/user/queue/msg"]])
    unacknowledged: int = Field(description="messages sent to it and not acknowledged yet")


class SessionList(BaseModel):
    items: list[SessionInfo]
    unanswered: list[str] = UNANSWERED
