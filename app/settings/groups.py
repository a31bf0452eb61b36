"""The settings by subject. Names, defaults and limits; nothing is read at import.

A field is an environment variable, and its description the text of `docs/settings.md` and `.env.example`. The docstring
of a group is its heading there.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, SecretStr, field_validator
from pydantic_settings import NoDecode

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated text, without empty ones."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _split_text(value: object) -> object:
    return split(value) if isinstance(value, str) else value


class ServerSettings(BaseModel):
    """Server"""

    app_env: Literal["dev", "prod"] = Field("dev", description="`prod` is strict: it requires tokens and API keys")
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

    _split_proxies = field_validator("trusted_proxies", mode="before")(_split_text)

    @field_validator("host")
    @classmethod
    def _require_host(cls, value: str) -> str:
        if not split(value):
            raise ValueError("addresses, names or * were expected")
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """What to listen on beside the Unix socket."""
        if self.uds is not None and "host" not in self.model_fields_set:
            return ()
        return tuple(dict.fromkeys(split(self.host)))


class LogSettings(BaseModel):
    """Logs"""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level that is logged")
    log_format: Literal["text", "json"] | None = Field(None, description="default: `text` in dev, `json` in prod")
    log_ack_events: bool | None = Field(
        None, description="a line for each enqueue, acknowledgement and resend; default: true in dev, false in prod"
    )


class AccessSettings(BaseModel):
    """Tokens, keys and origins"""

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

    _split_keys = field_validator("jwt_algorithms", "api_keys", "allowed_origins", mode="before")(_split_text)


class RedisSettings(BaseModel):
    """Redis and the cluster"""

    redis_url: str | None = Field(
        None,
        repr=False,
        description="joins nodes to a cluster: redis://, rediss://, redis+cluster://h1,h2, redis+sentinel://h1,h2/name",
    )
    node_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.-]{1,48}$", description="name of this node in logs; default: the host name"
    )
    node_ttl_ms: int = Field(
        15_000,
        ge=300,
        description="lease of a node: a node that is silent for longer counts as ended, and so do its sessions",
    )
    redis_timeout_ms: int = Field(
        3000, ge=100, description="time Redis has to answer before it counts as away and pushes are refused"
    )
    redis_wait_replicas: NonNegativeInt = Field(
        0, description="replicas of Redis that must have a message before its push is answered"
    )
    enable_local_ack: bool | None = Field(
        None, description="keep the ledger of unacknowledged messages in memory only; default: true without REDIS_URL"
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
        1, ge=1, le=1024, description="hashes in Redis that the ledger is spread over, for a Redis Cluster"
    )


class DatabaseSettings(BaseModel):
    """Database and history"""

    database_url: str = Field(
        "sqlite+aiosqlite:///./notify.db",
        description="database of persisted messages; PostgreSQL: postgresql+asyncpg://…",
    )
    auto_migrate: bool | None = Field(
        None, description="bring the schema up to date at start; default: true for SQLite, false for PostgreSQL"
    )
    recovery_grace_ms: PositiveInt = Field(
        10_000, description="age after which recovery pushes a stored, unpushed message"
    )
    recovery_interval_ms: PositiveInt = Field(5000, description="time between two runs of recovery")
    retention_days: PositiveInt = Field(30, description="days that persisted messages are kept")
    idempotency_ttl_ms: PositiveInt = Field(86_400_000, description="how long an Idempotency-Key is remembered")
    history_page_max: PositiveInt = Field(100, description="messages of one page of the history")


class DeliverySettings(BaseModel):
    """Delivery and retries"""

    ack_check_wait_ms: PositiveInt = Field(5000, description="time a device has to acknowledge before the first resend")
    ack_retry_interval_ms: PositiveInt = Field(5000, description="time between two resends")
    ack_message_ttl_ms: PositiveInt = Field(60_000, description="how long a transient message is kept for its receiver")
    ack_max_retry_count: int | None = Field(
        None, ge=0, description="resends to one session; default: ACK_MESSAGE_TTL_MS / ACK_RETRY_INTERVAL_MS"
    )
    max_message_ttl_ms: PositiveInt = Field(86_400_000, description="longest `ttl_ms` that a push may ask for")
    inbox_max_messages: PositiveInt = Field(300, description="unacknowledged transient messages of one user")
    max_unacked_per_session: PositiveInt = Field(
        1000, description="messages a session may leave unacknowledged; at least two full inboxes"
    )
    max_inboxes_bytes: PositiveInt = Field(
        268_435_456, description="bytes of all unacknowledged messages in memory; protects the process"
    )
    delivery_log_size: PositiveInt = Field(100_000, description="deliveries that push_status remembers")
    strict_types: bool = Field(True, description="refuse message types that are not registered")


class StompSettings(BaseModel):
    """STOMP sessions"""

    heartbeat_send_ms: int = Field(
        10_000, ge=0, description="the service sends something at least this often; 0: never"
    )
    heartbeat_receive_ms: int = Field(10_000, ge=0, description="clients are asked to send this often; 0: never")
    allow_client_topic_send: bool | None = Field(
        None, description="clients may SEND to /topic/**; default: true in dev, false in prod"
    )
    connect_timeout_ms: PositiveInt = Field(10_000, description="time from opening to an accepted CONNECT")
    max_sessions_per_user: PositiveInt = Field(10, description="sessions of one user; protects from reconnect loops")
    max_connect_frame_bytes: PositiveInt = Field(65_536, description="largest frame before CONNECT is accepted")
    max_frame_bytes: PositiveInt = Field(262_144, description="largest frame of a connected session")
    max_frame_headers: PositiveInt = Field(64, description="headers of one frame")
    max_header_bytes: PositiveInt = Field(8192, description="size of one header line")
    max_subscriptions_per_session: PositiveInt = Field(128, description="subscriptions of one session")
    max_transactions_per_session: PositiveInt = Field(16, description="open transactions of one session")
    max_transaction_bytes: PositiveInt = Field(
        1_048_576, description="total size of the open transactions of one session"
    )
    inbound_frames_per_s: PositiveInt = Field(100, description="frames a session may send per second")
    inbound_burst: PositiveInt = Field(200, description="frames a session may send at once")
    inbound_patience_ms: PositiveInt = Field(
        30_000, description="how long a client may exceed that rate: it is read more slowly, then closed with 4013"
    )
    outbox_max_frames: PositiveInt = Field(
        1000, description="frames that wait for a slow reader before it is closed with 4008"
    )
    outbox_max_bytes: PositiveInt = Field(
        1_048_576, description="bytes that wait for a slow reader before it is closed with 4008"
    )


class SockJsSettings(BaseModel):
    """SockJS"""

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
        131_072, description="length at which a streaming response ends, so that browsers can free what they read"
    )
    sockjs_max_sessions: PositiveInt = Field(
        10_000,
        description="SockJS sessions over HTTP of one process; those without a user may take a third of them",
    )
    sockjs_client_url: str = Field(
        "https://cdn.jsdelivr.net/npm/sockjs-client@1.6.1/dist/sockjs.min.js",
        description="address of sockjs-client for the iframe of old browsers",
    )


class ConnectionSettings(BaseModel):
    """Limits on connections"""

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
        description="connections that have not authenticated, idle HTTP included; at the limit the oldest of the"
        " address with the most is closed, so that strangers never take the places of users",
    )


class HttpSettings(BaseModel):
    """HTTP"""

    http_max_body_bytes: PositiveInt = Field(524_288, description="largest HTTP request body")
    http_max_request_line_bytes: PositiveInt = Field(8192, description="size of the first line of an HTTP request")
    http_max_head_bytes: PositiveInt = Field(
        65_536, description="size of the head of an HTTP request: the memory it takes before it is authenticated"
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


GROUPS: tuple[type[BaseModel], ...] = (
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
)
