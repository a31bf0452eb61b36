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
class Guest:
    """A connection that closes when it is displaced, unless it is busy."""

    busy: bool = False
    displaced: int = 0

    def displace(self) -> bool:
        self.displaced += not self.busy
        return not self.busy


class House:
    def __init__(self, *, proxies: tuple[str, ...] = (), **options: Any) -> None:
        self.clock = FakeClock()
        self.limits = ConnectionLimits(
            LimitOptions(**options), proxies=TrustedProxies(proxies), now=self.clock.monotonic
        )
        self.total = 0
        self.places: dict[Guest, Place] = {}

    def http(self, host: str | None = HOME, *, busy: bool = False) -> tuple[Guest, object]:
        guest = Guest(busy)
        self.total += 1
        return guest, self.limits.open_http(guest, host, self.total)

    def websocket(self, remote: str = HOME, kind: int = Kind.WEBSOCKET) -> Guest:
        guest = Guest()
        self.places[guest] = self.limits.enter(guest, remote, kind)
        return guest

    def user(self, remote: str = HOME) -> Guest:
        guest = self.websocket(remote)
        self.limits.authenticated(guest, self.places[guest])
        return guest


def test_full_node_refuses_if_no_connection_can_make_room() -> None:
    house = House(connections=2)
    assert house.http(busy=True)[1] is None
    assert house.http(busy=True)[1] is None

    assert house.http()[1] is NODE_FULL
    assert house.limits.count().refused == 1
    assert house.limits.refusals == {NODE_FULL: 1}


def test_idle_connections_make_room_on_a_full_node() -> None:
    house = House(connections=2)
    silent, _ = house.http()
    house.http(busy=True)

    assert house.http(WORK)[1] is None
    assert silent.displaced == 1
    assert house.limits.refusals == {DISPLACED: 1}


def test_new_connections_are_refused_while_too_many_displaced_ones_are_ending() -> None:
    house = House(connections=1)
    answers = [house.http()[1] for _ in range(MAX_ENDING + 2)]

    assert answers == [None] * (MAX_ENDING + 1) + [NODE_FULL]


def test_refusal_names_the_limit_of_open_files() -> None:
    house = House(connections=1, by_files=True)
    house.http(busy=True)

    assert house.http()[1] is FILE_LIMIT


def test_oldest_idle_refused_connection_is_closed() -> None:
    house = House(connections=0)
    guests = [house.http()[0] for _ in range(MAX_REFUSED + 2)]

    assert [guest.displaced for guest in guests] == [1, 1] + [0] * MAX_REFUSED
    for guest in guests:
        house.limits.close_refused(guest)
    assert house.limits.count().refused == 0


def test_a_tenth_of_the_connections_is_reserved_for_http() -> None:
    house = House(connections=20)
    for _ in range(18):
        assert house.limits.refuse_upgrade(HOME) is None
        house.user()

    assert house.limits.refuse_upgrade(HOME) is NODE_FULL


def test_unauthenticated_websocket_makes_room_for_another() -> None:
    house = House(connections=2)
    house.user()
    stranger = house.websocket(WORK)

    assert house.limits.refuse_upgrade(HOME) is None
    assert stranger.displaced == 1


def test_limit_per_address_covers_all_kinds_together() -> None:
    house = House(per_address=3)
    guest, _ = house.http()
    house.user()
    house.websocket(kind=Kind.SOCKJS)

    assert house.http()[1] is ADDRESS_FULL
    assert house.limits.attempt(HOME) is ADDRESS_FULL
    assert house.http(WORK)[1] is None
    assert house.limits.attempt(WORK) is None
    house.limits.close_http(guest, HOME)
    assert house.limits.attempt(HOME) is None


def test_ipv6_addresses_count_by_network() -> None:
    house = House(per_address=1)
    house.user("[2001:db8::1]:80")

    assert house.limits.attempt("2001:db8::2") is ADDRESS_FULL
    assert house.limits.attempt("2001:db8:0:1::2") is None


