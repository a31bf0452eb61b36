"""Admission and displacement of connections, with counts and log lines."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from app.connections.limits import MAX_ENDING, MAX_REFUSED, ConnectionLimits, Kind, LimitOptions, Place
from app.connections.proxies import TrustedProxies
from app.connections.refusals import (
    ADDRESS_FULL,
    DISPLACED,
    FILE_LIMIT,
    LOG_PERIOD_S,
    NODE_FULL,
    SOCKJS_FULL,
    TOO_FAST,
)
from tests.clock import FakeClock

HOME, WORK = "192.0.2.1", "192.0.2.2"


@dataclass(eq=False)
class FakeConnection:
    """A connection that closes when it is displaced, unless it is busy."""

    busy: bool = False
    displaced: int = 0

    def displace(self) -> bool:
        self.displaced += not self.busy
        return not self.busy


class Node:
    def __init__(self, *, proxies: tuple[str, ...] = (), **options: Any) -> None:
        self.clock = FakeClock()
        self.limits = ConnectionLimits(
            LimitOptions(**options), proxies=TrustedProxies(proxies), now=self.clock.monotonic
        )
        self.total = 0
        self.places: dict[FakeConnection, Place] = {}

    def http(self, host: str | None = HOME, *, busy: bool = False) -> tuple[FakeConnection, object]:
        connection = FakeConnection(busy)
        self.total += 1
        return connection, self.limits.open_http(connection, host, self.total)

    def websocket(self, remote: str = HOME, kind: int = Kind.WEBSOCKET) -> FakeConnection:
        connection = FakeConnection()
        self.places[connection] = self.limits.enter(connection, remote, kind)
        return connection

    def user(self, remote: str = HOME) -> FakeConnection:
        connection = self.websocket(remote)
        self.limits.authenticated(connection, self.places[connection])
        return connection


def test_full_node_refuses_if_no_connection_can_make_room() -> None:
    node = Node(connections=2)
    assert node.http(busy=True)[1] is None
    assert node.http(busy=True)[1] is None

    assert node.http()[1] is NODE_FULL
    assert node.limits.count().refused == 1
    assert node.limits.refusals == {NODE_FULL: 1}


def test_idle_connections_make_room_on_a_full_node() -> None:
    node = Node(connections=2)
    silent, _ = node.http()
    node.http(busy=True)

    assert node.http(WORK)[1] is None
    assert silent.displaced == 1
    assert node.limits.refusals == {DISPLACED: 1}


def test_new_connections_are_refused_while_too_many_displaced_ones_are_ending() -> None:
    node = Node(connections=1)
    answers = [node.http()[1] for _ in range(MAX_ENDING + 2)]

    assert answers == [None] * (MAX_ENDING + 1) + [NODE_FULL]


def test_refusal_names_the_limit_of_open_files() -> None:
    node = Node(connections=1, by_files=True)
    node.http(busy=True)

    assert node.http()[1] is FILE_LIMIT


def test_oldest_idle_refused_connection_is_closed() -> None:
    node = Node(connections=0)
    connections = [node.http()[0] for _ in range(MAX_REFUSED + 2)]

    assert [connection.displaced for connection in connections] == [1, 1] + [0] * MAX_REFUSED
    for connection in connections:
        node.limits.close_refused(connection)
    assert node.limits.count().refused == 0


def test_a_tenth_of_the_connections_is_reserved_for_http() -> None:
    node = Node(connections=20)
    for _ in range(18):
        assert node.limits.refuse_upgrade(HOME) is None
        node.user()

    assert node.limits.refuse_upgrade(HOME) is NODE_FULL


def test_unauthenticated_websocket_makes_room_for_another() -> None:
    node = Node(connections=2)
    node.user()
    stranger = node.websocket(WORK)

    assert node.limits.refuse_upgrade(HOME) is None
    assert stranger.displaced == 1


def test_limit_per_address_covers_all_kinds_together() -> None:
    node = Node(per_address=3)
    connection, _ = node.http()
    node.user()
    node.websocket(kind=Kind.SOCKJS)

    assert node.http()[1] is ADDRESS_FULL
    assert node.limits.attempt(HOME) is ADDRESS_FULL
    assert node.http(WORK)[1] is None
    assert node.limits.attempt(WORK) is None
    node.limits.close_http(connection, HOME)
    assert node.limits.attempt(HOME) is None


def test_ipv6_addresses_count_by_network() -> None:
    node = Node(per_address=1)
    node.user("[2001:db8::1]:80")

    assert node.limits.attempt("2001:db8::2") is ADDRESS_FULL
    assert node.limits.attempt("2001:db8:0:1::2") is None


def test_connections_of_proxies_do_not_count_for_an_address() -> None:
    node = Node(per_address=1, unauthenticated=1, proxies=("10.0.0.0/8",))
    connections = [node.http("10.0.0.1") for _ in range(3)]

    assert [refusal for _, refusal in connections] == [None] * 3
    assert [connection.displaced for connection, _ in connections] == [0] * 3
    for connection, _ in connections:
        node.limits.close_http(connection, "10.0.0.1")
    assert node.limits.count().open[Kind.HTTP] == 0


def test_clients_without_an_address_have_no_limit_per_address() -> None:
    node = Node(per_address=1, attempts_per_s=1)

    assert [node.http(None)[1] for _ in range(30)] == [None] * 30
    assert [node.limits.attempt(None) for _ in range(30)] == [None] * 30


def test_attempts_are_limited_and_given_back_after_authentication() -> None:
    node = Node(attempts_per_s=1)
    for _ in range(30):
        assert node.limits.attempt(HOME) is None
        node.user()

    assert [node.limits.attempt(HOME) for _ in range(11)] == [None] * 10 + [TOO_FAST]
    node.clock.advance(1)
    assert node.limits.attempt(HOME) is None


@pytest.mark.parametrize("kind", [Kind.WEBSOCKET, Kind.SOCKJS])
def test_unauthenticated_connections_never_displace_authenticated_ones(kind: int) -> None:
    node = Node(unauthenticated=3, unauthenticated_sockjs=3)
    users = [node.user() for _ in range(5)]
    newcomer = node.websocket(WORK, kind)
    flood = [node.websocket("198.51.100.1:1", kind) for _ in range(50)]

    assert [user.displaced for user in users] == [0] * 5
    assert newcomer.displaced == 0
    assert [connection.displaced for connection in flood] == [1] * 48 + [0] * 2
    assert node.limits.count().unauthenticated[kind] == 3


def test_busy_members_stay_and_the_next_makes_room() -> None:
    node = Node(unauthenticated=2)
    busy, _ = node.http(busy=True)
    silent, _ = node.http()
    node.http()

    assert (busy.displaced, silent.displaced) == (0, 1)


def test_sockjs_sessions_make_room_on_demand() -> None:
    node = Node()
    strangers = [node.websocket(kind=Kind.SOCKJS) for _ in range(3)]

    node.limits.displace_sockjs(2)
    assert [connection.displaced for connection in strangers] == [1, 1, 0]
    node.limits.displace_sockjs(2)
    assert [connection.displaced for connection in strangers] == [1, 1, 1]


@pytest.mark.parametrize("per_address", [0, 5])
def test_counts_return_to_zero(per_address: int) -> None:
    node = Node(per_address=per_address)
    connection, _ = node.http()
    node.limits.close_http(connection, HOME)
    for kind in (Kind.WEBSOCKET, Kind.SOCKJS):
        member = node.websocket(f"{HOME}:1", kind)
        assert node.limits.count().open[kind] == 1
        node.limits.exempt(member, node.places[member])
        node.limits.leave(node.places[member])

    counts = node.limits.count()
    assert set(counts.open.values()) == set(counts.unauthenticated.values()) == {0}


def test_refusals_are_logged_once_a_minute_with_advice(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            node.limits.refuse(SOCKJS_FULL, HOME)
        node.limits.refuse(FILE_LIMIT, None)
        node.clock.advance(LOG_PERIOD_S)
        node.limits.refuse(SOCKJS_FULL, WORK)

    assert caplog.messages == [
        f"connections refused: 1 (sockjs_full), the last from {HOME}: {SOCKJS_FULL.advice}",
        f"connections refused: 1 (file_limit), the last from an unknown address: {FILE_LIMIT.advice}",
        f"connections refused: 5 (sockjs_full), the last from {WORK}: {SOCKJS_FULL.advice}",
    ]
    assert node.limits.refusals == {SOCKJS_FULL: 6, FILE_LIMIT: 1}
