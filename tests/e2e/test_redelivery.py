"""Sent again until acknowledged, over resends and connections, and no longer than its time."""

import asyncio
import json
import time

from tests.client import listening, stomp_client
from tests.e2e.backend import Backend
from tests.e2e.faults import cut

WAIT_S, INTERVAL_S, TTL_S = 0.5, 0.5, 4.2
MAX_RETRIES = 8  # TTL / interval
SETTINGS = {
    "ACK_CHECK_WAIT_MS": str(int(WAIT_S * 1000)),
    "ACK_RETRY_INTERVAL_MS": str(int(INTERVAL_S * 1000)),
    "ACK_MESSAGE_TTL_MS": str(int(TTL_S * 1000)),
}
EARLY_S, LATE_S = 0.05, 0.4  # how far from its moment a resend may come; the second is for a busy machine


async def test_unacked_message_is_sent_again_at_the_interval_until_it_expires(backend: Backend) -> None:
    async with stomp_client(backend.server.websocket_url) as client:
        session = (await client.connect("test-expiry")).headers["session"]
        await client.subscribe()
        pushed_s = time.monotonic()
        message_id = await backend.push("test-expiry")
        assert "attempt" not in (await client.expect("MESSAGE")).headers

        attempt, due_s = 1, pushed_s + WAIT_S
        while due_s < pushed_s + TTL_S - EARLY_S:
            frame = await client.expect("MESSAGE")
            attempt += 1
            assert due_s - EARLY_S < time.monotonic() < due_s + LATE_S
            assert frame.headers["message-id"] == message_id
            assert (frame.headers["redelivered"], frame.headers["attempt"]) == ("true", str(attempt))
            assert json.loads(frame.body)["ack_retry_count"] == attempt - 1
            if due_s < pushed_s + TTL_S - LATE_S:  # later it may have expired before the question is there
                status = await backend.status(message_id)
                assert (status["status"], status["sessions"][0]["attempts"]) == ("sent", attempt)
            due_s += INTERVAL_S

        assert attempt == 1 + MAX_RETRIES
        await backend.becomes(message_id, "expired")
        assert time.monotonic() < pushed_s + TTL_S + 2 * LATE_S
        line = f"[ACK-LOCAL] 消息过期/超限, msgId {message_id}, sessionId {session}, retryCount {attempt - 1}"
        await backend.logged(line)
        await client.silent(2 * INTERVAL_S)
        assert (await backend.sessions("test-expiry"))[0]["unacknowledged"] == 0
        await client.ack(message_id)  # too late, and no reason to hang up
        await client.silent(0.1)


async def test_resends_to_one_session_are_counted_and_the_message_stays_for_the_next(backend: Backend) -> None:
    async with listening(backend.server.websocket_url, "test-count") as client:
        message_id = (await backend.push_msg(receiver="test-count", data="long", ttl_ms=20_000))["id"]
        attempts = [int((await client.expect("MESSAGE")).headers.get("attempt", 1)) for _ in range(1 + MAX_RETRIES)]
        assert attempts == list(range(1, 2 + MAX_RETRIES))
        await client.silent(2 * INTERVAL_S)
        assert (await backend.status(message_id))["status"] == "sent"

    async with listening(backend.server.websocket_url, "test-count") as client:
        frame = await client.expect("MESSAGE")
        assert frame.headers["message-id"] == message_id
        assert frame.headers["attempt"] == str(2 + MAX_RETRIES)
        await client.ack(message_id)
        await backend.becomes(message_id, "delivered")


async def test_ack_of_a_resend_ends_the_resends(backend: Backend) -> None:
    async with listening(backend.server.websocket_url, "test-second") as client:
        message_id = await backend.push("test-second")
        await client.expect("MESSAGE")
        assert (await client.expect("MESSAGE")).headers["attempt"] == "2"
        await client.ack(message_id)
        status = await backend.becomes(message_id, "delivered")
        assert status["sessions"][0]["attempts"] == 2
        await backend.logged(f"[ACK-LOCAL] 确认成功, msgId {message_id}, sessionId {status['sessions'][0]['session']}")
        await client.silent(3 * INTERVAL_S)


async def test_user_whose_socket_was_cut_gets_what_he_did_not_acknowledge_when_he_is_back(backend: Backend) -> None:
    async with listening(backend.server.websocket_url, "test-back") as client:
        ids = [await backend.push("test-back", str(number)) for number in range(5)]
        for _ in ids:
            await client.expect("MESSAGE")
        await client.ack(ids[1])
        await backend.becomes(ids[1], "delivered")
        cut(client)
    await backend.has_sessions("test-back", 0)
    away = await backend.push_msg(receiver="test-back", data="while away")
    assert away["status"] == "stored"

    async with listening(backend.server.websocket_url, "test-back") as client:
        frames = [await client.expect("MESSAGE") for _ in range(5)]
        assert [frame.headers["message-id"] for frame in frames] == [ids[0], *ids[2:], away["id"]]
        assert [frame.headers.get("redelivered") for frame in frames] == ["true"] * 4 + [None]
        await client.send("SEND", {"destination": "/app/ack"}, json.dumps([f.headers["message-id"] for f in frames]))
        for frame in frames:
            await backend.becomes(frame.headers["message-id"], "delivered")
        await client.silent(WAIT_S + INTERVAL_S)


async def test_user_who_is_back_after_the_ttl_gets_nothing(backend: Backend) -> None:
    async with listening(backend.server.websocket_url, "test-late") as client:
        seen = await backend.push("test-late")
        await client.expect("MESSAGE")
        cut(client)
    await backend.has_sessions("test-late", 0)
    stored = await backend.push("test-late")
    assert (await backend.status(stored))["status"] == "stored"
    await asyncio.sleep(TTL_S)
    for message_id in (seen, stored):
        assert (await backend.status(message_id))["status"] == "expired"

    async with listening(backend.server.websocket_url, "test-late") as client:
        await client.silent(0.3)
        fresh = await backend.push("test-late")
        assert (await client.expect("MESSAGE")).headers["message-id"] == fresh
        await client.ack(fresh)
