"""Whoever does not read harms nobody but itself."""

import statistics
import time

from tests.client import StompClient, listening
from tests.e2e.backend import Backend
from tests.e2e.faults import sleeping

ROUNDS = 60
TEXT = "x" * 200_000  # so that 60 of them are more than the kernel takes for a reader who sleeps


async def latencies_s(backend: Backend, fast: StompClient) -> list[float]:
    """From the call of a broadcast to its arrival."""
    measured = []
    for number in range(ROUNDS):
        started_s = time.monotonic()
        message_id = (await backend.broadcast(f"{number} {TEXT}"))["id"]
        assert (await fast.expect("MESSAGE")).headers["message-id"] == message_id
        measured.append(time.monotonic() - started_s)
    return measured


async def test_slow_reader_delays_nobody_and_is_cut_off(backend: Backend) -> None:
    async with listening(backend.server.websocket_url, "test-fast") as fast:
        alone = await latencies_s(backend, fast)
        async with sleeping(backend.server, "test-slow") as slow:
            (session,) = await backend.sessions("test-slow")

            beside = await latencies_s(backend, fast)

            assert statistics.median(beside) < 5 * statistics.median(alone) + 0.02
            assert max(beside) < 5 * max(alone) + 0.2
            await backend.has_sessions("test-slow", 0)
            await backend.logged(f"session {session['session']} of test-slow closed: slow consumer")
            assert await slow.closed() == (4008, "slow consumer")  # it learns of it when it reads at last


async def test_what_a_slow_reader_had_not_acknowledged_waits_for_its_return(backend: Backend) -> None:
    async with sleeping(backend.server, "test-slow-acks"):
        ids = [await backend.push("test-slow-acks", f"{number} {TEXT}") for number in range(ROUNDS)]
        await backend.has_sessions("test-slow-acks", 0)

    async with listening(backend.server.websocket_url, "test-slow-acks") as client:
        for message_id in ids:
            assert (await client.expect("MESSAGE")).headers["message-id"] == message_id
            await client.ack(message_id)
        await backend.becomes(ids[-1], "delivered")
