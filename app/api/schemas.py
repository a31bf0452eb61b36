"""Response models of the push, status and session routes."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.problems import Problem
from app.delivery.status import Status

UNANSWERED: Any = Field([], description="nodes that did not reply in time; their part of the result is missing")


class PushResult(BaseModel):
    """`sent`: sessions of this node have the message; `stored`: it waits in the inbox for the next session."""

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

    id: str = Field(description="id of the message; push_status takes it")
    receiver: str | None
    status: Literal["sent", "stored"]
    sessions: int = Field(description="sessions of this node that got the message at once")
    unreached: list[str] = Field(
        [],
        description="nodes that may have missed a broadcast or topic push, because they were not connected to "
        "Redis; absent if no node missed it",
    )


class PushFailure(BaseModel):
    error: Problem


class BatchResult(BaseModel):
    results: list[PushResult | PushFailure] = Field(description="one for each item, in the order of the items")


class SessionStatus(BaseModel):
    session: str
    sent: int = Field(description="time when the message was last sent, ms since 1970")
    attempts: int = Field(description="how often the message was sent to this session")
    acked_at: int | None = Field(description="time of the acknowledgement, ms since 1970")


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
        description="`delivered`: a device acknowledged it; `unknown`: the nodes that knew have ended"
    )
    sessions: list[SessionStatus] = Field([], description="the latest sessions that the message was sent to")
    unanswered: list[str] = UNANSWERED


class SessionInfo(BaseModel):
    session: str
    user: str
    client_id: str | None = Field(None, description="the device, if CONNECT named one")
    node: str = Field(description="node that holds the session", examples=["notify-7c9d-0a1b2c3d"])
    transport: str = Field(examples=["websocket"])
    version: str = Field(description="version of STOMP", examples=["1.2"])
    remote: str | None = Field(description="address of the client")
    connected_at: int = Field(description="ms since 1970")
    subscriptions: list[str] = Field(description="destinations", examples=[["/user/queue/msg"]])
    unacknowledged: int = Field(description="messages that were sent to the session and are not acknowledged")


class SessionList(BaseModel):
    items: list[SessionInfo]
    unanswered: list[str] = UNANSWERED
