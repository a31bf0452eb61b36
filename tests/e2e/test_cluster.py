"""Three nodes and a Valkey: whoever is pushed to is reached, wherever he is and wherever the push came in."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import cycle, pairwise

import pytest

from tests.client import StompClient, listening, stomp_client
from tests.databases import migrated_database
from tests.e2e.backend import Backend, eventually, open_backend
from tests.e2e.storage import next_message, store, token
from tests.e2e.trio import ask, ledger, open_backends, open_nodes, running_nodes
from tests.proxy import running_proxy
from tests.service import Server
from tests.valkey import Valkey, running_valkey

INTERVAL_S = 0.5
MAX_SESSIONS = 10
VIEWED, DELETED = "NOTIFY_VIEWED", "NOTIFY_DELETED"


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture(scope="module")
def servers(redis: Valkey) -> Iterator[Sequence[Server]]:
    with migrated_database("postgresql") as url, running_nodes(redis.url, DATABASE_URL=url) as servers:
        yield servers


@pytest.fixture
async def nodes(servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    async with open_backends(servers) as backends:
        yield backends


async def messages(client: StompClient, count: int) -> list[str]:
    return [(await client.expect("MESSAGE")).headers["message-id"] for _ in range(count)]


async def texts(client: StompClient, count: int) -> list[str]:
    """The data of so many messages, each acknowledged."""
    found = []
    for _ in range(count):
        frame = await client.expect("MESSAGE")
        found.append(json.loads(frame.body)["data"])
        await client.ack(frame.headers["message-id"])
    return found


# Pushes


async def test_a_push_on_one_node_reaches_the_sessions_on_the_others(nodes: Sequence[Backend], redis: Valkey) -> None:
    a, b, c = nodes
    async with stomp_client(a.server.websocket_url) as phone, stomp_client(b.server.websocket_url) as desk:
        ids = []
        for client in (phone, desk):
            ids.append((await client.connect("test-two")).headers["session"])
            await client.subscribe()

        answer = await c.push_msg(receiver="test-two", data="hello")

        assert (answer["status"], answer["sessions"]) == ("sent", 0)
        message_id = answer["id"]
        assert await messages(phone, 1) == await messages(desk, 1) == [message_id]
        await eventually(lambda: ledger(redis), lambda now: now.keys() == {f"{message_id}::{one}" for one in ids})
        await phone.ack(message_id)
        await eventually(lambda: ledger(redis), lambda now: now.keys() == {f"{message_id}::{ids[1]}"})
        assert await ask(redis, "HLEN", "stomp::inbox::{test-two}") == 0
        await desk.ack(message_id)
        await eventually(lambda: ledger(redis), lambda now: not now)
        status = await c.status(message_id)
        assert status["status"] == "delivered"
        assert {one["session"] for one in status["sessions"] if one["acked_at"]} == set(ids)
        assert status["unanswered"] == []


async def test_any_node_knows_what_became_of_a_push(nodes: Sequence[Backend]) -> None:
    a, b, c = nodes
    message_id = await a.push("test-asked")
    assert (await c.status(message_id))["status"] == "stored"
    async with listening(b.server.websocket_url, "test-asked") as client:
        assert await messages(client, 1) == [message_id]
        assert (await c.status(message_id))["status"] == "sent"
        await client.ack(message_id)
        status = await c.becomes(message_id, "delivered")
        assert ([one["attempts"] for one in status["sessions"]], status["unanswered"]) == ([1], [])


async def test_broadcast_reaches_the_sessions_on_all_nodes_exactly_once(nodes: Sequence[Backend]) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(listening(node.server.websocket_url, f"test-all-{number}"))
            for number, node in enumerate([*nodes, *nodes])
        ]
        sent = [(await node.broadcast(f"news of {number}"))["id"] for number, node in enumerate(nodes)]
        for client in clients:
            assert await messages(client, 3) == sent
        await asyncio.gather(*(client.silent(0.2) for client in clients))


async def test_topics_reach_the_subscribers_on_all_nodes(nodes: Sequence[Backend]) -> None:
    _, b, c = nodes
    async with AsyncExitStack() as stack:
        clients = []
        for number, node in enumerate(nodes):
            client = await stack.enter_async_context(stomp_client(node.server.websocket_url))
            await client.connect(f"test-topic-{number}")
            await client.subscribe("/topic/messages", id="all")
            if node is not c:
                await client.subscribe("/topic/news", id="news")
            clients.append(client)
        await c.push_topic("news", "from c")
        for client in clients[:2]:
            frame = await client.expect("MESSAGE")
            assert (frame.headers["destination"], json.loads(frame.body)["data"]) == ("/topic/news", "from c")
        headers = {"content-type": "text/html", "x-größe": "a:b\nc", "Authorization": "Bearer secret"}
        await clients[0].send("SEND", {"destination": "/app/sendMessage"} | headers, "hello everybody")
        for client in clients:
            frame = await client.expect("MESSAGE")
            assert frame.body == b"hello everybody"
            assert (frame.headers["content-type"], frame.headers["x-größe"]) == ("text/html", "a:b\nc")
            assert "Authorization" not in frame.headers
        await clients[0].send("UNSUBSCRIBE", {"id": "news", "receipt": "out"})
        await clients[0].expect("RECEIPT")
        await b.push_topic("news", "again")
        assert json.loads((await clients[1].expect("MESSAGE")).body)["data"] == "again"
        await asyncio.gather(*(client.silent(0.2) for client in clients))


async def test_messages_for_who_is_away_wait_and_come_oldest_first_on_whichever_node(nodes: Sequence[Backend]) -> None:
    pushing = cycle(nodes)
    for place in nodes:
        answers = [await next(pushing).push_msg(receiver="test-away", data=str(number)) for number in range(30)]
        assert {answer["status"] for answer in answers} == {"stored"}
        async with listening(place.server.websocket_url, "test-away") as client:
            assert await texts(client, 30) == [str(number) for number in range(30)]
        await place.has_sessions("test-away", 0)


async def test_messages_through_alternating_nodes_arrive_in_their_order(nodes: Sequence[Backend]) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(listening(node.server.websocket_url, "test-order")) for node in nodes
        ]
        reading = [asyncio.create_task(texts(client, 200)) for client in clients]
        for number, node in zip(range(200), cycle(nodes), strict=False):
            await node.push_msg(receiver="test-order", data=str(number))
        for task in reading:
            assert await task == [str(number) for number in range(200)]


async def test_unacknowledged_message_is_sent_again_by_the_node_of_its_session_alone(nodes: Sequence[Backend]) -> None:
    a, b, c = nodes
    loop = asyncio.get_running_loop()
    async with listening(b.server.websocket_url, "test-retry") as lazy, listening(c.server.websocket_url, "test-retry"):
        await a.push("test-retry")
        await lazy.expect("MESSAGE")
        came_s = [loop.time()]
        for attempt in (2, 3, 4):
            frame = await lazy.expect("MESSAGE")
            came_s.append(loop.time())
            assert (frame.headers["redelivered"], frame.headers["attempt"]) == ("true", str(attempt))
        gaps_s = [later - earlier for earlier, later in pairwise(came_s)]
        assert min(gaps_s) > 0.6 * INTERVAL_S, gaps_s
        await lazy.ack(frame.headers["message-id"])
        await lazy.silent(1.5 * INTERVAL_S)


async def test_the_first_sending_is_not_marked_as_another_one(nodes: Sequence[Backend]) -> None:
    a, b, _ = nodes
    for _ in range(20):  # each meets the drain of a session that has just come
        async with listening(b.server.websocket_url, "test-first") as client:
            await a.push("test-first")
            frame = await client.expect("MESSAGE")
            await client.ack(frame.headers["message-id"])
            assert frame.headers.get("redelivered") is None


async def test_message_without_ack_is_sent_once_or_kept_while_nobody_is_there(nodes: Sequence[Backend]) -> None:
    a, b, c = nodes
    async with listening(b.server.websocket_url, "test-once") as first, listening(c.server.websocket_url, "test-once"):
        answer = await a.push_msg(receiver="test-once", data="now", ack=False)
        assert answer["status"] == "sent"
        assert await messages(first, 1) == [answer["id"]]
        await first.silent(1.5 * INTERVAL_S)
    await a.has_sessions("test-once", 0)
    async with listening(a.server.websocket_url, "test-once") as nothing:
        await nothing.silent(0.2)
    await b.has_sessions("test-once", 0)
    answer = await a.push_msg(receiver="test-once", data="later", ack=False)
    assert answer["status"] == "stored"
    async with listening(c.server.websocket_url, "test-once") as late:
        assert await messages(late, 1) == [answer["id"]]
    await b.has_sessions("test-once", 0)
    async with listening(b.server.websocket_url, "test-once") as nothing:
        await nothing.silent(0.2)


async def test_given_id_counts_on_all_nodes_while_its_message_waits(nodes: Sequence[Backend]) -> None:
    a, b, c = nodes
    message = {"receiver": "test-id", "type": "STRING_MSG", "data": "one", "id": "order-4711"}
    assert (await a.post("/push_msg", json=message)).headers.get("Idempotency-Replay") is None
    again = await b.post("/push_msg", json=message)
    assert (again.status_code, again.headers["Idempotency-Replay"]) == (200, "true")
    other = await c.post("/push_msg", json=message | {"data": "two"})
    assert (other.status_code, other.json()["type"]) == (422, "urn:stomp-notify:problem:id-conflict")
    async with listening(c.server.websocket_url, "test-id") as client:
        assert await texts(client, 1) == ["one"]
        await client.silent(0.2)


async def test_changes_of_persisted_messages_reach_the_devices_on_all_nodes(nodes: Sequence[Backend]) -> None:
    a, b, c = nodes
    async with (
        listening(a.server.websocket_url, "test-viewer") as phone,
        listening(b.server.websocket_url, "test-viewer") as desk,
    ):
        message_id = await store(c.http, "test-viewer")
        for client in (phone, desk):
            assert (await next_message(client))[0]["id"] == message_id
        for request, kind in (("viewed", VIEWED), ("delete", DELETED)):
            method = "POST" if request == "viewed" else "DELETE"
            answer = await c.http.request(
                method, f"/api/notify/{request}", json={"ids": [message_id]}, headers=token("test-viewer")
            )
            assert answer.json()["updated"] == 1, answer.text
            for client in (phone, desk):
                assert (await next_message(client, kind))[0]["data"]["ids"] == [message_id]
        await asyncio.gather(phone.silent(1.5 * INTERVAL_S), desk.silent(1.5 * INTERVAL_S))  # nobody rings again


async def test_a_node_gets_nothing_that_is_for_sessions_of_others(redis: Valkey, nodes: Sequence[Backend]) -> None:
    a, b, _ = nodes
    async with (
        running_proxy(redis.port) as wire,
        open_nodes(f"redis://127.0.0.1:{wire.port}", 1, NODE_NAME="n4") as [server],
        open_backend(server) as d,
        listening(server.websocket_url, "test-quiet") as quiet,
        listening(b.server.websocket_url, "test-loud") as loud,
    ):
        await loud.subscribe("/topic/loud", id="topic")
        before = wire.to_client_bytes
        for number in range(100):
            await a.push_msg(receiver="test-loud", data="x" * 1_000)
            await a.push_topic("loud", "x" * 1_000)
            await texts(loud, 2)
            if number == 50:
                await d.push_msg(receiver="test-loud", data="x" * 1_000)
                await texts(loud, 1)
        assert wire.to_client_bytes - before < 5_000, "a beat, a look at the connection, and an answer now and then"
        assert await ask(redis, "PUBSUB", "NUMSUB", "stomp::ws_notify_topic::{test-loud}") == [
            "stomp::ws_notify_topic::{test-loud}",
            1,
        ]
        before = wire.to_client_bytes
        for _ in range(10):
            await a.push_msg(receiver="test-quiet", data="x" * 1_000)
            await texts(quiet, 1)
        assert wire.to_client_bytes - before > 10_000, "the measure measures"


# Sessions


async def test_sessions_of_all_nodes_are_listed_with_their_node(nodes: Sequence[Backend]) -> None:
    async with AsyncExitStack() as stack:
        for node in nodes:
            for user in ("test-list", "test-other"):
                await stack.enter_async_context(listening(node.server.websocket_url, user))
        names = [(await node.http.get("/readyz")).json()["node"] for node in nodes]
        assert [name.partition("-")[0] for name in names] == ["n1", "n2", "n3"]
        for node in nodes:
            mine = await node.sessions("test-list")
            assert [one["node"] for one in mine] == names
            everybody = await node.sessions()
            assert {one["user"] for one in everybody} >= {"test-list", "test-other"}
            assert {one["session"] for one in mine} < {one["session"] for one in everybody}
            assert (await node.http.get("/api/sessions/test-list")).json()["unanswered"] == []


async def test_an_operator_ends_a_session_from_another_node(nodes: Sequence[Backend]) -> None:
    a, b, c = nodes
    async with listening(b.server.websocket_url, "test-kick") as client:
        [session] = await a.sessions("test-kick")
        assert (await c.http.delete(f"/api/sessions/{session['session']}")).status_code == 204
        assert (await client.closed())[0] == 4503
    assert (await a.http.delete(f"/api/sessions/{session['session']}")).status_code == 404


async def try_to_join(url: str, stack: AsyncExitStack) -> str:
    client = await stack.enter_async_context(stomp_client(url))
    await client.send("CONNECT", {"accept-version": "1.2", "host": "test", "Authorization": "test-many"})
    frame = await client.receive()
    if frame.command == "ERROR":
        assert frame.headers["message"] == "The user connect stomp exceed max limit"
        assert (await client.closed())[0] == 4504
    return frame.command


async def test_exactly_ten_of_fifteen_that_come_at_once_get_in(nodes: Sequence[Backend]) -> None:
    urls = [node.server.websocket_url for node in nodes]
    async with AsyncExitStack() as stack:
        outcomes = await asyncio.gather(*(try_to_join(urls[number % 3], stack) for number in range(15)))
        assert outcomes.count("CONNECTED") == MAX_SESSIONS
        assert await try_to_join(urls[0], stack) == "ERROR"
        assert len(await nodes[0].sessions("test-many")) == MAX_SESSIONS

    await nodes[1].has_sessions("test-many", 0)

    async def comes() -> str:
        async with AsyncExitStack() as again:
            return await try_to_join(urls[1], again)

    await eventually(comes, lambda outcome: outcome == "CONNECTED")
