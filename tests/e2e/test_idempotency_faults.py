"""A push with an Idempotency-Key that is interrupted and sent again is the same message, whatever happened."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from app.messages.ids import derived_id
from app.notifications.idempotency import LEASE_MS
from app.stomp.frames import Frame
from tests.client import StompClient, listening
from tests.databases import migrated_database, postgres
from tests.e2e.backend import Backend, eventually, open_backend
from tests.e2e.trio import ask, open_backends, open_nodes
from tests.proxy import Proxy, running_proxy
from tests.valkey import Valkey, running_valkey

KEY = {"Idempotency-Key": "order-4711"}
ID = derived_id("anonymous", "order-4711", 0)
RECOVERY = {"RECOVERY_GRACE_MS": "1000", "RECOVERY_INTERVAL_MS": "300"}
LEASE_S = LEASE_MS / 1000
NOISE_S = 5.0
CALM_S = 1.2  # two resends


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with running_valkey(appendfsync="always") as valkey:
        yield valkey


@asynccontextmanager
async def open_pair(redis: Valkey, url: str) -> AsyncIterator[Sequence[Backend]]:
    async with open_nodes(redis.url, 2, DATABASE_URL=url, **RECOVERY) as servers, open_backends(servers) as backends:
        await eventually(lambda: members(redis), lambda count: count == 2)
        yield backends


async def members(redis: Valkey) -> object:
    return await ask(redis, "ZCARD", "stomp::nodes")


class Inbox:
    """What one session receives, and acknowledges."""

    def __init__(self, client: StompClient, acknowledges: bool) -> None:
        self._client = client
        self._acknowledges = acknowledges
        self.messages: list[Frame] = []

    async def run(self) -> None:
        while True:
            frame = await self._client.receive(timeout_s=60)
            self.messages.append(frame)
            if self._acknowledges:
                await self._client.ack(frame.headers["message-id"])

    def check(self) -> None:
        """One message of the derived id; more copies say that they are."""
        assert [frame.headers["message-id"] for frame in self.messages] == [ID] * len(self.messages)
        copies = [frame.headers.get("redelivered") for frame in self.messages]
        assert copies[:1] == [None]
        assert set(copies[1:]) <= {"true"}


@asynccontextmanager
async def inbox(backend: Backend, user: str, *, acknowledges: bool = True) -> AsyncIterator[Inbox]:
    async with listening(backend.server.websocket_url, user) as client:
        inbox = Inbox(client, acknowledges)
        reading = asyncio.create_task(inbox.run())
        try:
            yield inbox
        finally:
            reading.cancel()
            await asyncio.wait({reading})


async def keys_under_way(url: str) -> str:
    rows = await asyncio.to_thread(postgres().query, "SELECT count(*) FROM idempotency_key", url.rpartition("/")[2])
    return rows[0][0]


@pytest.mark.parametrize("path", ["/push_all_obj/test-key", "/cluster/notify/test-key", "/push_all_obj"])
async def test_a_push_whose_node_is_killed_is_the_same_message_the_next_time(redis: Valkey, path: str) -> None:
    with migrated_database("postgresql") as url:
        async with open_pair(redis, url) as (a, b), inbox(b, "test-key") as session:
            redis.freeze()
            first = asyncio.create_task(a.post(path, content="hello", headers=KEY))
            await eventually(lambda: keys_under_way(url), lambda count: count == "1")
            await asyncio.sleep(0.3)  # and what it asks of Redis has left
            assert not first.done()
            await asyncio.to_thread(a.server.stop, signal.SIGKILL)
            killed_s = time.monotonic()
            redis.thaw()
            with pytest.raises(httpx.TransportError):
                await first

            busy = await b.post(path, content="hello", headers=KEY)
            assert (busy.status_code, busy.headers["Retry-After"]) == (409, "1")
            other = await b.post(path, content="something else", headers=KEY)
            assert other.status_code == 422
            answer = await until_ok(lambda: b.post(path, content="hello", headers=KEY))
            assert time.monotonic() - killed_s < LEASE_S + NOISE_S
            assert answer.json()["id"] == ID
            again = await b.post(path, content="hello", headers=KEY)
            assert (again.content, again.headers["Idempotency-Replay"]) == (answer.content, "true")
            await eventually(lambda: received(session), bool)
            await asyncio.sleep(CALM_S)
            session.check()


async def until_ok(post: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Sends it again while it is refused for a passing reason."""

    async def attempt() -> httpx.Response:
        answer = await post()
        assert answer.status_code in (200, 409, 503), answer.text
        return answer

    return await eventually(attempt, lambda answer: answer.status_code == 200, LEASE_S + NOISE_S)


