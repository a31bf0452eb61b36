"""What is accepted, what is refused, and what happens at once."""

import asyncio
import logging
from typing import Any

import pytest

from app.delivery.mailbox import MailboxLimits
from app.errors import IdConflict, InboxFull, Unavailable
from app.stomp.frames import AckMode
from tests.delivery.node import TTL_MS, Node, read_mailbox
from tests.delivery.remote import RemoteMailbox

# To sessions


async def test_every_session_of_the_receiver_gets_its_copy_at_once() -> None:
    node = Node()
    devices = [await node.listening(), await node.listening()]
    other = await node.listening("bob")
    outcome = await node.push("m1")
    assert (outcome.id, outcome.receiver, outcome.status, outcome.sessions) == ("m1", "ann", "sent", 2)
    assert [node.delivery.has_listener(user) for user in ("ann", "eve")] == [True, False]
    assert not outcome.replayed
    for device in devices:
        (message,) = device.received()
        assert (message.id, message.attempt, message.body["data"]) == ("m1", 1, "hello")
        assert message.last_sent_ms == node.clock.epoch_ms()
        assert device.open == ["m1"]
    assert other.got() == []
    assert (node.acks.open_records, node.acks.open_records_of(devices[0].session)) == (2, 1)


async def test_the_frame_is_encoded_once_for_all_sessions() -> None:
    node = Node()
    first, second = await node.listening(), await node.listening()
    await node.push("m1")
    assert first.transport.sent[0] is second.transport.sent[0]


async def test_a_session_that_listens_to_something_else_gets_nothing() -> None:
    node = Node()
    device = node.device()
    outcome = await node.push("m1")
    assert (outcome.status, outcome.sessions) == ("stored", 0)
    assert device.got() == []
    assert node.acks.open_records == 0


async def test_a_session_with_two_subscriptions_gets_two_frames_and_one_record() -> None:
    node = Node()
    device = await node.listening()
    await device.subscribe(AckMode.CLIENT_INDIVIDUAL)
    await node.push("m1")
    messages = device.received()
    assert [message.frame.headers["subscription"] for message in messages] == ["0", "1"]
    assert ["ack" in message.frame.headers for message in messages] == [False, True]
    assert device.open == ["m1"]


async def test_a_push_to_a_user_who_is_away_is_stored() -> None:
    node = Node()
    outcome = await node.push("m1")
    assert (outcome.status, outcome.sessions) == ("stored", 0)
    assert await node.pending() == ["m1"]
    assert node.status("m1") == "stored"


async def test_what_is_kept_of_a_message_is_its_text_and_not_its_parsed_data() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1", data=[[], []])
    (waiting,) = await read_mailbox(node.mailbox, "ann", node.clock.epoch_ms())
    (record,) = node.ledger.records(device.session.id)
    assert record.envelope is not None
    assert record.envelope.encoder is waiting.encoder
    assert record.envelope.message.data is waiting.message.data is None
    assert device.received()[0].body["data"] == [[], []]


@pytest.mark.parametrize("ack", [False, True])
async def test_the_log_keeps_no_message_that_is_done(ack: bool) -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1", ack=ack)
    device.ack("m1")
    assert [record.envelope for record in node.trace("m1").records.values()] == [None]


# Limits


async def test_a_full_inbox_refuses_the_push_and_nobody_hears_of_it() -> None:
    node = Node(limits=MailboxLimits(max_messages=2))
    device = await node.listening()
    await node.push("m1")
    await node.push("m2")
    with pytest.raises(InboxFull):
        await node.push("m3")
    assert device.got() == ["m1", "m2"]
    assert await node.pending() == ["m1", "m2"]
    assert node.delivery.trace("m3") is None
    assert (node.acks.open_records, len(node.log)) == (2, 2)


async def test_an_acknowledgement_makes_room_in_a_full_inbox() -> None:
    node = Node(limits=MailboxLimits(max_messages=1))
    device = await node.listening()
    await node.push("m1")
    device.ack("m1")
    assert (await node.push("m2")).status == "sent"


async def test_inboxes_that_are_full_together_refuse_the_push_and_nothing_is_stored() -> None:
    node = Node(limits=MailboxLimits(max_bytes=1_500))
    await node.push("m1", to="bob")
    with pytest.raises(Unavailable):
        await node.push("m2")
    assert await node.pending() == []
    assert len(node.log) == 1


# Ids


async def test_an_id_with_the_same_content_answers_as_the_first_time_and_sends_nothing() -> None:
    node = Node()
    device = await node.listening()
    first = await node.push("m1", data={"a": [1]})
    node.clock.advance(1)
    device.leave()
    again = await node.push("m1", data={"a": [1]})
    assert again.replayed
    assert (again.id, again.status, again.sessions) == (first.id, "sent", 1)
    assert device.got() == ["m1"]
    assert await node.pending() == ["m1"]
    assert (await node.push("m1", data={"a": [1]})).replayed


