"""What was stored reaches its receiver: whatever dies, however long he is away, and on which device he reads it."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.client import listening, stomp_client
from tests.e2e.storage import (
    PUSH,
    STORE,
    PostgresStorage,
    SqliteStorage,
    Storage,
    delivered,
    eventually,
    history,
    http_client,
    next_message,
    store,
    token,
)
from tests.postgres import running_postgres
from tests.service import Server, running_server

INBOX = 20
SHORT_S = 0.5  # by then what waits for a session has been sent
RESEND_S = 1.5  # by then what was not acknowledged has been resent
RECOVERED_S = 1.7  # by then recovery has pushed what it takes for forgotten
SETTINGS = {
    "ACK_CHECK_WAIT_MS": "1000",
    "ACK_RETRY_INTERVAL_MS": "500",
    "INBOX_MAX_MESSAGES": str(INBOX),
    "RECOVERY_GRACE_MS": "1000",
    "RECOVERY_INTERVAL_MS": "300",
}

KEY = {"Idempotency-Key": "order-4711"}

PUSHES_NOTHING = """
import asyncio
from app.cli.commands import main
from app.delivery.delivery import Delivery

async def push(self, envelope, **options):
    await asyncio.Event().wait()

Delivery.push = push
main()
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    if request.param == "sqlite":
        yield SqliteStorage(Path(tmp_path_factory.mktemp("persistence"), "notify.db"))
    else:
        with running_postgres() as postgres:
            yield PostgresStorage(postgres)


@pytest.fixture(scope="module")
def server(storage: Storage) -> Iterator[Server]:
    with running_server(**storage.env, **SETTINGS) as server:
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(server.url) as http:
        yield http


@pytest.fixture(scope="module")
def dumb_server(storage: Storage) -> Iterator[Server]:
    """Another node, that stores and sends what it finds stored, and never gets as far as to push."""
    with running_server(("-c", PUSHES_NOTHING), **storage.env, RECOVERY_INTERVAL_MS="600000") as server:
        yield server
        server.stop(signal.SIGKILL)  # its requests would keep it waiting


@pytest.fixture
def dumb(dumb_server: Server) -> Server:
    if dumb_server.process.poll() is not None:
        dumb_server.start()
        dumb_server.wait_until_ready()
    return dumb_server


@pytest.fixture(scope="module")
def before_the_crash(server: Server, storage: Storage) -> tuple[Sequence[str], httpx.Response]:
    """The ids of what was stored for a user who is away, and the answer to a push with a key.

    Then the process was killed, and started again.
    """
    with httpx.Client(base_url=server.url, timeout=30) as http:
        keyed = http.post(f"{STORE}/test-idempotent", content="once", headers=KEY)
        early = http.post(f"{STORE}/test-dead-process", content="early").json()["id"]
        while storage.query(f"SELECT pushed_at FROM notify_log WHERE id = '{early}'") == [[""]]:
            time.sleep(0.05)
        late = http.post(f"{STORE}/test-dead-process", content="late").json()["id"]
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    server.start()
    server.wait_until_ready()
    return (early, late), keyed


async def test_stored_messages_outlive_the_process(
    server: Server, storage: Storage, before_the_crash: tuple[Sequence[str], httpx.Response]
) -> None:
    ids, _ = before_the_crash
    async with listening(server.websocket_url, "test-dead-process") as client:
        for message_id, text in zip(ids, ("early", "late"), strict=True):
            message, _ = await next_message(client)
            assert (message["id"], message["data"]) == (message_id, text)
            assert not delivered(storage, message_id)
            await client.ack(message_id)
            await eventually(partial(delivered, storage, message_id))

    async with listening(server.websocket_url, "test-dead-process") as client:
        await client.silent(SHORT_S)


async def test_request_with_the_same_key_is_answered_after_a_crash_as_before(
    storage: Storage, http: httpx.AsyncClient, before_the_crash: tuple[Sequence[str], httpx.Response]
) -> None:
    _, first = before_the_crash
    assert "Idempotency-Replay" not in first.headers

    again = await http.post(f"{STORE}/test-idempotent", content="once", headers=KEY)
    other = await http.post(f"{STORE}/test-idempotent", content="twice", headers=KEY)

    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["Idempotency-Replay"] == "true"
    assert other.status_code == 422
    assert storage.query("SELECT count(*) FROM notify_log WHERE receiver = 'test-idempotent'") == [["1"]]


