"""The push routes: what goes in, what comes out, and what is refused in which words."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from app.messages.types import TypeRegistry
from tests.api.service import PUSH, Service, problem, service, settle
from tests.fakes import FakeTransport

JSON = "application/json"
NESTED_TOO_DEEP = b"[" * 5000
STORED = {"receiver": "test1", "status": "stored", "sessions": 0}


async def received(transport: FakeTransport) -> list[dict[str, Any]]:
    await settle()
    return [json.loads(frame.body) for frame in transport.frames() if frame.command == "MESSAGE"]


# Bodies of any content type


async def test_text_reaches_the_user_as_it_was(dev: Service) -> None:
    listener = dev.listener()
    await settle()

    answer = await dev.push("/push_all_obj/test1", "grüße 😀\0\n", content_type="application/x-www-form-urlencoded")

    assert answer.status_code == 200
    message_id = answer.json()["id"]
    assert answer.json() == {"id": message_id, "receiver": "test1", "status": "sent", "sessions": 1}
    (message,) = await received(listener)
    assert message["data"] == "grüße 😀\0\n"
    assert (message["id"], message["type"], message["receiver"]) == (message_id, "STRING_MSG", "test1")


async def test_push_to_somebody_who_is_away_is_stored(dev: Service) -> None:
    answer = await dev.push("/push_all_obj/test1")

    assert answer.json() == STORED | {"id": answer.json()["id"]}
    (message,) = await received(dev.listener())
    assert message["id"] == answer.json()["id"]


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b'{"a": [1, null, "x"]}', {"a": [1, None, "x"]}),
        ("Application/JSON; charset=utf-8", b'"x"', "x"),
        ("application/vnd.order+json", b"null", None),
        ("application/json", b"1234567890123456789012345678901234567890", 1234567890123456789012345678901234567890),
        ("application/json", b"-9223372036854775809", -9223372036854775809),
        ("application/json", b"1e3", 1000.0),
        ("application/json", b"1.5e300", 1.5e300),
        ("application/json", b'"1e400 is not a number here"', "1e400 is not a number here"),
        ("application/jsonx", b"null", "null"),
        ("text/plain", b'{"a": 1}', '{"a": 1}'),
        ("text/plain; charset=iso-8859-1", b"gr\xfc\xdfe", "grüße"),
        ('text/plain; x=y; charset="ISO-8859-1"', b"\xfc", "ü"),
        ("text/plain; charset=utf-16", "ü😀".encode("utf-16"), "ü😀"),
        ("text/plain; charset=", b"x", "x"),
        ("", b"\xc3\xbc", "ü"),
        ("garbage;;;=;", b" ", " "),
    ],
)
async def test_content_type_says_what_the_body_is(content_type: str, body: bytes, data: object, dev: Service) -> None:
    listener = dev.listener()
    await settle()

    answer = await dev.push("/push_all_obj/test1", body, content_type=content_type)

    assert answer.status_code == 200
    (message,) = await received(listener)
    assert message["data"] == data
    assert type(message["data"]) is type(data)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"\xff"),
        ("text/plain; charset=utf-8", b"caf\xe9"),
        ("text/plain; charset=ascii", b"\xe9"),
        ("text/plain; charset=utf-16", b"x"),
        (JSON, b"{"),
        (JSON, b"hello"),
        (JSON, b"1 2"),
        (JSON, b"NaN"),
        (JSON, b"[Infinity]"),
        (JSON, b"1e400"),
        (JSON, b'{"a": [-1.5E+0400]}'),
        (JSON, b"9" * 309 + b".0"),
        (JSON, b'"\\ud800"'),
        (JSON, b'{"\\udfff": 1}'),
        (JSON, b'"\xff"'),
        (JSON, b"\xef\xbb\xbf1"),
        (JSON, b"1" * 5000),
        (JSON, NESTED_TOO_DEEP),
        (JSON, b'{"a":' * 5000),
        (JSON, b""),
        ("text/plain", b""),
        (JSON, b" "),
    ],
)
@pytest.mark.parametrize("path", ["/push_all_obj", "/push_all_obj/test1", "/push_topic/a"])
async def test_body_that_cannot_be_understood_is_refused(
    path: str, content_type: str, body: bytes, dev: Service
) -> None:
    listener = dev.listener("test1", "/user/queue/msg", "/topic/a")
    await settle()

    problem(await dev.push(path, body, content_type=content_type), 422, "invalid-message")

    assert await received(listener) == []


async def test_deepest_json_that_is_taken_can_be_delivered(dev: Service) -> None:
    listener = dev.listener()
    await settle()
    taken = []
    for depth in range(150, 260):
        answer = await dev.push("/push_all_obj/test1", b"[" * depth + b"]" * depth, content_type=JSON)
        if answer.status_code == 200:
            taken.append(answer.json()["id"])
        else:
            problem(answer, 422)
            break

    assert len(taken) > 40
    assert [message["id"] for message in await received(listener)] == taken


# Receivers


@pytest.mark.parametrize(
    ("path", "receiver"),
    [("%F0%9F%98%80", "😀"), ("a%20b", "a b"), ("a+b", "a+b"), ("user%40example.com", "user@example.com")],
)
async def test_receiver_is_taken_from_the_path(path: str, receiver: str, dev: Service) -> None:
    answer = await dev.push(f"/push_all_obj/{path}")

    assert answer.status_code == 200
    assert answer.json()["receiver"] == receiver


@pytest.mark.parametrize(
    "path", ["", "a%2Fb", "a/b", "%00", "%0A", "%7F", "%C2%85", "%FF", "a%C3", "%20", "a%20", "a" * 300, "%ED%A0%80"]
)
async def test_receiver_that_nobody_can_be_is_refused(path: str, dev: Service) -> None:
    body = problem(await dev.push(f"/push_all_obj/{path}"), 422, "invalid-message")

    assert body["errors"][0]["loc"] == ["receiver"]


@pytest.mark.parametrize("topic", ["", "%00", "%0A", "%FF", "a" * 300])
async def test_topic_that_nobody_can_listen_to_is_refused(topic: str, dev: Service) -> None:
    problem(await dev.push(f"/push_topic/{topic}"), 422, "invalid-message")


@pytest.mark.parametrize("topic", ["messages", "a/b/c", "räume 1"])
async def test_topic_is_pushed_to_its_subscribers(topic: str, dev: Service) -> None:
    listener, other = dev.listener("test1", f"/topic/{topic}"), dev.listener("test2", "/topic/other")
    await settle()

    answer = await dev.push(f"/push_topic/{topic}", b'{"a": 1}', content_type=JSON)

    assert answer.json() == {"id": answer.json()["id"], "receiver": None, "status": "sent", "sessions": 1}
    (message,) = await received(listener)
    assert message["data"] == {"a": 1}
    assert await received(other) == []


async def test_broadcast_reaches_all_who_are_there(dev: Service) -> None:
    listeners = [dev.listener("test1"), dev.listener("test1"), dev.listener("test2")]
    await settle()

    answer = await dev.push("/push_all_obj", "to all")

    assert answer.json() == {"id": answer.json()["id"], "receiver": None, "status": "sent", "sessions": 3}
    for listener in listeners:
        (message,) = await received(listener)
        assert (message["data"], message["receiver"]) == ("to all", None)


# push_msg


async def test_message_has_all_that_was_asked_for(dev: Service) -> None:
    listener = dev.listener()
    await settle()

    answer = await dev.push_json(
        "/push_msg",
        {
            "receiver": "test1",
            "type": "STRING_MSG",
            "data": {"n": 1},
            "id": "order-1",
            "ttl_ms": 1000,
            "persist": False,
            "ack": False,
        },
    )

    assert answer.json() == {"id": "order-1", "receiver": "test1", "status": "sent", "sessions": 1}
    (message,) = await received(listener)
    assert message["id"] == "order-1"
    assert len(dev.runtime.backplane.ledger) == 0


async def test_content_type_of_a_json_route_does_not_matter(dev: Service) -> None:
    body = json.dumps({"receiver": "test1", "data": 1})

    answer = await dev.push("/push_msg", body, content_type="application/x-www-form-urlencoded")

    assert answer.status_code == 200


BAD_MESSAGES: list[tuple[Any, list[Any]]] = [
    ({}, ["body", "receiver"]),
    ({"receiver": "test1"}, ["body", "data"]),
    ({"data": 1}, ["body", "receiver"]),
    ([], ["body"]),
    (7, ["body"]),
    ("text", ["body"]),
    ({"receiver": 5, "data": 1}, ["body", "receiver"]),
    ({"receiver": ["a"], "data": 1}, ["body", "receiver"]),
    ({"receiver": "", "data": 1}, ["receiver"]),
    ({"receiver": "a/b", "data": 1}, ["receiver"]),
    ({"receiver": "a\0", "data": 1}, ["receiver"]),
    ({"receiver": "a" * 129, "data": 1}, ["receiver"]),
    ({"receiver": "test1", "data": 1, "type": "ORDER"}, ["type"]),
    ({"receiver": "test1", "data": 1, "type": ""}, ["type"]),
    ({"receiver": "test1", "data": 1, "type": None}, ["body", "type"]),
    ({"receiver": "test1", "data": 1, "type": "NOTIFY_VIEWED"}, ["data"]),
    ({"receiver": "test1", "data": {"ids": [1]}, "type": "NOTIFY_VIEWED"}, ["data", "ids", 0]),
    ({"receiver": "test1", "data": 1, "id": ""}, ["id"]),
    ({"receiver": "test1", "data": 1, "id": "a/b"}, ["id"]),
    ({"receiver": "test1", "data": 1, "id": "-a"}, ["id"]),
    ({"receiver": "test1", "data": 1, "id": "a\n"}, ["id"]),
    ({"receiver": "test1", "data": 1, "id": "a" * 65}, ["id"]),
    ({"receiver": "test1", "data": 1, "id": 1}, ["body", "id"]),
    ({"receiver": "test1", "data": 1, "ttl_ms": 0}, ["body", "ttl_ms"]),
    ({"receiver": "test1", "data": 1, "ttl_ms": -1}, ["body", "ttl_ms"]),
    ({"receiver": "test1", "data": 1, "ttl_ms": 1.0}, ["body", "ttl_ms"]),
    ({"receiver": "test1", "data": 1, "ttl_ms": "1000"}, ["body", "ttl_ms"]),
    ({"receiver": "test1", "data": 1, "ttl_ms": True}, ["body", "ttl_ms"]),
    ({"receiver": "test1", "data": 1, "ttl_ms": 86_400_001}, ["ttl_ms"]),
    ({"receiver": "test1", "data": 1, "ttl_ms": 10**30}, ["ttl_ms"]),
    ({"receiver": "test1", "data": 1, "persist": "yes"}, ["body", "persist"]),
    ({"receiver": "test1", "data": 1, "persist": 0}, ["body", "persist"]),
    ({"receiver": None, "data": 1, "persist": True}, ["persist"]),
    ({"receiver": "test1", "data": 1, "ack": None}, ["body", "ack"]),
    ({"receiver": "test1", "data": 1, "ttl": 1000}, ["body", "ttl"]),
    ({"receiver": "test1", "data": 1, "Receiver": "x"}, ["body", "Receiver"]),
]


@pytest.mark.parametrize(("value", "where"), BAD_MESSAGES)
async def test_bad_message_is_refused_with_the_place_of_the_fault(value: Any, where: list[Any], dev: Service) -> None:
    body = problem(await dev.push_json("/push_msg", value), 422, "invalid-message")

    assert body["errors"][0]["loc"] == where
    assert len(dev.runtime.delivery._log) == 0  # nothing of it is remembered


@pytest.mark.parametrize("ttl_ms", [1, 86_400_000, None])
async def test_time_to_live_within_its_bounds_is_taken(ttl_ms: int | None, dev: Service) -> None:
    assert (await dev.push_json("/push_msg", {"receiver": "test1", "data": 1, "ttl_ms": ttl_ms})).status_code == 200


async def test_same_message_again_is_sent_once(dev: Service) -> None:
    listener = dev.listener()
    await settle()
    message = {"receiver": "test1", "data": {"a": 1}, "id": "order-1"}
    first = await dev.push_json("/push_msg", message)

    again = await dev.push_json("/push_msg", message)

    assert again.json() == first.json()
    assert again.headers["Idempotency-Replay"] == "true"
    assert "Idempotency-Replay" not in first.headers
    assert len(await received(listener)) == 1


@pytest.mark.parametrize("other", [{"data": {"a": 2}}, {"receiver": "test2"}, {"type": "NOTIFY_VIEWED"}])
async def test_other_message_of_the_same_id_is_refused(other: dict[str, Any], dev: Service) -> None:
    message = {"receiver": "test1", "type": "STRING_MSG", "data": {"ids": []}, "id": "order-1"}
    await dev.push_json("/push_msg", message)

    problem(await dev.push_json("/push_msg", message | other), 422, "id-conflict")


class Order(BaseModel):
    number: int
    state: str


@pytest.fixture
async def with_orders() -> AsyncIterator[Service]:
    types = TypeRegistry()
    types.register("ORDER", Order)
    async with service(types=types) as running:
        yield running


async def test_own_type_is_checked_by_its_model(with_orders: Service) -> None:
    good = {"receiver": "test1", "type": "ORDER", "data": {"number": 1, "state": "shipped"}}
    assert (await with_orders.push_json("/push_msg", good)).status_code == 200

    bad = good | {"data": {"number": "x", "state": "shipped"}}
    body = problem(await with_orders.push_json("/push_msg", bad), 422, "invalid-message")
    assert body["errors"][0]["loc"] == ["data", "number"]
    assert "ORDER" in body["detail"]


async def test_types_are_free_where_the_service_is_told_so() -> None:
    async with service(strict_types=False) as free:
        assert (await free.push_json("/push_msg", {"receiver": "a", "type": "ANY", "data": 1})).status_code == 200
        for name in ("", "a b", "a" * 65, "1", "a\n"):
            problem(await free.push_json("/push_msg", {"receiver": "a", "type": name, "data": 1}), 422)
        problem(await free.push_json("/push_msg", {"receiver": "a", "type": "NOTIFY_VIEWED", "data": 1}), 422)


# push_batch


async def test_bad_items_never_stop_the_good_ones(dev: Service) -> None:
    listener = dev.listener()
    await settle()
    good = [{"receiver": "test1", "data": number} for number in range(3)]
    items = [good[0], {"receiver": "a/b", "data": 0}, good[1], None, 7, "x", {}, good[2], {"receiver": "test1"}]

    answer = await dev.push_json("/push_batch", items)

    assert answer.status_code == 200
    results = answer.json()["results"]
    assert ["id" in result for result in results] == [True, False, True, False, False, False, False, True, False]
    for result in results:
        if "error" in result:
            assert result["error"]["status"] == 422
            assert result["error"]["title"]
    assert [message["data"] for message in await received(listener)] == [0, 1, 2]


async def test_batch_with_one_id_twice_sends_it_once(dev: Service) -> None:
    listener = dev.listener()
    await settle()
    item = {"receiver": "test1", "data": 1, "id": "x"}

    results = (await dev.push_json("/push_batch", [item, item, item | {"data": 2}])).json()["results"]

    assert results[0] == results[1] == {"id": "x", "receiver": "test1", "status": "sent", "sessions": 1}
    assert results[2]["error"]["type"] == "urn:stomp-notify:problem:id-conflict"
    assert len(await received(listener)) == 1


async def test_item_that_no_inbox_takes_is_told_apart() -> None:
    async with service(inbox_max_messages=2) as small:
        items = [{"receiver": "test1", "data": number} for number in range(3)]
        results = (await small.push_json("/push_batch", [*items, {"receiver": "test2", "data": 0}])).json()["results"]

    assert results[2]["error"]["type"] == "urn:stomp-notify:problem:inbox-full"
    assert results[3]["status"] == "stored"


async def test_batch_of_a_thousand_is_taken_and_of_one_more_refused_as_a_whole(dev: Service) -> None:
    item = {"receiver": None, "data": 1}

    assert len((await dev.push_json("/push_batch", [item] * 1000)).json()["results"]) == 1000
    remembered = len(dev.runtime.delivery._log)
    problem(await dev.push_json("/push_batch", [item] * 1001), 413, "too-large")
    assert len(dev.runtime.delivery._log) == remembered


async def test_empty_batch_has_no_results(dev: Service) -> None:
    assert (await dev.push_json("/push_batch", [])).json() == {"results": []}


@pytest.mark.parametrize("body", [b"{}", b"null", b"1", b"", b"[", b'[{"receiver": "a", "data": NaN}]'])
async def test_batch_that_is_no_array_is_refused(body: bytes, dev: Service) -> None:
    problem(await dev.push("/push_batch", body), 422, "invalid-message")


# Limits


async def test_body_over_the_limit_is_refused() -> None:
    async with service(http_max_body_bytes=1000) as small:
        assert (await small.push("/push_all_obj/test1", b"a" * 1000)).status_code == 200
        answer = await small.push("/push_all_obj/test1", b"a" * 1001)
        problem(answer, 413, "too-large")
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/push_all_obj", "/push_all_obj/a", "/push_msg", "/push_batch", "/push_topic/a"])
async def test_body_without_a_length_is_cut_off_at_the_limit(path: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000_000:
            sent += 500
            yield b"a" * 500

    async with service(http_max_body_bytes=1000) as small:
        problem(await small.http.post(f"{PUSH}{path}", content=endless()), 413, "too-large")
    assert sent <= 2000


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5000])
async def test_absurd_length_is_no_defect(length: str, dev: Service) -> None:
    answer = await dev.push("/push_all_obj/test1", b"a", content_length=length)

    assert answer.status_code < 500


async def test_inbox_that_is_full_is_to_be_tried_again() -> None:
    async with service(inbox_max_messages=2) as small:
        for _ in range(2):
            assert (await small.push("/push_all_obj/test1")).status_code == 200
        answer = await small.push("/push_all_obj/test1")
        problem(answer, 429, "inbox-full")
        assert int(answer.headers["retry-after"]) > 0
        assert (await small.push("/push_all_obj/test2")).status_code == 200


async def test_memory_that_is_full_is_unavailable() -> None:
    async with service(max_inboxes_bytes=2000) as small:
        answers = [await small.push(f"/push_all_obj/test{number}") for number in range(4)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0


async def test_refused_push_is_forgotten_and_may_come_again() -> None:
    async with service(inbox_max_messages=1) as small:
        await small.push("/push_all_obj/test1")
        message = {"receiver": "test1", "data": 1, "id": "x"}
        problem(await small.push_json("/push_msg", message), 429)
        problem(await small.http.get(f"{PUSH}/push_status/x"), 404)
        answer = await small.push_json("/push_msg", message | {"receiver": "test2"})
        assert answer.status_code == 200


# push_status


async def test_status_follows_a_push(dev: Service) -> None:
    message_id = (await dev.push("/push_all_obj/test1")).json()["id"]
    status = (await dev.http.get(f"{PUSH}/push_status/{message_id}")).json()
    assert (status["status"], status["sessions"], status["type"]) == ("stored", [], "STRING_MSG")

    dev.listener()
    await settle()
    status = (await dev.http.get(f"{PUSH}/push_status/{message_id}")).json()
    assert status["status"] == "sent"
    (session,) = status["sessions"]
    assert (session["attempts"], session["acked_at"]) == (1, None)

    (online,) = dev.runtime.hub.sessions_of("test1")
    dev.runtime.delivery.acknowledgements.acknowledge(online, message_id)
    status = (await dev.http.get(f"{PUSH}/push_status/{message_id}")).json()
    assert status["status"] == "delivered"
    assert status["sessions"][0]["acked_at"] > 0


@pytest.mark.parametrize("message_id", ["nope", "%00", "%FF", "a" * 5000, "a%2Fb"])
async def test_status_of_what_nobody_pushed_is_not_found(message_id: str, dev: Service) -> None:
    problem(await dev.http.get(f"{PUSH}/push_status/{message_id}"), 404)


async def test_pushes_at_the_same_time_do_not_get_in_each_others_way(dev: Service) -> None:
    listener = dev.listener()
    await settle()

    answers = await asyncio.gather(*(dev.push("/push_all_obj/test1", str(number)) for number in range(50)))

    assert len({answer.json()["id"] for answer in answers}) == 50
    assert sorted(int(message["data"]) for message in await received(listener)) == list(range(50))


async def test_stored_and_transient_items_of_a_batch_arrive_in_their_order(dev: Service) -> None:
    session = dev.listener()
    await settle()
    session.frames()

    items = [
        {"receiver": "test1", "data": number, "id": f"m{number}", "persist": number in (0, 1, 3)} for number in range(5)
    ]
    results = (await dev.push_json("/push_batch", items)).json()["results"]

    assert [result["id"] for result in results] == ["m0", "m1", "m2", "m3", "m4"]
    assert [frame.headers["message-id"] for frame in session.frames()] == ["m0", "m1", "m2", "m3", "m4"]


async def test_items_of_a_batch_for_one_receiver_go_out_together_and_in_their_order(dev: Service) -> None:
    sessions = {user: dev.listener(user) for user in ("test1", "test2")}
    await settle()
    receivers = ["test1", "test2", "test1", None, "test2", "test1", "no/body", "test2"]

    items = [{"receiver": receiver, "data": number} for number, receiver in enumerate(receivers)]
    results = (await dev.push_json("/push_batch", items)).json()["results"]

    assert [result.get("receiver", "failed") for result in results] == [*receivers[:6], "failed", "test2"]
    for user, session in sessions.items():
        expected = [number for number, receiver in enumerate(receivers) if receiver in (user, None)]
        assert [message["data"] for message in await received(session)] == expected


async def test_id_of_a_transient_message_cannot_be_stored_again(dev: Service) -> None:
    assert (await dev.push_json("/push_msg", {"receiver": "test1", "data": 1, "id": "m1"})).status_code == 200

    stored = {"receiver": "test2", "data": 2, "id": "m1", "persist": True}
    problem(await dev.push_json("/push_msg", stored), 422, "id-conflict")
    trace = dev.runtime.delivery.trace("m1")
    assert trace is not None
    assert trace.receiver == "test1"
