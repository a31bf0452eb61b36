"""Idempotency-Key: through the whole application, and the store behind it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any

import httpx
import pytest
from pydantic import RootModel, model_validator
from sqlalchemy import text

from app.auth.tokens import mint_token
from app.db.database import Database
from app.errors import IdConflict, InboxFull, InProgress, InvalidMessage, Unavailable
from app.main import create_app
from app.messages.ids import derived_id
from app.messages.types import TypeRegistry
from app.notifications.idempotency import LEASE_MS, RETENTION_SLICE, IdempotencyStore, Result
from app.runtime.runtime import Runtime
from app.settings import Settings
from tests.clock import FakeClock
from tests.databases import KINDS, migrated_database, postgres
from tests.eventually import eventually
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
async def serving(url: str, types: TypeRegistry | None = None, **values: Any) -> AsyncIterator[Service]:
    clock = FakeClock()
    settings = Settings(_env_file=None, database_url=url, log_ack_events=False, **values)
    app = create_app(settings, clock=clock, types=types)
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


async def test_a_request_that_was_refused_frees_its_key(service: Service) -> None:
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


async def test_a_key_is_free_when_its_time_is_over_and_its_message_forgotten(url: str) -> None:
    async with serving(url, delivery_log_size=1) as service:
        first = await service.push("push_all_obj/test1", content="hello")
        service.clock.advance(TTL_MS / 1000)
        assert (await service.push("push_all_obj/test1", content="hello")).json() == first.json()
        service.clock.advance(0.001)
        other = await service.push("push_all_obj/test1", content="something else")
        assert is_problem(other, 422, "id-conflict"), "the message of this key is known still"
        await service.runtime.delivery.sweep()  # it has expired
        await service.push("push_all_obj/test1", None, content="in its place in the log")
        assert (await service.push("push_all_obj/test1", content="something else")).status_code == 200


def of_caller(answer: httpx.Response) -> str:
    """The id, which differs from caller to caller."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_the_id_of_a_message_comes_from_the_key(url: str) -> None:
    batch = [MESSAGE, MESSAGE | {"id": "own"}, MESSAGE | {"persist": True}, MESSAGE | {"receiver": None}]
    async with serving(url) as service:
        single = of_caller(await service.push("push_msg", json=MESSAGE))
        results = (await service.push("push_batch", "k2", json=batch)).json()["results"]
    assert single == derived_id("anonymous", "k", 0)
    assert [result["id"] for result in results] == [
        derived_id("anonymous", "k2", 0),
        "own",
        derived_id("anonymous", "k2", 2),
        derived_id("anonymous", "k2", 3),
    ]


async def test_an_own_id_that_looks_derived_is_refused(service: Service) -> None:
    for path, body in (
        ("push_msg", MESSAGE | {"id": "ntk_1"}),
        ("push_msg", MESSAGE | {"id": "ntk_", "persist": True}),
    ):
        answer = await service.push(path, None, json=body)
        assert is_problem(answer, 422, "invalid-message")
        assert answer.json()["errors"][0]["loc"] == ["id"]


SECRET = "a secret of at least 32 bytes, for tests"


async def test_a_refreshed_token_is_the_same_caller(url: str) -> None:
    async with serving(url, app_env="prod", jwt_secret=SECRET, api_keys="key-of-a-back-end-1") as service:

        def token(issued_s: int, user: str = "back-end", issuer: str | None = None) -> dict[str, str]:
            now_s = service.clock.epoch_ms() // 1000 + issued_s
            made = mint_token(SECRET, user, ttl_s=600, now_s=now_s, scopes=("push",), issuer=issuer)
            return {"Authorization": f"Bearer {made}"}

        device = service.listener(token(0)["Authorization"].removeprefix("Bearer "))
        await asyncio.sleep(0.05)
        first = await service.push("push_all_obj/back-end", content="hello", headers=token(0))
        again = await service.push("push_all_obj/back-end", content="hello", headers=token(1))
        assert again.content == first.content
        assert (again.status_code, again.headers["idempotency-replay"]) == (200, "true")
        assert count(device) == 1
        for other in (token(0, "another"), token(0, issuer="https://idp.test"), {"X-API-Key": "key-of-a-back-end-1"}):
            answer = await service.push("push_all_obj/back-end", content="hello", headers=other)
            assert of_caller(answer) != of_caller(first)


