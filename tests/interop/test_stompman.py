"""stompman, an asyncio client of STOMP 1.2 with a WebSocket connection of its own."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import stompman
from stompman.connection_ws import WebSocketConnection

from tests.e2e.backend import Backend
from tests.service import Server

MESSAGES = "/user/queue/msg"
WAIT_S = 5.0
RESENDS_S = 0.9  # in which a resend would have come
SETTINGS = {"ACK_CHECK_WAIT_MS": "400", "ACK_RETRY_INTERVAL_MS": "400", "ACK_MESSAGE_TTL_MS": "20000"}

Frames = asyncio.Queue[stompman.MessageFrame]
Ackable = asyncio.Queue[stompman.AckableMessageFrame]


@asynccontextmanager
async def connected(server: Server, user: str, **options: Any) -> AsyncIterator[stompman.Client]:
    parameters = stompman.ConnectionParameters(
        host="127.0.0.1",
        port=server.port,
        login="",
        passcode="",
        ws_uri_path="/stomp-ws",
        connect_headers={"Authorization": f"Bearer {user}"},
    )
    options = {"connection_class": WebSocketConnection, "on_error_frame": None, "connect_retry_attempts": 1} | options
    async with stompman.Client([parameters], **options) as client:
        yield client


@asynccontextmanager
async def subscribed(client: stompman.Client, destination: str = MESSAGES) -> AsyncIterator[Ackable]:
    received: Ackable = asyncio.Queue()
    subscription = await client.subscribe_with_manual_ack(destination, received.put, receipt_timeout=WAIT_S)
    try:
        yield received
    finally:
        await subscription.unsubscribe()


async def take(received: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(received.get(), WAIT_S)


async def test_push_comes_again_until_its_ack(backend: Backend) -> None:
    async with connected(backend.server, "test-man") as client, subscribed(client) as received:
        message_id = await backend.push("test-man", "订单 a:b\\c")

        frame = await take(received)
        assert frame.headers["message-id"] == message_id
        assert "redelivered" not in frame.headers
        assert json.loads(frame.body)["data"] == "订单 a:b\\c"
        again = await take(received)
        assert again.headers["message-id"] == message_id
        assert (again.headers["redelivered"], again.headers["attempt"]) == ("true", "2")

        await again.ack()

        status = await backend.becomes(message_id, "delivered")
        assert [one["attempts"] for one in status["sessions"]] == [2]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(received.get(), RESENDS_S)


async def test_handler_that_fails_sends_nack_and_sees_the_message_again(backend: Backend) -> None:
    tries: Frames = asyncio.Queue()

    async def fail_once(frame: stompman.MessageFrame) -> None:
        await tries.put(frame)
        if "redelivered" not in frame.headers:
            raise ValueError("the first try fails")

    async with connected(backend.server, "test-man-nack") as client:
        subscription = await client.subscribe(
            MESSAGES, fail_once, on_suppressed_exception=lambda error, frame: None, receipt_timeout=WAIT_S
        )
        message_id = await backend.push("test-man-nack")
        assert [(await take(tries)).headers["message-id"] for _ in range(2)] == [message_id] * 2
        await backend.becomes(message_id, "delivered")
        await subscription.unsubscribe()


async def test_disconnect_is_confirmed(backend: Backend) -> None:
    receipts: list[stompman.AnyServerFrame] = []

    class NotingConnection(WebSocketConnection):
        """Passes on what it reads: the client tells nobody of this receipt, and goes without it as well."""

        async def read_frames(self) -> AsyncGenerator[stompman.AnyServerFrame, None]:
            async for frame in super().read_frames():
                if isinstance(frame, stompman.ReceiptFrame):
                    receipts.append(frame)
                yield frame

    async with connected(backend.server, "test-man-bye", connection_class=NotingConnection):
        (session,) = await backend.has_sessions("test-man-bye", 1)
    assert len(receipts) == 1
    await backend.logged(f"session {session['session']} of test-man-bye closed: bye")


async def test_transaction_is_published_by_its_commit(backend: Backend) -> None:
    async with (
        connected(backend.server, "test-man-tx") as client,
        subscribed(client, "/topic/messages") as received,
    ):
        async with client.begin() as transaction:
            for text in (b"one", b"two"):
                await transaction.send(text, "/app/sendMessage")
            await client.send(b"zero", "/app/sendMessage", receipt_timeout=WAIT_S)
        assert sorted([(await take(received)).body for _ in range(3)]) == [b"one", b"two", b"zero"]


async def test_wrong_token_fails_to_connect(backend: Backend) -> None:
    with pytest.raises(stompman.FailedAllConnectAttemptsError):
        async with connected(backend.server, "wrong", connect_retry_interval=0):
            pass


async def test_kicked_session_reconnects_and_sees_unacknowledged_messages_again(backend: Backend) -> None:
    options = {"connect_retry_attempts": 5}
    async with connected(backend.server, "test-man-back", **options) as client, subscribed(client) as received:
        message_id = await backend.push("test-man-back")
        first = await take(received)
        (session,) = await backend.sessions("test-man-back")

        await backend.http.delete(f"/api/sessions/{session['session']}")

        again = await take(received)
        assert again.headers["message-id"] == first.headers["message-id"] == message_id
        assert again.headers["redelivered"] == "true"
        await again.ack()
        await backend.becomes(message_id, "delivered")