async def received(session: Inbox) -> int:
    return len(session.messages)


@pytest.mark.parametrize("acknowledges", [False, True])
async def test_a_push_that_too_few_replicas_took_five_times_has_one_id(redis: Valkey, acknowledges: bool) -> None:
    with running_valkey() as replica:
        async with (
            open_nodes(redis.url, 1, REDIS_WAIT_REPLICAS="1", REDIS_TIMEOUT_MS="400") as [server],
            open_backend(server) as backend,
            inbox(backend, "test-wait", acknowledges=acknowledges) as session,
        ):
            for _ in range(5):
                refused = await backend.post("/push_all_obj/test-wait", content="hello", headers=KEY)
                assert (refused.status_code, refused.headers["Retry-After"].isdigit()) == (503, True)
            await asyncio.to_thread(replica.replicate, redis)
            answer = await until_ok(lambda: backend.post("/push_all_obj/test-wait", content="hello", headers=KEY))
            assert answer.json()["id"] == ID
            await asyncio.sleep(CALM_S)
            session.check()


# Broadcasts


async def becomes(backend: Backend, status: str) -> None:
    await eventually(lambda: backend.http.get("/readyz"), lambda answer: bool(answer.json()["status"] == status))


@asynccontextmanager
async def open_apart(redis: Valkey, count: int) -> AsyncIterator[tuple[Backend, Sequence[tuple[Backend, Proxy]]]]:
    """The first node is beside Redis, each of the others behind a network of its own."""
    if not count:
        async with open_nodes(redis.url, 1, NODE_NAME="n1") as [server], open_backend(server) as backend:
            yield backend, []
        return
    async with (
        open_apart(redis, count - 1) as (first, others),
        running_proxy(redis.port) as wire,
        open_nodes(f"redis://127.0.0.1:{wire.port}", 1, NODE_NAME=f"n{count + 1}") as [server],
        open_backend(server) as backend,
    ):
        yield first, [*others, (backend, wire)]


@pytest.mark.parametrize("path", ["/push_all_obj", "/push_topic/news"])
async def test_a_broadcast_names_the_node_that_has_lost_redis(redis: Valkey, path: str) -> None:
    async with open_apart(redis, 2) as (a, [(b, wire), _]):
        await eventually(lambda: members(redis), lambda count: count == 3)
        wire.refuse()
        wire.cut()
        await becomes(b, "degraded")
        answer = await eventually(  # it sees who has just come with its next beat
            lambda: a.post(path, content="hello"), lambda answer: "unreached" in answer.json()
        )
        assert answer.status_code == 200
        assert [name.partition("-")[0] for name in answer.json()["unreached"]] == ["n2"]


async def test_a_broadcast_right_after_a_restart_of_redis_is_refused_and_arrives_once_the_next_time(
    redis: Valkey,
) -> None:
    async with (
        open_apart(redis, 2) as (a, others),
        inbox(others[0][0], "test-b") as b,
        inbox(others[1][0], "test-c") as c,
    ):
        await eventually(lambda: members(redis), lambda count: count == 3)
        for _, wire in others:
            wire.refuse()
        await asyncio.to_thread(redis.kill)
        await asyncio.to_thread(redis.start)
        await becomes(a, "ready")
        for headers in (KEY, KEY, {}):
            refused = await a.post("/push_all_obj", content="hello", headers=headers)
            assert (refused.status_code, refused.headers["Retry-After"].isdigit()) == (503, True)
        for _, wire in others:
            await wire.allow()
        await asyncio.gather(*(becomes(backend, "ready") for backend, _ in others))
        answer = await until_ok(lambda: a.post("/push_all_obj", content="hello", headers=KEY))
        assert (answer.json()["id"], "unreached" in answer.json()) == (ID, False)
        await until_ok(lambda: others[0][0].post("/push_all_obj", content="hello", headers=KEY))
        await asyncio.sleep(CALM_S)
        for session in (b, c):
            session.check()
            assert len(session.messages) == 1
