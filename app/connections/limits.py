"""Decide which connections a node admits, and which have to make room. One object per process; no method waits."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.connections.addresses import UNKNOWN, host_of, limit_key
from app.connections.attempts import Attempts
from app.connections.budget import Budget, Member
from app.connections.proxies import TrustedProxies
from app.connections.refusals import ADDRESS_FULL, FILE_LIMIT, NODE_FULL, TOO_FAST, Refusal, Refusals

MAX_REFUSED = 32  # refused connections that may wait for their response at once
MAX_ENDING = 32  # connections above the limit, while displaced ones have not ended yet
KEPT_FOR_HTTP = 100  # connections reserved for HTTP, so that pushes reach a full node; at most a tenth of all
UNLIMITED = 1_000_000

Place = tuple[str, int]
"""The address that a connection counts for, and its kind."""


class Kind:
    """Indices of the kinds of connections. Not an Enum, whose members take too long to access on each connect.

    SOCKJS counts sessions over HTTP; their requests come over connections of the kind HTTP.
    """

    HTTP, WEBSOCKET, SOCKJS = ALL = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """`per_address` and `attempts_per_s` 0: no limit. `by_files`: `connections` is what RLIMIT_NOFILE allows.

    `unauthenticated` applies to HTTP and to WebSocket separately, `unauthenticated_sockjs` to SockJS sessions.
    """

    connections: int = UNLIMITED
    by_files: bool = False
    per_address: int = 0
    attempts_per_s: int = 0
    unauthenticated: int = UNLIMITED
    unauthenticated_sockjs: int = UNLIMITED

    @property
    def websockets(self) -> int:
        return self.connections - min(KEPT_FOR_HTTP, self.connections // 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCounts:
    """Connections by kind. `refused` counts those that wait for their response."""

    open: Mapping[int, int]
    unauthenticated: Mapping[int, int]
    refused: int


class ConnectionLimits:
    """Counts connections. `open_http` admits HTTP connections; `enter` counts WebSockets and SockJS sessions.

    A connection is unauthenticated until `authenticated` is called, or until its end. Unauthenticated connections have
    separate budgets, so that they never displace authenticated users.
    """

    def __init__(
        self, options: LimitOptions, *, proxies: TrustedProxies | None = None, now: Callable[[], float]
    ) -> None:
        self.proxies = proxies or TrustedProxies()
        self._has_proxies = bool(self.proxies)
        self._options = options
        self._websockets = options.websockets
        self._per_address = options.per_address
        self._now = now
        self._refusals = Refusals(now)
        self._attempts = Attempts(options.attempts_per_s)
        self._addresses: dict[str, int] = {}
        self._open = [0 for _ in Kind.ALL]
        self._budgets = [Budget(options.unauthenticated, self._refusals) for _ in Kind.ALL]
        self._budgets[Kind.SOCKJS] = Budget(options.unauthenticated_sockjs, self._refusals)
        self._refused: dict[Member, None] = {}

    # Metrics

    @property
    def refusals(self) -> Counter[Refusal]:
        return self._refusals.counts

    def count(self) -> ConnectionCounts:
        return ConnectionCounts(
            open={kind: self._open[kind] for kind in Kind.ALL},
            unauthenticated={kind: len(self._budgets[kind]) for kind in Kind.ALL},
            refused=len(self._refused),
        )

    def refuse(self, refusal: Refusal, host: str | None) -> Refusal:
        """Count and log a refusal by another component."""
        return self._refusals.count(refusal, limit_key(host))

    # HTTP connections

    def open_http(self, member: Member, host: str | None, total: int) -> Refusal | None:
        """Admit a new connection, or return why it is refused. `total` counts all open connections, the new one too.

        Connections of trusted proxies are shared by many clients: they count neither for an address nor as
        unauthenticated. The caller must call `close_refused` for a refused connection, `close_http` for any other.
        """
        key = limit_key(host)
        is_proxy = self._has_proxies and self.proxies.trusts(host)
        refusal = self._refuse_for_room(total) if total > self._options.connections else None
        if refusal is None and not is_proxy and self._is_full(key):
            refusal = ADDRESS_FULL
        if refusal is not None:
            self._refused[member] = None
            if len(self._refused) > MAX_REFUSED and (oldest := next(iter(self._refused))).displace():
                del self._refused[oldest]
            return self._refusals.count(refusal, key)
        self._open[Kind.HTTP] += 1
        if not is_proxy:
            if self._per_address:
                self._count_address(key)
            self._budgets[Kind.HTTP].add(member, key)
        return None

    def _refuse_for_room(self, total: int) -> Refusal | None:
        excess = total - len(self._refused) - self._options.connections
        if excess <= 0 or (excess <= MAX_ENDING and self._displace(Kind.HTTP, Kind.WEBSOCKET)):
            return None
        return self._node_full

    def close_http(self, member: Member, host: str | None) -> None:
        """Uncount an HTTP connection that has ended or becomes a WebSocket."""
        self._open[Kind.HTTP] -= 1
        self._budgets[Kind.HTTP].discard(member)
        if self._per_address and not (self._has_proxies and self.proxies.trusts(host)):
            self._leave_address(limit_key(host))

    def close_refused(self, member: Member) -> None:
        self._refused.pop(member, None)

    # WebSockets and SockJS sessions

    def refuse_upgrade(self, host: str | None) -> Refusal | None:
        """Return why no connection may become a WebSocket now; None: one may."""
        if self._open[Kind.WEBSOCKET] < self._websockets or self._displace(Kind.WEBSOCKET):
            return None
        return self._refusals.count(self._node_full, limit_key(host))

    def attempt(self, host: str | None) -> Refusal | None:
        """Count an attempt to open a WebSocket or SockJS session. Return why it is refused; None: it is not."""
        key = limit_key(host)
        if self._is_full(key):
            return self._refusals.count(ADDRESS_FULL, key)
        if key != UNKNOWN and not self._attempts.take(key, self._now()):
            return self._refusals.count(TOO_FAST, key)
        return None

    def enter(self, member: Member, remote: str | None, kind: int) -> Place:
        """Count an open WebSocket or SockJS session. The caller must call `authenticated` or `exempt`, then `leave`."""
        key = limit_key(host_of(remote))
        self._open[kind] += 1
        if self._per_address:
            self._count_address(key)
        self._budgets[kind].add(member, key)
        return key, kind

    def authenticated(self, member: Member, place: Place) -> None:
        """Exempt an authenticated connection from displacement, and give back its attempt."""
        key, kind = place
        self._budgets[kind].discard(member)
        self._attempts.give_back(key)

    def exempt(self, member: Member, place: Place) -> None:
        """Exempt a connection from displacement: it is about to end."""
        self._budgets[place[1]].discard(member)

    def leave(self, place: Place) -> None:
        key, kind = place
        self._open[kind] -= 1
        if self._per_address:
            self._leave_address(key)

    def displace_sockjs(self, count: int) -> None:
        """Close up to `count` unauthenticated SockJS sessions to make room."""
        for _ in range(count):
            if not self._displace(Kind.SOCKJS):
                return

    # Counts

    @property
    def _node_full(self) -> Refusal:
        return FILE_LIMIT if self._options.by_files else NODE_FULL

    def _displace(self, *kinds: int) -> bool:
        return any(self._budgets[kind].displace() for kind in kinds)

    def _is_full(self, key: str) -> bool:
        limit = self._per_address
        return limit > 0 and key != UNKNOWN and self._addresses.get(key, 0) >= limit

    def _count_address(self, key: str) -> None:
        self._addresses[key] = self._addresses.get(key, 0) + 1

    def _leave_address(self, key: str) -> None:
        left = self._addresses[key] - 1
        if left:
            self._addresses[key] = left
        else:
            del self._addresses[key]
