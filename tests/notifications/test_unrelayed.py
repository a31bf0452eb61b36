"""Stored messages that could not be pushed when they were stored."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from app.errors import Unavailable
from app.messages.message import NotifyMessage
from app.notifications import unrelayed as unrelayed_module
from app.notifications.unrelayed import Unrelayed
from tests.clock import FakeClock
from tests.eventually import eventually
from tests.nodes import running
from tests.notifications.node import running_node

UNCERTAIN_S = 10.0


def message(id: str, to: str = "ann") -> NotifyMessage:
    return NotifyMessage(id=id, type="STRING_MSG", receiver=to, data="x", viewed=False, created=5)


class Desk:
    """`away` are users whose nodes cannot be reached, `failures` what the next pushes raise; `rows` are stored."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pushed: list[str] = []
        self.asked: list[Sequence[str]] = []
        self.away: set[str] = set()
        self.failures: list[Exception] = []
        self.under_way = 0
        self.rows: dict[str, NotifyMessage] = {}
        self.database_away = False
        self.unrelayed = Unrelayed(
            push=self.push,
            reaches=lambda user: user not in self.away,
            find_unpushed=self.find,
            clock=self.clock,
            uncertain_s=UNCERTAIN_S,
        )

    async def push(self, one: NotifyMessage) -> None:
        self.under_way += 1
        try:
            await asyncio.sleep(0)
            if self.failures:
                raise self.failures.pop(0)
            self.pushed.append(one.id)
        finally:
            self.under_way -= 1

    async def find(self, ids: Sequence[str]) -> Sequence[NotifyMessage]:
        self.asked.append(ids)
        if self.database_away:
            raise Unavailable("the database is away")
        return [self.rows[id] for id in ids if id in self.rows]

    async def done(self) -> None:
        await eventually(lambda: len(self.unrelayed) + self.under_way == 0)


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(unrelayed_module, "PERIOD_S", 0.001)
    desk = Desk()
    async with running(desk.unrelayed.run):
        yield desk


# Stored


async def test_what_is_stored_is_pushed_in_its_order(desk: Desk) -> None:
    for n in range(5):
        desk.unrelayed.add(message(f"m{n}"))
    assert len(desk.unrelayed) == 5
    await desk.done()
    assert desk.pushed == [f"m{n}" for n in range(5)]
    assert desk.asked == []


async def test_what_comes_later_is_pushed_too(desk: Desk) -> None:
    desk.unrelayed.add(message("m1"))
    await desk.done()
    desk.unrelayed.add(message("m2"))
    await desk.done()
    assert desk.pushed == ["m1", "m2"]


async def test_who_cannot_be_reached_keeps_nobody_else(desk: Desk) -> None:
    desk.away.add("ann")
    for id, user in (("m1", "ann"), ("m2", "bob"), ("m3", "ann")):
        desk.unrelayed.add(message(id, user))
    await eventually(lambda: desk.pushed == ["m2"])
    assert len(desk.unrelayed) == 2
    desk.away.clear()
    await desk.done()
    assert desk.pushed == ["m2", "m1", "m3"]


@pytest.mark.parametrize("failure", [Unavailable("away"), ValueError("a defect")])
async def test_a_push_that_fails_is_tried_again_behind_the_others(
    desk: Desk, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "app.notifications")
    desk.failures = [failure, failure]
    for id in ("m1", "m2", "m3"):
        desk.unrelayed.add(message(id))
    await desk.done()
    assert sorted(desk.pushed) == ["m1", "m2", "m3"]
    assert desk.pushed[0] == "m3"
    assert "stored messages" in caplog.text


async def test_what_comes_again_while_it_is_pushed_is_pushed_again(desk: Desk) -> None:
    """The mailbox knows it; what must not happen is that it is forgotten."""
    desk.unrelayed.add(message("m1"))
    desk.unrelayed.add(message("m1"))
    assert len(desk.unrelayed) == 1
    await desk.done()
    assert desk.pushed == ["m1"]


