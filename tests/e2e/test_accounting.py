"""Under load, with sessions that come and go: what was accepted is what arrived."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.client import StompClient, stomp_client
from tests.e2e.backend import Backend, eventually
from tests.e2e.faults import cut

USERS = [f"test-load-{number}" for number in range(50)]
BATCHES, BATCH = 15, 100
SINGLES, PUBLISHERS = 500, 10
UNSTEADY = 15  # of the users lose their connection again and again
SETTINGS = {
    "ACK_CHECK_WAIT_MS": "1000",
    "ACK_RETRY_INTERVAL_MS": "1000",
    "ACK_MESSAGE_TTL_MS": "60000",
    "LOG_ACK_EVENTS": "false",
}


@dataclass
class Accounts:
    accepted: dict[str, set[str]] = field(default_factory=lambda: {user: set() for user in USERS})
    received: dict[str, Counter[str]] = field(default_factory=lambda: {user: Counter() for user in USERS})
    unmarked_duplicates: list[str] = field(default_factory=list)
    connections: int = 0

    def accept(self, result: dict[str, str]) -> None:
        assert "error" not in result, result
        self.accepted[result["receiver"]].add(result["id"])

    def count(self) -> tuple[int, int]:
        """Accepted and received, each message once."""
        return sum(map(len, self.accepted.values())), sum(map(len, self.received.values()))


async def read(client: StompClient, user: str, accounts: Accounts) -> None:
    while True:
        frame = await client.expect("MESSAGE", timeout_s=60)
        message_id = frame.headers["message-id"]
        received = accounts.received[user]
        if received[message_id] and frame.headers.get("redelivered") != "true":
            accounts.unmarked_duplicates.append(message_id)
        received[message_id] += 1
        await client.ack(message_id)


async def stay(backend: Backend, user: str, accounts: Accounts, lifetimes: random.Random | None) -> None:
    """Reads and acknowledges; with `lifetimes` the connection breaks every now and then, acks on their way included."""
    while True:
        async with stomp_client(backend.server.websocket_url) as client:
            await client.connect(user)
            accounts.connections += 1
            await client.send("SUBSCRIBE", {"id": "0", "destination": "/user/queue/msg"})
            try:
                async with asyncio.timeout(lifetimes.uniform(0.1, 0.6) if lifetimes else None):
                    await read(client, user, accounts)
            except TimeoutError:
                cut(client)


async def push_batches(backend: Backend, accounts: Accounts, source: random.Random) -> None:
    for _ in range(BATCHES):
        items = [{"receiver": source.choice(USERS), "type": "STRING_MSG", "data": "b" * 200} for _ in range(BATCH)]
        for result in await backend.push_batch(items):
            accounts.accept(result)
        await asyncio.sleep(0.1)  # so that batches meet singles all the time


async def push_singles(backend: Backend, accounts: Accounts, source: random.Random) -> None:
    for _ in range(SINGLES // PUBLISHERS):
        accounts.accept(await backend.push_msg(receiver=source.choice(USERS), data="s" * 200))


async def test_nothing_that_was_accepted_is_lost(backend: Backend) -> None:
    source, accounts = random.Random(2025), Accounts()
    readers = [
        asyncio.create_task(stay(backend, user, accounts, source if number < UNSTEADY else None))
        for number, user in enumerate(USERS)
    ]
    try:
        await asyncio.gather(
            push_batches(backend, accounts, source),
            *(push_singles(backend, accounts, source) for _ in range(PUBLISHERS)),
        )

        async def count() -> tuple[int, int]:
            return accounts.count()

        accepted, received = await eventually(count, lambda counts: counts[0] == counts[1], timeout_s=15)
    finally:
        for reader in readers:
            reader.cancel()
        ends = await asyncio.gather(*readers, return_exceptions=True)
    assert {type(end) for end in ends} == {asyncio.CancelledError}, ends
    assert accepted == received == BATCHES * BATCH + SINGLES
    for user in USERS:
        assert accounts.accepted[user] == accounts.received[user].keys(), f"{user} has messages of others"
    assert accounts.connections > 2 * len(USERS), "too few reconnects to prove anything"
    assert accounts.unmarked_duplicates == []
