"""Store first, push after."""

import asyncio
import time
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from app.errors import IdConflict, Unavailable
from tests.clock import FakeClock
from tests.databases import migrated_database, postgres
from tests.fakes import FakeTransport
from tests.notifications.node import Node, running_node


class Witness(FakeTransport):
    """Remembers what the database held when the message was sent."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.rows: list[list[str]] = []

    def send(self, data: bytes, binary: bool = False) -> None:
        super().send(data, binary)
        self.rows += postgres().query("SELECT id, pushed_at FROM notify_log", self.url.rpartition("/")[2])


async def test_the_row_is_committed_before_the_message_is_sent(postgres_url: str) -> None:
    async with running_node(postgres_url) as node:
        witness = Witness(postgres_url)
        await node.device(transport=witness).replay()
        await node.push("first")
        assert witness.rows == [["first", ""]]


async def test_a_stored_message_reaches_the_device_and_is_marked(node: Node) -> None:
    device = await node.listening()
    outcome = await node.push("m", data={"text": "hello"})
    assert (outcome.id, outcome.receiver, outcome.status, outcome.sessions) == ("m", "ann", "sent", 1)
    assert device.received()[0]["data"] == {"text": "hello"}
    await node.noted()
    assert await node.ids("pushed_at IS NOT NULL AND delivered_at IS NULL AND NOT viewed") == ["m"]
    assert (await node.push("n", to="bob")).status == "stored"


async def test_a_thousand_saves_at_once_share_few_transactions(node: Node) -> None:
    outcomes = await asyncio.gather(*(node.push() for _ in range(1_000)))
    assert len({outcome.id for outcome in outcomes}) == 1_000
    assert node.manager.inserts.batches <= 20
    assert len(await node.ids()) == 1_000
    assert await node.unread_is_exact()


async def test_a_save_returns_only_after_its_commit(url: str) -> None:
    async with running_node(url) as node, running_node(url) as other:

        async def push_and_look() -> bool:
            outcome = await node.push()
            return outcome.id in await other.ids(f"id = '{outcome.id}'")

        assert all(await asyncio.gather(*(push_and_look() for _ in range(30))))


async def test_messages_of_one_moment_arrive_in_the_order_in_which_they_came(node: Node) -> None:
    device = await node.listening()
    ids = [f"m{number % 7}-{number}" for number in range(300)]
    await asyncio.gather(*(node.push(id) for id in ids))
    assert device.got() == ids


# The same id again


async def test_the_same_id_with_the_same_content_is_answered_as_before_and_sent_once(node: Node) -> None:
    device = await node.listening()
    first = await node.push("m", data={"a": [1, None]})
    again = await node.push("m", data={"a": [1, None]})
    assert (again.status, again.sessions, first.replayed, again.replayed) == ("sent", 1, False, True)
    assert device.got() == ["m"]
    assert await node.unread_is_exact()


async def test_the_same_id_is_known_after_a_restart_and_after_it_was_read(url: str) -> None:
    async with running_node(url) as node:
        await node.push("m")
        await node.history.mark_viewed("ann", ["m"])
    async with running_node(url) as restarted:
        device = await restarted.listening()
        restarted.clock.advance(1)
        assert (await restarted.push("m")).replayed
        assert device.got() == []


OTHERS: list[tuple[Any, Any]] = [
    ("a", "b"), (1, 2), (1, True), (0, False), (1, 1.0), ({"a": 1}, {"a": True}), (None, "null"), ([], {}),
]  # fmt: skip


async def test_the_same_id_with_other_content_is_refused(node: Node) -> None:
    for number, (first, second) in enumerate(OTHERS):
        await node.push(f"m{number}", data=first)
        with pytest.raises(IdConflict):
            await node.push(f"m{number}", data=second)
    assert len(await node.ids()) == len(OTHERS)


async def test_the_same_id_for_another_receiver_is_refused(node: Node) -> None:
    await node.push("m")
    bob = await node.listening("bob")
    with pytest.raises(IdConflict):
        await node.push("m", to="bob")
    assert bob.got() == []


async def test_an_id_twice_in_one_transaction_is_stored_and_sent_once(node: Node) -> None:
    device = await node.listening()
    outcomes = await asyncio.gather(
        *(node.push("m") for _ in range(5)),
        node.push("m", data="other"),
        *(node.push(f"n{number}") for number in range(5)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, IdConflict) for outcome in outcomes] == [False] * 5 + [True] + [False] * 5
    assert [getattr(outcome, "replayed", None) for outcome in outcomes[:5]] == [False, True, True, True, True]
    assert device.got() == ["m", "n0", "n1", "n2", "n3", "n4"]
    assert await node.unread_is_exact()


async def test_two_nodes_that_store_the_same_ids_at_once_do_it_once(postgres_url: str) -> None:
    ids = [f"m{number}" for number in range(60)]
    async with running_node(postgres_url) as one, running_node(postgres_url) as other:
        outcomes = await asyncio.gather(*(one.push(id) for id in ids), *(other.push(id) for id in reversed(ids)))
        assert sum(not outcome.replayed for outcome in outcomes) == len(ids)
        assert await one.unread_is_exact()


# What a database makes of data

DATA: list[Any] = [
    "",
    "\0",
    "\U0001f600 \ufffe \ufdd0 \u2028 \\u0000",
    {"\0": "\x1f"},
    1e308,
    -1.7976931348623157e308,
    5e-324,
    -0.0,
    0.1 + 0.2,
    2**53 + 1,
    2**63,
    10**30,
    -(10**4_000),
    True,
    None,
    "null",
    "12345678901234567890",
    [[[]]] * 3,
    "x" * 500_000,
]


async def test_data_comes_back_as_it_was(node: Node) -> None:
    deep: Any = "deep"
    for _ in range(190):
        deep = [deep]
    for number, data in enumerate([*DATA, deep]):
        await node.push(f"m{number:02}", data=data)
        node.clock.advance(0.001)
    page, _ = await node.history.page("ann", before=None, offset=0, limit=100)
    assert [repr(row.data) for row in reversed(page)] == [repr(data) for data in [*DATA, deep]]
    device = await node.listening()
    assert [repr(body["data"]) for body in device.received()] == [repr(data) for data in DATA[:10]]


@pytest.mark.parametrize("bad", ["no JSON", "a type with NUL"])
async def test_a_message_that_no_database_takes_fails_alone(node: Node, bad: str) -> None:
    message = node.message(data=object()) if bad == "no JSON" else replace(node.message(to="bob"), type="a\0b")
    results = await asyncio.gather(
        *(node.push(f"m{number}") for number in range(5)),
        node.manager.save_and_publish(message),
        *(node.push(f"n{number}") for number in range(5)),
        return_exceptions=True,
    )
    failed = [result for result in results if isinstance(result, BaseException)]
    if failed:  # SQLite takes a NUL
        assert len(failed) == 1
        assert isinstance(failed[0], SQLAlchemyError)
    assert len(await node.ids("receiver = 'ann'")) == 10
    assert await node.unread_is_exact()


# The database is away


async def test_nothing_is_sent_while_the_database_is_away() -> None:
    async with running_node("postgresql://postgres@127.0.0.1:1/notify") as node:
        device = node.device()
        node.delivery.leave(device.session)  # its replay would wait for the database
        with pytest.raises(Unavailable) as refused:
            await node.push()
        assert refused.value.retry_after_s
        assert device.got() == []
        assert len(node.log) == 0


async def test_a_database_that_hangs_is_given_up_within_five_seconds_and_then_everything_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.db.database.STATEMENT_TIMEOUT_S", 0.4)
    monkeypatch.setattr("app.db.database.ANSWER_TIMEOUT_S", 0.5)
    with migrated_database("postgresql") as url:
        async with running_node(url, FakeClock()) as node:
            device = await node.listening()
            await node.push("before")
            postgres().freeze()
            started = time.monotonic()
            try:
                results = await asyncio.gather(*(node.push() for _ in range(20)), return_exceptions=True)
            finally:
                took_s = time.monotonic() - started
                postgres().thaw()
            assert all(isinstance(result, Unavailable) for result in results)
            assert took_s < 1
            assert device.got() == ["before"]
            await asyncio.sleep(0.2)
            assert (await node.push("after")).status == "sent"
            assert device.got() == ["after"]
            await node.noted()
            assert sorted(await node.ids("pushed_at IS NOT NULL")) == ["after", "before"]
