"""The rule for user ids and topics at every entrance: each says the same sentence, and both spellings are one name."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.errors import InvalidMessage
from app.hub.publication import Publication
from app.messages.message import Envelope, MessageEncoder
from app.messages.receivers import receiver_problem
from app.messages.topics import name_problem
from app.stomp.codec import encode_frame
from app.stomp.frames import Frame, Version
from tests.api.names import bearer, detail, in_url, message_to
from tests.api.service import Service, settle

Entrance = Callable[[Service, str], Awaitable[str]]
"""Takes a name to the service and returns what it said."""

CHARACTERS = "\x00\t\n\r\x7f\x85\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufffd"
BAD = [".", "..", " ", "a ", "\u3000a", "a" * 300, *(f"ab{character}c" for character in CHARACTERS)]
BAD_USERS = [*BAD, "a/b", "/", "./", "a" * 129, "e\u0301" * 129]
BAD_TOPICS = [*BAD, "a//b", "a/", "/a", "/", "a/../b", "./a", "*", "a/**", "a.#", "a.>", "/topic/a", "a/ /b"]
SURROGATE = "a\ud800"


# Entrances of user ids


def by_path(path: str) -> Entrance:
    async def push(site: Service, name: str) -> str:
        return detail(await site.push(f"{path}/{in_url(name)}"))

    return push


async def by_body(site: Service, name: str) -> str:
    return detail(await site.push_json("/push_msg", {"receiver": name, "data": 1}))


async def by_batch(site: Service, name: str) -> str:
    answer = await site.push_json("/push_batch", [{"receiver": "a", "data": 1}, {"receiver": name, "data": 1}])
    sent, refused = answer.json()["results"]
    assert sent["receiver"] == "a"
    return str(refused["error"]["detail"])


async def by_sessions(site: Service, name: str) -> str:
    return detail(await site.http.get(f"/api/sessions/{in_url(name)}"))


def by_token(method: str, path: str, **options: Any) -> Entrance:
    async def request(site: Service, name: str) -> str:
        headers = {"Authorization": f"Bearer {bearer(name)}"}
        return detail(await site.http.request(method, f"/api/notify/{path}", headers=headers, **options), 401)

    return request


async def talk(site: Service, token: str, *frames: tuple[str, dict[str, str]]) -> Frame:
    """The last answer to the frames of a new session."""
    transport = site.listener(token, "/user/queue/errors")
    for command, headers in frames:
        connection = list(site.runtime.gateway)[-1]
        connection.receive(encode_frame(command, headers.items(), b"", version=Version.V12))
    await settle()
    return transport.frames()[-1]


async def by_connect(site: Service, name: str) -> str:
    error = await talk(site, bearer(name))
    assert (error.command, error.headers["message"]) == ("ERROR", "The token is illegal")
    return error.body.decode()


async def by_delivery(site: Service, name: str) -> str:
    message = message_to(name)
    with pytest.raises(InvalidMessage) as refused:
        await site.runtime.delivery.push(Envelope(message, MessageEncoder(message), message.created + 60_000))
    return refused.value.detail


async def by_notifications(site: Service, name: str) -> str:
    with pytest.raises(InvalidMessage) as refused:
        await site.runtime.notify.save_and_publish(message_to(name))
    assert await site.runtime.notify.find("m1") is None
    return refused.value.detail


IDS = {"json": {"ids": ["m1"]}}
USER_ENTRANCES: dict[str, tuple[Entrance, str]] = {
    "push_all_obj": (by_path("/push_all_obj"), "receiver"),
    "cluster/notify": (by_path("/cluster/notify"), "receiver"),
    "push_msg": (by_body, "receiver"),
    "push_batch": (by_batch, "receiver"),
    "sessions": (by_sessions, "user"),
    "history": (by_token("GET", "history"), "the user id of the token"),
    "unread_count": (by_token("GET", "unread_count"), "the user id of the token"),
    "viewed": (by_token("POST", "viewed", **IDS), "the user id of the token"),
    "delete": (by_token("DELETE", "delete", **IDS), "the user id of the token"),
    "CONNECT": (by_connect, "the user id of the token"),
    "delivery": (by_delivery, "receiver"),
    "notifications": (by_notifications, "receiver"),
}


@pytest.mark.parametrize("entrance", USER_ENTRANCES)
async def test_bad_user_id_is_refused_at_every_entrance_with_one_sentence(entrance: str, site: Service) -> None:
    enter, noun = USER_ENTRANCES[entrance]
    for name in BAD_USERS:
        if entrance == "sessions" and "/" in name:
            continue  # more than one segment: there is no such path
        expected = receiver_problem(name, noun)
        assert expected is not None, ascii(name)
        assert await enter(site, name) == expected, ascii(name)


# Entrances of topics


async def by_topic_path(site: Service, name: str) -> str:
    return detail(await site.push(f"/push_topic/{in_url(name)}"))


async def by_frame(site: Service, command: str, name: str) -> str:
    error = await talk(site, "test1", (command, {"id": "t", "destination": f"/topic/{name}"}))
    assert error.command == "ERROR"
    problem = error.body.decode()
    begin, _, sentence = problem.partition(": ")
    assert begin.startswith("cannot "), problem
    assert begin.isprintable()
    return sentence


async def by_subscribe(site: Service, name: str) -> str:
    return await by_frame(site, "SUBSCRIBE", name)


async def by_send(site: Service, name: str) -> str:
    return await by_frame(site, "SEND", name)


async def by_broadcast(site: Service, name: str) -> str:
    with pytest.raises(InvalidMessage) as refused:
        await site.runtime.delivery.broadcast(message_to("a"), f"/topic/{name}")
    return refused.value.detail


async def by_publish(site: Service, name: str) -> str:
    with pytest.raises(InvalidMessage) as refused:
        await site.runtime.delivery.publish(Publication(message_id="m1", destination=f"/topic/{name}", body=b""))
    return refused.value.detail


TOPIC_ENTRANCES: dict[str, Entrance] = {
    "push_topic": by_topic_path,
    "SUBSCRIBE": by_subscribe,
    "SEND": by_send,
    "broadcast": by_broadcast,
    "publish": by_publish,
}


@pytest.mark.parametrize("entrance", TOPIC_ENTRANCES)
async def test_bad_topic_is_refused_at_every_entrance_with_one_sentence(entrance: str, site: Service) -> None:
    for name in BAD_TOPICS:
        if "\0" in name and entrance in ("SUBSCRIBE", "SEND"):
            continue  # ends the frame
        expected = name_problem(name)
        assert expected is not None, ascii(name)
        assert await TOPIC_ENTRANCES[entrance](site, name) == expected, ascii(name)


# What not every entrance can carry


async def test_empty_names_are_refused(site: Service) -> None:
    for entrance, (enter, noun) in USER_ENTRANCES.items():
        if entrance != "sessions":
            assert await enter(site, "") == f"{noun} must not be empty", entrance
    for entrance, enter_topic in TOPIC_ENTRANCES.items():
        assert await enter_topic(site, "") == "topic must not be empty", entrance


async def test_lone_surrogates_are_refused_where_they_can_come_in(site: Service) -> None:
    for entrance in ("CONNECT", "history", "notifications"):
        enter, noun = USER_ENTRANCES[entrance]
        assert await enter(site, SURROGATE) == f"{noun} must not contain U+D800 (a lone surrogate) at position 2"
    for enter_topic in (by_broadcast, by_publish):
        assert await enter_topic(site, SURROGATE) == "topic must not contain U+D800 (a lone surrogate) at position 2"


@pytest.mark.parametrize("encoded", ["a%ED%A0%80", "a%FF", "a%C3"])
async def test_path_that_is_not_utf_8_is_refused(encoded: str, site: Service) -> None:
    for path, noun in (("/push_all_obj", "receiver"), ("/cluster/notify", "receiver"), ("/push_topic", "topic")):
        said = detail(await site.push(f"{path}/{encoded}"))
        assert said == f"{noun} must not contain U+FFFD (which stands for invalid UTF-8) at position 2"