def test_connections_of_proxies_do_not_count_for_an_address() -> None:
    house = House(per_address=1, unauthenticated=1, proxies=("10.0.0.0/8",))
    guests = [house.http("10.0.0.1") for _ in range(3)]

    assert [refusal for _, refusal in guests] == [None] * 3
    assert [guest.displaced for guest, _ in guests] == [0] * 3
    for guest, _ in guests:
        house.limits.close_http(guest, "10.0.0.1")
    assert house.limits.count().open[Kind.HTTP] == 0


def test_clients_without_an_address_have_no_limit_per_address() -> None:
    house = House(per_address=1, attempts_per_s=1)

    assert [house.http(None)[1] for _ in range(30)] == [None] * 30
    assert [house.limits.attempt(None) for _ in range(30)] == [None] * 30


def test_attempts_are_limited_and_given_back_after_authentication() -> None:
    house = House(attempts_per_s=1)
    for _ in range(30):
        assert house.limits.attempt(HOME) is None
        house.user()

    assert [house.limits.attempt(HOME) for _ in range(11)] == [None] * 10 + [TOO_FAST]
    house.clock.advance(1)
    assert house.limits.attempt(HOME) is None


@pytest.mark.parametrize("kind", [Kind.WEBSOCKET, Kind.SOCKJS])
def test_unauthenticated_connections_never_displace_authenticated_ones(kind: int) -> None:
    house = House(unauthenticated=3, unauthenticated_sockjs=3)
    users = [house.user() for _ in range(5)]
    newcomer = house.websocket(WORK, kind)
    flood = [house.websocket("198.51.100.1:1", kind) for _ in range(50)]

    assert [user.displaced for user in users] == [0] * 5
    assert newcomer.displaced == 0
    assert [guest.displaced for guest in flood] == [1] * 48 + [0] * 2
    assert house.limits.count().unauthenticated[kind] == 3


def test_busy_members_stay_and_the_next_makes_room() -> None:
    house = House(unauthenticated=2)
    busy, _ = house.http(busy=True)
    silent, _ = house.http()
    house.http()

    assert (busy.displaced, silent.displaced) == (0, 1)


def test_sockjs_sessions_make_room_on_demand() -> None:
    house = House()
    strangers = [house.websocket(kind=Kind.SOCKJS) for _ in range(3)]

    house.limits.displace_sockjs(2)
    assert [guest.displaced for guest in strangers] == [1, 1, 0]
    house.limits.displace_sockjs(2)
    assert [guest.displaced for guest in strangers] == [1, 1, 1]


@pytest.mark.parametrize("per_address", [0, 5])
def test_counts_return_to_zero(per_address: int) -> None:
    house = House(per_address=per_address)
    guest, _ = house.http()
    house.limits.close_http(guest, HOME)
    for kind in (Kind.WEBSOCKET, Kind.SOCKJS):
        member = house.websocket(f"{HOME}:1", kind)
        assert house.limits.count().open[kind] == 1
        house.limits.settle(member, house.places[member])
        house.limits.leave(house.places[member])

    counts = house.limits.count()
    assert set(counts.open.values()) == set(counts.unauthenticated.values()) == {0}


def test_refusals_are_logged_once_a_minute_with_advice(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            house.limits.refuse(SOCKJS_FULL, HOME)
        house.limits.refuse(FILE_LIMIT, None)
        house.clock.advance(LOG_PERIOD_S)
        house.limits.refuse(SOCKJS_FULL, WORK)

    assert caplog.messages == [
        f"connections refused: 1 (sockjs_full), the last from {HOME}: {SOCKJS_FULL.advice}",
        f"connections refused: 1 (file_limit), the last from an unknown address: {FILE_LIMIT.advice}",
        f"connections refused: 5 (sockjs_full), the last from {WORK}: {SOCKJS_FULL.advice}",
    ]
    assert house.limits.refusals == {SOCKJS_FULL: 6, FILE_LIMIT: 1}
