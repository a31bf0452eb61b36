"""What clients and back ends do to a service, in all the ways in which a session can end and a push be answered."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.client import listening, stomp_client
from tests.e2e.backend import Backend
from tests.e2e.faults import cut
from tests.sockjs_client import TRANSPORTS, sockjs_client, stomp_over_sockjs

LOG_SIZE = 40
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
MAX_INBOX = 10
SETTINGS = {
    "DELIVERY_LOG_SIZE": str(LOG_SIZE),
    "INBOX_MAX_MESSAGES": str(MAX_INBOX),
    "ACK_CHECK_WAIT_MS": "100",
    "ACK_RETRY_INTERVAL_MS": "100",
    "ACK_MESSAGE_TTL_MS": "8000",
    "MAX_SESSIONS_PER_USER": "2",
    "CONNECT_TIMEOUT_MS": "2000",
    "SOCKJS_DISCONNECT_DELAY_MS": "2000",
}


@dataclass(frozen=True)
class Visit:
    """One user. `near` is the node of their sessions, `far` the one that the back end pushes to."""

    user: str
    near: Backend
    far: Backend

    @property
    def url(self) -> str:
        return self.near.server.websocket_url

    async def push(self, **fields: Any) -> str:
        message_id: str = (await self.far.push_msg(receiver=self.user, data="hello", **fields))["id"]
        return message_id


async def acknowledges(visit: Visit) -> None:
    async with listening(visit.url, visit.user) as client:
        message_id = await visit.push()
        await client.expect("MESSAGE")
        await client.ack(message_id)
        await visit.near.becomes(message_id, "delivered")
        await client.send("DISCONNECT", {"receipt": "bye"})
        await client.closed()


async def is_sent_again_and_cut_off(visit: Visit) -> None:
    async with listening(visit.url, visit.user) as client:
        await visit.push()
        for _ in range(3):
            await client.expect("MESSAGE")
        cut(client)


async def comes_back(visit: Visit) -> None:
    ids = [await visit.push(), await visit.push(persist=True), await visit.push(ack=False)]
    async with listening(visit.url, visit.user) as client:
        for _ in ids:
            await client.expect("MESSAGE")
        await client.send("SEND", {"destination": "/app/ack"}, json.dumps(ids))
        await visit.near.becomes(ids[0], "delivered")


async def hangs_up_at_once(visit: Visit) -> None:
    async with stomp_client(visit.url) as client:
        await client.send("CONNECT", {"accept-version": "1.2", "host": "a", "Authorization": f"Bearer {visit.user}"})
        await client.send("SUBSCRIBE", {"destination": "/user/queue/msg", "id": "1"})
        cut(client)


async def hears_broadcasts_and_topics(visit: Visit) -> None:
    async with listening(visit.url, visit.user) as client:
        await client.subscribe("/topic/messages", id="topic")
        await visit.far.broadcast("to all")
        await visit.far.push_topic("messages", "to a topic")
        await client.send("SEND", {"destination": "/app/sendMessage"}, "to others")
        for _ in range(3):
            await client.expect("MESSAGE")


async def breaks_rules(visit: Visit) -> None:
    async with stomp_client(visit.url) as client:
        await client.connect(visit.user)
        await client.send_raw(b"NONSENSE\n\n\0")
        await client.closed()
    async with stomp_client(visit.url) as client:
        await client.send("CONNECT", {"accept-version": "1.2", "Authorization": "Bearer wrong"})
        await client.closed()
    async with stomp_client(visit.url) as client:  # and never says CONNECT
        await client.closed()


async def has_too_many_sessions(visit: Visit) -> None:
    async with listening(visit.url, visit.user), listening(visit.url, visit.user), stomp_client(visit.url) as third:
        await third.send("CONNECT", {"accept-version": "1.2", "Authorization": f"Bearer {visit.user}"})
        await third.closed()


async def is_closed_by_an_operator(visit: Visit) -> None:
    async with listening(visit.url, visit.user) as client:
        (session,) = await visit.near.has_sessions(visit.user, 1)
        await visit.far.http.delete(f"/api/sessions/{session['session']}")
        await client.closed()


async def is_refused_pushes(visit: Visit) -> None:
    path, body = "/push_msg", {"receiver": visit.user, "type": "STRING_MSG", "data": "x"}
    answers = [
        await visit.far.post(path, content=b"{", headers={"content-type": "application/json"}),
        await visit.far.post(path, json=body | {"ttl_ms": "soon"}),
        *[await visit.far.post(path, json=body | {"id": f"id-{visit.user}", "data": data}) for data in "aab"],
        *[await visit.far.post(path, json=body) for _ in range(MAX_INBOX)],
    ]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [422, 422, 200, 200, 422, *[200] * (MAX_INBOX - 1), 429], statuses


async def is_pushed_to_with_keys(visit: Visit) -> None:
    body, key = {"receiver": visit.user, "type": "STRING_MSG"}, {"Idempotency-Key": visit.user}
    for data, status in (("a", 200), ("a", 200), ("b", 422)):
        answer = await visit.far.post("/push_msg", json=body | {"data": data}, headers=key)
        assert answer.status_code == status, answer.text


async def resets_http_connections(visit: Visit) -> None:
    """While they are idle, behind pipelined requests, in a head, in a body, after what cannot be read."""
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    for sent in (HEALTH, HEALTH * 20, HEALTH[:-2], body, HEALTH + body, b"NONSENSE\r\n\r\n", b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", visit.near.server.port)
        writer.write(sent)
        if sent.startswith(HEALTH):
            await reader.readuntil(b"\r\n\r\n")
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()


async def reads_the_history(visit: Visit) -> None:
    token = {"Authorization": f"Bearer {visit.user}"}
    async with listening(visit.url, visit.user) as client:
        message_id = await visit.push(persist=True)
        await client.expect("MESSAGE")
        await visit.near.http.get("/api/notify/history", headers=token)
        await visit.near.http.post("/api/notify/viewed", headers=token, json={"ids": [message_id]})
        await client.expect("MESSAGE")


def uses_sockjs(transport: str) -> Callable[[Visit], Awaitable[None]]:
    async def visits(visit: Visit) -> None:
        port = visit.near.server.port
        async with stomp_over_sockjs(port, transport) as client:
            await client.connect(visit.user)
            await client.subscribe()
            message_id = await visit.push()
            await client.expect("MESSAGE")
            await client.ack(message_id)
            await visit.near.becomes(message_id, "delivered")
            await client.send("DISCONNECT", {"receipt": "bye"})
            await client.closed()
        async with stomp_over_sockjs(port, transport) as client:
            await client.connect(visit.user)
            await client.subscribe()  # and goes away without a word
        async with sockjs_client(port, transport):
            pass

    return visits


VISITS = (
    acknowledges,
    is_sent_again_and_cut_off,
    comes_back,
    hangs_up_at_once,
    hangs_up_at_once,
    breaks_rules,
    has_too_many_sessions,
    is_closed_by_an_operator,
    is_refused_pushes,
    is_pushed_to_with_keys,
    resets_http_connections,
    reads_the_history,
    *map(uses_sockjs, TRANSPORTS),
)


async def run_load(near: Backend, far: Backend, name: str) -> None:
    """All visits at once, then broadcasts, which would disturb them.

    At the end as many acknowledged pushes to one session as fill the log of each node.
    """
    users = (f"test-{name}-{number}" for number in range(len(VISITS)))
    await asyncio.gather(*(visit(Visit(user, near, far)) for visit, user in zip(VISITS, users, strict=True)))
    await hears_broadcasts_and_topics(Visit(f"test-{name}-crowd", near, far))
    async with listening(near.server.websocket_url, f"test-{name}-last") as client:
        for _ in range(LOG_SIZE):
            message_id = await far.push(f"test-{name}-last")
            await client.expect("MESSAGE")
            await client.ack(message_id)
            await near.becomes(message_id, "delivered")
