"""Idempotency-Key: through the whole application, and the store behind it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.db.database import Database
from app.errors import IdConflict, InProgress, Unavailable
from app.main import create_app
from app.notifications.idempotency import ABANDONED_MS, RETENTION_SLICE, IdempotencyStore
from app.runtime import Runtime
from app.settings import Settings
from tests.clock import FakeClock
from tests.databases import KINDS, migrated_database, postgres
from tests.fakes import FakeTransport

TTL_MS = 86_400_000
PUSH = "/vh-stomp-wsend"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with migrated_database(request.param) as url:
        yield url


class Service:
    def __init__(self, http: httpx.AsyncClient, runtime: Runtime, clock: FakeClock) -> None:
        self.http = http
        self.runtime = runtime
        self.clock = clock

    async def push(
        self, path: str, key: str | None = "k", *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        named = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post(f"{PUSH}/{path}", headers=named | (headers or {}), **options)

    def listener(self, user: str = "test1") -> FakeTransport:
        transport = FakeTransport()
        port: Any = transport
        connection = self.runtime.gateway.open(port)
        connection.receive(f"CONNECT\naccept-version:1.2\npasscode:{user}\n\n\0".encode())
        for destination in ("/user/queue/msg", "/topic/news"):
            connection.receive(f"SUBSCRIBE\nid:{destination}\ndestination:{destination}\n\n\0".encode())
        return transport


def count(transport: FakeTransport) -> int:
    return sum(frame.command == "MESSAGE" for frame in transport.frames())


@asynccontextmanager
async def serving(url: str, **values: Any) -> AsyncIterator[Service]:
    clock = FakeClock()
    app = create_app(Settings(_env_file=None, database_url=url, log_ack_events=False, **values), clock=clock)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service.test")
    async with app.router.lifespan_context(app), http:
        yield Service(http, app.state.runtime, clock)


@pytest.fixture
async def service(url: str) -> AsyncIterator[Service]:
    async with serving(url) as service:
        yield service


def is_problem(answer: httpx.Response, status: int, slug: str) -> bool:
    body = answer.json()
    return answer.status_code == body["status"] == status and str(body["type"]).endswith(f":{slug}")


MESSAGE = {"receiver": "test1", "data": "hello"}
ROUTES: list[tuple[str, Any, int]] = [
    ("push_all_obj", "hello", 1),
    ("push_all_obj/test1", "hello", 1),
    ("cluster/notify/test1", "hello", 1),
    ("push_msg", MESSAGE, 1),
    ("push_msg", MESSAGE | {"persist": True}, 1),
    ("push_batch", [MESSAGE, MESSAGE, "nonsense"], 2),
    ("push_batch", [MESSAGE | {"persist": True}] * 3, 3),
    ("push_topic/news", "hello", 1),
]


@pytest.mark.parametrize(("path", "body", "messages"), ROUTES)
async def test_the_same_request_again_is_answered_as_the_first_time_and_sends_nothing(
    service: Service, path: str, body: Any, messages: int
) -> None:
    device = service.listener()
    await asyncio.sleep(0.05)
    first = await service.push(path, json=body)
    assert first.status_code == 200, first.text
    assert "idempotency-replay" not in first.headers
    assert count(device) == messages
    service.clock.advance(60)
    again = await service.push(path, json=body)
    assert again.status_code == 200
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotency-replay"] == "true"
    assert count(device) == 0


async def test_without_a_key_the_same_request_is_another(service: Service) -> None:
    first, second = [await service.push("push_all_obj/test1", None, content="hello") for _ in range(2)]
    assert first.json()["id"] != second.json()["id"]


async def test_the_key_with_another_request_is_refused(service: Service) -> None:
    device = service.listener()
    await asyncio.sleep(0.05)
    await service.push("push_all_obj/test1", content="hello")
    for path, options in (
        ("push_all_obj/test1", {"content": "hello!"}),
        ("push_all_obj/test2", {"content": "hello"}),
        ("cluster/notify/test1", {"content": "hello"}),
        ("push_all_obj", {"content": "hello"}),
        ("push_all_obj/test1", {"content": b'"hello"', "headers": {"content-type": "application/json"}}),
    ):
        assert is_problem(await service.push(path, **options), 422, "id-conflict")
    assert count(device) == 1


async def test_the_same_requests_at_once_are_pushed_once(service: Service) -> None:
    device = service.listener()
    await asyncio.sleep(0.05)
    answers = await asyncio.gather(*(service.push("cluster/notify/test1", content="hello") for _ in range(12)))
    assert count(device) == 1
    firsts = [answer for answer in answers if answer.status_code == 200]
    assert len({answer.json()["id"] for answer in firsts}) == 1
    assert sum("idempotency-replay" not in answer.headers for answer in firsts) == 1
    for answer in answers:
        if answer.status_code != 200:
            assert is_problem(answer, 409, "in-progress")
            assert answer.headers["retry-after"] == "1"


async def test_the_same_requests_at_two_nodes_at_once_are_pushed_once() -> None:
    with migrated_database("postgresql") as url:
        async with serving(url) as one, serving(url) as other:
            answers = await asyncio.gather(
                *(node.push("cluster/notify/test1", content="hello") for node in (one, other) * 6)
            )
            assert {answer.status_code for answer in answers} <= {200, 409}
            assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
            assert postgres().query("SELECT count(*) FROM notify_log", url.rpartition("/")[2]) == [["1"]]


async def test_a_request_that_failed_frees_its_key(service: Service) -> None:
    conflicting = {"receiver": "test1", "data": "b", "id": "m", "persist": True}
    await service.push("push_msg", None, json=conflicting | {"data": "a"})
    assert is_problem(await service.push("push_msg", json=conflicting), 422, "id-conflict")
    assert (await service.push("push_all_obj/test1", content="hello")).status_code == 200
    assert is_problem(await service.push("push_msg", json={"receiver": "a/b", "data": 1}), 422, "id-conflict")
    assert is_problem(await service.push("push_msg", "k2", json={"receiver": "a/b", "data": 1}), 422, "invalid-message")
    assert (await service.push("push_msg", "k2", json=MESSAGE)).status_code == 200


async def test_a_new_key_for_an_id_that_was_pushed_is_a_replay_too(service: Service) -> None:
    message = MESSAGE | {"id": "m", "persist": True}
    first = await service.push("push_msg", "k1", json=message)
    again = await service.push("push_msg", "k2", json=message)
    assert "idempotency-replay" not in first.headers
    assert again.headers["idempotency-replay"] == "true"


async def test_a_key_is_free_when_its_time_is_over(service: Service) -> None:
    first = await service.push("push_all_obj/test1", content="hello")
    service.clock.advance(TTL_MS / 1000)
    assert (await service.push("push_all_obj/test1", content="hello")).json() == first.json()
    service.clock.advance(0.001)
    later = await service.push("push_all_obj/test1", content="something else")
    assert later.status_code == 200
    assert later.json()["id"] != first.json()["id"]


async def test_keys_of_two_callers_do_not_meet(url: str) -> None:
    keys = ("key-of-a-back-end-1", "key-of-a-back-end-2")
    async with serving(url, api_keys=",".join(keys)) as service:
        headers: list[dict[str, str]] = [
            {"X-API-Key": keys[0]},
            {"X-API-Key": keys[1]},
            {"Authorization": "Bearer test1"},
            {},
        ]
        answers = [
            await service.push("push_all_obj/test1", content=f"of {number}", headers=given)
            for number, given in enumerate(headers)
        ]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert all("idempotency-replay" not in answer.headers for answer in answers)
        assert len({answer.json()["id"] for answer in answers}) == 4


async def test_a_key_that_is_none_is_refused(service: Service) -> None:
    for key in (b"", b"x" * 256, b"a\tb", b"\x7f", b"\xa0", b"a\x85b"):
        headers = {b"idempotency-key": key}
        answer = await service.http.post(f"{PUSH}/push_all_obj/test1", headers=headers, content="hello")
        assert is_problem(answer, 422, "invalid-message"), key
        assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]


async def test_any_other_key_is_taken(service: Service) -> None:
    for key in (b"x" * 255, b'"quoted"', "schlüssel".encode("latin-1"), b"' OR 1=1 --"):
        for replayed in (None, "true"):
            headers = {b"idempotency-key": key}
            answer = await service.http.post(f"{PUSH}/push_all_obj", headers=headers, content="hello")
            assert (answer.status_code, answer.headers.get("idempotency-replay")) == (200, replayed), key


async def test_without_the_database_a_key_cannot_be_kept_and_nothing_is_pushed() -> None:
    async with serving("postgresql://postgres@127.0.0.1:1/notify") as service:
        device = service.listener()
        for path, body, _ in ROUTES:
            answer = await service.push(path, json=body)
            assert is_problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert count(device) == 0


# The store


class Action:
    """What a request does; it can be made to wait and to fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self.go.set()
        self.error: BaseException | None = None

    async def __call__(self) -> str:
        self.calls += 1
        call = self.calls
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return f"result {call}"


