"""The tables of notifications."""

import json
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Dialect, Index, Text, TypeDecorator, false, text
from sqlmodel import Field, SQLModel


class JsonText(TypeDecorator[Any]):
    """SQLite's JSON columns take a bare number for one of its own: 10**30 and -0.0 do not come back as they were."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        return json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class NotifyLog(SQLModel, table=True):
    """A persisted message. Times are ms since 1970; without `pushed_at` it has yet to be pushed.

    `seq` is its place among the messages of its receiver, `sent` whether a session was sent it.
    """

    __tablename__ = "notify_log"
    __table_args__ = (
        Index("ix_notify_log_receiver_viewed_created", "receiver", "viewed", "created"),
        Index("ix_notify_log_receiver_created_id", "receiver", "created", "id"),
        Index("ix_notify_log_created", "created"),
        Index(
            "ix_notify_log_undelivered",
            "receiver",
            "created",
            "id",
            postgresql_where=text("delivered_at IS NULL"),
            sqlite_where=text("delivered_at IS NULL"),
        ),
        Index(
            "ix_notify_log_unpushed",
            "created",
            "id",
            postgresql_where=text("pushed_at IS NULL"),
            sqlite_where=text("pushed_at IS NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=64)
    type: str = Field(max_length=64)
    receiver: str = Field(max_length=128)
    data: Any = Field(sa_column=Column(JSON().with_variant(JsonText(), "sqlite"), nullable=True))
    viewed: bool = False
    created: int = Field(sa_type=BigInteger)
    last_modified: int = Field(sa_type=BigInteger)
    version: int = 0
    pushed_at: int | None = Field(default=None, sa_type=BigInteger)
    delivered_at: int | None = Field(default=None, sa_type=BigInteger)
    seq: int | None = Field(default=None, sa_type=BigInteger)
    sent: bool = Field(default=False, sa_column_kwargs={"server_default": false()})


class UnreadCount(SQLModel, table=True):
    """Kept in the transactions that change it: counting a million index entries takes longer than a page may load."""

    __tablename__ = "unread_count"

    receiver: str = Field(primary_key=True, max_length=128)
    unread: int = Field(sa_type=BigInteger)


class IdempotencyKey(SQLModel, table=True):
    """A push that carried an Idempotency-Key.

    `result` None: it has no final answer yet. `lease_until`: a request with the key is under way until then.
    """

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("ix_idempotency_key_created", "created"),)

    key: str = Field(primary_key=True, max_length=64)
    fingerprint: str = Field(max_length=64)
    created: int = Field(sa_type=BigInteger)
    result: str | None = None
    lease_until: int | None = Field(default=None, sa_type=BigInteger)
