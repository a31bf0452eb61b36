"""The benchmarks in miniature, so that they go on measuring what they say. What comes out is compared with nothing."""

from collections.abc import Iterator

import pytest

from bench.load.attacks import Attacker, many_headers
from bench.load.dialects import stomp
from bench.load.load import Load
from bench.machine import LOAD_CORE, cpu_s, environment, rss_kb, tree_cpu_s
from bench.parties import Service, open_bare, open_service
from bench.remote import Remote
from bench.requests import batch, broadcast, push
from bench.scale import Scale
from bench.scenarios.abuse import watch
from bench.scenarios.broadcast import longest_hold_ms
from bench.scenarios.ledger import ledger
from bench.servers import WATCHED

SESSIONS = 5
BEATS = {"HEARTBEAT_SEND_MS": "100", "HEARTBEAT_RECEIVE_MS": "100"}
BIG = "x" * 8_000


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with open_service(SESSIONS, None, WATCHED, OUTBOX_MAX_FRAMES="5", **BEATS) as service:
        yield service


@pytest.fixture
def load() -> Iterator[Remote[Load]]:
    with Remote(Load, core=LOAD_CORE) as load:
        yield load


def test_every_delivery_of_a_broadcast_is_counted(service: Service) -> None:
    for acknowledge in (False, True):
        sample = service.broadcast(4, acknowledge=acknowledge)
        assert sample.details["count"] == 4 * SESSIONS
        assert sample.value > 0


def test_pushes_are_acknowledged_one_by_one_and_in_batches(service: Service) -> None:
    users = service.users
    assert service.push_for(0.05, [push(user) for user in users], connections=2).value > 0
    assert service.push_for(0.05, [batch(users, 10)], connections=1, batch=10).details["count"] % 10 == 0
    assert service.last_message_id().startswith("ntf_")


def test_a_push_that_fails_fails_the_measurement(service: Service) -> None:
    with pytest.raises(RuntimeError, match="a push failed"):
        service.pump([push("nobody-is-there")], deliveries=0, count=1)


def test_latency_is_that_of_each_message(service: Service) -> None:
    load, port = service.load, service.server.port
    took = load.call(Load.pace_broadcasts, port, broadcast(), count=3, per_s=100)
    assert took.messages == 3 * SESSIONS
    pushes = [batch(service.users, SESSIONS)]
    took = load.call(Load.pace_pushes, port, pushes, batch=SESSIONS, count=3, per_s=100, connections=2)
    assert took.messages == 3 * SESSIONS
    assert took.latency is not None
    assert 0 < took.latency.p50_ms <= took.latency.p99_ms


def test_the_longest_hold_of_the_loop_is_forgotten_when_it_was_told(service: Service) -> None:
    service.broadcast(3)
    assert longest_hold_ms(service) > 0
    assert longest_hold_ms(service) < 1_000


def test_a_client_that_does_not_read_is_noticed(service: Service) -> None:
    service.load.call(Load.stall, service.server.port, "test-stalled")
    service.load.call(Load.pace_broadcasts, service.server.port, broadcast(BIG), count=80, per_s=400)
    assert service.load.call(Load.was_cut_off)


def test_sessions_come_and_go(service: Service, load: Remote[Load]) -> None:
    for took in (
        load.call(Load.storm, service.server.port, SESSIONS),
        load.call(Load.churn, service.server.port, 3 * SESSIONS, in_flight=4),
    ):
        assert took.errors == {}
        assert took.wall_s > 0


def test_heart_beats_are_sent(load: Remote[Load], service: Service) -> None:
    load.call(Load.open, service.server.port, SESSIONS, stomp(beat_s=0.1))
    took = load.call(Load.beat, 0.4)
    assert took.messages > 0
    assert took.errors == {}


def test_sessions_that_cannot_be_opened_are_errors(load: Remote[Load]) -> None:
    with pytest.raises(RuntimeError, match="the sessions met errors"):
        load.call(Load.open, 1, SESSIONS)


def test_the_bare_loop_sends_as_much_as_the_service(service: Service) -> None:
    service.broadcast(1)
    with open_bare(SESSIONS) as bare:
        assert bare.broadcast(4, service.frame_bytes()).details["count"] == 4 * SESSIONS


def test_a_look_at_the_ledger_is_measured() -> None:
    (row,) = ledger(Scale(records=10))
    assert row.value is not None


def test_processes_are_looked_at(service: Service) -> None:
    pid = service.server.process.pid
    assert 0 < cpu_s(pid) <= tree_cpu_s(pid)
    assert rss_kb(pid) > 10_000
    assert environment()["cores"]


def test_attack_ends_by_itself_while_the_pushes_of_others_are_timed(service: Service) -> None:
    assert many_headers(service.server.port) > 0
    with Remote(Attacker, core=LOAD_CORE) as attacker:
        attack = attacker.begin(Attacker.run, "an endless URL", service.server.port)
        seen = watch(service.server, attacker.has_result)
        assert attack() > 0
    assert seen.longest_ms > 0
    assert seen.most_kb > 0
