"""A failing archive never costs a transient message: a replay sends what the inbox has all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any

import pytest

from app.db.database import Database
from app.errors import Unavailable
from app.messages.message import Envelope, MessageEncoder
from app.notifications.archive import NotifyArchive
from app.notifications.policy import NotifyPolicy
from app.notifications.repository import NotifyRepository, PushMark
from tests.databases import migrated_database
from tests.db.scripted import DRIVER_ERRORS, Moment, ScriptedDriver, name_of
from tests.eventually import eventually
from tests.notifications.node import INBOX_LIMIT, Node, running_node

MOMENTS: tuple[Moment, Moment] = ("do_connect", "before_cursor_execute")


@pytest.fixture(autouse=True)
def quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.delivery.replay.RETRY_S", 0.01)


class DefectiveDatabase(Database):
    """Has a defect of our own outside of all calls of the driver."""

    def read(self) -> Any:
        raise TypeError("read() takes 2 positional arguments")


async def push_transient(node: Node, id: str) -> None:
    message = node.message(id)
    await node.delivery.push(
        Envelope(message=message, encoder=MessageEncoder(message), expires_ms=node.clock.epoch_ms() + 60_000)
    )


@pytest.mark.parametrize(("error", "moment"), list(zip(DRIVER_ERRORS, cycle(MOMENTS), strict=False)), ids=name_of)
async def test_a_transient_message_is_replayed_whatever_the_driver_raises(
    node: Node, error: BaseException, moment: Moment
) -> None:
    await node.store("archived")
    await node.database.engine.dispose()
    driver = ScriptedDriver(node.database, moment, error)
    await push_transient(node, "transient")
    device = node.device()
    replay = asyncio.create_task(device.replay())
    received: list[str] = []

    def has_received(id: str) -> bool:
        received.extend(device.got())
        return id in received

    await eventually(lambda: has_received("transient"))
    driver.error = None
    await eventually(lambda: has_received("archived"))
    await replay


MARKS: dict[str, Callable[[NotifyRepository], Awaitable[None]]] = {
    "pushed": lambda repository: repository.mark_pushed([PushMark("a", 1, True)], 1),
    "sent": lambda repository: repository.mark_sent(["a"]),
    "delivered": lambda repository: repository.mark_delivered([("ann", "a")], 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("mark", MARKS)
async def test_a_mark_that_the_driver_cannot_write_is_unavailable(url: str, mark: str, moment: Moment) -> None:
    database = Database(url)
    ScriptedDriver(database, moment, DRIVER_ERRORS[0])
    with pytest.raises(Unavailable):
        async with database.transaction() as session:
            await MARKS[mark](NotifyRepository(session))
    await database.aclose()


async def test_a_row_that_cannot_be_read_is_in_the_log_and_costs_no_transient_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with migrated_database("sqlite") as url:
        async with running_node(url) as node:
            await node.store("unreadable")
            await node.sql("UPDATE notify_log SET data = '{'")
            await push_transient(node, "transient")
            device = node.device()
            replay = asyncio.create_task(device.replay())
            await eventually(lambda: "transient" in device.got())
            replay.cancel()
            await asyncio.gather(replay, return_exceptions=True)
    assert "JSONDecodeError" in caplog.text


async def test_a_defect_of_our_own_is_in_the_log_and_costs_no_transient_message(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    database = DefectiveDatabase(node.database.url.render_as_string(hide_password=False))
    archive = NotifyArchive(database=database, clock=node.clock, policy=NotifyPolicy())
    node.read_archive.target = archive
    work = asyncio.create_task(archive.run())
    await push_transient(node, "transient")
    device = node.device()
    replay = asyncio.create_task(device.replay())
    await eventually(lambda: "transient" in device.got())
    with pytest.raises(Unavailable):
        await archive.pending("ann", limit=INBOX_LIMIT)
    for task in (replay, work):
        task.cancel()
    await asyncio.gather(replay, work, return_exceptions=True)
    await database.aclose()
    assert "the archive could not be read" in caplog.text
    assert "takes 2 positional arguments" in caplog.text