async def test_there_is_a_limit_and_recovery_has_the_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrelayed_module, "MAX_MESSAGES", 2)
    desk.away.add("ann")
    for n in range(4):
        desk.unrelayed.add(message(f"m{n}"))
    assert len(desk.unrelayed) == 2
    desk.unrelayed.add_uncertain(["u1", "u2"])
    desk.unrelayed.add_uncertain(["u3"])
    assert len(desk.unrelayed) == 4


# Perhaps stored


async def test_what_may_be_stored_is_looked_for_until_it_is_there(desk: Desk) -> None:
    desk.unrelayed.add_uncertain(["m1", "m2"])
    await eventually(lambda: len(desk.asked) >= 3)
    assert desk.pushed == []
    desk.rows["m2"] = message("m2")
    await eventually(lambda: desk.pushed == ["m2"])
    del desk.rows["m2"]
    desk.asked.clear()
    await eventually(lambda: desk.asked)
    assert desk.asked[-1] == ["m1"]


async def test_what_is_not_there_in_time_is_looked_for_no_more(desk: Desk) -> None:
    desk.unrelayed.add_uncertain(["m1"])
    await eventually(lambda: desk.asked)
    desk.clock.advance(UNCERTAIN_S - 0.1)
    asked = len(desk.asked)
    await eventually(lambda: len(desk.asked) > asked + 1)
    desk.clock.advance(0.2)
    await desk.done()
    asked = len(desk.asked)
    desk.unrelayed.add(message("m2"))
    await desk.done()
    assert (desk.pushed, len(desk.asked)) == (["m2"], asked)


async def test_a_database_that_is_away_does_not_keep_what_is_known_to_be_stored(desk: Desk) -> None:
    desk.database_away = True
    desk.unrelayed.add_uncertain(["m1"])
    desk.unrelayed.add(message("m2"))
    await eventually(lambda: desk.pushed == ["m2"])
    desk.rows["m1"] = message("m1")
    desk.database_away = False
    await desk.done()
    assert desk.pushed == ["m2", "m1"]


# In a node


async def test_a_stored_message_reaches_its_receiver_soon_after_the_relay_is_back(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_node(url) as node:
        device = await node.listening()
        reaches, put = [True], node.mailbox.put

        async def put_if_reached(*arguments: object, **options: object) -> object:
            if not reaches[0]:
                raise Unavailable("Redis is away")
            return await put(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(node.mailbox, "put", put_if_reached)
        monkeypatch.setattr(node.relay, "reaches", lambda user: reaches[0])
        reaches[0] = False
        with pytest.raises(Unavailable):
            await node.push("refused")
        monkeypatch.setattr(node.relay, "reaches", lambda user: True)
        outcomes = [await node.push(id) for id in ("m1", "m2")]
        assert [outcome.status for outcome in outcomes] == ["stored", "stored"]
        assert device.got() == []
        reaches[0] = True
        await eventually(lambda: device.open == 2)
        assert device.got() == ["m1", "m2"]
        again = await node.push("m1")
        assert (again.replayed, again.status) == (True, "sent")
        assert device.got() == []
        await node.noted()
        assert sorted(await node.ids("pushed_at IS NOT NULL")) == ["m1", "m2"]


async def test_a_repeat_before_the_relay_is_back_is_the_same_message(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_node(url) as node:
        device, away, put = await node.listening(), [True], node.mailbox.put

        async def put_later(*arguments: object, **options: object) -> object:
            if away[0]:
                raise Unavailable("Redis is away")
            return await put(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(node.mailbox, "put", put_later)
        for _ in range(3):
            assert (await node.push("m1", data="x")).status == "stored"
        away[0] = False
        await eventually(lambda: device.open == 1)
        await asyncio.sleep(0.3)
        assert device.got() == ["m1"]
