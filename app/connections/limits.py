"""Who may connect to this node, and who has to make room. One object a process; nothing here waits."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.connections.addresses import host_of, limit_key
from app.connections.attempts import Attempts
from app.connections.proxies import TrustedProxies
from app.connections.queue import FairQueue
from app.connections.refusals import ADDRESS_FULL, DISPLACED, FILE_LIMIT, NODE_FULL, TOO_FAST, Refusal, Refusals

TRIES = 32  # members that are asked to make room before a newcomer is refused
MAX_REFUSED = 32  # refused connections that may wait for their answer at once
MAX_ENDING = 16  # connections above the limit while those that make room have not ended yet


class Member(Protocol):
    """A connection that has not authenticated."""

    def displace(self) -> bool:
        """End to make room; False if it is in use, and stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """0 for `per_address` and `attempts_per_s`: no limit. `by_files`: `connections` is what RLIMIT_NOFILE allows."""

    connections: int = 1_000_000
    by_files: bool = False
    per_address: int = 0
    attempts_per_s: int = 0
    unauthenticated: int = 1_000_000
    unauthenticated_sockjs: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCounts:
    """Connections by state. `sockjs` are sessions over HTTP, whose requests use connections of `http`.

    `unauthenticated` counts members of all states; `refused` connections wait for their answer.
    """

    http: int
    websocket: int
    sockjs: int
    unauthenticated: int
    refused: int


class ConnectionLimits:
    """HTTP connections come by `open_http`, WebSockets and SockJS sessions by `enter`.

    A connection is unauthenticated from its beginning to `authenticated`, or to its end. The unauthenticated share a
    budget of their own; when it is used up, the oldest of the address that has the most makes room.
    """

    def __init__(
        self, options: LimitOptions, *, proxies: TrustedProxies | None = None, now: Callable[[], float]
    ) -> None:
        self.proxies = proxies or TrustedProxies()
        self._options = options
        self._now = now
        self._refusals = Refusals(now)
        self._attempts = Attempts(options.attempts_per_s)
        self._addresses: dict[str, int] = {}
        self._queue: FairQueue[Member] = FairQueue()
        self._sockjs_queue: FairQueue[Member] = FairQueue()
        self._refused: dict[Member, None] = {}
        self._http = self._websocket = self._sockjs = 0

    # Metrics

    @property
    def refusals(self) -> Counter[Refusal]:
        return self._refusals.counts

    def count(self) -> ConnectionCounts:
        return ConnectionCounts(
            http=self._http,
            websocket=self._websocket,
            sockjs=self._sockjs,
            unauthenticated=len(self._queue) + len(self._sockjs_queue),
            refused=len(self._refused),
        )

    def refuse(self, refusal: Refusal, host: str | None) -> Refusal:
        """Count and log a refusal that is decided elsewhere."""
        return self._refusals.count(refusal, limit_key(host))

    # HTTP connections

    def open_http(self, member: Member, host: str | None, total: int) -> Refusal | None:
        """Admit a new connection, or say why it is refused; `total` connections are open, it included.

        One that is refused is owed `close_refused`, any other `close_http`.
        """
        key = limit_key(host)
        refusal = self._refuse_http(key, host, total)
        if refusal is not None:
            self._refused[member] = None
            if len(self._refused) > MAX_REFUSED and (oldest := next(iter(self._refused))).displace():
                del self._refused[oldest]
            return self._refusals.count(refusal, key)
        self._http += 1
        if not self.proxies.trusts(host):
            self._count_address(key)
        self._queue.add(member, key)
        if len(self._queue) > self._options.unauthenticated:
            self._displace(self._queue)
        return None

    def _refuse_http(self, key: str, host: str | None, total: int) -> Refusal | None:
        options = self._options
        excess = total - len(self._refused) - options.connections
        if excess > MAX_ENDING or (excess > 0 and not self._displace(self._queue)):
            return FILE_LIMIT if options.by_files else NODE_FULL
        per_address = options.per_address
        if per_address and self._addresses.get(key, 0) >= per_address and not self.proxies.trusts(host):
            return ADDRESS_FULL
        return None

    def close_http(self, member: Member, host: str | None) -> None:
        """The connection has ended, or becomes a WebSocket."""
        self._queue.discard(member)
        self._http -= 1
        if not self.proxies.trusts(host):
            self._leave_address(limit_key(host))

    def close_refused(self, member: Member) -> None:
        self._refused.pop(member, None)

    # WebSockets and SockJS sessions

    def attempt(self, host: str | None) -> Refusal | None:
        """Count an attempt to open a WebSocket or SockJS session, or say why it is refused."""
        key = limit_key(host)
        if self._options.per_address and self._addresses.get(key, 0) >= self._options.per_address:
            return self._refusals.count(ADDRESS_FULL, key)
        if not self._attempts.take(key, self._now()):
            return self._refusals.count(TOO_FAST, key)
        return None

    def enter(self, member: Member, remote: str | None, *, sockjs: bool) -> None:
        """A WebSocket or SockJS session is open; it is owed `leave`."""
        key = limit_key(host_of(remote))
        self._count_address(key)
        if sockjs:
            self._sockjs += 1
            queue, limit = self._sockjs_queue, self._options.unauthenticated_sockjs
        else:
            self._websocket += 1
            queue, limit = self._queue, self._options.unauthenticated
        queue.add(member, key)
        if len(queue) > limit:
            self._displace(queue)

    def authenticated(self, member: Member, remote: str | None) -> None:
        """The attempt is given back."""
        self.settle(member)
        self._attempts.give_back(limit_key(host_of(remote)))

    def settle(self, member: Member) -> None:
        """It needs not make room any more: it has authenticated, or is about to end."""
        if not self._queue.discard(member):
            self._sockjs_queue.discard(member)

    def leave(self, remote: str | None, *, sockjs: bool) -> None:
        if sockjs:
            self._sockjs -= 1
        else:
            self._websocket -= 1
        self._leave_address(limit_key(host_of(remote)))

    def displace_sockjs(self, count: int) -> None:
        """Let up to `count` SockJS sessions make room that have not authenticated."""
        for _ in range(count):
            if not self._displace(self._sockjs_queue):
                return

    # Accounts

    def _displace(self, queue: FairQueue[Member]) -> bool:
        for _ in range(min(TRIES, len(queue))):
            popped = queue.pop()
            assert popped is not None, "there are as many"
            member, key = popped
            if member.displace():
                self._refusals.count(DISPLACED, key)
                return True
            queue.add(member, key)
        return False

    def _count_address(self, key: str) -> None:
        self._addresses[key] = self._addresses.get(key, 0) + 1

    def _leave_address(self, key: str) -> None:
        left = self._addresses[key] - 1
        if left:
            self._addresses[key] = left
        else:
            del self._addresses[key]