@pytest.mark.parametrize("other", [{"data": "bye"}, {"to": "bob"}, {"data": ["hello"]}, {"data": None}])
async def test_an_id_with_other_content_is_a_conflict(other: dict[str, Any]) -> None:
    node = Node()
    await node.push("m1")
    with pytest.raises(IdConflict):
        await node.push("m1", **other)
    assert await node.pending() == ["m1"]
    assert await node.pending("bob") == []


async def test_an_id_that_was_made_here_cannot_be_given_by_a_caller() -> None:
    node = Node()
    made = await node.push()
    with pytest.raises(IdConflict):
        await node.push(made.id)


async def test_an_acknowledged_message_is_not_sent_again_for_its_id() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    device.ack("m1")
    assert (await node.push("m1")).replayed
    assert device.got() == ["m1"]
    assert await node.pending() == []


async def test_the_id_of_a_refused_push_is_free_again() -> None:
    node = Node(limits=MailboxLimits(max_messages=1))
    device = await node.listening()
    await node.push("m1")
    with pytest.raises(InboxFull):
        await node.push("m2", data="first try")
    device.ack("m1")
    outcome = await node.push("m2", data="second try")
    assert (outcome.status, outcome.replayed) == ("sent", False)


async def test_the_id_of_a_push_that_the_inbox_could_not_take_is_free_again() -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    mailbox.failures = 1
    with pytest.raises(Unavailable):
        await node.push("m1")
    assert not (await node.push("m1")).replayed


async def test_a_push_whose_caller_went_away_leaves_no_trace() -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    mailbox.answering.clear()
    push = asyncio.create_task(node.push("m1"))
    await asyncio.sleep(0)
    push.cancel()
    await asyncio.gather(push, return_exceptions=True)
    assert node.delivery.trace("m1") is None


async def test_an_id_that_is_being_pushed_right_now_is_to_be_tried_again() -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    mailbox.answering.clear()
    first = asyncio.create_task(node.push("m1"))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as caught:
        await node.push("m1")
    assert caught.value.retry_after_s == 1
    mailbox.answering.set()
    assert not (await first).replayed
    with pytest.raises(IdConflict):
        await node.push("m1", data="other")
    assert (await node.push("m1")).replayed


async def test_an_id_is_known_until_its_message_expires_also_after_the_log_forgot_it() -> None:
    node = Node(log_size=1)
    device = await node.listening()
    await node.push("m1", ttl_ms=2_000)
    device.ack("m1")
    device.leave()
    await node.push("other", to="bob")
    assert node.delivery.trace("m1") is None
    again = await node.push("m1", ttl_ms=2_000)
    assert (again.replayed, again.status, again.sessions) == (True, "stored", 0)
    await node.push("another", to="bob")
    with pytest.raises(IdConflict):
        await node.push("m1", data="other")
    node.clock.advance(2)
    await node.push("a third", to="bob")
    assert not (await node.push("m1", data="other")).replayed


async def test_an_id_that_only_a_session_knows_answers_with_what_that_was_sent() -> None:
    node = Node(log_size=1)
    await node.push("m1")
    await node.push("other", to="bob")
    device = await node.listening()
    again = await node.push("m1")
    assert (again.replayed, again.status, again.sessions) == (True, "sent", 1)
    assert device.got() == ["m1"]


# Without acknowledgement


async def test_a_message_that_wants_no_acknowledgement_is_sent_once_to_each_session() -> None:
    node = Node()
    devices = [await node.listening(), await node.listening()]
    outcome = await node.push("m1", ack=False)
    assert (outcome.status, outcome.sessions) == ("sent", 2)
    await node.pass_time(20)
    assert [device.got() for device in devices] == [["m1"], ["m1"]]
    assert (await node.pending(), node.acks.open_records) == ([], 0)
    assert node.status("m1") == "sent"
    late = await node.listening()
    assert late.got() == []


async def test_a_message_that_wants_no_acknowledgement_waits_for_the_first_session_only() -> None:
    node = Node()
    outcome = await node.push("m1", ack=False)
    assert outcome.status == "stored"
    first = await node.listening()
    second = await node.listening()
    await node.pass_time(20)
    assert first.attempts() == [("m1", 1)]
    assert second.got() == []
    assert (await node.pending(), node.acks.open_records) == ([], 0)


async def test_a_message_that_wants_no_acknowledgement_is_refused_by_a_full_inbox_if_nobody_is_there() -> None:
    node = Node(limits=MailboxLimits(max_messages=1))
    await node.push("m1")
    with pytest.raises(InboxFull):
        await node.push("m2", ack=False)
    assert node.delivery.trace("m2") is None


async def test_a_session_needs_no_room_in_the_inbox_for_what_wants_no_acknowledgement() -> None:
    node = Node(limits=MailboxLimits(max_messages=1))
    device = await node.listening()
    await node.push("m1")
    assert (await node.push("m2", ack=False)).status == "sent"
    assert device.got() == ["m1", "m2"]


