"""Names in URLs, and names that can be spelled in two ways."""

import json
from urllib.parse import quote

import pytest

from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.api.names import bearer, detail, message_to
from tests.api.service import Service, problem, settle

# URLs


@pytest.mark.parametrize(
    "path", ["", "/", "%2E", "%2e%2E", "%2F", "..%2Fpush_all_obj", "%2E/", "%0A", "%0A%0A", ".%0A"]
)
async def test_push_to_one_user_never_becomes_a_broadcast(path: str, site: Service) -> None:
    listener = site.listener("test1")
    await settle()
    listener.frames()

    answer = await site.push(f"/push_all_obj/{path}", "private")

    problem(answer, 422, "invalid-message")
    await settle()
    assert listener.frames() == []


async def test_line_break_behind_a_path_is_part_of_it(site: Service) -> None:
    for path in ("/push_all_obj%0A", "/push_msg%0A", "/push_batch%0A"):
        problem(await site.push(path), 404)
    for path in ("/push_all_obj/bob%0A", "/cluster/notify/bob%0A", "/push_topic/bob%0A"):
        assert detail(await site.push(path)).endswith("must not contain U+000A (a line break) at position 4")


async def test_percent_encoding_is_undone_once(site: Service) -> None:
    for encoded, name in (("%252E", "%2E"), ("a%2541", "a%41"), ("a+b", "a+b"), ("%25", "%")):
        answer = await site.push(f"/push_all_obj/{encoded}")
        assert answer.json()["receiver"] == name
        listener = site.listener("test1", f"/topic/{name}")
        await settle()
        listener.frames()
        assert (await site.push(f"/push_topic/{encoded}")).json()["sessions"] == 1
        assert [frame.headers["destination"] for frame in listener.frames()] == [f"/topic/{name}"]


# Two spellings

ONE, OTHER = "zo\u00eb", "zoe\u0308"


async def test_two_spellings_of_a_user_id_are_one_user(site: Service) -> None:
    transport = site.listener(bearer(OTHER))
    await settle()
    assert [frame.headers.get("user-name") for frame in transport.frames()] == [ONE]

    items = [{"receiver": ONE if number % 2 else OTHER, "data": number} for number in range(5)]
    pushed = (await site.push_json("/push_batch", items)).json()["results"]
    for path in ("/push_all_obj", "/cluster/notify"):
        pushed += [(await site.push(f"{path}/{quote(name)}")).json() for name in (ONE, OTHER)]

    assert {(one["receiver"], one["sessions"]) for one in pushed} == {(ONE, 1)}
    got = [json.loads(frame.body) for frame in transport.frames()]
    assert [message["data"] for message in got] == [0, 1, 2, 3, 4, *["hello"] * 4]
    assert {message["receiver"] for message in got} == {ONE}
    for name in (ONE, OTHER):
        (session,) = (await site.http.get(f"/api/sessions/{quote(name)}")).json()["items"]
        assert session["user"] == ONE
        headers = {"Authorization": f"Bearer {bearer(name)}"}
        history = (await site.http.get("/api/notify/history", headers=headers)).json()
        assert [item["receiver"] for item in history["items"]] == [ONE, ONE]


@pytest.mark.parametrize("name", [f"test{ONE}", f"test{OTHER}"])
async def test_token_in_a_header_is_the_user_that_it_is_in_connect(name: str, site: Service) -> None:
    await site.push(f"/cluster/notify/{quote(name)}")

    headers = {b"Authorization": f"Bearer {name}".encode()}
    history = (await site.http.get("/api/notify/history", headers=headers)).json()

    assert [item["receiver"] for item in history["items"]] == [f"test{ONE}"]
    latin = {b"Authorization": f"Bearer test{ONE}".encode("latin-1")}
    assert (await site.http.get("/api/notify/history", headers=latin)).json() == history


async def test_callers_in_the_process_may_use_either_spelling(site: Service) -> None:
    transport = site.listener(bearer(ONE))
    await settle()
    transport.frames()
    message = message_to(OTHER)
    message.data = {"receiver": OTHER}

    outcome = await site.runtime.delivery.push(Envelope(message, MessageEncoder(message), message.created + 60_000))
    stored = await site.runtime.notify.save_and_publish(NotifyMessage("m2", "STRING_MSG", OTHER, 1, False, 1))

    assert (outcome.receiver, stored.receiver) == (ONE, ONE)
    first, second = [json.loads(frame.body) for frame in transport.frames()]
    assert (first["receiver"], first["data"]) == (ONE, {"receiver": OTHER})
    assert (second["receiver"], second["data"]) == (ONE, 1)


async def test_two_spellings_of_a_topic_are_one_topic(site: Service) -> None:
    transport = site.listener("test1", f"/topic/{OTHER}/a", f"/topic/{ONE}/a")
    connection = list(site.runtime.gateway)[-1]
    await settle()
    transport.frames()
    for name in (ONE, OTHER):
        assert (await site.push(f"/push_topic/{quote(name)}/a")).json()["sessions"] == 1
        connection.receive(f"SEND\ndestination:/topic/{name}/a\n\nhi\0".encode())
    await settle()

    got = transport.frames()
    assert [frame.headers["subscription"] for frame in got] == ["0", "1"] * 4
    assert {frame.headers["destination"] for frame in got} == {f"/topic/{ONE}/a"}

    connection.receive(b"UNSUBSCRIBE\nid:0\n\n\0")
    assert (await site.push(f"/push_topic/{quote(OTHER)}/a")).json()["sessions"] == 1
    assert [frame.headers["subscription"] for frame in transport.frames()] == ["1"]
    connection.receive(b"UNSUBSCRIBE\nid:1\n\n\0")
    assert (await site.push(f"/push_topic/{quote(ONE)}/a")).json()["sessions"] == 0