class Store:
    def __init__(self, url: str) -> None:
        self.clock = FakeClock()
        self.database = Database(url)
        self.store = IdempotencyStore(database=self.database, clock=self.clock, ttl_ms=TTL_MS)
        self.action = Action()

    async def run(self, key: str = "k", fingerprint: str = "f") -> tuple[str, bool]:
        return await self.store.run(key, fingerprint, self.action)

    async def start(self) -> "asyncio.Task[tuple[str, bool]]":
        """A request that does not come to its end."""
        self.action.go.clear()
        task = asyncio.create_task(self.run())
        while not self.action.calls:  # noqa: ASYNC110 — the action says nothing
            await asyncio.sleep(0.005)
        return task


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = Store(url)
    yield store
    await store.database.aclose()


async def test_while_the_first_request_is_under_way_others_are_told_to_wait(store: Store) -> None:
    first = await store.start()
    with pytest.raises(InProgress) as refused:
        await store.run()
    assert refused.value.retry_after_s == 1
    with pytest.raises(IdConflict):
        await store.run(fingerprint="other")
    store.action.go.set()
    assert await first == ("result 1", False)
    assert await store.run() == ("result 1", True)


async def test_a_request_whose_process_died_keeps_its_key_for_a_minute(store: Store) -> None:
    task = await store.start()
    store.clock.advance(ABANDONED_MS / 1000)
    with pytest.raises(InProgress):
        await store.run()
    store.clock.advance(0.001)
    store.action.go.set()
    assert (await store.run())[1] is False
    await task


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a defect"), asyncio.CancelledError()])
async def test_what_the_action_raises_comes_out_and_frees_the_key(store: Store, error: BaseException) -> None:
    store.action.error = error
    with pytest.raises(type(error)):
        await store.run()
    store.action.error = None
    assert await store.run() == ("result 2", False)


