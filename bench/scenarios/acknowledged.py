"""What acknowledgements cost: as many deliveries as a broadcast has, each answered by its client."""

from collections.abc import Iterator

import httpx

from bench.load.dialects import stomp
from bench.parties import Service, open_service
from bench.requests import push
from bench.results import Row, ratio_at_least, row, take_turns
from bench.scale import Scale

UNIT = "acked deliveries/s"
PLAIN = "plain broadcast"
EVERYBODY = "test-everybody"


def acknowledged(scale: Scale) -> Iterator[Row]:
    """A broadcast that each client answers with SEND /app/ack, against one without acknowledgements."""
    sessions, count = scale.sessions, scale.broadcasts
    with open_service(sessions) as service:
        taken = take_turns(
            scale.rounds,
            plain=lambda: service.broadcast(count),
            acked=lambda: service.broadcast(count, acknowledge=True),
        )
    yield row(
        "acknowledged", f"broadcast to {sessions:,}, each answers with SEND /app/ack", UNIT, taken["acked"],
        against=taken["plain"], reference_name=PLAIN, aim=ratio_at_least(0.4),
    )  # fmt: skip


def acknowledged_push(scale: Scale) -> Iterator[Row]:
    """A push to one user who has all sessions, so that each delivery has a record in the ledger."""
    sessions, count = scale.sessions, scale.broadcasts
    with open_service(sessions, dialect=stomp(user=EVERYBODY), MAX_SESSIONS_PER_USER=str(2 * sessions)) as service:
        taken = take_turns(
            scale.rounds,
            plain=lambda: service.broadcast(count),
            acked=lambda: service.pump([push(EVERYBODY)], deliveries=sessions, count=count, acknowledge=True),
        )
        check_ledger(service)
    yield row(
        "acknowledged-push", f"push to a user with {sessions:,} sessions, through the ledger", UNIT, taken["acked"],
        against=taken["plain"], reference_name=PLAIN, aim=ratio_at_least(0.4),
    )  # fmt: skip


def check_ledger(service: Service) -> None:
    """One more push, of which the service has to say that it was acknowledged, and that nothing else is open."""
    service.pump([push(EVERYBODY)], deliveries=service.sessions, count=1, acknowledge=True)
    with httpx.Client(base_url=service.server.url, timeout=30) as http:
        status = http.get(f"/vh-stomp-wsend/push_status/{service.last_message_id()}").raise_for_status().json()
        sessions = http.get(f"/api/sessions/{EVERYBODY}").raise_for_status().json()["items"]
    assert all(delivery["acked_at"] for delivery in status["sessions"]), status
    assert [session["unacknowledged"] for session in sessions] == [0] * service.sessions
