"""STOMP over each transport of SockJS: what WebSocket clients may rely on, these may too."""

import asyncio
import json
import time

import pytest

from tests.client import StompClient, stomp_client
from tests.e2e.backend import Backend
from tests.sockjs_client import TRANSPORTS, sockjs_client, stomp_over_sockjs

SETTINGS = {
    "ACK_CHECK_WAIT_MS": "500",
    "ACK_RETRY_INTERVAL_MS": "500",
    "SOCKJS_DISCONNECT_DELAY_MS": "1000",
    "SOCKJS_RESPONSE_LIMIT_BYTES": "8192",
    "CONNECT_TIMEOUT_MS": "2000",
}

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


async def test_push_arrives_comes_again_and_is_acknowledged(backend: Backend, transport: str) -> None:
    user = f"test-{transport}"
    async with stomp_over_sockjs(backend.server.port, transport) as client:
        session = (await client.connect(user)).headers["session"]
        await client.subscribe()
        await client.subscribe("/topic/messages", id="chat")
        (online,) = await backend.has_sessions(user, 1)
        assert (online["session"], online["transport"]) == (session, transport)

        message_id = await backend.push(user, "订单 ready </script>\u2028")

        first, second = await client.expect("MESSAGE"), await client.expect("MESSAGE")
        assert json.loads(first.body)["data"] == "订单 ready </script>\u2028"
        assert [frame.headers["message-id"] for frame in (first, second)] == [message_id] * 2
        assert second.headers["redelivered"] == "true"
        await client.ack(message_id)
        status = await backend.becomes(message_id, "delivered")
        assert [one["session"] for one in status["sessions"]] == [session]

        await client.send("SEND", {"destination": "/app/sendMessage"}, "to all")
        chat = await client.expect("MESSAGE")
        assert (chat.headers["destination"], chat.body) == ("/topic/messages", b"to all")

        await client.send("DISCONNECT", {"receipt": "bye"})
        assert (await client.expect("RECEIPT")).headers["receipt-id"] == "bye"
        assert await client.closed() == (1000, "bye")
    await backend.has_sessions(user, 0)


async def test_wrong_token_is_told_with_its_code(backend: Backend, transport: str) -> None:
    async with stomp_over_sockjs(backend.server.port, transport) as client:
        await client.send("CONNECT", {"accept-version": "1.2", "Authorization": "Bearer wrong"})
        error = await client.expect("ERROR")
        assert error.headers["message"] == "The token is illegal"
        assert (await client.closed())[0] == 4510


async def test_many_messages_keep_their_order(backend: Backend, transport: str) -> None:
    user = f"test-order-{transport}"
    async with stomp_over_sockjs(backend.server.port, transport) as client:
        await client.connect(user)
        await client.subscribe()
        results = await backend.push_batch(
            [{"receiver": user, "type": "STRING_MSG", "data": "x" * (number % 7 * 300)} for number in range(200)]
        )
        received = []
        for _ in results:
            frame = await client.expect("MESSAGE")
            received.append(frame.headers["message-id"])
        assert received == [result["id"] for result in results]
        await client.send("SEND", {"destination": "/app/ack"}, json.dumps(received))
        await backend.becomes(received[-1], "delivered")


async def test_client_that_vanishes_leaves_no_session(backend: Backend, transport: str) -> None:
    user = f"test-gone-{transport}"
    async with stomp_over_sockjs(backend.server.port, transport) as client:
        await client.connect(user)
        await client.subscribe()
        await backend.has_sessions(user, 1)
    await backend.has_sessions(user, 0)
    message_id = await backend.push(user, "kept")
    async with stomp_over_sockjs(backend.server.port, transport) as again:
        await again.connect(user)
        await again.subscribe()
        frame = await again.expect("MESSAGE")
        assert frame.headers["message-id"] == message_id
        await again.ack(message_id)


async def test_kick_reaches_the_client_with_its_code(backend: Backend, transport: str) -> None:
    user = f"test-kick-{transport}"
    async with stomp_over_sockjs(backend.server.port, transport) as client:
        session = (await client.connect(user)).headers["session"]
        assert (await backend.http.delete(f"/api/sessions/{session}")).status_code < 300
        assert (await client.closed())[0] == 4503


async def test_client_without_connect_is_closed_in_time(backend: Backend, transport: str) -> None:
    started_s = time.monotonic()
    async with sockjs_client(backend.server.port, transport) as client:
        assert (await StompClient(client).closed())[0] == 4011  # type: ignore[arg-type]
    assert 1.5 < time.monotonic() - started_s < 5


async def test_body_that_is_no_text_arrives_as_text(backend: Backend, transport: str) -> None:
    topic = f"/topic/octets-{transport}"
    async with stomp_over_sockjs(backend.server.port, transport) as client:
        await client.connect(f"test-octets-{transport}")
        await client.subscribe(topic)
        async with asyncio.timeout(30):
            await publish_octets(backend, topic, b"a\xffb")
        frame = await client.expect("MESSAGE")
        assert frame.body.decode() == "a\ufffdb"
        assert frame.headers["content-length"] == "5"


async def test_frame_that_is_cut_within_a_character_arrives_whole(backend: Backend, transport: str) -> None:
    topic = f"/topic/cut-{transport}"
    async with stomp_over_sockjs(backend.server.port, transport) as client:
        await client.connect(f"test-cut-{transport}")
        await client.subscribe(topic)
        await client.websocket.send(f"SEND\ndestination:{topic}\ncontent-length:4\n\n\ud83d")
        await client.websocket.send("\ude00\0")
        assert (await client.expect("MESSAGE")).body == "😀".encode()


async def publish_octets(backend: Backend, topic: str, body: bytes) -> None:
    async with stomp_client(backend.server.websocket_url) as author:
        await author.connect("test-author")
        await author.send("SEND", {"destination": topic, "receipt": "1"}, body)
        await author.expect("RECEIPT")
