"""stomp.py over WebSocket: its own 1.2 connection, and its 1.1 and 1.0 protocols on the same transport."""

import asyncio
import json
import queue
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import stomp
from stomp.adapter.ws import WSStompConnection, WSTransport
from stomp.connect import BaseConnection, StompConnection10, StompConnection11
from stomp.protocol import Protocol10, Protocol11
from stomp.utils import Frame

from tests.e2e.backend import Backend
from tests.service import Server

MESSAGES = "/user/queue/msg"
WAIT_S = 5.0
SETTINGS = {"ACK_CHECK_WAIT_MS": "400", "ACK_RETRY_INTERVAL_MS": "400", "ACK_MESSAGE_TTL_MS": "20000"}


class WSStompConnection10(StompConnection10):  # type: ignore[misc]
    """What WSStompConnection is for 1.2."""

    def __init__(self, addresses: list[tuple[str, int]], ws_path: str) -> None:
        transport = WSTransport(addresses, ws_path=ws_path)
        BaseConnection.__init__(self, transport)
        Protocol10.__init__(self, transport)


class WSStompConnection11(StompConnection11):  # type: ignore[misc]
    def __init__(self, addresses: list[tuple[str, int]], ws_path: str) -> None:
        transport = WSTransport(addresses, ws_path=ws_path)
        BaseConnection.__init__(self, transport)
        Protocol11.__init__(self, transport)


CONNECTIONS = {"1.0": WSStompConnection10, "1.1": WSStompConnection11, "1.2": WSStompConnection}
all_versions = pytest.mark.parametrize("version", CONNECTIONS)


class Listener(stomp.ConnectionListener):  # type: ignore[misc]
    """Its thread fills the queue; `take` waits outside of the event loop."""

    def __init__(self) -> None:
        self._frames: queue.Queue[Frame] = queue.Queue()

    def on_connected(self, frame: Frame) -> None:
        self._frames.put(frame)

    on_message = on_receipt = on_error = on_connected

    async def take(self, command: str) -> Frame:
        frame = await asyncio.to_thread(self._frames.get, timeout=WAIT_S)
        assert frame.cmd == command, frame
        return frame

    @property
    def is_empty(self) -> bool:
        return self._frames.empty()


@asynccontextmanager
async def connected(server: Server, version: str, user: str) -> AsyncIterator[tuple[Any, Listener]]:
    connection = CONNECTIONS[version]([("127.0.0.1", server.port)], ws_path="/stomp-ws")
    listener = Listener()
    connection.set_listener("test", listener)
    try:
        await asyncio.to_thread(connection.connect, wait=True, headers={"Authorization": f"Bearer {user}"})
        frame = await listener.take("CONNECTED")
        assert (frame.headers["version"], frame.headers["user-name"]) == (version, user)
        yield connection, listener
    finally:
        if connection.is_connected():
            await asyncio.to_thread(connection.disconnect)
            await asyncio.to_thread(connection.transport.stop)


async def subscribe(connection: Any, listener: Listener, destination: str, ack: str) -> None:
    connection.subscribe(destination, id="1", ack=ack, headers={"receipt": "subscribed"})
    assert (await listener.take("RECEIPT")).headers["receipt-id"] == "subscribed"


def acknowledge(connection: Any, version: str, frame: Frame) -> None:
    if version == "1.0":
        connection.ack(frame.headers["message-id"])
    elif version == "1.1":
        connection.ack(frame.headers["message-id"], frame.headers["subscription"])
    else:
        connection.ack(frame.headers["ack"])


@all_versions
async def test_push_comes_again_until_its_ack(backend: Backend, version: str) -> None:
    user = f"test-py-{version}"
    async with connected(backend.server, version, user) as (connection, listener):
        await subscribe(connection, listener, MESSAGES, "client")

        message_id = await backend.push(user, "订单 a:b\\c")

        frame = await listener.take("MESSAGE")
        assert frame.headers["message-id"] == message_id
        assert "redelivered" not in frame.headers
        assert json.loads(frame.body)["data"] == "订单 a:b\\c"
        again = await listener.take("MESSAGE")
        assert again.headers["message-id"] == message_id
        assert (again.headers["redelivered"], again.headers["attempt"]) == ("true", "2")
        acknowledge(connection, version, again)
        status = await backend.becomes(message_id, "delivered")
        assert [one["attempts"] for one in status["sessions"]] == [2]
        assert await backend.unacknowledged(user) == 0
        assert listener.is_empty


@all_versions
async def test_disconnect_is_confirmed(backend: Backend, version: str) -> None:
    user = f"test-py-bye-{version}"
    async with connected(backend.server, version, user) as (connection, listener):
        (session,) = await backend.has_sessions(user, 1)
        await asyncio.to_thread(connection.disconnect, receipt="bye")
        assert (await listener.take("RECEIPT")).headers["receipt-id"] == "bye"
    await backend.logged(f"session {session['session']} of {user} closed: bye")


@all_versions
async def test_transaction_is_published_by_its_commit(backend: Backend, version: str) -> None:
    async with connected(backend.server, version, f"test-py-tx-{version}") as (connection, listener):
        topic = f"/topic/py-{version}"
        await subscribe(connection, listener, topic, "auto")
        aborted, committed = connection.begin(), connection.begin()
        connection.send(topic, "never", transaction=aborted)
        connection.send(topic, "one", transaction=committed)
        connection.send(topic, "two", transaction=committed)
        connection.send(topic, "zero")
        connection.abort(aborted)
        connection.commit(committed)
        assert [(await listener.take("MESSAGE")).body for _ in range(3)] == ["zero", "one", "two"]


@all_versions
async def test_wrong_token_is_an_error_frame(backend: Backend, version: str) -> None:
    listener = Listener()
    connection = CONNECTIONS[version]([("127.0.0.1", backend.server.port)], ws_path="/stomp-ws")
    connection.set_listener("test", listener)
    with pytest.raises(stomp.exception.ConnectFailedException):
        await asyncio.to_thread(connection.connect, wait=True, headers={"Authorization": "Bearer wrong"})
    assert (await listener.take("ERROR")).headers["message"] == "The token is illegal"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
async def test_nack_asks_for_the_message_again(backend: Backend, version: str) -> None:
    user = f"test-py-nack-{version}"
    async with connected(backend.server, version, user) as (connection, listener):
        await subscribe(connection, listener, MESSAGES, "client-individual")
        message_id = await backend.push(user)
        frame = await listener.take("MESSAGE")
        if version == "1.1":
            connection.nack(frame.headers["message-id"], frame.headers["subscription"])
        else:
            connection.nack(frame.headers["ack"])
        again = await listener.take("MESSAGE")
        assert (again.headers["message-id"], again.headers["redelivered"]) == (message_id, "true")
        acknowledge(connection, version, again)
        await backend.becomes(message_id, "delivered")
