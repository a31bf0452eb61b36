"""Who is online, how many may be, and what waits for those who are not."""

from contextlib import AsyncExitStack

import pytest

from tests.client import listening, stomp_client
from tests.e2e.backend import Backend, eventually

INTERVAL_S = 0.2
SETTINGS = {"ACK_CHECK_WAIT_MS": "200", "ACK_RETRY_INTERVAL_MS": "200", "ACK_MESSAGE_TTL_MS": "60000"}
MAX_SESSIONS = 10
INBOX = 300


async def test_each_session_of_a_user_has_its_own_copy_and_its_own_ack(backend: Backend) -> None:
    async with stomp_client(backend.server.websocket_url) as phone, stomp_client(backend.server.websocket_url) as desk:
        sessions = []
        for client in (phone, desk):
            sessions.append((await client.connect("test-two")).headers["session"])
            await client.subscribe()
        answer = await backend.push_msg(receiver="test-two", data="hello")
        message_id = answer["id"]
        assert answer["sessions"] == 2
        for client in (phone, desk):
            assert (await client.expect("MESSAGE")).headers["message-id"] == message_id

        await phone.ack(message_id)

        again = await desk.expect("MESSAGE")
        assert (again.headers["message-id"], again.headers["redelivered"]) == (message_id, "true")
        status = await backend.status(message_id)
        assert status["status"] == "delivered"
        acked = {one["session"]: one["acked_at"] is not None for one in status["sessions"]}
        assert acked == {sessions[0]: True, sessions[1]: False}
        await phone.silent(2 * INTERVAL_S)
        await desk.ack(message_id)
        await eventually(
            lambda: backend.status(message_id), lambda now: all(one["acked_at"] for one in now["sessions"])
        )


async def test_eleventh_session_is_refused_until_one_of_the_ten_leaves(backend: Backend) -> None:
    url = backend.server.websocket_url
    async with AsyncExitStack() as stack:
        ten = [await stack.enter_async_context(listening(url, "test-eleven")) for _ in range(MAX_SESSIONS)]
        async with stomp_client(url) as refused:
            await refused.send("CONNECT", {"accept-version": "1.2", "host": "test", "Authorization": "test-eleven"})
            error = await refused.expect("ERROR")
            assert error.headers["message"] == "The user connect stomp exceed max limit"
            assert await refused.closed() == (4504, "too many sessions")
        async with listening(url, "test-twelve"):
            pass  # it is the limit of a user, not of the service

        await ten[3].send("DISCONNECT")
        assert (await ten[3].closed())[0] == 1000
        await backend.has_sessions("test-eleven", MAX_SESSIONS - 1)

        late = await stack.enter_async_context(listening(url, "test-eleven"))
        answer = await backend.push_msg(receiver="test-eleven", data="hello", ack=False)
        assert answer["sessions"] == MAX_SESSIONS
        assert (await late.expect("MESSAGE")).headers["message-id"] == answer["id"]


async def test_full_inbox_refuses_with_429_and_delivers_what_it_accepted_oldest_first(backend: Backend) -> None:
    items = [{"receiver": "test-full", "type": "STRING_MSG", "data": number} for number in range(INBOX - 1)]
    accepted = [result["id"] for result in await backend.push_batch(items)]
    last = await backend.push_msg(receiver="test-full", data="last")
    assert (last["status"], last["sessions"]) == ("stored", 0)
    accepted.append(last["id"])

    refused = await backend.post("/push_all_obj/test-full", content="one too many")

    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) > 0
    problem = refused.json()
    assert (problem["type"].rpartition(":")[2], problem["status"]) == ("inbox-full", 429)
    async with listening(backend.server.websocket_url, "test-full") as client:
        received = []
        for _ in accepted:
            received.append(frame_id := (await client.expect("MESSAGE")).headers["message-id"])
            await client.ack(frame_id)
        assert received == accepted
        await backend.becomes(accepted[-1], "delivered")
        fresh = await backend.push("test-full")
        assert (await client.expect("MESSAGE")).headers["message-id"] == fresh
        await client.ack(fresh)


async def test_message_pushed_before_anybody_subscribes_waits_for_the_subscription(backend: Backend) -> None:
    async with stomp_client(backend.server.websocket_url) as client:
        await client.connect("test-mute")
        answer = await backend.push_msg(receiver="test-mute", data="hello")
        assert (answer["status"], answer["sessions"]) == ("stored", 0)
        await client.silent(0.2)

        await client.subscribe()

        assert (await client.expect("MESSAGE")).headers["message-id"] == answer["id"]
        await client.ack(answer["id"])


async def test_sessions_are_listed_with_what_an_operator_wants_to_know(backend: Backend) -> None:
    async with stomp_client(backend.server.websocket_url) as client:
        session = (await client.connect("test-listed")).headers["session"]
        await client.subscribe()
        await client.subscribe("/topic/news", id="news")
        await backend.push("test-listed")
        await client.expect("MESSAGE")

        (item,) = await backend.sessions("test-listed")

        assert item.pop("connected_at") > 1_700_000_000_000
        assert item.pop("remote").startswith("127.0.0.1:")
        assert item.pop("node") == (await backend.http.get("/readyz")).json()["node"]
        assert item == {
            "session": session,
            "user": "test-listed",
            "client_id": None,
            "transport": "websocket",
            "version": "1.2",
            "subscriptions": ["/topic/news", "/user/queue/msg"],
            "unacknowledged": 1,
        }
        assert session in [one["session"] for one in await backend.sessions()]
    await backend.has_sessions("test-listed", 0)
    assert session not in [one["session"] for one in await backend.sessions()]


async def test_kicked_session_is_told_to_stay_away_and_its_messages_wait(backend: Backend) -> None:
    url = backend.server.websocket_url
    async with listening(url, "test-kicked") as other, stomp_client(url) as client:
        session = (await client.connect("test-kicked")).headers["session"]
        await client.subscribe()
        message_id = await backend.push("test-kicked")
        await client.expect("MESSAGE")

        response = await backend.http.delete(f"/api/sessions/{session}")

        assert response.status_code == 204
        assert await client.closed() == (4503, "closed by an operator")
        (left,) = await backend.sessions("test-kicked")
        assert left["session"] != session
        assert (await backend.http.delete(f"/api/sessions/{session}")).status_code == 404
        assert (await other.expect("MESSAGE")).headers["message-id"] == message_id
    await backend.has_sessions("test-kicked", 0)
    async with listening(url, "test-kicked") as client:
        assert (await client.expect("MESSAGE")).headers["message-id"] == message_id
        await client.ack(message_id)


@pytest.mark.parametrize("token", ["wrong", ""])
async def test_bad_token_is_told_to_stay_away(backend: Backend, token: str) -> None:
    async with stomp_client(backend.server.websocket_url) as client:
        await client.send("CONNECT", {"accept-version": "1.2", "host": "test", "Authorization": f"Bearer {token}"})
        assert (await client.expect("ERROR")).headers["message"] == "The token is illegal"
        assert (await client.closed())[0] == 4510
