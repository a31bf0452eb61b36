"""Settings from the environment and `.env`."""

from typing import Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings.groups import (
    AccessSettings,
    ConnectionSettings,
    DatabaseSettings,
    DeliverySettings,
    HttpSettings,
    LogSettings,
    RedisSettings,
    ServerSettings,
    SockJsSettings,
    StompSettings,
)


class Settings(
    ServerSettings,
    LogSettings,
    AccessSettings,
    RedisSettings,
    DatabaseSettings,
    DeliverySettings,
    StompSettings,
    SockJsSettings,
    ConnectionSettings,
    HttpSettings,
    BaseSettings,
):
    """All groups in one object, read from the environment, then from `.env`. Raises pydantic's ValidationError."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    @model_validator(mode="after")
    def _fill_defaults(self) -> Self:
        dev = self.app_env == "dev"
        if self.enable_local_ack is None:
            self.enable_local_ack = self.redis_url is None
        if self.log_format is None:
            self.log_format = "text" if dev else "json"
        if self.log_ack_events is None:
            self.log_ack_events = dev
        if self.allow_client_topic_send is None:
            self.allow_client_topic_send = dev
        if self.allowed_origins is None:
            self.allowed_origins = ("*",) if dev else ()
        if self.ack_max_retry_count is None:
            self.ack_max_retry_count = self.ack_message_ttl_ms // self.ack_retry_interval_ms
        return self
