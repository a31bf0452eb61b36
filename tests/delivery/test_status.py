"""What became of a message, where the node that knew has ended."""

import asyncio
from collections.abc import Sequence

import pytest

from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.delivery import status as status_module
from app.delivery.log import DeliveryLog, Trace
from app.delivery.mailbox import Fate, MailboxLimits
from app.delivery.status import AcknowledgementsOfOthers, shared_status
from app.errors import Unavailable
from tests.clock import FakeClock

CREATED_MS = 1_000_000
EXPIRES_MS = CREATED_MS + 60_000
REMEMBER_MS = 600_000


class SharedMailbox(MemoryMailbox):
    """Says `told` of every message; unavailable from the call after `calls_left`."""

    is_durable = True

    def __init__(self, told: Fate = Fate.UNKNOWN, *, calls_left: int = 1_000) -> None:
        super().__init__(MemoryStore(MailboxLimits(remember_ms=REMEMBER_MS), FakeClock()))
        self.told = told
        self.calls_left = calls_left
        self.asked: list[tuple[str, Sequence[str]]] = []

    def _answer(self) -> None:
        if not self.calls_left:
            raise Unavailable("away")
        self.calls_left -= 1

    async def fate(self, user: str, message_id: str) -> Fate:
        self._answer()
        return self.told

    async def acknowledged(self, user: str, ids: Sequence[str]) -> Sequence[bool]:
        self._answer()
        self.asked.append((user, ids))
        return await super().acknowledged(user, ids)


async def status_of(mailbox: MemoryMailbox, now_ms: int) -> str:
    return await shared_status(
        mailbox, "ann", "m1", "sent", created_ms=CREATED_MS, expires_ms=EXPIRES_MS, now_ms=now_ms
    )


ALIVE, OVER, FORGOTTEN = EXPIRES_MS - 1, EXPIRES_MS, CREATED_MS + REMEMBER_MS


@pytest.mark.parametrize(
    ("fate", "now_ms", "expected"),
    [
        (Fate.ACKNOWLEDGED, ALIVE, "delivered"),
        (Fate.ACKNOWLEDGED, OVER, "delivered"),
        (Fate.ACKNOWLEDGED, FORGOTTEN, "delivered"),
        (Fate.WAITS, ALIVE, "sent"),
        (Fate.WAITS, OVER, "sent"),
        (Fate.WAITS, FORGOTTEN, "sent"),
        (Fate.UNKNOWN, ALIVE, "unknown"),
        (Fate.UNKNOWN, OVER, "expired"),
        (Fate.UNKNOWN, FORGOTTEN, "unknown"),
    ],
)
async def test_the_mailbox_knows_what_the_nodes_that_are_left_do_not(fate: Fate, now_ms: int, expected: str) -> None:
    assert await status_of(SharedMailbox(fate), now_ms) == expected


@pytest.mark.parametrize(("now_ms", "expected"), [(ALIVE, "sent"), (OVER, "unknown")])
async def test_without_the_mailbox_nothing_is_claimed_that_it_might_deny(now_ms: int, expected: str) -> None:
    assert await status_of(SharedMailbox(calls_left=0), now_ms) == expected


async def test_a_single_node_knows_all_that_there_is() -> None:
    mailbox = SharedMailbox(Fate.ACKNOWLEDGED)
    mailbox.is_durable = False
    assert await status_of(mailbox, OVER) == "sent"


# What an ended node was told


class Others:
    def __init__(self, mailbox: SharedMailbox | None = None) -> None:
        self.clock, self.log = FakeClock(CREATED_MS), DeliveryLog(1_000)
        self.mailbox = mailbox or SharedMailbox()
        self.others = AcknowledgementsOfOthers(log=self.log, mailbox=self.mailbox, clock=self.clock)

    def add(
        self, id: str, user: str | None = "ann", *, acknowledged: bool = True, created_ms: int = CREATED_MS
    ) -> Trace:
        trace = Trace(id, user, "STRING_MSG", created_ms, EXPIRES_MS, acknowledged)
        self.log.add(trace)
        return trace


async def test_what_the_mailbox_remembers_is_noted() -> None:
    desk = Others()
    traces = [desk.add("m1"), desk.add("m2"), desk.add("m3", "bob")]
    desk.mailbox.acknowledge("ann", "m1")
    desk.mailbox.acknowledge("bob", "m3")
    await desk.others.take_over()
    assert [trace.acked_ms for trace in traces] == [CREATED_MS, None, CREATED_MS]
    assert desk.mailbox.asked == [("ann", ["m1", "m2"]), ("bob", ["m3"])]


async def test_only_what_may_still_be_remembered_is_asked_about() -> None:
    desk = Others()
    desk.add("broadcast", None)
    desk.add("no-ack", acknowledged=False)
    desk.add("known").acked_ms = 5
    desk.add("too-old", created_ms=CREATED_MS - REMEMBER_MS - 1)
    await desk.others.take_over()
    assert desk.mailbox.asked == []


async def test_an_acknowledgement_that_comes_meanwhile_keeps_its_time() -> None:
    desk = Others()
    trace = desk.add("m1")
    desk.mailbox.acknowledge("ann", "m1")
    taking = asyncio.create_task(desk.others.take_over())
    trace.acked_ms = 7
    desk.log.open_traces = lambda: [trace]  # type: ignore[method-assign]
    await taking
    assert trace.acked_ms == 7


async def test_many_users_are_asked_about_in_slices_and_a_mailbox_that_is_away_ends_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_module, "SLICE", 2)
    caplog.set_level("INFO", "app.delivery")
    desk = Others(SharedMailbox(calls_left=4))
    traces = [desk.add(f"m{n}", f"u{n}") for n in range(7)]
    for n in range(7):
        desk.mailbox.acknowledge(f"u{n}", f"m{n}")
    await desk.others.take_over()
    assert [trace.acked_ms is not None for trace in traces] == [True] * 4 + [False] * 3
    assert "is not known" in caplog.text
