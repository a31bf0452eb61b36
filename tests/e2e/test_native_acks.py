"""ACK, NACK and transactions of STOMP itself: the other door to the room behind /app/ack."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.stomp.frames import Frame, Version
from tests.client import StompClient, listening, stomp_client
from tests.e2e.backend import Backend

SETTINGS = {"ACK_CHECK_WAIT_MS": "300", "ACK_RETRY_INTERVAL_MS": "300", "ACK_MESSAGE_TTL_MS": "20000"}

both_versions = pytest.mark.parametrize("version", [Version.V11, Version.V12])
both_modes = pytest.mark.parametrize("mode", ["client", "client-individual"])


@asynccontextmanager
async def acking(backend: Backend, user: str, version: Version, mode: str) -> AsyncIterator[StompClient]:
    async with stomp_client(backend.server.websocket_url, version) as client:
        await client.connect(user)
        await client.subscribe(id="s:1", ack=mode)
        yield client


def handle(frame: Frame, version: Version) -> dict[str, str]:
    """The headers of an ACK or NACK: 1.2 names the ack id, before it was message and subscription."""
    if version is Version.V12:
        return {"id": frame.headers["ack"]}
    return {"message-id": frame.headers["message-id"], "subscription": frame.headers["subscription"]}


async def receive(client: StompClient, ids: Sequence[str]) -> list[Frame]:
    frames = [await client.expect("MESSAGE") for _ in ids]
    assert [frame.headers["message-id"] for frame in frames] == list(ids)
    return frames


def ids_of(frames: Sequence[Frame]) -> list[str]:
    return [frame.headers["message-id"] for frame in frames]


@both_versions
async def test_individual_ack_is_for_one_message(backend: Backend, version: Version) -> None:
    user = f"test-individual-{version}"
    async with acking(backend, user, version, "client-individual") as client:
        ids = [await backend.push(user) for _ in range(3)]
        frames = await receive(client, ids)

        await client.send("ACK", handle(frames[1], version))

        await backend.becomes(ids[1], "delivered")
        again = await receive(client, [ids[0], ids[2]])
        assert all(frame.headers["redelivered"] == "true" for frame in again)
        for frame in again:
            await client.send("ACK", handle(frame, version))
        for message_id in ids:
            await backend.becomes(message_id, "delivered")
        assert await backend.unacknowledged(user) == 0


@both_versions
async def test_client_ack_is_for_all_up_to_the_message(backend: Backend, version: Version) -> None:
    user = f"test-cumulative-{version}"
    async with acking(backend, user, version, "client") as client:
        ids = [await backend.push(user) for _ in range(4)]
        frames = await receive(client, ids)

        await client.send("ACK", handle(frames[2], version))

        for message_id in ids[:3]:
            await backend.becomes(message_id, "delivered")
        (again,) = await receive(client, [ids[3]])
        assert (again.headers["redelivered"], again.headers["attempt"]) == ("true", "2")
        await client.send("ACK", handle(again, version))
        await backend.becomes(ids[3], "delivered")


@both_versions
@both_modes
async def test_nack_brings_the_message_again_after_the_interval(backend: Backend, version: Version, mode: str) -> None:
    user = f"test-nack-{version}-{mode}"
    async with acking(backend, user, version, mode) as client:
        ids = [await backend.push(user) for _ in range(2)]
        frames = await receive(client, ids)

        await client.send("NACK", handle(frames[1], version) | {"receipt": "nacked"})

        assert (await client.expect("RECEIPT")).headers["receipt-id"] == "nacked"
        again = [await client.expect("MESSAGE") for _ in range(2)]
        assert sorted(ids_of(again)) == sorted(ids)
        for frame in again:
            assert (frame.headers["redelivered"], frame.headers["attempt"]) == ("true", "2")
            assert (await backend.status(frame.headers["message-id"]))["status"] == "sent"
            await client.send("ACK", handle(frame, version))
        for message_id in ids:
            await backend.becomes(message_id, "delivered")


@both_versions
@both_modes
async def test_app_ack_and_ack_are_doors_to_the_same_room(backend: Backend, version: Version, mode: str) -> None:
    user = f"test-doors-{version}-{mode}"
    async with acking(backend, user, version, mode) as client:
        ids = [await backend.push(user) for _ in range(2)]
        frames = await receive(client, ids)

        await client.ack(ids[0])
        await backend.becomes(ids[0], "delivered")
        assert await backend.unacknowledged(user) == 1
        await client.send("ACK", handle(frames[1], version))
        await backend.becomes(ids[1], "delivered")

        await client.send("ACK", handle(frames[0], version) | {"receipt": "again"})  # acknowledged already: no error
        assert (await client.expect("RECEIPT")).headers["receipt-id"] == "again"
        assert await backend.unacknowledged(user) == 0


async def test_stomp_1_0_acknowledges_by_message_id_alone(backend: Backend) -> None:
    async with stomp_client(backend.server.websocket_url, Version.V10) as client:
        await client.connect("test-1.0")
        receipt = {"destination": "/user/queue/msg", "ack": "client", "receipt": "r"}
        await client.send("SUBSCRIBE", receipt)
        await client.expect("RECEIPT")
        message_id = await backend.push("test-1.0")
        (frame,) = await receive(client, [message_id])
        await client.send("ACK", {"message-id": frame.headers["message-id"]})
        await backend.becomes(message_id, "delivered")


async def test_json_array_acknowledges_all_its_ids(backend: Backend) -> None:
    async with listening(backend.server.websocket_url, "test-array") as client:
        ids = [await backend.push("test-array") for _ in range(5)]
        await receive(client, ids)

        await client.send("SEND", {"destination": "/app/ack", "content-type": "application/json"}, json.dumps(ids[:4]))

        for message_id in ids[:4]:
            await backend.becomes(message_id, "delivered")
        (again,) = await receive(client, [ids[4]])
        await client.send("SEND", {"destination": "/app/ack"}, json.dumps(again.headers["message-id"]))
        await backend.becomes(ids[4], "delivered")
        assert await backend.unacknowledged("test-array") == 0


@both_versions
async def test_acks_of_a_transaction_count_with_its_commit(backend: Backend, version: Version) -> None:
    user = f"test-commit-{version}"
    async with acking(backend, user, version, "client-individual") as client:
        ids = [await backend.push(user) for _ in range(2)]
        frames = await receive(client, ids)
        transaction = {"transaction": "tx"}

        await client.send("BEGIN", transaction)
        await client.send("ACK", handle(frames[0], version) | transaction)
        await client.send("SEND", {"destination": "/app/ack"} | transaction, ids[1])
        assert sorted(ids_of([await client.expect("MESSAGE"), await client.expect("MESSAGE")])) == sorted(ids)
        await client.send("COMMIT", transaction | {"receipt": "committed"})

        assert (await client.expect("RECEIPT")).headers["receipt-id"] == "committed"
        for message_id in ids:
            assert (await backend.status(message_id))["status"] == "delivered"
        assert await backend.unacknowledged(user) == 0


@both_versions
async def test_aborted_transaction_has_acknowledged_nothing(backend: Backend, version: Version) -> None:
    user = f"test-abort-{version}"
    async with acking(backend, user, version, "client-individual") as client:
        message_id = await backend.push(user)
        (frame,) = await receive(client, [message_id])

        await client.send("BEGIN", {"transaction": "tx"})
        await client.send("ACK", handle(frame, version) | {"transaction": "tx"})
        await client.send("ABORT", {"transaction": "tx", "receipt": "aborted"})

        assert (await client.expect("RECEIPT")).headers["receipt-id"] == "aborted"
        (again,) = await receive(client, [message_id])
        assert again.headers["redelivered"] == "true"
        await client.ack(message_id)
        await backend.becomes(message_id, "delivered")


async def test_chat_in_a_transaction_is_published_in_order_by_its_commit_only(backend: Backend) -> None:
    url = backend.server.websocket_url
    async with stomp_client(url) as author, stomp_client(url) as reader:
        await author.connect("test-author")
        await reader.connect("test-reader")
        await reader.subscribe("/topic/messages", id="chat")
        for name, texts in (("dropped", ["no", "never"]), ("kept", ["one", "two", "three"])):
            await author.send("BEGIN", {"transaction": name})
            for text in texts:
                await author.send("SEND", {"destination": "/app/sendMessage", "transaction": name}, text)
        await author.send("ABORT", {"transaction": "dropped"})
        await reader.silent(0.2)

        await author.send("COMMIT", {"transaction": "kept"})

        assert [(await reader.expect("MESSAGE")).body.decode() for _ in range(3)] == ["one", "two", "three"]
        await reader.silent(0.1)
