"""The routes of a user, through the whole application in this process, on both databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.runtime.runtime import Runtime
from app.settings import Settings
from tests.clock import FakeClock
from tests.databases import KINDS, migrated_database
from tests.fakes import FakeTransport

PAGE_MAX = 5


class Service:
    def __init__(self, app: FastAPI, http: httpx.AsyncClient, clock: FakeClock) -> None:
        self.http = http
        self.clock = clock
        runtime = app.state.runtime
        assert isinstance(runtime, Runtime)
        self.runtime = runtime

    async def push(self, *ids: str, to: str = "test1") -> None:
        for id in ids:
            body = {"receiver": to, "data": f"data of {id}", "id": id, "persist": True}
            answer = await self.http.post("/vh-stomp-wsend/push_msg", json=body)
            assert answer.status_code == 200, answer.text

    async def call(self, method: str, path: str, user: str = "test1", **options: Any) -> httpx.Response:
        return await self.http.request(
            method, f"/api/notify/{path}", headers={"Authorization": f"Bearer {user}"}, **options
        )

    async def get(self, path: str, user: str = "test1", **parameters: Any) -> Any:
        answer = await self.call("GET", path, user, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def change(self, path: str, ids: object, user: str = "test1") -> Any:
        method = "POST" if path == "viewed" else "DELETE"
        answer = await self.call(method, path, user, json={"ids": ids})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ids(self, user: str = "test1", **parameters: Any) -> list[str]:
        return [item["id"] for item in (await self.get("history", user, **parameters))["items"]]

    async def device(self, user: str = "test1") -> FakeTransport:
        transport = FakeTransport()
        port: Any = transport
        connection = self.runtime.gateway.open(port)
        connection.receive(f"CONNECT\naccept-version:1.2\npasscode:{user}\n\n\0".encode())
        connection.receive(b"SUBSCRIBE\nid:0\ndestination:/user/queue/msg\n\n\0")
        while not transport.sent or any(session.replay for session in self.runtime.hub):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return transport


def received(device: FakeTransport) -> list[dict[str, Any]]:
    return [json.loads(frame.body) for frame in device.frames() if frame.command == "MESSAGE"]


@asynccontextmanager
async def serving(url: str, **values: Any) -> AsyncIterator[Service]:
    clock = FakeClock()
    settings = Settings(_env_file=None, database_url=url, log_ack_events=False, history_page_max=PAGE_MAX, **values)
    app = create_app(settings, clock=clock)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service.test")
    async with app.router.lifespan_context(app), http:
        yield Service(app, http, clock)


@pytest.fixture(params=KINDS)
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    with migrated_database(request.param) as url:
        async with serving(url) as service:
            yield service


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:stomp-notify:problem:{slug}"
    assert body["detail"]
    return body


# History


async def test_history_shows_what_a_session_would_get(service: Service) -> None:
    await service.push("m")
    page = await service.get("history")
    (item,) = page["items"]
    assert item | {"ack_last_sent": 0} == {
        "id": "m",
        "type": "STRING_MSG",
        "receiver": "test1",
        "data": "data of m",
        "viewed": False,
        "created": service.clock.epoch_ms(),
        "ack_retry_count": 0,
        "ack_last_sent": 0,
    }
    assert page["next"] is None
    assert (await service.get("history", "test2"))["items"] == []


async def test_following_next_shows_everything_once_though_new_messages_come(service: Service) -> None:
    ids = [f"m_{number:02}" for number in range(13)]
    await service.push(*ids)
    seen: list[str] = []
    place: dict[str, str] = {}
    for number in range(10):
        page = await service.get("history", page_size=3, **place)
        seen += [item["id"] for item in page["items"]]
        await service.push(f"z{number}")
        if page["next"] is None:
            break
        place = {"created": page["next"]}
    assert seen == ids[::-1]


async def test_pages_can_be_counted_too(service: Service) -> None:
    await service.push(*"abcdefg")
    assert await service.ids(page_size=3, page_num=2) == ["d", "c", "b"]
    page = await service.get("history", page_size=3, page_num=2)
    assert await service.ids(created=page["next"], page_size=3) == ["a"]
    assert await service.ids(page_size=3, page_num=10_000) == []


async def test_history_before_a_moment(service: Service) -> None:
    await service.push("a")
    service.clock.advance(0.001)
    await service.push("b")
    assert await service.ids(created=service.clock.epoch_ms()) == ["a"]
    assert await service.ids(created=0) == []
    assert await service.ids(created=2**63 - 1) == ["b", "a"]


async def test_a_page_has_at_most_so_many_messages_as_the_settings_allow(service: Service) -> None:
    await service.push(*"abcdefg")
    for size in (PAGE_MAX + 1, 10**6, 10**15):
        page = await service.get("history", page_size=size)
        assert len(page["items"]) == PAGE_MAX
        assert page["next"] is not None


NONSENSE = [
    {"created": ""},
    {"created": "-1"},
    {"created": "1.5"},
    {"created": "yesterday"},
    {"created": "1e3"},
    {"created": "\u0661"},
    {"created": "²"},
    {"created": str(2**63)},
    {"created": "9" * 100},
    {"created": "9" * 101},
    {"created": "9" * 10_000},
    {"created": "_a"},
    {"created": "1_a b"},
    {"created": "1_a\0"},
    {"created": "1_\ufffd"},
    {"created": "1_' OR 1=1 --"},
    {"page_num": "0"},
    {"page_num": "10001"},
    {"page_num": "x"},
    {"page_size": "0"},
    {"page_size": "-1"},
    {"page_size": ""},
    {"page_size": "9" * 5_000},
]


async def test_parameters_that_make_no_sense_are_refused(service: Service) -> None:
    for parameters in NONSENSE:
        answer = await service.call("GET", "history", params=parameters)
        errors = problem(answer, 422, "invalid-message")["errors"]
        assert errors[0]["loc"] == ["query", next(iter(parameters))], parameters


async def test_the_place_in_the_history_of_another_shows_only_ones_own(service: Service) -> None:
    await service.push("a", "b", to="test2")
    await service.push("m")
    place = (await service.get("history", "test2", page_size=1))["next"]
    assert await service.ids(created=place) == []
    for id in ("", "zzz", "0"):
        assert set(await service.ids(created=f"{2**62}_{id}")) <= {"m"}


# Unread, viewed, deleted


async def test_unread_messages_are_counted_and_viewed(service: Service) -> None:
    await service.push("a", "b", "c")
    await service.push("x", to="test2")
    assert await service.get("unread_count") == {"unread": 3}
    assert await service.change("viewed", ["a", "b", "a", "x", "unknown"]) == {"updated": 2, "unread": 1}
    assert await service.change("viewed", ["a"]) == {"updated": 0, "unread": 1}
    assert await service.get("unread_count") == {"unread": 1}
    assert [item["viewed"] for item in (await service.get("history"))["items"]] == [False, True, True]
    assert await service.get("unread_count", "test2") == {"unread": 1}


async def test_deleted_messages_are_gone(service: Service) -> None:
    await service.push("a", "b", "c")
    assert await service.change("delete", ["a", "b", "unknown"]) == {"updated": 2, "unread": 1}
    assert await service.ids() == ["c"]
    assert await service.change("delete", ["a"]) == {"updated": 0, "unread": 1}


async def test_nobody_reads_views_or_deletes_for_another(service: Service) -> None:
    await service.push("a", "b")
    victim, attacker = await service.device(), await service.device("test2")
    victim.frames()
    for user in ("test2", "TEST1", "test", "test10", "test1%", "test_", "test1' OR '1'='1", "test1/../test1"):
        for path in ("viewed", "delete"):
            method = "POST" if path == "viewed" else "DELETE"
            answer = await service.call(method, path, user, json={"ids": ["a", "b"]})
            assert answer.status_code == 401 or answer.json()["updated"] == 0, (user, answer.text)
    assert received(attacker) == []
    assert received(victim) == []
    assert await service.get("unread_count") == {"unread": 2}


async def test_every_device_is_told_and_none_rings_again(service: Service) -> None:
    devices = [await service.device(), await service.device()]
    await service.push("a", "b", "c")
    assert [[body["id"] for body in received(device)] for device in devices] == [["a", "b", "c"]] * 2
    assert len(service.runtime.backplane.ledger) == 6
    await service.change("viewed", ["a"])
    await service.change("delete", ["b"])
    for device in devices:
        viewed, deleted = received(device)
        assert (viewed["type"], viewed["data"]) == ("NOTIFY_VIEWED", {"ids": ["a"], "unread": 2})
        assert (deleted["type"], deleted["data"]) == ("NOTIFY_DELETED", {"ids": ["b"], "unread": 1})
    assert len(service.runtime.backplane.ledger) == 2
    assert [body["id"] for body in received(await service.device())] == ["c"]


NO_IDS = [
    b"",
    b"{}",
    b"[]",
    b'"a"',
    b"{",
    b"[" * 10_000,
    b'{"ids": []}',
    b'{"ids": null}',
    b'{"ids": "a"}',
    b'{"ids": [1]}',
    b'{"ids": [null]}',
    b'{"ids": [""]}',
    b'{"ids": ["a\\u0000b"]}',
    b'{"ids": ["\\ud800"]}',
    b'{"ids": ["\xff"]}',
    b'{"ids": ["a\\n"]}',
    b'{"ids": ["a/b"]}',
    json.dumps({"ids": ["x" * 65]}).encode(),
    json.dumps({"ids": [f"m{number}" for number in range(1_001)]}).encode(),
    b'{"ids": ["a"], "receiver": "test2"}',
]


async def test_a_body_that_makes_no_sense_is_refused(service: Service) -> None:
    for body in NO_IDS:
        for method, path in (("POST", "viewed"), ("DELETE", "delete")):
            answer = await service.call(method, path, content=body)
            assert problem(answer, 422, "invalid-message")["errors"][0]["loc"][0] == "body", body


async def test_as_many_ids_as_are_allowed(service: Service) -> None:
    await service.push("a")
    ids = ["a", *(f"{number:064}" for number in range(999))]
    assert await service.change("viewed", ids) == {"updated": 1, "unread": 0}
    assert await service.change("delete", ids) == {"updated": 1, "unread": 0}


async def test_a_body_larger_than_allowed_is_refused(service: Service) -> None:
    for method, path in (("POST", "viewed"), ("DELETE", "delete")):
        answer = await service.call(method, path, content=b'{"ids": ["a"]}' + b" " * 524_288)
        problem(answer, 413, "too-large")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "history"), ("GET", "unread_count"), ("POST", "viewed"), ("DELETE", "delete")],
)
async def test_without_a_valid_token_nothing_is_shown(service: Service, method: str, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer nobody"},
        {"Authorization": "Basic dGVzdDE6"},
        {"X-API-Key": "test1"},
    ):
        answer = await service.http.request(method, f"/api/notify/{path}", headers=headers, content=b"no JSON")
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"]


async def test_without_the_database_users_are_told_to_try_again() -> None:
    async with serving("postgresql://postgres@127.0.0.1:1/notify") as service:
        for method, path in (("GET", "history"), ("GET", "unread_count"), ("POST", "viewed"), ("DELETE", "delete")):
            answer = await service.call(method, path, content=b'{"ids": ["a"]}')
            problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
        answer = await service.http.post("/vh-stomp-wsend/cluster/notify/test1", content="hello")
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert (await service.http.post("/vh-stomp-wsend/push_all_obj/test1", content="hello")).status_code == 200


# Pushes that are stored


async def test_a_stored_push_is_answered_as_any_other(service: Service) -> None:
    device = await service.device()
    answer = await service.http.post("/vh-stomp-wsend/cluster/notify/test1", content="hello")
    body = answer.json()
    assert body == {"id": body["id"], "receiver": "test1", "status": "sent", "sessions": 1}
    assert [message["id"] for message in received(device)] == [body["id"]] == await service.ids()


async def test_a_batch_of_stored_messages_shares_few_commits_and_keeps_its_order(service: Service) -> None:
    device = await service.device()
    items: list[Any] = [{"receiver": "test1", "data": number, "persist": True} for number in range(300)]
    items[7] = {"receiver": "a/b", "data": 1, "persist": True}
    items[9] = {"receiver": None, "data": 1, "persist": True}
    items[11] = "nonsense"
    answer = await service.http.post("/vh-stomp-wsend/push_batch", json=items)
    results = answer.json()["results"]
    assert [number for number, result in enumerate(results) if "error" in result] == [7, 9, 11]
    assert {result["error"]["status"] for result in results if "error" in result} == {422}
    good = [result["id"] for result in results if "id" in result]
    assert [body["id"] for body in received(device)] == good
    assert service.runtime.notify.inserts.batches <= 5
    assert await service.get("unread_count") == {"unread": 297}


async def test_a_batch_with_an_id_twice_stores_it_once(service: Service) -> None:
    device = await service.device()
    item = {"receiver": "test1", "data": 1, "persist": True, "id": "same"}
    answer = await service.http.post("/vh-stomp-wsend/push_batch", json=[item, item | {"data": True}, item])
    first, second, third = answer.json()["results"]
    assert first == third == {"id": "same", "receiver": "test1", "status": "sent", "sessions": 1}
    assert second["error"]["type"].endswith("id-conflict")
    assert [body["id"] for body in received(device)] == ["same"]


async def test_an_id_that_was_stored_before_is_replayed(service: Service) -> None:
    body = {"receiver": "test1", "data": "a", "persist": True, "id": "m"}
    first = await service.http.post("/vh-stomp-wsend/push_msg", json=body)
    again = await service.http.post("/vh-stomp-wsend/push_msg", json=body)
    other = await service.http.post("/vh-stomp-wsend/push_msg", json=body | {"data": "b"})
    assert "idempotency-replay" not in first.headers
    assert again.headers["idempotency-replay"] == "true"
    assert first.json() == again.json()
    problem(other, 422, "id-conflict")


async def test_numbers_come_back_as_they_were(service: Service) -> None:
    for number in ("1e308", "-0.0", "1" + "0" * 400, str(2**64), "0.1", "1.0", "1"):
        body = f'{{"receiver": "test1", "persist": true, "data": {number}}}'
        answer = await service.http.post("/vh-stomp-wsend/push_msg", content=body)
        assert answer.status_code == 200
        history = await service.call("GET", "history")
        assert repr(history.json()["items"][0]["data"]) == repr(json.loads(number))
