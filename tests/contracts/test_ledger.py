"""The contract of all ledgers."""

from collections.abc import AsyncIterator

import pytest

from app.delivery.ledger import Ledger
from app.delivery.log import Record, Trace
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.contracts.implementations import LEDGERS

RESOLUTION_S = 0.05  # how late a due record may be reported


@pytest.fixture(params=LEDGERS.values(), ids=[*LEDGERS])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    async with request.param() as ledger:
        yield ledger


def new_record(message_id: str = "m1", session_id: str = "s1", due_s: float = 10.0) -> Record:
    message = NotifyMessage(id=message_id, type="STRING_MSG", receiver="ann", data="hello", viewed=False, created=5)
    return Record(
        trace=Trace(id=message_id, receiver="ann", type="STRING_MSG", created_ms=5, expires_ms=60_005),
        session_id=session_id,
        envelope=Envelope(message=message, encoder=MessageEncoder(message), expires_ms=60_005),
        attempt=1,
        sent_ms=5,
        due_s=due_s,
        expires_s=60.0,
    )


def opened(ledger: Ledger, *ids: str, session_id: str = "s1", due_s: float = 10.0) -> list[Record]:
    records = [new_record(message_id, session_id, due_s) for message_id in ids]
    for record in records:
        ledger.open(record)
    return records


async def test_a_new_ledger_is_empty(ledger: Ledger) -> None:
    assert len(ledger) == 0
    assert ledger.get("s1", "m1") is None
    assert list(ledger.records("s1")) == []
    assert list(ledger.pop_due(1_000_000)) == []
    assert ledger.label.startswith("ACK-")


async def test_an_open_record_is_found_by_its_session_and_message(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1")
    assert ledger.get("s1", "m1") is record
    assert ledger.get("s1", "m2") is None
    assert ledger.get("s2", "m1") is None
    assert len(ledger) == 1


async def test_two_sessions_have_records_of_their_own_of_one_message(ledger: Ledger) -> None:
    (first,) = opened(ledger, "m1")
    (second,) = opened(ledger, "m1", session_id="s2")
    ledger.close(first)
    assert ledger.get("s1", "m1") is None
    assert ledger.get("s2", "m1") is second
    assert len(ledger) == 1


async def test_records_of_a_session_come_in_the_order_in_which_they_were_opened(ledger: Ledger) -> None:
    records = opened(ledger, "m3", "m1", "m2")
    opened(ledger, "m9", session_id="s2")
    assert list(ledger.records("s1")) == records
    ledger.reschedule(records[0], 20.0)
    assert list(ledger.records("s1")) == records
    ledger.close(records[0])
    assert list(ledger.records("s1")) == records[1:]


async def test_a_record_that_is_open_cannot_be_opened_again(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1")
    assert not ledger.open(new_record("m1", due_s=5.0))
    assert ledger.get("s1", "m1") is record
    assert len(ledger) == 1
    assert list(ledger.pop_due(9.0)) == []


async def test_a_session_may_have_so_many_open(ledger: Ledger) -> None:
    (first, _) = opened(ledger, "m1", "m2")
    assert not ledger.open(new_record("m3", due_s=5.0), at_most=2)
    assert ledger.open(new_record("m3", "s2"), at_most=2)
    assert ledger.count("s1") == 2
    ledger.close(first)
    assert ledger.open(new_record("m3", due_s=5.0), at_most=2)
    assert ledger.count("s1") == 2


async def test_a_record_that_was_closed_can_be_opened_anew(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1")
    ledger.close(record)
    (again,) = opened(ledger, "m1")
    assert ledger.get("s1", "m1") is again


async def test_closing_releases_the_message(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1")
    ledger.close(record)
    assert record.envelope is None
    assert len(ledger) == 0
    assert list(ledger.records("s1")) == []


async def test_closing_a_session_answers_its_records_and_leaves_the_others(ledger: Ledger) -> None:
    records = opened(ledger, "m1", "m2")
    (other,) = opened(ledger, "m1", session_id="s2")
    assert list(ledger.close_session("s1")) == records
    assert [record.envelope for record in records] == [None, None]
    assert list(ledger.close_session("s1")) == []
    assert list(ledger.records("s2")) == [other]
    assert other.envelope is not None
    assert len(ledger) == 1


async def test_a_record_is_due_never_early_and_hardly_late(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1", due_s=10.01)
    assert list(ledger.pop_due(10.0)) == []
    assert list(ledger.pop_due(10.01 + RESOLUTION_S)) == [record]


async def test_a_due_record_is_returned_once_and_stays_open(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1")
    assert list(ledger.pop_due(11.0)) == [record]
    assert list(ledger.pop_due(99.0)) == []
    assert ledger.get("s1", "m1") is record
    assert record.envelope is not None
    assert len(ledger) == 1


async def test_a_returned_record_comes_again_once_it_is_rescheduled(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1")
    ledger.pop_due(11.0)
    ledger.reschedule(record, 20.0)
    assert record.due_s == 20.0
    assert list(ledger.pop_due(19.9)) == []
    assert list(ledger.pop_due(20.1)) == [record]


async def test_a_record_that_is_put_off_does_not_come_at_its_old_time(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1")
    ledger.reschedule(record, 20.0)
    assert list(ledger.pop_due(19.9)) == []
    assert list(ledger.pop_due(20.1)) == [record]


async def test_a_record_may_be_brought_forward_and_into_the_past(ledger: Ledger) -> None:
    (record,) = opened(ledger, "m1")
    ledger.reschedule(record, 3.0)
    assert list(ledger.pop_due(5.0)) == [record]
    ledger.reschedule(record, 3.0)
    assert list(ledger.pop_due(5.0)) == [record]


async def test_closed_records_are_never_due(ledger: Ledger) -> None:
    closed, _, kept = opened(ledger, "m1", "m2", "m3")
    opened(ledger, "m1", session_id="s2")
    ledger.close(closed)
    ledger.close_session("s2")
    assert kept in ledger.pop_due(11.0)
    ledger.close(kept)
    assert list(ledger.pop_due(99.0)) == []


async def test_only_what_is_due_comes_the_earliest_first(ledger: Ledger) -> None:
    (late,) = opened(ledger, "late", due_s=30.0)
    (second,) = opened(ledger, "second", due_s=12.0)
    (first,) = opened(ledger, "first", due_s=11.0)
    assert list(ledger.pop_due(20.0)) == [first, second]
    assert list(ledger.pop_due(40.0)) == [late]


async def test_records_that_are_due_together_come_in_the_order_in_which_they_were_opened(ledger: Ledger) -> None:
    records = opened(ledger, *(f"m{n}" for n in range(50)))
    assert list(ledger.pop_due(11.0)) == records
