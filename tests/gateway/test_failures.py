"""What a client is told when a frame fails: the reason of the registry, and whether the session goes on."""

import asyncio
import json

import pytest

from app.cluster.relay.memory import MemoryBus, MemoryRelay
from app.delivery.relay import Relay
from app.disconnects import (
    BAD_REQUEST,
    BAD_TOKEN,
    FORBIDDEN,
    INTERNAL_ERROR,
    SESSION_LIMIT,
    TOO_BIG,
    TRY_AGAIN,
    DisconnectReason,
)
from app.errors import (
    Forbidden,
    IdConflict,
    InboxFull,
    InProgress,
    InvalidMessage,
    NotFound,
    PayloadTooLarge,
    ServiceError,
    SessionLimit,
    Unauthorized,
    Unavailable,
)
from app.gateway.failures import failure_of, told
from app.gateway.routing import AppMessage, DestinationRoutes, Rejected
from app.hub.publication import Publication
from app.stomp.errors import FrameTooLarge, ProtocolError
from tests.gateway.conversation import Stage, settle

ERRORS = "/user/queue/errors"
AWAY = "Redis does not answer"
PASSING = (TRY_AGAIN.code, TRY_AGAIN.text)


class AwayRelay(MemoryRelay):
    """A relay that cannot publish."""

    async def publish(self, publication: Publication) -> None:
        await asyncio.sleep(0)
        raise Unavailable(AWAY)


def away() -> Relay:
    return AwayRelay(MemoryBus())


def failing(error: Exception) -> DestinationRoutes:
    """`/app/now` fails at once, `/app/later` when it is awaited."""
    routes = DestinationRoutes()

    @routes.message("/app/now")
    def now(_: AppMessage) -> None:
        raise error

    @routes.message("/app/later")
    async def later(_: AppMessage) -> None:
        await asyncio.sleep(0)
        raise error

    return routes


@pytest.mark.parametrize("destination", ["/topic/x", "/app/sendMessage"])
async def test_a_passing_failure_is_told_where_the_client_listens(destination: str) -> None:
    peer = await Stage(relay=away()).connected()
    await peer.subscribe(ERRORS)

    (silent,) = await peer.talk("SEND", {"destination": destination}, "x")
    (asking,) = await peer.talk("SEND", {"destination": destination, "receipt": "r"}, "x")

    assert json.loads(silent.body) == {"detail": AWAY, "code": 1013, "reason": "try again later"}
    assert json.loads(asking.body) == {"detail": AWAY, "code": 1013, "reason": "try again later", "receipt": "r"}
    assert not peer.over


@pytest.mark.parametrize("receipt", [{}, {"receipt": "r"}])
@pytest.mark.parametrize("destination", ["/topic/x", "/app/sendMessage"])
async def test_a_passing_failure_is_an_error_that_says_come_back(destination: str, receipt: dict[str, str]) -> None:
    peer = await Stage(relay=away()).connected()

    (error,) = await peer.talk("SEND", {"destination": destination} | receipt, "x")

    assert error.command == "ERROR"
    assert error.headers.get("receipt-id") == receipt.get("receipt")
    assert (error.headers["message"], error.body.decode()) == (Unavailable.title, AWAY)
    assert peer.close_code == 1013


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("secret"), 1011),
        (Rejected("not this"), 4501),
        (Rejected("later", reason=TRY_AGAIN), 1013),
        (InboxFull("bob has 300 unacknowledged messages, the limit"), 1013),
        (InProgress("the same is under way"), 1013),
        (InvalidMessage("no such type"), 4501),
        (Forbidden("not yours"), 4507),
        (ServiceError("something else"), 1011),
    ],
)
@pytest.mark.parametrize("destination", ["/app/now", "/app/later"])
async def test_a_failure_of_a_handler_keeps_its_reason(destination: str, error: Exception, code: int) -> None:
    stage = Stage(routes=failing(error))
    listening, silent = await stage.connected(), await stage.connected()
    await listening.subscribe(ERRORS)

    (message,) = await listening.talk("SEND", {"destination": destination, "receipt": "r"})
    assert (json.loads(message.body)["code"], listening.over) == (code, False)
    assert await silent.talk("SEND", {"destination": destination}) == []
    assert not silent.over
    (answer,) = await silent.talk("SEND", {"destination": destination, "receipt": "r"})
    assert (answer.command, answer.headers["receipt-id"], silent.close_code) == ("ERROR", "r", code)
    assert b"secret" not in message.body + answer.body