async def test_acknowledging_what_wants_no_acknowledgement_is_noted_and_no_error() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1", ack=False)
    device.ack("m1", "m1")
    assert node.status("m1") == "delivered"


# Sessions that end while they are sent to


async def test_a_session_that_ends_while_it_is_sent_to_leaves_the_message_in_the_inbox() -> None:
    node = Node()
    dying, other = await node.listening(), await node.listening()
    dying.transport.on_send = dying.leave
    await node.push("m1")
    assert node.acks.open_records == 1
    assert other.got() == ["m1"]
    assert await node.pending() == ["m1"]
    heir = await node.listening()
    assert heir.attempts() == [("m1", 2)]


async def test_a_session_that_is_ended_by_what_another_is_sent_gets_nothing() -> None:
    node = Node()
    first, second = await node.listening(), await node.listening()
    first.transport.on_send = second.leave
    outcome = await node.push("m1")
    assert outcome.sessions == 1
    assert second.got() == []
    assert node.acks.open_records == 1


async def test_a_session_may_end_between_the_frames_of_two_subscriptions() -> None:
    node = Node()
    device = await node.listening()
    await device.subscribe()
    device.transport.on_send = device.leave
    await node.push("m1")
    assert node.acks.open_records == 0
    assert await node.pending() == ["m1"]


# A mailbox that answers late


async def test_a_replay_that_finds_a_message_before_its_push_returns_sends_it_alone() -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    mailbox.answering.clear()
    push = asyncio.create_task(node.push("m1"))
    await asyncio.sleep(0)
    envelopes = asyncio.create_task(node.listening())
    await asyncio.sleep(0)
    mailbox.answering.set()
    device = await envelopes
    outcome = await push
    assert device.attempts() == [("m1", 1)]
    assert device.open == ["m1"]
    assert outcome.status == "sent"


@pytest.mark.parametrize("acknowledge", [False, True])
async def test_a_message_that_a_replay_sent_before_its_push_returned_is_not_sent_twice(acknowledge: bool) -> None:
    """Whether the client has acknowledged it meanwhile or not."""
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    mailbox.answering.clear()
    push = asyncio.create_task(node.push("m1"))
    await asyncio.sleep(0)
    device = node.device()
    device.listen()
    session, answering = device.session, mailbox.answering
    mailbox.answering = asyncio.Event()
    mailbox.answering.set()
    await device.replay()
    assert session.replay is None
    assert device.got() == ["m1"]
    if acknowledge:
        device.ack("m1")
    answering.set()
    outcome = await push
    assert (outcome.status, outcome.sessions) == ("sent", 1)
    assert device.got() == []
    assert device.open == ([] if acknowledge else ["m1"])


@pytest.mark.parametrize("ack", [False, True])
@pytest.mark.parametrize("present", [False, True])
async def test_a_push_asks_the_inbox_no_more_than_once(ack: bool, present: bool) -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    if present:
        await node.listening()
    await node.push("m1", ack=ack)
    assert mailbox.puts == (1 if ack or not present else 0)


# Log lines


async def test_events_are_logged_for_operators_when_they_want_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.delivery")
    node = Node(log_events=True)
    device = await node.listening()
    await node.push("m1")
    await node.pass_time(5)
    device.ack("m1")
    await node.push("m2", ttl_ms=1_000)
    await node.pass_time(2)
    assert [record.getMessage() for record in caplog.records] == [
        "[ACK-LOCAL] 消息入队, msgId m1, sessionId s1, receiver ann",
        "[ACK-LOCAL] 重发, msgId m1, sessionId s1, retryCount 1",
        "[ACK-LOCAL] 定时处理完成, total 1, retried 1, expired 0, not online 0",
        "[ACK-LOCAL] 确认成功, msgId m1, sessionId s1, retryCount 1",
        "[ACK-LOCAL] 消息入队, msgId m2, sessionId s1, receiver ann",
        "[ACK-LOCAL] 消息过期/超限, msgId m2, sessionId s1, retryCount 0",
        "[ACK-LOCAL] 定时处理完成, total 1, retried 0, expired 1, not online 0",
    ]


async def test_single_events_are_not_logged_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.delivery")
    node = Node()
    device = await node.listening()
    await node.push("m1")
    device.ack("m1")
    await node.pass_time(TTL_MS / 1_000)
    assert caplog.records == []


async def test_what_is_stored_but_not_safe_reaches_who_is_here_and_is_refused_all_the_same() -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    device = await node.listening()
    mailbox.unsafe = Unavailable("too few replicas")
    for _ in range(2):
        with pytest.raises(Unavailable, match="too few replicas"):
            await node.push("m1")
    assert device.got() == ["m1"]

    mailbox.unsafe = None
    again = await node.push("m1")

    assert (again.replayed, again.sessions) == (True, 1)
    assert device.got() == []
    device.ack("m1")
    assert await node.pending() == []
