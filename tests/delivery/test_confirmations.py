"""When the acknowledgement of a message has survived: what a RECEIPT waits for."""

import asyncio
from collections.abc import Awaitable

import pytest

from app.delivery.acknowledgements import MAX_UNKNOWN_ACKS, Acknowledgements
from app.delivery.archive import NoArchive
from app.delivery.log import DeliveryLog
from app.delivery.mailbox import Mailbox
from tests.delivery.node import Device, Node
from tests.delivery.remote import RemoteMailbox


class SlowArchive(NoArchive):
    """Has marked what `written` says."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def delivered(self, receiver: str, message_id: str) -> None:
        self.told.append((receiver, message_id))

    def confirmation(self, receiver: str, message_id: str) -> Awaitable[None] | None:  # type: ignore[override]
        return None if self.written.done() or (receiver, message_id) not in self.told else self.written


class DurableMailbox(RemoteMailbox):
    is_durable = True

    def __init__(self) -> None:
        super().__init__()
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def confirmation(self, user: str, message_id: str) -> Awaitable[None] | None:  # type: ignore[override]
        return None if self.written.done() else self.written


def acknowledgements(node: Node) -> Acknowledgements:
    return node.delivery.acknowledgements


async def with_archive(mailbox: Mailbox | None = None) -> tuple[Node, SlowArchive, Device]:
    archive = SlowArchive()
    node = Node(mailbox=mailbox, archive=archive)
    return node, archive, await node.listening()


async def test_in_memory_a_transient_message_is_confirmed_at_once() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    device.ack("m1")
    assert acknowledgements(node).confirmation(device.session, "m1") is None


async def test_in_memory_what_is_persisted_is_confirmed_by_the_archive() -> None:
    node, archive, device = await with_archive()
    device.ack("m1")
    confirmation = acknowledgements(node).confirmation(device.session, "m1")
    assert confirmation is archive.written
    archive.written.set_result(None)
    assert acknowledgements(node).confirmation(device.session, "m1") is None


async def test_what_is_persisted_is_confirmed_when_mailbox_and_archive_have_it() -> None:
    """The mailbox forgets it earlier."""
    node, archive, device = await with_archive(mailbox := DurableMailbox())
    device.ack("m1")
    assert archive.told == [("ann", "m1")]
    confirmation = acknowledgements(node).confirmation(device.session, "m1")
    assert confirmation is not None
    confirmed = asyncio.ensure_future(confirmation)
    await asyncio.sleep(0.01)
    mailbox.written.set_result(None)
    await asyncio.sleep(0.01)
    assert not confirmed.done()
    assert acknowledgements(node).confirmation(device.session, "m1") is archive.written
    archive.written.set_result(None)
    await confirmed
    assert acknowledgements(node).confirmation(device.session, "m1") is None


@pytest.mark.parametrize("persisted", [False, True])
async def test_the_archive_is_told_of_what_it_has(persisted: bool) -> None:
    node, archive, device = await with_archive()
    await node.push("m1")
    node.trace("m1").persisted = persisted
    device.ack("m1")
    assert archive.told == ([("ann", "m1")] if persisted else [])


async def test_a_message_that_came_on_an_earlier_connection_is_delivered_when_it_is_acknowledged() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    device.leave()
    late = node.device()
    late.ack("m1")
    assert node.status("m1") == "delivered"
    stranger = node.device("bob")
    await node.push("m2")
    stranger.ack("m2")
    assert node.status("m2") == "stored"


def test_the_log_that_forgets_is_no_reason_to_keep_an_acknowledgement_to_oneself() -> None:
    node = Node()
    acks = Acknowledgements(
        acks=node.acks, mailbox=node.mailbox, log=DeliveryLog(1), clock=node.clock, archive=NoArchive()
    )
    device = node.device()
    assert not acks.acknowledge_known(device.session, "m1")
    acks.acknowledge(device.session, "m1")
    assert asyncio.run(node.mailbox.acknowledged("ann", ["m1"])) == [True]
    assert device.session.unknown_acks == 1


async def test_acknowledgements_of_what_the_log_forgot_and_the_ledger_has_are_never_too_many() -> None:
    node = Node(log_size=1)
    device = await node.listening()
    device.session.unknown_acks = MAX_UNKNOWN_ACKS
    await node.push("m1")
    await node.push("m2")
    assert node.delivery.trace("m1") is None
    device.ack("m1")
    assert await node.pending() == ["m2"]