class Trouble:
    """A message type whose check does to the service whatever `happen` does."""

    def __init__(self) -> None:
        self.types = TypeRegistry()
        self.types.register("TROUBLE", self._model())
        self.happen: Callable[[], None] = lambda: None

    def _model(self) -> type[RootModel[Any]]:
        trouble = self

        class Data(RootModel[Any]):
            @model_validator(mode="after")
            def cause(self) -> "Data":
                trouble.happen()
                return self

        return Data

    def fail_once(self, error: Exception) -> None:
        def fail() -> None:
            self.happen = lambda: None
            raise error

        self.happen = fail


@pytest.mark.parametrize("error", [Unavailable("away"), InboxFull("full"), InProgress("busy"), TimeoutError()])
async def test_after_a_passing_failure_the_key_belongs_to_its_request(url: str, error: Exception) -> None:
    trouble = Trouble()
    body = MESSAGE | {"type": "TROUBLE"}
    async with serving(url, trouble.types) as service:
        device = service.listener()
        await asyncio.sleep(0.05)
        trouble.fail_once(error)
        if isinstance(error, TimeoutError):
            with pytest.raises(TimeoutError):
                await service.push("push_msg", json=body)
        else:
            assert (await service.push("push_msg", json=body)).status_code in (409, 429, 503)
        assert is_problem(await service.push("push_msg", json=body | {"data": "other"}), 422, "id-conflict")
        again = await service.push("push_msg", json=body)
        assert of_caller(again) == derived_id("anonymous", "k", 0)
        assert count(device) == 1


async def test_a_result_that_cannot_be_stored_is_answered_and_the_same_request_later_too() -> None:
    trouble = Trouble()
    body = MESSAGE | {"type": "TROUBLE"}
    with migrated_database("sqlite") as url, closing(sqlite3.connect(url.partition("///")[2])) as other:

        def lock() -> None:
            trouble.happen = lambda: None
            other.execute("BEGIN IMMEDIATE")

        async with serving(url, trouble.types) as service:
            device = service.listener()
            await asyncio.sleep(0.05)
            trouble.happen = lock
            first = await service.push("push_msg", json=body)
            assert "idempotency-replay" not in first.headers
            other.rollback()
            assert is_problem(await service.push("push_msg", json=body), 409, "in-progress")
            service.clock.advance(LEASE_MS / 1000)
            for _ in range(2):
                again = await service.push("push_msg", json=body)
                assert (of_caller(again), again.headers["idempotency-replay"]) == (of_caller(first), "true")
            assert count(device) == 1


async def test_an_item_that_failed_is_tried_again_and_the_others_are_answered_as_before(url: str) -> None:
    trouble = Trouble()
    batch = [MESSAGE, MESSAGE | {"type": "TROUBLE"}, MESSAGE | {"receiver": None}, MESSAGE | {"id": "own"}]
    async with serving(url, trouble.types) as service:
        device = service.listener()
        await asyncio.sleep(0.05)
        trouble.fail_once(Unavailable("away"))
        first = (await service.push("push_batch", json=batch)).json()["results"]
        assert [result.get("error", {}).get("status") for result in first] == [None, 503, None, None]
        assert count(device) == 3
        again = (await service.push("push_batch", json=batch)).json()["results"]
        assert again == [first[0], {**first[0], "id": derived_id("anonymous", "k", 1)}, *first[2:]]
        assert count(device) == 1


