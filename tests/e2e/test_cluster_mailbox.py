"""A node that loses Redis for a moment: its sessions miss nothing, or are told to come back."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from app.cluster.keys import inbox_key
from tests.client import StompClient, listening
from tests.databases import migrated_database
from tests.e2e.accounts import RESTART
from tests.e2e.backend import Backend, eventually
from tests.e2e.trio import ask, open_backends, open_nodes
from tests.proxy import Proxy, running_proxy
from tests.service import Server
from tests.valkey import Valkey, running_valkey

USERS = [f"test-cut-{number}" for number in range(30)]
PUSHES = 10  # to each of them
CHANNEL = "stomp::ws_notify_topic::{test-deaf}"


@dataclass
class Pair:
    """Two nodes, each with a network of its own to Redis."""

    nodes: Sequence[Backend]
    wires: Sequence[Proxy]
    redis: Valkey

    async def cut(self, number: int) -> None:
        self.wires[number].refuse()
        self.wires[number].cut()
        await self.becomes(number, "degraded")

    async def mend(self, number: int) -> None:
        await self.wires[number].allow()
        await self.becomes(number, "ready")

    async def becomes(self, number: int, state: str) -> None:
        async def said() -> str:
            return str((await self.nodes[number].http.get("/readyz")).json()["status"])

        await eventually(said, lambda now: now == state)


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with running_valkey(appendfsync="always") as valkey:
        yield valkey


@asynccontextmanager
async def open_pair(redis: Valkey, **settings: str) -> AsyncIterator[Pair]:
    with migrated_database("postgresql") as url:
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(running_proxy(redis.port)) for _ in range(2)]
            servers: list[Server] = []
            for wire in wires:
                options = {"DATABASE_URL": url, "LOG_ACK_EVENTS": "false"} | settings
                servers += await stack.enter_async_context(open_nodes(f"redis://127.0.0.1:{wire.port}", 1, **options))
            yield Pair(await stack.enter_async_context(open_backends(servers)), wires, redis)


@pytest.fixture
async def pair(redis: Valkey) -> AsyncIterator[Pair]:
    async with open_pair(redis) as pair:
        yield pair


async def received(client: StompClient, count: int) -> list[str]:
    """The ids of so many messages, each acknowledged; what comes twice counts once."""
    ids: dict[str, None] = {}
    while len(ids) < count:
        frame = await client.expect("MESSAGE")
        ids[frame.headers["message-id"]] = None
        await client.ack(frame.headers["message-id"])
    return list(ids)


async def push(node: Backend, user: str, persisted: bool) -> str:
    path = f"/cluster/notify/{user}" if persisted else f"/push_all_obj/{user}"
    return str((await node._push(path, content="hello"))["id"])


# A node that loses Redis


@pytest.mark.parametrize("persisted", [False, True], ids=["transient", "persisted"])
async def test_sessions_of_a_node_that_was_cut_off_get_what_others_accepted_and_acknowledged(
    pair: Pair, persisted: bool
) -> None:
    async with AsyncExitStack() as stack:
        near = {
            user: await stack.enter_async_context(listening(pair.nodes[0].server.websocket_url, user)) for user in USERS
        }
        far = {
            user: await stack.enter_async_context(listening(pair.nodes[1].server.websocket_url, user)) for user in USERS
        }
        await pair.cut(1)

        async def push_and_take(user: str) -> list[str]:
            ids = [await push(pair.nodes[0], user, persisted) for _ in range(PUSHES)]
            assert await received(near[user], PUSHES) == ids
            return ids

        sent = dict(zip(USERS, await asyncio.gather(*map(push_and_take, USERS)), strict=True))
        await pair.mend(1)
        for user in USERS:
            assert await received(far[user], PUSHES) == sent[user]
        assert [await push(pair.nodes[0], USERS[0], persisted)] == await received(far[USERS[0]], 1)


async def test_node_that_was_away_too_long_to_know_ends_sessions_that_missed_something_and_no_others(
    redis: Valkey,
) -> None:
    async with open_pair(redis, MAILBOX_WINDOW_MS="1000") as pair, AsyncExitStack() as stack:
        far = pair.nodes[1].server.websocket_url
        missing, calm = [await stack.enter_async_context(listening(far, user)) for user in ("test-miss", "test-calm")]
        await push(pair.nodes[0], "test-calm", persisted=False)
        await received(calm, 1)
        await pair.cut(1)
        id = await push(pair.nodes[0], "test-miss", persisted=False)
        await eventually(lambda: ask(redis, "EXISTS", "stomp::log::{test-miss}"), lambda there: there == 0)
        await pair.mend(1)
        assert (await missing.closed())[0] == RESTART
        again = await stack.enter_async_context(listening(far, "test-miss"))
        assert await received(again, 1) == [id]
        assert [await push(pair.nodes[0], "test-calm", persisted=False)] == await received(calm, 1)


# Ids


async def test_id_is_known_to_every_node_also_after_it_was_acknowledged(pair: Pair, redis: Valkey) -> None:
    here, there = pair.nodes
    async with (
        listening(here.server.websocket_url, "test-id") as near,
        listening(there.server.websocket_url, "test-id") as far,
    ):
        first = await here.push_msg(receiver="test-id", data="x", id="order-1")
        for client in (near, far):
            assert await received(client, 1) == ["order-1"]
        await eventually(lambda: ask(redis, "EXISTS", "stomp::inbox::{test-id}"), lambda there: there == 0)
        again = await there.post("/push_msg", json={"receiver": "test-id", "data": "x", "id": "order-1"})
        assert (again.status_code, again.headers["idempotency-replay"]) == (200, "true")
        assert again.json()["id"] == first["id"]
        other = await there.post("/push_msg", json={"receiver": "test-id", "data": "y", "id": "order-1"})
        assert other.status_code == 422
        end = await here.push("test-id")
        for client in (near, far):
            assert await received(client, 1) == [end], "the repeat sent nothing"
    async with listening(there.server.websocket_url, "test-id") as late:
        await late.silent(0.3)


async def test_pushes_that_too_few_replicas_have_arrive_once_however_often_they_are_tried(redis: Valkey) -> None:
    settings = {"REDIS_WAIT_REPLICAS": "1", "REDIS_TIMEOUT_MS": "400", "ACK_CHECK_WAIT_MS": "60000"}
    async with (
        open_pair(redis, **settings) as pair,
        listening(pair.nodes[0].server.websocket_url, "test-wait") as client,
    ):
        for number in range(5):
            answer = await pair.nodes[number % 2].post(
                "/push_msg", json={"receiver": "test-wait", "data": "x", "id": "wait-1"}
            )
            assert answer.status_code == 503
        assert await received(client, 1) == ["wait-1"]
        await client.silent(0.4)


# What became of a push


@pytest.mark.parametrize("persisted", [False, True], ids=["transient", "persisted"])
async def test_delivered_message_is_reported_so_when_the_node_of_its_session_has_ended(
    redis: Valkey, persisted: bool
) -> None:
    async with open_pair(redis, ACK_MESSAGE_TTL_MS="2000") as pair:
        here, there = pair.nodes
        async with listening(there.server.websocket_url, "test-status") as client:
            id = await push(here, "test-status", persisted)
            missed = await push(here, "test-nobody", persisted=False)
            await client.send("SEND", {"destination": "/app/ack", "receipt": "stored"}, id)
            while (await client.receive()).command != "RECEIPT":
                pass
            await asyncio.to_thread(there.server.stop, signal.SIGKILL)
        assert (await here.status(id))["status"] == "delivered"
        await here.becomes(missed, "expired")
        assert (await here.status(id))["status"] == "delivered"


async def test_message_that_nobody_has_to_acknowledge_is_reported_sent_or_expired_after_a_restart(
    redis: Valkey,
) -> None:
    async with open_pair(redis, ACK_MESSAGE_TTL_MS="2000") as pair:
        here, there = pair.nodes
        ids = [(await here.push_msg(receiver=f"test-once{n}", data="x", ack=False))["id"] for n in range(2)]
        await asyncio.to_thread(here.server.stop, signal.SIGKILL)
        assert [(await there.status(id))["status"] for id in ids] == ["stored", "stored"]
        async with listening(there.server.websocket_url, "test-once1") as client:
            assert (await client.expect("MESSAGE")).headers["message-id"] == ids[1]
            # That it was sent is written behind.
            await eventually(lambda: ask(redis, "HLEN", inbox_key("test-once1")), lambda waiting: waiting == 0)
        await asyncio.to_thread(there.server.stop, signal.SIGKILL)
        here.server.start()
        await asyncio.to_thread(here.server.wait_until_ready)
        await here.becomes(ids[0], "expired")
        assert (await here.status(ids[1]))["status"] == "sent"


# Order


async def test_stored_message_whose_relay_failed_follows_at_once_when_the_relay_is_back() -> None:
    with running_valkey() as redis:
        async with (
            open_pair(redis, RECOVERY_GRACE_MS="60000") as pair,
            listening(pair.nodes[1].server.websocket_url, "test-late") as client,
        ):
            first = await push(pair.nodes[0], "test-late", persisted=False)
            assert await received(client, 1) == [first], "its mailbox has been read"
            await ask(redis, "CONFIG", "SET", "maxmemory", 1)
            answer = await pair.nodes[0]._push("/cluster/notify/test-late", content="hello")
            assert answer["status"] == "stored"
            await client.silent(0.3)
            await ask(redis, "CONFIG", "SET", "maxmemory", 0)
            assert await received(client, 1) == [answer["id"]]


# A subscription that is lost without a word


async def test_session_gets_what_its_node_did_not_hear_because_the_server_forgot_the_subscription(
    redis: Valkey,
) -> None:
    async with open_pair(redis) as pair, listening(pair.nodes[1].server.websocket_url, "test-deaf") as client:
        assert [await push(pair.nodes[0], "test-deaf", persisted=False)] == await received(client, 1)
        subscribed = await ask(redis, "PUBSUB", "NUMSUB", CHANNEL)
        assert subscribed == [CHANNEL, 1]
        # Redis has no command to end another's subscription: a message that is logged and not published is the same.
        head = str(await ask(redis, "GET", "stomp::head::{test-deaf}"))
        entry = json.loads(str(await ask(redis, "LINDEX", "stomp::log::{test-deaf}", -1)))
        previous, *rest = head.split()
        entry |= {"id": "unheard", "accepted": int(previous) + 1, "previous": int(previous)}
        expires_ms = entry.pop("expires_ms")
        text = json.dumps(entry, separators=(",", ":"))[:-1] + f',"expires_ms":{expires_ms}}}'
        await ask(redis, "RPUSH", "stomp::log::{test-deaf}", text)
        await ask(redis, "SET", "stomp::head::{test-deaf}", " ".join((str(int(previous) + 1), *rest)))
        assert await received(client, 1) == ["unheard"]
        assert [await push(pair.nodes[0], "test-deaf", persisted=False)] == await received(client, 1)