async def test_a_request_that_is_cancelled_frees_its_key(store: Store) -> None:
    task = await store.start()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    store.action.go.set()
    assert await store.run() == ("result 2", False)


async def test_what_was_done_is_answered_though_it_cannot_be_kept(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async def lose_the_table() -> str:
        async with store.database.transaction() as session:
            await session.execute(text("DROP TABLE idempotency_key"))
        return "done"

    assert await store.store.run("k", "f", lose_the_table) == ("done", False)
    assert "not kept" in caplog.text


async def test_retention_forgets_old_keys_in_steps(store: Store) -> None:
    async with store.database.transaction() as session:
        now_ms = store.clock.epoch_ms()
        for number in range(RETENTION_SLICE + 5):
            await session.execute(
                text("INSERT INTO idempotency_key (key, fingerprint, created) VALUES (:key, 'f', :created)"),
                {"key": f"old{number}", "created": now_ms - TTL_MS - 1},
            )
    store.clock.advance(0)
    await store.run("young")
    await store.store.run_retention()
    async with store.database.read() as session:
        assert (await session.execute(text("SELECT key FROM idempotency_key"))).scalars().all() == ["young"]


async def test_retention_waits_for_a_database_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    store = Store("postgresql://postgres@127.0.0.1:1/notify")
    await store.store.run_retention()
    assert "retention waits" in caplog.text
