"""Settings from the environment and `.env`. Names, defaults and reasons; nothing is read at import."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """One field a setting; its description is the text of `.env.example` and of the README's table."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    app_env: Literal["dev", "prod"] = Field("dev", description="`prod` is strict: tokens and API keys are required")
    host: str = Field(
        "127.0.0.1",
        description="addresses or names to listen on, comma-separated; `*` for all addresses, of IPv4 and IPv6",
    )
    port: int = Field(2025, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    uds: str | None = Field(
        None, description="path of a Unix socket to listen on, in place of HOST and PORT unless HOST is set as well"
    )
    root_path: str = Field(
        "", description="path under which a proxy publishes the service, such as `/notify`; it may cut it off or not"
    )
    trusted_proxies: CommaSeparated = Field(
        (),
        description="addresses and networks of proxies whose X-Forwarded-For or Forwarded, -Proto and -Prefix are"
        " believed, comma-separated; `unix` for a Unix socket",
    )
    workers: PositiveInt = Field(1, description="processes that share the port; more than one needs REDIS_URL")
    ws_transport: Literal["picows", "asgi"] = Field(
        "picows", description="what carries WebSockets: picows, or `asgi`, which is slower and plain uvicorn"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")
    log_format: Literal["text", "json"] | None = Field(None, description="default: `text` in dev, `json` in prod")
    log_ack_events: bool | None = Field(
        None, description="a line for every enqueue, ack and resend; default: true in dev, false in prod"
    )

    redis_url: str | None = Field(
        None,
        repr=False,
        description="joins nodes to a cluster: redis://, rediss://, redis+cluster://h1,h2, redis+sentinel://h1,h2/name",
    )
    node_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.-]{1,48}$", description="how operators know this node; default: the host name"
    )
    node_ttl_ms: int = Field(
        15_000,
        ge=300,
        description="how long a node that hangs is taken for alive, and its sessions count in MAX_SESSIONS_PER_USER",
    )
    redis_timeout_ms: int = Field(
        3000, ge=100, description="time Redis has to answer before it counts as away and pushes are refused"
    )
    redis_wait_replicas: NonNegativeInt = Field(
        0, description="replicas of Redis that must have a message before its push is answered"
    )
    enable_local_ack: bool | None = Field(
        None, description="the record of what is not acknowledged is in memory alone; default: true without REDIS_URL"
    )
    mailbox_window_ms: int = Field(
        60_000,
        ge=1_000,
        description="how long Redis keeps messages for nodes that lose it; after that, sessions are closed with 1012",
    )
    ack_remember_ms: int = Field(
        600_000, ge=1_000, description="how long Redis remembers acknowledgements, for push_status and late repeats"
    )
    ack_redis_partitions: int = Field(
        1, ge=1, le=1024, description="hashes in Redis that this record is spread over, for a Redis Cluster"
    )

    database_url: str = Field(
        "sqlite+aiosqlite:///./notify.db",
        description="where persisted messages are; PostgreSQL: postgresql+asyncpg://…",
    )
    auto_migrate: bool | None = Field(
        None, description="bring the schema up to date at start; default: true for SQLite, false for PostgreSQL"
    )
    recovery_grace_ms: PositiveInt = Field(
        10_000, description="age at which a stored message that nobody pushed is taken for forgotten, and pushed"
    )
    recovery_interval_ms: PositiveInt = Field(5000, description="time between two looks for such messages")
    retention_days: PositiveInt = Field(30, description="days that persisted messages are kept")
    idempotency_ttl_ms: PositiveInt = Field(86_400_000, description="how long an Idempotency-Key is remembered")
    history_page_max: PositiveInt = Field(100, description="messages of one page of the history")

    ack_check_wait_ms: PositiveInt = Field(5000, description="time a device has to acknowledge before the first resend")
    ack_retry_interval_ms: PositiveInt = Field(5000, description="time between two resends")
    ack_message_ttl_ms: PositiveInt = Field(60_000, description="how long a transient message is kept for its receiver")
    ack_max_retry_count: int | None = Field(
        None, ge=0, description="resends to one session; default: ACK_MESSAGE_TTL_MS / ACK_RETRY_INTERVAL_MS"
    )
    max_message_ttl_ms: PositiveInt = Field(86_400_000, description="longest `ttl_ms` that a push may ask for")

    jwt_secret: SecretStr | None = Field(None, description="key for HS256 tokens, at least 32 bytes in prod")
    jwt_public_key: str | None = Field(None, description="PEM public key for RS256 or ES256 tokens")
    jwt_jwks_url: str | None = Field(None, description="address of a JSON Web Key Set")
    jwt_algorithms: CommaSeparated = Field(
        (), description="accepted algorithms; default: HS256 with a secret, what fits the key with a public key"
    )
    jwt_issuer: str | None = Field(None, description="required `iss`")
    jwt_audience: str | None = Field(None, description="required `aud`")
    jwt_user_claim: str = Field("sub", description="claim that holds the user id")
    api_keys: CommaSeparated = Field(
        (), repr=False, description="keys for the push and session routes, comma-separated"
    )
    allowed_origins: CommaSeparated | None = Field(
        None, description="origins of browser pages, comma-separated; default: `*` in dev, the own origin in prod"
    )

    heartbeat_send_ms: int = Field(
        10_000, ge=0, description="the service sends something at least this often; 0: never"
    )
    heartbeat_receive_ms: int = Field(10_000, ge=0, description="clients are asked to send this often; 0: never")
    allow_client_topic_send: bool | None = Field(
        None, description="clients may SEND to /topic/**; default: true in dev, false in prod"
    )
    strict_types: bool = Field(True, description="refuse message types that are not registered")

    sockjs_websocket: bool = Field(True, description="SockJS clients may use WebSocket; false: HTTP alone")
    sockjs_cookie_needed: bool = Field(
        False, description="set JSESSIONID, for load balancers that tell SockJS clients apart by nothing else"
    )
    sockjs_heartbeat_ms: PositiveInt = Field(
        25_000, description="silence on a SockJS connection after which proxies might cut it"
    )
    sockjs_disconnect_delay_ms: PositiveInt = Field(
        30_000, description="time a SockJS session waits for the next request of its client before it ends"
    )
    sockjs_response_limit_bytes: PositiveInt = Field(
        131_072, description="length at which a streaming response ends, so that browsers can forget what they read"
    )
    sockjs_max_sessions: PositiveInt = Field(
        10_000,
        description="SockJS sessions over HTTP of one process; those without a user may take a third of them",
    )
    sockjs_client_url: str = Field(
        "https://cdn.jsdelivr.net/npm/sockjs-client@1.6.1/dist/sockjs.min.js",
        description="where old browsers find sockjs-client for the frame that they talk through",
    )

    max_connections: PositiveInt | None = Field(
        None, description="connections of one process; default: what the limit of open files (RLIMIT_NOFILE) allows"
    )
    max_connections_per_address: PositiveInt | None = Field(
        None,
        description="connections and SockJS sessions of one address (IPv6: /64); default: no limit, because an office,"
        " or a proxy that is not in TRUSTED_PROXIES, is one address",
    )
    max_attempts_per_s: PositiveInt = Field(
        5000,
        description="WebSockets and SockJS sessions that an address may open per second without authenticating; ten"
        " times as many at once",
    )
    max_unauthenticated: PositiveInt = Field(
        10_000,
        description="connections that have not authenticated, idle HTTP included; when it is reached the oldest of the"
        " address with the most makes room, so that strangers never take the places of users",
    )
    max_sessions_per_user: PositiveInt = Field(10, description="sessions of one user; protects from reconnect loops")
    max_connect_frame_bytes: PositiveInt = Field(65_536, description="largest frame before CONNECT was accepted")
    max_frame_bytes: PositiveInt = Field(262_144, description="largest frame of a connected session")
    max_frame_headers: PositiveInt = Field(64, description="headers of one frame")
    max_header_bytes: PositiveInt = Field(8192, description="size of one header line")
    max_subscriptions_per_session: PositiveInt = Field(128, description="subscriptions of one session")
    max_transactions_per_session: PositiveInt = Field(16, description="open transactions of one session")
    max_transaction_bytes: PositiveInt = Field(
        1_048_576, description="bytes that open transactions of a session gather"
    )
    connect_timeout_ms: PositiveInt = Field(10_000, description="time from opening to a CONNECT that was accepted")
    inbound_frames_per_s: PositiveInt = Field(100, description="frames a session may send per second")
    inbound_burst: PositiveInt = Field(200, description="frames a session may send at once")
    inbound_patience_ms: PositiveInt = Field(
        30_000, description="how long a client may exceed that rate: it is read more slowly, and cut off after that"
    )
    outbox_max_frames: PositiveInt = Field(1000, description="frames that wait for a slow reader before it is cut off")
    outbox_max_bytes: PositiveInt = Field(
        1_048_576, description="bytes that wait for a slow reader before it is cut off"
    )
    inbox_max_messages: PositiveInt = Field(300, description="unacknowledged transient messages of one user")
    max_unacked_per_session: PositiveInt = Field(
        1000, description="messages a session may leave unacknowledged; at least two full inboxes"
    )
    max_inboxes_bytes: PositiveInt = Field(
        268_435_456, description="bytes of all unacknowledged messages in memory; protects the process"
    )
    http_max_body_bytes: PositiveInt = Field(524_288, description="largest HTTP request body")
    http_max_request_line_bytes: PositiveInt = Field(8192, description="size of the first line of an HTTP request")
    http_max_head_bytes: PositiveInt = Field(
        65_536, description="size of the head of an HTTP request; bounds what it takes before its sender is known"
    )
    http_max_headers: PositiveInt = Field(100, description="headers of one HTTP request")
    http_head_timeout_ms: PositiveInt = Field(
        10_000, description="time from the first byte of a request, or from connecting, to the end of its head"
    )
    http_body_timeout_ms: PositiveInt = Field(10_000, description="longest silence within an HTTP request body")
    http_min_body_bytes_per_s: PositiveInt = Field(
        1024, description="minimum rate of an HTTP request body, once HTTP_BODY_TIMEOUT_MS has passed"
    )
    http_keep_alive_ms: PositiveInt = Field(
        75_000, description="how long an idle HTTP connection is kept; longer than balancers keep theirs"
    )
    max_batch_items: PositiveInt = Field(1000, description="items of one push_batch")
    delivery_log_size: PositiveInt = Field(100_000, description="deliveries that push_status remembers")

    @field_validator("jwt_algorithms", "api_keys", "allowed_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return _split(value) if isinstance(value, str) else value

    @field_validator("host")
    @classmethod
    def _require_host(cls, value: str) -> str:
        if not _split(value):
            raise ValueError("addresses, names or * were expected")
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """What to listen on beside the Unix socket."""
        if self.uds is not None and "host" not in self.model_fields_set:
            return ()
        return tuple(dict.fromkeys(_split(self.host)))

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


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