async def test_the_service_renews_the_leases_of_its_requests(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.runtime.runtime.RENEWAL_S", 0.02)
    action = Action()
    action.go.clear()
    async with serving(url) as service:
        run = service.runtime.idempotency.run
        request = asyncio.create_task(run("k", "f", action))
        await eventually(lambda: action.calls)
        for _ in range(4):
            service.clock.advance(LEASE_MS / 2_000)
            await asyncio.sleep(0.2)
        with pytest.raises(InProgress):
            await run("k", "f", action)
        action.go.set()
        assert await request == ("result 1", False)


async def test_a_batch_with_an_item_that_failed_for_a_passing_reason_goes_on_where_it_was(url: str) -> None:
    batch = [MESSAGE, MESSAGE | {"receiver": "full"}, "nonsense", MESSAGE | {"persist": True}]
    async with serving(url, inbox_max_messages=1) as service:
        device = service.listener()
        await asyncio.sleep(0.05)
        await service.push("push_msg", None, json=MESSAGE | {"receiver": "full", "ttl_ms": 1_000})
        first = (await service.push("push_batch", json=batch)).json()["results"]
        assert [result.get("error", {}).get("status") for result in first] == [None, 429, 422, None]
        assert is_problem(await service.push("push_batch", json=batch[:2]), 422, "id-conflict")
        service.clock.advance(2)
        await service.runtime.delivery.sweep()
        again = await service.push("push_batch", json=batch)
        results = again.json()["results"]
        assert "idempotency-replay" not in again.headers
        assert results[1] == {
            "id": derived_id("anonymous", "k", 1),
            "receiver": "full",
            "status": "stored",
            "sessions": 0,
        }
        assert [*results[:1], *results[2:]] == [*first[:1], *first[2:]]
        assert count(device) == 2
        stored = await service.push("push_batch", json=batch)
        assert (stored.content, stored.headers["idempotency-replay"]) == (again.content, "true")


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
        self.is_final = True

    async def __call__(self) -> Result:
        self.calls += 1
        call = self.calls
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return Result(f"result {call}", self.is_final)


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

    async def take_over(self) -> tuple[str, bool]:
        """A request that begins while the first one waits; then both go on."""
        task = asyncio.create_task(self.run())
        while self.action.calls < 2 and not task.done():  # noqa: ASYNC110 — as above
            await asyncio.sleep(0.005)
        self.action.go.set()
        return await task


async def lose_the_table(store: Store) -> None:
    async with store.database.transaction() as session:
        await session.execute(text("DROP TABLE idempotency_key"))


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


async def test_the_key_of_a_request_whose_process_died_is_free_after_the_lease(store: Store) -> None:
    task = await store.start()
    store.clock.advance(LEASE_MS / 1000 - 0.001)
    with pytest.raises(InProgress):
        await store.run()
    store.clock.advance(0.001)
    with pytest.raises(IdConflict):
        await store.run(fingerprint="other")
    assert await store.take_over() == ("result 2", False)
    assert await task == ("result 1", False)
    assert (await store.run())[1] is True


async def test_the_key_of_a_long_request_stays_taken(store: Store) -> None:
    task = await store.start()
    for _ in range(5):
        store.clock.advance(LEASE_MS / 1000 - 0.001)
        await store.store.renew()
        with pytest.raises(InProgress):
            await store.run()
    store.action.go.set()
    await task
    await store.store.renew()
    assert await store.run() == ("result 1", True)


async def test_a_clock_that_is_set_back_prolongs_no_lease(store: Store) -> None:
    task = await store.start()
    store.clock.advance(-3_600)
    assert await store.take_over() == ("result 2", False)
    await task


@pytest.mark.parametrize(
    "error", [Unavailable("away"), InboxFull("full"), TimeoutError(), ValueError("a defect"), asyncio.CancelledError()]
)
async def test_what_the_action_raises_comes_out_and_the_same_request_may_come_again(
    store: Store, error: BaseException
) -> None:
    store.action.error = error
    with pytest.raises(type(error)):
        await store.run()
    store.action.error = None
    with pytest.raises(IdConflict):
        await store.run(fingerprint="other")
    assert await store.run() == ("result 2", False)
    assert await store.run() == ("result 2", True)


async def test_a_final_refusal_frees_the_key(store: Store) -> None:
    store.action.error = InvalidMessage("never")
    with pytest.raises(InvalidMessage):
        await store.run()
    store.action.error = None
    assert await store.run(fingerprint="other") == ("result 2", False)


async def test_an_answer_that_is_not_final_is_not_stored(store: Store) -> None:
    store.action.is_final = False
    assert await store.run() == ("result 1", False)
    with pytest.raises(IdConflict):
        await store.run(fingerprint="other")
    store.action.is_final = True
    assert await store.run() == ("result 2", False)
    assert await store.run() == ("result 2", True)


async def test_a_failure_comes_out_though_the_database_is_away_too(store: Store) -> None:
    async def lose_all() -> Result:
        await lose_the_table(store)
        raise InboxFull("full")

    with pytest.raises(InboxFull):
        await store.store.run("k", "f", lose_all)


async def test_without_the_database_leases_are_not_renewed(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    task = await store.start()
    await lose_the_table(store)
    await store.store.renew()
    assert "not renewed" in caplog.text
    store.action.go.set()
    assert await task == ("result 1", False)


async def test_a_request_that_is_cancelled_releases_its_key(store: Store) -> None:
    task = await store.start()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    store.action.go.set()
    assert await store.run() == ("result 2", False)


async def test_what_was_done_is_answered_though_it_cannot_be_kept(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async def lose_and_return() -> Result:
        await lose_the_table(store)
        return Result("done")

    assert await store.store.run("k", "f", lose_and_return) == ("done", False)
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
