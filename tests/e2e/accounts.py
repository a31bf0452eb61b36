"""Accounting over faults: publishers and listeners that go on whatever dies, and what was accepted and what arrived."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.client import StompClient, stomp_client
from tests.e2e.backend import Backend, eventually
from tests.service import Server

TRY_AGAIN, RESTART, ABNORMAL = 1013, 1012, 1006
PAUSE_S = 0.05
BATCH = 10


@dataclass
class Accounts:
    """`unknown` are pushes that were not answered, because the node died over them; `refused` those with 503.

    `persisted` is the part of the pushes that are stored first.
    """

    users: Sequence[str]
    persisted: float = 0.0
    accepted: dict[str, set[str]] = field(init=False)
    received: dict[str, Counter[str]] = field(init=False)
    unmarked_duplicates: list[str] = field(default_factory=list)
    refused: int = 0
    unknown: int = 0
    slowest_s: float = 0.0
    connections: int = 0
    closes: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.accepted = {user: set() for user in self.users}
        self.received = {user: Counter() for user in self.users}

    def take(self, answer: dict[str, str]) -> None:
        self.accepted[answer["receiver"]].add(answer["id"])

    @property
    def total(self) -> int:
        return sum(map(len, self.accepted.values()))

    @property
    def duplicates(self) -> int:
        return sum(counts.total() - len(counts) for counts in self.received.values())

    def missing(self) -> dict[str, set[str]]:
        missing = {user: self.accepted[user] - self.received[user].keys() for user in self.users}
        return {user: ids for user, ids in missing.items() if ids}

    async def connected(self) -> int:
        return self.connections

    async def accepted_so_far(self) -> int:
        return self.total

    async def settle(self, timeout_s: float = 15.0) -> None:
        """Waits until all that was accepted was received; the error names what is lost."""

        async def missing() -> dict[str, set[str]]:
            return self.missing()

        await eventually(missing, lambda lost: not lost, timeout_s)


# Publishers


async def push_one(backend: Backend, accounts: Accounts, source: random.Random) -> None:
    response = await _post(backend, accounts, "/push_msg", _item(accounts, source))
    if response is not None and _is_accepted(response, accounts):
        accounts.take(response.json())


async def push_batch(backend: Backend, accounts: Accounts, source: random.Random, size: int = BATCH) -> None:
    response = await _post(backend, accounts, "/push_batch", [_item(accounts, source) for _ in range(size)])
    if response is not None and _is_accepted(response, accounts):
        for result in response.json()["results"]:
            if "error" in result:
                assert result["error"]["status"] == 503, result
                accounts.refused += 1
            else:
                accounts.take(result)


async def _post(backend: Backend, accounts: Accounts, path: str, content: object) -> httpx.Response | None:
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    try:
        return await backend.post(path, json=content)
    except httpx.TransportError:
        accounts.unknown += 1
        return None
    finally:
        accounts.slowest_s = max(accounts.slowest_s, loop.time() - begin_s)


def _item(accounts: Accounts, source: random.Random) -> dict[str, str | bool]:
    persist = source.random() < accounts.persisted
    data = "x" * source.randrange(1, 400)
    return {"receiver": source.choice(accounts.users), "data": data, "persist": persist}


def _is_accepted(response: httpx.Response, accounts: Accounts) -> bool:
    if response.status_code == 503:
        assert response.headers["Retry-After"].isdigit(), response.headers
        accounts.refused += 1
        return False
    assert response.status_code == 200, response.text
    return True


@asynccontextmanager
async def publishing(nodes: Sequence[Backend], accounts: Accounts, publishers: int = 4) -> AsyncIterator[None]:
    """Until the end of the block: singles and batches, through all nodes in turn."""
    source = random.Random(2025)
    stop = asyncio.Event()

    async def publish(number: int) -> None:
        turn = number
        while not stop.is_set():
            push = push_batch if turn % 4 == 0 else push_one
            await push(nodes[turn % len(nodes)], accounts, source)
            turn += 1
            await asyncio.sleep(PAUSE_S / 2)

    async with asyncio.TaskGroup() as group:
        for number in range(publishers):
            group.create_task(publish(number))
        try:
            yield
        finally:
            stop.set()


# Listeners


@asynccontextmanager
async def listeners(servers: Sequence[Server], accounts: Accounts) -> AsyncIterator[None]:
    """A session for each user, spread over the nodes, that acknowledges everything and comes back whenever it ends."""
    tasks = [asyncio.create_task(_stay(servers, number, user, accounts)) for number, user in enumerate(accounts.users)]
    try:
        await eventually(accounts.connected, lambda count: count >= len(tasks), 15)
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} == {asyncio.CancelledError}, ends


async def _stay(servers: Sequence[Server], number: int, user: str, accounts: Accounts) -> None:
    """On its own node first, then on the next one, and so on."""
    while True:
        url = servers[number % len(servers)].websocket_url
        try:
            async with stomp_client(url, close_timeout=0.5, open_timeout=3) as client:
                await _join(client, user, accounts)
                await _read(client, user, accounts)
        except ConnectionClosed as closed:
            accounts.closes[closed.rcvd.code if closed.rcvd else ABNORMAL] += 1
        except (OSError, TimeoutError, InvalidHandshake):
            pass
        number += 1
        await asyncio.sleep(PAUSE_S)


async def _join(client: StompClient, user: str, accounts: Accounts) -> None:
    await client.send(
        "CONNECT", {"accept-version": "1.2", "host": "test", "heart-beat": "0,0", "Authorization": f"Bearer {user}"}
    )
    frame = await client.receive()
    if frame.command == "ERROR":
        assert (await client.closed())[0] in (TRY_AGAIN, RESTART), frame
        raise ConnectionRefusedError
    assert frame.command == "CONNECTED", frame
    await client.subscribe()
    accounts.connections += 1


async def _read(client: StompClient, user: str, accounts: Accounts) -> None:
    received = accounts.received[user]
    while True:
        frame = await client.expect("MESSAGE", timeout_s=60)
        message_id = frame.headers["message-id"]
        assert json.loads(frame.body)["receiver"] == user
        if received[message_id] and frame.headers.get("redelivered") != "true":
            accounts.unmarked_duplicates.append(message_id)
        received[message_id] += 1
        await client.ack(message_id)
