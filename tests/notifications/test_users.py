"""What users see of their messages, and the count of those they have not seen."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.errors import IdConflict
from app.messages.types import NOTIFY_DELETED, NOTIFY_VIEWED
from app.notifications.manager import RETENTION_SLICE
from app.notifications.policy import DAY_MS, NotifyPolicy
from app.notifications.repository import NotifyRepository, PushMark
from tests.clock import FakeClock
from tests.databases import KINDS, Kind, migrated_database, run_apart
from tests.notifications.node import Node, running_node

RETENTION_S = NotifyPolicy().retention_days * DAY_MS / 1000


@pytest.fixture
async def pair(postgres_url: str) -> AsyncIterator[tuple[Node, Node]]:
    clock = FakeClock()
    async with running_node(postgres_url, clock) as one, running_node(postgres_url, clock) as other:
        yield one, other


async def pages(node: Node, user: str = "ann", limit: int = 3) -> list[list[str]]:
    found, place = [], None
    while True:
        rows, following = await node.history.page(user, before=place, offset=0, limit=limit)
        found.append([row.id for row in rows])
        if following is None:
            return found
        place = following


# History


async def test_pages_neither_lose_nor_repeat_messages_of_the_same_moment(node: Node) -> None:
    ids = [f"m{number}" for number in range(10)]
    await node.store(*ids)
    assert await pages(node) == [["m9", "m8", "m7"], ["m6", "m5", "m4"], ["m3", "m2", "m1"], ["m0"]]


async def test_a_page_that_is_just_full_is_the_last(node: Node) -> None:
    await node.store("a", "b", "c")
    assert await pages(node) == [["c", "b", "a"]]
    assert await pages(node, "nobody") == [[]]


async def test_new_messages_shift_no_page(node: Node) -> None:
    await node.store("a", "b", "c", "d")
    rows, place = await node.history.page("ann", before=None, offset=0, limit=2)
    await node.store("z0", "z1")
    node.clock.advance(1)
    await node.store("y")
    assert [row.id for row in rows] == ["d", "c"]
    rows, _ = await node.history.page("ann", before=place, offset=0, limit=2)
    assert [row.id for row in rows] == ["b", "a"]


async def test_history_is_that_of_the_user_alone_and_of_before_a_moment(node: Node) -> None:
    await node.store("a")
    await node.store("bobs", to="bob")
    node.clock.advance(0.001)
    await node.store("b")
    rows, _ = await node.history.page("ann", before=node.clock.epoch_ms(), offset=0, limit=10)
    assert [row.id for row in rows] == ["a"]
    rows, _ = await node.history.page("ann", before=None, offset=1, limit=10)
    assert [row.id for row in rows] == ["a"]


# Viewed and deleted


async def test_viewing_counts_each_message_once_and_tells_every_device(node: Node) -> None:
    devices = [await node.listening(), await node.listening()]
    bob = await node.listening("bob")
    await node.push("a")
    await node.push("b")
    await node.push("bobs", to="bob")
    for device in (*devices, bob):
        device.got()
    assert await node.history.mark_viewed("ann", ["a", "a", "bobs", "none"]) == (1, 1)
    assert await node.history.mark_viewed("ann", ["a"]) == (0, 1)
    for device in devices:
        (told,) = device.received()
        assert (told["type"], told["data"]) == (NOTIFY_VIEWED, {"ids": ["a"], "unread": 1})
        assert device.open == 1
    assert bob.received() == []
    assert await node.ids("viewed") == ["a"]
    assert await node.sql("SELECT version, last_modified FROM notify_log WHERE id = 'a'") == [
        (1, node.clock.epoch_ms())
    ]


async def test_a_message_that_was_viewed_or_deleted_is_sent_to_nobody_again(node: Node) -> None:
    device = await node.listening()
    for id in ("a", "b", "c"):
        await node.push(id)
    await node.history.mark_viewed("ann", ["a"])
    await node.history.delete("ann", ["b"])
    device.got()
    for _ in range(40):
        node.clock.advance(0.25)
        await node.delivery.sweep()
    assert set(device.got()) == {"c"}
    assert (await node.listening()).got() == ["c"]


async def test_deleting_tells_every_device_and_leaves_the_rows_of_others(node: Node) -> None:
    device = await node.listening()
    await node.push("a")
    await node.push("b")
    await node.push("bobs", to="bob")
    await node.history.mark_viewed("ann", ["a"])
    device.got()
    assert await node.history.delete("ann", ["a", "b", "bobs"]) == (2, 0)
    (told,) = device.received()
    assert told["type"] == NOTIFY_DELETED
    assert sorted(told["data"]["ids"]) == ["a", "b"]
    assert told["data"]["unread"] == 0
    assert await node.ids() == ["bobs"]
    assert await node.unread_is_exact()


async def test_the_devices_are_not_told_of_nothing(node: Node) -> None:
    device = await node.listening()
    await node.push("bobs", to="bob")
    assert await node.history.mark_viewed("ann", ["bobs"]) == (0, 0)
    assert await node.history.delete("ann", ["bobs"]) == (0, 0)
    assert device.received() == []


# The count of unread messages

Step = tuple[Literal["push", "view", "delete", "wait", "retain"], str, list[int]]
steps: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["push", "push", "view", "delete", "wait", "retain"]),
    st.sampled_from(["ann", "bob"]),
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
)


async def take(node: Node, step: Step) -> None:
    what, user, numbers = step
    ids = [f"m{number}" for number in numbers]
    if what == "push":
        await asyncio.gather(*(node.push(id, to=user) for id in ids), return_exceptions=True)
    elif what == "view":
        count, unread = await node.history.mark_viewed(user, ids)
        assert unread == await node.history.unread_count(user)
        assert 0 <= count <= len(ids)
    elif what == "delete":
        await node.history.delete(user, ids)
    elif what == "wait":
        node.clock.advance(RETENTION_S / 3)
    else:
        await node.manager.run_retention()


@pytest.mark.parametrize("kind", KINDS)
def test_the_count_of_unread_messages_is_exact_whatever_happens(kind: Kind) -> None:
    with migrated_database(kind) as url:

        @settings(
            max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
        )
        @given(st.lists(steps, min_size=5, max_size=15))
        def check(story: list[Step]) -> None:
            async def tell() -> None:
                async with running_node(url) as node:
                    await node.sql("DELETE FROM notify_log")
                    await node.sql("DELETE FROM unread_count")
                    for step in story:
                        await take(node, step)
                        assert await node.unread_is_exact()

            run_apart(tell())

        check()


async def test_the_count_is_exact_when_two_nodes_change_the_same_rows_at_once(pair: tuple[Node, Node]) -> None:
    ids = [f"m{number:03}" for number in range(120)]
    await asyncio.gather(*(pair[0].push(id, to=("ann", "bob")[number % 2]) for number, id in enumerate(ids)))

    async def disturb(number: int) -> None:
        node, user, some = pair[number % 2], ("ann", "bob")[number % 3 % 2], ids[number : number + 80]
        order = some if number % 4 < 2 else some[::-1]
        match number % 5:
            case 0 | 1:
                await node.history.mark_viewed(user, order)
            case 2:
                await node.history.delete(user, order[::3])
            case 3:
                async with node.database.transaction() as session:
                    await NotifyRepository(session).mark_delivered([(user, id) for id in order], 1)
            case _:
                await asyncio.gather(*(node.push(f"new{number}-{count}", to=user) for count in range(20)))

    await asyncio.gather(*(disturb(number) for number in range(40)), *(node.manager.recover() for node in pair))
    assert await pair[0].unread_is_exact()


@pytest.mark.parametrize("change", ["view", "delete", "pushed", "delivered", "insert"])
async def test_rows_are_locked_in_the_order_of_their_ids_so_that_nobody_waits_in_a_circle(
    pair: tuple[Node, Node], change: str
) -> None:
    one, other = pair
    if change != "insert":
        await one.store("b")
        await one.store("a")

    async def change_both() -> None:
        async with one.database.transaction() as session:
            repository = NotifyRepository(session)
            match change:
                case "view":
                    await repository.mark_viewed("ann", ["b", "a"], 1)
                case "delete":
                    await repository.delete("ann", ["b", "a"])
                case "pushed":
                    await repository.mark_pushed([PushMark("b", 1, True), PushMark("a", 2, True)], 1)
                case "delivered":
                    await repository.mark_delivered([("ann", "b"), ("ann", "a")], 1)

    async with other.database.transaction() as session:
        touch = (
            "INSERT INTO notify_log (id, type, receiver, viewed, created, last_modified, version)"
            " VALUES ('{}', '', 'ann', false, 1, 1, 0)"
        )
        if change != "insert":
            touch = "SELECT * FROM notify_log WHERE id = '{}' FOR UPDATE"
        await session.execute(text(touch.format("a")))
        if change == "insert":
            task: asyncio.Future[Any] = asyncio.gather(one.push("a"), one.push("b"), return_exceptions=True)
        else:
            task = asyncio.ensure_future(change_both())
        await asyncio.sleep(0.3)
        assert not task.done()
        await session.execute(text(touch.format("b")))  # would wait for the one who waits for this
    outcomes = await task
    if change == "insert":
        assert [type(outcome) for outcome in outcomes] == [IdConflict, IdConflict]


# Retention


async def test_retention_deletes_what_is_older_in_steps_and_no_more(node: Node) -> None:
    before_ms = node.clock.epoch_ms() - round(RETENTION_S * 1000)
    count = RETENTION_SLICE + 50
    source = (
        f"generate_series(1, {count}) AS n(n)"
        if not node.database.is_sqlite
        else f"(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) SELECT n FROM n) AS n"
    )
    for prefix, created in (("old", before_ms - 1), ("new", before_ms)):
        await node.sql(
            "INSERT INTO notify_log (id, type, receiver, data, viewed, created, last_modified, version)"
            f" SELECT '{prefix}' || n, 'STRING_MSG', 'ann', '1', n % 2 = 0, {created}, 0, 0 FROM {source}"
        )
    await node.sql(f"INSERT INTO unread_count (receiver, unread) VALUES ('ann', {count})")
    async with node.database.transaction() as session:
        assert await NotifyRepository(session).delete_older(before_ms, 10) == 10
    await node.manager.run_retention()
    assert await node.ids(f"created < {before_ms}") == []
    assert len(await node.ids()) == count
    assert await node.unread_is_exact()


async def test_two_nodes_share_the_retention(pair: tuple[Node, Node]) -> None:
    await pair[0].sql(
        "INSERT INTO notify_log (id, type, receiver, data, viewed, created, last_modified, version)"
        " SELECT 'm' || n, 'STRING_MSG', 'u' || n % 7, '1', false, n, 0, 0 FROM generate_series(1, 3000) AS n"
    )
    await pair[0].sql("INSERT INTO unread_count SELECT receiver, count(*) FROM notify_log GROUP BY receiver")
    await asyncio.gather(*(node.manager.run_retention() for node in pair))
    await pair[0].manager.run_retention()
    assert await pair[0].ids() == []
    assert await pair[0].unread_is_exact()