async def send_in_transaction(stage: Stage, destinations: tuple[str, ...], *, listens: bool) -> tuple[int | None, str]:
    """The close code, and what the client was told."""
    peer = await stage.connected()
    if listens:
        await peer.subscribe(ERRORS)
    peer.send("BEGIN", {"transaction": "t"})
    for destination in destinations:
        peer.send("SEND", {"destination": destination, "transaction": "t"}, "x")
    (answer,) = await peer.talk("COMMIT", {"transaction": "t", "receipt": "r"})
    return peer.close_code, answer.body.decode()


@pytest.mark.parametrize(
    ("destinations", "code"),
    [
        (("/topic/x",), 1013),
        (("/app/nobody", "/topic/x"), 1013),
        (("/topic/x", "/app/nobody"), 1013),
        (("/app/nobody", "/app/nobody"), 4501),
    ],
)
async def test_a_transaction_that_failed_in_part_for_a_passing_reason_says_come_back(
    destinations: tuple[str, ...], code: int
) -> None:
    stage = Stage(relay=away())

    assert (await send_in_transaction(stage, destinations, listens=False))[0] == code
    closed, body = await send_in_transaction(stage, destinations, listens=True)
    assert (closed, json.loads(body)["code"]) == (None, code)


async def test_a_passing_failure_does_not_keep_the_rest_of_a_transaction_from_being_done() -> None:
    done = []
    routes = DestinationRoutes()

    @routes.message("/app/note")
    def note(message: AppMessage) -> None:
        done.append(message.text())

    stage = Stage(relay=away(), routes=routes)
    await send_in_transaction(stage, ("/topic/x", "/app/note"), listens=True)
    await settle()

    assert done == ["x"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidMessage("x"), BAD_REQUEST),
        (NotFound("x"), BAD_REQUEST),
        (IdConflict("x"), BAD_REQUEST),
        (PayloadTooLarge("x"), TOO_BIG),
        (Unauthorized("x"), BAD_TOKEN),
        (Forbidden("x"), FORBIDDEN),
        (SessionLimit("x"), SESSION_LIMIT),
        (Unavailable("x"), TRY_AGAIN),
        (InboxFull("x"), TRY_AGAIN),
        (InProgress("x"), TRY_AGAIN),
        (ProtocolError("x", "y"), BAD_REQUEST),
        (FrameTooLarge("x"), TOO_BIG),
        (RuntimeError("x"), INTERNAL_ERROR),
    ],
)
def test_each_error_has_a_reason_of_the_registry(error: Exception, reason: DisconnectReason) -> None:
    assert failure_of(error, is_connected=True).reason is reason


def test_before_connected_every_failure_ends_the_connection() -> None:
    for error in (Rejected("x"), Unavailable("x"), ProtocolError("x", "y"), RuntimeError("x")):
        assert failure_of(error, is_connected=False).ends
    assert failure_of(FrameTooLarge("x"), is_connected=False).reason is BAD_REQUEST


def test_what_is_told_names_the_reason_and_the_receipt() -> None:
    failure = failure_of(Rejected("not this"), is_connected=True)
    assert json.loads(told(failure, None, "m").body) == {"detail": "not this", "code": 4501, "reason": "bad request"}
    assert json.loads(told(failure, "r", "m").body)["receipt"] == "r"