async def test_message_of_a_process_that_died_before_the_push_reaches_a_session_that_is_there(
    server: Server, dumb: Server, storage: Storage
) -> None:
    stored = "SELECT id, pushed_at FROM notify_log WHERE receiver = 'test-recovery'"
    async with listening(server.websocket_url, "test-recovery") as client:
        async with http_client(dumb.url) as http:
            request = asyncio.create_task(http.post(f"{STORE}/test-recovery", content="orphan"))
            await eventually(lambda: storage.query(stored))
            assert not request.done()
            dumb.stop(signal.SIGKILL)
            with suppress(httpx.TransportError):
                await request

        message, redelivered = await next_message(client)

        assert (message["data"], redelivered) == ("orphan", False)
        await client.ack(message["id"])
        [[message_id, _]] = await eventually(lambda: storage.query(stored), lambda rows: rows[0][1] != "")
        assert message_id == message["id"]
        await client.silent(SHORT_S)


async def test_message_that_was_acknowledged_before_the_push_is_not_pushed_any_more(
    server: Server, dumb: Server, storage: Storage
) -> None:
    stored = "SELECT id FROM notify_log WHERE receiver = 'test-drained'"
    async with http_client(dumb.url) as http:
        request = asyncio.create_task(http.post(f"{STORE}/test-drained", content="found by its receiver"))
        [[message_id]] = await eventually(lambda: storage.query(stored))
        async with listening(dumb.websocket_url, "test-drained") as client:
            await next_message(client)
            await client.ack(message_id)
            await eventually(lambda: delivered(storage, message_id))
        async with listening(server.websocket_url, "test-drained") as client:
            await client.silent(RECOVERED_S)
        request.cancel()


async def test_reading_on_one_device_is_seen_on_the_other_and_ends_the_resends(
    server: Server, http: httpx.AsyncClient
) -> None:
    user = "test-devices"
    async with listening(server.websocket_url, user) as phone, listening(server.websocket_url, user) as laptop:
        unread = await store(http, user, "unread")
        read = await store(http, user, "read")
        for device in (phone, laptop):
            assert [(await next_message(device))[0]["id"] for _ in range(2)] == [unread, read]
            await device.ack(unread)

        answer = await http.post("/api/notify/viewed", json={"ids": [read]}, headers=token(user))

        assert answer.json() == {"updated": 1, "unread": 1}
        for device in (phone, laptop):
            async with asyncio.timeout(30):
                notice, _ = await next_message(device, "NOTIFY_VIEWED")
            assert notice["data"] == {"ids": [read], "unread": 1}
        await asyncio.gather(phone.silent(RESEND_S), laptop.silent(RESEND_S))
        async with listening(server.websocket_url, user) as tablet:
            await tablet.silent(SHORT_S)


async def test_unacknowledged_message_is_resent_and_goes_on_to_the_next_session(
    server: Server, storage: Storage, http: httpx.AsyncClient
) -> None:
    user = "test-resend"
    async with listening(server.websocket_url, user) as client:
        acknowledged = await store(http, user, "acknowledged")
        assert (await next_message(client))[0]["id"] == acknowledged
        await client.ack(acknowledged)
        message_id = await store(http, user, "ignored")
        assert [(message["id"], again) for message, again in [await next_message(client) for _ in range(3)]] == [
            (message_id, False),
            (message_id, True),
            (message_id, True),
        ]

    async with listening(server.websocket_url, user) as client:
        message, redelivered = await next_message(client)
        assert (message["id"], redelivered) == (message_id, True)
        assert not delivered(storage, message_id)
        await client.ack(message_id)
        await client.silent(RESEND_S)
    assert delivered(storage, message_id)
    async with listening(server.websocket_url, user) as client:
        await client.silent(SHORT_S)


async def test_user_who_was_away_for_long_gets_the_oldest_and_word_of_the_rest(
    server: Server, storage: Storage, http: httpx.AsyncClient
) -> None:
    user, count = "test-away", INBOX + 5
    items = [{"receiver": user, "type": "STRING_MSG", "data": n, "persist": True} for n in range(count)]
    results = (await http.post(f"{PUSH}/push_batch", json=items)).json()["results"]
    assert [result.get("status") for result in results] == ["stored"] * count
    ids = [result["id"] for result in results]

    async with stomp_client(server.websocket_url) as client:
        await client.connect(user)
        await client.subscribe("/user/queue/errors", id="errors")
        await client.subscribe()
        frames = [await client.expect("MESSAGE") for _ in range(INBOX + 1)]
        assert [frame.headers["message-id"] for frame in frames[:INBOX]] == ids[:INBOX]
        assert frames[INBOX].headers["destination"] == "/user/queue/errors"
        assert b"5 more messages" in frames[INBOX].body
        for message_id in ids[:INBOX]:
            await client.ack(message_id)
        page = await history(http, user, page_size="100")
        assert [item["id"] for item in page["items"]] == ids[::-1]

    undelivered = f"SELECT count(*) FROM notify_log WHERE receiver = '{user}' AND delivered_at IS NULL"
    await eventually(lambda: storage.query(undelivered), lambda rows: rows == [["5"]])
    async with listening(server.websocket_url, user) as client:
        assert [(await next_message(client))[0]["id"] for _ in range(5)] == ids[INBOX:]
